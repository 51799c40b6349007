// NumPy's .npy arrays as values: parse and serialise.
//
// Accepted on reading: format versions 1.0, 2.0 and 3.0, C and Fortran order,
// little and big endian, dtypes f4 f8 u1 i4 i8, fixed-length byte strings (S) and
// text (U, which becomes UTF-8). The other small types widen without loss: f2 to f4,
// b1 to u1, i1 i2 u2 to i4, u4 and u8 to i8. Object arrays (pickle) and structured
// arrays are refused. Written: version 1.0, C order, little endian.
#ifndef THRESHER_CORE_FORMATS_NPY_H_
#define THRESHER_CORE_FORMATS_NPY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thresher {

// An array of any rank up to 32, always held in C order and host byte order.
struct NpyArray {
  std::vector<int64_t> shape;  // empty for a scalar
  // As many entries as the product of the shape. As in NumPy, zero bytes at the end of
  // a string are padding and do not survive a round trip.
  std::variant<std::vector<float>, std::vector<double>, std::vector<uint8_t>, std::vector<int32_t>,
               std::vector<int64_t>, std::vector<std::string>>
      values;

  int64_t size() const;  // product of the shape
};

// Errors: INVALID_ARGUMENT that says what is wrong and where; RESOURCE_EXHAUSTED
// when the array would hold more than max_bytes.
absl::StatusOr<NpyArray> ParseNpy(std::string_view bytes, int64_t max_bytes);

// Requires as many values as the shape says.
std::string SerializeNpy(const NpyArray& array);

// Any numeric array as doubles or floats (rounded to nearest). Errors:
// INVALID_ARGUMENT for strings.
absl::StatusOr<std::vector<double>> ToDoubles(const NpyArray& array);
absl::StatusOr<std::vector<float>> ToFloats(const NpyArray& array);
// Integer arrays, or floating ones whose entries are all integers.
absl::StatusOr<std::vector<int64_t>> ToIntegers(const NpyArray& array);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_NPY_H_
