// Work on a fixed number of blocks by a fixed number of threads. How work is cut into
// blocks never depends on the number of threads, so that sums have the same bits.
#ifndef THRESHER_CORE_KERNELS_PARALLEL_H_
#define THRESHER_CORE_KERNELS_PARALLEL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace thresher {

// The threads of one solve; the caller is one of them, so one thread starts none.
class ThreadPool {
 public:
  // Once `stop` is requested, blocks that have not begun are skipped: what ParallelFor
  // leaves behind is then incomplete and must be thrown away.
  explicit ThreadPool(int num_threads, std::stop_token stop = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }
  bool stop_requested() const { return stop_.stop_requested(); }

  // Calls body(block, thread) once for each block in [0, num_blocks), thread in
  // [0, num_threads()), and returns when all are done. Not reentrant.
  void ParallelFor(int64_t num_blocks, const std::function<void(int64_t block, int thread)>& body);

 private:
  void WorkerLoop(int thread);
  void RunBlocks(int thread);

  const std::stop_token stop_;
  std::vector<std::thread> workers_;

  std::mutex mutex_;
  std::condition_variable work_ready_;
  std::condition_variable work_done_;
  // Guarded by mutex_.
  uint64_t generation_ = 0;
  int busy_workers_ = 0;
  bool shutting_down_ = false;

  // Written before generation_ grows, read by the workers after.
  const std::function<void(int64_t, int)>* body_ = nullptr;
  int64_t num_blocks_ = 0;
  std::atomic<int64_t> next_block_ = 0;
};

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_PARALLEL_H_
