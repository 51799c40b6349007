#include "server/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

namespace thresher {
namespace {

constexpr char kUnix[] = "unix:";

bool IsUnix(const std::string& address) { return address.rfind(kUnix, 0) == 0; }

// Binds and listens on one address; 0 or errno.
int TryListen(const addrinfo& address) {
  const int descriptor = socket(address.ai_family, address.ai_socktype, address.ai_protocol);
  if (descriptor < 0) return errno;
  // As gRPC does: a port whose last owner has just ended is free.
  const int on = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = 0;
  if (bind(descriptor, address.ai_addr, address.ai_addrlen) != 0 || listen(descriptor, 1) != 0) {
    error = errno;
  }
  close(descriptor);
  return error;
}

}  // namespace

absl::Status CheckAddressForm(const std::string& address, bool may_be_unix) {
  const std::string form = may_be_unix ? "must be HOST:PORT, [IPV6]:PORT or unix:PATH"
                                       : "must be HOST:PORT or [IPV6]:PORT";
  if (IsUnix(address)) {
    if (may_be_unix && address.size() > std::strlen(kUnix)) return absl::OkStatus();
    return absl::InvalidArgumentError(form);
  }
  const size_t colon = address.rfind(':');
  const bool has_host_and_port =
      colon != std::string::npos && colon > 0 && colon + 1 < address.size();
  const bool has_bare_ipv6 =
      address.find(':') != colon && (address.front() != '[' || address[colon - 1] != ']');
  if (!has_host_and_port || has_bare_ipv6) return absl::InvalidArgumentError(form);
  int port = -1;
  const char* const end = address.data() + address.size();
  const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(form + ", with a port between 0 and 65535");
  }
  return absl::OkStatus();
}

absl::Status CheckCanListen(const std::string& address) {
  if (IsUnix(address)) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  const std::string port = address.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError("cannot listen on " + address + ": " + gai_strerror(error));
  }
  int error = 0;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    error = TryListen(*each);
    if (error == 0) break;
  }
  freeaddrinfo(found);
  if (error == 0) return absl::OkStatus();
  const std::string why = error == EADDRINUSE ? "another program uses this port"
                                              : std::generic_category().message(error);
  return absl::UnavailableError("cannot listen on " + address + ": " + why);
}

}  // namespace thresher
