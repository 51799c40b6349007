#include "core/kernels/parallel.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace thresher {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, EveryBlockRunsOnceInEveryCall) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.num_threads(), GetParam());
  for (const int64_t num_blocks : {0, 1, 2, 3, 100}) {
    std::vector<std::atomic<int>> calls(num_blocks);
    pool.ParallelFor(num_blocks, [&](int64_t block, int thread) {
      ASSERT_GE(thread, 0);
      ASSERT_LT(thread, GetParam());
      ++calls[block];
    });
    for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST_P(ThreadPoolTest, AStopRequestSkipsTheBlocksThatHaveNotBegun) {
  std::stop_source stop;
  ThreadPool pool(GetParam(), stop.get_token());
  std::atomic<int64_t> begun = 0;
  pool.ParallelFor(100000, [&](int64_t, int) {
    ++begun;
    stop.request_stop();
  });
  EXPECT_GE(begun, 1);
  EXPECT_LE(begun, GetParam());
  pool.ParallelFor(10, [&](int64_t, int) { FAIL() << "a block ran after the stop request"; });
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace thresher
