#include "core/samples/planted.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/network/evaluation.h"
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
// Of W_2; W_3 has the next two, and so on.
constexpr uint64_t kUpperPositionStream = kInputStream + 16;
constexpr uint64_t kUpperWeightStream = kUpperPositionStream + 1;

constexpr int64_t kMostWork = 1'000'000'000'000;  // n s

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::Status CheckAtLeastOne(absl::string_view field, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return Invalid(field, absl::StrCat("must be at least 1, is ", value));
}

// Weight matrices of the network: W_1 to W_L, and the output's where it is not fused.
int64_t NumMatrices(const PlantedOptions& options) {
  return options.hidden_layers + (options.num_outputs > 1 ? 1 : 0);
}

// Rows and columns of matrix t, from 0.
std::pair<int64_t, int64_t> MatrixShape(const PlantedOptions& options, int64_t t) {
  return {t == options.hidden_layers ? options.num_outputs : options.hidden_width,
          t == 0 ? options.num_inputs : options.hidden_width};
}

absl::Status CheckOptions(const PlantedOptions& options) {
  for (const auto& [field, value] :
       {std::pair("num_samples", options.num_samples), std::pair("num_inputs", options.num_inputs),
        std::pair("hidden_width", options.hidden_width), std::pair("nonzeros", options.nonzeros),
        std::pair("num_outputs", options.num_outputs),
        std::pair("hidden_layers", options.hidden_layers)}) {
    if (absl::Status status = CheckAtLeastOne(field, value); !status.ok()) return status;
  }
  constexpr int64_t kMostColumns = std::numeric_limits<int32_t>::max() - 1;
  if (options.num_inputs > kMostColumns) {
    return Invalid("num_inputs", absl::StrCat("must be at most ", kMostColumns));
  }
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  if (options.hidden_layers > kMaxHiddenLayers) {
    return Invalid("hidden_layers", absl::StrCat("must be at most ", kMaxHiddenLayers, ", is ",
                                                 options.hidden_layers));
  }
  if (options.num_samples > kLargest / options.num_inputs) {
    return Invalid("num_samples", "num_samples x num_inputs overflows; choose smaller sizes");
  }
  if (options.num_samples > kLargest / options.num_outputs) {
    return Invalid("num_outputs", "num_samples x num_outputs overflows; choose smaller sizes");
  }
  const int64_t num_matrices = NumMatrices(options);
  int64_t entries = 0;
  for (int64_t t = 0; t < num_matrices; ++t) {
    const auto [rows, columns] = MatrixShape(options, t);
    if (columns > kMostColumns) {
      return Invalid("hidden_width",
                     absl::StrCat("must be at most ", kMostColumns, " below another layer"));
    }
    if (rows > (kLargest - entries) / columns) {
      return Invalid("hidden_width",
                     t == 0 ? "hidden_width x num_inputs overflows; choose smaller sizes"
                            : "the number of weights overflows; choose smaller sizes");
    }
    entries += rows * columns;
  }
  if (options.nonzeros < num_matrices) {
    return Invalid("nonzeros", absl::StrCat("must be at least the number of weight matrices = ",
                                            num_matrices, ", is ", options.nonzeros));
  }
  if (options.nonzeros > entries) {
    return Invalid("nonzeros",
                   absl::StrCat("must be at most ",
                                num_matrices == 1 ? "hidden_width x num_inputs"
                                                  : "the entries of all weight matrices",
                                " = ", entries, ", is ", options.nonzeros));
  }
  if (options.output_signs == OutputSigns::kMixed && options.num_outputs > 1) {
    return Invalid("output_signs",
                   "mixed needs num_outputs = 1; several outputs have weights of both signs");
  }
  if (options.linear_term && num_matrices > 1) {
    return Invalid("linear_term", "needs hidden_layers = 1 and num_outputs = 1");
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

SparseRows DrawRows(int64_t num_rows, int64_t num_columns, int64_t nonzeros,
                    WeightDistribution distribution, CounterRandom position_random,
                    CounterRandom weight_random) {
  const std::vector<int64_t> positions =
      DrawPositions(num_rows * num_columns, nonzeros, position_random);
  SparseRows rows;
  rows.row_begin.assign(num_rows + 1, 0);
  rows.column.reserve(positions.size());
  rows.value.reserve(positions.size());
  for (const int64_t position : positions) {
    ++rows.row_begin[position / num_columns + 1];
    rows.column.push_back(static_cast<int32_t>(position % num_columns));
    rows.value.push_back(DrawWeight(distribution, weight_random));
  }
  for (int64_t j = 0; j < num_rows; ++j) rows.row_begin[j + 1] += rows.row_begin[j];
  return rows;
}

SparseNetwork DrawNetwork(const PlantedOptions& options) {
  SparseNetwork network;
  network.num_inputs = options.num_inputs;
  const int64_t num_matrices = NumMatrices(options);
  for (int64_t t = 0; t < num_matrices; ++t) {
    const auto [num_rows, num_columns] = MatrixShape(options, t);
    const uint64_t upper = 2 * static_cast<uint64_t>(t - 1);
    SparseRows rows = DrawRows(
        num_rows, num_columns, std::min(num_rows * num_columns, options.nonzeros / num_matrices),
        options.weight_distribution,
        CounterRandom(options.seed, t == 0 ? kPositionStream : kUpperPositionStream + upper),
        CounterRandom(options.seed, t == 0 ? kWeightStream : kUpperWeightStream + upper));
    if (t == 0) {
      network.weights = std::move(rows);
    } else {
      network.upper_layers.push_back(std::move(rows));
    }
  }
  if (options.num_outputs > 1) return network;
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

// Unfinished when stopped.
std::vector<float> DrawInputs(const PlantedOptions& options, const std::stop_token& stop) {
  std::vector<float> inputs(options.num_samples * options.num_inputs);
  CounterRandom random(options.seed, kInputStream);
  const double rho = options.input_correlation;
  const double fresh_part = std::sqrt(1 - rho * rho);
  for (int64_t i = 0; i < options.num_samples && !stop.stop_requested(); ++i) {
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

// Evaluate in blocks of rows, between which it may stop.
absl::Status EvaluateUntilStopped(const SparseNetwork& network, InputView inputs,
                                  std::span<double> outputs, const std::stop_token& stop) {
  constexpr int64_t kBlockWork = 10'000'000;  // multiply-adds
  const absl::StatusOr<EvaluationPlan> plan = MakeEvaluationPlan(network);
  if (!plan.ok()) return plan.status();
  const int64_t block = std::max<int64_t>(64, kBlockWork / (1 + Nonzeros(network)));
  for (int64_t row = 0; row < inputs.num_samples; row += block) {
    if (stop.stop_requested()) return absl::CancelledError("planting was stopped");
    const int64_t count = std::min(block, inputs.num_samples - row);
    absl::Status status =
        Evaluate(*plan, {inputs.data + row * inputs.num_inputs, count, inputs.num_inputs},
                 outputs.subspan(row * plan->num_outputs, count * plan->num_outputs));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
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
  // row_begin and sign, twice; the linear term, twice; per unit of layers below another one what
  // evaluation and reduction keep.
  const double n = static_cast<double>(options.num_samples);
  const double outputs = static_cast<double>(options.num_outputs);
  const double lower_units =
      static_cast<double>(NumMatrices(options) - 1) * static_cast<double>(options.hidden_width);
  const double bytes = n * (4.0 * static_cast<double>(options.num_inputs) + 12 * outputs) +
                       80.0 * static_cast<double>(options.nonzeros) +
                       18.0 * (static_cast<double>(options.hidden_width) + lower_units + outputs) +
                       600.0 * lower_units +
                       (options.linear_term ? 16.0 * static_cast<double>(options.num_inputs) : 0.0);
  return bytes < 0x1p62 ? static_cast<int64_t>(bytes) : int64_t{1} << 62;
}

absl::StatusOr<PlantedProblem> GeneratePlanted(const PlantedOptions& options,
                                               const std::stop_token& stop) {
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
  samples.num_outputs = options.num_outputs;
  samples.inputs = DrawInputs(options, stop);
  std::vector<double> targets(options.num_samples * options.num_outputs);
  // Neurons without weights would be visited for every sample, and there may be very many.
  absl::Status status =
      EvaluateUntilStopped(DropDeadNeurons(problem.network), samples.input_view(), targets, stop);
  if (!status.ok()) return status;
  if (options.noise_db.has_value()) AddNoise(*options.noise_db, options.seed, targets);

  samples.targets.resize(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!(std::fabs(targets[i]) <= std::numeric_limits<float>::max())) {
      return Invalid("noise_db", "a target is beyond the range of float32; use less noise");
    }
    samples.targets[i] = static_cast<float>(targets[i]);
  }
  return problem;
}

}  // namespace thresher
