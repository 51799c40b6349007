// An image as samples, for implicit neural representations: a network from the place of a pixel to
// its value.
#ifndef THRESHER_CORE_SAMPLES_IMAGE_SAMPLES_H_
#define THRESHER_CORE_SAMPLES_IMAGE_SAMPLES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/png.h"
#include "core/samples/samples.h"

namespace thresher {

// What a coordinate is. Row r, column c and, in colour, channel h (0 red, 1 green, 2 blue), all
// from 0, of an image of H rows and W columns.
enum class ImageFeatures {
  kScaled,      // (r + 1/2) / max(H, W), (c + 1/2) / max(H, W), (h + 1/2) / 3: in [0, 1]
  kRawInteger,  // r, c, h, as in the paper. Frequencies of more than 1/2 cycle a pixel alias:
                // the features are nearly random
};

// A part of an image in pixels.
struct Crop {
  int64_t width = 0;  // both 0: the whole image
  int64_t height = 0;
  int64_t left = 0;
  int64_t top = 0;
  bool operator==(const Crop&) const = default;
};

struct ImageOptions {
  ImageFeatures features = ImageFeatures::kScaled;
  int64_t num_features = 1500;  // d, even, 2 to 65536
  // Standard deviation of the frequencies of rows and columns, in cycles a unit of the coordinate;
  // 0 < sigma <= 10^6. Unset: see DefaultSigma.
  std::optional<double> sigma = std::nullopt;
  // That of the frequencies of the channel; may be 0, for grey images too.
  std::optional<double> channel_sigma = std::nullopt;
  uint64_t seed = 0;  // of the frequencies
  Crop crop = {};     // taken before coordinates are
  int64_t index = 0;  // of an IDX file: which image, from 0
  bool operator==(const ImageOptions&) const = default;
};

// What unset options mean. Raw integers, as in the paper: sigma 2 for grey, 5 for colour, 0.05 of
// the channel. Scaled: 10, and 0.5 of the channel.
double DefaultSigma(ImageFeatures features, int64_t channels);
double DefaultChannelSigma(ImageFeatures features);

// One sample a pixel and channel, sample (h H + r) W + c; its target is the value there, its inputs
//   phi(z) = [sin(2 pi B z), cos(2 pi B z)],  B of d / 2 rows,
// with z the coordinates and B's columns N(0, sigma^2) for rows and columns, N(0, channel_sigma^2)
// for the channel of a colour image. samples.image_shape is set.
// Source: Tancik et al., "Fourier features let networks learn high frequency functions in low
// dimensional domains", NeurIPS 2020; PAPER: figures 4 and 5.
// Errors: INVALID_ARGUMENT naming num_features, sigma, channel_sigma or crop; RESOURCE_EXHAUSTED
// when inputs and targets would take more than max_bytes. Cost: n d sines.
absl::StatusOr<Samples> ImageSamples(const Image& image, const ImageOptions& options,
                                     int64_t max_bytes);

// The image that values, one a sample, stand for; the inverse of the order above.
Image ImageOfSamples(const ImageShape& shape, std::span<const float> values);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_IMAGE_SAMPLES_H_
