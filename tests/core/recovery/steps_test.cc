// Single steps on small problems, against dense reference computations.
#include "core/recovery/steps.h"

#include <cmath>

#include "Eigen/Dense"
#include "core/gates/random_gates.h"
#include "core/recovery/least_squares.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

// A fixed-gate problem small enough to hold its matrix.
struct SmallProblem {
  int64_t n;
  int64_t d;
  int64_t m;
  Design design;
  std::vector<double> targets;
  Engine engine{1};
  GateField gates;
  Eigen::MatrixXd matrix;  // n x (m d), column key = neuron d + input

  SmallProblem(int64_t num_samples, int64_t num_inputs, int64_t num_gates, uint64_t seed)
      : n(num_samples),
        d(num_inputs),
        m(num_gates),
        design([&] {
          CounterRandom random(seed, 1);
          std::vector<float> inputs(num_samples * num_inputs);
          for (float& x : inputs) x = static_cast<float>(random.NextNormal());
          return MakeDesign({inputs.data(), num_samples, num_inputs}, false);
        }()),
        targets(design.padded_samples(), 0.0),
        gates(RandomGateSet{seed, num_gates}, design),
        matrix(n, m * d) {
    CounterRandom random(seed, 2);
    for (int64_t i = 0; i < n; ++i) targets[i] = random.NextNormal();
    std::vector<int64_t> all(m);
    for (int64_t j = 0; j < m; ++j) all[j] = j;
    const GateMasks masks = gates.MasksOf(engine, design, all);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < m; ++j) {
        const bool open = (masks.word(i / 64, j) >> (i % 64) & 1) != 0;
        for (int64_t q = 0; q < d; ++q) {
          matrix(i, j * d + q) = open ? design.rows[i * design.row_stride + q] : 0;
        }
      }
    }
  }

  GatedProblem view() { return {engine, design, targets, gates}; }
  Eigen::VectorXd y() const { return Eigen::Map<const Eigen::VectorXd>(targets.data(), n); }
  Eigen::VectorXd Dense(const SparseVector& entries) const {
    Eigen::VectorXd dense = Eigen::VectorXd::Zero(m * d);
    for (const KeyedValue& entry : entries) dense[entry.key] = entry.value;
    return dense;
  }
};

SparseVector SomeWeights(const SmallProblem& problem, int64_t count, uint64_t seed) {
  CounterRandom random(seed, 3);
  SparseVector all;
  for (int64_t key = 0; key < problem.m * problem.d; ++key) {
    all.push_back({key, random.NextNormal()});
  }
  return HardThreshold(count, all);
}

Eigen::VectorXd DenseThreshold(Eigen::VectorXd z, int64_t count) {
  std::vector<KeyedValue> entries;
  for (int64_t key = 0; key < z.size(); ++key) entries.push_back({key, z[key]});
  KeepLargest(count, entries);
  Eigen::VectorXd kept = Eigen::VectorXd::Zero(z.size());
  for (const KeyedValue& entry : entries) kept[entry.key] = entry.value;
  return kept;
}

class StepsTest : public testing::TestWithParam<uint64_t> {};

TEST_P(StepsTest, ResidualAndFixedStepAreTheDenseOnes) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const SparseVector weights = SomeWeights(problem, 8, GetParam());
  const std::vector<double> residual = view.Residual(weights);
  const Eigen::VectorXd expected = problem.matrix * problem.Dense(weights) - problem.y();
  for (int64_t i = 0; i < problem.n; ++i) EXPECT_NEAR(residual[i], expected[i], 1e-12);
  const double eta = 0.003;
  const StepResult step = FixedStep(view, weights, residual, 12, eta);
  const Eigen::VectorXd dense =
      DenseThreshold(problem.Dense(weights) - eta * (problem.matrix.transpose() * expected), 12);
  EXPECT_LE((problem.Dense(step.weights) - dense).norm(), 1e-10 * dense.norm());
}

TEST_P(StepsTest, NormalisedStepNeverRaisesTheLoss) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  SparseVector weights;
  double loss = SquaredNorm(problem.targets);
  for (int k = 0; k < 20; ++k) {
    const StepResult step = NormalisedStep(view, weights, view.Residual(weights), 10);
    EXPECT_LE(step.weights.size(), 10);
    EXPECT_GT(step.step_size, 0);
    weights = step.weights;
    const double next = SquaredNorm(view.Residual(weights));
    EXPECT_LE(next, loss * (1 + 1e-12));
    loss = next;
  }
}

TEST_P(StepsTest, PursuitStepLeavesNoGradientOnItsSupport) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const StepResult step = PursuitStep(view, {}, view.Residual({}), 10);
  ASSERT_EQ(step.weights.size(), 10);
  const Eigen::VectorXd gradient =
      problem.matrix.transpose() * (problem.matrix * problem.Dense(step.weights) - problem.y());
  const double scale = (problem.matrix.transpose() * problem.y()).norm();
  for (const KeyedValue& entry : step.weights) {
    EXPECT_NEAR(gradient[entry.key], 0, 1e-10 * scale);
  }
}

TEST_P(StepsTest, LeastSquaresAgreesWithTheNormalEquations) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const SparseVector start = SomeWeights(problem, 15, GetParam());
  const SparseVector solved = LeastSquaresOnSupport(view, start);
  ASSERT_TRUE(SameSupport(solved, start));
  Eigen::MatrixXd columns(problem.n, 15);
  for (int k = 0; k < 15; ++k) columns.col(k) = problem.matrix.col(start[k].key);
  const Eigen::VectorXd expected = columns.colPivHouseholderQr().solve(problem.y());
  for (int k = 0; k < 15; ++k) EXPECT_NEAR(solved[k].value, expected[k], 1e-9);
}

TEST_P(StepsTest, LargestEigenvalueIsTheDenseOne) {
  SmallProblem problem(150, 6, 9, GetParam());
  const double found = LargestEigenvalue(problem.view());
  const double expected = std::pow(problem.matrix.bdcSvd().singularValues()[0], 2);
  EXPECT_LE(found, expected * (1 + 1e-12));
  EXPECT_GE(found, 0.9 * expected);
}

// One published step against a literal dense transcription of its rules.
TEST_P(StepsTest, PublishedStepFollowsItsRules) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const int64_t s = 10;
  const SparseVector weights = SomeWeights(problem, s, GetParam());
  const StepResult step = PublishedStep(view, weights, view.Residual(weights), s);

  const Eigen::MatrixXd& a = problem.matrix;
  const Eigen::VectorXd b = problem.y();
  Eigen::VectorXd x = problem.Dense(weights);
  const Eigen::VectorXd g = a.transpose() * (a * x - b);
  const auto restrict_to = [](const Eigen::VectorXd& v, const Eigen::VectorXd& support) {
    return Eigen::VectorXd((support.array() != 0).select(v, 0.0));
  };
  const Eigen::VectorXd gs = restrict_to(g, x);
  double eta = gs.squaredNorm() / ((a * gs).squaredNorm() + 1e-8);
  EXPECT_NEAR(step.step_size, eta, 1e-10 * eta);
  const Eigen::VectorXd tilde = DenseThreshold(x - eta * g, s);
  x = tilde;
  const double loss_tilde = (a * tilde - b).squaredNorm();
  double loss = loss_tilde;
  for (int k = 0; k < 10; ++k) {
    const Eigen::VectorXd gradient = restrict_to(a.transpose() * (a * x - b), tilde);
    int counter = 0;
    while (true) {
      const Eigen::VectorXd trial = x - eta * gradient;
      const double trial_loss = (a * trial - b).squaredNorm();
      ++counter;
      if (trial_loss <= loss - 0.9 * eta * gradient.squaredNorm()) {
        x = trial;
        loss = trial_loss;
        break;
      }
      eta /= 2;
      if (counter > 10) {
        x = tilde;
        loss = loss_tilde;
        break;
      }
    }
  }
  EXPECT_LE((problem.Dense(step.weights) - x).norm(), 1e-9 * x.norm());
}

INSTANTIATE_TEST_SUITE_P(Seeds, StepsTest, testing::Range<uint64_t>(0, 8));

}  // namespace
}  // namespace thresher
