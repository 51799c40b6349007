// Reductions that keep the function: neurons without weights, and neurons whose
// weight vectors are parallel, (x.a)_+ + (x.b)_+ = (x.(a + b))_+. Beside a linear term also
// neurons that are opposite, as sign (x.w)_+ = sign (-x.w)_+ + sign x.w.
//
// All expect a valid network (ValidateNetwork); DropDeadNeurons, FoldConstantUnits and
// ReduceNetwork take any, the others the plain form without upper layers.
#ifndef THRESHER_CORE_NETWORK_MERGE_H_
#define THRESHER_CORE_NETWORK_MERGE_H_

#include "core/network/network.h"

namespace thresher {

// Drops units without non-zero weights, and zero weights. With several layers also units that no
// unit above looks at, and so on until none is left: a unit with a bias alone is a constant and
// stays where one looks at it. The output layer keeps its rows. A fused network of which no unit
// is left becomes the plain one without neurons. Cost: O(s + units).
SparseNetwork DropDeadNeurons(const SparseNetwork& network);

// The same for several layers, but dead units go only in groups of so many consecutive ones of
// their layer, all of them dead: others stay as rows without weights. What is left keeps its place
// in its group, so that n:m patterns hold in the layer above.
SparseNetwork DropDeadGroups(const SparseNetwork& network, int64_t group);

// Hidden units below an upper layer that are constants, having no weights but on the constant or on
// such units: folds them into the biases that they lead to, so that the number of weights never
// grows, and leaves them dead. A network of which a bias would overflow by that stays as it is.
// Takes any network. Cost: O(s + units).
SparseNetwork FoldConstantUnits(const SparseNetwork& network);

// Beside a linear term, neurons whose only weight is on the constant input are part of it: moves
// them there. Any other network stays as it is. Expects no dead neurons.
SparseNetwork MoveConstantNeurons(const SparseNetwork& network);

// Merges neurons of equal output sign whose cosine is at least min_cosine (in
// (0, 1]); 1 - 1e-12 keeps the function to rounding, less is an approximation.
// The merged row is the sum, on the union of the supports; the first of the group
// keeps its place, and each neuron joins the first group whose first member it is
// close enough to. Neurons without weights stay as they are. Neurons whose sum would
// overflow stay apart. Beside a linear term a cosine of at most -min_cosine will do: the neuron
// takes the group's side, its difference moves into the linear term.
// Cost: O(s + m log m) for a min_cosine close to 1, O(m s) at worst.
SparseNetwork MergeParallelNeurons(const SparseNetwork& network, double min_cosine);

// Replaces an adding and a subtracting neuron whose cosine is at least min_cosine (in (0, 1]) by
// their difference, (x.a)_+ - (x.b)_+ = (x.(a - b))_+ for parallel a longer than b, with the sign
// of the longer one, and drops neurons without weights. Beside a linear term opposite weights
// count as parallel. 1 - 1e-12 keeps the function to rounding, less is an approximation. Expects
// merged neurons. Cost: as MergeParallelNeurons.
SparseNetwork CancelOppositeNeurons(const SparseNetwork& network, double min_cosine);

// All these reductions, with min_cosine = 1 - 1e-12: the form in which networks are compared.
// With several layers, from the inputs on: of units whose rows are parallel, b = c a, c > 0, the
// first stays and takes on the others' outgoing weights, u + c v. A layer in which a weight would
// overflow by that stays as it is. The last layer of a fused network is reduced as a plain one is.
SparseNetwork ReduceNetwork(const SparseNetwork& network);

// The same function with fewer weights, or as many in fewer neurons, where a neuron's two sides
// allow it: p (x.a)_+ + q (-x.a)_+ = (p + q) (x.a)_+ - q x.a, and the linear part goes into
// one-sparse neurons, l x_q = l (x_q)_+ - l (-x_q)_+, that may stand there already. Looks at
// pairs of neurons whose cosine is at most -min_cosine and at every single neuron (q = 0);
// coefficients that cancel to 1e-3 are dropped: exact for exactly opposite neurons, else to be
// refined. With positive signs no neuron that subtracts comes in. Expects merged neurons.
// Cost: O(m^2) products of rows a round.
SparseNetwork UnfoldNeurons(const SparseNetwork& network, double min_cosine, OutputSigns signs);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_MERGE_H_
