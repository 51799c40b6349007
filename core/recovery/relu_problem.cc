#include "core/recovery/relu_problem.h"

#include <numeric>
#include <utility>

#include "core/kernels/gate_field.h"
#include "core/kernels/support_products.h"
#include "core/recovery/gated_problem.h"

namespace thresher {

Linearisation Linearise(const ReluProblem& problem, const SparseNetwork& network) {
  Linearisation at;
  std::vector<int64_t> all(network.hidden_width());
  std::iota(all.begin(), all.end(), 0);
  const GateField gates(SparseGateSet{all, network.weights}, problem.design);
  at.masks = gates.MasksOf(problem.engine, problem.design, all);
  at.signed_rows = network.weights;
  for (int64_t k = 0; k < network.hidden_width(); ++k) {
    for (int64_t e = at.signed_rows.row_begin[k]; e < at.signed_rows.row_begin[k + 1]; ++e) {
      at.signed_rows.value[e] *= network.output_signs[k];
    }
  }
  at.residual.resize(problem.design.padded_samples());
  SupportForward(problem.engine, problem.design, at.masks, at.signed_rows, at.residual);
  for (size_t i = 0; i < at.residual.size(); ++i) at.residual[i] -= problem.targets[i];
  at.loss = SquaredNorm(at.residual);
  return at;
}

std::vector<double> JacobianTranspose(const ReluProblem& problem, const SparseNetwork& network,
                                      const Linearisation& at, std::span<const double> vector) {
  std::vector<double> products(network.weights.nonzeros());
  SupportAdjoint(problem.engine, problem.design, at.masks, network.weights, vector, products);
  for (int64_t k = 0; k < network.hidden_width(); ++k) {
    for (int64_t e = network.weights.row_begin[k]; e < network.weights.row_begin[k + 1]; ++e) {
      products[e] *= network.output_signs[k];
    }
  }
  return products;
}

}  // namespace thresher
