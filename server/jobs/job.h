// The job's values under the names of this room, and what runs a job.
#ifndef THRESHER_SERVER_JOBS_JOB_H_
#define THRESHER_SERVER_JOBS_JOB_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

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
using store::TerminationReasonOf;
using store::Timestamp;

// What the manager asks before it takes a job in: is the spec right, and what will it
// need? Must be quick (no samples read).
// Errors: INVALID_ARGUMENT naming the field; NOT_FOUND (data set, model).
using JobPlanner = std::function<absl::StatusOr<JobCost>(const JobSpec&)>;

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
};

struct JobOutcome {
  std::optional<Model> model;  // none: there was no iterate
  JobReport report;            // of the spec's kind; its termination_reason says how the job ends
  std::string checkpoint;      // to go on from, when the server stops
};

// An error means that the job FAILED.
using JobRunner = std::function<absl::StatusOr<JobOutcome>(const JobRun&)>;

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_JOB_H_
