// Models as files in the formats of other tools: what is taken in and what is written.
#ifndef THRESHER_CORE_MODEL_FILES_MODEL_FILE_H_
#define THRESHER_CORE_MODEL_FILES_MODEL_FILE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/network/model.h"

namespace thresher {

enum class ModelFileFormat { kNpz, kJson, kSafetensors, kOnnx, kOnnxSparse, kCHeader };
inline constexpr ModelFileFormat kModelFileFormats[] = {
    ModelFileFormat::kNpz,  ModelFileFormat::kJson,       ModelFileFormat::kSafetensors,
    ModelFileFormat::kOnnx, ModelFileFormat::kOnnxSparse, ModelFileFormat::kCHeader};

// npz, json, safetensors, onnx, onnx_sparse, c_header.
std::string_view ModelFileFormatName(ModelFileFormat format);
std::optional<ModelFileFormat> ModelFileFormatOfName(std::string_view name);
// By the ending .npz, .json, .safetensors, .onnx or .h, in any case; none for another.
std::optional<ModelFileFormat> ModelFileFormatOfPath(std::string_view path);

// A model from foreign bytes, weights as given. Members and names: README.md.
//   npz          what WriteModelNpz writes, or plain arrays a layer
//   json         what WriteModelJson writes
//   safetensors  PyTorch's names
//   onnx         a chain of Gemm, or MatMul and Add, with Relu; also sparse; gated as written
// Errors: INVALID_ARGUMENT naming the tensor or the node; RESOURCE_EXHAUSTED where the file
// unpacks to more than max_bytes. Memory: up to 16 times the file.
absl::StatusOr<Model> ReadModelFile(ModelFileFormat format, std::string_view bytes,
                                    int64_t max_bytes);

// The model as a file; equal models give equal bytes.
//   npz, json    everything, exactly
//   safetensors  layers.0.weight, layers.0.bias, ...; the type that the network was uploaded in,
//                without one exactly: F64 unless F32 is exact
//   onnx         opset 13; float32 unless the network was uploaded in float64 or needs its range
//   c_header     one C99 and C++ header with static inline NAME_predict, types as onnx
// `name` is the prefix of a C header's names, [A-Za-z_][A-Za-z0-9_]*, at most 63 characters.
// A gated network's gates are spelled out in all but npz and json.
// Errors: INVALID_ARGUMENT as ValidateModel, `name`; RESOURCE_EXHAUSTED where the file would have
// more than about max_bytes.
absl::StatusOr<std::string> WriteModelFile(const Model& model, ModelFileFormat format,
                                           std::string_view name, int64_t max_bytes);

// A C name from any text: other characters become _, and a first digit gets one before it.
std::string CName(std::string_view text);

// The formats one by one, as above.
absl::StatusOr<Model> ReadNpzModelFile(std::string_view bytes, int64_t max_bytes);
absl::StatusOr<Model> ReadSafetensorsModel(std::string_view bytes);
absl::StatusOr<Model> ReadOnnxModel(std::string_view bytes);
absl::StatusOr<std::string> WriteSafetensorsModel(const Model& model, int64_t max_bytes);
absl::StatusOr<std::string> WriteOnnxModel(const Model& model, bool sparse, int64_t max_bytes);
absl::StatusOr<std::string> WriteCHeader(const Model& model, std::string_view name,
                                         int64_t max_bytes);

// Metadata that keep what an uploaded ONNX file called its ends. The shape is the input's
// dimensions behind the batch, as "1,28,28"; only of more than one.
inline constexpr char kOnnxInputNameKey[] = "onnx_input_name";
inline constexpr char kOnnxOutputNameKey[] = "onnx_output_name";
inline constexpr char kOnnxInputShapeKey[] = "onnx_input_shape";
inline constexpr char kSourceFormatKey[] = "source_format";  // a ModelFileFormatName
inline constexpr char kWeightTypeKey[] = "weight_type";      // "float32" or "float64"

}  // namespace thresher

#endif  // THRESHER_CORE_MODEL_FILES_MODEL_FILE_H_
