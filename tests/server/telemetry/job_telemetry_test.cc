#include "server/telemetry/job_telemetry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace thresher::telemetry {
namespace {

using ::testing::HasSubstr;

std::string Page(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

TEST(CountJobsTest, OutcomesAndTimes) {
  Metrics metrics({});
  const jobs::JobMetrics hooks = CountJobs(metrics);
  hooks.job_ended(jobs::RecoverySpec(), jobs::JobState::kCancelled);
  hooks.job_ended(jobs::PruningSpec(), jobs::JobState::kSucceeded);
  hooks.job_ended(jobs::SweepSpec(), jobs::JobState::kFailed);
  hooks.job_waited(0.5);
  hooks.job_ran(jobs::RecoverySpec(), 3);
  hooks.checkpoint_written(10);
  hooks.events_thinned(4);
  const std::string page = Page(metrics);
  EXPECT_THAT(page, HasSubstr("thresher_jobs_total{kind=\"recovery\",outcome=\"cancelled\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("thresher_jobs_total{kind=\"pruning\",outcome=\"succeeded\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("thresher_jobs_total{kind=\"sweep\",outcome=\"failed\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("thresher_job_wait_seconds_sum 0.5\n"));
  EXPECT_THAT(page, HasSubstr("thresher_job_run_seconds_sum{kind=\"recovery\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("thresher_checkpoint_bytes_total 10\n"));
  EXPECT_THAT(page, HasSubstr("thresher_watch_events_thinned_total 4\n"));
}

TEST(CountIterationsTest, CountsUnderTheAlgorithmAndPassesReportsOn) {
  Metrics metrics({});
  int passed_on = 0;
  jobs::JobRun run;
  std::get<jobs::RecoverySpec>(run.job.spec).options.gate_mode =
      GateMode::kRandom;  // the solver's choice is splicing
  run.job.predicted_cost.flops_per_iteration = 100;
  run.on_iteration = [&passed_on](const jobs::JobProgress&) { ++passed_on; };
  const jobs::JobRunner runner = CountIterations(
      [](const jobs::JobRun& counted) -> absl::StatusOr<jobs::JobOutcome> {
        counted.on_iteration(IterationReport{.iteration = 1, .elapsed_seconds = 2});
        counted.on_iteration(IterationReport{.iteration = 2, .elapsed_seconds = 5});
        return jobs::JobOutcome();
      },
      metrics);
  EXPECT_TRUE(runner(run).ok());
  EXPECT_EQ(passed_on, 2);
  const std::string page = Page(metrics);
  EXPECT_THAT(page, HasSubstr("thresher_iterations_total{algorithm=\"splicing\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("thresher_iteration_seconds_sum{algorithm=\"splicing\"} 5\n"));
  EXPECT_THAT(page, HasSubstr("thresher_gradient_flops_total 200\n"));
}

TEST(CountIterationsTest, AResumedJobDoesNotCountItsEarlierTime) {
  Metrics metrics({});
  jobs::JobRun run;
  run.checkpoint = "state";
  run.job.progress = IterationReport{.iteration = 40, .elapsed_seconds = 100};
  const jobs::JobRunner runner = CountIterations(
      [](const jobs::JobRun& counted) -> absl::StatusOr<jobs::JobOutcome> {
        counted.on_iteration(IterationReport{.iteration = 41, .elapsed_seconds = 103});
        return absl::InternalError("the error passes through");
      },
      metrics);
  EXPECT_EQ(runner(run).status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Page(metrics), HasSubstr("thresher_iteration_seconds_sum{algorithm=\"winnow\"} 3\n"));
}

TEST(ToGaugesTest, NoCheckpointIsAgeZero) {
  jobs::JobStats stats;
  stats.queued_jobs = 3;
  stats.workers_busy = 2;
  EXPECT_EQ(ToGauges(stats).queue_depth, 3);
  EXPECT_EQ(ToGauges(stats).workers_busy, 2);
  EXPECT_EQ(ToGauges(stats).checkpoint_age_seconds, 0);
  stats.oldest_checkpoint_age_seconds = 7;
  EXPECT_EQ(ToGauges(stats).checkpoint_age_seconds, 7);
}

}  // namespace
}  // namespace thresher::telemetry
