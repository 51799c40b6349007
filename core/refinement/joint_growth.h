// Weights that a network of several layers lacks: those along which the loss falls most.
#ifndef THRESHER_CORE_REFINEMENT_JOINT_GROWTH_H_
#define THRESHER_CORE_REFINEMENT_JOINT_GROWTH_H_

#include <cstdint>

#include "core/network/network.h"
#include "core/refinement/joint_problem.h"

namespace thresher {

struct JointGrowthOptions {
  int64_t count = 0;         // candidates that join
  bool mixed_signs = false;  // new units of a fused last layer may subtract
};

// Adds the candidates that lower the loss most, each with the others held, at a fraction of their
// best weight: a weight between units that are there; a unit of one input, of either sign,
// below a unit of the second layer; and in a fused network of two hidden layers a unit of
// the second layer upon one of these or of the first layer. The network has upper layers; rows
// that are there keep their numbers.
// Cost: n d m multiply-adds for each output, and n m^2 for layers of m units.
SparseNetwork JointGrow(const JointProblem& problem, const JointGrowthOptions& options,
                        const SparseNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_REFINEMENT_JOINT_GROWTH_H_
