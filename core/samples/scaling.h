// Scaling of samples, kept so that a model can undo it.
#ifndef THRESHER_CORE_SAMPLES_SCALING_H_
#define THRESHER_CORE_SAMPLES_SCALING_H_

#include "absl/status/status.h"
#include "core/samples/samples.h"

namespace thresher {

enum class ScalingMode {
  kNone,
  kStandardise,  // inputs and regression targets to mean 0, variance 1; constant
                 // columns become 0. Class targets stay as they are.
  kUnitRange,    // inputs to [0, 1] by one factor for all columns, max |x|; targets stay
};

// Changes the samples in place and records it in samples.scaling.
// Errors: FAILED_PRECONDITION when the samples are scaled already.
absl::Status ScaleSamples(ScalingMode mode, Samples& samples);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_SCALING_H_
