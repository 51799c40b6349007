// Models as one C header for embedded use.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/model_files/layers.h"
#include "core/model_files/model_file.h"

namespace thresher {
namespace {

constexpr size_t kMaxNameBytes = 63;
constexpr int64_t kBytesANumber = 24;  // of text, at most
constexpr int64_t kNumbersALine = 8;

absl::Status CheckName(std::string_view name) {
  const auto is_part = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  if (name.empty() || name.size() > kMaxNameBytes ||
      !std::all_of(name.begin(), name.end(), is_part) ||
      absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "name: must be [A-Za-z_][A-Za-z0-9_]* of at most ", kMaxNameBytes, " characters"));
  }
  return absl::OkStatus();
}

// Digits that read back to the same number.
std::string Literal(double value, WeightType type) {
  std::string text = type == WeightType::kFloat64
                         ? absl::StrFormat("%.17g", value)
                         : absl::StrFormat("%.9g", static_cast<float>(value));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return type == WeightType::kFloat64 ? text : text + "f";
}

class HeaderWriter {
 public:
  HeaderWriter(std::string_view name, WeightType type)
      : name_(name), type_(type), real_(type == WeightType::kFloat64 ? "double" : "float") {}

  // "static const TYPE NAME_what[] = {...};", at least one entry, as C has no empty arrays.
  template <typename Value, typename Text>
  void AddArray(std::string_view c_type, std::string_view what, const std::vector<Value>& values,
                const Text& text) {
    absl::StrAppend(&text_, "static const ", std::string(c_type), " ", Named(what), "[",
                    std::max<size_t>(values.size(), 1), "] = {");
    for (size_t i = 0; i < values.size(); ++i) {
      absl::StrAppend(&text_, i == 0 ? "" : ",", i % kNumbersALine == 0 ? "\n    " : " ",
                      text(values[i]));
    }
    absl::StrAppend(&text_, values.empty() ? "0" : "", "};\n");
  }
  void AddReals(std::string_view what, const std::vector<double>& values) {
    AddArray(real_, what, values, [this](double value) { return Literal(value, type_); });
  }
  // In the smallest type that holds `largest`.
  template <typename Integer>
  void AddIntegers(std::string_view what, const std::vector<Integer>& values, int64_t largest) {
    const char* c_type = largest <= UINT8_MAX    ? "unsigned char"
                         : largest <= UINT16_MAX ? "unsigned short"
                                                 : "uint32_t";
    AddArray(c_type, what, values, [](Integer value) { return absl::StrCat(value); });
  }
  template <typename... Parts>
  void Add(const Parts&... parts) {
    absl::StrAppend(&text_, parts...);
  }
  std::string Named(std::string_view what) const {
    return absl::StrCat(name_, "_", std::string(what));
  }
  const std::string& real() const { return real_; }
  std::string Number(double value) const { return Literal(value, type_); }
  std::string Take() { return std::move(text_); }

 private:
  const std::string name_;
  const WeightType type_;
  const std::string real_;
  std::string text_;
};

// The columns that any row uses, in order.
std::vector<int32_t> UsedColumns(const SparseRows& rows) {
  std::vector<int32_t> used = rows.column;
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  return used;
}

// Takes each column to its place among `used`.
void PackColumns(const std::vector<int32_t>& used, SparseRows& rows) {
  for (int32_t& column : rows.column) {
    column =
        static_cast<int32_t>(std::lower_bound(used.begin(), used.end(), column) - used.begin());
  }
}

// Text of all numbers, an upper estimate.
int64_t TextBytes(const LayeredNetwork& network) {
  double numbers = 2.0 * static_cast<double>(network.layers[0].weights.nonzeros());
  for (const Layer& layer : network.layers) {
    numbers += 2.0 * static_cast<double>(layer.weights.nonzeros()) +
               2.0 * static_cast<double>(layer.weights.num_rows());
  }
  return static_cast<int64_t>(numbers * kBytesANumber);
}

// The text before the arrays: what it is, the guard, the sizes.
void AddOpening(const std::string& what, const std::string& guard, int64_t num_inputs,
                int64_t num_outputs, HeaderWriter& header) {
  header.Add("/* ", what, " */\n#ifndef ", guard, "\n#define ", guard,
             "\n\n#include <stdint.h>\n\n#define ", header.Named("NUM_INPUTS"), " ", num_inputs,
             "\n#define ", header.Named("NUM_OUTPUTS"), " ", num_outputs, "\n\n");
}

void AddFunctionHead(HeaderWriter& header) {
  header.Add("\n/* input: ", header.Named("NUM_INPUTS"),
             " values in the units of the data. output: ", header.Named("NUM_OUTPUTS"),
             " values. */\nstatic inline void ", header.Named("predict"),
             "(const float* input, float* output) {\n");
}

// In the units of the data.
std::string ScaledResult(const HeaderWriter& header, const Scaling& scaling) {
  std::string result = "sum";
  if (scaling.target_scale != 1) {
    absl::StrAppend(&result, " * ", header.Number(scaling.target_scale));
  }
  if (scaling.target_offset != 0) {
    absl::StrAppend(&result, " + ", header.Number(scaling.target_offset));
  }
  return result;
}

std::string GuardOf(std::string_view name) {
  return absl::StrCat(absl::AsciiStrToUpper(std::string(name)), "_H_");
}

absl::Status CheckTextBytes(int64_t bytes, int64_t max_bytes) {
  if (bytes <= max_bytes && bytes <= std::numeric_limits<uint32_t>::max()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("format: the header needs about ", bytes,
                                                   " bytes of text, more than ", max_bytes,
                                                   "; take npz"));
}

// Gates are tested as GatePreactivation does, to the bit, on inputs that are scaled as Predict
// scales them: a sample on the edge of a gate falls on the same side.
absl::StatusOr<std::string> WriteGatedCHeader(const Model& model, const GatedNetwork& network,
                                              std::string_view name, int64_t max_bytes) {
  absl::StatusOr<GatedUnits> units = ToGatedUnits(network, max_bytes);
  if (!units.ok()) return units.status();
  const SparseRows& rows = units->weights.weights;
  const int64_t num_inputs = units->num_inputs;
  const int64_t num_units = rows.num_rows();
  const auto numbers = static_cast<double>(units->gates.size()) +
                       2.0 * static_cast<double>(rows.nonzeros() + num_inputs + num_units);
  absl::Status status = CheckTextBytes(static_cast<int64_t>(numbers * kBytesANumber), max_bytes);
  if (!status.ok()) return status;
  const Scaling& scaling = model.scaling;
  const bool scales_inputs = !scaling.input_offset.empty();
  const bool has_bias = !units->gate_bias.empty();
  const WeightType gate_type = GateTypeOf(*units);
  const char* gate_real = gate_type == WeightType::kFloat64 ? "double" : "float";

  HeaderWriter header(name, WeightTypeOf(model, {&units->weights, 1}));
  const std::string guard = GuardOf(name);
  const int64_t nonzeros =
      rows.nonzeros() + std::count_if(units->weights.bias.begin(), units->weights.bias.end(),
                                      [](double b) { return b != 0; });
  AddOpening(absl::StrCat("A gated network of ", num_inputs, " inputs and ", num_units,
                          " gates with ", nonzeros,
                          " weights, written by thresher.\n   Gates are tested in double, sums are "
                          "in ",
                          header.real(), "; no heap",
                          scales_inputs ? "; on the stack the inputs" : "", "."),
             guard, num_inputs, 1, header);
  const auto add_gates = [&](std::string_view what, const std::vector<double>& values) {
    header.AddArray(gate_real, what, values,
                    [gate_type](double value) { return Literal(value, gate_type); });
  };
  const auto add_doubles = [&](std::string_view what, const std::vector<double>& values) {
    header.AddArray("double", what, values,
                    [](double value) { return Literal(value, WeightType::kFloat64); });
  };
  if (scales_inputs) {
    add_doubles("input_offset", scaling.input_offset);
    add_doubles("input_scale", scaling.input_scale);
  }
  add_gates("gate", units->gates);
  if (has_bias) add_gates("gate_bias", units->gate_bias);
  header.AddIntegers("row_begin", rows.row_begin, rows.nonzeros());
  header.AddIntegers("column", rows.column, num_inputs);
  header.AddReals("weight", rows.value);
  if (has_bias) header.AddReals("bias", units->weights.bias);

  AddFunctionHead(header);
  const std::string x = scales_inputs ? "scaled" : "input";
  const bool casts = header.real() == "double";
  if (scales_inputs) header.Add("  float scaled[", num_inputs, "];\n");
  header.Add("  ", header.real(), " sum = ", header.Number(0), ";\n  uint32_t j, e;\n");
  if (scales_inputs) {
    header.Add("  for (e = 0; e < ", num_inputs, "; ++e) {\n    scaled[e] = (float)(((double)input",
               "[e] - ", header.Named("input_offset"), "[e]) / ", header.Named("input_scale"),
               "[e]);\n  }\n");
  }
  header.Add("  for (j = 0; j < ", num_units, "; ++j) {\n    double gate[4] = {0, 0, 0, 0};\n",
             "    for (e = 0; e < ", num_inputs, "; ++e) {\n      gate[e % 4] += (double)", x,
             "[e] * (double)", header.Named("gate"), "[j * ", num_inputs, " + e];\n    }\n");
  if (has_bias) {
    header.Add("    gate[", num_inputs % 4, "] += (double)", header.Named("gate_bias"), "[j];\n");
  }
  header.Add("    if ((gate[0] + gate[1]) + (gate[2] + gate[3]) > 0) {\n");
  if (has_bias) header.Add("      sum += ", header.Named("bias"), "[j];\n");
  const std::string row = header.Named("row_begin");
  header.Add("      for (e = ", row, "[j]; e < ", row,
             "[j + 1]; ++e) {\n        sum += ", header.Named("weight"), "[e] * ",
             casts ? "(double)" : "", x, "[", header.Named("column"),
             "[e]];\n      }\n    }\n  }\n  output[0] = ", casts ? "(float)" : "", "(",
             ScaledResult(header, scaling), ");\n}\n\n#endif /* ", guard, " */\n");
  return header.Take();
}

}  // namespace

absl::StatusOr<std::string> WriteCHeader(const Model& model, std::string_view name,
                                         int64_t max_bytes) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (const auto* gated = std::get_if<GatedNetwork>(&model.network)) {
    return WriteGatedCHeader(model, *gated, name, max_bytes);
  }
  absl::StatusOr<LayeredNetwork> layered = ToLayers(model.network);
  if (!layered.ok()) return layered.status();
  absl::Status status = CheckTextBytes(TextBytes(*layered), max_bytes);
  if (!status.ok()) return status;
  const WeightType type = WeightTypeOf(model, layered->layers);
  const Scaling& scaling = model.scaling;
  const bool has_bias = !layered->layers[0].bias.empty();
  const size_t num_layers = layered->layers.size();
  std::vector<int64_t> widths;
  for (const Layer& layer : layered->layers) widths.push_back(layer.weights.num_rows());
  const int64_t num_outputs = widths.back();
  // Unused inputs take no room: only those in use are scaled.
  const std::vector<int32_t> used = UsedColumns(layered->layers[0].weights);
  const bool scales_inputs = !scaling.input_offset.empty() && !used.empty();

  HeaderWriter header(name, type);
  const std::string guard = GuardOf(name);
  std::vector<std::string> shape = {absl::StrCat(layered->num_inputs)};
  int64_t nonzeros = 0;
  for (const Layer& layer : layered->layers) {
    shape.push_back(absl::StrCat(layer.weights.num_rows()));
    nonzeros += layer.weights.nonzeros() + std::count_if(layer.bias.begin(), layer.bias.end(),
                                                         [](double b) { return b != 0; });
  }
  AddOpening(absl::StrCat("A sparse network of layers ", absl::StrJoin(shape, "-"), " with ",
                          nonzeros, " weights, written by thresher.\n   Sums are in ",
                          header.real(), "; no heap; on the stack the units of two layers",
                          scales_inputs ? " and the inputs in use" : "", "."),
             guard, layered->num_inputs, num_outputs, header);
  if (scales_inputs) {
    std::vector<double> offset;
    std::vector<double> scale;
    for (const int32_t column : used) {
      offset.push_back(scaling.input_offset[static_cast<size_t>(column)]);
      scale.push_back(scaling.input_scale[static_cast<size_t>(column)]);
    }
    header.AddIntegers("input", used, layered->num_inputs);
    header.AddReals("input_offset", offset);
    header.AddReals("input_scale", scale);
    PackColumns(used, layered->layers[0].weights);
  }
  int64_t width = scales_inputs ? static_cast<int64_t>(used.size()) : layered->num_inputs;
  for (size_t l = 0; l < num_layers; ++l) {
    const Layer& layer = layered->layers[l];
    header.AddIntegers(absl::StrCat("row_begin_", l), layer.weights.row_begin,
                       layer.weights.nonzeros());
    header.AddIntegers(absl::StrCat("column_", l), layer.weights.column, width);
    header.AddReals(absl::StrCat("weight_", l), layer.weights.value);
    if (has_bias) header.AddReals(absl::StrCat("bias_", l), layer.bias);
    width = widths[l];
  }

  AddFunctionHead(header);
  // Two buffers in turn: z of the layer below and of this one.
  int64_t buffers[2] = {0, 0};
  for (size_t l = 0; l + 1 < num_layers; ++l) buffers[l % 2] = std::max(buffers[l % 2], widths[l]);
  for (size_t b = 0; b < 2; ++b) {
    if (buffers[b] > 0) header.Add("  ", header.real(), " units_", b, "[", buffers[b], "];\n");
  }
  if (scales_inputs) {
    header.Add("  ", header.real(), " scaled[", std::max<size_t>(used.size(), 1), "];\n");
  }
  header.Add("  uint32_t j, e;\n");
  if (scales_inputs) {
    header.Add("  for (j = 0; j < ", used.size(), "; ++j) {\n    scaled[j] = (", "(", header.real(),
               ")input[", header.Named("input"), "[j]] - ", header.Named("input_offset"), "[j]) / ",
               header.Named("input_scale"), "[j];\n  }\n");
  }
  for (size_t l = 0; l < num_layers; ++l) {
    const bool is_last = l + 1 == num_layers;
    const std::string below = l > 0           ? absl::StrCat("units_", (l - 1) % 2)
                              : scales_inputs ? std::string("scaled")
                                              : std::string("input");
    const std::string row = header.Named(absl::StrCat("row_begin_", l));
    const bool casts = l == 0 && !scales_inputs && type == WeightType::kFloat64;
    header.Add("  for (j = 0; j < ", widths[l], "; ++j) {\n    ", header.real(), " sum = ",
               has_bias ? header.Named(absl::StrCat("bias_", l)) + "[j]" : header.Number(0),
               ";\n    for (e = ", row, "[j]; e < ", row,
               "[j + 1]; ++e) {\n      sum += ", header.Named(absl::StrCat("weight_", l)), "[e] * ",
               casts ? "(double)" : "", below, "[", header.Named(absl::StrCat("column_", l)),
               "[e]];\n    }\n");
    if (!is_last) {
      header.Add("    units_", l % 2, "[j] = sum <= ", header.Number(0), " ? ", header.Number(0),
                 " : sum;\n  }\n");
      continue;
    }
    header.Add("    output[j] = ", type == WeightType::kFloat64 ? "(float)" : "", "(",
               ScaledResult(header, scaling), ");\n  }\n");
  }
  header.Add("}\n\n#endif /* ", guard, " */\n");
  return header.Take();
}

}  // namespace thresher
