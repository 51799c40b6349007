// Runs sweep jobs: feeds the cells of the grid into the queue, a few at a time, and makes the data
// that they share.
#ifndef THRESHER_SERVER_JOBS_SWEEP_RUNNER_H_
#define THRESHER_SERVER_JOBS_SWEEP_RUNNER_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/store/mutex.h"
#include "server/store/store.h"

namespace thresher::jobs {

// One sweep at a time makes samples, so that only its are in memory.
struct MakingData {
  store::Mutex mutex;
  store::CondVar changed;
  bool busy THRESHER_GUARDED_BY(mutex) = false;
};

class SweepRunner {
 public:
  // The store outlives the runner. `plan_cell` plans the jobs of cells.
  SweepRunner(store::Store* store, JobPlanner plan_cell)
      : store_(store), plan_cell_(std::move(plan_cell)) {}

  // Errors: INVALID_ARGUMENT naming `sweep.<field>`, that of a method when no cell of it on the
  // data set can be planned; NOT_FOUND (data set, model).
  absl::StatusOr<JobCost> Plan(const SweepSpec& spec);

  // Expects a job with a SweepSpec and its cells. Goes on where an earlier attempt stopped: the
  // rows are what is done. Returns when every cell has a row, at the time limit, or when stopped.
  absl::StatusOr<JobOutcome> Run(const JobRun& run);

 private:
  absl::Status PlanMethods(const SweepSpec& spec);

  store::Store* const store_;
  const JobPlanner plan_cell_;
  MakingData making_data_;
};

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_SWEEP_RUNNER_H_
