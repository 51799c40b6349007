// Bounds the number of open streams of one kind, ends those whose client does nothing,
// and ends all when the server stops.
#ifndef THRESHER_SERVER_RPC_STREAM_REGISTRY_H_
#define THRESHER_SERVER_RPC_STREAM_REGISTRY_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <thread>

#include "absl/status/status.h"
#include "server/store/mutex.h"

namespace thresher::rpc {

// A stream as the registry sees it. Thread-safe.
class RegisteredStream {
 public:
  virtual ~RegisteredStream() = default;
  // Ends the stream if it has been waiting for its client since `since` or longer;
  // otherwise changes nothing.
  virtual void EndIfWaitingSince(std::chrono::steady_clock::time_point since,
                                 const absl::Status& status) = 0;
};

class StreamRegistry {
 public:
  // Streams whose client does nothing for `idle_limit` end with DEADLINE_EXCEEDED.
  StreamRegistry(size_t max_streams, std::chrono::milliseconds idle_limit);
  ~StreamRegistry();

  // Errors: RESOURCE_EXHAUSTED with `reason` and RetryInfo when there are too many;
  // UNAVAILABLE once stopping. A stream that was added must be removed.
  absl::Status Add(const std::shared_ptr<RegisteredStream>& stream, std::string_view reason)
      THRESHER_EXCLUDES(mutex_);
  void Remove(const std::shared_ptr<RegisteredStream>& stream) THRESHER_EXCLUDES(mutex_);

  // Refuses new streams and ends those that wait for their client. Those at work see
  // it by stopping().
  void Stop() THRESHER_EXCLUDES(mutex_);
  bool stopping() THRESHER_EXCLUDES(mutex_);

 private:
  void WatchIdle() THRESHER_EXCLUDES(mutex_);

  const size_t max_streams_;
  const std::chrono::milliseconds idle_limit_;
  store::Mutex mutex_;
  store::CondVar changed_;
  std::set<std::shared_ptr<RegisteredStream>> streams_ THRESHER_GUARDED_BY(mutex_);
  bool stopping_ THRESHER_GUARDED_BY(mutex_) = false;
  bool closed_ THRESHER_GUARDED_BY(mutex_) = false;
  std::thread idle_watcher_;
};

// UNAVAILABLE with reason SERVER_STOPPING.
absl::Status ServerStopping();

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_STREAM_REGISTRY_H_
