#include "server/rpc/job_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(JobServiceTest, ASolvedJobHasEverything) {
  RunningServer server({.solve = true});
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a", "first");
  (*request.mutable_job()->mutable_labels())["team"] = "vision";
  const v1::Job created = server.Submit(request);
  EXPECT_EQ(created.name(), "jobs/first");
  EXPECT_EQ(created.state(), v1::JOB_STATE_QUEUED);
  EXPECT_GT(created.predicted_cost().peak_memory_bytes(), 0);
  const v1::Job ended = server.WaitForState("jobs/first", v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(ended.attempt_count(), 1);
  EXPECT_TRUE(ended.has_recovery_report());
  ASSERT_TRUE(ended.recovery_report().has_planted());
  const v1::PlantedComparison& planted = ended.recovery_report().planted();
  EXPECT_GT(planted.planted_nonzeros(), 0);
  EXPECT_EQ(planted.support_recall(), static_cast<double>(planted.matched_nonzeros()) /
                                          static_cast<double>(planted.planted_nonzeros()));
  EXPECT_EQ(planted.support_precision(), static_cast<double>(planted.matched_nonzeros()) /
                                             static_cast<double>(planted.recovered_nonzeros()));
  EXPECT_LE(ended.recovery_report().nonzeros(), 3);
  ASSERT_TRUE(ended.recovery_report().has_evidence());
  EXPECT_NE(ended.recovery_report().evidence().verdict(), v1::VERDICT_UNSPECIFIED);
  EXPECT_GT(ended.recovery_report().evidence().findings_size(), 0);
  EXPECT_GE(ended.recovery_report().evidence().conditioning().kappa(), 1);
  EXPECT_TRUE(ended.has_end_time());
  EXPECT_THAT(ended.model(), HasSubstr("models/"));
  v1::Job got;
  const grpc::Status status = server.GetJob("jobs/first", &got);
  ASSERT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  EXPECT_TRUE(MessageDifferencer::Equals(got, ended)) << got.DebugString();
}

TEST(JobServiceTest, APruningRunsFromCreationToItsModel) {
  RunningServer server({.solve = true});
  server.Plant("a");
  v1::CreateJobRequest request;
  request.set_job_id("pruned");
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  v1::PruningOptions& options = *spec.mutable_options();
  options.add_hidden_widths(6);
  options.add_hidden_widths(5);
  options.set_nonzeros(20);
  options.set_epochs(4);
  options.set_prune_fraction(0.5);
  EXPECT_GT(server.Submit(request).predicted_cost().peak_memory_bytes(), 0);
  const v1::Job ended = server.WaitForState("jobs/pruned", v1::JOB_STATE_SUCCEEDED);
  ASSERT_TRUE(ended.has_pruning_report());
  EXPECT_FALSE(ended.has_recovery_report());
  EXPECT_EQ(ended.pruning_report().termination_reason(), v1::TERMINATION_REASON_ITERATION_LIMIT);
  EXPECT_LE(ended.pruning_report().nonzeros(), 20);
  EXPECT_EQ(ended.pruning_report().held_out().num_samples(), 12);
  EXPECT_EQ(ended.pruning_progress().iteration(), ended.pruning_report().iterations());
  EXPECT_FALSE(ended.has_progress());
  const auto epoch = server.WatchUntil(
      "jobs/pruned", [](const v1::JobEvent& each) { return each.has_pruning_progress(); });
  ASSERT_TRUE(epoch);
  EXPECT_EQ(epoch->pruning_progress().round(), 1);

  grpc::ClientContext context;
  v1::GetModelRequest get;
  get.set_name(ended.model());
  v1::Model model;
  const grpc::Status status = server.model_stub().GetModel(&context, get, &model);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(model.has_spec());
  EXPECT_TRUE(MessageDifferencer::Equals(model.pruning_spec(), ended.pruning()));
  EXPECT_TRUE(MessageDifferencer::Equals(model.pruning_report(), ended.pruning_report()));
  EXPECT_EQ(model.nonzeros(), ended.pruning_report().nonzeros());

  options.set_nonzeros(4 * 6 + 6 * 5 + 5 + 1);
  request.set_job_id("too-many");
  v1::Job job;
  EXPECT_TRUE(IsInvalidField(server.CreateJob(request, &job), "job.pruning.options.nonzeros"));
}

TEST(JobServiceTest, ErrorsOfCreateNameTheFieldInTheRequest) {
  RunningServer server;
  server.Plant("a");
  struct Case {
    std::string field;
    std::function<void(v1::CreateJobRequest&)> damage;
  };
  auto options = [](v1::CreateJobRequest& r) {
    return r.mutable_job()->mutable_recovery()->mutable_options();
  };
  const std::vector<Case> cases = {
      {"job.recovery.options.nonzeros", [&](auto& r) { options(r)->set_nonzeros(13); }},
      {"job.recovery.options.nonzeros", [&](auto& r) { options(r)->set_nonzeros(0); }},
      {"job.recovery.options.hidden_width", [&](auto& r) { options(r)->set_hidden_width(-1); }},
      {"job.recovery.options.working_nonzeros",
       [&](auto& r) { options(r)->set_working_nonzeros(2); }},
      {"job.recovery.options.max_iterations", [&](auto& r) { options(r)->set_max_iterations(0); }},
      {"job.recovery.options.step_size",
       [&](auto& r) {
         options(r)->set_algorithm(v1::ALGORITHM_IHT);
         options(r)->set_step_size(-1);
       }},
      {"job.recovery.options.algorithm",
       [&](auto& r) { options(r)->set_algorithm(static_cast<v1::Algorithm>(44)); }},
      {"job.labels", [](auto& r) { (*r.mutable_job()->mutable_labels())["Bad key"] = "x"; }},
      {"job_id", [](auto& r) { r.set_job_id("Bad"); }},
      {"request_id", [](auto& r) { r.set_request_id(std::string(129, 'x')); }},
  };
  for (const Case& each : cases) {
    v1::CreateJobRequest request = RunningServer::JobRequest("a");
    each.damage(request);
    v1::Job job;
    EXPECT_TRUE(IsInvalidField(server.CreateJob(request, &job), each.field)) << each.field;
  }
}

TEST(JobServiceTest, UnknownFieldsAreRefused) {
  RunningServer server;
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a");
  auto& spec = *request.mutable_job()->mutable_recovery();
  spec.GetReflection()->MutableUnknownFields(&spec)->AddVarint(500, 1);
  v1::Job job;
  EXPECT_TRUE(IsInvalidField(server.CreateJob(request, &job), "job.recovery"));
}

TEST(JobServiceTest, MissingThingsAreNotFound) {
  RunningServer server;
  v1::Job job;
  for (const grpc::Status& status :
       {server.CreateJob(RunningServer::JobRequest("none"), &job), server.GetJob("jobs/none", &job),
        server.CancelJob("jobs/none", &job)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << status.error_message();
    EXPECT_EQ(ReasonIn(status), "NOT_FOUND");
  }
  grpc::ClientContext context;
  v1::WatchJobRequest request;
  request.set_name("jobs/none");
  v1::WatchJobResponse response;
  const auto reader = server.job_stub().WatchJob(&context, request);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(IsInvalidField(server.GetJob("models/a", &job), "name"));
}

TEST(JobServiceTest, RequestIdsMakeRetriesSafe) {
  RunningServer server;
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a");
  request.set_request_id("once");
  const v1::Job first = server.Submit(request);
  EXPECT_EQ(server.Submit(request).name(), first.name());
  request.mutable_job()->set_priority(1);
  v1::Job job;
  const grpc::Status reused = server.CreateJob(request, &job);
  EXPECT_EQ(reused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonIn(reused), "REQUEST_ID_REUSED");
  const v1::Job named = server.Submit(RunningServer::JobRequest("a", "taken"));
  const grpc::Status taken = server.CreateJob(RunningServer::JobRequest("a", "taken"), &job);
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonIn(taken), "ID_TAKEN");
}

TEST(JobServiceTest, ValidateOnlyPredictsAndKeepsNothing) {
  RunningServer server;
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a", "dry");
  request.set_validate_only(true);
  const v1::Job predicted = server.Submit(request);
  EXPECT_GT(predicted.predicted_cost().peak_memory_bytes(), 0);
  EXPECT_GT(predicted.predicted_cost().flops_per_iteration(), 0);
  EXPECT_EQ(predicted.name(), "");
  v1::Job job;
  EXPECT_EQ(server.GetJob("jobs/dry", &job).error_code(), grpc::StatusCode::NOT_FOUND);
  request.mutable_job()->mutable_recovery()->mutable_options()->set_nonzeros(1000);
  EXPECT_TRUE(IsInvalidField(server.CreateJob(request, &job), "job.recovery.options.nonzeros"));
}

TEST(JobServiceTest, AFullQueueSaysWhenToRetry) {
  RunningServer server({.jobs = {.max_queued_jobs = 1}});
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "runs"));
  server.WaitForState("jobs/runs", v1::JOB_STATE_RUNNING);
  server.Submit(RunningServer::JobRequest("a", "waits"));
  v1::Job job;
  const grpc::Status full = server.CreateJob(RunningServer::JobRequest("a"), &job);
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(full), "QUEUE_FULL");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(full));
  EXPECT_FALSE(DetailOf<google::rpc::QuotaFailure>(full));
}

TEST(JobServiceTest, WhatNeverFitsIsAQuotaFailure) {
  RunningServer server({.jobs = {.memory_budget_bytes = 1000}});
  server.Plant("a");
  v1::Job job;
  const grpc::Status status = server.CreateJob(RunningServer::JobRequest("a"), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "MEMORY_BUDGET_EXCEEDED");
  EXPECT_TRUE(DetailOf<google::rpc::QuotaFailure>(status));
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(status));
}

std::vector<std::string> ListAll(RunningServer& server, const std::string& filter, int page_size,
                                 int* num_pages) {
  std::vector<std::string> names;
  v1::ListJobsRequest request;
  request.set_filter(filter);
  request.set_page_size(page_size);
  *num_pages = 0;
  do {
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    const grpc::Status status = server.job_stub().ListJobs(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (!status.ok()) break;
    EXPECT_LE(response.jobs_size(), page_size);
    for (const v1::Job& job : response.jobs()) names.push_back(job.name());
    request.set_page_token(response.next_page_token());
    ++*num_pages;
  } while (!request.page_token().empty());
  return names;
}

TEST(JobServiceTest, ListsPageByPageNewestFirst) {
  RunningServer server;
  server.Plant("a");
  for (int i = 0; i < 5; ++i) {
    v1::CreateJobRequest request = RunningServer::JobRequest("a", "j" + std::to_string(i));
    (*request.mutable_job()->mutable_labels())["parity"] = i % 2 == 0 ? "even" : "odd one";
    server.Submit(request);
  }
  server.WaitForState("jobs/j0", v1::JOB_STATE_RUNNING);
  int pages = 0;
  EXPECT_THAT(ListAll(server, "", 2, &pages),
              ElementsAre("jobs/j4", "jobs/j3", "jobs/j2", "jobs/j1", "jobs/j0"));
  EXPECT_EQ(pages, 3);
  EXPECT_THAT(ListAll(server, "state = RUNNING", 10, &pages), ElementsAre("jobs/j0"));
  EXPECT_THAT(ListAll(server, "labels.parity = \"odd one\"", 1, &pages),
              ElementsAre("jobs/j3", "jobs/j1"));
  EXPECT_THAT(ListAll(server, "state = QUEUED AND labels.parity = even", 10, &pages),
              ElementsAre("jobs/j4", "jobs/j2"));
  EXPECT_THAT(ListAll(server, "state = FAILED", 10, &pages), ElementsAre());
}

TEST(JobServiceTest, ListRefusesWhatItCannotDo) {
  RunningServer server;
  auto list = [&server](const std::string& filter, const std::string& token, int page_size) {
    grpc::ClientContext context;
    v1::ListJobsRequest request;
    request.set_filter(filter);
    request.set_page_token(token);
    request.set_page_size(page_size);
    v1::ListJobsResponse response;
    return server.job_stub().ListJobs(&context, request, &response);
  };
  EXPECT_TRUE(IsInvalidField(list("priority = 1", "", 0), "filter"));
  EXPECT_TRUE(IsInvalidField(list("", "nonsense", 0), "page_token"));
  EXPECT_TRUE(IsInvalidField(list("", "", -1), "page_size"));
}

TEST(JobServiceTest, LargeListsStayUnderTheUsualMessageLimit) {
  RunningServer server({.jobs = {.max_queued_jobs = 1000}});
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a");
  for (int i = 0; i < 64; ++i) {
    (*request.mutable_job()->mutable_labels())["label" + std::to_string(i)] = std::string(256, 'x');
  }
  // 300 jobs of 17 kB each are 5 MB.
  for (int i = 0; i < 300; ++i) server.Submit(request);
  grpc::ClientContext context;
  v1::ListJobsRequest list;
  list.set_page_size(1000);
  v1::ListJobsResponse response;
  ASSERT_TRUE(server.job_stub().ListJobs(&context, list, &response).ok());
  EXPECT_LT(response.ByteSizeLong(), size_t{4} << 20);
  EXPECT_GT(response.jobs_size(), 0);
  EXPECT_FALSE(response.next_page_token().empty());
  int pages = 0;
  EXPECT_EQ(ListAll(server, "", 1000, &pages).size(), 300u);
  EXPECT_GT(pages, 1);
}

TEST(JobServiceTest, WatchReplaysFromTheNumberGiven) {
  RunningServer server({.gate_iterations = 5});
  server.Plant("a");
  server.gate().Open();
  server.Submit(RunningServer::JobRequest("a", "w"));
  server.WaitForState("jobs/w", v1::JOB_STATE_SUCCEEDED);
  auto watch = [&server](int64_t after) {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_name("jobs/w");
    request.set_after_event_number(after);
    const auto reader = server.job_stub().WatchJob(&context, request);
    std::vector<v1::JobEvent> events;
    v1::WatchJobResponse response;
    while (reader->Read(&response)) events.push_back(response.event());
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events;
  };
  const std::vector<v1::JobEvent> all = watch(0);
  ASSERT_GE(all.size(), 3u);
  EXPECT_EQ(all.front().state_change().state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(all.back().state_change().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(all.back().job().latest_event_number(), all.back().number());
  for (size_t i = 1; i < all.size(); ++i) EXPECT_GT(all[i].number(), all[i - 1].number());
  const std::vector<v1::JobEvent> rest = watch(all[1].number());
  ASSERT_EQ(rest.size(), all.size() - 2);
  for (size_t i = 0; i < rest.size(); ++i) {
    EXPECT_TRUE(MessageDifferencer::Equals(rest[i], all[i + 2]));
  }
}

TEST(JobServiceTest, ManyWatchersSeeTheEnd) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "w"));
  std::atomic<int> ended = 0;
  std::atomic<int> running = 0;
  std::vector<std::thread> watchers;
  for (int i = 0; i < 20; ++i) {
    watchers.emplace_back([&] {
      const auto last = server.WatchUntil("jobs/w", [&](const v1::JobEvent& event) {
        if (event.state_change().state() == v1::JOB_STATE_RUNNING) {
          // The last of them lets the job end: all were watching by then.
          if (++running == 20) server.gate().Open();
        }
        return event.state_change().state() == v1::JOB_STATE_SUCCEEDED;
      });
      if (last) ++ended;
    });
  }
  for (std::thread& watcher : watchers) watcher.join();
  EXPECT_EQ(ended, 20);
}

TEST(JobServiceTest, WatchersAreBounded) {
  RunningServer server({.jobs = {.max_watchers = 2}});
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "w"));
  v1::WatchJobRequest request;
  request.set_name("jobs/w");
  v1::WatchJobResponse response;
  grpc::ClientContext contexts[3];
  std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> readers[3];
  for (int i = 0; i < 2; ++i) {
    readers[i] = server.job_stub().WatchJob(&contexts[i], request);
    ASSERT_TRUE(readers[i]->Read(&response));
  }
  readers[2] = server.job_stub().WatchJob(&contexts[2], request);
  EXPECT_FALSE(readers[2]->Read(&response));
  const grpc::Status refused = readers[2]->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(refused), "TOO_MANY_WATCHERS");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(refused));
  // A client that goes away makes room.
  contexts[0].TryCancel();
  readers[0]->Finish();
  grpc::Status status;
  do {
    grpc::ClientContext context;
    const auto reader = server.job_stub().WatchJob(&context, request);
    const bool watching = reader->Read(&response);
    context.TryCancel();
    status = reader->Finish();
    if (watching) break;
  } while (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  contexts[1].TryCancel();
  readers[1]->Finish();
}

TEST(JobServiceTest, CancelStopsARunningJobAndKeepsItsIterate) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "c"));
  server.WaitForState("jobs/c", v1::JOB_STATE_RUNNING);
  v1::Job job;
  ASSERT_TRUE(server.CancelJob("jobs/c", &job).ok());
  const v1::Job cancelled = server.WaitForState("jobs/c", v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(cancelled.model(), HasSubstr("models/"));
  EXPECT_TRUE(cancelled.recovery_report().partial());
  // Again: nothing changes.
  ASSERT_TRUE(server.CancelJob("jobs/c", &job).ok());
  EXPECT_TRUE(MessageDifferencer::Equals(job, cancelled)) << job.DebugString();
}

TEST(JobServiceTest, DeleteTakesEndedJobsOnly) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "d"));
  auto remove = [&server] {
    grpc::ClientContext context;
    v1::DeleteJobRequest request;
    request.set_name("jobs/d");
    google::protobuf::Empty empty;
    return server.job_stub().DeleteJob(&context, request, &empty);
  };
  const grpc::Status active = remove();
  EXPECT_EQ(active.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(active), "JOB_ACTIVE");
  server.gate().Open();
  server.WaitForState("jobs/d", v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(remove().ok());
  EXPECT_EQ(remove().error_code(), grpc::StatusCode::NOT_FOUND);
  v1::Job job;
  EXPECT_EQ(server.GetJob("jobs/d", &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(JobServiceTest, ACallWhoseDeadlinePassedDoesNothing) {
  RunningServer server;
  server.Plant("a");
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
  v1::Job job;
  const grpc::Status status =
      server.job_stub().CreateJob(&context, RunningServer::JobRequest("a", "late"), &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server.GetJob("jobs/late", &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace thresher::rpc
