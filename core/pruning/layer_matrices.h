// A network's layers as dense matrices, and what they make of samples: what pruning without
// training works on.
#ifndef THRESHER_CORE_PRUNING_LAYER_MATRICES_H_
#define THRESHER_CORE_PRUNING_LAYER_MATRICES_H_

#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"

namespace thresher {

// Row-major, as SparseRows are; the last layer is linear and its rows are the outputs.
using LayerMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
// A sample a row. With a bias the constant 1 is the last column of what a layer reads.
using UnitMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct LayerMatrices {
  int64_t num_inputs = 0;
  bool has_bias = false;
  std::vector<LayerMatrix> layers;

  int64_t nonzeros() const;
};

// Entries of all layers together that are taken.
inline constexpr int64_t kMaxDenseEntries = int64_t{1} << 26;

// A fused network gets its signs as an output layer of weights +-1. Expects a valid network.
// Errors: INVALID_ARGUMENT `network` for a linear term, and for layers of more than
// kMaxDenseEntries entries.
absl::StatusOr<LayerMatrices> MakeLayerMatrices(const SparseNetwork& network);
// The entries that are not 0.
SparseNetwork MakeNetwork(const LayerMatrices& matrices);

// The given samples, or an even choice of `most` where there are more, as the first layer reads
// them.
UnitMatrix GatherInputs(InputView inputs, bool bias, int64_t most);

// units x layer^T, in float. Cost: a dense product.
UnitMatrix LayerImages(Engine& engine, const UnitMatrix& units, const LayerMatrix& layer);
// What the layer above reads: (images)_+ and the constant.
UnitMatrix HiddenUnits(const UnitMatrix& images, bool bias);

// What each layer reads and, last, the outputs.
std::vector<UnitMatrix> AllUnits(Engine& engine, const LayerMatrices& network,
                                 const UnitMatrix& inputs);

// The derivatives of the samples' losses by each layer's images, a sample a row, from those by the
// outputs.
std::vector<UnitMatrix> AllDeltas(Engine& engine, const LayerMatrices& network,
                                  const std::vector<UnitMatrix>& units, UnitMatrix of_outputs);

// Derivatives by the outputs of the losses of targets that are drawn from the network's own
// distribution given its outputs: their second moments are the loss's curvature (Fisher). For
// squared losses normal errors of variance 1 are drawn.
UnitMatrix SampledCotangents(Loss loss, const UnitMatrix& outputs, uint64_t seed);

// The mean of each output's distribution: itself, its softmax or its probability.
UnitMatrix OutputMeans(Loss loss, const UnitMatrix& outputs);

// a^T b over samples: blocks of 256 in float, their sums in double, cut by the number alone.
LayerMatrix SampleProducts(Engine& engine, const UnitMatrix& a, const UnitMatrix& b);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_LAYER_MATRICES_H_
