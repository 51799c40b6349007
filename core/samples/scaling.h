// Scaling of samples, kept so that a model can undo it.
#ifndef THRESHER_CORE_SAMPLES_SCALING_H_
#define THRESHER_CORE_SAMPLES_SCALING_H_

#include "absl/status/status.h"
#include "core/samples/samples.h"

namespace thresher {

enum class ScalingMode {
  kNone,
  kStandardise,  // inputs and regression targets to mean 0, variance 1 (over n, not n - 1);
                 // constant columns become 0. Several outputs share one mean and variance.
                 // Class targets stay as they are.
  kUnitRange,    // inputs to [-1, 1] by one factor for all columns, max |x|, so non-negative
                 // ones to [0, 1]; targets stay
};

// Changes the samples in place and records it in samples.scaling, so that the original
// inputs are x' * input_scale + input_offset up to rounding, and targets alike.
// Errors: FAILED_PRECONDITION when the samples are scaled already (kNone always passes);
// INVALID_ARGUMENT as ValidateSamples.
absl::Status ScaleSamples(ScalingMode mode, Samples& samples);

// Undoes the scaling of the inputs and applies that of `to`; of the targets, with one offset and
// scale. samples.scaling stays for the caller to set.
void RescaleInputs(const Scaling& to, Samples& samples);
void RescaleTargets(double offset, double scale, Samples& samples);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_SCALING_H_
