#include "core/pruning/one_shot.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/evaluation.h"
#include "core/network/merge.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"
#include "tests/core/pruning/pattern_groups.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr int64_t kInputs = 24;
constexpr int64_t kSamples = 600;
constexpr OneShotMethod kMethods[] = {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                      OneShotMethod::kObs, OneShotMethod::kCurvature};

// Inputs that share causes, so that weights can stand in for each other.
std::vector<float> CorrelatedInputs() {
  CounterRandom random(1, 0);
  std::vector<float> inputs;
  for (int64_t i = 0; i < kSamples; ++i) {
    double cause[6];
    for (double& c : cause) c = random.NextNormal();
    for (int64_t q = 0; q < kInputs; ++q) {
      inputs.push_back(static_cast<float>(cause[q % 6] * (1 + q / 6) + 0.3 * random.NextNormal()));
    }
  }
  return inputs;
}

SparseNetwork DenseNetwork(int64_t num_outputs = 3) {
  CounterRandom random(2, 0);
  return RandomLayeredNetwork(random, kInputs, {16, 12}, num_outputs, true, 1);
}

InputView View(const std::vector<float>& inputs) {
  return {inputs.data(), static_cast<int64_t>(inputs.size()) / kInputs, kInputs};
}

SparseNetwork PruneOrFail(const SparseNetwork& network, const std::vector<float>& inputs,
                          const OneShotOptions& options) {
  auto pruned = PruneOneShot(network, View(inputs), options);
  EXPECT_TRUE(pruned.ok()) << pruned.status();
  return *std::move(pruned);
}

double SquaredError(const SparseNetwork& a, const SparseNetwork& b,
                    const std::vector<float>& inputs) {
  std::vector<double> of_a(kSamples * NumOutputs(a));
  std::vector<double> of_b(of_a.size());
  EXPECT_TRUE(Evaluate(a, View(inputs), of_a).ok());
  EXPECT_TRUE(Evaluate(b, View(inputs), of_b).ok());
  double sum = 0;
  for (size_t k = 0; k < of_a.size(); ++k) sum += (of_a[k] - of_b[k]) * (of_a[k] - of_b[k]);
  return sum;
}

TEST(OneShotTest, KeepsTheBudgetForAllMethodsAndScopes) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  for (const OneShotMethod method : kMethods) {
    for (const PruneScope scope : {PruneScope::kGlobal, PruneScope::kPerLayer}) {
      OneShotOptions options{.method = method, .nonzeros = 200, .scope = scope, .stages = 4};
      const SparseNetwork pruned = PruneOrFail(network, inputs, options);
      EXPECT_TRUE(ValidateNetwork(pruned).ok());
      EXPECT_LE(Nonzeros(pruned), 200) << OneShotMethodName(method);
      EXPECT_GT(Nonzeros(pruned), 100) << OneShotMethodName(method);
      EXPECT_EQ(NumOutputs(pruned), 3);
    }
  }
}

// Regression: the share of the output layer read few units, and what led into the others was lost.
TEST(OneShotTest, SmallBudgetsPerLayerAreSpentOnWhatIsRead) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  for (const OneShotMethod method : kMethods) {
    for (const int64_t nonzeros : {60, 120}) {
      const SparseNetwork pruned = PruneOrFail(
          network, inputs,
          {.method = method, .nonzeros = nonzeros, .scope = PruneScope::kPerLayer, .stages = 4});
      EXPECT_LE(Nonzeros(pruned), nonzeros);
      EXPECT_GE(Nonzeros(pruned), nonzeros * 8 / 10) << OneShotMethodName(method);
    }
  }
}

TEST(OneShotTest, MagnitudeKeepsTheLargestWeights) {
  const SparseNetwork network = DenseNetwork();
  const SparseNetwork pruned =
      PruneOrFail(network, {}, {.method = OneShotMethod::kMagnitude, .nonzeros = 300});
  double least = INFINITY;
  for (const SparseRows* rows : {&pruned.weights, &pruned.upper_layers[0]}) {
    for (const double value : rows->value) least = std::min(least, std::abs(value));
  }
  int64_t above = 0;
  for (const SparseRows* rows :
       {&network.weights, &network.upper_layers[0], &network.upper_layers[1]}) {
    for (const double value : rows->value) above += std::abs(value) >= least ? 1 : 0;
  }
  EXPECT_LE(above, 300);
}

TEST(OneShotTest, AllWeightsLeaveTheFunction) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  const double size = SquaredError(network,
                                   SparseNetwork{.num_inputs = kInputs,
                                                 .has_bias = true,
                                                 .weights = {.row_begin = {0, 0}},
                                                 .upper_layers = {{.row_begin = {0, 0, 0, 0}}}},
                                   inputs);
  for (const OneShotMethod method : kMethods) {
    const SparseNetwork pruned = PruneOrFail(
        network, inputs,
        {.method = method, .nonzeros = Nonzeros(network), .damping = 1e-4, .stages = 2});
    EXPECT_LT(SquaredError(network, pruned, inputs), 1e-6 * size) << OneShotMethodName(method);
  }
}

// Causes are shared, so what goes can be made up for.
TEST(OneShotTest, SecondOrderMethodsAreFarCloserThanMagnitude) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  const auto error_of = [&](OneShotMethod method) {
    return SquaredError(network, PruneOrFail(network, inputs, {.method = method, .nonzeros = 250}),
                        inputs);
  };
  const double magnitude = error_of(OneShotMethod::kMagnitude);
  EXPECT_LT(error_of(OneShotMethod::kObs), 0.3 * magnitude);
  EXPECT_LT(error_of(OneShotMethod::kCurvature), 0.5 * magnitude);
}

TEST(OneShotTest, TheSameBitsForAnyNumberOfThreads) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  for (const OneShotMethod method : kMethods) {
    OneShotOptions options{.method = method, .nonzeros = 150, .stages = 3};
    const SparseNetwork one = PruneOrFail(network, inputs, options);
    options.num_threads = 3;
    EXPECT_EQ(PruneOrFail(network, inputs, options), one) << OneShotMethodName(method);
  }
}

// Regression: dead neurons went and the columns of the layer above shifted out of their groups.
TEST(OneShotTest, PatternsHoldInEveryGroupOfEveryLayer) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  int64_t dropped = 0;
  for (const OneShotMethod method : kMethods) {
    for (const int64_t kept : {1, 2}) {
      for (const PruneScope scope : {PruneScope::kGlobal, PruneScope::kPerLayer}) {
        for (const int64_t nonzeros : {Nonzeros(network), int64_t{90}, int64_t{30}, int64_t{3}}) {
          const SparseNetwork pruned = PruneOrFail(network, inputs,
                                                   {.method = method,
                                                    .nonzeros = nonzeros,
                                                    .scope = scope,
                                                    .pattern_kept = kept,
                                                    .pattern_size = 4,
                                                    .stages = 2});
          EXPECT_TRUE(ValidateNetwork(pruned).ok());
          EXPECT_LE(MostInGroup(pruned, 4), kept) << OneShotMethodName(method) << nonzeros;
          EXPECT_LE(Nonzeros(pruned), nonzeros);
          // Without the pattern's rows that are dead it is the same function.
          const SparseNetwork compact = DropDeadNeurons(pruned);
          EXPECT_EQ(SquaredError(pruned, compact, inputs), 0);
          EXPECT_EQ(ActiveNeurons(compact), ActiveNeurons(pruned));
          EXPECT_EQ(Nonzeros(compact), Nonzeros(pruned));
          dropped += MostInGroup(compact, 4) > kept ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(dropped, 0);  // or the test would not see the bug
}

TEST(OneShotTest, WholeNeuronsGo) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  for (const OneShotMethod method : kMethods) {
    const SparseNetwork pruned = PruneOrFail(
        network, inputs, {.method = method, .nonzeros = 300, .whole_neurons = true, .stages = 3});
    const std::vector<int64_t> widths = HiddenWidths(pruned);
    EXPECT_LE(Nonzeros(pruned), 300);
    EXPECT_LT(widths[0] + widths[1], 28);
    // Layers stay dense.
    EXPECT_EQ(pruned.weights.nonzeros(), widths[0] * (kInputs + 1)) << OneShotMethodName(method);
    EXPECT_EQ(pruned.upper_layers[0].nonzeros(), widths[1] * (widths[0] + 1));
  }
}

TEST(OneShotTest, FusedNetworksGetAnOutputLayer) {
  CounterRandom random(5, 0);
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = RandomSparseNetwork(random, 8, kInputs, true, 1);
  const SparseNetwork pruned =
      PruneOrFail(network, inputs, {.method = OneShotMethod::kActivation, .nonzeros = 208});
  EXPECT_FALSE(IsFused(pruned));
  EXPECT_LT(SquaredError(network, pruned, inputs), 1e-12);
}

TEST(OneShotTest, BadRequestsNameTheField) {
  const std::vector<float> inputs = CorrelatedInputs();
  const SparseNetwork network = DenseNetwork();
  const auto error_of = [&](const OneShotOptions& options) {
    return std::string(PruneOneShot(network, View(inputs), options).status().message());
  };
  EXPECT_THAT(error_of({.nonzeros = 0}), StartsWith("nonzeros:"));
  EXPECT_THAT(error_of({.nonzeros = 100000}), StartsWith("nonzeros:"));
  EXPECT_THAT(error_of({.nonzeros = 9, .pattern_kept = 4, .pattern_size = 4}),
              StartsWith("pattern_kept:"));
  EXPECT_THAT(error_of({.nonzeros = 9, .loss = Loss::kLogistic}), StartsWith("loss:"));
  EXPECT_THAT(error_of({.nonzeros = 9, .damping = NAN}), StartsWith("damping:"));
  EXPECT_THAT(error_of({.nonzeros = 9, .stages = 0}), StartsWith("stages:"));
  EXPECT_THAT(error_of({.nonzeros = 9, .num_threads = 0}), StartsWith("num_threads:"));
  std::vector<float> bad = inputs;
  bad[5] = NAN;
  EXPECT_THAT(std::string(PruneOneShot(network, View(bad), {.nonzeros = 9}).status().message()),
              StartsWith("inputs:"));
  EXPECT_THAT(std::string(PruneOneShot(network, {}, {.nonzeros = 9}).status().message()),
              StartsWith("inputs:"));
  SparseNetwork linear = network;
  linear.upper_layers.clear();
  linear.output_signs.assign(16, 1);
  linear.linear.assign(kInputs + 1, 1.0);
  EXPECT_THAT(std::string(PruneOneShot(linear, View(inputs), {.nonzeros = 9}).status().message()),
              HasSubstr("linear"));
}

TEST(OneShotTest, StopsWhenAsked) {
  std::stop_source stop;
  stop.request_stop();
  const std::vector<float> inputs = CorrelatedInputs();
  EXPECT_EQ(
      PruneOneShot(DenseNetwork(), View(inputs), {.nonzeros = 9}, stop.get_token()).status().code(),
      absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace thresher
