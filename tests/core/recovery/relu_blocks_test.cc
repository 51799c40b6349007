// The pieces that winnow is built from, each against what it promises.
#include <cmath>

#include "Eigen/Dense"
#include "core/gates/random_gates.h"
#include "core/kernels/support_gram.h"
#include "core/network/merge.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/grow.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/residual_noise.h"
#include "core/recovery/split_neurons.h"
#include "core/samples/planted.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

struct Problem {
  PlantedProblem planted;
  Engine engine;
  Design design;
  std::vector<double> targets;

  explicit Problem(uint64_t seed, OutputSigns signs = OutputSigns::kPositive,
                   InstructionSet set = DetectInstructionSet(), int num_threads = 1)
      : planted(*GeneratePlanted({.num_samples = 700,
                                  .num_inputs = 8,
                                  .hidden_width = 4,
                                  .nonzeros = 12,
                                  .seed = seed,
                                  .output_signs = signs})),
        engine(num_threads, {}, set),
        design(MakeDesign(planted.samples.input_view(), false)),
        targets(design.padded_samples(), 0.0) {
    planted.network = DropDeadNeurons(planted.network);
    for (int64_t i = 0; i < 700; ++i) targets[i] = planted.samples.targets[i];
  }
  ReluProblem view() { return {engine, design, targets, 8, false}; }
  double Loss(const SparseNetwork& network) { return Linearise(view(), network).loss; }
};

SparseNetwork Perturbed(SparseNetwork network, double size, uint64_t seed) {
  CounterRandom random(seed, 9);
  for (double& weight : network.weights.value) weight *= 1 + size * random.NextNormal();
  return network;
}

class ReluBlocksTest : public testing::TestWithParam<uint64_t> {};

TEST_P(ReluBlocksTest, LinearisationIsTheNetworkAndItsDerivative) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  SparseNetwork network = Perturbed(problem.planted.network, 0.3, GetParam());
  if (GetParam() % 2 == 1) network.linear.assign(8, 0.5);
  const Linearisation at = Linearise(problem.view(), network);
  std::vector<double> outputs(700);
  ASSERT_TRUE(Evaluate(network, problem.planted.samples.input_view(), outputs).ok());
  double loss = 0;
  for (int64_t i = 0; i < 700; ++i) {
    EXPECT_NEAR(at.residual[i], outputs[i] - problem.targets[i], 1e-11);
    loss += at.residual[i] * at.residual[i];
  }
  EXPECT_NEAR(at.loss, loss, 1e-9 * loss);
  // Central differences of half the loss, away from the kinks for so small a step.
  const std::vector<double> gradient = JacobianTranspose(problem.view(), at, at.residual);
  constexpr double kStep = 1e-6;
  for (size_t e = 0; e < gradient.size(); ++e) {
    SparseNetwork up = network;
    SparseNetwork down = network;
    const size_t entries = network.weights.value.size();
    (e < entries ? up.weights.value[e] : up.linear[e - entries]) += kStep;
    (e < entries ? down.weights.value[e] : down.linear[e - entries]) -= kStep;
    const double slope = (problem.Loss(up) - problem.Loss(down)) / (4 * kStep);
    EXPECT_NEAR(gradient[e], slope, 1e-4 * (1 + std::abs(slope)));
  }
}

TEST_P(ReluBlocksTest, RefineNeverRaisesTheLossAndFindsTheNearbyMinimum) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  SparseNetwork network = Perturbed(problem.planted.network, 0.05, GetParam());
  double loss = problem.Loss(network);
  for (int k = 0; k < 20; ++k) {
    const double next =
        Refine(problem.view(), {.max_steps = 1, .max_products = 60, .min_decrease = 0}, network);
    EXPECT_LE(next, loss);
    EXPECT_NEAR(next, problem.Loss(network), 1e-12 * (1 + next));
    loss = next;
  }
  double norm = 0;
  for (const double target : problem.targets) norm += target * target;
  EXPECT_LE(std::sqrt(loss / norm), 1e-6);
  EXPECT_EQ(network.weights.column, problem.planted.network.weights.column);
}

TEST_P(ReluBlocksTest, SaliencyIsTheLossOfRemovingAWeightAndRefitting) {
  Problem problem(GetParam());
  // At a minimum of the linearised problem the estimate is exact for fixed gates.
  SparseNetwork network = problem.planted.network;
  Refine(problem.view(), {.max_steps = 20, .max_products = 100, .min_decrease = 0}, network);
  const Linearisation at = Linearise(problem.view(), network);
  const int64_t size = network.weights.nonzeros();
  Eigen::MatrixXd jacobian(700, size);
  Eigen::VectorXd outputs(700);
  for (int64_t i = 0; i < 700; ++i) {
    outputs[i] = at.residual[i] + problem.targets[i];
    for (int64_t k = 0; k < network.hidden_width(); ++k) {
      const bool open = (at.masks.word(i / 64, k) >> (i % 64) & 1) != 0;
      for (int64_t e = network.weights.row_begin[k]; e < network.weights.row_begin[k + 1]; ++e) {
        jacobian(i, e) =
            open ? problem.design.rows[i * problem.design.row_stride + network.weights.column[e]]
                 : 0;
      }
    }
  }
  const std::vector<double> saliencies = Saliencies(problem.view(), network);
  for (int64_t removed = 0; removed < size; ++removed) {
    Eigen::MatrixXd others(700, size - 1);
    for (int64_t e = 0, to = 0; e < size; ++e) {
      if (e != removed) others.col(to++) = jacobian.col(e);
    }
    const Eigen::VectorXd fitted = others.colPivHouseholderQr().solve(outputs);
    const double rise = (others * fitted - outputs).squaredNorm();
    // The ridge on the normal matrix shows where a column is weak.
    EXPECT_NEAR(saliencies[removed], rise, 0.05 * rise + 1e-6);
  }
}

TEST_P(ReluBlocksTest, PruningKeepsTheBudgetAndTheMostSalient) {
  Problem problem(GetParam());
  const SparseNetwork& network = problem.planted.network;
  const std::vector<double> saliencies = Saliencies(problem.view(), network);
  for (int64_t count = network.weights.nonzeros(); count >= 0; --count) {
    const SparseNetwork pruned = PruneTo(problem.view(), network, count);
    EXPECT_EQ(pruned.weights.nonzeros(), count);
    EXPECT_TRUE(ValidateNetwork(pruned).ok());
  }
  for (int64_t width = network.hidden_width(); width >= 1; --width) {
    EXPECT_EQ(PruneNeuronsTo(problem.view(), network, width).hidden_width(), width);
  }
}

TEST_P(ReluBlocksTest, GrowingKeepsTheCountAndNewNeuronsLowerTheLoss) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  SparseNetwork empty;
  empty.num_inputs = 8;
  const double nothing = problem.Loss(empty);
  SparseNetwork network =
      GrowAndThreshold(problem.view(), empty, 5, OutputSigns::kMixed, /*new_neurons=*/true);
  EXPECT_LE(network.weights.nonzeros(), 5);
  EXPECT_GE(network.weights.nonzeros(), 1);
  EXPECT_LT(Refine(problem.view(), {}, network), nothing);
  for (const int64_t count : {3, 8, 20}) {
    const SparseNetwork grown = GrowAndThreshold(problem.view(), network, count,
                                                 OutputSigns::kMixed, /*new_neurons=*/false);
    EXPECT_LE(grown.weights.nonzeros(), count);
    EXPECT_LE(grown.hidden_width(), network.hidden_width());
    EXPECT_TRUE(ValidateNetwork(grown).ok());
  }
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    const SparseNetwork start = RandomStart(problem.view(), 6, signs, 15, GetParam());
    EXPECT_LE(start.weights.nonzeros(), 15);
    const SparseNetwork kinks = KinkStart(problem.view(), signs, 5);
    EXPECT_LE(kinks.weights.nonzeros(), 5);
    EXPECT_EQ(kinks.linear.size(), 8u);
    EXPECT_TRUE(ValidateNetwork(kinks).ok());
    if (signs == OutputSigns::kPositive) {
      for (const int8_t sign : start.output_signs) EXPECT_EQ(sign, 1);
    }
  }
}

struct NearlyParallel {
  const char* name;
  SparseNetwork planted;
  SparseNetwork as_one;
};

class SplitNeuronsTest : public testing::TestWithParam<NearlyParallel> {
 protected:
  // The planted network's function as targets.
  static void Plant(Problem& problem) {
    std::vector<double> outputs(700);
    ASSERT_TRUE(Evaluate(GetParam().planted, problem.planted.samples.input_view(), outputs).ok());
    std::copy(outputs.begin(), outputs.end(), problem.targets.begin());
  }
};

TEST_P(SplitNeuronsTest, TakesApartWhatRefinesToTheTwo) {
  Problem problem(1);
  Plant(problem);
  const RefineOptions options = {.max_steps = 60, .max_products = 60};
  SparseNetwork network = GetParam().as_one;
  const double fitted_as_one = Refine(problem.view(), options, network);
  SparseNetwork split = SplitNeurons(problem.view(), network);
  ASSERT_EQ(split.hidden_width(), network.hidden_width() + 1);
  EXPECT_TRUE(ValidateNetwork(split).ok());
  EXPECT_EQ(split.output_signs.back(), network.output_signs.front());
  // Next to the hyperplane alone the function changes.
  EXPECT_LT(problem.Loss(split), 4 * fitted_as_one);
  EXPECT_LT(Refine(problem.view(), options, split), 1e-6 * fitted_as_one);
}

TEST_P(SplitNeuronsTest, LeavesWhatFitsAsItIs) {
  Problem problem(1);
  Plant(problem);
  const SparseNetwork split = SplitNeurons(problem.view(), GetParam().planted);
  EXPECT_EQ(split.weights.value, GetParam().planted.weights.value);
  EXPECT_EQ(split.output_signs, GetParam().planted.output_signs);
}

SparseNetwork NetworkOfRows(SparseRows rows, std::vector<int8_t> signs) {
  SparseNetwork network;
  network.num_inputs = 8;
  network.weights = std::move(rows);
  network.output_signs = std::move(signs);
  return network;
}

INSTANTIATE_TEST_SUITE_P(
    Pairs, SplitNeuronsTest,
    testing::Values(
        NearlyParallel{
            "OneSparseAndNear",
            NetworkOfRows({{0, 1, 3, 5}, {0, 0, 3, 1, 2}, {2.0, 0.3, 0.1, 1.0, 0.7}}, {1, 1, -1}),
            NetworkOfRows({{0, 2, 4}, {0, 3, 1, 2}, {2.3, 0.1, 1.0, 0.7}}, {1, -1})},
        NearlyParallel{"OneSparseAndNearThreeSparse",
                       NetworkOfRows({{0, 1, 4}, {0, 0, 3, 5}, {-2.0, -0.3, 0.1, 0.1}}, {-1, -1}),
                       NetworkOfRows({{0, 3}, {0, 3, 5}, {-2.3, 0.1, 0.1}}, {-1})},
        NearlyParallel{"TwoSparse",
                       NetworkOfRows({{0, 2, 4}, {1, 2, 1, 2}, {1.0, 1.0, 1.3, 1.1}}, {1, 1}),
                       NetworkOfRows({{0, 2}, {1, 2}, {2.3, 2.1}}, {1})}),
    [](const auto& test) { return test.param.name; });

TEST_P(ReluBlocksTest, NormalEquationsSolveWithTheJacobian) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  const SparseNetwork network = Perturbed(problem.planted.network, 0.3, GetParam());
  const Linearisation at = Linearise(problem.view(), network);
  const int64_t size = network.weights.nonzeros();
  NormalEquations normal(problem.view(), at);
  constexpr double kRidge = 0.7;
  normal.Factor(kRidge);
  // J column by column, from products with the unit residuals of every sample.
  Eigen::MatrixXd jacobian(700, size);
  std::vector<double> unit(problem.design.padded_samples(), 0.0);
  for (int64_t i = 0; i < 700; ++i) {
    unit[i] = 1;
    const std::vector<double> row = JacobianTranspose(problem.view(), at, unit);
    unit[i] = 0;
    for (int64_t e = 0; e < size; ++e) jacobian(i, e) = row[e];
  }
  const Eigen::MatrixXd inverse =
      (jacobian.transpose() * jacobian + kRidge * Eigen::MatrixXd::Identity(size, size)).inverse();
  const std::vector<double> diagonal = normal.InverseDiagonal(problem.engine);
  std::vector<double> right(size);
  for (int64_t e = 0; e < size; ++e) right[e] = 1 + e % 3;
  const Eigen::VectorXd expected = inverse * Eigen::Map<Eigen::VectorXd>(right.data(), size);
  normal.Solve(right);
  for (int64_t e = 0; e < size; ++e) {
    EXPECT_NEAR(diagonal[e], inverse(e, e), 1e-4 * inverse(e, e));
    EXPECT_NEAR(right[e], expected(e), 1e-4 * expected.norm());
  }
}

TEST_P(ReluBlocksTest, DependentColumnsAreFactoredWithALargerRidge) {
  Problem problem(GetParam());
  SparseNetwork network;  // the same neuron twice
  network.num_inputs = 8;
  network.weights.row_begin = {0, 2, 4};
  network.weights.column = {1, 2, 1, 2};
  network.weights.value = {1, -1, 1, -1};
  network.output_signs = {1, 1};
  NormalEquations normal(problem.view(), Linearise(problem.view(), network));
  normal.Factor(0);
  for (const double entry : normal.InverseDiagonal(problem.engine)) {
    EXPECT_TRUE(std::isfinite(entry));
    EXPECT_GT(entry, 0);
  }
}

TEST_P(ReluBlocksTest, RedundantPartsAreRemovedFromAnExactFit) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  const SparseNetwork planted = ReduceNetwork(problem.planted.network);
  // The first neuron comes apart into two on the same line.
  SparseNetwork split = planted;
  const int64_t size = split.weights.row_begin[1];
  for (int64_t e = 0; e < size; ++e) {
    split.weights.column.push_back(split.weights.column[e]);
    split.weights.value.push_back(0.3 * split.weights.value[e]);
    split.weights.value[e] *= 0.7;
  }
  split.weights.row_begin.push_back(split.weights.nonzeros());
  split.output_signs.push_back(split.output_signs[0]);
  const SparseNetwork reduced = RemoveRedundant(problem.view(), split, OutputSigns::kMixed);
  EXPECT_LE(reduced.weights.nonzeros(), planted.weights.nonzeros());
  EXPECT_LE(reduced.hidden_width(), planted.hidden_width());
  EXPECT_LE(problem.Loss(reduced), 2 * problem.Loss(split) + 1e-20);
}

TEST_P(ReluBlocksTest, WeightsThatExplainNothingAreDroppedAndNoOthers) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  SparseNetwork network = ReduceNetwork(problem.planted.network);
  CounterRandom random(GetParam(), 11);
  for (int64_t i = 0; i < 700; ++i) problem.targets[i] += 1e-3 * random.NextNormal();
  SparseNetwork wider = network;
  for (int q = 0; q < 8; ++q) {  // one more neuron, of noise
    wider.weights.column.push_back(q);
    wider.weights.value.push_back(1e-6 * (q % 2 == 0 ? 1 : -1));
  }
  wider.weights.row_begin.push_back(wider.weights.nonzeros());
  wider.output_signs.push_back(1);
  const double loss = problem.Loss(wider);
  const SparseNetwork kept = DropInsignificant(problem.view(), wider, loss, 9);
  EXPECT_LE(kept.weights.nonzeros(), network.weights.nonzeros());
  EXPECT_LE(problem.Loss(kept), loss * (1 + 9.0 * 20 / 700));
  EXPECT_EQ(DropInsignificant(problem.view(), wider, loss, 0), wider);
}

TEST_P(ReluBlocksTest, WhatTheRightNetworkLeavesLooksLikeNoise) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  const SparseNetwork planted = ReduceNetwork(problem.planted.network);
  constexpr RefineOptions kRefine = {.max_steps = 30, .max_products = 100};
  CounterRandom random(GetParam(), 12);
  for (int64_t i = 0; i < 700; ++i) problem.targets[i] += 0.01 * random.NextNormal();
  SparseNetwork network = planted;
  Refine(problem.view(), kRefine, network);
  EXPECT_TRUE(LooksLikeNoise(problem.view(), network));
  // Without one neuron: what it did is left.
  for (int64_t j = 0; j < planted.hidden_width(); ++j) {
    SparseNetwork less = planted;
    double energy = 0;
    for (int64_t e = planted.weights.row_begin[j]; e < planted.weights.row_begin[j + 1]; ++e) {
      energy += less.weights.value[e] * less.weights.value[e];
      less.weights.value[e] = 0;
    }
    less = DropDeadNeurons(less);
    Refine(problem.view(), kRefine, less);
    if (energy > 0.05) {
      EXPECT_FALSE(LooksLikeNoise(problem.view(), less)) << j;
    }
  }
}

TEST_P(ReluBlocksTest, AFitWithFewSamplesAParameterIsNotTakenForNoise) {
  Problem problem(GetParam());
  CounterRandom random(GetParam(), 13);
  for (int64_t i = 0; i < 700; ++i) problem.targets[i] = random.NextNormal();
  SparseNetwork wide;
  wide.num_inputs = 8;
  for (int j = 0; j < 10; ++j) {
    for (int q = 0; q < 8; ++q) {
      wide.weights.column.push_back(q);
      wide.weights.value.push_back(0.01 * random.NextNormal());
    }
    wide.weights.row_begin.push_back(wide.weights.nonzeros());
    wide.output_signs.push_back(j % 2 == 0 ? 1 : -1);
  }
  EXPECT_FALSE(LooksLikeNoise(problem.view(), wide));  // 700 samples, 80 weights
}

TEST_P(ReluBlocksTest, TargetsLookLikeNoiseWhereTheyAreNoise) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  SparseNetwork none;
  none.num_inputs = 8;
  EXPECT_FALSE(LooksLikeNoise(problem.view(), none));
  CounterRandom random(GetParam(), 14);
  for (int64_t i = 0; i < 700; ++i) problem.targets[i] = random.NextNormal();
  EXPECT_TRUE(LooksLikeNoise(problem.view(), none));
}

TEST_P(ReluBlocksTest, RefiningMovesTheLinearTermToo) {
  Problem problem(GetParam(), OutputSigns::kMixed);
  for (int64_t i = 0; i < 700; ++i) {
    for (int q = 0; q < 8; ++q) {
      problem.targets[i] += (q - 3) * problem.planted.samples.input_view().row(i)[q];
    }
  }
  SparseNetwork network = ReduceNetwork(problem.planted.network);
  network.linear.assign(8, 0.0);
  EXPECT_LT(Refine(problem.view(), {.max_steps = 20, .max_products = 100}, network),
            1e-10 * SquaredNorm(problem.targets));
  for (int q = 0; q < 8; ++q) EXPECT_NEAR(network.linear[q], q - 3, 1e-4);
}

TEST_P(ReluBlocksTest, NothingNeededIsRemoved) {
  Problem problem(GetParam());
  SparseNetwork some = Perturbed(problem.planted.network, 0.3, GetParam());
  Refine(problem.view(), {.max_steps = 3}, some);
  const SparseNetwork same = RemoveRedundant(problem.view(), some, OutputSigns::kPositive);
  EXPECT_LE(problem.Loss(same), 2 * problem.Loss(some) + 1e-20);
}

TEST(SupportGramTest, AgreesWithPlainLoopsOnEveryInstructionSetAndThreadCount) {
  for (const InstructionSet set : AvailableInstructionSets()) {
    std::vector<double> first;
    for (const int num_threads : {1, 2, 3}) {
      Problem problem(3, OutputSigns::kPositive, set, num_threads);
      const Linearisation at = Linearise(problem.view(), problem.planted.network);
      const SparseRows& rows = problem.planted.network.weights;
      const std::vector<double> gram = SupportGram(problem.engine, problem.design, at.masks, rows);
      const int64_t size = rows.nonzeros();
      if (first.empty()) first = gram;
      EXPECT_EQ(gram, first);
      const auto column = [&](int64_t e, int64_t i) {
        int64_t k = 0;
        while (rows.row_begin[k + 1] <= e) ++k;
        const bool open = (at.masks.word(i / 64, k) >> (i % 64) & 1) != 0;
        return open ? static_cast<double>(
                          problem.design.rows[i * problem.design.row_stride + rows.column[e]])
                    : 0.0;
      };
      for (int64_t a = 0; a < size; ++a) {
        for (int64_t b = 0; b < size; ++b) {
          double sum = 0;
          for (int64_t i = 0; i < 700; ++i) sum += column(a, i) * column(b, i);
          EXPECT_NEAR(gram[a * size + b], sum, 1e-2);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReluBlocksTest, testing::Range<uint64_t>(0, 6));

}  // namespace
}  // namespace thresher
