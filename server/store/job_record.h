// A job as a value: what was asked, where it stands, what came out. Mirrors
// proto/thresher/v1/job.proto and recovery.proto; resource names are bare ids here.
#ifndef THRESHER_SERVER_STORE_JOB_RECORD_H_
#define THRESHER_SERVER_STORE_JOB_RECORD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "server/store/records.h"

namespace thresher::store {

// Numbers are stored, and are those of the wire: never change them.
//
//   kQueued -> kRunning -> kSucceeded | kFailed | kCancelled
//   kQueued -> kCancelled
//   kQueued -> kFailed     the server died too often while it ran
//   kRunning -> kQueued    the server stops or was restarted
enum class JobState { kQueued = 1, kRunning = 2, kSucceeded = 3, kFailed = 4, kCancelled = 5 };

std::string_view JobStateName(JobState state);  // "QUEUED", ...
bool IsEnded(JobState state);
bool IsLegalTransition(JobState from, JobState to);

struct RecoverySpec {
  std::string dataset_id;
  // num_threads, mask_memory_limit_bytes and termination.time_limit_seconds are the
  // server's to set.
  RecoveryOptions options;
  double held_out_fraction = 0.2;
  uint64_t split_seed = 0;
  std::string initial_model_id;  // empty: none
  // Chooses options.nonzeros, which is then 0.
  std::optional<PathOptions> path = std::nullopt;
};

using thresher::FitQuality;
using thresher::PlantedComparison;

struct RecoveryReport {
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  RecoveryOptions options_used;
  FitQuality training;
  std::optional<FitQuality> held_out;
  std::optional<PlantedComparison> planted;
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  bool partial = false;
  std::optional<RecoveryEvidence> evidence;  // none: cancelled before it was gathered
  std::vector<PathPoint> path;               // empty: none was asked for
};

// Why a job failed. (Not an absl::Status: copies of one across threads look like races
// to ThreadSanitizer where the abseil library is not instrumented.)
struct JobError {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  std::string message;
};

struct JobRecord {
  std::string id;
  RecoverySpec spec;
  int priority = 0;  // -100 to 100, higher first
  Labels labels;
  std::optional<double> time_limit_seconds;

  JobState state = JobState::kQueued;
  Timestamp create_time;
  std::optional<Timestamp> start_time;  // of the latest attempt
  std::optional<Timestamp> end_time;
  int attempt_count = 0;
  RecoveryCost predicted_cost;
  std::optional<JobError> error;  // kFailed
  std::optional<IterationReport> progress;
  std::string model_id;  // empty: none
  std::optional<RecoveryReport> report;
  int64_t latest_event_number = 0;

  // The server's own.
  bool cancel_requested = false;     // kept beside the JSON
  std::string checkpoint_sha256;     // blob to resume from; empty: none
  int64_t checkpoint_iteration = 0;  // of that checkpoint
  int crash_count = 0;               // deaths of the server since the last checkpoint
};

struct StateChange {
  JobState state = JobState::kQueued;
  std::string message;  // why, in a sentence
};

struct JobEvent {
  int64_t number = 0;
  Timestamp time;
  std::variant<StateChange, IterationReport> event;
  // The job as it is after a state change; null on progress.
  std::shared_ptr<const JobRecord> job;
};

// JSON for the database. Parsing errors: DATA_LOSS.
std::string JobRecordToJson(const JobRecord& record);
absl::StatusOr<JobRecord> JobRecordFromJson(std::string_view text);
std::string JobEventToJson(const JobEvent& event);
absl::StatusOr<JobEvent> JobEventFromJson(int64_t number, std::string_view text);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_JOB_RECORD_H_
