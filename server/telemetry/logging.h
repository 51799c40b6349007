// Log lines on standard error, as text or as one JSON object a line.
//
//   2026-01-31T12:00:00.000Z info job started job=jobs/a attempt=1
//   {"time":"2026-01-31T12:00:00.000Z","level":"info","message":"job started","job":"jobs/a",...}
//
// Values may come from clients: control characters are escaped, so one call is one line.
#ifndef THRESHER_SERVER_TELEMETRY_LOGGING_H_
#define THRESHER_SERVER_TELEMETRY_LOGGING_H_

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace thresher::telemetry {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };
enum class LogFormat { kText, kJson };

// "debug", "info", "warning", "error", "off"; "text", "json".
std::optional<LogLevel> ParseLogLevel(std::string_view name);
std::optional<LogFormat> ParseLogFormat(std::string_view name);

using LogField = std::pair<std::string_view, std::string>;

// One finished line without its line end; the time is given for the tests' sake.
std::string FormatLogLine(LogFormat format, std::string_view time, LogLevel level,
                          std::string_view message, std::initializer_list<LogField> fields);

// Call once, before other threads start. Until then lines are text from level info.
void SetUpLogging(LogLevel level, LogFormat format);

// True when a line of this level would be written: lets callers skip building fields.
bool LogEnabled(LogLevel level);

// Writes one line. Any thread. Keys are literals of the program: [a-z_]+.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace thresher::telemetry

#endif  // THRESHER_SERVER_TELEMETRY_LOGGING_H_
