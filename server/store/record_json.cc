#include "server/store/record_json.h"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/model.h"
#include "core/samples/image_samples.h"
#include "core/samples/planted.h"
#include "core/samples/read_samples.h"
#include "server/store/dataset_store.h"
#include "server/store/job_record.h"
#include "server/store/record_json_parts.h"
#include "server/store/records.h"

namespace thresher::store {
namespace {

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

void AddDouble(const char* name, const std::optional<double>& value, Json& json) {
  if (value) json[name] = ToJson(*value);
}

std::optional<double> ReadOptionalDouble(const Json& json, const char* name) {
  if (!json.contains(name)) return std::nullopt;
  return ReadDouble(json.at(name));
}

Json OrNull(const std::optional<double>& value) { return value ? ToJson(*value) : Json(); }

std::optional<double> ReadOptionalDouble(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional(ReadDouble(json));
}

Json ErrorToJson(const JobError& error) {
  return {{"code", static_cast<int>(error.code)}, {"message", error.message}};
}

JobError ReadError(const Json& json) {
  return {.code = static_cast<absl::StatusCode>(json.at("code").get<int>()),
          .message = json.at("message").get<std::string>()};
}

JobState ReadState(const Json& json) {
  const int number = json.get<int>();
  if (number < static_cast<int>(JobState::kQueued) ||
      number > static_cast<int>(JobState::kCancelled)) {
    throw Json::other_error::create(501, "unknown job state", &json);
  }
  return static_cast<JobState>(number);
}

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
