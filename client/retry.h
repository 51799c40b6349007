#ifndef THRESHER_CLIENT_RETRY_H_
#define THRESHER_CLIENT_RETRY_H_

#include <chrono>
#include <functional>
#include <stop_token>

#include "absl/status/status.h"

namespace thresher::client {

// When a call that failed is made again, and how often.
struct RetryPolicy {
  // Calls made at most, the first included; at least 1.
  int max_attempts = 4;

  // Pause before retry k = 1, 2, ...: uniform in [1/2, 1] of
  //
  //   min(max_backoff, initial_backoff * 2^(k - 1)),
  //
  // so that many clients of a restarted server do not return all at once.
  std::chrono::milliseconds initial_backoff{100};
  std::chrono::milliseconds max_backoff{2000};

  // No retry starts later than this after the first call.
  std::chrono::milliseconds max_elapsed{30000};

  // UNAVAILABLE is always retried. With this, RESOURCE_EXHAUSTED is too when the server says
  // after how long (google.rpc.RetryInfo), and the pause is at least as long as it says.
  bool retry_when_exhausted = false;
};

// Pause before retry `retry` (from 1), for `jitter` in [0, 1].
std::chrono::milliseconds BackoffDelay(const RetryPolicy& policy, int retry, double jitter);

// As above with a random jitter.
std::chrono::milliseconds RandomBackoffDelay(const RetryPolicy& policy, int retry);

// Sleeps; returns false when the stop came first.
bool SleepUnlessStopped(std::chrono::milliseconds delay, const std::stop_token& stop);

// Calls `attempt(k)` for k = 1, 2, ... until it succeeds, fails in a way that no retry repairs,
// or the policy's bounds are reached; returns the last status. CANCELLED once `stop` is
// requested.
absl::Status CallWithRetries(const RetryPolicy& policy, const std::stop_token& stop,
                             const std::function<absl::Status(int attempt)>& attempt);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_RETRY_H_
