// Recovery over all gates of one- and two-sparse neurons, GateMode::kEnumerated: the setting of
// the theorem, with the O(d^2 n) gates searched by angular sweeps and never listed.
//
//   expand  a sweep of the residual gives the gates whose change of slope explains most of it, no
//           two on one input; they join, all weights are fitted by least squares together with a
//           dense linear term (sums of ReLUs are half linear: without it the strongest inputs are
//           paired with each other), and each gate is searched again within its pair, as if
//           it alone were missing
//   prune   the linear term is given back to the neurons, which decides on which side of its line
//           each is open; gates := weights; Levenberg-Marquardt; neurons and weights of least
//           saliency go until the budget is met
//   swap    q neurons of another sweep come in, refine, prune back; kept where the loss falls,
//           else q is halved
//   iterate where no ReLU network explains the targets: the same pursuit once more with gates that
//           stay apart from the weights, which need not lie along them
//
// A one-sparse neuron is a two-sparse one with a weight of zero, which pruning finds.
#ifndef THRESHER_CORE_RECOVERY_ENUMERATED_H_
#define THRESHER_CORE_RECOVERY_ENUMERATED_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// Weights of the gates in use while expanding, two a gate, where working_nonzeros leaves it open.
int64_t DefaultEnumeratedSupport(int64_t nonzeros);

// What RecoverEnumerated holds besides the samples, an upper estimate; options are resolved.
double EnumeratedBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_columns);
// Multiply-adds, counted as two, of one sweep.
double SweepFlops(int64_t num_samples, int64_t num_columns);

// As Recover, for GateMode::kEnumerated; problem and options are valid and resolved. The result is
// a ReLU network, or, where that halves the residual, a gated one of at most hidden_width gates.
absl::StatusOr<RecoveryResult> RecoverEnumerated(const Samples& samples,
                                                 const RecoveryOptions& options,
                                                 const RecoveryObserver& observer,
                                                 std::stop_token stop, std::string_view checkpoint,
                                                 uint64_t fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_ENUMERATED_H_
