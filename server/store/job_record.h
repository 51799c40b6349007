// A job as a value: what was asked, where it stands, what came out. Mirrors
// proto/thresher/v1/job.proto, recovery.proto, pruning.proto and sweep.proto; resource names are
// bare ids here.
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
#include "core/pruning/distill.h"
#include "core/pruning/prune.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
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

// Samples that choose among the networks of a job.
struct ValidationSpec {
  double fraction = 0.2;   // of the samples that are not held out; without a data set
  std::string dataset_id;  // empty: none
  int64_t patience = 0;    // 0: the job does not end early
};

// Which samples a job learns from, and which are apart from those.
struct SampleSplit {
  double held_out_fraction = 0.2;
  std::string held_out_dataset_id;  // instead of a fraction, which is then 0; empty: none
  uint64_t split_seed = 0;
  std::optional<ValidationSpec> validation = std::nullopt;
};

struct RecoverySpec {
  std::string dataset_id;
  // num_threads, mask_memory_limit_bytes and termination.time_limit_seconds are the
  // server's to set.
  RecoveryOptions options;
  SampleSplit split;
  std::string initial_model_id;  // empty: none
  // Chooses options.nonzeros, which is then 0.
  std::optional<PathOptions> path = std::nullopt;
};

struct PruningPath {
  int64_t min_nonzeros = 0;  // 0: the default of PrunePathOptions
  int64_t max_nonzeros = 0;
  int64_t num_points = 8;
};

struct ModelPruningOptions {
  bool train = true;  // false: the one-shot method alone
  // num_threads and time_limit_seconds are the server's to set; so is one_shot.loss, from `loss`.
  DistillOptions distill;
  std::optional<Loss> loss = std::nullopt;  // none: the server's choice
  // Either chooses distill.one_shot.nonzeros, which is then 0.
  std::optional<double> fraction = std::nullopt;
  std::optional<PruningPath> path = std::nullopt;
};

struct PruningSpec {
  std::string dataset_id;
  // Of a network to train. num_threads and time_limit_seconds are the server's to set.
  PruneOptions options;
  SampleSplit split;
  std::string model_id;               // the network to prune; empty: one is trained
  ModelPruningOptions model_options;  // of that network
};

struct SweepMethod {
  std::string name;
  // Width, budget and seed are each cell's.
  std::variant<RecoveryOptions, PruneOptions, ModelPruningOptions> options;
};

struct SweepSpec {
  std::string dataset_id;                 // empty: planted
  std::optional<PlantedOptions> planted;  // width, nonzeros, samples and seed are each cell's
  std::vector<int64_t> hidden_widths;
  std::vector<int64_t> nonzeros;
  std::vector<int64_t> num_samples;  // empty: all
  std::vector<uint64_t> seeds;
  std::vector<SweepMethod> methods;
  int64_t hidden_layers = 1;
  double held_out_fraction = 0.2;
  std::optional<double> cell_time_limit_seconds = std::nullopt;
  bool keep_models = false;
  std::string model_id;             // what ModelPruningOptions prune; empty: no method has them
  std::string held_out_dataset_id;  // as in SampleSplit
};

using JobSpec = std::variant<RecoverySpec, PruningSpec, SweepSpec>;

// Empty for a sweep that plants.
const std::string& DatasetIdOf(const JobSpec& spec);
// All data sets that the job reads, each once.
std::vector<std::string> DatasetIdsOf(const JobSpec& spec);
// The model that the job begins with, or its cells; empty: none.
std::string ModelIdOf(const JobSpec& spec);

using thresher::FitQuality;
using thresher::PlantedComparison;

struct RecoveryReport {
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  RecoveryOptions options_used;
  FitQuality training;
  std::optional<FitQuality> held_out;
  std::optional<FitQuality> validation;  // none: no samples chose
  int64_t best_iteration = 0;            // after which the network was there that they chose
  std::optional<PlantedComparison> planted;
  int64_t nonzeros = 0;
  int64_t linear_nonzeros = 0;  // entries of the linear term that are not 0, without the intercept
  int64_t active_neurons = 0;
  bool partial = false;
  std::optional<RecoveryEvidence> evidence;  // none: cancelled before it was gathered
  std::vector<PathPoint> path;               // empty: none was asked for
};

// Of a pruned network, in double.
struct PruningFit {
  int64_t num_samples = 0;
  Fit fit;
};

struct PruningPathPoint {
  int64_t budget = 0;
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  PruningFit training;
  std::optional<PruningFit> held_out = std::nullopt;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  bool knee = false;
  std::string model_id;
};

struct ModelPruningReport {
  ModelPruningOptions options_used;
  PruningFit given_training;
  std::optional<PruningFit> given_held_out;
  int64_t given_nonzeros = 0;
  int64_t given_active_neurons = 0;
  std::vector<PruningPathPoint> path;  // empty: none was asked for
};

struct PruningReport {
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  int64_t iterations = 0;  // epochs over all rounds
  int64_t rounds = 0;      // begun
  double elapsed_seconds = 0;
  PruneOptions options_used;
  PruningFit training;
  std::optional<PruningFit> held_out;
  std::optional<PruningFit> validation;  // as in RecoveryReport
  int64_t best_iteration = 0;
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  int64_t divergences = 0;
  bool partial = false;
  std::optional<ModelPruningReport> model;  // of a model that was pruned; no options_used then
};

// Why a job failed. (Not an absl::Status: copies of one across threads look like races
// to ThreadSanitizer where the abseil library is not instrumented.)
struct JobError {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  std::string message;
};

// A cell of a sweep and, once it has ended, its row of the table.
struct SweepCell {
  int64_t cell = 0;
  int64_t hidden_width = 0;
  int64_t nonzeros = 0;
  int64_t num_samples = 0;
  uint64_t seed = 0;
  std::string method;

  JobState state = JobState::kQueued;
  std::optional<TerminationReason> termination_reason = std::nullopt;
  std::optional<JobError> error = std::nullopt;
  int64_t network_nonzeros = 0;
  int64_t active_neurons = 0;
  std::optional<double> training_relative_residual = std::nullopt;
  std::optional<double> held_out_relative_residual = std::nullopt;
  std::optional<double> training_psnr_db = std::nullopt;
  std::optional<double> held_out_psnr_db = std::nullopt;
  std::optional<double> training_accuracy = std::nullopt;
  std::optional<double> held_out_accuracy = std::nullopt;
  std::optional<bool> exact = std::nullopt;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  int64_t predicted_peak_memory_bytes = 0;
  std::string model_id;
  std::optional<double> training_loss = std::nullopt;
  std::optional<double> held_out_loss = std::nullopt;
  // Of the model that was pruned, as it was given.
  int64_t given_nonzeros = 0;  // 0: none was
  std::optional<PruningFit> given_training = std::nullopt;
  std::optional<PruningFit> given_held_out = std::nullopt;
};

struct SweepReport {
  // kIterationLimit: every cell has a row. None while it runs, and when it ended without running.
  std::optional<TerminationReason> termination_reason = std::nullopt;
  int64_t cells_total = 0;
  int64_t cells_done = 0;
  int64_t cells_failed = 0;
  double elapsed_seconds = 0;
  // Filled in when the job is read; in the database they are records of their own.
  std::vector<SweepCell> rows;
};

struct SweepProgress {
  int64_t cells_total = 0;
  int64_t cells_done = 0;
  int64_t cells_failed = 0;
  double elapsed_seconds = 0;
  std::optional<double> left_seconds;
};

using JobReport = std::variant<RecoveryReport, PruningReport, SweepReport>;

// Of a job that has run.
TerminationReason TerminationReasonOf(const JobReport& report);
int64_t IterationsOf(const JobReport& report);

// One iteration of a job: a step of a recovery, an epoch of a pruning, a cell of a sweep.
using JobProgress = std::variant<IterationReport, PruneReport, SweepProgress>;

int64_t IterationOf(const JobProgress& progress);
double ElapsedSecondsOf(const JobProgress& progress);

// Predicted before a job starts.
struct JobCost {
  int64_t peak_memory_bytes = 0;   // upper estimate, the samples included
  double flops_per_iteration = 0;  // multiply-adds counted as two; of a pruning the mean epoch's
};

struct JobRecord {
  std::string id;
  JobSpec spec;
  int priority = 0;  // -100 to 100, higher first
  Labels labels;
  std::optional<double> time_limit_seconds;

  JobState state = JobState::kQueued;
  Timestamp create_time;
  std::optional<Timestamp> start_time;  // of the latest attempt
  std::optional<Timestamp> end_time;
  int attempt_count = 0;
  JobCost predicted_cost;
  std::optional<JobError> error;  // kFailed
  std::optional<JobProgress> progress;
  std::string model_id;             // empty: none
  std::optional<JobReport> report;  // of the spec's kind
  int64_t latest_event_number = 0;

  // The server's own.
  bool cancel_requested = false;     // kept beside the JSON
  std::string checkpoint_sha256;     // blob to resume from; empty: none
  int64_t checkpoint_iteration = 0;  // of that checkpoint
  int crash_count = 0;               // deaths of the server since the last checkpoint
  std::string parent_id;             // of the sweep that it is a cell of; empty: of none
  std::optional<SweepCell> cell;     // of that sweep
  bool discard_model = false;
};

// The row of a cell that has ended.
SweepCell RowOf(const JobRecord& cell);

struct StateChange {
  JobState state = JobState::kQueued;
  std::string message;  // why, in a sentence
};

struct JobEvent {
  int64_t number = 0;
  Timestamp time;
  std::variant<StateChange, JobProgress> event;
  // The job as it is after a state change; null on progress.
  std::shared_ptr<const JobRecord> job;
};

// JSON for the database. Parsing errors: DATA_LOSS.
std::string JobRecordToJson(const JobRecord& record);
absl::StatusOr<JobRecord> JobRecordFromJson(std::string_view text);
std::string JobEventToJson(const JobEvent& event);
absl::StatusOr<JobEvent> JobEventFromJson(int64_t number, std::string_view text);
std::string SweepCellToJson(const SweepCell& cell);
absl::StatusOr<SweepCell> SweepCellFromJson(std::string_view text);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_JOB_RECORD_H_
