// Any bytes: arrays within the limit, or an error that says why not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/formats/npz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto archive = thresher::ParseNpz(bytes, kMaxBytes);
  if (!archive.ok()) {
    if (archive.status().message().empty()) std::abort();
    return 0;
  }
  int64_t total = 0;
  for (const auto& [name, array] : *archive) total += array.size();
  if (total > kMaxBytes) std::abort();
  return 0;
}
