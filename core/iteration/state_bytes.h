// Solver states as bytes: a magic number, the problem's fingerprint, plain little-endian
// values, a checksum.
#ifndef THRESHER_CORE_ITERATION_STATE_BYTES_H_
#define THRESHER_CORE_ITERATION_STATE_BYTES_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"

namespace thresher {

// FNV-1a over 64-bit words (Fowler, Noll and Vo) with a mix; not cryptographic.
class Fingerprint {
 public:
  void Add(uint64_t word) {
    hash_ = (hash_ ^ word) * 0x100000001b3;
    hash_ ^= hash_ >> 29;
  }
  void AddBytes(const void* data, size_t size);
  // Of a vector, or what is read like one.
  template <typename Vector>
  void AddVector(const Vector& values) {
    AddBytes(values.data(), values.size() * sizeof(*values.data()));
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

class StateWriter {
 public:
  // magic names the kind of state and its version.
  StateWriter(std::string_view magic, uint64_t fingerprint);

  template <typename T>
  void Add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  template <typename T>
  void AddVector(const std::vector<T>& values) {
    Add(static_cast<int64_t>(values.size()));
    for (const T& value : values) Add(value);
  }
  // Any bytes, such as the checkpoint of a solve within.
  void AddText(std::string_view text) {
    Add(static_cast<int64_t>(text.size()));
    bytes_.append(text);
  }
  std::string Finish() &&;

 private:
  std::string bytes_;
};

class StateReader {
 public:
  // Errors: INVALID_ARGUMENT `checkpoint` for another magic, damage, or another problem.
  static absl::StatusOr<StateReader> Open(std::string_view bytes, std::string_view magic,
                                          uint64_t fingerprint);

  // False when the bytes are used up; then and ever after.
  template <typename T>
  bool Take(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (rest_.size() < sizeof(T)) {
      rest_ = {};
      return false;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  template <typename T>
  bool TakeVector(std::vector<T>& values) {
    int64_t count = 0;
    if (!Take(count) || count < 0 || count > static_cast<int64_t>(rest_.size() / sizeof(T))) {
      return false;
    }
    values.resize(count);
    for (T& value : values) {
      if (!Take(value)) return false;
    }
    return true;
  }
  bool TakeText(std::string& text) {
    int64_t size = 0;
    if (!Take(size) || size < 0 || size > static_cast<int64_t>(rest_.size())) return false;
    text.assign(rest_.substr(0, static_cast<size_t>(size)));
    rest_.remove_prefix(static_cast<size_t>(size));
    return true;
  }
  bool AtEnd() const { return rest_.empty(); }

  // What a state that does not parse is reported as.
  static absl::Status Damaged();

 private:
  explicit StateReader(std::string_view rest) : rest_(rest) {}
  std::string_view rest_;
};

}  // namespace thresher

#endif  // THRESHER_CORE_ITERATION_STATE_BYTES_H_
