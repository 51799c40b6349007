// Any bytes, read both as a table of numbers and as one of class labels: samples that pass
// their own check, or an error that says why not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/samples/read_samples.h"
#include "core/samples/unlabelled.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const bool classes : {false, true}) {
    const thresher::ReadOptions options = {.format = thresher::FileFormat::kCsv,
                                           .target_columns = {"y"},
                                           .targets_are_classes = classes,
                                           .max_bytes = 1 << 20};
    const auto samples = thresher::ReadSamples(options, bytes, "");
    if (samples.ok() ? !thresher::ValidateLabelledOrNot(*samples).ok()
                     : samples.status().message().empty()) {
      std::abort();
    }
  }
  return 0;
}
