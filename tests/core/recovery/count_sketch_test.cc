// The published algorithm for several outputs through Recover.
#include "core/recovery/count_sketch.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/network/network.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

PlantedOptions Planted(uint64_t seed) {
  return {.num_samples = 2000,
          .num_inputs = 100,
          .hidden_width = 10,
          .nonzeros = 100,
          .seed = seed,
          .num_outputs = 10};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.algorithm = Algorithm::kCountSketch;
  options.hidden_width = planted.hidden_width;
  options.nonzeros = planted.nonzeros;
  options.termination.max_iterations = 100;
  options.termination.stagnation_iterations = 0;
  options.seed = planted.seed;
  return options;
}

// One-hot rows by the largest of the planted outputs.
Samples ClassesOf(Samples samples) {
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const auto row = samples.targets.begin() + i * samples.num_outputs;
    const auto largest = std::max_element(row, row + samples.num_outputs) - row;
    std::fill(row, row + samples.num_outputs, 0.0F);
    row[largest] = 1;
  }
  for (int64_t o = 0; o < samples.num_outputs; ++o) {
    samples.class_names.push_back("class " + std::to_string(o));
  }
  return samples;
}

void ExpectWithinBudget(const RecoveryResult& result, const RecoveryOptions& options,
                        const Samples& samples) {
  const auto& network = std::get<SparseNetwork>(result.network);
  ASSERT_TRUE(ValidateNetwork(network).ok()) << ValidateNetwork(network);
  EXPECT_LE(result.nonzeros, options.nonzeros);
  EXPECT_EQ(result.nonzeros, Nonzeros(network));
  EXPECT_LE(network.hidden_width(), options.hidden_width);
  EXPECT_EQ(NumOutputs(network), samples.num_outputs);
  EXPECT_TRUE(std::isfinite(result.relative_residual));
  const absl::StatusOr<FitQuality> fit = MeasureFitQuality(network, samples, options.loss);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_DOUBLE_EQ(fit->relative_residual, result.relative_residual);
}

TEST(CountSketchTest, BatchesFitAPlantedNetwork) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const PlantedProblem problem = *GeneratePlanted(Planted(seed));
    RecoveryOptions options = OptionsFor(Planted(seed));
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectWithinBudget(*result, options, problem.samples);
    EXPECT_EQ(result->options_used.batch_size, problem.samples.num_samples / 10);
    EXPECT_EQ(result->options_used.step_size, 0.005);
    EXPECT_GE(result->psnr_db, 19);
    EXPECT_LT(result->relative_residual, 0.65);
  }
}

TEST(CountSketchTest, TheBestIterateIsTheResult) {
  const PlantedProblem problem = *GeneratePlanted(Planted(1));
  RecoveryOptions options = OptionsFor(Planted(1));
  options.nonzeros = 20;  // a step size at which the loss rises and falls
  double least = std::numeric_limits<double>::infinity();
  bool rose = false;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    rose |= report.relative_residual > least;
    least = std::min(least, report.relative_residual);
    EXPECT_EQ(report.best_relative_residual, least);
    EXPECT_LE(report.support_size, 20);
  };
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, {}, observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(rose);
  EXPECT_LT(least, 1);
  EXPECT_NEAR(result->relative_residual, least, 1e-9);
}

TEST(CountSketchTest, ADivergingStepIsUndoneAndMadeSmaller) {
  bool lowered = false;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    PlantedOptions planted = Planted(seed);
    planted.nonzeros = 20;
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    EXPECT_EQ(CountSketchStepSize(options), 2);
    double step_size = 2;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      EXPECT_TRUE(std::isfinite(report.relative_residual));
      EXPECT_LE(report.step_size, step_size);
      step_size = report.step_size;
    };
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, {}, observer);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectWithinBudget(*result, options, problem.samples);
    EXPECT_LT(result->relative_residual, 0.5) << seed;
    EXPECT_EQ(result->options_used.step_size, 2);
    lowered |= step_size < 2;
  }
  EXPECT_TRUE(lowered);
}

TEST(CountSketchTest, NoStepSizeOrScaleGivesWhatIsNoNumber) {
  PlantedOptions planted = Planted(2);
  planted.num_samples = 100;
  PlantedProblem problem = *GeneratePlanted(planted);
  RecoveryOptions options = OptionsFor(planted);
  options.termination.max_iterations = 5;
  const Samples plain = problem.samples;
  for (const float scale : {1e-20F, 1.0F, 1e12F, 1e25F}) {
    for (size_t e = 0; e < plain.inputs.size(); ++e) {
      problem.samples.inputs[e] = plain.inputs[e] * scale;
    }
    for (const double step_size : {1e-300, 5e-3, 1e10, 1e300}) {
      options.step_size = step_size;
      for (const bool classes : {false, true}) {
        options.loss = classes ? Loss::kCrossEntropy : Loss::kSquared;
        const Samples samples = classes ? ClassesOf(problem.samples) : problem.samples;
        const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
        ASSERT_TRUE(result.ok()) << result.status();
        ExpectWithinBudget(*result, options, samples);
        if (!classes) {
          EXPECT_LE(result->relative_residual, std::sqrt(10) + 1e-9);
        }
      }
    }
  }
}

TEST(CountSketchTest, ClassesByCrossEntropy) {
  PlantedOptions planted = Planted(3);
  planted.num_outputs = 3;
  const Samples samples = ClassesOf(GeneratePlanted(planted)->samples);
  RecoveryOptions options = OptionsFor(planted);
  options.loss = Loss::kCrossEntropy;
  options.batch_size = 200;
  EXPECT_EQ(CountSketchStepSize(options), 0.001);
  options.step_size = 0.5;
  const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectWithinBudget(*result, options, samples);
  const absl::StatusOr<FitQuality> fit = MeasureFitQuality(result->network, samples, options.loss);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_GT(fit->accuracy.value_or(0), 0.75);
}

TEST(CountSketchTest, BudgetsDownToOneWeightAndUpToAll) {
  PlantedOptions planted = Planted(4);
  planted.num_samples = 300;
  planted.num_inputs = 8;
  planted.hidden_width = 3;
  planted.num_outputs = 2;
  planted.nonzeros = 12;
  const PlantedProblem problem = *GeneratePlanted(planted);
  for (const bool bias : {false, true}) {
    RecoveryOptions options = OptionsFor(planted);
    options.bias = bias;
    for (const int64_t nonzeros : {int64_t{1}, int64_t{2}, NumCandidates(options, 8, 2)}) {
      options.nonzeros = nonzeros;
      const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      ExpectWithinBudget(*result, options, problem.samples);
    }
    EXPECT_LT(Recover(problem.samples, options)->relative_residual, 1);
  }
}

TEST(CountSketchTest, ThreadsAndResumptionsChangeNoBit) {
  for (const int64_t nonzeros : {100, 20}) {
    PlantedOptions planted = Planted(2);
    planted.nonzeros = nonzeros;
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    options.batch_size = nonzeros == 100 ? 700 : 0;
    options.termination.max_iterations = 30;
    std::vector<std::string> checkpoints;
    RecoveryObserver observer;
    observer.checkpoint_due = [](const IterationReport& report) {
      return report.iteration <= 3 || report.iteration % 7 == 0;
    };
    observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
    const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options, {}, observer);
    ASSERT_TRUE(whole.ok()) << whole.status();
    ASSERT_GT(whole->nonzeros, 0);
    options.num_threads = 3;
    EXPECT_EQ(Recover(problem.samples, options)->network, whole->network);
    ASSERT_EQ(checkpoints.size(), 7U);
    for (const std::string& checkpoint : checkpoints) {
      const absl::StatusOr<RecoveryResult> resumed =
          Recover(problem.samples, options, {}, {}, {}, checkpoint);
      ASSERT_TRUE(resumed.ok()) << resumed.status();
      EXPECT_EQ(resumed->network, whole->network);
      EXPECT_EQ(resumed->iterations, whole->iterations);
    }
    for (const size_t length : {size_t{0} + 5, checkpoints[1].size() / 2}) {
      EXPECT_EQ(Recover(problem.samples, options, {}, {}, {}, checkpoints[1].substr(0, length))
                    .status()
                    .code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST(CountSketchTest, AStopKeepsTheBestAndGoesOn) {
  const PlantedProblem problem = *GeneratePlanted(Planted(5));
  RecoveryOptions options = OptionsFor(Planted(5));
  options.batch_size = 500;
  options.termination.max_iterations = 20;
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const int64_t last : {1, 2, 11}) {
    std::stop_source stop;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == last) stop.request_stop();
    };
    const absl::StatusOr<RecoveryResult> partial =
        Recover(problem.samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(partial.ok()) << partial.status();
    EXPECT_EQ(partial->termination_reason, TerminationReason::kCancelled);
    EXPECT_EQ(partial->iterations, last);
    ExpectWithinBudget(*partial, options, problem.samples);
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, partial->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->network, whole->network);
  }
}

TEST(CountSketchTest, RefusalsNameTheField) {
  const PlantedProblem problem = *GeneratePlanted(Planted(1));
  PlantedOptions scalar = Planted(1);
  scalar.num_outputs = 1;
  const PlantedProblem one = *GeneratePlanted(scalar);
  const auto message = [&](const Samples& samples,
                           const std::function<void(RecoveryOptions&, RecoveryStart&)>& change) {
    RecoveryOptions options = OptionsFor(Planted(1));
    RecoveryStart start;
    change(options, start);
    const absl::Status status = Recover(samples, options, start).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(one.samples, [](RecoveryOptions&, RecoveryStart&) {}),
              StartsWith("algorithm:"));
  const Samples& samples = problem.samples;
  EXPECT_THAT(message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.hidden_layers = 2; }),
              StartsWith("hidden_layers:"));
  EXPECT_THAT(
      message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.working_nonzeros = 101; }),
      StartsWith("working_nonzeros:"));
  EXPECT_THAT(
      message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.gate_mode = GateMode::kRandom; }),
      StartsWith("gate_mode:"));
  EXPECT_THAT(message(samples, [](RecoveryOptions& o,
                                  RecoveryStart&) { o.linear_term = LinearTerm::kDense; }),
              StartsWith("linear_term:"));
  EXPECT_THAT(message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.step_size = 0; }),
              StartsWith("step_size:"));
  EXPECT_THAT(message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.batch_size = -1; }),
              StartsWith("batch_size:"));
  EXPECT_THAT(
      message(samples, [](RecoveryOptions& o, RecoveryStart&) { o.loss = Loss::kCrossEntropy; }),
      HasSubstr("targets:"));
  EXPECT_THAT(
      message(samples, [](RecoveryOptions&,
                          RecoveryStart& s) { s.network = SparseNetwork{.num_inputs = 100}; }),
      StartsWith("network:"));
}

}  // namespace
}  // namespace thresher
