#include "core/iteration/network_state.h"

#include <string>
#include <utility>
#include <variant>

#include "core/network/model.h"

namespace thresher {
namespace {

void Add(const SparseRows& rows, StateWriter& writer) {
  writer.AddVector(rows.row_begin);
  writer.AddVector(rows.column);
  writer.AddVector(rows.value);
}

bool Take(StateReader& reader, SparseRows& rows) {
  // ValidateNetwork reads the sizes from row_begin, which is never empty.
  return reader.TakeVector(rows.row_begin) && !rows.row_begin.empty() &&
         reader.TakeVector(rows.column) && reader.TakeVector(rows.value);
}

}  // namespace

void AddNetwork(const SparseNetwork& network, StateWriter& writer) {
  Add(network.weights, writer);
  writer.AddVector(network.output_signs);
  writer.AddVector(network.linear);
  writer.Add(static_cast<int64_t>(network.upper_layers.size()));
  for (const SparseRows& layer : network.upper_layers) Add(layer, writer);
}

bool TakeNetwork(StateReader& reader, SparseNetwork& network) {
  int64_t num_upper = 0;
  if (!Take(reader, network.weights) || !reader.TakeVector(network.output_signs) ||
      !reader.TakeVector(network.linear) || !reader.Take(num_upper) || num_upper < 0 ||
      num_upper > kMaxHiddenLayers) {
    return false;
  }
  network.upper_layers.resize(num_upper);
  for (SparseRows& layer : network.upper_layers) {
    if (!Take(reader, layer)) return false;
  }
  return ValidateNetwork(network).ok();
}

void AddAnyNetwork(const Network& network, StateWriter& writer) {
  const auto* sparse = std::get_if<SparseNetwork>(&network);
  writer.Add(static_cast<uint8_t>(sparse != nullptr ? 1 : 0));
  if (sparse != nullptr) {
    writer.Add(sparse->num_inputs);
    writer.Add(static_cast<uint8_t>(sparse->has_bias ? 1 : 0));
    AddNetwork(*sparse, writer);
    return;
  }
  // JSON holds every kind of gates exactly.
  Model model;
  model.network = network;
  writer.AddText(WriteModelJson(model));
}

bool TakeAnyNetwork(StateReader& reader, Network& network) {
  uint8_t is_sparse = 0;
  if (!reader.Take(is_sparse)) return false;
  if (is_sparse != 0) {
    SparseNetwork sparse;
    uint8_t has_bias = 0;
    if (!reader.Take(sparse.num_inputs) || !reader.Take(has_bias)) return false;
    sparse.has_bias = has_bias != 0;
    if (!TakeNetwork(reader, sparse)) return false;
    network = std::move(sparse);
    return true;
  }
  std::string text;
  if (!reader.TakeText(text)) return false;
  absl::StatusOr<Model> model = ReadModelJson(text);
  if (!model.ok()) return false;
  network = std::move(model->network);
  return true;
}

}  // namespace thresher
