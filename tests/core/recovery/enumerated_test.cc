// Recovery over the enumerated gates of two-sparse neurons.
#include "core/recovery/enumerated.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/compare.h"
#include "core/recovery/recovery.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

struct Planted {
  Samples samples;
  SparseNetwork network;
};

struct Shape {
  int64_t num_samples = 1200;
  int64_t num_inputs = 30;
  int64_t hidden_width = 5;
  double correlation = 0;  // of neighbouring inputs
  OutputSigns signs = OutputSigns::kPositive;
  int weights_a_neuron = 2;
  double input_scale = 1;
  double target_scale = 1;
  bool bias = false;
};

// Neurons on distinct inputs drawn at random, weights N(0, 1).
Planted Plant(const Shape& shape, uint64_t seed) {
  CounterRandom random(seed, 1);
  Planted planted;
  planted.samples.num_samples = shape.num_samples;
  planted.samples.num_inputs = shape.num_inputs;
  for (int64_t i = 0; i < shape.num_samples; ++i) {
    double last = random.NextNormal();
    for (int64_t q = 0; q < shape.num_inputs; ++q) {
      last = shape.correlation * last +
             std::sqrt(1 - shape.correlation * shape.correlation) * random.NextNormal();
      planted.samples.inputs.push_back(static_cast<float>(shape.input_scale * last));
    }
  }
  SparseNetwork& network = planted.network;
  network.num_inputs = shape.num_inputs;
  network.has_bias = shape.bias;
  for (int64_t j = 0; j < shape.hidden_width; ++j) {
    std::vector<int32_t> columns;
    while (static_cast<int>(columns.size()) < shape.weights_a_neuron) {
      const auto q = static_cast<int32_t>(random.NextBelow(network.num_columns()));
      if (std::find(columns.begin(), columns.end(), q) == columns.end()) columns.push_back(q);
    }
    std::sort(columns.begin(), columns.end());
    for (const int32_t q : columns) {
      network.weights.column.push_back(q);
      network.weights.value.push_back(shape.target_scale * random.NextNormal());
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
    const bool subtracts = shape.signs == OutputSigns::kMixed && j % 2 == 1;
    network.output_signs.push_back(static_cast<int8_t>(subtracts ? -1 : 1));
  }
  std::vector<double> targets(shape.num_samples);
  EXPECT_TRUE(Evaluate(network, planted.samples.input_view(), targets).ok());
  planted.samples.targets.assign(targets.begin(), targets.end());
  return planted;
}

RecoveryOptions OptionsFor(const Shape& shape) {
  RecoveryOptions options;
  options.hidden_width = shape.hidden_width;
  options.nonzeros = shape.weights_a_neuron * shape.hidden_width;
  options.gate_mode = GateMode::kEnumerated;
  options.output_signs = shape.signs;
  options.bias = shape.bias;
  return options;
}

class PlantedTest : public testing::TestWithParam<Shape> {};

TEST_P(PlantedTest, IsFoundExactly) {
  const Shape& shape = GetParam();
  for (uint64_t seed = 0; seed < 3; ++seed) {
    SCOPED_TRACE(testing::Message() << "m = " << shape.hidden_width << ", seed " << seed);
    const Planted planted = Plant(shape, seed);
    const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, OptionsFor(shape));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
    EXPECT_EQ(result->options_used.algorithm, Algorithm::kCosamp);
    ASSERT_TRUE(std::holds_alternative<SparseNetwork>(result->network));
    const auto& network = std::get<SparseNetwork>(result->network);
    EXPECT_LE(network.hidden_width(), shape.hidden_width);
    EXPECT_LE(network.weights.nonzeros(), shape.weights_a_neuron * shape.hidden_width);
    if (shape.signs == OutputSigns::kPositive) {
      EXPECT_THAT(network.output_signs, testing::Each(1));
    }
    // On samples that the solver has not seen.
    const Planted fresh = Plant(shape, seed + 1000);
    const absl::StatusOr<NetworkComparison> comparison =
        CompareNetworks(network, planted.network, fresh.samples.input_view());
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    EXPECT_GE(comparison->psnr_db, 120);
    EXPECT_LE(comparison->relative_weight_error, 1e-4);
    EXPECT_TRUE(comparison->same_support);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PlantedTest,
    testing::Values(Shape{.hidden_width = 1}, Shape{.hidden_width = 2}, Shape{.hidden_width = 5},
                    Shape{.num_inputs = 40, .hidden_width = 10},
                    Shape{.hidden_width = 5, .signs = OutputSigns::kMixed},
                    Shape{.hidden_width = 5, .correlation = 0.5},
                    Shape{.hidden_width = 4, .correlation = 0.5, .signs = OutputSigns::kMixed},
                    // One weight a neuron, on distinct half-spaces almost surely.
                    Shape{.hidden_width = 3, .weights_a_neuron = 1},
                    // Fewer samples than the linear term would need.
                    Shape{.num_samples = 90, .hidden_width = 2},
                    Shape{.hidden_width = 3, .input_scale = 1e-6},
                    Shape{.hidden_width = 3, .target_scale = 1e6},
                    Shape{.hidden_width = 4, .bias = true}));

// Gates that stand apart from the weights: no ReLU network has these targets.
TEST(EnumeratedTest, AGatedNetworkIsFoundWhereNoReluNetworkFits) {
  Planted planted = Plant({.hidden_width = 1}, 3);
  for (int64_t i = 0; i < planted.samples.num_samples; ++i) {
    const std::span<const float> x = planted.samples.input_view().row(i);
    const double product = 1.5 * x[7] + 0.5 * x[11];
    planted.samples.targets[i] = static_cast<float>(0.8 * x[7] - x[11] > 0 ? product : 0.0);
  }
  const Shape shape = {.hidden_width = 1};
  const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, OptionsFor(shape));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(std::holds_alternative<GatedNetwork>(result->network));
  const auto& network = std::get<GatedNetwork>(result->network);
  EXPECT_TRUE(ValidateNetwork(network).ok());
  EXPECT_THAT(network.weights.column, testing::ElementsAre(7, 11));
  EXPECT_NEAR(network.weights.value[0], 1.5, 1e-4);
  EXPECT_NEAR(network.weights.value[1], 0.5, 1e-4);
  EXPECT_LE(result->relative_residual, 1e-6);
  EXPECT_EQ(result->nonzeros, 2);
}

// A linear function is two neurons, (x)_+ - (-x)_+.
TEST(EnumeratedTest, ALinearTargetIsFoundWithMixedSigns) {
  Planted planted = Plant({.hidden_width = 1}, 4);
  for (int64_t i = 0; i < planted.samples.num_samples; ++i) {
    planted.samples.targets[i] = 3 * planted.samples.input_view().row(i)[5];
  }
  const Shape shape = {.hidden_width = 2, .signs = OutputSigns::kMixed};
  const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, OptionsFor(shape));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->relative_residual, 1e-6);
}

// Noise that 40 dB of signal stand above leaves the support alone.
TEST(EnumeratedTest, NoiseLeavesTheSupportAlone) {
  const Shape shape = {.hidden_width = 4};
  Planted planted = Plant(shape, 5);
  CounterRandom random(6, 2);
  for (float& target : planted.samples.targets) {
    target += static_cast<float>(0.01 * random.NextNormal());
  }
  const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, OptionsFor(shape));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->termination_reason, TerminationReason::kStagnated);
  const absl::StatusOr<NetworkComparison> comparison = CompareNetworks(
      std::get<SparseNetwork>(result->network), planted.network, planted.samples.input_view());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_TRUE(comparison->same_support);
}

// Targets that no network of this size explains: all phases run, and the invariants hold.
Planted Hard(uint64_t seed) {
  Planted planted = Plant({.num_samples = 400, .num_inputs = 12, .hidden_width = 8}, seed);
  CounterRandom random(seed, 3);
  for (float& target : planted.samples.targets) {
    target += static_cast<float>(0.5 * random.NextNormal());
  }
  return planted;
}
RecoveryOptions HardOptions() {
  RecoveryOptions options = OptionsFor({.hidden_width = 4, .signs = OutputSigns::kMixed});
  options.nonzeros = 7;
  return options;
}

TEST(EnumeratedTest, KeepsItsInvariants) {
  const Planted planted = Hard(7);
  std::vector<SolvePhase> phases;
  double last_best = 0;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    EXPECT_EQ(report.iteration, static_cast<int64_t>(phases.size()) + 1);
    EXPECT_LE(report.support_size, 14);
    EXPECT_TRUE(std::isfinite(report.relative_residual));
    if (report.phase == SolvePhase::kSwap && phases.back() == SolvePhase::kSwap) {
      EXPECT_LE(report.best_relative_residual, last_best);
    }
    last_best = report.best_relative_residual;
    phases.push_back(report.phase);
  };
  const absl::StatusOr<RecoveryResult> result =
      Recover(planted.samples, HardOptions(), {}, observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->termination_reason, TerminationReason::kStagnated);
  EXPECT_THAT(phases, testing::IsSupersetOf({SolvePhase::kExpand, SolvePhase::kPrune,
                                             SolvePhase::kSwap, SolvePhase::kIterate}));
  EXPECT_LE(result->nonzeros, 7);
  EXPECT_LE(result->active_neurons, 4);
  EXPECT_LT(result->relative_residual, 1);
  EXPECT_EQ(result->nonzeros, Nonzeros(result->network));
  EXPECT_EQ(result->options_used.working_nonzeros, DefaultEnumeratedSupport(7));
}

TEST(EnumeratedTest, HasTheSameBitsForAnyThreadsAndAnyMemory) {
  const Planted planted = Hard(8);
  RecoveryOptions options = HardOptions();
  const absl::StatusOr<RecoveryResult> one = Recover(planted.samples, options);
  ASSERT_TRUE(one.ok()) << one.status();
  for (const int num_threads : {1, 2, 3}) {
    for (const int64_t limit : {int64_t{0}, int64_t{20000}, int64_t{64} << 20}) {
      options.num_threads = num_threads;
      options.mask_memory_limit_bytes = limit;
      const absl::StatusOr<RecoveryResult> other = Recover(planted.samples, options);
      ASSERT_TRUE(other.ok()) << other.status();
      EXPECT_TRUE(other->network == one->network);
      EXPECT_EQ(other->iterations, one->iterations);
    }
  }
}

TEST(EnumeratedTest, ResumesFromEveryCheckpointToTheSameBits) {
  const Planted planted = Hard(9);
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  observer.checkpoint_due = [](const IterationReport&) { return true; };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  const absl::StatusOr<RecoveryResult> whole =
      Recover(planted.samples, HardOptions(), {}, observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_EQ(static_cast<int64_t>(checkpoints.size()), whole->iterations);
  for (const std::string& checkpoint : checkpoints) {
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(planted.samples, HardOptions(), {}, {}, {}, checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network);
    EXPECT_EQ(resumed->iterations, whole->iterations);
    EXPECT_EQ(resumed->termination_reason, whole->termination_reason);
  }
}

TEST(EnumeratedTest, AStopRequestKeepsAStateToResumeFrom) {
  const Planted planted = Hard(10);
  const absl::StatusOr<RecoveryResult> whole = Recover(planted.samples, HardOptions());
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (int64_t stop_after = 0; stop_after < whole->iterations; ++stop_after) {
    std::stop_source stop;
    if (stop_after == 0) stop.request_stop();
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == stop_after) stop.request_stop();
    };
    const absl::StatusOr<RecoveryResult> stopped =
        Recover(planted.samples, HardOptions(), {}, observer, stop.get_token());
    ASSERT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(stopped->termination_reason, TerminationReason::kCancelled);
    EXPECT_EQ(stopped->iterations, stop_after);
    EXPECT_LE(stopped->nonzeros, 7);
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(planted.samples, HardOptions(), {}, {}, {}, stopped->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network);
  }
}

TEST(EnumeratedTest, DamagedCheckpointsAreRefused) {
  const Planted planted = Hard(11);
  RecoveryOptions options = HardOptions();
  options.termination.max_iterations = 2;
  const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  for (size_t at = 0; at < result->checkpoint.size(); at += 7) {
    std::string damaged = result->checkpoint;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    EXPECT_EQ(Recover(planted.samples, options, {}, {}, {}, damaged).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  options.nonzeros = 6;
  const absl::Status other =
      Recover(planted.samples, options, {}, {}, {}, result->checkpoint).status();
  EXPECT_THAT(std::string(other.message()), testing::StartsWith("checkpoint"));
}

TEST(EnumeratedTest, DegenerateDataDoesNotBreakAnything) {
  // Duplicated samples, a constant and a zero column, two collinear columns, binary columns.
  Planted planted = Hard(12);
  Samples& samples = planted.samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.inputs.data() + i * samples.num_inputs;
    row[0] = 0;
    row[1] = 3;
    row[3] = row[2];
    for (const int q : {4, 5, 6}) row[q] = row[q] > 0 ? 1.0f : -1.0f;
    if (i % 2 == 1) {
      std::copy_n(row - samples.num_inputs, samples.num_inputs, row);
      samples.targets[i] = samples.targets[i - 1];
    }
  }
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    for (const bool bias : {false, true}) {
      RecoveryOptions options = HardOptions();
      options.output_signs = signs;
      options.bias = bias;
      const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(std::isfinite(result->relative_residual));
      EXPECT_LE(result->nonzeros, 7);
    }
  }
}

TEST(EnumeratedTest, TinyProblemsAreTaken) {
  Samples samples;
  samples.num_inputs = 2;
  RecoveryOptions options = OptionsFor({.hidden_width = 1});
  for (const int64_t n : {2, 3}) {
    samples.num_samples = n;
    samples.inputs = {1, 2, -1, 1, 0, 0};
    samples.targets = {3, 0, 1};
    samples.inputs.resize(2 * n);
    samples.targets.resize(n);
    for (const int64_t nonzeros : {1, 2}) {
      options.nonzeros = nonzeros;
      const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_LE(result->nonzeros, nonzeros);
    }
  }
}

TEST(EnumeratedTest, OptionsThatDoNotFitAreRefused) {
  const RecoveryOptions good = HardOptions();
  EXPECT_TRUE(ValidateOptions(good, 400, 12).ok());
  const auto refused = [&](auto change, int64_t num_inputs, const char* field) {
    RecoveryOptions options = good;
    change(options);
    const absl::Status status = ValidateOptions(options, 400, num_inputs);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(field));
  };
  for (const Algorithm algorithm :
       {Algorithm::kWinnow, Algorithm::kIht, Algorithm::kNiht, Algorithm::kAiht, Algorithm::kHtp,
        Algorithm::kSplicing, Algorithm::kReciprocal, Algorithm::kSvrg}) {
    refused([&](auto& o) { o.algorithm = algorithm; }, 12, "algorithm");
  }
  refused([](auto& o) { o.batch_size = 100; }, 12, "batch_size");
  refused([](auto& o) { o.nonzeros = 2; }, 1, "gate_mode");
  RecoveryOptions with_bias = good;
  with_bias.bias = true;
  with_bias.nonzeros = 2;
  EXPECT_TRUE(ValidateOptions(with_bias, 400, 1).ok());
  RecoveryStart start;
  start.gates = GateVectorSet{4, std::vector<double>(48, 1.0)};
  EXPECT_THAT(std::string(Recover(Hard(13).samples, good, start).status().message()),
              testing::StartsWith("gates"));
}

// Orders of the samples are the larger part of the memory, up to their limit.
TEST(EnumeratedTest, TheCostCountsTheOrders) {
  RecoveryOptions options = OptionsFor({.hidden_width = 10});
  const RecoveryCost with_orders = PredictCost(options, 5000, 100);
  options.mask_memory_limit_bytes = 0;
  const RecoveryCost without = PredictCost(options, 5000, 100);
  constexpr int64_t kOrders = int64_t{4950} * 5000 * 2;
  EXPECT_GT(with_orders.peak_memory_bytes - without.peak_memory_bytes, kOrders);
  EXPECT_LT(with_orders.peak_memory_bytes - without.peak_memory_bytes, kOrders + kOrders / 5);
  EXPECT_GT(with_orders.flops_per_iteration, 4950.0 * 5000);
}

}  // namespace
}  // namespace thresher
