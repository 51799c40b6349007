// The published algorithm for several outputs, f(x) = sum_j v_j (x . u_j)_+: iterative hard
// thresholding of both layers at once. A gradient step of fixed size, and those weights stay whose
// accumulated updates, as a count sketch remembers them, are largest. Source: Fridovich-Keil and
// Pilanci 2026, as published in code; its slips (blocks taken for empty that have negative weights
// alone, one draw for both layers, values that are no number in results) are not repeated.
// Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_COUNT_SKETCH_H_
#define THRESHER_CORE_RECOVERY_COUNT_SKETCH_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// As published: 0.001 for cross-entropy, else 2 where s < 6 m^0.536, else 0.005.
double CountSketchStepSize(const RecoveryOptions& options);

// As Recover, for Algorithm::kCountSketch and two outputs or more; problem and options are valid
// and resolved. With a bias the constant is an input of the hidden layer; the output layer has
// none.
//
// An iteration is an epoch, a step for each batch. Gates are random in the first epoch and the
// first batch of the second, then the weights'. The result is the iterate of least loss after an
// epoch with the network's own gates, or no weights where that is ten times the loss of predicting
// zero.
//
// An epoch in which the loss is no finite number, or rises beyond ten times that of predicting zero
// (of what the first draws or the change of gates leave, where that is larger), is undone, its
// updates of the sketch too, and repeated at half the step size, which stays: the published step of
// 2 may diverge. After 60 halvings the solve has stagnated. So nothing that is no number reaches a
// result.
//
// Cost of an epoch: n d multiply-adds a live neuron and n k a live neuron, of all m while the gates
// are random. Memory beside the batches: O(n k + s ln(N / s)) for N candidate weights.
absl::StatusOr<RecoveryResult> RecoverCountSketch(const Samples& samples,
                                                  const RecoveryOptions& options,
                                                  const RecoveryObserver& observer,
                                                  std::stop_token stop, std::string_view checkpoint,
                                                  uint64_t fingerprint);

// Bytes beside the samples and their design, an upper bound.
double CountSketchBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                        int64_t num_outputs);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_COUNT_SKETCH_H_
