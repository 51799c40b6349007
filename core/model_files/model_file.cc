#include "core/model_files/model_file.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace thresher {

std::string_view ModelFileFormatName(ModelFileFormat format) {
  switch (format) {
    case ModelFileFormat::kNpz:
      return "npz";
    case ModelFileFormat::kJson:
      return "json";
    case ModelFileFormat::kSafetensors:
      return "safetensors";
    case ModelFileFormat::kOnnx:
      return "onnx";
    case ModelFileFormat::kOnnxSparse:
      return "onnx_sparse";
    case ModelFileFormat::kCHeader:
      return "c_header";
  }
  return "";
}

std::optional<ModelFileFormat> ModelFileFormatOfName(std::string_view name) {
  for (const ModelFileFormat format : kModelFileFormats) {
    if (ModelFileFormatName(format) == name) return format;
  }
  return std::nullopt;
}

std::optional<ModelFileFormat> ModelFileFormatOfPath(std::string_view path) {
  const absl::string_view name(path.data(), path.size());
  for (const auto& [ending, format] :
       {std::pair(".npz", ModelFileFormat::kNpz), std::pair(".json", ModelFileFormat::kJson),
        std::pair(".safetensors", ModelFileFormat::kSafetensors),
        std::pair(".onnx", ModelFileFormat::kOnnx), std::pair(".h", ModelFileFormat::kCHeader)}) {
    if (absl::EndsWithIgnoreCase(name, ending)) return format;
  }
  return std::nullopt;
}

absl::StatusOr<Model> ReadModelFile(ModelFileFormat format, std::string_view bytes,
                                    int64_t max_bytes) {
  switch (format) {
    case ModelFileFormat::kNpz:
      return ReadNpzModelFile(bytes, max_bytes);
    case ModelFileFormat::kJson:
      return ReadModelJson(bytes);
    case ModelFileFormat::kSafetensors:
      return ReadSafetensorsModel(bytes);
    case ModelFileFormat::kOnnx:
    case ModelFileFormat::kOnnxSparse:
      return ReadOnnxModel(bytes);
    case ModelFileFormat::kCHeader:
      break;
  }
  return absl::InvalidArgumentError(
      "format: a C header cannot be read; give npz, json, safetensors or onnx");
}

absl::StatusOr<std::string> WriteModelFile(const Model& model, ModelFileFormat format,
                                           std::string_view name, int64_t max_bytes) {
  if (absl::Status status = ValidateModel(model); !status.ok()) return status;
  switch (format) {
    case ModelFileFormat::kNpz:
      return WriteModelNpz(model);
    case ModelFileFormat::kJson: {
      std::string text = WriteModelJson(model);
      if (static_cast<int64_t>(text.size()) <= max_bytes) return text;
      return absl::ResourceExhaustedError(absl::StrCat(
          "format: the text has ", text.size(), " bytes, more than ", max_bytes, "; take npz"));
    }
    case ModelFileFormat::kSafetensors:
      return WriteSafetensorsModel(model, max_bytes);
    case ModelFileFormat::kOnnx:
    case ModelFileFormat::kOnnxSparse:
      return WriteOnnxModel(model, format == ModelFileFormat::kOnnxSparse, max_bytes);
    case ModelFileFormat::kCHeader:
      return WriteCHeader(model, name, max_bytes);
  }
  return absl::InvalidArgumentError("format: is unknown");
}

std::string CName(std::string_view text) {
  constexpr size_t kLongest = 63;
  std::string name;
  if (text.empty() || absl::ascii_isdigit(static_cast<unsigned char>(text[0]))) name.push_back('_');
  for (const char c : text.substr(0, kLongest - 1)) {
    name.push_back(absl::ascii_isalnum(static_cast<unsigned char>(c)) ? c : '_');
  }
  return name;
}

}  // namespace thresher
