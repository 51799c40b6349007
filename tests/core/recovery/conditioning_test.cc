#include "core/recovery/conditioning.h"

#include <cmath>
#include <vector>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "Eigen/Eigenvalues"
#include "Eigen/LU"
#include "core/recovery/normal_equations.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

struct Problem {
  Design design;
  GateMasks masks;
  SparseRows support;
};

Problem RandomProblem(int64_t num_samples, uint64_t seed) {
  Problem problem{RandomDesign(num_samples, 30, seed), {}, RandomRows(8, 30, 0.2, seed)};
  problem.masks = RandomMasks(problem.design, 8, 0.5, seed);
  return problem;
}

Conditioning Measure(const Problem& problem, int num_threads = 1) {
  Engine engine(num_threads);
  const std::vector<double> norms =
      GatedColumnNorms(engine, problem.design, problem.masks, problem.support);
  return MeasureConditioning(engine, problem.design, problem.masks, problem.support, norms,
                             problem.support.nonzeros());
}

// A_S, in double.
MatrixXd SupportMatrix(const Problem& problem) {
  MatrixXd matrix(problem.design.num_samples, problem.support.nonzeros());
  for (int64_t row = 0; row < problem.support.num_rows(); ++row) {
    for (int64_t e = problem.support.row_begin[row]; e < problem.support.row_begin[row + 1]; ++e) {
      for (int64_t i = 0; i < problem.design.num_samples; ++i) {
        matrix(i, e) = IsOpen(problem.masks, i, row)
                           ? InputOf(problem.design, i, problem.support.column[e])
                           : 0.0;
      }
    }
  }
  return matrix;
}

// Inputs in both layouts.
void SetInput(Design& design, int64_t i, int64_t q, float value) {
  design.rows[i * design.row_stride + q] = value;
  design.columns[q * design.padded_samples() + i] = value;
}

void ExpectAgreesWithDense(const Problem& problem, double tolerance) {
  const MatrixXd matrix = SupportMatrix(problem);
  const MatrixXd unit = matrix.colwise().normalized();
  const VectorXd eigenvalues =
      Eigen::SelfAdjointEigenSolver<MatrixXd>(unit.transpose() * unit).eigenvalues();
  const MatrixXd inverse = (matrix.transpose() * matrix).inverse();
  double saliency = std::numeric_limits<double>::infinity();
  for (Eigen::Index e = 0; e < matrix.cols(); ++e) {
    saliency = std::min(saliency, std::pow(problem.support.value[e], 2) / inverse(e, e));
  }
  const Conditioning found = Measure(problem);
  EXPECT_FALSE(found.is_bound);
  EXPECT_NEAR(found.largest_eigenvalue, eigenvalues.maxCoeff(), 1e-5 * eigenvalues.maxCoeff());
  EXPECT_NEAR(found.smallest_eigenvalue, eigenvalues.minCoeff(),
              tolerance * eigenvalues.minCoeff());
  EXPECT_NEAR(found.kappa(), eigenvalues.maxCoeff() / eigenvalues.minCoeff(),
              2 * tolerance * found.kappa());
  ASSERT_TRUE(found.smallest_saliency.has_value());
  EXPECT_NEAR(*found.smallest_saliency, saliency, 1e-3 * saliency);
}

TEST(MeasureConditioningTest, AgreesWithADenseEigenvalueSolver) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    ExpectAgreesWithDense(RandomProblem(700, seed), 1e-3);
    ExpectAgreesWithDense(RandomProblem(90, seed), 1e-3);
  }
}

TEST(MeasureConditioningTest, FindsSmallEigenvaluesInDouble) {
  // Two inputs that differ by a little: the smallest eigenvalue is far under what the normal
  // matrix in float resolves.
  for (const float difference : {1e-2F, 1e-4F}) {
    Problem problem = RandomProblem(500, 3);
    problem.support = {{0, 3}, {0, 1, 2}, {1, 2, 3}};
    problem.masks = RandomMasks(problem.design, 1, 0.5, 3);
    for (int64_t i = 0; i < 500; ++i) {
      SetInput(problem.design, i, 1,
               InputOf(problem.design, i, 0) + difference * InputOf(problem.design, i, 1));
    }
    const MatrixXd unit = SupportMatrix(problem).colwise().normalized();
    const double smallest =
        Eigen::SelfAdjointEigenSolver<MatrixXd>(unit.transpose() * unit).eigenvalues().minCoeff();
    ASSERT_LT(smallest, difference * difference);
    EXPECT_NEAR(Measure(problem).smallest_eigenvalue, smallest, 1e-3 * smallest);
  }
}

TEST(MeasureConditioningTest, DependentColumnsHaveAnInfiniteKappa) {
  Problem equal_gates = RandomProblem(400, 4);
  equal_gates.support = {{0, 2, 3}, {0, 5, 5}, {1, 2, 3}};
  equal_gates.masks = RandomMasks(equal_gates.design, 2, 0.5, 4);
  for (int64_t w = 0; w < equal_gates.masks.num_words; ++w) {
    equal_gates.masks.row(w)[1] = equal_gates.masks.row(w)[0];
  }

  Problem sum_of_inputs = RandomProblem(400, 5);
  sum_of_inputs.support = {{0, 3}, {0, 1, 2}, {1, 1, 1}};
  sum_of_inputs.masks = RandomMasks(sum_of_inputs.design, 1, 0.5, 5);
  for (int64_t i = 0; i < 400; ++i) {
    SetInput(sum_of_inputs.design, i, 2,
             InputOf(sum_of_inputs.design, i, 0) + InputOf(sum_of_inputs.design, i, 1));
  }

  Problem too_few_samples = RandomProblem(20, 6);
  ASSERT_GT(too_few_samples.support.nonzeros(), 20);

  Problem closed_gate = RandomProblem(400, 7);
  for (int64_t w = 0; w < closed_gate.masks.num_words; ++w) closed_gate.masks.row(w)[0] = 0;
  ASSERT_GT(closed_gate.support.row_begin[1], 0);

  for (const Problem* problem : {&equal_gates, &sum_of_inputs, &too_few_samples, &closed_gate}) {
    const Conditioning found = Measure(*problem);
    EXPECT_EQ(found.smallest_eigenvalue, 0);
    EXPECT_TRUE(std::isinf(found.kappa()));
    EXPECT_FALSE(found.smallest_saliency.has_value());
    EXPECT_GE(found.largest_eigenvalue, 1);
  }
}

TEST(MeasureConditioningTest, OneColumnIsPerfectlyConditioned) {
  Problem problem = RandomProblem(50, 8);
  problem.support = {{0, 1}, {3}, {2.0}};
  problem.masks = RandomMasks(problem.design, 1, 1.0, 8);
  const Conditioning found = Measure(problem);
  EXPECT_NEAR(found.smallest_eigenvalue, 1, 1e-6);
  EXPECT_NEAR(found.largest_eigenvalue, 1, 1e-6);
  EXPECT_NEAR(*found.smallest_saliency, 4 * SupportMatrix(problem).squaredNorm(), 1e-3);
}

TEST(MeasureConditioningTest, LargeSupportsAreMeasuredWithoutTheNormalMatrix) {
  // Pairs of columns with cosine 0.6: the eigenvalues are 0.4 and 1.6.
  const int64_t size = kMaxDenseWeights + 2;
  std::vector<float> inputs(size * size, 0.0F);
  for (int64_t p = 0; p < size; p += 2) {
    inputs[p * size + p] = 1;
    inputs[p * size + p + 1] = 0.6F;
    inputs[(p + 1) * size + p + 1] = 0.8F;
  }
  Problem problem{MakeDesign({inputs.data(), size, size}, /*bias=*/false), {}, {}};
  problem.masks = RandomMasks(problem.design, 1, 1.0, 9);
  for (int32_t q = 0; q < size; ++q) {
    problem.support.column.push_back(q);
    problem.support.value.push_back(1);
  }
  problem.support.row_begin.push_back(size);
  const Conditioning found = Measure(problem);
  EXPECT_FALSE(found.is_bound);
  EXPECT_NEAR(found.smallest_eigenvalue, 0.4, 1e-3);
  EXPECT_NEAR(found.largest_eigenvalue, 1.6, 1e-3);
  EXPECT_FALSE(found.smallest_saliency.has_value());
}

TEST(MeasureConditioningTest, HasTheSameBitsOnAnyNumberOfThreads) {
  const Problem problem = RandomProblem(5000, 10);
  const Conditioning one = Measure(problem);
  for (const int num_threads : {2, 3}) {
    const Conditioning many = Measure(problem, num_threads);
    EXPECT_EQ(many.smallest_eigenvalue, one.smallest_eigenvalue);
    EXPECT_EQ(many.largest_eigenvalue, one.largest_eigenvalue);
    EXPECT_EQ(many.smallest_saliency, one.smallest_saliency);
  }
}

}  // namespace
}  // namespace thresher
