#include "core/recovery/normal_equations.h"

#include <algorithm>

#include "core/kernels/support_gram.h"

namespace thresher {
namespace {

constexpr int64_t kInverseColumns = 64;
constexpr int kMaxFactorTrials = 12;

}  // namespace

NormalEquations::NormalEquations(const ReluProblem& problem, const Linearisation& at)
    : signs_(at.signs) {
  const int64_t size = at.signed_rows.nonzeros();
  const std::vector<double> gram =
      SupportGram(problem.engine, problem.design, at.masks, at.signed_rows);
  normal_ = Eigen::Map<const Matrix>(gram.data(), size, size);
}

double NormalEquations::MeanDiagonal() const {
  return normal_.trace() / static_cast<double>(std::max<int64_t>(1, normal_.rows()));
}

void NormalEquations::Factor(double ridge) {
  for (int trial = 0; trial < kMaxFactorTrials; ++trial) {
    Matrix damped = normal_;
    damped.diagonal().array() += ridge;
    factor_.compute(damped);
    if (factor_.info() == Eigen::Success) return;
    ridge *= 10;
  }
}

void NormalEquations::Solve(std::span<double> vector) const {
  Eigen::Map<Eigen::VectorXd> values(vector.data(), static_cast<Eigen::Index>(vector.size()));
  const Eigen::Map<const Eigen::VectorXd> signs(signs_.data(), values.size());
  values = values.cwiseProduct(signs);
  factor_.solveInPlace(values);
  values = values.cwiseProduct(signs);
}

std::vector<double> NormalEquations::InverseDiagonal(const Engine& engine) const {
  const int64_t size = normal_.rows();
  std::vector<double> diagonal(size, 0.0);
  // [ (L L^T)^-1 ]_ee is the squared norm of column e of L^-1, a block of columns at a time so
  // that a stop request is noticed in between.
  for (int64_t first = 0; first < size && !engine.stop_requested(); first += kInverseColumns) {
    const int64_t rows = size - first;
    const int64_t columns = std::min(kInverseColumns, rows);
    Matrix inverse = Matrix::Identity(rows, columns);
    factor_.matrixLLT()
        .bottomRightCorner(rows, rows)
        .triangularView<Eigen::Lower>()
        .solveInPlace(inverse);
    for (int64_t c = 0; c < columns; ++c) diagonal[first + c] = inverse.col(c).squaredNorm();
  }
  return diagonal;
}

}  // namespace thresher
