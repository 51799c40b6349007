#include "server/rpc/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace thresher::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ParseFilterTest, BlankTextHasNoConditions) {
  for (const char* text : {"", " ", "\t\n "}) {
    const auto conditions = ParseFilter(text);
    ASSERT_TRUE(conditions.ok()) << conditions.status();
    EXPECT_THAT(*conditions, IsEmpty());
  }
}

TEST(ParseFilterTest, ReadsWordsAndStrings) {
  const auto conditions =
      ParseFilter("state = RUNNING AND labels.team = \"vision \\\"a\\\\b\\\"\"");
  ASSERT_TRUE(conditions.ok()) << conditions.status();
  EXPECT_THAT(*conditions, ElementsAre(FilterCondition{"state", "RUNNING"},
                                       FilterCondition{"labels.team", "vision \"a\\b\""}));
}

TEST(ParseFilterTest, SpacesDoNotMatter) {
  const auto conditions = ParseFilter("  a=1   AND\tlabels.b-c_2=x.y-z ");
  ASSERT_TRUE(conditions.ok()) << conditions.status();
  EXPECT_THAT(*conditions,
              ElementsAre(FilterCondition{"a", "1"}, FilterCondition{"labels.b-c_2", "x.y-z"}));
}

TEST(ParseFilterTest, QuotedValuesRoundTrip) {
  for (const std::string value : {"", "AND", "a = b", "\"", "\\", "\\\"\\\\", "caf\xc3\xa9"}) {
    std::string quoted = "\"";
    for (char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    quoted += '"';
    const auto conditions = ParseFilter("labels.x = " + quoted);
    ASSERT_TRUE(conditions.ok()) << conditions.status();
    EXPECT_THAT(*conditions, ElementsAre(FilterCondition{"labels.x", value}));
  }
}

struct BadFilter {
  std::string text;
  std::string message;
};

class ParseFilterErrorTest : public ::testing::TestWithParam<BadFilter> {};

TEST_P(ParseFilterErrorTest, SaysWhereAndWhat) {
  const auto conditions = ParseFilter(GetParam().text);
  ASSERT_FALSE(conditions.ok());
  EXPECT_EQ(conditions.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(conditions.status().message()), HasSubstr("filter: "));
  EXPECT_THAT(std::string(conditions.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(All, ParseFilterErrorTest,
                         ::testing::Values(BadFilter{"= x", "position 1: expected a field"},
                                           BadFilter{"State = x", "position 1: expected a field"},
                                           BadFilter{"labels. = x", "position 8: expected a field"},
                                           BadFilter{"state", "position 6: expected '='"},
                                           BadFilter{"state != x", "position 7: expected '='"},
                                           BadFilter{"state > x", "position 7: expected '='"},
                                           BadFilter{"state =", "position 8: expected a word"},
                                           BadFilter{"state = (", "position 9: expected a word"},
                                           BadFilter{"a = \"x", "closing quote"},
                                           BadFilter{"a = \"x\\n\"", "after a backslash"},
                                           BadFilter{"a = 1 b = 2", "position 7: expected AND"},
                                           BadFilter{"a = 1 OR b = 2", "position 7: expected AND"},
                                           BadFilter{"a = 1 ANDb = 2", "expected AND"},
                                           BadFilter{"a = 1 AND", "expected a field"},
                                           BadFilter{"a = 1 AND a = 2", "a is compared twice"}));

TEST(ParseFilterTest, TakesExactlyTheLimits) {
  EXPECT_TRUE(ParseFilter("a = " + std::string(kMaxFilterBytes - 4, 'x')).ok());
  EXPECT_FALSE(ParseFilter("a = " + std::string(kMaxFilterBytes - 3, 'x')).ok());
  std::string text = "a0 = 1";
  for (size_t i = 1; i < kMaxFilterConditions; ++i) text += " AND a" + std::to_string(i) + " = 1";
  EXPECT_TRUE(ParseFilter(text).ok());
  EXPECT_FALSE(ParseFilter(text + " AND b = 1").ok());
}

}  // namespace
}  // namespace thresher::rpc
