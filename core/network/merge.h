// Reductions that keep the function: neurons without weights, and neurons whose
// weight vectors are parallel, (x.a)_+ + (x.b)_+ = (x.(a + b))_+.
#ifndef THRESHER_CORE_NETWORK_MERGE_H_
#define THRESHER_CORE_NETWORK_MERGE_H_

#include "core/network/network.h"

namespace thresher {

// Drops rows without non-zero weights, and zero weights within rows.
SparseNetwork DropDeadNeurons(const SparseNetwork& network);

// Merges neurons of equal output sign whose cosine is at least min_cosine (in
// (0, 1]); 1 - 1e-12 keeps the function to rounding, less is an approximation.
// The merged row is the sum, on the union of the supports; the first of the group
// keeps its place. Cost: O(m^2 s / m).
SparseNetwork MergeParallelNeurons(const SparseNetwork& network, double min_cosine);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_MERGE_H_
