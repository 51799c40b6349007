#include "core/samples/scaling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "core/gates/random_gates.h"

namespace thresher {
namespace {

// Columns of very different size, the third constant.
Samples Random(int64_t num_samples) {
  Samples samples{.num_samples = num_samples, .num_inputs = 4, .num_outputs = 1};
  CounterRandom random(7, 1);
  for (int64_t i = 0; i < num_samples; ++i) {
    samples.inputs.push_back(static_cast<float>(1e6 + 10 * random.NextNormal()));
    samples.inputs.push_back(static_cast<float>(1e-6 * random.NextNormal()));
    samples.inputs.push_back(0.1f);
    samples.inputs.push_back(static_cast<float>(random.NextBelow(2)));
    samples.targets.push_back(static_cast<float>(5 + 3 * random.NextNormal()));
  }
  return samples;
}

TEST(ScaleSamplesTest, StandardisesColumnsAndTargets) {
  const Samples original = Random(1000);
  Samples samples = original;
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, samples).ok());
  for (int64_t q = 0; q < 4; ++q) {
    double mean = 0;
    double power = 0;
    for (int64_t i = 0; i < 1000; ++i) {
      mean += samples.inputs[i * 4 + q] / 1000.0;
      power += std::pow(samples.inputs[i * 4 + q], 2) / 1000.0;
    }
    EXPECT_NEAR(mean, 0, 1e-6) << q;
    EXPECT_NEAR(power, q == 2 ? 0 : 1, 1e-5) << q;
  }
  double power = 0;
  for (const float target : samples.targets) power += target * target / 1000.0;
  EXPECT_NEAR(power, 1, 1e-5);
  EXPECT_EQ(samples.inputs[2], 0);
}

TEST(ScaleSamplesTest, CanBeUndone) {
  for (const ScalingMode mode :
       {ScalingMode::kNone, ScalingMode::kStandardise, ScalingMode::kUnitRange}) {
    const Samples original = Random(100);
    Samples samples = original;
    ASSERT_TRUE(ScaleSamples(mode, samples).ok());
    const Scaling& scaling = samples.scaling;
    for (size_t i = 0; i < original.inputs.size(); ++i) {
      double restored = samples.inputs[i];
      if (!scaling.input_scale.empty()) {
        EXPECT_GT(scaling.input_scale[i % 4], 0);
        restored = restored * scaling.input_scale[i % 4] + scaling.input_offset[i % 4];
      }
      // The scaled value is rounded to float: relative to the spread, not to the value.
      const double spread = scaling.input_scale.empty() ? 1 : scaling.input_scale[i % 4];
      EXPECT_NEAR(restored, original.inputs[i],
                  1e-6 * (spread + std::fabs(original.inputs[i])) * 5);
    }
    for (size_t i = 0; i < original.targets.size(); ++i) {
      EXPECT_NEAR(samples.targets[i] * scaling.target_scale + scaling.target_offset,
                  original.targets[i], 1e-5);
    }
  }
}

TEST(ScaleSamplesTest, UnitRangeUsesOneFactor) {
  Samples samples{
      .num_samples = 2, .num_inputs = 2, .inputs = {0, -255, 51, 102}, .targets = {5, 6}};
  ASSERT_TRUE(ScaleSamples(ScalingMode::kUnitRange, samples).ok());
  EXPECT_EQ(samples.inputs, (std::vector<float>{0, -1, 0.2f, 0.4f}));
  EXPECT_EQ(samples.targets, (std::vector<float>{5, 6}));
  EXPECT_EQ(samples.scaling.input_scale, (std::vector<double>{255, 255}));
}

TEST(ScaleSamplesTest, LeavesClassTargetsAlone) {
  Samples samples = Random(4);
  samples.targets = {0, 1, 1, 0};
  samples.class_names = {"a", "b"};
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, samples).ok());
  EXPECT_EQ(samples.targets, (std::vector<float>{0, 1, 1, 0}));
  EXPECT_EQ(samples.scaling.target_scale, 1);
}

TEST(ScaleSamplesTest, ExtremeValuesStayFinite) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kMin = std::numeric_limits<float>::denorm_min();
  for (const ScalingMode mode : {ScalingMode::kStandardise, ScalingMode::kUnitRange}) {
    for (const std::vector<float>& inputs :
         {std::vector<float>{kMax, -kMax, kMax}, {kMin, 0, -kMin}, {0, 0, 0}, {kMax, kMin, 0}}) {
      Samples samples{.num_samples = 3, .num_inputs = 1, .inputs = inputs, .targets = inputs};
      ASSERT_TRUE(ScaleSamples(mode, samples).ok());
      EXPECT_TRUE(ValidateSamples(samples).ok());
      EXPECT_GT(samples.scaling.input_scale[0], 0);
      EXPECT_GT(samples.scaling.target_scale, 0);
    }
  }
}

TEST(ScaleSamplesTest, RefusesToScaleTwice) {
  Samples samples = Random(10);
  ASSERT_TRUE(ScaleSamples(ScalingMode::kUnitRange, samples).ok());
  const Samples once = samples;
  EXPECT_TRUE(absl::IsFailedPrecondition(ScaleSamples(ScalingMode::kStandardise, samples)));
  EXPECT_EQ(samples.inputs, once.inputs);
  EXPECT_TRUE(ScaleSamples(ScalingMode::kNone, samples).ok());
  Samples none;
  EXPECT_TRUE(absl::IsInvalidArgument(ScaleSamples(ScalingMode::kStandardise, none)));
}

}  // namespace
}  // namespace thresher
