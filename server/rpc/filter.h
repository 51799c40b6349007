// The filter language of the List calls, a small part of AIP-160:
//
//   filter    = [ condition { "AND" condition } ]
//   condition = field "=" value
//   field     = name { "." name }            name = [a-z][a-z0-9_-]*
//   value     = word | string                word = [A-Za-z0-9_.-]+
//   string    = '"' { character | '\"' | '\\' } '"'
//
// This file knows the grammar only; which fields exist is the caller's business.
#ifndef THRESHER_SERVER_RPC_FILTER_H_
#define THRESHER_SERVER_RPC_FILTER_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thresher::rpc {

struct FilterCondition {
  std::string field;  // "labels.team"
  std::string value;  // without quotes and escapes
  bool operator==(const FilterCondition&) const = default;
};

inline constexpr size_t kMaxFilterBytes = 4096;
inline constexpr size_t kMaxFilterConditions = 32;

// The conditions in the order given; none for blank text.
// Errors: INVALID_ARGUMENT `filter: ...` with the position (counted from 1) and what
// was expected there; also for a field that is named twice, and beyond the limits.
// Cost: O(bytes).
absl::StatusOr<std::vector<FilterCondition>> ParseFilter(std::string_view text);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_FILTER_H_
