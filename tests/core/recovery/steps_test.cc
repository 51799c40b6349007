// Single steps on small problems, against dense reference computations.
#include "core/recovery/steps.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

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

TEST_P(StepsTest, ColumnNormsAreTheDenseOnes) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const SparseVector support = SomeWeights(problem, 20, GetParam());
  const std::vector<double> norms2 = view.SquaredColumnNorms(view.Gate(support));
  ASSERT_EQ(norms2.size(), support.size());
  for (size_t e = 0; e < support.size(); ++e) {
    EXPECT_NEAR(norms2[e], problem.matrix.col(support[e].key).squaredNorm(), 1e-10);
  }
}

// argmin over weights on the non-zeros of `support`, others 0.
Eigen::VectorXd DenseLeastSquares(const SmallProblem& problem, const Eigen::VectorXd& support) {
  std::vector<int64_t> keys;
  for (int64_t key = 0; key < support.size(); ++key) {
    if (support[key] != 0) keys.push_back(key);
  }
  Eigen::MatrixXd columns(problem.n, static_cast<int64_t>(keys.size()));
  for (size_t k = 0; k < keys.size(); ++k) columns.col(k) = problem.matrix.col(keys[k]);
  const Eigen::VectorXd solved = columns.colPivHouseholderQr().solve(problem.y());
  Eigen::VectorXd weights = Eigen::VectorXd::Zero(support.size());
  for (size_t k = 0; k < keys.size(); ++k) weights[keys[k]] = solved[k];
  return weights;
}

TEST_P(StepsTest, ReciprocalStepIsTheDenseOne) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const SparseVector weights = SomeWeights(problem, 8, GetParam());
  const double eta = 0.003;
  const StepResult step = ReciprocalStep(view, weights, view.Residual(weights), 12, 5, eta);
  EXPECT_EQ(step.step_size, eta);
  const Eigen::VectorXd x = problem.Dense(weights);
  const Eigen::VectorXd z =
      x - eta * (problem.matrix.transpose() * (problem.matrix * x - problem.y()));
  Eigen::VectorXd expected = DenseThreshold(z, 12);
  const double tau = (z - expected).cwiseAbs().maxCoeff();
  const double rho = 5.0 / 12;
  for (double& t : expected) {
    if (t == 0) continue;
    const double root = std::sqrt(t * t - (1 - rho * rho) * tau * tau);
    t = (t > 0 ? 1 : -1) * (std::abs(t) + root) / 2;
  }
  EXPECT_LE((problem.Dense(step.weights) - expected).norm(), 1e-10 * expected.norm());
}

// With y = A w*, s non-zeros in w*, step size 1 / beta and s~ > (2 kappa - 1) s the distance to
// w* falls by (1 - 1 / kappa) / (1 - 2 rho / (1 + rho)) or more in every step.
TEST_P(StepsTest, ReciprocalStepsContractAsTheTheoremSays) {
  SmallProblem problem(3000, 30, 1, GetParam());
  const int64_t s = 3;
  const int64_t working = 24;
  const Eigen::VectorXd planted = problem.Dense(SomeWeights(problem, s, GetParam() + 100));
  Eigen::Map<Eigen::VectorXd>(problem.targets.data(), problem.n) = problem.matrix * planted;
  const Eigen::VectorXd singular = problem.matrix.bdcSvd().singularValues();
  const double beta = std::pow(singular[0], 2);
  const double kappa = beta / std::pow(singular[singular.size() - 1], 2);
  ASSERT_GT(working, (2 * kappa - 1) * s);
  const double rho = static_cast<double>(s) / static_cast<double>(working);
  const double factor = (1 - 1 / kappa) / (1 - 2 * rho / (1 + rho));
  ASSERT_LT(factor, 1);
  const GatedProblem view = problem.view();
  SparseVector weights;
  double distance2 = planted.squaredNorm();
  for (int k = 0; k < 30 && distance2 > 1e-20; ++k) {
    weights = ReciprocalStep(view, weights, view.Residual(weights), working, s, 1 / beta).weights;
    const double next = (problem.Dense(weights) - planted).squaredNorm();
    EXPECT_LE(next, factor * distance2 * (1 + 1e-9));
    distance2 = next;
  }
}

TEST_P(StepsTest, CosampStepIsTheDenseOne) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const int64_t s = 7;
  SparseVector weights = SomeWeights(problem, s, GetParam());
  for (int k = 0; k < 3; ++k) {
    const StepResult step = CosampStep(view, weights, view.Residual(weights), s);
    const Eigen::VectorXd x = problem.Dense(weights);
    const Eigen::VectorXd gradient =
        problem.matrix.transpose() * (problem.matrix * x - problem.y());
    const Eigen::VectorXd merged = DenseThreshold(gradient, 2 * s).cwiseAbs() + x.cwiseAbs();
    const Eigen::VectorXd kept = DenseThreshold(DenseLeastSquares(problem, merged), s);
    const Eigen::VectorXd expected = DenseLeastSquares(problem, kept);
    EXPECT_LE((problem.Dense(step.weights) - expected).norm(), 1e-8 * expected.norm());
    EXPECT_EQ(step.fixed_point, SameSupport(step.weights, weights));
    weights = step.weights;
  }
}

// One exchange against the rules, in dense arithmetic.
TEST_P(StepsTest, SplicingStepIsTheDenseOne) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const int64_t s = 9;
  // Least squares on a support that is not good.
  const SparseVector start = LeastSquaresOnSupport(view, SomeWeights(problem, s, GetParam()));
  const StepResult step = SplicingStep(view, start, view.Residual(start), s);

  const Eigen::VectorXd x = problem.Dense(start);
  const Eigen::VectorXd residual = problem.matrix * x - problem.y();
  std::vector<KeyedValue> backward;
  std::vector<KeyedValue> forward;
  for (int64_t key = 0; key < x.size(); ++key) {
    const double norm2 = problem.matrix.col(key).squaredNorm();
    if (x[key] != 0) {
      backward.push_back({key, norm2 * x[key] * x[key]});
    } else {
      forward.push_back({key, std::pow(problem.matrix.col(key).dot(residual), 2) / norm2});
    }
  }
  const auto by_value = [](const KeyedValue& a, const KeyedValue& b) { return a.value < b.value; };
  std::sort(backward.begin(), backward.end(), by_value);
  std::sort(forward.rbegin(), forward.rend(), by_value);
  Eigen::VectorXd expected = x;
  bool found = false;
  for (const int k : {5, 2, 1}) {
    Eigen::VectorXd support = x;
    for (int e = 0; e < k; ++e) {
      support[backward[e].key] = 0;
      support[forward[e].key] = 1;
    }
    const Eigen::VectorXd solved = DenseLeastSquares(problem, support);
    if ((problem.matrix * solved - problem.y()).squaredNorm() < residual.squaredNorm()) {
      expected = solved;
      found = true;
      break;
    }
  }
  EXPECT_EQ(step.fixed_point, !found);
  EXPECT_LE((problem.Dense(step.weights) - expected).norm(), 1e-8 * expected.norm());
}

TEST_P(StepsTest, SplicingLowersTheLossUntilItEnds) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  SparseVector weights;
  double loss = SquaredNorm(problem.targets);
  bool ended = false;
  for (int k = 0; k < 100 && !ended; ++k) {
    const StepResult step = SplicingStep(view, weights, view.Residual(weights), 10);
    EXPECT_EQ(step.weights.size(), 10);
    const double next = SquaredNorm(view.Residual(step.weights));
    ended = step.fixed_point;
    if (ended) {
      EXPECT_TRUE(SameSupport(step.weights, weights));
      EXPECT_EQ(next, loss);
    } else {
      EXPECT_LT(next, loss);
    }
    weights = step.weights;
    loss = next;
  }
  EXPECT_TRUE(ended);
}

TEST_P(StepsTest, SplicingPrefersWhatExplainsMoreToWhatIsLarge) {
  // An input in small units explains the targets; its gradient is small all the same.
  SmallProblem problem(150, 6, 3, GetParam());
  for (int64_t i = 0; i < problem.n; ++i) {
    problem.design.columns[4 * problem.design.padded_samples() + i] *= 0x1p-20f;
    problem.design.rows[i * problem.design.row_stride + 4] *= 0x1p-20f;
  }
  problem.gates.KeepMasks(problem.engine, problem.design, 1 << 20);
  const GatedProblem view = problem.view();
  const SparseVector planted = {{1 * 6 + 4, 0x1p21}};
  std::vector<double> targets = view.Residual(planted);
  for (size_t i = 0; i < targets.size(); ++i) targets[i] += problem.targets[i];
  problem.targets = targets;
  const GatedProblem posed = problem.view();
  const StepResult step = SplicingStep(posed, {}, posed.Residual({}), 1);
  ASSERT_EQ(step.weights.size(), 1);
  EXPECT_EQ(step.weights[0].key, planted[0].key);
  EXPECT_NEAR(step.weights[0].value, planted[0].value, 1e-6 * planted[0].value);
}

// The words of 150 samples as batches of one.
std::vector<RowChunk> OneWordBatches() { return {{2, 1}, {0, 1}, {1, 1}}; }

TEST_P(StepsTest, VarianceReducedStepIsTheDenseOne) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  const int64_t s = 8;
  const SparseVector weights = SomeWeights(problem, s, GetParam());
  const double scale = 0.25;
  const std::vector<double> residual = view.Residual(weights);
  const StepResult step = VarianceReducedStep(view, weights, residual, s, scale, OneWordBatches());
  // All 54 candidates take part in a problem of this size.
  const StepResult first = NormalisedStep(view, weights, residual, s);
  const double eta = scale * first.step_size;
  EXPECT_EQ(step.step_size, eta);
  const Eigen::MatrixXd& a = problem.matrix;
  const Eigen::VectorXd x0 = problem.Dense(weights);
  const Eigen::VectorXd gradient = a.transpose() * (a * x0 - problem.y());
  Eigen::VectorXd x = problem.Dense(first.weights);
  const double first_loss = (a * x - problem.y()).squaredNorm();
  for (const auto& [begin, size] : {std::pair{128, 22}, std::pair{0, 64}, std::pair{64, 64}}) {
    const auto rows = a.middleRows(begin, size);
    const Eigen::VectorXd reduced =
        150.0 / size * (rows.transpose() * (rows * (x - x0))) + gradient;
    x = DenseThreshold(x - eta * reduced, s);
  }
  if ((a * x - problem.y()).squaredNorm() <= first_loss) {
    EXPECT_LE((problem.Dense(step.weights) - x).norm(), 1e-9 * x.norm());
    EXPECT_EQ(step.next_step_scale, scale);
  } else {
    EXPECT_LE((problem.Dense(step.weights) - problem.Dense(first.weights)).norm(), 1e-12);
    EXPECT_EQ(step.next_step_scale, scale / 2);
  }
}

// Step sizes that diverge within the epoch cost the epoch, not the loss.
TEST_P(StepsTest, VarianceReducedStepsNeverRaiseTheLoss) {
  SmallProblem problem(150, 6, 9, GetParam());
  const GatedProblem view = problem.view();
  SparseVector weights;
  double loss = SquaredNorm(problem.targets);
  double scale = 0x1p30;
  for (int k = 0; k < 40; ++k) {
    const StepResult step =
        VarianceReducedStep(view, weights, view.Residual(weights), 10, scale, OneWordBatches());
    EXPECT_LE(step.weights.size(), 10);
    const double next = SquaredNorm(view.Residual(step.weights));
    EXPECT_LE(next, loss * (1 + 1e-12));
    weights = step.weights;
    loss = next;
    scale = step.next_step_scale;
  }
  EXPECT_LE(scale, 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, StepsTest, testing::Range<uint64_t>(0, 8));

}  // namespace
}  // namespace thresher
