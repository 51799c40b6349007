// Any bytes, as inputs and as targets at once: samples that pass their own check, or an error
// that says why not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/samples/idx.h"
#include "core/samples/read_samples.h"
#include "core/samples/unlabelled.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)thresher::ParseIdx(bytes, kMaxBytes);
  for (const bool classes : {false, true}) {
    const thresher::ReadOptions options = {.format = thresher::FileFormat::kIdx,
                                           .targets_are_classes = classes,
                                           .scaling = thresher::ScalingMode::kStandardise,
                                           .max_bytes = kMaxBytes};
    const auto samples = thresher::ReadSamples(options, bytes, bytes);
    if (samples.ok() ? !thresher::ValidateLabelledOrNot(*samples).ok()
                     : samples.status().message().empty()) {
      std::abort();
    }
  }
  return 0;
}
