#include "server/jobs/event_log.h"

#include <algorithm>
#include <utility>

namespace thresher::jobs {

using store::MutexLock;

// Guarded by the log's mutex.
struct EventSubscription::Position {
  int64_t last_number = 0;
  std::function<void()> on_ready;
  bool waiting = false;  // Next() said kNothingYet: on_ready is due
  bool closed = false;
};

EventSubscription::EventSubscription(std::shared_ptr<EventLog> log,
                                     std::shared_ptr<WatcherCount> count,
                                     std::function<void(int64_t)> on_thinned)
    : log_(std::move(log)), count_(std::move(count)), on_thinned_(std::move(on_thinned)) {}

EventSubscription::~EventSubscription() { Close(); }

EventSubscription::NextEvent EventSubscription::Next() {
  NextEvent next;
  EventLog& log = *log_;
  {
    MutexLock lock(log.mutex_);
    if (position_->closed) return {.outcome = Outcome::kEnded, .event = {}};
    const auto found = std::upper_bound(
        log.events_.begin(), log.events_.end(), position_->last_number,
        [](int64_t number, const JobEvent& event) { return number < event.number; });
    if (found == log.events_.end()) {
      if (log.ended_) {
        next.outcome = Outcome::kEnded;
      } else if (log.stopping_) {
        next.outcome = Outcome::kServerStopping;
      } else {
        position_->waiting = true;
      }
      return next;
    }
    next.outcome = Outcome::kEvent;
    next.event = *found;
    // Numbers of this process are dense, so what is missing was thinned.
    const int64_t expected = std::max(position_->last_number + 1, log.first_own_number_);
    next.thinned_events = std::max<int64_t>(found->number - expected, 0);
    position_->last_number = found->number;
  }
  if (next.thinned_events > 0 && on_thinned_) on_thinned_(next.thinned_events);
  return next;
}

void EventSubscription::Close() {
  EventLog& log = *log_;
  std::function<void()> dropped;  // its captures go outside the lock
  {
    MutexLock lock(log.mutex_);
    if (position_->closed) return;
    position_->closed = true;
    position_->waiting = false;
    dropped = std::move(position_->on_ready);
    std::erase(log.positions_, position_);
  }
  --count_->open;
}

EventLog::EventLog(std::vector<JobEvent> events, int64_t last_number, int64_t max_events)
    : max_events_(std::max<int64_t>(max_events, 16)),
      events_(std::move(events)),
      next_number_(last_number + 1),
      first_own_number_(last_number + 1),
      reserved_(last_number),
      saved_number_(last_number) {
  for (const JobEvent& event : events_) {
    if (const auto* progress = std::get_if<JobProgress>(&event.event)) {
      latest_progress_ = *progress;
    }
  }
}

void EventLog::Reserve(int64_t up_to_number) {
  MutexLock lock(mutex_);
  reserved_ = std::max(reserved_, up_to_number);
  reservation_asked_ = false;
}

int64_t EventLog::NextNumber() {
  MutexLock lock(mutex_);
  return next_number_;
}

void EventLog::AppendStateChange(JobEvent event) {
  std::vector<std::function<void()>> ready;
  {
    MutexLock lock(mutex_);
    next_number_ = event.number + 1;
    reserved_ = std::max(reserved_, event.number);
    saved_number_ = std::max(saved_number_, event.number);  // committed before it came here
    events_.push_back(std::move(event));
    ready = TakeReady();
  }
  for (const auto& call : ready) call();
}

bool EventLog::AppendProgress(Timestamp time, const JobProgress& progress, bool* reservation_low) {
  std::vector<std::function<void()>> ready;
  bool appended = false;
  {
    MutexLock lock(mutex_);
    latest_progress_ = progress;
    appended = next_number_ <= reserved_;
    if (appended) {
      JobEvent event;
      event.number = next_number_++;
      event.time = time;
      event.event = progress;
      events_.push_back(std::move(event));
      ThinIfFull();
      ready = TakeReady();
    }
    *reservation_low =
        reserved_ - next_number_ < kReservedBlock / 2 && !std::exchange(reservation_asked_, true);
  }
  for (const auto& call : ready) call();
  return appended;
}

void EventLog::End() {
  std::vector<std::function<void()>> ready;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    ready = TakeReady();
  }
  for (const auto& call : ready) call();
}

void EventLog::StopServing() {
  std::vector<std::function<void()>> ready;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    ready = TakeReady();
  }
  for (const auto& call : ready) call();
}

EventLog::Unsaved EventLog::TakeUnsaved() {
  MutexLock lock(mutex_);
  Unsaved unsaved;
  unsaved.replace_all = std::exchange(thinned_since_saved_, false);
  unsaved.up_to_number = next_number_ - 1;
  for (const JobEvent& event : events_) {
    if (unsaved.replace_all || event.number > saved_number_) unsaved.events.push_back(event);
  }
  saved_number_ = unsaved.up_to_number;
  return unsaved;
}

void EventLog::MarkUnsaved() {
  MutexLock lock(mutex_);
  thinned_since_saved_ = true;
}

int64_t EventLog::latest_number() {
  MutexLock lock(mutex_);
  return events_.empty() ? 0 : events_.back().number;
}

std::optional<JobProgress> EventLog::latest_progress() {
  MutexLock lock(mutex_);
  return latest_progress_;
}

int64_t EventLog::num_watchers() {
  MutexLock lock(mutex_);
  return static_cast<int64_t>(positions_.size());
}

std::shared_ptr<EventSubscription> EventLog::Subscribe(int64_t after_number,
                                                       std::function<void()> on_ready,
                                                       std::shared_ptr<WatcherCount> count,
                                                       std::function<void(int64_t)> on_thinned) {
  auto position = std::make_shared<EventSubscription::Position>();
  position->last_number = after_number;
  position->on_ready = std::move(on_ready);
  ++count->open;
  std::shared_ptr<EventSubscription> subscription(
      new EventSubscription(shared_from_this(), std::move(count), std::move(on_thinned)));
  subscription->position_ = position;
  MutexLock lock(mutex_);
  positions_.push_back(std::move(position));
  return subscription;
}

void EventLog::ThinIfFull() {
  if (static_cast<int64_t>(events_.size()) <= max_events_) return;
  const size_t half = events_.size() / 2;
  size_t kept = 0;
  bool drop = false;
  for (size_t i = 0; i < events_.size(); ++i) {
    if (i < half && std::holds_alternative<JobProgress>(events_[i].event)) {
      drop = !drop;
      if (drop) continue;
    }
    if (kept != i) events_[kept] = std::move(events_[i]);
    ++kept;
  }
  events_.resize(kept);
  thinned_since_saved_ = true;
}

std::vector<std::function<void()>> EventLog::TakeReady() {
  std::vector<std::function<void()>> ready;
  for (const PositionPtr& position : positions_) {
    if (position->waiting && position->on_ready) ready.push_back(position->on_ready);
    position->waiting = false;
  }
  return ready;
}

}  // namespace thresher::jobs
