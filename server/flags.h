// The flags of thresherd.
#ifndef THRESHER_SERVER_FLAGS_H_
#define THRESHER_SERVER_FLAGS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "server/telemetry/logging.h"

namespace thresher {

struct Flags {
  std::string listen_address = "127.0.0.1:7700";
  std::string metrics_address = "127.0.0.1:7701";
  std::string data_dir = "thresher-data";
  int workers = 1;
  int threads_per_job = 1;
  int64_t memory_budget_bytes = 0;
  int64_t max_queued_jobs = 1000;
  int64_t max_retained_jobs = 10'000;
  int64_t max_upload_bytes = int64_t{1} << 30;
  int64_t max_message_bytes = int64_t{16} << 20;
  int64_t max_watch_streams = 1000;
  std::chrono::milliseconds checkpoint_interval{5'000};
  std::chrono::milliseconds default_time_limit{0};  // 0: none
  std::chrono::milliseconds grace_period{30'000};
  telemetry::LogLevel log_level = telemetry::LogLevel::kInfo;
  telemetry::LogFormat log_format = telemetry::LogFormat::kText;
};

// The flags, or the code to exit with when the program has nothing more to do: --help
// and --version (0), a bad flag (2, after a sentence on standard error).
struct ParsedFlags {
  Flags flags;
  std::optional<int> exit_code;
};
ParsedFlags ParseFlags(int argc, const char* const* argv);

// "4GiB", "500MB", "1048576": bytes. KB is 1000, KiB 1024.
std::optional<int64_t> ParseBytes(const std::string& text);
// "250ms", "5s", "10m", "2h"; a bare number is seconds.
std::optional<std::chrono::milliseconds> ParseDuration(const std::string& text);

// Memory that this process may use: of the machine, or less where a control group
// limits it.
int64_t AvailableMemoryBytes();

}  // namespace thresher

#endif  // THRESHER_SERVER_FLAGS_H_
