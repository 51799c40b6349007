// The few candidate weights that one step chooses among. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_CANDIDATES_H_
#define THRESHER_CORE_RECOVERY_CANDIDATES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/recovery/gated_problem.h"

namespace thresher {

// The gradient in double on the support and on the `count` (and some more) largest entries off
// it: for any step size, H_count(w - eta g) and the largest magnitude that it drops lie in these.
struct Candidates {
  SparseVector keys;        // support and entering entries
  GatedSupport gated;       // of these
  SparseVector weights;     // w on these
  SparseVector gradient;    // g on these
  SparseVector on_support;  // g where w stands, 0 elsewhere
};

// column_scales: as TopGradient takes them, for the choice of the entries off the support.
// Cost: a pass over all candidate weights and 2 n count multiply-adds.
Candidates FindCandidates(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t count,
                          std::span<const double> column_scales = {});

// H_count( w - step_size g ) on the candidates.
SparseVector Threshold(const Candidates& candidates, double step_size, int64_t count,
                       TieRule ties = TieRule::kLowerKey);

// ||direction||^2 / ||A direction||^2, 0 where the direction is.
double NormalisedStepSize(const GatedProblem& problem, Candidates& candidates,
                          const SparseVector& direction);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_CANDIDATES_H_
