#include "core/recovery/grow.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "core/kernels/gate_field.h"
#include "core/kernels/support_products.h"
#include "core/kernels/top_gradient.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/least_squares.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

// Bytes of gate bits kept for a pass over the live neurons' inputs.
constexpr int64_t kMaskBytes = int64_t{64} << 20;
// Scale of a start whose outputs correlate with the targets the wrong way round.
constexpr double kFallbackScale = 0.3;

// The half-spaces +-x_q > 0.
SparseRows HalfSpaces(int64_t num_columns) {
  SparseRows halves;
  for (int64_t q = 0; q < num_columns; ++q) {
    for (const double direction : {1.0, -1.0}) {
      halves.column.push_back(static_cast<int32_t>(q));
      halves.value.push_back(direction);
      halves.row_begin.push_back(halves.nonzeros());
    }
  }
  return halves;
}

std::vector<int64_t> FirstIntegers(int64_t count) {
  std::vector<int64_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

SparseNetwork StartUnder(const ReluProblem& problem, const GateField& gates, int64_t num_gates,
                         OutputSigns output_signs, int64_t count) {
  SparseVector entries = TopGradient(problem.engine, problem.design, gates, problem.targets, count,
                                     /*excluded=*/{});
  std::vector<int8_t> signs(num_gates, 1);
  if (output_signs == OutputSigns::kMixed) {
    for (int64_t j = 1; j < num_gates; j += 2) signs[j] = -1;
  }
  // A gate is open on about half the samples.
  const double scale = 2.0 / static_cast<double>(problem.design.num_samples);
  for (KeyedValue& entry : entries) {
    entry.value *= scale * signs[entry.key / problem.design.num_columns];
  }
  SparseNetwork network = NetworkOf(entries, problem.num_inputs, problem.has_bias, signs);
  const Linearisation at = Linearise(problem, network);
  double product = 0;
  double norm = 0;
  for (size_t i = 0; i < at.residual.size(); ++i) {
    const double output = at.residual[i] + problem.targets[i];
    product += output * problem.targets[i];
    norm += output * output;
  }
  const double fit = norm > 0 && product > 0 ? product / norm : kFallbackScale;
  for (double& value : network.weights.value) value *= fit;
  return network;
}

// ||g||^2 / ||J g||^2 over the entering entries: where inputs correlate it is far under 1 / n.
double NormalisedStepSize(const ReluProblem& problem, const SparseNetwork& network,
                          const SparseVector& entering) {
  const NeuronRows rows = GroupByNeuron(entering, network.num_columns());
  const GateField gates(SparseGateSet{FirstIntegers(network.hidden_width()), network.weights},
                        problem.design);
  const GateMasks masks = gates.MasksOf(problem.engine, problem.design, rows.neurons);
  std::vector<double> image(problem.design.padded_samples());
  SupportForward(problem.engine, problem.design, masks, rows.rows, image);
  const double denominator = SquaredNorm(image);
  return denominator > 0 ? SquaredNorm(entering) / denominator
                         : std::numeric_limits<double>::infinity();
}

// Neurons with one weight, one for each half-space (beside a linear term: for x_q > 0): the weight
// that a gradient step of size eta from zero gives them. They are numbered from first_neuron on.
SparseVector OneSparseCandidates(const ReluProblem& problem, const Linearisation& at, double eta,
                                 OutputSigns output_signs, bool linear_term, int64_t first_neuron,
                                 std::vector<int8_t>& signs) {
  const int64_t num_columns = problem.design.num_columns;
  const int64_t bias_column = problem.has_bias ? num_columns - 1 : -1;
  const SparseRows halves = HalfSpaces(num_columns);
  const std::vector<int64_t> all = FirstIntegers(halves.num_rows());
  const GateField gates(SparseGateSet{all, halves}, problem.design);
  const GateMasks masks = gates.MasksOf(problem.engine, problem.design, all);
  std::vector<double> gradient(halves.nonzeros());
  SupportAdjoint(problem.engine, problem.design, masks, halves, at.residual, gradient);
  SparseVector candidates;
  for (size_t h = 0; h < gradient.size(); ++h) {
    // Beside a linear term (x_q)_+ and (-x_q)_+ are worth the same, the constant nothing.
    if (linear_term && (halves.value[h] < 0 || halves.column[h] == bias_column)) continue;
    // The loss changes at this rate when |w| (+-x_q)_+ is added.
    const double slope = gradient[h] * halves.value[h];
    if (slope > 0 && output_signs == OutputSigns::kPositive) continue;
    signs.push_back(slope > 0 ? -1 : 1);
    const auto neuron = first_neuron + static_cast<int64_t>(candidates.size());
    candidates.push_back(
        {neuron * num_columns + halves.column[h], eta * std::abs(slope) * halves.value[h]});
  }
  return candidates;
}

}  // namespace

SparseNetwork RandomStart(const ReluProblem& problem, int64_t num_gates, OutputSigns signs,
                          int64_t count, uint64_t seed) {
  const GateField gates(RandomGateSet{seed, num_gates}, problem.design);
  return StartUnder(problem, gates, num_gates, signs, count);
}

SparseNetwork KinkStart(const ReluProblem& problem, OutputSigns output_signs, int64_t count) {
  const int64_t num_columns = problem.design.num_columns;
  const SparseRows halves = HalfSpaces(num_columns);
  const GateField gates(SparseGateSet{FirstIntegers(halves.num_rows()), halves}, problem.design);
  SparseVector features;
  for (int64_t h = 0; h < halves.num_rows(); ++h) {
    features.push_back({h * num_columns + halves.column[h], 0.0});
  }
  features =
      LeastSquaresOnSupport({problem.engine, problem.design, problem.targets, gates}, features);
  // p x under x > 0 and q x under x < 0 are (p - q) (x)_+ + q x.
  SparseVector kinks;
  std::vector<int8_t> signs(num_columns, 1);
  std::vector<double> linear(num_columns);
  for (int64_t q = 0; q < num_columns; ++q) {
    linear[q] = features[2 * q + 1].value;
    const double kink = features[2 * q].value - linear[q];
    if (kink < 0 && output_signs == OutputSigns::kPositive) continue;
    signs[q] = kink < 0 ? -1 : 1;
    kinks.push_back({q * num_columns + q, std::abs(kink)});
  }
  SparseNetwork network = NetworkOf(HardThreshold(count, std::move(kinks)), problem.num_inputs,
                                    problem.has_bias, signs);
  network.linear = std::move(linear);
  return network;
}

SparseNetwork GrowAndThreshold(const ReluProblem& problem, const SparseNetwork& network,
                               int64_t count, OutputSigns output_signs, bool new_neurons) {
  const Linearisation at = Linearise(problem, network);
  GateField gates(SparseGateSet{FirstIntegers(network.hidden_width()), network.weights},
                  problem.design);
  gates.KeepMasks(problem.engine, problem.design, kMaskBytes);
  SparseVector moved = EntriesOf(network);
  const std::vector<double> own = JacobianTranspose(problem, at, at.residual);
  const SparseVector entering =
      TopGradient(problem.engine, problem.design, gates, at.residual, count, KeysOf(moved));
  const double eta = std::min(1.0 / static_cast<double>(problem.design.num_samples),
                              NormalisedStepSize(problem, network, entering));
  for (size_t e = 0; e < moved.size(); ++e) moved[e].value -= eta * own[e];
  for (const KeyedValue& entry : entering) {
    const int sign = network.output_signs[entry.key / network.num_columns()];
    moved.push_back({entry.key, -eta * sign * entry.value});
  }
  std::vector<int8_t> signs = network.output_signs;
  if (new_neurons) {
    const SparseVector candidates = OneSparseCandidates(
        problem, at, eta, output_signs, !network.linear.empty(), network.hidden_width(), signs);
    moved.insert(moved.end(), candidates.begin(), candidates.end());
  }
  return WithEntries(network, HardThreshold(count, std::move(moved)), signs);
}

}  // namespace thresher
