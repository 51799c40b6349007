// Layer-by-layer training through Recover.
#include "core/recovery/sequential.h"

#include <cmath>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/network/network.h"
#include "core/recovery/layers.h"
#include "core/recovery/path.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::StartsWith;

PlantedOptions Planted(uint64_t seed, int64_t num_outputs = 1, int64_t hidden_layers = 2) {
  return {.num_samples = 2000,
          .num_inputs = 100,
          .hidden_width = 10,
          .nonzeros = 100,
          .seed = seed,
          .num_outputs = num_outputs,
          .hidden_layers = hidden_layers};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.algorithm = Algorithm::kSequential;
  options.hidden_width = planted.hidden_width;
  options.hidden_layers = planted.hidden_layers;
  options.nonzeros = planted.nonzeros;
  options.termination.max_iterations = 15;
  options.termination.stagnation_iterations = 0;
  options.seed = planted.seed;
  return options;
}

TEST(SequentialTest, TwoPlantedLayersAreFitted) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const PlantedProblem problem = *GeneratePlanted(Planted(seed));
    const RecoveryOptions options = OptionsFor(Planted(seed));
    std::vector<int64_t> iterations;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      iterations.push_back(report.iteration);
    };
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, {}, observer);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto& network = std::get<SparseNetwork>(result->network);
    ASSERT_TRUE(ValidateNetwork(network).ok()) << ValidateNetwork(network);
    EXPECT_TRUE(IsFused(network));
    EXPECT_EQ(HiddenWidths(network).size(), 2U);
    EXPECT_LE(network.weights.nonzeros(), 50);
    EXPECT_LE(network.upper_layers[0].nonzeros(), 50);
    EXPECT_EQ(result->nonzeros, Nonzeros(network));
    EXPECT_EQ(result->iterations, 30);
    ASSERT_EQ(iterations.size(), 30U);
    for (size_t k = 0; k < 30; ++k) EXPECT_EQ(iterations[k], static_cast<int64_t>(k + 1));
    EXPECT_GE(result->psnr_db, 25);
    EXPECT_NEAR(MeasureFitQuality(network, problem.samples)->relative_residual,
                result->relative_residual, 1e-12);
  }
}

TEST(SequentialTest, AStageIsARecoveryFromTheValuesBelow) {
  for (const int64_t num_outputs : {1, 4}) {
    const PlantedOptions planted = Planted(7, num_outputs);
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    options.bias = true;
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    const RecoveryOptions stage = StageOptions(options, 100, num_outputs);
    EXPECT_EQ(stage.nonzeros, 50);
    const absl::StatusOr<RecoveryResult> first = Recover(problem.samples, stage);
    ASSERT_TRUE(first.ok()) << first.status();
    const SparseRows& units = std::get<SparseNetwork>(first->network).weights;
    const Samples values = UnitValues(units, problem.samples);
    const absl::StatusOr<RecoveryResult> second =
        Recover(values, StageOptions(options, values.num_inputs, num_outputs));
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(second->options_used.algorithm,
              num_outputs == 1 ? Algorithm::kAiht : Algorithm::kCountSketch);
    EXPECT_NEAR(second->relative_residual, result->relative_residual, 1e-5);
    EXPECT_EQ(NumOutputs(result->network), num_outputs);
    EXPECT_LE(result->nonzeros, options.nonzeros);
  }
}

TEST(SequentialTest, OneLayerIsTheAlgorithmItself) {
  for (const int64_t num_outputs : {1, 3}) {
    const PlantedOptions planted = Planted(2, num_outputs, 1);
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    options.algorithm = num_outputs == 1 ? Algorithm::kAiht : Algorithm::kCountSketch;
    EXPECT_EQ(Recover(problem.samples, options)->network, result->network);
  }
}

TEST(SequentialTest, ThreadsStopsAndResumptionsChangeNoBit) {
  for (const int64_t num_outputs : {1, 4}) {
    const PlantedOptions planted = Planted(3, num_outputs, 3);
    const PlantedProblem problem = *GeneratePlanted(planted);
    RecoveryOptions options = OptionsFor(planted);
    options.batch_size = 900;
    std::vector<std::string> checkpoints;
    RecoveryObserver observer;
    observer.checkpoint_due = [](const IterationReport& report) {
      return report.iteration % 5 == 0;
    };
    observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
    const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options, {}, observer);
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_EQ(HiddenWidths(std::get<SparseNetwork>(whole->network)).size(), 3U);
    options.num_threads = 3;
    EXPECT_EQ(Recover(problem.samples, options)->network, whole->network);
    ASSERT_EQ(checkpoints.size(), 9U);
    checkpoints.push_back(whole->checkpoint);
    for (const int64_t last : {1, 15, 22}) {
      std::stop_source stop;
      RecoveryObserver stopper;
      stopper.on_iteration = [&](const IterationReport& report) {
        if (report.iteration == last) stop.request_stop();
      };
      const absl::StatusOr<RecoveryResult> partial =
          Recover(problem.samples, options, {}, stopper, stop.get_token());
      ASSERT_TRUE(partial.ok()) << partial.status();
      EXPECT_EQ(partial->termination_reason, TerminationReason::kCancelled);
      EXPECT_EQ(partial->iterations, last);
      EXPECT_LE(partial->nonzeros, options.nonzeros);
      EXPECT_TRUE(std::isfinite(partial->relative_residual));
      EXPECT_TRUE(ValidateNetwork(std::get<SparseNetwork>(partial->network)).ok());
      checkpoints.push_back(partial->checkpoint);
    }
    for (const std::string& checkpoint : checkpoints) {
      const absl::StatusOr<RecoveryResult> resumed =
          Recover(problem.samples, options, {}, {}, {}, checkpoint);
      ASSERT_TRUE(resumed.ok()) << resumed.status();
      EXPECT_EQ(resumed->network, whole->network);
      EXPECT_EQ(resumed->iterations, whole->iterations);
      EXPECT_EQ(resumed->termination_reason, whole->termination_reason);
    }
    EXPECT_EQ(
        Recover(problem.samples, options, {}, {}, {}, checkpoints[4].substr(0, 60)).status().code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST(SequentialTest, LayersThatFindNothingStillGiveANetwork) {
  // Networks without subtracting neurons cannot follow targets below zero.
  PlantedProblem problem = *GeneratePlanted(Planted(5));
  for (float& target : problem.samples.targets) target = -1 - std::abs(target);
  RecoveryOptions options = OptionsFor(Planted(5));
  for (const int64_t nonzeros : {2, 3, 100}) {
    options.nonzeros = nonzeros;
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto& network = std::get<SparseNetwork>(result->network);
    EXPECT_TRUE(ValidateNetwork(network).ok()) << ValidateNetwork(network);
    EXPECT_LE(result->nonzeros, nonzeros);
    EXPECT_TRUE(std::isfinite(result->relative_residual));
  }
}

TEST(SequentialTest, RefusalsNameTheField) {
  const PlantedProblem problem = *GeneratePlanted(Planted(1));
  const auto message = [&](const std::function<void(RecoveryOptions&, RecoveryStart&)>& change) {
    RecoveryOptions options = OptionsFor(Planted(1));
    RecoveryStart start;
    change(options, start);
    const absl::Status status = Recover(problem.samples, options, start).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.nonzeros = 1; }),
              StartsWith("nonzeros:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.nonzeros = 0; }),
              StartsWith("nonzeros:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.loss = Loss::kLogistic; }),
              StartsWith("loss:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.step_size = 0.1; }),
              StartsWith("step_size:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.working_nonzeros = 200; }),
              StartsWith("working_nonzeros:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart&) { o.gate_mode = GateMode::kRandom; }),
              StartsWith("gate_mode:"));
  EXPECT_THAT(
      message([](RecoveryOptions& o, RecoveryStart&) { o.linear_term = LinearTerm::kDense; }),
      StartsWith("linear_term:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart& s) {
                o.hidden_layers = 1;
                s.network = SparseNetwork{.num_inputs = 100};
              }),
              StartsWith("network:"));
  EXPECT_THAT(message([](RecoveryOptions& o, RecoveryStart& s) {
                o.hidden_layers = 1;
                s.gates = GateVectorSet{10, std::vector<double>(1000, 1.0)};
              }),
              StartsWith("gates:"));
  RecoveryOptions of_path = OptionsFor(Planted(1));
  of_path.nonzeros = 0;
  of_path.hidden_layers = 1;
  EXPECT_THAT(std::string(RecoverPath(problem.samples, of_path,
                                      PathOptions{.min_nonzeros = 1, .max_nonzeros = 9})
                              .status()
                              .message()),
              StartsWith("algorithm:"));
}

TEST(SequentialTest, LayersThatTrainForClasses) {
  PlantedProblem problem = *GeneratePlanted(Planted(6, 2));
  Samples& samples = problem.samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.targets.data() + 2 * i;
    row[0] = row[0] > row[1] ? 1.0F : 0.0F;
    row[1] = 1 - row[0];
  }
  RecoveryOptions options = OptionsFor(Planted(6, 2));
  options.loss = Loss::kCrossEntropy;
  options.batch_size = 200;
  const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& network = std::get<SparseNetwork>(result->network);
  EXPECT_TRUE(ValidateNetwork(network).ok()) << ValidateNetwork(network);
  EXPECT_EQ(NumOutputs(network), 2);
  EXPECT_LE(result->nonzeros, options.nonzeros);
  EXPECT_TRUE(std::isfinite(result->relative_residual));
}

}  // namespace
}  // namespace thresher
