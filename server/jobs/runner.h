// The runner of every kind of job: the manager's planner and runner.
#ifndef THRESHER_SERVER_JOBS_RUNNER_H_
#define THRESHER_SERVER_JOBS_RUNNER_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/jobs/pruning_runner.h"
#include "server/jobs/recovery_runner.h"
#include "server/jobs/sweep_runner.h"
#include "server/store/store.h"

namespace thresher::jobs {

class Runner {
 public:
  // The store outlives the runner.
  Runner(store::Store* store, int threads_per_job, const std::string& program_version);

  // Errors: as those of the spec's kind.
  absl::StatusOr<JobCost> Plan(const JobSpec& spec);
  absl::StatusOr<JobOutcome> Run(const JobRun& run);

 private:
  RecoveryRunner recovery_;
  PruningRunner pruning_;
  SweepRunner sweep_;
};

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_RUNNER_H_
