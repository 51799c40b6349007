#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/recovery/fit_quality.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "server/rpc/convert.h"
#include "server/rpc/convert_parts.h"
#include "server/store/error_details.h"
#include "server/store/job_record.h"
#include "thresher/v1/recovery.pb.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;

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

v1::PlantedComparison ToProto(const PlantedComparison& comparison) {
  v1::PlantedComparison result;
  result.set_support_recall(comparison.support_recall);
  result.set_support_precision(comparison.support_precision);
  result.set_relative_weight_error(comparison.relative_weight_error);
  result.set_relative_function_error(comparison.relative_function_error);
  result.set_exact(comparison.exact);
  result.set_planted_neurons(comparison.planted_neurons);
  result.set_recovered_neurons(comparison.recovered_neurons);
  result.set_planted_nonzeros(comparison.planted_nonzeros);
  result.set_recovered_nonzeros(comparison.recovered_nonzeros);
  result.set_matched_nonzeros(comparison.matched_nonzeros);
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

absl::StatusOr<LinearTerm> FromProto(v1::LinearTerm value) {
  switch (value) {
    case v1::LINEAR_TERM_UNSPECIFIED:
      return LinearTerm::kNone;
    case v1::LINEAR_TERM_DENSE:
      return LinearTerm::kDense;
    case v1::LINEAR_TERM_SPARSE:
      return LinearTerm::kSparse;
    default:
      return UnknownEnumValue("job.recovery.options.linear_term", value);
  }
}

v1::LinearTerm ToProto(LinearTerm value) {
  switch (value) {
    case LinearTerm::kNone:
      return v1::LINEAR_TERM_UNSPECIFIED;
    case LinearTerm::kDense:
      return v1::LINEAR_TERM_DENSE;
    case LinearTerm::kSparse:
      return v1::LINEAR_TERM_SPARSE;
  }
  return v1::LINEAR_TERM_UNSPECIFIED;
}

}  // namespace

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
  result.choose_output_signs = options.output_signs() == v1::OUTPUT_SIGNS_UNSPECIFIED;
  result.bias = options.bias();
  const auto linear_term = FromProto(options.linear_term());
  if (!linear_term.ok()) return linear_term.status();
  result.linear_term = *linear_term;
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
  if (!options.choose_output_signs) result.set_output_signs(ToProto(options.output_signs));
  result.set_bias(options.bias);
  result.set_linear_term(ToProto(options.linear_term));
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

absl::StatusOr<std::string> HeldOutDataset(const std::string& name, const std::string& prefix) {
  if (name.empty()) return name;
  return IdFromName(name, kDatasets, prefix + ".held_out_dataset");
}

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
  result.set_linear_nonzeros(report.linear_nonzeros);
  result.set_active_neurons(report.active_neurons);
  result.set_partial(report.partial);
  if (report.evidence) *result.mutable_evidence() = ToProto(*report.evidence);
  for (const PathPoint& point : report.path) *result.add_path() = ToProto(point);
  return result;
}

}  // namespace thresher::rpc
