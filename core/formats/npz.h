// NumPy's .npz archives: a ZIP file of .npy members.
#ifndef THRESHER_CORE_FORMATS_NPZ_H_
#define THRESHER_CORE_FORMATS_NPZ_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/npy.h"

namespace thresher {

// Member name without ".npy" to array.
using NpzArchive = std::map<std::string, NpyArray>;

// Errors: INVALID_ARGUMENT naming the member; RESOURCE_EXHAUSTED when the
// members together would unpack to more than max_bytes (a ZIP bomb is refused
// before it is unpacked).
absl::StatusOr<NpzArchive> ParseNpz(std::string_view bytes, int64_t max_bytes);

// Deflated, members in name order, fixed time stamps: equal archives give equal
// bytes.
absl::StatusOr<std::string> SerializeNpz(const NpzArchive& archive);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_NPZ_H_
