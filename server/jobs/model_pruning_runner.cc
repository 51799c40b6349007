#include "server/jobs/model_pruning_runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/model_files/model_file.h"
#include "core/pruning/prune_path.h"
#include "core/samples/scaling.h"
#include "server/jobs/job_samples.h"
#include "server/jobs/pruning_report.h"
#include "server/store/error_details.h"
#include "server/store/mutex.h"

namespace thresher::jobs {

using store::DatasetRecord;
using store::InvalidField;
using store::ModelPruningOptions;
using store::ModelPruningReport;
using store::ModelRecord;
using store::NameField;

namespace {

using Clock = std::chrono::steady_clock;

// Metadata of a pruned model that takes its inputs as a data set has scaled them.
constexpr char kInputsKey[] = "inputs";

// ----- What is asked for. -----

absl::Status CheckModel(const ModelRecord& model) {
  const std::string name = absl::StrCat("models/", model.id);
  if (model.network_kind != store::NetworkKind::kRelu) {
    return InvalidField("pruning.model",
                        name +
                            " is a gated network, whose gates are no weights to prune; recover "
                            "with sequential gates, which gives a ReLU network");
  }
  if (model.linear_term) {
    return InvalidField("pruning.model",
                        name +
                            " has a linear term; download it as onnx, which makes neurons of the "
                            "term, and upload that");
  }
  return absl::OkStatus();
}

// Whether the data set's two classes are to be two outputs.
bool HasTwoClasses(const DatasetRecord& dataset, const ModelRecord& model) {
  return model.num_outputs == 2 && dataset.num_outputs == 1 && dataset.class_names.size() == 2;
}

// Without targets the given network's own outputs stand for them.
bool IsUnlabelled(const DatasetRecord& dataset) { return dataset.num_outputs == 0; }

absl::Status CheckDataset(const DatasetRecord& dataset, const ModelRecord& model) {
  const std::string name = absl::StrCat("datasets/", dataset.id);
  if (dataset.num_inputs != model.num_inputs ||
      (!IsUnlabelled(dataset) && dataset.num_outputs != model.num_outputs &&
       !HasTwoClasses(dataset, model))) {
    return InvalidField(
        "pruning.dataset",
        absl::StrCat(name, " has ", dataset.num_inputs, " inputs and ", dataset.num_outputs,
                     " outputs, models/", model.id, " has ", model.num_inputs, " and ",
                     model.num_outputs, "; give samples of its inputs and outputs"));
  }
  if (!model.class_names.empty() && !dataset.class_names.empty() &&
      model.class_names != dataset.class_names) {
    return InvalidField(
        "pruning.dataset",
        absl::StrCat(name, " has the classes ", absl::StrJoin(dataset.class_names, ", "),
                     ", models/", model.id, " ", absl::StrJoin(model.class_names, ", "),
                     "; upload the samples with `classes` in the model's order"));
  }
  return absl::OkStatus();
}

// By which the model was found; none of one whose file does not say so.
std::optional<Loss> LossOf(const ModelRecord& model) {
  if (model.report) {
    if (const auto* pruning = std::get_if<PruningReport>(&*model.report)) {
      return pruning->model ? pruning->model->options_used.loss : pruning->options_used.loss;
    }
    if (const auto* recovery = std::get_if<RecoveryReport>(&*model.report)) {
      return recovery->options_used.loss;
    }
  }
  return model.loss;
}

NetworkSizes SizesOf(const ModelRecord& model) {
  NetworkSizes sizes = {.num_inputs = model.num_inputs,
                        .hidden_widths = model.hidden_widths,
                        .num_outputs = model.num_outputs,
                        .bias = model.bias,
                        .nonzeros = model.nonzeros};
  // Records of before there were several layers.
  if (sizes.hidden_widths.empty()) sizes.hidden_widths = {model.active_neurons};
  return sizes;
}

// A spec with the defaults that depend on model and data set.
struct Task {
  ModelPruningOptions options;  // with a loss, and a budget but for paths
  Loss loss = Loss::kSquared;   // of training and report
  PrunePathOptions path;        // of one budget where none was asked for
  std::vector<int64_t> budgets;
};

absl::StatusOr<Task> MakeTask(const PruningSpec& spec, const DatasetRecord& dataset,
                              const ModelRecord& model, int num_threads, int64_t num_training) {
  Task task = {.options = spec.model_options};
  ModelPruningOptions& options = task.options;
  OneShotOptions& one_shot = options.distill.one_shot;
  const NetworkSizes sizes = SizesOf(model);
  if (options.train && options.distill.targets == PruneTargets::kLabels && IsUnlabelled(dataset)) {
    return InvalidField(
        "pruning.model_options.targets",
        absl::StrCat("datasets/", dataset.id,
                     " has no targets; leave it unset for the model's own outputs"));
  }
  const bool has_classes =
      model.num_outputs >= 2 &&
      !(IsUnlabelled(dataset) ? model.class_names : dataset.class_names).empty();
  task.loss = options.loss.value_or(
      LossOf(model).value_or(has_classes ? Loss::kCrossEntropy : Loss::kSquared));
  one_shot.num_threads = num_threads;
  const int64_t widest = std::max(
      sizes.num_inputs, *std::max_element(sizes.hidden_widths.begin(), sizes.hidden_widths.end()));
  if (options.train && widest + (sizes.bias ? 1 : 0) > kMaxGramColumns) {
    one_shot.method = OneShotMethod::kActivation;
  }
  if (one_shot.damping == 0) one_shot.damping = DefaultDamping(one_shot.method);
  if (options.fraction) {
    const double count = *options.fraction * static_cast<double>(sizes.nonzeros);
    one_shot.nonzeros = std::max<int64_t>(std::llround(count), 1);
  }
  if (options.path) {
    task.path.min_nonzeros = options.path->min_nonzeros;
    task.path.max_nonzeros = options.path->max_nonzeros;
    task.path.num_points = options.path->num_points;
    absl::StatusOr<std::vector<int64_t>> budgets = PathBudgets(task.path, sizes.nonzeros);
    if (!budgets.ok()) return NameField(budgets.status(), "pruning.model_options.path.");
    task.budgets = *std::move(budgets);
    options.path->max_nonzeros = task.budgets.front();
    options.path->min_nonzeros = task.budgets.back();
  } else {
    task.budgets = {one_shot.nonzeros};
  }
  // Whatever else is wrong is so for every budget.
  one_shot.nonzeros = task.budgets.front();
  one_shot.loss = task.loss;
  const absl::Status status = options.train ? ValidateOptions(options.distill, sizes, num_training)
                                            : ValidateOptions(one_shot, sizes);
  if (!status.ok()) {
    constexpr std::string_view kNetwork = "network: ";
    const std::string message(status.message());
    if (message.starts_with(kNetwork)) {
      return InvalidField("pruning.model", message.substr(kNetwork.size()));
    }
    return NameField(status, "pruning.model_options.");
  }
  if (!options.train) one_shot.loss = options.loss.value_or(Loss::kSquared);
  options.loss = task.loss;
  task.path.distill = options.distill;
  task.path.train = options.train;
  task.path.fit_loss = task.loss;
  task.path.max_nonzeros = task.budgets.front();
  task.path.min_nonzeros = task.budgets.back();
  if (options.path) one_shot.nonzeros = 0;
  return task;
}

PruneCost CostOf(const Task& task, const NetworkSizes& sizes, int64_t num_training) {
  if (task.options.path || !task.options.train) return PredictCost(task.path, sizes, num_training);
  return PredictCost(task.options.distill, sizes, num_training);
}

// ----- Stopping in time. -----

// Stops the solver when the job is to stop or its time is up: one-shot methods do not look at the
// clock.
class TimeLimit {
 public:
  TimeLimit(const std::stop_token& stop, double seconds)
      : forward_(stop, [this] { stop_.request_stop(); }) {
    if (!std::isfinite(seconds)) return;
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(std::max(seconds, 0.0)));
    timer_ = std::thread([this, deadline] { Wait(deadline); });
  }
  ~TimeLimit() {
    {
      store::MutexLock lock(mutex_);
      done_ = true;
      changed_.NotifyAll();
    }
    if (timer_.joinable()) timer_.join();
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void Wait(Clock::time_point deadline) THRESHER_EXCLUDES(mutex_) {
    {
      store::MutexLock lock(mutex_);
      while (!done_ && changed_.WaitUntil(mutex_, deadline)) {
      }
      if (done_) return;
    }
    stop_.request_stop();
  }

  std::stop_source stop_;
  std::stop_callback<std::function<void()>> forward_;
  store::Mutex mutex_;
  store::CondVar changed_;
  bool done_ THRESHER_GUARDED_BY(mutex_) = false;
  std::thread timer_;
};

double SecondsLeft(const JobRun& run) {
  if (run.time_limit_seconds <= 0) return INFINITY;
  // What is done again counts again.
  const bool resumes = !run.checkpoint.empty() && run.job.progress.has_value();
  return run.time_limit_seconds - (resumes ? ElapsedSecondsOf(*run.job.progress) : 0);
}

// ----- What came out. -----

// A pruned network, however it was made.
struct Pruned {
  int64_t budget = 0;
  SparseNetwork network;
  store::PruningFit training;
  std::optional<store::PruningFit> held_out;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  int64_t divergences = 0;
};

struct PrunedNetworks {
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  std::vector<Pruned> points;  // none: stopped before there was one
  int64_t chosen = 0;
  int64_t iterations = 0;
  int64_t rounds = 0;
  double elapsed_seconds = 0;
  std::string checkpoint;
};

std::optional<store::PruningFit> FitOf(const std::optional<Fit>& fit, const Samples& samples) {
  if (!fit) return std::nullopt;
  return store::PruningFit{.num_samples = samples.num_samples, .fit = *fit};
}

absl::StatusOr<std::optional<store::PruningFit>> Measure(const SparseNetwork& network,
                                                         const Samples& samples, Loss loss,
                                                         int num_threads) {
  if (samples.num_samples == 0) return std::optional<store::PruningFit>();
  const absl::StatusOr<Fit> fit = MeasureFit(network, samples, loss, num_threads);
  if (!fit.ok()) return fit.status();
  return FitOf(*fit, samples);
}

PruneObserver ObserverOf(const JobRun& run) {
  return {.on_iteration = run.on_iteration,
          .checkpoint_due = run.checkpoint_due,
          .on_checkpoint = run.on_checkpoint};
}

// One budget, with training: interrupted it has what there is.
absl::StatusOr<PrunedNetworks> RunDistill(const SparseNetwork& network, const Samples& training,
                                          const Task& task, const JobRun& run,
                                          const std::stop_token& stop) {
  DistillOptions options = task.options.distill;
  options.time_limit_seconds = run.time_limit_seconds;
  absl::StatusOr<PruneResult> result =
      Distill(network, training, options, ObserverOf(run), stop, run.checkpoint);
  PrunedNetworks pruned;
  if (absl::IsCancelled(result.status())) {
    pruned.termination_reason = TerminationReason::kCancelled;
    return pruned;
  }
  if (!result.ok()) return result.status();
  pruned.termination_reason = result->termination_reason;
  pruned.iterations = result->iterations;
  pruned.rounds = result->rounds;
  pruned.elapsed_seconds = result->elapsed_seconds;
  pruned.checkpoint = std::move(result->checkpoint);
  const bool ended = result->termination_reason == TerminationReason::kIterationLimit;
  if (!ended && result->iterations == 0) return pruned;
  pruned.points.push_back({.budget = options.one_shot.nonzeros,
                           .network = std::move(result->network),
                           .training = {.num_samples = training.num_samples, .fit = result->fit},
                           .iterations = result->iterations,
                           .elapsed_seconds = result->elapsed_seconds,
                           .divergences = result->divergences});
  return pruned;
}

absl::StatusOr<PrunedNetworks> RunPath(const SparseNetwork& network, const Samples& training,
                                       const Samples& held_out, const Task& task, const JobRun& run,
                                       const std::stop_token& stop) {
  PrunePathOptions options = task.path;
  options.distill.time_limit_seconds = run.time_limit_seconds;
  PruneObserver observer = ObserverOf(run);
  if (!task.options.path) {
    // One budget is no path to whoever watches.
    observer.on_iteration = [&run](PruneReport report) {
      report.path_nonzeros = 0;
      run.on_iteration(report);
    };
  }
  absl::StatusOr<PrunePathResult> result =
      PrunePath(network, training, held_out.num_samples > 0 ? &held_out : nullptr, options,
                observer, stop, run.checkpoint);
  if (!result.ok()) return result.status();
  PrunedNetworks pruned;
  pruned.termination_reason = result->termination_reason;
  pruned.iterations = result->iterations;
  pruned.rounds = static_cast<int64_t>(result->points.size());
  pruned.elapsed_seconds = result->elapsed_seconds;
  pruned.checkpoint = std::move(result->checkpoint);
  pruned.chosen = result->knee;
  for (PrunePathPoint& point : result->points) {
    pruned.points.push_back({.budget = point.budget,
                             .network = std::move(point.network),
                             .training = {.num_samples = training.num_samples, .fit = point.fit},
                             .held_out = FitOf(point.held_out, held_out),
                             .iterations = point.iterations,
                             .elapsed_seconds = point.elapsed_seconds,
                             .divergences = point.divergences});
  }
  return pruned;
}

// A network of another tool, or pruned from one, whose file says nothing of scaling: what a data
// set calls scaled is what it was trained on. An empty scaling alone does not tell: a network that
// a job trained on unscaled samples has it too.
bool TakesScaledInputs(const Model& model) {
  if (!(model.scaling == Scaling())) return false;
  if (!model.metadata.contains("job")) return true;
  // Models pruned before kInputsKey was written have the format of the file they descend from,
  // which no trained model has.
  return model.metadata.contains(kInputsKey) || model.metadata.contains(kSourceFormatKey);
}

// Of the given model what describes the function and its file; all of what another tool said.
std::map<std::string, std::string> KeptMetadata(const Model& given) {
  if (!given.metadata.contains("job")) return given.metadata;
  std::map<std::string, std::string> kept;
  for (const char* key : {kOnnxInputNameKey, kOnnxOutputNameKey, kOnnxInputShapeKey,
                          kSourceFormatKey, kWeightTypeKey}) {
    const auto found = given.metadata.find(key);
    if (found != given.metadata.end()) kept.insert(*found);
  }
  return kept;
}

Model MakeModel(const Pruned& pruned, const Model& given, const DatasetRecord& dataset,
                const Task& task, const JobRun& run, const PruningReport& report,
                std::string_view version) {
  const auto& spec = std::get<PruningSpec>(run.job.spec);
  const ModelPruningOptions& options = task.options;
  Model model = {.network = pruned.network,
                 .scaling = given.scaling,
                 .class_names = given.class_names,
                 .metadata = KeptMetadata(given)};
  const std::map<std::string, std::string> own = {
      {"job", run.job.id},
      {"dataset", dataset.id},
      {"dataset_sha256", dataset.sha256},
      {"model", spec.model_id},
      {"seed", absl::StrCat(options.distill.one_shot.seed)},
      {"method",
       options.train ? "distill" : std::string(OneShotMethodName(options.distill.one_shot.method))},
      {"loss", std::string(LossName(task.loss))},
      {"budget", absl::StrCat(pruned.budget)},
      {"given_nonzeros", absl::StrCat(report.model->given_nonzeros)},
      {"iterations", absl::StrCat(report.iterations)},
      {"termination_reason", std::string(TerminationReasonName(report.termination_reason))},
      {"partial", report.partial ? "true" : "false"},
      {"version", std::string(version)},
  };
  for (const auto& [key, value] : own) model.metadata[key] = value;
  // The file stays a drop-in for the given one: the scaling is not made part of it.
  if (TakesScaledInputs(given)) model.metadata[kInputsKey] = "as_scaled_by_dataset";
  AddSplit(spec.split, model.metadata);
  AddFit("", pruned.training.fit, model.metadata);
  if (pruned.held_out) AddFit("held_out_", pruned.held_out->fit, model.metadata);
  if (IsUnlabelled(dataset)) {
    model.metadata["targets"] = "given_outputs";
  } else {
    AddFit("given_", report.model->given_training.fit, model.metadata);
  }
  if (report.model->given_held_out) {
    AddFit("given_held_out_", report.model->given_held_out->fit, model.metadata);
  }
  return model;
}

// The report as it is about one of the networks.
PruningReport ReportOn(const Pruned& pruned, PruningReport report) {
  report.training = pruned.training;
  report.held_out = pruned.held_out;
  report.nonzeros = Nonzeros(pruned.network);
  report.active_neurons = ActiveNeurons(pruned.network);
  return report;
}

}  // namespace

Samples InUnitsOf(const Model& model, Loss loss, Samples samples) {
  const Scaling& to = model.scaling;
  RescaleInputs(to, samples);
  const double to_offset = loss == Loss::kSquared ? to.target_offset : 0;
  const double to_scale = loss == Loss::kSquared ? to.target_scale : 1;
  if (NumOutputs(model.network) == 2 && samples.num_outputs == 1 &&
      samples.class_names.size() == 2) {
    std::vector<float> of_classes;
    of_classes.reserve(2 * samples.targets.size());
    for (const float target : std::as_const(samples.targets)) {
      of_classes.push_back(1 - target);
      of_classes.push_back(target);
    }
    samples.targets = std::move(of_classes);
    samples.num_outputs = 2;
    samples.class_names.clear();
  }
  RescaleTargets(to_offset, to_scale, samples);
  if (samples.num_outputs == 1 && (to_offset != 0 || to_scale != 1)) samples.class_names.clear();
  samples.scaling = to;
  return samples;
}

absl::StatusOr<JobCost> PlanModelPruning(store::Store& store, const PruningSpec& spec,
                                         int threads_per_job) {
  absl::StatusOr<DatasetRecord> dataset = store.datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::StatusOr<ModelRecord> model = store.models().Get(spec.model_id);
  if (!model.ok()) return model.status();
  for (const absl::Status& status : {CheckModel(*model), CheckDataset(*dataset, *model)}) {
    if (!status.ok()) return status;
  }
  if (spec.split.validation) {
    return InvalidField("pruning.validation",
                        "is for networks that are trained; a model is pruned without");
  }
  const absl::StatusOr<SplitPlan> split = PlanSplit(store, *dataset, spec.split);
  if (!split.ok()) return NameField(split.status(), "pruning.");
  const absl::StatusOr<Task> task =
      MakeTask(spec, *dataset, *model, threads_per_job, split->num_training);
  if (!task.ok()) return task.status();
  const PruneCost cost = CostOf(*task, SizesOf(*model), split->num_training);
  // All samples once more in the model's units, and again while they get the network's outputs; the
  // model's file.
  const int64_t copies = IsUnlabelled(*dataset) ? 2 : 1;
  const int64_t row_bytes =
      static_cast<int64_t>(sizeof(float)) *
      (dataset->num_inputs + std::max(dataset->num_outputs, model->num_outputs));
  const int64_t bytes = cost.peak_memory_bytes + split->extra_bytes +
                        copies * row_bytes * dataset->num_samples + model->size_bytes +
                        4 * int64_t{12} * model->nonzeros;
  return JobCost{.peak_memory_bytes = bytes,
                 .flops_per_iteration =
                     cost.flops / static_cast<double>(std::max<int64_t>(cost.iterations, 1))};
}

absl::StatusOr<JobOutcome> RunModelPruning(store::Store& store, const JobRun& run,
                                           std::string_view program_version) {
  const auto& spec = std::get<PruningSpec>(run.job.spec);
  absl::StatusOr<DatasetRecord> dataset = store.datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::StatusOr<ModelRecord> record = store.models().Get(spec.model_id);
  if (!record.ok()) return record.status();
  absl::StatusOr<std::shared_ptr<const Model>> given = store.models().Load(*record);
  if (!given.ok()) return given.status();
  const auto& network = std::get<SparseNetwork>((*given)->network);
  Samples training;
  Samples held_out;
  {
    absl::StatusOr<JobSamples> samples = LoadJobSamples(store, *dataset, spec.split);
    if (!samples.ok()) return samples.status();
    training = *samples->training;
    held_out = std::move(samples->held_out);
  }
  const absl::StatusOr<Task> task =
      MakeTask(spec, *dataset, *record, run.num_threads, training.num_samples);
  if (!task.ok()) return task.status();
  if (TakesScaledInputs(**given)) {
    training.scaling = {};
    held_out.scaling = {};
  }
  training = InUnitsOf(**given, task->loss, std::move(training));
  if (held_out.num_samples > 0) held_out = InUnitsOf(**given, task->loss, std::move(held_out));
  for (Samples* samples : {&training, &held_out}) {
    if (!IsUnlabelled(*dataset) || samples->num_samples == 0) continue;
    absl::StatusOr<Samples> answered =
        WithNetworkTargets(network, *samples, task->loss, run.num_threads);
    if (!answered.ok()) return NameField(answered.status(), "");
    *samples = *std::move(answered);
  }
  for (const Samples* samples : {&training, &held_out}) {
    if (absl::Status status = ValidateTargets(task->loss, *samples);
        samples->num_samples > 0 && !status.ok()) {
      return NameField(status, "");
    }
  }

  const TimeLimit limit(run.stop, SecondsLeft(run));
  const bool has_path = task->options.path.has_value();
  absl::StatusOr<PrunedNetworks> pruned =
      has_path || !task->options.train
          ? RunPath(network, training, held_out, *task, run, limit.token())
          : RunDistill(network, training, *task, run, limit.token());
  if (!pruned.ok()) return NameField(pruned.status(), "");
  if (pruned->termination_reason == TerminationReason::kCancelled && !run.stop.stop_requested()) {
    pruned->termination_reason = TerminationReason::kTimeLimit;
  }

  JobOutcome outcome;
  outcome.checkpoint = std::move(pruned->checkpoint);
  const bool cancelled = pruned->termination_reason == TerminationReason::kCancelled;
  PruningReport report;
  report.termination_reason = pruned->termination_reason;
  report.iterations = pruned->iterations;
  report.rounds = pruned->rounds;
  report.elapsed_seconds = pruned->elapsed_seconds;
  report.partial = cancelled || pruned->termination_reason == TerminationReason::kTimeLimit;
  report.model = ModelPruningReport{.options_used = task->options,
                                    .given_nonzeros = Nonzeros(network),
                                    .given_active_neurons = ActiveNeurons(network)};
  if (pruned->points.empty()) {
    if (!cancelled) {
      return absl::DeadlineExceededError(
          absl::StrCat("time_limit: ", run.time_limit_seconds,
                       " s passed before the first network was there; allow more time"));
    }
    outcome.report = std::move(report);
    return outcome;
  }
  if (cancelled) {
    training = ThinnedForCancelled(training, Nonzeros(network));
    held_out = ThinnedForCancelled(held_out, Nonzeros(network));
  }
  const auto measure = [&](const SparseNetwork& each, const Samples& samples) {
    return Measure(each, samples, task->loss, run.num_threads);
  };
  // How well the given network explains its own outputs is no finding.
  if (!IsUnlabelled(*dataset)) {
    const auto given_training = measure(network, training);
    const auto given_held_out = measure(network, held_out);
    for (const auto* fit : {&given_training, &given_held_out}) {
      if (!fit->ok()) return fit->status();
    }
    report.model->given_training = given_training->value_or(store::PruningFit());
    report.model->given_held_out = *given_held_out;
  }
  for (Pruned& point : pruned->points) {
    report.divergences += point.divergences;
    if (has_path) continue;  // its points are measured as they are made
    const auto on_training = measure(point.network, training);
    const auto on_held_out = measure(point.network, held_out);
    for (const auto* fit : {&on_training, &on_held_out}) {
      if (!fit->ok()) return fit->status();
    }
    point.training = on_training->value_or(store::PruningFit());
    point.held_out = *on_held_out;
  }
  if (has_path) {
    for (size_t k = 0; k < pruned->points.size(); ++k) {
      const Pruned& point = pruned->points[k];
      PruningReport of_point = ReportOn(point, report);
      Model model = MakeModel(point, **given, *dataset, *task, run, of_point, program_version);
      report.model->path.push_back({.budget = point.budget,
                                    .nonzeros = of_point.nonzeros,
                                    .active_neurons = of_point.active_neurons,
                                    .training = point.training,
                                    .held_out = point.held_out,
                                    .iterations = point.iterations,
                                    .elapsed_seconds = point.elapsed_seconds,
                                    .knee = static_cast<int64_t>(k) == pruned->chosen});
      of_point.model->path.clear();
      outcome.points.push_back(
          {.budget = point.budget, .model = std::move(model), .report = std::move(of_point)});
    }
  }
  const Pruned& chosen = pruned->points[pruned->chosen];
  report = ReportOn(chosen, std::move(report));
  outcome.model = MakeModel(chosen, **given, *dataset, *task, run, report, program_version);
  outcome.report = std::move(report);
  return outcome;
}

}  // namespace thresher::jobs
