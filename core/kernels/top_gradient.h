// The pass over all candidate weights: which entries of the gradient A^T r are largest.
#ifndef THRESHER_CORE_KERNELS_TOP_GRADIENT_H_
#define THRESHER_CORE_KERNELS_TOP_GRADIENT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/gradient_screen.h"

namespace thresher {

// One entry of a vector over all candidate weights, addressed by
// key = gate * num_columns + column.
struct KeyedValue {
  int64_t key = 0;
  double value = 0;
};

// Which of two entries of equal magnitude hard thresholding keeps. Exact ties are common:
// neurons with one weight on the same input and of the same sign have the same gate.
enum class TieRule { kLowerKey, kHigherKey };

// Keeps the `count` entries of largest magnitude, unsorted.
void KeepLargest(int64_t count, std::vector<KeyedValue>& entries,
                 TieRule ties = TieRule::kLowerKey);

// The `count` largest |(A^T residual)_key| over all live gates and columns, leaving out the
// keys in `excluded` (ascending). Ordered by key. Values are single precision sums, relative
// error about 1e-6 of the column's norm; recompute in double what is kept. Where column_scales
// (one a column, at least 0) are given, entries are multiplied by their column's before they
// are compared.
// A screen, where given, saves work and changes no bit; it takes no column_scales.
// Shapes: residual as in SupportAdjoint.
// Cost: n d m / 4 additions by table lookup; no vector of length d m exists, the memory is
// O(count) and a fixed number of tiles.
std::vector<KeyedValue> TopGradient(Engine& engine, const Design& design, const GateField& gates,
                                    std::span<const double> residual, int64_t count,
                                    std::span<const int64_t> excluded,
                                    std::span<const double> column_scales = {},
                                    GradientScreen* screen = nullptr);

// Bytes of the tiles that TopGradient holds.
int64_t TopGradientBytes(int64_t num_samples, int64_t num_columns, int64_t num_gates,
                         int num_threads, bool masks_kept);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_TOP_GRADIENT_H_
