// Second-order refinement of the active weights of a ReLU network.
#ifndef THRESHER_CORE_RECOVERY_REFINE_H_
#define THRESHER_CORE_RECOVERY_REFINE_H_

#include "core/recovery/relu_problem.h"

namespace thresher {

struct RefineOptions {
  int max_steps = 3;
  int max_products = 40;  // conjugate gradient iterations a step
  // Ends when a step lowers the loss by less than this, relatively.
  double min_decrease = 1e-3;
  // Ends at this loss.
  double target_loss = 0;
};

// Levenberg-Marquardt on the entries of the network, its support unchanged: each step solves
// (J^T J + lambda n I) delta = -J^T (f - y) by conjugate gradients on the gated products.
// The loss never rises; it is returned. Source: Nocedal and Wright, "Numerical
// Optimization", 2006, chapter 10. Cost: 2 n s multiply-adds a product.
double Refine(const ReluProblem& problem, const RefineOptions& options, SparseNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_REFINE_H_
