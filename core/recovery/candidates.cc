#include "core/recovery/candidates.h"

#include <utility>

namespace thresher {
namespace {

// The single-precision pass proposes this many more entries than can enter, so that the
// choice among them, made in double, is the choice that a pass in double would have made.
constexpr int64_t kSpareCandidates = 64;

}  // namespace

Candidates FindCandidates(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t count,
                          std::span<const double> column_scales) {
  Candidates found;
  const SparseVector proposed =
      TopGradient(problem.engine, problem.design, problem.gates, residual, count + kSpareCandidates,
                  KeysOf(weights), column_scales, column_scales.empty() ? problem.screen : nullptr);
  found.keys = UnionOfSupports(weights, proposed);
  found.gated = problem.Gate(found.keys);
  found.weights = Restrict(weights, found.keys);
  found.gradient = problem.Gradient(found.gated, found.keys, residual);
  found.on_support = Restrict(found.gradient, weights);
  found.on_support = Restrict(found.on_support, found.keys);
  return found;
}

SparseVector Threshold(const Candidates& candidates, double step_size, int64_t count,
                       TieRule ties) {
  SparseVector moved = candidates.weights;
  for (size_t e = 0; e < moved.size(); ++e) {
    moved[e].value -= step_size * candidates.gradient[e].value;
  }
  return HardThreshold(count, std::move(moved), ties);
}

double NormalisedStepSize(const GatedProblem& problem, Candidates& candidates,
                          const SparseVector& direction) {
  const double numerator = SquaredNorm(direction);
  const double denominator = SquaredNorm(problem.Forward(candidates.gated, direction));
  return denominator > 0 ? numerator / denominator : 0;
}

}  // namespace thresher
