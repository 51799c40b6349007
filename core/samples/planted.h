// The planted problem of the paper: a sparse network drawn at random and its
// answers on random inputs.
#ifndef THRESHER_CORE_SAMPLES_PLANTED_H_
#define THRESHER_CORE_SAMPLES_PLANTED_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/samples/samples.h"

namespace thresher {

enum class WeightDistribution { kNormal, kUniform, kSign, kHeavyTailed };
enum class InputDistribution { kNormal, kUniform, kBinary };

struct PlantedOptions {
  int64_t num_samples = 0;   // n >= 1
  int64_t num_inputs = 0;    // d >= 1
  int64_t hidden_width = 0;  // m >= 1
  int64_t nonzeros = 0;      // 1 <= s <= d m, positions uniform without replacement
  uint64_t seed = 0;
  // normal: N(0,1); uniform: [-1,-0.1] and [0.1,1]; sign: +1 or -1; heavy-tailed:
  // Student's t with 2 degrees of freedom.
  WeightDistribution weight_distribution = WeightDistribution::kNormal;
  InputDistribution input_distribution = InputDistribution::kNormal;
  OutputSigns output_signs = OutputSigns::kPositive;
  // Signal to noise ratio in dB, 10 log10(mean y^2 / noise variance); unset: no noise.
  std::optional<double> noise_db;
  // AR(1) correlation of neighbouring inputs, in (-1, 1): cov(x_a, x_b) = rho^|a-b|.
  double input_correlation = 0;
};

struct PlantedProblem {
  Samples samples;
  SparseNetwork network;
};

// Targets are summed in double and rounded to float32; nothing is normalised.
// Errors: INVALID_ARGUMENT naming the field, also when sizes overflow.
// Cost: O(n (d + s)).
absl::StatusOr<PlantedProblem> GeneratePlanted(const PlantedOptions& options);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_PLANTED_H_
