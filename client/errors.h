#ifndef THRESHER_CLIENT_ERRORS_H_
#define THRESHER_CLIENT_ERRORS_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace thresher::client {

// The status of a call as absl::Status. Error details (google.rpc.BadRequest and so on) become
// payloads under their type URL; the status is marked as coming from a call.
absl::Status FromGrpcStatus(const grpc::Status& status);

// True when the status came from a call and not from the client itself (a file that cannot be
// read, for example).
bool IsFromCall(const absl::Status& status);

// The inverse, for printing: code, message and details.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The pause that the server asks for (google.rpc.RetryInfo), if it does.
std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status);

// What happened, for a person: the message, each field violation and exceeded quota that the
// message does not tell already, and when to try again.
std::string DescribeError(const absl::Status& status);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_ERRORS_H_
