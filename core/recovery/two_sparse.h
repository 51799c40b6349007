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

// The pattern that every sample is in, one gate.
GateMasks AlwaysOpen(const Design& design);

// target less its least-squares fit by a constant and the columns of the design, by conjugate
// gradients to a relative 1e-6 of the normal residual. Zero behind the last sample.
std::vector<double> AffineResidual(Engine& engine, const Design& design,
                                   std::span<const double> target);

// What a new neuron is measured by.
enum class NeuronMeasure {
  // The decrease of the loss beyond that of the best affine function of all columns. Sums of ReLUs
  // are half linear, and without this the strongest columns are paired with each other.
  kBesideAffine,
  // The decrease of the loss as the network stands.
  kAlone,
};

// Two-sparse ReLU neurons for a network of this residual (f - y, as Linearise gives it): for
// each pair of columns the best one by the measure; of these the best, no two with a common
// column. Beside an affine function a neuron and its mirror image, c (x . h)_+ and
// c (-x . h)_+, are worth the same: the one that lowers the loss more is returned. With
// positive signs neurons that subtract are left out.
// At most `count`; none where the stop token fires. Cost: as BestHalfPlanes; `orders` are those
// of the problem's design, or empty.
SparseNetwork BestTwoSparseNeurons(const ReluProblem& problem, const AngleOrders& orders,
                                   std::span<const double> residual, OutputSigns signs,
                                   int64_t count,
                                   NeuronMeasure measure = NeuronMeasure::kBesideAffine);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_TWO_SPARSE_H_
