#include "server/rpc/status.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "server/store/error_details.h"
#include "tests/server/rpc/error_details.h"

namespace thresher::rpc {
namespace {

TEST(ToGrpcStatusTest, OkStaysOk) {
  const grpc::Status status = ToGrpcStatus(absl::OkStatus());
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(status.error_details().empty());
}

TEST(ToGrpcStatusTest, EveryCodePassesThroughWithAReason) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "words"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "words");
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), code);
    EXPECT_EQ(details.message(), "words");
    const std::string reason = ReasonIn(status);
    EXPECT_FALSE(reason.empty());
    EXPECT_EQ(reason.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), std::string::npos) << reason;
    EXPECT_NE(CodeName(status.error_code()), "OK");
  }
}

TEST(ToGrpcStatusTest, InvalidFieldBecomesBadRequest) {
  const grpc::Status status =
      ToGrpcStatus(store::InvalidField("job.recovery.options.nonzeros", "must be at least 1"));
  EXPECT_TRUE(IsInvalidField(status, "job.recovery.options.nonzeros"));
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  EXPECT_EQ(bad_request->field_violations(0).description(), "must be at least 1");
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(status));
  EXPECT_FALSE(DetailOf<google::rpc::QuotaFailure>(status));
}

TEST(ToGrpcStatusTest, RetryAndQuotaAreCarried) {
  const grpc::Status retry = ToGrpcStatus(store::WithRetryAfter(
      store::WithReason(absl::ResourceExhaustedError("full"), store::kReasonQueueFull),
      std::chrono::milliseconds(1500)));
  EXPECT_EQ(ReasonIn(retry), "QUEUE_FULL");
  ASSERT_TRUE(DetailOf<google::rpc::RetryInfo>(retry));
  EXPECT_EQ(google::protobuf::util::TimeUtil::DurationToMilliseconds(
                DetailOf<google::rpc::RetryInfo>(retry)->retry_delay()),
            1500);
  const grpc::Status quota =
      ToGrpcStatus(store::WithQuota(absl::ResourceExhaustedError("too much"), "memory_budget"));
  ASSERT_TRUE(DetailOf<google::rpc::QuotaFailure>(quota));
  EXPECT_EQ(DetailOf<google::rpc::QuotaFailure>(quota)->violations(0).subject(), "memory_budget");
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(quota));
}

TEST(ToGrpcStatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string message = "x";
  while (message.size() < 3 * kMaxMessageBytes) message += "\xc3\xa9";  // two bytes each
  const grpc::Status status = ToGrpcStatus(absl::InternalError(message));
  EXPECT_LE(status.error_message().size(), kMaxMessageBytes);
  EXPECT_GE(status.error_message().size(), kMaxMessageBytes - 4);
  EXPECT_EQ(status.error_message().substr(status.error_message().size() - 3), "...");
  // A cut character would not be valid UTF-8, which protobuf refuses in strings.
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(status.error_message().size() % 2, (1 + 3) % 2);
  const std::string exact(kMaxMessageBytes, 'y');
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(exact)).error_message(), exact);
}

}  // namespace
}  // namespace thresher::rpc
