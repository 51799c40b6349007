// Whether what a network leaves of the targets is noise, as far as neurons can tell.
#ifndef THRESHER_CORE_RECOVERY_RESIDUAL_NOISE_H_
#define THRESHER_CORE_RECOVERY_RESIDUAL_NOISE_H_

#include "core/recovery/relu_problem.h"

namespace thresher {

// True where the residual of a refined network shows nothing that independent noise would not:
// - no input that a neuron does not have yet correlates with it on the neuron's open side, and no
//   one-sparse neuron, beyond what the largest of so many correlations does by chance;
// - it has mean 0 and its usual size next to every neuron's hyperplane, in slabs of 1/4 to 1/32 of
//   the standard deviation of x . w. Wrong and missing neighbours of a neuron show there.
// False with fewer than ten samples a parameter: a fit then hides what is wrong.
// Cost: O(n d m) by table lookup and O(n s).
bool LooksLikeNoise(const ReluProblem& problem, const SparseNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_RESIDUAL_NOISE_H_
