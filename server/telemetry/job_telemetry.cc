#include "server/telemetry/job_telemetry.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "core/recovery/recovery.h"
#include "server/telemetry/logging.h"

namespace thresher::telemetry {
namespace {

std::string_view KindLabel(const jobs::JobSpec& spec) {
  if (std::holds_alternative<jobs::SweepSpec>(spec)) return "sweep";
  return std::holds_alternative<jobs::RecoverySpec>(spec) ? "recovery" : "pruning";
}

// What the server chooses counts as what it chose. (How many samples there are is not known here;
// a mini-batch is one as far as this matters.)
std::string_view AlgorithmLabel(const jobs::JobSpec& spec) {
  const auto* recovery = std::get_if<jobs::RecoverySpec>(&spec);
  if (recovery == nullptr) return "imp";
  return AlgorithmName(ChooseAlgorithm(recovery->options, std::numeric_limits<int64_t>::max(),
                                       /*gates_given=*/false));
}

std::string_view OutcomeLabel(jobs::JobState state) {
  switch (state) {
    case jobs::JobState::kSucceeded:
      return "succeeded";
    case jobs::JobState::kFailed:
      return "failed";
    case jobs::JobState::kCancelled:
      return "cancelled";
    case jobs::JobState::kQueued:
    case jobs::JobState::kRunning:
      break;
  }
  return "other";
}

}  // namespace

jobs::JobMetrics CountJobs(Metrics& metrics) {
  jobs::JobMetrics hooks;
  hooks.job_ended = [&metrics](const jobs::JobSpec& spec, jobs::JobState outcome) {
    metrics.JobEnded(KindLabel(spec), OutcomeLabel(outcome));
  };
  hooks.job_waited = [&metrics](double seconds) { metrics.JobStarted(seconds); };
  hooks.job_ran = [&metrics](const jobs::JobSpec& spec, double seconds) {
    metrics.JobStopped(KindLabel(spec), seconds);
  };
  hooks.checkpoint_written = [&metrics](int64_t bytes) { metrics.CheckpointWritten(bytes); };
  hooks.events_thinned = [&metrics](int64_t events) { metrics.WatchEventsThinned(events); };
  hooks.store_failed = [](const absl::Status& status) {
    Log(LogLevel::kError, "a change of a running job could not be stored and is tried again",
        {{"error", status.ToString()}});
  };
  // Refusals are counted where every call's status passes, in server/rpc.
  return hooks;
}

jobs::JobRunner CountIterations(jobs::JobRunner runner, Metrics& metrics) {
  return [runner = std::move(runner), &metrics](const jobs::JobRun& run) {
    // Its cells are counted.
    if (std::holds_alternative<jobs::SweepSpec>(run.job.spec)) return runner(run);
    const std::string_view algorithm = AlgorithmLabel(run.job.spec);
    const double flops = run.job.predicted_cost.flops_per_iteration;
    double last_elapsed =
        run.checkpoint.empty() || !run.job.progress ? 0 : jobs::ElapsedSecondsOf(*run.job.progress);
    jobs::JobRun counted = run;
    counted.on_iteration = [&](const jobs::JobProgress& progress) {
      const double elapsed = jobs::ElapsedSecondsOf(progress);
      metrics.IterationDone(algorithm, std::max(0.0, elapsed - last_elapsed), flops);
      last_elapsed = elapsed;
      if (run.on_iteration) run.on_iteration(progress);
    };
    return runner(counted);
  };
}

ServerGauges ToGauges(const jobs::JobStats& stats) {
  return {.queue_depth = stats.queued_jobs,
          .queue_oldest_wait_seconds = stats.oldest_wait_seconds,
          .workers = stats.num_workers,
          .workers_busy = stats.workers_busy,
          .predicted_peak_memory_bytes = stats.memory_reserved_bytes,
          .memory_budget_bytes = stats.memory_budget_bytes,
          .checkpoint_age_seconds = stats.oldest_checkpoint_age_seconds.value_or(0)};
}

}  // namespace thresher::telemetry
