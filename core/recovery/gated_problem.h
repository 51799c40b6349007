// The linear least-squares problem that gates pose, 1/2 || A w - y ||^2 with A = [D_1 X ...
// D_m X], as the algorithms see it: products on supports and the pass over all candidates.
#ifndef THRESHER_CORE_RECOVERY_GATED_PROBLEM_H_
#define THRESHER_CORE_RECOVERY_GATED_PROBLEM_H_

#include <span>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/gradient_screen.h"
#include "core/recovery/support.h"

namespace thresher {

double SquaredNorm(std::span<const double> values);
double SquaredNorm(const SparseVector& entries);

// A support with the patterns of its neurons: what products need.
struct GatedSupport {
  NeuronRows grouped;
  GateMasks masks;
};

// Views of one batch of samples under given gates.
struct GatedProblem {
  Engine& engine;
  const Design& design;
  std::span<const double> targets;  // design.padded_samples(), 0 behind the last sample
  const GateField& gates;
  // Of these samples and gates, or none: only for gates that stay over many passes.
  GradientScreen* screen = nullptr;

  GatedSupport Gate(const SparseVector& support) const;

  // A_S w for the values of `weights`, which must stand on the keys of `support`.
  std::vector<double> Forward(GatedSupport& support, const SparseVector& weights) const;

  // A_S w - y.
  std::vector<double> Residual(const SparseVector& weights) const;

  // A_S^T residual on the keys of `keys`.
  SparseVector Gradient(GatedSupport& support, const SparseVector& keys,
                        std::span<const double> residual) const;

  // Squared norms of the columns of A_S, in the order of its entries.
  std::vector<double> SquaredColumnNorms(const GatedSupport& support) const;
};

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_GATED_PROBLEM_H_
