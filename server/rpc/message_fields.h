// Questions about the fields of any request, answered by reflection.
#ifndef THRESHER_SERVER_RPC_MESSAGE_FIELDS_H_
#define THRESHER_SERVER_RPC_MESSAGE_FIELDS_H_

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace thresher::rpc {

// A newer client may set fields that this server does not know. Running the request
// without them would do something else than asked, so they are refused.
// Errors: INVALID_ARGUMENT naming the message that holds such a field, and its number.
absl::Status RefuseUnknownFields(const google::protobuf::Message& request);

// The path of the field `name` inside the messages that `request` has set, innermost
// first: "nonzeros" and "recovery.options.nonzeros" become
// "job.recovery.options.nonzeros". A name whose first word is found nowhere stays as it
// is.
std::string FieldPath(const google::protobuf::Message& request, std::string_view name);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_MESSAGE_FIELDS_H_
