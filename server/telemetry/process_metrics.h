// The process_* metrics that Prometheus's client libraries agree on, from /proc.
#ifndef THRESHER_SERVER_TELEMETRY_PROCESS_METRICS_H_
#define THRESHER_SERVER_TELEMETRY_PROCESS_METRICS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace thresher::telemetry {

// Each unset where the system does not say.
struct ProcessStatistics {
  std::optional<double> cpu_seconds;
  std::optional<double> start_time_seconds;  // since 1970
  std::optional<int64_t> resident_memory_bytes;
  std::optional<int64_t> resident_memory_peak_bytes;
  std::optional<int64_t> threads;
  std::optional<int64_t> open_fds;
  std::optional<int64_t> max_fds;
};

ProcessStatistics ReadProcessStatistics();

// The fields of /proc/self/stat used here.
// Handles program names with spaces and parentheses.
struct StatLine {
  double cpu_seconds = 0;
  int64_t threads = 0;
  double start_seconds_after_boot = 0;
  int64_t resident_pages = 0;
};
std::optional<StatLine> ParseStatLine(std::string_view line, double ticks_per_second);

}  // namespace thresher::telemetry

#endif  // THRESHER_SERVER_TELEMETRY_PROCESS_METRICS_H_
