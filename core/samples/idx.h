// IDX, the format of MNIST's files: a magic number, the extents, then the entries, all
// big endian.
#ifndef THRESHER_CORE_SAMPLES_IDX_H_
#define THRESHER_CORE_SAMPLES_IDX_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/npy.h"

namespace thresher {

// Types: unsigned byte (becomes u1), byte, short, int (i4), float (f4), double (f8).
// Errors: INVALID_ARGUMENT for another magic number, truncation and trailing bytes;
// RESOURCE_EXHAUSTED when the array would hold more than max_bytes.
absl::StatusOr<NpyArray> ParseIdx(std::string_view bytes, int64_t max_bytes);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_IDX_H_
