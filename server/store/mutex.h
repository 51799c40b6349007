// std::mutex and std::condition_variable with the annotations of clang's
// -Wthread-safety. absl::Mutex would do the same, but gives false alarms under
// ThreadSanitizer where the abseil library is not instrumented.
#ifndef THRESHER_SERVER_STORE_MUTEX_H_
#define THRESHER_SERVER_STORE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define THRESHER_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define THRESHER_THREAD_ANNOTATION(x)
#endif

#define THRESHER_GUARDED_BY(x) THRESHER_THREAD_ANNOTATION(guarded_by(x))
#define THRESHER_REQUIRES(...) THRESHER_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define THRESHER_EXCLUDES(...) THRESHER_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define THRESHER_ACQUIRE(...) THRESHER_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define THRESHER_RELEASE(...) THRESHER_THREAD_ANNOTATION(release_capability(__VA_ARGS__))

namespace thresher::store {

class THRESHER_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() THRESHER_ACQUIRE() { mutex_.lock(); }
  void Unlock() THRESHER_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class THRESHER_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) THRESHER_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() THRESHER_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wait in a loop that tests the condition: wake-ups may be spurious.
class CondVar {
 public:
  void Wait(Mutex& mutex) THRESHER_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False when the time passed without a wake-up.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      THRESHER_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_MUTEX_H_
