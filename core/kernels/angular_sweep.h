// All activation patterns of two-sparse neurons, without a list of them.
//
// For columns a < b the pattern of a gate (h_a, h_b) changes only where a sample lies on the
// gate's line, so the samples, sorted by the angle of their own line through the origin, give
// all half-planes: the sums over one half-plane are those over its neighbour, one sample moved.
// The 2n half-planes of a pair cost n steps of five running sums.
#ifndef THRESHER_CORE_KERNELS_ANGULAR_SWEEP_H_
#define THRESHER_CORE_KERNELS_ANGULAR_SWEEP_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"

namespace thresher {

// Orders of the samples by angle for the first pairs of columns, as many as were asked for.
struct AngleOrders {
  int64_t num_pairs = 0;
  // num_pairs x n, in the first where n <= 65536, else in the second.
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
};

// Pairs of num_columns columns, a < b, numbered (0, 1), (0, 2), ..., (1, 2), ...
int64_t NumColumnPairs(int64_t num_columns);
std::array<int32_t, 2> ColumnPair(int64_t pair, int64_t num_columns);
int64_t ColumnPairIndex(int32_t a, int32_t b, int64_t num_columns);

// Keeps the orders of as many pairs as fit into limit_bytes. A sweep is three times as fast
// where it need not sort. Cost: O(n) a pair, by radix sort.
AngleOrders SortByAngle(Engine& engine, const Design& design, int64_t limit_bytes);

// Bytes that SortByAngle keeps, and what a sweep or a sort holds besides for each thread.
int64_t AngleOrderBytes(int64_t num_samples, int64_t num_columns, int64_t limit_bytes);
int64_t AngularSweepBytes(int64_t num_samples, int num_threads);

// A gate on two columns with the weights that fit a target best under it.
struct HalfPlane {
  std::array<int32_t, 2> column = {0, 0};  // a < b
  std::array<double, 2> gate = {0, 0};     // unit vector; open where its product is above 0
  std::array<double, 2> weights = {0, 0};
  double decrease = 0;  // || t ||^2 - || t - D (x_a w_a + x_b w_b) ||^2 for the target t
  // Place among all half-planes: 2 n pair + 2 k + side. Among equal decreases the lowest wins.
  int64_t key = 0;
};

// What the weights under a gate may be.
enum class SweepFit {
  kGated,      // any: least squares on the two gated columns
  kRelu,       // along the gate, w = +-c h: a ReLU neuron
  kReluAdded,  // w = c h, c > 0: a ReLU neuron that adds
  // Along the gate, beside a linear function of the pair: `decrease` is beyond that of the linear
  // function alone, and c the change of slope across the line, the same from either side. What
  // other neurons add is nearly linear on a pair, and hides neurons from the other fits.
  kKink,
  kKinkAdded,  // the same with c > 0
};

// The largest decrease over the half-planes of each pair; of these the `count` largest, best
// first. One a pair: its neighbours are nearly the same column. Half-planes that
// decrease nothing are left out. ReLUs have their lines on samples, the other gates between two.
// Where the stop token fires, an empty list.
// Shapes: target has design.padded_samples() entries.
// Numbers: the target enters in float, sums are in double.
// Cost: n steps a pair, and a sort where the order is not kept; O(count + n) memory a thread.
std::vector<HalfPlane> BestHalfPlanes(Engine& engine, const Design& design,
                                      const AngleOrders& orders, std::span<const double> target,
                                      SweepFit fit, int64_t count);

// The same for one pair; decrease 0 where no half-plane decreases anything.
HalfPlane BestHalfPlaneOfPair(const Design& design, const AngleOrders& orders,
                              std::span<const double> target, SweepFit fit, int64_t pair);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_ANGULAR_SWEEP_H_
