// Sparse ReLU networks of one or more hidden layers and k outputs, and the gated networks
// that fixed gates give, as values.
//
// Shapes: d = num_inputs, m = hidden_width, k = num_outputs. With `has_bias` a constant input 1
// stands behind the d given inputs, so weight indices run to d (inclusive), and behind the
// units of every hidden layer that feeds another.
#ifndef THRESHER_CORE_NETWORK_NETWORK_H_
#define THRESHER_CORE_NETWORK_NETWORK_H_

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thresher {

// Compressed sparse rows: row j holds the entries row_begin[j] <= e <
// row_begin[j + 1] of `column` (ascending within a row) and `value`.
struct SparseRows {
  std::vector<int64_t> row_begin = {0};  // num_rows() + 1 entries
  std::vector<int32_t> column;
  std::vector<double> value;

  int64_t num_rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  int64_t nonzeros() const { return static_cast<int64_t>(column.size()); }
  bool operator==(const SparseRows&) const = default;
};

// Errors: INVALID_ARGUMENT when row_begin does not ascend from 0 to the number of
// entries, a column lies outside [0, num_columns) or does not ascend within its
// row, or a value is not finite.
absl::Status ValidateSparseRows(const SparseRows& rows, int64_t num_columns);

// A view of n rows of d inputs, row-major.
struct InputView {
  const float* data = nullptr;
  int64_t num_samples = 0;
  int64_t num_inputs = 0;
  std::span<const float> row(int64_t i) const {
    return {data + i * num_inputs, static_cast<size_t>(num_inputs)};
  }
};

// Which output signs a network may have: every neuron adds, or some subtract.
enum class OutputSigns { kPositive, kMixed };

// The most hidden layers a network may have.
inline constexpr int64_t kMaxHiddenLayers = 16;

// z_1 = (W_1 x)_+, z_2 = (W_2 z_1)_+, ... with W_1 = `weights` and W_2, W_3, ... =
// `upper_layers`. The plain form, which recovery gives, has no upper layers:
//   f(x) = sum_j sign_j (x . w_j)_+ + x . linear .
// Fused (IsFused; one output): every layer is hidden, f(x) = sum_j sign_j z_Lj, the magnitude of
// an output weight fused into its row, w_j = u_j |v_j|, its sign kept apart and not counted.
// Otherwise (output_signs empty, upper_layers not) the last upper layer is linear: f(x) = W z_L
// with one row an output.
struct SparseNetwork {
  int64_t num_inputs = 0;
  bool has_bias = false;
  SparseRows weights;                // m rows of num_columns() columns: the first hidden layer
  std::vector<int8_t> output_signs;  // fused: +1 or -1 for each unit of the last hidden layer
  // Plain form only: a dense term beside the neurons, num_columns() entries, or none. Not counted
  // as weights.
  std::vector<double> linear = {};
  // Row = unit of the layer, column = unit of the layer below; with has_bias one column more, the
  // constant.
  std::vector<SparseRows> upper_layers = {};

  int64_t hidden_width() const { return weights.num_rows(); }  // of the first hidden layer
  int64_t num_columns() const { return num_inputs + (has_bias ? 1 : 0); }
  bool operator==(const SparseNetwork&) const = default;
};

// Gates of a random dictionary: gate j is RandomGate(seed, j) over the
// num_columns() inputs (the constant included).
struct RandomGateSet {
  uint64_t seed = 0;
  int64_t num_gates = 0;
  bool operator==(const RandomGateSet&) const = default;
};

// Gates given as vectors, row-major num_gates x num_columns.
struct GateVectorSet {
  int64_t num_gates = 0;
  std::vector<double> vectors;
  bool operator==(const GateVectorSet&) const = default;
};

// f(x) = sum_j 1[x . h_j > 0] (x . w_j), the gates h_j held apart from the weights
// w_j. The weights carry their sign. The gate test is IsActive's
// (core/gates/gate_activity.h): strict, summed in double.
struct GatedNetwork {
  int64_t num_inputs = 0;
  bool has_bias = false;
  std::variant<RandomGateSet, GateVectorSet> gates;
  // Row k belongs to gate gate_index[k]; only gates with a weight are listed.
  std::vector<int64_t> gate_index;  // ascending
  SparseRows weights;

  int64_t num_columns() const { return num_inputs + (has_bias ? 1 : 0); }
  bool operator==(const GatedNetwork&) const = default;
};

using Network = std::variant<SparseNetwork, GatedNetwork>;

// Errors: INVALID_ARGUMENT naming the field: num_inputs (outside [1, 2^31 - 2]), weights,
// upper_layers (too many, or no output), layer_2, layer_3, ... (as entries of upper_layers are
// called here and in files), output_signs, linear (also beside upper layers), gates or
// gate_index.
absl::Status ValidateNetwork(const SparseNetwork& network);
absl::Status ValidateNetwork(const GatedNetwork& network);

// outputs[i * k + c] = f_c(inputs row i) for k = NumOutputs(network), summed in double. NaN
// inputs give NaN in a sparse network; in a gated one a gate is closed when x . h is NaN.
// Errors: INVALID_ARGUMENT as ValidateNetwork, and when inputs.num_inputs differs from
// the network's or outputs.size() from inputs.num_samples x k.
// Cost: O(n s); for a gated network also O(n d) per listed gate, each of which is
// generated once. A sparse one is laid out first, O(s log s): see evaluation.h for many calls.
absl::Status Evaluate(const SparseNetwork& network, InputView inputs, std::span<double> outputs);
absl::Status Evaluate(const GatedNetwork& network, InputView inputs, std::span<double> outputs);
absl::Status Evaluate(const Network& network, InputView inputs, std::span<double> outputs);

// Whether the output weights are the fixed output_signs.
bool IsFused(const SparseNetwork& network);

int64_t NumInputs(const Network& network);
int64_t NumOutputs(const SparseNetwork& network);
int64_t NumOutputs(const Network& network);
// Units of each hidden layer, from the inputs on; one entry for a gated network.
std::vector<int64_t> HiddenWidths(const SparseNetwork& network);
std::vector<int64_t> HiddenWidths(const Network& network);
// Weights that are not 0, of all layers, stored zeros not counted.
int64_t Nonzeros(const SparseNetwork& network);
int64_t Nonzeros(const Network& network);

// Entries of the linear term that are not 0, but for the constant's; they are no weights.
int64_t LinearNonzeros(const Network& network);
// Hidden units of all layers (or gates) that carry at least one weight.
int64_t ActiveNeurons(const SparseNetwork& network);
int64_t ActiveNeurons(const Network& network);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_NETWORK_H_
