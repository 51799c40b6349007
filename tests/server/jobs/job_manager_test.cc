#include "server/jobs/job_manager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

using Outcome_ = EventSubscription::Outcome;

TEST_F(ManagerTest, AJobGoesFromQueuedToSucceededWithItsModel) {
  StartManager();
  CreateJobRequest request = Request("job", 3);
  request.labels = {{"team", "x"}};
  const JobRecord created = Create(request);
  EXPECT_EQ(created.state, JobState::kQueued);
  EXPECT_EQ(created.attempt_count, 0);
  Follower follower(*manager_, "job");
  std::vector<JobState> states;
  int64_t last = 0;
  for (;;) {
    auto next = follower.Next();
    if (next.outcome == Outcome_::kEnded) break;
    EXPECT_EQ(next.event.number, ++last);
    ASSERT_NE(next.event.job, nullptr);
    states.push_back(std::get<StateChange>(next.event.event).state);
    EXPECT_EQ(next.event.job->state, states.back());
    EXPECT_EQ(next.event.job->latest_event_number, next.event.number);
  }
  EXPECT_EQ(states,
            (std::vector<JobState>{JobState::kQueued, JobState::kRunning, JobState::kSucceeded}));
  auto record = manager_->Get("job");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->state, JobState::kSucceeded);
  EXPECT_EQ(record->attempt_count, 1);
  EXPECT_LE(record->create_time, *record->start_time);
  EXPECT_LE(*record->start_time, *record->end_time);
  ASSERT_TRUE(record->report.has_value());
  auto model = store_->models().Get(record->model_id);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->job_id, "job");
  EXPECT_EQ(model->dataset_sha256, "cafe");
  EXPECT_EQ(model->labels, request.labels);
  EXPECT_EQ(model->nonzeros, 1);
  auto loaded = store_->models().Load(*model);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->network, SmallModel().network);
}

TEST_F(ManagerTest, AFailureIsTheJobsError) {
  Script("job", [](const JobRun&) -> absl::StatusOr<JobOutcome> {
    return absl::InvalidArgumentError("nonzeros: too many");
  });
  Script("thrower", [](const JobRun&) -> absl::StatusOr<JobOutcome> { throw std::bad_alloc(); });
  StartManager();
  Create(Request("job"));
  JobRecord record = WaitFor("job", JobState::kFailed);
  ASSERT_TRUE(record.error.has_value());
  EXPECT_EQ(record.error->code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(record.error->message, "nonzeros: too many");
  EXPECT_TRUE(record.model_id.empty());
  Create(Request("thrower"));
  record = WaitFor("thrower", JobState::kFailed);
  EXPECT_EQ(record.error->code, absl::StatusCode::kResourceExhausted);
}

TEST_F(ManagerTest, AModelThatCannotBeWrittenFailsTheJob) {
  Script("job", [](const JobRun&) -> absl::StatusOr<JobOutcome> {
    JobOutcome outcome = Outcome(TerminationReason::kConverged);
    outcome.model->class_names = {"a", std::string(kMaxClassNameBytes + 1, 'b')};
    return outcome;
  });
  metrics_.store_failed = [](const absl::Status& status) { ADD_FAILURE() << status; };
  StartManager();
  Create(Request("job"));
  const JobRecord record = WaitFor("job", JobState::kFailed);
  ASSERT_TRUE(record.error.has_value());
  EXPECT_NE(record.error->message.find("class_names"), std::string::npos) << record.error->message;
  EXPECT_TRUE(record.model_id.empty());
  EXPECT_FALSE(record.report.has_value());
  Create(Request("next"));
  WaitFor("next", JobState::kSucceeded);
}

TEST_F(ManagerTest, AJobThatWaitsForTheStoreHoldsUpNoOther) {
  options_.num_workers = 2;
  auto failed = std::make_shared<Gate>();
  std::atomic<bool> says_why = true;
  metrics_.store_failed = [failed, &says_why](const absl::Status& status) {
    if (status.ok()) says_why = false;
    failed->Open();
  };
  // No blob can be written: what ends with a model waits.
  const std::filesystem::path folder = std::filesystem::path(directory_.path()) / "blobs" / "tmp";
  const std::filesystem::path aside = std::filesystem::path(directory_.path()) / "aside";
  std::filesystem::rename(folder, aside);
  StartManager();
  Create(Request("waits"));
  failed->Wait();
  for (int i = 0; i < 20; ++i) {
    const std::string id = "other" + std::to_string(i);
    Script(id, [](const JobRun&) -> absl::StatusOr<JobOutcome> {
      return Outcome(TerminationReason::kConverged, /*with_model=*/false);
    });
    Create(Request(id));
    WaitFor(id, JobState::kSucceeded);
  }
  EXPECT_EQ(manager_->Get("waits")->state, JobState::kRunning);
  EXPECT_TRUE(says_why);
  std::filesystem::rename(aside, folder);
  WaitFor("waits", JobState::kSucceeded);
}

TEST_F(ManagerTest, RunsByPriorityThenInOrderOfCreation) {
  auto gate = std::make_shared<Gate>();
  Script("first", HoldAt(gate));
  StartManager();
  Create(Request("first"));
  WaitFor("first", JobState::kRunning);
  Create(Request("low", -1));
  Create(Request("a", 0));
  Create(Request("high", 100));
  Create(Request("b", 0));
  EXPECT_EQ(manager_->Stats().queued_jobs, 4);
  gate->Open();
  WaitFor("low", JobState::kSucceeded);
  EXPECT_EQ(started(), (std::vector<std::string>{"first", "high", "a", "b", "low"}));
}

TEST_F(ManagerTest, RefusesBadRequestsNamingTheField) {
  StartManager();
  const auto field_of = [this](const CreateJobRequest& request) {
    auto record = manager_->Create(request);
    EXPECT_EQ(record.status().code(), absl::StatusCode::kInvalidArgument) << record.status();
    return store::FieldOf(record.status()).value_or("none");
  };
  EXPECT_EQ(field_of(Request("Bad_Id")), "job_id");
  EXPECT_EQ(field_of(Request("a", 101)), "priority");
  EXPECT_EQ(field_of(Request("a", -101)), "priority");
  EXPECT_EQ(field_of(Request("a", 0, -1)), "hidden_width");
  CreateJobRequest request = Request("a");
  request.labels = {{"X", ""}};
  EXPECT_EQ(field_of(request), "labels");
  request = Request("a");
  request.identity.request_id = std::string(200, 'r');
  EXPECT_EQ(field_of(request), "request_id");
  for (const double limit : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    request = Request("a");
    request.time_limit_seconds = limit;
    EXPECT_EQ(field_of(request), "time_limit");
  }
  request = Request("a");
  std::get<RecoverySpec>(request.spec).dataset_id = "missing";
  EXPECT_EQ(manager_->Create(request).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Get("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Cancel("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Delete("a").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Watch("a", 0, {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ManagerTest, ValidateOnlyKeepsNothing) {
  StartManager();
  CreateJobRequest request = Request("job", 0, 77);
  request.validate_only = true;
  auto record = manager_->Create(request);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->predicted_cost.peak_memory_bytes, 77);
  EXPECT_EQ(manager_->Get("job").status().code(), absl::StatusCode::kNotFound);
  std::get<RecoverySpec>(request.spec).options.hidden_width = 1001;
  EXPECT_EQ(store::ReasonOf(manager_->Create(request).status()), store::kReasonMemoryBudget);

  ASSERT_TRUE(manager_->Create(Request("taken")).ok());
  request = Request("taken");
  request.validate_only = true;
  EXPECT_EQ(store::ReasonOf(manager_->Create(request).status()), store::kReasonIdTaken);
}

TEST_F(ManagerTest, TheQueueIsBounded) {
  auto gate = std::make_shared<Gate>();
  Script("running", HoldAt(gate));
  options_.max_queued_jobs = 2;
  StartManager();
  Create(Request("running"));
  WaitFor("running", JobState::kRunning);
  Create(Request("a"));
  Create(Request("b"));
  const absl::Status full = manager_->Create(Request("c")).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store::ReasonOf(full), store::kReasonQueueFull);
  EXPECT_TRUE(store::RetryAfterOf(full).has_value());
  gate->Open();
  WaitFor("b", JobState::kSucceeded);
  EXPECT_TRUE(manager_->Create(Request("c")).ok()) << "there is room again";
}

TEST_F(ManagerTest, RequestIdsMakeRetriesSafe) {
  auto gate = std::make_shared<Gate>();
  Script("job", HoldAt(gate));
  options_.max_queued_jobs = 1;
  StartManager();
  CreateJobRequest request = Request("job");
  request.identity.request_id = "r";
  request.identity.fingerprint = "body";
  Create(request);
  WaitFor("job", JobState::kRunning);
  Create(Request("fills-the-queue"));
  auto again = manager_->Create(request);
  ASSERT_TRUE(again.ok()) << "also when the queue is full: " << again.status();
  EXPECT_EQ(again->id, "job");
  request.identity.id = "";
  again = manager_->Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id, "job");
  request.identity.fingerprint = "other";
  EXPECT_EQ(store::ReasonOf(manager_->Create(request).status()), store::kReasonRequestIdReused);
  gate->Open();
  WaitFor("fills-the-queue", JobState::kSucceeded);
  EXPECT_EQ(store::ReasonOf(manager_->Create(Request("job")).status()), store::kReasonIdTaken);
}

TEST_F(ManagerTest, OneOfManyEqualRequestsMakesTheJob) {
  StartManager();
  std::vector<std::thread> threads;
  std::set<std::string> ids;
  store::Mutex mutex;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      CreateJobRequest request = Request("");
      request.identity.request_id = "same";
      request.identity.fingerprint = "body";
      auto record = manager_->Create(request);
      ASSERT_TRUE(record.ok()) << record.status();
      store::MutexLock lock(mutex);
      ids.insert(record->id);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 1u);
  auto page = manager_->List({});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->records.size(), 1u);
}

TEST_F(ManagerTest, MemoryHoldsJobsBackAndRefusesWhatNeverFits) {
  auto gate = std::make_shared<Gate>();
  auto large_gate = std::make_shared<Gate>();
  Script("one", HoldAt(gate));
  Script("large", HoldAt(large_gate));
  options_.num_workers = 3;
  StartManager();
  const absl::Status never = manager_->Create(Request("never", 0, 1001)).status();
  EXPECT_EQ(never.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store::ReasonOf(never), store::kReasonMemoryBudget);
  EXPECT_TRUE(store::QuotaOf(never).has_value());
  EXPECT_FALSE(store::RetryAfterOf(never).has_value());

  Create(Request("one", 0, 600));
  WaitFor("one", JobState::kRunning);
  Create(Request("large", 0, 900));
  Create(Request("small", 0, 200));
  EXPECT_EQ(manager_->Stats().memory_reserved_bytes, 600);
  EXPECT_EQ(manager_->Get("large")->state, JobState::kQueued);
  EXPECT_EQ(manager_->Get("small")->state, JobState::kQueued) << "it would fit, but large waits";
  gate->Open();
  WaitFor("large", JobState::kRunning);
  EXPECT_EQ(manager_->Stats().memory_reserved_bytes, 900);
  large_gate->Open();
  WaitFor("small", JobState::kSucceeded);
  EXPECT_EQ(started(), (std::vector<std::string>{"one", "large", "small"}));
}

TEST_F(ManagerTest, WorkersRunAtOnceUpToTheirNumber) {
  options_.num_workers = 3;
  auto gate = std::make_shared<Gate>();
  for (const char* id : {"a", "b", "c", "d"}) Script(id, HoldAt(gate));
  StartManager();
  for (const char* id : {"a", "b", "c", "d"}) Create(Request(id));
  for (const char* id : {"a", "b", "c"}) WaitFor(id, JobState::kRunning);
  const JobStats stats = manager_->Stats();
  EXPECT_EQ(stats.workers_busy, 3);
  EXPECT_EQ(stats.queued_jobs, 1);
  EXPECT_TRUE(stats.oldest_checkpoint_age_seconds.has_value());
  gate->Open();
  WaitFor("d", JobState::kSucceeded);
}

TEST_F(ManagerTest, CancellingAQueuedJobEndsItAtOnce) {
  auto gate = std::make_shared<Gate>();
  Script("running", HoldAt(gate));
  StartManager();
  Create(Request("running"));
  WaitFor("running", JobState::kRunning);
  Create(Request("queued"));
  auto cancelled = manager_->Cancel("queued");
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state, JobState::kCancelled);
  EXPECT_TRUE(cancelled->model_id.empty());
  auto again = manager_->Cancel("queued");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->end_time, cancelled->end_time) << "cancelling an ended job changes nothing";
  gate->Open();
  WaitFor("running", JobState::kSucceeded);
  EXPECT_EQ(started(), (std::vector<std::string>{"running"}));
}

TEST_F(ManagerTest, CancellingARunningJobKeepsItsIterate) {
  auto never = std::make_shared<Gate>();
  Script("job", HoldAt(never));
  StartManager();
  Create(Request("job"));
  WaitFor("job", JobState::kRunning);
  ASSERT_TRUE(manager_->Cancel("job").ok());
  const JobRecord record = WaitFor("job", JobState::kCancelled);
  EXPECT_FALSE(record.model_id.empty());
  ASSERT_TRUE(record.report.has_value());
  EXPECT_TRUE(std::get<RecoveryReport>(*record.report).partial);
  EXPECT_TRUE(store_->models().Get(record.model_id).ok());
}

TEST_F(ManagerTest, ManyCancelsOfOneJobAgree) {
  options_.num_workers = 2;
  auto never = std::make_shared<Gate>();
  Script("job", HoldAt(never));
  StartManager();
  Create(Request("job"));
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] { EXPECT_TRUE(manager_->Cancel("job").ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  WaitFor("job", JobState::kCancelled);
}

TEST_F(ManagerTest, ATimeLimitIsPassedOnAndEndsInSuccess) {
  options_.default_time_limit_seconds = 60;
  std::atomic<double> limit = 0;
  const auto script = [&limit](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    limit = run.time_limit_seconds;
    return Outcome(TerminationReason::kTimeLimit);
  };
  Script("own", script);
  Script("default", script);
  StartManager();
  CreateJobRequest request = Request("own");
  request.time_limit_seconds = 2.5;
  Create(request);
  const JobRecord record = WaitFor("own", JobState::kSucceeded);
  EXPECT_EQ(limit, 2.5);
  EXPECT_TRUE(std::get<RecoveryReport>(*record.report).partial);
  Create(Request("default"));
  WaitFor("default", JobState::kSucceeded);
  EXPECT_EQ(limit, 60);
}

TEST_F(ManagerTest, ProgressReachesWatchersAndTheRecord) {
  auto gate = std::make_shared<Gate>();
  Script("job", [gate](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    for (int i = 1; i <= 3; ++i) run.on_iteration(Iteration(i));
    gate->WaitOrStop(run.stop);
    return Outcome(TerminationReason::kConverged);
  });
  StartManager();
  Create(Request("job"));
  Follower follower(*manager_, "job");
  follower.WaitFor(JobState::kRunning);
  for (int i = 1; i <= 3; ++i) {
    auto next = follower.Next();
    ASSERT_EQ(next.outcome, Outcome_::kEvent);
    EXPECT_EQ(std::get<IterationReport>(std::get<JobProgress>(next.event.event)).iteration, i);
    EXPECT_EQ(next.event.job, nullptr);
  }
  auto record = manager_->Get("job");
  ASSERT_TRUE(record.ok() && record->progress.has_value());
  EXPECT_EQ(std::get<IterationReport>(*record->progress).iteration, 3);
  EXPECT_EQ(record->latest_event_number, 5);
  auto page = manager_->List({});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(std::get<IterationReport>(*page->records.at(0).progress).iteration, 3);
  gate->Open();
  follower.WaitFor(JobState::kSucceeded);

  Follower replay(*manager_, "job", 4);
  EXPECT_EQ(replay.Next().event.number, 5);
  replay.WaitFor(JobState::kSucceeded);
  EXPECT_EQ(replay.Next().outcome, Outcome_::kEnded);
  EXPECT_EQ(store::FieldOf(manager_->Watch("job", 1000, {}).status()), "after_event_number");
  EXPECT_EQ(store::FieldOf(manager_->Watch("job", -1, {}).status()), "after_event_number");
}

TEST_F(ManagerTest, ALongJobKeepsABoundedHistory) {
  options_.max_events_per_job = 50;
  constexpr int kIterations = 25000;  // more than one block of reserved numbers
  Script("job", [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    for (int i = 1; i <= kIterations; ++i) {
      run.on_iteration(Iteration(i));
      if (i % 1000 == 0) run.on_checkpoint("state");
    }
    return Outcome(TerminationReason::kConverged);
  });
  StartManager();
  Create(Request("job"));
  WaitFor("job", JobState::kSucceeded);
  Follower replay(*manager_, "job");
  int events = 0;
  int64_t last_iteration = 0;
  for (;;) {
    auto next = replay.Next();
    if (next.outcome != Outcome_::kEvent) break;
    ++events;
    if (const auto* progress = std::get_if<JobProgress>(&next.event.event)) {
      last_iteration = IterationOf(*progress);
    }
  }
  EXPECT_LE(events, 60);
  EXPECT_EQ(last_iteration, kIterations);
  EXPECT_EQ(std::get<IterationReport>(*manager_->Get("job")->progress).iteration, kIterations);
}

TEST_F(ManagerTest, WatchersAreBounded) {
  auto gate = std::make_shared<Gate>();
  for (const char* id : {"a", "b", "c"}) Script(id, HoldAt(gate));
  options_.max_watchers_per_job = 2;
  options_.max_watchers = 3;
  StartManager();
  for (const char* id : {"a", "b", "c"}) Create(Request(id));
  Follower first(*manager_, "a");
  Follower second(*manager_, "a");
  EXPECT_EQ(store::ReasonOf(manager_->Watch("a", 0, {}).status()), store::kReasonTooManyWatchers);
  Follower third(*manager_, "b");
  const absl::Status full = manager_->Watch("c", 0, {}).status();
  EXPECT_EQ(store::ReasonOf(full), store::kReasonTooManyWatchers);
  EXPECT_TRUE(store::RetryAfterOf(full).has_value());
  second.Drop();
  EXPECT_EQ(manager_->Stats().watchers, 2);
  EXPECT_TRUE(manager_->Watch("c", 0, {}).ok());
  gate->Open();
}

TEST_F(ManagerTest, OnlyEndedJobsAreDeleted) {
  auto gate = std::make_shared<Gate>();
  Script("job", HoldAt(gate));
  StartManager();
  Create(Request("job"));
  WaitFor("job", JobState::kRunning);
  const absl::Status active = manager_->Delete("job");
  EXPECT_EQ(active.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store::ReasonOf(active), store::kReasonJobActive);
  gate->Open();
  const JobRecord record = WaitFor("job", JobState::kSucceeded);
  EXPECT_TRUE(manager_->Delete("job").ok());
  EXPECT_EQ(manager_->Get("job").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(store_->models().Get(record.model_id).ok()) << "the model stays";
  const JobRecord second = Create(Request("job"));
  EXPECT_EQ(second.id, "job") << "the id is free again";
  EXPECT_NE(WaitFor("job", JobState::kSucceeded).model_id, record.model_id);
}

TEST_F(ManagerTest, EndedJobsAreBoundedTheOldestGoFirst) {
  options_.max_retained_jobs = 3;
  StartManager();
  std::vector<std::string> models;
  for (int i = 0; i < 6; ++i) {
    const std::string id = "job" + std::to_string(i);
    Create(Request(id));
    models.push_back(WaitFor(id, JobState::kSucceeded).model_id);
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(manager_->Get("job" + std::to_string(i)).ok(), i >= 3) << i;
    EXPECT_TRUE(store_->models().Get(models[i]).ok()) << "models stay";
  }
}

TEST_F(ManagerTest, DataSetsAreKeptWhileAJobNeedsThem) {
  auto gate = std::make_shared<Gate>();
  Script("job", HoldAt(gate));
  for (const char* id : {"test", "more"}) {
    const auto created = store_->datasets().CreatePlanted(
        {.id = id, .request_id = "", .fingerprint = ""},
        {.num_samples = 10, .num_inputs = 2, .hidden_width = 1, .nonzeros = 1}, {});
    ASSERT_TRUE(created.ok()) << created.status();
  }
  StartManager();
  CreateJobRequest request = Request("job");
  auto& split = std::get<RecoverySpec>(request.spec).split;
  split.held_out_dataset_id = "test";
  split.validation = store::ValidationSpec{.dataset_id = "more"};
  Create(request);
  for (const char* id : {"data", "test", "more"}) {
    EXPECT_EQ(store::ReasonOf(store_->datasets().Delete(id)), store::kReasonInUse) << id;
  }
  gate->Open();
  WaitFor("job", JobState::kSucceeded);
  for (const char* id : {"data", "test", "more"}) {
    EXPECT_TRUE(store_->datasets().Delete(id).ok()) << id;
  }
}

TEST_F(ManagerTest, ListsByStateAndLabel) {
  auto gate = std::make_shared<Gate>();
  Script("runs", HoldAt(gate));
  StartManager();
  CreateJobRequest done = Request("done");
  done.labels = {{"team", "x"}};
  Create(done);
  WaitFor("done", JobState::kSucceeded);
  Create(Request("runs"));
  WaitFor("runs", JobState::kRunning);
  Create(Request("waits"));
  const auto ids = [this](std::optional<JobState> state, store::Labels labels) {
    store::ListRequest request;
    if (state.has_value()) request.state = static_cast<int>(*state);
    request.labels = std::move(labels);
    std::vector<std::string> found;
    auto page = manager_->List(request);
    EXPECT_TRUE(page.ok());
    for (const JobRecord& record : page->records) found.push_back(record.id);
    return found;
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(ids({}, {}), (Ids{"waits", "runs", "done"}));
  EXPECT_EQ(ids(JobState::kRunning, {}), Ids{"runs"});
  EXPECT_EQ(ids(JobState::kQueued, {}), Ids{"waits"});
  EXPECT_EQ(ids({}, {{"team", "x"}}), Ids{"done"});
  gate->Open();
}

TEST_F(ManagerTest, MetricsAreCalled) {
  std::atomic<int> ended = 0;
  std::atomic<int> waited = 0;
  std::atomic<int64_t> checkpoint_bytes = 0;
  metrics_.job_ended = [&](const JobSpec&, JobState state) {
    ended += state == JobState::kSucceeded ? 1 : 100;
  };
  metrics_.job_waited = [&](double seconds) { waited += seconds >= 0 ? 1 : 100; };
  metrics_.checkpoint_written = [&](int64_t bytes) { checkpoint_bytes += bytes; };
  Script("job", [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    run.on_iteration(Iteration(1));
    run.on_checkpoint("12345");
    return Outcome(TerminationReason::kConverged);
  });
  StartManager();
  Create(Request("job"));
  WaitFor("job", JobState::kSucceeded);
  manager_.reset();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(waited, 1);
  EXPECT_EQ(checkpoint_bytes, 5);
}

TEST_F(ManagerTest, ManyClientsAtOnce) {
  options_.num_workers = 3;
  options_.max_retained_jobs = 40;
  StartManager();
  std::vector<std::thread> clients;
  for (int c = 0; c < 6; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        auto record = manager_->Create(Request("", c - 3, 300));
        ASSERT_TRUE(record.ok()) << record.status();
        if (i % 3 == 0) manager_->Cancel(record->id).IgnoreError();
        auto watch = manager_->Watch(record->id, 0, {});
        if (watch.ok()) (*watch)->Next();
        manager_->Get(record->id).IgnoreError();
        EXPECT_TRUE(manager_->List({}).ok());
        if (i % 4 == 0) manager_->Delete(record->id).IgnoreError();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  // The last one, of the lowest priority, ends after all others.
  Create(Request("last", -100));
  WaitFor("last", JobState::kSucceeded);
  manager_->Drain(std::chrono::steady_clock::now() + std::chrono::minutes(1)).IgnoreError();
  const JobStats stats = manager_->Stats();
  EXPECT_EQ(stats.queued_jobs, 0);
  EXPECT_EQ(stats.memory_reserved_bytes, 0);
  EXPECT_EQ(stats.watchers, 0);
}

}  // namespace
}  // namespace thresher::jobs
