#include "core/pruning/one_shot.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/kernels/engine.h"
#include "core/network/merge.h"
#include "core/pruning/layer_matrices.h"
#include "core/pruning/selection.h"
#include "core/pruning/surgeon.h"

namespace thresher {
namespace {

constexpr int kMaxThreads = 256;
constexpr int64_t kMaxPattern = 64;
constexpr int64_t kMaxStages = 1000;
// Measured on MNIST: tests/benchmark/README.md.
constexpr double kObsDamping = 1e-3;
constexpr double kCurvatureDamping = 0.1;
// The curvature's products cost as much as the network's evaluation each.
constexpr int64_t kCurvatureSamples = 2048;

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
}

struct LayerShape {
  int64_t rows = 0;
  int64_t columns = 0;  // with the constant
  double size() const { return static_cast<double>(rows) * static_cast<double>(columns); }
};

std::vector<LayerShape> ShapesOf(const NetworkSizes& network) {
  std::vector<LayerShape> shapes;
  int64_t below = network.num_inputs;
  for (const int64_t width : network.hidden_widths) {
    shapes.push_back({width, below + (network.bias ? 1 : 0)});
    below = width;
  }
  shapes.push_back({network.num_outputs, below + (network.bias ? 1 : 0)});
  return shapes;
}

int64_t SamplesLookedAt(const OneShotOptions& options, int64_t num_samples) {
  if (options.method == OneShotMethod::kMagnitude) return 0;
  const int64_t most = std::min(options.max_samples, num_samples);
  return options.method == OneShotMethod::kCurvature ? std::min(most, kCurvatureSamples) : most;
}

// |w|, or |w| times the root mean square of what its column reads.
LayerMatrices PruneByScores(Engine& engine, const LayerMatrices& network, const UnitMatrix& inputs,
                            const OneShotOptions& options) {
  std::vector<UnitMatrix> units;
  if (options.method == OneShotMethod::kActivation) units = AllUnits(engine, network, inputs);
  std::vector<LayerMatrix> scores;
  for (size_t l = 0; l < network.layers.size(); ++l) {
    scores.push_back(network.layers[l].cwiseAbs());
    if (units.empty()) continue;
    const Eigen::RowVectorXd norms =
        (units[l].cast<double>().colwise().squaredNorm() / static_cast<double>(inputs.rows()))
            .cwiseSqrt();
    scores.back() = scores.back() * norms.asDiagonal();
  }
  const std::vector<LayerMatrix> kept = Select(scores, options, network.has_bias);
  LayerMatrices pruned = network;
  for (size_t l = 0; l < kept.size(); ++l) {
    pruned.layers[l] = pruned.layers[l].cwiseProduct(kept[l]);
  }
  return pruned;
}

}  // namespace

std::string_view OneShotMethodName(OneShotMethod method) {
  switch (method) {
    case OneShotMethod::kMagnitude:
      return "magnitude";
    case OneShotMethod::kActivation:
      return "activation";
    case OneShotMethod::kObs:
      return "obs";
    case OneShotMethod::kCurvature:
      return "curvature";
  }
  return "unknown";
}

std::string_view PruneScopeName(PruneScope scope) {
  switch (scope) {
    case PruneScope::kGlobal:
      return "global";
    case PruneScope::kPerLayer:
      return "per_layer";
  }
  return "unknown";
}

int64_t NeuronGroup(const OneShotOptions& options) {
  return std::max<int64_t>(options.pattern_size, 1);
}

double DefaultDamping(OneShotMethod method) {
  return method == OneShotMethod::kCurvature ? kCurvatureDamping : kObsDamping;
}

NetworkSizes SizesOf(const SparseNetwork& network) {
  return {.num_inputs = network.num_inputs,
          .hidden_widths = HiddenWidths(network),
          .num_outputs = NumOutputs(network),
          .bias = network.has_bias,
          .nonzeros = Nonzeros(network)};
}

absl::Status ValidateOptions(const OneShotOptions& options, const NetworkSizes& network) {
  double entries = 0;
  int64_t most_columns = 0;
  for (const LayerShape& layer : ShapesOf(network)) {
    entries += layer.size();
    most_columns = std::max(most_columns, layer.columns);
  }
  if (entries > static_cast<double>(kMaxDenseEntries)) {
    return Invalid("network", absl::StrCat("its layers have ", entries, " entries, more than ",
                                           kMaxDenseEntries));
  }
  if (options.nonzeros < 1 || options.nonzeros > network.nonzeros) {
    return Invalid("nonzeros", absl::StrCat("must be between 1 and the network's ",
                                            network.nonzeros, " weights, is ", options.nonzeros));
  }
  if (options.loss == Loss::kLogistic && network.num_outputs != 1) {
    return Invalid("loss", absl::StrCat("logistic takes one output, the network has ",
                                        network.num_outputs, "; choose cross_entropy"));
  }
  if (options.loss == Loss::kCrossEntropy && network.num_outputs < 2) {
    return Invalid("loss",
                   "cross_entropy takes two outputs or more, the network has one; choose "
                   "logistic");
  }
  if (options.method == OneShotMethod::kObs && most_columns > kMaxGramColumns) {
    return Invalid(
        "method", absl::StrCat("obs takes layers of at most ", kMaxGramColumns, " inputs, one has ",
                               most_columns, "; choose activation"));
  }
  if (options.pattern_size != 0 || options.pattern_kept != 0) {
    if (options.pattern_size < 2 || options.pattern_size > kMaxPattern ||
        options.pattern_kept < 1 || options.pattern_kept >= options.pattern_size) {
      return Invalid("pattern_kept", absl::StrCat("must keep 1 or more of fewer than the 2 to ",
                                                  kMaxPattern, " of a group, is ",
                                                  options.pattern_kept, ":", options.pattern_size));
    }
    if (options.whole_neurons) {
      return Invalid("whole_neurons", "has no pattern; leave one of them out");
    }
  }
  if (options.whole_neurons && options.scope == PruneScope::kPerLayer) {
    return Invalid("whole_neurons", "neurons of all layers compete; take scope global");
  }
  if (!(options.damping >= 0) || !(options.damping <= 1)) {
    return Invalid("damping", absl::StrCat("must be between 0 and 1, is ", options.damping));
  }
  if (options.max_samples < 1) {
    return Invalid("max_samples", absl::StrCat("must be at least 1, is ", options.max_samples));
  }
  if (options.stages < 1 || options.stages > kMaxStages) {
    return Invalid("stages",
                   absl::StrCat("must be between 1 and ", kMaxStages, ", is ", options.stages));
  }
  if (options.num_threads < 1 || options.num_threads > kMaxThreads) {
    return Invalid("num_threads", absl::StrCat("must be between 1 and ", kMaxThreads, ", is ",
                                               options.num_threads));
  }
  return absl::OkStatus();
}

absl::StatusOr<SparseNetwork> PruneOneShot(const SparseNetwork& network, InputView inputs,
                                           const OneShotOptions& given,
                                           const std::stop_token& stop) {
  OneShotOptions options = given;
  if (options.damping == 0) options.damping = DefaultDamping(options.method);
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  absl::StatusOr<LayerMatrices> layers = MakeLayerMatrices(network);
  if (!layers.ok()) return layers.status();
  NetworkSizes sizes = SizesOf(network);
  sizes.nonzeros = layers->nonzeros();  // with the signs of a fused one, without zeros
  if (absl::Status status = ValidateOptions(options, sizes); !status.ok()) return status;
  UnitMatrix gathered;
  if (options.method != OneShotMethod::kMagnitude) {
    if (inputs.num_samples < 1) return Invalid("inputs", "there are none to calibrate with");
    if (inputs.num_inputs != network.num_inputs) {
      return Invalid("inputs",
                     absl::StrCat("have ", inputs.num_inputs, " columns, but the network takes ",
                                  network.num_inputs));
    }
    gathered = GatherInputs(inputs, network.has_bias, SamplesLookedAt(options, inputs.num_samples));
    if (!gathered.allFinite()) return Invalid("inputs", "an entry is not finite");
  }
  Engine engine(options.num_threads, stop);
  LayerMatrices pruned;
  switch (options.method) {
    case OneShotMethod::kMagnitude:
    case OneShotMethod::kActivation:
      pruned = PruneByScores(engine, *layers, gathered, options);
      break;
    case OneShotMethod::kObs:
      pruned = PruneByLayers(engine, *layers, gathered, options);
      break;
    case OneShotMethod::kCurvature:
      pruned = PruneByCurvature(engine, *layers, gathered, options);
      break;
  }
  if (stop.stop_requested()) return absl::CancelledError("pruning was stopped");
  for (const LayerMatrix& layer : pruned.layers) {
    if (!layer.allFinite()) {
      return Invalid("inputs", "inputs or weights are so large that products overflow; scale them");
    }
  }
  return DropDeadGroups(FoldConstantUnits(MakeNetwork(pruned)), NeuronGroup(options));
}

PruneCost PredictCost(const OneShotOptions& options, const NetworkSizes& network,
                      int64_t num_samples) {
  constexpr double kDouble = sizeof(double);
  constexpr double kFloat = sizeof(float);
  const auto n = static_cast<double>(SamplesLookedAt(options, num_samples));
  const auto threads = static_cast<double>(options.num_threads);
  double entries = 0;
  double columns = 0;  // of all layers: a sample's units
  double rows = 0;
  double obs_layer = 0;  // what the dearest layer needs beside what is held for all
  double widest_sum = 0;
  double columns_squared = 0;
  double columns_cubed = 0;
  double columns_squared_rows = 0;
  for (const LayerShape& layer : ShapesOf(network)) {
    const auto c = static_cast<double>(layer.columns);
    const auto r = static_cast<double>(layer.rows);
    entries += r * c;
    columns += c;
    rows += r;
    columns_squared += c * c;
    columns_cubed += c * c * c;
    columns_squared_rows += c * c * r;
    // Sums over samples: eight groups, their sum, and a float product a thread.
    const double gram = kDouble * 9 * c * c + kFloat * threads * c * c;
    const double cross = kDouble * (c * c + 9 * r * c) + kFloat * (threads * r * c + 2 * n * r);
    // The Gram matrix scaled, its eigenvectors and their workspace; a dozen matrices of the
    // layer's shape and the selection among its weights.
    const double admm = kDouble * 5 * c * c + (kDouble * 16 + 24) * r * c;
    const double refit = kDouble * (1 + 2 * threads) * c * c + kDouble * 4 * r * c;
    obs_layer = std::max({obs_layer, gram, cross, admm, refit});
    widest_sum = std::max(widest_sum, (kDouble * 9 + kFloat * threads) * r * c);
  }
  const double units = kFloat * n * (columns + static_cast<double>(network.num_outputs));
  const double deltas = kFloat * n * rows;
  // The weights in order of their score, those that go, and what is kept.
  const double selection = (16 + 8 + kDouble) * entries;
  // The matrices, and the network that becomes them and comes of them.
  double bytes = kDouble * entries + 2.0 * 12 * static_cast<double>(network.nonzeros);
  PruneCost cost;
  cost.iterations = 1;
  cost.flops = 2 * (n + 1) * entries;
  switch (options.method) {
    case OneShotMethod::kMagnitude:
    case OneShotMethod::kActivation:
      bytes += kDouble * 2 * entries + selection + units;
      break;
    case OneShotMethod::kObs:
      bytes += kDouble * 3 * entries + 2 * units + std::max({selection, obs_layer, 3 * deltas});
      cost.flops += 2 * (n * columns_squared + 10 * columns_cubed + 60 * columns_squared_rows);
      break;
    case OneShotMethod::kCurvature:
      bytes += kDouble * 17 * entries + 2 * units + 3 * deltas + std::max(selection, widest_sum);
      cost.flops += 2 * 25 * n * entries * static_cast<double>(options.stages);
      break;
  }
  constexpr double kFixedBytes = 16.0 * 1024 * 1024;  // code, stacks, allocator slack
  cost.peak_memory_bytes = static_cast<int64_t>(
      std::min(1.1 * bytes + kFixedBytes, static_cast<double>(int64_t{1} << 62)));
  return cost;
}

}  // namespace thresher
