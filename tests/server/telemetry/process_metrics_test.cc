#include "server/telemetry/process_metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

namespace thresher::telemetry {
namespace {

// Of proc(5): pid, name, state, then fields 4 to 24.
std::string StatLineOf(const std::string& name) {
  return "42 (" + name + ") S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 7 18 12300 20 99 21 22\n";
}

TEST(ParseStatLineTest, FindsTheFieldsWhateverTheProgramIsCalled) {
  for (const std::string name : {"thresherd", "a b", "x) S 1 (y", ")"}) {
    const auto line = ParseStatLine(StatLineOf(name), 100);
    ASSERT_TRUE(line) << name;
    EXPECT_DOUBLE_EQ(line->cpu_seconds, 3.0);
    EXPECT_EQ(line->threads, 7);
    EXPECT_DOUBLE_EQ(line->start_seconds_after_boot, 123.0);
    EXPECT_EQ(line->resident_pages, 99);
  }
}

TEST(ParseStatLineTest, RefusesWhatIsCut) {
  EXPECT_FALSE(ParseStatLine("", 100));
  EXPECT_FALSE(ParseStatLine("42 (x", 100));
  EXPECT_FALSE(ParseStatLine("42 (x) S 1 2 3", 100));
}

TEST(ReadProcessStatisticsTest, DescribesThisProcess) {
  const ProcessStatistics before = ReadProcessStatistics();
  ASSERT_TRUE(before.resident_memory_bytes);
  EXPECT_GT(*before.resident_memory_bytes, 1 << 20);
  ASSERT_TRUE(before.resident_memory_peak_bytes);
  EXPECT_GE(*before.resident_memory_peak_bytes, *before.resident_memory_bytes / 2);
  EXPECT_GE(before.threads.value_or(0), 1);
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  ASSERT_TRUE(before.start_time_seconds);
  EXPECT_LE(*before.start_time_seconds, now + 2);
  EXPECT_GT(*before.start_time_seconds, now - 24 * 3600);
  ASSERT_TRUE(before.open_fds);
  const int descriptor = open("/dev/null", O_RDONLY);
  ASSERT_GE(descriptor, 0);
  EXPECT_EQ(*ReadProcessStatistics().open_fds, *before.open_fds + 1);
  close(descriptor);
}

}  // namespace
}  // namespace thresher::telemetry
