// Predicted memory of pruning given networks against what a process really takes.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "core/gates/random_gates.h"
#include "core/pruning/prune_path.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

constexpr int64_t kFixedBytes = 16 * 1024 * 1024;  // in every prediction

// By how much a process of its own grows while it does `work`.
int64_t PeakBytesOf(const std::function<bool()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work() ? 0 : 1);
  int state = 0;
  rusage of_child = {};
  EXPECT_EQ(wait4(child, &state, 0, &of_child), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  return int64_t{1024} * of_child.ru_maxrss;
}

struct Given {
  SparseNetwork network;
  Samples samples;
};
Given LargeNetwork() {
  CounterRandom random(7, 0);
  Given given;
  given.network = RandomLayeredNetwork(random, 400, {200, 40}, 10, true, 1);
  given.samples = {.num_samples = 2500, .num_inputs = 400, .num_outputs = 10};
  given.samples.inputs = RandomInputs(random, 2500, 400);
  given.samples.targets.resize(25000);
  return given;
}

void ExpectCovered(const std::string& what, int64_t predicted, int64_t idle,
                   const std::function<bool()>& work) {
  const int64_t grown = PeakBytesOf(work) - idle;
  EXPECT_LE(grown, predicted) << what;
  EXPECT_GE(6 * grown + kFixedBytes, predicted) << what;
}

TEST(PredictCostTest, CoversThePeakOfEveryMethod) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory would be measured";
  const Given given = LargeNetwork();
  const NetworkSizes sizes = SizesOf(given.network);
  const int64_t idle = PeakBytesOf([] { return true; });
  for (const OneShotMethod method : {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                     OneShotMethod::kObs, OneShotMethod::kCurvature}) {
    OneShotOptions options = {.method = method, .nonzeros = sizes.nonzeros / 10, .stages = 1};
    ExpectCovered(
        std::string(OneShotMethodName(method)),
        PredictCost(options, sizes, given.samples.num_samples).peak_memory_bytes, idle,
        [&] { return PruneOneShot(given.network, given.samples.input_view(), options).ok(); });
  }
  DistillOptions distill;
  distill.one_shot.nonzeros = sizes.nonzeros / 10;
  distill.epochs = 1;
  ExpectCovered("distill", PredictCost(distill, sizes, given.samples.num_samples).peak_memory_bytes,
                idle, [&] { return Distill(given.network, given.samples, distill).ok(); });
  PrunePathOptions path = {.distill = distill, .num_points = 3};
  ExpectCovered("path", PredictCost(path, sizes, given.samples.num_samples).peak_memory_bytes, idle,
                [&] { return PrunePath(given.network, given.samples, nullptr, path).ok(); });
}

TEST(PredictCostTest, GrowsWithEachSize) {
  const NetworkSizes small = {
      .num_inputs = 50, .hidden_widths = {30}, .num_outputs = 2, .nonzeros = 1560};
  for (const OneShotMethod method : {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                     OneShotMethod::kObs, OneShotMethod::kCurvature}) {
    const OneShotOptions options = {.method = method, .nonzeros = 100};
    const PruneCost cost = PredictCost(options, small, 1000);
    NetworkSizes wide = small;
    wide.num_inputs = 4000;
    EXPECT_GT(PredictCost(options, wide, 1000).peak_memory_bytes, cost.peak_memory_bytes);
    EXPECT_GT(PredictCost(options, wide, 1000).flops, cost.flops);
    NetworkSizes deep = small;
    deep.hidden_widths = {30, 2000, 30};
    EXPECT_GT(PredictCost(options, deep, 1000).peak_memory_bytes, cost.peak_memory_bytes);
    if (method == OneShotMethod::kMagnitude) continue;  // looks at no sample
    EXPECT_GT(cost.flops, PredictCost(options, small, 100).flops);
    // No more samples are looked at than the option says.
    EXPECT_EQ(PredictCost(options, small, 1'000'000).peak_memory_bytes,
              PredictCost(options, small, 2'000'000).peak_memory_bytes);
  }
  DistillOptions distill;
  distill.one_shot.nonzeros = 100;
  const PruneCost once = PredictCost(distill, small, 1000);
  EXPECT_EQ(once.iterations, distill.epochs);
  EXPECT_GT(PredictCost(distill, small, 1'000'000).peak_memory_bytes,
            once.peak_memory_bytes + 1'000'000 * 52 * 4);
  const PruneCost path = PredictCost(PrunePathOptions{.distill = distill}, small, 1000);
  EXPECT_EQ(path.iterations, 8 * distill.epochs);
  EXPECT_GT(path.flops, 3 * once.flops);
}

}  // namespace
}  // namespace thresher
