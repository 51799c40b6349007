#include "core/samples/planted.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/network/merge.h"

namespace thresher {
namespace {

// Streams of one seed, "plant" in ASCII and a number.
constexpr uint64_t kInputStream = 0x706c616e74000000;
constexpr uint64_t kPositionStream = kInputStream + 1;
constexpr uint64_t kWeightStream = kInputStream + 2;
constexpr uint64_t kSignStream = kInputStream + 3;
constexpr uint64_t kNoiseStream = kInputStream + 4;
constexpr uint64_t kLinearStream = kInputStream + 5;

constexpr int64_t kMostWork = 1'000'000'000'000;  // n s

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::Status CheckAtLeastOne(absl::string_view field, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return Invalid(field, absl::StrCat("must be at least 1, is ", value));
}

absl::Status CheckOptions(const PlantedOptions& options) {
  for (const auto& [field, value] :
       {std::pair("num_samples", options.num_samples), std::pair("num_inputs", options.num_inputs),
        std::pair("hidden_width", options.hidden_width), std::pair("nonzeros", options.nonzeros)}) {
    if (absl::Status status = CheckAtLeastOne(field, value); !status.ok()) return status;
  }
  constexpr int64_t kMostColumns = std::numeric_limits<int32_t>::max() - 1;
  if (options.num_inputs > kMostColumns) {
    return Invalid("num_inputs", absl::StrCat("must be at most ", kMostColumns));
  }
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  if (options.num_samples > kLargest / options.num_inputs) {
    return Invalid("num_samples", "num_samples x num_inputs overflows; choose smaller sizes");
  }
  if (options.hidden_width > kLargest / options.num_inputs) {
    return Invalid("hidden_width", "hidden_width x num_inputs overflows; choose smaller sizes");
  }
  if (options.nonzeros > options.hidden_width * options.num_inputs) {
    return Invalid("nonzeros", absl::StrCat("must be at most hidden_width x num_inputs = ",
                                            options.hidden_width * options.num_inputs, ", is ",
                                            options.nonzeros));
  }
  if (options.nonzeros > kMostWork / options.num_samples) {
    return Invalid("num_samples",
                   absl::StrCat("num_samples x nonzeros must be at most ", kMostWork));
  }
  if (options.noise_db.has_value() && !(*options.noise_db >= -100 && *options.noise_db <= 300)) {
    return Invalid("noise_db", absl::StrCat("must be in [-100, 300], is ", *options.noise_db));
  }
  if (!(options.input_correlation > -1 && options.input_correlation < 1)) {
    return Invalid("input_correlation",
                   absl::StrCat("must be in (-1, 1), is ", options.input_correlation));
  }
  return absl::OkStatus();
}

// `count` of the integers [0, num_positions), ascending, every set with equal chance.
std::vector<int64_t> DrawPositions(int64_t num_positions, int64_t count, CounterRandom random) {
  std::vector<int64_t> positions;
  positions.reserve(count);
  if (count > num_positions / 16) {
    // Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S).
    for (int64_t at = 0; static_cast<int64_t>(positions.size()) < count; ++at) {
      const auto wanted = static_cast<uint64_t>(count) - positions.size();
      if (random.NextBelow(static_cast<uint64_t>(num_positions - at)) < wanted) {
        positions.push_back(at);
      }
    }
    return positions;
  }
  // Floyd's algorithm (Bentley and Floyd, Communications of the ACM 30, 1987): O(count) time
  // and memory, whatever num_positions is.
  std::unordered_set<int64_t> drawn;
  drawn.reserve(count);
  for (int64_t last = num_positions - count; last < num_positions; ++last) {
    const auto position = static_cast<int64_t>(random.NextBelow(static_cast<uint64_t>(last) + 1));
    positions.push_back(drawn.insert(position).second ? position : last);
    drawn.insert(positions.back());
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

double DrawSign(CounterRandom& random) { return random.NextBelow(2) == 0 ? 1.0 : -1.0; }

double DrawWeight(WeightDistribution distribution, CounterRandom& random) {
  switch (distribution) {
    case WeightDistribution::kNormal:
      return random.NextNormal();
    case WeightDistribution::kUniform: {
      const double magnitude = 0.1 + 0.9 * random.NextUniform();
      return DrawSign(random) * magnitude;
    }
    case WeightDistribution::kSign:
      return DrawSign(random);
    case WeightDistribution::kHeavyTailed: {
      // The inverse distribution function; half a step keeps u off 0, 1/2 and 1.
      const double u = random.NextUniform() + 0x1p-54;
      return (2 * u - 1) / std::sqrt(2 * u * (1 - u));
    }
  }
  return 0;
}

SparseNetwork DrawNetwork(const PlantedOptions& options) {
  SparseNetwork network;
  network.num_inputs = options.num_inputs;
  const std::vector<int64_t> positions =
      DrawPositions(options.hidden_width * options.num_inputs, options.nonzeros,
                    CounterRandom(options.seed, kPositionStream));
  CounterRandom random(options.seed, kWeightStream);
  SparseRows& weights = network.weights;
  weights.row_begin.assign(options.hidden_width + 1, 0);
  weights.column.reserve(positions.size());
  weights.value.reserve(positions.size());
  for (const int64_t position : positions) {
    ++weights.row_begin[position / options.num_inputs + 1];
    weights.column.push_back(static_cast<int32_t>(position % options.num_inputs));
    weights.value.push_back(DrawWeight(options.weight_distribution, random));
  }
  for (int64_t j = 0; j < options.hidden_width; ++j) {
    weights.row_begin[j + 1] += weights.row_begin[j];
  }
  network.output_signs.assign(options.hidden_width, 1);
  if (options.output_signs == OutputSigns::kMixed) {
    CounterRandom signs(options.seed, kSignStream);
    for (int8_t& sign : network.output_signs) sign = static_cast<int8_t>(DrawSign(signs));
  }
  if (options.linear_term) {
    CounterRandom entries(options.seed, kLinearStream);
    network.linear.resize(options.num_inputs);
    for (double& entry : network.linear) entry = entries.NextNormal();
  }
  return network;
}

double DrawInput(InputDistribution distribution, CounterRandom& random) {
  switch (distribution) {
    case InputDistribution::kNormal:
      return random.NextNormal();
    case InputDistribution::kUniform:
      return std::sqrt(3.0) * (2 * random.NextUniform() - 1);
    case InputDistribution::kBinary:
      return DrawSign(random);
  }
  return 0;
}

std::vector<float> DrawInputs(const PlantedOptions& options) {
  std::vector<float> inputs(options.num_samples * options.num_inputs);
  CounterRandom random(options.seed, kInputStream);
  const double rho = options.input_correlation;
  const double fresh_part = std::sqrt(1 - rho * rho);
  for (int64_t i = 0; i < options.num_samples; ++i) {
    double value = 0;
    for (int64_t q = 0; q < options.num_inputs; ++q) {
      if (q == 0 || rho == 0) {
        value = DrawInput(options.input_distribution, random);
      } else if (options.input_distribution == InputDistribution::kNormal) {
        value = rho * value + fresh_part * DrawInput(options.input_distribution, random);
      } else if (random.NextUniform() < std::fabs(rho)) {
        value = rho > 0 ? value : -value;
      } else {
        value = DrawInput(options.input_distribution, random);
      }
      inputs[i * options.num_inputs + q] = static_cast<float>(value);
    }
  }
  return inputs;
}

void AddNoise(double noise_db, uint64_t seed, std::vector<double>& targets) {
  double power = 0;
  for (const double target : targets) power += target * target;
  power /= static_cast<double>(targets.size());
  const double deviation = std::sqrt(power) * std::pow(10.0, -noise_db / 20);
  CounterRandom random(seed, kNoiseStream);
  for (double& target : targets) target += deviation * random.NextNormal();
}

}  // namespace

absl::StatusOr<int64_t> PlantedBytes(const PlantedOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  // In floating point, because the sum may overflow. Inputs; targets in double and float;
  // per weight its position, the set it was drawn with, column and value, twice; per neuron
  // row_begin and sign, twice; the linear term, twice.
  const double n = static_cast<double>(options.num_samples);
  const double bytes = n * (4.0 * static_cast<double>(options.num_inputs) + 12) +
                       80.0 * static_cast<double>(options.nonzeros) +
                       18.0 * static_cast<double>(options.hidden_width) +
                       (options.linear_term ? 16.0 * static_cast<double>(options.num_inputs) : 0.0);
  return bytes < 0x1p62 ? static_cast<int64_t>(bytes) : int64_t{1} << 62;
}

absl::StatusOr<PlantedProblem> GeneratePlanted(const PlantedOptions& options) {
  const absl::StatusOr<int64_t> bytes = PlantedBytes(options);
  if (!bytes.ok()) return bytes.status();
  if (*bytes > options.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("the planted problem needs ", *bytes,
                                                     " bytes, the limit is ", options.max_bytes,
                                                     "; choose fewer samples, inputs or neurons"));
  }

  PlantedProblem problem;
  problem.network = DrawNetwork(options);
  Samples& samples = problem.samples;
  samples.num_samples = options.num_samples;
  samples.num_inputs = options.num_inputs;
  samples.inputs = DrawInputs(options);
  std::vector<double> targets(options.num_samples);
  // Neurons without weights would be visited for every sample, and there may be very many.
  absl::Status status = Evaluate(DropDeadNeurons(problem.network), samples.input_view(), targets);
  if (!status.ok()) return status;
  if (options.noise_db.has_value()) AddNoise(*options.noise_db, options.seed, targets);

  samples.targets.resize(options.num_samples);
  for (int64_t i = 0; i < options.num_samples; ++i) {
    if (!(std::fabs(targets[i]) <= std::numeric_limits<float>::max())) {
      return Invalid("noise_db", "a target is beyond the range of float32; use less noise");
    }
    samples.targets[i] = static_cast<float>(targets[i]);
  }
  return problem;
}

}  // namespace thresher
