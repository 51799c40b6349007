// Networks of several layers and outputs as a nonlinear least-squares problem over the weights
// of all layers jointly,
//   minimise || f(X) - Y ||_F^2.
// An iterate is a SparseNetwork of any form without a linear term; its parameters are the stored
// entries of `weights`, then of each upper layer, row by row.
#ifndef THRESHER_CORE_REFINEMENT_JOINT_PROBLEM_H_
#define THRESHER_CORE_REFINEMENT_JOINT_PROBLEM_H_

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

struct JointProblem {
  Engine& engine;
  const Design& design;
  std::span<const double> targets;  // num_outputs columns of design.padded_samples(), then 0
  int64_t num_outputs;
  // Past it refinement and pruning end as at a stop request, between steps.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  bool stopped() const {
    return engine.stop_requested() || std::chrono::steady_clock::now() >= deadline;
  }
  std::span<const double> target(int64_t output) const {
    return targets.subspan(output * design.padded_samples(), design.padded_samples());
  }
};

// Parameters up to which steps and saliencies use the normal matrix J^T J: 8 matrices of that
// size. Beyond, steps are those of conjugate gradients and saliencies leave the refit out.
inline constexpr int64_t kMaxJointWeights = 600;

// || f(X) - Y ||_F^2, summed in double. Infinite where the network overflows.
// Cost: n s multiply-adds.
double JointLoss(const JointProblem& problem, const SparseNetwork& network);

struct JointRefineOptions {
  int max_steps = 20;
  int max_products = 100;      // conjugate gradient iterations a step, beyond kMaxJointWeights
  double min_decrease = 1e-3;  // ends when a step lowers the loss by less than this, relatively
  double target_loss = 0;      // ends at this loss
};

// Levenberg-Marquardt on the entries of all layers, the support unchanged; damping is scaled with
// the diagonal of J^T J, so that the scales of neurons do not matter. The loss never rises and
// stays finite; it is returned. A stop request or the deadline ends it at the last step.
// Source: Nocedal and Wright, "Numerical Optimization", 2006, chapter 10.
// Cost: a step n k s (s / 2 + layers) multiply-adds for k outputs, or n s a product.
double JointRefine(const JointProblem& problem, const JointRefineOptions& options,
                   SparseNetwork& network);

// w_p^2 (J^T J)_pp for each parameter: the share that it has in the outputs, squared.
// Cost: n k s multiply-adds.
std::vector<double> JointContributions(const JointProblem& problem, const SparseNetwork& network);

// Estimated rise of the loss when a parameter is removed and the others are refitted, as
// Saliencies; one a parameter. The scale of a unit is held, which it may not take to 0. Beyond
// kMaxJointWeights the contributions, which leave the refit out. Expects balanced layers.
std::vector<double> JointSaliencies(const JointProblem& problem, const SparseNetwork& network);

// Scales the units of hidden layers so that the weights into each have the norm of those out of
// it; the function stays. The last hidden layer of a fused network stays as it is.
SparseNetwork BalanceLayers(SparseNetwork network);

// Removes the weights of least saliency until `count` are left.
SparseNetwork JointPruneTo(const JointProblem& problem, const SparseNetwork& network,
                           int64_t count);

// Removes the units of a hidden layer, 0 the first, whose weights have the least summed saliency
// until `count` are left.
SparseNetwork JointPruneUnitsTo(const JointProblem& problem, const SparseNetwork& network,
                                int64_t layer, int64_t count);

struct JointBudget {
  int64_t nonzeros = 0;  // over all layers
  int64_t width = 0;     // of each hidden layer
};
bool Within(const JointBudget& budget, const SparseNetwork& network);

// The units of each hidden layer with the least weights into them go, then the least weights, until
// the network is within the budget. It takes no time. Expects balanced layers.
SparseNetwork CutToBudget(const JointBudget& budget, SparseNetwork network);

// Removes weights, a tenth at a time, then units until the network is within the budget, and
// refines what stays after each removal; parallel units are merged. Where the loss rises more than
// fourfold fewer weights go at a time, at last the best of several. A stop request or the deadline
// ends it, maybe over the budget. The loss is left in `loss`.
SparseNetwork JointPruneBack(const JointProblem& problem, const JointBudget& budget,
                             const JointRefineOptions& refine, SparseNetwork network, double& loss);

}  // namespace thresher

#endif  // THRESHER_CORE_REFINEMENT_JOINT_PROBLEM_H_
