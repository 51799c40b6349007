// Random inputs, gates and supports for the kernels' tests, and the plain double loops that
// the kernels must agree with.
#ifndef THRESHER_TESTS_CORE_KERNELS_RANDOM_PROBLEM_H_
#define THRESHER_TESTS_CORE_KERNELS_RANDOM_PROBLEM_H_

#include <cstdint>
#include <vector>

#include "core/gates/gate_masks.h"
#include "core/gates/random_gates.h"
#include "core/kernels/design.h"
#include "core/network/network.h"

namespace thresher {

inline std::vector<float> RandomFloats(int64_t count, uint64_t seed) {
  CounterRandom random(seed, 1);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.NextNormal());
  return values;
}

inline Design RandomDesign(int64_t num_samples, int64_t num_inputs, uint64_t seed) {
  const std::vector<float> inputs = RandomFloats(num_samples * num_inputs, seed);
  return MakeDesign({inputs.data(), num_samples, num_inputs}, /*bias=*/false);
}

inline float InputOf(const Design& design, int64_t i, int64_t q) {
  return design.rows[i * design.row_stride + q];
}

// Masks that are open with the given probability, closed behind the last sample.
inline GateMasks RandomMasks(const Design& design, int64_t num_gates, double density,
                             uint64_t seed) {
  CounterRandom random(seed, 2);
  GateMasks masks{design.num_words, num_gates, {}};
  masks.words.resize(design.num_words * num_gates);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    for (int64_t j = 0; j < num_gates; ++j) {
      if (random.NextUniform() < density) masks.row(i / 64)[j] |= uint64_t{1} << (i % 64);
    }
  }
  return masks;
}

inline bool IsOpen(const GateMasks& masks, int64_t i, int64_t gate) {
  return (masks.word(i / 64, gate) >> (i % 64) & 1) != 0;
}

inline SparseRows RandomRows(int64_t num_rows, int64_t num_columns, double density, uint64_t seed) {
  CounterRandom random(seed, 3);
  SparseRows rows;
  for (int64_t k = 0; k < num_rows; ++k) {
    for (int64_t q = 0; q < num_columns; ++q) {
      if (random.NextUniform() >= density) continue;
      rows.column.push_back(static_cast<int32_t>(q));
      rows.value.push_back(random.NextNormal());
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  return rows;
}

inline std::vector<double> RandomResidual(const Design& design, uint64_t seed) {
  CounterRandom random(seed, 4);
  std::vector<double> residual(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < design.num_samples; ++i) residual[i] = random.NextNormal();
  return residual;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_KERNELS_RANDOM_PROBLEM_H_
