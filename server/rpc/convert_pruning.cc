#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/pruning/distill.h"
#include "core/pruning/one_shot.h"
#include "core/pruning/perceptron.h"
#include "core/pruning/prune.h"
#include "server/rpc/convert.h"
#include "server/rpc/convert_parts.h"
#include "server/store/error_details.h"
#include "server/store/job_record.h"
#include "thresher/v1/pruning.pb.h"
#include "thresher/v1/recovery.pb.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;
// Else the overloads below would hide the shared ones.
using rpc::FromProto;
using rpc::ToProto;

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
  if (report.given_training.num_samples > 0) {
    *result.mutable_given_training() = ToProto(report.given_training);
  }
  if (report.given_held_out) *result.mutable_given_held_out() = ToProto(*report.given_held_out);
  result.set_given_nonzeros(report.given_nonzeros);
  result.set_given_active_neurons(report.given_active_neurons);
  for (const store::PruningPathPoint& point : report.path) *result.add_path() = ToProto(point);
  return result;
}

}  // namespace

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

}  // namespace thresher::rpc
