// Holds work back until the memory that it is predicted to need is free.
#ifndef THRESHER_SERVER_RPC_MEMORY_LIMITER_H_
#define THRESHER_SERVER_RPC_MEMORY_LIMITER_H_

#include <algorithm>
#include <cstdint>

#include "server/store/mutex.h"

namespace thresher::rpc {

class MemoryLimiter {
 public:
  explicit MemoryLimiter(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  int64_t budget_bytes() const { return budget_bytes_; }
  int64_t reserved_bytes() THRESHER_EXCLUDES(mutex_) {
    store::MutexLock lock(mutex_);
    return reserved_bytes_;
  }

  // Holds a share of the budget while it lives. More than the budget means all of it.
  // The constructor blocks until the share is free; who waits is bounded by the threads
  // that call.
  class Reservation {
   public:
    Reservation(MemoryLimiter& limiter, int64_t bytes)
        : limiter_(limiter), bytes_(std::clamp<int64_t>(bytes, 0, limiter.budget_bytes_)) {
      store::MutexLock lock(limiter_.mutex_);
      while (limiter_.reserved_bytes_ + bytes_ > limiter_.budget_bytes_) {
        limiter_.released_.Wait(limiter_.mutex_);
      }
      limiter_.reserved_bytes_ += bytes_;
    }
    ~Reservation() {
      store::MutexLock lock(limiter_.mutex_);
      limiter_.reserved_bytes_ -= bytes_;
      limiter_.released_.NotifyAll();
    }
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;

   private:
    MemoryLimiter& limiter_;
    const int64_t bytes_;
  };

 private:
  const int64_t budget_bytes_;
  store::Mutex mutex_;
  store::CondVar released_;
  int64_t reserved_bytes_ THRESHER_GUARDED_BY(mutex_) = 0;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_MEMORY_LIMITER_H_
