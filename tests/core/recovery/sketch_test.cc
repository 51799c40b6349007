#include "core/recovery/sketch.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "core/gates/random_gates.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

TEST(SketchTest, AWideOneGivesTheSums) {
  CounterRandom random(1, 1);
  CountSketch sketch(100000, 7);
  std::map<int64_t, double> sums;
  for (int k = 0; k < 300; ++k) {
    // Indices over the whole range, each several times.
    const auto index = static_cast<int64_t>((random.NextBelow(50) * 0x2545f4914f6cdd1dull) >> 14);
    const double value = random.NextNormal();
    sketch.Add(index, value);
    sums[index] += value;
  }
  ASSERT_GT(sums.size(), 40U);
  for (const auto& [index, sum] : sums) EXPECT_NEAR(sketch.Estimate(index), sum, 1e-12);
  EXPECT_EQ(sketch.Estimate(-1 ^ (int64_t{1} << 62)), 0);
}

TEST(SketchTest, ANarrowOneStillTellsLargeSumsFromSmall) {
  CounterRandom random(2, 1);
  CountSketch sketch(400, 3);
  for (int64_t index = 0; index < 4000; ++index) {
    sketch.Add(index, index % 200 == 0 ? 100.0 : random.NextNormal());
  }
  double error = 0;
  for (int64_t index = 0; index < 4000; ++index) {
    const double estimate = sketch.Estimate(index);
    if (index % 200 == 0) {
      EXPECT_GT(estimate, 30);
    }
    error += estimate - (index % 200 == 0 ? 100.0 : 0.0);
  }
  EXPECT_LT(std::abs(error / 4000), 1);  // signs: without a bias
}

TEST(SketchTest, CellsAreAllOfItsState) {
  CountSketch sketch(50, 9);
  for (int64_t index = 0; index < 200; ++index) sketch.Add(index, 1.0 / (1.0 + index));
  CountSketch copy(50, 9);
  copy.cells() = sketch.cells();
  CountSketch other(50, 10);
  other.cells() = sketch.cells();
  int different = 0;
  for (int64_t index = 0; index < 200; ++index) {
    EXPECT_EQ(copy.Estimate(index), sketch.Estimate(index));
    different += other.Estimate(index) != sketch.Estimate(index) ? 1 : 0;
  }
  EXPECT_GT(different, 100);
}

TEST(SketchTest, WidthIsThePublishedOne) {
  EXPECT_EQ(SketchWidth(100, 110), 100);   // ln 1.1 < 1
  EXPECT_EQ(SketchWidth(100, 1100), 239);  // 100 ln 11 = 239.79
  EXPECT_EQ(SketchWidth(1, 1), 1);
}

}  // namespace
}  // namespace thresher
