// Pruning of a trained network at once, without training: which weights stay, and what those that
// stay become, from a few unlabelled inputs.
#ifndef THRESHER_CORE_PRUNING_ONE_SHOT_H_
#define THRESHER_CORE_PRUNING_ONE_SHOT_H_

#include <cstdint>
#include <stop_token>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/pruning/prune.h"

namespace thresher {

enum class OneShotMethod {
  // |w|. Needs no inputs.
  kMagnitude,
  // |w| times the root mean square of what it is multiplied with. Sun, Liu, Bair and Kolter, "A
  // simple and effective pruning approach for large language models", ICLR 2024 (Wanda).
  kActivation,
  // Layer by layer from the inputs on, min ||X W^T - X' W'^T||_F over the weights and their values,
  // X what the pruned layers below give, X' W'^T what the given network's layer did: the optimal
  // brain surgeon with one Gram matrix a layer. By ADMM and then least squares for each row.
  // Hassibi and Stork, NIPS 1992; Meng, Behdin, Wang and Mazumder, "ALPS", NeurIPS 2024.
  kObs,
  // All layers at once, over the quadratic model of the loss at the network, its curvature that of
  // the samples' gradients (Fisher): iterative hard thresholding, then conjugate gradients on what
  // is kept; in stages, each with a new model. Benbaki et al., "Fast as CHITA", ICML 2023.
  kCurvature,
};
// "magnitude", "activation", "obs", "curvature".
std::string_view OneShotMethodName(OneShotMethod method);

enum class PruneScope {
  kGlobal,    // weights of all layers compete; obs sets the layers' shares by its saliencies
  kPerLayer,  // every layer keeps the same share of its weights, into units that are read above
};
// "global", "per_layer".
std::string_view PruneScopeName(PruneScope scope);

struct OneShotOptions {
  OneShotMethod method = OneShotMethod::kObs;
  // The budget over all layers, from 1 to the weights that are there. A pattern or whole neurons
  // may leave fewer.
  int64_t nonzeros = 0;
  PruneScope scope = PruneScope::kGlobal;
  // n:m sparsity: of each pattern_size consecutive inputs of a row at most pattern_kept have a
  // weight, the constant apart, 1 <= kept < size <= 64; both 0: no pattern. It holds in every layer
  // of the result, where dead neurons go only in whole groups of pattern_size: else they stay
  // without weights, as the columns above them would shift.
  int64_t pattern_kept = 0;
  int64_t pattern_size = 0;
  // Hidden neurons go as a whole, and rows that stay keep all weights on neurons that stay.
  bool whole_neurons = false;
  // What the outputs are for: sets how errors of layers and rows count (obs, curvature). Squared
  // counts all outputs alike.
  Loss loss = Loss::kSquared;
  // Ridge of the Gram matrix or the curvature, relative to the mean of its diagonal, in (0, 1]; 0
  // takes DefaultDamping.
  double damping = 0;
  // Inputs that are looked at, an even choice where more are given; curvature takes at most 2048.
  int64_t max_samples = 4096;
  int64_t stages = 12;  // curvature: 1 to 1000
  uint64_t seed = 0;    // of the targets that stand for the loss (SampledCotangents)
  int num_threads = 1;  // 1 to 256. The result has the same bits for any number.
};

// Dead neurons go in groups of so many: of the pattern's size, or 1.
int64_t NeuronGroup(const OneShotOptions& options);

// 0.001 for obs and 0.1 for curvature.
double DefaultDamping(OneShotMethod method);

// The most inputs, the constant included, of a layer that obs takes: it holds their Gram matrix and
// its eigenvectors.
inline constexpr int64_t kMaxGramColumns = 8192;

// Sizes of a network that is to be pruned.
struct NetworkSizes {
  int64_t num_inputs = 0;
  std::vector<int64_t> hidden_widths = {};
  int64_t num_outputs = 1;
  bool bias = false;
  int64_t nonzeros = 0;
};
NetworkSizes SizesOf(const SparseNetwork& network);

// Errors: INVALID_ARGUMENT naming the option, or `network` as MakeLayerMatrices.
absl::Status ValidateOptions(const OneShotOptions& options, const NetworkSizes& network);

// The network pruned to options.nonzeros weights, with a linear output layer (a fused network's
// signs become weights), without dead and constant neurons (with a pattern: as it says). Weights
// that are 0 stay 0.
// Errors: INVALID_ARGUMENT naming the field: network (as MakeLayerMatrices), inputs (none, of
// another width, not finite, or so large that a product is not), or the option; CANCELLED after a
// stop request.
// Cost: for n samples and layers of r rows and c columns: n r c; obs also n c^2 + 10 c^3 and some
// 60 products c^2 r; curvature some 25 products n r c a stage.
absl::StatusOr<SparseNetwork> PruneOneShot(const SparseNetwork& network, InputView inputs,
                                           const OneShotOptions& options,
                                           const std::stop_token& stop = {});

// What PruneOneShot will need, an upper estimate without the inputs; iterations are 1. Expects
// valid options.
PruneCost PredictCost(const OneShotOptions& options, const NetworkSizes& network,
                      int64_t num_samples);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_ONE_SHOT_H_
