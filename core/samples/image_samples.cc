#include "core/samples/image_samples.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"

namespace thresher {
namespace {

constexpr int64_t kMaxFeatures = 65536;
constexpr double kMaxSigma = 1e6;
// Stream of the counter-based generator that draws the frequencies of rows and columns; the next
// draws those of the channel.
constexpr uint64_t kFrequencyStream = 0xf00e1e40000000ull;

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::Status CheckOptions(const ImageOptions& options) {
  if (options.num_features < 2 || options.num_features > kMaxFeatures ||
      options.num_features % 2 != 0) {
    return Invalid("num_features", absl::StrCat("must be even, from 2 to ", kMaxFeatures, ", is ",
                                                options.num_features));
  }
  if (options.sigma && !(*options.sigma > 0 && *options.sigma <= kMaxSigma)) {
    return Invalid("sigma", absl::StrCat("must be more than 0 and at most ", kMaxSigma, ", is ",
                                         *options.sigma));
  }
  if (options.channel_sigma &&
      !(*options.channel_sigma >= 0 && *options.channel_sigma <= kMaxSigma)) {
    return Invalid("channel_sigma",
                   absl::StrCat("must be from 0 to ", kMaxSigma, ", is ", *options.channel_sigma));
  }
  return absl::OkStatus();
}

absl::StatusOr<Crop> CropOf(const Image& image, const Crop& crop) {
  if (crop == Crop{}) return Crop{.width = image.width, .height = image.height};
  // Compared by differences: sums may overflow.
  if (crop.width < 1 || crop.height < 1 || crop.left < 0 || crop.top < 0 ||
      crop.width > image.width || crop.left > image.width - crop.width ||
      crop.height > image.height || crop.top > image.height - crop.height) {
    return Invalid("crop", absl::StrCat(crop.width, " x ", crop.height, " pixels from column ",
                                        crop.left, ", row ", crop.top, " on are not within the ",
                                        image.width, " x ", image.height, " of the image"));
  }
  return crop;
}

// sin and cos of 2 pi t; t less its whole part first, which is exact.
std::pair<float, float> Wave(double t) {
  const double angle = 2 * std::numbers::pi * (t - std::floor(t));
  return {static_cast<float>(std::sin(angle)), static_cast<float>(std::cos(angle))};
}

}  // namespace

double DefaultSigma(ImageFeatures features, int64_t channels) {
  if (features == ImageFeatures::kScaled) return 10;
  return channels == 1 ? 2 : 5;
}

double DefaultChannelSigma(ImageFeatures features) {
  return features == ImageFeatures::kScaled ? 0.5 : 0.05;
}

absl::StatusOr<Samples> ImageSamples(const Image& image, const ImageOptions& options,
                                     int64_t max_bytes) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const absl::StatusOr<Crop> crop = CropOf(image, options.crop);
  if (!crop.ok()) return crop.status();
  const int64_t channels = image.channels;
  const int64_t most = max_bytes / static_cast<int64_t>(sizeof(float)) / (options.num_features + 1);
  if (crop->height > most / crop->width / channels) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the ", options.num_features, " features of ", crop->width, " x ",
                     crop->height, " x ", channels, " values would hold more than the limit of ",
                     max_bytes, " bytes; take a crop or fewer features"));
  }
  const int64_t num_frequencies = options.num_features / 2;
  const double sigma = options.sigma.value_or(DefaultSigma(options.features, channels));
  const double channel_sigma =
      options.channel_sigma.value_or(DefaultChannelSigma(options.features));
  CounterRandom of_place(options.seed, kFrequencyStream);
  CounterRandom of_channel(options.seed, kFrequencyStream + 1);
  struct Frequency {
    double row, column, channel;
  };
  std::vector<Frequency> frequencies(num_frequencies);
  for (Frequency& each : frequencies) {
    each.row = sigma * of_place.NextNormal();
    each.column = sigma * of_place.NextNormal();
    each.channel = channel_sigma * of_channel.NextNormal();
  }
  const bool scaled = options.features == ImageFeatures::kScaled;
  const auto side = static_cast<double>(std::max(crop->width, crop->height));
  const auto coordinate = [scaled](int64_t at, double extent) {
    return scaled ? (static_cast<double>(at) + 0.5) / extent : static_cast<double>(at);
  };

  Samples samples;
  samples.num_samples = crop->height * crop->width * channels;
  samples.num_inputs = options.num_features;
  samples.image_shape = {.height = crop->height, .width = crop->width, .channels = channels};
  samples.inputs.resize(samples.num_samples * samples.num_inputs);
  samples.targets.reserve(samples.num_samples);
  float* input = samples.inputs.data();
  for (int64_t h = 0; h < channels; ++h) {
    const double channel = channels == 1 ? 0 : coordinate(h, static_cast<double>(channels));
    for (int64_t r = 0; r < crop->height; ++r) {
      const double row = coordinate(r, side);
      for (int64_t c = 0; c < crop->width; ++c) {
        const double column = coordinate(c, side);
        for (const Frequency& each : frequencies) {
          std::tie(input[0], input[num_frequencies]) =
              Wave(each.row * row + each.column * column + each.channel * channel);
          ++input;
        }
        input += num_frequencies;
        samples.targets.push_back(
            image.values[((crop->top + r) * image.width + crop->left + c) * channels + h]);
      }
    }
  }
  return samples;
}

Image ImageOfSamples(const ImageShape& shape, std::span<const float> values) {
  Image image = {.height = shape.height, .width = shape.width, .channels = shape.channels};
  const int64_t num_pixels = shape.height * shape.width;
  image.values.reserve(values.size());
  for (int64_t pixel = 0; pixel < num_pixels; ++pixel) {
    for (int64_t h = 0; h < shape.channels; ++h) {
      image.values.push_back(values[h * num_pixels + pixel]);
    }
  }
  return image;
}

}  // namespace thresher
