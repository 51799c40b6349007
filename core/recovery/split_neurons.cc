#include "core/recovery/split_neurons.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "core/recovery/network_entries.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

constexpr double kDominance = 0.95;
constexpr double kLeastVariances = 9;
// Parts of the dominating weight that stay with the others, from a half on.
constexpr int kHalvings = 10;
// Radians that the two turn, from the first on in halves.
constexpr double kFirstTurn = 0.2;
constexpr int kTurns = 8;

// Weights of both on the neuron's inputs.
struct Pair {
  std::vector<double> first;
  std::vector<double> second;
};

double PositivePart(double x) { return x > 0 ? x : 0.0; }

std::vector<Pair> Trials(const std::vector<double>& weights) {
  std::vector<Pair> trials;
  size_t largest = 0;
  double norm2 = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    norm2 += weights[e] * weights[e];
    if (std::abs(weights[e]) > std::abs(weights[largest])) largest = e;
  }
  if (weights.size() < 2) return trials;
  if (weights[largest] * weights[largest] > kDominance * norm2) {
    double left = weights[largest];
    for (int halving = 0; halving < kHalvings; ++halving) {
      left /= 2;
      Pair pair{weights, std::vector<double>(weights.size(), 0.0)};
      pair.first[largest] = left;
      pair.second[largest] = weights[largest] - left;
      trials.push_back(std::move(pair));
    }
  }
  if (weights.size() == 2) {
    double turn = kFirstTurn;
    for (int k = 0; k < kTurns; ++k, turn /= 2) {
      const double across = std::tan(turn);
      trials.push_back(
          {{(weights[0] - across * weights[1]) / 2, (weights[1] + across * weights[0]) / 2},
           {(weights[0] + across * weights[1]) / 2, (weights[1] - across * weights[0]) / 2}});
    }
  }
  return trials;
}

// The trial of largest decrease of the loss, if that is at least `least_decrease`.
std::optional<Pair> BestTrial(const Design& design, const Linearisation& at, int64_t neuron,
                              double sign, double least_decrease) {
  const SparseRows& rows = at.signed_rows;
  const int64_t begin = rows.row_begin[neuron];
  const auto size = static_cast<size_t>(rows.row_begin[neuron + 1] - begin);
  std::vector<double> weights(size);
  std::vector<const float*> columns(size);
  for (size_t e = 0; e < size; ++e) {
    weights[e] = sign * rows.value[begin + e];
    columns[e] = design.columns.get() + rows.column[begin + e] * design.padded_samples();
  }
  std::vector<Pair> trials = Trials(weights);
  std::vector<double> correlation(trials.size());
  std::vector<double> norm2(trials.size());
  for (int64_t i = 0; i < design.num_samples; ++i) {
    double whole = 0;
    for (size_t e = 0; e < size; ++e) whole += weights[e] * columns[e][i];
    for (size_t t = 0; t < trials.size(); ++t) {
      double first = 0;
      double second = 0;
      for (size_t e = 0; e < size; ++e) {
        first += trials[t].first[e] * columns[e][i];
        second += trials[t].second[e] * columns[e][i];
      }
      // Where both are open, or both closed, the two are the neuron.
      if ((first > 0) == (second > 0)) continue;
      const double difference = PositivePart(first) + PositivePart(second) - PositivePart(whole);
      correlation[t] += sign * difference * at.residual[i];
      norm2[t] += difference * difference;
    }
  }
  double largest = least_decrease;
  std::optional<Pair> best;
  for (size_t t = 0; t < trials.size(); ++t) {
    if (!(correlation[t] < 0)) continue;
    const double decrease = correlation[t] * correlation[t] / norm2[t];
    if (!(decrease > largest)) continue;
    largest = decrease;
    best = trials[t];
  }
  return best;
}

}  // namespace

SparseNetwork SplitNeurons(const ReluProblem& problem, const SparseNetwork& network) {
  const Linearisation at = Linearise(problem, network);
  const int64_t width = network.hidden_width();
  const double least_decrease =
      kLeastVariances * at.loss / static_cast<double>(problem.design.num_samples);
  std::vector<std::optional<Pair>> splits(width);
  problem.engine.pool.ParallelFor(width, [&](int64_t j, int) {
    if (problem.engine.stop_requested()) return;
    splits[j] = BestTrial(problem.design, at, j, network.output_signs[j], least_decrease);
  });
  SparseVector entries = EntriesOf(network);
  std::vector<int8_t> signs = network.output_signs;
  for (int64_t j = 0; j < width; ++j) {
    if (!splits[j]) continue;
    const auto added = static_cast<int64_t>(signs.size());
    signs.push_back(network.output_signs[j]);
    const int64_t begin = network.weights.row_begin[j];
    for (size_t e = 0; e < splits[j]->first.size(); ++e) {
      entries[begin + e].value = splits[j]->first[e];
      if (splits[j]->second[e] == 0) continue;
      entries.push_back({added * network.num_columns() + network.weights.column[begin + e],
                         splits[j]->second[e]});
    }
  }
  return WithEntries(network, entries, signs);
}

}  // namespace thresher
