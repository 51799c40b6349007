#include "core/samples/image_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/samples/read_samples.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::Pointwise;
using ::testing::StartsWith;

constexpr int64_t kPlenty = int64_t{1} << 30;

// Values count up pixel by pixel.
Image Counting(int64_t height, int64_t width, int64_t channels) {
  Image image = {.height = height, .width = width, .channels = channels};
  for (int64_t i = 0; i < height * width * channels; ++i) {
    image.values.push_back(static_cast<float>(i) / 1000);
  }
  return image;
}

Samples Make(const Image& image, const ImageOptions& options) {
  const auto samples = ImageSamples(image, options, kPlenty);
  EXPECT_TRUE(samples.ok()) << samples.status();
  return samples.ok() ? *samples : Samples{};
}

std::string Error(const Image& image, const ImageOptions& options) {
  const auto samples = ImageSamples(image, options, kPlenty);
  EXPECT_TRUE(absl::IsInvalidArgument(samples.status()));
  return std::string(samples.status().message());
}

TEST(ImageSamplesTest, SamplesAreChannelsOfRowsOfColumns) {
  const Samples grey = Make(Counting(2, 3, 1), {.num_features = 4});
  EXPECT_EQ(grey.num_samples, 6);
  EXPECT_EQ(grey.num_inputs, 4);
  EXPECT_EQ(grey.num_outputs, 1);
  EXPECT_EQ(grey.image_shape, (ImageShape{.height = 2, .width = 3, .channels = 1}));
  EXPECT_TRUE(ValidateSamples(grey).ok());
  EXPECT_THAT(grey.targets, ElementsAre(0, .001F, .002F, .003F, .004F, .005F));
  const Samples colour = Make(Counting(1, 2, 3), {.num_features = 4});
  EXPECT_THAT(colour.targets, ElementsAre(0, .003F, .001F, .004F, .002F, .005F));
}

TEST(ImageSamplesTest, AnImageComesBackFromItsTargets) {
  for (const int64_t channels : {1, 3}) {
    const Image image = Counting(4, 5, channels);
    const Samples samples = Make(image, {.num_features = 2});
    const Image again = ImageOfSamples(samples.image_shape, samples.targets);
    EXPECT_EQ(again.height, 4);
    EXPECT_EQ(again.width, 5);
    EXPECT_EQ(again.channels, channels);
    EXPECT_EQ(again.values, image.values);
  }
}

// The phase of feature k at a sample, in turns, within [-1/2, 1/2].
double Phase(const Samples& samples, int64_t sample, int64_t k) {
  const int64_t half = samples.num_inputs / 2;
  const float* inputs = samples.inputs.data() + sample * samples.num_inputs;
  EXPECT_NEAR(inputs[k] * inputs[k] + inputs[half + k] * inputs[half + k], 1, 1e-6);
  return std::atan2(inputs[k], inputs[half + k]) / (2 * std::numbers::pi);
}

TEST(ImageSamplesTest, PhasesAreLinearInTheCoordinates) {
  // Frequencies so low that no phase leaves [-1/2, 1/2].
  for (const ImageFeatures features : {ImageFeatures::kScaled, ImageFeatures::kRawInteger}) {
    const ImageOptions options = {
        .features = features, .num_features = 20, .sigma = 1e-2, .channel_sigma = 1e-2};
    const Samples samples = Make(Counting(3, 4, 3), options);
    const auto at = [&](int64_t h, int64_t r, int64_t c, int64_t k) {
      return Phase(samples, (h * 3 + r) * 4 + c, k);
    };
    for (int64_t k = 0; k < 10; ++k) {
      const double row = at(0, 1, 0, k) - at(0, 0, 0, k);
      const double column = at(0, 0, 1, k) - at(0, 0, 0, k);
      const double channel = at(1, 0, 0, k) - at(0, 0, 0, k);
      EXPECT_NEAR(at(2, 2, 3, k), at(0, 0, 0, k) + 2 * row + 3 * column + 2 * channel, 1e-6);
      // Where the coordinates begin: at 0, or half a pixel from it.
      const double begin = features == ImageFeatures::kScaled ? (row + column + channel) / 2 : 0.0;
      EXPECT_NEAR(at(0, 0, 0, k), begin, 1e-6);
    }
  }
}

TEST(ImageSamplesTest, FrequenciesHaveTheirStandardDeviation) {
  // By the steps between neighbours, in turns.
  const auto deviation = [](const Samples& samples, int64_t from, int64_t to) {
    double sum = 0;
    const int64_t half = samples.num_inputs / 2;
    for (int64_t k = 0; k < half; ++k) {
      sum += std::pow(Phase(samples, to, k) - Phase(samples, from, k), 2);
    }
    return std::sqrt(sum / static_cast<double>(half));
  };
  ImageOptions options = {.features = ImageFeatures::kRawInteger,
                          .num_features = 20000,
                          .sigma = 0.01,
                          .channel_sigma = 0.02};
  const Samples raw = Make(Counting(2, 2, 3), options);
  EXPECT_NEAR(deviation(raw, 0, 1), 0.01, 5e-4);
  EXPECT_NEAR(deviation(raw, 0, 2), 0.01, 5e-4);
  EXPECT_NEAR(deviation(raw, 0, 4), 0.02, 1e-3);
  options.features = ImageFeatures::kScaled;
  const Samples scaled = Make(Counting(2, 4, 3), options);
  EXPECT_NEAR(deviation(scaled, 0, 1), 0.01 / 4, 2e-4);
  EXPECT_NEAR(deviation(scaled, 0, 4), 0.01 / 4, 2e-4);
  EXPECT_NEAR(deviation(scaled, 0, 8), 0.02 / 3, 4e-4);
}

TEST(ImageSamplesTest, TheChannelChangesNoOtherFrequency) {
  const Samples grey = Make(Counting(3, 3, 1), {.num_features = 6, .channel_sigma = 0});
  const Samples colour = Make(Counting(3, 3, 3), {.num_features = 6, .channel_sigma = 0});
  EXPECT_THAT(std::vector<float>(colour.inputs.begin(), colour.inputs.begin() + 54),
              Pointwise(FloatEq(), grey.inputs));
}

TEST(ImageSamplesTest, SeedsDrawOtherFrequencies) {
  const Image image = Counting(2, 2, 1);
  EXPECT_EQ(Make(image, {.num_features = 8, .seed = 3}).inputs,
            Make(image, {.num_features = 8, .seed = 3}).inputs);
  EXPECT_NE(Make(image, {.num_features = 8, .seed = 3}).inputs,
            Make(image, {.num_features = 8, .seed = 4}).inputs);
}

TEST(ImageSamplesTest, ACropIsAnImageOfItsOwn) {
  Image part = {.height = 2, .width = 3};
  const Image image = Counting(5, 6, 1);
  for (const int r : {2, 3}) {
    for (const int c : {1, 2, 3}) part.values.push_back(image.values[r * 6 + c]);
  }
  const Samples cropped =
      Make(image, {.num_features = 8, .crop = {.width = 3, .height = 2, .left = 1, .top = 2}});
  const Samples whole = Make(part, {.num_features = 8});
  EXPECT_EQ(cropped.inputs, whole.inputs);
  EXPECT_EQ(cropped.targets, whole.targets);
  EXPECT_EQ(cropped.image_shape, whole.image_shape);
}

TEST(ImageSamplesTest, ErrorsNameTheField) {
  const Image image = Counting(5, 6, 1);
  EXPECT_THAT(Error(image, {.num_features = 0}), StartsWith("num_features:"));
  EXPECT_THAT(Error(image, {.num_features = 7}), StartsWith("num_features:"));
  EXPECT_THAT(Error(image, {.num_features = 65538}), StartsWith("num_features:"));
  for (const double sigma : {0.0, -1.0, 2e6, double{NAN}}) {
    EXPECT_THAT(Error(image, {.sigma = sigma}), StartsWith("sigma:"));
  }
  for (const double sigma : {-1.0, 2e6, double{NAN}}) {
    EXPECT_THAT(Error(image, {.channel_sigma = sigma}), StartsWith("channel_sigma:"));
  }
  for (const Crop& crop :
       {Crop{.width = 7, .height = 1}, Crop{.width = 1, .height = 6},
        Crop{.width = 6, .height = 5, .left = 1}, Crop{.width = 1, .height = 1, .top = INT64_MAX},
        Crop{.width = INT64_MAX, .height = INT64_MAX, .left = 1}, Crop{.width = 0, .height = 3},
        Crop{.width = 1, .height = 1, .left = -1}}) {
    EXPECT_THAT(Error(image, {.crop = crop}), StartsWith("crop:"));
  }
  const int64_t bytes = 30 * (8 + 1) * static_cast<int64_t>(sizeof(float));
  EXPECT_TRUE(ImageSamples(image, {.num_features = 8}, bytes).ok());
  EXPECT_TRUE(
      absl::IsResourceExhausted(ImageSamples(image, {.num_features = 8}, bytes - 1).status()));
}

// Two images of 2 x 3 bytes.
std::string IdxImages() {
  std::string idx("\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03", 16);
  for (int i = 0; i < 12; ++i) idx.push_back(static_cast<char>(i * 20));
  return idx;
}

TEST(ImageSamplesTest, OneImageOfAnIdxFileIsRead) {
  ReadOptions options = {.format = FileFormat::kIdx,
                         .image = ImageOptions{.num_features = 4, .index = 1}};
  EXPECT_FALSE(HasTargetsFile(options));
  const auto samples = ReadSamples(options, IdxImages(), "");
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(samples->image_shape, (ImageShape{.height = 2, .width = 3, .channels = 1}));
  EXPECT_THAT(samples->targets, ElementsAre(120 / 255.0F, 140 / 255.0F, 160 / 255.0F, 180 / 255.0F,
                                            200 / 255.0F, 220 / 255.0F));
  options.image->index = 2;
  EXPECT_THAT(std::string(ReadSamples(options, IdxImages(), "").status().message()),
              StartsWith("image.index:"));
  options.image->index = -1;
  EXPECT_FALSE(ReadSamples(options, IdxImages(), "").ok());
}

TEST(ImageSamplesTest, ImagesExcludeWhatIsForTables) {
  const auto error = [](ReadOptions options, std::string_view targets = "") {
    return std::string(ReadSamples(options, IdxImages(), targets).status().message());
  };
  const ImageOptions image = {.num_features = 4};
  EXPECT_THAT(error({.format = FileFormat::kIdx, .targets_are_classes = true, .image = image}),
              StartsWith("targets_are_classes:"));
  EXPECT_THAT(
      error({.format = FileFormat::kIdx, .scaling = ScalingMode::kStandardise, .image = image}),
      StartsWith("scaling:"));
  EXPECT_THAT(error({.format = FileFormat::kIdx, .image = image}, "x"), StartsWith("targets:"));
  EXPECT_THAT(error({.format = FileFormat::kNpy, .image = image}, "x"), StartsWith("image:"));
  EXPECT_THAT(error({.format = FileFormat::kPng, .image = ImageOptions{.index = 1}}),
              StartsWith("image.index:"));
  EXPECT_THAT(error({.format = FileFormat::kPng}), StartsWith("inputs: not a PNG"));
  EXPECT_THAT(error({.format = FileFormat::kIdx, .image = ImageOptions{.num_features = 3}}),
              StartsWith("image.num_features:"));
}

}  // namespace
}  // namespace thresher
