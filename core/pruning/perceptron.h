// The multilayer perceptron in training: what is left of its weights, layer by layer.
#ifndef THRESHER_CORE_PRUNING_PERCEPTRON_H_
#define THRESHER_CORE_PRUNING_PERCEPTRON_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/kernels/kernel_table.h"
#include "core/network/network.h"

namespace thresher {

// The remaining weights of a layer, column by column, and what training keeps of each. A pruned
// weight takes no memory and never comes back.
struct PerceptronLayer {
  int64_t num_rows = 0;     // units
  int64_t num_columns = 0;  // units before, and the constant with a bias: the last column
  std::vector<int64_t> column_begin = {0};  // num_columns + 1 entries
  std::vector<int32_t> row;                 // ascending within a column
  std::vector<float> weight;
  std::vector<float> rewind_weight;  // what weight returns to between rounds
  std::vector<float> first_moment;   // Adam's
  std::vector<float> second_moment;

  int64_t nonzeros() const { return static_cast<int64_t>(row.size()); }
  bool dense() const { return nonzeros() == num_rows * num_columns; }
  LayerWeights view() const {
    return {column_begin.data(), num_columns, row.data(), weight.data()};
  }
  bool operator==(const PerceptronLayer&) const = default;
};

struct Perceptron {
  int64_t num_inputs = 0;
  bool has_bias = false;
  std::vector<PerceptronLayer> layers;  // the last one's units are the outputs

  int64_t nonzeros() const;
  bool operator==(const Perceptron&) const = default;
};

// Every weight, the biases too, uniform on +-1 / sqrt(fan-in), the constant not counted: the
// initial values that PyTorch gives its Linear layers. Equal arguments give equal bits.
Perceptron InitialPerceptron(int64_t num_inputs, std::span<const int64_t> hidden_widths,
                             int64_t num_outputs, bool bias, uint64_t seed);

// The weights of a network, in float; a fused network's signs become an output layer of weights
// +-1, its moments are 0. Stored zeros are left out. Expects a valid network without a linear term.
Perceptron MakePerceptron(const SparseNetwork& network);

// Weights of a dense perceptron: every layer's outputs times its columns.
int64_t NumWeights(int64_t num_inputs, std::span<const int64_t> hidden_widths, int64_t num_outputs,
                   bool bias);

// By what a weight is kept.
enum class Saliency {
  kMagnitude,  // |w|
  kFisher,     // w^2 E[g^2], g its gradient on a mini-batch: the mean that Adam keeps of g^2
};
// "magnitude", "fisher".
std::string_view SaliencyName(Saliency saliency);

// Keeps the `count` weights of largest saliency over all layers; of equals the first, by layer,
// column and row. Cost: O(weights).
void KeepMostSalient(Perceptron& perceptron, int64_t count, Saliency saliency);

// The remaining weights return to their rewind values, Adam's moments to 0.
void Rewind(Perceptron& perceptron);

// With a linear output layer. Expects two layers or more.
SparseNetwork MakeNetwork(const Perceptron& perceptron);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_PERCEPTRON_H_
