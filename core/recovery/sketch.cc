#include "core/recovery/sketch.h"

#include <algorithm>
#include <cmath>

namespace thresher {
namespace {

// A bijection of 64-bit words: Appleby's finaliser of MurmurHash3.
uint64_t Mix(uint64_t word) {
  word ^= word >> 33;
  word *= 0xff51afd7ed558ccdull;
  word ^= word >> 33;
  word *= 0xc4ceb9fe1a85ec53ull;
  word ^= word >> 33;
  return word;
}

}  // namespace

CountSketch::Place CountSketch::PlaceOf(int64_t index, int row) const {
  // Far apart in every row, so that no two rows collide alike.
  constexpr uint64_t kStride = 0x9e3779b97f4a7c15ull;
  const uint64_t key = Mix(seed_ + kStride * (static_cast<uint64_t>(row) + 1));
  const uint64_t hash = Mix(static_cast<uint64_t>(index) ^ key);
  return {row * width_ + static_cast<int64_t>((hash >> 1) % static_cast<uint64_t>(width_)),
          (hash & 1) != 0 ? -1.0 : 1.0};
}

void CountSketch::Add(int64_t index, double value) {
  for (int row = 0; row < kRows; ++row) {
    const Place place = PlaceOf(index, row);
    cells_[place.cell] += place.sign * value;
  }
}

double CountSketch::Estimate(int64_t index) const {
  double values[kRows];
  for (int row = 0; row < kRows; ++row) {
    const Place place = PlaceOf(index, row);
    values[row] = place.sign * cells_[place.cell];
  }
  std::sort(values, values + kRows);
  return (values[1] + values[2]) / 2;
}

int64_t SketchWidth(int64_t nonzeros, int64_t num_candidates) {
  const auto s = static_cast<double>(nonzeros);
  const double logarithm = std::log(static_cast<double>(num_candidates) / s);
  return static_cast<int64_t>(s * std::max(1.0, logarithm));
}

}  // namespace thresher
