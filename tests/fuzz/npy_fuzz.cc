// Any bytes: an array that is consistent, within the limit and survives a round trip, or an
// error that says why not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "core/formats/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto array = thresher::ParseNpy(bytes, kMaxBytes);
  if (!array.ok()) {
    if (array.status().message().empty()) std::abort();
    return 0;
  }
  const size_t count = std::visit([](const auto& values) { return values.size(); }, array->values);
  if (static_cast<int64_t>(count) != array->size() || array->size() > kMaxBytes) std::abort();
  (void)thresher::ToDoubles(*array);
  (void)thresher::ToFloats(*array);
  (void)thresher::ToIntegers(*array);
  // Bytes are compared, because NaN differs from itself.
  const std::string written = thresher::SerializeNpy(*array);
  const auto again = thresher::ParseNpy(written, kMaxBytes);
  if (!again.ok() || thresher::SerializeNpy(*again) != written) std::abort();
  return 0;
}
