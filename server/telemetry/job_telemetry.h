// Connects the job manager, which knows no metrics, to the metrics.
#ifndef THRESHER_SERVER_TELEMETRY_JOB_TELEMETRY_H_
#define THRESHER_SERVER_TELEMETRY_JOB_TELEMETRY_H_

#include "server/jobs/job.h"
#include "server/jobs/job_manager.h"
#include "server/telemetry/metrics.h"

namespace thresher::telemetry {

// What the manager calls as things happen. The metrics outlive it.
jobs::JobMetrics CountJobs(Metrics& metrics);

// `runner`, with each iteration counted under its algorithm. The metrics outlive it.
jobs::JobRunner CountIterations(jobs::JobRunner runner, Metrics& metrics);

ServerGauges ToGauges(const jobs::JobStats& stats);

}  // namespace thresher::telemetry

#endif  // THRESHER_SERVER_TELEMETRY_JOB_TELEMETRY_H_
