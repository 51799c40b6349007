// Any bytes: either a result within the limit or an error that says why not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/formats/gzip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto text = thresher::Gunzip(bytes, kMaxBytes);
  if (text.ok() ? text->size() > kMaxBytes : text.status().message().empty()) std::abort();
  return 0;
}
