// NumPy's .npy arrays as values: parse and serialise.
//
// Accepted on reading: format versions 1.0, 2.0 and 3.0, C and Fortran order,
// little and big endian, dtypes f4 f8 u1 i4 i8 and fixed-length byte strings
// (S). Object arrays (pickle) are refused. Written: version 1.0, C order,
// little endian.
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

// An array of any rank, always held in C order and host byte order.
struct NpyArray {
  std::vector<int64_t> shape;  // empty for a scalar
  // As many entries as the product of the shape. Byte strings ('S') are only
  // written and read as scalars or one-dimensional arrays.
  std::variant<std::vector<float>, std::vector<double>, std::vector<uint8_t>,
               std::vector<int32_t>, std::vector<int64_t>, std::vector<std::string>>
      values;

  int64_t size() const;
};

// Errors: INVALID_ARGUMENT that says what is wrong and where; RESOURCE_EXHAUSTED
// when the array would hold more than max_bytes.
absl::StatusOr<NpyArray> ParseNpy(std::string_view bytes, int64_t max_bytes);

std::string SerializeNpy(const NpyArray& array);

// Any numeric array as doubles or floats. Errors: INVALID_ARGUMENT for strings.
absl::StatusOr<std::vector<double>> ToDoubles(const NpyArray& array);
absl::StatusOr<std::vector<float>> ToFloats(const NpyArray& array);
// Integer arrays, or floating ones whose entries are all integers.
absl::StatusOr<std::vector<int64_t>> ToIntegers(const NpyArray& array);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_NPY_H_
