#include "core/recovery/two_sparse.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "core/recovery/refine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

using testing::ElementsAre;

struct Planted {
  Design design;
  std::vector<double> targets;
};

// Neuron j: inputs 3 j and 3 j + 1, weights 1 and -0.5 - j / 10, output sign as given.
Planted Plant(const std::vector<int>& signs, uint64_t seed) {
  Planted planted{RandomDesign(1500, 20, seed), {}};
  planted.targets.resize(planted.design.padded_samples());
  for (int64_t i = 0; i < planted.design.num_samples; ++i) {
    for (size_t j = 0; j < signs.size(); ++j) {
      const double product = InputOf(planted.design, i, 3 * static_cast<int64_t>(j)) -
                             (0.5 + static_cast<double>(j) / 10) *
                                 InputOf(planted.design, i, 3 * static_cast<int64_t>(j) + 1);
      planted.targets[i] += signs[j] * std::max(0.0, product);
    }
  }
  return planted;
}

double LossWith(const ReluProblem& problem, const SparseNetwork& network) {
  return Linearise(problem, network).loss;
}

TEST(TwoSparseTest, DisjointNeuronsAreThePlantedOnes) {
  const Planted planted = Plant({1, 1, -1, 1}, 1);
  Engine engine(2);
  const ReluProblem problem{engine, planted.design, planted.targets, 20, false};
  std::vector<double> residual = planted.targets;
  for (double& value : residual) value = -value;
  SparseNetwork found = BestTwoSparseNeurons(problem, {}, residual, OutputSigns::kMixed, 4);
  ASSERT_TRUE(ValidateNetwork(found).ok());
  std::set<std::vector<int32_t>> pairs;
  for (int64_t j = 0; j < found.hidden_width(); ++j) {
    pairs.insert({found.weights.column[2 * j], found.weights.column[2 * j + 1]});
  }
  const std::set<std::vector<int32_t>> expected = {{0, 1}, {3, 4}, {6, 7}, {9, 10}};
  EXPECT_EQ(pairs, expected);
  EXPECT_EQ(std::count(found.output_signs.begin(), found.output_signs.end(), -1), 1);
  const double loss = Refine(problem, {.max_steps = 50, .max_products = 100}, found);
  EXPECT_LT(loss, 1e-12 * LossWith(problem, {.num_inputs = 20}));
}

// Orthogonal to every column; what an affine function adds is taken away.
TEST(TwoSparseTest, AffineResidualIsOrthogonalToTheColumns) {
  const Design design = RandomDesign(130, 7, 2);
  const std::vector<double> noise = RandomResidual(design, 3);
  Engine engine(1);
  const std::vector<double> left = AffineResidual(engine, design, noise);
  std::vector<double> shifted = noise;
  for (int64_t i = 0; i < 130; ++i) {
    shifted[i] += 11 + 3 * InputOf(design, i, 2) - 7 * InputOf(design, i, 6);
  }
  const std::vector<double> same = AffineResidual(engine, design, shifted);
  for (int64_t q = 0; q < 7; ++q) {
    double product = 0;
    for (int64_t i = 0; i < 130; ++i) product += left[i] * InputOf(design, i, q);
    EXPECT_NEAR(product, 0, 1e-3);
  }
  EXPECT_NEAR(std::accumulate(left.begin(), left.end(), 0.0), 0, 1e-3);
  for (int64_t i = 0; i < 130; ++i) EXPECT_NEAR(left[i], same[i], 1e-4);
}

TEST(TwoSparseTest, PositiveSignsOnlyAdd) {
  const Planted planted = Plant({-1, -1, 1}, 3);
  Engine engine(1);
  const ReluProblem problem{engine, planted.design, planted.targets, 20, false};
  std::vector<double> residual = planted.targets;
  for (double& value : residual) value = -value;
  const SparseNetwork found =
      BestTwoSparseNeurons(problem, {}, residual, OutputSigns::kPositive, 1);
  EXPECT_THAT(found.output_signs, ElementsAre(1));
  EXPECT_THAT(found.weights.column, ElementsAre(6, 7));
}

// (x_2)_+ - (-x_2)_+ = x_2: nothing beside a linear function, all of it alone.
TEST(TwoSparseTest, ALinearTargetIsFoundAlone) {
  Planted planted = Plant({}, 7);
  for (int64_t i = 0; i < planted.design.num_samples; ++i) {
    planted.targets[i] = InputOf(planted.design, i, 2);
  }
  Engine engine(1);
  const ReluProblem problem{engine, planted.design, planted.targets, 20, false};
  std::vector<double> residual = planted.targets;
  for (double& value : residual) value = -value;
  const SparseNetwork found =
      BestTwoSparseNeurons(problem, {}, residual, OutputSigns::kMixed, 1, NeuronMeasure::kAlone);
  ASSERT_EQ(found.hidden_width(), 1);
  EXPECT_THAT(found.weights.column, testing::Contains(2));
  EXPECT_LT(LossWith(problem, found), 0.51 * LossWith(problem, {.num_inputs = 20}));
}

TEST(TwoSparseTest, DisjointHalfPlanesShareNoColumn) {
  const Design design = RandomDesign(200, 9, 4);
  const std::vector<double> target = RandomResidual(design, 5);
  Engine engine(1);
  const std::vector<HalfPlane> all =
      BestHalfPlanes(engine, design, {}, target, SweepFit::kGated, 36);
  const std::vector<HalfPlane> disjoint =
      BestDisjointHalfPlanes(engine, design, {}, target, SweepFit::kGated, 9);
  ASSERT_EQ(disjoint.size(), 4u);  // of nine columns
  EXPECT_EQ(disjoint[0].key, all[0].key);
  std::set<int32_t> columns;
  for (const HalfPlane& plane : disjoint) columns.insert(plane.column.begin(), plane.column.end());
  EXPECT_EQ(columns.size(), 8u);
  // Greedy: the best of the pairs that were left at each turn.
  std::set<int32_t> taken;
  for (const HalfPlane& plane : disjoint) {
    const auto best = std::find_if(all.begin(), all.end(), [&](const HalfPlane& other) {
      return !taken.contains(other.column[0]) && !taken.contains(other.column[1]);
    });
    ASSERT_NE(best, all.end());
    EXPECT_EQ(plane.key, best->key);
    taken.insert(plane.column.begin(), plane.column.end());
  }
}

TEST(TwoSparseTest, AStopRequestGivesNoNeuron) {
  const Planted planted = Plant({1}, 6);
  std::stop_source source;
  Engine engine(1, source.get_token());
  source.request_stop();
  const ReluProblem problem{engine, planted.design, planted.targets, 20, false};
  EXPECT_EQ(
      BestTwoSparseNeurons(problem, {}, planted.targets, OutputSigns::kMixed, 3).hidden_width(), 0);
}

}  // namespace
}  // namespace thresher
