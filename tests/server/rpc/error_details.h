// Reads the google.rpc details of a failed call, for tests.
#ifndef THRESHER_TESTS_SERVER_RPC_ERROR_DETAILS_H_
#define THRESHER_TESTS_SERVER_RPC_ERROR_DETAILS_H_

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace thresher::rpc {

// The detail of this type, if the status carries one.
template <typename Detail>
std::optional<Detail> DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& any : details.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

inline std::string ReasonIn(const grpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  if (!info || info->domain() != "thresher") return "";
  return info->reason();
}

inline std::string FieldIn(const grpc::Status& status) {
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  if (!bad_request || bad_request->field_violations_size() != 1) return "";
  return bad_request->field_violations(0).field();
}

// An INVALID_ARGUMENT that names the field in BadRequest and in its message.
inline ::testing::AssertionResult IsInvalidField(const grpc::Status& status,
                                                 const std::string& field) {
  if (status.error_code() != grpc::StatusCode::INVALID_ARGUMENT || FieldIn(status) != field ||
      ReasonIn(status) != "INVALID_FIELD" || status.error_message().rfind(field + ": ", 0) != 0) {
    return ::testing::AssertionFailure()
           << "wanted INVALID_ARGUMENT on " << field << ", got code " << status.error_code()
           << " on '" << FieldIn(status) << "': " << status.error_message();
  }
  return ::testing::AssertionSuccess();
}

}  // namespace thresher::rpc

#endif  // THRESHER_TESTS_SERVER_RPC_ERROR_DETAILS_H_
