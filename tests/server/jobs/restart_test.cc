// What a job manager does when the server stops, is killed, and starts again.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "server/store/job_store.h"
#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

using Outcome_ = EventSubscription::Outcome;
using std::chrono::steady_clock;

class RestartTest : public ManagerTest {
 protected:
  // Makes the store look as if the server had died while the job was in this state.
  void PutJob(const JobRecord& record, int64_t reserved = 0) {
    JobEvent event;
    event.number = 1;
    event.event = StateChange{.state = JobState::kQueued, .message = "created"};
    const absl::Status status =
        store_->database().Write([&](store::Connection& connection) -> absl::Status {
          auto key = store::InsertJob(
              connection, {.id = record.id, .request_id = "", .fingerprint = ""}, record, event);
          if (!key.ok()) return key.status();
          const std::vector<JobEvent> none;
          return store::WriteJob(connection, {.key = *key,
                                              .record = &record,
                                              .events = &none,
                                              .replace_events = false,
                                              .reserved_event_number = reserved});
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  static JobRecord Running(const std::string& id) {
    JobRecord record;
    record.id = id;
    std::get<RecoverySpec>(record.spec).dataset_id = "data";
    record.state = JobState::kRunning;
    record.create_time = store::Now();
    record.attempt_count = 1;
    record.latest_event_number = 1;
    return record;
  }
};

TEST_F(RestartTest, ADrainKeepsTheCheckpointAndQueuesAgain) {
  std::atomic<int> attempts = 0;
  auto started_gate = std::make_shared<Gate>();
  Script("job", [&, started_gate](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    if (++attempts == 1) {
      EXPECT_TRUE(run.checkpoint.empty());
      run.on_iteration(Iteration(7));
      started_gate->Open();
      Gate().WaitOrStop(run.stop);
      JobOutcome outcome = Outcome(TerminationReason::kCancelled);
      outcome.checkpoint = "after seven";
      return outcome;
    }
    EXPECT_EQ(run.checkpoint, "after seven");
    return Outcome(TerminationReason::kConverged);
  });
  StartManager();
  Create(Request("job"));
  started_gate->Wait();
  Follower follower(*manager_, "job");
  ASSERT_TRUE(manager_->Drain(steady_clock::now() + std::chrono::minutes(1)).ok());
  EXPECT_EQ(manager_->Create(Request("late")).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(manager_->Watch("job", 0, {}).status().code(), absl::StatusCode::kUnavailable);
  auto record = manager_->Get("job");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->state, JobState::kQueued);
  int64_t last = 0;
  for (;;) {
    auto next = follower.Next();
    if (next.outcome == Outcome_::kServerStopping) break;
    ASSERT_EQ(next.outcome, Outcome_::kEvent);
    last = next.event.number;
  }
  follower.Drop();
  Restart();
  Follower again(*manager_, "job", last);
  const JobRecord ended = again.WaitFor(JobState::kSucceeded);
  EXPECT_EQ(ended.attempt_count, 2);
  EXPECT_EQ(attempts, 2);
}

TEST_F(RestartTest, ADrainGivesUpAtItsDeadline) {
  auto gate = std::make_shared<Gate>();
  Script("deaf", [gate](const JobRun&) -> absl::StatusOr<JobOutcome> {
    gate->Wait();
    return Outcome(TerminationReason::kConverged);
  });
  StartManager();
  Create(Request("deaf"));
  Follower follower(*manager_, "deaf");
  follower.WaitFor(JobState::kRunning);
  EXPECT_EQ(manager_->Drain(steady_clock::now()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(follower.Next().outcome, Outcome_::kServerStopping);
  gate->Open();
}

TEST_F(RestartTest, QueuedJobsRunInTheirOldOrder) {
  auto gate = std::make_shared<Gate>();
  Script("first", HoldAt(gate));
  StartManager();
  Create(Request("first"));
  WaitFor("first", JobState::kRunning);
  Create(Request("a"));
  Create(Request("b"));
  Create(Request("urgent", 5));
  manager_.reset();
  gate->Open();
  OpenStore();
  StartManager();
  WaitFor("b", JobState::kSucceeded);
  EXPECT_EQ(started(), (std::vector<std::string>{"first", "urgent", "first", "a", "b"}));
}

TEST_F(RestartTest, ARunningJobOfADeadServerResumesFromItsCheckpoint) {
  auto blob = store_->blobs().Put("checkpoint");
  ASSERT_TRUE(blob.ok());
  JobRecord record = Running("job");
  record.checkpoint_sha256 = blob->sha256();
  record.checkpoint_iteration = 40;
  PutJob(record, 500);
  *blob = store::BlobPin();
  std::string seen;
  Script("job", [&seen](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    seen = run.checkpoint;
    return Outcome(TerminationReason::kConverged);
  });
  OpenStore();  // collects garbage: the checkpoint is none
  StartManager();
  Follower follower(*manager_, "job", 1);
  auto next = follower.Next();
  ASSERT_EQ(next.outcome, Outcome_::kEvent);
  const auto& change = std::get<StateChange>(next.event.event);
  EXPECT_EQ(change.state, JobState::kQueued);
  EXPECT_NE(change.message.find("40"), std::string::npos) << change.message;
  EXPECT_GT(next.event.number, 500) << "numbers up to 500 may have been seen";
  const JobRecord ended = follower.WaitFor(JobState::kSucceeded);
  EXPECT_EQ(ended.attempt_count, 2);
  EXPECT_EQ(seen, "checkpoint");
  follower.Drop();
  manager_.reset();  // its last deed for the job may come after the event
  EXPECT_FALSE(store_->blobs().Get(record.checkpoint_sha256).ok())
      << "an ended job needs no checkpoint";
}

TEST_F(RestartTest, AnAcknowledgedCancelOutlivesTheServer) {
  auto blob = store_->blobs().Put("checkpoint");
  ASSERT_TRUE(blob.ok());
  PutJob(Running("without"));
  JobRecord with = Running("with");
  with.checkpoint_sha256 = blob->sha256();
  PutJob(with);
  for (const char* id : {"without", "with"}) {
    ASSERT_TRUE(store_->database()
                    .Write([&](store::Connection& connection) -> absl::Status {
                      auto job = store::FindJob(connection, id);
                      if (!job.ok()) return job.status();
                      return store::RequestCancel(connection, job->key);
                    })
                    .ok());
  }
  *blob = store::BlobPin();
  Script("with", [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    EXPECT_TRUE(run.stop.stop_requested());
    EXPECT_EQ(run.checkpoint, "checkpoint");
    return Outcome(TerminationReason::kCancelled);
  });
  OpenStore();
  StartManager();
  EXPECT_EQ(manager_->Get("without")->state, JobState::kCancelled);
  EXPECT_FALSE(WaitFor("with", JobState::kCancelled).model_id.empty()) << "the iterate is kept";
}

TEST_F(RestartTest, APruningGoesOnAsWhatItIs) {
  auto blob = store_->blobs().Put("checkpoint");
  ASSERT_TRUE(blob.ok());
  JobRecord record = Running("pruning");
  record.spec = PruningSpec{.dataset_id = "data", .options = {.hidden_widths = {7, 5}}};
  record.progress = PruneReport{.iteration = 12, .round = 2, .epoch = 2};
  record.checkpoint_sha256 = blob->sha256();
  PutJob(record);
  *blob = store::BlobPin();
  Script("pruning", [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    EXPECT_EQ(run.checkpoint, "checkpoint");
    EXPECT_EQ(std::get<PruningSpec>(run.job.spec).options.hidden_widths,
              (std::vector<int64_t>{7, 5}));
    EXPECT_EQ(IterationOf(*run.job.progress), 12);
    run.on_iteration(PruneReport{.iteration = 13, .round = 2, .epoch = 3});
    JobOutcome outcome = Outcome(TerminationReason::kIterationLimit);
    outcome.report = PruningReport{.iterations = 13, .rounds = 2};
    return outcome;
  });
  StartManager();
  WaitFor("pruning", JobState::kSucceeded);
  Restart();
  auto ended = manager_->Get("pruning");
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(std::get<PruneReport>(*ended->progress).epoch, 3);
  EXPECT_EQ(std::get<PruningReport>(*ended->report).rounds, 2);
  EXPECT_TRUE(
      std::holds_alternative<PruningReport>(*store_->models().Get(ended->model_id)->report));
}

TEST_F(RestartTest, AJobThatKillsTheServerIsGivenUp) {
  options_.max_crashes = 2;
  JobRecord record = Running("killer");
  record.crash_count = 2;
  PutJob(record);
  StartManager();
  auto failed = manager_->Get("killer");
  ASSERT_TRUE(failed.ok());
  EXPECT_EQ(failed->state, JobState::kFailed);
  EXPECT_EQ(failed->error->code, absl::StatusCode::kAborted);
  EXPECT_TRUE(started().empty());
}

TEST_F(RestartTest, AJobThatNoLongerFitsFails) {
  JobRecord record = Running("large");
  record.predicted_cost.peak_memory_bytes = 5000;
  PutJob(record);
  StartManager();
  EXPECT_EQ(manager_->Get("large")->error->code, absl::StatusCode::kResourceExhausted);
  Create(Request("next"));
  WaitFor("next", JobState::kSucceeded);
}

TEST_F(RestartTest, EndedJobsAndTheirEventsAreThereAfterwards) {
  Script("job", [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    run.on_iteration(Iteration(1));
    return Outcome(TerminationReason::kStagnated);
  });
  StartManager();
  Create(Request("job"));
  const JobRecord before = WaitFor("job", JobState::kSucceeded);
  Restart();
  auto after = manager_->Get("job");
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->model_id, before.model_id);
  EXPECT_EQ(std::get<RecoveryReport>(*after->report).termination_reason,
            TerminationReason::kStagnated);
  Follower follower(*manager_, "job");
  std::vector<int64_t> numbers;
  for (;;) {
    auto next = follower.Next();
    if (next.outcome != Outcome_::kEvent) break;
    numbers.push_back(next.event.number);
  }
  EXPECT_EQ(numbers, (std::vector<int64_t>{1, 2, 3, 4}));
}

// A process with a manager: creates jobs that iterate until the parent kills it, and says
// on the pipe each acknowledged job (as its negative number) and each event number of job
// j0 that a watcher saw.
[[noreturn]] void ServeUntilKilled(const std::string& data_dir, int round, int pipe) {
  auto store = store::Store::Open({.data_dir = data_dir});
  if (!store.ok()) _exit(3);
  JobManagerOptions options;
  options.num_workers = 2;
  options.max_queued_jobs = 1'000'000;
  options.checkpoint_interval = std::chrono::milliseconds(0);
  JobManager manager(
      options, store->get(), [](const JobSpec&) -> absl::StatusOr<JobCost> { return JobCost{}; },
      [](const JobRun& run) -> absl::StatusOr<JobOutcome> {
        int64_t i = run.checkpoint.empty() ? 0 : std::stoll(run.checkpoint);
        const bool endless = run.job.id == "j0";
        while (!run.stop.stop_requested() && (endless || i < 3)) {
          run.on_iteration(Iteration(++i));
          if (i % 50 == 0 && run.checkpoint_due(Iteration(i))) run.on_checkpoint(std::to_string(i));
        }
        return Outcome(TerminationReason::kConverged);
      });
  if (!manager.Start().ok()) _exit(4);
  if (round == 0) {
    CreateJobRequest first;
    first.identity.id = "j0";
    std::get<RecoverySpec>(first.spec).dataset_id = "data";
    if (!manager.Create(first).ok()) _exit(5);
  }
  const auto say = [pipe](int64_t number) {
    if (write(pipe, &number, sizeof(number)) != sizeof(number)) _exit(6);
  };
  std::thread watcher([&] {
    Follower follower(manager, "j0", manager.Get("j0")->latest_event_number);
    for (;;) {
      auto next = follower.Next();
      if (next.outcome != Outcome_::kEvent) _exit(7);
      say(next.event.number);
    }
  });
  for (int i = 1;; ++i) {
    const int64_t number = round * 100000 + i;
    CreateJobRequest request;
    request.identity.id = "j" + std::to_string(number);
    std::get<RecoverySpec>(request.spec).dataset_id = "data";
    if (!manager.Create(request).ok()) _exit(8);
    say(-number);
  }
}

TEST_F(RestartTest, KilledAtRandomMomentsNothingIsLostAndNoNumberRepeats) {
  store_.reset();
  std::mt19937 random(7);
  std::set<int64_t> jobs;
  int64_t last_event = 0;
  for (int round = 0; round < 6; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(pipes[0]);
      ServeUntilKilled(directory_.path(), round, pipes[1]);
    }
    close(pipes[1]);
    const int wanted = 20 + static_cast<int>(random() % 400);
    int64_t said = 0;
    int64_t round_first_event = 0;
    int64_t round_last_event = 0;
    const auto take = [&] {
      if (said < 0) {
        jobs.insert(-said);
      } else {
        if (round_first_event == 0) round_first_event = said;
        round_last_event = said;
      }
    };
    for (int i = 0; i < wanted; ++i) {
      ASSERT_EQ(read(pipes[0], &said, sizeof(said)), static_cast<ssize_t>(sizeof(said)));
      take();
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    while (read(pipes[0], &said, sizeof(said)) == sizeof(said)) take();
    close(pipes[0]);
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "the server ended by itself with " << WEXITSTATUS(how);
    if (round_first_event != 0) {
      EXPECT_GT(round_first_event, last_event) << "a number was given twice";
      last_event = round_last_event;
    }
  }
  // Whatever was acknowledged runs to its end.
  OpenStore();
  Script("j0", [](const JobRun&) { return Outcome(TerminationReason::kConverged); });
  options_.num_workers = 2;
  StartManager();
  for (const int64_t number : jobs) {
    const std::string id = "j" + std::to_string(number);
    WaitFor(id, JobState::kSucceeded);
  }
  EXPECT_GE(WaitFor("j0", JobState::kSucceeded).attempt_count, 6);
  EXPECT_GT(jobs.size(), 20u);
}

}  // namespace
}  // namespace thresher::jobs
