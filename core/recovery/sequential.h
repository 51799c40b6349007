// The published training of networks with several hidden layers, one layer after another: layer l
// is the hidden layer of a network with one, fitted to the targets from the values Z_(l-1) of the
// layers before; its output layer is thrown away, and Z_l = (Z_(l-1) U_l^T)_+. Source:
// Fridovich-Keil and Pilanci 2026, as published in code. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_SEQUENTIAL_H_
#define THRESHER_CORE_RECOVERY_SEQUENTIAL_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// The options of a stage on num_inputs inputs: one hidden layer, `aiht` for one output and
// `count_sketch` for several, floor(s / L) weights. What a stage's output layer used of them is
// lost, except the last one's.
RecoveryOptions StageOptions(const RecoveryOptions& options, int64_t num_inputs,
                             int64_t num_outputs);

// As Recover, for Algorithm::kSequential; problem and options are valid and resolved. Every stage
// starts from the same seed. termination.max_iterations bounds each stage, whose reports are
// counted on. Where a stage finds nothing, or a stop ends it, the network has fewer layers. The
// result is fused for one output (FuseOutput), otherwise the last stage gives the output layer.
// Cost: that of the stages; memory: n m values of the layer before.
absl::StatusOr<RecoveryResult> RecoverSequential(const Samples& samples,
                                                 const RecoveryOptions& options,
                                                 const RecoveryObserver& observer,
                                                 const std::stop_token& stop,
                                                 std::string_view checkpoint, uint64_t fingerprint);

// Bytes beside the samples and their design, an upper bound; of count_sketch alone too.
double SequentialBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                       int64_t num_outputs);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SEQUENTIAL_H_
