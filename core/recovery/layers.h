// Recovery of networks with several hidden layers, and of networks for classes (cross-entropy,
// logistic), under one budget for the weights of all layers.
//
// Squared loss, several starts:
//   neurons  one output, two hidden layers: winnow fits one hidden layer, whose neurons, and the
//            halves max(x_q, 0), max(-x_q, 0) of every input, are candidate units of the first
//   rows     winnow finds the second layer over the values of these candidates
//   train    in other starts: a wider dense network is trained and pruned gradually (prune.h)
//   swap     more weights and units come in where the loss falls most (JointGrow), all layers are
//            refined jointly, and weights of least saliency go until a working budget is met;
//            every few rounds a copy is pruned to the budget, and the best of these is the result
// A start with a network of the tolerance ends the solve.
//
// For classes a dense network is trained with weight decay and a penalty on the squared weights
// that fades with the number of samples, and pruned gradually, in several starts, of which the one
// with the least loss is the result. While training for classes relative_residual in a report is
// the root of the mean loss over that of equal chances. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_LAYERS_H_
#define THRESHER_CORE_RECOVERY_LAYERS_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// The network of a linear output layer of one row with the output weights fused into the last
// hidden layer; a bias of the output becomes a unit that is constant.
SparseNetwork FuseOutput(const SparseNetwork& network);

// The values (x . u)_+ of hidden units as the inputs of samples with the same targets. A unit has
// a column for each input and may have one for the constant. Cost: n multiply-adds a weight.
Samples UnitValues(const SparseRows& units, const Samples& samples);

// Bytes beside the samples and their design, an upper bound.
double LayersBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                   int64_t num_outputs);

// As Recover, for Algorithm::kWinnow with hidden_layers > 1 or a loss other than squared; problem
// and options are valid and resolved. termination.max_iterations bounds the neurons, the rows and
// the swaps of each start, and for classes its epochs.
absl::StatusOr<RecoveryResult> RecoverLayers(const Samples& samples, const RecoveryOptions& options,
                                             const RecoveryObserver& observer, std::stop_token stop,
                                             std::string_view checkpoint, uint64_t fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_LAYERS_H_
