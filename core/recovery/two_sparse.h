// New neurons from the complete enumeration of two-sparse ones.
#ifndef THRESHER_CORE_RECOVERY_TWO_SPARSE_H_
#define THRESHER_CORE_RECOVERY_TWO_SPARSE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/angular_sweep.h"
#include "core/recovery/relu_problem.h"

namespace thresher {

// As BestHalfPlanes, but no two share a column: after the best pair the best of those without its
// columns, and so on. Pairs with a common column often explain the same part of the target.
std::vector<HalfPlane> BestDisjointHalfPlanes(Engine& engine, const Design& design,
                                              const AngleOrders& orders,
                                              std::span<const double> target, SweepFit fit,
                                              int64_t count);

// target less its least-squares fit by a constant and the columns of the design, by conjugate
// gradients to a relative 1e-6 of the normal residual. Zero behind the last sample.
std::vector<double> AffineResidual(Engine& engine, const Design& design,
                                   std::span<const double> target);

// Two-sparse ReLU neurons for a network of this residual (f - y, as Linearise gives it): for
// each pair of columns the largest change of slope in what the best affine function of all columns
// leaves; of these the best, no two with a common column. Sums of ReLUs are half
// linear, and without that the strongest columns are paired with each other. The sign is that
// of the change of slope, and of the two neurons with that change the one that lowers the loss
// more is returned. With positive signs neurons that subtract are left out.
// At most `count`; none where the stop token fires. Cost: as BestHalfPlanes; `orders` are those
// of the problem's design, or empty.
SparseNetwork BestTwoSparseNeurons(const ReluProblem& problem, const AngleOrders& orders,
                                   std::span<const double> residual, OutputSigns signs,
                                   int64_t count);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_TWO_SPARSE_H_
