// PNG, as the values of pixels.
#ifndef THRESHER_CORE_FORMATS_PNG_H_
#define THRESHER_CORE_FORMATS_PNG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thresher {

struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;            // 1: grey; 3: red, green, blue
  std::vector<float> values = {};  // height x width x channels, row-major, in [0, 1]
};

// Every kind of PNG: grey, palette (becomes colour) and RGB, of 1 to 16 bits, interlaced or not. A
// value v of b bits becomes v / (2^b - 1), as stored: gamma and colour profiles are not applied. An
// alpha channel is dropped where every pixel is opaque.
// Errors: INVALID_ARGUMENT for damaged or truncated data and for pixels that are not opaque;
// RESOURCE_EXHAUSTED when the values would take more than max_bytes.
// Memory: 3 times the values at most.
absl::StatusOr<Image> ParsePng(std::string_view bytes, int64_t max_bytes);

// 8 bits a value: clamped to [0, 1] and rounded; what is no number becomes 0. Errors:
// INVALID_ARGUMENT for sizes that disagree or are beyond PNG's.
absl::StatusOr<std::string> WritePng(const Image& image);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_PNG_H_
