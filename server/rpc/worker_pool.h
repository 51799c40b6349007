// Threads for the work of calls, so that gRPC's callback threads never wait for the
// store or compute.
#ifndef THRESHER_SERVER_RPC_WORKER_POOL_H_
#define THRESHER_SERVER_RPC_WORKER_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace thresher::rpc {

// Runs tasks in the order given. Thread-safe.
class WorkerPool {
 public:
  // num_threads >= 1; at most max_queued tasks of TryRun wait.
  WorkerPool(int num_threads, size_t max_queued);
  // Runs what is still queued, then joins.
  ~WorkerPool();

  // False, and nothing is run, when the queue is full.
  [[nodiscard]] bool TryRun(std::function<void()> task);

  // For the next step of a stream: always queued. Whoever calls this bounds the number
  // of streams, and each stream has at most one step waiting.
  void RunStep(std::function<void()> task);

 private:
  void Work();

  const size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable task_added_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_WORKER_POOL_H_
