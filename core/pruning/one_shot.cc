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
// The Gram matrix of a layer and its eigenvectors are held.
constexpr int64_t kMaxGramColumns = 8192;

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
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

absl::Status ValidateOptions(const OneShotOptions& options, int64_t num_weights) {
  if (options.nonzeros < 1 || options.nonzeros > num_weights) {
    return Invalid("nonzeros", absl::StrCat("must be between 1 and the network's ", num_weights,
                                            " weights, is ", options.nonzeros));
  }
  if (options.pattern_size != 0 || options.pattern_kept != 0) {
    if (options.pattern_size < 2 || options.pattern_size > kMaxPattern ||
        options.pattern_kept < 1 || options.pattern_kept >= options.pattern_size) {
      return Invalid("pattern", absl::StrCat("must keep 1 or more of fewer than the 2 to ",
                                             kMaxPattern, " of a group, is ", options.pattern_kept,
                                             ":", options.pattern_size));
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
  if (options.damping == 0) {
    options.damping = options.method == OneShotMethod::kCurvature ? kCurvatureDamping : kObsDamping;
  }
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  absl::StatusOr<LayerMatrices> layers = MakeLayerMatrices(network);
  if (!layers.ok()) return layers.status();
  if (absl::Status status = ValidateOptions(options, layers->nonzeros()); !status.ok()) {
    return status;
  }
  const int64_t num_outputs = layers->layers.back().rows();
  if (options.loss == Loss::kLogistic && num_outputs != 1) {
    return Invalid("loss", "logistic takes one output; choose cross_entropy");
  }
  if (options.loss == Loss::kCrossEntropy && num_outputs < 2) {
    return Invalid("loss", "cross_entropy takes two outputs or more; choose logistic");
  }
  UnitMatrix gathered;
  if (options.method != OneShotMethod::kMagnitude) {
    if (inputs.num_samples < 1) return Invalid("inputs", "there are none to calibrate with");
    if (inputs.num_inputs != network.num_inputs) {
      return Invalid("inputs",
                     absl::StrCat("have ", inputs.num_inputs, " columns, but the network takes ",
                                  network.num_inputs));
    }
    gathered = GatherInputs(inputs, network.has_bias,
                            options.method == OneShotMethod::kCurvature
                                ? std::min(options.max_samples, kCurvatureSamples)
                                : options.max_samples);
    if (!gathered.allFinite()) return Invalid("inputs", "an entry is not finite");
  }
  if (options.method == OneShotMethod::kObs) {
    for (const LayerMatrix& layer : layers->layers) {
      if (layer.cols() > kMaxGramColumns) {
        return Invalid("method",
                       absl::StrCat("obs takes layers of at most ", kMaxGramColumns,
                                    " inputs, one has ", layer.cols(), "; choose activation"));
      }
    }
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
  return DropDeadNeurons(FoldConstantUnits(MakeNetwork(pruned)));
}

}  // namespace thresher
