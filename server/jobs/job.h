// The job's values under the names of this room, and what runs a job.
#ifndef THRESHER_SERVER_JOBS_JOB_H_
#define THRESHER_SERVER_JOBS_JOB_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/model.h"
#include "server/store/job_record.h"

namespace thresher::jobs {

using store::ElapsedSecondsOf;
using store::IsEnded;
using store::IterationOf;
using store::IterationsOf;
using store::JobCost;
using store::JobError;
using store::JobEvent;
using store::JobProgress;
using store::JobRecord;
using store::JobReport;
using store::JobSpec;
using store::JobState;
using store::JobStateName;
using store::PruningFit;
using store::PruningReport;
using store::PruningSpec;
using store::RecoveryReport;
using store::RecoverySpec;
using store::StateChange;
using store::SweepCell;
using store::SweepMethod;
using store::SweepProgress;
using store::SweepReport;
using store::SweepSpec;
using store::TerminationReasonOf;
using store::Timestamp;

// What the manager asks before it takes a job in: is the spec right, and what will it
// need? Must be quick (no samples read).
// Errors: INVALID_ARGUMENT naming the field; NOT_FOUND (data set, model).
using JobPlanner = std::function<absl::StatusOr<JobCost>(const JobSpec&)>;

// A cell of a sweep that has a row.
struct EndedCell {
  int64_t cell = 0;
  bool failed = false;
};

// The cells of a sweep, as its runner sees them: jobs in the manager's queue with the sweep as
// their parent. For the sweep's thread only.
struct SweepCells {
  struct SoFar {
    std::vector<EndedCell> ended;
    std::vector<int64_t> active;  // have a job
  };
  // To be called first.
  std::function<absl::StatusOr<SoFar>()> begin;
  // Creates a cell's job. Errors: as JobManager::Create.
  std::function<absl::Status(const SweepCell& cell, const JobSpec& spec)> start;
  // Keeps the row of a cell that could not start.
  std::function<absl::Status(const SweepCell& row)> record;
  // Cells that ended since the last call. Blocks until there is one, a stop is requested or it is
  // `deadline`.
  std::function<std::vector<EndedCell>(std::chrono::steady_clock::time_point deadline)> wait;
  // Cancels the jobs and waits for their ends, or until the server stops.
  std::function<void()> cancel;
  // Whether somebody cancelled the sweep.
  std::function<bool()> cancelled;
  // How many jobs to have in the queue and running.
  int64_t max_active = 1;
};

// One attempt at a job, as the runner sees it.
struct JobRun {
  JobRecord job;           // as it is now, RUNNING
  std::string checkpoint;  // of an earlier attempt; empty: from the start
  int num_threads = 1;
  double time_limit_seconds = 0;  // over all attempts; 0: none
  // Requested when the job is cancelled or the server stops.
  std::stop_token stop;
  // Call from the solving thread.
  std::function<void(const JobProgress&)> on_iteration;
  std::function<bool(const JobProgress&)> checkpoint_due;
  std::function<void(std::string checkpoint)> on_checkpoint;
  SweepCells cells;  // of a sweep; unset otherwise
};

// A point of a path, kept as models/{job}-{budget}.
struct PointModel {
  int64_t budget = 0;
  Model model;
  JobReport report;
};

struct JobOutcome {
  std::optional<Model> model;  // none: there was no iterate
  // Of a PruningReport's path, in its order; the manager fills in their ids there.
  std::vector<PointModel> points = {};
  JobReport report;        // of the spec's kind; its termination_reason says how the job ends
  std::string checkpoint;  // to go on from, when the server stops
};

// An error means that the job FAILED.
using JobRunner = std::function<absl::StatusOr<JobOutcome>(const JobRun&)>;

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_JOB_H_
