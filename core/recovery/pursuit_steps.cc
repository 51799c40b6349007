// The steps that solve a least-squares problem on each support they choose.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/recovery/candidates.h"
#include "core/recovery/least_squares.h"
#include "core/recovery/steps.h"

namespace thresher {
namespace {

// Step sizes that a pursuit step tries, as multiples of the normalised one.
constexpr double kPursuitFactors[] = {1, 0.5, 0.25, 2, 4};
constexpr double kLeastDecrease = 1e-10;  // of the loss, relative; less is rounding

// 1 / || X_q || for every column, 0 for a column of zeros.
std::vector<double> ReciprocalColumnNorms(const Design& design) {
  std::vector<double> reciprocals(design.num_columns);
  for (int64_t q = 0; q < design.num_columns; ++q) {
    const float* column = design.columns.get() + q * design.padded_samples();
    double norm2 = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      norm2 += static_cast<double>(column[i]) * column[i];
    }
    reciprocals[q] = norm2 > 0 ? 1 / std::sqrt(norm2) : 0;
  }
  return reciprocals;
}

void DropZeros(SparseVector& weights) {
  std::erase_if(weights, [](const KeyedValue& entry) { return entry.value == 0; });
}

}  // namespace

StepResult PursuitStep(const GatedProblem& problem, const SparseVector& weights,
                       const std::vector<double>& residual, int64_t working_nonzeros) {
  Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  const SparseVector steepest = Restrict(HardThreshold(1, candidates.gradient), candidates.keys);
  const double step_size = NormalisedStepSize(problem, candidates, steepest);
  const double loss = SquaredNorm(residual);
  SparseVector last_support;
  for (const double factor : kPursuitFactors) {
    const SparseVector thresholded = Threshold(candidates, factor * step_size, working_nonzeros);
    if (SameSupport(thresholded, last_support)) continue;
    last_support = thresholded;
    SparseVector solved = LeastSquaresOnSupport(problem, thresholded);
    if (problem.engine.stop_requested()) break;
    if (SquaredNorm(problem.Residual(solved)) < (1 - kLeastDecrease) * loss) {
      return {std::move(solved), factor * step_size};
    }
  }
  return {.weights = weights, .step_size = step_size, .fixed_point = true};
}

StepResult CosampStep(const GatedProblem& problem, const SparseVector& weights,
                      const std::vector<double>& residual, int64_t working_nonzeros) {
  const int64_t entering = 2 * working_nonzeros;
  const Candidates candidates = FindCandidates(problem, weights, residual, entering);
  const SparseVector merged =
      Restrict(weights, UnionOfSupports(weights, HardThreshold(entering, candidates.gradient)));
  StepResult result;
  result.weights = HardThreshold(working_nonzeros, LeastSquaresOnSupport(problem, merged));
  if (problem.engine.stop_requested()) return result;
  result.weights = LeastSquaresOnSupport(problem, result.weights);
  result.fixed_point = SameSupport(result.weights, weights);
  return result;
}

StepResult SplicingStep(const GatedProblem& problem, const SparseVector& weights,
                        const std::vector<double>& residual, int64_t working_nonzeros) {
  const Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros,
                                               ReciprocalColumnNorms(problem.design));
  const std::vector<double> norms2 = problem.SquaredColumnNorms(candidates.gated);
  // What the loss gains at most by a weight of the support, and loses at least by one off it.
  SparseVector actives;    // by backward sacrifice, largest first
  SparseVector inactives;  // by forward sacrifice, largest first
  for (size_t e = 0; e < norms2.size(); ++e) {
    const auto [key, weight] = candidates.weights[e];
    const double gradient = candidates.gradient[e].value;
    if (weight != 0) {
      actives.push_back({key, norms2[e] * weight * weight});
    } else if (norms2[e] > 0) {
      inactives.push_back({key, gradient * gradient / norms2[e]});
    }
  }
  const auto more_sacrifice = [](const KeyedValue& a, const KeyedValue& b) {
    return a.value != b.value ? a.value > b.value : a.key < b.key;
  };
  std::sort(actives.begin(), actives.end(), more_sacrifice);
  std::sort(inactives.begin(), inactives.end(), more_sacrifice);

  const double loss = SquaredNorm(residual);
  const auto num_actives = static_cast<int64_t>(actives.size());
  for (int64_t exchanged = (num_actives + 1) / 2;; exchanged /= 2) {
    SparseVector spliced(actives.begin(), actives.end() - exchanged);
    const auto entering = std::min(working_nonzeros - (num_actives - exchanged),
                                   static_cast<int64_t>(inactives.size()));
    spliced.insert(spliced.end(), inactives.begin(), inactives.begin() + entering);
    std::sort(spliced.begin(), spliced.end(),
              [](const KeyedValue& a, const KeyedValue& b) { return a.key < b.key; });
    SparseVector solved = LeastSquaresOnSupport(problem, Restrict(weights, spliced));
    if (problem.engine.stop_requested()) break;
    if (SquaredNorm(problem.Residual(solved)) < (1 - kLeastDecrease) * loss) {
      DropZeros(solved);
      return {.weights = std::move(solved)};
    }
    if (exchanged <= 1) break;
  }
  return {.weights = weights, .fixed_point = true};
}

}  // namespace thresher
