// Networks with several outputs through Recover.
#include "core/recovery/outputs.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

PlantedOptions Base(uint64_t seed) {
  return {.num_samples = 900,
          .num_inputs = 15,
          .hidden_width = 6,
          .nonzeros = 36,
          .seed = seed,
          .num_outputs = 4};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.hidden_width = planted.hidden_width;
  options.nonzeros = planted.nonzeros;
  return options;
}

TEST(OutputsTest, ThePlantedNetworkIsFound) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const PlantedProblem problem = *GeneratePlanted(Base(seed));
    const RecoveryOptions options = OptionsFor(Base(seed));
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto& network = std::get<SparseNetwork>(result->network);
    ASSERT_TRUE(ValidateNetwork(network).ok());
    EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
    EXPECT_LE(result->nonzeros, options.nonzeros);
    EXPECT_EQ(result->nonzeros, Nonzeros(network));
    EXPECT_LE(network.hidden_width(), options.hidden_width);
    EXPECT_EQ(NumOutputs(network), 4);
    const auto comparison = CompareNetworks(network, problem.network, problem.samples.input_view());
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    EXPECT_TRUE(comparison->same_support) << seed;
    EXPECT_LE(comparison->relative_weight_error, 1e-5) << seed;
    EXPECT_GT(comparison->psnr_db, 120) << seed;
    const absl::StatusOr<FitQuality> fit = MeasureFitQuality(network, problem.samples);
    ASSERT_TRUE(fit.ok());
    EXPECT_NEAR(fit->relative_residual, result->relative_residual, 1e-8);
    const absl::StatusOr<RecoveryEvidence> evidence =
        GatherEvidence(*result, problem.samples, *fit, std::optional<FitQuality>(*fit));
    ASSERT_TRUE(evidence.ok()) << evidence.status();
    EXPECT_EQ(evidence->verdict, Verdict::kExplains);
    EXPECT_GT(evidence->weakest_kept, 0);
    EXPECT_TRUE(evidence->smallest_saliency.has_value());
  }
}

TEST(OutputsTest, ScalesOfInputsAndTargetsDoNotMatter) {
  PlantedProblem problem = *GeneratePlanted(Base(2));
  for (float& x : problem.samples.inputs) x *= 1e-6F;
  for (float& y : problem.samples.targets) y *= 1e6F;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, OptionsFor(Base(2)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->relative_residual, 1e-7);
  EXPECT_EQ(result->nonzeros, Nonzeros(ReduceNetwork(problem.network)));
}

// While one output is at work both metrics are of that output.
TEST(OutputsTest, RSquaredIsOfTheSamplesOfTheResidual) {
  PlantedOptions planted = Base(3);
  planted.num_outputs = 2;
  Samples samples = GeneratePlanted(planted)->samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) samples.targets[2 * i] += 100;
  std::vector<double> ratios;  // || y ||^2 / || y - mean ||^2 of either output, and of both
  double all_squares = 0;
  double all_deviations = 0;
  for (int64_t o = 0; o < 2; ++o) {
    double squares = 0;
    double sum = 0;
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      const double target = samples.targets[2 * i + o];
      squares += target * target;
      sum += target;
    }
    const double deviations = squares - sum * sum / static_cast<double>(samples.num_samples);
    ratios.push_back(squares / deviations);
    all_squares += squares;
    all_deviations += deviations;
  }
  ratios.push_back(all_squares / all_deviations);
  RecoveryOptions options = OptionsFor(planted);
  options.bias = true;
  options.termination.max_iterations = 3;
  int64_t second = 0;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    ASSERT_TRUE(report.r_squared.has_value());
    const double squared = report.relative_residual * report.relative_residual;
    const auto is_of = [&](double ratio) {
      return std::abs(1 - squared * ratio - *report.r_squared) <= 1e-6 * (1 + squared * ratio);
    };
    EXPECT_TRUE(std::any_of(ratios.begin(), ratios.end(), is_of)) << report.iteration;
    second += is_of(ratios[1]) ? 1 : 0;
  };
  ASSERT_TRUE(Recover(samples, options, {}, observer).ok());
  EXPECT_GT(second, 0);
}

TEST(OutputsTest, OutputsOfZerosOrNoiseHaveNoWeights) {
  PlantedProblem problem = *GeneratePlanted(Base(3));
  CounterRandom random(3, 31);
  double rms = 0;
  for (const float y : problem.samples.targets) rms += static_cast<double>(y) * y;
  rms = std::sqrt(rms / static_cast<double>(problem.samples.targets.size()));
  for (int64_t i = 0; i < 900; ++i) {
    problem.samples.targets[4 * i + 1] = 0;
    problem.samples.targets[4 * i + 2] = static_cast<float>(1e-3 * rms * random.NextNormal());
  }
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, OptionsFor(Base(3)));
  ASSERT_TRUE(result.ok()) << result.status();
  const SparseRows& output = std::get<SparseNetwork>(result->network).upper_layers[0];
  EXPECT_EQ(output.row_begin[1], output.row_begin[3]);
  EXPECT_GT(output.row_begin[1], 0);
  EXPECT_LE(result->relative_residual, 1e-3);
}

TEST(OutputsTest, TheBudgetHoldsOnNoise) {
  PlantedOptions planted = Base(4);
  planted.noise_db = 30;
  const PlantedProblem problem = *GeneratePlanted(planted);
  RecoveryOptions options = OptionsFor(planted);
  for (const int64_t nonzeros : {36, 10}) {
    options.nonzeros = nonzeros;
    options.hidden_width = nonzeros == 36 ? 6 : 3;
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LE(result->nonzeros, nonzeros);
    EXPECT_LE(std::get<SparseNetwork>(result->network).hidden_width(), options.hidden_width);
    if (nonzeros == 36) {
      EXPECT_LE(result->relative_residual, 1.1 * std::pow(10, -1.5));
    } else {
      EXPECT_LT(result->relative_residual, 1);
    }
  }
}

TEST(OutputsTest, ThreadsAndResumptionsChangeNoBit) {
  const PlantedProblem problem = *GeneratePlanted(Base(5));
  RecoveryOptions options = OptionsFor(Base(5));
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  std::vector<int64_t> iterations;
  observer.on_iteration = [&](const IterationReport& report) {
    iterations.push_back(report.iteration);
  };
  observer.checkpoint_due = [](const IterationReport& report) { return report.iteration % 3 == 0; };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options, {}, observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (size_t k = 0; k < iterations.size(); ++k)
    EXPECT_EQ(iterations[k], static_cast<int64_t>(k + 1));
  options.num_threads = 3;
  EXPECT_EQ(Recover(problem.samples, options)->network, whole->network);
  ASSERT_GT(checkpoints.size(), 2U);
  for (const std::string& checkpoint : checkpoints) {
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->network, whole->network);
    EXPECT_EQ(resumed->iterations, whole->iterations);
    EXPECT_EQ(resumed->termination_reason, whole->termination_reason);
  }
  std::string damaged = checkpoints[1];
  damaged.resize(damaged.size() / 2);
  EXPECT_EQ(Recover(problem.samples, options, {}, {}, {}, damaged).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(OutputsTest, AStopKeepsWhatIsFoundAndGoesOn) {
  const PlantedProblem problem = *GeneratePlanted(Base(5));
  const RecoveryOptions options = OptionsFor(Base(5));
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  for (const int64_t last : {1, 5, 12}) {
    std::stop_source stop;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == last) stop.request_stop();
    };
    const absl::StatusOr<RecoveryResult> partial =
        Recover(problem.samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(partial.ok()) << partial.status();
    EXPECT_EQ(partial->termination_reason, TerminationReason::kCancelled);
    EXPECT_LE(partial->nonzeros, options.nonzeros);
    EXPECT_TRUE(std::isfinite(partial->relative_residual));
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, partial->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->network, whole->network);
  }
}

TEST(OutputsTest, ATimeLimitHoldsTheBudgetAndGoesOn) {
  const PlantedProblem problem = *GeneratePlanted(Base(5));
  RecoveryOptions options = OptionsFor(Base(5));
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  options.termination.time_limit_seconds = 1e-9;
  const absl::StatusOr<RecoveryResult> partial = Recover(problem.samples, options);
  ASSERT_TRUE(partial.ok()) << partial.status();
  EXPECT_EQ(partial->termination_reason, TerminationReason::kTimeLimit);
  EXPECT_LE(partial->nonzeros, options.nonzeros);
  options.termination.time_limit_seconds = 0;
  const absl::StatusOr<RecoveryResult> resumed =
      Recover(problem.samples, options, {}, {}, {}, partial->checkpoint);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->network, whole->network);
}

TEST(OutputsTest, RefusalsNameTheField) {
  const PlantedProblem problem = *GeneratePlanted(Base(1));
  const auto message = [&](auto&& change) {
    RecoveryOptions options = OptionsFor(Base(1));
    RecoveryStart start;
    change(options, start);
    return std::string(Recover(problem.samples, options, start).status().message());
  };
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.algorithm = Algorithm::kAiht; }),
              testing::HasSubstr("algorithm:"));
  EXPECT_THAT(
      message([](RecoveryOptions& o, RecoveryStart&) { o.linear_term = LinearTerm::kDense; }),
      testing::HasSubstr("linear_term:"));
  EXPECT_THAT(message([&](RecoveryOptions&, RecoveryStart& s) {
                s.network = SparseNetwork{.num_inputs = 15};
              }),
              testing::HasSubstr("network:"));
}

TEST(JoinOutputsTest, SharesUnitsAndKeepsTheFunctions) {
  SparseNetwork a = {.num_inputs = 3};
  a.weights = {.row_begin = {0, 2, 3}, .column = {0, 1, 2}, .value = {3, 4, 1}};
  a.output_signs = {1, -1};
  SparseNetwork b = {.num_inputs = 3};
  b.weights = {.row_begin = {0, 1, 3}, .column = {2, 0, 1}, .value = {-2, 6, 8}};
  b.output_signs = {1, -1};
  const SparseNetwork empty = {.num_inputs = 3};
  const SparseNetwork joined = JoinOutputs(std::vector{a, empty, b}, 1 - 1e-12);
  ASSERT_TRUE(ValidateNetwork(joined).ok());
  EXPECT_EQ(joined.hidden_width(), 3);  // (3, 4, 0) is shared, x_2 and -x_2 are not
  EXPECT_EQ(NumOutputs(joined), 3);
  const std::vector<float> inputs = {1, 2, 3, -1, 2, -3, 0.5, -0.25, 1};
  std::vector<double> outputs(9);
  ASSERT_TRUE(Evaluate(joined, {inputs.data(), 3, 3}, outputs).ok());
  std::vector<double> of_a(3);
  std::vector<double> of_b(3);
  ASSERT_TRUE(Evaluate(a, {inputs.data(), 3, 3}, of_a).ok());
  ASSERT_TRUE(Evaluate(b, {inputs.data(), 3, 3}, of_b).ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(outputs[3 * i], of_a[i], 1e-12);
    EXPECT_EQ(outputs[3 * i + 1], 0);
    EXPECT_NEAR(outputs[3 * i + 2], of_b[i], 1e-12);
  }
}

}  // namespace
}  // namespace thresher
