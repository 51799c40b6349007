// Sparse ReLU networks of any number of layers and outputs, as values.
#ifndef THRESHER_CORE_NETWORK_LAYERED_NETWORK_H_
#define THRESHER_CORE_NETWORK_LAYERED_NETWORK_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/network/network.h"

namespace thresher {

// f(x) = W_L relu( ... relu(W_1 x)): row j of layers[l] holds the weights into unit j. Hidden units
// are ReLUs, the last layer's are linear. With `has_bias` every layer has a constant input 1, its
// last column.
struct LayeredNetwork {
  int64_t num_inputs = 0;
  bool has_bias = false;
  std::vector<SparseRows> layers;  // at least one

  int64_t num_outputs() const { return layers.empty() ? 0 : layers.back().num_rows(); }
  // Columns of layers[layer]: the units before it, and the constant.
  int64_t num_columns(size_t layer) const {
    return (layer == 0 ? num_inputs : layers[layer - 1].num_rows()) + (has_bias ? 1 : 0);
  }
  bool operator==(const LayeredNetwork&) const = default;
};

// Errors: INVALID_ARGUMENT naming num_inputs (outside [1, 2^31 - 2]) or layers (none, too wide, no
// outputs, or weights that ValidateSparseRows refuses). A hidden layer may have no units.
absl::Status ValidateNetwork(const LayeredNetwork& network);

// outputs = f(inputs), row-major num_samples x num_outputs, summed in double.
// Errors: INVALID_ARGUMENT as ValidateNetwork, and when inputs or outputs do not fit.
// Cost: n s multiply-adds.
absl::Status Evaluate(const LayeredNetwork& network, InputView inputs, std::span<double> outputs);

// Weights that are not 0, stored zeros not counted.
int64_t Nonzeros(const LayeredNetwork& network);
// Hidden units that have at least one weight on either side.
int64_t ActiveNeurons(const LayeredNetwork& network);

// The same function without the hidden units that cannot take part in it, and without stored
// zeros: units that lead nowhere go, and so do those that nothing reaches. A unit reached by its
// bias alone is a constant: it is folded into the biases that it leads to, so that the number of
// weights never grows and sums change by rounding only. Outputs stay, those without weights too.
// Expects a valid network. Cost: O(s) a pass, at most as many passes as layers.
LayeredNetwork RemoveDeadNeurons(const LayeredNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_LAYERED_NETWORK_H_
