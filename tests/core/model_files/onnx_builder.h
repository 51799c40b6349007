// ONNX files written field by field, so that tests can get any of them wrong.
#ifndef THRESHER_TESTS_CORE_MODEL_FILES_ONNX_BUILDER_H_
#define THRESHER_TESTS_CORE_MODEL_FILES_ONNX_BUILDER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/formats/protobuf_wire.h"

namespace thresher {

struct OnnxBuilder {
  std::string ir = "\x08\x07";
  uint64_t opset = 13;
  std::string graph;  // a GraphProto
  std::string rest;   // further fields of the ModelProto

  static std::string Raw(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  }
  static std::string Tensor(std::string_view name, const std::vector<int64_t>& dims,
                            std::string_view raw, uint64_t type = 1) {
    std::string tensor;
    for (const int64_t extent : dims) AppendNumberField(1, static_cast<uint64_t>(extent), tensor);
    AppendNumberField(2, type, tensor);
    AppendBytesField(8, name, tensor);
    AppendBytesField(9, raw, tensor);
    return tensor;
  }
  static std::string Integer(std::string_view name, int64_t value) {
    std::string attribute;
    AppendBytesField(1, name, attribute);
    AppendNumberField(3, static_cast<uint64_t>(value), attribute);
    return attribute;
  }
  // As integers of their own, or packed in one field.
  static std::string IntegerList(std::string_view name, const std::vector<int64_t>& values,
                                 bool packed = false) {
    std::string attribute;
    AppendBytesField(1, name, attribute);
    std::string numbers;
    for (const int64_t value : values) {
      if (packed) {
        AppendVarint(static_cast<uint64_t>(value), numbers);
      } else {
        AppendNumberField(8, static_cast<uint64_t>(value), attribute);
      }
    }
    if (packed) AppendBytesField(8, numbers, attribute);
    return attribute;
  }
  static std::string Float(std::string_view name, float value) {
    std::string attribute;
    AppendBytesField(1, name, attribute);
    AppendFloatField(2, value, attribute);
    return attribute;
  }
  static std::string TensorAttribute(std::string_view name, std::string_view tensor) {
    std::string attribute;
    AppendBytesField(1, name, attribute);
    AppendBytesField(5, tensor, attribute);
    return attribute;
  }
  static std::string Integers(const std::vector<int64_t>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)};
  }

  OnnxBuilder& Node(std::string_view op_type, std::string_view name,
                    const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                    const std::vector<std::string>& attributes = {}) {
    std::string node;
    for (const std::string& input : inputs) AppendBytesField(1, input, node);
    for (const std::string& output : outputs) AppendBytesField(2, output, node);
    AppendBytesField(3, name, node);
    AppendBytesField(4, op_type, node);
    for (const std::string& attribute : attributes) AppendBytesField(5, attribute, node);
    AppendBytesField(1, node, graph);
    return *this;
  }
  OnnxBuilder& Initializer(std::string_view name, const std::vector<int64_t>& dims,
                           const std::vector<float>& values) {
    AppendBytesField(5, Tensor(name, dims, Raw(values)), graph);
    return *this;
  }
  OnnxBuilder& Message(uint32_t field, std::string_view message) {
    AppendBytesField(field, message, graph);
    return *this;
  }
  // Dimensions: -1 is one without a number.
  static std::string Value(std::string_view name, const std::vector<int64_t>& dims,
                           uint64_t type = 1) {
    std::string shape;
    for (const int64_t extent : dims) {
      std::string dimension;
      if (extent >= 0) AppendNumberField(1, static_cast<uint64_t>(extent), dimension);
      AppendBytesField(1, dimension, shape);
    }
    std::string tensor;
    AppendNumberField(1, type, tensor);
    AppendBytesField(2, shape, tensor);
    std::string value_type;
    AppendBytesField(1, tensor, value_type);
    std::string value;
    AppendBytesField(1, name, value);
    AppendBytesField(2, value_type, value);
    return value;
  }
  OnnxBuilder& Ends(const std::vector<int64_t>& input_dims = {-1, 2}, uint64_t type = 1) {
    AppendBytesField(11, Value("x", input_dims, type), graph);
    AppendBytesField(12, Value("y", {-1, 1}, type), graph);
    return *this;
  }
  std::string File() const {
    std::string file = ir;
    std::string set;
    AppendNumberField(2, opset, set);
    AppendBytesField(8, set, file);
    AppendBytesField(7, graph, file);
    return file + rest;
  }
};

// f(x) = 3 (x_0 + 2 x_1 - 1)_+ + 5 (-x_0)_+ + 7 of Gemm nodes.
inline OnnxBuilder SmallGemms() {
  OnnxBuilder builder;
  builder.Ends()
      .Initializer("w0", {2, 2}, {1, 2, -1, 0})
      .Initializer("b0", {2}, {-1, 0})
      .Initializer("w1", {1, 2}, {3, 5})
      .Initializer("b1", {1}, {7})
      .Node("Gemm", "first", {"x", "w0", "b0"}, {"h"}, {OnnxBuilder::Integer("transB", 1)})
      .Node("Relu", "relu", {"h"}, {"z"})
      .Node("Gemm", "last", {"z", "w1", "b1"}, {"y"}, {OnnxBuilder::Integer("transB", 1)});
  return builder;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_MODEL_FILES_ONNX_BUILDER_H_
