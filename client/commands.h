#ifndef THRESHER_CLIENT_COMMANDS_H_
#define THRESHER_CLIENT_COMMANDS_H_

#include <ostream>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "client/command_line.h"

namespace thresher::client {

// Where a command writes to, and what interrupts it.
struct Surroundings {
  std::ostream* out;
  std::ostream* err;
  // The file descriptor behind `out`; asked whether it is a terminal.
  int out_descriptor;
  std::stop_token stop;
};

// Runs a command to its end and returns the exit code. Results go to `out`; errors, with what
// to do about them, to `err`.
int RunCommand(const CommandLine& line, const Surroundings& surroundings);

// The exit code of a command that ended with this error.
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_COMMANDS_H_
