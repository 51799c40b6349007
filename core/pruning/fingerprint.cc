#include "core/pruning/fingerprint.h"

#include <bit>

namespace thresher {
namespace {

void AddRows(const SparseRows& rows, Fingerprint& fingerprint) {
  fingerprint.AddVector(rows.row_begin);
  fingerprint.AddVector(rows.column);
  fingerprint.AddVector(rows.value);
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

}  // namespace thresher
