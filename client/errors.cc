#include "client/errors.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"

namespace thresher::client {
namespace {

constexpr char kFromCallUrl[] = "thresher.client/from_call";
constexpr char kTypePrefix[] = "type.googleapis.com/";

// The detail of this type, if the status has a readable one.
template <typename Detail>
std::optional<Detail> FindDetail(const absl::Status& status) {
  const auto payload =
      status.GetPayload(absl::StrCat(kTypePrefix, Detail::descriptor()->full_name()));
  Detail detail;
  if (!payload || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

std::string FormatPause(std::chrono::milliseconds pause) {
  if (pause.count() < 1000) return absl::StrCat(pause.count(), " ms");
  return absl::StrCat((pause.count() + 999) / 1000, " s");
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status proto;
  if (proto.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : proto.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  result.SetPayload(kFromCallUrl, absl::Cord());
  return result;
}

bool IsFromCall(const absl::Status& status) { return status.GetPayload(kFromCallUrl).has_value(); }

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));
  proto.set_message(std::string(status.message()));
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& value) {
    if (type_url == kFromCallUrl) return;
    google::protobuf::Any* detail = proto.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(value));
  });
  return proto;
}

std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status) {
  const auto retry = FindDetail<google::rpc::RetryInfo>(status);
  if (!retry) return std::nullopt;
  const int64_t delay =
      google::protobuf::util::TimeUtil::DurationToMilliseconds(retry->retry_delay());
  return std::chrono::milliseconds(std::max<int64_t>(0, delay));
}

std::string DescribeError(const absl::Status& status) {
  std::string text(status.message());
  if (text.empty()) text = absl::StatusCodeToString(status.code());
  const auto add = [&text](const std::string& subject, const std::string& description) {
    if (!description.empty() && text.find(description) != std::string::npos) return;
    absl::StrAppend(&text, "\n  ", subject, subject.empty() ? "" : ": ", description);
  };
  if (const auto bad = FindDetail<google::rpc::BadRequest>(status)) {
    for (const auto& violation : bad->field_violations()) {
      add(violation.field(), violation.description());
    }
  }
  if (const auto quota = FindDetail<google::rpc::QuotaFailure>(status)) {
    for (const auto& violation : quota->violations()) {
      add(violation.subject(), violation.description());
    }
  }
  if (const auto pause = RetryDelay(status)) {
    absl::StrAppend(&text, "\n  Try again in ", FormatPause(*pause), ".");
  }
  return text;
}

}  // namespace thresher::client
