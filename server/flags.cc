#include "server/flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "server/listen_address.h"

namespace thresher {
namespace {

// Number and unit of "4.5GiB"; nothing when it does not start with a number >= 0.
std::optional<std::pair<double, std::string>> SplitUnit(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  return std::pair(number, std::string(static_cast<const char*>(end)));
}

std::optional<int64_t> Scaled(double number, double factor) {
  const double value = number * factor;
  if (value >= 9.2e18) return std::nullopt;
  return static_cast<int64_t>(std::llround(value));
}

std::string BytesText(int64_t bytes) {
  for (const auto& [unit, size] :
       {std::pair("GiB", int64_t{1} << 30), std::pair("MiB", int64_t{1} << 20)}) {
    if (bytes >= size && bytes % size == 0) return std::to_string(bytes / size) + unit;
  }
  return std::to_string(bytes);
}

std::optional<int64_t> ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number && number > 0) return number;
  return std::nullopt;  // also for cgroup v2's "max"
}

constexpr size_t kHelpIndent = 34;
constexpr size_t kHelpWidth = 100 - kHelpIndent;

// The text in lines of at most kHelpWidth, `ending` in one piece; CLI11 indents them.
std::string Wrapped(const std::string& text, const std::string& ending) {
  std::istringstream stream(text);
  std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
  words.push_back(ending);
  std::string wrapped;
  size_t line = 0;  // bytes in the last line
  for (const std::string& word : words) {
    if (line > 0) {
      const bool fits = line + 1 + word.size() <= kHelpWidth;
      wrapped += fits ? ' ' : '\n';
      line = fits ? line + 1 : 0;
    }
    wrapped += word;
    line += word.size();
  }
  return wrapped;
}

class FlagParser {
 public:
  FlagParser() {
    app_.name("thresherd");
    app_.description(
        "Recovers sparse neural networks from samples, as a service over gRPC.\n"
        "There is no authentication: by default it listens on this machine only. Listen\n"
        "elsewhere only where everyone who reaches the port may use it.\n"
        "Bytes take suffixes (512MiB, 4GB), times too (250ms, 5s, 10m, 2h).");
    app_.set_version_flag("--version",
                          std::string("thresherd ") + THRESHER_VERSION +
                              (*THRESHER_COMMIT ? " (" THRESHER_COMMIT ")" : ""),
                          "Print the version and exit");
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app_.get_formatter()->column_width(kHelpIndent);
  }

  CLI::App& app() { return app_; }

  void Address(const std::string& name, std::string& target, bool may_be_unix,
               const std::string& help) {
    Add(name, may_be_unix ? "ADDRESS" : "HOST:PORT", target, help,
        [&target, may_be_unix](const std::string& text) {
          target = text;
          return std::string(CheckAddressForm(text, may_be_unix).message());
        });
  }

  void Text(const std::string& name, const std::string& type, std::string& target,
            const std::string& help) {
    Add(name, type, target, help, [&target](const std::string& text) {
      target = text;
      return std::string(text.empty() ? "must not be empty" : "");
    });
  }

  template <typename Number>
  void Count(const std::string& name, Number& target, int64_t least, int64_t most,
             const std::string& help) {
    Add(name, "N", std::to_string(target), help,
        [&target, least, most](const std::string& text) -> std::string {
          int64_t number = 0;
          const char* const end = text.data() + text.size();
          const auto parsed = std::from_chars(text.data(), end, number);
          if (parsed.ec != std::errc() || parsed.ptr != end || number < least || number > most) {
            return "must be a whole number between " + std::to_string(least) + " and " +
                   std::to_string(most);
          }
          target = static_cast<Number>(number);
          return "";
        });
  }

  void Bytes(const std::string& name, int64_t& target, int64_t least, int64_t most,
             const std::string& help) {
    Add(name, "BYTES", BytesText(target), help,
        [&target, least, most](const std::string& text) -> std::string {
          const auto bytes = ParseBytes(text);
          if (!bytes || *bytes < least || *bytes > most) {
            return "must be a number of bytes such as 4GiB, between " + BytesText(least) + " and " +
                   BytesText(most);
          }
          target = *bytes;
          return "";
        });
  }

  void Duration(const std::string& name, std::chrono::milliseconds& target,
                std::chrono::milliseconds least, const std::string& help) {
    Add(name, "TIME", target.count() == 0 ? "0" : std::to_string(target.count() / 1000) + "s", help,
        [&target, least](const std::string& text) -> std::string {
          const auto duration = ParseDuration(text);
          constexpr std::chrono::hours kMost{24 * 365};
          if (!duration || *duration < least || *duration > kMost) {
            return "must be a time such as 5s or 250ms, at least " + std::to_string(least.count()) +
                   "ms and at most 365 days";
          }
          target = *duration;
          return "";
        });
  }

  template <typename Value, typename Parse>
  void Choice(const std::string& name, const std::string& choices, const std::string& shown,
              Value& target, Parse parse, const std::string& help) {
    Add(name, "NAME", shown, help + ": " + choices,
        [&target, parse, choices](const std::string& text) -> std::string {
          const auto value = parse(text);
          if (!value) return "must be one of " + choices;
          target = *value;
          return "";
        });
  }

 private:
  // `store` keeps the value, or says what is wrong with it.
  void Add(const std::string& name, const std::string& type, const std::string& shown_default,
           const std::string& help, std::function<std::string(const std::string&)> store) {
    CLI::Option* option = app_.add_option_function<std::string>(
        "--" + name,
        [name, store = std::move(store)](const std::string& text) {
          const std::string error = store(text);
          if (!error.empty()) {
            throw CLI::ValidationError("--" + name, error + ", not '" + text + "'");
          }
        },
        Wrapped(help, "[default: " + shown_default + "]"));
    option->type_name(type);
  }

  CLI::App app_;
};

}  // namespace

std::optional<int64_t> ParseBytes(const std::string& text) {
  const auto parts = SplitUnit(text);
  if (!parts) return std::nullopt;
  const auto& [number, unit] = *parts;
  if (unit.empty() || unit == "B") return Scaled(number, 1);
  constexpr std::string_view kPrefixes = "KMGT";
  const size_t power = kPrefixes.find(unit[0] == 'k' ? 'K' : unit[0]);
  const std::string rest = unit.substr(1);
  if (power == std::string_view::npos) return std::nullopt;
  if (rest == "iB" || rest == "i") return Scaled(number, std::pow(1024.0, double(power + 1)));
  if (rest == "B" || rest.empty()) return Scaled(number, std::pow(1000.0, double(power + 1)));
  return std::nullopt;
}

std::optional<std::chrono::milliseconds> ParseDuration(const std::string& text) {
  const auto parts = SplitUnit(text);
  if (!parts) return std::nullopt;
  const auto& [number, unit] = *parts;
  for (const auto& [name, milliseconds] :
       {std::pair("", 1e3), std::pair("s", 1e3), std::pair("ms", 1.0), std::pair("m", 6e4),
        std::pair("h", 3.6e6)}) {
    if (unit == name) {
      const auto scaled = Scaled(number, milliseconds);
      if (!scaled) return std::nullopt;
      return std::chrono::milliseconds(*scaled);
    }
  }
  return std::nullopt;
}

int64_t AvailableMemoryBytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (const auto limit = ReadNumber(path)) bytes = std::min(bytes, *limit);
  }
  return bytes;
}

ParsedFlags ParseFlags(int argc, const char* const* argv) {
  ParsedFlags parsed;
  Flags& flags = parsed.flags;
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  flags.workers = std::clamp(processors / 2, 1, 4);
  flags.threads_per_job = std::max(1, processors / flags.workers);
  constexpr int64_t kMiB = int64_t{1} << 20;
  flags.memory_budget_bytes = std::max(64 * kMiB, AvailableMemoryBytes() * 3 / 4 / kMiB * kMiB);

  FlagParser parser;
  parser.Address("listen_address", flags.listen_address, /*may_be_unix=*/true,
                 "Where to serve gRPC: HOST:PORT, [IPV6]:PORT or unix:PATH; port 0 picks a free "
                 "one, which is printed");
  parser.Address("metrics_address", flags.metrics_address, /*may_be_unix=*/false,
                 "Where to serve /metrics for Prometheus over HTTP; port 0 picks a free one");
  parser.Text("data_dir", "DIRECTORY", flags.data_dir,
              "Holds everything that outlives the process; created when missing, used by one "
              "server at a time");
  parser.Count("workers", flags.workers, 1, 1024, "Jobs that run at once");
  parser.Count("threads_per_job", flags.threads_per_job, 1, 256,
               "Threads of each running job; results do not depend on it");
  parser.Bytes("memory_budget", flags.memory_budget_bytes, kMiB, int64_t{1} << 50,
               "What running jobs may together be predicted to need; the default is three "
               "quarters of the memory of this machine or container. Reading uploads may take a "
               "quarter of this on top");
  parser.Count("max_queued_jobs", flags.max_queued_jobs, 1, 10'000'000,
               "Jobs that may wait; more are refused with RESOURCE_EXHAUSTED");
  parser.Count("max_retained_jobs", flags.max_retained_jobs, 1, 100'000'000,
               "Ended jobs that are kept; the oldest go first, their models stay");
  parser.Bytes("max_upload_bytes", flags.max_upload_bytes, 1, int64_t{1} << 40,
               "Largest file of an upload");
  parser.Bytes("max_message_bytes", flags.max_message_bytes, 1 << 16, int64_t{1} << 30,
               "Largest gRPC message that is taken");
  parser.Count("max_watch_streams", flags.max_watch_streams, 1, 1'000'000,
               "Open WatchJob calls; more are refused with RESOURCE_EXHAUSTED");
  parser.Duration("checkpoint_interval", flags.checkpoint_interval, std::chrono::milliseconds(10),
                  "Time between two checkpoints of a running job: what a crash can cost");
  parser.Duration("default_time_limit", flags.default_time_limit, std::chrono::milliseconds(0),
                  "Solving time of jobs that do not say; 0 means no limit");
  parser.Duration("grace_period", flags.grace_period, std::chrono::milliseconds(100),
                  "Time to stop in after SIGTERM or SIGINT; running jobs are checkpointed and "
                  "resume at the next start. A second signal stops at once");
  parser.Choice("log_level", "debug|info|warning|error|off", "info", flags.log_level,
                telemetry::ParseLogLevel,
                "Calls that succeed are logged at debug, those that fail at info. Least level of "
                "the lines on standard error");
  parser.Choice("log_format", "text|json", "text", flags.log_format, telemetry::ParseLogFormat,
                "Form of the lines on standard error");
  try {
    parser.app().parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = parser.app().exit(error, std::cout, std::cerr);
    parsed.exit_code = code == 0 ? 0 : 2;
  }
  return parsed;
}

}  // namespace thresher
