#include "server/jobs/recovery_runner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/samples/split.h"
#include "server/store/error_details.h"

namespace thresher::jobs {

using store::DatasetRecord;
using store::InvalidField;
using store::NameField;

namespace {

constexpr double kExactWeightError = 1e-4;
// Matching neurons takes the cube of their number.
constexpr int64_t kMaxComparedNeurons = 2000;

int64_t NumHeldOut(double fraction, int64_t num_samples) {
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(num_samples)));
}

absl::Status ValidateDataset(const DatasetRecord& dataset) {
  if (dataset.num_outputs != 1) {
    return InvalidField("recovery.dataset",
                        absl::StrCat("datasets/", dataset.id, " has ", dataset.num_outputs,
                                     " outputs, recovery takes one; name one target column, or "
                                     "two classes"));
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
  if (subtracts && spec.options.output_signs == OutputSigns::kPositive) {
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

// Nothing when the two cannot be compared: a gated network, another bias, too many
// neurons.
absl::StatusOr<std::optional<PlantedComparison>> Compare(const Network& found,
                                                         const SparseNetwork& planted,
                                                         InputView inputs) {
  const auto* candidate = std::get_if<SparseNetwork>(&found);
  if (candidate == nullptr || candidate->has_bias != planted.has_bias ||
      ActiveNeurons(found) > kMaxComparedNeurons || ActiveNeurons(planted) > kMaxComparedNeurons) {
    return std::optional<PlantedComparison>();
  }
  absl::StatusOr<NetworkComparison> comparison = CompareNetworks(*candidate, planted, inputs);
  if (!comparison.ok()) return comparison.status();
  return std::optional<PlantedComparison>(PlantedComparison{
      .support_recall = comparison->support_recall,
      .support_precision = comparison->support_precision,
      .relative_weight_error = comparison->relative_weight_error,
      .relative_function_error = comparison->relative_function_error,
      .exact = comparison->same_support && comparison->relative_weight_error <= kExactWeightError,
      .planted_neurons = comparison->reference_neurons,
      .recovered_neurons = comparison->candidate_neurons});
}

Model MakeModel(Network network, const Samples& samples, const DatasetRecord& dataset,
                const JobRun& run, const RecoveryReport& report, const std::string& version) {
  Model model;
  model.metadata = {
      {"job", run.job.id},
      {"dataset", dataset.id},
      {"dataset_sha256", dataset.sha256},
      {"seed", absl::StrCat(report.options_used.seed)},
      {"split_seed", absl::StrCat(run.job.spec.split_seed)},
      {"held_out_fraction", absl::StrCat(run.job.spec.held_out_fraction)},
      {"algorithm", std::string(AlgorithmName(report.options_used.algorithm))},
      {"gates", GatesWord(network)},
      {"iterations", absl::StrCat(report.iterations)},
      {"termination_reason", std::string(TerminationReasonName(report.termination_reason))},
      {"relative_residual", absl::StrCat(report.training.relative_residual)},
      {"partial", report.partial ? "true" : "false"},
      {"version", version},
  };
  model.network = std::move(network);
  model.scaling = samples.scaling;
  model.class_names = samples.class_names;
  return model;
}

}  // namespace

absl::StatusOr<FitQuality> MeasureFit(const Network& network, const Samples& samples) {
  std::vector<double> outputs(static_cast<size_t>(samples.num_samples));
  absl::Status status = Evaluate(network, samples.input_view(), outputs);
  if (!status.ok()) return status;
  double squared_error = 0;
  double squared_targets = 0;
  double peak = 0;
  int64_t right = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const double target = samples.targets[i];
    squared_error += (outputs[i] - target) * (outputs[i] - target);
    squared_targets += target * target;
    peak = std::max(peak, std::abs(target));
    right += (outputs[i] >= 0.5) == (target >= 0.5) ? 1 : 0;
  }
  constexpr double kMaxPsnr = 400;
  FitQuality fit;
  fit.num_samples = samples.num_samples;
  fit.relative_residual = squared_error == 0 ? 0 : std::sqrt(squared_error / squared_targets);
  const double mean_squared_error = squared_error / static_cast<double>(samples.num_samples);
  fit.psnr_db =
      mean_squared_error == 0
          ? kMaxPsnr
          : std::min(kMaxPsnr, 20 * std::log10(peak) - 10 * std::log10(mean_squared_error));
  if (!samples.class_names.empty()) {
    fit.accuracy = static_cast<double>(right) / static_cast<double>(samples.num_samples);
  }
  return fit;
}

RecoveryRunner::RecoveryRunner(store::Store* store, int threads_per_job,
                               std::string program_version)
    : store_(store),
      threads_per_job_(threads_per_job),
      program_version_(std::move(program_version)) {}

absl::StatusOr<RecoveryCost> RecoveryRunner::Plan(const RecoverySpec& spec) {
  if (spec.dataset_id.empty()) return InvalidField("recovery.dataset", "is required");
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::Status status = ValidateDataset(*dataset);
  if (!status.ok()) return status;
  if (!(spec.held_out_fraction >= 0 && spec.held_out_fraction < 1)) {
    return InvalidField("recovery.held_out_fraction", "must be at least 0 and less than 1");
  }
  const int64_t num_held_out = NumHeldOut(spec.held_out_fraction, dataset->num_samples);
  const int64_t num_training = dataset->num_samples - num_held_out;
  if (num_training < 1) {
    return InvalidField("recovery.held_out_fraction",
                        absl::StrCat("leaves no sample to learn from of ", dataset->num_samples,
                                     "; use a smaller fraction"));
  }
  RecoveryOptions options = spec.options;
  options.num_threads = threads_per_job_;
  status = ValidateOptions(options, num_training, dataset->num_inputs);
  if (!status.ok()) return NameField(status, "recovery.options.");
  if (!spec.initial_model_id.empty()) {
    absl::StatusOr<store::ModelRecord> model = store_->models().Get(spec.initial_model_id);
    if (!model.ok()) return model.status();
    status = ValidateInitialModel(*model, spec, *dataset);
    if (!status.ok()) return status;
  }
  RecoveryCost cost = PredictCost(options, num_training, dataset->num_inputs);
  if (num_held_out > 0) {
    // While it is split the data set is there twice, then without its training half.
    constexpr int64_t kFloatBytes = sizeof(float);
    const int64_t row_bytes = kFloatBytes * (dataset->num_inputs + 1);
    cost.peak_memory_bytes += row_bytes * (dataset->num_samples + num_held_out);
  }
  return cost;
}

absl::StatusOr<JobOutcome> RecoveryRunner::Run(const JobRun& run) {
  const RecoverySpec& spec = run.job.spec;
  absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
  if (!dataset.ok()) return dataset.status();
  absl::StatusOr<std::shared_ptr<const Samples>> loaded = store_->datasets().Load(*dataset);
  if (!loaded.ok()) return loaded.status();

  // Without held-out samples the data set itself, shared with other jobs.
  std::shared_ptr<const Samples> training = *loaded;
  Samples held_out;
  if (NumHeldOut(spec.held_out_fraction, dataset->num_samples) > 0) {
    absl::StatusOr<SplitSamples> split = Split(**loaded, spec.held_out_fraction, spec.split_seed);
    if (!split.ok()) return split.status();
    training = std::make_shared<const Samples>(std::move(split->training));
    held_out = std::move(split->held_out);
  }
  loaded->reset();

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
  absl::StatusOr<RecoveryResult> result =
      Recover(*training, options, start, observer, run.stop, run.checkpoint);
  if (!result.ok()) return NameField(result.status(), "");

  JobOutcome outcome;
  outcome.checkpoint = std::move(result->checkpoint);
  RecoveryReport& report = outcome.report;
  report.termination_reason = result->termination_reason;
  report.iterations = result->iterations;
  report.elapsed_seconds = result->elapsed_seconds;
  report.options_used = result->options_used;
  report.nonzeros = result->nonzeros;
  report.active_neurons = result->active_neurons;
  report.partial = result->termination_reason == TerminationReason::kCancelled ||
                   result->termination_reason == TerminationReason::kTimeLimit;
  // Stopped before the first iterate.
  if (report.partial && Nonzeros(result->network) == 0) return outcome;

  absl::StatusOr<FitQuality> fit = MeasureFit(result->network, *training);
  if (!fit.ok()) return fit.status();
  report.training = *fit;
  if (held_out.num_samples > 0) {
    absl::StatusOr<FitQuality> held_out_fit = MeasureFit(result->network, held_out);
    if (!held_out_fit.ok()) return held_out_fit.status();
    report.held_out = *held_out_fit;
  }
  absl::StatusOr<std::optional<SparseNetwork>> planted =
      store_->datasets().LoadPlantedNetwork(*dataset);
  if (!planted.ok()) return planted.status();
  if (planted->has_value()) {
    const Samples& compared_on = held_out.num_samples > 0 ? held_out : *training;
    absl::StatusOr<std::optional<PlantedComparison>> comparison =
        Compare(result->network, **planted, compared_on.input_view());
    if (!comparison.ok()) return comparison.status();
    report.planted = *comparison;
  }
  outcome.model =
      MakeModel(std::move(result->network), *training, *dataset, run, report, program_version_);
  return outcome;
}

}  // namespace thresher::jobs
