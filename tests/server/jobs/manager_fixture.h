// A job manager over a store of its own, with a runner that the test scripts.
#ifndef THRESHER_TESTS_SERVER_JOBS_MANAGER_FIXTURE_H_
#define THRESHER_TESTS_SERVER_JOBS_MANAGER_FIXTURE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "server/jobs/job_manager.h"
#include "server/store/error_details.h"
#include "server/store/mutex.h"
#include "server/store/store.h"
#include "tests/server/temporary_directory.h"

namespace thresher::jobs {

// libzip asks the C library for the local time, and that reads the system's time zone anew
// each time under a lock that ThreadSanitizer does not see. A zone that is set is read once.
inline const int kTimeZoneIsSet = setenv("TZ", "UTC0", 1);

// Opened once; threads wait for it.
class Gate {
 public:
  void Open() {
    store::MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    store::MutexLock lock(mutex_);
    while (!open_) changed_.Wait(mutex_);
  }
  // Returns when the gate is open or a stop is requested; true if open.
  bool WaitOrStop(const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      store::MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
    store::MutexLock lock(mutex_);
    while (!open_ && !stop.stop_requested()) changed_.Wait(mutex_);
    return open_;
  }

 private:
  store::Mutex mutex_;
  store::CondVar changed_;
  bool open_ THRESHER_GUARDED_BY(mutex_) = false;
};

inline IterationReport Iteration(int64_t number) {
  IterationReport report;
  report.iteration = number;
  report.relative_residual = 1.0 / static_cast<double>(number);
  return report;
}

inline Model SmallModel() {
  SparseNetwork network;
  network.num_inputs = 2;
  network.weights = {.row_begin = {0, 1}, .column = {1}, .value = {2.5}};
  network.output_signs = {1};
  Model model;
  model.network = network;
  model.metadata = {{"dataset_sha256", "cafe"}};
  return model;
}

inline JobOutcome Outcome(TerminationReason reason, bool with_model = true) {
  JobOutcome outcome;
  if (with_model) outcome.model = SmallModel();
  outcome.report = RecoveryReport{.termination_reason = reason,
                                  .partial = reason == TerminationReason::kCancelled ||
                                             reason == TerminationReason::kTimeLimit};
  return outcome;
}

// Reads a watch with blocking calls.
class Follower {
 public:
  Follower(JobManager& manager, const std::string& id, int64_t after = 0) {
    auto state = state_;
    auto subscription = manager.Watch(id, after, [state] {
      store::MutexLock lock(state->mutex);
      state->ready = true;
      state->changed.NotifyAll();
    });
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    if (subscription.ok()) subscription_ = std::move(*subscription);
  }

  EventSubscription::NextEvent Next() {
    for (;;) {
      {
        store::MutexLock lock(state_->mutex);
        state_->ready = false;
      }
      EventSubscription::NextEvent next = subscription_->Next();
      if (next.outcome != EventSubscription::Outcome::kNothingYet) return next;
      store::MutexLock lock(state_->mutex);
      while (!state_->ready) state_->changed.Wait(state_->mutex);
    }
  }
  // The job's record in the first event that says `state`.
  JobRecord WaitFor(JobState state) {
    for (;;) {
      EventSubscription::NextEvent next = Next();
      if (next.outcome != EventSubscription::Outcome::kEvent) {
        ADD_FAILURE() << "the watch ended before " << JobStateName(state);
        return {};
      }
      const auto* change = std::get_if<StateChange>(&next.event.event);
      if (change != nullptr && change->state == state) return *next.event.job;
    }
  }
  EventSubscription& subscription() { return *subscription_; }
  void Drop() { subscription_.reset(); }

 private:
  struct State {
    store::Mutex mutex;
    store::CondVar changed;
    bool ready THRESHER_GUARDED_BY(mutex) = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<EventSubscription> subscription_;
};

class ManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.memory_budget_bytes = 1000;
    OpenStore();
    Samples samples;
    samples.num_samples = 2;
    samples.num_inputs = 2;
    samples.inputs = {1, 2, 3, 4};
    samples.targets = {1, 2};
    ASSERT_TRUE(store_->datasets()
                    .Create({.id = "data", .request_id = "", .fingerprint = ""}, PlantedOptions{},
                            {}, samples, nullptr)
                    .ok());
  }
  void TearDown() override { manager_.reset(); }

  void OpenStore() {
    store_.reset();
    auto store = store::Store::Open({.data_dir = directory_.path()});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
  }
  // The cost of a job is its hidden_width in bytes.
  void StartManager() {
    manager_ = std::make_unique<JobManager>(
        options_, store_.get(),
        [](const JobSpec& spec) -> absl::StatusOr<JobCost> {
          const int64_t width = std::get<RecoverySpec>(spec).options.hidden_width;
          if (width < 0) return store::InvalidField("hidden_width", "negative");
          return JobCost{.peak_memory_bytes = width, .flops_per_iteration = 1};
        },
        [this](const JobRun& run) { return Run(run); }, metrics_);
    const absl::Status status = manager_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }
  // As after a restart of the server.
  void Restart() {
    manager_.reset();
    OpenStore();
    StartManager();
  }

  // What jobs do, by id; others converge at once.
  void Script(const std::string& id, JobRunner script) {
    store::MutexLock lock(mutex_);
    scripts_[id] = std::move(script);
  }
  absl::StatusOr<JobOutcome> Run(const JobRun& run) {
    JobRunner script;
    {
      store::MutexLock lock(mutex_);
      started_.push_back(run.job.id);
      const auto found = scripts_.find(run.job.id);
      if (found != scripts_.end()) script = found->second;
    }
    return script ? script(run) : Outcome(TerminationReason::kConverged);
  }
  std::vector<std::string> started() {
    store::MutexLock lock(mutex_);
    return started_;
  }
  // Runs until the gate opens or a stop is requested.
  static JobRunner HoldAt(std::shared_ptr<Gate> gate) {
    return [gate](const JobRun& run) -> absl::StatusOr<JobOutcome> {
      return Outcome(gate->WaitOrStop(run.stop) ? TerminationReason::kConverged
                                                : TerminationReason::kCancelled);
    };
  }

  static CreateJobRequest Request(const std::string& id, int priority = 0, int64_t bytes = 1) {
    CreateJobRequest request;
    request.identity.id = id;
    std::get<RecoverySpec>(request.spec).dataset_id = "data";
    std::get<RecoverySpec>(request.spec).options.hidden_width = bytes;
    request.priority = priority;
    return request;
  }
  JobRecord Create(const CreateJobRequest& request) {
    auto record = manager_->Create(request);
    EXPECT_TRUE(record.ok()) << record.status();
    return record.ok() ? *record : JobRecord();
  }
  JobRecord WaitFor(const std::string& id, JobState state) {
    return Follower(*manager_, id).WaitFor(state);
  }

  testing::TemporaryDirectory directory_;
  JobManagerOptions options_;
  JobMetrics metrics_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<JobManager> manager_;

 private:
  store::Mutex mutex_;
  std::map<std::string, JobRunner> scripts_ THRESHER_GUARDED_BY(mutex_);
  std::vector<std::string> started_ THRESHER_GUARDED_BY(mutex_);
};

}  // namespace thresher::jobs

#endif  // THRESHER_TESTS_SERVER_JOBS_MANAGER_FIXTURE_H_
