// The planted problem of the paper: a sparse network drawn at random and its
// answers on random inputs.
#ifndef THRESHER_CORE_SAMPLES_PLANTED_H_
#define THRESHER_CORE_SAMPLES_PLANTED_H_

#include <cstdint>
#include <optional>
#include <stop_token>

#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/samples/samples.h"

namespace thresher {

enum class WeightDistribution { kNormal, kUniform, kSign, kHeavyTailed };
// All of mean 0 and variance 1: N(0,1); uniform on [-sqrt(3), sqrt(3)); +1 or -1.
enum class InputDistribution { kNormal, kUniform, kBinary };

struct PlantedOptions {
  int64_t num_samples = 0;   // n >= 1
  int64_t num_inputs = 0;    // d >= 1
  int64_t hidden_width = 0;  // m >= 1
  // T <= s <= the entries of the T weight matrices: T = hidden_layers for one output, whose weights
  // are fused, else hidden_layers + 1. Each matrix gets min(its entries, floor(s / T)) at positions
  // uniform without replacement; with one hidden layer and one output 1 <= s <= d m, all of them.
  int64_t nonzeros = 0;
  uint64_t seed = 0;
  // normal: N(0,1); uniform: [-1,-0.1] and [0.1,1]; sign: +1 or -1; heavy-tailed:
  // Student's t with 2 degrees of freedom.
  WeightDistribution weight_distribution = WeightDistribution::kNormal;
  InputDistribution input_distribution = InputDistribution::kNormal;
  // k >= 1; more than one have output weights of their own, drawn as the others.
  int64_t num_outputs = 1;
  int64_t hidden_layers = 1;  // L, 1 to kMaxHiddenLayers, each of hidden_width units
  // Mixed: +1 or -1 with equal chance for each neuron of the last hidden layer; one output only.
  OutputSigns output_signs = OutputSigns::kPositive;
  // A dense linear term beside the neurons, num_inputs entries N(0,1), not counted in nonzeros.
  // One hidden layer and one output only.
  bool linear_term = false;
  // Signal to noise ratio in dB over all outputs, 10 log10(mean y^2 / noise variance), in
  // [-100, 300]; unset: no noise.
  std::optional<double> noise_db = std::nullopt;
  // Correlation of neighbouring inputs, rho in (-1, 1): cov(x_a, x_b) = rho^|a-b| for every
  // distribution. Normal inputs are an AR(1) process; the others keep their distribution
  // exactly: an input repeats its neighbour (times the sign of rho) with probability |rho|.
  double input_correlation = 0;
  // Refused beyond: memory while generating, as PlantedBytes predicts it.
  int64_t max_bytes = int64_t{1} << 31;
};

struct PlantedProblem {
  Samples samples;
  SparseNetwork network;
};

// Peak memory of GeneratePlanted in bytes, an upper estimate; max_bytes is not looked at.
// Errors: INVALID_ARGUMENT as GeneratePlanted.
absl::StatusOr<int64_t> PlantedBytes(const PlantedOptions& options);

// Targets are summed in double and rounded to float32; nothing is normalised. Inputs, signs,
// linear term, noise, and positions and weights of each layer come from separate streams of the
// seed, so changing one option leaves the others' draws alone. With several layers or outputs and
// few weights targets can all be 0, as there may be no path from an input to an output.
// Errors: INVALID_ARGUMENT naming the field, also when sizes overflow, n s exceeds 10^12
// (hours of work) or targets exceed float32; RESOURCE_EXHAUSTED beyond max_bytes; CANCELLED soon
// after `stop` was requested.
// Cost: O(n (d + k + s) + L m); memory O(n (d + k) + L m + s), whatever d m is.
absl::StatusOr<PlantedProblem> GeneratePlanted(const PlantedOptions& options,
                                               const std::stop_token& stop = {});

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_PLANTED_H_
