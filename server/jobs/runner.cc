#include "server/jobs/runner.h"

#include <variant>

namespace thresher::jobs {

Runner::Runner(store::Store* store, int threads_per_job, const std::string& program_version)
    : recovery_(store, threads_per_job, program_version),
      pruning_(store, threads_per_job, program_version),
      sweep_(store, [this](const JobSpec& spec) { return Plan(spec); }) {}

absl::StatusOr<JobCost> Runner::Plan(const JobSpec& spec) {
  if (const auto* recovery = std::get_if<RecoverySpec>(&spec)) return recovery_.Plan(*recovery);
  if (const auto* pruning = std::get_if<PruningSpec>(&spec)) return pruning_.Plan(*pruning);
  return sweep_.Plan(std::get<SweepSpec>(spec));
}

absl::StatusOr<JobOutcome> Runner::Run(const JobRun& run) {
  if (std::holds_alternative<RecoverySpec>(run.job.spec)) return recovery_.Run(run);
  if (std::holds_alternative<PruningSpec>(run.job.spec)) return pruning_.Run(run);
  return sweep_.Run(run);
}

}  // namespace thresher::jobs
