// Samples as the building blocks of recovery/ want them: columns and targets of mean square
// about 1, so that magnitudes of weights on different inputs compare.
#ifndef THRESHER_CORE_RECOVERY_SCALED_SAMPLES_H_
#define THRESHER_CORE_RECOVERY_SCALED_SAMPLES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/design.h"
#include "core/recovery/relu_problem.h"
#include "core/samples/samples.h"

namespace thresher {

// The power of two that brings the root mean square to about 1; 1 for zeros. Between 2^-120 and
// 2^120, so that it and its inverse are floats.
double UnitScale(double mean_square);

struct ScaledSamples {
  Design design;
  std::vector<double> targets;        // design.padded_samples()
  std::vector<double> column_scales;  // one a column, powers of two: scaling is exact
  double target_scale = 1;            // a power of two
  double target_norm2 = 0;            // of the scaled targets
  double max_target = 0;              // the largest magnitude of the scaled targets
  int64_t num_inputs = 0;
  bool has_bias = false;

  ReluProblem problem(Engine& engine) const {
    return {engine, design, targets, num_inputs, has_bias};
  }
};

// Expects valid samples of one output, or inputs alone: then the targets are zeros. Columns and
// targets of zeros stay as they are. Cost: O(n d).
ScaledSamples ScaleToUnit(const Samples& samples, bool bias);
ScaledSamples ScaleToUnit(InputView inputs, bool bias);

// Some of the samples that `scaled` holds, on its scales. Cost: O(n d) for n rows.
ScaledSamples ScaledRows(const Samples& samples, const ScaledSamples& scaled,
                         std::span<const int64_t> rows);

// A network of the samples' units, its linear term too, in those of the scaled ones, and back.
SparseNetwork ToScaled(const ScaledSamples& scaled, SparseNetwork network);
SparseNetwork FromScaled(const ScaledSamples& scaled, SparseNetwork network);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SCALED_SAMPLES_H_
