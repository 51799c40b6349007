// One step of each algorithm: weights and gates in, weights out. No state is kept between
// steps, so a solve can stop and resume after any of them.
#ifndef THRESHER_CORE_RECOVERY_STEPS_H_
#define THRESHER_CORE_RECOVERY_STEPS_H_

#include <cstdint>

#include "core/recovery/gated_problem.h"

namespace thresher {

struct StepResult {
  SparseVector weights;
  double step_size = 0;
  // The step maps the weights to themselves: with fixed gates nothing will change any more.
  bool fixed_point = false;
};

// `residual` is A w - y at `weights`, as GatedProblem::Residual gives it. Each keeps at most
// working_nonzeros weights. Where a stop is requested on the way the result is meaningless.

// w <- H( w - step_size A^T (A w - y) ).
StepResult FixedStep(const GatedProblem& problem, const SparseVector& weights,
                     const std::vector<double>& residual, int64_t working_nonzeros,
                     double step_size);

// Step size mu = ||g_S||^2 / ||A_S g_S||^2; where the support changes it is halved until
// mu <= 0.99 ||w+ - w||^2 / ||A (w+ - w)||^2. Source: Blumensath and Davies, "Normalised
// iterative hard thresholding", IEEE J. Sel. Top. Signal Process. 4 (2010).
StepResult NormalisedStep(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros);

// The published experiments' step: mu without the safeguard (plus 1e-8 in the denominator;
// 1e-14 on an empty support), then 10 gradient steps on the new support with Armijo halving,
// constant 0.9, at most 11 trials each. Among equal magnitudes the higher key is kept.
StepResult PublishedStep(const GatedProblem& problem, const SparseVector& weights,
                         const std::vector<double>& residual, int64_t working_nonzeros);

// Least squares on the support of w - mu g, mu = 1 / ||a||^2 for the column a of steepest
// gradient (on the support itself the gradient vanishes after a least-squares solve). Where the
// loss does not fall, halves and multiples of mu are tried; where none helps the weights are a
// fixed point. Source: Foucart, "Hard thresholding pursuit", SIAM J. Numer. Anal. 49 (2011).
StepResult PursuitStep(const GatedProblem& problem, const SparseVector& weights,
                       const std::vector<double>& residual, int64_t working_nonzeros);

// The largest eigenvalue of A^T A over all candidate weights, from below, by the power
// method. Cost: 2 n d m multiply-adds in double for each of 12 iterations.
double LargestEigenvalue(const GatedProblem& problem);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_STEPS_H_
