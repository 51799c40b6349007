#include "core/kernels/parallel.h"

#include <algorithm>
#include <utility>

namespace thresher {

ThreadPool::ThreadPool(int num_threads, std::stop_token stop) : stop_(std::move(stop)) {
  for (int thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    shutting_down_ = true;
  }
  work_ready_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t num_blocks,
                             const std::function<void(int64_t block, int thread)>& body) {
  if (workers_.empty() || num_blocks <= 1) {
    for (int64_t block = 0; block < num_blocks && !stop_requested(); ++block) body(block, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    num_blocks_ = num_blocks;
    next_block_.store(0, std::memory_order_relaxed);
    busy_workers_ = static_cast<int>(workers_.size());
    ++generation_;
  }
  work_ready_.notify_all();
  RunBlocks(0);
  std::unique_lock lock(mutex_);
  work_done_.wait(lock, [this] { return busy_workers_ == 0; });
}

void ThreadPool::WorkerLoop(int thread) {
  uint64_t seen_generation = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      work_ready_.wait(lock, [&] { return shutting_down_ || generation_ != seen_generation; });
      if (shutting_down_) return;
      seen_generation = generation_;
    }
    RunBlocks(thread);
    {
      std::lock_guard lock(mutex_);
      if (--busy_workers_ == 0) work_done_.notify_one();
    }
  }
}

void ThreadPool::RunBlocks(int thread) {
  while (!stop_requested()) {
    const int64_t block = next_block_.fetch_add(1, std::memory_order_relaxed);
    if (block >= num_blocks_) return;
    (*body_)(block, thread);
  }
}

}  // namespace thresher
