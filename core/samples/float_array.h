// The numbers of samples.
#ifndef THRESHER_CORE_SAMPLES_FLOAT_ARRAY_H_
#define THRESHER_CORE_SAMPLES_FLOAT_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace thresher {

// A std::vector<float> as far as its members go. The numbers may also be somebody else's, such as a
// mapped file's: then copies share them, and the first change to one of them, or a look through a
// reference that is not const, copies the numbers. Threads may read one array at a time as they may
// a vector.
class FloatArray {
 public:
  using value_type = float;
  using const_iterator = const float*;
  using iterator = float*;

  FloatArray() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): stands where a vector stood.
  FloatArray(std::vector<float> values) : own_(std::move(values)) {}
  FloatArray(std::initializer_list<float> values) : own_(values) {}
  // Of numbers that stay where and as they are as long as `owner` lives.
  FloatArray(std::span<const float> values, std::shared_ptr<const void> owner)
      : shared_(values), owner_(std::move(owner)) {}

  size_t size() const { return is_shared() ? shared_.size() : own_.size(); }
  bool empty() const { return size() == 0; }
  const float* data() const { return is_shared() ? shared_.data() : own_.data(); }
  const float* begin() const { return data(); }
  const float* end() const { return data() + size(); }
  float operator[](size_t index) const { return data()[index]; }
  float front() const { return data()[0]; }
  float back() const { return data()[size() - 1]; }

  float* data() { return own().data(); }
  float* begin() { return data(); }
  float* end() { return data() + size(); }
  float& operator[](size_t index) { return own()[index]; }
  void push_back(float value) { own().push_back(value); }
  void resize(size_t size) { own().resize(size); }
  void reserve(size_t size) { own().reserve(size); }
  void shrink_to_fit() { own().shrink_to_fit(); }
  void clear() { *this = FloatArray(); }
  void assign(size_t size, float value) { *this = std::vector<float>(size, value); }
  template <typename Iterator>
  void assign(Iterator first, Iterator last) {
    *this = std::vector<float>(first, last);
  }
  // At the end.
  template <typename Iterator>
  void append(Iterator first, Iterator last) {
    own().insert(own().end(), first, last);
  }

  // Whether the numbers are somebody else's.
  bool is_shared() const { return owner_ != nullptr; }

 private:
  std::vector<float>& own() {
    if (is_shared()) *this = std::vector<float>(shared_.begin(), shared_.end());
    return own_;
  }

  std::vector<float> own_;
  std::span<const float> shared_;
  std::shared_ptr<const void> owner_;
};

inline bool operator==(const FloatArray& a, const FloatArray& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_FLOAT_ARRAY_H_
