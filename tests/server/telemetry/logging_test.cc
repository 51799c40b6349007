#include "server/telemetry/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace thresher::telemetry {
namespace {

constexpr char kTime[] = "2026-01-31T12:00:00.000Z";

TEST(FormatLogLineTest, TextIsReadable) {
  EXPECT_EQ(FormatLogLine(LogFormat::kText, kTime, LogLevel::kInfo, "job started",
                          {{"job", "jobs/a"}, {"attempt", "1"}}),
            "2026-01-31T12:00:00.000Z info job started job=jobs/a attempt=1");
}

TEST(FormatLogLineTest, JsonHoldsWhatWasGiven) {
  const std::string line = FormatLogLine(LogFormat::kJson, kTime, LogLevel::kError, "say \"x\"",
                                         {{"peer", "ipv4:1.2.3.4:5"}, {"empty", ""}});
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], kTime);
  EXPECT_EQ(json["level"], "error");
  EXPECT_EQ(json["message"], "say \"x\"");
  EXPECT_EQ(json["peer"], "ipv4:1.2.3.4:5");
  EXPECT_EQ(json["empty"], "");
}

TEST(FormatLogLineTest, ClientsCannotForgeLinesOrFields) {
  const std::string values[] = {"two\nlines", "cr\rlf",   "quote\" level=error",
                                "a b",        "x=y",      "",
                                "\x1b[31m",   "\xff\xfe", std::string("nul\0byte", 8)};
  for (const std::string& value : values) {
    for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
      const std::string line =
          FormatLogLine(format, kTime, LogLevel::kInfo, "call " + value, {{"error", value}});
      for (const char c : line) {
        EXPECT_TRUE(static_cast<unsigned char>(c) >= ' ') << line;
      }
      if (format == LogFormat::kJson) {
        EXPECT_TRUE(nlohmann::json::accept(line)) << line;
      } else {
        // Behind "error=" stands one JSON string or one plain word.
        const std::string text = line.substr(line.rfind(" error=") + 7);
        EXPECT_TRUE(nlohmann::json::accept(text) || text == value) << line;
      }
    }
  }
}

TEST(LogNamesTest, RoundTrip) {
  EXPECT_EQ(ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("off"), LogLevel::kOff);
  EXPECT_EQ(ParseLogLevel("loud"), std::nullopt);
  EXPECT_EQ(ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_EQ(ParseLogFormat("xml"), std::nullopt);
}

TEST(LogTest, LevelsBelowAreLeftOut) {
  ::testing::internal::CaptureStderr();
  SetUpLogging(LogLevel::kWarning, LogFormat::kText);
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kWarning, "loud {} %s", {{"key", "{value}"}});
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("quiet"), std::string::npos);
  // Braces and percent signs are text, not formats.
  EXPECT_NE(text.find(" warning loud {} %s key={value}\n"), std::string::npos) << text;
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
  EXPECT_FALSE(LogEnabled(LogLevel::kOff));
}

}  // namespace
}  // namespace thresher::telemetry
