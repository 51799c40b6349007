// Machine-readable details on absl::Status, as payloads: the words that a client can
// act on without reading the message. server/rpc turns them into google.rpc details.
//
// | payload                  | set on                                  | becomes              |
// | thresher/field           | INVALID_ARGUMENT                        | BadRequest           |
// | thresher/reason          | any                                     | ErrorInfo.reason     |
// | thresher/retry_after_ms  | RESOURCE_EXHAUSTED, UNAVAILABLE         | RetryInfo            |
// | thresher/quota           | RESOURCE_EXHAUSTED that no retry helps  | QuotaFailure.subject |
#ifndef THRESHER_SERVER_STORE_ERROR_DETAILS_H_
#define THRESHER_SERVER_STORE_ERROR_DETAILS_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace thresher::store {

inline constexpr char kFieldPayload[] = "thresher/field";
inline constexpr char kReasonPayload[] = "thresher/reason";
inline constexpr char kRetryAfterPayload[] = "thresher/retry_after_ms";
inline constexpr char kQuotaPayload[] = "thresher/quota";

// Reasons: UPPER_SNAKE_CASE, part of the wire's promise.
inline constexpr char kReasonInvalidField[] = "INVALID_FIELD";
inline constexpr char kReasonQueueFull[] = "QUEUE_FULL";
inline constexpr char kReasonMemoryBudget[] = "MEMORY_BUDGET_EXCEEDED";
inline constexpr char kReasonTooManyWatchers[] = "TOO_MANY_WATCHERS";
inline constexpr char kReasonServerStopping[] = "SERVER_STOPPING";
inline constexpr char kReasonDiskFull[] = "DISK_FULL";
inline constexpr char kReasonTooLarge[] = "TOO_LARGE";
inline constexpr char kReasonIdTaken[] = "ID_TAKEN";
inline constexpr char kReasonRequestIdReused[] = "REQUEST_ID_REUSED";
inline constexpr char kReasonInUse[] = "IN_USE";
inline constexpr char kReasonJobActive[] = "JOB_ACTIVE";
inline constexpr char kReasonNotFound[] = "NOT_FOUND";

// Each returns the status with one payload more; an OK status is returned as it is.
absl::Status WithField(absl::Status status, std::string_view field);
absl::Status WithReason(absl::Status status, std::string_view reason);
absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds delay);
absl::Status WithQuota(absl::Status status, std::string_view subject);

std::optional<std::string> FieldOf(const absl::Status& status);
std::optional<std::string> ReasonOf(const absl::Status& status);
std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status);
std::optional<std::string> QuotaOf(const absl::Status& status);

// INVALID_ARGUMENT "<field>: <message>" with field and reason.
absl::Status InvalidField(std::string_view field, std::string_view message);

// Gives an INVALID_ARGUMENT of core, whose message starts with the field's name and a
// colon, its field and reason; `prefix` ("recovery.options.", say) is put before the
// name in payload and message. Anything else is returned as it is.
absl::Status NameField(absl::Status status, std::string_view prefix);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_ERROR_DETAILS_H_
