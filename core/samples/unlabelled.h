// Samples that are inputs alone: num_outputs is 0, there are no targets and no classes.
#ifndef THRESHER_CORE_SAMPLES_UNLABELLED_H_
#define THRESHER_CORE_SAMPLES_UNLABELLED_H_

#include "absl/status/status.h"
#include "core/samples/samples.h"

namespace thresher {

inline bool HasTargets(const Samples& samples) { return samples.num_outputs > 0; }

// As ValidateSamples, but inputs alone pass too.
absl::Status ValidateLabelledOrNot(const Samples& samples);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_UNLABELLED_H_
