// Plans and runs pruning jobs with the solver, of networks that are trained and of models.
#ifndef THRESHER_SERVER_JOBS_PRUNING_RUNNER_H_
#define THRESHER_SERVER_JOBS_PRUNING_RUNNER_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/store/store.h"

namespace thresher::jobs {

class PruningRunner {
 public:
  // The store outlives the runner.
  PruningRunner(store::Store* store, int threads_per_job, std::string program_version);

  // Checks the spec against the data set's record, without reading samples.
  // Errors: INVALID_ARGUMENT naming `pruning.<field>`; NOT_FOUND.
  absl::StatusOr<JobCost> Plan(const PruningSpec& spec);

  // Loads, splits, trains or takes the model, prunes, reports. Expects a job with a PruningSpec.
  absl::StatusOr<JobOutcome> Run(const JobRun& run);

 private:
  store::Store* const store_;
  const int threads_per_job_;
  const std::string program_version_;
};

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_PRUNING_RUNNER_H_
