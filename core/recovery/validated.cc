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

double LossOf(const FitQuality& fit) { return fit.loss.value_or(fit.relative_residual); }

}  // namespace

absl::StatusOr<ValidatedRecovery> RecoverValidated(
    const Samples& samples, const Samples& validation, int64_t patience,
    const RecoveryOptions& given, const RecoveryStart& start, const RecoveryObserver& observer,
    const std::stop_token& stop, std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateValidation(samples, validation, patience); !status.ok()) {
    return status;
  }
  const RecoveryOptions options = WithLossChosen(samples, given, start);
  const uint64_t fingerprint = ValidationFingerprint(validation, patience);
  EarlyStopping early(patience, stop);
  std::string nested;
  if (!checkpoint.empty()) {
    absl::StatusOr<std::string> restored = early.Restore(checkpoint, fingerprint);
    if (!restored.ok()) return restored.status();
    nested = *std::move(restored);
  }

  const auto measure = [&](const Network& network) {
    return MeasureFit(network, validation, options.loss);
  };
  absl::Status failed;
  const RecoveryObserver watched =
      WatchedObserver<Network>(observer, fingerprint, measure, LossOf, early, failed);
  absl::StatusOr<RecoveryResult> found =
      Recover(samples, options, start, watched, early.token(), nested);
  if (!found.ok()) return found.status();
  if (!failed.ok()) return failed;

  ValidatedRecovery result = {.recovery = *std::move(found)};
  RecoveryResult& recovery = result.recovery;
  recovery.checkpoint = early.Serialize(fingerprint, recovery.checkpoint);
  if (recovery.termination_reason == TerminationReason::kCancelled && early.patience_is_over() &&
      !stop.stop_requested()) {
    recovery.termination_reason = TerminationReason::kEarlyStopped;
  }
  const auto* sparse = std::get_if<SparseNetwork>(&recovery.network);
  // A solve that was stopped before its first network may end without outputs.
  const bool has_outputs = sparse == nullptr || NumOutputs(*sparse) == validation.num_outputs;
  std::optional<FitQuality> fit;
  if (has_outputs) {
    absl::StatusOr<FitQuality> measured = measure(recovery.network);
    if (!measured.ok()) return measured.status();
    fit = *measured;
    result.best_iteration = recovery.iterations;
  }
  if (early.has_best() && early.best() == recovery.network) {
    result.best_iteration = early.best_iteration();
  } else if (early.has_best() && !(fit && LossOf(*fit) <= early.best_loss())) {
    recovery.network = early.best();
    absl::StatusOr<FitQuality> best = measure(recovery.network);
    const absl::StatusOr<FitQuality> training = MeasureFit(recovery.network, samples, options.loss);
    if (!best.ok()) return best.status();
    if (!training.ok()) return training.status();
    fit = *best;
    result.best_iteration = early.best_iteration();
    recovery.relative_residual = training->relative_residual;
    recovery.psnr_db = training->psnr_db;
    recovery.nonzeros = Nonzeros(recovery.network);
    recovery.active_neurons = ActiveNeurons(recovery.network);
    recovery.starts_agreeing = 1;
  }
  if (fit) result.validation = *fit;
  return result;
}

}  // namespace thresher
