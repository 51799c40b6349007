#include "server/telemetry/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

namespace thresher::telemetry {
namespace {

struct Configuration {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  std::shared_ptr<spdlog::logger> logger;
};

Configuration& Current() {
  static Configuration& configuration = *[] {
    auto* created = new Configuration;
    created->logger = std::make_shared<spdlog::logger>(
        "thresher", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->logger->set_pattern("%v");
    created->logger->set_level(spdlog::level::trace);
    created->logger->flush_on(spdlog::level::trace);
    return created;
  }();
  return configuration;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
    case LogLevel::kOff:
      break;
  }
  return "off";
}

std::string CurrentTime() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char text[64];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%03dZ", static_cast<int>(milliseconds));
  return text;
}

// As JSON, invalid UTF-8 replaced.
std::string Quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool IsPlain(std::string_view text) {
  for (char c : text) {
    if (c <= ' ' || c >= 127 || c == '"' || c == '\\' || c == '=') return false;
  }
  return !text.empty();
}

}  // namespace

std::optional<LogLevel> ParseLogLevel(std::string_view name) {
  for (LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kOff}) {
    if (name == LevelName(level)) return level;
  }
  return std::nullopt;
}

std::optional<LogFormat> ParseLogFormat(std::string_view name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return std::nullopt;
}

std::string FormatLogLine(LogFormat format, std::string_view time, LogLevel level,
                          std::string_view message, std::initializer_list<LogField> fields) {
  std::string line;
  if (format == LogFormat::kJson) {
    line.append("{\"time\":").append(Quoted(time));
    line.append(",\"level\":").append(Quoted(LevelName(level)));
    line.append(",\"message\":").append(Quoted(message));
    for (const auto& [key, value] : fields) {
      line.append(",").append(Quoted(key)).append(":").append(Quoted(value));
    }
    line.append("}");
    return line;
  }
  line.append(time).append(" ").append(LevelName(level)).append(" ");
  // The message is the program's own text, but may quote a client's.
  const std::string quoted = Quoted(message);
  line.append(quoted, 1, quoted.size() - 2);
  for (const auto& [key, value] : fields) {
    line.append(" ").append(key).append("=").append(IsPlain(value) ? value : Quoted(value));
  }
  return line;
}

void SetUpLogging(LogLevel level, LogFormat format) {
  Current().level = level;
  Current().format = format;
}

bool LogEnabled(LogLevel level) { return level != LogLevel::kOff && level >= Current().level; }

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  Configuration& current = Current();
  const std::string line = FormatLogLine(current.format, CurrentTime(), level, message, fields);
  current.logger->log(spdlog::level::info, line);
}

}  // namespace thresher::telemetry
