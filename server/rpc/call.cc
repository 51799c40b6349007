#include "server/rpc/call.h"

#include <string>

#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

constexpr std::chrono::milliseconds kRetryDelay{500};

// Core's options keep the stopping rules in a part of their own, the wire does not.
std::string WithoutTermination(std::string path) {
  constexpr std::string_view kPart = "termination.";
  const size_t begin = path.find(kPart);
  if (begin != std::string::npos) path.erase(begin, kPart.size());
  return path;
}

// INVALID_ARGUMENT with the field's path in `request` in message and payload.
absl::Status WithFieldPath(const absl::Status& status, const google::protobuf::Message& request) {
  absl::Status named = store::FieldOf(status) ? status : store::NameField(status, /*prefix=*/"");
  const auto field = store::FieldOf(named);
  if (!field) return named;
  const std::string path = FieldPath(request, WithoutTermination(*field));
  if (path == *field) return named;
  std::string_view message(named.message().data(), named.message().size());
  if (message.starts_with(*field + ": ")) message.remove_prefix(field->size() + 2);
  return store::InvalidField(path, message);
}

}  // namespace

grpc::Status FinalStatus(const ServiceContext& context, absl::Status status,
                         const google::protobuf::Message& request) {
  if (absl::IsInvalidArgument(status)) status = WithFieldPath(status, request);
  if (absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) {
    context.metrics.Rejected(
        store::ReasonOf(status).value_or(std::string(ReasonForCode(status.code()))));
  }
  return ToGrpcStatus(status);
}

absl::Status Busy(std::string_view message, std::string_view reason) {
  return store::WithRetryAfter(
      store::WithReason(absl::ResourceExhaustedError({message.data(), message.size()}), reason),
      kRetryDelay);
}

absl::Status StillWanted(const grpc::CallbackServerContext& call) {
  if (call.deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError("the call's deadline passed before the server was done");
  }
  if (call.IsCancelled()) return absl::CancelledError("the client cancelled the call");
  return absl::OkStatus();
}

}  // namespace thresher::rpc
