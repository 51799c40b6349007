#include "server/jobs/event_log.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace thresher::jobs {
namespace {

using Outcome = EventSubscription::Outcome;

class EventLogTest : public ::testing::Test {
 protected:
  static std::shared_ptr<EventLog> NewLog(int64_t max_events = 100) {
    auto log = std::make_shared<EventLog>(std::vector<JobEvent>{}, 0, max_events);
    log->Reserve(1'000'000);
    return log;
  }
  static void Change(EventLog& log, JobState state) {
    JobEvent event;
    event.number = log.NextNumber();
    event.event = StateChange{.state = state, .message = ""};
    log.AppendStateChange(std::move(event));
  }
  static bool Progress(EventLog& log, int64_t iteration) {
    bool low = false;
    IterationReport report;
    report.iteration = iteration;
    return log.AppendProgress(Timestamp(), report, &low);
  }
  std::shared_ptr<EventSubscription> Subscribe(EventLog& log, int64_t after = 0,
                                               std::function<void()> on_ready = {}) {
    return log.Subscribe(after, std::move(on_ready), count_, {});
  }

  std::shared_ptr<WatcherCount> count_ = std::make_shared<WatcherCount>();
};

TEST_F(EventLogTest, GivesEventsInOrderThenTheEnd) {
  auto log = NewLog();
  auto watch = Subscribe(*log);
  EXPECT_EQ(watch->Next().outcome, Outcome::kNothingYet);
  Change(*log, JobState::kRunning);
  EXPECT_TRUE(Progress(*log, 1));
  Change(*log, JobState::kSucceeded);
  log->End();
  for (int64_t number = 1; number <= 3; ++number) {
    auto next = watch->Next();
    ASSERT_EQ(next.outcome, Outcome::kEvent);
    EXPECT_EQ(next.event.number, number);
    EXPECT_EQ(next.thinned_events, 0);
  }
  EXPECT_EQ(watch->Next().outcome, Outcome::kEnded);
}

TEST_F(EventLogTest, ReplaysAfterANumber) {
  auto log = NewLog();
  for (int i = 1; i <= 10; ++i) Progress(*log, i);
  auto watch = Subscribe(*log, 7);
  EXPECT_EQ(watch->Next().event.number, 8);
}

TEST_F(EventLogTest, ReadyIsCalledOncePerWait) {
  auto log = NewLog();
  int calls = 0;
  auto watch = Subscribe(*log, 0, [&calls] { ++calls; });
  Progress(*log, 1);
  EXPECT_EQ(calls, 0) << "nobody waited";
  watch->Next();
  EXPECT_EQ(watch->Next().outcome, Outcome::kNothingYet);
  Progress(*log, 2);
  Progress(*log, 3);
  EXPECT_EQ(calls, 1);
  watch->Close();
  Progress(*log, 4);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(watch->Next().outcome, Outcome::kEnded);
}

TEST_F(EventLogTest, ReadyMayReadTheWatch) {
  auto log = NewLog();
  std::shared_ptr<EventSubscription> watch;
  std::vector<int64_t> seen;
  watch = Subscribe(*log, 0, [&] {
    for (;;) {
      auto next = watch->Next();
      if (next.outcome != Outcome::kEvent) break;
      seen.push_back(next.event.number);
    }
  });
  EXPECT_EQ(watch->Next().outcome, Outcome::kNothingYet);
  for (int i = 1; i <= 5; ++i) Progress(*log, i);
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2, 3, 4, 5}));
}

TEST_F(EventLogTest, ASlowWatcherGetsFewerEventsAndEveryStateChange) {
  auto log = NewLog(64);
  auto watch = Subscribe(*log);
  Change(*log, JobState::kRunning);
  for (int i = 1; i <= 20000; ++i) {
    Progress(*log, i);
    if (i == 5000) Change(*log, JobState::kQueued);
    if (i == 5001) Change(*log, JobState::kRunning);
  }
  Change(*log, JobState::kSucceeded);
  log->End();
  std::vector<JobState> states;
  int64_t events = 0;
  int64_t thinned = 0;
  int64_t last = 0;
  for (;;) {
    auto next = watch->Next();
    if (next.outcome == Outcome::kEnded) break;
    ASSERT_EQ(next.outcome, Outcome::kEvent);
    EXPECT_GT(next.event.number, last);
    last = next.event.number;
    ++events;
    thinned += next.thinned_events;
    if (const auto* change = std::get_if<StateChange>(&next.event.event)) {
      states.push_back(change->state);
    }
  }
  EXPECT_EQ(states, (std::vector<JobState>{JobState::kRunning, JobState::kQueued,
                                           JobState::kRunning, JobState::kSucceeded}));
  EXPECT_LE(events, 70);
  EXPECT_EQ(events + thinned, 20004);
}

TEST_F(EventLogTest, ProgressStopsAtTheReservationAndGoesOnAfterIt) {
  EventLog log({}, 5, 100);
  log.Reserve(7);
  EXPECT_TRUE(Progress(log, 1));
  EXPECT_TRUE(Progress(log, 2));
  EXPECT_FALSE(Progress(log, 3)) << "8 is not reserved";
  EXPECT_EQ(IterationOf(*log.latest_progress()), 3) << "the latest state is known all the same";
  EXPECT_EQ(log.latest_number(), 7);
  log.Reserve(8);
  EXPECT_TRUE(Progress(log, 4));
  EXPECT_EQ(log.latest_number(), 8);
}

TEST_F(EventLogTest, UnsavedIsWhatTheStoreLacks) {
  auto log = NewLog(16);
  for (int i = 1; i <= 5; ++i) Progress(*log, i);
  auto unsaved = log->TakeUnsaved();
  EXPECT_FALSE(unsaved.replace_all);
  EXPECT_EQ(unsaved.events.size(), 5u);
  EXPECT_EQ(unsaved.up_to_number, 5);
  EXPECT_TRUE(log->TakeUnsaved().events.empty());
  Progress(*log, 6);
  EXPECT_EQ(log->TakeUnsaved().events.size(), 1u);
  log->MarkUnsaved();
  unsaved = log->TakeUnsaved();
  EXPECT_TRUE(unsaved.replace_all);
  EXPECT_EQ(unsaved.events.size(), 6u);
  for (int i = 7; i <= 40; ++i) Progress(*log, i);
  unsaved = log->TakeUnsaved();
  EXPECT_TRUE(unsaved.replace_all) << "thinned";
  EXPECT_LE(unsaved.events.size(), 16u);
}

TEST_F(EventLogTest, StoppingEndsTheWatchAfterWhatIsThere) {
  auto log = NewLog();
  int calls = 0;
  auto watch = Subscribe(*log, 0, [&calls] { ++calls; });
  EXPECT_EQ(watch->Next().outcome, Outcome::kNothingYet);
  Change(*log, JobState::kQueued);
  log->StopServing();
  EXPECT_GE(calls, 1);
  EXPECT_EQ(watch->Next().outcome, Outcome::kEvent);
  EXPECT_EQ(watch->Next().outcome, Outcome::kServerStopping);
}

TEST_F(EventLogTest, CountsItsWatchers) {
  auto log = NewLog();
  auto first = Subscribe(*log);
  {
    auto second = Subscribe(*log);
    EXPECT_EQ(log->num_watchers(), 2);
    EXPECT_EQ(count_->open, 2);
  }
  EXPECT_EQ(log->num_watchers(), 1);
  first->Close();
  first->Close();
  EXPECT_EQ(count_->open, 0);
}

TEST_F(EventLogTest, OneWriterAndManyWatchers) {
  auto log = NewLog(32);
  constexpr int kEvents = 3000;
  std::vector<std::thread> readers;
  for (int r = 0; r < 4; ++r) {
    readers.emplace_back([&] {
      store::Mutex mutex;
      store::CondVar changed;
      bool ready = false;
      auto watch = Subscribe(*log, 0, [&] {
        store::MutexLock lock(mutex);
        ready = true;
        changed.NotifyAll();
      });
      int64_t last = 0;
      for (;;) {
        auto next = watch->Next();
        if (next.outcome == Outcome::kEnded) break;
        if (next.outcome == Outcome::kEvent) {
          EXPECT_GT(next.event.number, last);
          last = next.event.number;
          continue;
        }
        store::MutexLock lock(mutex);
        while (!ready) changed.Wait(mutex);
        ready = false;
      }
      EXPECT_EQ(last, kEvents + 1) << "the terminal event always arrives";
    });
  }
  for (int i = 1; i <= kEvents; ++i) Progress(*log, i);
  Change(*log, JobState::kSucceeded);
  log->End();
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace thresher::jobs
