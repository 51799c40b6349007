// ONNX files as values: the graph's nodes, tensors and names, as views into the file's bytes.
//
// Knows what the format says, not which operators make a network. Field numbers are those of
// onnx/onnx.proto, https://github.com/onnx/onnx (IR version 10).
#ifndef THRESHER_CORE_FORMATS_ONNX_H_
#define THRESHER_CORE_FORMATS_ONNX_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thresher {

// TensorProto.DataType, those that have a name here; others occur in files.
enum class OnnxType : int64_t { kUndefined = 0, kFloat = 1, kInt64 = 7, kDouble = 11 };
std::string OnnxTypeName(int64_t type);  // "float", "float16", ..., "type 99"

struct OnnxTensor {
  std::string_view name;
  std::vector<int64_t> dims;
  int64_t data_type = 0;  // an OnnxType, or another
  bool external = false;  // its bytes are in another file
  std::string_view message;
};

// values at `indices` ([nnz] positions in row-major order, or [nnz, rank]); else 0.
struct OnnxSparseTensor {
  OnnxTensor values;
  OnnxTensor indices;
  std::vector<int64_t> dims;
};

struct OnnxAttribute {
  std::string_view name;
  float float_value = 0;
  int64_t int_value = 0;
  std::vector<int64_t> integers;  // a list; the first nine, so that more than 8 show
  std::string_view tensor;        // a TensorProto, see ParseOnnxTensor
};

struct OnnxNode {
  std::string_view name;
  std::string_view op_type;
  std::string_view domain;
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::vector<OnnxAttribute> attributes;
};

// An input or output of the graph. A dimension that is not a number is -1.
struct OnnxValue {
  std::string_view name;
  int64_t element_type = 0;
  bool has_shape = false;
  std::vector<int64_t> dims;
};

struct OnnxFile {
  int64_t ir_version = 0;
  int64_t opset = 0;  // of the standard operators; 0: not said
  std::vector<OnnxNode> nodes;
  std::vector<OnnxTensor> initializers;
  std::vector<OnnxSparseTensor> sparse_initializers;
  std::vector<OnnxValue> inputs;
  std::vector<OnnxValue> outputs;
  std::vector<std::pair<std::string_view, std::string_view>> metadata;
};

// The views are into `bytes`. Memory: flat; what is kept is counted and bounded (1024 nodes,
// initializers, inputs, outputs and entries of metadata, 64 inputs, outputs and attributes of a
// node, 8 dimensions), and the first too many ends the reading.
// Errors: INVALID_ARGUMENT naming the message that is damaged or the bound.
absl::StatusOr<OnnxFile> ParseOnnx(std::string_view bytes);
absl::StatusOr<OnnxTensor> ParseOnnxTensor(std::string_view message);

// The tensor's entries in row-major order, of type float or double, or int64. Memory: 8 bytes an
// entry, and no more entries than the file has bytes for.
// Errors: INVALID_ARGUMENT without the tensor's name: another type, bytes outside of the file, a
// shape that disagrees with the number of entries.
absl::StatusOr<std::vector<double>> OnnxDoubles(const OnnxTensor& tensor);
absl::StatusOr<std::vector<int64_t>> OnnxIntegers(const OnnxTensor& tensor);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_ONNX_H_
