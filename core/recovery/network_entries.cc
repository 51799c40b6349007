#include "core/recovery/network_entries.h"

#include <utility>

namespace thresher {

SparseVector EntriesOf(const SparseNetwork& network) {
  SparseVector entries;
  entries.reserve(network.weights.value.size());
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      entries.push_back(
          {j * network.num_columns() + network.weights.column[e], network.weights.value[e]});
    }
  }
  return entries;
}

SparseNetwork NetworkOf(const SparseVector& entries, int64_t num_inputs, bool has_bias,
                        const std::vector<int8_t>& signs) {
  SparseNetwork network;
  network.num_inputs = num_inputs;
  network.has_bias = has_bias;
  NeuronRows grouped = GroupByNeuron(entries, network.num_columns());
  network.weights = std::move(grouped.rows);
  for (const int64_t neuron : grouped.neurons) network.output_signs.push_back(signs[neuron]);
  return network;
}

SparseNetwork WithEntries(const SparseNetwork& network, const SparseVector& entries,
                          const std::vector<int8_t>& signs) {
  SparseNetwork changed = NetworkOf(entries, network.num_inputs, network.has_bias, signs);
  changed.linear = network.linear;
  return changed;
}

}  // namespace thresher
