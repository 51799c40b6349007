// Addresses to listen on, as flags give them.
#ifndef THRESHER_SERVER_LISTEN_ADDRESS_H_
#define THRESHER_SERVER_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/status.h"

namespace thresher {

// HOST:PORT, [IPV6]:PORT, and unix:PATH where `may_be_unix`.
// Errors: INVALID_ARGUMENT, "must be ...".
absl::Status CheckAddressForm(const std::string& address, bool may_be_unix);

// Whether a program could listen there now. Says why not in words that the gRPC library
// keeps to itself; nothing holds the port afterwards.
// Errors: UNAVAILABLE.
absl::Status CheckCanListen(const std::string& address);

}  // namespace thresher

#endif  // THRESHER_SERVER_LISTEN_ADDRESS_H_
