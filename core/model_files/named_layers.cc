// Weights by name, as safetensors and plain NPZ archives hold them.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/formats/npz.h"
#include "core/formats/safetensors.h"
#include "core/model_files/layers.h"
#include "core/model_files/model_file.h"
#include "core/network/model_archive.h"

namespace thresher {
namespace {

constexpr std::string_view kWeight = "weight";
constexpr std::string_view kBias = "bias";
constexpr std::string_view kGates = "gates.";  // before a gated network's gates
constexpr char kLayersKey[] = "layers";
constexpr char kDescription[] = "description";

absl::Status TensorError(std::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", QuotedName(name), ": ", what));
}

// What the tensors of one layer say: those named `prefix` + "weight" and `prefix` + "bias".
struct NamedLayer {
  std::string prefix;  // with its full stop, "fc1."
  int64_t num_columns = 0;
  std::optional<SparseRows> weights;
  std::vector<double> bias;
  bool has_doubles = false;

  std::string weight_name() const { return prefix + std::string(kWeight); }
  std::string bias_name() const { return prefix + std::string(kBias); }
};

// Takes a file's tensors one after the other, then makes the model.
class NamedLayers {
 public:
  absl::Status Add(std::string_view name, const NpyArray& array);
  absl::Status AddSparse(const std::string& prefix, const NpzArchive& archive);
  // The prefixes of the layers from the inputs on; empty: by their names.
  absl::StatusOr<Model> ToModel(const std::vector<std::string>& order);
  // Of gates.weight, gates.bias, weight and bias: a gated network.
  absl::StatusOr<Model> ToGatedModel();

 private:
  NamedLayer& LayerOf(std::string_view prefix) {
    const auto [it, is_new] = index_.try_emplace(std::string(prefix), layers_.size());
    if (is_new) layers_.push_back({.prefix = std::string(prefix)});
    return layers_[it->second];
  }
  absl::StatusOr<std::vector<double>> Values(std::string_view name, const NpyArray& array);
  absl::StatusOr<std::vector<size_t>> Order(const std::vector<std::string>& wanted) const;
  absl::Status CheckLayers() const;

  std::vector<NamedLayer> layers_;  // in order of appearance
  std::map<std::string, size_t> index_;
  Scaling scaling_;
  bool has_doubles_ = false;
};

bool TakeEnding(std::string_view ending, std::string_view& name) {
  if (!name.ends_with(ending)) return false;
  const std::string_view prefix = name.substr(0, name.size() - ending.size());
  if (!prefix.empty() && prefix.back() != '.') return false;
  name = prefix;
  return true;
}

absl::StatusOr<std::vector<double>> NamedLayers::Values(std::string_view name,
                                                        const NpyArray& array) {
  const bool doubles = std::holds_alternative<std::vector<double>>(array.values);
  if (!doubles && !std::holds_alternative<std::vector<float>>(array.values)) {
    return TensorError(name, "must be float32 or float64");
  }
  absl::StatusOr<std::vector<double>> values = ToDoubles(array);
  if (!values.ok()) return TensorError(name, values.status().message());
  if (absl::Status status = CheckFinite(*values); !status.ok()) {
    return TensorError(name, status.message());
  }
  return values;
}

absl::Status NamedLayers::Add(std::string_view name, const NpyArray& array) {
  absl::StatusOr<std::vector<double>> values = Values(name, array);
  if (!values.ok()) return values.status();
  const bool is_scaling = name == "input_offset" || name == "input_scale" ||
                          name == "target_offset" || name == "target_scale";
  if (is_scaling) {
    if (name.starts_with("input")) {
      if (array.shape.size() != 1) return TensorError(name, "must have one dimension");
      (name == "input_offset" ? scaling_.input_offset : scaling_.input_scale) = *std::move(values);
    } else {
      if (values->size() != 1) return TensorError(name, "must have one entry");
      (name == "target_offset" ? scaling_.target_offset : scaling_.target_scale) = (*values)[0];
    }
    return absl::OkStatus();
  }
  const bool has_doubles = std::holds_alternative<std::vector<double>>(array.values);
  has_doubles_ |= has_doubles;
  std::string_view prefix = name;
  if (TakeEnding(kWeight, prefix)) {
    if (array.shape.size() != 2 || values->empty()) {
      return TensorError(name, "must have two dimensions, units x inputs, that are not 0");
    }
    absl::StatusOr<SparseRows> rows = RowsOfDense(*values, array.shape[0], array.shape[1]);
    if (!rows.ok()) return TensorError(name, rows.status().message());
    NamedLayer& layer = LayerOf(prefix);
    if (layer.weights.has_value()) return TensorError(name, "is given twice");
    layer.num_columns = array.shape[1];
    layer.weights = *std::move(rows);
    layer.has_doubles |= has_doubles;
    return absl::OkStatus();
  }
  if (!TakeEnding(kBias, prefix)) {
    return TensorError(
        name,
        "is neither a weight nor a bias; only linear layers with names that end in weight "
        "or bias are supported");
  }
  if (array.shape.size() != 1 || values->empty()) {
    return TensorError(name, "must have one dimension that is not 0");
  }
  NamedLayer& layer = LayerOf(prefix);
  layer.bias = *std::move(values);
  layer.has_doubles |= has_doubles;
  return absl::OkStatus();
}

absl::Status NamedLayers::AddSparse(const std::string& prefix, const NpzArchive& archive) {
  const std::string stem = prefix + std::string(kWeight) + ".";
  const NpyArray* parts[4] = {};
  constexpr const char* kParts[4] = {"data", "indices", "indptr", "shape"};
  for (size_t k = 0; k < 4; ++k) {
    const auto it = archive.find(stem + kParts[k]);
    if (it == archive.end()) return TensorError(stem + kParts[k], "is missing");
    if (it->second.shape.size() != 1) return TensorError(stem + kParts[k], "must be a list");
    parts[k] = &it->second;
  }
  absl::StatusOr<std::vector<double>> data = Values(stem + "data", *parts[0]);
  if (!data.ok()) return data.status();
  has_doubles_ |= std::holds_alternative<std::vector<double>>(parts[0]->values);
  std::vector<int64_t> integers[4];
  for (size_t k = 1; k < 4; ++k) {
    absl::StatusOr<std::vector<int64_t>> values = ToIntegers(*parts[k]);
    if (!values.ok()) return TensorError(stem + kParts[k], values.status().message());
    integers[k] = *std::move(values);
  }
  const auto& [unused, indices, indptr, shape] = integers;
  constexpr int64_t kMaxColumns = std::numeric_limits<int32_t>::max() - 1;
  if (shape.size() != 2 || shape[1] < 1 || shape[1] > kMaxColumns ||
      shape[0] != static_cast<int64_t>(indptr.size()) - 1 || shape[0] < 1) {
    return TensorError(stem + "shape",
                       "must be units x inputs, with one entry of indptr a unit "
                       "and one more");
  }
  SparseRows rows;
  rows.row_begin = indptr;
  rows.value = *std::move(data);
  for (const int64_t column : indices) {
    if (column < 0 || column >= shape[1]) {
      return TensorError(stem + "indices",
                         absl::StrCat(column, " lies outside [0, ", shape[1], ")"));
    }
    rows.column.push_back(static_cast<int32_t>(column));
  }
  if (absl::Status status = ValidateSparseRows(rows, shape[1]); !status.ok()) {
    return TensorError(stem + "indices",
                       absl::StrCat(status.message(), "; in SciPy call matrix.sum_duplicates()"));
  }
  NamedLayer& layer = LayerOf(prefix);
  if (layer.weights.has_value()) return TensorError(stem + "data", "stands beside a dense weight");
  layer.num_columns = shape[1];
  layer.weights = std::move(rows);
  return absl::OkStatus();
}

// A name as its texts and numbers in turn, so that fc2 comes before fc10.
std::vector<std::pair<std::string, std::string>> NaturalKey(std::string_view name) {
  std::vector<std::pair<std::string, std::string>> key;
  const auto is_digit = [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); };
  while (!name.empty()) {
    const auto text_end = std::find_if(name.begin(), name.end(), is_digit);
    const auto number_end = std::find_if_not(text_end, name.end(), is_digit);
    std::string number(text_end, number_end);
    number.erase(0, std::min(number.find_first_not_of('0'), number.size()));
    // Longer numbers are larger.
    key.emplace_back(
        std::string(name.begin(), text_end),
        std::string(1, static_cast<char>(std::min<size_t>(number.size(), 100))) + number);
    name.remove_prefix(static_cast<size_t>(number_end - name.begin()));
  }
  return key;
}

// Where a chain breaks: the first layer whose inputs are not the units of the layer before it.
std::optional<size_t> BreakOf(const std::vector<NamedLayer>& layers,
                              const std::vector<size_t>& order) {
  for (size_t l = 1; l < order.size(); ++l) {
    if (layers[order[l]].num_columns != layers[order[l - 1]].weights->num_rows()) return l;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<size_t>> NamedLayers::Order(
    const std::vector<std::string>& wanted) const {
  std::vector<size_t> order;
  if (!wanted.empty()) {
    for (const std::string& name : wanted) {
      auto it = index_.find(name + ".");
      if (it == index_.end()) it = index_.find(name);
      if (it == index_.end() || std::count(order.begin(), order.end(), it->second) > 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "layers: ", QuotedName(name), " is no layer of the file, or stands there twice"));
      }
      order.push_back(it->second);
    }
    if (order.size() != layers_.size()) {
      return absl::InvalidArgumentError(absl::StrCat("layers: names ", order.size(), " of the ",
                                                     layers_.size(), " layers of the file"));
    }
  } else {
    for (size_t l = 0; l < layers_.size(); ++l) order.push_back(l);
    const std::vector<size_t> appearance = order;
    std::vector<std::vector<std::pair<std::string, std::string>>> keys;
    for (const NamedLayer& layer : layers_) keys.push_back(NaturalKey(layer.prefix));
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return keys[a] < keys[b]; });
    std::set<std::vector<std::string>> texts;  // what stands between the numbers
    for (const auto& key : keys) {
      std::vector<std::string> parts;
      parts.reserve(key.size());
      for (const auto& [text, number] : key) parts.push_back(text);
      texts.insert(std::move(parts));
    }
    const bool appears = !BreakOf(layers_, appearance).has_value();
    const bool sorted = !BreakOf(layers_, order).has_value();
    if (texts.size() > 1 && appears && sorted && appearance != order) {
      return absl::InvalidArgumentError(
          absl::StrCat("layers: their order is not clear from the names, as ",
                       QuotedName(layers_[order[0]].weight_name()), " or ",
                       QuotedName(layers_[appearance[0]].weight_name()),
                       " may be the first; name them layers.0.weight, layers.1.weight, ..."));
    }
    if (texts.size() > 1 && appears && !sorted) order = appearance;
  }
  if (const std::optional<size_t> l = BreakOf(layers_, order)) {
    const NamedLayer& below = layers_[order[*l - 1]];
    const NamedLayer& layer = layers_[order[*l]];
    return TensorError(
        layer.weight_name(),
        absl::StrCat("takes ", layer.num_columns, " inputs, but ", QuotedName(below.weight_name()),
                     " before it has ", below.weights->num_rows(),
                     " units; where the order is meant otherwise name the layers "
                     "layers.0.weight, layers.1.weight, ..."));
  }
  return order;
}

absl::Status NamedLayers::CheckLayers() const {
  for (const NamedLayer& layer : layers_) {
    if (!layer.weights.has_value()) {
      return TensorError(layer.bias_name(), "has no weight beside it");
    }
    if (!layer.bias.empty() &&
        static_cast<int64_t>(layer.bias.size()) != layer.weights->num_rows()) {
      return TensorError(layer.bias_name(), absl::StrCat("has ", layer.bias.size(), " entries for ",
                                                         layer.weights->num_rows(), " units"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Model> NamedLayers::ToGatedModel() {
  if (absl::Status status = CheckLayers(); !status.ok()) return status;
  const auto gates = index_.find(std::string(kGates));
  const auto weights = index_.find("");
  if (layers_.size() != 2 || gates == index_.end() || weights == index_.end()) {
    return absl::InvalidArgumentError(
        "network_kind: a gated network has the tensors gates.weight and weight, perhaps "
        "gates.bias and bias, and no others");
  }
  NamedLayer& gate = layers_[gates->second];
  NamedLayer& own = layers_[weights->second];
  if (gate.num_columns != own.num_columns || gate.weights->num_rows() != own.weights->num_rows()) {
    return TensorError(gate.weight_name(),
                       absl::StrCat("must have the shape of ", QuotedName(own.weight_name())));
  }
  GatedUnits units{.num_inputs = gate.num_columns,
                   .gates = DenseOfRows(*gate.weights, gate.num_columns),
                   .gate_bias = std::move(gate.bias),
                   .weights = {*std::move(own.weights), std::move(own.bias)}};
  absl::StatusOr<GatedNetwork> network = FromGatedUnits(units);
  if (!network.ok()) return network.status();
  Model model;
  model.network = *std::move(network);
  model.scaling = std::move(scaling_);
  SetWeightType(own.has_doubles ? WeightType::kFloat64 : WeightType::kFloat32, model);
  return model;
}

absl::StatusOr<Model> NamedLayers::ToModel(const std::vector<std::string>& wanted) {
  if (absl::Status status = CheckLayers(); !status.ok()) return status;
  absl::StatusOr<std::vector<size_t>> order = Order(wanted);
  if (!order.ok()) return order.status();
  LayeredNetwork layered;
  for (const size_t l : *order) {
    if (layered.layers.empty()) layered.num_inputs = layers_[l].num_columns;
    layered.layers.push_back({*std::move(layers_[l].weights), std::move(layers_[l].bias)});
  }
  absl::StatusOr<SparseNetwork> network = FromLayers(std::move(layered));
  if (!network.ok()) return network.status();
  Model model;
  model.network = *std::move(network);
  model.scaling = std::move(scaling_);
  SetWeightType(has_doubles_ ? WeightType::kFloat64 : WeightType::kFloat32, model);
  return model;
}

NpyArray TensorOf(std::vector<int64_t> shape, std::vector<double> values, WeightType type) {
  NpyArray array;
  array.shape = std::move(shape);
  if (type == WeightType::kFloat64) {
    array.values = std::move(values);
  } else {
    std::vector<float> floats(values.size());
    std::transform(values.begin(), values.end(), floats.begin(),
                   [](double value) { return static_cast<float>(value); });
    array.values = std::move(floats);
  }
  return array;
}

struct Description {
  std::vector<std::string> layers;
  std::vector<std::string> class_names;
};

// The archive's member `description`: a JSON object of `layers` and `class_names`, both optional.
absl::StatusOr<Description> ReadDescription(const NpyArray& array) {
  constexpr size_t kMaxBytes = size_t{64} << 10;
  const auto* texts = std::get_if<std::vector<std::string>>(&array.values);
  if (texts == nullptr || texts->size() != 1 || (*texts)[0].size() > kMaxBytes) {
    return TensorError(kDescription, "must be one text of at most 64 KiB");
  }
  const auto json = nlohmann::json::parse((*texts)[0], nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return TensorError(kDescription, "must be a JSON object");
  Description description;
  for (const auto& [key, value] : json.items()) {
    if (key != kLayersKey && key != kClassNamesKey) {
      return TensorError(kDescription, absl::StrCat(QuotedName(key),
                                                    " is unknown; it knows layers and "
                                                    "class_names"));
    }
    auto& list = key == kLayersKey ? description.layers : description.class_names;
    absl::StatusOr<std::vector<std::string>> names =
        TextsFromJson(key, value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    if (!names.ok()) return names.status();
    list = *std::move(names);
  }
  return description;
}

}  // namespace

absl::StatusOr<Model> ReadSafetensorsModel(std::string_view bytes) {
  absl::StatusOr<SafetensorsFile> file = ParseSafetensors(bytes);
  if (!file.ok()) return file.status();
  NamedLayers layers;
  for (NamedArray& tensor : file->tensors) {
    if (absl::Status status = layers.Add(tensor.name, tensor.array); !status.ok()) return status;
    tensor.array = {};
  }
  std::vector<std::string> order;
  if (const auto it = file->metadata.find(kLayersKey); it != file->metadata.end()) {
    absl::StatusOr<std::vector<std::string>> names = TextsFromJson(kLayersKey, it->second);
    if (!names.ok()) return names.status();
    order = *std::move(names);
    file->metadata.erase(it);
  }
  const auto kind = file->metadata.find(kNetworkKindKey);
  const bool is_gated = kind != file->metadata.end() && kind->second == kGatedNetworkKind;
  if (is_gated) file->metadata.erase(kind);
  absl::StatusOr<Model> model = is_gated ? layers.ToGatedModel() : layers.ToModel(order);
  if (!model.ok()) return model.status();
  for (const auto& [key, value] : file->metadata) {
    if (absl::Status status = KeepMetadata(key, value, *model); !status.ok()) return status;
  }
  model->metadata[kSourceFormatKey] = "safetensors";
  if (absl::Status status = ValidateModel(*model); !status.ok()) return status;
  return model;
}

absl::StatusOr<Model> ReadNpzModelFile(std::string_view bytes, int64_t max_bytes) {
  absl::StatusOr<NpzArchive> archive = ParseNpz(bytes, max_bytes);
  if (!archive.ok()) return archive.status();
  if (archive->contains("model_version")) return ModelFromArchive(*archive);
  Description description;
  NamedLayers layers;
  std::set<std::string> prefixes;  // of sparse layers
  const std::string sparse = absl::StrCat(".", std::string(kWeight), ".");
  for (const auto& [name, array] : *archive) {
    if (name == kDescription) {
      absl::StatusOr<Description> read = ReadDescription(array);
      if (!read.ok()) return read.status();
      description = *std::move(read);
    } else if (const size_t at = name.rfind(sparse);
               at != std::string::npos && (name.ends_with(".data") || name.ends_with(".indices") ||
                                           name.ends_with(".indptr") || name.ends_with(".shape"))) {
      prefixes.insert(name.substr(0, at + 1));
    } else if (absl::Status status = layers.Add(name, array); !status.ok()) {
      return status;
    }
  }
  for (const std::string& prefix : prefixes) {
    if (absl::Status status = layers.AddSparse(prefix, *archive); !status.ok()) return status;
  }
  absl::StatusOr<Model> model = layers.ToModel(description.layers);
  if (!model.ok()) return model.status();
  model->class_names = std::move(description.class_names);
  model->metadata[kSourceFormatKey] = "npz";
  if (absl::Status status = ValidateModel(*model); !status.ok()) return status;
  return model;
}

absl::StatusOr<std::string> WriteSafetensorsModel(const Model& model, int64_t max_bytes) {
  SafetensorsFile file;
  file.metadata = model.metadata;
  if (!model.class_names.empty()) file.metadata[kClassNamesKey] = TextsToJson(model.class_names);
  const auto add = [&file](const std::string& prefix, int64_t width, Layer layer, WeightType type) {
    const int64_t num_units = layer.weights.num_rows();
    file.tensors.push_back({prefix + std::string(kWeight),
                            TensorOf({num_units, width}, DenseOfRows(layer.weights, width), type)});
    if (!layer.bias.empty()) {
      file.tensors.push_back(
          {prefix + std::string(kBias), TensorOf({num_units}, std::move(layer.bias), type)});
    }
  };
  if (const auto* gated = std::get_if<GatedNetwork>(&model.network)) {
    absl::StatusOr<GatedUnits> units = ToGatedUnits(*gated, max_bytes);
    if (!units.ok()) return units.status();
    const WeightType type = ExactWeightTypeOf(model, {&units->weights, 1});
    absl::Status status = CheckDenseBytes(*units, type, /*sparse=*/false, max_bytes);
    if (!status.ok()) return status;
    file.metadata[kNetworkKindKey] = kGatedNetworkKind;
    const WeightType gate_type = GateTypeOf(*units);
    const int64_t num_units = units->weights.weights.num_rows();
    file.tensors.push_back(
        {std::string(kGates) + std::string(kWeight),
         TensorOf({num_units, units->num_inputs}, std::move(units->gates), gate_type)});
    if (!units->gate_bias.empty()) {
      file.tensors.push_back({std::string(kGates) + std::string(kBias),
                              TensorOf({num_units}, std::move(units->gate_bias), gate_type)});
    }
    add("", units->num_inputs, std::move(units->weights), type);
  } else {
    absl::StatusOr<LayeredNetwork> layered = ToLayers(model.network);
    if (!layered.ok()) return layered.status();
    // Of a file that the network does not come from.
    if (const auto kind = file.metadata.find(kNetworkKindKey);
        kind != file.metadata.end() && kind->second == kGatedNetworkKind) {
      file.metadata.erase(kind);
    }
    const WeightType type = ExactWeightTypeOf(model, layered->layers);
    if (absl::Status status = CheckDenseBytes(*layered, type, max_bytes); !status.ok()) {
      return status;
    }
    int64_t width = layered->num_inputs;
    for (size_t l = 0; l < layered->layers.size(); ++l) {
      const int64_t num_units = layered->layers[l].weights.num_rows();
      // One layer at a time in both forms.
      add(absl::StrCat("layers.", l, "."), width, std::exchange(layered->layers[l], {}), type);
      width = num_units;
    }
  }
  const Scaling& scaling = model.scaling;
  if (!scaling.input_offset.empty()) {
    const auto d = static_cast<int64_t>(scaling.input_offset.size());
    file.tensors.push_back(
        {"input_offset", TensorOf({d}, scaling.input_offset, WeightType::kFloat64)});
    file.tensors.push_back(
        {"input_scale", TensorOf({d}, scaling.input_scale, WeightType::kFloat64)});
  }
  if (scaling.target_offset != 0 || scaling.target_scale != 1) {
    file.tensors.push_back(
        {"target_offset", TensorOf({}, {scaling.target_offset}, WeightType::kFloat64)});
    file.tensors.push_back(
        {"target_scale", TensorOf({}, {scaling.target_scale}, WeightType::kFloat64)});
  }
  return SerializeSafetensors(file);
}

}  // namespace thresher
