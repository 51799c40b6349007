#include "server/jobs/job_manager.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/jobs/sweep_grid.h"
#include "server/store/error_details.h"
#include "server/store/job_store.h"

namespace thresher::jobs {

using std::chrono::steady_clock;
using store::Connection;
using store::InvalidField;
using store::MutexLock;
using store::PruningPathPoint;
using store::StoredJob;
using store::WithQuota;
using store::WithReason;
using store::WithRetryAfter;

namespace {

constexpr int kMaxPriority = 100;
constexpr double kMaxTimeLimitSeconds = 1e9;
constexpr std::chrono::seconds kStoreRetryInterval{1};
constexpr std::chrono::milliseconds kQueueRetryDelay{1000};

double SecondsSince(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

double SecondsSince(Timestamp start) {
  return std::max(0.0, std::chrono::duration<double>(store::Now() - start).count());
}

absl::Status Stopping() {
  return WithRetryAfter(
      WithReason(absl::UnavailableError("the server is stopping; try again when it is back"),
                 store::kReasonServerStopping),
      kQueueRetryDelay);
}

absl::StatusOr<JobOutcome> RunGuarded(const JobRunner& runner, const JobRun& run) {
  try {
    return runner(run);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "out of memory while solving; use a smaller problem or a server with more memory");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the solver failed: ", e.what()));
  }
}

bool IsSweep(const JobRecord& record) { return std::holds_alternative<SweepSpec>(record.spec); }

// Whether a queued job cannot be cancelled where it is: only its runner takes the iterate out of
// the checkpoint, or cancels the cells.
bool MustRunToEnd(const JobRecord& record) {
  return !record.checkpoint_sha256.empty() || (IsSweep(record) && record.attempt_count > 0);
}

// What iterations are called.
const char* UnitOf(const JobRecord& record) { return IsSweep(record) ? "cell " : "iteration "; }

std::string EndMessage(const JobReport& report) {
  if (const auto* sweep = std::get_if<SweepReport>(&report)) {
    return absl::StrCat("ended with ", sweep->cells_done, " of ", sweep->cells_total, " cells, ",
                        sweep->cells_failed, " of them failed");
  }
  const std::string_view reason = TerminationReasonName(TerminationReasonOf(report));
  return absl::StrCat("ended after ", IterationsOf(report),
                      " iterations: ", absl::string_view(reason.data(), reason.size()));
}

}  // namespace

enum class Phase {
  kQueued,      // in the queue
  kRunning,     // a worker has it
  kCancelling,  // taken out of the queue, its end is being committed
  kStopped,     // queued again by a drain: nobody takes it any more
};

// `key`, `log` and `stop` never change, nor does record.priority, and record.cancel_requested not
// while the job is in the queue; the rest is guarded by the manager's mutex.
struct JobManager::ActiveJob {
  int64_t key = 0;
  std::shared_ptr<EventLog> log;
  JobRecord record;
  Phase phase = Phase::kQueued;
  Timestamp queued_since;
  std::stop_source stop;
  steady_clock::time_point last_checkpoint;
  std::vector<EndedCell> ended_cells;  // of a running sweep, for its runner to take
};

bool JobManager::QueueOrder::operator()(const std::shared_ptr<ActiveJob>& a,
                                        const std::shared_ptr<ActiveJob>& b) const {
  if (a->record.cancel_requested != b->record.cancel_requested) return a->record.cancel_requested;
  if (a->record.priority != b->record.priority) return a->record.priority > b->record.priority;
  return a->key < b->key;
}

JobManager::JobManager(JobManagerOptions options, store::Store* store, JobPlanner planner,
                       JobRunner runner, JobMetrics metrics)
    : options_(std::move(options)),
      store_(store),
      planner_(std::move(planner)),
      runner_(std::move(runner)),
      metrics_(std::move(metrics)),
      watchers_(std::make_shared<WatcherCount>()) {}

JobManager::~JobManager() {
  Drain(steady_clock::now() + std::chrono::hours(24 * 365)).IgnoreError();
  for (std::thread& worker : workers_) worker.join();
}

// ----- Taking jobs up and in. -----

absl::Status JobManager::Start() {
  std::vector<StoredJob> stored;
  int64_t ended = 0;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::vector<StoredJob>> jobs = store::LoadActiveJobs(connection);
    if (!jobs.ok()) return jobs.status();
    stored = std::move(*jobs);
    absl::StatusOr<int64_t> count = store::CountEndedJobs(connection);
    if (count.ok()) ended = *count;
    return count.status();
  });
  if (!status.ok()) return status;
  {
    MutexLock lock(mutex_);
    if (started_) return absl::FailedPreconditionError("the job manager was started before");
    started_ = true;
    ended_jobs_ = ended;
  }
  // Parents first: the cells of one that ends here go with it.
  const auto cells = std::stable_partition(stored.begin(), stored.end(), [](const StoredJob& job) {
    return job.record.parent_id.empty();
  });
  std::vector<StoredJob> cell_jobs(std::make_move_iterator(cells),
                                   std::make_move_iterator(stored.end()));
  stored.erase(cells, stored.end());
  status = TakeUpAll(std::move(stored));
  if (status.ok()) status = store_->database().Write(store::DeleteOrphans);
  if (status.ok()) {
    std::set<std::string> sweeps;
    {
      MutexLock lock(mutex_);
      for (const auto& [id, job] : active_) sweeps.insert(id);
    }
    std::erase_if(cell_jobs,
                  [&](const StoredJob& job) { return !sweeps.contains(job.record.parent_id); });
  }
  if (status.ok()) status = TakeUpAll(std::move(cell_jobs));
  if (!status.ok()) return status;
  for (int i = 0; i < options_.num_workers; ++i) workers_.emplace_back([this] { WorkerLoop(); });
  for (int i = 0; i < options_.max_running_sweeps; ++i) {
    workers_.emplace_back([this] { SweepLoop(); });
  }
  return absl::OkStatus();
}

absl::Status JobManager::TakeUpAll(std::vector<StoredJob> stored) {
  for (StoredJob& each : stored) {
    std::vector<JobEvent> events;
    absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
      absl::StatusOr<std::vector<JobEvent>> found = store::LoadEvents(connection, each.key);
      if (!found.ok()) return found.status();
      events = *std::move(found);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    auto job = std::make_shared<ActiveJob>();
    job->key = each.key;
    job->record = std::move(each.record);
    const int64_t last_number =
        std::max(each.reserved_event_number, job->record.latest_event_number);
    job->log =
        std::make_shared<EventLog>(std::move(events), last_number, options_.max_events_per_job);
    job->queued_since = job->record.create_time;
    status = TakeUp(job);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status JobManager::TakeUp(const std::shared_ptr<ActiveJob>& job) {
  {
    MutexLock lock(mutex_);
    active_[job->record.id] = job;
  }
  JobRecord next = job->record;
  const bool was_running = next.state == JobState::kRunning;
  if (was_running) {
    next.state = JobState::kQueued;
    // A sweep only waits; what its cells did is counted with them.
    if (!IsSweep(next)) ++next.crash_count;
    const std::string message =
        next.checkpoint_sha256.empty()
            ? "the server was restarted; starts from the beginning"
            : absl::StrCat("the server was restarted; goes on from the checkpoint of ",
                           UnitOf(next), next.checkpoint_iteration);
    absl::Status status = CommitState(job, next, message, {});
    if (!status.ok()) return status;
    job->queued_since = store::Now();
  }
  if (next.cancel_requested && !MustRunToEnd(next)) {
    return End(job, next, JobState::kCancelled, "cancelled before there was an iterate");
  }
  if (next.crash_count > options_.max_crashes) {
    next.error = JobError{absl::StatusCode::kAborted,
                          absl::StrCat("the server died ", next.crash_count,
                                       " times in a row while this job ran; it is taken for the "
                                       "cause")};
    return End(job, next, JobState::kFailed, next.error->message);
  }
  if (next.predicted_cost.peak_memory_bytes > options_.memory_budget_bytes) {
    next.error = JobError{absl::StatusCode::kResourceExhausted,
                          absl::StrCat("needs ", next.predicted_cost.peak_memory_bytes,
                                       " bytes, the restarted server's memory budget is only ",
                                       options_.memory_budget_bytes, " bytes")};
    return End(job, next, JobState::kFailed, next.error->message);
  }
  MutexLock lock(mutex_);
  job->phase = Phase::kQueued;
  Enqueue(job);
  return absl::OkStatus();
}

void JobManager::Enqueue(const std::shared_ptr<ActiveJob>& job) {
  if (IsSweep(job->record)) {
    sweeps_.insert(job);
    sweeps_changed_.NotifyOne();
  } else {
    queue_.insert(job);
    queue_changed_.NotifyOne();
  }
}

bool JobManager::Dequeue(const std::shared_ptr<ActiveJob>& job) {
  return (IsSweep(job->record) ? sweeps_ : queue_).erase(job) > 0;
}

absl::Status JobManager::End(const std::shared_ptr<ActiveJob>& job, JobRecord record,
                             JobState state, const std::string& message) {
  record.state = state;
  record.end_time = store::Now();
  record.checkpoint_sha256.clear();
  return CommitState(job, std::move(record), message, {});
}

absl::StatusOr<JobRecord> JobManager::Create(const CreateJobRequest& request) {
  bool accepts = false;
  {
    MutexLock lock(mutex_);
    accepts = started_ && !draining_;
  }
  if (!accepts) return Stopping();
  absl::Status status = store::ValidateRequestId(request.identity.request_id);
  if (status.ok() && !request.identity.id.empty()) {
    status = store::ValidateId(request.identity.id, "job_id");
  }
  if (!status.ok()) return status;
  // Before the validation: what was accepted once is accepted again.
  if (!request.identity.request_id.empty() && !request.validate_only) {
    absl::StatusOr<std::optional<JobRecord>> earlier = FindEarlier(request.identity);
    if (!earlier.ok()) return earlier.status();
    if (earlier->has_value()) return **earlier;
  }
  absl::StatusOr<JobRecord> record = Validate(request);
  if (!record.ok()) return record.status();
  if (request.validate_only) {
    // With a request id the id may be its own.
    if (request.identity.request_id.empty()) {
      status = FindEarlier(request.identity).status();
      if (!status.ok()) return status;
    }
    return record;
  }
  return Insert(request, std::move(*record));
}

absl::StatusOr<std::optional<JobRecord>> JobManager::FindEarlier(
    const store::CreateIdentity& identity) {
  std::optional<JobRecord> record;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<StoredJob>> found = store::FindEarlierJob(connection, identity);
    if (!found.ok()) return found.status();
    if (found->has_value()) record = std::move((*found)->record);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return record;
}

absl::StatusOr<JobRecord> JobManager::Validate(const CreateJobRequest& request) {
  absl::Status status = store::ValidateLabels(request.labels);
  if (!status.ok()) return status;
  if (request.priority < -kMaxPriority || request.priority > kMaxPriority) {
    return InvalidField("priority", absl::StrCat("is ", request.priority, ", must be in -",
                                                 kMaxPriority, " to ", kMaxPriority));
  }
  if (request.time_limit_seconds.has_value() &&
      !(*request.time_limit_seconds > 0 && *request.time_limit_seconds <= kMaxTimeLimitSeconds)) {
    return InvalidField("time_limit",
                        absl::StrCat("must be more than 0 and at most ", kMaxTimeLimitSeconds,
                                     " seconds; leave it out for the server's default"));
  }
  absl::StatusOr<JobCost> cost = planner_(request.spec);
  if (!cost.ok()) return cost.status();
  if (cost->peak_memory_bytes > options_.memory_budget_bytes) {
    return WithQuota(
        WithReason(absl::ResourceExhaustedError(absl::StrCat(
                       "the job needs about ", cost->peak_memory_bytes,
                       " bytes at its peak, more than the server's memory budget of ",
                       options_.memory_budget_bytes,
                       " bytes, so it can never run here; use fewer samples or a smaller "
                       "hidden_width, or a server with a larger --memory_budget")),
                   store::kReasonMemoryBudget),
        "memory_budget_bytes");
  }
  JobRecord record;
  record.id = request.identity.id;
  record.spec = request.spec;
  record.priority = request.priority;
  record.labels = request.labels;
  record.time_limit_seconds = request.time_limit_seconds;
  record.create_time = store::Now();
  record.predicted_cost = *cost;
  record.parent_id = request.identity.parent;
  record.cell = request.cell;
  record.discard_model = request.discard_model;
  return record;
}

absl::StatusOr<JobRecord> JobManager::Insert(const CreateJobRequest& request, JobRecord record) {
  if (record.id.empty()) record.id = store::MakeId('j');
  {
    MutexLock lock(mutex_);
    if (draining_) return Stopping();
    if (static_cast<int64_t>(queue_.size() + sweeps_.size()) + inserting_ >=
        options_.max_queued_jobs) {
      return WithRetryAfter(WithReason(absl::ResourceExhaustedError(absl::StrCat(
                                           "the queue is full with ", options_.max_queued_jobs,
                                           " jobs; try again when some have run")),
                                       store::kReasonQueueFull),
                            kQueueRetryDelay);
    }
    ++inserting_;
  }
  record.latest_event_number = 1;
  JobEvent event;
  event.number = 1;
  event.time = record.create_time;
  event.event = StateChange{.state = JobState::kQueued, .message = "created"};
  event.job = std::make_shared<const JobRecord>(record);

  std::optional<JobRecord> earlier;
  int64_t key = 0;
  const absl::Status status = store_->database().Write([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<StoredJob>> found =
        store::FindEarlierJob(connection, request.identity);
    if (!found.ok()) return found.status();
    if (found->has_value()) {
      earlier = std::move((*found)->record);
      return absl::OkStatus();
    }
    absl::StatusOr<int64_t> inserted =
        store::InsertJob(connection, request.identity, record, event);
    if (inserted.ok()) key = *inserted;
    return inserted.status();
  });

  MutexLock lock(mutex_);
  --inserting_;
  if (!status.ok()) return status;
  if (earlier.has_value()) return *earlier;
  auto job = std::make_shared<ActiveJob>();
  job->key = key;
  job->record = record;
  job->queued_since = record.create_time;
  job->log = std::make_shared<EventLog>(std::vector<JobEvent>{std::move(event)}, 1,
                                        options_.max_events_per_job);
  if (draining_) {
    job->phase = Phase::kStopped;
    job->log->StopServing();
  } else {
    Enqueue(job);
  }
  active_[record.id] = std::move(job);
  ++generation_;
  active_changed_.NotifyAll();
  return record;
}

// ----- Reading. -----

JobRecord JobManager::Snapshot(const ActiveJob& job) const {
  JobRecord record = job.record;
  if (std::optional<JobProgress> progress = job.log->latest_progress()) {
    record.progress = *progress;
  }
  record.latest_event_number = std::max(record.latest_event_number, job.log->latest_number());
  return record;
}

absl::StatusOr<JobRecord> JobManager::Get(std::string_view id) {
  std::optional<StoredJob> job;
  {
    MutexLock lock(mutex_);
    const auto found = active_.find(id);
    if (found != active_.end()) {
      job = StoredJob{.key = found->second->key, .record = Snapshot(*found->second)};
    }
  }
  if (!job) {
    absl::StatusOr<StoredJob> stored = ReadStored(id);
    if (!stored.ok()) return stored.status();
    job = *std::move(stored);
  }
  if (IsSweep(job->record)) {
    const absl::Status status = AddRows(job->key, job->record);
    if (!status.ok()) return status;
  }
  return std::move(job->record);
}

absl::Status JobManager::AddRows(int64_t key, JobRecord& sweep) {
  SweepReport report;
  report.cells_total = NumCells(std::get<SweepSpec>(sweep.spec));
  if (sweep.report) {
    report = std::get<SweepReport>(*std::move(sweep.report));
  } else if (sweep.progress) {
    const auto& progress = std::get<SweepProgress>(*sweep.progress);
    report = {.cells_total = progress.cells_total,
              .cells_done = progress.cells_done,
              .cells_failed = progress.cells_failed,
              .elapsed_seconds = progress.elapsed_seconds};
  }
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::vector<SweepCell>> rows = store::LoadCells(connection, key);
    if (!rows.ok()) return rows.status();
    report.rows = *std::move(rows);
    return absl::OkStatus();
  });
  sweep.report = std::move(report);
  return status;
}

absl::StatusOr<StoredJob> JobManager::ReadStored(std::string_view id) {
  StoredJob job;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<StoredJob> found = store::FindJob(connection, id);
    if (!found.ok()) return found.status();
    job = std::move(*found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return job;
}

absl::StatusOr<store::Page<JobRecord>> JobManager::List(const store::ListRequest& request) {
  store::Page<StoredJob> stored;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<store::Page<StoredJob>> found = store::ListJobs(connection, request);
    if (!found.ok()) return found.status();
    stored = std::move(*found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  store::Page<JobRecord> page;
  page.next_page_token = std::move(stored.next_page_token);
  MutexLock lock(mutex_);
  for (StoredJob& job : stored.records) {
    // The progress of jobs that run is newer in memory. Their state is the list's, which
    // the filter has seen.
    const auto found = active_.find(job.record.id);
    const bool newer = found != active_.end() && found->second->key == job.key &&
                       found->second->record.state == job.record.state;
    page.records.push_back(newer ? Snapshot(*found->second) : std::move(job.record));
  }
  return page;
}

absl::StatusOr<std::shared_ptr<JobManager::ActiveJob>> JobManager::FindActive(std::string_view id,
                                                                              StoredJob* ended) {
  for (;;) {
    int64_t generation = 0;
    {
      MutexLock lock(mutex_);
      const auto found = active_.find(id);
      if (found != active_.end()) return found->second;
      generation = generation_;
    }
    absl::StatusOr<StoredJob> stored = ReadStored(id);
    if (!stored.ok()) return stored.status();
    if (IsEnded(stored->record.state)) {
      *ended = std::move(*stored);
      return nullptr;
    }
    // Committed, but its creator has not come to put it into the queue: wait for that.
    MutexLock lock(mutex_);
    while (generation_ == generation) active_changed_.Wait(mutex_);
  }
}

// ----- Cancelling and deleting. -----

absl::StatusOr<JobRecord> JobManager::Cancel(std::string_view id) {
  StoredJob ended;
  absl::StatusOr<std::shared_ptr<ActiveJob>> found = FindActive(id, &ended);
  if (!found.ok()) return found.status();
  const std::shared_ptr<ActiveJob> job = *found;
  if (job == nullptr) return std::move(ended.record);

  bool is_running = false;
  JobRecord queued;
  {
    MutexLock lock(mutex_);
    // Another one cancels it: wait for that, then tell what came out.
    while (job->phase == Phase::kCancelling) active_changed_.Wait(mutex_);
    if (IsEnded(job->record.state)) return Snapshot(*job);
    if (job->phase == Phase::kQueued && !MustRunToEnd(job->record)) {
      Dequeue(job);
      job->phase = Phase::kCancelling;
      queued = job->record;
    } else {
      // It runs, or it waits and must run to its end: it goes to the front then.
      is_running = true;
      const bool waits = Dequeue(job);
      job->record.cancel_requested = true;
      if (waits) Enqueue(job);
    }
  }
  if (is_running) {
    job->stop.request_stop();  // outside the lock: callbacks of the token run here
    absl::Status status = store_->database().Write(
        [&](Connection& connection) { return store::RequestCancel(connection, job->key); });
    if (!status.ok()) return status;
    MutexLock lock(mutex_);
    return Snapshot(*job);
  }
  queued.cancel_requested = true;
  absl::Status status = End(job, queued, JobState::kCancelled, "cancelled before it started");
  MutexLock lock(mutex_);
  if (!status.ok()) {
    job->phase = Phase::kQueued;
    if (!draining_) Enqueue(job);
  } else {
    job->phase = Phase::kStopped;
    queue_changed_.NotifyOne();  // the head may be another one now
  }
  active_changed_.NotifyAll();
  if (!status.ok()) return status;
  return Snapshot(*job);
}

absl::Status JobManager::Delete(std::string_view id) {
  std::vector<std::string> blobs;
  absl::Status status = store_->database().Write([&](Connection& connection) -> absl::Status {
    absl::StatusOr<StoredJob> job = store::FindJob(connection, id);
    if (!job.ok()) return job.status();
    if (!IsEnded(job->record.state)) {
      return WithReason(absl::FailedPreconditionError(absl::StrCat(
                            "jobs/", job->record.id, " has not ended; cancel it first, or wait")),
                        store::kReasonJobActive);
    }
    absl::StatusOr<std::vector<std::string>> found = store::BlobsOf(connection, job->key);
    if (!found.ok()) return found.status();
    blobs = std::move(*found);
    return store::DeleteRecord(connection, job->key);
  });
  if (!status.ok()) return status;
  for (const std::string& blob : blobs) CollectBlob(blob);
  MutexLock lock(mutex_);
  --ended_jobs_;
  const auto log = ended_logs_.find(id);
  if (log != ended_logs_.end()) ended_logs_.erase(log);
  return absl::OkStatus();
}

void JobManager::CollectBlob(const std::string& sha256) {
  if (sha256.empty()) return;
  // What stays by a failure here is removed at the next start.
  store::CollectBlob(store_->database(), store_->blobs(), sha256).IgnoreError();
}

// ----- Watching. -----

absl::StatusOr<std::shared_ptr<EventSubscription>> JobManager::Watch(
    std::string_view id, int64_t after_event_number, std::function<void()> on_ready) {
  if (after_event_number < 0) {
    return InvalidField("after_event_number", "must not be negative");
  }
  StoredJob ended;
  absl::StatusOr<std::shared_ptr<ActiveJob>> active = FindActive(id, &ended);
  if (!active.ok()) return active.status();
  std::shared_ptr<EventLog> log;
  int64_t last_number = 0;
  if (*active != nullptr) {
    log = (*active)->log;
    last_number = log->NextNumber() - 1;
  } else {
    absl::StatusOr<std::shared_ptr<EventLog>> ended_log = LogOfEnded(ended);
    if (!ended_log.ok()) return ended_log.status();
    log = std::move(*ended_log);
    last_number = ended.record.latest_event_number;
  }
  if (after_event_number > last_number) {
    return InvalidField(
        "after_event_number",
        absl::StrCat("is ", after_event_number, ", the job's latest event is ", last_number));
  }
  MutexLock lock(mutex_);
  if (draining_) return Stopping();
  if (watchers_->open >= options_.max_watchers ||
      log->num_watchers() >= options_.max_watchers_per_job) {
    return WithRetryAfter(
        WithReason(absl::ResourceExhaustedError(
                       absl::StrCat("too many watchers: at most ", options_.max_watchers_per_job,
                                    " of one job and ", options_.max_watchers, " in all")),
                   store::kReasonTooManyWatchers),
        kQueueRetryDelay);
  }
  return log->Subscribe(after_event_number, std::move(on_ready), watchers_,
                        metrics_.events_thinned);
}

absl::StatusOr<std::shared_ptr<EventLog>> JobManager::LogOfEnded(const StoredJob& job) {
  {
    MutexLock lock(mutex_);
    std::erase_if(ended_logs_, [](const auto& entry) { return entry.second.expired(); });
    const auto found = ended_logs_.find(job.record.id);
    if (found != ended_logs_.end()) {
      if (std::shared_ptr<EventLog> log = found->second.lock()) return log;
    }
  }
  std::vector<JobEvent> events;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::vector<JobEvent>> found = store::LoadEvents(connection, job.key);
    if (!found.ok()) return found.status();
    events = std::move(*found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  auto log = std::make_shared<EventLog>(std::move(events), job.record.latest_event_number,
                                        options_.max_events_per_job);
  log->End();
  MutexLock lock(mutex_);
  ended_logs_[job.record.id] = log;
  return log;
}

// ----- Running. -----

void JobManager::WorkerLoop() {
  const auto head_fits = [this]() THRESHER_REQUIRES(mutex_) {
    return !queue_.empty() &&
           memory_reserved_ + (*queue_.begin())->record.predicted_cost.peak_memory_bytes <=
               options_.memory_budget_bytes;
  };
  for (;;) {
    std::shared_ptr<ActiveJob> job;
    {
      MutexLock lock(mutex_);
      while (!draining_ && !head_fits()) queue_changed_.Wait(mutex_);
      if (draining_) return;
      job = *queue_.begin();
      queue_.erase(queue_.begin());
      job->phase = Phase::kRunning;
      memory_reserved_ += job->record.predicted_cost.peak_memory_bytes;
      ++workers_busy_;
      if (head_fits()) queue_changed_.NotifyOne();
    }
    RunJob(job);
    {
      MutexLock lock(mutex_);
      memory_reserved_ -= job->record.predicted_cost.peak_memory_bytes;
      --workers_busy_;
      queue_changed_.NotifyAll();
      active_changed_.NotifyAll();
    }
  }
}

// Waits for its cells most of the time, which is why it is no worker.
void JobManager::SweepLoop() {
  for (;;) {
    std::shared_ptr<ActiveJob> job;
    {
      MutexLock lock(mutex_);
      while (!draining_ && sweeps_.empty()) sweeps_changed_.Wait(mutex_);
      if (draining_) return;
      job = *sweeps_.begin();
      sweeps_.erase(sweeps_.begin());
      job->phase = Phase::kRunning;
      ++sweeps_busy_;
    }
    RunJob(job);
    MutexLock lock(mutex_);
    --sweeps_busy_;
    active_changed_.NotifyAll();
  }
}

void JobManager::RunJob(const std::shared_ptr<ActiveJob>& job) {
  if (!BeginAttempt(job)) return;
  const auto start = steady_clock::now();
  absl::StatusOr<JobOutcome> outcome = CallRunner(job);
  if (metrics_.job_ran) {
    JobSpec spec;
    {
      MutexLock lock(mutex_);
      spec = job->record.spec;
    }
    metrics_.job_ran(spec, SecondsSince(start));
  }
  EndAttempt(job, std::move(outcome));
}

bool JobManager::BeginAttempt(const std::shared_ptr<ActiveJob>& job) {
  JobRecord next;
  double waited = 0;
  {
    MutexLock lock(mutex_);
    next = job->record;
    job->last_checkpoint = steady_clock::now();
    // Cancelled, but only the solver can take the iterate out of the checkpoint.
    if (next.cancel_requested) job->stop.request_stop();
    waited = SecondsSince(job->queued_since);
  }
  if (metrics_.job_waited) metrics_.job_waited(waited);
  next.state = JobState::kRunning;
  next.start_time = store::Now();
  ++next.attempt_count;
  const std::string message = next.checkpoint_sha256.empty()
                                  ? "started"
                                  : absl::StrCat("resumed from the checkpoint of ", UnitOf(next),
                                                 next.checkpoint_iteration);
  return CommitStateUntilDone(job, next, message, nullptr);
}

absl::StatusOr<JobOutcome> JobManager::CallRunner(const std::shared_ptr<ActiveJob>& job) {
  JobRun run;
  {
    MutexLock lock(mutex_);
    run.job = job->record;
    run.stop = job->stop.get_token();
  }
  if (!run.job.checkpoint_sha256.empty()) {
    absl::StatusOr<std::string> checkpoint = store_->blobs().Get(run.job.checkpoint_sha256);
    if (!checkpoint.ok()) return checkpoint.status();
    run.checkpoint = std::move(*checkpoint);
  }
  run.num_threads = options_.threads_per_job;
  run.time_limit_seconds = run.job.time_limit_seconds.value_or(
      IsSweep(run.job) ? 0 : options_.default_time_limit_seconds);
  if (IsSweep(run.job)) run.cells = CellsOf(job);
  auto checkpoint_time = steady_clock::now();
  run.on_iteration = [this, job](const JobProgress& progress) {
    bool reservation_low = false;
    job->log->AppendProgress(store::Now(), progress, &reservation_low);
    if (reservation_low) ReserveEventNumbers(job);
  };
  run.checkpoint_due = [this, &checkpoint_time](const JobProgress&) {
    return steady_clock::now() - checkpoint_time >= options_.checkpoint_interval;
  };
  run.on_checkpoint = [this, job, &checkpoint_time](const std::string& checkpoint) {
    WriteCheckpoint(job, checkpoint);
    checkpoint_time = steady_clock::now();
  };
  return RunGuarded(runner_, run);
}

// ----- The cells of sweeps. -----

SweepCells JobManager::CellsOf(const std::shared_ptr<ActiveJob>& sweep) {
  SweepCells cells;
  cells.begin = [this, sweep] { return BeginCells(sweep); };
  cells.start = [this, sweep](const SweepCell& cell, const JobSpec& spec) {
    CreateJobRequest request;
    {
      MutexLock lock(mutex_);
      const JobRecord& parent = sweep->record;
      const auto& about = std::get<SweepSpec>(parent.spec);
      request.identity.parent = parent.id;
      request.priority = parent.priority;
      request.labels = parent.labels;
      request.time_limit_seconds = about.cell_time_limit_seconds;
      request.discard_model = !about.keep_models;
    }
    request.spec = spec;
    request.cell = cell;
    return Create(request).status();
  };
  cells.record = [this, sweep](const SweepCell& row) { return RecordCell(sweep, row); };
  cells.wait = [this, sweep](steady_clock::time_point deadline) {
    return WaitForCells(sweep, deadline);
  };
  cells.cancel = [this, sweep] { return CancelCells(sweep); };
  cells.cancelled = [this, sweep] {
    MutexLock lock(mutex_);
    return sweep->record.cancel_requested;
  };
  // The workers never wait for the sweep's thread, and others' jobs wait behind few cells.
  cells.max_active = 2 * options_.num_workers;
  return cells;
}

std::vector<std::shared_ptr<JobManager::ActiveJob>> JobManager::ActiveCells(
    std::string_view sweep_id) const {
  std::vector<std::shared_ptr<ActiveJob>> cells;
  for (const auto& [id, job] : active_) {
    if (job->record.parent_id == sweep_id) cells.push_back(job);
  }
  return cells;
}

absl::StatusOr<SweepCells::SoFar> JobManager::BeginCells(const std::shared_ptr<ActiveJob>& sweep) {
  // The jobs first: a cell that ends meanwhile is then in both lists, never in none.
  std::set<int64_t> active;
  {
    MutexLock lock(mutex_);
    sweep->ended_cells.clear();  // they have rows
    for (const std::shared_ptr<ActiveJob>& cell : ActiveCells(sweep->record.id)) {
      if (cell->record.cell) active.insert(cell->record.cell->cell);
    }
  }
  SweepCells::SoFar so_far;
  absl::Status status = store_->database().Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::vector<SweepCell>> rows = store::LoadCells(connection, sweep->key);
    if (!rows.ok()) return rows.status();
    for (const SweepCell& row : *rows) {
      so_far.ended.push_back({.cell = row.cell, .failed = row.state == JobState::kFailed});
      active.erase(row.cell);
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  so_far.active.assign(active.begin(), active.end());
  return so_far;
}

absl::Status JobManager::RecordCell(const std::shared_ptr<ActiveJob>& sweep, const SweepCell& row) {
  absl::Status status = store_->database().Write(
      [&](Connection& connection) { return store::AddCell(connection, sweep->key, row); });
  if (!status.ok()) return status;
  MutexLock lock(mutex_);
  sweep->ended_cells.push_back({.cell = row.cell, .failed = row.state == JobState::kFailed});
  return status;
}

std::vector<EndedCell> JobManager::WaitForCells(const std::shared_ptr<ActiveJob>& sweep,
                                                steady_clock::time_point deadline) {
  const std::stop_token stop = sweep->stop.get_token();
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mutex_);
    active_changed_.NotifyAll();
  });
  MutexLock lock(mutex_);
  while (sweep->ended_cells.empty() && !stop.stop_requested()) {
    if (!active_changed_.WaitUntil(mutex_, deadline)) break;
  }
  return std::exchange(sweep->ended_cells, {});
}

void JobManager::CancelCells(const std::shared_ptr<ActiveJob>& sweep) {
  for (;;) {
    std::vector<std::string> ids;
    {
      MutexLock lock(mutex_);
      if (draining_) return;
      for (const auto& cell : ActiveCells(sweep->record.id)) ids.push_back(cell->record.id);
    }
    absl::Status failed;
    for (const std::string& id : ids) {
      const absl::Status status = Cancel(id).status();
      if (!status.ok() && !absl::IsNotFound(status)) failed = status;
    }
    if (!failed.ok() && metrics_.store_failed) metrics_.store_failed(failed);
    MutexLock lock(mutex_);
    if (failed.ok()) {
      while (!draining_ && !ActiveCells(sweep->record.id).empty()) active_changed_.Wait(mutex_);
      return;
    }
    if (!draining_) drain_began_.WaitUntil(mutex_, steady_clock::now() + kStoreRetryInterval);
  }
}

void JobManager::ReserveEventNumbers(const std::shared_ptr<ActiveJob>& job) {
  const std::shared_ptr<EventLog> log = job->log;
  const int64_t key = job->key;
  const int64_t up_to = log->NextNumber() + kReservedBlock;
  store_->database().WriteLater(
      [key, up_to](Connection& connection) {
        return store::ReserveEventNumbers(connection, key, up_to);
      },
      // After a failure the log asks again.
      [log, up_to](const absl::Status& status) { log->Reserve(status.ok() ? up_to : 0); });
}

void JobManager::WriteCheckpoint(const std::shared_ptr<ActiveJob>& job,
                                 const std::string& checkpoint) {
  JobRecord next;
  {
    MutexLock lock(mutex_);
    next = job->record;
  }
  const std::string old_sha256 = next.checkpoint_sha256;
  next.progress = job->log->latest_progress();
  next.checkpoint_iteration = next.progress.has_value() ? IterationOf(*next.progress) : 0;
  next.crash_count = 0;
  absl::StatusOr<store::BlobPin> blob = store_->blobs().Put(checkpoint);
  absl::Status status = blob.status();
  if (status.ok()) {
    next.checkpoint_sha256 = blob->sha256();
    status = CommitRecord(job, next);
  }
  if (!status.ok()) {
    // The solve goes on: the checkpoint before stays, the next one may succeed.
    if (metrics_.store_failed) metrics_.store_failed(status);
    return;
  }
  {
    MutexLock lock(mutex_);
    job->record.progress = next.progress;
    job->record.checkpoint_sha256 = next.checkpoint_sha256;
    job->record.checkpoint_iteration = next.checkpoint_iteration;
    job->record.crash_count = 0;
    job->last_checkpoint = steady_clock::now();
  }
  if (metrics_.checkpoint_written) {
    metrics_.checkpoint_written(static_cast<int64_t>(checkpoint.size()));
  }
  if (old_sha256 != next.checkpoint_sha256) CollectBlob(old_sha256);
}

void JobManager::EndAttempt(const std::shared_ptr<ActiveJob>& job,
                            absl::StatusOr<JobOutcome> outcome) {
  JobRecord next;
  bool draining = false;
  {
    MutexLock lock(mutex_);
    next = job->record;
    draining = draining_;
  }
  const bool stopped = outcome.ok()
                           ? TerminationReasonOf(outcome->report) == TerminationReason::kCancelled
                           : absl::IsCancelled(outcome.status());
  if (stopped && !next.cancel_requested && draining) {
    Requeue(job, next, outcome.ok() ? std::move(outcome->checkpoint) : std::string());
    return;
  }
  // However it ends: cells must not outlive it.
  if (IsSweep(next)) CancelCells(job);
  std::string message;
  const JobOutcome* kept = nullptr;
  if (stopped && next.cancel_requested) {
    next.state = JobState::kCancelled;
    message = "cancelled before there was an iterate";
    if (IsSweep(next) && outcome.ok()) message = "cancelled; " + EndMessage(outcome->report);
    if (outcome.ok() && outcome->model.has_value()) {
      message = absl::StrCat("cancelled after ", IterationsOf(outcome->report),
                             " iterations; the best iterate is kept");
    }
  } else if (!outcome.ok()) {
    next.state = JobState::kFailed;
    next.error = JobError{.code = outcome.status().code(),
                          .message = std::string(outcome.status().message())};
    message = next.error->message;
  } else {
    next.state = JobState::kSucceeded;
    message = EndMessage(outcome->report);
  }
  if (outcome.ok()) {
    if (outcome->model.has_value() && !next.discard_model) kept = &*outcome;
    if (outcome->model.has_value() || IsSweep(next) || next.state == JobState::kSucceeded) {
      next.report = outcome->report;
    }
  }
  next.end_time = store::Now();
  next.checkpoint_sha256.clear();
  next.progress = job->log->latest_progress();
  CommitStateUntilDone(job, next, message, kept);
}

void JobManager::Requeue(const std::shared_ptr<ActiveJob>& job, JobRecord next,
                         const std::string& checkpoint) {
  next.state = JobState::kQueued;
  next.progress = job->log->latest_progress();
  store::BlobPin pin;
  if (!checkpoint.empty()) {
    absl::StatusOr<store::BlobPin> blob = store_->blobs().Put(checkpoint);
    if (blob.ok()) {
      pin = std::move(*blob);
      next.checkpoint_sha256 = pin.sha256();
      next.checkpoint_iteration = next.progress.has_value() ? IterationOf(*next.progress) : 0;
      if (metrics_.checkpoint_written) metrics_.checkpoint_written(pin.size());
    } else if (metrics_.store_failed) {
      metrics_.store_failed(blob.status());  // it goes on from the checkpoint before
    }
  }
  next.crash_count = 0;
  const std::string message =
      next.checkpoint_sha256.empty()
          ? "the server stops; starts again from the beginning"
          : absl::StrCat("the server stops; the checkpoint of ", UnitOf(next),
                         next.checkpoint_iteration, " is kept");
  CommitStateUntilDone(job, next, message, nullptr);
}

// ----- Committing. -----

absl::Status JobManager::CommitRecord(const std::shared_ptr<ActiveJob>& job,
                                      const JobRecord& record) {
  EventLog::Unsaved unsaved = job->log->TakeUnsaved();
  const int64_t reserved = unsaved.up_to_number + kReservedBlock;
  absl::Status status = store_->database().Write([&](Connection& connection) {
    return store::WriteJob(connection, {.key = job->key,
                                        .record = &record,
                                        .events = &unsaved.events,
                                        .replace_events = unsaved.replace_all,
                                        .reserved_event_number = reserved});
  });
  if (status.ok()) {
    job->log->Reserve(reserved);
  } else {
    job->log->MarkUnsaved();
  }
  return status;
}

// The job's model, then the points of its path.
absl::StatusOr<std::vector<store::PreparedModel>> JobManager::PrepareModels(
    const JobRecord& record, const JobOutcome* outcome) {
  std::vector<store::PreparedModel> models;
  if (outcome == nullptr) return models;
  const auto prepare = [&](const Model& model, const std::optional<JobReport>& report) {
    absl::StatusOr<store::PreparedModel> prepared = store_->models().Prepare(model);
    if (!prepared.ok()) return prepared.status();
    store::ModelRecord& about = prepared->record;
    about.job_id = record.id;
    about.dataset_id = store::DatasetIdOf(record.spec);
    const auto sha256 = model.metadata.find("dataset_sha256");
    if (sha256 != model.metadata.end()) about.dataset_sha256 = sha256->second;
    about.spec = record.spec;
    about.report = report;
    about.program_version = options_.program_version;
    about.labels = record.labels;
    models.push_back(*std::move(prepared));
    return absl::OkStatus();
  };
  absl::Status status = prepare(*outcome->model, record.report);
  for (size_t k = 0; status.ok() && k < outcome->points.size(); ++k) {
    status = prepare(outcome->points[k].model, outcome->points[k].report);
  }
  if (!status.ok()) return status;
  return models;
}

// Inside a write. The ids are left in the record and its report.
absl::Status JobManager::InsertModels(Connection& connection,
                                      std::span<store::PreparedModel> models, JobRecord& record) {
  if (models.empty()) return absl::OkStatus();
  for (size_t k = 1; k < models.size(); ++k) {
    PruningPathPoint& point = std::get<PruningReport>(*record.report).model->path[k - 1];
    absl::StatusOr<std::string> id = store_->models().Insert(
        connection, models[k].record, absl::StrCat(record.id, "-", point.budget));
    if (!id.ok()) return id.status();
    point.model_id = *std::move(id);
  }
  models.front().record.report = record.report;
  absl::StatusOr<std::string> id =
      store_->models().Insert(connection, models.front().record, record.id);
  if (!id.ok()) return id.status();
  record.model_id = *std::move(id);
  return absl::OkStatus();
}

absl::Status JobManager::CommitState(const std::shared_ptr<ActiveJob>& job, JobRecord record,
                                     const std::string& message,
                                     std::span<store::PreparedModel> models) {
  const bool ends = IsEnded(record.state);
  const bool becomes_row = ends && !record.parent_id.empty();
  std::string old_checkpoint;
  int64_t surplus = 0;
  {
    MutexLock lock(mutex_);
    if (!IsLegalTransition(job->record.state, record.state)) {
      return absl::InternalError(absl::StrCat("job ", record.id, " cannot go from ",
                                              std::string(JobStateName(job->record.state)), " to ",
                                              std::string(JobStateName(record.state))));
    }
    if (job->record.checkpoint_sha256 != record.checkpoint_sha256) {
      old_checkpoint = job->record.checkpoint_sha256;
    }
    if (ends && !becomes_row) surplus = ended_jobs_ + 1 - options_.max_retained_jobs;
  }
  const EventLog::Unsaved unsaved = job->log->TakeUnsaved();
  JobEvent event;
  event.number = unsaved.up_to_number + 1;
  event.time = store::Now();
  event.event = StateChange{.state = record.state, .message = message};
  record.latest_event_number = event.number;
  const int64_t reserved =
      record.state == JobState::kRunning ? event.number + kReservedBlock : event.number;

  int64_t deleted = 0;
  absl::Status status = store_->database().Write([&](Connection& connection) -> absl::Status {
    if (absl::Status inserted = InsertModels(connection, models, record); !inserted.ok()) {
      return inserted;
    }
    event.job = std::make_shared<const JobRecord>(record);
    if (becomes_row) {
      absl::StatusOr<StoredJob> sweep = store::FindJob(connection, record.parent_id);
      absl::Status added = sweep.status();
      if (added.ok()) added = store::AddCell(connection, sweep->key, store::RowOf(record));
      // Without its sweep there is no table that wants the row.
      if (!added.ok() && !absl::IsNotFound(sweep.status())) return added;
      return store::DeleteRecord(connection, job->key);
    }
    std::vector<JobEvent> events = unsaved.events;
    events.push_back(event);
    absl::Status written = store::WriteJob(connection, {.key = job->key,
                                                        .record = &record,
                                                        .events = &events,
                                                        .replace_events = unsaved.replace_all,
                                                        .reserved_event_number = reserved});
    if (!written.ok() || surplus <= 0) return written;
    absl::StatusOr<int64_t> count = store::DeleteOldestEndedJobs(connection, surplus, job->key);
    if (count.ok()) deleted = *count;
    return count.status();
  });
  if (!status.ok()) {
    job->log->MarkUnsaved();
    return status;
  }
  {
    MutexLock lock(mutex_);
    // A wish to cancel that came meanwhile stays.
    record.cancel_requested = record.cancel_requested || job->record.cancel_requested;
    job->record = record;
    if (ends) {
      if (becomes_row) {
        const auto sweep = active_.find(record.parent_id);
        if (sweep != active_.end()) {
          sweep->second->ended_cells.push_back(
              {.cell = record.cell->cell, .failed = record.state == JobState::kFailed});
        }
      } else {
        ended_jobs_ += 1 - deleted;
      }
      const auto found = active_.find(record.id);
      if (found != active_.end() && found->second == job) active_.erase(found);
    } else if (record.state == JobState::kQueued) {
      job->phase = Phase::kStopped;
    }
    ++generation_;
    active_changed_.NotifyAll();
  }
  job->log->Reserve(reserved);
  job->log->AppendStateChange(std::move(event));
  if (ends) {
    job->log->End();
    if (metrics_.job_ended) metrics_.job_ended(record.spec, record.state);
  }
  if (!old_checkpoint.empty()) CollectBlob(old_checkpoint);
  return absl::OkStatus();
}

bool JobManager::CommitStateUntilDone(const std::shared_ptr<ActiveJob>& job,
                                      const JobRecord& record, const std::string& message,
                                      const JobOutcome* outcome) {
  for (;;) {
    absl::StatusOr<std::vector<store::PreparedModel>> models = PrepareModels(record, outcome);
    if (absl::IsInvalidArgument(models.status())) {
      JobRecord failed = record;
      failed.state = JobState::kFailed;
      failed.report.reset();
      failed.error = JobError{
          .code = models.status().code(),
          .message = absl::StrCat("the model cannot be stored: ", models.status().message())};
      return CommitStateUntilDone(job, failed, failed.error->message, nullptr);
    }
    absl::Status status = models.status();
    if (status.ok()) status = CommitState(job, record, message, *models);
    if (status.ok()) return true;
    // A full disk, most likely. The job keeps its place until the store works again; when
    // the server stops before, the job is taken up as it was committed last.
    if (metrics_.store_failed) metrics_.store_failed(status);
    MutexLock lock(mutex_);
    if (!draining_) {
      drain_began_.WaitUntil(mutex_, steady_clock::now() + kStoreRetryInterval);
    }
    if (draining_) return false;
  }
}

// ----- Stopping, counting. -----

absl::Status JobManager::Drain(steady_clock::time_point deadline) {
  std::vector<std::stop_source> running;
  {
    MutexLock lock(mutex_);
    draining_ = true;
    for (const auto& [id, job] : active_) {
      if (job->phase == Phase::kRunning) running.push_back(job->stop);
    }
    queue_changed_.NotifyAll();
    sweeps_changed_.NotifyAll();
    active_changed_.NotifyAll();
    drain_began_.NotifyAll();
  }
  // Outside the lock: callbacks of the tokens run here.
  for (std::stop_source& stop : running) stop.request_stop();
  std::vector<std::shared_ptr<EventLog>> logs;
  bool idle = false;
  {
    MutexLock lock(mutex_);
    while (workers_busy_ + sweeps_busy_ > 0) {
      if (!active_changed_.WaitUntil(mutex_, deadline)) break;
    }
    idle = workers_busy_ + sweeps_busy_ == 0;
    for (const auto& [id, job] : active_) logs.push_back(job->log);
  }
  for (const std::shared_ptr<EventLog>& log : logs) log->StopServing();
  if (idle) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "a running job did not stop in time; it resumes from its last checkpoint");
}

JobStats JobManager::Stats() {
  JobStats stats;
  stats.num_workers = options_.num_workers;
  stats.max_queued_jobs = options_.max_queued_jobs;
  stats.memory_budget_bytes = options_.memory_budget_bytes;
  stats.watchers = watchers_->open;
  MutexLock lock(mutex_);
  stats.workers_busy = workers_busy_;
  stats.queued_jobs = static_cast<int64_t>(queue_.size() + sweeps_.size());
  stats.memory_reserved_bytes = memory_reserved_;
  for (const auto& job : queue_) {
    stats.oldest_wait_seconds =
        std::max(stats.oldest_wait_seconds, SecondsSince(job->queued_since));
  }
  for (const auto& [id, job] : active_) {
    if (job->record.state != JobState::kRunning || IsSweep(job->record)) continue;
    stats.oldest_checkpoint_age_seconds = std::max(stats.oldest_checkpoint_age_seconds.value_or(0),
                                                   SecondsSince(job->last_checkpoint));
  }
  return stats;
}

}  // namespace thresher::jobs
