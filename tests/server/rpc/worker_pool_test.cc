#include "server/rpc/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <vector>

namespace thresher::rpc {
namespace {

TEST(WorkerPoolTest, RunsEverythingBeforeItGoes) {
  std::atomic<int> runs = 0;
  {
    WorkerPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) EXPECT_TRUE(pool.TryRun([&runs] { ++runs; }));
  }
  EXPECT_EQ(runs, 500);
}

TEST(WorkerPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    WorkerPool pool(1, 1000);
    for (int i = 0; i < 100; ++i) pool.RunStep([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(WorkerPoolTest, RefusesBeyondTheBoundButTakesSteps) {
  std::promise<void> started;
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<int> runs = 0;
  {
    WorkerPool pool(1, 2);
    ASSERT_TRUE(pool.TryRun([&started, released] {
      started.set_value();
      released.wait();
    }));
    started.get_future().wait();
    EXPECT_TRUE(pool.TryRun([&runs] { ++runs; }));
    EXPECT_TRUE(pool.TryRun([&runs] { ++runs; }));
    EXPECT_FALSE(pool.TryRun([&runs] { ++runs; }));
    pool.RunStep([&runs] { ++runs; });
    release.set_value();
  }
  EXPECT_EQ(runs, 3);
}

TEST(WorkerPoolTest, TasksMayQueueSteps) {
  std::promise<int> done;
  WorkerPool pool(1, 1);
  ASSERT_TRUE(
      pool.TryRun([&] { pool.RunStep([&] { pool.RunStep([&] { done.set_value(7); }); }); }));
  EXPECT_EQ(done.get_future().get(), 7);
}

}  // namespace
}  // namespace thresher::rpc
