#include "core/network/model_archive.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

constexpr int64_t kModelVersion = 1;
constexpr char kReluNetwork[] = "relu_network";
constexpr char kGatedNetwork[] = "gated_network";
constexpr char kRandomGates[] = "random";
constexpr char kVectorGates[] = "vectors";

// ---- Writing

template <typename T>
NpyArray ListOf(std::vector<T> values) {
  const auto size = static_cast<int64_t>(values.size());
  return {.shape = {size}, .values = std::move(values)};
}

template <typename T>
NpyArray ScalarOf(T value) {
  return {.shape = {}, .values = std::vector<T>{std::move(value)}};
}

// The names of a weight matrix's members begin with its prefix.
void AddRows(const std::string& prefix, const SparseRows& rows, int64_t num_columns,
             NpzArchive& archive) {
  archive[prefix + "shape"] = ListOf(std::vector<int64_t>{rows.num_rows(), num_columns});
  archive[prefix + "data"] = ListOf(rows.value);
  archive[prefix + "indices"] = ListOf(rows.column);
  archive[prefix + "indptr"] = ListOf(rows.row_begin);
}

// Of upper_layers[l].
std::string LayerPrefix(size_t l) { return absl::StrCat("layer_", l + 2, "_"); }

void AddNetwork(const SparseNetwork& network, NpzArchive& archive) {
  archive["network_kind"] = ScalarOf(std::string(kReluNetwork));
  archive["output_signs"] =
      ListOf(std::vector<int32_t>(network.output_signs.begin(), network.output_signs.end()));
  if (!network.linear.empty()) archive["linear"] = ListOf(network.linear);
  if (network.upper_layers.empty()) return;
  archive["num_outputs"] = ScalarOf(NumOutputs(network));
  archive["hidden_widths"] = ListOf(HiddenWidths(network));
  int64_t width = network.hidden_width();
  for (size_t l = 0; l < network.upper_layers.size(); ++l) {
    AddRows(LayerPrefix(l), network.upper_layers[l], width + (network.has_bias ? 1 : 0), archive);
    width = network.upper_layers[l].num_rows();
  }
}

void AddNetwork(const GatedNetwork& network, NpzArchive& archive) {
  archive["network_kind"] = ScalarOf(std::string(kGatedNetwork));
  archive["gate_index"] = ListOf(network.gate_index);
  if (const auto* random = std::get_if<RandomGateSet>(&network.gates)) {
    archive["gates_kind"] = ScalarOf(std::string(kRandomGates));
    archive["gates_seed"] = ScalarOf(absl::StrCat(random->seed));
    archive["gates_count"] = ScalarOf(random->num_gates);
    return;
  }
  const auto& vectors = std::get<GateVectorSet>(network.gates);
  archive["gates_kind"] = ScalarOf(std::string(kVectorGates));
  archive["gates_count"] = ScalarOf(vectors.num_gates);
  archive["gate_vectors"] = {.shape = {vectors.num_gates, network.num_columns()},
                             .values = vectors.vectors};
}

// ---- Reading

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 60;
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kLongest))),
      text.size() > kLongest ? "..." : "", "'");
}

// Takes members out of an archive by name. The first error is kept and later calls
// return empty values, so that callers check once. A member must have exactly the
// shape that the caller names, which bounds every later loop by the data that is there.
class ArchiveReader {
 public:
  explicit ArchiveReader(const NpzArchive& archive) : archive_(archive) {}

  const absl::Status& status() const { return status_; }

  void Fail(std::string_view name, std::string_view what) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat("model member ", Quoted(name), ": ", std::string(what)));
  }

  bool Has(std::string_view name) const { return archive_.contains(std::string(name)); }

  std::vector<double> Doubles(std::string_view name, const std::vector<int64_t>& shape) {
    const NpyArray* array = Find(name, shape);
    if (array == nullptr) return {};
    absl::StatusOr<std::vector<double>> values = ToDoubles(*array);
    if (!values.ok()) Fail(name, std::string(values.status().message()));
    return values.ok() ? *std::move(values) : std::vector<double>();
  }

  // Whole numbers within [lowest, highest].
  std::vector<int64_t> Integers(std::string_view name, const std::vector<int64_t>& shape,
                                int64_t lowest, int64_t highest) {
    const NpyArray* array = Find(name, shape);
    if (array == nullptr) return {};
    absl::StatusOr<std::vector<int64_t>> values = ToIntegers(*array);
    if (!values.ok()) {
      Fail(name, std::string(values.status().message()));
      return {};
    }
    for (const int64_t value : *values) {
      if (value < lowest || value > highest) {
        Fail(name, absl::StrCat(value, " lies outside [", lowest, ", ", highest, "]"));
        return {};
      }
    }
    return *std::move(values);
  }

  std::vector<std::string> Texts(std::string_view name, const std::vector<int64_t>& shape) {
    const NpyArray* array = Find(name, shape);
    if (array == nullptr) return {};
    if (array->size() == 0) return {};  // JSON's [] has no type
    const auto* values = std::get_if<std::vector<std::string>>(&array->values);
    if (values == nullptr) {
      Fail(name, "expected text, found numbers");
      return {};
    }
    return *values;
  }

  double Double(std::string_view name) {
    const std::vector<double> values = Doubles(name, {});
    return values.empty() ? 0 : values[0];
  }

  int64_t Integer(std::string_view name, int64_t lowest, int64_t highest) {
    const std::vector<int64_t> values = Integers(name, {}, lowest, highest);
    return values.empty() ? lowest : values[0];
  }

  std::string Text(std::string_view name) {
    const std::vector<std::string> values = Texts(name, {});
    return values.empty() ? std::string() : values[0];
  }

  // The length of a member that is a list of any length.
  int64_t Length(std::string_view name) {
    const auto it = archive_.find(std::string(name));
    if (it == archive_.end()) {
      Fail(name, "is missing");
      return 0;
    }
    if (it->second.shape.size() != 1) {
      Fail(name, absl::StrCat("expected a list, found ", it->second.shape.size(), " dimensions"));
      return 0;
    }
    return it->second.shape[0];
  }

  // Nothing is dropped silently: a member that nobody asked for is an error.
  void CheckAllTaken() {
    for (const auto& [name, array] : archive_) {
      if (!taken_.contains(name)) Fail(name, "is unknown, or does not belong to this kind");
    }
  }

 private:
  const NpyArray* Find(std::string_view name, const std::vector<int64_t>& shape) {
    const auto it = archive_.find(std::string(name));
    if (it == archive_.end()) {
      Fail(name, "is missing");
      return nullptr;
    }
    taken_.insert(it->first);
    // JSON's [] has no second extent.
    const bool both_empty = it->second.size() == 0 && !shape.empty() && shape[0] == 0 &&
                            it->second.shape == std::vector<int64_t>{0};
    if (it->second.shape != shape && !both_empty) {
      Fail(name, absl::StrCat("expected shape ", ShapeText(shape), ", found ",
                              ShapeText(it->second.shape)));
      return nullptr;
    }
    return &it->second;
  }

  static std::string ShapeText(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (size_t k = 0; k < shape.size(); ++k) {
      absl::StrAppend(&text, k > 0 ? ", " : "", shape[k]);
    }
    return text + ")";
  }

  const NpzArchive& archive_;
  std::set<std::string> taken_;
  absl::Status status_;
};

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

SparseRows ReadRows(ArchiveReader& reader, const std::string& prefix, int64_t num_columns,
                    std::string_view needs_columns) {
  const std::string shape_name = prefix + "shape";
  const std::vector<int64_t> shape = reader.Integers(shape_name, {2}, 0, kMaxInt64);
  if (shape.size() == 2 && shape[1] != num_columns) {
    reader.Fail(shape_name, absl::StrCat("has ", shape[1], " columns; ", std::string(needs_columns),
                                         " need ", num_columns));
  }
  const std::string data_name = prefix + "data";
  const int64_t entries = reader.Length(data_name);
  SparseRows rows;
  rows.value = reader.Doubles(data_name, {entries});
  const std::vector<int64_t> columns =
      reader.Integers(prefix + "indices", {entries}, 0, num_columns - 1);
  rows.column.assign(columns.begin(), columns.end());
  // Compared by subtraction, as one more than the number of rows could overflow.
  const std::string starts_name = prefix + "indptr";
  const int64_t starts = reader.Length(starts_name);
  if (shape.size() == 2 && starts - 1 != shape[0]) {
    reader.Fail(starts_name, absl::StrCat("has ", starts, " entries; ", shape[0],
                                          " rows need one more than that"));
  }
  rows.row_begin = reader.Integers(starts_name, {starts}, 0, entries);
  return rows;
}

SparseRows ReadWeights(ArchiveReader& reader, int64_t num_columns) {
  if (reader.Text("format") != "csr") {
    reader.Fail("format", "must be 'csr'; in SciPy save matrix.tocsr()");
  }
  return ReadRows(reader, "", num_columns, "num_inputs and has_bias");
}

// The members of a network with upper layers, which follow from hidden_widths and num_outputs.
SparseNetwork ReadLayers(ArchiveReader& reader, SparseNetwork network) {
  const int64_t num_hidden = reader.Length("hidden_widths");
  if (num_hidden < 1 || num_hidden > kMaxHiddenLayers) {
    reader.Fail("hidden_widths", absl::StrCat("has ", num_hidden, " entries; a network has 1 to ",
                                              kMaxHiddenLayers, " hidden layers"));
    return network;
  }
  std::vector<int64_t> widths = reader.Integers("hidden_widths", {num_hidden}, 0, kMaxInt32 - 1);
  const int64_t num_outputs = reader.Integer("num_outputs", 1, kMaxInt32);
  const int64_t num_signs = reader.Length("output_signs");
  const std::vector<int64_t> signs = reader.Integers("output_signs", {num_signs}, -1, 1);
  network.output_signs.assign(signs.begin(), signs.end());
  if (!reader.status().ok()) return network;
  if (widths[0] != network.hidden_width()) {
    reader.Fail("hidden_widths", absl::StrCat("begins with ", widths[0], "; shape has ",
                                              network.hidden_width(), " rows"));
  }
  if (num_signs == 0) {
    widths.push_back(num_outputs);
  } else if (num_outputs != 1) {
    reader.Fail("num_outputs", absl::StrCat("must be 1 beside output_signs, not ", num_outputs));
  } else if (num_signs != widths.back()) {
    reader.Fail("output_signs", absl::StrCat("has ", num_signs, " entries for ", widths.back(),
                                             " units of the last hidden layer"));
  }
  for (size_t l = 0; l + 1 < widths.size() && reader.status().ok(); ++l) {
    const std::string prefix = LayerPrefix(l);
    SparseRows rows = ReadRows(reader, prefix, widths[l] + (network.has_bias ? 1 : 0),
                               "hidden_widths and has_bias");
    if (reader.status().ok() && rows.num_rows() != widths[l + 1]) {
      reader.Fail(prefix + "shape",
                  absl::StrCat("has ", rows.num_rows(),
                               " rows; hidden_widths and num_outputs need ", widths[l + 1]));
    }
    network.upper_layers.push_back(std::move(rows));
  }
  return network;
}

SparseNetwork ReadReluNetwork(ArchiveReader& reader, SparseNetwork network) {
  if (reader.Has("hidden_widths")) return ReadLayers(reader, std::move(network));
  const int64_t width = network.hidden_width();
  const std::vector<int64_t> signs = reader.Integers("output_signs", {width}, -1, 1);
  network.output_signs.assign(signs.begin(), signs.end());
  if (reader.Has("linear")) network.linear = reader.Doubles("linear", {network.num_columns()});
  return network;
}

GatedNetwork ReadGatedNetwork(ArchiveReader& reader, GatedNetwork network) {
  const std::string kind = reader.Text("gates_kind");
  const int64_t count = reader.Integer("gates_count", 0, kMaxInt64);
  network.gate_index = reader.Integers("gate_index", {network.weights.num_rows()}, 0,
                                       std::max<int64_t>(count, 1) - 1);
  if (kind == kRandomGates) {
    RandomGateSet gates{.seed = 0, .num_gates = count};
    const std::string seed = reader.Text("gates_seed");
    // SimpleAtoi also takes spaces and signs, which would not be written again.
    const bool digits = !seed.empty() && seed.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !absl::SimpleAtoi(seed, &gates.seed)) {
      reader.Fail("gates_seed", "must be a decimal number below 2^64, as text");
    }
    network.gates = gates;
  } else if (kind == kVectorGates) {
    network.gates =
        GateVectorSet{.num_gates = count,
                      .vectors = reader.Doubles("gate_vectors", {count, network.num_columns()})};
  } else {
    reader.Fail("gates_kind", absl::StrCat("must be 'random' or 'vectors', not ", Quoted(kind)));
  }
  return network;
}

void ReadScaling(ArchiveReader& reader, Scaling& scaling) {
  scaling.input_offset = reader.Doubles("input_offset", {reader.Length("input_offset")});
  scaling.input_scale = reader.Doubles("input_scale", {reader.Length("input_scale")});
  scaling.target_offset = reader.Double("target_offset");
  scaling.target_scale = reader.Double("target_scale");
}

void ReadTexts(ArchiveReader& reader, Model& model) {
  model.class_names = reader.Texts("class_names", {reader.Length("class_names")});
  const int64_t entries = reader.Length("metadata_keys");
  const std::vector<std::string> keys = reader.Texts("metadata_keys", {entries});
  const std::vector<std::string> values = reader.Texts("metadata_values", {entries});
  if (!reader.status().ok()) return;
  for (size_t k = 0; k < keys.size(); ++k) {
    if (!model.metadata.emplace(keys[k], values[k]).second) {
      reader.Fail("metadata_keys", absl::StrCat(Quoted(keys[k]), " occurs twice"));
    }
  }
}

}  // namespace

NpzArchive ModelToArchive(const Model& model) {
  NpzArchive archive;
  archive["model_version"] = ScalarOf(kModelVersion);
  std::visit(
      [&](const auto& network) {
        archive["num_inputs"] = ScalarOf(network.num_inputs);
        archive["has_bias"] = ScalarOf(static_cast<uint8_t>(network.has_bias ? 1 : 0));
        archive["format"] = ScalarOf(std::string("csr"));
        AddRows("", network.weights, network.num_columns(), archive);
        AddNetwork(network, archive);
      },
      model.network);
  archive["input_offset"] = ListOf(model.scaling.input_offset);
  archive["input_scale"] = ListOf(model.scaling.input_scale);
  archive["target_offset"] = ScalarOf(model.scaling.target_offset);
  archive["target_scale"] = ScalarOf(model.scaling.target_scale);
  archive["class_names"] = ListOf(model.class_names);
  std::vector<std::string> keys;
  std::vector<std::string> values;
  for (const auto& [key, value] : model.metadata) {
    keys.push_back(key);
    values.push_back(value);
  }
  archive["metadata_keys"] = ListOf(std::move(keys));
  archive["metadata_values"] = ListOf(std::move(values));
  return archive;
}

absl::StatusOr<Model> ModelFromArchive(const NpzArchive& archive) {
  ArchiveReader reader(archive);
  // Version and kind first: their errors explain all others.
  const int64_t version = reader.Integer("model_version", 0, kMaxInt64);
  if (reader.status().ok() && version != kModelVersion) {
    reader.Fail("model_version",
                absl::StrCat(version, " is unknown; this program reads version ", kModelVersion));
  }
  const std::string kind = reader.Text("network_kind");
  if (kind != kReluNetwork && kind != kGatedNetwork) {
    reader.Fail("network_kind",
                absl::StrCat("must be 'relu_network' or 'gated_network', not ", Quoted(kind)));
  }
  const int64_t num_inputs = reader.Integer("num_inputs", 1, kMaxInt32 - 1);
  const bool has_bias = reader.Integer("has_bias", 0, 1) == 1;
  SparseRows weights = ReadWeights(reader, num_inputs + (has_bias ? 1 : 0));
  if (!reader.status().ok()) return reader.status();

  Model model;
  if (kind == kReluNetwork) {
    model.network = ReadReluNetwork(reader, {.num_inputs = num_inputs,
                                             .has_bias = has_bias,
                                             .weights = std::move(weights),
                                             .output_signs = {},
                                             .linear = {}});
  } else {
    model.network = ReadGatedNetwork(reader, {.num_inputs = num_inputs,
                                              .has_bias = has_bias,
                                              .gates = {},
                                              .gate_index = {},
                                              .weights = std::move(weights)});
  }
  ReadScaling(reader, model.scaling);
  ReadTexts(reader, model);
  reader.CheckAllTaken();
  if (!reader.status().ok()) return reader.status();
  if (absl::Status status = ValidateModel(model); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("model: ", status.message()));
  }
  return model;
}

}  // namespace thresher
