// Which weights stay, given a score each: budgets over layers, n:m patterns, whole neurons.
#ifndef THRESHER_CORE_PRUNING_SELECTION_H_
#define THRESHER_CORE_PRUNING_SELECTION_H_

#include <cstdint>
#include <vector>

#include "core/pruning/layer_matrices.h"
#include "core/pruning/one_shot.h"

namespace thresher {

// 1 for what stays, else 0; of equal scores the first stays, by layer, row and column. A score of
// 0 never does. Scores are not negative, one matrix a layer.
std::vector<LayerMatrix> Select(const std::vector<LayerMatrix>& scores,
                                const OneShotOptions& options, bool bias);

// The layer without the rows of units that no entry of the layer above reads.
LayerMatrix IntoUnitsRead(LayerMatrix layer, const LayerMatrix& above);

// The same as Select for one layer with a budget of its own.
LayerMatrix SelectInLayer(const LayerMatrix& scores, int64_t count, const OneShotOptions& options,
                          bool bias);

// `total` cut in proportion to sizes, by largest remainders.
std::vector<int64_t> ProportionalShares(const std::vector<int64_t>& sizes, int64_t total);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_SELECTION_H_
