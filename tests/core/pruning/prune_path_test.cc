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
  options = SmallPath();
  options.min_nonzeros = 0;
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
    EXPECT_TRUE(path->complete);
    ASSERT_EQ(path->points.size(), 4);
    for (const PrunePathPoint& point : path->points) {
      EXPECT_LE(point.nonzeros, point.budget);
      EXPECT_EQ(point.nonzeros, Nonzeros(point.network));
      EXPECT_EQ(point.held_out->loss, point.fit.loss);
    }
    EXPECT_LT(path->points.front().fit.loss, path->points.back().fit.loss);
  }
}

TEST(PrunePathTest, AStoppedPathGoesOnToTheSameBits) {
  const Given given = GivenNetwork();
  const PrunePathOptions options = SmallPath();
  const auto whole = PrunePath(given.network, given.samples, nullptr, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  std::stop_source stop;
  int points = 0;
  const auto part = PrunePath(
      given.network, given.samples, nullptr, options,
      [&](const PrunePathPoint&) {
        if (++points == 2) stop.request_stop();
      },
      stop.get_token());
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_FALSE(part->complete);
  ASSERT_EQ(part->points.size(), 2);
  const auto rest = PrunePath(given.network, given.samples, nullptr, options, {}, {}, part->points);
  ASSERT_TRUE(rest.ok()) << rest.status();
  ASSERT_EQ(rest->points.size(), 4);
  for (size_t k = 0; k < 4; ++k) EXPECT_EQ(rest->points[k].network, whole->points[k].network);
  PrunePathOptions other = options;
  other.min_nonzeros = 12;
  EXPECT_THAT(
      std::string(PrunePath(given.network, given.samples, nullptr, other, {}, {}, part->points)
                      .status()
                      .message()),
      StartsWith("done:"));
}

}  // namespace
}  // namespace thresher
