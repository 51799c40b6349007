// Gzip detection and bounded inflation.
#ifndef THRESHER_CORE_FORMATS_GZIP_H_
#define THRESHER_CORE_FORMATS_GZIP_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace thresher {

// True when the bytes start with gzip's magic number 1f 8b.
bool IsGzip(std::string_view bytes);

// Inflates all members of a gzip file, one after another; zero bytes may pad its end. Errors:
// INVALID_ARGUMENT for damaged or truncated data, RESOURCE_EXHAUSTED when the result would exceed
// max_bytes.
absl::StatusOr<std::string> Gunzip(std::string_view bytes, int64_t max_bytes);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_GZIP_H_
