#include "core/recovery/gated_problem.h"

#include "core/kernels/kernel_table.h"
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

std::vector<double> GatedProblem::SquaredColumnNorms(const GatedSupport& support) const {
  const SparseRows& rows = support.grouped.rows;
  std::vector<double> norms(rows.nonzeros());
  engine.pool.ParallelFor(rows.num_rows(), [&](int64_t k, int) {
    if (engine.stop_requested()) return;
    for (int64_t e = rows.row_begin[k]; e < rows.row_begin[k + 1]; ++e) {
      const float* column = design.columns.get() + rows.column[e] * design.padded_samples();
      for (int64_t w = 0; w < design.num_words; ++w) {
        const uint64_t word = support.masks.word(w, k);
        for (int64_t i = 0; i < kSamplesPerWord; ++i) {
          const double x = column[w * kSamplesPerWord + i];
          norms[e] += static_cast<double>(word >> i & 1) * x * x;
        }
      }
    }
  });
  return norms;
}

}  // namespace thresher
