#include "core/pruning/adam.h"

#include <cmath>
#include <vector>

#include "core/gates/random_gates.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

TEST(AdamTest, FollowsAPlainLoopInDouble) {
  constexpr size_t kSize = 37;
  CounterRandom random(1, 1);
  std::vector<float> weight(kSize);
  for (float& w : weight) w = static_cast<float>(random.NextNormal());
  std::vector<double> reference(weight.begin(), weight.end());
  std::vector<float> first(kSize);
  std::vector<float> second(kSize);
  std::vector<double> m(kSize);
  std::vector<double> v(kSize);
  for (int64_t step = 1; step <= 200; ++step) {
    std::vector<float> gradient(kSize);
    for (size_t e = 0; e < kSize; ++e) {
      // Of very different sizes, one of them 0 for ever.
      gradient[e] = static_cast<float>(random.NextNormal() * std::pow(10.0, e % 7) * 1e-3);
    }
    gradient[5] = 0;
    AdamStep(1e-2, 0, 0, step, gradient, weight, first, second);
    for (size_t e = 0; e < kSize; ++e) {
      const double g = gradient[e];
      m[e] = 0.9 * m[e] + 0.1 * g;
      v[e] = 0.999 * v[e] + 0.001 * g * g;
      const double m_hat = m[e] / (1 - std::pow(0.9, step));
      const double v_hat = v[e] / (1 - std::pow(0.999, step));
      reference[e] -= 1e-2 * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
  }
  for (size_t e = 0; e < kSize; ++e) EXPECT_NEAR(weight[e], reference[e], 2e-5) << e;
}

TEST(AdamTest, WeightDecayShrinksWeightsWithoutAGradient) {
  std::vector<float> weight = {1, -2};
  std::vector<float> first(2);
  std::vector<float> second(2);
  for (int64_t step = 1; step <= 3; ++step) {
    AdamStep(0.5, 0.25, 0, step, std::vector<float>{0, 0}, weight, first, second);
  }
  EXPECT_FLOAT_EQ(weight[0], 0.875F * 0.875F * 0.875F);
  EXPECT_FLOAT_EQ(weight[1], -2 * 0.875F * 0.875F * 0.875F);
}

TEST(AdamTest, ThePenaltyIsPartOfTheGradient) {
  std::vector<float> weight = {1, -2};
  std::vector<float> penalised = weight;
  std::vector<float> moments[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
  for (int64_t step = 1; step <= 5; ++step) {
    const std::vector<float> slope = {0.25F + 0.5F * weight[0], -1 + 0.5F * weight[1]};
    AdamStep(0.125, 0, 0, step, slope, weight, moments[0], moments[1]);
    AdamStep(0.125, 0, 0.5, step, std::vector<float>{0.25F, -1}, penalised, moments[2], moments[3]);
  }
  EXPECT_EQ(weight, penalised);
}

TEST(AdamTest, TheFirstStepIsTheLearningRate) {
  std::vector<float> weight = {1, 1};
  std::vector<float> first(2);
  std::vector<float> second(2);
  AdamStep(0.125, 0, 0, 1, std::vector<float>{3, -1e-3f}, weight, first, second);
  EXPECT_NEAR(weight[0], 0.875, 1e-6);
  EXPECT_NEAR(weight[1], 1.125, 1e-5);
}

}  // namespace
}  // namespace thresher
