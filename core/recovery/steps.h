// One step of each algorithm: weights and gates in, weights out. No state is kept between
// steps, so a solve can stop and resume after any of them.
#ifndef THRESHER_CORE_RECOVERY_STEPS_H_
#define THRESHER_CORE_RECOVERY_STEPS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/recovery/gated_problem.h"

namespace thresher {

struct StepResult {
  SparseVector weights;
  double step_size = 0;
  // The step maps the weights to themselves: with fixed gates nothing will change any more.
  bool fixed_point = false;
  double next_step_scale = 1;  // of VarianceReducedStep
};

// `residual` is A w - y at `weights`, as GatedProblem::Residual gives it. Each keeps at most
// working_nonzeros weights. Where a stop is requested on the way the result is meaningless.

// w <- H( w - step_size A^T (A w - y) ).
StepResult FixedStep(const GatedProblem& problem, const SparseVector& weights,
                     const std::vector<double>& residual, int64_t working_nonzeros,
                     double step_size);

// The same with reciprocal thresholding (support.h) instead of H: for step_size = 1 / beta
// working_nonzeros > (2 kappa - 1) nonzeros suffices for linear convergence to a solution of
// `nonzeros` weights, where H needs more than kappa^2 nonzeros; kappa is the condition number on
// supports of this size. With working_nonzeros = nonzeros it is FixedStep. Source: Liu and Barber,
// see ReciprocalThreshold.
StepResult ReciprocalStep(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros,
                          int64_t nonzeros, double step_size);

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

// Compressive sampling matching pursuit: least squares on the support and the
// 2 working_nonzeros largest entries of the gradient, of which the working_nonzeros largest
// weights stay, and least squares on these. The loss may rise; weights whose support the step
// finds again are a fixed point. Source: Needell and Tropp, "CoSaMP: iterative signal recovery
// from incomplete and inaccurate samples", Appl. Comput. Harmon. Anal. 26 (2009), with the last
// least squares as in Jain, Tewari and Kar 2014.
StepResult CosampStep(const GatedProblem& problem, const SparseVector& weights,
                      const std::vector<double>& residual, int64_t working_nonzeros);

// Splicing: exchanges the k weights of least backward sacrifice ||a||^2 w^2 / 2 for the k of
// largest forward sacrifice (a^T r)^2 / (2 ||a||^2), then least squares; k = half of the support,
// a quarter, ..., 1, until the loss falls. Where none makes it fall the weights are a fixed
// point. The first step takes the working_nonzeros weights of largest forward sacrifice. Those
// off the support are proposed by (a^T r)^2 / ||X_q||^2, X_q the column without its gate.
// Source: Zhu, Wen, Zhu, Zhang and Wang, "A polynomial algorithm for best-subset selection
// problem", PNAS 117 (2020).
StepResult SplicingStep(const GatedProblem& problem, const SparseVector& weights,
                        const std::vector<double>& residual, int64_t working_nonzeros);

// One epoch of stochastic variance-reduced hard thresholding. A normalised step from the
// snapshot w0, whose gradient g0 takes one pass over all candidate weights; then for every batch
// B of `batches` in turn
//   w <- H( w - step_scale mu ( (n / |B|) A_B^T A_B (w - w0) + g0 ) ),  mu as NormalisedStep,
// within the 2 working_nonzeros and more candidates that g0 proposes, so that no vector over all
// of them exists. Where the epoch ends above the loss of its first step, it ends with that, and
// next_step_scale is half of step_scale. Source: Li, Zhao, Arora, Liu and Haupt, "Stochastic
// variance reduced optimization for nonconvex sparse learning", ICML 2016.
// Cost: a normalised step and 4 |B| working_nonzeros multiply-adds a batch.
StepResult VarianceReducedStep(const GatedProblem& problem, const SparseVector& weights,
                               const std::vector<double>& residual, int64_t working_nonzeros,
                               double step_scale, std::span<const RowChunk> batches);

// The largest eigenvalue of A^T A over all candidate weights, from below, by the power
// method. Where a stop is requested or `give_up` says so on the way the result is meaningless.
// Cost: 2 n d m multiply-adds in double for each of 12 iterations.
double LargestEigenvalue(
    const GatedProblem& problem, absl::FunctionRef<bool()> give_up = [] { return false; });

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_STEPS_H_
