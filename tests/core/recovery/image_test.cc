// Networks that stand for an image: more features than pixels, so that the data do not determine
// them, and many pixels of value 0.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <variant>

#include "core/recovery/recovery.h"
#include "core/samples/image_samples.h"

namespace thresher {
namespace {

// A bright disk, 10 x 10, brightest in its middle; 36 pixels are not 0.
Samples Disk(ImageFeatures features, uint64_t seed) {
  Image image = {.height = 10, .width = 10};
  for (int r = 0; r < 10; ++r) {
    for (int c = 0; c < 10; ++c) {
      const double distance = std::hypot(r - 4.3, c - 4.8);
      image.values.push_back(static_cast<float>(std::max(0.0, 1 - distance / 3.5)));
    }
  }
  return *ImageSamples(image, {.features = features, .num_features = 200, .seed = seed},
                       int64_t{1} << 30);
}

RecoveryResult Solve(const Samples& samples, const RecoveryOptions& options) {
  const auto result = Recover(samples, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return *result;
}

class ImageTest : public ::testing::TestWithParam<ImageFeatures> {};

TEST_P(ImageTest, TheDefaultIsNeverWorseThanThePublishedAlgorithm) {
  for (const uint64_t seed : {0, 1}) {
    const Samples samples = Disk(GetParam(), seed);
    for (const int64_t hidden_width : {1, 4}) {
      for (const int64_t nonzeros : {8, 20, 60}) {
        RecoveryOptions options = {.hidden_width = hidden_width,
                                   .nonzeros = nonzeros,
                                   .output_signs = OutputSigns::kMixed,
                                   .seed = seed};
        // Time is not what is tested.
        options.termination.max_iterations = 60;
        const RecoveryResult found = Solve(samples, options);
        EXPECT_EQ(found.options_used.algorithm, Algorithm::kWinnow);
        EXPECT_LE(found.nonzeros, nonzeros);
        EXPECT_LE(found.active_neurons, hidden_width);
        options.algorithm = Algorithm::kAiht;
        options.output_signs = OutputSigns::kPositive;
        options.termination = {.max_iterations = 100};
        EXPECT_GE(found.psnr_db, Solve(samples, options).psnr_db - 1e-3)
            << hidden_width << " " << nonzeros << " " << seed;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(BothFeatures, ImageTest,
                         ::testing::Values(ImageFeatures::kScaled, ImageFeatures::kRawInteger),
                         [](const auto& instance) {
                           return instance.param == ImageFeatures::kScaled ? "Scaled"
                                                                           : "RawInteger";
                         });

TEST(ImageRecoveryTest, WeightsForEveryBrightPixelFitThemAll) {
  // Where an image is dark neurons are closed, so that its 100 pixels need no 100 weights.
  const Samples samples = Disk(ImageFeatures::kRawInteger, 0);
  const RecoveryResult result =
      Solve(samples, {.hidden_width = 6, .nonzeros = 60, .output_signs = OutputSigns::kMixed});
  EXPECT_EQ(result.termination_reason, TerminationReason::kConverged);
  EXPECT_GT(result.psnr_db, 120);
}

TEST(ImageRecoveryTest, AResumedSolveHasTheSameBits) {
  const Samples samples = Disk(ImageFeatures::kScaled, 0);
  RecoveryOptions options = {
      .hidden_width = 3, .nonzeros = 12, .output_signs = OutputSigns::kMixed, .num_threads = 2};
  options.termination.max_iterations = 12;
  const RecoveryResult whole = Solve(samples, options);
  options.termination.max_iterations = 1;
  const RecoveryResult first = Solve(samples, options);
  options.termination.max_iterations = 12;
  options.num_threads = 1;
  const auto resumed = Recover(samples, options, {}, {}, {}, first.checkpoint);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(std::get<SparseNetwork>(resumed->network), std::get<SparseNetwork>(whole.network));
}

}  // namespace
}  // namespace thresher
