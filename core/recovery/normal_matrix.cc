#include "core/recovery/normal_matrix.h"

#include <span>

#include "core/kernels/support_gram.h"
#include "core/kernels/support_products.h"

namespace thresher {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

NormalOperator::NormalOperator(Engine& engine, const Design& design, const GateMasks& masks,
                               const SparseRows& support, const std::vector<double>& norms)
    : engine_(engine),
      design_(design),
      masks_(masks),
      rows_(support),
      norms_(Eigen::Map<const VectorXd>(norms.data(), static_cast<Index>(norms.size()))),
      outputs_(design.padded_samples()) {}

VectorXd NormalOperator::operator()(const VectorXd& vector) { return Adjoint(Forward(vector)); }

const std::vector<double>& NormalOperator::Forward(const VectorXd& vector) {
  Eigen::Map<VectorXd>(rows_.value.data(), vector.size()) = vector.cwiseQuotient(norms_);
  SupportForward(engine_, design_, masks_, rows_, outputs_);
  return outputs_;
}

VectorXd NormalOperator::Adjoint(const std::vector<double>& samples) {
  VectorXd products(norms_.size());
  SupportAdjoint(engine_, design_, masks_, rows_, samples,
                 std::span(products.data(), static_cast<size_t>(products.size())));
  return products.cwiseQuotient(norms_);
}

NormalFactor FactoriseNormalMatrix(Engine& engine, const Design& design, const GateMasks& masks,
                                   const SparseRows& support, const std::vector<double>& norms) {
  constexpr double kRidge = 1e-6;
  NormalFactor normal;
  const auto size = static_cast<Index>(support.nonzeros());
  const VectorXd scale = Eigen::Map<const VectorXd>(norms.data(), size).cwiseInverse();
  {
    const std::vector<double> gram = SupportGram(engine, design, masks, support);
    normal.matrix = scale.asDiagonal() * Eigen::Map<const MatrixXd>(gram.data(), size, size) *
                    scale.asDiagonal();
  }
  for (double ridge = kRidge; ridge < 1 && !engine.stop_requested(); ridge *= 10) {
    normal.factor.compute(normal.matrix + ridge * MatrixXd::Identity(size, size));
    if (normal.factor.info() == Eigen::Success) break;
  }
  return normal;
}

}  // namespace thresher
