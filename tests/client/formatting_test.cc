#include "client/formatting.h"

#include <cmath>
#include <limits>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double Number(const std::string& text) {
  double value = kNan;
  EXPECT_TRUE(absl::SimpleAtod(text.substr(0, text.find(' ')), &value)) << text;
  return value;
}

TEST(FormatBytes, IsTrueToAPercentAndShort) {
  const std::vector<std::pair<std::string, double>> units = {
      {" B", 1},        {" KiB", 0x1p10}, {" MiB", 0x1p20}, {" GiB", 0x1p30},
      {" TiB", 0x1p40}, {" PiB", 0x1p50}, {" EiB", 0x1p60}};
  std::mt19937_64 random(1);
  for (int bits = 0; bits < 63; ++bits) {
    for (int i = 0; i < 20; ++i) {
      const int64_t bytes = static_cast<int64_t>(random() >> (63 - bits) >> 1);
      const std::string text = FormatBytes(bytes);
      EXPECT_LE(text.size(), 9u) << text;
      double scale = 0;
      for (const auto& [unit, size] : units) {
        if (absl::EndsWith(text, unit)) scale = size;
      }
      EXPECT_NEAR(Number(text) * scale, bytes, 0.01 * bytes) << text;
    }
  }
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
}

TEST(FormatSeconds, ChangesUnitsAtTheirBorders) {
  EXPECT_EQ(FormatSeconds(0), "0 s");
  EXPECT_EQ(FormatSeconds(-5), "0 s");
  EXPECT_EQ(FormatSeconds(kNan), "0 s");
  EXPECT_EQ(FormatSeconds(0.35), "350 ms");
  EXPECT_EQ(FormatSeconds(0.9999), "1.0 s");
  EXPECT_EQ(FormatSeconds(3.21), "3.2 s");
  EXPECT_EQ(FormatSeconds(99.96), "1 min 40 s");
  EXPECT_EQ(FormatSeconds(125), "2 min 5 s");
  EXPECT_EQ(FormatSeconds(3599.9), "1 h");
  EXPECT_EQ(FormatSeconds(5400), "1 h 30 min");
  EXPECT_EQ(FormatSeconds(86400 * 3 + 4 * 3600), "3 d 4 h");
  EXPECT_EQ(FormatSeconds(kInfinity), "for ever");
}

TEST(FormatShare, RoundsNothingToAllOrNone) {
  EXPECT_EQ(FormatShare(0), "0.0 %");
  EXPECT_EQ(FormatShare(1), "100.0 %");
  EXPECT_EQ(FormatShare(0.9999999), "> 99.9 %");
  EXPECT_EQ(FormatShare(1e-9), "< 0.1 %");
  EXPECT_EQ(FormatShare(0.993), "99.3 %");
}

// Regression: 1999 of 2000 samples were "> 99.9 %".
TEST(FormatAccuracy, HasTwoDigitsAndRoundsNothingToAllOrNone) {
  EXPECT_EQ(FormatAccuracy(0.9995), "99.95 %");
  EXPECT_EQ(FormatAccuracy(0.875), "87.50 %");
  EXPECT_EQ(FormatAccuracy(0), "0.00 %");
  EXPECT_EQ(FormatAccuracy(1), "100.00 %");
  EXPECT_EQ(FormatAccuracy(0.99996), "> 99.99 %");
  EXPECT_EQ(FormatAccuracy(0.00004), "< 0.01 %");
}

TEST(FormatTime, SaysWhenThereIsNone) {
  EXPECT_EQ(FormatTime(google::protobuf::Timestamp()), "-");
  google::protobuf::Timestamp time;
  time.set_seconds(1700000000);
  EXPECT_TRUE(absl::StartsWith(FormatTime(time), "2023-11-1"));
}

TEST(FormatCount, KnowsOneFromMany) {
  EXPECT_EQ(FormatCount(0, "row"), "0 rows");
  EXPECT_EQ(FormatCount(1, "row"), "1 row");
  EXPECT_EQ(FormatCount(2, "row"), "2 rows");
}

TEST(Printable, LeavesNoByteThatActsOnATerminal) {
  std::string every;
  for (int byte = 0; byte < 256; ++byte) {
    every += static_cast<char>(byte);
    every += "\xC2";
    every += static_cast<char>(byte);
  }
  const std::string safe = Printable(every);
  for (size_t i = 0; i < safe.size(); ++i) {
    const auto byte = static_cast<unsigned char>(safe[i]);
    EXPECT_GE(byte, 0x20);
    EXPECT_NE(byte, 0x7F);
    if (byte == 0xC2) {
      EXPECT_GE(static_cast<unsigned char>(safe.at(i + 1)), 0xA0);
    }
  }
  EXPECT_EQ(Printable(safe), safe);
  EXPECT_EQ(Printable("naïve ▁ 日本"), "naïve ▁ 日本");
  EXPECT_EQ(Printable("\x1b[31mred"), "?[31mred");
  EXPECT_EQ(Printable("\xe6\x97"), "??");
}

TEST(Truncate, CutsBetweenCharacters) {
  const std::string text = "aï▁日b";
  for (int width = 0; width < 8; ++width) {
    const std::string cut = Truncate(text, width);
    EXPECT_EQ(DisplayWidth(cut), std::min(width, 5));
    EXPECT_EQ(Printable(cut), cut);
    EXPECT_TRUE(absl::StartsWith(text, cut));
  }
}

TEST(WrapWords, BreaksAtSpacesOnly) {
  const std::string text = "one two three\nfour  fïve sixteen-or-so\n";
  for (int width = 1; width < 60; ++width) {
    const std::string wrapped = WrapWords(text, width);
    ASSERT_EQ(wrapped.size(), text.size());
    for (size_t i = 0; i < text.size(); ++i) {
      if (wrapped[i] == text[i]) continue;
      EXPECT_EQ(text[i], ' ');
      EXPECT_EQ(wrapped[i], '\n');
    }
    for (const auto& line : absl::StrSplit(wrapped, '\n')) {
      const std::string trimmed(absl::StripTrailingAsciiWhitespace(line));
      if (absl::StrContains(trimmed, ' ')) {
        EXPECT_LE(DisplayWidth(trimmed), width) << trimmed;
      }
    }
  }
  EXPECT_EQ(WrapWords(text, 100), text);
  EXPECT_EQ(WrapWords("", 10), "");
}

TEST(Sparkline, HasOneCharacterABucketAndFollowsTheValues) {
  for (const bool unicode : {true, false}) {
    for (const size_t count : {1u, 2u, 7u, 80u, 1000u}) {
      std::vector<double> falling;
      for (size_t i = 0; i < count; ++i) falling.push_back(-static_cast<double>(i));
      for (const int width : {1, 3, 40, 200}) {
        const std::string line = Sparkline(falling, width, unicode);
        EXPECT_EQ(DisplayWidth(line), std::min<int>(width, count));
        if (DisplayWidth(line) > 1) {
          EXPECT_TRUE(absl::StartsWith(line, unicode ? "█" : "#"));
          EXPECT_TRUE(absl::EndsWith(line, unicode ? "▁" : "_"));
        }
      }
    }
  }
}

TEST(Sparkline, LeavesOutWhatIsNotFinite) {
  EXPECT_EQ(Sparkline({}, 10, true), "");
  EXPECT_EQ(Sparkline({kNan, kInfinity, -kInfinity}, 10, true), "");
  EXPECT_EQ(Sparkline({1, kNan, 2}, 10, true), "▁█");
  EXPECT_EQ(Sparkline({3, 3, 3}, 10, false), "___");
  EXPECT_EQ(Sparkline({1, 2}, 0, true), "");
}

TEST(FormatTable, AlignsColumns) {
  const std::string text =
      FormatTable({{"ID", "SIZE", "NAME"}, {"a", "1", "ü"}, {"bcd", "100", "x"}});
  EXPECT_EQ(text,
            "ID   SIZE  NAME\n"
            "a       1  ü\n"
            "bcd   100  x\n");
}

TEST(FormatTable, KeepsForeignTextOnItsLine) {
  const std::string text = FormatTable({{"ID"}, {"a\nb\x1b[2J"}});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(FormatFields, AlignsValues) {
  EXPECT_EQ(FormatFields({{"a", "1"}, {"long name", "2\n3"}}), "a          1\nlong name  2?3\n");
}

}  // namespace
}  // namespace thresher::client
