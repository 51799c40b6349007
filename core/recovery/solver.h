// The solve as a whole: state, loop, result. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_SOLVER_H_
#define THRESHER_CORE_RECOVERY_SOLVER_H_

#include "absl/status/status.h"
#include "core/recovery/recovery.h"
#include "core/samples/samples.h"

namespace thresher {

// Whether the algorithm has a fixed step size.
bool TakesStepSize(Algorithm algorithm);

// Defaults filled in: the algorithm, s~, the batch size.
RecoveryOptions ResolveOptions(const RecoveryOptions& options, int64_t num_samples,
                               bool gates_given = false);

// Errors: INVALID_ARGUMENT naming the field, as Recover says.
absl::Status ValidateProblem(const Samples& samples, const RecoveryOptions& options,
                             const RecoveryStart& start);

// The options with choose_loss and choose_output_signs replaced by what they choose.
RecoveryOptions WithChoices(const Samples& samples, const RecoveryOptions& options,
                            const RecoveryStart& start);

// The observer, told r_squared of every iteration too where the loss is squared, there are no
// classes, and a stage of the solve has not said it of its own samples. Valid as long as
// `observer`.
RecoveryObserver WithRSquared(const RecoveryObserver& observer, const Samples& samples, Loss loss);

// Sets relative_residual and psnr_db: the network as users will evaluate it.
absl::Status MeasureOnSamples(const Samples& samples, RecoveryResult& result);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SOLVER_H_
