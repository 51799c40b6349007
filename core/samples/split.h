// Deterministic splits into a training and a held-out part.
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
// original row order. Fraction in [0, 1). Rows of equal inputs stay together, as repeats of what
// was learned from check nothing: n then counts different rows.
// Errors: INVALID_ARGUMENT as ValidateSamples, and for `held_out_fraction` outside the
// range or leaving no training sample.
absl::StatusOr<SplitSamples> Split(const Samples& samples, double held_out_fraction, uint64_t seed);

// The same for k-fold cross-validation: fold `fold` of `num_folds` is held out, fold sizes
// differ by at most one, and the folds of one seed hold every sample exactly once. Rows of equal
// inputs share a fold where there are as many different ones as folds.
// Errors: INVALID_ARGUMENT as ValidateSamples, for `num_folds` outside [2, n] and for `fold`
// outside [0, num_folds).
absl::StatusOr<SplitSamples> SplitFold(const Samples& samples, int64_t num_folds, int64_t fold,
                                       uint64_t seed);

// `count` of the samples, chosen at random, in their original order. Every `count` of one seed is a
// part of the next larger one.
// Errors: INVALID_ARGUMENT as ValidateSamples, and for `num_samples` outside [1, n].
absl::StatusOr<Samples> RandomSubset(const Samples& samples, int64_t count, uint64_t seed);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_SPLIT_H_
