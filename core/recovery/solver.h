// The solve as a whole: state, loop, result. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_SOLVER_H_
#define THRESHER_CORE_RECOVERY_SOLVER_H_

#include "core/recovery/recovery.h"

namespace thresher {

// Whether the algorithm has a fixed step size.
bool TakesStepSize(Algorithm algorithm);

// Defaults filled in: the algorithm, s~, the batch size.
RecoveryOptions ResolveOptions(const RecoveryOptions& options, int64_t num_samples,
                               bool gates_given = false);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SOLVER_H_
