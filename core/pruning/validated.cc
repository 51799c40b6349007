#include "core/pruning/validated.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/iteration/early_stopping.h"
#include "core/iteration/state_bytes.h"
#include "core/iteration/watched_observer.h"

namespace thresher {

absl::Status InValidation(const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("validation: ", std::string(status.message())));
}

absl::Status ValidateValidation(const Samples& samples, const Samples& validation,
                                int64_t patience) {
  if (patience < 0) {
    return absl::InvalidArgumentError(absl::StrCat("patience: must be at least 0, is ", patience));
  }
  if (absl::Status status = ValidateSamples(validation); !status.ok()) return InValidation(status);
  if (validation.num_inputs != samples.num_inputs ||
      validation.num_outputs != samples.num_outputs ||
      validation.class_names != samples.class_names) {
    return absl::InvalidArgumentError(
        absl::StrCat("validation: must have the inputs, outputs and classes of the samples learned "
                     "from: ",
                     samples.num_inputs, " inputs, ", samples.num_outputs, " outputs and ",
                     samples.class_names.size(), " classes"));
  }
  return absl::OkStatus();
}

uint64_t ValidationFingerprint(const Samples& validation, int64_t patience) {
  Fingerprint fingerprint;
  fingerprint.Add(validation.num_samples);
  fingerprint.AddVector(validation.inputs);
  fingerprint.AddVector(validation.targets);
  fingerprint.Add(static_cast<uint64_t>(patience));
  return fingerprint.value();
}

absl::StatusOr<ValidatedPruning> PruneValidated(const Samples& samples, const Samples& validation,
                                                int64_t patience, const PruneOptions& given,
                                                const PruneObserver& observer,
                                                const std::stop_token& stop,
                                                std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateValidation(samples, validation, patience); !status.ok()) {
    return status;
  }
  PruneOptions options = given;
  options.choose_loss = false;
  if (given.choose_loss) {
    options.loss = PublishedLoss(static_cast<int64_t>(samples.class_names.size()));
  }
  if (absl::Status status = ValidateTargets(options.loss, validation); !status.ok()) {
    return InValidation(status);
  }
  const uint64_t fingerprint = ValidationFingerprint(validation, patience);
  EarlyStopping early(patience, stop);
  std::string nested;
  if (!checkpoint.empty()) {
    absl::StatusOr<std::string> restored = early.Restore(checkpoint, fingerprint);
    if (!restored.ok()) return restored.status();
    nested = *std::move(restored);
  }

  const auto measure = [&](const SparseNetwork& network) {
    return MeasureFit(network, validation, options.loss, options.num_threads);
  };
  std::optional<Fit> best_fit;
  if (early.has_best()) {
    const absl::StatusOr<Fit> fit = measure(std::get<SparseNetwork>(early.best()));
    if (!fit.ok()) return fit.status();
    best_fit = *fit;
  }
  const PruneObserver watched = WatchedObserver<SparseNetwork>(
      observer, fingerprint, measure, [](const Fit& fit) { return fit.loss; }, early, best_fit);
  absl::StatusOr<PruneResult> found = Prune(samples, options, watched, early.token(), nested);
  if (!found.ok()) return found.status();
  if (!early.failure().ok()) return early.failure();

  ValidatedPruning result = {.pruning = *std::move(found)};
  PruneResult& pruning = result.pruning;
  pruning.checkpoint = early.Serialize(fingerprint, pruning.checkpoint);
  const bool stopped = stop.stop_requested();
  if (pruning.termination_reason == TerminationReason::kCancelled && early.patience_is_over() &&
      !stopped) {
    pruning.termination_reason = TerminationReason::kEarlyStopped;
  }
  const bool is_best = early.has_best() && early.best() == Network(pruning.network);
  if (!is_best && !(stopped && early.has_best())) {  // somebody waits
    const absl::StatusOr<Fit> last_fit = measure(pruning.network);
    if (!last_fit.ok()) return last_fit.status();
    if (!early.has_best() || !(last_fit->loss > early.best_loss())) {
      result.validation = *last_fit;
      result.best_iteration = pruning.iterations;
      return result;
    }
  }
  result.validation = *best_fit;
  result.best_iteration = early.best_iteration();
  if (is_best) return result;
  pruning.network = std::get<SparseNetwork>(early.best());
  const absl::StatusOr<Fit> training =
      MeasureFit(pruning.network, samples, options.loss, options.num_threads);
  if (!training.ok()) return training.status();
  pruning.fit = *training;
  pruning.nonzeros = Nonzeros(pruning.network);
  pruning.active_neurons = ActiveNeurons(pruning.network);
  return result;
}

}  // namespace thresher
