// Protocol buffers' wire format, field by field over bytes in memory.
//
// A tree of messages may take twenty times the bytes that describe it (a string of two bytes
// takes 40), so foreign files are walked instead, and whoever walks them bounds what it keeps.
// Source: https://protobuf.dev/programming-guides/encoding.
#ifndef THRESHER_CORE_FORMATS_PROTOBUF_WIRE_H_
#define THRESHER_CORE_FORMATS_PROTOBUF_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace thresher {

enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// One message's fields in the order of the bytes:
//   WireReader reader(message);
//   while (reader.Next()) { if (reader.Is(1, WireType::kBytes)) ... reader.bytes() ... }
//   if (!reader.ok()) ...
class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  // False at the end and where the bytes are damaged (a length beyond the end, a number of more
  // than ten bytes, a group); ok() tells these apart.
  bool Next();
  bool ok() const { return ok_; }

  uint32_t field() const { return field_; }
  WireType type() const { return type_; }
  bool Is(uint32_t field, WireType type) const { return field_ == field && type_ == type; }
  // Of the present field, by its type: a varint or the bits of a fixed number, or the bytes.
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view rest_;
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
  uint64_t number_ = 0;
  std::string_view bytes_;
  bool ok_ = true;
};

// Takes a varint from the front. False, with `bytes` in no particular state, where there is none.
bool TakeVarint(std::string_view& bytes, uint64_t& value);

void AppendVarint(uint64_t value, std::string& message);
void AppendNumberField(uint32_t field, uint64_t value, std::string& message);
void AppendFloatField(uint32_t field, float value, std::string& message);
void AppendBytesField(uint32_t field, std::string_view bytes, std::string& message);

}  // namespace thresher

#endif  // THRESHER_CORE_FORMATS_PROTOBUF_WIRE_H_
