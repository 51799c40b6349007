#include "server/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "server/listen_address.h"

namespace thresher {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

ParsedFlags Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "thresherd");
  return ParseFlags(static_cast<int>(arguments.size()), arguments.data());
}

TEST(ParseBytesTest, KnowsBinaryAndDecimalSuffixes) {
  EXPECT_EQ(ParseBytes("0"), 0);
  EXPECT_EQ(ParseBytes("4096"), 4096);
  EXPECT_EQ(ParseBytes("4GiB"), int64_t{4} << 30);
  EXPECT_EQ(ParseBytes("4GB"), 4'000'000'000);
  EXPECT_EQ(ParseBytes("4G"), 4'000'000'000);
  EXPECT_EQ(ParseBytes("1.5KiB"), 1536);
  EXPECT_EQ(ParseBytes("2MiB"), 2 << 20);
  for (const char* bad : {"", "GiB", "-1", "4 GiB", "4GiBx", "4X", "nan", "inf", "1e300", "4iB"}) {
    EXPECT_EQ(ParseBytes(bad), std::nullopt) << bad;
  }
}

TEST(ParseDurationTest, KnowsItsUnits) {
  EXPECT_EQ(ParseDuration("0"), milliseconds(0));
  EXPECT_EQ(ParseDuration("250ms"), milliseconds(250));
  EXPECT_EQ(ParseDuration("5s"), milliseconds(5000));
  EXPECT_EQ(ParseDuration("1.5"), milliseconds(1500));
  EXPECT_EQ(ParseDuration("10m"), milliseconds(600'000));
  EXPECT_EQ(ParseDuration("2h"), milliseconds(7'200'000));
  for (const char* bad : {"", "s", "-5s", "5 s", "5d", "1e300h", "nan"}) {
    EXPECT_EQ(ParseDuration(bad), std::nullopt) << bad;
  }
}

TEST(ParseFlagsTest, DefaultsListenOnThisMachineOnly) {
  const ParsedFlags parsed = Parse({});
  EXPECT_EQ(parsed.exit_code, std::nullopt);
  EXPECT_EQ(parsed.flags.listen_address, "127.0.0.1:7700");
  EXPECT_EQ(parsed.flags.metrics_address, "127.0.0.1:7701");
  EXPECT_GE(parsed.flags.workers, 1);
  EXPECT_GE(parsed.flags.threads_per_job, 1);
  EXPECT_GT(parsed.flags.memory_budget_bytes, 0);
  EXPECT_LE(parsed.flags.memory_budget_bytes, std::max(AvailableMemoryBytes(), int64_t{64} << 20));
}

TEST(ParseFlagsTest, ReadsEveryFlag) {
  const ParsedFlags parsed = Parse({"--listen_address",
                                    "unix:/run/x",
                                    "--metrics_address=[::1]:0",
                                    "--data_dir",
                                    "d",
                                    "--workers",
                                    "3",
                                    "--threads_per_job",
                                    "2",
                                    "--memory_budget",
                                    "4GiB",
                                    "--max_queued_jobs",
                                    "5",
                                    "--max_retained_jobs",
                                    "6",
                                    "--max_upload_bytes",
                                    "7",
                                    "--max_message_bytes",
                                    "1MiB",
                                    "--checkpoint_interval",
                                    "250ms",
                                    "--default_time_limit",
                                    "1h",
                                    "--grace_period",
                                    "9s",
                                    "--log_level",
                                    "error",
                                    "--log_format",
                                    "json",
                                    "--max_watch_streams",
                                    "8"});
  ASSERT_EQ(parsed.exit_code, std::nullopt);
  const Flags& flags = parsed.flags;
  EXPECT_EQ(flags.listen_address, "unix:/run/x");
  EXPECT_EQ(flags.metrics_address, "[::1]:0");
  EXPECT_EQ(flags.data_dir, "d");
  EXPECT_EQ(flags.workers, 3);
  EXPECT_EQ(flags.threads_per_job, 2);
  EXPECT_EQ(flags.memory_budget_bytes, int64_t{4} << 30);
  EXPECT_EQ(flags.max_queued_jobs, 5);
  EXPECT_EQ(flags.max_retained_jobs, 6);
  EXPECT_EQ(flags.max_upload_bytes, 7);
  EXPECT_EQ(flags.max_message_bytes, 1 << 20);
  EXPECT_EQ(flags.checkpoint_interval, milliseconds(250));
  EXPECT_EQ(flags.default_time_limit, milliseconds(3'600'000));
  EXPECT_EQ(flags.grace_period, milliseconds(9000));
  EXPECT_EQ(flags.log_level, telemetry::LogLevel::kError);
  EXPECT_EQ(flags.log_format, telemetry::LogFormat::kJson);
  EXPECT_EQ(flags.max_watch_streams, 8);
}

TEST(ParseFlagsTest, TheLastOfARepeatedFlagWins) {
  EXPECT_EQ(Parse({"--workers", "3", "--workers=5"}).flags.workers, 5);
}

TEST(ParseFlagsTest, BadValuesAreNamedWithTheirFlag) {
  for (const auto& [flag, value] :
       std::vector<std::pair<std::string, std::string>>{{"--listen_address", "7700"},
                                                        {"--listen_address", "localhost:70000"},
                                                        {"--listen_address", "::1:5"},
                                                        {"--metrics_address", "unix:/x"},
                                                        {"--data_dir", ""},
                                                        {"--workers", "0"},
                                                        {"--workers", "two"},
                                                        {"--workers", "3x"},
                                                        {"--memory_budget", "lots"},
                                                        {"--memory_budget", "1"},
                                                        {"--max_message_bytes", "3GiB"},
                                                        {"--checkpoint_interval", "0"},
                                                        {"--grace_period", "soon"},
                                                        {"--log_level", "loud"},
                                                        {"--log_format", "xml"}}) {
    ::testing::internal::CaptureStderr();
    const ParsedFlags parsed = Parse({(flag + "=" + value).c_str()});
    const std::string message = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(parsed.exit_code, 2) << flag << " " << value;
    EXPECT_THAT(message, HasSubstr(flag));
  }
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Parse({"--no_such_flag"}).exit_code, 2);
  EXPECT_EQ(Parse({"stray"}).exit_code, 2);
  ::testing::internal::GetCapturedStderr();
}

TEST(ParseFlagsTest, HelpExplainsEveryFlagWithItsDefault) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  const std::string help = ::testing::internal::GetCapturedStdout();
  for (const char* flag :
       {"--listen_address", "--metrics_address", "--data_dir", "--workers", "--threads_per_job",
        "--memory_budget", "--max_queued_jobs", "--max_retained_jobs", "--max_upload_bytes",
        "--max_message_bytes", "--checkpoint_interval", "--default_time_limit", "--grace_period",
        "--log_level", "--log_format", "--max_watch_streams"}) {
    const size_t begin = help.find(flag);
    ASSERT_NE(begin, std::string::npos) << flag;
    const size_t end = help.find("\n  --", begin);
    EXPECT_THAT(help.substr(begin, end - begin), HasSubstr("[default: ")) << flag;
  }
  EXPECT_THAT(help, HasSubstr("no authentication"));
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(Parse({"--version"}).exit_code, 0);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("thresherd "));
}

TEST(CheckAddressFormTest, TakesTheFormsThatAreDocumented) {
  for (const char* good : {"127.0.0.1:7700", "localhost:0", "0.0.0.0:65535", "[::1]:5", "[::]:0"}) {
    EXPECT_TRUE(CheckAddressForm(good, false).ok()) << good;
  }
  EXPECT_TRUE(CheckAddressForm("unix:/run/socket", true).ok());
  for (const char* bad : {"", ":", ":1", "host:", "host", "host:port", "host:-1", "host:65536",
                          "::1:5", "[::1]5", "unix:", "unix:/x"}) {
    EXPECT_FALSE(CheckAddressForm(bad, false).ok()) << bad;
  }
}

TEST(CheckCanListenTest, SaysWhyNot) {
  EXPECT_TRUE(CheckCanListen("127.0.0.1:0").ok());
  // An address that belongs to documentation, so to no machine.
  const absl::Status foreign = CheckCanListen("192.0.2.1:0");
  EXPECT_EQ(foreign.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(foreign.message()), HasSubstr("192.0.2.1:0"));
}

}  // namespace
}  // namespace thresher
