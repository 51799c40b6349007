// From a large support to a small one by what each weight is worth.
#ifndef THRESHER_CORE_RECOVERY_PRUNE_BACK_H_
#define THRESHER_CORE_RECOVERY_PRUNE_BACK_H_

#include <cstdint>
#include <vector>

#include "core/recovery/relu_problem.h"

namespace thresher {

// Of the entries, then of the linear term's parameters (LinearColumns): the estimated rise of the
// loss when a weight is removed and the others are refitted,
// w_e^2 / [ (J^T J)^-1 ]_ee; magnitude is the wrong order where columns correlate. Supports
// of more than kMaxDenseWeights take w_e^2 ||J_e||^2, which leaves the refit out.
// Source: Hassibi and Stork, "Second order derivatives for network pruning: optimal brain
// surgeon", NIPS 1992. Cost: n k^2 / 2 + k^3 / 2 multiply-adds for k weights.
std::vector<double> Saliencies(const ReluProblem& problem, const SparseNetwork& network);

// Removes the weights of least saliency until `count` are left, and rows without weights.
SparseNetwork PruneTo(const ReluProblem& problem, const SparseNetwork& network, int64_t count);

// Removes the weights whose saliency is below `variances` times the residual's variance, loss / n:
// a weight that explains nothing has one below 9 in 997 of 1000 cases. Returns the network as it is
// beyond kMaxDenseWeights, where saliencies are crude.
SparseNetwork DropInsignificant(const ReluProblem& problem, const SparseNetwork& network,
                                double loss, double variances);

// Removes the neurons of least summed saliency until hidden_width are left.
SparseNetwork PruneNeuronsTo(const ReluProblem& problem, const SparseNetwork& network,
                             int64_t hidden_width);

// The same function, to the noise of the residual, with fewer neurons and weights: drops
// weights that explain no more than the rounding of the data, and tries to do without each
// neuron, or weight of one, whose columns depend on the others', and unfolds neurons. A network
// that fits exactly with weights to spare has such parts, as neurons that split in two. Returns the
// network as it is for more than kMaxDenseWeights weights.
SparseNetwork RemoveRedundant(const ReluProblem& problem, const SparseNetwork& network,
                              OutputSigns signs);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_PRUNE_BACK_H_
