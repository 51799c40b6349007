// A linear term whose entries are weights like the neurons', within one budget.
#ifndef THRESHER_CORE_RECOVERY_SPARSE_LINEAR_H_
#define THRESHER_CORE_RECOVERY_SPARSE_LINEAR_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// As Recover, for LinearTerm::kSparse; problem and options are valid and resolved. Winnow finds
// neurons beside a dense linear term; those that do not stand out from the residual go, as a term
// of few entries is judged beside them; then weights and entries go together, a tenth at a time by
// saliency, from two choices of the neurons' sides: the usual one, and that of fewest entries.
absl::StatusOr<RecoveryResult> RecoverSparseLinear(
    const Samples& samples, const RecoveryOptions& options, const RecoveryStart& start,
    const RecoveryObserver& observer, std::stop_token stop, std::string_view checkpoint,
    uint64_t fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SPARSE_LINEAR_H_
