// A network's linear term, and on which side of their hyperplanes its neurons stand:
//   sign (x.w)_+ = sign (-x.w)_+ + sign x.w ,
// so that beside a linear term every neuron may stand on either side.
#ifndef THRESHER_CORE_NETWORK_ABSORB_LINEAR_H_
#define THRESHER_CORE_NETWORK_ABSORB_LINEAR_H_

#include "core/network/network.h"

namespace thresher {

// The same function with the largest weight of every neuron positive, so that opposite neurons
// become parallel. Expects a valid network with a linear term. Cost: O(s).
SparseNetwork OrientNeurons(const SparseNetwork& network);

// The same function without the linear term: the neurons' sides are chosen so that it is used
// up, and what is left goes into one-sparse neurons, l x_q = l (x_q)_+ - l (-x_q)_+. Sides are
// found input by input: where the sums that the sides of an input's neurons can give hold one
// that leaves nothing over, closer than chance allows, that one is taken. Sides that no input
// decides are chosen for few weights. With positive signs what only a subtracting neuron could
// hold is left out: then the function changes.
// Expects a valid network. Cost: O(2^k) for k <= 16 undecided neurons of an input; inputs with
// more wait for others to decide.
SparseNetwork AbsorbLinear(const SparseNetwork& network, OutputSigns signs);

// The same function with the neurons' sides chosen for few entries of the linear term; what lies
// below `nothing` of an input's weights counts as none, the constant's entry never counts. Sides
// are found as by AbsorbLinear. Expects a valid network with a linear term. Cost: as AbsorbLinear.
SparseNetwork SparsestSides(const SparseNetwork& network, double nothing);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_ABSORB_LINEAR_H_
