// The normal matrix J^T J of a linearised network, factored.
#ifndef THRESHER_CORE_RECOVERY_NORMAL_EQUATIONS_H_
#define THRESHER_CORE_RECOVERY_NORMAL_EQUATIONS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/recovery/relu_problem.h"

namespace thresher {

// Weights up to which the normal matrix is formed: 16 k^2 bytes for k of them.
inline constexpr int64_t kMaxDenseWeights = 1500;

class NormalEquations {
 public:
  // Forms J^T J, exact to about 1e-6 of its diagonal.
  // Cost: n k^2 / 2 multiply-adds for k weights. A stop request leaves it incomplete.
  NormalEquations(const ReluProblem& problem, const Linearisation& at);

  // Factors J^T J + ridge I; where that is not positive definite to rounding, with the least
  // of 10 ridge, 100 ridge, ... that is. Cost: k^3 / 6 multiply-adds a trial.
  void Factor(double ridge);

  // vector <- (J^T J + ridge I)^-1 vector.
  void Solve(std::span<double> vector) const;

  // The diagonal of (J^T J + ridge I)^-1. Cost: k^3 / 6 multiply-adds. A stop request ends it
  // early, with zeros.
  std::vector<double> InverseDiagonal(const Engine& engine) const;

  double MeanDiagonal() const;
  double Diagonal(int64_t entry) const { return normal_(entry, entry); }

 private:
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix normal_;  // without the output signs
  std::vector<double> signs_;
  Eigen::LLT<Matrix> factor_;
};

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_NORMAL_EQUATIONS_H_
