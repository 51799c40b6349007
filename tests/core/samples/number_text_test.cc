#include "core/samples/number_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/gates/random_gates.h"

namespace thresher {
namespace {

TEST(ParseNumberTest, ReadsDecimalNumbers) {
  EXPECT_EQ(ParseNumber("1"), 1);
  EXPECT_EQ(ParseNumber("+1.50"), 1.5);
  EXPECT_EQ(ParseNumber(" -.5e1 "), -5);
  EXPECT_EQ(ParseNumber("1e-999"), 0);
  EXPECT_EQ(ParseNumber("-1e999"), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(ParseNumber("nan").value_or(0)));
}

TEST(ParseNumberTest, RefusesOtherText) {
  for (const char* text : {"", " ", "a", "1a", "1,5", "1 2", "0x10", "--1", "1e", "."}) {
    EXPECT_FALSE(ParseNumber(text).has_value()) << text;
  }
}

TEST(NumberTextTest, IsTheShortestText) {
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(-0.0), "0");
  EXPECT_EQ(NumberText(7), "7");
  EXPECT_EQ(NumberText(-1000000), "-1000000");
  EXPECT_EQ(NumberText(0.5), "0.5");
  EXPECT_EQ(NumberText(1e300), "1e+300");
}

TEST(NumberTextTest, ReadsBackAsTheSameNumber) {
  CounterRandom random(1, 0);
  for (int k = 0; k < 1000; ++k) {
    const double value = std::ldexp(random.NextNormal(), static_cast<int>(random.NextBelow(400)));
    EXPECT_EQ(ParseNumber(NumberText(value)), value);
  }
}

}  // namespace
}  // namespace thresher
