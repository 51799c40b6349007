// Samples (X, y) as a value.
#ifndef THRESHER_CORE_SAMPLES_SAMPLES_H_
#define THRESHER_CORE_SAMPLES_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/network/model.h"
#include "core/network/network.h"
#include "core/samples/float_array.h"

namespace thresher {

// Of an image whose pixels the samples are.
struct ImageShape {
  int64_t height = 0;  // 0: the samples are no image
  int64_t width = 0;
  int64_t channels = 0;
  bool operator==(const ImageShape&) const = default;
};

struct Samples {
  int64_t num_samples = 0;
  int64_t num_inputs = 0;
  int64_t num_outputs = 1;
  FloatArray inputs = {};   // num_samples x num_inputs, row-major
  FloatArray targets = {};  // num_samples x num_outputs, row-major
  // Names of the classes behind targets 0, 1, ...; empty for regression. Two classes
  // are one output with targets 0 and 1, k > 2 classes k outputs, one-hot.
  std::vector<std::string> class_names = {};
  // What has been done to inputs and targets since they were read.
  Scaling scaling = {};
  // See image_samples.h; height x width x channels samples.
  ImageShape image_shape = {};

  InputView input_view() const { return {inputs.data(), num_samples, num_inputs}; }
};

// Errors: INVALID_ARGUMENT naming the field: `num_samples` (none), `num_inputs`
// (none), `inputs` or `targets` (size disagrees, or an entry that is NaN or infinite:
// the row and column are said), `class_names` (their number, or one that no model could have:
// ValidateClassName).
absl::Status ValidateSamples(const Samples& samples);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_SAMPLES_H_
