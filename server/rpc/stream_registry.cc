#include "server/rpc/stream_registry.h"

#include <vector>

#include "server/rpc/status.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRetryDelay{1000};

}  // namespace

absl::Status ServerStopping() {
  return store::WithRetryAfter(
      store::WithReason(absl::UnavailableError("the server is stopping; try again later"),
                        store::kReasonServerStopping),
      kRetryDelay);
}

StreamRegistry::StreamRegistry(size_t max_streams, std::chrono::milliseconds idle_limit)
    : max_streams_(max_streams), idle_limit_(idle_limit), idle_watcher_([this] { WatchIdle(); }) {}

StreamRegistry::~StreamRegistry() {
  {
    store::MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }
  idle_watcher_.join();
}

absl::Status StreamRegistry::Add(const std::shared_ptr<RegisteredStream>& stream,
                                 std::string_view reason) {
  store::MutexLock lock(mutex_);
  if (stopping_) return ServerStopping();
  if (streams_.size() >= max_streams_) {
    return store::WithRetryAfter(
        store::WithReason(absl::ResourceExhaustedError(
                              "the server has as many such streams open as it takes; retry"),
                          reason),
        kRetryDelay);
  }
  streams_.insert(stream);
  changed_.NotifyAll();
  return absl::OkStatus();
}

void StreamRegistry::Remove(const std::shared_ptr<RegisteredStream>& stream) {
  store::MutexLock lock(mutex_);
  streams_.erase(stream);
}

void StreamRegistry::Stop() {
  std::vector<std::shared_ptr<RegisteredStream>> streams;
  {
    store::MutexLock lock(mutex_);
    stopping_ = true;
    streams.assign(streams_.begin(), streams_.end());
  }
  for (const auto& stream : streams) stream->EndIfWaitingSince(Clock::now(), ServerStopping());
}

bool StreamRegistry::stopping() {
  store::MutexLock lock(mutex_);
  return stopping_;
}

void StreamRegistry::WatchIdle() {
  const absl::Status idle =
      store::WithReason(absl::DeadlineExceededError(
                            "nothing came from the client for too long; start the call again"),
                        kReasonStreamIdle);
  while (true) {
    std::vector<std::shared_ptr<RegisteredStream>> streams;
    {
      store::MutexLock lock(mutex_);
      while (!closed_ && streams_.empty()) changed_.Wait(mutex_);
      if (closed_) return;
      changed_.WaitUntil(mutex_, Clock::now() + idle_limit_ / 4);
      streams.assign(streams_.begin(), streams_.end());
    }
    for (const auto& stream : streams) stream->EndIfWaitingSince(Clock::now() - idle_limit_, idle);
  }
}

}  // namespace thresher::rpc
