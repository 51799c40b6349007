#include "server/telemetry/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <vector>

namespace thresher::telemetry {
namespace {

std::string ReadWhole(const char* path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// The number after a label such as "VmHWM:" or "btime".
std::optional<int64_t> NumberAfter(const std::string& text, const std::string& label) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word;
    int64_t number = 0;
    if (words >> word && word == label && words >> number) return number;
  }
  return std::nullopt;
}

std::optional<int64_t> CountOpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return std::nullopt;
  return std::distance(begin(files), end(files)) - 1;  // less the folder itself
}

}  // namespace

std::optional<StatLine> ParseStatLine(std::string_view line, double ticks_per_second) {
  const size_t name_end = line.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  std::istringstream words{std::string(line.substr(name_end + 1))};
  // Field 3 of proc(5), the state, comes first here.
  const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
  constexpr size_t kUserTime = 14 - 3, kSystemTime = 15 - 3, kThreads = 20 - 3, kStart = 22 - 3,
                   kResident = 24 - 3;
  if (fields.size() <= kResident) return std::nullopt;
  auto number = [&](size_t index) { return std::strtod(fields[index].c_str(), nullptr); };
  return StatLine{.cpu_seconds = (number(kUserTime) + number(kSystemTime)) / ticks_per_second,
                  .threads = static_cast<int64_t>(number(kThreads)),
                  .start_seconds_after_boot = number(kStart) / ticks_per_second,
                  .resident_pages = static_cast<int64_t>(number(kResident))};
}

ProcessStatistics ReadProcessStatistics() {
  ProcessStatistics statistics;
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (const auto stat = ParseStatLine(ReadWhole("/proc/self/stat"), ticks)) {
    statistics.cpu_seconds = stat->cpu_seconds;
    statistics.threads = stat->threads;
    statistics.resident_memory_bytes = stat->resident_pages * sysconf(_SC_PAGESIZE);
    if (const auto boot = NumberAfter(ReadWhole("/proc/stat"), "btime")) {
      statistics.start_time_seconds = static_cast<double>(*boot) + stat->start_seconds_after_boot;
    }
  }
  if (const auto kibibytes = NumberAfter(ReadWhole("/proc/self/status"), "VmHWM:")) {
    statistics.resident_memory_peak_bytes = *kibibytes * 1024;
  }
  statistics.open_fds = CountOpenFiles();
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    statistics.max_fds = static_cast<int64_t>(limit.rlim_cur);
  }
  return statistics;
}

}  // namespace thresher::telemetry
