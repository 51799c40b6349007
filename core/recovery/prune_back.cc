#include "core/recovery/prune_back.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/recovery/network_entries.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

// Added to the diagonal, relative to its mean: columns of parallel neurons are dependent.
constexpr double kRidge = 1e-6;

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
  const Linearisation at = Linearise(problem, network);
  NormalEquations normal(problem, network, at);
  const double mean = normal.MeanDiagonal();
  normal.Factor(mean > 0 ? kRidge * mean : 1.0);
  const std::vector<double> inverse = normal.InverseDiagonal(problem.engine);
  if (problem.engine.stop_requested()) return saliencies;
  for (int64_t e = 0; e < size; ++e) saliencies[e] = weights[e] * weights[e] / inverse[e];
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
