#include "core/pruning/distill.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"
#include "tests/core/pruning/pattern_groups.h"

namespace thresher {
namespace {

using testing::StartsWith;

constexpr int64_t kInputs = 12;

// A dense network around a sparse one, and inputs without targets.
struct Given {
  SparseNetwork network;
  Samples samples;
};
Given GivenNetwork(int64_t num_outputs) {
  CounterRandom random(3, 0);
  Given given;
  given.network = RandomLayeredNetwork(random, kInputs, {10, 8}, num_outputs, true, 1);
  for (SparseRows* rows : {&given.network.weights, &given.network.upper_layers[0]}) {
    for (double& value : rows->value) value *= random.NextUniform() < 0.2 ? 1 : 0.05;
  }
  given.samples = {.num_samples = 500, .num_inputs = kInputs, .num_outputs = num_outputs};
  given.samples.inputs = RandomInputs(random, 500, kInputs);
  given.samples.targets.resize(500 * num_outputs);
  return given;
}

DistillOptions Quick(Loss loss) {
  DistillOptions options;
  options.one_shot.nonzeros = 60;
  options.one_shot.loss = loss;
  options.start_factor = 2;
  options.epochs = 6;
  options.batch_size = 50;
  return options;
}

PruneResult DistillOrFail(const Given& given, const DistillOptions& options,
                          const PruneObserver& observer = {}, std::string_view checkpoint = {}) {
  auto result = Distill(given.network, given.samples, options, observer, {}, checkpoint);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

TEST(DistillTest, ComesCloserToTheNetworkThanItsStart) {
  Given given = GivenNetwork(2);
  given.samples = *WithNetworkTargets(given.network, given.samples, Loss::kSquared, 1);
  DistillOptions options = Quick(Loss::kSquared);
  const PruneResult result = DistillOrFail(given, options);
  EXPECT_LE(result.nonzeros, 60);
  const SparseNetwork start =
      *PruneOneShot(given.network, given.samples.input_view(), options.one_shot);
  EXPECT_LT(result.fit.loss, 0.8 * MeasureFit(start, given.samples, Loss::kSquared, 1)->loss);
}

TEST(DistillTest, AnswersOfClassesAreProbabilities) {
  const Given given = GivenNetwork(3);
  const Samples answered =
      *WithNetworkTargets(given.network, given.samples, Loss::kCrossEntropy, 2);
  EXPECT_TRUE(ValidateTargets(Loss::kCrossEntropy, answered).ok());
  EXPECT_EQ(answered.inputs, given.samples.inputs);
}

TEST(DistillTest, TheSameBitsForAnyNumberOfThreadsAndAfterAResume) {
  const Given given = GivenNetwork(3);
  DistillOptions options = Quick(Loss::kCrossEntropy);
  const SparseNetwork whole = DistillOrFail(given, options).network;
  std::string checkpoint;
  const PruneObserver observer = {
      .checkpoint_due = [](const PruneReport& report) { return report.iteration == 3; },
      .on_checkpoint = [&](std::string bytes) { checkpoint = std::move(bytes); }};
  DistillOrFail(given, options, observer);
  ASSERT_FALSE(checkpoint.empty());
  EXPECT_EQ(DistillOrFail(given, options, {}, checkpoint).network, whole);
  options.one_shot.num_threads = 3;
  EXPECT_EQ(DistillOrFail(given, options).network, whole);
  Given other = given;
  other.network.weights.value[0] += 1;
  EXPECT_THAT(
      std::string(
          Distill(other.network, other.samples, options, {}, {}, checkpoint).status().message()),
      StartsWith("checkpoint"));
}

TEST(DistillTest, RefinedNetworksHaveTheSameBitsTooAndNeuronsStayGone) {
  Given given = GivenNetwork(2);
  DistillOptions options = Quick(Loss::kSquared);
  options.one_shot.whole_neurons = true;
  const SparseNetwork whole = DistillOrFail(given, options).network;
  EXPECT_LT(ActiveNeurons(whole), ActiveNeurons(given.network));
  std::string checkpoint;
  const PruneObserver observer = {
      .checkpoint_due = [](const PruneReport& report) { return report.iteration == 4; },
      .on_checkpoint = [&](std::string bytes) { checkpoint = std::move(bytes); }};
  DistillOrFail(given, options, observer);
  ASSERT_FALSE(checkpoint.empty());
  EXPECT_EQ(DistillOrFail(given, options, {}, checkpoint).network, whole);
  options.one_shot.num_threads = 3;
  EXPECT_EQ(DistillOrFail(given, options).network, whole);
}

// Regression: dead neurons went, others were joined, and groups held more than the pattern says.
TEST(DistillTest, PatternsHoldInEveryGroupOfEveryLayer) {
  const Given given = GivenNetwork(3);
  for (const OneShotMethod method : {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                     OneShotMethod::kObs, OneShotMethod::kCurvature}) {
    for (const Loss loss : {Loss::kCrossEntropy, Loss::kSquared}) {
      for (const int64_t kept : {1, 2}) {
        for (const int64_t nonzeros : {40, 12}) {
          DistillOptions options = Quick(loss);
          options.one_shot.method = method;
          options.one_shot.nonzeros = nonzeros;
          options.one_shot.pattern_kept = kept;
          options.one_shot.pattern_size = 4;
          options.epochs = 2;
          const PruneResult result = DistillOrFail(given, options);
          EXPECT_LE(MostInGroup(result.network, 4), kept) << OneShotMethodName(method);
          EXPECT_LE(result.nonzeros, nonzeros);
          // What a path does: on from there.
          Given next = {result.network, given.samples};
          options.one_shot.nonzeros = std::max<int64_t>(result.nonzeros / 2, 1);
          EXPECT_LE(MostInGroup(DistillOrFail(next, options).network, 4), kept);
        }
      }
    }
  }
}

TEST(DistillTest, ABudgetTooSmallToConnectAnythingIsNoError) {
  const Given given = GivenNetwork(3);
  DistillOptions options = Quick(Loss::kCrossEntropy);
  options.one_shot.nonzeros = 1;
  options.start_factor = 1;
  const PruneResult result = DistillOrFail(given, options);
  EXPECT_LE(result.nonzeros, 1);
  EXPECT_EQ(NumOutputs(result.network), 3);
  EXPECT_TRUE(ValidateNetwork(result.network).ok());
}

TEST(DistillTest, BadRequestsNameTheField) {
  const Given given = GivenNetwork(2);
  const auto error_of = [&](const DistillOptions& options) {
    return std::string(Distill(given.network, given.samples, options).status().message());
  };
  DistillOptions options = Quick(Loss::kSquared);
  options.start_factor = 0.5;
  EXPECT_THAT(error_of(options), StartsWith("start_factor:"));
  options = Quick(Loss::kSquared);
  options.epochs = 0;
  EXPECT_THAT(error_of(options), StartsWith("epochs:"));
  options = Quick(Loss::kLogistic);
  EXPECT_THAT(error_of(options), StartsWith("loss:"));
  options = Quick(Loss::kSquared);
  options.one_shot.nonzeros = 0;
  EXPECT_THAT(error_of(options), StartsWith("nonzeros:"));
}

}  // namespace
}  // namespace thresher
