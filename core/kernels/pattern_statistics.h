// How often gates are open and how far their patterns are apart: the two constants of the
// paper's Assumption 2 on gates that were found.
#ifndef THRESHER_CORE_KERNELS_PATTERN_STATISTICS_H_
#define THRESHER_CORE_KERNELS_PATTERN_STATISTICS_H_

#include <cstdint>
#include <optional>

#include "core/gates/gate_masks.h"
#include "core/kernels/engine.h"

namespace thresher {

struct PatternStatistics {
  // epsilon: open samples of the gate that is open least, over num_samples, in [0, 1].
  double smallest_active_fraction = 0;
  // gamma: samples on which the two most similar gates differ, over num_samples, in [0, 1];
  // unset for fewer than two gates.
  std::optional<double> smallest_difference;
  // Gates among which that pair was looked for: the first so many.
  int64_t compared_gates = 0;
};

// Expects at least one gate and one sample. Pairs are compared up to about max_words words of
// 64 samples (beyond, only the first gates are), by as many threads as the engine has.
// Cost: at most max_words population counts; n p / 8 bytes for the p gates compared.
PatternStatistics MeasurePatterns(Engine& engine, const GateMasks& masks, int64_t num_samples,
                                  int64_t max_words = int64_t{200} << 20);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_PATTERN_STATISTICS_H_
