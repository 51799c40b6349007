#include <cstdint>
#include <string>
#include <vector>

#include "core/pruning/distill.h"
#include "core/pruning/one_shot.h"
#include "core/pruning/perceptron.h"
#include "core/pruning/prune.h"
#include "server/store/job_record.h"
#include "server/store/record_json.h"
#include "server/store/record_json_parts.h"

namespace thresher::store {
namespace {

constexpr Name<PruneSchedule> kPruneSchedules[] = {{PruneSchedule::kRounds, "rounds"},
                                                   {PruneSchedule::kGradual, "gradual"}};
constexpr Name<Saliency> kSaliencies[] = {{Saliency::kMagnitude, "magnitude"},
                                          {Saliency::kFisher, "fisher"}};
constexpr Name<OneShotMethod> kOneShotMethods[] = {{OneShotMethod::kMagnitude, "magnitude"},
                                                   {OneShotMethod::kActivation, "activation"},
                                                   {OneShotMethod::kObs, "obs"},
                                                   {OneShotMethod::kCurvature, "curvature"}};
constexpr Name<PruneScope> kPruneScopes[] = {{PruneScope::kGlobal, "global"},
                                             {PruneScope::kPerLayer, "per_layer"}};
constexpr Name<PruneTargets> kPruneTargets[] = {{PruneTargets::kNetwork, "network"},
                                                {PruneTargets::kLabels, "labels"}};

Json PointToJson(const PruningPathPoint& point) {
  Json json = {{"budget", point.budget},
               {"nonzeros", point.nonzeros},
               {"active_neurons", point.active_neurons},
               {"training", FitToJson(point.training)},
               {"iterations", point.iterations},
               {"elapsed_seconds", ToJson(point.elapsed_seconds)},
               {"knee", point.knee},
               {"model", point.model_id}};
  if (point.held_out) json["held_out"] = FitToJson(*point.held_out);
  return json;
}

PruningPathPoint ReadPruningPathPoint(const Json& json) {
  PruningPathPoint point;
  point.budget = json.at("budget").get<int64_t>();
  point.nonzeros = json.at("nonzeros").get<int64_t>();
  point.active_neurons = json.at("active_neurons").get<int64_t>();
  point.training = ReadPruningFit(json.at("training"));
  point.iterations = json.at("iterations").get<int64_t>();
  point.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  point.knee = json.at("knee").get<bool>();
  point.model_id = json.at("model").get<std::string>();
  if (json.contains("held_out")) point.held_out = ReadPruningFit(json.at("held_out"));
  return point;
}

Json ReportToJson(const ModelPruningReport& report) {
  Json json = {{"options_used", OptionsToJson(report.options_used)},
               {"given_training", FitToJson(report.given_training)},
               {"given_nonzeros", report.given_nonzeros},
               {"given_active_neurons", report.given_active_neurons},
               {"path", Json::array()}};
  if (report.given_held_out) json["given_held_out"] = FitToJson(*report.given_held_out);
  for (const PruningPathPoint& point : report.path) json["path"].push_back(PointToJson(point));
  return json;
}

ModelPruningReport ReadModelPruningReport(const Json& json) {
  ModelPruningReport report;
  report.options_used = ReadModelPruningOptions(json.at("options_used"));
  report.given_training = ReadPruningFit(json.at("given_training"));
  report.given_nonzeros = json.at("given_nonzeros").get<int64_t>();
  report.given_active_neurons = json.at("given_active_neurons").get<int64_t>();
  if (json.contains("given_held_out")) {
    report.given_held_out = ReadPruningFit(json.at("given_held_out"));
  }
  for (const Json& point : json.at("path")) report.path.push_back(ReadPruningPathPoint(point));
  return report;
}

}  // namespace

Json OptionsToJson(const PruneOptions& options) {
  return {{"hidden_widths", options.hidden_widths},
          {"nonzeros", options.nonzeros},
          {"bias", options.bias},
          {"loss", NameOf(kLosses, options.loss)},
          {"choose_loss", options.choose_loss},
          {"epochs", options.epochs},
          {"batch_size", options.batch_size},
          {"learning_rate", ToJson(options.learning_rate)},
          {"learning_rate_decay", ToJson(options.learning_rate_decay)},
          {"schedule", NameOf(kPruneSchedules, options.schedule)},
          {"saliency", NameOf(kSaliencies, options.saliency)},
          {"seed", options.seed},
          {"prune_fraction", ToJson(options.prune_fraction)},
          {"rewind_epoch", options.rewind_epoch},
          {"retrain_after_last_prune", options.retrain_after_last_prune},
          {"schedule_power", ToJson(options.schedule_power)},
          {"prune_end", ToJson(options.prune_end)},
          {"num_threads", options.num_threads},
          {"time_limit_seconds", ToJson(options.time_limit_seconds)}};
}

PruneOptions ReadPruneOptions(const Json& json) {
  return {.hidden_widths = json.at("hidden_widths").get<std::vector<int64_t>>(),
          .nonzeros = json.at("nonzeros").get<int64_t>(),
          .bias = json.at("bias").get<bool>(),
          .loss = ReadName(kLosses, json.at("loss")),
          .choose_loss = json.value("choose_loss", false),
          .epochs = json.at("epochs").get<int64_t>(),
          .batch_size = json.at("batch_size").get<int64_t>(),
          .learning_rate = ReadDouble(json.at("learning_rate")),
          .learning_rate_decay = ReadDouble(json.at("learning_rate_decay")),
          .schedule = ReadName(kPruneSchedules, json.at("schedule")),
          .saliency = ReadName(kSaliencies, json.at("saliency")),
          .seed = json.at("seed").get<uint64_t>(),
          .prune_fraction = ReadDouble(json.at("prune_fraction")),
          .rewind_epoch = json.at("rewind_epoch").get<int64_t>(),
          .retrain_after_last_prune = json.at("retrain_after_last_prune").get<bool>(),
          .schedule_power = ReadDouble(json.at("schedule_power")),
          .prune_end = ReadDouble(json.at("prune_end")),
          .num_threads = json.at("num_threads").get<int>(),
          .time_limit_seconds = ReadDouble(json.at("time_limit_seconds"))};
}

Json FitToJson(const PruningFit& fit) {
  Json json = {{"num_samples", fit.num_samples}, {"loss", ToJson(fit.fit.loss)}};
  AddDouble("psnr_db", fit.fit.psnr_db, json);
  AddDouble("accuracy", fit.fit.accuracy, json);
  AddDouble("r_squared", fit.fit.r_squared, json);
  return json;
}

PruningFit ReadPruningFit(const Json& json) {
  return {.num_samples = json.at("num_samples").get<int64_t>(),
          .fit = {.loss = ReadDouble(json.at("loss")),
                  .psnr_db = ReadOptionalDouble(json, "psnr_db"),
                  .accuracy = ReadOptionalDouble(json, "accuracy"),
                  .r_squared = ReadOptionalDouble(json, "r_squared")}};
}

Json OptionsToJson(const ModelPruningOptions& options) {
  const DistillOptions& distill = options.distill;
  const OneShotOptions& one_shot = distill.one_shot;
  Json json = {{"train", options.train},
               {"one_shot_method", NameOf(kOneShotMethods, one_shot.method)},
               {"nonzeros", one_shot.nonzeros},
               {"scope", NameOf(kPruneScopes, one_shot.scope)},
               {"pattern_kept", one_shot.pattern_kept},
               {"pattern_size", one_shot.pattern_size},
               {"whole_neurons", one_shot.whole_neurons},
               {"damping", ToJson(one_shot.damping)},
               {"max_samples", one_shot.max_samples},
               {"stages", one_shot.stages},
               {"seed", one_shot.seed},
               {"start_factor", ToJson(distill.start_factor)},
               {"targets", NameOf(kPruneTargets, distill.targets)},
               {"epochs", distill.epochs},
               {"batch_size", distill.batch_size},
               {"learning_rate", ToJson(distill.learning_rate)},
               {"learning_rate_decay", ToJson(distill.learning_rate_decay)},
               {"schedule_power", ToJson(distill.schedule_power)},
               {"prune_end", ToJson(distill.prune_end)}};
  if (options.loss) json["loss"] = NameOf(kLosses, *options.loss);
  AddDouble("fraction", options.fraction, json);
  if (options.path) {
    json["path"] = {{"min_nonzeros", options.path->min_nonzeros},
                    {"max_nonzeros", options.path->max_nonzeros},
                    {"num_points", options.path->num_points}};
  }
  return json;
}

ModelPruningOptions ReadModelPruningOptions(const Json& json) {
  ModelPruningOptions options;
  options.train = json.at("train").get<bool>();
  DistillOptions& distill = options.distill;
  OneShotOptions& one_shot = distill.one_shot;
  one_shot.method = ReadName(kOneShotMethods, json.at("one_shot_method"));
  one_shot.nonzeros = json.at("nonzeros").get<int64_t>();
  one_shot.scope = ReadName(kPruneScopes, json.at("scope"));
  one_shot.pattern_kept = json.at("pattern_kept").get<int64_t>();
  one_shot.pattern_size = json.at("pattern_size").get<int64_t>();
  one_shot.whole_neurons = json.at("whole_neurons").get<bool>();
  one_shot.damping = ReadDouble(json.at("damping"));
  one_shot.max_samples = json.at("max_samples").get<int64_t>();
  one_shot.stages = json.at("stages").get<int64_t>();
  one_shot.seed = json.at("seed").get<uint64_t>();
  distill.start_factor = ReadDouble(json.at("start_factor"));
  distill.targets = ReadName(kPruneTargets, json.at("targets"));
  distill.epochs = json.at("epochs").get<int64_t>();
  distill.batch_size = json.at("batch_size").get<int64_t>();
  distill.learning_rate = ReadDouble(json.at("learning_rate"));
  distill.learning_rate_decay = ReadDouble(json.at("learning_rate_decay"));
  distill.schedule_power = ReadDouble(json.at("schedule_power"));
  distill.prune_end = ReadDouble(json.at("prune_end"));
  if (json.contains("loss")) options.loss = ReadName(kLosses, json.at("loss"));
  options.fraction = ReadOptionalDouble(json, "fraction");
  if (json.contains("path")) {
    const Json& path = json.at("path");
    options.path = PruningPath{.min_nonzeros = path.at("min_nonzeros").get<int64_t>(),
                               .max_nonzeros = path.at("max_nonzeros").get<int64_t>(),
                               .num_points = path.at("num_points").get<int64_t>()};
  }
  return options;
}

Json SpecToJson(const PruningSpec& spec) {
  Json json = {{"dataset", spec.dataset_id}};
  AddSplit(spec.split, json);
  if (spec.model_id.empty()) {
    json["options"] = OptionsToJson(spec.options);
  } else {
    json["model"] = spec.model_id;
    json["model_options"] = OptionsToJson(spec.model_options);
  }
  return json;
}

PruningSpec ReadPruningSpec(const Json& json) {
  PruningSpec spec;
  spec.dataset_id = json.at("dataset").get<std::string>();
  spec.split = ReadSplit(json);
  if (json.contains("model")) {
    spec.model_id = json.at("model").get<std::string>();
    spec.model_options = ReadModelPruningOptions(json.at("model_options"));
  } else {
    spec.options = ReadPruneOptions(json.at("options"));
  }
  return spec;
}

Json ReportToJson(const PruningReport& report) {
  Json json = {{"termination_reason", NameOf(kTerminationReasons, report.termination_reason)},
               {"iterations", report.iterations},
               {"rounds", report.rounds},
               {"elapsed_seconds", ToJson(report.elapsed_seconds)},
               {"training", FitToJson(report.training)},
               {"nonzeros", report.nonzeros},
               {"active_neurons", report.active_neurons},
               {"divergences", report.divergences},
               {"partial", report.partial}};
  if (report.held_out) json["held_out"] = FitToJson(*report.held_out);
  if (report.validation) {
    json["validation"] = FitToJson(*report.validation);
    json["best_iteration"] = report.best_iteration;
  }
  if (report.model) {
    json["model_report"] = ReportToJson(*report.model);
  } else {
    json["options_used"] = OptionsToJson(report.options_used);
  }
  return json;
}

PruningReport ReadPruningReport(const Json& json) {
  PruningReport report;
  report.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  report.iterations = json.at("iterations").get<int64_t>();
  report.rounds = json.at("rounds").get<int64_t>();
  report.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  report.training = ReadPruningFit(json.at("training"));
  report.nonzeros = json.at("nonzeros").get<int64_t>();
  report.active_neurons = json.at("active_neurons").get<int64_t>();
  report.divergences = json.at("divergences").get<int64_t>();
  report.partial = json.at("partial").get<bool>();
  if (json.contains("held_out")) report.held_out = ReadPruningFit(json.at("held_out"));
  if (json.contains("validation")) {
    report.validation = ReadPruningFit(json.at("validation"));
    report.best_iteration = json.at("best_iteration").get<int64_t>();
  }
  if (json.contains("model_report")) {
    report.model = ReadModelPruningReport(json.at("model_report"));
  } else {
    report.options_used = ReadPruneOptions(json.at("options_used"));
  }
  return report;
}

Json ProgressToJson(const PruneReport& report) {
  Json row = {report.iteration,
              report.round,
              report.epoch,
              ToJson(report.fit.loss),
              OrNull(report.fit.psnr_db),
              OrNull(report.fit.accuracy),
              report.nonzeros,
              ToJson(report.learning_rate),
              report.divergences,
              ToJson(report.elapsed_seconds),
              report.path_nonzeros,
              OrNull(report.fit.r_squared)};
  if (report.validation) row.push_back(FitToJson(PruningFit{.fit = *report.validation}));
  return row;
}

PruneReport ReadPruneReport(const Json& json) {
  PruneReport report;
  report.iteration = json.at(0).get<int64_t>();
  report.round = json.at(1).get<int64_t>();
  report.epoch = json.at(2).get<int64_t>();
  report.fit.loss = ReadDouble(json.at(3));
  report.fit.psnr_db = ReadOptionalDouble(json.at(4));
  report.fit.accuracy = ReadOptionalDouble(json.at(5));
  report.nonzeros = json.at(6).get<int64_t>();
  report.learning_rate = ReadDouble(json.at(7));
  report.divergences = json.at(8).get<int64_t>();
  report.elapsed_seconds = ReadDouble(json.at(9));
  // Not in records of before there were paths.
  if (json.size() > 10) report.path_nonzeros = json.at(10).get<int64_t>();
  if (json.size() > 11) report.fit.r_squared = ReadOptionalDouble(json.at(11));
  if (json.size() > 12) report.validation = ReadPruningFit(json.at(12)).fit;
  return report;
}

}  // namespace thresher::store
