// Where an absl::Status becomes a gRPC status: the only place that knows both.
//
// Every error carries google.rpc.ErrorInfo (domain "thresher"; proto/README.md lists the
// reasons), an INVALID_ARGUMENT that names its field BadRequest, one that goes away by
// itself RetryInfo, one that no retry helps QuotaFailure. Where these come from is said
// in server/store/error_details.h.
#ifndef THRESHER_SERVER_RPC_STATUS_H_
#define THRESHER_SERVER_RPC_STATUS_H_

#include <google/rpc/status.pb.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace thresher::rpc {

inline constexpr char kErrorDomain[] = "thresher";
// Longer messages are cut: message and details travel in HTTP headers, which peers limit
// to 8 KiB.
inline constexpr size_t kMaxMessageBytes = 512;

// What server/rpc refuses itself, beside the reasons of server/store/error_details.h.
inline constexpr char kReasonTooManyRequests[] = "TOO_MANY_REQUESTS";
inline constexpr char kReasonTooManyUploads[] = "TOO_MANY_UPLOADS";
inline constexpr char kReasonTooManyDownloads[] = "TOO_MANY_DOWNLOADS";
inline constexpr char kReasonStreamIdle[] = "STREAM_IDLE";
inline constexpr char kReasonCancelled[] = "CANCELLED";
inline constexpr char kReasonDeadline[] = "DEADLINE_EXCEEDED";

// The reason that the error carries, or one made from its code.
std::string_view ReasonForCode(absl::StatusCode code);

google::rpc::Status ToRpcStatus(const absl::Status& status);
grpc::Status ToGrpcStatus(const absl::Status& status);

// "NOT_FOUND", and so on, for metrics and logs.
std::string_view CodeName(grpc::StatusCode code);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_STATUS_H_
