// Recovery of networks with several outputs, f_c(x) = sum_j v_cj (x . u_j)_+, under one budget for
// hidden and output weights. Every output by itself is a sum of neurons with mixed signs, which
// winnow finds; neurons that outputs share are then joined, and both layers refined and pruned
// together. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_OUTPUTS_H_
#define THRESHER_CORE_RECOVERY_OUTPUTS_H_

#include <cstdint>
#include <span>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// One network of the given ones, plain and without linear terms, as its outputs: neurons whose
// cosine is at least min_cosine become one hidden unit of length 1, the direction of the first of
// them; their lengths and signs are output weights. Outputs of empty networks have no weights.
// Cost: O(M^2) products of rows for M neurons.
SparseNetwork JoinOutputs(std::span<const SparseNetwork> outputs, double min_cosine);

// As Recover, for Algorithm::kWinnow and several outputs; problem and options are valid and
// resolved. Reports are of the output at work; termination.max_iterations bounds each. Outputs that
// are zero or look like noise (residual_noise.h) have no weights. Cost: that of a recovery an
// output, with the whole budget each.
absl::StatusOr<RecoveryResult> RecoverOutputs(const Samples& samples,
                                              const RecoveryOptions& options,
                                              const RecoveryObserver& observer,
                                              std::stop_token stop, std::string_view checkpoint,
                                              uint64_t fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_OUTPUTS_H_
