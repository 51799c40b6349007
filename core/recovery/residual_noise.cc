#include "core/recovery/residual_noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/kernels/gate_field.h"
#include "core/kernels/top_gradient.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

constexpr int64_t kSamplesPerParameter = 10;
constexpr std::array kSlabs = {1.0 / 4, 1.0 / 8, 1.0 / 16, 1.0 / 32};
// A slab of fewer samples says nothing.
constexpr int64_t kLeastSamples = 30;
// Correlations that are looked at in full.
constexpr int64_t kCandidates = 64;
constexpr int64_t kMaskBytes = int64_t{64} << 20;

// What the largest of `count` standard normal magnitudes exceeds once in some hundred cases.
double ChanceLevel(int64_t count) {
  return std::sqrt(2 * std::log(static_cast<double>(count))) + 1;
}

// x . w of every sample.
std::vector<double> Activations(const Design& design, const SparseRows& rows, int64_t neuron) {
  std::vector<double> activations(design.num_samples, 0.0);
  for (int64_t e = rows.row_begin[neuron]; e < rows.row_begin[neuron + 1]; ++e) {
    const float* column = design.columns.get() + rows.column[e] * design.padded_samples();
    for (int64_t i = 0; i < design.num_samples; ++i) activations[i] += rows.value[e] * column[i];
  }
  return activations;
}

// The largest |a . r| / (||a|| sigma) over a = (x_q)_+ and (-x_q)_+.
double LargestKinkCorrelation(const Design& design, const Linearisation& at, double sigma) {
  double correlation = 0;
  for (int64_t q = 0; q < design.num_columns; ++q) {
    const float* column = design.columns.get() + q * design.padded_samples();
    std::array<double, 2> sum = {};
    std::array<double, 2> norm2 = {};
    for (int64_t i = 0; i < design.num_samples; ++i) {
      const size_t side = column[i] > 0 ? 1 : 0;
      sum[side] += column[i] * at.residual[i];
      norm2[side] += static_cast<double>(column[i]) * column[i];
    }
    for (const size_t side : {0, 1}) {
      if (norm2[side] == 0) continue;
      correlation = std::max(correlation, std::abs(sum[side]) / (std::sqrt(norm2[side]) * sigma));
    }
  }
  return correlation;
}

// The same over inputs that neurons do not have yet, a their columns.
double LargestCorrelation(const ReluProblem& problem, const SparseNetwork& network,
                          const Linearisation& at, double sigma) {
  std::vector<int64_t> neurons(network.hidden_width());
  std::iota(neurons.begin(), neurons.end(), 0);
  GateField gates(SparseGateSet{neurons, network.weights}, problem.design);
  gates.KeepMasks(problem.engine, problem.design, kMaskBytes);
  const SparseVector largest = TopGradient(problem.engine, problem.design, gates, at.residual,
                                           kCandidates, KeysOf(EntriesOf(network)));
  double correlation = 0;
  for (const KeyedValue& candidate : largest) {
    const int64_t neuron = candidate.key / problem.design.num_columns;
    const float* column = problem.design.columns.get() + candidate.key %
                                                             problem.design.num_columns *
                                                             problem.design.padded_samples();
    const std::vector<double> activations = Activations(problem.design, network.weights, neuron);
    double norm2 = 0;
    for (int64_t i = 0; i < problem.design.num_samples; ++i) {
      if (activations[i] > 0) norm2 += static_cast<double>(column[i]) * column[i];
    }
    if (norm2 > 0) {
      correlation = std::max(correlation, std::abs(candidate.value) / (std::sqrt(norm2) * sigma));
    }
  }
  return correlation;
}

// The largest deviation, in standard deviations, of the residual's mean or mean square in the
// slabs of one neuron.
double LargestDeviation(const ReluProblem& problem, const SparseNetwork& network,
                        const Linearisation& at, int64_t neuron, double variance,
                        double variance_of_squares) {
  const std::vector<double> activations = Activations(problem.design, network.weights, neuron);
  double norm2 = 0;
  for (const double activation : activations) norm2 += activation * activation;
  const double deviation = std::sqrt(norm2 / static_cast<double>(problem.design.num_samples));
  double largest = 0;
  for (const double slab : kSlabs) {
    int64_t count = 0;
    double sum = 0;
    double sum_of_squares = 0;
    for (int64_t i = 0; i < problem.design.num_samples; ++i) {
      if (std::abs(activations[i]) > slab * deviation) continue;
      ++count;
      sum += at.residual[i];
      sum_of_squares += at.residual[i] * at.residual[i] - variance;
    }
    if (count < kLeastSamples) continue;
    const auto samples = static_cast<double>(count);
    largest = std::max({largest, std::abs(sum) / std::sqrt(samples * variance),
                        sum_of_squares / std::sqrt(samples * variance_of_squares)});
  }
  return largest;
}

}  // namespace

bool LooksLikeNoise(const ReluProblem& problem, const SparseNetwork& network) {
  const int64_t num_samples = problem.design.num_samples;
  const int64_t width = network.hidden_width();
  if (num_samples < std::max<int64_t>(1, NumParameters(network)) * kSamplesPerParameter) {
    return false;
  }
  const Linearisation at = Linearise(problem, network);
  if (!(at.loss > 0)) return false;
  const double variance = at.loss / static_cast<double>(num_samples);
  const double sigma = std::sqrt(variance);
  double correlation = LargestKinkCorrelation(problem.design, at, sigma);
  if (width > 0) {
    correlation = std::max(correlation, LargestCorrelation(problem, network, at, sigma));
  }
  if (correlation > ChanceLevel((width + 2) * problem.design.num_columns)) return false;
  if (width == 0) return true;
  double variance_of_squares = 0;
  for (int64_t i = 0; i < num_samples; ++i) {
    const double excess = at.residual[i] * at.residual[i] - variance;
    variance_of_squares += excess * excess;
  }
  variance_of_squares /= static_cast<double>(num_samples);
  std::vector<double> deviations(width);
  problem.engine.pool.ParallelFor(width, [&](int64_t j, int) {
    if (problem.engine.stop_requested()) return;
    deviations[j] = LargestDeviation(problem, network, at, j, variance, variance_of_squares);
  });
  constexpr auto kTests = static_cast<int64_t>(2 * kSlabs.size());
  return *std::max_element(deviations.begin(), deviations.end()) <= ChanceLevel(kTests * width);
}

}  // namespace thresher
