#include "server/rpc/convert.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/filter.h"
#include "server/rpc/status.h"
#include "server/store/blob_folder.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using google::protobuf::util::TimeUtil;
using store::InvalidField;

// ----- Small parts. -----

std::string Concatenated(std::string_view a, std::string_view b) {
  return std::string(a).append(b);
}

absl::Status UnknownEnumValue(std::string_view field, int value) {
  return InvalidField(field, "value " + std::to_string(value) +
                                 " is not known to this server, which may be older than the "
                                 "client");
}

google::protobuf::Timestamp ToProto(store::Timestamp time) {
  return TimeUtil::MicrosecondsToTimestamp(time.time_since_epoch().count());
}

google::protobuf::Duration ToDuration(double seconds) {
  // 1e9 s is 31 years; what cannot be is shown as that rather than overflowing.
  const double bounded = std::isfinite(seconds) ? std::min(std::max(seconds, 0.0), 1e9) : 0.0;
  return TimeUtil::MicrosecondsToDuration(std::llround(bounded * 1e6));
}

constexpr double kMaxTimeLimitSeconds = 365.0 * 24 * 3600;

absl::StatusOr<double> TimeLimit(const google::protobuf::Duration& duration) {
  const bool in_range = duration.seconds() >= 0 && duration.nanos() >= 0 &&
                        duration.nanos() < 1'000'000'000 &&
                        duration.seconds() <= static_cast<int64_t>(kMaxTimeLimitSeconds);
  const double seconds =
      static_cast<double>(duration.seconds()) + static_cast<double>(duration.nanos()) * 1e-9;
  if (!in_range || seconds <= 0 || seconds > kMaxTimeLimitSeconds) {
    return InvalidField("job.time_limit", "must be more than 0 and at most 365 days");
  }
  return seconds;
}

// An optional count that, when set, must be at least 1: 0 is the value's "unset" inside.
absl::StatusOr<int64_t> PositiveOr0(bool is_set, int64_t value, std::string_view field) {
  if (!is_set) return 0;
  if (value < 1) return InvalidField(field, "must be at least 1, or unset for the default");
  return value;
}

template <typename Message>
std::string Serialized(const Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);  // maps in one order
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

// ----- Enums. Every switch is over the wire's values, so that the compiler finds a
// missing one; what falls out is a number that this server does not know. -----

absl::StatusOr<Algorithm> FromProto(v1::Algorithm value) {
  switch (value) {
    case v1::ALGORITHM_UNSPECIFIED:
      return Algorithm::kAuto;
    case v1::ALGORITHM_IHT:
      return Algorithm::kIht;
    case v1::ALGORITHM_NIHT:
      return Algorithm::kNiht;
    case v1::ALGORITHM_AIHT:
      return Algorithm::kAiht;
    case v1::ALGORITHM_HTP:
      return Algorithm::kHtp;
    case v1::ALGORITHM_WINNOW:
      return Algorithm::kWinnow;
    case v1::ALGORITHM_COSAMP:
      return Algorithm::kCosamp;
    case v1::ALGORITHM_SPLICING:
      return Algorithm::kSplicing;
    case v1::ALGORITHM_RECIPROCAL:
      return Algorithm::kReciprocal;
    case v1::ALGORITHM_SVRG:
      return Algorithm::kSvrg;
    case v1::ALGORITHM_COUNT_SKETCH:
      return Algorithm::kCountSketch;
    case v1::ALGORITHM_SEQUENTIAL:
      return Algorithm::kSequential;
    default:
      return UnknownEnumValue("job.recovery.options.algorithm", value);
  }
}

v1::Algorithm ToProto(Algorithm value) {
  switch (value) {
    case Algorithm::kAuto:
      return v1::ALGORITHM_UNSPECIFIED;
    case Algorithm::kIht:
      return v1::ALGORITHM_IHT;
    case Algorithm::kNiht:
      return v1::ALGORITHM_NIHT;
    case Algorithm::kAiht:
      return v1::ALGORITHM_AIHT;
    case Algorithm::kHtp:
      return v1::ALGORITHM_HTP;
    case Algorithm::kWinnow:
      return v1::ALGORITHM_WINNOW;
    case Algorithm::kCosamp:
      return v1::ALGORITHM_COSAMP;
    case Algorithm::kSplicing:
      return v1::ALGORITHM_SPLICING;
    case Algorithm::kReciprocal:
      return v1::ALGORITHM_RECIPROCAL;
    case Algorithm::kSvrg:
      return v1::ALGORITHM_SVRG;
    case Algorithm::kCountSketch:
      return v1::ALGORITHM_COUNT_SKETCH;
    case Algorithm::kSequential:
      return v1::ALGORITHM_SEQUENTIAL;
  }
  return v1::ALGORITHM_UNSPECIFIED;
}

absl::StatusOr<GateMode> FromProto(v1::GateMode value) {
  switch (value) {
    case v1::GATE_MODE_UNSPECIFIED:
    case v1::GATE_MODE_SEQUENTIAL:
      return GateMode::kSequential;
    case v1::GATE_MODE_RANDOM:
      return GateMode::kRandom;
    case v1::GATE_MODE_ENUMERATED:
      return GateMode::kEnumerated;
    default:
      return UnknownEnumValue("job.recovery.options.gate_mode", value);
  }
}

v1::GateMode ToProto(GateMode value) {
  switch (value) {
    case GateMode::kSequential:
      return v1::GATE_MODE_SEQUENTIAL;
    case GateMode::kRandom:
      return v1::GATE_MODE_RANDOM;
    case GateMode::kEnumerated:
      return v1::GATE_MODE_ENUMERATED;
  }
  return v1::GATE_MODE_UNSPECIFIED;
}

absl::StatusOr<OutputSigns> FromProto(v1::OutputSigns value, std::string_view field) {
  switch (value) {
    case v1::OUTPUT_SIGNS_UNSPECIFIED:
    case v1::OUTPUT_SIGNS_POSITIVE:
      return OutputSigns::kPositive;
    case v1::OUTPUT_SIGNS_MIXED:
      return OutputSigns::kMixed;
    default:
      return UnknownEnumValue(field, value);
  }
}

v1::OutputSigns ToProto(OutputSigns value) {
  switch (value) {
    case OutputSigns::kPositive:
      return v1::OUTPUT_SIGNS_POSITIVE;
    case OutputSigns::kMixed:
      return v1::OUTPUT_SIGNS_MIXED;
  }
  return v1::OUTPUT_SIGNS_UNSPECIFIED;
}

absl::StatusOr<WeightDistribution> FromProto(v1::WeightDistribution value) {
  switch (value) {
    case v1::WEIGHT_DISTRIBUTION_UNSPECIFIED:
    case v1::WEIGHT_DISTRIBUTION_NORMAL:
      return WeightDistribution::kNormal;
    case v1::WEIGHT_DISTRIBUTION_UNIFORM:
      return WeightDistribution::kUniform;
    case v1::WEIGHT_DISTRIBUTION_SIGN:
      return WeightDistribution::kSign;
    case v1::WEIGHT_DISTRIBUTION_HEAVY_TAILED:
      return WeightDistribution::kHeavyTailed;
    default:
      return UnknownEnumValue("dataset.planted.weight_distribution", value);
  }
}

v1::WeightDistribution ToProto(WeightDistribution value) {
  switch (value) {
    case WeightDistribution::kNormal:
      return v1::WEIGHT_DISTRIBUTION_NORMAL;
    case WeightDistribution::kUniform:
      return v1::WEIGHT_DISTRIBUTION_UNIFORM;
    case WeightDistribution::kSign:
      return v1::WEIGHT_DISTRIBUTION_SIGN;
    case WeightDistribution::kHeavyTailed:
      return v1::WEIGHT_DISTRIBUTION_HEAVY_TAILED;
  }
  return v1::WEIGHT_DISTRIBUTION_UNSPECIFIED;
}

absl::StatusOr<InputDistribution> FromProto(v1::InputDistribution value) {
  switch (value) {
    case v1::INPUT_DISTRIBUTION_UNSPECIFIED:
    case v1::INPUT_DISTRIBUTION_NORMAL:
      return InputDistribution::kNormal;
    case v1::INPUT_DISTRIBUTION_UNIFORM:
      return InputDistribution::kUniform;
    case v1::INPUT_DISTRIBUTION_BINARY:
      return InputDistribution::kBinary;
    default:
      return UnknownEnumValue("dataset.planted.input_distribution", value);
  }
}

v1::InputDistribution ToProto(InputDistribution value) {
  switch (value) {
    case InputDistribution::kNormal:
      return v1::INPUT_DISTRIBUTION_NORMAL;
    case InputDistribution::kUniform:
      return v1::INPUT_DISTRIBUTION_UNIFORM;
    case InputDistribution::kBinary:
      return v1::INPUT_DISTRIBUTION_BINARY;
  }
  return v1::INPUT_DISTRIBUTION_UNSPECIFIED;
}

constexpr std::string_view kUploadPath = "header.dataset.upload.";

absl::StatusOr<FileFormat> FromProto(v1::FileFormat value) {
  switch (value) {
    case v1::FILE_FORMAT_UNSPECIFIED:
      return InvalidField(Concatenated(kUploadPath, "format"),
                          "is required: the server does not guess from the bytes");
    case v1::FILE_FORMAT_NPY:
      return FileFormat::kNpy;
    case v1::FILE_FORMAT_NPZ:
      return FileFormat::kNpz;
    case v1::FILE_FORMAT_CSV:
      return FileFormat::kCsv;
    case v1::FILE_FORMAT_IDX:
      return FileFormat::kIdx;
    case v1::FILE_FORMAT_PNG:
      return FileFormat::kPng;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "format"), value);
  }
}

v1::FileFormat ToProto(FileFormat value) {
  switch (value) {
    case FileFormat::kNpy:
      return v1::FILE_FORMAT_NPY;
    case FileFormat::kNpz:
      return v1::FILE_FORMAT_NPZ;
    case FileFormat::kCsv:
      return v1::FILE_FORMAT_CSV;
    case FileFormat::kIdx:
      return v1::FILE_FORMAT_IDX;
    case FileFormat::kPng:
      return v1::FILE_FORMAT_PNG;
  }
  return v1::FILE_FORMAT_UNSPECIFIED;
}

absl::StatusOr<ImageFeatures> FromProto(v1::ImageFeatures value) {
  switch (value) {
    case v1::IMAGE_FEATURES_UNSPECIFIED:
    case v1::IMAGE_FEATURES_SCALED:
      return ImageFeatures::kScaled;
    case v1::IMAGE_FEATURES_RAW_INTEGER:
      return ImageFeatures::kRawInteger;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "image.features"), value);
  }
}

v1::ImageFeatures ToProto(ImageFeatures value) {
  switch (value) {
    case ImageFeatures::kScaled:
      return v1::IMAGE_FEATURES_SCALED;
    case ImageFeatures::kRawInteger:
      return v1::IMAGE_FEATURES_RAW_INTEGER;
  }
  return v1::IMAGE_FEATURES_UNSPECIFIED;
}

absl::StatusOr<ScalingMode> FromProto(v1::ScalingMode value) {
  switch (value) {
    case v1::SCALING_MODE_UNSPECIFIED:
    case v1::SCALING_MODE_NONE:
      return ScalingMode::kNone;
    case v1::SCALING_MODE_STANDARDISE:
      return ScalingMode::kStandardise;
    case v1::SCALING_MODE_UNIT_RANGE:
      return ScalingMode::kUnitRange;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "scaling"), value);
  }
}

v1::ScalingMode ToProto(ScalingMode value) {
  switch (value) {
    case ScalingMode::kNone:
      return v1::SCALING_MODE_NONE;
    case ScalingMode::kStandardise:
      return v1::SCALING_MODE_STANDARDISE;
    case ScalingMode::kUnitRange:
      return v1::SCALING_MODE_UNIT_RANGE;
  }
  return v1::SCALING_MODE_UNSPECIFIED;
}

absl::StatusOr<SelectionCriterion> FromProto(v1::SelectionCriterion value) {
  switch (value) {
    case v1::SELECTION_CRITERION_UNSPECIFIED:
    case v1::SELECTION_CRITERION_INFORMATION:
      return SelectionCriterion::kInformation;
    case v1::SELECTION_CRITERION_HELD_OUT:
      return SelectionCriterion::kHeldOut;
    case v1::SELECTION_CRITERION_K_FOLD:
      return SelectionCriterion::kKFold;
    default:
      return UnknownEnumValue("job.recovery.path.criterion", value);
  }
}

v1::SelectionCriterion ToProto(SelectionCriterion value) {
  switch (value) {
    case SelectionCriterion::kInformation:
      return v1::SELECTION_CRITERION_INFORMATION;
    case SelectionCriterion::kHeldOut:
      return v1::SELECTION_CRITERION_HELD_OUT;
    case SelectionCriterion::kKFold:
      return v1::SELECTION_CRITERION_K_FOLD;
  }
  return v1::SELECTION_CRITERION_UNSPECIFIED;
}

absl::StatusOr<PathSearch> FromProto(v1::PathSearch value) {
  switch (value) {
    case v1::PATH_SEARCH_UNSPECIFIED:
    case v1::PATH_SEARCH_GRID:
      return PathSearch::kGrid;
    case v1::PATH_SEARCH_GOLDEN_SECTION:
      return PathSearch::kGoldenSection;
    default:
      return UnknownEnumValue("job.recovery.path.search", value);
  }
}

v1::PathSearch ToProto(PathSearch value) {
  switch (value) {
    case PathSearch::kGrid:
      return v1::PATH_SEARCH_GRID;
    case PathSearch::kGoldenSection:
      return v1::PATH_SEARCH_GOLDEN_SECTION;
  }
  return v1::PATH_SEARCH_UNSPECIFIED;
}

v1::TerminationReason ToProto(TerminationReason value) {
  switch (value) {
    case TerminationReason::kConverged:
      return v1::TERMINATION_REASON_CONVERGED;
    case TerminationReason::kStagnated:
      return v1::TERMINATION_REASON_STAGNATED;
    case TerminationReason::kIterationLimit:
      return v1::TERMINATION_REASON_ITERATION_LIMIT;
    case TerminationReason::kTimeLimit:
      return v1::TERMINATION_REASON_TIME_LIMIT;
    case TerminationReason::kCancelled:
      return v1::TERMINATION_REASON_CANCELLED;
    case TerminationReason::kEarlyStopped:
      return v1::TERMINATION_REASON_EARLY_STOPPED;
  }
  return v1::TERMINATION_REASON_UNSPECIFIED;
}

v1::JobState ToProto(store::JobState state) { return static_cast<v1::JobState>(state); }
// The store's numbers are the wire's.
static_assert(static_cast<int>(store::JobState::kQueued) == v1::JOB_STATE_QUEUED);
static_assert(static_cast<int>(store::JobState::kRunning) == v1::JOB_STATE_RUNNING);
static_assert(static_cast<int>(store::JobState::kSucceeded) == v1::JOB_STATE_SUCCEEDED);
static_assert(static_cast<int>(store::JobState::kFailed) == v1::JOB_STATE_FAILED);
static_assert(static_cast<int>(store::JobState::kCancelled) == v1::JOB_STATE_CANCELLED);
static_assert(static_cast<int>(store::NetworkKind::kRelu) == v1::NETWORK_KIND_RELU);
static_assert(static_cast<int>(store::NetworkKind::kGated) == v1::NETWORK_KIND_GATED);

// ----- Recovery. -----

absl::StatusOr<Loss> FromProto(v1::Loss value, std::string_view field) {
  switch (value) {
    case v1::LOSS_UNSPECIFIED:
    case v1::LOSS_SQUARED:
      return Loss::kSquared;
    case v1::LOSS_CROSS_ENTROPY:
      return Loss::kCrossEntropy;
    case v1::LOSS_LOGISTIC:
      return Loss::kLogistic;
    default:
      return UnknownEnumValue(field, value);
  }
}

v1::Loss ToProto(Loss value) {
  switch (value) {
    case Loss::kSquared:
      return v1::LOSS_SQUARED;
    case Loss::kCrossEntropy:
      return v1::LOSS_CROSS_ENTROPY;
    case Loss::kLogistic:
      return v1::LOSS_LOGISTIC;
  }
  return v1::LOSS_UNSPECIFIED;
}

absl::StatusOr<RecoveryOptions> FromProto(const v1::RecoveryOptions& options) {
  RecoveryOptions result;
  result.hidden_width = options.hidden_width();
  result.nonzeros = options.nonzeros();
  const auto working = PositiveOr0(options.has_working_nonzeros(), options.working_nonzeros(),
                                   "job.recovery.options.working_nonzeros");
  if (!working.ok()) return working.status();
  result.working_nonzeros = *working;
  const auto algorithm = FromProto(options.algorithm());
  if (!algorithm.ok()) return algorithm.status();
  result.algorithm = *algorithm;
  const auto gate_mode = FromProto(options.gate_mode());
  if (!gate_mode.ok()) return gate_mode.status();
  result.gate_mode = *gate_mode;
  const auto signs = FromProto(options.output_signs(), "job.recovery.options.output_signs");
  if (!signs.ok()) return signs.status();
  result.output_signs = *signs;
  result.bias = options.bias();
  result.linear_term = options.linear_term();
  result.hidden_layers = options.hidden_layers() == 0 ? 1 : options.hidden_layers();
  const auto loss = FromProto(options.loss(), "job.recovery.options.loss");
  if (!loss.ok()) return loss.status();
  result.loss = *loss;
  result.choose_loss = options.loss() == v1::LOSS_UNSPECIFIED;
  result.seed = options.seed();
  if (options.has_step_size()) result.step_size = options.step_size();
  const auto batch_size = PositiveOr0(options.has_batch_size(), options.batch_size(),
                                      "job.recovery.options.batch_size");
  if (!batch_size.ok()) return batch_size.status();
  result.batch_size = *batch_size;
  TerminationCriteria& termination = result.termination;
  if (options.has_max_iterations()) termination.max_iterations = options.max_iterations();
  if (options.has_relative_residual_tolerance()) {
    termination.relative_residual_tolerance = options.relative_residual_tolerance();
  }
  if (options.has_stagnation_iterations()) {
    termination.stagnation_iterations = options.stagnation_iterations();
  }
  return result;
}

v1::RecoveryOptions ToProto(const RecoveryOptions& options) {
  v1::RecoveryOptions result;
  result.set_hidden_width(options.hidden_width);
  result.set_nonzeros(options.nonzeros);
  if (options.working_nonzeros > 0) result.set_working_nonzeros(options.working_nonzeros);
  result.set_algorithm(ToProto(options.algorithm));
  result.set_gate_mode(ToProto(options.gate_mode));
  result.set_output_signs(ToProto(options.output_signs));
  result.set_bias(options.bias);
  result.set_linear_term(options.linear_term);
  result.set_hidden_layers(options.hidden_layers);
  if (!options.choose_loss) result.set_loss(ToProto(options.loss));
  result.set_seed(options.seed);
  if (options.step_size) result.set_step_size(*options.step_size);
  if (options.batch_size > 0) result.set_batch_size(options.batch_size);
  result.set_max_iterations(options.termination.max_iterations);
  result.set_relative_residual_tolerance(options.termination.relative_residual_tolerance);
  result.set_stagnation_iterations(options.termination.stagnation_iterations);
  return result;
}

absl::StatusOr<PathOptions> FromProto(const v1::PathOptions& path) {
  PathOptions result;
  result.min_nonzeros = path.min_nonzeros();
  result.max_nonzeros = path.max_nonzeros();
  const auto criterion = FromProto(path.criterion());
  if (!criterion.ok()) return criterion.status();
  result.criterion = *criterion;
  const auto search = FromProto(path.search());
  if (!search.ok()) return search.status();
  result.search = *search;
  if (path.has_validation_fraction()) {
    if (result.criterion != SelectionCriterion::kHeldOut) {
      return InvalidField("job.recovery.path.validation_fraction",
                          "only the held-out criterion holds samples out; leave it unset or "
                          "choose that criterion");
    }
    result.validation_fraction = path.validation_fraction();
  }
  if (path.has_num_folds()) {
    if (result.criterion != SelectionCriterion::kKFold) {
      return InvalidField("job.recovery.path.num_folds",
                          "only the k-fold criterion has folds; leave it unset or choose that "
                          "criterion");
    }
    result.num_folds = path.num_folds();
  }
  if (path.has_max_points()) result.max_points = path.max_points();
  return result;
}

v1::PathOptions ToProto(const PathOptions& path) {
  v1::PathOptions result;
  result.set_min_nonzeros(path.min_nonzeros);
  result.set_max_nonzeros(path.max_nonzeros);
  result.set_criterion(ToProto(path.criterion));
  result.set_search(ToProto(path.search));
  if (path.criterion == SelectionCriterion::kHeldOut) {
    result.set_validation_fraction(path.validation_fraction);
  }
  if (path.criterion == SelectionCriterion::kKFold) result.set_num_folds(path.num_folds);
  result.set_max_points(path.max_points);
  return result;
}

v1::PathPoint ToProto(const PathPoint& point) {
  v1::PathPoint result;
  result.set_nonzeros(point.nonzeros);
  result.set_relative_residual(point.relative_residual);
  if (point.held_out_relative_residual) {
    result.set_held_out_relative_residual(*point.held_out_relative_residual);
  }
  result.set_criterion_value(point.criterion_value);
  result.set_active_neurons(point.active_neurons);
  result.set_iterations(point.iterations);
  *result.mutable_elapsed() = ToDuration(point.elapsed_seconds);
  result.set_chosen(point.chosen);
  return result;
}

namespace {

// `prefix`: the message's field in the request.
absl::StatusOr<std::string> HeldOutDataset(const std::string& name, const std::string& prefix) {
  if (name.empty()) return name;
  return IdFromName(name, kDatasets, prefix + ".held_out_dataset");
}

// Of a v1::RecoverySpec or v1::PruningSpec.
template <typename Spec>
absl::StatusOr<store::SampleSplit> SplitFromProto(const Spec& spec, const std::string& prefix) {
  store::SampleSplit split;
  auto held_out = HeldOutDataset(spec.held_out_dataset(), prefix);
  if (!held_out.ok()) return held_out.status();
  split.held_out_dataset_id = *std::move(held_out);
  if (!split.held_out_dataset_id.empty()) split.held_out_fraction = 0;
  if (spec.has_held_out_fraction()) split.held_out_fraction = spec.held_out_fraction();
  if (!(split.held_out_fraction >= 0 && split.held_out_fraction < 1)) {
    return InvalidField(prefix + ".held_out_fraction", "must be at least 0 and less than 1");
  }
  split.split_seed = spec.split_seed();
  if (!spec.has_validation()) return split;
  store::ValidationSpec& validation = split.validation.emplace();
  validation.patience = spec.validation().patience();
  if (spec.validation().has_fraction()) validation.fraction = spec.validation().fraction();
  if (spec.validation().has_dataset()) {
    auto id = IdFromName(spec.validation().dataset(), kDatasets, prefix + ".validation.dataset");
    if (!id.ok()) return id.status();
    validation.dataset_id = *std::move(id);
  }
  return split;
}

template <typename Spec>
void AddSplit(const store::SampleSplit& split, Spec& spec) {
  spec.set_held_out_fraction(split.held_out_fraction);
  spec.set_split_seed(split.split_seed);
  if (!split.held_out_dataset_id.empty()) {
    spec.set_held_out_dataset(Concatenated(kDatasets, split.held_out_dataset_id));
  }
  if (!split.validation) return;
  v1::Validation& validation = *spec.mutable_validation();
  validation.set_patience(split.validation->patience);
  if (split.validation->dataset_id.empty()) {
    validation.set_fraction(split.validation->fraction);
  } else {
    validation.set_dataset(Concatenated(kDatasets, split.validation->dataset_id));
  }
}

}  // namespace

absl::StatusOr<store::RecoverySpec> FromProto(const v1::RecoverySpec& spec) {
  store::RecoverySpec result;
  auto dataset = IdFromName(spec.dataset(), kDatasets, "job.recovery.dataset");
  if (!dataset.ok()) return dataset.status();
  result.dataset_id = *std::move(dataset);
  if (!spec.has_options()) {
    return InvalidField("job.recovery.options", "is required: it holds the budget of weights");
  }
  auto options = FromProto(spec.options());
  if (!options.ok()) return options.status();
  result.options = *std::move(options);
  auto split = SplitFromProto(spec, "job.recovery");
  if (!split.ok()) return split.status();
  result.split = *std::move(split);
  if (!spec.initial_model().empty()) {
    auto model = IdFromName(spec.initial_model(), kModels, "job.recovery.initial_model");
    if (!model.ok()) return model.status();
    result.initial_model_id = *std::move(model);
  }
  if (spec.has_path()) {
    const auto path = FromProto(spec.path());
    if (!path.ok()) return path.status();
    result.path = *path;
  }
  return result;
}

v1::RecoverySpec ToProto(const store::RecoverySpec& spec) {
  v1::RecoverySpec result;
  result.set_dataset(Concatenated(kDatasets, spec.dataset_id));
  *result.mutable_options() = ToProto(spec.options);
  AddSplit(spec.split, result);
  if (!spec.initial_model_id.empty()) {
    result.set_initial_model(Concatenated(kModels, spec.initial_model_id));
  }
  if (spec.path) *result.mutable_path() = ToProto(*spec.path);
  return result;
}

v1::SolvePhase ToProto(SolvePhase value) {
  switch (value) {
    case SolvePhase::kIterate:
      return v1::SOLVE_PHASE_ITERATE;
    case SolvePhase::kStart:
      return v1::SOLVE_PHASE_START;
    case SolvePhase::kExpand:
      return v1::SOLVE_PHASE_EXPAND;
    case SolvePhase::kPrune:
      return v1::SOLVE_PHASE_PRUNE;
    case SolvePhase::kTrain:
      return v1::SOLVE_PHASE_TRAIN;
    case SolvePhase::kSwap:
      return v1::SOLVE_PHASE_SWAP;
  }
  return v1::SOLVE_PHASE_UNSPECIFIED;
}

v1::FitQuality ToProto(const FitQuality& quality) {
  v1::FitQuality result;
  result.set_num_samples(quality.num_samples);
  result.set_relative_residual(quality.relative_residual);
  result.set_psnr_db(quality.psnr_db);
  if (quality.accuracy) result.set_accuracy(*quality.accuracy);
  if (quality.loss) result.set_loss(*quality.loss);
  if (quality.r_squared) result.set_r_squared(*quality.r_squared);
  return result;
}

v1::IterationReport ToProto(const IterationReport& report) {
  v1::IterationReport result;
  result.set_iteration(report.iteration);
  result.set_relative_residual(report.relative_residual);
  result.set_psnr_db(report.psnr_db);
  result.set_step_size(report.step_size);
  result.set_support_size(report.support_size);
  result.set_support_changes(report.support_changes);
  result.set_active_neurons(report.active_neurons);
  result.set_best_relative_residual(report.best_relative_residual);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  result.set_phase(ToProto(report.phase));
  result.set_start(report.start);
  result.set_path_nonzeros(report.path_nonzeros);
  result.set_path_points(report.path_points);
  if (report.loss) result.set_loss(*report.loss);
  if (report.accuracy) result.set_accuracy(*report.accuracy);
  if (report.r_squared) result.set_r_squared(*report.r_squared);
  if (report.validation) *result.mutable_validation() = ToProto(*report.validation);
  return result;
}

v1::PlantedComparison ToProto(const PlantedComparison& comparison) {
  v1::PlantedComparison result;
  result.set_support_recall(comparison.support_recall);
  result.set_support_precision(comparison.support_precision);
  result.set_relative_weight_error(comparison.relative_weight_error);
  result.set_relative_function_error(comparison.relative_function_error);
  result.set_exact(comparison.exact);
  result.set_planted_neurons(comparison.planted_neurons);
  result.set_recovered_neurons(comparison.recovered_neurons);
  return result;
}

v1::Verdict ToProto(Verdict value) {
  switch (value) {
    case Verdict::kExplains:
      return v1::VERDICT_EXPLAINS;
    case Verdict::kApproximates:
      return v1::VERDICT_APPROXIMATES;
    case Verdict::kUnchecked:
      return v1::VERDICT_UNCHECKED;
    case Verdict::kFitsNotGeneralises:
      return v1::VERDICT_FITS_NOT_GENERALISES;
    case Verdict::kDoesNotExplain:
      return v1::VERDICT_DOES_NOT_EXPLAIN;
    case Verdict::kUndetermined:
      return v1::VERDICT_UNDETERMINED;
  }
  return v1::VERDICT_UNSPECIFIED;
}

v1::RecoveryEvidence ToProto(const RecoveryEvidence& evidence) {
  v1::RecoveryEvidence result;
  result.set_verdict(ToProto(evidence.verdict));
  result.mutable_findings()->Assign(evidence.findings.begin(), evidence.findings.end());
  result.set_weakest_kept(evidence.weakest_kept);
  if (evidence.strongest_left_out) result.set_strongest_left_out(*evidence.strongest_left_out);
  if (evidence.smallest_saliency) result.set_smallest_saliency(*evidence.smallest_saliency);
  if (evidence.conditioning) {
    v1::Conditioning& conditioning = *result.mutable_conditioning();
    conditioning.set_smallest_eigenvalue(evidence.conditioning->smallest_eigenvalue);
    conditioning.set_largest_eigenvalue(evidence.conditioning->largest_eigenvalue);
    conditioning.set_kappa(evidence.conditioning->kappa());
    conditioning.set_is_bound(evidence.conditioning->is_bound);
  }
  if (evidence.hard_thresholding_nonzeros) {
    result.set_hard_thresholding_nonzeros(*evidence.hard_thresholding_nonzeros);
  }
  if (evidence.reciprocal_thresholding_nonzeros) {
    result.set_reciprocal_thresholding_nonzeros(*evidence.reciprocal_thresholding_nonzeros);
  }
  result.set_smallest_active_fraction(evidence.smallest_active_fraction);
  if (evidence.smallest_pattern_difference) {
    result.set_smallest_pattern_difference(*evidence.smallest_pattern_difference);
  }
  result.set_compared_patterns(evidence.compared_patterns);
  result.set_starts_tried(evidence.starts_tried);
  result.set_starts_agreeing(evidence.starts_agreeing);
  result.set_distinct_samples(evidence.distinct_samples);
  return result;
}

v1::RecoveryReport ToProto(const store::RecoveryReport& report) {
  v1::RecoveryReport result;
  result.set_termination_reason(ToProto(report.termination_reason));
  result.set_iterations(report.iterations);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  *result.mutable_options_used() = ToProto(report.options_used);
  *result.mutable_training() = ToProto(report.training);
  if (report.held_out) *result.mutable_held_out() = ToProto(*report.held_out);
  if (report.validation) *result.mutable_validation() = ToProto(*report.validation);
  result.set_best_iteration(report.best_iteration);
  if (report.planted) *result.mutable_planted() = ToProto(*report.planted);
  result.set_nonzeros(report.nonzeros);
  result.set_active_neurons(report.active_neurons);
  result.set_partial(report.partial);
  if (report.evidence) *result.mutable_evidence() = ToProto(*report.evidence);
  for (const PathPoint& point : report.path) *result.add_path() = ToProto(point);
  return result;
}

// ----- Pruning. -----

absl::StatusOr<PruneSchedule> FromProto(v1::PruneSchedule value) {
  switch (value) {
    case v1::PRUNE_SCHEDULE_UNSPECIFIED:
    case v1::PRUNE_SCHEDULE_ROUNDS:
      return PruneSchedule::kRounds;
    case v1::PRUNE_SCHEDULE_GRADUAL:
      return PruneSchedule::kGradual;
    default:
      return UnknownEnumValue("job.pruning.options.schedule", value);
  }
}

v1::PruneSchedule ToProto(PruneSchedule value) {
  switch (value) {
    case PruneSchedule::kRounds:
      return v1::PRUNE_SCHEDULE_ROUNDS;
    case PruneSchedule::kGradual:
      return v1::PRUNE_SCHEDULE_GRADUAL;
  }
  return v1::PRUNE_SCHEDULE_UNSPECIFIED;
}

absl::StatusOr<Saliency> FromProto(v1::Saliency value) {
  switch (value) {
    case v1::SALIENCY_UNSPECIFIED:
    case v1::SALIENCY_MAGNITUDE:
      return Saliency::kMagnitude;
    case v1::SALIENCY_FISHER:
      return Saliency::kFisher;
    default:
      return UnknownEnumValue("job.pruning.options.saliency", value);
  }
}

v1::Saliency ToProto(Saliency value) {
  switch (value) {
    case Saliency::kMagnitude:
      return v1::SALIENCY_MAGNITUDE;
    case Saliency::kFisher:
      return v1::SALIENCY_FISHER;
  }
  return v1::SALIENCY_UNSPECIFIED;
}

// A field of the other schedule is refused rather than ignored.
absl::Status OnlyFor(bool given, PruneSchedule wanted, PruneSchedule schedule,
                     std::string_view field) {
  if (!given || schedule == wanted) return absl::OkStatus();
  return InvalidField(Concatenated("job.pruning.options.", field),
                      Concatenated(Concatenated("is of the schedule ", PruneScheduleName(wanted)),
                                   "; leave it unset or choose that schedule"));
}

absl::StatusOr<PruneOptions> FromProto(const v1::PruningOptions& options) {
  if (options.method() != v1::PRUNING_METHOD_UNSPECIFIED &&
      options.method() != v1::PRUNING_METHOD_IMP) {
    if (v1::PruningMethod_IsValid(options.method())) {
      return InvalidField("job.pruning.options.method",
                          "prunes a model that there is; give model and model_options, or choose "
                          "imp");
    }
    return UnknownEnumValue("job.pruning.options.method", options.method());
  }
  PruneOptions result;
  result.hidden_widths.assign(options.hidden_widths().begin(), options.hidden_widths().end());
  result.nonzeros = options.nonzeros();
  result.bias = options.bias();
  const auto loss = FromProto(options.loss(), "job.pruning.options.loss");
  if (!loss.ok()) return loss.status();
  result.loss = *loss;
  result.choose_loss = options.loss() == v1::LOSS_UNSPECIFIED;
  if (options.has_epochs()) result.epochs = options.epochs();
  if (options.has_batch_size()) result.batch_size = options.batch_size();
  if (options.has_learning_rate()) result.learning_rate = options.learning_rate();
  result.learning_rate_decay = options.learning_rate_decay();
  const auto schedule = FromProto(options.schedule());
  if (!schedule.ok()) return schedule.status();
  result.schedule = *schedule;
  const auto saliency = FromProto(options.saliency());
  if (!saliency.ok()) return saliency.status();
  result.saliency = *saliency;
  for (const absl::Status& status :
       {OnlyFor(options.has_prune_fraction(), PruneSchedule::kRounds, *schedule, "prune_fraction"),
        OnlyFor(options.has_schedule_power(), PruneSchedule::kGradual, *schedule, "schedule_power"),
        OnlyFor(options.has_prune_end(), PruneSchedule::kGradual, *schedule, "prune_end")}) {
    if (!status.ok()) return status;
  }
  if (options.has_prune_fraction()) result.prune_fraction = options.prune_fraction();
  result.rewind_epoch = options.rewind_epoch();
  result.retrain_after_last_prune = options.retrain_after_last_prune();
  if (options.has_schedule_power()) result.schedule_power = options.schedule_power();
  if (options.has_prune_end()) result.prune_end = options.prune_end();
  result.seed = options.seed();
  return result;
}

v1::PruningOptions ToProto(const PruneOptions& options) {
  v1::PruningOptions result;
  result.set_method(v1::PRUNING_METHOD_IMP);
  result.mutable_hidden_widths()->Assign(options.hidden_widths.begin(),
                                         options.hidden_widths.end());
  result.set_nonzeros(options.nonzeros);
  result.set_bias(options.bias);
  if (!options.choose_loss) result.set_loss(ToProto(options.loss));
  result.set_epochs(options.epochs);
  result.set_batch_size(options.batch_size);
  result.set_learning_rate(options.learning_rate);
  result.set_learning_rate_decay(options.learning_rate_decay);
  result.set_schedule(ToProto(options.schedule));
  result.set_saliency(ToProto(options.saliency));
  if (options.schedule == PruneSchedule::kRounds) {
    result.set_prune_fraction(options.prune_fraction);
    result.set_rewind_epoch(options.rewind_epoch);
    result.set_retrain_after_last_prune(options.retrain_after_last_prune);
  } else {
    result.set_schedule_power(options.schedule_power);
    result.set_prune_end(options.prune_end);
  }
  result.set_seed(options.seed);
  return result;
}

// What a method of ModelPruningOptions is in core: training, or one shot of some kind.
struct MethodOfModel {
  bool train = true;
  OneShotMethod one_shot = OneShotMethod::kObs;
};

absl::StatusOr<MethodOfModel> FromProto(v1::PruningMethod value) {
  constexpr std::string_view kField = "job.pruning.model_options.method";
  switch (value) {
    case v1::PRUNING_METHOD_UNSPECIFIED:
    case v1::PRUNING_METHOD_DISTILL:
      return MethodOfModel();
    case v1::PRUNING_METHOD_MAGNITUDE:
      return MethodOfModel{.train = false, .one_shot = OneShotMethod::kMagnitude};
    case v1::PRUNING_METHOD_ACTIVATION:
      return MethodOfModel{.train = false, .one_shot = OneShotMethod::kActivation};
    case v1::PRUNING_METHOD_OBS:
      return MethodOfModel{.train = false, .one_shot = OneShotMethod::kObs};
    case v1::PRUNING_METHOD_CURVATURE:
      return MethodOfModel{.train = false, .one_shot = OneShotMethod::kCurvature};
    case v1::PRUNING_METHOD_IMP:
      return InvalidField(kField,
                          "imp trains a dense network from the start, by options; for a model "
                          "choose distill, obs, curvature, activation or magnitude");
    default:
      return UnknownEnumValue(kField, value);
  }
}

v1::PruningMethod MethodToProto(const store::ModelPruningOptions& options) {
  if (options.train) return v1::PRUNING_METHOD_DISTILL;
  switch (options.distill.one_shot.method) {
    case OneShotMethod::kMagnitude:
      return v1::PRUNING_METHOD_MAGNITUDE;
    case OneShotMethod::kActivation:
      return v1::PRUNING_METHOD_ACTIVATION;
    case OneShotMethod::kObs:
      return v1::PRUNING_METHOD_OBS;
    case OneShotMethod::kCurvature:
      return v1::PRUNING_METHOD_CURVATURE;
  }
  return v1::PRUNING_METHOD_UNSPECIFIED;
}

absl::StatusOr<PruneScope> FromProto(v1::PruneScope value) {
  switch (value) {
    case v1::PRUNE_SCOPE_UNSPECIFIED:
    case v1::PRUNE_SCOPE_GLOBAL:
      return PruneScope::kGlobal;
    case v1::PRUNE_SCOPE_PER_LAYER:
      return PruneScope::kPerLayer;
    default:
      return UnknownEnumValue("job.pruning.model_options.scope", value);
  }
}

v1::PruneScope ToProto(PruneScope value) {
  switch (value) {
    case PruneScope::kGlobal:
      return v1::PRUNE_SCOPE_GLOBAL;
    case PruneScope::kPerLayer:
      return v1::PRUNE_SCOPE_PER_LAYER;
  }
  return v1::PRUNE_SCOPE_UNSPECIFIED;
}

absl::StatusOr<PruneTargets> FromProto(v1::PruneTargets value) {
  switch (value) {
    case v1::PRUNE_TARGETS_UNSPECIFIED:
    case v1::PRUNE_TARGETS_NETWORK:
      return PruneTargets::kNetwork;
    case v1::PRUNE_TARGETS_LABELS:
      return PruneTargets::kLabels;
    default:
      return UnknownEnumValue("job.pruning.model_options.targets", value);
  }
}

v1::PruneTargets ToProto(PruneTargets value) {
  switch (value) {
    case PruneTargets::kNetwork:
      return v1::PRUNE_TARGETS_NETWORK;
    case PruneTargets::kLabels:
      return v1::PRUNE_TARGETS_LABELS;
  }
  return v1::PRUNE_TARGETS_UNSPECIFIED;
}

// A field of other methods is refused rather than ignored.
absl::Status FieldsOfMethod(const v1::ModelPruningOptions& options, const MethodOfModel& method) {
  const auto only_for = [](bool given, bool has, std::string_view field, std::string_view methods) {
    if (!given || has) return absl::OkStatus();
    return InvalidField(
        Concatenated("job.pruning.model_options.", field),
        Concatenated(Concatenated("is of ", methods), "; leave it unset or choose that method"));
  };
  const bool curvature = !method.train && method.one_shot == OneShotMethod::kCurvature;
  const bool looks_at_samples = method.train || method.one_shot != OneShotMethod::kMagnitude;
  const bool solves = looks_at_samples && method.one_shot != OneShotMethod::kActivation;
  for (const absl::Status& status :
       {only_for(options.targets() != v1::PRUNE_TARGETS_UNSPECIFIED, method.train, "targets",
                 "distill"),
        only_for(options.has_damping(), solves, "damping", "distill, obs and curvature"),
        only_for(options.has_max_samples(), looks_at_samples, "max_samples",
                 "distill, obs, curvature and activation"),
        only_for(options.has_stages(), curvature, "stages", "curvature"),
        only_for(options.has_start_factor(), method.train, "start_factor", "distill"),
        only_for(options.has_epochs(), method.train, "epochs", "distill"),
        only_for(options.has_batch_size(), method.train, "batch_size", "distill"),
        only_for(options.has_learning_rate(), method.train, "learning_rate", "distill"),
        only_for(options.has_learning_rate_decay(), method.train, "learning_rate_decay", "distill"),
        only_for(options.has_schedule_power(), method.train, "schedule_power", "distill"),
        only_for(options.has_prune_end(), method.train, "prune_end", "distill")}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<store::PruningPath> FromProto(const v1::PruningPath& path) {
  constexpr std::string_view kField = "job.pruning.model_options.path.";
  store::PruningPath result;
  const auto min = PositiveOr0(path.has_min_nonzeros(), path.min_nonzeros(),
                               Concatenated(kField, "min_nonzeros"));
  if (!min.ok()) return min.status();
  result.min_nonzeros = *min;
  const auto max = PositiveOr0(path.has_max_nonzeros(), path.max_nonzeros(),
                               Concatenated(kField, "max_nonzeros"));
  if (!max.ok()) return max.status();
  result.max_nonzeros = *max;
  if (path.has_num_points()) result.num_points = path.num_points();
  return result;
}

absl::Status AddBudget(const v1::ModelPruningOptions& options, store::ModelPruningOptions& result) {
  switch (options.budget_case()) {
    case v1::ModelPruningOptions::kNonzeros:
      if (options.nonzeros() < 1) {
        return InvalidField("job.pruning.model_options.nonzeros", "must be at least 1");
      }
      result.distill.one_shot.nonzeros = options.nonzeros();
      break;
    case v1::ModelPruningOptions::kFraction:
      if (!(options.fraction() > 0 && options.fraction() <= 1)) {
        return InvalidField("job.pruning.model_options.fraction",
                            "must be above 0 and at most 1: a share of the model's weights");
      }
      result.fraction = options.fraction();
      break;
    case v1::ModelPruningOptions::kPath: {
      const auto path = FromProto(options.path());
      if (!path.ok()) return path.status();
      result.path = *path;
      break;
    }
    case v1::ModelPruningOptions::BUDGET_NOT_SET:
      break;  // in a sweep the cell's
  }
  return absl::OkStatus();
}

absl::StatusOr<store::ModelPruningOptions> FromProto(const v1::ModelPruningOptions& options) {
  store::ModelPruningOptions result;
  const auto method = FromProto(options.method());
  if (!method.ok()) return method.status();
  if (absl::Status status = FieldsOfMethod(options, *method); !status.ok()) return status;
  result.train = method->train;
  DistillOptions& distill = result.distill;
  OneShotOptions& one_shot = distill.one_shot;
  one_shot.method = method->one_shot;
  if (absl::Status status = AddBudget(options, result); !status.ok()) return status;
  const auto scope = FromProto(options.scope());
  if (!scope.ok()) return scope.status();
  one_shot.scope = *scope;
  one_shot.pattern_kept = options.pattern_kept();
  one_shot.pattern_size = options.pattern_size();
  one_shot.whole_neurons = options.whole_neurons();
  if (options.loss() != v1::LOSS_UNSPECIFIED) {
    const auto loss = FromProto(options.loss(), "job.pruning.model_options.loss");
    if (!loss.ok()) return loss.status();
    result.loss = *loss;
  }
  const auto targets = FromProto(options.targets());
  if (!targets.ok()) return targets.status();
  distill.targets = *targets;
  if (options.has_damping()) {
    if (!(options.damping() > 0 && options.damping() <= 1)) {
      return InvalidField("job.pruning.model_options.damping", "must be above 0 and at most 1");
    }
    one_shot.damping = options.damping();
  }
  if (options.has_max_samples()) one_shot.max_samples = options.max_samples();
  if (options.has_stages()) one_shot.stages = options.stages();
  if (options.has_start_factor()) distill.start_factor = options.start_factor();
  if (options.has_epochs()) distill.epochs = options.epochs();
  if (options.has_batch_size()) distill.batch_size = options.batch_size();
  if (options.has_learning_rate()) distill.learning_rate = options.learning_rate();
  if (options.has_learning_rate_decay()) {
    distill.learning_rate_decay = options.learning_rate_decay();
  }
  if (options.has_schedule_power()) distill.schedule_power = options.schedule_power();
  if (options.has_prune_end()) distill.prune_end = options.prune_end();
  one_shot.seed = options.seed();
  return result;
}

v1::ModelPruningOptions ToProto(const store::ModelPruningOptions& options) {
  const DistillOptions& distill = options.distill;
  const OneShotOptions& one_shot = distill.one_shot;
  v1::ModelPruningOptions result;
  result.set_method(MethodToProto(options));
  if (options.path) {
    v1::PruningPath& path = *result.mutable_path();
    if (options.path->min_nonzeros > 0) path.set_min_nonzeros(options.path->min_nonzeros);
    if (options.path->max_nonzeros > 0) path.set_max_nonzeros(options.path->max_nonzeros);
    path.set_num_points(options.path->num_points);
  } else if (options.fraction) {
    result.set_fraction(*options.fraction);
  } else if (one_shot.nonzeros > 0) {  // in a sweep the cell's
    result.set_nonzeros(one_shot.nonzeros);
  }
  result.set_scope(ToProto(one_shot.scope));
  result.set_pattern_kept(one_shot.pattern_kept);
  result.set_pattern_size(one_shot.pattern_size);
  result.set_whole_neurons(one_shot.whole_neurons);
  if (options.loss) result.set_loss(ToProto(*options.loss));
  const bool looks_at_samples = options.train || one_shot.method != OneShotMethod::kMagnitude;
  if (looks_at_samples) result.set_max_samples(one_shot.max_samples);
  if (looks_at_samples && one_shot.method != OneShotMethod::kActivation && one_shot.damping > 0) {
    result.set_damping(one_shot.damping);
  }
  result.set_seed(one_shot.seed);
  if (!options.train) {
    if (one_shot.method == OneShotMethod::kCurvature) result.set_stages(one_shot.stages);
    return result;
  }
  result.set_targets(ToProto(distill.targets));
  result.set_start_factor(distill.start_factor);
  result.set_epochs(distill.epochs);
  result.set_batch_size(distill.batch_size);
  result.set_learning_rate(distill.learning_rate);
  result.set_learning_rate_decay(distill.learning_rate_decay);
  result.set_schedule_power(distill.schedule_power);
  result.set_prune_end(distill.prune_end);
  return result;
}

// A network to train or one to prune.
absl::Status AddWhatToPrune(const v1::PruningSpec& spec, store::PruningSpec& result) {
  if (spec.model().empty()) {
    if (spec.has_model_options()) {
      return InvalidField("job.pruning.model", "is required with model_options: which model?");
    }
    if (!spec.has_options()) {
      return InvalidField("job.pruning.options",
                          "is required: it holds the budget of weights; or model and model_options "
                          "to prune a model");
    }
    auto options = FromProto(spec.options());
    if (!options.ok()) return options.status();
    result.options = *std::move(options);
    return absl::OkStatus();
  }
  auto model = IdFromName(spec.model(), kModels, "job.pruning.model");
  if (!model.ok()) return model.status();
  result.model_id = *std::move(model);
  if (spec.has_options()) {
    return InvalidField("job.pruning.options",
                        "is for a network that is trained; give model_options with model");
  }
  if (!spec.has_model_options()) {
    return InvalidField("job.pruning.model_options", "is required: it holds the budget of weights");
  }
  if (spec.model_options().budget_case() == v1::ModelPruningOptions::BUDGET_NOT_SET) {
    return InvalidField("job.pruning.model_options.nonzeros",
                        "is required, or fraction or path: how many weights may stay?");
  }
  auto options = FromProto(spec.model_options());
  if (!options.ok()) return options.status();
  result.model_options = *std::move(options);
  return absl::OkStatus();
}

absl::StatusOr<store::PruningSpec> FromProto(const v1::PruningSpec& spec) {
  store::PruningSpec result;
  auto dataset = IdFromName(spec.dataset(), kDatasets, "job.pruning.dataset");
  if (!dataset.ok()) return dataset.status();
  result.dataset_id = *std::move(dataset);
  if (absl::Status status = AddWhatToPrune(spec, result); !status.ok()) return status;
  auto split = SplitFromProto(spec, "job.pruning");
  if (!split.ok()) return split.status();
  result.split = *std::move(split);
  return result;
}

v1::PruningSpec ToProto(const store::PruningSpec& spec) {
  v1::PruningSpec result;
  result.set_dataset(Concatenated(kDatasets, spec.dataset_id));
  if (spec.model_id.empty()) {
    *result.mutable_options() = ToProto(spec.options);
  } else {
    result.set_model(Concatenated(kModels, spec.model_id));
    *result.mutable_model_options() = ToProto(spec.model_options);
  }
  AddSplit(spec.split, result);
  return result;
}

v1::PruningFit ToProto(const store::PruningFit& fit) {
  v1::PruningFit result;
  result.set_num_samples(fit.num_samples);
  result.set_loss(fit.fit.loss);
  if (fit.fit.psnr_db) result.set_psnr_db(*fit.fit.psnr_db);
  if (fit.fit.accuracy) result.set_accuracy(*fit.fit.accuracy);
  if (fit.fit.r_squared) result.set_r_squared(*fit.fit.r_squared);
  return result;
}

v1::EpochReport ToProto(const PruneReport& report) {
  v1::EpochReport result;
  result.set_iteration(report.iteration);
  result.set_round(report.round);
  result.set_epoch(report.epoch);
  result.set_loss(report.fit.loss);
  if (report.fit.psnr_db) result.set_psnr_db(*report.fit.psnr_db);
  if (report.fit.accuracy) result.set_accuracy(*report.fit.accuracy);
  if (report.fit.r_squared) result.set_r_squared(*report.fit.r_squared);
  result.set_nonzeros(report.nonzeros);
  result.set_learning_rate(report.learning_rate);
  result.set_divergences(report.divergences);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  result.set_path_nonzeros(report.path_nonzeros);
  if (report.validation) {
    *result.mutable_validation() = ToProto(store::PruningFit{.fit = *report.validation});
  }
  return result;
}

v1::PruningPathPoint ToProto(const store::PruningPathPoint& point) {
  v1::PruningPathPoint result;
  result.set_budget(point.budget);
  result.set_nonzeros(point.nonzeros);
  result.set_active_neurons(point.active_neurons);
  *result.mutable_training() = ToProto(point.training);
  if (point.held_out) *result.mutable_held_out() = ToProto(*point.held_out);
  result.set_iterations(point.iterations);
  *result.mutable_elapsed() = ToDuration(point.elapsed_seconds);
  result.set_knee(point.knee);
  if (!point.model_id.empty()) result.set_model(Concatenated(kModels, point.model_id));
  return result;
}

v1::ModelPruningReport ToProto(const store::ModelPruningReport& report) {
  v1::ModelPruningReport result;
  *result.mutable_options_used() = ToProto(report.options_used);
  *result.mutable_given_training() = ToProto(report.given_training);
  if (report.given_held_out) *result.mutable_given_held_out() = ToProto(*report.given_held_out);
  result.set_given_nonzeros(report.given_nonzeros);
  result.set_given_active_neurons(report.given_active_neurons);
  for (const store::PruningPathPoint& point : report.path) *result.add_path() = ToProto(point);
  return result;
}

v1::PruningReport ToProto(const store::PruningReport& report) {
  v1::PruningReport result;
  result.set_termination_reason(ToProto(report.termination_reason));
  result.set_iterations(report.iterations);
  result.set_rounds(report.rounds);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  if (report.model) {
    *result.mutable_model_report() = ToProto(*report.model);
  } else {
    *result.mutable_options_used() = ToProto(report.options_used);
  }
  *result.mutable_training() = ToProto(report.training);
  if (report.held_out) *result.mutable_held_out() = ToProto(*report.held_out);
  if (report.validation) *result.mutable_validation() = ToProto(*report.validation);
  result.set_best_iteration(report.best_iteration);
  result.set_nonzeros(report.nonzeros);
  result.set_active_neurons(report.active_neurons);
  result.set_divergences(report.divergences);
  result.set_partial(report.partial);
  return result;
}

// ----- Data sets. -----

v1::PlantedSource ToProto(const PlantedOptions& options) {
  v1::PlantedSource result;
  result.set_num_samples(options.num_samples);
  result.set_num_inputs(options.num_inputs);
  result.set_hidden_width(options.hidden_width);
  result.set_nonzeros(options.nonzeros);
  result.set_seed(options.seed);
  if (options.noise_db) result.set_noise_db(*options.noise_db);
  result.set_output_signs(ToProto(options.output_signs));
  result.set_weight_distribution(ToProto(options.weight_distribution));
  result.set_input_distribution(ToProto(options.input_distribution));
  result.set_input_correlation(options.input_correlation);
  result.set_linear_term(options.linear_term);
  result.set_num_outputs(options.num_outputs);
  result.set_hidden_layers(options.hidden_layers);
  return result;
}

v1::ImageOptions ToProto(const ImageOptions& options) {
  v1::ImageOptions result;
  result.set_features(ToProto(options.features));
  result.set_num_features(options.num_features);
  if (options.sigma) result.set_sigma(*options.sigma);
  if (options.channel_sigma) result.set_channel_sigma(*options.channel_sigma);
  result.set_seed(options.seed);
  if (options.crop != Crop{}) {
    result.mutable_crop()->set_width(options.crop.width);
    result.mutable_crop()->set_height(options.crop.height);
    result.mutable_crop()->set_left(options.crop.left);
    result.mutable_crop()->set_top(options.crop.top);
  }
  result.set_index(options.index);
  return result;
}

v1::UploadSource ToProto(const ReadOptions& options) {
  v1::UploadSource result;
  result.set_format(ToProto(options.format));
  if (options.format == FileFormat::kNpz) {
    result.set_inputs_member(options.inputs_member);
    result.set_targets_member(options.targets_member);
  }
  result.mutable_target_columns()->Assign(options.target_columns.begin(),
                                          options.target_columns.end());
  result.mutable_ignored_columns()->Assign(options.ignored_columns.begin(),
                                           options.ignored_columns.end());
  result.set_targets_are_classes(options.targets_are_classes);
  result.mutable_classes()->Assign(options.classes.begin(), options.classes.end());
  result.set_scaling(ToProto(options.scaling));
  if (options.image) *result.mutable_image() = ToProto(*options.image);
  return result;
}

// ----- Sweeps. -----

// What a part of the sweep says about its own message is said about the message in the sweep.
absl::Status InSweep(const absl::Status& status, std::string_view from, std::string_view to) {
  const std::string_view message(status.message().data(), status.message().size());
  if (!absl::IsInvalidArgument(status) || !message.starts_with(from)) return status;
  const std::string_view rest = message.substr(from.size());
  const size_t colon = rest.find(": ");
  if (colon == std::string_view::npos) return status;
  return InvalidField(Concatenated(to, rest.substr(0, colon)), rest.substr(colon + 2));
}

absl::StatusOr<store::SweepMethod> FromProto(const v1::SweepMethod& method,
                                             const std::string& field) {
  store::SweepMethod result;
  result.name = method.name();
  if (method.has_recovery()) {
    auto options = FromProto(method.recovery());
    if (!options.ok()) {
      return InSweep(options.status(), "job.recovery.options.", field + ".recovery.");
    }
    result.options = *std::move(options);
  } else if (method.has_pruning()) {
    auto options = FromProto(method.pruning());
    if (!options.ok()) {
      return InSweep(options.status(), "job.pruning.options.", field + ".pruning.");
    }
    result.options = *std::move(options);
  } else if (method.has_model_pruning()) {
    auto options = FromProto(method.model_pruning());
    if (!options.ok()) {
      return InSweep(options.status(), "job.pruning.model_options.", field + ".model_pruning.");
    }
    result.options = *std::move(options);
  } else {
    return InvalidField(field, "needs recovery, pruning or model_pruning");
  }
  return result;
}

absl::StatusOr<store::SweepSpec> FromProto(const v1::SweepSpec& spec) {
  store::SweepSpec result;
  if (spec.has_planted()) {
    auto planted = rpc::FromProto(spec.planted());
    if (!planted.ok()) {
      return InSweep(planted.status(), "dataset.planted.", "job.sweep.planted.");
    }
    result.planted = *std::move(planted);
    result.hidden_layers = result.planted->hidden_layers;
  } else {
    auto dataset = IdFromName(spec.dataset(), kDatasets, "job.sweep.dataset");
    if (!dataset.ok()) return dataset.status();
    result.dataset_id = *std::move(dataset);
  }
  if (!spec.model().empty()) {
    auto model = IdFromName(spec.model(), kModels, "job.sweep.model");
    if (!model.ok()) return model.status();
    result.model_id = *std::move(model);
  }
  if (spec.hidden_layers() != 0) result.hidden_layers = spec.hidden_layers();
  result.hidden_widths.assign(spec.hidden_widths().begin(), spec.hidden_widths().end());
  result.nonzeros.assign(spec.nonzeros().begin(), spec.nonzeros().end());
  result.num_samples.assign(spec.num_samples().begin(), spec.num_samples().end());
  result.seeds.assign(spec.seeds().begin(), spec.seeds().end());
  for (int i = 0; i < spec.methods_size(); ++i) {
    auto method = FromProto(spec.methods(i), absl::StrCat("job.sweep.methods[", i, "]"));
    if (!method.ok()) return method.status();
    result.methods.push_back(*std::move(method));
  }
  auto held_out = HeldOutDataset(spec.held_out_dataset(), "job.sweep");
  if (!held_out.ok()) return held_out.status();
  result.held_out_dataset_id = *std::move(held_out);
  if (!result.held_out_dataset_id.empty()) result.held_out_fraction = 0;
  if (spec.has_held_out_fraction()) result.held_out_fraction = spec.held_out_fraction();
  if (spec.has_cell_time_limit()) {
    const auto seconds = TimeLimit(spec.cell_time_limit());
    if (!seconds.ok()) {
      return InSweep(seconds.status(), "job.time_limit", "job.sweep.cell_time_limit");
    }
    result.cell_time_limit_seconds = *seconds;
  }
  result.keep_models = spec.keep_models();
  return result;
}

v1::SweepSpec ToProto(const store::SweepSpec& spec) {
  v1::SweepSpec result;
  if (spec.planted) {
    *result.mutable_planted() = ToProto(*spec.planted);
  } else {
    result.set_dataset(Concatenated(kDatasets, spec.dataset_id));
  }
  if (!spec.model_id.empty()) result.set_model(Concatenated(kModels, spec.model_id));
  result.mutable_hidden_widths()->Assign(spec.hidden_widths.begin(), spec.hidden_widths.end());
  result.mutable_nonzeros()->Assign(spec.nonzeros.begin(), spec.nonzeros.end());
  result.mutable_num_samples()->Assign(spec.num_samples.begin(), spec.num_samples.end());
  result.mutable_seeds()->Assign(spec.seeds.begin(), spec.seeds.end());
  for (const store::SweepMethod& method : spec.methods) {
    v1::SweepMethod& added = *result.add_methods();
    added.set_name(method.name);
    if (const auto* recovery = std::get_if<RecoveryOptions>(&method.options)) {
      *added.mutable_recovery() = ToProto(*recovery);
    } else if (const auto* pruning = std::get_if<PruneOptions>(&method.options)) {
      *added.mutable_pruning() = ToProto(*pruning);
    } else {
      *added.mutable_model_pruning() =
          ToProto(std::get<store::ModelPruningOptions>(method.options));
    }
  }
  result.set_hidden_layers(spec.hidden_layers);
  result.set_held_out_fraction(spec.held_out_fraction);
  if (!spec.held_out_dataset_id.empty()) {
    result.set_held_out_dataset(Concatenated(kDatasets, spec.held_out_dataset_id));
  }
  if (spec.cell_time_limit_seconds) {
    *result.mutable_cell_time_limit() = ToDuration(*spec.cell_time_limit_seconds);
  }
  result.set_keep_models(spec.keep_models);
  return result;
}

v1::SweepProgress ToProto(const store::SweepProgress& progress) {
  v1::SweepProgress result;
  result.set_cells_total(progress.cells_total);
  result.set_cells_done(progress.cells_done);
  result.set_cells_failed(progress.cells_failed);
  *result.mutable_elapsed() = ToDuration(progress.elapsed_seconds);
  if (progress.left_seconds) *result.mutable_left() = ToDuration(*progress.left_seconds);
  return result;
}

static_assert(static_cast<int>(store::JobState::kSucceeded) == v1::SWEEP_CELL_STATE_SUCCEEDED);
static_assert(static_cast<int>(store::JobState::kFailed) == v1::SWEEP_CELL_STATE_FAILED);
static_assert(static_cast<int>(store::JobState::kCancelled) == v1::SWEEP_CELL_STATE_CANCELLED);

v1::SweepCell ToProto(const store::SweepCell& cell) {
  v1::SweepCell result;
  result.set_cell(cell.cell);
  result.set_hidden_width(cell.hidden_width);
  result.set_nonzeros(cell.nonzeros);
  result.set_num_samples(cell.num_samples);
  result.set_seed(cell.seed);
  result.set_method(cell.method);
  result.set_state(static_cast<v1::SweepCellState>(cell.state));
  if (cell.termination_reason) result.set_termination_reason(ToProto(*cell.termination_reason));
  if (cell.error) {
    result.mutable_error()->set_code(static_cast<int>(cell.error->code));
    result.mutable_error()->set_message(cell.error->message);
  }
  result.set_network_nonzeros(cell.network_nonzeros);
  result.set_active_neurons(cell.active_neurons);
  if (cell.training_relative_residual) {
    result.set_training_relative_residual(*cell.training_relative_residual);
  }
  if (cell.held_out_relative_residual) {
    result.set_held_out_relative_residual(*cell.held_out_relative_residual);
  }
  if (cell.training_psnr_db) result.set_training_psnr_db(*cell.training_psnr_db);
  if (cell.held_out_psnr_db) result.set_held_out_psnr_db(*cell.held_out_psnr_db);
  if (cell.training_accuracy) result.set_training_accuracy(*cell.training_accuracy);
  if (cell.held_out_accuracy) result.set_held_out_accuracy(*cell.held_out_accuracy);
  if (cell.exact) result.set_exact(*cell.exact);
  result.set_iterations(cell.iterations);
  *result.mutable_elapsed() = ToDuration(cell.elapsed_seconds);
  result.set_predicted_peak_memory_bytes(cell.predicted_peak_memory_bytes);
  if (!cell.model_id.empty()) result.set_model(Concatenated(kModels, cell.model_id));
  if (cell.training_loss) result.set_training_loss(*cell.training_loss);
  if (cell.held_out_loss) result.set_held_out_loss(*cell.held_out_loss);
  result.set_given_nonzeros(cell.given_nonzeros);
  if (cell.given_training) *result.mutable_given_training() = ToProto(*cell.given_training);
  if (cell.given_held_out) *result.mutable_given_held_out() = ToProto(*cell.given_held_out);
  return result;
}

v1::SweepReport ToProto(const store::SweepReport& report) {
  v1::SweepReport result;
  if (report.termination_reason) {
    result.set_termination_reason(ToProto(*report.termination_reason));
  }
  result.set_cells_total(report.cells_total);
  result.set_cells_done(report.cells_done);
  result.set_cells_failed(report.cells_failed);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  for (const store::SweepCell& row : report.rows) *result.add_rows() = ToProto(row);
  return result;
}

// Into a Job or a JobEvent.
template <typename Message>
void SetProgress(const store::JobProgress& progress, Message& message) {
  if (const auto* step = std::get_if<IterationReport>(&progress)) {
    *message.mutable_progress() = ToProto(*step);
  } else if (const auto* epoch = std::get_if<PruneReport>(&progress)) {
    *message.mutable_pruning_progress() = ToProto(*epoch);
  } else {
    *message.mutable_sweep_progress() = ToProto(std::get<store::SweepProgress>(progress));
  }
}

// ----- Filters. -----

absl::StatusOr<int> StateFromWord(const std::string& word) {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  if ((!v1::JobState_Parse("JOB_STATE_" + word, &state) && !v1::JobState_Parse(word, &state)) ||
      state == v1::JOB_STATE_UNSPECIFIED) {
    return InvalidField("filter", "state must be QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED");
  }
  return static_cast<int>(state);
}

}  // namespace

absl::StatusOr<std::string> IdFromName(std::string_view name, std::string_view collection,
                                       std::string_view field) {
  if (!name.starts_with(collection) ||
      !store::ValidateId(name.substr(collection.size()), field).ok() ||
      name.size() == collection.size()) {
    return InvalidField(field, Concatenated(Concatenated("must look like ", collection),
                                            "{id}, with an id of [a-z][a-z0-9-]{0,62}"));
  }
  return std::string(name.substr(collection.size()));
}

std::string Fingerprint(const v1::CreateJobRequest& request) {
  v1::CreateJobRequest body = request;
  body.clear_job_id();
  body.clear_request_id();
  return store::Sha256Hex(Serialized(body));
}

std::string Fingerprint(const v1::CreateDatasetRequest& request) {
  v1::CreateDatasetRequest body = request;
  body.clear_dataset_id();
  body.clear_request_id();
  return store::Sha256Hex(Serialized(body));
}

std::string Fingerprint(const v1::UploadDatasetHeader& header, std::string_view inputs_sha256,
                        std::string_view targets_sha256) {
  v1::UploadDatasetHeader body = header;
  body.clear_dataset_id();
  body.clear_request_id();
  // Both hashes have a fixed length, so equal texts are equal parts.
  return store::Sha256Hex(
      std::string(inputs_sha256).append(targets_sha256).append(Serialized(body)));
}

std::string Fingerprint(const v1::UploadModelHeader& header, std::string_view file_sha256) {
  v1::UploadModelHeader body = header;
  body.clear_model_id();
  body.clear_request_id();
  return store::Sha256Hex(std::string(file_sha256).append(Serialized(body)));
}

absl::StatusOr<ModelFileFormat> FromProto(v1::ModelFormat format) {
  switch (format) {
    case v1::MODEL_FORMAT_UNSPECIFIED:
    case v1::MODEL_FORMAT_NPZ:
      return ModelFileFormat::kNpz;
    case v1::MODEL_FORMAT_JSON:
      return ModelFileFormat::kJson;
    case v1::MODEL_FORMAT_SAFETENSORS:
      return ModelFileFormat::kSafetensors;
    case v1::MODEL_FORMAT_ONNX:
      return ModelFileFormat::kOnnx;
    case v1::MODEL_FORMAT_ONNX_SPARSE:
      return ModelFileFormat::kOnnxSparse;
    case v1::MODEL_FORMAT_C_HEADER:
      return ModelFileFormat::kCHeader;
    case v1::MODEL_FORMAT_PNG:
      return InvalidField("format", "cannot be PNG, which holds no network");
    default:
      return InvalidField("format", "is not known to this server");
  }
}

absl::StatusOr<jobs::CreateJobRequest> FromProto(const v1::CreateJobRequest& request) {
  jobs::CreateJobRequest result;
  result.identity = {.id = request.job_id(),
                     .request_id = request.request_id(),
                     .fingerprint = Fingerprint(request)};
  result.validate_only = request.validate_only();
  const v1::Job& job = request.job();
  if (job.has_recovery()) {
    auto spec = FromProto(job.recovery());
    if (!spec.ok()) return spec.status();
    result.spec = *std::move(spec);
  } else if (job.has_pruning()) {
    auto spec = FromProto(job.pruning());
    if (!spec.ok()) return spec.status();
    result.spec = *std::move(spec);
  } else if (job.has_sweep()) {
    auto spec = FromProto(job.sweep());
    if (!spec.ok()) return spec.status();
    result.spec = *std::move(spec);
  } else {
    return InvalidField("job.recovery",
                        "is required, or job.pruning or job.sweep: what is the job to do?");
  }
  if (job.priority() < -100 || job.priority() > 100) {
    return InvalidField("job.priority", "must be between -100 and 100");
  }
  result.priority = job.priority();
  result.labels = LabelsFromProto(job.labels());
  if (job.has_time_limit()) {
    auto seconds = TimeLimit(job.time_limit());
    if (!seconds.ok()) return seconds.status();
    result.time_limit_seconds = *seconds;
  }
  return result;
}

absl::StatusOr<PlantedOptions> FromProto(const v1::PlantedSource& source) {
  PlantedOptions result;
  result.num_samples = source.num_samples();
  result.num_inputs = source.num_inputs();
  result.hidden_width = source.hidden_width();
  result.nonzeros = source.nonzeros();
  result.seed = source.seed();
  if (source.has_noise_db()) result.noise_db = source.noise_db();
  const auto signs = FromProto(source.output_signs(), "dataset.planted.output_signs");
  if (!signs.ok()) return signs.status();
  result.output_signs = *signs;
  const auto weights = FromProto(source.weight_distribution());
  if (!weights.ok()) return weights.status();
  result.weight_distribution = *weights;
  const auto inputs = FromProto(source.input_distribution());
  if (!inputs.ok()) return inputs.status();
  result.input_distribution = *inputs;
  result.input_correlation = source.input_correlation();
  result.linear_term = source.linear_term();
  if (source.num_outputs() != 0) result.num_outputs = source.num_outputs();
  if (source.hidden_layers() != 0) result.hidden_layers = source.hidden_layers();
  return result;
}

absl::StatusOr<ImageOptions> FromProto(const v1::ImageOptions& options) {
  ImageOptions result;
  const auto features = FromProto(options.features());
  if (!features.ok()) return features.status();
  result.features = *features;
  if (options.num_features() != 0) result.num_features = options.num_features();
  if (options.has_sigma()) result.sigma = options.sigma();
  if (options.has_channel_sigma()) result.channel_sigma = options.channel_sigma();
  result.seed = options.seed();
  result.crop = {.width = options.crop().width(),
                 .height = options.crop().height(),
                 .left = options.crop().left(),
                 .top = options.crop().top()};
  result.index = options.index();
  return result;
}

absl::StatusOr<ReadOptions> FromProto(const v1::UploadSource& source) {
  ReadOptions result;
  const auto format = FromProto(source.format());
  if (!format.ok()) return format.status();
  result.format = *format;
  auto only_for = [&](bool given, FileFormat wanted, std::string_view field,
                      std::string_view name) {
    if (!given || *format == wanted) return absl::OkStatus();
    return InvalidField(Concatenated(kUploadPath, field),
                        Concatenated("has a meaning only with ", name));
  };
  for (const absl::Status& status : {only_for(!source.inputs_member().empty(), FileFormat::kNpz,
                                              "inputs_member", "FILE_FORMAT_NPZ"),
                                     only_for(!source.targets_member().empty(), FileFormat::kNpz,
                                              "targets_member", "FILE_FORMAT_NPZ"),
                                     only_for(source.target_columns_size() > 0, FileFormat::kCsv,
                                              "target_columns", "FILE_FORMAT_CSV"),
                                     only_for(source.ignored_columns_size() > 0, FileFormat::kCsv,
                                              "ignored_columns", "FILE_FORMAT_CSV")}) {
    if (!status.ok()) return status;
  }
  if (!source.inputs_member().empty()) result.inputs_member = source.inputs_member();
  if (!source.targets_member().empty()) result.targets_member = source.targets_member();
  result.target_columns.assign(source.target_columns().begin(), source.target_columns().end());
  result.ignored_columns.assign(source.ignored_columns().begin(), source.ignored_columns().end());
  result.classes.assign(source.classes().begin(), source.classes().end());
  result.targets_are_classes = source.targets_are_classes() || !result.classes.empty();
  const auto scaling = FromProto(source.scaling());
  if (!scaling.ok()) return scaling.status();
  result.scaling = *scaling;
  if (source.has_image() || *format == FileFormat::kPng) {
    auto image = FromProto(source.image());
    if (!image.ok()) return image.status();
    result.image = *std::move(image);
  }
  return result;
}

store::Labels LabelsFromProto(const google::protobuf::Map<std::string, std::string>& labels) {
  return store::Labels(labels.begin(), labels.end());
}

absl::StatusOr<store::ListRequest> ListRequestFrom(int32_t page_size, std::string_view page_token,
                                                   std::string_view filter, bool has_state) {
  store::ListRequest result;
  result.page_size = page_size;
  result.page_token = std::string(page_token);
  auto conditions = ParseFilter(filter);
  if (!conditions.ok()) return store::NameField(conditions.status(), "");
  constexpr std::string_view kLabelPrefix = "labels.";
  for (FilterCondition& condition : *conditions) {
    if (condition.field == "state" && has_state) {
      const auto state = StateFromWord(condition.value);
      if (!state.ok()) return state.status();
      result.state = *state;
    } else if (condition.field == "parent" && has_state) {
      auto parent = IdFromName(condition.value, kJobs, "filter");
      if (!parent.ok()) return parent.status();
      result.parent = *std::move(parent);
    } else if (condition.field.starts_with(kLabelPrefix) &&
               condition.field.find('.', kLabelPrefix.size()) == std::string::npos) {
      result.labels[condition.field.substr(kLabelPrefix.size())] = std::move(condition.value);
    } else {
      return InvalidField("filter",
                          Concatenated(has_state ? "can compare state, parent and labels.KEY, not "
                                                 : "can compare labels.KEY, not ",
                                       condition.field));
    }
  }
  return result;
}

v1::Job ToProto(const store::JobRecord& record) {
  v1::Job job;
  job.set_name(Concatenated(kJobs, record.id));
  if (const auto* recovery = std::get_if<store::RecoverySpec>(&record.spec)) {
    *job.mutable_recovery() = ToProto(*recovery);
  } else if (const auto* pruning = std::get_if<store::PruningSpec>(&record.spec)) {
    *job.mutable_pruning() = ToProto(*pruning);
  } else {
    *job.mutable_sweep() = ToProto(std::get<store::SweepSpec>(record.spec));
  }
  job.set_priority(record.priority);
  job.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  if (record.time_limit_seconds) {
    *job.mutable_time_limit() = ToDuration(*record.time_limit_seconds);
  }
  job.set_state(ToProto(record.state));
  *job.mutable_create_time() = ToProto(record.create_time);
  if (record.start_time) *job.mutable_start_time() = ToProto(*record.start_time);
  if (record.end_time) *job.mutable_end_time() = ToProto(*record.end_time);
  job.set_attempt_count(record.attempt_count);
  job.mutable_predicted_cost()->set_peak_memory_bytes(record.predicted_cost.peak_memory_bytes);
  job.mutable_predicted_cost()->set_flops_per_iteration(record.predicted_cost.flops_per_iteration);
  if (record.error) {
    *job.mutable_error() = ToRpcStatus(absl::Status(record.error->code, record.error->message));
  }
  if (record.progress) SetProgress(*record.progress, job);
  if (!record.model_id.empty()) job.set_model(Concatenated(kModels, record.model_id));
  if (record.report) {
    if (const auto* recovery = std::get_if<store::RecoveryReport>(&*record.report)) {
      *job.mutable_recovery_report() = ToProto(*recovery);
    } else if (const auto* pruning = std::get_if<store::PruningReport>(&*record.report)) {
      *job.mutable_pruning_report() = ToProto(*pruning);
    } else {
      *job.mutable_sweep_report() = ToProto(std::get<store::SweepReport>(*record.report));
    }
  }
  if (!record.parent_id.empty()) job.set_parent(Concatenated(kJobs, record.parent_id));
  job.set_latest_event_number(record.latest_event_number);
  return job;
}

v1::JobEvent ToProto(const store::JobEvent& event) {
  v1::JobEvent result;
  result.set_number(event.number);
  *result.mutable_time() = ToProto(event.time);
  if (const auto* change = std::get_if<store::StateChange>(&event.event)) {
    result.mutable_state_change()->set_state(ToProto(change->state));
    result.mutable_state_change()->set_message(change->message);
  } else {
    SetProgress(std::get<store::JobProgress>(event.event), result);
  }
  if (event.job != nullptr) *result.mutable_job() = ToProto(*event.job);
  return result;
}

v1::Dataset ToProto(const store::DatasetRecord& record) {
  v1::Dataset dataset;
  dataset.set_name(Concatenated(kDatasets, record.id));
  if (const auto* planted = std::get_if<PlantedOptions>(&record.source)) {
    *dataset.mutable_planted() = ToProto(*planted);
  } else {
    *dataset.mutable_upload() = ToProto(std::get<ReadOptions>(record.source));
  }
  dataset.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  *dataset.mutable_create_time() = ToProto(record.create_time);
  dataset.set_num_samples(record.num_samples);
  dataset.set_num_inputs(record.num_inputs);
  dataset.set_num_outputs(record.num_outputs);
  dataset.mutable_class_names()->Assign(record.class_names.begin(), record.class_names.end());
  dataset.set_size_bytes(record.size_bytes);
  dataset.set_sha256(record.sha256);
  if (record.image_shape != ImageShape{}) {
    dataset.mutable_image_shape()->set_height(record.image_shape.height);
    dataset.mutable_image_shape()->set_width(record.image_shape.width);
    dataset.mutable_image_shape()->set_channels(record.image_shape.channels);
  }
  return dataset;
}

v1::Model ToProto(const store::ModelRecord& record) {
  v1::Model model;
  model.set_name(Concatenated(kModels, record.id));
  *model.mutable_create_time() = ToProto(record.create_time);
  if (!record.job_id.empty()) model.set_job(Concatenated(kJobs, record.job_id));
  if (!record.dataset_id.empty()) model.set_dataset(Concatenated(kDatasets, record.dataset_id));
  model.set_dataset_sha256(record.dataset_sha256);
  model.set_network_kind(static_cast<v1::NetworkKind>(record.network_kind));
  model.set_num_inputs(record.num_inputs);
  model.set_bias(record.bias);
  model.set_linear_term(record.linear_term);
  model.set_num_outputs(record.num_outputs);
  model.mutable_hidden_widths()->Assign(record.hidden_widths.begin(), record.hidden_widths.end());
  model.set_nonzeros(record.nonzeros);
  model.set_active_neurons(record.active_neurons);
  model.mutable_class_names()->Assign(record.class_names.begin(), record.class_names.end());
  if (record.spec) {
    if (const auto* recovery = std::get_if<store::RecoverySpec>(&*record.spec)) {
      *model.mutable_spec() = ToProto(*recovery);
    } else if (const auto* pruning = std::get_if<store::PruningSpec>(&*record.spec)) {
      *model.mutable_pruning_spec() = ToProto(*pruning);
    }
  }
  if (record.report) {
    if (const auto* recovery = std::get_if<store::RecoveryReport>(&*record.report)) {
      *model.mutable_report() = ToProto(*recovery);
    } else if (const auto* pruning = std::get_if<store::PruningReport>(&*record.report)) {
      *model.mutable_pruning_report() = ToProto(*pruning);
    }
  }
  model.set_program_version(record.program_version);
  model.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  model.set_size_bytes(record.size_bytes);
  return model;
}

}  // namespace thresher::rpc
