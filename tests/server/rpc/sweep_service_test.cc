// Sweeps over the wire, with the real solver.
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

v1::CreateJobRequest SweepRequest() {
  v1::CreateJobRequest request;
  request.set_job_id("sweep");
  v1::SweepSpec& spec = *request.mutable_job()->mutable_sweep();
  spec.mutable_planted()->set_num_samples(200);
  spec.mutable_planted()->set_num_inputs(5);
  spec.add_hidden_widths(2);
  spec.add_nonzeros(4);
  spec.add_nonzeros(6);
  spec.add_seeds(1);
  v1::SweepMethod& recovery = *spec.add_methods();
  recovery.set_name("auto");
  recovery.mutable_recovery();
  v1::SweepMethod& pruning = *spec.add_methods();
  pruning.set_name("imp");
  pruning.mutable_pruning()->set_epochs(3);
  pruning.mutable_pruning()->set_prune_fraction(0.5);
  return request;
}

TEST(SweepServiceTest, ASweepRunsFromCreationToItsTable) {
  RunningServer server({.solve = true});
  const v1::CreateJobRequest request = SweepRequest();
  const v1::Job created = server.Submit(request);
  EXPECT_EQ(created.predicted_cost().peak_memory_bytes(), 0);
  const v1::Job ended = server.WaitForState("jobs/sweep", v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(ended.sweep_report().rows_size(), 0);
  EXPECT_EQ(ended.sweep_progress().cells_done(), 4);
  v1::Job job;
  ASSERT_TRUE(server.GetJob("jobs/sweep", &job).ok());
  const v1::SweepReport& report = job.sweep_report();
  EXPECT_EQ(report.termination_reason(), v1::TERMINATION_REASON_ITERATION_LIMIT);
  EXPECT_EQ(report.cells_done(), 4);
  ASSERT_EQ(report.rows_size(), 4);
  for (const v1::SweepCell& row : report.rows()) {
    EXPECT_EQ(row.state(), v1::SWEEP_CELL_STATE_SUCCEEDED) << row.DebugString();
    EXPECT_EQ(row.num_samples(), 200);
    EXPECT_LE(row.network_nonzeros(), row.nonzeros());
    EXPECT_GT(row.predicted_peak_memory_bytes(), 0);
    EXPECT_TRUE(row.has_held_out_psnr_db());
    EXPECT_EQ(row.has_exact(), row.method() == "auto");
    EXPECT_EQ(row.has_training_relative_residual(), row.method() == "auto");
  }
  EXPECT_TRUE(report.rows(0).exact()) << "4 weights, 160 samples";
}

TEST(SweepServiceTest, TheSpecComesBackAsItWasUnderstood) {
  RunningServer server;
  v1::CreateJobRequest request = SweepRequest();
  v1::SweepSpec& spec = *request.mutable_job()->mutable_sweep();
  spec.mutable_cell_time_limit()->set_seconds(7);
  spec.set_keep_models(true);
  spec.set_held_out_fraction(0.5);
  request.set_validate_only(true);
  const v1::Job job = server.Submit(request);
  EXPECT_EQ(job.sweep().cell_time_limit().seconds(), 7);
  EXPECT_EQ(job.sweep().hidden_layers(), 1);
  EXPECT_TRUE(job.sweep().keep_models());
  EXPECT_EQ(job.sweep().methods(1).pruning().epochs(), 3);
  // What came back is a spec of the same sweep.
  *request.mutable_job()->mutable_sweep() = job.sweep();
  EXPECT_TRUE(MessageDifferencer::Equals(server.Submit(request).sweep(), job.sweep()));
}

TEST(SweepServiceTest, TheCellsAreListedOnRequest) {
  RunningServer server;  // the gate holds the cells
  server.Plant("a");
  v1::CreateJobRequest request = SweepRequest();
  v1::SweepSpec& spec = *request.mutable_job()->mutable_sweep();
  spec.set_dataset("datasets/a");
  server.Submit(request);
  const auto list = [&](const std::string& filter) {
    grpc::ClientContext context;
    v1::ListJobsRequest ask;
    ask.set_filter(filter);
    v1::ListJobsResponse response;
    const grpc::Status status = server.job_stub().ListJobs(&context, ask, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  v1::ListJobsResponse cells;
  do {
    cells = list("parent = \"jobs/sweep\" AND state = RUNNING");
  } while (cells.jobs_size() == 0);
  EXPECT_EQ(cells.jobs(0).parent(), "jobs/sweep");
  EXPECT_TRUE(cells.jobs(0).has_recovery());
  ASSERT_EQ(list("").jobs_size(), 1);
  EXPECT_EQ(list("").jobs(0).name(), "jobs/sweep");
  v1::Job job;
  ASSERT_TRUE(server.CancelJob("jobs/sweep", &job).ok());
  server.WaitForState("jobs/sweep", v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(list("parent = \"jobs/sweep\"").jobs_size(), 0);

  grpc::ClientContext context;
  v1::ListJobsRequest ask;
  ask.set_filter("parent = sweep");
  v1::ListJobsResponse response;
  EXPECT_TRUE(IsInvalidField(server.job_stub().ListJobs(&context, ask, &response), "filter"));
}

TEST(SweepServiceTest, ErrorsNameTheFieldInTheRequest) {
  RunningServer server;
  const auto refused = [&](const auto& change) {
    v1::CreateJobRequest request = SweepRequest();
    change(*request.mutable_job()->mutable_sweep());
    v1::Job job;
    return server.CreateJob(request, &job);
  };
  EXPECT_TRUE(
      IsInvalidField(refused([](auto& s) { s.clear_hidden_widths(); }), "job.sweep.hidden_widths"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.set_dataset("a"); }), "job.sweep.dataset"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.clear_source(); }), "job.sweep.dataset"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.add_methods()->set_name("none"); }),
                             "job.sweep.methods[2]"));
  EXPECT_TRUE(IsInvalidField(
      refused([](auto& s) { s.mutable_methods(0)->mutable_recovery()->set_batch_size(0); }),
      "job.sweep.methods[0].recovery.batch_size"));
  EXPECT_TRUE(IsInvalidField(
      refused([](auto& s) { s.mutable_methods(1)->mutable_pruning()->set_prune_end(0.5); }),
      "job.sweep.methods[1].pruning.prune_end"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) {
                               s.mutable_planted()->set_weight_distribution(
                                   static_cast<v1::WeightDistribution>(77));
                             }),
                             "job.sweep.planted.weight_distribution"));
  server.Plant("a");
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) {
                               s.set_dataset("datasets/a");
                               s.mutable_methods(1)->mutable_pruning()->set_epochs(0);
                             }),
                             "job.sweep.methods[1].pruning.epochs"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.mutable_cell_time_limit()->set_seconds(-1); }),
                             "job.sweep.cell_time_limit"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) {
                               for (int i = 2; i < 9000; ++i) s.add_seeds(i);
                             }),
                             "job.sweep"));
  const grpc::Status unknown = refused([](auto& s) {
    s.mutable_methods(0)
        ->mutable_recovery()
        ->GetReflection()
        ->MutableUnknownFields(s.mutable_methods(0)->mutable_recovery())
        ->AddVarint(999, 1);
  });
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(unknown.error_message(), HasSubstr("job.sweep.methods[0].recovery"));
  EXPECT_EQ(refused([](auto& s) { s.set_dataset("datasets/none"); }).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace thresher::rpc
