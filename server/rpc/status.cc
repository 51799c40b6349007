#include "server/rpc/status.h"

#include <google/protobuf/util/time_util.h>
#include <google/rpc/error_details.pb.h>

#include <string>

#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

// At most kMaxMessageBytes of valid UTF-8, which grpc-message must be.
std::string CutMessage(std::string_view message) {
  if (message.size() <= kMaxMessageBytes) return std::string(message);
  constexpr std::string_view kDots = "...";
  size_t end = kMaxMessageBytes - kDots.size();
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  return std::string(message.substr(0, end)).append(kDots);
}

template <typename Detail>
void AddDetail(const Detail& detail, google::rpc::Status& status) {
  status.add_details()->PackFrom(detail);
}

// The message without the "<field>: " that BadRequest says apart.
std::string_view WithoutField(std::string_view message, std::string_view field) {
  if (message.substr(0, field.size()) == field &&
      message.substr(field.size(), 2) == std::string_view(": ")) {
    message.remove_prefix(field.size() + 2);
  }
  return message;
}

}  // namespace

std::string_view ReasonForCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return store::kReasonInvalidField;
    case absl::StatusCode::kNotFound:
      return store::kReasonNotFound;
    case absl::StatusCode::kCancelled:
      return kReasonCancelled;
    case absl::StatusCode::kDeadlineExceeded:
      return kReasonDeadline;
    case absl::StatusCode::kAlreadyExists:
      return store::kReasonIdTaken;
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kResourceExhausted:
      return store::kReasonTooLarge;
    case absl::StatusCode::kDataLoss:
      return "DATA_LOSS";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    default:
      return "INTERNAL";
  }
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  if (status.ok()) return result;
  const std::string message = CutMessage({status.message().data(), status.message().size()});
  result.set_message(message);

  google::rpc::ErrorInfo info;
  info.set_domain(kErrorDomain);
  info.set_reason(store::ReasonOf(status).value_or(std::string(ReasonForCode(status.code()))));
  AddDetail(info, result);

  if (const auto field = store::FieldOf(status)) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(*field);
    violation->set_description(std::string(WithoutField(message, *field)));
    AddDetail(bad_request, result);
  }
  if (const auto delay = store::RetryAfterOf(status)) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() =
        google::protobuf::util::TimeUtil::MillisecondsToDuration(delay->count());
    AddDetail(retry, result);
  }
  if (const auto subject = store::QuotaOf(status)) {
    google::rpc::QuotaFailure quota;
    auto* violation = quota.add_violations();
    violation->set_subject(*subject);
    violation->set_description(message);
    AddDetail(quota, result);
  }
  return result;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()), details.message(),
                      details.SerializeAsString());
}

std::string_view CodeName(grpc::StatusCode code) {
  static constexpr std::string_view kNames[] = {"OK",
                                                "CANCELLED",
                                                "UNKNOWN",
                                                "INVALID_ARGUMENT",
                                                "DEADLINE_EXCEEDED",
                                                "NOT_FOUND",
                                                "ALREADY_EXISTS",
                                                "PERMISSION_DENIED",
                                                "RESOURCE_EXHAUSTED",
                                                "FAILED_PRECONDITION",
                                                "ABORTED",
                                                "OUT_OF_RANGE",
                                                "UNIMPLEMENTED",
                                                "INTERNAL",
                                                "UNAVAILABLE",
                                                "DATA_LOSS",
                                                "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

}  // namespace thresher::rpc
