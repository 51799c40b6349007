// Deterministic split into a training and a held-out part.
#ifndef THRESHER_CORE_SAMPLES_SPLIT_H_
#define THRESHER_CORE_SAMPLES_SPLIT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/samples/samples.h"

namespace thresher {

struct SplitSamples {
  Samples training;
  Samples held_out;  // may hold no samples
};

// Permutes the rows by a counter-based generator and gives
// floor(held_out_fraction * n) of them to the held-out part, both parts in the
// original row order. Fraction in [0, 1).
// Errors: INVALID_ARGUMENT as ValidateSamples, and for `held_out_fraction` outside the
// range or leaving no training sample.
absl::StatusOr<SplitSamples> Split(const Samples& samples, double held_out_fraction, uint64_t seed);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_SPLIT_H_
