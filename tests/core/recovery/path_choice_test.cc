// The pure functions behind a path: criteria and searches.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/recovery/path_search.h"
#include "core/recovery/path_selection.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

TEST(InformationCriterionTest, IsTheFormula) {
  const double n = 5000;
  const double expected =
      n * std::log(0.01 * 0.01 / n) + 20 * std::log(2000.0) * std::log(std::log(n));
  EXPECT_DOUBLE_EQ(InformationCriterion(0.01, 1e-7, 5000, 20, 2000), expected);
}

TEST(InformationCriterionTest, ResidualsAtRoundingLevelGainNothing) {
  const double larger = InformationCriterion(1e-12, 1e-7, 1000, 21, 500);
  EXPECT_LT(InformationCriterion(9e-8, 1e-7, 1000, 20, 500), larger);
  EXPECT_TRUE(std::isfinite(InformationCriterion(0, 1e-7, 1000, 20, 500)));
}

TEST(InformationCriterionTest, MoreWeightsCostMoreHoweverFewTheSamples) {
  for (const int64_t n : {1, 2, 3, 10, 100}) {
    EXPECT_LT(InformationCriterion(0.1, 1e-7, n, 3, 50), InformationCriterion(0.1, 1e-7, n, 4, 50));
  }
}

TEST(LeastIndexTest, TakesTheFirstOfEqualValuesAndNeverNaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(LeastIndex(std::vector<double>{nan, 2, 1, 1, nan}), 2);
  EXPECT_EQ(LeastIndex(std::vector<double>{nan, nan}), -1);
  EXPECT_EQ(LeastIndex({}), -1);
}

// Squared errors of noise plus a constant excess; the noise is shared by all budgets.
std::vector<float> NoiseAnd(double excess, double scatter, uint64_t stream) {
  CounterRandom shared(1, 1);
  CounterRandom own(1, stream);
  std::vector<float> errors;
  for (int i = 0; i < 400; ++i) {
    const double error = shared.NextNormal() + scatter * own.NextNormal();
    errors.push_back(static_cast<float>(error * error + excess));
  }
  return errors;
}

TEST(OneStandardErrorTest, TakesTheSmallestBudgetThatIsNotClearlyWorse) {
  // Against the last: clearly worse, worse by a fifth of a standard error, and the best itself.
  std::vector<std::vector<float>> errors(3);
  for (int i = 0; i < 400; ++i) {
    const float swing = i % 2 == 0 ? 0.1F : -0.1F;  // 0.005 over the root of 400
    errors[0].push_back(1.02F + swing);
    errors[1].push_back(1.001F + swing);
    errors[2].push_back(1.0F);
  }
  EXPECT_EQ(OneStandardErrorIndex(errors, 0), 1);
}

TEST(OneStandardErrorTest, AgreesWithAPlainReference) {
  for (uint64_t trial = 0; trial < 20; ++trial) {
    std::vector<std::vector<float>> errors;
    for (uint64_t k = 0; k < 6; ++k) {
      errors.push_back(
          NoiseAnd(0.002 * static_cast<double>((k + trial) % 6), 0.05, 10 * trial + k));
    }
    const auto mean = [&](size_t k) {
      double sum = 0;
      for (const float error : errors[k]) sum += error;
      return sum / 400;
    };
    size_t best = 0;
    for (size_t k = 1; k < 6; ++k) best = mean(k) < mean(best) ? k : best;
    size_t expected = best;
    for (size_t k = best; k-- > 0;) {
      double variance = 0;
      const double difference = mean(k) - mean(best);
      for (size_t i = 0; i < 400; ++i) {
        variance += std::pow(double{errors[k][i]} - errors[best][i] - difference, 2) / 399;
      }
      if (difference <= std::sqrt(variance / 400)) expected = k;
    }
    EXPECT_EQ(OneStandardErrorIndex(errors, 0), static_cast<int64_t>(expected));
  }
}

TEST(OneStandardErrorTest, MeansUnderTheFloorAreEqual) {
  const std::vector<std::vector<float>> errors = {
      {1e-3F, 1e-3F}, {1e-15F, 1e-15F}, {1e-17F, 1e-17F}};
  EXPECT_EQ(OneStandardErrorIndex(errors, 1e-14), 1);
  EXPECT_EQ(OneStandardErrorIndex(errors, 0), 2);
}

class NextBudgetTest : public testing::TestWithParam<PathSearch> {
 protected:
  // Visits budgets to the end of the search for the least of `value`.
  template <typename Function>
  std::set<int64_t> Visit(int64_t lowest, int64_t highest, const Function& value) {
    std::set<int64_t> visited;
    const auto choose = [&](std::span<const int64_t> budgets) {
      return *std::min_element(budgets.begin(), budgets.end(),
                               [&](int64_t a, int64_t b) { return value(a) < value(b); });
    };
    while (const auto next = NextBudget(GetParam(), lowest, highest, visited, choose)) {
      EXPECT_GE(*next, lowest);
      EXPECT_LE(*next, highest);
      if (!visited.insert(*next).second) {
        ADD_FAILURE() << *next << " asked for twice";
        break;
      }
    }
    return visited;
  }
};

TEST_P(NextBudgetTest, FindsTheMinimumOfWhatFallsAndThenRises) {
  for (const auto& [lowest, highest] :
       {std::pair{1, 1}, {1, 2}, {1, 3}, {3, 7}, {5, 80}, {25, 400}, {1, 10000}}) {
    for (const double share : {0.0, 0.1, 0.33, 0.5, 0.77, 1.0}) {
      const auto least = static_cast<int64_t>(std::round(lowest + share * (highest - lowest)));
      // Steep below, gentle above: as a criterion with its elbow at the true budget.
      const auto value = [&](int64_t s) {
        return s < least ? 50.0 * static_cast<double>(least - s) : static_cast<double>(s - least);
      };
      const std::set<int64_t> visited = Visit(lowest, highest, value);
      EXPECT_TRUE(visited.contains(least)) << lowest << " " << highest << " " << least;
      EXPECT_TRUE(visited.contains(highest));
      EXPECT_LE(visited.size(), 45U);
    }
  }
}

TEST_P(NextBudgetTest, EndsForAnyValues) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    CounterRandom random(seed, 0);
    std::vector<double> values(301);
    for (double& value : values) value = random.NextUniform();
    const std::set<int64_t> visited =
        Visit(7, 300, [&](int64_t s) { return values[static_cast<size_t>(s)]; });
    EXPECT_LE(visited.size(), 294U);
    EXPECT_TRUE(visited.contains(300));
  }
}

TEST_P(NextBudgetTest, GridsVisitShortRangesWhole) {
  // Golden section leaves budgets out.
  const size_t expected = GetParam() == PathSearch::kGrid ? 12 : 7;
  EXPECT_EQ(Visit(4, 15, [](int64_t s) { return static_cast<double>(s); }).size(), expected);
}

INSTANTIATE_TEST_SUITE_P(Searches, NextBudgetTest,
                         testing::Values(PathSearch::kGrid, PathSearch::kGoldenSection),
                         [](const auto& choice) {
                           return choice.param == PathSearch::kGrid ? "Grid" : "GoldenSection";
                         });

}  // namespace
}  // namespace thresher
