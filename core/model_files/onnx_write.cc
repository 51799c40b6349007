// Models as ONNX: [Flatten,] [Sub, Div,] Gemm, Relu, ..., Gemm [, Mul, Add]. Of a gated network
// Gemm, Greater and Gemm, Where, ReduceSum stand in the middle.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/formats/onnx.h"
#include "core/formats/protobuf_wire.h"
#include "core/model_files/layers.h"
#include "core/model_files/model_file.h"

namespace thresher {
namespace {

constexpr uint64_t kIrVersion = 7;  // of ONNX 1.8, the first with opset 13
constexpr uint64_t kOpset = 13;

template <typename T>
void AppendRaw(T value, std::string& bytes) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes.append(raw, sizeof(T));
}

std::string RawData(const std::vector<double>& values, WeightType type) {
  std::string bytes;
  bytes.reserve(values.size() * (type == WeightType::kFloat64 ? sizeof(double) : sizeof(float)));
  for (const double value : values) {
    if (type == WeightType::kFloat64) {
      AppendRaw(value, bytes);
    } else {
      AppendRaw(static_cast<float>(value), bytes);
    }
  }
  return bytes;
}

uint64_t TypeNumber(WeightType type) {
  return static_cast<uint64_t>(type == WeightType::kFloat64 ? OnnxType::kDouble : OnnxType::kFloat);
}

// TensorProto
std::string Tensor(std::string_view name, const std::vector<int64_t>& dims, uint64_t type,
                   std::string_view raw) {
  std::string tensor;
  for (const int64_t extent : dims) AppendNumberField(1, static_cast<uint64_t>(extent), tensor);
  AppendNumberField(2, type, tensor);
  AppendBytesField(8, name, tensor);
  AppendBytesField(9, raw, tensor);
  return tensor;
}

// SparseTensorProto; positions are linear and ascend.
std::string SparseTensor(std::string_view name, const SparseRows& rows, int64_t num_columns,
                         WeightType type) {
  std::string indices;
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    for (int64_t e = rows.row_begin[static_cast<size_t>(row)];
         e < rows.row_begin[static_cast<size_t>(row) + 1]; ++e) {
      AppendRaw(row * num_columns + rows.column[static_cast<size_t>(e)], indices);
    }
  }
  const std::vector<int64_t> count = {rows.nonzeros()};
  std::string tensor;
  AppendBytesField(1, Tensor(name, count, TypeNumber(type), RawData(rows.value, type)), tensor);
  AppendBytesField(2, Tensor("", count, static_cast<uint64_t>(OnnxType::kInt64), indices), tensor);
  AppendNumberField(3, static_cast<uint64_t>(rows.num_rows()), tensor);
  AppendNumberField(3, static_cast<uint64_t>(num_columns), tensor);
  return tensor;
}

// ValueInfoProto: the batch, of any size, and the dimensions behind it.
std::string Value(std::string_view name, const std::vector<int64_t>& dims, WeightType type) {
  std::string shape;
  std::string batch;
  AppendBytesField(2, "batch", batch);
  AppendBytesField(1, batch, shape);
  for (const int64_t extent : dims) {
    std::string dimension;
    AppendNumberField(1, static_cast<uint64_t>(extent), dimension);
    AppendBytesField(1, dimension, shape);
  }
  std::string tensor;
  AppendNumberField(1, TypeNumber(type), tensor);
  AppendBytesField(2, shape, tensor);
  std::string value_type;
  AppendBytesField(1, tensor, value_type);
  std::string value;
  AppendBytesField(1, name, value);
  AppendBytesField(2, value_type, value);
  return value;
}

// AttributeProto of an integer.
std::string IntegerAttribute(std::string_view name, int64_t value) {
  constexpr uint64_t kInt = 2;
  std::string attribute;
  AppendBytesField(1, name, attribute);
  AppendNumberField(3, static_cast<uint64_t>(value), attribute);
  AppendNumberField(20, kInt, attribute);
  return attribute;
}

std::string Entry(uint32_t number, std::string_view text) {
  std::string entry;
  AppendBytesField(number, text, entry);
  return entry;
}

std::string MetadataOr(const Model& model, const char* key, std::string_view otherwise) {
  const auto it = model.metadata.find(key);
  return it == model.metadata.end() || it->second.empty() ? std::string(otherwise) : it->second;
}

// Dimensions behind the batch: those of the uploaded file where they still fit, else the inputs.
std::vector<int64_t> InputDims(const Model& model, int64_t num_inputs) {
  std::vector<int64_t> dims;
  int64_t product = 1;
  const std::string text = MetadataOr(model, kOnnxInputShapeKey, "");
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    int64_t extent = 0;
    if (!absl::SimpleAtoi(part, &extent) || extent < 1 || extent > num_inputs / product ||
        dims.size() == 7) {
      return {num_inputs};
    }
    product *= extent;
    dims.push_back(extent);
  }
  return product == num_inputs && !dims.empty() ? dims : std::vector<int64_t>{num_inputs};
}

// Collects a GraphProto. Names of its own never meet those that the user chose for the ends.
class GraphWriter {
 public:
  GraphWriter(std::string input, std::string output)
      : current_(std::move(input)), output_(std::move(output)), input_(current_) {}

  std::string Unique(std::string name) const {
    while (name == input_ || name == output_) name += "_";
    return name;
  }
  void AddTensor(uint32_t field, std::string_view message) {
    AppendBytesField(field, message, tensors_);
  }
  // A node that takes what the last one gave; the values it needs beside that; its attributes.
  void AddNode(std::string_view op_type, const std::string& name,
               const std::vector<std::string>& others, const std::vector<std::string>& attributes,
               bool is_last) {
    std::vector<std::string> inputs = {current_};
    inputs.insert(inputs.end(), others.begin(), others.end());
    AddNodeOf(op_type, name, inputs, attributes, is_last);
  }
  // A node of any values; returns what the next AddNode takes, its output.
  const std::string& AddNodeOf(std::string_view op_type, const std::string& name,
                               const std::vector<std::string>& inputs,
                               const std::vector<std::string>& attributes, bool is_last) {
    const std::string output = is_last ? output_ : Unique(name + "_output");
    std::string node;
    for (const std::string& input : inputs) AppendBytesField(1, input, node);
    AppendBytesField(2, output, node);
    AppendBytesField(3, name, node);
    AppendBytesField(4, op_type, node);
    for (const std::string& attribute : attributes) AppendBytesField(5, attribute, node);
    AppendBytesField(1, node, nodes_);
    current_ = output;
    return current_;
  }
  const std::string& current() const { return current_; }
  std::string Finish(std::string_view input_value, std::string_view output_value) {
    std::string graph = std::move(nodes_);
    AppendBytesField(2, "thresher", graph);
    graph += tensors_;
    tensors_.clear();
    AppendBytesField(11, input_value, graph);
    AppendBytesField(12, output_value, graph);
    return graph;
  }

 private:
  std::string current_;
  const std::string output_;
  const std::string input_;
  std::string nodes_;
  std::string tensors_;
};

constexpr uint32_t kInitializer = 5;
constexpr uint32_t kSparseInitializer = 15;

std::string AddTensor(GraphWriter& graph, const std::string& name, const std::vector<int64_t>& dims,
                      const std::vector<double>& values, WeightType type) {
  std::string unique = graph.Unique(name);
  graph.AddTensor(kInitializer, Tensor(unique, dims, TypeNumber(type), RawData(values, type)));
  return unique;
}

// A step that applies one constant to each value.
void AddScalingNode(GraphWriter& graph, std::string_view op_type, const std::string& name,
                    const std::vector<int64_t>& dims, const std::vector<double>& values,
                    WeightType type, bool is_last) {
  const std::string constant = AddTensor(graph, name, dims, values, type);
  graph.AddNode(op_type, absl::StrCat(name, "_node"), {constant}, {}, is_last);
}

// The initializer of a layer's weights, dense or sparse; returns its name.
std::string AddWeights(GraphWriter& graph, const std::string& name, const SparseRows& rows,
                       int64_t width, WeightType type, bool sparse) {
  std::string unique = graph.Unique(name);
  if (!sparse) {
    graph.AddTensor(kInitializer, Tensor(unique, {rows.num_rows(), width}, TypeNumber(type),
                                         RawData(DenseOfRows(rows, width), type)));
    return unique;
  }
  // Readers refuse a sparse tensor without entries, and a dense one may be too large: one 0.
  SparseRows one_zero;
  if (rows.nonzeros() == 0) {
    one_zero = {
        .row_begin = std::vector<int64_t>(rows.row_begin.size(), 1), .column = {0}, .value = {0}};
    one_zero.row_begin.front() = 0;
  }
  graph.AddTensor(kSparseInitializer,
                  SparseTensor(unique, rows.nonzeros() == 0 ? one_zero : rows, width, type));
  return unique;
}

void AddLayers(GraphWriter& graph, LayeredNetwork& layered, WeightType type, bool sparse,
               bool ends_graph) {
  int64_t width = layered.num_inputs;
  for (size_t l = 0; l < layered.layers.size(); ++l) {
    Layer& layer = layered.layers[l];
    const bool is_last = l + 1 == layered.layers.size();
    const int64_t num_units = layer.weights.num_rows();
    const std::string prefix = absl::StrCat("layers.", l, ".");
    std::vector<std::string> tensors = {
        AddWeights(graph, prefix + "weight", layer.weights, width, type, sparse)};
    if (!layer.bias.empty()) {
      tensors.push_back(AddTensor(graph, prefix + "bias", {num_units}, layer.bias, type));
    }
    graph.AddNode("Gemm", prefix + "gemm", tensors, {IntegerAttribute("transB", 1)},
                  is_last && ends_graph);
    if (!is_last) graph.AddNode("Relu", prefix + "relu", {}, {}, /*is_last=*/false);
    layer = {};
    width = num_units;
  }
}

// Gates are tested in double, as Evaluate does: their products with float inputs are exact then,
// and a sample on the edge of a gate, x . h = 0, stays there. Where, and not a product with 0 and
// 1, lets no NaN through a gate that is closed.
void AddGatedUnits(GraphWriter& graph, GatedUnits& units, WeightType type, bool sparse,
                   bool ends_graph) {
  const auto to_double =
      IntegerAttribute("to", static_cast<int64_t>(TypeNumber(WeightType::kFloat64)));
  const int64_t num_inputs = units.num_inputs;
  const int64_t num_units = units.weights.weights.num_rows();
  const WeightType gate_type = GateTypeOf(units);
  const auto add_gates = [&](const std::string& name, const std::vector<int64_t>& dims,
                             const std::vector<double>& values) {
    std::string tensor = AddTensor(graph, name, dims, values, gate_type);
    if (gate_type == WeightType::kFloat64) return tensor;
    return graph.AddNodeOf("Cast", name + "_cast", {tensor}, {to_double}, /*is_last=*/false);
  };
  const std::string inputs = graph.current();
  std::vector<std::string> gemm = {inputs,
                                   add_gates("gates.weight", {num_units, num_inputs}, units.gates)};
  units.gates = {};  // one matrix at a time in both forms
  if (!units.gate_bias.empty()) {
    gemm.push_back(add_gates("gates.bias", {num_units}, units.gate_bias));
  }
  if (type == WeightType::kFloat32) {
    gemm[0] = graph.AddNodeOf("Cast", "gates.input_cast", {inputs}, {to_double}, false);
  }
  graph.AddNodeOf("Gemm", "gates.gemm", gemm, {IntegerAttribute("transB", 1)}, false);
  const std::string zero = AddTensor(graph, "gates.zero", {}, {0}, WeightType::kFloat64);
  graph.AddNode("Greater", "gates.greater", {zero}, {}, /*is_last=*/false);
  const std::string open = graph.current();

  std::vector<std::string> weights = {
      inputs, AddWeights(graph, "weight", units.weights.weights, num_inputs, type, sparse)};
  if (!units.weights.bias.empty()) {
    weights.push_back(AddTensor(graph, "bias", {num_units}, units.weights.bias, type));
  }
  const std::string values =
      graph.AddNodeOf("Gemm", "gemm", weights, {IntegerAttribute("transB", 1)}, false);
  const std::string closed = AddTensor(graph, "closed", {}, {0}, type);
  graph.AddNodeOf("Where", "where", {open, values, closed}, {}, /*is_last=*/false);
  std::string axes;
  AppendRaw(int64_t{1}, axes);
  const std::string units_axis = graph.Unique("units_axis");
  graph.AddTensor(kInitializer,
                  Tensor(units_axis, {1}, static_cast<uint64_t>(OnnxType::kInt64), axes));
  graph.AddNode("ReduceSum", "sum", {units_axis}, {IntegerAttribute("keepdims", 1)}, ends_graph);
}

// What is written, and in which type.
struct Body {
  std::variant<LayeredNetwork, GatedUnits> network;
  WeightType type = WeightType::kFloat32;
};

absl::StatusOr<Body> BodyOf(const Model& model, bool sparse, int64_t max_bytes) {
  if (const auto* gated = std::get_if<GatedNetwork>(&model.network)) {
    absl::StatusOr<GatedUnits> units = ToGatedUnits(*gated, max_bytes);
    if (!units.ok()) return units.status();
    const WeightType type = WeightTypeOf(model, {&units->weights, 1});
    absl::Status status = CheckDenseBytes(*units, type, sparse, max_bytes);
    if (!status.ok()) return status;
    return Body{.network = *std::move(units), .type = type};
  }
  absl::StatusOr<LayeredNetwork> layered = ToLayers(model.network);
  if (!layered.ok()) return layered.status();
  const WeightType type = WeightTypeOf(model, layered->layers);
  if (!sparse) {
    if (absl::Status status = CheckDenseBytes(*layered, type, max_bytes); !status.ok()) {
      return status;
    }
  }
  return Body{.network = *std::move(layered), .type = type};
}

}  // namespace

absl::StatusOr<std::string> WriteOnnxModel(const Model& model, bool sparse, int64_t max_bytes) {
  absl::StatusOr<Body> body = BodyOf(model, sparse, max_bytes);
  if (!body.ok()) return body.status();
  const WeightType type = body->type;
  const Scaling& scaling = model.scaling;
  const int64_t num_inputs = NumInputs(model.network);
  const int64_t num_outputs = NumOutputs(model.network);
  const std::vector<int64_t> input_dims = InputDims(model, num_inputs);
  const std::string input = MetadataOr(model, kOnnxInputNameKey, "input");
  std::string output = MetadataOr(model, kOnnxOutputNameKey, "output");
  if (output == input) output += "_";
  GraphWriter graph(input, output);
  const bool scales_targets = scaling.target_offset != 0 || scaling.target_scale != 1;

  if (input_dims.size() > 1) {
    graph.AddNode("Flatten", "flatten", {}, {IntegerAttribute("axis", 1)}, /*is_last=*/false);
  }
  if (!scaling.input_offset.empty()) {
    AddScalingNode(graph, "Sub", "input_offset", {num_inputs}, scaling.input_offset, type, false);
    AddScalingNode(graph, "Div", "input_scale", {num_inputs}, scaling.input_scale, type, false);
  }
  if (auto* layered = std::get_if<LayeredNetwork>(&body->network)) {
    AddLayers(graph, *layered, type, sparse, !scales_targets);
  } else {
    AddGatedUnits(graph, std::get<GatedUnits>(body->network), type, sparse, !scales_targets);
  }
  if (scales_targets) {
    AddScalingNode(graph, "Mul", "target_scale", {}, {scaling.target_scale}, type, false);
    AddScalingNode(graph, "Add", "target_offset", {}, {scaling.target_offset}, type, true);
  }

  std::string file;
  AppendNumberField(1, kIrVersion, file);
  AppendBytesField(2, "thresher", file);
  std::string opset;
  AppendNumberField(2, kOpset, opset);
  AppendBytesField(8, opset, file);
  std::map<std::string, std::string> metadata = model.metadata;
  if (!model.class_names.empty()) metadata[kClassNamesKey] = TextsToJson(model.class_names);
  for (const auto& [key, value] : metadata) {
    AppendBytesField(14, Entry(1, key) + Entry(2, value), file);
  }
  AppendBytesField(
      7, graph.Finish(Value(input, input_dims, type), Value(output, {num_outputs}, type)), file);
  return file;
}

}  // namespace thresher
