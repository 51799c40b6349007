#include "core/recovery/validated.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "core/iteration/early_stopping.h"
#include "core/iteration/watched_observer.h"
#include "core/pruning/validated.h"
#include "core/recovery/solver.h"

namespace thresher {
namespace {

double LossOf(const FitQuality& fit) { return fit.loss.value_or(fit.mean_squared_error); }

}  // namespace

absl::StatusOr<ValidatedRecovery> RecoverValidated(
    const Samples& samples, const Samples& validation, int64_t patience,
    const RecoveryOptions& given, const RecoveryStart& start, const RecoveryObserver& observer,
    const std::stop_token& stop, std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateValidation(samples, validation, patience); !status.ok()) {
    return status;
  }
  const RecoveryOptions options = WithChoices(samples, given, start);
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

  const auto measure = [&](const Network& network) {
    return MeasureFitQuality(network, validation, options.loss, options.num_threads);
  };
  std::optional<FitQuality> best_fit;
  if (early.has_best()) {
    const absl::StatusOr<FitQuality> fit = measure(early.best());
    if (!fit.ok()) return fit.status();
    best_fit = *fit;
  }
  const RecoveryObserver watched =
      WatchedObserver<Network>(observer, fingerprint, measure, LossOf, early, best_fit);
  absl::StatusOr<RecoveryResult> found =
      Recover(samples, options, start, watched, early.token(), nested);
  if (!found.ok()) return found.status();
  if (!early.failure().ok()) return early.failure();

  ValidatedRecovery result = {.recovery = *std::move(found)};
  RecoveryResult& recovery = result.recovery;
  recovery.checkpoint = early.Serialize(fingerprint, recovery.checkpoint);
  const bool stopped = stop.stop_requested();
  if (recovery.termination_reason == TerminationReason::kCancelled && early.patience_is_over() &&
      !stopped) {
    recovery.termination_reason = TerminationReason::kEarlyStopped;
  }
  const auto* sparse = std::get_if<SparseNetwork>(&recovery.network);
  // A solve that was stopped before its first network may end without outputs.
  const bool has_outputs = sparse == nullptr || NumOutputs(*sparse) == validation.num_outputs;
  const bool is_best = early.has_best() && early.best() == recovery.network;
  std::optional<FitQuality> last_fit;
  if (has_outputs && !is_best && !(stopped && early.has_best())) {  // somebody waits
    const absl::StatusOr<FitQuality> fit = measure(recovery.network);
    if (!fit.ok()) return fit.status();
    last_fit = *fit;
  }
  if (last_fit && !(early.has_best() && LossOf(*last_fit) > early.best_loss())) {
    result.validation = *last_fit;
    result.best_iteration = recovery.iterations;
    return result;
  }
  if (!early.has_best()) return result;
  result.validation = *best_fit;
  result.best_iteration = early.best_iteration();
  if (is_best) return result;
  recovery.network = early.best();
  const absl::StatusOr<FitQuality> training =
      MeasureFitQuality(recovery.network, samples, options.loss, options.num_threads);
  if (!training.ok()) return training.status();
  recovery.relative_residual = training->relative_residual;
  recovery.psnr_db = training->psnr_db;
  recovery.nonzeros = Nonzeros(recovery.network);
  recovery.active_neurons = ActiveNeurons(recovery.network);
  recovery.starts_agreeing = 1;
  return result;
}

}  // namespace thresher
