#include "core/pruning/prune_path.h"

#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

struct Given {
  SparseNetwork network;
  Samples samples;
};
Given GivenNetwork() {
  CounterRandom random(7, 0);
  Given given;
  given.network = RandomLayeredNetwork(random, 10, {8, 6}, 2, true, 1);
  given.samples = {.num_samples = 300, .num_inputs = 10, .num_outputs = 2};
  given.samples.inputs = RandomInputs(random, 300, 10);
  given.samples = *WithNetworkTargets(given.network, given.samples, Loss::kSquared, 1);
  return given;
}

PrunePathOptions SmallPath() {
  PrunePathOptions options;
  options.distill.epochs = 3;
  options.distill.batch_size = 50;
  options.min_nonzeros = 10;
  options.num_points = 4;
  return options;
}

TEST(PathBudgetsTest, FallByAFactorFromHalfOfTheWeights) {
  PrunePathOptions options = SmallPath();
  EXPECT_THAT(*PathBudgets(options, 160), ElementsAre(80, 40, 20, 10));
  options.max_nonzeros = 11;
  EXPECT_THAT(*PathBudgets(options, 160), ElementsAre(11, 10));
  options.max_nonzeros = 200;
  EXPECT_THAT(std::string(PathBudgets(options, 160).status().message()),
              StartsWith("max_nonzeros:"));
  options.min_nonzeros = 0;
  options.max_nonzeros = 0;
  options.num_points = 2;
  EXPECT_THAT(*PathBudgets(options, 1000), ElementsAre(500, 10));
  EXPECT_THAT(*PathBudgets(options, 3), ElementsAre(1));
  options = SmallPath();
  options.min_nonzeros = -1;
  EXPECT_THAT(std::string(PathBudgets(options, 160).status().message()),
              StartsWith("min_nonzeros:"));
  options = SmallPath();
  options.num_points = 1;
  EXPECT_THAT(std::string(PathBudgets(options, 160).status().message()), StartsWith("num_points:"));
}

TEST(KneeTest, IsWhereTheLossBeginsToRise) {
  std::vector<PrunePathPoint> points;
  for (const auto& [nonzeros, loss] :
       std::vector<std::pair<int64_t, double>>{{1000, 0.1}, {100, 0.11}, {10, 0.15}, {1, 4}}) {
    points.push_back({.nonzeros = nonzeros, .fit = {.loss = loss}});
  }
  EXPECT_EQ(KneeOf(points), 2);
  points.resize(1);
  EXPECT_EQ(KneeOf(points), 0);
}

TEST(PrunePathTest, KeepsEveryBudgetWithAndWithoutTraining) {
  const Given given = GivenNetwork();
  for (const bool train : {false, true}) {
    PrunePathOptions options = SmallPath();
    options.train = train;
    const auto path = PrunePath(given.network, given.samples, &given.samples, options);
    ASSERT_TRUE(path.ok()) << path.status();
    EXPECT_EQ(path->termination_reason, TerminationReason::kIterationLimit);
    ASSERT_EQ(path->points.size(), 4);
    for (const PrunePathPoint& point : path->points) {
      EXPECT_LE(point.nonzeros, point.budget);
      EXPECT_EQ(point.nonzeros, Nonzeros(point.network));
      EXPECT_EQ(point.held_out->loss, point.fit.loss);
    }
    EXPECT_LT(path->points.front().fit.loss, path->points.back().fit.loss);
  }
}

TEST(PrunePathTest, ReportsEveryEpochOfEveryPointInOrder) {
  const Given given = GivenNetwork();
  for (const bool train : {false, true}) {
    PrunePathOptions options = SmallPath();
    options.train = train;
    const std::vector<int64_t> budgets = *PathBudgets(options, Nonzeros(given.network));
    const int64_t per_point = train ? options.distill.epochs : 1;
    int64_t iterations = 0;
    const PruneObserver observer = {.on_iteration = [&](const PruneReport& report) {
      EXPECT_EQ(report.round, iterations / per_point + 1);
      EXPECT_EQ(report.path_nonzeros, budgets[iterations / per_point]);
      EXPECT_EQ(report.iteration, ++iterations);
    }};
    const auto path = PrunePath(given.network, given.samples, nullptr, options, observer);
    ASSERT_TRUE(path.ok()) << path.status();
    EXPECT_EQ(path->iterations, 4 * per_point);
    EXPECT_EQ(iterations, 4 * per_point);
  }
}

// Stopped at the end of a point and within one.
TEST(PrunePathTest, AStoppedPathGoesOnToTheSameBits) {
  const Given given = GivenNetwork();
  for (const bool train : {false, true}) {
    PrunePathOptions options = SmallPath();
    options.train = train;
    const auto whole = PrunePath(given.network, given.samples, &given.samples, options);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (const int64_t last : {1, 2, 5}) {
      if (last >= whole->iterations) continue;
      std::stop_source stop;
      std::string due;
      const PruneObserver observer = {
          .on_iteration =
              [&](const PruneReport& report) {
                if (report.iteration == last) stop.request_stop();
              },
          .checkpoint_due = [&](const PruneReport& report) { return report.iteration == last; },
          .on_checkpoint = [&](std::string bytes) { due = std::move(bytes); }};
      const auto part = PrunePath(given.network, given.samples, &given.samples, options, observer,
                                  stop.get_token());
      ASSERT_TRUE(part.ok()) << part.status();
      EXPECT_EQ(part->termination_reason, TerminationReason::kCancelled);
      EXPECT_EQ(part->points.size(), train ? last / 3 : last);
      // What the observer was given serves as well as the result's.
      for (const std::string& checkpoint : {part->checkpoint, due}) {
        const auto rest =
            PrunePath(given.network, given.samples, &given.samples, options, {}, {}, checkpoint);
        ASSERT_TRUE(rest.ok()) << rest.status();
        EXPECT_EQ(rest->iterations, whole->iterations);
        EXPECT_EQ(rest->knee, whole->knee);
        ASSERT_EQ(rest->points.size(), 4);
        for (size_t k = 0; k < 4; ++k) {
          EXPECT_EQ(rest->points[k].network, whole->points[k].network);
          EXPECT_TRUE(whole->points[k].fit.r_squared.has_value());
          EXPECT_EQ(rest->points[k].fit, whole->points[k].fit);
          EXPECT_EQ(rest->points[k].held_out, whole->points[k].held_out);
        }
        PrunePathOptions other = options;
        other.min_nonzeros = 12;
        EXPECT_THAT(
            std::string(PrunePath(given.network, given.samples, nullptr, other, {}, {}, checkpoint)
                            .status()
                            .message()),
            StartsWith("checkpoint"));
        for (const size_t size : {checkpoint.size() / 2, checkpoint.size() - 1}) {
          EXPECT_THAT(std::string(PrunePath(given.network, given.samples, nullptr, options, {}, {},
                                            checkpoint.substr(0, size))
                                      .status()
                                      .message()),
                      StartsWith("checkpoint"));
        }
      }
    }
  }
}

TEST(PrunePathTest, ATimeLimitEndsItBehindAPoint) {
  const Given given = GivenNetwork();
  PrunePathOptions options = SmallPath();
  options.distill.time_limit_seconds = 1e-9;
  const auto path = PrunePath(given.network, given.samples, nullptr, options);
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->termination_reason, TerminationReason::kTimeLimit);
  EXPECT_TRUE(path->points.empty());
}

TEST(PrunePathTest, FitsMayBeOfAnotherLossThanThePruning) {
  Given given = GivenNetwork();
  given.samples = *WithNetworkTargets(given.network, given.samples, Loss::kCrossEntropy, 1);
  PrunePathOptions options = SmallPath();
  options.train = false;
  const auto squared = PrunePath(given.network, given.samples, nullptr, options);
  options.fit_loss = Loss::kCrossEntropy;
  const auto entropy = PrunePath(given.network, given.samples, nullptr, options);
  ASSERT_TRUE(squared.ok() && entropy.ok()) << entropy.status();
  EXPECT_EQ(squared->points[1].network, entropy->points[1].network);
  EXPECT_FALSE(squared->points[1].fit.accuracy.has_value());
  EXPECT_TRUE(entropy->points[1].fit.accuracy.has_value());
}

}  // namespace
}  // namespace thresher
