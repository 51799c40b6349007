#include "core/samples/idx.h"

#include <algorithm>
#include <bit>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

// The unsigned integer at `data`, most significant byte first.
template <typename Unsigned>
Unsigned LoadBigEndian(const char* data) {
  uint64_t value = 0;
  for (size_t k = 0; k < sizeof(Unsigned); ++k) {
    value = value << 8 | static_cast<unsigned char>(data[k]);
  }
  return static_cast<Unsigned>(value);
}

template <typename Unsigned, typename Stored, typename Value>
std::vector<Value> Load(const char* data, int64_t count) {
  std::vector<Value> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const Unsigned bits = LoadBigEndian<Unsigned>(data + i * sizeof(Unsigned));
    values[i] = static_cast<Value>(std::bit_cast<Stored>(bits));
  }
  return values;
}

// Bytes of an entry in the file; 0 for an unknown type.
int64_t ItemSize(unsigned char type) {
  switch (type) {
    case 0x08:
    case 0x09:
      return 1;
    case 0x0B:
      return 2;
    case 0x0C:
    case 0x0D:
      return 4;
    case 0x0E:
      return 8;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<NpyArray> ParseIdx(std::string_view bytes, int64_t max_bytes) {
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0) {
    return absl::InvalidArgumentError("not an IDX file: it must start with two zero bytes");
  }
  const unsigned char type = static_cast<unsigned char>(bytes[2]);
  const size_t rank = static_cast<unsigned char>(bytes[3]);
  const int64_t item_size = ItemSize(type);
  if (item_size == 0) {
    return absl::InvalidArgumentError(absl::StrCat("IDX type code ", type, " is unknown"));
  }
  if (rank < 1) return absl::InvalidArgumentError("IDX file has no dimensions");
  const size_t data_begin = 4 + 4 * rank;
  if (bytes.size() < data_begin) {
    return absl::InvalidArgumentError("IDX file is truncated: it ends inside its header");
  }
  NpyArray array;
  for (size_t k = 0; k < rank; ++k) {
    array.shape.push_back(LoadBigEndian<uint32_t>(bytes.data() + 4 + 4 * k));
  }
  // Bytes and shorts widen: unsigned bytes stay, all else takes at least four bytes.
  const int64_t held_size = type == 0x08 ? 1 : std::max<int64_t>(item_size, 4);
  const int64_t most = std::max<int64_t>(max_bytes, 0) / held_size;
  int64_t count = 1;
  for (const int64_t extent : array.shape) {
    if (extent == 0) {
      return absl::InvalidArgumentError("IDX file is empty: an extent of its shape is 0");
    }
    if (count > most / extent) {
      return absl::ResourceExhaustedError(
          absl::StrCat("IDX array would hold more than the limit of ", max_bytes, " bytes"));
    }
    count *= extent;
  }
  const int64_t found = static_cast<int64_t>(bytes.size() - data_begin);
  if (found != count * item_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("IDX file ", found < count * item_size ? "is truncated" : "has trailing bytes",
                     ": its shape needs ", count * item_size, " bytes of data, there are ", found));
  }
  const char* data = bytes.data() + data_begin;
  switch (type) {
    case 0x08:
      array.values = std::vector<uint8_t>(data, data + count);
      break;
    case 0x09:
      array.values = Load<uint8_t, int8_t, int32_t>(data, count);
      break;
    case 0x0B:
      array.values = Load<uint16_t, int16_t, int32_t>(data, count);
      break;
    case 0x0C:
      array.values = Load<uint32_t, int32_t, int32_t>(data, count);
      break;
    case 0x0D:
      array.values = Load<uint32_t, float, float>(data, count);
      break;
    default:
      array.values = Load<uint64_t, double, double>(data, count);
      break;
  }
  return array;
}

}  // namespace thresher
