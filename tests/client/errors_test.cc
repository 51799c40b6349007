#include "client/errors.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using testing::HasSubstr;
using testing::Not;

grpc::Status WithDetails(const google::rpc::Status& proto) {
  return {static_cast<grpc::StatusCode>(proto.code()), proto.message(), proto.SerializeAsString()};
}

google::rpc::Status Everything() {
  google::rpc::Status proto;
  proto.set_code(3);
  proto.set_message("the job is not valid");
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("job.recovery.options.nonzeros");
  violation->set_description("must be at least 1");
  violation = bad.add_field_violations();
  violation->set_field("job.priority");
  violation->set_description("must be at most 100");
  proto.add_details()->PackFrom(bad);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  proto.add_details()->PackFrom(retry);
  google::rpc::QuotaFailure quota;
  quota.add_violations()->set_description("needs 9 GiB of 8 GiB");
  proto.add_details()->PackFrom(quota);
  return proto;
}

TEST(FromGrpcStatus, KeepsCodeMessageAndDetailsThereAndBack) {
  const google::rpc::Status proto = Everything();
  const absl::Status status = FromGrpcStatus(WithDetails(proto));
  EXPECT_EQ(static_cast<int>(status.code()), proto.code());
  EXPECT_EQ(status.message(), proto.message());
  const google::rpc::Status back = ToRpcStatus(status);
  EXPECT_EQ(back.code(), proto.code());
  EXPECT_EQ(back.message(), proto.message());
  ASSERT_EQ(back.details_size(), proto.details_size());
  for (const auto& detail : proto.details()) {
    EXPECT_TRUE(std::any_of(back.details().begin(), back.details().end(), [&](const auto& other) {
      return other.SerializeAsString() == detail.SerializeAsString();
    }));
  }
}

TEST(FromGrpcStatus, MarksWhereAnErrorCameFrom) {
  EXPECT_TRUE(IsFromCall(FromGrpcStatus({grpc::StatusCode::NOT_FOUND, "no"})));
  EXPECT_FALSE(IsFromCall(absl::NotFoundError("no")));
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(FromGrpcStatus, SurvivesDetailsThatAreNoProto) {
  const absl::Status status =
      FromGrpcStatus({grpc::StatusCode::INTERNAL, "odd", "\xff\xff\xff\xff not a message"});
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_EQ(DescribeError(status), "odd");
}

TEST(DescribeError, TellsEveryViolationAndThePause) {
  const std::string text = DescribeError(FromGrpcStatus(WithDetails(Everything())));
  EXPECT_THAT(text, HasSubstr("the job is not valid"));
  EXPECT_THAT(text, HasSubstr("job.recovery.options.nonzeros: must be at least 1"));
  EXPECT_THAT(text, HasSubstr("job.priority: must be at most 100"));
  EXPECT_THAT(text, HasSubstr("needs 9 GiB of 8 GiB"));
  EXPECT_THAT(text, HasSubstr("Try again in 2 s."));
}

TEST(DescribeError, DoesNotRepeatTheMessage) {
  google::rpc::Status proto = Everything();
  proto.set_message("nonzeros: must be at least 1");
  EXPECT_THAT(DescribeError(FromGrpcStatus(WithDetails(proto))),
              Not(HasSubstr("options.nonzeros: must be at least 1")));
}

TEST(DescribeError, NamesTheCodeOfAnEmptyMessage) {
  EXPECT_EQ(DescribeError(absl::AbortedError("")), "ABORTED");
}

TEST(RetryDelay, ReadsWhatTheServerSays) {
  EXPECT_EQ(RetryDelay(FromGrpcStatus(WithDetails(Everything()))), std::chrono::seconds(2));
  EXPECT_EQ(RetryDelay(absl::UnavailableError("down")), std::nullopt);
}

}  // namespace
}  // namespace thresher::client
