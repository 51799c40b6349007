#include "client/retry.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>

#include "client/errors.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

// The pause that the server asks for, or nothing when the error is not for retrying.
std::optional<milliseconds> RequiredPause(const RetryPolicy& policy, const absl::Status& status) {
  if (absl::IsUnavailable(status)) return RetryDelay(status).value_or(milliseconds(0));
  if (policy.retry_when_exhausted && absl::IsResourceExhausted(status)) return RetryDelay(status);
  return std::nullopt;
}

}  // namespace

milliseconds BackoffDelay(const RetryPolicy& policy, int retry, double jitter) {
  // 2^30 initial pauses exceed any sensible max_backoff, and do not overflow a double.
  const int doublings = std::clamp(retry - 1, 0, 30);
  const double full = std::min(static_cast<double>(policy.max_backoff.count()),
                               std::ldexp(policy.initial_backoff.count(), doublings));
  return milliseconds(std::llround(full * (0.5 + 0.5 * std::clamp(jitter, 0.0, 1.0))));
}

milliseconds RandomBackoffDelay(const RetryPolicy& policy, int retry) {
  thread_local std::mt19937 generator{std::random_device{}()};
  return BackoffDelay(policy, retry, std::uniform_real_distribution<double>(0, 1)(generator));
}

bool SleepUnlessStopped(milliseconds delay, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any woken;
  std::unique_lock lock(mutex);
  woken.wait_for(lock, stop, delay, [] { return false; });
  return !stop.stop_requested();
}

absl::Status CallWithRetries(const RetryPolicy& policy, const std::stop_token& stop,
                             const std::function<absl::Status(int attempt)>& attempt) {
  const auto start = std::chrono::steady_clock::now();
  for (int number = 1;; ++number) {
    if (stop.stop_requested()) return absl::CancelledError("interrupted");
    absl::Status status = attempt(number);
    if (status.ok()) return status;
    if (stop.stop_requested()) return absl::CancelledError("interrupted");
    const std::optional<milliseconds> required = RequiredPause(policy, status);
    if (!required || number >= policy.max_attempts) return status;
    const milliseconds pause = std::max(*required, RandomBackoffDelay(policy, number));
    if (std::chrono::steady_clock::now() + pause - start > policy.max_elapsed) return status;
    if (!SleepUnlessStopped(pause, stop)) return absl::CancelledError("interrupted");
  }
}

}  // namespace thresher::client
