// Models as ONNX: [Flatten,] [Sub, Div,] Gemm, Relu, ..., Gemm [, Mul, Add].
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

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
    const std::string output = is_last ? output_ : Unique(name + "_output");
    std::string node;
    AppendBytesField(1, current_, node);
    for (const std::string& other : others) AppendBytesField(1, other, node);
    AppendBytesField(2, output, node);
    AppendBytesField(3, name, node);
    AppendBytesField(4, op_type, node);
    for (const std::string& attribute : attributes) AppendBytesField(5, attribute, node);
    AppendBytesField(1, node, nodes_);
    current_ = output;
  }
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

// A step that applies one constant to each value.
void AddScalingNode(GraphWriter& graph, std::string_view op_type, const std::string& name,
                    const std::vector<int64_t>& dims, const std::vector<double>& values,
                    WeightType type, bool is_last) {
  const std::string constant = graph.Unique(name);
  graph.AddTensor(kInitializer, Tensor(constant, dims, TypeNumber(type), RawData(values, type)));
  graph.AddNode(op_type, absl::StrCat(name, "_node"), {constant}, {}, is_last);
}

}  // namespace

absl::StatusOr<std::string> WriteOnnxModel(const Model& model, bool sparse, int64_t max_bytes) {
  absl::StatusOr<LayeredNetwork> layered = ToLayers(model.network);
  if (!layered.ok()) return layered.status();
  const WeightType type = WeightTypeOf(model, *layered);
  if (!sparse) {
    if (absl::Status status = CheckDenseBytes(*layered, type, max_bytes); !status.ok()) {
      return status;
    }
  }
  const Scaling& scaling = model.scaling;
  const int64_t num_inputs = layered->num_inputs;
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
  int64_t width = num_inputs;
  for (size_t l = 0; l < layered->layers.size(); ++l) {
    Layer& layer = layered->layers[l];
    const bool is_last = l + 1 == layered->layers.size();
    const int64_t num_units = layer.weights.num_rows();
    const std::string prefix = absl::StrCat("layers.", l, ".");
    std::vector<std::string> tensors = {graph.Unique(prefix + "weight")};
    // A sparse tensor without entries is refused by readers.
    if (sparse && layer.weights.nonzeros() > 0) {
      graph.AddTensor(kSparseInitializer, SparseTensor(tensors[0], layer.weights, width, type));
    } else {
      graph.AddTensor(kInitializer, Tensor(tensors[0], {num_units, width}, TypeNumber(type),
                                           RawData(DenseOfRows(layer.weights, width), type)));
    }
    if (!layer.bias.empty()) {
      tensors.push_back(graph.Unique(prefix + "bias"));
      graph.AddTensor(kInitializer,
                      Tensor(tensors[1], {num_units}, TypeNumber(type), RawData(layer.bias, type)));
    }
    graph.AddNode("Gemm", prefix + "gemm", tensors, {IntegerAttribute("transB", 1)},
                  is_last && !scales_targets);
    if (!is_last) graph.AddNode("Relu", prefix + "relu", {}, {}, /*is_last=*/false);
    layer = {};
    width = num_units;
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
  AppendBytesField(7, graph.Finish(Value(input, input_dims, type), Value(output, {width}, type)),
                   file);
  return file;
}

}  // namespace thresher
