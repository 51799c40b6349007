// Where networks come from and how they take in weights: starts from fixed gates, and the
// step of iterative hard thresholding on a network's own gates.
#ifndef THRESHER_CORE_RECOVERY_GROW_H_
#define THRESHER_CORE_RECOVERY_GROW_H_

#include <cstdint>

#include "core/recovery/relu_problem.h"

namespace thresher {

// The `count` largest correlations with the targets under random gates 0 .. num_gates - 1 of
// `seed`, as the weights of a network, scaled so that its outputs fit the targets. With mixed
// signs every second neuron subtracts.
SparseNetwork RandomStart(const ReluProblem& problem, int64_t num_gates, OutputSigns signs,
                          int64_t count, uint64_t seed);

// The least-squares fit by a linear term and the neurons (x_q)_+, the `count` largest of these
// (with positive signs: of those that add).
SparseNetwork KinkStart(const ReluProblem& problem, OutputSigns signs, int64_t count);

// H_count( w - eta g ) over all inputs of the network's neurons; eta is 1 / n, or less where
// the entering inputs correlate (||g||^2 / ||J g||^2 over these). With new_neurons
// also over one-sparse neurons that the network does not have yet, each with the sign that
// lowers the loss (with positive signs: only those that do so by adding; beside a linear term
// only (x_q)_+, as (-x_q)_+ is no other kink).
SparseNetwork GrowAndThreshold(const ReluProblem& problem, const SparseNetwork& network,
                               int64_t count, OutputSigns signs, bool new_neurons);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_GROW_H_
