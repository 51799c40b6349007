// The normal matrix of a support whose columns are scaled to norm 1, D^-1 A_S^T A_S D^-1: as an
// operator in double and, for small supports, as a factor in float. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_NORMAL_MATRIX_H_
#define THRESHER_CORE_RECOVERY_NORMAL_MATRIX_H_

#include <vector>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// All but the support are views. `norms`: of the columns, a positive number in place of 0.
class NormalOperator {
 public:
  NormalOperator(Engine& engine, const Design& design, const GateMasks& masks,
                 const SparseRows& support, const std::vector<double>& norms);

  Eigen::VectorXd operator()(const Eigen::VectorXd& vector);

  // A_S D^-1 v over padded samples, valid until the next call.
  const std::vector<double>& Forward(const Eigen::VectorXd& vector);
  // D^-1 A_S^T r for padded samples.
  Eigen::VectorXd Adjoint(const std::vector<double>& samples);

 private:
  Engine& engine_;
  const Design& design_;
  const GateMasks& masks_;
  SparseRows rows_;
  Eigen::VectorXd norms_;
  std::vector<double> outputs_;
};

// The normal matrix with its Cholesky factor; the factor is of the matrix plus a small multiple
// of the identity, the rounding of sums in float.
struct NormalFactor {
  Eigen::MatrixXd matrix;
  Eigen::LLT<Eigen::MatrixXd> factor;
};
// Cost: n k^2 / 2 + k^3 / 6 multiply-adds.
NormalFactor FactoriseNormalMatrix(Engine& engine, const Design& design, const GateMasks& masks,
                                   const SparseRows& support, const std::vector<double>& norms);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_NORMAL_MATRIX_H_
