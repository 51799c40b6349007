#include "core/recovery/steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/kernels/support_products.h"
#include "core/recovery/least_squares.h"

namespace thresher {
namespace {

// The single-precision pass proposes this many more entries than can enter, so that the
// choice among them, made in double, is the choice that a pass in double would have made.
constexpr int64_t kSpareCandidates = 64;

// Constants of the published algorithm.
constexpr double kDenominatorFloor = 1e-8;
constexpr double kStepSizeOnEmptySupport = 1e-14;
constexpr int kRefinements = 10;
constexpr int kArmijoTrials = 11;
constexpr double kArmijoConstant = 0.9;

constexpr double kSafeguard = 0.99;  // 1 - c of normalised iterative hard thresholding
constexpr int kMaxHalvings = 60;

// Step sizes that a pursuit step tries, as multiples of the normalised one.
constexpr double kPursuitFactors[] = {1, 0.5, 0.25, 2, 4};
constexpr double kPursuitDecrease = 1e-10;  // relative; less is rounding

constexpr int kPowerIterations = 12;
constexpr int64_t kPowerBlockEntries = 8192;

// The gradient in double on the support and on the entries off it that may enter: for any
// step size, H_s~(w - eta g) lies in these.
struct Candidates {
  SparseVector keys;        // support and entering entries
  GatedSupport gated;       // of these
  SparseVector weights;     // w on these
  SparseVector gradient;    // g on these
  SparseVector on_support;  // g where w stands, 0 elsewhere
};

Candidates FindCandidates(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros) {
  Candidates found;
  const SparseVector proposed = TopGradient(problem.engine, problem.design, problem.gates, residual,
                                            working_nonzeros + kSpareCandidates, KeysOf(weights));
  found.keys = UnionOfSupports(weights, proposed);
  found.gated = problem.Gate(found.keys);
  found.weights = Restrict(weights, found.keys);
  found.gradient = problem.Gradient(found.gated, found.keys, residual);
  found.on_support = Restrict(found.gradient, weights);
  found.on_support = Restrict(found.on_support, found.keys);
  return found;
}

// H_count( w - step_size g ) on the candidates.
SparseVector Threshold(const Candidates& candidates, double step_size, int64_t count,
                       TieRule ties = TieRule::kLowerKey) {
  SparseVector moved = candidates.weights;
  for (size_t e = 0; e < moved.size(); ++e) {
    moved[e].value -= step_size * candidates.gradient[e].value;
  }
  return HardThreshold(count, std::move(moved), ties);
}

// ||direction||^2 / ||A direction||^2, 0 where the direction is.
double NormalisedStepSize(const GatedProblem& problem, Candidates& candidates,
                          const SparseVector& direction) {
  const double numerator = SquaredNorm(direction);
  const double denominator = SquaredNorm(problem.Forward(candidates.gated, direction));
  return denominator > 0 ? numerator / denominator : 0;
}

// The part of the gradient that the step size is taken from: on the support, or, where that
// is empty or the gradient vanishes there, on the entries of largest gradient.
SparseVector StepDirection(const Candidates& candidates, int64_t working_nonzeros) {
  constexpr double kVanishing = 1e-24;
  if (SquaredNorm(candidates.on_support) > kVanishing * SquaredNorm(candidates.gradient)) {
    return candidates.on_support;
  }
  return Restrict(HardThreshold(working_nonzeros, candidates.gradient), candidates.keys);
}

}  // namespace

StepResult FixedStep(const GatedProblem& problem, const SparseVector& weights,
                     const std::vector<double>& residual, int64_t working_nonzeros,
                     double step_size) {
  const Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  return {Threshold(candidates, step_size, working_nonzeros), step_size, false};
}

StepResult NormalisedStep(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros) {
  Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  double step_size =
      NormalisedStepSize(problem, candidates, StepDirection(candidates, working_nonzeros));
  StepResult result;
  for (int halving = 0; halving <= kMaxHalvings; ++halving) {
    result.weights = Threshold(candidates, step_size, working_nonzeros);
    result.step_size = step_size;
    if (problem.engine.stop_requested() || SameSupport(result.weights, weights)) break;
    SparseVector change = Restrict(result.weights, candidates.keys);
    for (size_t e = 0; e < change.size(); ++e) change[e].value -= candidates.weights[e].value;
    const double bound = kSafeguard * NormalisedStepSize(problem, candidates, change);
    if (step_size <= bound || bound == 0) break;
    step_size /= 2;
  }
  return result;
}

StepResult PublishedStep(const GatedProblem& problem, const SparseVector& weights,
                         const std::vector<double>& residual, int64_t working_nonzeros) {
  Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  double step_size = kStepSizeOnEmptySupport;
  if (!weights.empty()) {
    step_size =
        SquaredNorm(candidates.on_support) /
        (SquaredNorm(problem.Forward(candidates.gated, candidates.on_support)) + kDenominatorFloor);
  }
  StepResult result;
  result.step_size = step_size;
  const SparseVector thresholded =
      Threshold(candidates, step_size, working_nonzeros, TieRule::kHigherKey);
  result.weights = thresholded;
  if (thresholded.empty()) return result;

  // Refinement: gradient steps on the support. The residual moves by -eta A g, so the Armijo
  // test ||r - eta A g||^2 <= ||r||^2 - 0.9 eta ||g||^2 (g is half the gradient of ||r||^2)
  // reads eta ||A g||^2 <= (2 - 0.9) ||g||^2: one product serves all trials.
  GatedSupport support = problem.Gate(thresholded);
  std::vector<double> thresholded_residual = problem.Forward(support, thresholded);
  for (size_t i = 0; i < thresholded_residual.size(); ++i) {
    thresholded_residual[i] -= problem.targets[i];
  }
  std::vector<double> refined_residual = thresholded_residual;
  double eta = step_size;
  for (int refinement = 0; refinement < kRefinements; ++refinement) {
    if (problem.engine.stop_requested()) return result;
    const SparseVector gradient = problem.Gradient(support, thresholded, refined_residual);
    const std::vector<double> image = problem.Forward(support, gradient);
    const double allowed = (2 - kArmijoConstant) * SquaredNorm(gradient);
    const double image_norm2 = SquaredNorm(image);
    int trials = 1;
    while (trials < kArmijoTrials && !(eta * image_norm2 <= allowed)) {
      eta /= 2;
      ++trials;
    }
    if (eta * image_norm2 <= allowed) {
      for (size_t e = 0; e < result.weights.size(); ++e) {
        result.weights[e].value -= eta * gradient[e].value;
      }
      for (size_t i = 0; i < refined_residual.size(); ++i) refined_residual[i] -= eta * image[i];
    } else {
      // All trials failed: what was refined in this step is thrown away.
      eta /= 2;
      result.weights = thresholded;
      refined_residual = thresholded_residual;
    }
  }
  std::erase_if(result.weights, [](const KeyedValue& entry) { return entry.value == 0; });
  return result;
}

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
    if (SquaredNorm(problem.Residual(solved)) < (1 - kPursuitDecrease) * loss) {
      return {std::move(solved), factor * step_size, false};
    }
  }
  return {weights, step_size, true};
}

double LargestEigenvalue(const GatedProblem& problem) {
  const Design& design = problem.design;
  const int64_t num_live = problem.gates.num_live();
  const int64_t block_gates = std::max<int64_t>(1, kPowerBlockEntries / design.num_columns);
  std::vector<double> vector(problem.targets.begin(), problem.targets.end());
  double eigenvalue = 0;
  for (int iteration = 0; iteration < kPowerIterations; ++iteration) {
    const double norm = std::sqrt(SquaredNorm(vector));
    if (!(norm > 0)) return eigenvalue;
    for (double& value : vector) value /= norm;
    std::vector<double> image(design.padded_samples());
    for (int64_t first = 0; first < num_live; first += block_gates) {
      if (problem.engine.stop_requested()) return eigenvalue;
      SparseVector block;
      for (int64_t k = first; k < std::min(first + block_gates, num_live); ++k) {
        for (int64_t q = 0; q < design.num_columns; ++q) {
          block.push_back({problem.gates.live(k) * design.num_columns + q, 0});
        }
      }
      GatedSupport gated = problem.Gate(block);
      const SparseVector products = problem.Gradient(gated, block, vector);
      const std::vector<double> part = problem.Forward(gated, products);
      for (size_t i = 0; i < image.size(); ++i) image[i] += part[i];
    }
    eigenvalue = std::sqrt(SquaredNorm(image));
    vector = std::move(image);
  }
  return eigenvalue;
}

}  // namespace thresher
