#include "core/recovery/gated_problem.h"

#include "core/kernels/support_products.h"

namespace thresher {

double SquaredNorm(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return sum;
}

double SquaredNorm(const SparseVector& entries) {
  double sum = 0;
  for (const KeyedValue& entry : entries) sum += entry.value * entry.value;
  return sum;
}

GatedSupport GatedProblem::Gate(const SparseVector& support) const {
  GatedSupport gated;
  gated.grouped = GroupByNeuron(support, design.num_columns);
  gated.masks = gates.MasksOf(engine, design, gated.grouped.neurons);
  return gated;
}

std::vector<double> GatedProblem::Forward(GatedSupport& support,
                                          const SparseVector& weights) const {
  for (size_t e = 0; e < weights.size(); ++e) {
    support.grouped.rows.value[e] = weights[e].value;
  }
  std::vector<double> outputs(design.padded_samples());
  SupportForward(engine, design, support.masks, support.grouped.rows, outputs);
  return outputs;
}

std::vector<double> GatedProblem::Residual(const SparseVector& weights) const {
  GatedSupport support = Gate(weights);
  std::vector<double> residual = Forward(support, weights);
  for (size_t i = 0; i < residual.size(); ++i) residual[i] -= targets[i];
  return residual;
}

SparseVector GatedProblem::Gradient(GatedSupport& support, const SparseVector& keys,
                                    std::span<const double> residual) const {
  std::vector<double> products(keys.size());
  SupportAdjoint(engine, design, support.masks, support.grouped.rows, residual, products);
  SparseVector gradient = keys;
  for (size_t e = 0; e < gradient.size(); ++e) gradient[e].value = products[e];
  return gradient;
}

}  // namespace thresher
