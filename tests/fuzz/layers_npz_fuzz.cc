// Plain weights in NPZ, as users upload them, dense or CSR, with their description. Whatever is
// accepted must be a network that can be written in every layered format and comes back the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/model_files/model_file.h"
#include "tests/fuzz/layered_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = int64_t{1} << 20;
  thresher::CheckAccepted(
      thresher::ReadNpzModelFile({reinterpret_cast<const char*>(data), size}, kMaxBytes));
  return 0;
}
