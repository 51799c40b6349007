// Queues jobs, runs them on workers, tells watchers, survives restarts.
//
// Queue: by priority, then in order of creation. The head starts when a worker is free
// and its predicted peak memory fits what the budget has left; nothing overtakes a head
// that waits, so a large job cannot be starved by small ones.
// Sweeps have a queue and threads of their own, for they only wait for their cells, which are jobs
// in the queue above. A cell's last commit makes it a row of the sweep's table and deletes the job,
// so no cell is run twice or has two rows, whenever the process dies.
// Every state change is committed to the store before anyone can see it.
#ifndef THRESHER_SERVER_JOBS_JOB_MANAGER_H_
#define THRESHER_SERVER_JOBS_JOB_MANAGER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/jobs/event_log.h"
#include "server/jobs/job.h"
#include "server/store/job_store.h"
#include "server/store/mutex.h"
#include "server/store/records.h"
#include "server/store/store.h"

namespace thresher::jobs {

struct JobManagerOptions {
  int num_workers = 1;
  int threads_per_job = 1;
  int max_running_sweeps = 4;
  int64_t memory_budget_bytes = int64_t{1} << 30;
  int64_t max_queued_jobs = 1000;
  int64_t max_retained_jobs = 10000;  // ended ones; the oldest go first, models stay
  int64_t max_watchers = 1000;
  int64_t max_watchers_per_job = 64;
  int64_t max_events_per_job = 1000;  // kept; older progress is thinned
  std::chrono::milliseconds checkpoint_interval{5000};
  // Of jobs without one; 0: none.
  double default_time_limit_seconds = 0;
  // Deaths of the server in a row, without a checkpoint between, after which a job is
  // taken for their cause and FAILED.
  int max_crashes = 50;
  std::string program_version;
};

// Called as things happen, on the threads where they happen; must be quick and must
// not call the manager. Unset ones are not called.
struct JobMetrics {
  std::function<void(const JobSpec& spec, JobState outcome)> job_ended;
  std::function<void(double seconds)> job_waited;  // creation or requeueing to RUNNING
  std::function<void(const JobSpec& spec, double seconds)> job_ran;  // one attempt
  std::function<void(int64_t bytes)> checkpoint_written;
  std::function<void(int64_t events)> events_thinned;  // that a watcher did not get
  // A commit of a running job, or of a sweep's cell to be cancelled, failed; it is retried.
  std::function<void(const absl::Status& status)> store_failed;
};

struct JobStats {
  int num_workers = 0;
  int workers_busy = 0;
  int64_t queued_jobs = 0;
  int64_t max_queued_jobs = 0;
  double oldest_wait_seconds = 0;  // of the queued jobs; 0 when none
  int64_t memory_budget_bytes = 0;
  int64_t memory_reserved_bytes = 0;  // predictions of running jobs
  int64_t watchers = 0;
  std::optional<double> oldest_checkpoint_age_seconds;  // of running jobs
};

struct CreateJobRequest {
  store::CreateIdentity identity;
  JobSpec spec;
  int priority = 0;
  store::Labels labels;
  std::optional<double> time_limit_seconds;
  bool validate_only = false;
  // Of a cell of the sweep identity.parent.
  std::optional<SweepCell> cell;
  bool discard_model = false;
};

class JobManager {
 public:
  // The store outlives the manager.
  JobManager(JobManagerOptions options, store::Store* store, JobPlanner planner, JobRunner runner,
             JobMetrics metrics = {});
  // Drains with no deadline.
  ~JobManager();
  JobManager(const JobManager&) = delete;
  JobManager& operator=(const JobManager&) = delete;

  // Takes up the jobs of an earlier process (those that ran are queued again) and
  // starts the workers. Call once, before anything else.
  absl::Status Start();

  // Durable on return. With validate_only nothing is kept and the record shows the
  // predicted cost.
  // Errors: INVALID_ARGUMENT naming the field; NOT_FOUND; ALREADY_EXISTS;
  // RESOURCE_EXHAUSTED with reason QUEUE_FULL (retry) or MEMORY_BUDGET_EXCEEDED (never
  // fits); UNAVAILABLE with SERVER_STOPPING.
  absl::StatusOr<JobRecord> Create(const CreateJobRequest& request);

  // With the rows of a sweep, which List leaves out.
  absl::StatusOr<JobRecord> Get(std::string_view id);
  absl::StatusOr<store::Page<JobRecord>> List(const store::ListRequest& request);

  // Asks a running job to stop; a queued one is CANCELLED on return, but for one with a
  // checkpoint, which runs once more to give its iterate, or a sweep that has run, which runs
  // once more to cancel its cells. Durable on return.
  // Cancelling an ended job changes nothing. Errors: NOT_FOUND.
  absl::StatusOr<JobRecord> Cancel(std::string_view id);

  // Errors: NOT_FOUND; FAILED_PRECONDITION with JOB_ACTIVE while queued or running.
  absl::Status Delete(std::string_view id);

  // Follows a job from the event after `after_event_number`. `on_ready` is called, at
  // most once for each Next() that returned kNothingYet, when there may be more; on
  // any thread, with no lock held, so it may call Next(). It may still be running when
  // the subscription goes: let it share ownership of what it touches.
  // Errors: NOT_FOUND; RESOURCE_EXHAUSTED with TOO_MANY_WATCHERS (retry); UNAVAILABLE
  // with SERVER_STOPPING; INVALID_ARGUMENT `after_event_number`.
  absl::StatusOr<std::shared_ptr<EventSubscription>> Watch(std::string_view id,
                                                           int64_t after_event_number,
                                                           std::function<void()> on_ready);

  // Takes no more jobs, stops the running ones at their checkpoints, queues them again,
  // ends the watches with kServerStopping.
  // Errors: DEADLINE_EXCEEDED when a job did not stop in time: it resumes from its last
  // checkpoint after the restart.
  absl::Status Drain(std::chrono::steady_clock::time_point deadline);

  JobStats Stats();

 private:
  struct ActiveJob;
  // Orders the queue: what only waits to be cancelled, then by priority descending, then
  // by key ascending.
  struct QueueOrder {
    bool operator()(const std::shared_ptr<ActiveJob>& a, const std::shared_ptr<ActiveJob>& b) const;
  };

  absl::Status TakeUpAll(std::vector<store::StoredJob> stored) THRESHER_EXCLUDES(mutex_);
  absl::Status TakeUp(const std::shared_ptr<ActiveJob>& job) THRESHER_EXCLUDES(mutex_);
  absl::StatusOr<JobRecord> Validate(const CreateJobRequest& request);
  absl::StatusOr<std::optional<JobRecord>> FindEarlier(const store::CreateIdentity& identity);
  absl::StatusOr<JobRecord> Insert(const CreateJobRequest& request, JobRecord record)
      THRESHER_EXCLUDES(mutex_);
  absl::StatusOr<store::StoredJob> ReadStored(std::string_view id);
  // The job, or null and `ended` filled in. Errors: NOT_FOUND.
  absl::StatusOr<std::shared_ptr<ActiveJob>> FindActive(std::string_view id,
                                                        store::StoredJob* ended)
      THRESHER_EXCLUDES(mutex_);
  absl::StatusOr<std::shared_ptr<EventLog>> LogOfEnded(const store::StoredJob& job)
      THRESHER_EXCLUDES(mutex_);
  JobRecord Snapshot(const ActiveJob& job) const THRESHER_REQUIRES(mutex_);
  absl::Status AddRows(int64_t key, JobRecord& sweep);

  void Enqueue(const std::shared_ptr<ActiveJob>& job) THRESHER_REQUIRES(mutex_);
  // False: it was not in the queue.
  bool Dequeue(const std::shared_ptr<ActiveJob>& job) THRESHER_REQUIRES(mutex_);

  void WorkerLoop() THRESHER_EXCLUDES(mutex_);
  void SweepLoop() THRESHER_EXCLUDES(mutex_);
  SweepCells CellsOf(const std::shared_ptr<ActiveJob>& sweep) THRESHER_EXCLUDES(mutex_);
  absl::StatusOr<SweepCells::SoFar> BeginCells(const std::shared_ptr<ActiveJob>& sweep)
      THRESHER_EXCLUDES(mutex_);
  absl::Status RecordCell(const std::shared_ptr<ActiveJob>& sweep, const SweepCell& row)
      THRESHER_EXCLUDES(mutex_);
  std::vector<EndedCell> WaitForCells(const std::shared_ptr<ActiveJob>& sweep,
                                      std::chrono::steady_clock::time_point deadline)
      THRESHER_EXCLUDES(mutex_);
  void CancelCells(const std::shared_ptr<ActiveJob>& sweep) THRESHER_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<ActiveJob>> ActiveCells(std::string_view sweep_id) const
      THRESHER_REQUIRES(mutex_);
  void RunJob(const std::shared_ptr<ActiveJob>& job) THRESHER_EXCLUDES(mutex_);
  bool BeginAttempt(const std::shared_ptr<ActiveJob>& job) THRESHER_EXCLUDES(mutex_);
  absl::StatusOr<JobOutcome> CallRunner(const std::shared_ptr<ActiveJob>& job)
      THRESHER_EXCLUDES(mutex_);
  void ReserveEventNumbers(const std::shared_ptr<ActiveJob>& job);
  void WriteCheckpoint(const std::shared_ptr<ActiveJob>& job, const std::string& checkpoint)
      THRESHER_EXCLUDES(mutex_);
  void EndAttempt(const std::shared_ptr<ActiveJob>& job, absl::StatusOr<JobOutcome> outcome)
      THRESHER_EXCLUDES(mutex_);
  void Requeue(const std::shared_ptr<ActiveJob>& job, JobRecord next, const std::string& checkpoint)
      THRESHER_EXCLUDES(mutex_);

  // Commits the record and the events so far, in the same state.
  absl::Status CommitRecord(const std::shared_ptr<ActiveJob>& job, const JobRecord& record)
      THRESHER_EXCLUDES(mutex_);
  // Commits a change of state with its event, then shows it.
  absl::StatusOr<std::vector<store::PreparedModel>> PrepareModels(const JobRecord& record,
                                                                  const JobOutcome* outcome);
  absl::Status InsertModels(store::Connection& connection, std::span<store::PreparedModel> models,
                            JobRecord& record);
  absl::Status CommitState(const std::shared_ptr<ActiveJob>& job, JobRecord record,
                           const std::string& message, std::span<store::PreparedModel> models)
      THRESHER_EXCLUDES(mutex_);
  // As CommitState, again and again while the store fails; FAILED instead when the model cannot be
  // written, which no retry mends. False: the server stops.
  bool CommitStateUntilDone(const std::shared_ptr<ActiveJob>& job, const JobRecord& record,
                            const std::string& message, const JobOutcome* outcome)
      THRESHER_EXCLUDES(mutex_);
  absl::Status End(const std::shared_ptr<ActiveJob>& job, JobRecord record, JobState state,
                   const std::string& message) THRESHER_EXCLUDES(mutex_);
  void CollectBlob(const std::string& sha256);

  const JobManagerOptions options_;
  store::Store* const store_;
  const JobPlanner planner_;
  const JobRunner runner_;
  const JobMetrics metrics_;
  const std::shared_ptr<WatcherCount> watchers_;

  store::Mutex mutex_;
  store::CondVar queue_changed_;   // workers wait
  store::CondVar sweeps_changed_;  // threads of sweeps wait
  store::CondVar active_changed_;  // Drain and FindActive wait
  store::CondVar drain_began_;     // who tries the store again waits
  // Not ended, by id. A job enters after its commit, and leaves after its last.
  std::map<std::string, std::shared_ptr<ActiveJob>, std::less<>> active_
      THRESHER_GUARDED_BY(mutex_);
  std::set<std::shared_ptr<ActiveJob>, QueueOrder> queue_ THRESHER_GUARDED_BY(mutex_);
  std::set<std::shared_ptr<ActiveJob>, QueueOrder> sweeps_ THRESHER_GUARDED_BY(mutex_);  // queued
  // Logs of ended jobs that someone watches.
  std::map<std::string, std::weak_ptr<EventLog>, std::less<>> ended_logs_
      THRESHER_GUARDED_BY(mutex_);
  int64_t inserting_ THRESHER_GUARDED_BY(mutex_) = 0;   // creations not yet in the queue
  int64_t generation_ THRESHER_GUARDED_BY(mutex_) = 0;  // changes of active_
  int64_t ended_jobs_ THRESHER_GUARDED_BY(mutex_) = 0;  // in the store
  int64_t memory_reserved_ THRESHER_GUARDED_BY(mutex_) = 0;
  int workers_busy_ THRESHER_GUARDED_BY(mutex_) = 0;
  int sweeps_busy_ THRESHER_GUARDED_BY(mutex_) = 0;
  bool started_ THRESHER_GUARDED_BY(mutex_) = false;
  bool draining_ THRESHER_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> workers_;
};

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_JOB_MANAGER_H_
