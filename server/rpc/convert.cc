#include "server/rpc/convert.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "server/rpc/convert_parts.h"
#include "server/rpc/filter.h"
#include "server/rpc/status.h"
#include "server/store/blob_folder.h"
#include "server/store/error_details.h"
#include "server/store/job_record.h"

namespace thresher::rpc {
namespace {

using google::protobuf::util::TimeUtil;
using store::InvalidField;
// Else the overloads below would hide the shared ones.
using rpc::ToProto;

constexpr double kMaxTimeLimitSeconds = 365.0 * 24 * 3600;

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

v1::JobState ToProto(store::JobState state) { return static_cast<v1::JobState>(state); }
// The store's numbers are the wire's.
static_assert(static_cast<int>(store::JobState::kQueued) == v1::JOB_STATE_QUEUED);
static_assert(static_cast<int>(store::JobState::kRunning) == v1::JOB_STATE_RUNNING);
static_assert(static_cast<int>(store::JobState::kSucceeded) == v1::JOB_STATE_SUCCEEDED);
static_assert(static_cast<int>(store::JobState::kFailed) == v1::JOB_STATE_FAILED);
static_assert(static_cast<int>(store::JobState::kCancelled) == v1::JOB_STATE_CANCELLED);
static_assert(static_cast<int>(store::NetworkKind::kRelu) == v1::NETWORK_KIND_RELU);
static_assert(static_cast<int>(store::NetworkKind::kGated) == v1::NETWORK_KIND_GATED);

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

absl::StatusOr<int> StateFromWord(const std::string& word) {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  if ((!v1::JobState_Parse("JOB_STATE_" + word, &state) && !v1::JobState_Parse(word, &state)) ||
      state == v1::JOB_STATE_UNSPECIFIED) {
    return InvalidField("filter", "state must be QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED");
  }
  return static_cast<int>(state);
}

}  // namespace

// ----- Small parts of all converters. -----

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

absl::StatusOr<int64_t> PositiveOr0(bool is_set, int64_t value, std::string_view field) {
  if (!is_set) return 0;
  if (value < 1) return InvalidField(field, "must be at least 1, or unset for the default");
  return value;
}

// ----- Names and requests. -----

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

// ----- Responses. -----

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
  model.set_linear_nonzeros(record.linear_nonzeros);
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
