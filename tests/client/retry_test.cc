#include "client/retry.h"

#include "client/errors.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

RetryPolicy Quick(int max_attempts) {
  RetryPolicy policy;
  policy.max_attempts = max_attempts;
  policy.initial_backoff = policy.max_backoff = milliseconds(0);
  return policy;
}

absl::Status Exhausted(bool with_retry_info) {
  google::rpc::Status proto;
  proto.set_code(8);
  if (with_retry_info) proto.add_details()->PackFrom(google::rpc::RetryInfo());
  return FromGrpcStatus({grpc::StatusCode::RESOURCE_EXHAUSTED, "full", proto.SerializeAsString()});
}

TEST(Backoff, DoublesUpToItsLimitAndJittersDownToHalf) {
  const RetryPolicy policy;
  for (int retry = 1; retry < 100; ++retry) {
    const milliseconds longest = BackoffDelay(policy, retry, 1);
    EXPECT_LE(longest, policy.max_backoff);
    EXPECT_EQ(longest.count(),
              std::min(policy.max_backoff.count(),
                       policy.initial_backoff.count() * (int64_t{1} << std::min(retry - 1, 30))));
    EXPECT_EQ(BackoffDelay(policy, retry, 0).count(), longest.count() / 2);
    const milliseconds random = RandomBackoffDelay(policy, retry);
    EXPECT_GE(random, BackoffDelay(policy, retry, 0));
    EXPECT_LE(random, longest);
  }
}

TEST(CallWithRetries, StopsAtTheFirstSuccess) {
  int calls = 0;
  const absl::Status status = CallWithRetries(Quick(10), {}, [&](int attempt) {
    EXPECT_EQ(attempt, ++calls);
    return attempt == 3 ? absl::OkStatus() : absl::UnavailableError("down");
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(calls, 3);
}

TEST(CallWithRetries, IsBoundedInAttempts) {
  for (const int max_attempts : {1, 2, 7}) {
    int calls = 0;
    const absl::Status status = CallWithRetries(Quick(max_attempts), {}, [&](int) {
      ++calls;
      return absl::UnavailableError("down");
    });
    EXPECT_TRUE(absl::IsUnavailable(status));
    EXPECT_EQ(calls, max_attempts);
  }
}

TEST(CallWithRetries, IsBoundedInTime) {
  RetryPolicy policy;
  policy.max_attempts = 1000;
  policy.initial_backoff = policy.max_backoff = milliseconds(3600000);
  policy.max_elapsed = milliseconds(1);
  int calls = 0;
  EXPECT_FALSE(CallWithRetries(policy, {}, [&](int) {
                 ++calls;
                 return absl::UnavailableError("down");
               }).ok());
  EXPECT_EQ(calls, 1);
}

TEST(CallWithRetries, RepeatsNoOtherError) {
  for (int code = 1; code <= 16; ++code) {
    if (static_cast<absl::StatusCode>(code) == absl::StatusCode::kUnavailable) continue;
    int calls = 0;
    const absl::Status status = CallWithRetries(Quick(5), {}, [&](int) {
      ++calls;
      return absl::Status(static_cast<absl::StatusCode>(code), "no");
    });
    EXPECT_EQ(static_cast<int>(status.code()), code);
    EXPECT_EQ(calls, 1) << code;
  }
}

TEST(CallWithRetries, WaitsForRoomOnlyWhenAskedToAndTold) {
  for (const bool asked : {false, true}) {
    for (const bool told : {false, true}) {
      RetryPolicy policy = Quick(4);
      policy.retry_when_exhausted = asked;
      int calls = 0;
      EXPECT_TRUE(absl::IsResourceExhausted(CallWithRetries(policy, {}, [&](int) {
        ++calls;
        return Exhausted(told);
      })));
      EXPECT_EQ(calls, asked && told ? 4 : 1);
    }
  }
}

TEST(CallWithRetries, EndsWhenStoppedInAPause) {
  RetryPolicy policy;
  policy.initial_backoff = policy.max_backoff = milliseconds(3600000);
  policy.max_elapsed = milliseconds(7200000);
  std::stop_source source;
  const absl::Status status = CallWithRetries(policy, source.get_token(), [&](int) {
    source.request_stop();
    return absl::UnavailableError("down");
  });
  EXPECT_TRUE(absl::IsCancelled(status));
}

}  // namespace
}  // namespace thresher::client
