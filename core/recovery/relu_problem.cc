#include "core/recovery/relu_problem.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/kernels/gate_field.h"
#include "core/kernels/support_products.h"
#include "core/recovery/gated_problem.h"

namespace thresher {

GateMasks WithOpenGate(const GateMasks& masks, const Design& design) {
  GateMasks wider{design.num_words, masks.num_gates + 1, {}};
  wider.words.reserve(wider.num_words * wider.num_gates);
  for (int64_t w = 0; w < masks.num_words; ++w) {
    wider.words.insert(wider.words.end(), masks.row(w), masks.row(w) + masks.num_gates);
    const int64_t present =
        std::min<int64_t>(kSamplesPerWord, design.num_samples - w * kSamplesPerWord);
    wider.words.push_back(present < kSamplesPerWord ? (uint64_t{1} << present) - 1 : ~uint64_t{0});
  }
  return wider;
}

int64_t NumParameters(const SparseNetwork& network) {
  return network.weights.nonzeros() + static_cast<int64_t>(network.linear.size());
}

std::vector<int32_t> LinearColumns(const ReluProblem& problem, const SparseNetwork& network) {
  std::vector<int32_t> columns;
  for (size_t q = 0; q < network.linear.size(); ++q) {
    const bool constant = static_cast<int64_t>(q) == problem.num_inputs;
    if (problem.sparse_linear && !constant && network.linear[q] == 0) continue;
    columns.push_back(static_cast<int32_t>(q));
  }
  return columns;
}

Linearisation Linearise(const ReluProblem& problem, const SparseNetwork& network) {
  Linearisation at;
  std::vector<int64_t> all(network.hidden_width());
  std::iota(all.begin(), all.end(), 0);
  const GateField gates(SparseGateSet{all, network.weights}, problem.design);
  at.masks = gates.MasksOf(problem.engine, problem.design, all);
  at.signed_rows = network.weights;
  at.signs.reserve(NumParameters(network));
  for (int64_t k = 0; k < network.hidden_width(); ++k) {
    for (int64_t e = at.signed_rows.row_begin[k]; e < at.signed_rows.row_begin[k + 1]; ++e) {
      at.signed_rows.value[e] *= network.output_signs[k];
      at.signs.push_back(network.output_signs[k]);
    }
  }
  if (!network.linear.empty()) {
    at.masks = WithOpenGate(at.masks, problem.design);
    SparseRows& rows = at.signed_rows;
    for (const int32_t q : LinearColumns(problem, network)) {
      rows.column.push_back(q);
      rows.value.push_back(network.linear[q]);
    }
    rows.row_begin.push_back(rows.nonzeros());
    at.signs.resize(rows.nonzeros(), 1.0);
  }
  at.residual.resize(problem.design.padded_samples());
  SupportForward(problem.engine, problem.design, at.masks, at.signed_rows, at.residual);
  for (size_t i = 0; i < at.residual.size(); ++i) at.residual[i] -= problem.targets[i];
  at.loss = SquaredNorm(at.residual);
  return at;
}

std::vector<double> JacobianTranspose(const ReluProblem& problem, const Linearisation& at,
                                      std::span<const double> vector) {
  std::vector<double> products(at.signs.size());
  SupportAdjoint(problem.engine, problem.design, at.masks, at.signed_rows, vector, products);
  for (size_t e = 0; e < products.size(); ++e) products[e] *= at.signs[e];
  return products;
}

}  // namespace thresher
