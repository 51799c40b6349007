// Pruning that updates the weights which stay: by layers, or by the loss's quadratic model.
#ifndef THRESHER_CORE_PRUNING_SURGEON_H_
#define THRESHER_CORE_PRUNING_SURGEON_H_

#include "core/kernels/engine.h"
#include "core/pruning/layer_matrices.h"
#include "core/pruning/one_shot.h"

namespace thresher {

// OneShotMethod::kObs. After a stop request the result is incomplete.
LayerMatrices PruneByLayers(Engine& engine, const LayerMatrices& network, const UnitMatrix& inputs,
                            const OneShotOptions& options);

// OneShotMethod::kCurvature. After a stop request the result is incomplete.
LayerMatrices PruneByCurvature(Engine& engine, const LayerMatrices& network,
                               const UnitMatrix& inputs, const OneShotOptions& options);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_SURGEON_H_
