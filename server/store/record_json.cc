#include "server/store/record_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace thresher::store {
namespace {

// Enumerators are stored by name, so that core may reorder them.
template <typename Enum>
struct Name {
  Enum value;
  const char* name;
};

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
constexpr Name<OutputSigns> kOutputSigns[] = {{OutputSigns::kPositive, "positive"},
                                              {OutputSigns::kMixed, "mixed"}};
constexpr Name<TerminationReason> kTerminationReasons[] = {
    {TerminationReason::kConverged, "converged"},
    {TerminationReason::kStagnated, "stagnated"},
    {TerminationReason::kIterationLimit, "iteration_limit"},
    {TerminationReason::kTimeLimit, "time_limit"},
    {TerminationReason::kCancelled, "cancelled"},
    {TerminationReason::kEarlyStopped, "early_stopped"}};
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
constexpr Name<Loss> kLosses[] = {{Loss::kSquared, "squared"},
                                  {Loss::kCrossEntropy, "cross_entropy"},
                                  {Loss::kLogistic, "logistic"}};
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
constexpr Name<WeightDistribution> kWeightDistributions[] = {
    {WeightDistribution::kNormal, "normal"},
    {WeightDistribution::kUniform, "uniform"},
    {WeightDistribution::kSign, "sign"},
    {WeightDistribution::kHeavyTailed, "heavy_tailed"}};
constexpr Name<InputDistribution> kInputDistributions[] = {{InputDistribution::kNormal, "normal"},
                                                           {InputDistribution::kUniform, "uniform"},
                                                           {InputDistribution::kBinary, "binary"}};
constexpr Name<FileFormat> kFileFormats[] = {{FileFormat::kNpy, "npy"},
                                             {FileFormat::kNpz, "npz"},
                                             {FileFormat::kCsv, "csv"},
                                             {FileFormat::kIdx, "idx"},
                                             {FileFormat::kPng, "png"}};
constexpr Name<ImageFeatures> kImageFeatures[] = {{ImageFeatures::kScaled, "scaled"},
                                                  {ImageFeatures::kRawInteger, "raw_integer"}};
constexpr Name<ScalingMode> kScalingModes[] = {{ScalingMode::kNone, "none"},
                                               {ScalingMode::kStandardise, "standardise"},
                                               {ScalingMode::kUnitRange, "unit_range"}};

template <typename Enum, size_t kSize>
Json NameOf(const Name<Enum> (&names)[kSize], Enum value) {
  for (const Name<Enum>& entry : names) {
    if (entry.value == value) return entry.name;
  }
  return nullptr;
}

template <typename Enum, size_t kSize>
Enum ReadName(const Name<Enum> (&names)[kSize], const Json& json) {
  const std::string name = json.get<std::string>();
  for (const Name<Enum>& entry : names) {
    if (name == entry.name) return entry.value;
  }
  throw Json::other_error::create(501, "unknown name " + name, &json);
}

void AddDouble(const char* name, const std::optional<double>& value, Json& json) {
  if (value) json[name] = ToJson(*value);
}

std::optional<double> ReadOptionalDouble(const Json& json, const char* name) {
  if (!json.contains(name)) return std::nullopt;
  return ReadDouble(json.at(name));
}

// Of a table row.
Json OrNull(const std::optional<double>& value) { return value ? ToJson(*value) : Json(); }

std::optional<double> ReadOptionalDouble(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(ReadDouble(json));
}

Json DoublesToJson(const std::vector<double>& values) {
  Json json = Json::array();
  for (const double value : values) json.push_back(ToJson(value));
  return json;
}

std::vector<double> ReadDoubles(const Json& json) {
  std::vector<double> values;
  values.reserve(json.size());
  for (const Json& value : json) values.push_back(ReadDouble(value));
  return values;
}

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
  if (options.linear_term) json["linear_term"] = true;
  if (options.hidden_layers > 1) json["hidden_layers"] = options.hidden_layers;
  if (options.loss != Loss::kSquared) json["loss"] = NameOf(kLosses, options.loss);
  if (options.choose_loss) json["choose_loss"] = true;
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
  options.linear_term = json.value("linear_term", false);
  options.hidden_layers = json.value("hidden_layers", int64_t{1});
  if (json.contains("loss")) options.loss = ReadName(kLosses, json.at("loss"));
  options.choose_loss = json.value("choose_loss", false);
  return options;
}

Json ImageToJson(const ImageOptions& image) {
  Json json = {{"features", NameOf(kImageFeatures, image.features)},
               {"num_features", image.num_features},
               {"seed", image.seed},
               {"crop", {image.crop.width, image.crop.height, image.crop.left, image.crop.top}},
               {"index", image.index}};
  if (image.sigma) json["sigma"] = ToJson(*image.sigma);
  if (image.channel_sigma) json["channel_sigma"] = ToJson(*image.channel_sigma);
  return json;
}

ImageOptions ReadImage(const Json& json) {
  ImageOptions image;
  image.features = ReadName(kImageFeatures, json.at("features"));
  image.num_features = json.at("num_features").get<int64_t>();
  image.seed = json.at("seed").get<uint64_t>();
  const Json& crop = json.at("crop");
  image.crop = {.width = crop.at(0).get<int64_t>(),
                .height = crop.at(1).get<int64_t>(),
                .left = crop.at(2).get<int64_t>(),
                .top = crop.at(3).get<int64_t>()};
  image.index = json.at("index").get<int64_t>();
  if (json.contains("sigma")) image.sigma = ReadDouble(json.at("sigma"));
  if (json.contains("channel_sigma")) image.channel_sigma = ReadDouble(json.at("channel_sigma"));
  return image;
}

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
                       {"recovered_neurons", report.planted->recovered_neurons}};
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
                          .recovered_neurons = from.at("recovered_neurons").get<int64_t>()};
  }
  if (json.contains("evidence")) report.evidence = ReadEvidence(json.at("evidence"));
  if (json.contains("path")) report.path = ReadPoints(json.at("path"));
  return report;
}

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

// Methods and the planted problem have the JSON of jobs and data sets.
Json SpecToJson(const SweepSpec& spec) {
  Json methods = Json::array();
  for (const SweepMethod& method : spec.methods) {
    const char* kind = std::holds_alternative<RecoveryOptions>(method.options) ? "recovery"
                       : std::holds_alternative<PruneOptions>(method.options)  ? "pruning"
                                                                               : "model_pruning";
    methods.push_back({{"name", method.name},
                       {kind, std::visit([](const auto& options) { return OptionsToJson(options); },
                                         method.options)}});
  }
  Json json = {{"dataset", spec.dataset_id},
               {"hidden_widths", spec.hidden_widths},
               {"nonzeros", spec.nonzeros},
               {"num_samples", spec.num_samples},
               {"seeds", spec.seeds},
               {"methods", methods},
               {"hidden_layers", spec.hidden_layers},
               {"held_out_fraction", ToJson(spec.held_out_fraction)},
               {"keep_models", spec.keep_models}};
  if (spec.planted) json["planted"] = ToJson(DatasetSource(*spec.planted)).at("planted");
  AddDouble("cell_time_limit_seconds", spec.cell_time_limit_seconds, json);
  if (!spec.model_id.empty()) json["model"] = spec.model_id;
  if (!spec.held_out_dataset_id.empty()) json["held_out_dataset"] = spec.held_out_dataset_id;
  return json;
}

SweepSpec ReadSweepSpec(const Json& json) {
  SweepSpec spec;
  spec.dataset_id = json.at("dataset").get<std::string>();
  spec.hidden_widths = json.at("hidden_widths").get<std::vector<int64_t>>();
  spec.nonzeros = json.at("nonzeros").get<std::vector<int64_t>>();
  spec.num_samples = json.at("num_samples").get<std::vector<int64_t>>();
  spec.seeds = json.at("seeds").get<std::vector<uint64_t>>();
  for (const Json& from : json.at("methods")) {
    SweepMethod method;
    method.name = from.at("name").get<std::string>();
    if (from.contains("pruning")) {
      method.options = ReadPruneOptions(from.at("pruning"));
    } else if (from.contains("model_pruning")) {
      method.options = ReadModelPruningOptions(from.at("model_pruning"));
    } else {
      method.options = ReadRecoveryOptions(from.at("recovery"));
    }
    spec.methods.push_back(std::move(method));
  }
  spec.hidden_layers = json.at("hidden_layers").get<int64_t>();
  spec.held_out_fraction = ReadDouble(json.at("held_out_fraction"));
  spec.held_out_dataset_id = json.value("held_out_dataset", std::string());
  spec.keep_models = json.at("keep_models").get<bool>();
  if (json.contains("planted")) spec.planted = std::get<PlantedOptions>(ReadDatasetSource(json));
  spec.cell_time_limit_seconds = ReadOptionalDouble(json, "cell_time_limit_seconds");
  if (json.contains("model")) spec.model_id = json.at("model").get<std::string>();
  return spec;
}

Json ReportToJson(const SweepReport& report) {
  Json json = {{"cells_total", report.cells_total},
               {"cells_done", report.cells_done},
               {"cells_failed", report.cells_failed},
               {"elapsed_seconds", ToJson(report.elapsed_seconds)}};
  if (report.termination_reason) {
    json["termination_reason"] = NameOf(kTerminationReasons, *report.termination_reason);
  }
  return json;
}

SweepReport ReadSweepReport(const Json& json) {
  SweepReport report;
  if (json.contains("termination_reason")) {
    report.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  }
  report.cells_total = json.at("cells_total").get<int64_t>();
  report.cells_done = json.at("cells_done").get<int64_t>();
  report.cells_failed = json.at("cells_failed").get<int64_t>();
  report.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  return report;
}

Json ErrorToJson(const JobError& error) {
  return {{"code", static_cast<int>(error.code)}, {"message", error.message}};
}

JobError ReadError(const Json& json) {
  return {.code = static_cast<absl::StatusCode>(json.at("code").get<int>()),
          .message = json.at("message").get<std::string>()};
}

JobState ReadState(const Json& json);

Json CellToJson(const SweepCell& cell) {
  Json json = {{"cell", cell.cell},
               {"hidden_width", cell.hidden_width},
               {"nonzeros", cell.nonzeros},
               {"num_samples", cell.num_samples},
               {"seed", cell.seed},
               {"method", cell.method},
               {"state", static_cast<int>(cell.state)},
               {"network_nonzeros", cell.network_nonzeros},
               {"active_neurons", cell.active_neurons},
               {"iterations", cell.iterations},
               {"elapsed_seconds", ToJson(cell.elapsed_seconds)},
               {"peak_memory_bytes", cell.predicted_peak_memory_bytes},
               {"model", cell.model_id}};
  if (cell.termination_reason) {
    json["termination_reason"] = NameOf(kTerminationReasons, *cell.termination_reason);
  }
  if (cell.error) json["error"] = ErrorToJson(*cell.error);
  if (cell.exact) json["exact"] = *cell.exact;
  AddDouble("training_relative_residual", cell.training_relative_residual, json);
  AddDouble("held_out_relative_residual", cell.held_out_relative_residual, json);
  AddDouble("training_psnr_db", cell.training_psnr_db, json);
  AddDouble("held_out_psnr_db", cell.held_out_psnr_db, json);
  AddDouble("training_accuracy", cell.training_accuracy, json);
  AddDouble("held_out_accuracy", cell.held_out_accuracy, json);
  AddDouble("training_loss", cell.training_loss, json);
  AddDouble("held_out_loss", cell.held_out_loss, json);
  if (cell.given_nonzeros != 0) json["given_nonzeros"] = cell.given_nonzeros;
  if (cell.given_training) json["given_training"] = FitToJson(*cell.given_training);
  if (cell.given_held_out) json["given_held_out"] = FitToJson(*cell.given_held_out);
  return json;
}

SweepCell ReadCell(const Json& json) {
  SweepCell cell;
  cell.cell = json.at("cell").get<int64_t>();
  cell.hidden_width = json.at("hidden_width").get<int64_t>();
  cell.nonzeros = json.at("nonzeros").get<int64_t>();
  cell.num_samples = json.at("num_samples").get<int64_t>();
  cell.seed = json.at("seed").get<uint64_t>();
  cell.method = json.at("method").get<std::string>();
  cell.state = ReadState(json.at("state"));
  cell.network_nonzeros = json.at("network_nonzeros").get<int64_t>();
  cell.active_neurons = json.at("active_neurons").get<int64_t>();
  cell.iterations = json.at("iterations").get<int64_t>();
  cell.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  cell.predicted_peak_memory_bytes = json.at("peak_memory_bytes").get<int64_t>();
  cell.model_id = json.at("model").get<std::string>();
  if (json.contains("termination_reason")) {
    cell.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  }
  if (json.contains("error")) cell.error = ReadError(json.at("error"));
  if (json.contains("exact")) cell.exact = json.at("exact").get<bool>();
  cell.training_relative_residual = ReadOptionalDouble(json, "training_relative_residual");
  cell.held_out_relative_residual = ReadOptionalDouble(json, "held_out_relative_residual");
  cell.training_psnr_db = ReadOptionalDouble(json, "training_psnr_db");
  cell.held_out_psnr_db = ReadOptionalDouble(json, "held_out_psnr_db");
  cell.training_accuracy = ReadOptionalDouble(json, "training_accuracy");
  cell.held_out_accuracy = ReadOptionalDouble(json, "held_out_accuracy");
  cell.training_loss = ReadOptionalDouble(json, "training_loss");
  cell.held_out_loss = ReadOptionalDouble(json, "held_out_loss");
  if (json.contains("given_nonzeros")) {
    cell.given_nonzeros = json.at("given_nonzeros").get<int64_t>();
  }
  if (json.contains("given_training")) {
    cell.given_training = ReadPruningFit(json.at("given_training"));
  }
  if (json.contains("given_held_out")) {
    cell.given_held_out = ReadPruningFit(json.at("given_held_out"));
  }
  return cell;
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

Json ProgressToJson(const SweepProgress& progress) {
  return {progress.cells_total, progress.cells_done, progress.cells_failed,
          ToJson(progress.elapsed_seconds), OrNull(progress.left_seconds)};
}

SweepProgress ReadSweepProgress(const Json& json) {
  SweepProgress progress;
  progress.cells_total = json.at(0).get<int64_t>();
  progress.cells_done = json.at(1).get<int64_t>();
  progress.cells_failed = json.at(2).get<int64_t>();
  progress.elapsed_seconds = ReadDouble(json.at(3));
  progress.left_seconds = ReadOptionalDouble(json.at(4));
  return progress;
}

// Progress of a recovery has the member that it had when there were no others.
void AddProgress(const JobProgress& progress, Json& json) {
  const char* name = std::holds_alternative<IterationReport>(progress) ? "progress"
                     : std::holds_alternative<PruneReport>(progress)   ? "pruning_progress"
                                                                       : "sweep_progress";
  json[name] = std::visit([](const auto& report) { return ProgressToJson(report); }, progress);
}

std::optional<JobProgress> ReadProgress(const Json& json) {
  if (json.contains("progress")) return ReadIterationReport(json.at("progress"));
  if (json.contains("pruning_progress")) return ReadPruneReport(json.at("pruning_progress"));
  if (json.contains("sweep_progress")) return ReadSweepProgress(json.at("sweep_progress"));
  return std::nullopt;
}

Json JobToJson(const JobRecord& record) {
  Json json = {
      {"version", 1},
      {"id", record.id},
      {"priority", record.priority},
      {"labels", record.labels},
      {"state", static_cast<int>(record.state)},
      {"create_time", ToJson(record.create_time)},
      {"attempt_count", record.attempt_count},
      {"peak_memory_bytes", record.predicted_cost.peak_memory_bytes},
      {"flops_per_iteration", ToJson(record.predicted_cost.flops_per_iteration)},
      {"model", record.model_id},
      {"latest_event_number", record.latest_event_number},
      {"checkpoint", record.checkpoint_sha256},
      {"checkpoint_iteration", record.checkpoint_iteration},
      {"crash_count", record.crash_count},
  };
  if (record.time_limit_seconds) json["time_limit_seconds"] = ToJson(*record.time_limit_seconds);
  if (record.start_time) json["start_time"] = ToJson(*record.start_time);
  if (record.end_time) json["end_time"] = ToJson(*record.end_time);
  if (record.error) json["error"] = ErrorToJson(*record.error);
  if (!record.parent_id.empty()) json["parent"] = record.parent_id;
  if (record.cell) json["cell"] = CellToJson(*record.cell);
  if (record.discard_model) json["discard_model"] = true;
  AddSpec(record.spec, json);
  if (record.progress) AddProgress(*record.progress, json);
  AddReport(record.report, json);
  return json;
}

JobState ReadState(const Json& json) {
  const int number = json.get<int>();
  if (number < static_cast<int>(JobState::kQueued) ||
      number > static_cast<int>(JobState::kCancelled)) {
    throw Json::other_error::create(501, "unknown job state", &json);
  }
  return static_cast<JobState>(number);
}

JobRecord ReadJob(const Json& json) {
  JobRecord record;
  record.id = json.at("id").get<std::string>();
  record.spec = ReadSpec(json);
  record.priority = json.at("priority").get<int>();
  record.labels = json.at("labels").get<Labels>();
  record.state = ReadState(json.at("state"));
  record.create_time = ReadTimestamp(json.at("create_time"));
  record.attempt_count = json.at("attempt_count").get<int>();
  record.predicted_cost.peak_memory_bytes = json.at("peak_memory_bytes").get<int64_t>();
  record.predicted_cost.flops_per_iteration = ReadDouble(json.at("flops_per_iteration"));
  record.model_id = json.at("model").get<std::string>();
  record.latest_event_number = json.at("latest_event_number").get<int64_t>();
  record.checkpoint_sha256 = json.at("checkpoint").get<std::string>();
  record.checkpoint_iteration = json.at("checkpoint_iteration").get<int64_t>();
  record.crash_count = json.at("crash_count").get<int>();
  if (json.contains("time_limit_seconds")) {
    record.time_limit_seconds = ReadDouble(json.at("time_limit_seconds"));
  }
  if (json.contains("start_time")) record.start_time = ReadTimestamp(json.at("start_time"));
  if (json.contains("end_time")) record.end_time = ReadTimestamp(json.at("end_time"));
  if (json.contains("error")) record.error = ReadError(json.at("error"));
  record.parent_id = json.value("parent", "");
  if (json.contains("cell")) record.cell = ReadCell(json.at("cell"));
  record.discard_model = json.value("discard_model", false);
  record.progress = ReadProgress(json);
  record.report = ReadReport(json);
  return record;
}

}  // namespace

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ToJson(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}

double ReadDouble(const Json& json) {
  if (!json.is_string()) return json.get<double>();
  const std::string text = json.get<std::string>();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

Json ToJson(Timestamp time) { return time.time_since_epoch().count(); }

Timestamp ReadTimestamp(const Json& json) {
  return Timestamp(std::chrono::microseconds(json.get<int64_t>()));
}

Json ToJson(const Scaling& scaling) {
  return {{"input_offset", DoublesToJson(scaling.input_offset)},
          {"input_scale", DoublesToJson(scaling.input_scale)},
          {"target_offset", ToJson(scaling.target_offset)},
          {"target_scale", ToJson(scaling.target_scale)}};
}

Scaling ReadScaling(const Json& json) {
  return {.input_offset = ReadDoubles(json.at("input_offset")),
          .input_scale = ReadDoubles(json.at("input_scale")),
          .target_offset = ReadDouble(json.at("target_offset")),
          .target_scale = ReadDouble(json.at("target_scale"))};
}

Json ToJson(const DatasetSource& source) {
  if (const auto* planted = std::get_if<PlantedOptions>(&source)) {
    Json json = {
        {"num_samples", planted->num_samples},
        {"num_inputs", planted->num_inputs},
        {"hidden_width", planted->hidden_width},
        {"nonzeros", planted->nonzeros},
        {"seed", planted->seed},
        {"weight_distribution", NameOf(kWeightDistributions, planted->weight_distribution)},
        {"input_distribution", NameOf(kInputDistributions, planted->input_distribution)},
        {"output_signs", NameOf(kOutputSigns, planted->output_signs)},
        {"input_correlation", ToJson(planted->input_correlation)},
    };
    if (planted->noise_db.has_value()) json["noise_db"] = ToJson(*planted->noise_db);
    if (planted->linear_term) json["linear_term"] = true;
    if (planted->num_outputs != 1) json["num_outputs"] = planted->num_outputs;
    if (planted->hidden_layers != 1) json["hidden_layers"] = planted->hidden_layers;
    return {{"planted", json}};
  }
  const auto& upload = std::get<thresher::ReadOptions>(source);
  Json json = {{"format", NameOf(kFileFormats, upload.format)},
               {"inputs_member", upload.inputs_member},
               {"targets_member", upload.targets_member},
               {"target_columns", upload.target_columns},
               {"ignored_columns", upload.ignored_columns},
               {"targets_are_classes", upload.targets_are_classes},
               {"classes", upload.classes},
               {"scaling", NameOf(kScalingModes, upload.scaling)}};
  if (upload.image) json["image"] = ImageToJson(*upload.image);
  return {{"upload", json}};
}

DatasetSource ReadDatasetSource(const Json& json) {
  if (json.contains("planted")) {
    const Json& from = json.at("planted");
    PlantedOptions planted;
    planted.num_samples = from.at("num_samples").get<int64_t>();
    planted.num_inputs = from.at("num_inputs").get<int64_t>();
    planted.hidden_width = from.at("hidden_width").get<int64_t>();
    planted.nonzeros = from.at("nonzeros").get<int64_t>();
    planted.seed = from.at("seed").get<uint64_t>();
    planted.weight_distribution = ReadName(kWeightDistributions, from.at("weight_distribution"));
    planted.input_distribution = ReadName(kInputDistributions, from.at("input_distribution"));
    planted.output_signs = ReadName(kOutputSigns, from.at("output_signs"));
    planted.input_correlation = ReadDouble(from.at("input_correlation"));
    if (from.contains("noise_db")) planted.noise_db = ReadDouble(from.at("noise_db"));
    planted.linear_term = from.value("linear_term", false);
    planted.num_outputs = from.value("num_outputs", int64_t{1});
    planted.hidden_layers = from.value("hidden_layers", int64_t{1});
    return planted;
  }
  const Json& from = json.at("upload");
  thresher::ReadOptions upload;
  upload.format = ReadName(kFileFormats, from.at("format"));
  upload.inputs_member = from.at("inputs_member").get<std::string>();
  upload.targets_member = from.at("targets_member").get<std::string>();
  upload.target_columns = from.at("target_columns").get<std::vector<std::string>>();
  upload.ignored_columns = from.at("ignored_columns").get<std::vector<std::string>>();
  upload.targets_are_classes = from.at("targets_are_classes").get<bool>();
  upload.classes = from.at("classes").get<std::vector<std::string>>();
  upload.scaling = ReadName(kScalingModes, from.at("scaling"));
  if (from.contains("image")) upload.image = ReadImage(from.at("image"));
  return upload;
}

void AddSpec(const JobSpec& spec, Json& json) {
  if (const auto* recovery = std::get_if<RecoverySpec>(&spec)) {
    json["recovery"] = SpecToJson(*recovery);
  } else if (const auto* pruning = std::get_if<PruningSpec>(&spec)) {
    json["pruning"] = SpecToJson(*pruning);
  } else {
    json["sweep"] = SpecToJson(std::get<SweepSpec>(spec));
  }
}

JobSpec ReadSpec(const Json& json) {
  if (json.contains("pruning")) return ReadPruningSpec(json.at("pruning"));
  if (json.contains("sweep")) return ReadSweepSpec(json.at("sweep"));
  return ReadRecoverySpec(json.at("recovery"));
}

void AddReport(const std::optional<JobReport>& report, Json& json) {
  if (!report) return;
  if (const auto* recovery = std::get_if<RecoveryReport>(&*report)) {
    json["report"] = ReportToJson(*recovery);
  } else if (const auto* pruning = std::get_if<PruningReport>(&*report)) {
    json["pruning_report"] = ReportToJson(*pruning);
  } else {
    json["sweep_report"] = ReportToJson(std::get<SweepReport>(*report));
  }
}

std::optional<JobReport> ReadReport(const Json& json) {
  if (json.contains("report")) return ReadRecoveryReport(json.at("report"));
  if (json.contains("pruning_report")) return ReadPruningReport(json.at("pruning_report"));
  if (json.contains("sweep_report")) return ReadSweepReport(json.at("sweep_report"));
  return std::nullopt;
}

std::string JobRecordToJson(const JobRecord& record) { return Dump(JobToJson(record)); }

absl::StatusOr<JobRecord> JobRecordFromJson(std::string_view text) {
  return ParseRecord<JobRecord>(text, ReadJob);
}

std::string SweepCellToJson(const SweepCell& cell) { return Dump(CellToJson(cell)); }

absl::StatusOr<SweepCell> SweepCellFromJson(std::string_view text) {
  return ParseRecord<SweepCell>(text, ReadCell);
}

std::string JobEventToJson(const JobEvent& event) {
  Json json = {{"time", ToJson(event.time)}};
  if (const auto* change = std::get_if<StateChange>(&event.event)) {
    json["state"] = static_cast<int>(change->state);
    json["message"] = change->message;
  } else {
    AddProgress(std::get<JobProgress>(event.event), json);
  }
  if (event.job != nullptr) json["job"] = JobToJson(*event.job);
  return Dump(json);
}

absl::StatusOr<JobEvent> JobEventFromJson(int64_t number, std::string_view text) {
  return ParseRecord<JobEvent>(text, [number](const Json& json) {
    JobEvent event;
    event.number = number;
    event.time = ReadTimestamp(json.at("time"));
    if (const std::optional<JobProgress> progress = ReadProgress(json)) {
      event.event = *progress;
    } else {
      event.event = StateChange{.state = ReadState(json.at("state")),
                                .message = json.at("message").get<std::string>()};
    }
    if (json.contains("job")) {
      event.job = std::make_shared<const JobRecord>(ReadJob(json.at("job")));
    }
    return event;
  });
}

}  // namespace thresher::store
