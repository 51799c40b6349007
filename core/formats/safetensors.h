// safetensors: named arrays behind a JSON header, as PyTorch's users save weights.
//
// A file is the header's length (8 bytes, little endian), the header, and the arrays' bytes.
// Source: https://github.com/huggingface/safetensors, "Format".
#ifndef THRESHER_CORE_FORMATS_SAFETENSORS_H_
#define THRESHER_CORE_FORMATS_SAFETENSORS_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/npy.h"

namespace thresher {

struct NamedArray {
  std::string name;
  NpyArray array;
};

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;  // the header's __metadata__
  std::vector<NamedArray> tensors;              // in the order of the header
};

// Takes F32 and F64, which become float and double. Memory: the file's size again, and a header
// of at most 16 MiB with at most 4096 tensors.
// Errors: INVALID_ARGUMENT naming the tensor: another type, a shape that disagrees with its
// bytes, bytes outside the file, shared or unused ones, a name that occurs twice.
absl::StatusOr<SafetensorsFile> ParseSafetensors(std::string_view bytes);

// Expects arrays of float or double with different names. The header keeps their order; doubles
// come first among the bytes, so that all are aligned. Equal files give equal bytes.
std::string SerializeSafetensors(const SafetensorsFile& file);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_SAFETENSORS_H_
