// thresher, the command-line client of thresherd.

#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "client/command_line.h"
#include "client/commands.h"
#include "client/errors.h"
#include "client/interrupt.h"
#include "client/job_text.h"

namespace {

using namespace thresher::client;  // NOLINT: this is the client's own program

int Run(const std::vector<std::string>& arguments) {
  const ParsedCommandLine parsed = ParseCommandLine(arguments);
  if (!parsed.command_line) {
    const bool json = std::count(arguments.begin(), arguments.end(), "--json") > 0;
    if (parsed.exit_code == kExitOk) {
      std::cout << parsed.text;
    } else if (json) {
      std::cerr << ToJson(ToRpcStatus(absl::InvalidArgumentError(parsed.text))) << "\n";
    } else {
      std::cerr << parsed.text;
    }
    return parsed.exit_code;
  }
  const Interrupt interrupt;
  return RunCommand(*parsed.command_line,
                    {&std::cout, &std::cerr, STDOUT_FILENO, interrupt.token()});
}

}  // namespace

int main(int argc, char** argv) {
  // The locale decides which characters the terminal shows; numbers keep their point.
  std::setlocale(LC_CTYPE, "");  // NOLINT(concurrency-mt-unsafe): no thread runs yet
  int exit_code;
  try {
    exit_code = Run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << "thresher: " << error.what() << "\n";
    return kExitUnexpected;
  }
  std::cout.flush();
  if (!std::cout && exit_code == kExitOk) {
    std::cerr << "thresher: cannot write to standard output\n";
    return kExitUnexpected;
  }
  return exit_code;
}
