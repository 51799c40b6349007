#include "core/recovery/prune_back.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/network/merge.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/refine.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

// Added to the diagonal, relative to its mean: columns of parallel neurons are dependent.
constexpr double kRidge = 1e-6;

// A column whose part that the others do not explain is below this share depends on them.
constexpr double kDependent = 0.02;
// Weights below this many standard errors explain rounding.
constexpr double kStandardErrors = 5;
// Losses at the rounding of the data may differ by this factor.
constexpr double kSameLoss = 1.5;
// Neurons whose cosine is below minus this are tried as one and a linear function.
constexpr double kParallel = 1 - 1e-7;
constexpr double kOpposite = 1 - 1e-5;
constexpr int64_t kMaxAttempts = 50;
// Two steps that leave more than this of the loss say that a part is needed.
constexpr double kHope = 0.03;

// Whether the weights are the same but for what refinement moves.
bool Agree(const std::vector<double>& a, const std::vector<double>& b) {
  constexpr double kTolerance = 1e-2;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return std::abs(x - y) <= kTolerance * std::abs(x); });
}

// Sets of entries to do without, the most promising first: all weights that explain rounding;
// each neuron whose columns all depend on others; each weight whose column does.
std::vector<std::vector<int64_t>> RedundantParts(const ReluProblem& problem,
                                                 const SparseNetwork& network,
                                                 const Linearisation& at,
                                                 const NormalEquations& normal,
                                                 const std::vector<double>& inverse) {
  const double variance = at.loss / static_cast<double>(problem.design.num_samples);
  std::vector<int64_t> rounding;
  std::vector<std::vector<int64_t>> neurons;
  std::vector<std::vector<int64_t>> weights;
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    std::vector<int64_t> dependent;
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      const double weight = network.weights.value[e];
      if (weight * weight / inverse[e] < kStandardErrors * kStandardErrors * variance) {
        rounding.push_back(e);
      }
      if (1 / inverse[e] < kDependent * normal.Diagonal(e)) dependent.push_back(e);
    }
    if (dependent.empty()) continue;
    const int64_t size = network.weights.row_begin[j + 1] - network.weights.row_begin[j];
    for (const int64_t e : dependent) {
      if (size > 1) weights.push_back({e});
    }
    if (static_cast<int64_t>(dependent.size()) == size) neurons.push_back(std::move(dependent));
  }
  const auto norm = [&network](const std::vector<int64_t>& part) {
    double sum = 0;
    for (const int64_t e : part) sum += network.weights.value[e] * network.weights.value[e];
    return sum;
  };
  const auto smaller = [&norm](const auto& a, const auto& b) { return norm(a) < norm(b); };
  std::stable_sort(neurons.begin(), neurons.end(), smaller);
  std::stable_sort(weights.begin(), weights.end(), smaller);
  std::vector<std::vector<int64_t>> parts;
  if (!rounding.empty()) parts.push_back(std::move(rounding));
  parts.insert(parts.end(), neurons.begin(), neurons.end());
  parts.insert(parts.end(), weights.begin(), weights.end());
  return parts;
}

}  // namespace

std::vector<double> Saliencies(const ReluProblem& problem, const SparseNetwork& network) {
  std::vector<double> weights = network.weights.value;
  for (const int32_t q : LinearColumns(problem, network)) weights.push_back(network.linear[q]);
  const size_t size = weights.size();
  std::vector<double> saliencies(size);
  if (size == 0) return saliencies;
  if (NumParameters(network) > kMaxDenseWeights) {
    // Columns have mean square about 1 and gates are open on about half the samples.
    const double column_norm2 = 0.5 * static_cast<double>(problem.design.num_samples);
    for (size_t e = 0; e < size; ++e) {
      const bool linear = e >= network.weights.value.size();
      saliencies[e] = weights[e] * weights[e] * column_norm2 * (linear ? 2 : 1);
    }
    return saliencies;
  }
  const Linearisation at = Linearise(problem, network);
  NormalEquations normal(problem, at);
  const double mean = normal.MeanDiagonal();
  normal.Factor(mean > 0 ? kRidge * mean : 1.0);
  const std::vector<double> inverse = normal.InverseDiagonal(problem.engine);
  if (problem.engine.stop_requested()) return saliencies;
  for (size_t e = 0; e < size; ++e) saliencies[e] = weights[e] * weights[e] / inverse[e];
  return saliencies;
}

SparseNetwork PruneTo(const ReluProblem& problem, const SparseNetwork& network, int64_t count) {
  if (network.weights.nonzeros() <= count) return network;
  const std::vector<double> saliencies = Saliencies(problem, network);
  const SparseVector entries = EntriesOf(network);
  SparseVector scores = entries;
  for (size_t e = 0; e < scores.size(); ++e) scores[e].value = saliencies[e];
  return WithEntries(network, Restrict(entries, HardThreshold(count, std::move(scores))),
                     network.output_signs);
}

SparseNetwork DropInsignificant(const ReluProblem& problem, const SparseNetwork& network,
                                double loss, double variances) {
  if (NumParameters(network) > kMaxDenseWeights) return network;
  const std::vector<double> saliencies = Saliencies(problem, network);
  if (problem.engine.stop_requested()) return network;
  const double least = variances * loss / static_cast<double>(problem.design.num_samples);
  SparseVector entries = EntriesOf(network);
  for (size_t e = 0; e < entries.size(); ++e) {
    if (saliencies[e] < least) entries[e].value = 0;
  }
  std::erase_if(entries, [](const KeyedValue& entry) { return entry.value == 0; });
  return WithEntries(network, entries, network.output_signs);
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
  return WithEntries(network, kept, network.output_signs);
}

SparseNetwork RemoveRedundant(const ReluProblem& problem, const SparseNetwork& network,
                              OutputSigns signs) {
  SparseNetwork present = network;
  // True where the loss stays as it is; a better candidate has taken the place then.
  const auto refined = [&](SparseNetwork candidate, double loss) {
    candidate = DropDeadNeurons(candidate);
    const double hope = kHope * Linearise(problem, candidate).loss;
    RefineOptions options = {.max_steps = 2, .max_products = 60};
    double refined_loss = Refine(problem, options, candidate);
    if (refined_loss <= std::max(hope, kSameLoss * loss)) {
      options.max_steps = 8;
      refined_loss = Refine(problem, options, candidate);
    }
    if (problem.engine.stop_requested() || refined_loss > kSameLoss * loss) return false;
    present = std::move(candidate);
    return true;
  };
  const auto unfold = [&](double loss) {
    SparseNetwork unfolded =
        UnfoldNeurons(MergeParallelNeurons(DropDeadNeurons(present), kParallel), kOpposite, signs);
    const bool smaller = unfolded.weights.nonzeros() < present.weights.nonzeros() ||
                         unfolded.hidden_width() < present.hidden_width();
    return smaller && refined(std::move(unfolded), loss);
  };
  // What has been tried in vain, by the values of its weights.
  std::vector<std::vector<double>> kept;
  bool changed = true;
  while (changed && present.weights.nonzeros() > 0 && NumParameters(present) <= kMaxDenseWeights) {
    const Linearisation at = Linearise(problem, present);
    changed = present.linear.empty() && unfold(at.loss);
    if (problem.engine.stop_requested()) return network;
    if (changed) continue;
    NormalEquations normal(problem, at);
    normal.Factor(kRidge * normal.MeanDiagonal());
    const std::vector<double> inverse = normal.InverseDiagonal(problem.engine);
    if (problem.engine.stop_requested()) return network;
    for (const std::vector<int64_t>& part : RedundantParts(problem, present, at, normal, inverse)) {
      SparseVector entries = EntriesOf(present);
      std::vector<double> values;
      for (const int64_t e : part) {
        values.push_back(entries[e].value);
        entries[e].value = 0;
      }
      const auto same = [&values](const std::vector<double>& tried) {
        return Agree(tried, values);
      };
      if (std::any_of(kept.begin(), kept.end(), same)) continue;
      changed = refined(WithEntries(present, entries, present.output_signs), at.loss);
      if (problem.engine.stop_requested()) return network;
      if (changed) break;
      kept.push_back(std::move(values));
      if (static_cast<int64_t>(kept.size()) >= kMaxAttempts) return present;
    }
  }
  return present;
}

}  // namespace thresher
