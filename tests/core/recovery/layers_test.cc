// Networks of several hidden layers, and losses of classes, through Recover.
#include "core/recovery/layers.h"

#include <cmath>
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
  return {.num_samples = 800,
          .num_inputs = 12,
          .hidden_width = 5,
          .nonzeros = 16,
          .seed = seed,
          .hidden_layers = 2};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.hidden_width = planted.hidden_width;
  options.hidden_layers = planted.hidden_layers;
  options.nonzeros = planted.nonzeros;
  return options;
}

// One-hot classes that a planted network's outputs name.
Samples Classes(int64_t num_outputs) {
  PlantedOptions planted = Base(3);
  planted.hidden_layers = 1;
  planted.num_outputs = num_outputs;
  planted.nonzeros = 30;
  Samples samples = GeneratePlanted(planted)->samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const auto row = samples.targets.begin() + i * num_outputs;
    const auto largest = std::max_element(row, row + num_outputs) - row;
    for (int64_t o = 0; o < num_outputs; ++o) row[o] = o == largest ? 1 : 0;
  }
  for (int64_t o = 0; o < num_outputs; ++o) samples.class_names.push_back(std::to_string(o));
  return samples;
}

TEST(LayersTest, ThePlantedFunctionIsFoundWithinTheBudget) {
  int exact = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const PlantedProblem problem = *GeneratePlanted(Base(seed));
    const RecoveryOptions options = OptionsFor(Base(seed));
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto& network = std::get<SparseNetwork>(result->network);
    ASSERT_TRUE(ValidateNetwork(network).ok());
    EXPECT_LE(result->nonzeros, options.nonzeros);
    EXPECT_EQ(result->nonzeros, Nonzeros(network));
    for (const int64_t width : HiddenWidths(network)) EXPECT_LE(width, options.hidden_width);
    const absl::StatusOr<FitQuality> fit = MeasureFitQuality(network, problem.samples);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_NEAR(fit->relative_residual, result->relative_residual, 1e-9);
    EXPECT_EQ(result->termination_reason == TerminationReason::kConverged,
              fit->relative_residual <= options.termination.relative_residual_tolerance);
    // On samples that the recovery has not seen.
    PlantedOptions fresh = Base(seed + 100);
    const Samples other = GeneratePlanted(fresh)->samples;
    std::vector<double> found(other.num_samples);
    std::vector<double> planted(other.num_samples);
    ASSERT_TRUE(Evaluate(network, other.input_view(), found).ok());
    ASSERT_TRUE(Evaluate(problem.network, other.input_view(), planted).ok());
    double error = 0;
    double norm = 0;
    for (int64_t i = 0; i < other.num_samples; ++i) {
      error += std::pow(found[i] - planted[i], 2);
      norm += planted[i] * planted[i];
    }
    if (std::sqrt(error / norm) < 1e-5) ++exact;
  }
  EXPECT_GE(exact, 2);
}

TEST(LayersTest, ThreeHiddenLayersAndSeveralOutputsStayWithinTheBudget) {
  for (const auto& [layers, outputs] : {std::pair<int64_t, int64_t>{3, 1}, {2, 3}}) {
    PlantedOptions planted = Base(2);
    planted.hidden_layers = layers;
    planted.num_outputs = outputs;
    planted.nonzeros = 40;
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    options.termination.max_iterations = 2;
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LE(result->nonzeros, 40);
    EXPECT_LT(result->relative_residual, 0.5);
    for (const int64_t width : HiddenWidths(result->network)) EXPECT_LE(width, 5);
    EXPECT_EQ(NumOutputs(result->network), outputs);
    EXPECT_TRUE(GatherEvidence(*result, problem.samples,
                               *MeasureFitQuality(result->network, problem.samples), {})
                    .ok());
  }
}

TEST(LayersTest, ClassesAreNamed) {
  for (const int64_t outputs : {3, 1}) {
    Samples samples = Classes(3);
    RecoveryOptions options;
    options.hidden_width = 6;
    options.nonzeros = 40;
    options.choose_loss = true;
    if (outputs == 1) {  // the first class or another
      std::vector<float> first;
      for (int64_t i = 0; i < samples.num_samples; ++i) first.push_back(samples.targets[3 * i]);
      samples.targets = first;
      samples.num_outputs = 1;
      samples.class_names = {"other", "first"};
    }
    options.bias = true;
    const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LE(result->nonzeros, 40);
    const Loss loss = result->options_used.loss;
    EXPECT_EQ(loss, outputs == 1 ? Loss::kLogistic : Loss::kCrossEntropy);
    const absl::StatusOr<FitQuality> fit = MeasureFitQuality(result->network, samples, loss);
    ASSERT_TRUE(fit.ok()) << fit.status();
    EXPECT_GT(fit->accuracy.value_or(0), 0.9);
    EXPECT_LT(fit->relative_residual, 0.5);
    EXPECT_TRUE(GatherEvidence(*result, samples, *fit, {}).ok());
  }
}

TEST(LayersTest, TheLossIsOfClassesWhereTheOptionsServeIt) {
  RecoveryOptions options;
  options.hidden_width = 6;
  options.nonzeros = 12;
  EXPECT_EQ(ChooseLoss(options, 100, 5, /*num_outputs=*/3, /*num_classes=*/3), Loss::kCrossEntropy);
  EXPECT_EQ(ChooseLoss(options, 100, 5, 1, 2), Loss::kLogistic);
  EXPECT_EQ(ChooseLoss(options, 100, 5, 3, 0), Loss::kSquared);
  options.algorithm = Algorithm::kCountSketch;
  EXPECT_EQ(ChooseLoss(options, 100, 5, 3, 3), Loss::kCrossEntropy);
  options.algorithm = Algorithm::kAiht;
  EXPECT_EQ(ChooseLoss(options, 100, 5, 1, 2), Loss::kSquared);
  options.algorithm = Algorithm::kAuto;
  options.linear_term = LinearTerm::kDense;
  EXPECT_EQ(ChooseLoss(options, 100, 5, 1, 2), Loss::kSquared);
}

TEST(LayersTest, EpochsOfClassesAreIterations) {
  RecoveryOptions options;
  options.hidden_width = 6;
  options.nonzeros = 40;
  options.loss = Loss::kCrossEntropy;
  options.termination.max_iterations = 7;
  double best = std::numeric_limits<double>::infinity();
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    best = std::min(best, report.relative_residual);
    EXPECT_NEAR(std::sqrt(report.loss.value_or(-1) / std::log(3)), report.relative_residual, 1e-12);
    EXPECT_TRUE(report.accuracy.has_value());
    EXPECT_FALSE(report.r_squared.has_value());
    EXPECT_EQ(report.best_relative_residual, best);
  };
  const absl::StatusOr<RecoveryResult> result = Recover(Classes(3), options, {}, observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->iterations % 7, 0);
  EXPECT_GT(result->iterations, 7);
  EXPECT_EQ(result->starts_tried, 1);
  EXPECT_LE(result->nonzeros, 40);
}

TEST(LayersTest, ThreadsAndResumptionsChangeNoBit) {
  PlantedOptions planted = Base(5);
  planted.nonzeros = 24;
  const PlantedProblem problem = *GeneratePlanted(planted);
  RecoveryOptions options = OptionsFor(planted);
  options.termination.relative_residual_tolerance = 0;  // through all starts
  options.termination.max_iterations = 2;
  std::vector<std::string> checkpoints;
  std::vector<int64_t> iterations;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    iterations.push_back(report.iteration);
  };
  observer.checkpoint_due = [](const IterationReport& report) {
    return report.phase == SolvePhase::kTrain ? report.iteration % 40 == 0 : true;
  };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options, {}, observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (size_t k = 0; k < iterations.size(); ++k) {
    EXPECT_EQ(iterations[k], static_cast<int64_t>(k + 1));
  }
  options.num_threads = 3;
  EXPECT_EQ(Recover(problem.samples, options)->network, whole->network);
  ASSERT_GT(checkpoints.size(), 10U);
  for (size_t k = 0; k < checkpoints.size(); k += 9) {
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, checkpoints[k]);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->network, whole->network) << k;
    EXPECT_EQ(resumed->iterations, whole->iterations) << k;
  }
  checkpoints[0].resize(checkpoints[0].size() / 2);
  EXPECT_EQ(Recover(problem.samples, options, {}, {}, {}, checkpoints[0]).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LayersTest, AStopKeepsWhatIsFoundAndGoesOn) {
  PlantedOptions planted = Base(5);
  planted.nonzeros = 24;
  const PlantedProblem problem = *GeneratePlanted(planted);
  RecoveryOptions options = OptionsFor(planted);
  options.termination.max_iterations = 3;
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (int64_t last = 1; last < whole->iterations; last += 1 + whole->iterations / 3) {
    std::stop_source stop;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == last) stop.request_stop();
    };
    const absl::StatusOr<RecoveryResult> partial =
        Recover(problem.samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(partial.ok()) << partial.status();
    EXPECT_EQ(partial->termination_reason, TerminationReason::kCancelled) << last;
    EXPECT_LE(partial->nonzeros, options.nonzeros);
    EXPECT_TRUE(std::isfinite(partial->relative_residual));
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, partial->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->network, whole->network) << last;
  }
}

TEST(LayersTest, RefusalsNameTheField) {
  const PlantedProblem problem = *GeneratePlanted(Base(1));
  const auto message = [&](auto&& change) {
    RecoveryOptions options = OptionsFor(Base(1));
    RecoveryStart start;
    change(options, start);
    return std::string(Recover(problem.samples, options, start).status().message());
  };
  using testing::StartsWith;
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.hidden_layers = 17; }),
              StartsWith("hidden_layers:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.hidden_layers = 0; }),
              StartsWith("hidden_layers:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.algorithm = Algorithm::kNiht; }),
              StartsWith("algorithm:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.gate_mode = GateMode::kRandom; }),
              StartsWith("gate_mode:"));
  EXPECT_THAT(
      message([](RecoveryOptions& o, RecoveryStart&) { o.linear_term = LinearTerm::kDense; }),
      StartsWith("linear_term:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.batch_size = 10; }),
              StartsWith("batch_size:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.loss = Loss::kCrossEntropy; }),
              StartsWith("loss:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.loss = Loss::kLogistic; }),
              StartsWith("targets:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.nonzeros = 86; }),
              StartsWith("nonzeros:"));  // 12 * 5 + 5 * 5
  EXPECT_THAT(message([](RecoveryOptions&, RecoveryStart& s) {
                s.network = SparseNetwork{.num_inputs = 12};
              }),
              StartsWith("network:"));
}

TEST(FuseOutputTest, KeepsTheFunction) {
  for (const bool bias : {false, true}) {
    SparseNetwork network = {.num_inputs = 2, .has_bias = bias};
    network.weights = {.row_begin = {0, 2, 3}, .column = {0, 1, 1}, .value = {1, -2, 3}};
    network.upper_layers = {{.row_begin = {0, 2, 3}, .column = {0, 1, 1}, .value = {1, -1, 2}},
                            {.row_begin = {0, 2}, .column = {0, 1}, .value = {-0.5, 4}}};
    if (bias) {
      network.upper_layers[1] = {.row_begin = {0, 3}, .column = {0, 1, 2}, .value = {-0.5, 4, -7}};
    }
    const SparseNetwork fused = FuseOutput(network);
    ASSERT_TRUE(ValidateNetwork(fused).ok()) << ValidateNetwork(fused);
    EXPECT_TRUE(IsFused(fused));
    const std::vector<float> inputs = {1, 2, -3, 0.5, 4, -1, -1, -1};
    std::vector<double> expected(4);
    std::vector<double> actual(4);
    ASSERT_TRUE(Evaluate(network, {inputs.data(), 4, 2}, expected).ok());
    ASSERT_TRUE(Evaluate(fused, {inputs.data(), 4, 2}, actual).ok());
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(actual[i], expected[i], 1e-12);
  }
}

}  // namespace
}  // namespace thresher
