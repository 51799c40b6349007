// Whether another network with as many weights fits the samples as well.
#ifndef THRESHER_CORE_RECOVERY_EXCHANGE_H_
#define THRESHER_CORE_RECOVERY_EXCHANGE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// A network on samples. Row k of `weights`, each with its output sign in it, belongs to gate k
// of `masks`; where the gates are the neurons' own weights `output_signs` holds a sign a row,
// where they are fixed it is empty. With a linear term the last row holds its entries, under a gate
// that is open everywhere and without a sign: they are refitted with the others, but none of them
// is exchanged.
struct GatedFit {
  Engine& engine;
  const Design& design;
  const GateMasks& masks;
  const SparseRows& weights;
  std::span<const int8_t> output_signs;
  std::span<const double> targets;  // padded
  bool linear_term = false;

  int64_t num_neurons() const { return weights.num_rows() - (linear_term ? 1 : 0); }
  int64_t num_weights() const { return weights.row_begin[static_cast<size_t>(num_neurons())]; }
};

// One weight of the support gives way to one at another position, the others change their values:
// the residual stays.
struct Exchange {
  int32_t removed_column = 0;
  int32_t entered_column = 0;
  bool same_neuron = false;
};

// Looks for a column off the support, of a gate of the network, that lies in the span of the
// support's columns, and then for a weight that it can replace without raising the residual
// by more than a thousandth of itself and 3e-6 of the targets' norm. What is returned has been
// tried out; that nothing is returned proves nothing: only single exchanges are tried, of bounded
// number, and none for supports of more than kMaxDenseWeights, dependent columns (`norms`, as
// GatedColumnNorms gives them, must be positive), or beyond 2 * 10^9 candidate entries n m d.
// Source: columns are found by their products with random vectors from which the span has
// been projected out, as residuals of least squares have none with the span.
// Cost: n m d multiply-adds for m neurons, and a normal matrix of the support.
std::optional<Exchange> FindExchange(const GatedFit& fit, const std::vector<double>& norms);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_EXCHANGE_H_
