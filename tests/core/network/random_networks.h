// Random networks and inputs for the tests of this room.
#ifndef THRESHER_TESTS_CORE_NETWORK_RANDOM_NETWORKS_H_
#define THRESHER_TESTS_CORE_NETWORK_RANDOM_NETWORKS_H_

#include <cstdint>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/network.h"

namespace thresher {

// Rows of N(0, 1) weights, each position present with the given probability. With
// probability 1 no row is empty.
inline SparseRows RandomRows(CounterRandom& random, int64_t num_rows, int64_t num_columns,
                             double density) {
  SparseRows rows;
  for (int64_t j = 0; j < num_rows; ++j) {
    for (int64_t q = 0; q < num_columns; ++q) {
      if (random.NextUniform() >= density) continue;
      rows.column.push_back(static_cast<int32_t>(q));
      rows.value.push_back(random.NextNormal());
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  return rows;
}

inline SparseNetwork RandomSparseNetwork(CounterRandom& random, int64_t hidden_width,
                                         int64_t num_inputs, bool has_bias, double density) {
  SparseNetwork network;
  network.num_inputs = num_inputs;
  network.has_bias = has_bias;
  network.weights = RandomRows(random, hidden_width, network.num_columns(), density);
  for (int64_t j = 0; j < hidden_width; ++j) {
    network.output_signs.push_back(random.NextBelow(2) == 0 ? 1 : -1);
  }
  return network;
}

// With hidden layers of the given widths: fused with random signs for num_outputs = 0, else with
// a linear output layer of so many rows.
inline SparseNetwork RandomLayeredNetwork(CounterRandom& random, int64_t num_inputs,
                                          const std::vector<int64_t>& hidden_widths,
                                          int64_t num_outputs, bool has_bias, double density) {
  SparseNetwork network =
      RandomSparseNetwork(random, hidden_widths[0], num_inputs, has_bias, density);
  network.output_signs.clear();
  std::vector<int64_t> widths = hidden_widths;
  if (num_outputs > 0) widths.push_back(num_outputs);
  for (size_t l = 1; l < widths.size(); ++l) {
    network.upper_layers.push_back(
        RandomRows(random, widths[l], widths[l - 1] + (has_bias ? 1 : 0), density));
  }
  if (num_outputs == 0) {
    for (int64_t j = 0; j < widths.back(); ++j) {
      network.output_signs.push_back(random.NextBelow(2) == 0 ? 1 : -1);
    }
  }
  return network;
}

// Lists about half of the gates.
inline GatedNetwork RandomGatedNetwork(CounterRandom& random, int64_t num_gates, int64_t num_inputs,
                                       bool has_bias, bool vectors, double density) {
  GatedNetwork network;
  network.num_inputs = num_inputs;
  network.has_bias = has_bias;
  for (int64_t j = 0; j < num_gates; ++j) {
    if (random.NextBelow(2) == 0) network.gate_index.push_back(j);
  }
  network.weights = RandomRows(random, static_cast<int64_t>(network.gate_index.size()),
                               network.num_columns(), density);
  if (!vectors) {
    network.gates = RandomGateSet{.seed = random.NextBits(), .num_gates = num_gates};
    return network;
  }
  GateVectorSet gates{.num_gates = num_gates, .vectors = {}};
  for (int64_t e = 0; e < num_gates * network.num_columns(); ++e) {
    gates.vectors.push_back(random.NextNormal());
  }
  network.gates = gates;
  return network;
}

inline std::vector<float> RandomInputs(CounterRandom& random, int64_t num_samples,
                                       int64_t num_inputs) {
  std::vector<float> inputs(static_cast<size_t>(num_samples * num_inputs));
  for (float& x : inputs) x = static_cast<float>(random.NextNormal());
  return inputs;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_NETWORK_RANDOM_NETWORKS_H_
