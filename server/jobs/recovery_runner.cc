#include "server/jobs/recovery_runner.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/iteration/early_stopping.h"
#include "core/network/merge.h"
#include "core/recovery/path.h"
#include "core/recovery/report.h"
#include "core/recovery/validated.h"
#include "server/jobs/job_samples.h"
#include "server/store/error_details.h"

namespace thresher::jobs {

using store::DatasetRecord;
using store::InvalidField;
using store::NameField;

namespace {

// The report of a cancelled job looks at no more than this, some 50 ms of work: whoever
// cancelled it waits, and so may the next job.
constexpr int64_t kCancelledReportWork = 2'000'000;  // multiply-adds for each set of samples
constexpr int64_t kCancelledReportSamples = 100;     // at least
constexpr int64_t kCancelledComparedNeurons = 200;   // matching them takes their cube

absl::Status ValidateDataset(const DatasetRecord& dataset) {
  if (absl::Status status = CheckHasTargets(dataset, "dataset"); !status.ok()) {
    return NameField(status, "recovery.");
  }
  if (dataset.constant_targets) {
    return InvalidField("recovery.dataset",
                        absl::StrCat("all targets of datasets/", dataset.id,
                                     " are equal, so there is nothing to recover"));
  }
  return absl::OkStatus();
}

absl::Status ValidateInitialModel(const store::ModelRecord& model, const RecoverySpec& spec,
                                  const DatasetRecord& dataset) {
  const std::string name = absl::StrCat("models/", model.id);
  if (model.network_kind != store::NetworkKind::kRelu) {
    return InvalidField("recovery.initial_model",
                        name + " is a gated network, only a ReLU network can be a start");
  }
  if (spec.options.gate_mode != GateMode::kSequential) {
    return InvalidField("recovery.initial_model",
                        "brings its own gates; choose sequential gates or leave it out");
  }
  if (model.num_inputs != dataset.num_inputs || model.bias != spec.options.bias) {
    return InvalidField(
        "recovery.initial_model",
        absl::StrCat(name, " has ", model.num_inputs, " inputs and ", model.bias ? "a" : "no",
                     " bias, the job has ", dataset.num_inputs, " and ",
                     spec.options.bias ? "a" : "no", " bias"));
  }
  if (model.num_outputs != 1 || model.hidden_widths.size() > 1) {
    return InvalidField(
        "recovery.initial_model",
        absl::StrCat(name, " has ", model.hidden_widths.size(), " hidden layers and ",
                     model.num_outputs, " outputs, a start has one of each"));
  }
  if (model.output_weights) {
    return InvalidField("recovery.initial_model",
                        name +
                            " has output weights of its own, a start has neurons that are added or "
                            "subtracted");
  }
  if (model.linear_term && spec.options.linear_term == LinearTerm::kNone) {
    return InvalidField("recovery.initial_model",
                        name + " has a linear term; set linear_term to keep one");
  }
  const int64_t working = std::max(spec.options.working_nonzeros, spec.options.nonzeros);
  if (model.active_neurons > spec.options.hidden_width || model.nonzeros > working) {
    return InvalidField(
        "recovery.initial_model",
        absl::StrCat(name, " has ", model.active_neurons, " neurons and ", model.nonzeros,
                     " weights, the job allows ", spec.options.hidden_width, " and ", working));
  }
  return absl::OkStatus();
}

absl::StatusOr<SparseNetwork> LoadInitialNetwork(store::Store& store, const RecoverySpec& spec) {
  absl::StatusOr<store::ModelRecord> record = store.models().Get(spec.initial_model_id);
  if (!record.ok()) return record.status();
  absl::StatusOr<std::shared_ptr<const Model>> model = store.models().Load(*record);
  if (!model.ok()) return model.status();
  const auto* network = std::get_if<SparseNetwork>(&(*model)->network);
  if (network == nullptr) {
    return InvalidField("recovery.initial_model", "is no ReLU network");
  }
  const bool subtracts = std::any_of(network->output_signs.begin(), network->output_signs.end(),
                                     [](int8_t sign) { return sign < 0; });
  if (subtracts && !spec.options.choose_output_signs &&
      spec.options.output_signs == OutputSigns::kPositive) {
    return InvalidField("recovery.initial_model",
                        "has neurons that subtract; choose mixed output signs");
  }
  return DropDeadNeurons(*network);
}

std::string GatesWord(const Network& network) {
  const auto* gated = std::get_if<GatedNetwork>(&network);
  if (gated == nullptr) return "sequential";
  return std::holds_alternative<RandomGateSet>(gated->gates) ? "random" : "vectors";
}

// Numbers of the report that the model carries as text.
void AddEvidence(const RecoveryReport& report, std::map<std::string, std::string>& metadata) {
  const auto add = [&metadata](const char* key, const std::optional<double>& value) {
    if (value) metadata.emplace(key, absl::StrCat(*value));
  };
  add("psnr_db", report.training.psnr_db);
  add("accuracy", report.training.accuracy);
  add("r_squared", report.training.r_squared);
  if (report.held_out) {
    add("held_out_relative_residual", report.held_out->relative_residual);
    add("held_out_psnr_db", report.held_out->psnr_db);
    add("held_out_accuracy", report.held_out->accuracy);
    add("held_out_r_squared", report.held_out->r_squared);
  }
  if (report.validation) {
    add("validation_relative_residual", report.validation->relative_residual);
    add("validation_accuracy", report.validation->accuracy);
    metadata.emplace("best_iteration", absl::StrCat(report.best_iteration));
  }
  metadata.emplace("active_neurons", absl::StrCat(report.active_neurons));
  if (report.planted) {
    metadata.emplace("exact", report.planted->exact ? "true" : "false");
    add("support_recall", report.planted->support_recall);
    add("support_precision", report.planted->support_precision);
    add("relative_weight_error", report.planted->relative_weight_error);
  }
  if (!report.evidence) return;
  const RecoveryEvidence& evidence = *report.evidence;
  metadata.emplace("verdict", std::string(VerdictName(evidence.verdict)));
  metadata.emplace("findings", absl::StrJoin(evidence.findings, "\n"));
  add("weakest_kept", evidence.weakest_kept);
  add("strongest_left_out", evidence.strongest_left_out);
  add("smallest_saliency", evidence.smallest_saliency);
  if (evidence.conditioning) {
    add("kappa", evidence.conditioning->kappa());
    add("smallest_eigenvalue", evidence.conditioning->smallest_eigenvalue);
    add("largest_eigenvalue", evidence.conditioning->largest_eigenvalue);
  }
  add("smallest_active_fraction", evidence.smallest_active_fraction);
  add("smallest_pattern_difference", evidence.smallest_pattern_difference);
  metadata.emplace("starts_tried", absl::StrCat(evidence.starts_tried));
  metadata.emplace("starts_agreeing", absl::StrCat(evidence.starts_agreeing));
  metadata.emplace("distinct_samples", absl::StrCat(evidence.distinct_samples));
}

// Multiply-adds of one output.
int64_t EvaluationWork(const Network& network) {
  if (const auto* gated = std::get_if<GatedNetwork>(&network)) {
    return Nonzeros(network) + gated->weights.num_rows() * gated->num_columns();
  }
  return Nonzeros(network) + ActiveNeurons(network) +
         static_cast<int64_t>(std::get<SparseNetwork>(network).linear.size());
}

bool HasParameters(const Network& network) {
  const auto* relu = std::get_if<SparseNetwork>(&network);
  return Nonzeros(network) > 0 ||
         (relu != nullptr && std::any_of(relu->linear.begin(), relu->linear.end(),
                                         [](double entry) { return entry != 0; }));
}

Model MakeModel(Network network, const Samples& samples, const DatasetRecord& dataset,
                const JobRun& run, const RecoveryReport& report, const std::string& version) {
  const auto& spec = std::get<RecoverySpec>(run.job.spec);
  Model model;
  model.metadata = {
      {"job", run.job.id},
      {"dataset", dataset.id},
      {"dataset_sha256", dataset.sha256},
      {"seed", absl::StrCat(report.options_used.seed)},
      {"algorithm", std::string(AlgorithmName(report.options_used.algorithm))},
      {"gates", GatesWord(network)},
      {"loss", std::string(LossName(report.options_used.loss))},
      {"iterations", absl::StrCat(report.iterations)},
      {"termination_reason", std::string(TerminationReasonName(report.termination_reason))},
      {"relative_residual", absl::StrCat(report.training.relative_residual)},
      {"partial", report.partial ? "true" : "false"},
      {"version", version},
  };
  AddSplit(spec.split, model.metadata);
  if (const std::optional<PathOptions>& path = spec.path) {
    model.metadata["path"] =
        absl::StrCat(path->min_nonzeros, " to ", path->max_nonzeros, " weights, by ",
                     std::string(SelectionCriterionName(path->criterion)));
  }
  AddEvidence(report, model.metadata);
  model.network = std::move(network);
  model.scaling = samples.scaling;
  model.class_names = samples.class_names;
  // As those of a pruning: log odds, which 0 divides, where 1/2 divides two classes.
  if (report.options_used.loss == Loss::kLogistic && samples.class_names.size() == 2) {
    model.scaling.target_offset += 0.5;
  }
  return model;
}

}  // namespace

RecoveryRunner::RecoveryRunner(store::Store* store, int threads_per_job,
                               std::string program_version)
    : store_(store),
      threads_per_job_(threads_per_job),
      program_version_(std::move(program_version)) {}

absl::StatusOr<JobCost> RecoveryRunner::Plan(const RecoverySpec& spec) {
  if (spec.dataset_id.empty()) return InvalidField("recovery.dataset", "is required");
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::Status status = ValidateDataset(*dataset);
  if (!status.ok()) return status;
  const absl::StatusOr<SplitPlan> split = PlanSplit(*store_, *dataset, spec.split);
  if (!split.ok()) return NameField(split.status(), "recovery.");
  RecoveryOptions options = spec.options;
  options.num_threads = threads_per_job_;
  if (options.choose_loss && !spec.path && spec.initial_model_id.empty()) {
    options.loss =
        ChooseLoss(options, split->num_training, dataset->num_inputs, dataset->num_outputs,
                   static_cast<int64_t>(dataset->class_names.size()));
  }
  if (spec.path) {
    status = ValidatePath(*spec.path, options, split->num_training, dataset->num_inputs);
    if (!status.ok()) return NameField(status, "recovery.path.");
    status = ValidateOptionsOfPath(options, *spec.path, split->num_training, dataset->num_inputs);
  } else {
    status =
        ValidateOptions(options, split->num_training, dataset->num_inputs, dataset->num_outputs);
  }
  if (!status.ok()) return NameField(status, "recovery.options.");
  if (spec.path && !spec.initial_model_id.empty()) {
    return InvalidField("recovery.initial_model",
                        "a path starts from networks of its own; leave one of the two out");
  }
  if (spec.path && spec.split.validation) {
    return InvalidField("recovery.validation",
                        "a path chooses its budget by samples of its own (criterion held_out); "
                        "leave one of the two out");
  }
  const bool layered =
      dataset->num_outputs > 1 || options.hidden_layers > 1 || options.loss != Loss::kSquared;
  if (spec.path && dataset->num_outputs > 1) {
    return InvalidField(
        "recovery.path",
        absl::StrCat("chooses the budget of networks with one output, datasets/", dataset->id,
                     " has ", dataset->num_outputs, "; give nonzeros instead"));
  }
  if (layered && !spec.initial_model_id.empty()) {
    return InvalidField("recovery.initial_model",
                        "is for one hidden layer, one output and the squared loss; leave it out");
  }
  if (options.algorithm == Algorithm::kSequential && !spec.initial_model_id.empty()) {
    return InvalidField("recovery.initial_model",
                        "algorithm sequential begins every layer anew; leave it out");
  }
  if (!spec.initial_model_id.empty()) {
    absl::StatusOr<store::ModelRecord> model = store_->models().Get(spec.initial_model_id);
    if (!model.ok()) return model.status();
    status = ValidateInitialModel(*model, spec, *dataset);
    if (!status.ok()) return status;
  }
  const RecoveryCost cost =
      spec.path
          ? PredictPathCost(options, *spec.path, split->num_training, dataset->num_inputs)
          : PredictCost(options, split->num_training, dataset->num_inputs, dataset->num_outputs);
  const int64_t choice_bytes = spec.split.validation ? EarlyStoppingBytes(options.nonzeros) : 0;
  return JobCost{.peak_memory_bytes = cost.peak_memory_bytes + split->extra_bytes + choice_bytes,
                 .flops_per_iteration = cost.flops_per_iteration};
}

absl::StatusOr<JobOutcome> RecoveryRunner::Run(const JobRun& run) {
  const auto& spec = std::get<RecoverySpec>(run.job.spec);
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::StatusOr<JobSamples> samples = LoadJobSamples(*store_, *dataset, spec.split);
  if (!samples.ok()) return samples.status();
  auto& [training, held_out, validation] = *samples;

  RecoveryStart start;
  if (!spec.initial_model_id.empty()) {
    absl::StatusOr<SparseNetwork> network = LoadInitialNetwork(*store_, spec);
    if (!network.ok()) return network.status();
    start.network = std::move(*network);
  }
  RecoveryOptions options = spec.options;
  options.num_threads = run.num_threads;
  options.termination.time_limit_seconds = run.time_limit_seconds;
  const RecoveryObserver observer = {.on_iteration = run.on_iteration,
                                     .checkpoint_due = run.checkpoint_due,
                                     .on_checkpoint = run.on_checkpoint};
  JobOutcome outcome;
  RecoveryReport report;
  absl::StatusOr<RecoveryResult> result;
  if (spec.path) {
    absl::StatusOr<PathResult> path =
        RecoverPath(*training, options, *spec.path, observer, run.stop, run.checkpoint);
    if (!path.ok()) return NameField(path.status(), "");
    result = std::move(path->recovery);
    report.path = std::move(path->points);
  } else if (spec.split.validation) {
    absl::StatusOr<ValidatedRecovery> validated =
        RecoverValidated(*training, validation, spec.split.validation->patience, options, start,
                         observer, run.stop, run.checkpoint);
    if (!validated.ok()) return NameField(validated.status(), "");
    result = std::move(validated->recovery);
    report.validation = validated->validation;
    report.best_iteration = validated->best_iteration;
  } else {
    result = Recover(*training, options, start, observer, run.stop, run.checkpoint);
    if (!result.ok()) return NameField(result.status(), "");
  }
  outcome.checkpoint = std::move(result->checkpoint);
  report.termination_reason = result->termination_reason;
  report.iterations = result->iterations;
  report.elapsed_seconds = result->elapsed_seconds;
  report.options_used = result->options_used;
  report.nonzeros = result->nonzeros;
  report.linear_nonzeros = LinearNonzeros(result->network);
  report.active_neurons = result->active_neurons;
  report.partial = result->termination_reason == TerminationReason::kCancelled ||
                   result->termination_reason == TerminationReason::kTimeLimit;
  const bool cancelled = report.termination_reason == TerminationReason::kCancelled;
  // Stopped before the first iterate.
  if (report.partial && !HasParameters(result->network)) {
    if (cancelled) {
      outcome.report = std::move(report);
      return outcome;
    }
    return absl::DeadlineExceededError(
        absl::StrCat("time_limit: ", run.time_limit_seconds,
                     " s passed before there was a first network; allow more time"));
  }
  if (cancelled) {
    const int64_t count =
        std::max(kCancelledReportSamples, kCancelledReportWork / EvaluationWork(result->network));
    training = std::make_shared<const Samples>(Thinned(*training, count));
    held_out = Thinned(held_out, count);
  }

  const Loss loss = report.options_used.loss;
  absl::StatusOr<FitQuality> fit =
      MeasureFitQuality(result->network, *training, loss, run.num_threads);
  if (!fit.ok()) return fit.status();
  report.training = *fit;
  if (held_out.num_samples > 0) {
    absl::StatusOr<FitQuality> held_out_fit =
        MeasureFitQuality(result->network, held_out, loss, run.num_threads);
    if (!held_out_fit.ok()) return held_out_fit.status();
    report.held_out = *held_out_fit;
  }
  absl::StatusOr<std::optional<SparseNetwork>> planted =
      store_->datasets().LoadPlantedNetwork(*dataset);
  if (!planted.ok()) return planted.status();
  if (planted->has_value() && !(cancelled && result->active_neurons > kCancelledComparedNeurons)) {
    const Samples& compared_on = held_out.num_samples > 0 ? held_out : *training;
    absl::StatusOr<std::optional<PlantedComparison>> comparison =
        ComparePlanted(result->network, **planted, compared_on.input_view());
    if (!comparison.ok()) return comparison.status();
    report.planted = *comparison;
  }
  absl::StatusOr<RecoveryEvidence> evidence =
      GatherEvidence(*result, *training, report.training, report.held_out, run.stop);
  if (evidence.ok()) {
    report.evidence = *std::move(evidence);
  } else if (!absl::IsCancelled(evidence.status())) {
    return evidence.status();
  }
  outcome.model =
      MakeModel(std::move(result->network), *training, *dataset, run, report, program_version_);
  outcome.report = std::move(report);
  return outcome;
}

}  // namespace thresher::jobs
