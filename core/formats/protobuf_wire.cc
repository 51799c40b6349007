#include "core/formats/protobuf_wire.h"

#include <bit>
#include <cstring>

namespace thresher {
namespace {

static_assert(std::endian::native == std::endian::little, "fixed numbers are little endian");

template <typename T>
bool TakeFixed(std::string_view& bytes, uint64_t& value) {
  if (bytes.size() < sizeof(T)) return false;
  T fixed = 0;
  std::memcpy(&fixed, bytes.data(), sizeof(T));
  value = fixed;
  bytes.remove_prefix(sizeof(T));
  return true;
}

}  // namespace

bool TakeVarint(std::string_view& bytes, uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 70 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    if (shift == 63 && byte > 1) return false;  // beyond 64 bits
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool WireReader::Next() {
  if (!ok_ || rest_.empty()) return false;
  ok_ = false;
  uint64_t tag = 0;
  if (!TakeVarint(rest_, tag) || tag >> 3 == 0 || tag >> 3 >= uint64_t{1} << 29) return false;
  field_ = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case 0:
      type_ = WireType::kVarint;
      ok_ = TakeVarint(rest_, number_);
      break;
    case 1:
      type_ = WireType::kFixed64;
      ok_ = TakeFixed<uint64_t>(rest_, number_);
      break;
    case 2: {
      type_ = WireType::kBytes;
      uint64_t length = 0;
      if (!TakeVarint(rest_, length) || length > rest_.size()) return false;
      bytes_ = rest_.substr(0, length);
      rest_.remove_prefix(length);
      ok_ = true;
      break;
    }
    case 5:
      type_ = WireType::kFixed32;
      ok_ = TakeFixed<uint32_t>(rest_, number_);
      break;
    default:
      break;
  }
  return ok_;
}

void AppendVarint(uint64_t value, std::string& message) {
  for (; value >= 0x80; value >>= 7) message.push_back(static_cast<char>((value & 0x7F) | 0x80));
  message.push_back(static_cast<char>(value));
}

void AppendNumberField(uint32_t field, uint64_t value, std::string& message) {
  AppendVarint(uint64_t{field} << 3, message);
  AppendVarint(value, message);
}

void AppendFloatField(uint32_t field, float value, std::string& message) {
  AppendVarint(uint64_t{field} << 3 | 5, message);
  char bytes[sizeof(float)];
  std::memcpy(bytes, &value, sizeof(float));
  message.append(bytes, sizeof(float));
}

void AppendBytesField(uint32_t field, std::string_view bytes, std::string& message) {
  AppendVarint(uint64_t{field} << 3 | 2, message);
  AppendVarint(bytes.size(), message);
  message.append(bytes);
}

}  // namespace thresher
