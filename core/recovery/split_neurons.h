// Neurons that stand for two: nearly parallel neurons are fitted as one until the rest of the
// network is right.
#ifndef THRESHER_CORE_RECOVERY_SPLIT_NEURONS_H_
#define THRESHER_CORE_RECOVERY_SPLIT_NEURONS_H_

#include "core/recovery/relu_problem.h"

namespace thresher {

// Splits a neuron w in two, (x.u)_+ + (x.v)_+ with u + v = w, where the residual asks for it. The
// two differ from (x.w)_+ next to its hyperplane alone, so that the decrease (r.d)^2 / ||d||^2 of
// the loss along the difference d says what refining will bring: over 9 variances of the residual
// are asked for. Tried are
// - where one input dominates (over 95 % of the squared norm), a one-sparse neuron of that input
//   that leaves 1/2, 1/4, ... of its weight with the others;
// - for neurons of two inputs, halves turned to either side.
// The result is to be refined. Returns the network as it is where no neuron qualifies.
// Cost: O(n) for each neuron and trial, some 20 of these.
SparseNetwork SplitNeurons(const ReluProblem& problem, const SparseNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SPLIT_NEURONS_H_
