#include "server/rpc/message_fields.h"

#include <gtest/gtest.h>

#include <string>

#include "thresher/v1/dataset_service.pb.h"
#include "thresher/v1/job_service.pb.h"

namespace thresher::rpc {
namespace {

v1::CreateJobRequest RecoveryRequest() {
  v1::CreateJobRequest request;
  request.mutable_job()->mutable_recovery()->mutable_options()->set_nonzeros(3);
  return request;
}

TEST(FieldPathTest, FindsTheInnermostFieldThatIsSet) {
  const v1::CreateJobRequest request = RecoveryRequest();
  EXPECT_EQ(FieldPath(request, "nonzeros"), "job.recovery.options.nonzeros");
  EXPECT_EQ(FieldPath(request, "step_size"), "job.recovery.options.step_size");
  EXPECT_EQ(FieldPath(request, "held_out_fraction"), "job.recovery.held_out_fraction");
  EXPECT_EQ(FieldPath(request, "labels"), "job.labels");
  EXPECT_EQ(FieldPath(request, "job_id"), "job_id");
}

TEST(FieldPathTest, KeepsWhatStandsBehindTheFirstWord) {
  const v1::CreateJobRequest request = RecoveryRequest();
  EXPECT_EQ(FieldPath(request, "recovery.options.nonzeros"), "job.recovery.options.nonzeros");
  EXPECT_EQ(FieldPath(request, "labels.team"), "job.labels.team");
  EXPECT_EQ(FieldPath(request, "job.recovery.options.nonzeros"), "job.recovery.options.nonzeros");
}

TEST(FieldPathTest, UnknownNamesStay) {
  EXPECT_EQ(FieldPath(RecoveryRequest(), "num_threads"), "num_threads");
  EXPECT_EQ(FieldPath(v1::CreateJobRequest(), "nonzeros"), "nonzeros");
}

TEST(FieldPathTest, PrefersThePartThatIsSet) {
  v1::CreateDatasetRequest request;
  request.mutable_dataset()->mutable_planted()->set_num_samples(-1);
  EXPECT_EQ(FieldPath(request, "num_samples"), "dataset.planted.num_samples");
}

TEST(RefuseUnknownFieldsTest, TakesWhatItKnows) {
  EXPECT_TRUE(RefuseUnknownFields(RecoveryRequest()).ok());
  EXPECT_TRUE(RefuseUnknownFields(v1::CreateJobRequest()).ok());
}

TEST(RefuseUnknownFieldsTest, NamesTheMessageAtAnyDepth) {
  v1::CreateJobRequest request = RecoveryRequest();
  v1::RecoveryOptions& options = *request.mutable_job()->mutable_recovery()->mutable_options();
  options.GetReflection()->MutableUnknownFields(&options)->AddVarint(999, 1);
  // Over the wire and back, as a newer client's message comes in.
  v1::CreateJobRequest received;
  ASSERT_TRUE(received.ParseFromString(request.SerializeAsString()));
  const absl::Status status = RefuseUnknownFields(received);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  EXPECT_NE(message.find("job.recovery.options: "), std::string::npos) << message;
  EXPECT_NE(message.find("999"), std::string::npos) << message;

  v1::CreateJobRequest top;
  top.GetReflection()->MutableUnknownFields(&top)->AddLengthDelimited(77, "x");
  EXPECT_FALSE(RefuseUnknownFields(top).ok());
}

}  // namespace
}  // namespace thresher::rpc
