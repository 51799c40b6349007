#include "core/pruning/network_state.h"

#include <bit>
#include <utility>

namespace thresher {
namespace {

void AddRows(const SparseRows& rows, Fingerprint& fingerprint) {
  fingerprint.AddVector(rows.row_begin);
  fingerprint.AddVector(rows.column);
  fingerprint.AddVector(rows.value);
}

void WriteRows(const SparseRows& rows, StateWriter& writer) {
  writer.AddVector(rows.row_begin);
  writer.AddVector(rows.column);
  writer.AddVector(rows.value);
}

bool ReadRows(StateReader& reader, SparseRows& rows) {
  // ValidateNetwork reads the sizes from row_begin, which is never empty.
  return reader.TakeVector(rows.row_begin) && !rows.row_begin.empty() &&
         reader.TakeVector(rows.column) && reader.TakeVector(rows.value);
}

void AddDouble(double value, Fingerprint& fingerprint) {
  fingerprint.Add(std::bit_cast<uint64_t>(value));
}

}  // namespace

void AddNetwork(const SparseNetwork& network, Fingerprint& fingerprint) {
  fingerprint.Add(network.num_inputs);
  fingerprint.Add(network.has_bias ? 1 : 0);
  AddRows(network.weights, fingerprint);
  fingerprint.AddVector(network.output_signs);
  for (const SparseRows& layer : network.upper_layers) AddRows(layer, fingerprint);
}

void AddOptions(const OneShotOptions& options, Fingerprint& fingerprint) {
  fingerprint.Add(static_cast<uint64_t>(options.method));
  fingerprint.Add(options.nonzeros);
  fingerprint.Add(static_cast<uint64_t>(options.scope));
  fingerprint.Add(options.pattern_kept);
  fingerprint.Add(options.pattern_size);
  fingerprint.Add(options.whole_neurons ? 1 : 0);
  fingerprint.Add(static_cast<uint64_t>(options.loss));
  AddDouble(options.damping, fingerprint);
  fingerprint.Add(options.max_samples);
  fingerprint.Add(options.stages);
  fingerprint.Add(options.seed);
}

void AddOptions(const DistillOptions& options, Fingerprint& fingerprint) {
  AddOptions(options.one_shot, fingerprint);
  AddDouble(options.start_factor, fingerprint);
  fingerprint.Add(static_cast<uint64_t>(options.targets));
  fingerprint.Add(options.epochs);
  fingerprint.Add(options.batch_size);
  AddDouble(options.learning_rate, fingerprint);
  AddDouble(options.learning_rate_decay, fingerprint);
  AddDouble(options.schedule_power, fingerprint);
  AddDouble(options.prune_end, fingerprint);
}

void WriteNetwork(const SparseNetwork& network, StateWriter& writer) {
  writer.Add(network.num_inputs);
  writer.Add(static_cast<uint8_t>(network.has_bias));
  WriteRows(network.weights, writer);
  writer.AddVector(network.output_signs);
  writer.Add(static_cast<int64_t>(network.upper_layers.size()));
  for (const SparseRows& layer : network.upper_layers) WriteRows(layer, writer);
}

bool ReadNetwork(StateReader& reader, SparseNetwork& network) {
  network = {};
  uint8_t has_bias = 0;
  int64_t num_upper = 0;
  if (!reader.Take(network.num_inputs) || !reader.Take(has_bias) ||
      !ReadRows(reader, network.weights) || !reader.TakeVector(network.output_signs) ||
      !reader.Take(num_upper) || num_upper < 0 || num_upper > kMaxHiddenLayers) {
    return false;
  }
  network.has_bias = has_bias != 0;
  for (int64_t l = 0; l < num_upper; ++l) {
    SparseRows layer;
    if (!ReadRows(reader, layer)) return false;
    network.upper_layers.push_back(std::move(layer));
  }
  return ValidateNetwork(network).ok();
}

}  // namespace thresher
