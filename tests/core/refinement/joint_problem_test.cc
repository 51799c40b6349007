#include "core/refinement/joint_problem.h"

#include <chrono>
#include <cmath>

#include "Eigen/Dense"
#include "core/gates/random_gates.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/samples/planted.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

constexpr int64_t kSamples = 700;  // not a multiple of a block

struct Case {
  int64_t num_outputs;
  int64_t hidden_layers;
  uint64_t seed;
};

struct Problem {
  PlantedProblem planted;
  Engine engine;
  Design design;
  std::vector<double> targets;
  int64_t num_outputs;

  explicit Problem(const Case& which, int num_threads = 1)
      : planted(
            *GeneratePlanted({.num_samples = kSamples,
                              .num_inputs = 8,
                              .hidden_width = 5,
                              .nonzeros = which.hidden_layers * which.num_outputs == 1 ? 30 : 40,
                              .seed = which.seed,
                              .num_outputs = which.num_outputs,
                              .hidden_layers = which.hidden_layers})),
        engine(num_threads),
        design(MakeDesign(planted.samples.input_view(), false)),
        targets(which.num_outputs * design.padded_samples()),
        num_outputs(which.num_outputs) {
    planted.network = DropDeadNeurons(planted.network);
    for (int64_t i = 0; i < kSamples; ++i) {
      for (int64_t o = 0; o < num_outputs; ++o) {
        targets[o * design.padded_samples() + i] = planted.samples.targets[i * num_outputs + o];
      }
    }
  }
  JointProblem view() { return {engine, design, targets, num_outputs}; }

  double PlainLoss(const SparseNetwork& network) const {
    std::vector<double> outputs(kSamples * num_outputs);
    EXPECT_TRUE(Evaluate(network, planted.samples.input_view(), outputs).ok());
    double loss = 0;
    for (size_t i = 0; i < outputs.size(); ++i) {
      loss += std::pow(outputs[i] - planted.samples.targets[i], 2);
    }
    return loss;
  }
};

std::vector<double*> Parameters(SparseNetwork& network) {
  std::vector<double*> parameters;
  for (double& value : network.weights.value) parameters.push_back(&value);
  for (SparseRows& layer : network.upper_layers) {
    for (double& value : layer.value) parameters.push_back(&value);
  }
  return parameters;
}

SparseNetwork Perturbed(SparseNetwork network, double size, uint64_t seed) {
  CounterRandom random(seed, 21);
  for (double* weight : Parameters(network)) *weight *= 1 + size * random.NextNormal();
  return network;
}

class JointProblemTest : public testing::TestWithParam<Case> {};

TEST_P(JointProblemTest, LossIsThatOfThePlainEvaluation) {
  Problem problem(GetParam());
  const SparseNetwork network = Perturbed(problem.planted.network, 0.3, 1);
  const double plain = problem.PlainLoss(network);
  EXPECT_GT(plain, 0);
  EXPECT_NEAR(JointLoss(problem.view(), network), plain, 1e-11 * plain);
}

// w^2 times the squared norm of the derivative, which central differences give.
TEST_P(JointProblemTest, ContributionsAgreeWithDifferences) {
  Problem problem(GetParam());
  SparseNetwork network = Perturbed(problem.planted.network, 0.2, 2);
  const std::vector<double> contributions = JointContributions(problem.view(), network);
  const std::vector<double*> parameters = Parameters(network);
  ASSERT_EQ(contributions.size(), parameters.size());
  constexpr double kStep = 1e-6;
  const auto evaluate = [&] {
    std::vector<double> outputs(kSamples * problem.num_outputs);
    EXPECT_TRUE(Evaluate(network, problem.planted.samples.input_view(), outputs).ok());
    return outputs;
  };
  for (size_t p = 0; p < parameters.size(); ++p) {
    const double weight = *parameters[p];
    *parameters[p] = weight + kStep;
    const std::vector<double> up = evaluate();
    *parameters[p] = weight - kStep;
    const std::vector<double> down = evaluate();
    *parameters[p] = weight;
    double norm2 = 0;
    for (size_t i = 0; i < up.size(); ++i) norm2 += std::pow((up[i] - down[i]) / (2 * kStep), 2);
    EXPECT_NEAR(contributions[p], weight * weight * norm2, 1e-4 * (1e-3 + contributions[p])) << p;
  }
}

TEST_P(JointProblemTest, RefineFindsTheNearbyNetwork) {
  Problem problem(GetParam());
  SparseNetwork network = Perturbed(problem.planted.network, 0.02, 3);
  const double loss = JointRefine(problem.view(), {.max_steps = 30}, network);
  EXPECT_NEAR(loss, problem.PlainLoss(network), 1e-9 * loss);
  double norm2 = 0;
  for (const double target : problem.targets) norm2 += target * target;
  EXPECT_LE(std::sqrt(loss / norm2), 1e-6);
  EXPECT_EQ(network.weights.column, problem.planted.network.weights.column);
}

TEST_P(JointProblemTest, RefineNeverRaisesTheLoss) {
  Problem problem(GetParam());
  SparseNetwork network = Perturbed(problem.planted.network, 0.5, 8);
  const double first = problem.PlainLoss(network);
  double loss = first;
  for (int step = 0; step < 10; ++step) {
    const double next = JointRefine(problem.view(), {.max_steps = 1, .min_decrease = 0}, network);
    EXPECT_LE(next, loss * (1 + 1e-12));
    loss = next;
  }
  EXPECT_LT(loss, 0.5 * first);
}

TEST_P(JointProblemTest, RefineIgnoresTheScalesOfUnits) {
  Problem problem(GetParam());
  if (problem.planted.network.upper_layers.empty()) GTEST_SKIP() << "no scale is free";
  SparseNetwork network = Perturbed(problem.planted.network, 0.02, 4);
  SparseRows& above = network.upper_layers[0];
  for (int64_t e = 0; e < network.weights.row_begin[1]; ++e) network.weights.value[e] *= 1e4;
  for (size_t e = 0; e < above.value.size(); ++e) {
    if (above.column[e] == 0) above.value[e] /= 1e4;
  }
  double norm2 = 0;
  for (const double target : problem.targets) norm2 += target * target;
  EXPECT_LE(std::sqrt(JointRefine(problem.view(), {.max_steps = 30}, network) / norm2), 1e-6);
}

TEST_P(JointProblemTest, BalancingKeepsTheFunctionAndEqualisesNorms) {
  Problem problem(GetParam());
  const SparseNetwork network = Perturbed(problem.planted.network, 0.5, 5);
  const SparseNetwork balanced = BalanceLayers(network);
  EXPECT_NEAR(problem.PlainLoss(balanced), problem.PlainLoss(network),
              1e-10 * problem.PlainLoss(network));
  if (balanced.upper_layers.empty()) return;
  // The last layer that was balanced; those below moved again with it.
  const size_t last = balanced.upper_layers.size() - 1;
  const SparseRows& below = last == 0 ? balanced.weights : balanced.upper_layers[last - 1];
  const SparseRows& above = balanced.upper_layers[last];
  for (int64_t r = 0; r < below.num_rows(); ++r) {
    double in = 0;
    double out = 0;
    for (int64_t e = below.row_begin[r]; e < below.row_begin[r + 1]; ++e) {
      in += below.value[e] * below.value[e];
    }
    for (size_t e = 0; e < above.value.size(); ++e) {
      if (above.column[e] == r) out += above.value[e] * above.value[e];
    }
    EXPECT_NEAR(in, out, 1e-9 * in);
  }
}

TEST_P(JointProblemTest, PruningRemovesWhatWasAdded) {
  Problem problem(GetParam());
  SparseNetwork wider = problem.planted.network;
  // Weights that explain nothing, in every row of the first layer that has room.
  SparseRows rows;
  int64_t added = 0;
  for (int64_t r = 0; r < wider.hidden_width(); ++r) {
    bool done = false;
    int64_t e = wider.weights.row_begin[r];
    for (int32_t q = 0; q < 8; ++q) {
      if (e < wider.weights.row_begin[r + 1] && wider.weights.column[e] == q) {
        rows.column.push_back(q);
        rows.value.push_back(wider.weights.value[e++]);
      } else if (!done) {
        rows.column.push_back(q);
        rows.value.push_back(1e-5);
        done = true;
        ++added;
      }
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  wider.weights = rows;
  ASSERT_GT(added, 0);
  const int64_t count = Nonzeros(problem.planted.network);
  EXPECT_EQ(JointPruneTo(problem.view(), BalanceLayers(wider), count + added),
            BalanceLayers(wider));
  const SparseNetwork pruned = JointPruneTo(problem.view(), BalanceLayers(wider), count);
  EXPECT_LE(Nonzeros(pruned), count);
  EXPECT_LE(JointLoss(problem.view(), pruned), 2 * problem.PlainLoss(wider));
}

TEST_P(JointProblemTest, ThreadsChangeNoBit) {
  Problem one(GetParam(), 1);
  Problem three(GetParam(), 3);
  SparseNetwork a = Perturbed(one.planted.network, 0.1, 6);
  SparseNetwork b = a;
  EXPECT_EQ(JointRefine(one.view(), {.max_steps = 5}, a),
            JointRefine(three.view(), {.max_steps = 5}, b));
  EXPECT_EQ(a, b);
  EXPECT_EQ(JointSaliencies(one.view(), a), JointSaliencies(three.view(), b));
}

INSTANTIATE_TEST_SUITE_P(Shapes, JointProblemTest,
                         testing::Values(Case{1, 1, 1}, Case{3, 1, 2}, Case{1, 2, 3}, Case{2, 2, 4},
                                         Case{1, 3, 5}),
                         [](const auto& instance) {
                           return "Outputs" + std::to_string(instance.param.num_outputs) +
                                  "Layers" + std::to_string(instance.param.hidden_layers);
                         });

TEST(JointRefineTest, PastItsDeadlineNothingMoves) {
  Problem problem({.num_outputs = 2, .hidden_layers = 2, .seed = 1});
  JointProblem late = problem.view();
  late.deadline = std::chrono::steady_clock::now();
  const SparseNetwork start = Perturbed(problem.planted.network, 0.02, 3);
  SparseNetwork network = start;
  const double before = JointLoss(late, network);
  EXPECT_EQ(JointRefine(late, {}, network), before);
  EXPECT_EQ(network, start);
  double loss = 0;
  EXPECT_EQ(JointPruneBack(late, {.nonzeros = 1, .width = 1}, {}, network, loss), network);
  EXPECT_EQ(loss, before);
}

// Over kMaxJointWeights weights steps come from products with J.
TEST(JointRefineTest, ManyWeightsAreRefinedByConjugateGradients) {
  const PlantedProblem planted = *GeneratePlanted({.num_samples = 700,
                                                   .num_inputs = 40,
                                                   .hidden_width = 20,
                                                   .nonzeros = 1200,
                                                   .seed = 3,
                                                   .num_outputs = 35});
  Engine engine(2);
  const Design design = MakeDesign(planted.samples.input_view(), false);
  std::vector<double> targets(35 * design.padded_samples());
  double norm2 = 0;
  for (int64_t i = 0; i < 700; ++i) {
    for (int64_t o = 0; o < 35; ++o) {
      targets[o * design.padded_samples() + i] = planted.samples.targets[i * 35 + o];
      norm2 += std::pow(planted.samples.targets[i * 35 + o], 2);
    }
  }
  const JointProblem problem = {engine, design, targets, 35};
  SparseNetwork network = Perturbed(DropDeadNeurons(planted.network), 0.01, 7);
  ASSERT_GT(Nonzeros(network), kMaxJointWeights);
  EXPECT_LE(std::sqrt(JointRefine(problem, {.max_steps = 12}, network) / norm2), 1e-6);
}

TEST(JointSalienciesTest, HoldTheScaleOfAUnit) {
  // f = 2 (3 x_0)_+: either weight could be made small and the other large, but not removed.
  Samples samples = {.num_samples = 64, .num_inputs = 1};
  std::vector<double> targets(64);
  double norm2 = 0;
  for (int i = 0; i < 64; ++i) {
    samples.inputs.push_back(static_cast<float>(i - 20) / 8);
    targets[i] = samples.inputs[i] > 0 ? 6 * samples.inputs[i] : 0.0;
    norm2 += targets[i] * targets[i];
  }
  SparseNetwork network = {.num_inputs = 1};
  network.weights = {.row_begin = {0, 1}, .column = {0}, .value = {3}};
  network.upper_layers = {{.row_begin = {0, 1}, .column = {0}, .value = {2}}};
  Engine engine(1);
  const Design design = MakeDesign(samples.input_view(), false);
  for (const double saliency :
       JointSaliencies({engine, design, targets, 1}, BalanceLayers(network))) {
    EXPECT_GT(saliency, 0.1 * norm2);
  }
}

}  // namespace
}  // namespace thresher
