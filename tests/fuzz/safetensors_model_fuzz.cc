// Weights in safetensors, as users upload them. Whatever is accepted must be a network that can be
// written in every layered format and comes back the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/model_files/model_file.h"
#include "tests/fuzz/layered_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thresher::CheckAccepted(
      thresher::ReadSafetensorsModel({reinterpret_cast<const char*>(data), size}));
  return 0;
}
