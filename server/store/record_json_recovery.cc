#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/recovery/fit_quality.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "server/store/job_record.h"
#include "server/store/record_json.h"
#include "server/store/record_json_parts.h"

namespace thresher::store {
namespace {

constexpr Name<Algorithm> kAlgorithms[] = {{Algorithm::kAuto, "auto"},
                                           {Algorithm::kIht, "iht"},
                                           {Algorithm::kNiht, "niht"},
                                           {Algorithm::kAiht, "aiht"},
                                           {Algorithm::kHtp, "htp"},
                                           {Algorithm::kWinnow, "winnow"},
                                           {Algorithm::kCosamp, "cosamp"},
                                           {Algorithm::kSplicing, "splicing"},
                                           {Algorithm::kReciprocal, "reciprocal"},
                                           {Algorithm::kSvrg, "svrg"},
                                           {Algorithm::kCountSketch, "count_sketch"},
                                           {Algorithm::kSequential, "sequential"}};
constexpr Name<SolvePhase> kSolvePhases[] = {
    {SolvePhase::kIterate, "iterate"}, {SolvePhase::kStart, "start"},
    {SolvePhase::kExpand, "expand"},   {SolvePhase::kPrune, "prune"},
    {SolvePhase::kSwap, "swap"},       {SolvePhase::kTrain, "train"}};
constexpr Name<GateMode> kGateModes[] = {{GateMode::kSequential, "sequential"},
                                         {GateMode::kRandom, "random"},
                                         {GateMode::kEnumerated, "enumerated"}};
constexpr Name<Verdict> kVerdicts[] = {{Verdict::kExplains, "explains"},
                                       {Verdict::kApproximates, "approximates"},
                                       {Verdict::kUnchecked, "unchecked"},
                                       {Verdict::kFitsNotGeneralises, "fits_not_generalises"},
                                       {Verdict::kDoesNotExplain, "does_not_explain"},
                                       {Verdict::kUndetermined, "undetermined"}};
constexpr Name<SelectionCriterion> kSelectionCriteria[] = {
    {SelectionCriterion::kInformation, "information"},
    {SelectionCriterion::kHeldOut, "held_out"},
    {SelectionCriterion::kKFold, "k_fold"}};
constexpr Name<PathSearch> kPathSearches[] = {{PathSearch::kGrid, "grid"},
                                              {PathSearch::kGoldenSection, "golden_section"}};

Json FitToJson(const FitQuality& fit) {
  Json json = {{"num_samples", fit.num_samples},
               {"relative_residual", ToJson(fit.relative_residual)},
               {"psnr_db", ToJson(fit.psnr_db)}};
  AddDouble("accuracy", fit.accuracy, json);
  AddDouble("loss", fit.loss, json);
  AddDouble("r_squared", fit.r_squared, json);
  return json;
}

FitQuality ReadFit(const Json& json) {
  FitQuality fit;
  fit.num_samples = json.at("num_samples").get<int64_t>();
  fit.relative_residual = ReadDouble(json.at("relative_residual"));
  fit.psnr_db = ReadDouble(json.at("psnr_db"));
  fit.accuracy = ReadOptionalDouble(json, "accuracy");
  fit.loss = ReadOptionalDouble(json, "loss");
  fit.r_squared = ReadOptionalDouble(json, "r_squared");
  return fit;
}

Json EvidenceToJson(const RecoveryEvidence& evidence) {
  Json json = {{"verdict", NameOf(kVerdicts, evidence.verdict)},
               {"findings", evidence.findings},
               {"weakest_kept", ToJson(evidence.weakest_kept)},
               {"smallest_active_fraction", ToJson(evidence.smallest_active_fraction)},
               {"compared_patterns", evidence.compared_patterns},
               {"starts_tried", evidence.starts_tried},
               {"starts_agreeing", evidence.starts_agreeing},
               {"distinct_samples", evidence.distinct_samples}};
  AddDouble("strongest_left_out", evidence.strongest_left_out, json);
  AddDouble("smallest_saliency", evidence.smallest_saliency, json);
  AddDouble("hard_thresholding_nonzeros", evidence.hard_thresholding_nonzeros, json);
  AddDouble("reciprocal_thresholding_nonzeros", evidence.reciprocal_thresholding_nonzeros, json);
  AddDouble("smallest_pattern_difference", evidence.smallest_pattern_difference, json);
  if (evidence.conditioning) {
    json["conditioning"] = {
        {"smallest_eigenvalue", ToJson(evidence.conditioning->smallest_eigenvalue)},
        {"largest_eigenvalue", ToJson(evidence.conditioning->largest_eigenvalue)},
        {"is_bound", evidence.conditioning->is_bound}};
  }
  return json;
}

RecoveryEvidence ReadEvidence(const Json& json) {
  RecoveryEvidence evidence;
  evidence.verdict = ReadName(kVerdicts, json.at("verdict"));
  evidence.findings = json.at("findings").get<std::vector<std::string>>();
  evidence.weakest_kept = ReadDouble(json.at("weakest_kept"));
  evidence.smallest_active_fraction = ReadDouble(json.at("smallest_active_fraction"));
  evidence.compared_patterns = json.at("compared_patterns").get<int64_t>();
  evidence.starts_tried = json.at("starts_tried").get<int64_t>();
  evidence.starts_agreeing = json.at("starts_agreeing").get<int64_t>();
  evidence.distinct_samples = json.at("distinct_samples").get<int64_t>();
  evidence.strongest_left_out = ReadOptionalDouble(json, "strongest_left_out");
  evidence.smallest_saliency = ReadOptionalDouble(json, "smallest_saliency");
  evidence.hard_thresholding_nonzeros = ReadOptionalDouble(json, "hard_thresholding_nonzeros");
  evidence.reciprocal_thresholding_nonzeros =
      ReadOptionalDouble(json, "reciprocal_thresholding_nonzeros");
  evidence.smallest_pattern_difference = ReadOptionalDouble(json, "smallest_pattern_difference");
  if (json.contains("conditioning")) {
    const Json& from = json.at("conditioning");
    evidence.conditioning =
        Conditioning{.smallest_eigenvalue = ReadDouble(from.at("smallest_eigenvalue")),
                     .largest_eigenvalue = ReadDouble(from.at("largest_eigenvalue")),
                     .is_bound = from.at("is_bound").get<bool>()};
  }
  return evidence;
}

Json PathToJson(const PathOptions& path) {
  return {{"min_nonzeros", path.min_nonzeros},
          {"max_nonzeros", path.max_nonzeros},
          {"criterion", NameOf(kSelectionCriteria, path.criterion)},
          {"search", NameOf(kPathSearches, path.search)},
          {"validation_fraction", ToJson(path.validation_fraction)},
          {"num_folds", path.num_folds},
          {"max_points", path.max_points}};
}

PathOptions ReadPath(const Json& json) {
  return {.min_nonzeros = json.at("min_nonzeros").get<int64_t>(),
          .max_nonzeros = json.at("max_nonzeros").get<int64_t>(),
          .criterion = ReadName(kSelectionCriteria, json.at("criterion")),
          .search = ReadName(kPathSearches, json.at("search")),
          .validation_fraction = ReadDouble(json.at("validation_fraction")),
          .num_folds = json.at("num_folds").get<int64_t>(),
          .max_points = json.at("max_points").get<int64_t>()};
}

Json PointsToJson(const std::vector<PathPoint>& points) {
  Json json = Json::array();
  for (const PathPoint& point : points) {
    Json row = {{"nonzeros", point.nonzeros},
                {"relative_residual", ToJson(point.relative_residual)},
                {"criterion_value", ToJson(point.criterion_value)},
                {"active_neurons", point.active_neurons},
                {"iterations", point.iterations},
                {"elapsed_seconds", ToJson(point.elapsed_seconds)},
                {"chosen", point.chosen}};
    if (point.held_out_relative_residual) {
      row["held_out_relative_residual"] = ToJson(*point.held_out_relative_residual);
    }
    json.push_back(std::move(row));
  }
  return json;
}

std::vector<PathPoint> ReadPoints(const Json& json) {
  std::vector<PathPoint> points;
  for (const Json& row : json) {
    PathPoint point = {.nonzeros = row.at("nonzeros").get<int64_t>(),
                       .relative_residual = ReadDouble(row.at("relative_residual")),
                       .criterion_value = ReadDouble(row.at("criterion_value")),
                       .active_neurons = row.at("active_neurons").get<int64_t>(),
                       .iterations = row.at("iterations").get<int64_t>(),
                       .elapsed_seconds = ReadDouble(row.at("elapsed_seconds")),
                       .chosen = row.at("chosen").get<bool>()};
    if (row.contains("held_out_relative_residual")) {
      point.held_out_relative_residual = ReadDouble(row.at("held_out_relative_residual"));
    }
    points.push_back(point);
  }
  return points;
}

}  // namespace

Json OptionsToJson(const RecoveryOptions& options) {
  const TerminationCriteria& termination = options.termination;
  Json json = {
      {"hidden_width", options.hidden_width},
      {"nonzeros", options.nonzeros},
      {"working_nonzeros", options.working_nonzeros},
      {"algorithm", NameOf(kAlgorithms, options.algorithm)},
      {"gate_mode", NameOf(kGateModes, options.gate_mode)},
      {"output_signs", NameOf(kOutputSigns, options.output_signs)},
      {"bias", options.bias},
      {"seed", options.seed},
      {"batch_size", options.batch_size},
      {"max_iterations", termination.max_iterations},
      {"relative_residual_tolerance", ToJson(termination.relative_residual_tolerance)},
      {"stagnation_iterations", termination.stagnation_iterations},
      {"stagnation_decrease", ToJson(termination.stagnation_decrease)},
      {"time_limit_seconds", ToJson(termination.time_limit_seconds)},
      {"num_threads", options.num_threads},
      {"mask_memory_limit_bytes", options.mask_memory_limit_bytes},
  };
  if (options.step_size.has_value()) json["step_size"] = ToJson(*options.step_size);
  if (options.linear_term != LinearTerm::kNone) {
    json["linear_term"] = NameOf(kLinearTerms, options.linear_term);
  }
  if (options.hidden_layers > 1) json["hidden_layers"] = options.hidden_layers;
  if (options.loss != Loss::kSquared) json["loss"] = NameOf(kLosses, options.loss);
  if (options.choose_loss) json["choose_loss"] = true;
  if (options.choose_output_signs) json["choose_output_signs"] = true;
  return json;
}

RecoveryOptions ReadRecoveryOptions(const Json& json) {
  RecoveryOptions options;
  options.hidden_width = json.at("hidden_width").get<int64_t>();
  options.nonzeros = json.at("nonzeros").get<int64_t>();
  options.working_nonzeros = json.at("working_nonzeros").get<int64_t>();
  options.algorithm = ReadName(kAlgorithms, json.at("algorithm"));
  options.gate_mode = ReadName(kGateModes, json.at("gate_mode"));
  options.output_signs = ReadName(kOutputSigns, json.at("output_signs"));
  options.bias = json.at("bias").get<bool>();
  options.seed = json.at("seed").get<uint64_t>();
  options.batch_size = json.at("batch_size").get<int64_t>();
  TerminationCriteria& termination = options.termination;
  termination.max_iterations = json.at("max_iterations").get<int64_t>();
  termination.relative_residual_tolerance = ReadDouble(json.at("relative_residual_tolerance"));
  termination.stagnation_iterations = json.at("stagnation_iterations").get<int64_t>();
  termination.stagnation_decrease = ReadDouble(json.at("stagnation_decrease"));
  termination.time_limit_seconds = ReadDouble(json.at("time_limit_seconds"));
  options.num_threads = json.at("num_threads").get<int>();
  options.mask_memory_limit_bytes = json.at("mask_memory_limit_bytes").get<int64_t>();
  if (json.contains("step_size")) options.step_size = ReadDouble(json.at("step_size"));
  if (json.contains("linear_term")) {
    // In records of before there were two: true.
    const Json& linear_term = json.at("linear_term");
    options.linear_term =
        linear_term.is_boolean() ? LinearTerm::kDense : ReadName(kLinearTerms, linear_term);
  }
  options.hidden_layers = json.value("hidden_layers", int64_t{1});
  if (json.contains("loss")) options.loss = ReadName(kLosses, json.at("loss"));
  options.choose_loss = json.value("choose_loss", false);
  options.choose_output_signs = json.value("choose_output_signs", false);
  return options;
}

void AddSplit(const SampleSplit& split, Json& json) {
  json["held_out_fraction"] = ToJson(split.held_out_fraction);
  json["split_seed"] = split.split_seed;
  if (!split.held_out_dataset_id.empty()) json["held_out_dataset"] = split.held_out_dataset_id;
  if (split.validation) {
    json["validation"] = {{"fraction", ToJson(split.validation->fraction)},
                          {"dataset", split.validation->dataset_id},
                          {"patience", split.validation->patience}};
  }
}

SampleSplit ReadSplit(const Json& json) {
  SampleSplit split = {.held_out_fraction = ReadDouble(json.at("held_out_fraction")),
                       .held_out_dataset_id = json.value("held_out_dataset", std::string()),
                       .split_seed = json.at("split_seed").get<uint64_t>()};
  if (json.contains("validation")) {
    const Json& from = json.at("validation");
    split.validation = ValidationSpec{.fraction = ReadDouble(from.at("fraction")),
                                      .dataset_id = from.at("dataset").get<std::string>(),
                                      .patience = from.at("patience").get<int64_t>()};
  }
  return split;
}

Json SpecToJson(const RecoverySpec& spec) {
  Json json = {{"dataset", spec.dataset_id},
               {"options", OptionsToJson(spec.options)},
               {"initial_model", spec.initial_model_id}};
  AddSplit(spec.split, json);
  if (spec.path) json["path"] = PathToJson(*spec.path);
  return json;
}

RecoverySpec ReadRecoverySpec(const Json& json) {
  RecoverySpec spec = {.dataset_id = json.at("dataset").get<std::string>(),
                       .options = ReadRecoveryOptions(json.at("options")),
                       .split = ReadSplit(json),
                       .initial_model_id = json.at("initial_model").get<std::string>()};
  if (json.contains("path")) spec.path = ReadPath(json.at("path"));
  return spec;
}

Json ReportToJson(const RecoveryReport& report) {
  Json json = {{"termination_reason", NameOf(kTerminationReasons, report.termination_reason)},
               {"iterations", report.iterations},
               {"elapsed_seconds", ToJson(report.elapsed_seconds)},
               {"options_used", OptionsToJson(report.options_used)},
               {"training", FitToJson(report.training)},
               {"nonzeros", report.nonzeros},
               {"active_neurons", report.active_neurons},
               {"partial", report.partial}};
  if (report.linear_nonzeros > 0) json["linear_nonzeros"] = report.linear_nonzeros;
  if (report.held_out) json["held_out"] = FitToJson(*report.held_out);
  if (report.validation) {
    json["validation"] = FitToJson(*report.validation);
    json["best_iteration"] = report.best_iteration;
  }
  if (report.planted) {
    json["planted"] = {{"support_recall", ToJson(report.planted->support_recall)},
                       {"support_precision", ToJson(report.planted->support_precision)},
                       {"relative_weight_error", ToJson(report.planted->relative_weight_error)},
                       {"relative_function_error", ToJson(report.planted->relative_function_error)},
                       {"exact", report.planted->exact},
                       {"planted_neurons", report.planted->planted_neurons},
                       {"recovered_neurons", report.planted->recovered_neurons},
                       {"planted_nonzeros", report.planted->planted_nonzeros},
                       {"recovered_nonzeros", report.planted->recovered_nonzeros},
                       {"matched_nonzeros", report.planted->matched_nonzeros}};
  }
  if (report.evidence) json["evidence"] = EvidenceToJson(*report.evidence);
  if (!report.path.empty()) json["path"] = PointsToJson(report.path);
  return json;
}

RecoveryReport ReadRecoveryReport(const Json& json) {
  RecoveryReport report;
  report.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  report.iterations = json.at("iterations").get<int64_t>();
  report.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  report.options_used = ReadRecoveryOptions(json.at("options_used"));
  report.training = ReadFit(json.at("training"));
  report.nonzeros = json.at("nonzeros").get<int64_t>();
  report.linear_nonzeros = json.value("linear_nonzeros", int64_t{0});
  report.active_neurons = json.at("active_neurons").get<int64_t>();
  report.partial = json.at("partial").get<bool>();
  if (json.contains("held_out")) report.held_out = ReadFit(json.at("held_out"));
  if (json.contains("validation")) {
    report.validation = ReadFit(json.at("validation"));
    report.best_iteration = json.at("best_iteration").get<int64_t>();
  }
  if (json.contains("planted")) {
    const Json& from = json.at("planted");
    report.planted =
        PlantedComparison{.support_recall = ReadDouble(from.at("support_recall")),
                          .support_precision = ReadDouble(from.at("support_precision")),
                          .relative_weight_error = ReadDouble(from.at("relative_weight_error")),
                          .relative_function_error = ReadDouble(from.at("relative_function_error")),
                          .exact = from.at("exact").get<bool>(),
                          .planted_neurons = from.at("planted_neurons").get<int64_t>(),
                          .recovered_neurons = from.at("recovered_neurons").get<int64_t>(),
                          // Records of before the counts have none.
                          .planted_nonzeros = from.value("planted_nonzeros", int64_t{0}),
                          .recovered_nonzeros = from.value("recovered_nonzeros", int64_t{0}),
                          .matched_nonzeros = from.value("matched_nonzeros", int64_t{0})};
  }
  if (json.contains("evidence")) report.evidence = ReadEvidence(json.at("evidence"));
  if (json.contains("path")) report.path = ReadPoints(json.at("path"));
  return report;
}

// A table row: progress events are many.
Json ProgressToJson(const IterationReport& report) {
  Json row = {report.iteration,
              ToJson(report.relative_residual),
              ToJson(report.psnr_db),
              ToJson(report.step_size),
              report.support_size,
              report.support_changes,
              report.active_neurons,
              ToJson(report.best_relative_residual),
              ToJson(report.elapsed_seconds),
              NameOf(kSolvePhases, report.phase),
              report.start,
              report.path_nonzeros,
              report.path_points,
              OrNull(report.loss),
              OrNull(report.accuracy),
              OrNull(report.r_squared)};
  if (report.validation) row.push_back(FitToJson(*report.validation));
  return row;
}

IterationReport ReadIterationReport(const Json& json) {
  IterationReport report;
  report.iteration = json.at(0).get<int64_t>();
  report.relative_residual = ReadDouble(json.at(1));
  report.psnr_db = ReadDouble(json.at(2));
  report.step_size = ReadDouble(json.at(3));
  report.support_size = json.at(4).get<int64_t>();
  report.support_changes = json.at(5).get<int64_t>();
  report.active_neurons = json.at(6).get<int64_t>();
  report.best_relative_residual = ReadDouble(json.at(7));
  report.elapsed_seconds = ReadDouble(json.at(8));
  report.phase = ReadName(kSolvePhases, json.at(9));
  report.start = json.at(10).get<int64_t>();
  report.path_nonzeros = json.at(11).get<int64_t>();
  report.path_points = json.at(12).get<int64_t>();
  if (json.size() > 13) {  // not in older records
    report.loss = ReadOptionalDouble(json.at(13));
    report.accuracy = ReadOptionalDouble(json.at(14));
    report.r_squared = ReadOptionalDouble(json.at(15));
  }
  if (json.size() > 16) report.validation = ReadFit(json.at(16));
  return report;
}

}  // namespace thresher::store
