#include "core/model_files/layers.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/model_files/model_file.h"

namespace thresher {
namespace {

constexpr size_t kMaxJsonBytes = size_t{64} << 10;

// Row `row` of `rows` at the end of `layer`, its constant's entry (column `constant`) as the bias.
void AddRow(const SparseRows& rows, size_t row, int64_t constant, bool has_bias, Layer& layer) {
  double bias = 0;
  for (int64_t e = rows.row_begin[row]; e < rows.row_begin[row + 1]; ++e) {
    const int32_t column = rows.column[static_cast<size_t>(e)];
    const double value = rows.value[static_cast<size_t>(e)];
    if (column == constant) {
      bias = value;
    } else if (value != 0) {
      layer.weights.column.push_back(column);
      layer.weights.value.push_back(value);
    }
  }
  layer.weights.row_begin.push_back(layer.weights.nonzeros());
  if (has_bias) layer.bias.push_back(bias);
}

Layer ToLayer(const SparseRows& rows, int64_t num_units_below, bool has_bias) {
  Layer layer;
  for (size_t row = 0; row < static_cast<size_t>(rows.num_rows()); ++row) {
    AddRow(rows, row, num_units_below, has_bias, layer);
  }
  return layer;
}

// The two units (l.x)_+ and (-l.x)_+.
void AddLinearUnits(std::vector<double> linear, const SparseNetwork& network, Layer& layer) {
  for (int sign = 0; sign < 2; ++sign) {
    SparseRows row;
    for (size_t q = 0; q < linear.size(); ++q) {
      row.column.push_back(static_cast<int32_t>(q));
      row.value.push_back(linear[q]);
      linear[q] = -linear[q];
    }
    row.row_begin.push_back(row.nonzeros());
    AddRow(row, 0, network.num_inputs, network.has_bias, layer);
  }
}

bool FitsFloat32(double value) {
  return std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max());
}

bool IsFloat32(double value) {
  return FitsFloat32(value) && static_cast<double>(static_cast<float>(value)) == value;
}

template <typename Holds>
bool AllNumbers(std::span<const Layer> layers, const Holds& holds) {
  return std::all_of(layers.begin(), layers.end(), [&](const Layer& layer) {
    return std::all_of(layer.weights.value.begin(), layer.weights.value.end(), holds) &&
           std::all_of(layer.bias.begin(), layer.bias.end(), holds);
  });
}

}  // namespace

absl::StatusOr<LayeredNetwork> ToLayers(const Network& any) {
  const auto* network = std::get_if<SparseNetwork>(&any);
  if (network == nullptr) {
    return absl::InvalidArgumentError("network_kind: a gated network is no chain of layers");
  }
  const bool has_bias = network->has_bias;
  LayeredNetwork layered;
  layered.num_inputs = network->num_inputs;
  layered.layers.push_back(ToLayer(network->weights, network->num_inputs, has_bias));
  if (!network->linear.empty()) {
    AddLinearUnits(network->linear, *network, layered.layers.back());
  }
  for (const SparseRows& rows : network->upper_layers) {
    layered.layers.push_back(ToLayer(rows, layered.layers.back().weights.num_rows(), has_bias));
  }
  if (IsFused(*network)) {
    Layer output;
    for (const int8_t sign : network->output_signs) output.weights.value.push_back(sign);
    if (!network->linear.empty()) {
      output.weights.value.push_back(1);
      output.weights.value.push_back(-1);
    }
    for (size_t j = 0; j < output.weights.value.size(); ++j) {
      output.weights.column.push_back(static_cast<int32_t>(j));
    }
    output.weights.row_begin.push_back(output.weights.nonzeros());
    if (has_bias) output.bias.push_back(0);
    layered.layers.push_back(std::move(output));
  }
  for (Layer& layer : layered.layers) {
    if (layer.weights.num_rows() > 0) continue;
    layer.weights.row_begin.push_back(0);
    if (has_bias) layer.bias.push_back(0);
  }
  return layered;
}

absl::StatusOr<GatedUnits> ToGatedUnits(const GatedNetwork& network, int64_t max_bytes) {
  const int64_t d = network.num_inputs;
  GatedUnits units{.num_inputs = d};
  Layer all = ToLayer(network.weights, d, network.has_bias);
  std::vector<int64_t> in_use;  // of the network's rows
  for (int64_t row = 0; row < all.weights.num_rows(); ++row) {
    const auto at = static_cast<size_t>(row);
    const bool has_weight = all.weights.row_begin[at] < all.weights.row_begin[at + 1] ||
                            (network.has_bias && all.bias[at] != 0);
    if (!has_weight) continue;
    in_use.push_back(row);
    // Rows without a weight have no entries either.
    units.weights.weights.row_begin.push_back(all.weights.row_begin[at + 1]);
    if (network.has_bias) units.weights.bias.push_back(all.bias[at]);
  }
  units.weights.weights.column = std::move(all.weights.column);
  units.weights.weights.value = std::move(all.weights.value);
  const bool is_empty = in_use.empty();
  const auto num_units = static_cast<int64_t>(std::max<size_t>(in_use.size(), 1));
  const int64_t most = max_bytes / static_cast<int64_t>(sizeof(float));
  if (network.num_columns() > most / num_units) {
    return absl::ResourceExhaustedError(
        absl::StrCat("format: ", num_units, " gates of ", network.num_columns(),
                     " entries take more than ", max_bytes, " bytes; take npz"));
  }
  if (is_empty) {
    units.weights.weights.row_begin.push_back(0);
    if (network.has_bias) units.weights.bias.push_back(0);
  }
  units.gates.resize(static_cast<size_t>(num_units * d));
  if (network.has_bias) units.gate_bias.resize(static_cast<size_t>(num_units));
  std::vector<float> gate(static_cast<size_t>(network.num_columns()));
  for (size_t j = 0; j < in_use.size(); ++j) {
    const int64_t index = network.gate_index[static_cast<size_t>(in_use[j])];
    const auto take = [&](const auto begin) {
      std::copy_n(begin, d, units.gates.begin() + static_cast<int64_t>(j) * d);
      if (network.has_bias) units.gate_bias[j] = begin[d];
    };
    if (const auto* random = std::get_if<RandomGateSet>(&network.gates)) {
      RandomGate(random->seed, index, gate);
      take(gate.begin());
    } else {
      take(std::get<GateVectorSet>(network.gates).vectors.begin() + index * network.num_columns());
    }
  }
  return units;
}

absl::StatusOr<GatedNetwork> FromGatedUnits(const GatedUnits& units) {
  const int64_t d = units.num_inputs;
  const int64_t num_units = units.weights.weights.num_rows();
  const auto bias_fits = [num_units](const std::vector<double>& bias) {
    return bias.empty() || static_cast<int64_t>(bias.size()) == num_units;
  };
  if (d < 1 || static_cast<int64_t>(units.gates.size()) / d != num_units ||
      static_cast<int64_t>(units.gates.size()) % d != 0 || !bias_fits(units.gate_bias) ||
      !bias_fits(units.weights.bias)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gates: ", units.gates.size(), " entries, ", units.gate_bias.size(), " of a bias and ",
        units.weights.bias.size(), " of the weights' for ", num_units, " units of ", d, " inputs"));
  }
  if (absl::Status status = ValidateSparseRows(units.weights.weights, d); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("weights: ", status.message()));
  }
  GatedNetwork network{.num_inputs = d,
                       .has_bias = !units.gate_bias.empty() || !units.weights.bias.empty()};
  GateVectorSet gates{.num_gates = num_units};
  gates.vectors.reserve(static_cast<size_t>(num_units * network.num_columns()));
  const SparseRows& rows = units.weights.weights;
  for (int64_t j = 0; j < num_units; ++j) {
    const auto at = static_cast<size_t>(j);
    const auto gate = units.gates.begin() + j * d;
    gates.vectors.insert(gates.vectors.end(), gate, gate + d);
    if (network.has_bias) {
      gates.vectors.push_back(units.gate_bias.empty() ? 0.0 : units.gate_bias[at]);
    }
    network.gate_index.push_back(j);
    const int64_t begin = rows.row_begin[at];
    const int64_t end = rows.row_begin[at + 1];
    network.weights.column.insert(network.weights.column.end(), rows.column.begin() + begin,
                                  rows.column.begin() + end);
    network.weights.value.insert(network.weights.value.end(), rows.value.begin() + begin,
                                 rows.value.begin() + end);
    if (!units.weights.bias.empty() && units.weights.bias[at] != 0) {
      network.weights.column.push_back(static_cast<int32_t>(d));
      network.weights.value.push_back(units.weights.bias[at]);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
  }
  network.gates = std::move(gates);
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  return network;
}

absl::StatusOr<SparseNetwork> FromLayers(LayeredNetwork layered) {
  if (layered.layers.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("layers: found ", layered.layers.size(),
                     "; a network needs a hidden layer with Relu and an output layer"));
  }
  SparseNetwork network;
  network.num_inputs = layered.num_inputs;
  network.has_bias = std::any_of(layered.layers.begin(), layered.layers.end(),
                                 [](const Layer& layer) { return !layer.bias.empty(); });
  int64_t width = layered.num_inputs;
  for (size_t l = 0; l < layered.layers.size(); ++l) {
    Layer& layer = layered.layers[l];
    if (absl::Status status = ValidateSparseRows(layer.weights, width); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", l, ": ", status.message()));
    }
    if (!layer.bias.empty() &&
        static_cast<int64_t>(layer.bias.size()) != layer.weights.num_rows()) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", l, ": a bias of ", layer.bias.size(),
                                                     " entries for ", layer.weights.num_rows(),
                                                     " units"));
    }
    SparseRows rows;
    for (size_t row = 0; row < static_cast<size_t>(layer.weights.num_rows()); ++row) {
      const auto begin = static_cast<std::ptrdiff_t>(layer.weights.row_begin[row]);
      const auto end = static_cast<std::ptrdiff_t>(layer.weights.row_begin[row + 1]);
      rows.column.insert(rows.column.end(), layer.weights.column.begin() + begin,
                         layer.weights.column.begin() + end);
      rows.value.insert(rows.value.end(), layer.weights.value.begin() + begin,
                        layer.weights.value.begin() + end);
      if (!layer.bias.empty() && layer.bias[row] != 0) {
        rows.column.push_back(static_cast<int32_t>(width));
        rows.value.push_back(layer.bias[row]);
      }
      rows.row_begin.push_back(rows.nonzeros());
    }
    width = rows.num_rows();
    layer = {};  // one layer at a time in both forms
    if (l == 0) {
      network.weights = std::move(rows);
    } else {
      network.upper_layers.push_back(std::move(rows));
    }
  }
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  return network;
}

absl::Status CheckFinite(std::span<const double> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(absl::StrCat("entry ", i, " is not a finite number"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SparseRows> RowsOfDense(std::span<const double> values, int64_t num_rows,
                                       int64_t num_columns) {
  if (absl::Status status = CheckFinite(values); !status.ok()) return status;
  SparseRows rows;
  const auto nonzeros = static_cast<size_t>(
      std::count_if(values.begin(), values.end(), [](double v) { return v != 0; }));
  rows.column.reserve(nonzeros);
  rows.value.reserve(nonzeros);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t column = 0; column < num_columns; ++column) {
      const double value = values[static_cast<size_t>(row * num_columns + column)];
      if (value == 0) continue;
      rows.column.push_back(static_cast<int32_t>(column));
      rows.value.push_back(value);
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  return rows;
}

std::vector<double> DenseOfRows(const SparseRows& rows, int64_t num_columns) {
  std::vector<double> values(static_cast<size_t>(rows.num_rows() * num_columns));
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    for (int64_t e = rows.row_begin[static_cast<size_t>(row)];
         e < rows.row_begin[static_cast<size_t>(row) + 1]; ++e) {
      values[static_cast<size_t>(row * num_columns + rows.column[static_cast<size_t>(e)])] =
          rows.value[static_cast<size_t>(e)];
    }
  }
  return values;
}

WeightType WeightTypeOf(const Model& model, std::span<const Layer> layers) {
  const auto declared = model.metadata.find(kWeightTypeKey);
  const bool is_double = declared != model.metadata.end() && declared->second == "float64";
  const Scaling& scaling = model.scaling;
  const auto scales = [](double scale) {
    return FitsFloat32(scale) && static_cast<float>(scale) > 0;
  };
  const bool fits =
      AllNumbers(layers, FitsFloat32) && FitsFloat32(scaling.target_offset) &&
      scales(scaling.target_scale) &&
      std::all_of(scaling.input_offset.begin(), scaling.input_offset.end(), FitsFloat32) &&
      std::all_of(scaling.input_scale.begin(), scaling.input_scale.end(), scales);
  return is_double || !fits ? WeightType::kFloat64 : WeightType::kFloat32;
}

WeightType ExactWeightTypeOf(const Model& model, std::span<const Layer> layers) {
  if (!model.metadata.contains(kWeightTypeKey) && !AllNumbers(layers, IsFloat32)) {
    return WeightType::kFloat64;
  }
  return WeightTypeOf(model, layers);
}

WeightType GateTypeOf(const GatedUnits& units) {
  const bool is_exact = std::all_of(units.gates.begin(), units.gates.end(), IsFloat32) &&
                        std::all_of(units.gate_bias.begin(), units.gate_bias.end(), IsFloat32);
  return is_exact ? WeightType::kFloat32 : WeightType::kFloat64;
}

void SetWeightType(WeightType type, Model& model) {
  model.metadata[kWeightTypeKey] = type == WeightType::kFloat64 ? "float64" : "float32";
}

int64_t DenseBytes(const LayeredNetwork& network, WeightType type) {
  double bytes = 0;  // exact below 2^53, which is far more than any limit
  int64_t width = network.num_inputs;
  for (const Layer& layer : network.layers) {
    bytes += static_cast<double>(layer.weights.num_rows()) * static_cast<double>(width) +
             static_cast<double>(layer.bias.size());
    width = layer.weights.num_rows();
  }
  bytes *= type == WeightType::kFloat64 ? 8 : 4;
  return bytes < 9e18 ? static_cast<int64_t>(bytes) : std::numeric_limits<int64_t>::max();
}

absl::Status CheckDenseBytes(const LayeredNetwork& network, WeightType type, int64_t max_bytes) {
  const int64_t bytes = DenseBytes(network, type);
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("format: written densely the weights take ",
                                                   bytes, " bytes, more than ", max_bytes,
                                                   "; take npz or onnx_sparse"));
}

absl::Status CheckDenseBytes(const GatedUnits& units, WeightType type, bool sparse,
                             int64_t max_bytes) {
  int64_t bytes = static_cast<int64_t>(units.gates.size() + units.gate_bias.size()) *
                  (GateTypeOf(units) == WeightType::kFloat64 ? 8 : 4);
  if (!sparse) {
    // The same entries again.
    bytes += static_cast<int64_t>(units.gates.size() + units.weights.bias.size()) *
             (type == WeightType::kFloat64 ? 8 : 4);
  }
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("format: gates and weights take ", bytes,
                                                   " bytes, more than ", max_bytes, "; take npz"));
}

std::string TextsToJson(const std::vector<std::string>& texts) {
  return nlohmann::json(texts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<std::vector<std::string>> TextsFromJson(std::string_view field,
                                                       std::string_view text) {
  const auto wrong = absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": must be a JSON list of texts of at most 64 KiB"));
  if (text.size() > kMaxJsonBytes) return wrong;
  const auto json =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return wrong;
  std::vector<std::string> texts;
  for (const auto& entry : json) {
    if (!entry.is_string()) return wrong;
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

absl::Status KeepMetadata(std::string_view key, std::string_view value, Model& model) {
  constexpr int64_t kReserved = 16;  // for what readers say of the file
  if (key == kClassNamesKey) {
    absl::StatusOr<std::vector<std::string>> names = TextsFromJson(kClassNamesKey, value);
    if (!names.ok()) return names.status();
    model.class_names = *std::move(names);
    return absl::OkStatus();
  }
  if (static_cast<int64_t>(key.size()) <= kMaxMetadataKeyBytes &&
      static_cast<int64_t>(value.size()) <= kMaxMetadataValueBytes &&
      static_cast<int64_t>(model.metadata.size()) + kReserved < kMaxMetadataEntries) {
    model.metadata.emplace(std::string(key), std::string(value));
  }
  return absl::OkStatus();
}

std::string QuotedName(std::string_view name) {
  constexpr size_t kLongest = 100;
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(name.data(), std::min(name.size(), kLongest))),
      name.size() > kLongest ? "..." : "", "'");
}

}  // namespace thresher
