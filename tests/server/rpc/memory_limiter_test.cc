#include "server/rpc/memory_limiter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

namespace thresher::rpc {
namespace {

TEST(MemoryLimiterTest, MoreThanTheBudgetMeansAllOfIt) {
  MemoryLimiter limiter(100);
  EXPECT_EQ(limiter.reserved_bytes(), 0);
  {
    const MemoryLimiter::Reservation all(limiter, std::numeric_limits<int64_t>::max());
    EXPECT_EQ(limiter.reserved_bytes(), 100);
  }
  EXPECT_EQ(limiter.reserved_bytes(), 0);
}

TEST(MemoryLimiterTest, ReservationsAddUpAndNegativeOnesAreNothing) {
  MemoryLimiter limiter(100);
  const MemoryLimiter::Reservation half(limiter, 50);
  const MemoryLimiter::Reservation nothing(limiter, -5);
  EXPECT_EQ(limiter.reserved_bytes(), 50);
  const MemoryLimiter::Reservation rest(limiter, 50);
  EXPECT_EQ(limiter.reserved_bytes(), 100);
}

TEST(MemoryLimiterTest, NeverGivesMoreThanTheBudget) {
  constexpr int64_t kBudget = 10;
  MemoryLimiter limiter(kBudget);
  std::atomic<int64_t> held = 0;
  std::atomic<bool> exceeded = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const int64_t bytes = 1 + (i * 7 + t * 3) % kBudget;
        const MemoryLimiter::Reservation reservation(limiter, bytes);
        if (held.fetch_add(bytes) + bytes > kBudget) exceeded = true;
        held.fetch_sub(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
}

TEST(MemoryLimiterTest, AWaiterGoesOnWhenRoomIsMade) {
  MemoryLimiter limiter(10);
  auto first = std::make_unique<MemoryLimiter::Reservation>(limiter, 6);
  std::atomic<bool> first_is_held = true;
  bool waited = false;
  std::thread waiter([&] {
    const MemoryLimiter::Reservation second(limiter, 6);
    waited = !first_is_held;
  });
  first_is_held = false;
  first.reset();
  waiter.join();
  EXPECT_TRUE(waited);
}

}  // namespace
}  // namespace thresher::rpc
