// The events of one job: written by one, read by many watchers at their own pace.
//
// The log holds a bounded number of events. When it is full, every second progress event
// of its older half goes; state changes stay. A watcher is a position in the log, so a
// slow one costs nothing and simply finds fewer events.
#ifndef THRESHER_SERVER_JOBS_EVENT_LOG_H_
#define THRESHER_SERVER_JOBS_EVENT_LOG_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/jobs/job.h"
#include "server/store/mutex.h"

namespace thresher::jobs {

class EventLog;

// Event numbers are reserved in the store in blocks of this size, so that no number is
// given twice, whenever the server dies. Gaps come from what a dead one had left.
inline constexpr int64_t kReservedBlock = 10000;

// Watchers in the whole server. `limit` is checked by the manager.
struct WatcherCount {
  std::atomic<int64_t> open = 0;
};

// One watcher of one job. Thread-safe. Ends its watch when it goes.
class EventSubscription {
 public:
  enum class Outcome {
    kEvent,
    kNothingYet,      // on_ready will be called
    kEnded,           // the terminal event has been given
    kServerStopping,  // ask again from the last number seen
  };
  struct NextEvent {
    Outcome outcome = Outcome::kNothingYet;
    JobEvent event;              // kEvent only
    int64_t thinned_events = 0;  // skipped since the event before
  };

  ~EventSubscription();
  EventSubscription(const EventSubscription&) = delete;
  EventSubscription& operator=(const EventSubscription&) = delete;

  // Never blocks.
  NextEvent Next();
  // No more on_ready calls start after this; Next says kEnded.
  void Close();

 private:
  friend class EventLog;
  EventSubscription(std::shared_ptr<EventLog> log, std::shared_ptr<WatcherCount> count,
                    std::function<void(int64_t)> on_thinned);
  struct Position;

  const std::shared_ptr<EventLog> log_;
  const std::shared_ptr<WatcherCount> count_;
  const std::function<void(int64_t)> on_thinned_;
  std::shared_ptr<Position> position_;
};

class EventLog : public std::enable_shared_from_this<EventLog> {
 public:
  // `events` are those kept, ascending; numbers up to `last_number` may have been used.
  EventLog(std::vector<JobEvent> events, int64_t last_number, int64_t max_events);

  // ----- The writer's. -----

  // Numbers up to this one may be used for progress (they are reserved in the store).
  void Reserve(int64_t up_to_number);
  // The number that the next event gets.
  int64_t NextNumber();
  // Appends a state change whose number came from NextNumber().
  void AppendStateChange(JobEvent event);
  // False when the reserved numbers are used up: the event is dropped, as a thinned one.
  // `*reservation_low` is set when more should be reserved.
  bool AppendProgress(Timestamp time, const JobProgress& progress, bool* reservation_low);
  // The log holds the terminal event: watchers end after it.
  void End();
  // Watchers end after the events that are there.
  void StopServing();

  // For the store: what to write so that it holds what the log holds.
  struct Unsaved {
    bool replace_all = false;  // events were thinned: delete the stored ones first
    std::vector<JobEvent> events;
    int64_t up_to_number = 0;
  };
  Unsaved TakeUnsaved();
  // The write of a TakeUnsaved failed: everything is to be written again.
  void MarkUnsaved();

  int64_t latest_number();
  std::optional<JobProgress> latest_progress();
  int64_t num_watchers();

  // ----- The watchers'. -----

  std::shared_ptr<EventSubscription> Subscribe(int64_t after_number, std::function<void()> on_ready,
                                               std::shared_ptr<WatcherCount> count,
                                               std::function<void(int64_t)> on_thinned);

 private:
  friend class EventSubscription;
  using PositionPtr = std::shared_ptr<EventSubscription::Position>;

  void ThinIfFull() THRESHER_REQUIRES(mutex_);
  std::vector<std::function<void()>> TakeReady() THRESHER_REQUIRES(mutex_);

  const int64_t max_events_;
  store::Mutex mutex_;
  std::vector<JobEvent> events_ THRESHER_GUARDED_BY(mutex_);  // ascending numbers
  std::vector<PositionPtr> positions_ THRESHER_GUARDED_BY(mutex_);
  std::optional<JobProgress> latest_progress_ THRESHER_GUARDED_BY(mutex_);
  int64_t next_number_ THRESHER_GUARDED_BY(mutex_);
  // Below this one a gap may come from an earlier process; from it on, from thinning.
  const int64_t first_own_number_;
  int64_t reserved_ THRESHER_GUARDED_BY(mutex_);
  int64_t saved_number_ THRESHER_GUARDED_BY(mutex_);
  bool thinned_since_saved_ THRESHER_GUARDED_BY(mutex_) = false;
  bool reservation_asked_ THRESHER_GUARDED_BY(mutex_) = false;
  bool ended_ THRESHER_GUARDED_BY(mutex_) = false;
  bool stopping_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_EVENT_LOG_H_
