#include "core/kernels/pattern_statistics.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

TEST(MeasurePatternsTest, AgreesWithAPlainLoop) {
  for (const int64_t num_samples : {1, 64, 65, 3000}) {
    for (const double density : {0.02, 0.5}) {
      const int64_t num_gates = 9;
      const Design design = RandomDesign(num_samples, 1, 1);
      const GateMasks masks = RandomMasks(design, num_gates, density, num_samples);
      int64_t least_open = num_samples;
      int64_t least_differing = num_samples;
      for (int64_t a = 0; a < num_gates; ++a) {
        int64_t open = 0;
        for (int64_t i = 0; i < num_samples; ++i) open += IsOpen(masks, i, a) ? 1 : 0;
        least_open = std::min(least_open, open);
        for (int64_t b = a + 1; b < num_gates; ++b) {
          int64_t differing = 0;
          for (int64_t i = 0; i < num_samples; ++i) {
            differing += IsOpen(masks, i, a) != IsOpen(masks, i, b) ? 1 : 0;
          }
          least_differing = std::min(least_differing, differing);
        }
      }
      for (const int num_threads : {1, 3}) {
        Engine engine(num_threads);
        const PatternStatistics statistics = MeasurePatterns(engine, masks, num_samples);
        const auto n = static_cast<double>(num_samples);
        EXPECT_EQ(statistics.smallest_active_fraction, static_cast<double>(least_open) / n);
        ASSERT_TRUE(statistics.smallest_difference.has_value());
        EXPECT_EQ(*statistics.smallest_difference, static_cast<double>(least_differing) / n);
        EXPECT_EQ(statistics.compared_gates, num_gates);
      }
    }
  }
}

TEST(MeasurePatternsTest, OneGateHasNoPair) {
  const Design design = RandomDesign(100, 1, 1);
  Engine engine(1);
  const PatternStatistics statistics = MeasurePatterns(engine, RandomMasks(design, 1, 1.0, 3), 100);
  EXPECT_EQ(statistics.smallest_active_fraction, 1);
  EXPECT_FALSE(statistics.smallest_difference.has_value());
}

TEST(MeasurePatternsTest, BeyondTheLimitOnlyTheFirstGatesArePaired) {
  const Design design = RandomDesign(640, 1, 1);
  GateMasks masks = RandomMasks(design, 20, 0.5, 4);
  for (int64_t w = 0; w < masks.num_words; ++w) masks.row(w)[19] = masks.row(w)[0];
  Engine engine(1);
  EXPECT_EQ(MeasurePatterns(engine, masks, 640).smallest_difference, 0.0);
  // 50 pairs of ten words each.
  const PatternStatistics limited = MeasurePatterns(engine, masks, 640, 500);
  EXPECT_EQ(limited.compared_gates, 10);
  EXPECT_GT(*limited.smallest_difference, 0.0);
}

}  // namespace
}  // namespace thresher
