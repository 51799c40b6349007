#include "core/recovery/prune_back.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/kernels/support_gram.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

// Added to the diagonal, relative to its mean: columns of parallel neurons are dependent.
constexpr double kRidge = 1e-6;
constexpr int64_t kInverseColumns = 64;

}  // namespace

std::vector<double> Saliencies(const ReluProblem& problem, const SparseNetwork& network) {
  const int64_t size = network.weights.nonzeros();
  const std::vector<double>& weights = network.weights.value;
  std::vector<double> saliencies(size);
  if (size == 0) return saliencies;
  if (size > kMaxDenseWeights) {
    // Columns have mean square about 1 and gates are open on about half the samples.
    const double column_norm2 = 0.5 * static_cast<double>(problem.design.num_samples);
    for (int64_t e = 0; e < size; ++e) saliencies[e] = weights[e] * weights[e] * column_norm2;
    return saliencies;
  }
  // Output signs change neither the diagonal of J^T J nor that of its inverse.
  const Linearisation at = Linearise(problem, network);
  std::vector<double> gram = SupportGram(problem.engine, problem.design, at.masks, at.signed_rows);
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix> normal(gram.data(), size, size);
  const double mean = normal.trace() / static_cast<double>(size);
  normal.diagonal().array() += mean > 0 ? kRidge * mean : 1.0;
  const Eigen::LLT<Matrix> factor(normal);
  // [ (L L^T)^-1 ]_ee is the squared norm of column e of L^-1, a block of columns at a time so
  // that a stop request is noticed in between.
  for (int64_t first = 0; first < size; first += kInverseColumns) {
    if (problem.engine.stop_requested()) return saliencies;
    const int64_t rows = size - first;
    const int64_t columns = std::min(kInverseColumns, rows);
    Matrix inverse = Matrix::Identity(rows, columns);
    factor.matrixLLT()
        .bottomRightCorner(rows, rows)
        .triangularView<Eigen::Lower>()
        .solveInPlace(inverse);
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t e = first + c;
      saliencies[e] = weights[e] * weights[e] / inverse.col(c).squaredNorm();
    }
  }
  return saliencies;
}

SparseNetwork PruneTo(const ReluProblem& problem, const SparseNetwork& network, int64_t count) {
  if (network.weights.nonzeros() <= count) return network;
  const std::vector<double> saliencies = Saliencies(problem, network);
  const SparseVector entries = EntriesOf(network);
  SparseVector scores = entries;
  for (size_t e = 0; e < scores.size(); ++e) scores[e].value = saliencies[e];
  return NetworkOf(Restrict(entries, HardThreshold(count, std::move(scores))), network.num_inputs,
                   network.has_bias, network.output_signs);
}

SparseNetwork PruneNeuronsTo(const ReluProblem& problem, const SparseNetwork& network,
                             int64_t hidden_width) {
  if (network.hidden_width() <= hidden_width) return network;
  const std::vector<double> saliencies = Saliencies(problem, network);
  SparseVector worth;
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    const auto begin = saliencies.begin() + network.weights.row_begin[j];
    const auto end = saliencies.begin() + network.weights.row_begin[j + 1];
    worth.push_back({j, std::accumulate(begin, end, 0.0)});
  }
  worth = HardThreshold(hidden_width, std::move(worth));
  SparseVector kept;
  for (const KeyedValue& entry : EntriesOf(network)) {
    const int64_t row = entry.key / network.num_columns();
    if (std::any_of(worth.begin(), worth.end(),
                    [row](const KeyedValue& neuron) { return neuron.key == row; })) {
      kept.push_back(entry);
    }
  }
  return NetworkOf(kept, network.num_inputs, network.has_bias, network.output_signs);
}

}  // namespace thresher
