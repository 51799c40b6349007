// Training and pruning watched by samples that it does not learn from: the network that is best for
// them is kept, and the training ends when none better comes (early stopping).
#ifndef THRESHER_CORE_PRUNING_VALIDATED_H_
#define THRESHER_CORE_PRUNING_VALIDATED_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/pruning/prune.h"
#include "core/samples/samples.h"

namespace thresher {

// A fault of the validation samples: `validation` before its field.
absl::Status InValidation(const absl::Status& status);

// Errors: INVALID_ARGUMENT `validation` for samples that are none, or of other inputs, outputs or
// classes than those learned from; `patience` below 0.
absl::Status ValidateValidation(const Samples& samples, const Samples& validation,
                                int64_t patience);

// Of what the choice of the best network depends on besides the solve.
uint64_t ValidationFingerprint(const Samples& validation, int64_t patience);

struct ValidatedPruning {
  // The numbers about the network are of the one that is best; `fit` is on the samples learned
  // from. Of Prune's own termination reasons, and kEarlyStopped.
  PruneResult pruning;
  Fit validation;              // of that network
  int64_t best_iteration = 0;  // epochs after which it was there
};

// As Prune. Every network within the budget after an epoch and the one at the end is measured on
// `validation`. The least loss wins, of equals the one that the solve ends with, else the first.
// With patience > 0 the training ends after so many epochs in a row within the budget that were no
// better. Reports carry the fit. Errors: as Prune and ValidateValidation. Cost: as Prune, and an
// evaluation on `validation` of every such network.
absl::StatusOr<ValidatedPruning> PruneValidated(const Samples& samples, const Samples& validation,
                                                int64_t patience, const PruneOptions& options,
                                                const PruneObserver& observer = {},
                                                const std::stop_token& stop = {},
                                                std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_VALIDATED_H_
