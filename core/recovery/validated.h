// Recovery watched by samples that it does not learn from: the network that is best for them is
// kept, and the solve ends when none better comes (early stopping).
#ifndef THRESHER_CORE_RECOVERY_VALIDATED_H_
#define THRESHER_CORE_RECOVERY_VALIDATED_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/fit_quality.h"
#include "core/recovery/recovery.h"
#include "core/samples/samples.h"

namespace thresher {

struct ValidatedRecovery {
  // The numbers about the network are of the one that is best; relative_residual and psnr_db are
  // on the samples learned from, as ever. Of Recover's own termination reasons, and kEarlyStopped.
  RecoveryResult recovery;
  FitQuality validation;       // of that network
  int64_t best_iteration = 0;  // after which it was there
};

// As Recover. Every network within the budget that the solve passes through (see
// RecoveryObserver::on_network) and the one it ends with is measured on `validation`: by the mean
// loss for classes, else by the residual. The least wins, of equals the one that the solve ends
// with, else the first. With patience > 0 the solve ends after so many networks in a row that were
// no better. Reports carry the fit where the iteration had such a network. Errors: as Recover;
// INVALID_ARGUMENT `validation` for samples that are none, or of other inputs, outputs or classes,
// and `patience` below 0. Cost: as Recover, and an evaluation on `validation` of every such
// network.
absl::StatusOr<ValidatedRecovery> RecoverValidated(const Samples& samples,
                                                   const Samples& validation, int64_t patience,
                                                   const RecoveryOptions& options,
                                                   const RecoveryStart& start = {},
                                                   const RecoveryObserver& observer = {},
                                                   const std::stop_token& stop = {},
                                                   std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_VALIDATED_H_
