// Least squares on a support without forming A_S.
#ifndef THRESHER_CORE_RECOVERY_LEAST_SQUARES_H_
#define THRESHER_CORE_RECOVERY_LEAST_SQUARES_H_

#include "core/recovery/gated_problem.h"

namespace thresher {

// argmin || A_S w - y || over w on the support of `start`, by conjugate gradients on the
// normal equations in factored form (CGLS: Hestenes and Stiefel 1952; Bjorck, "Numerical
// Methods for Least Squares Problems", 1996, algorithm 7.4.1), from the values of `start`.
// Ends when || A_S^T r || <= 1e-14 || A_S^T y ||, or after 4 |S| + 20 products.
// In a rank-deficient problem it finds the solution nearest to the start.
// Cost: 2 n |S| multiply-adds an iteration.
SparseVector LeastSquaresOnSupport(const GatedProblem& problem, const SparseVector& start);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_LEAST_SQUARES_H_
