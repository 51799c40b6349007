#include "core/pruning/loss.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/gates/random_gates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;

struct Case {
  Loss loss;
  std::vector<double> outputs;
  std::vector<float> targets;
};

std::vector<Case> RandomCases() {
  CounterRandom random(3, 1);
  std::vector<Case> cases;
  for (int repeat = 0; repeat < 20; ++repeat) {
    for (const size_t k : {1, 2, 5}) {
      Case squared{Loss::kSquared, {}, {}};
      for (size_t j = 0; j < k; ++j) {
        squared.outputs.push_back(2 * random.NextNormal());
        squared.targets.push_back(static_cast<float>(random.NextNormal()));
      }
      cases.push_back(squared);
      if (k == 1) {
        cases.push_back({Loss::kLogistic,
                         squared.outputs,
                         {repeat % 3 == 0 ? 0.3f : static_cast<float>(repeat % 2)}});
        continue;
      }
      Case classes{Loss::kCrossEntropy, squared.outputs, std::vector<float>(k, 0.0f)};
      if (repeat % 2 == 0) {
        classes.targets[repeat % k] = 1;
      } else {
        for (float& target : classes.targets) target = 1 / static_cast<float>(k);
      }
      cases.push_back(classes);
    }
  }
  return cases;
}

TEST(LossTest, ValuesAreTheClosedForms) {
  for (const Case& c : RandomCases()) {
    std::vector<double> gradient(c.outputs.size());
    double expected = 0;
    double sum = 0;
    for (const double f : c.outputs) sum += std::exp(f);
    for (size_t j = 0; j < c.outputs.size(); ++j) {
      const double f = c.outputs[j];
      const double y = c.targets[j];
      if (c.loss == Loss::kSquared) expected += (f - y) * (f - y) / c.outputs.size();
      if (c.loss == Loss::kCrossEntropy) expected -= y * std::log(std::exp(f) / sum);
      if (c.loss == Loss::kLogistic) expected += std::log(1 + std::exp(f)) - y * f;
    }
    EXPECT_NEAR(SampleLoss(c.loss, c.outputs, c.targets, gradient), expected,
                1e-12 * (1 + std::abs(expected)))
        << LossName(c.loss);
  }
}

TEST(LossTest, GradientsAreTheFiniteDifferences) {
  constexpr double kStep = 1e-5;
  for (const Case& c : RandomCases()) {
    std::vector<double> gradient(c.outputs.size());
    std::vector<double> unused(c.outputs.size());
    SampleLoss(c.loss, c.outputs, c.targets, gradient);
    for (size_t j = 0; j < c.outputs.size(); ++j) {
      std::vector<double> above = c.outputs;
      std::vector<double> below = c.outputs;
      above[j] += kStep;
      below[j] -= kStep;
      const double difference = (SampleLoss(c.loss, above, c.targets, unused) -
                                 SampleLoss(c.loss, below, c.targets, unused)) /
                                (2 * kStep);
      EXPECT_NEAR(gradient[j], difference, 1e-8 * (1 + std::abs(difference))) << LossName(c.loss);
    }
  }
}

TEST(LossTest, ExtremeOutputsGiveFiniteLossesAndTheLimits) {
  for (const double f : {1e3, 1e30, 1e300}) {
    std::vector<double> gradient(2);
    const std::vector<float> first = {1, 0};
    const std::vector<double> right = {f, -f};
    EXPECT_EQ(SampleLoss(Loss::kCrossEntropy, right, first, gradient), 0);
    EXPECT_EQ(gradient, std::vector<double>({0, 0}));
    const std::vector<double> wrong = {-f, f};
    EXPECT_EQ(SampleLoss(Loss::kCrossEntropy, wrong, first, gradient), 2 * f);
    EXPECT_EQ(gradient, std::vector<double>({-1, 1}));
    const std::vector<double> equal = {f, f};
    EXPECT_DOUBLE_EQ(SampleLoss(Loss::kCrossEntropy, equal, first, gradient), std::log(2));

    std::vector<double> one(1);
    EXPECT_EQ(SampleLoss(Loss::kLogistic, std::vector<double>{f}, std::vector<float>{1}, one), 0);
    EXPECT_EQ(one[0], 0);
    EXPECT_EQ(SampleLoss(Loss::kLogistic, std::vector<double>{-f}, std::vector<float>{0}, one), 0);
    EXPECT_EQ(one[0], 0);
    EXPECT_EQ(SampleLoss(Loss::kLogistic, std::vector<double>{f}, std::vector<float>{0}, one), f);
    EXPECT_EQ(one[0], 1);
    EXPECT_EQ(SampleLoss(Loss::kLogistic, std::vector<double>{-f}, std::vector<float>{1}, one), f);
    EXPECT_EQ(one[0], -1);
  }
  // A small loss is not lost in the difference of large sums.
  std::vector<double> gradient(2);
  const double small = SampleLoss(Loss::kCrossEntropy, std::vector<double>{40, 0},
                                  std::vector<float>{0.5, 0.5}, gradient);
  EXPECT_NEAR(small, 20, 1e-12);
}

TEST(LossTest, ClassesAreNamedByTheLargestOutputOrItsSide) {
  const std::vector<float> second = {0, 1, 0};
  EXPECT_TRUE(NamesClass(Loss::kSquared, std::vector<double>{0.1, 0.4, 0.3}, second));
  EXPECT_FALSE(NamesClass(Loss::kCrossEntropy, std::vector<double>{5, 4, 3}, second));
  EXPECT_TRUE(NamesClass(Loss::kSquared, std::vector<double>{0.6}, std::vector<float>{1}));
  EXPECT_FALSE(NamesClass(Loss::kSquared, std::vector<double>{0.4}, std::vector<float>{1}));
  EXPECT_TRUE(NamesClass(Loss::kLogistic, std::vector<double>{0.4}, std::vector<float>{1}));
  EXPECT_TRUE(NamesClass(Loss::kLogistic, std::vector<double>{-0.4}, std::vector<float>{0}));
}

TEST(LossTest, ASummaryHoldsWhatTheTargetsAreMeasuredBy) {
  Samples samples{.num_samples = 2, .num_inputs = 1, .num_outputs = 2, .inputs = {1, 2}};
  samples.targets = {4, 0, 0, -8};
  FitSums sums;
  std::vector<double> gradient(2);
  const std::vector<double> outputs = {4, 1, 0, -7};
  for (size_t i = 0; i < 2; ++i) {
    const std::span sample = std::span(outputs).subspan(2 * i, 2);
    const std::span targets = std::span<const float>(samples.targets).subspan(2 * i, 2);
    sums.Add(Loss::kSquared, sample, targets,
             SampleLoss(Loss::kSquared, sample, targets, gradient));
  }
  const Fit fit = SummarizeFit(Loss::kSquared, sums, MakeFitScale(Loss::kSquared, samples));
  EXPECT_DOUBLE_EQ(fit.loss, 0.5);
  EXPECT_NEAR(*fit.psnr_db, 20 * std::log10(8) - 10 * std::log10(0.5), 1e-12);
  EXPECT_FALSE(fit.accuracy.has_value());
  // Means 2 and -4: 4 + 4 and 16 + 16.
  EXPECT_DOUBLE_EQ(TargetDeviation2(samples), 40);
  EXPECT_DOUBLE_EQ(*fit.r_squared, 1 - 2.0 / 40);
  samples.targets = {1, 0, 0, 1};
  const Fit classes =
      SummarizeFit(Loss::kCrossEntropy, sums, MakeFitScale(Loss::kCrossEntropy, samples));
  EXPECT_FALSE(classes.psnr_db.has_value());
  EXPECT_FALSE(classes.r_squared.has_value());
  EXPECT_TRUE(classes.accuracy.has_value());
}

// Regression: targets of 0 gave a PSNR of -400 dB.
TEST(LossTest, TargetsOfZeroHaveNoPeak) {
  const Samples samples = {.num_samples = 2,
                           .num_inputs = 1,
                           .num_outputs = 1,
                           .inputs = std::vector<float>{1, 2},
                           .targets = std::vector<float>{0, 0}};
  const FitSums sums = {.num_samples = 2, .loss = 4, .squared_error = 4};
  const Fit fit = SummarizeFit(Loss::kSquared, sums, MakeFitScale(Loss::kSquared, samples));
  EXPECT_EQ(fit.loss, 2);
  EXPECT_FALSE(fit.psnr_db.has_value());
  EXPECT_FALSE(fit.r_squared.has_value());
}

TEST(LossTest, TargetsThatAreNoProbabilitiesAreRefused) {
  Samples samples{.num_samples = 2, .num_inputs = 1, .num_outputs = 2, .inputs = {1, 2}};
  samples.targets = {1, 0, 0.25, 0.75};
  EXPECT_TRUE(ValidateTargets(Loss::kCrossEntropy, samples).ok());
  EXPECT_THAT(ValidateTargets(Loss::kLogistic, samples).message(), HasSubstr("loss"));
  samples.targets = {1, 0, 0.25, 0.7};
  EXPECT_THAT(ValidateTargets(Loss::kCrossEntropy, samples).message(),
              HasSubstr("targets: row 1 sums"));
  samples.targets = {1, 0, -0.25, 1.25};
  EXPECT_THAT(ValidateTargets(Loss::kCrossEntropy, samples).message(),
              HasSubstr("row 1, column 0"));
  EXPECT_TRUE(ValidateTargets(Loss::kSquared, samples).ok());
  samples.num_outputs = 1;
  samples.targets = {1, 0};
  EXPECT_TRUE(ValidateTargets(Loss::kLogistic, samples).ok());
  EXPECT_THAT(ValidateTargets(Loss::kCrossEntropy, samples).message(), HasSubstr("loss"));
  samples.targets = {1, 2};
  EXPECT_THAT(ValidateTargets(Loss::kLogistic, samples).message(), HasSubstr("row 1"));
}

}  // namespace
}  // namespace thresher
