// Any bytes as a PNG: an image that is written and read back to the values of 8 bits, and samples
// that pass their own check; or an error that says why not.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/formats/png.h"
#include "core/samples/image_samples.h"
#include "core/samples/read_samples.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto image = thresher::ParsePng(bytes, kMaxBytes);
  if (image.ok()) {
    const auto written = thresher::WritePng(*image);
    if (!written.ok()) std::abort();
    const auto again = thresher::ParsePng(*written, kMaxBytes);
    if (!again.ok() || again->values.size() != image->values.size()) std::abort();
    for (size_t i = 0; i < again->values.size(); ++i) {
      if (!(std::abs(again->values[i] - image->values[i]) <= 0.51 / 255)) std::abort();
    }
  } else if (image.status().message().empty()) {
    std::abort();
  }
  const thresher::ReadOptions options = {.format = thresher::FileFormat::kPng,
                                         .image = thresher::ImageOptions{.num_features = 4},
                                         .max_bytes = kMaxBytes};
  const auto samples = thresher::ReadSamples(options, bytes, "");
  if (samples.ok() ? !thresher::ValidateSamples(*samples).ok()
                   : samples.status().message().empty()) {
    std::abort();
  }
  return 0;
}
