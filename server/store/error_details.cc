#include "server/store/error_details.h"

#include <cctype>
#include <cstdlib>

#include "absl/strings/cord.h"

namespace thresher::store {
namespace {

absl::Status WithPayload(absl::Status status, const char* url, std::string_view text) {
  if (!status.ok()) status.SetPayload(url, absl::Cord(absl::string_view(text.data(), text.size())));
  return status;
}

std::optional<std::string> PayloadOf(const absl::Status& status, const char* url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace

absl::Status WithField(absl::Status status, std::string_view field) {
  return WithPayload(std::move(status), kFieldPayload, field);
}

absl::Status WithReason(absl::Status status, std::string_view reason) {
  return WithPayload(std::move(status), kReasonPayload, reason);
}

absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds delay) {
  return WithPayload(std::move(status), kRetryAfterPayload, std::to_string(delay.count()));
}

absl::Status WithQuota(absl::Status status, std::string_view subject) {
  return WithPayload(std::move(status), kQuotaPayload, subject);
}

std::optional<std::string> FieldOf(const absl::Status& status) {
  return PayloadOf(status, kFieldPayload);
}

std::optional<std::string> ReasonOf(const absl::Status& status) {
  return PayloadOf(status, kReasonPayload);
}

std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status) {
  const std::optional<std::string> text = PayloadOf(status, kRetryAfterPayload);
  if (!text.has_value()) return std::nullopt;
  return std::chrono::milliseconds(std::strtoll(text->c_str(), nullptr, 10));
}

std::optional<std::string> QuotaOf(const absl::Status& status) {
  return PayloadOf(status, kQuotaPayload);
}

absl::Status InvalidField(std::string_view field, std::string_view message) {
  std::string text(field);
  text.append(": ").append(message);
  return WithReason(WithField(absl::InvalidArgumentError(text), field), kReasonInvalidField);
}

absl::Status NameField(absl::Status status, std::string_view prefix) {
  if (status.code() != absl::StatusCode::kInvalidArgument || FieldOf(status).has_value()) {
    return status;
  }
  const std::string message(status.message());
  size_t length = 0;
  while (length < message.size() && (std::islower(static_cast<unsigned char>(message[length])) ||
                                     std::isdigit(static_cast<unsigned char>(message[length])) ||
                                     message[length] == '_' || message[length] == '.')) {
    ++length;
  }
  if (length == 0 || message.compare(length, 2, ": ") != 0) return status;
  return InvalidField(std::string(prefix) + message.substr(0, length), message.substr(length + 2));
}

}  // namespace thresher::store
