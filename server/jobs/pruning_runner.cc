#include "server/jobs/pruning_runner.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/iteration/early_stopping.h"
#include "core/pruning/prune.h"
#include "core/pruning/validated.h"
#include "server/jobs/job_samples.h"
#include "server/jobs/model_pruning_runner.h"
#include "server/jobs/pruning_report.h"
#include "server/store/error_details.h"

namespace thresher::jobs {

using store::DatasetRecord;
using store::InvalidField;
using store::NameField;

namespace {

Model MakeModel(SparseNetwork network, const Samples& samples, const DatasetRecord& dataset,
                const JobRun& run, const PruningReport& report, const std::string& version) {
  const auto& spec = std::get<PruningSpec>(run.job.spec);
  const PruneOptions& options = report.options_used;
  Model model;
  model.metadata = {
      {"job", run.job.id},
      {"dataset", dataset.id},
      {"dataset_sha256", dataset.sha256},
      {"seed", absl::StrCat(options.seed)},
      {"method", "imp"},
      {"hidden_widths", absl::StrJoin(options.hidden_widths, ",")},
      {"loss", std::string(LossName(options.loss))},
      {"schedule", std::string(PruneScheduleName(options.schedule))},
      {"saliency", std::string(SaliencyName(options.saliency))},
      {"iterations", absl::StrCat(report.iterations)},
      {"rounds", absl::StrCat(report.rounds)},
      {"termination_reason", std::string(TerminationReasonName(report.termination_reason))},
      {"partial", report.partial ? "true" : "false"},
      {"version", version},
  };
  AddSplit(spec.split, model.metadata);
  AddFit("", report.training.fit, model.metadata);
  if (report.held_out) AddFit("held_out_", report.held_out->fit, model.metadata);
  if (report.validation) {
    AddFit("validation_", report.validation->fit, model.metadata);
    model.metadata["best_iteration"] = absl::StrCat(report.best_iteration);
  }
  model.network = std::move(network);
  model.scaling = samples.scaling;
  model.class_names = samples.class_names;
  // Its outputs are log odds, which 0 divides; those of a model of two classes are divided by 1/2.
  if (options.loss == Loss::kLogistic && samples.class_names.size() == 2) {
    model.scaling.target_offset += 0.5;
  }
  return model;
}

}  // namespace

PruningRunner::PruningRunner(store::Store* store, int threads_per_job, std::string program_version)
    : store_(store),
      threads_per_job_(threads_per_job),
      program_version_(std::move(program_version)) {}

absl::StatusOr<JobCost> PruningRunner::Plan(const PruningSpec& spec) {
  if (spec.dataset_id.empty()) return InvalidField("pruning.dataset", "is required");
  if (!spec.model_id.empty()) return PlanModelPruning(*store_, spec, threads_per_job_);
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  if (absl::Status status = CheckHasTargets(*dataset, "dataset"); !status.ok()) {
    return NameField(status, "pruning.");
  }
  const absl::StatusOr<SplitPlan> split = PlanSplit(*store_, *dataset, spec.split);
  if (!split.ok()) return NameField(split.status(), "pruning.");
  PruneOptions options = spec.options;
  options.num_threads = threads_per_job_;
  if (options.choose_loss)
    options.loss = PublishedLoss(static_cast<int64_t>(dataset->class_names.size()));
  const absl::Status status =
      ValidateOptions(options, split->num_training, dataset->num_inputs, dataset->num_outputs);
  if (!status.ok()) return NameField(status, "pruning.options.");
  const PruneCost cost =
      PredictCost(options, split->num_training, dataset->num_inputs, dataset->num_outputs);
  const int64_t choice_bytes = spec.split.validation ? EarlyStoppingBytes(options.nonzeros) : 0;
  return JobCost{.peak_memory_bytes = cost.peak_memory_bytes + split->extra_bytes + choice_bytes,
                 .flops_per_iteration = cost.flops / static_cast<double>(cost.iterations)};
}

absl::StatusOr<JobOutcome> PruningRunner::Run(const JobRun& run) {
  const auto& spec = std::get<PruningSpec>(run.job.spec);
  if (!spec.model_id.empty()) return RunModelPruning(*store_, run, program_version_);
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::StatusOr<JobSamples> samples = LoadJobSamples(*store_, *dataset, spec.split);
  if (!samples.ok()) return samples.status();

  PruneOptions options = spec.options;
  options.num_threads = run.num_threads;
  options.time_limit_seconds = run.time_limit_seconds;
  const PruneObserver observer = {.on_iteration = run.on_iteration,
                                  .checkpoint_due = run.checkpoint_due,
                                  .on_checkpoint = run.on_checkpoint};
  PruningReport report;
  absl::StatusOr<PruneResult> result;
  if (spec.split.validation) {
    absl::StatusOr<ValidatedPruning> validated =
        PruneValidated(*samples->training, samples->validation, spec.split.validation->patience,
                       options, observer, run.stop, run.checkpoint);
    if (!validated.ok()) return NameField(validated.status(), "");
    result = std::move(validated->pruning);
    report.validation =
        PruningFit{.num_samples = samples->validation.num_samples, .fit = validated->validation};
    report.best_iteration = validated->best_iteration;
  } else {
    result = Prune(*samples->training, options, observer, run.stop, run.checkpoint);
    if (!result.ok()) return NameField(result.status(), "");
  }

  JobOutcome outcome;
  outcome.checkpoint = std::move(result->checkpoint);
  const bool cancelled = result->termination_reason == TerminationReason::kCancelled;
  report.termination_reason = result->termination_reason;
  report.iterations = result->iterations;
  report.rounds = result->rounds;
  report.elapsed_seconds = result->elapsed_seconds;
  report.options_used = result->options_used;
  report.training = {.num_samples = samples->training->num_samples, .fit = result->fit};
  report.nonzeros = result->nonzeros;
  report.active_neurons = result->active_neurons;
  report.divergences = result->divergences;
  report.partial = cancelled || result->termination_reason == TerminationReason::kTimeLimit;
  // Stopped within the first epoch.
  if (report.partial && result->iterations == 0) {
    if (!cancelled) {
      return absl::DeadlineExceededError(
          absl::StrCat("time_limit: ", run.time_limit_seconds,
                       " s passed before the first epoch had ended; allow more time"));
    }
    outcome.report = std::move(report);
    return outcome;
  }
  if (samples->held_out.num_samples > 0) {
    Samples& held_out = samples->held_out;
    if (cancelled) held_out = ThinnedForCancelled(held_out, result->nonzeros);
    const absl::StatusOr<Fit> fit =
        MeasureFit(result->network, held_out, report.options_used.loss, run.num_threads);
    if (!fit.ok()) return fit.status();
    report.held_out = PruningFit{.num_samples = held_out.num_samples, .fit = *fit};
  }
  outcome.model = MakeModel(std::move(result->network), *samples->training, *dataset, run, report,
                            program_version_);
  outcome.report = std::move(report);
  return outcome;
}

}  // namespace thresher::jobs
