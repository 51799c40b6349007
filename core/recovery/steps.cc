#include "core/recovery/steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/kernels/kernel_table.h"
#include "core/kernels/support_products.h"
#include "core/recovery/candidates.h"

namespace thresher {
namespace {

// Constants of the published algorithm.
constexpr double kDenominatorFloor = 1e-8;
constexpr double kStepSizeOnEmptySupport = 1e-14;
constexpr int kRefinements = 10;
constexpr int kArmijoTrials = 11;
constexpr double kArmijoConstant = 0.9;

constexpr double kSafeguard = 0.99;  // 1 - c of normalised iterative hard thresholding
constexpr int kMaxHalvings = 60;

constexpr int kPowerIterations = 12;
constexpr int64_t kPowerBlockEntries = 8192;

// The part of the gradient that the step size is taken from: on the support, or, where that
// is empty or the gradient vanishes there, on the entries of largest gradient.
SparseVector StepDirection(const Candidates& candidates, int64_t working_nonzeros) {
  constexpr double kVanishing = 1e-24;
  if (SquaredNorm(candidates.on_support) > kVanishing * SquaredNorm(candidates.gradient)) {
    return candidates.on_support;
  }
  return Restrict(HardThreshold(working_nonzeros, candidates.gradient), candidates.keys);
}

StepResult NormalisedStepAmong(const GatedProblem& problem, Candidates& candidates,
                               const SparseVector& weights, int64_t working_nonzeros) {
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

// The words of one batch cut so that threads share them, always in the same way.
std::vector<RowChunk> CutBatch(const RowChunk& batch) {
  std::vector<RowChunk> chunks = MakeRowChunks(batch.num_words * kSamplesPerWord);
  for (RowChunk& chunk : chunks) chunk.first_word += batch.first_word;
  return chunks;
}

}  // namespace

StepResult FixedStep(const GatedProblem& problem, const SparseVector& weights,
                     const std::vector<double>& residual, int64_t working_nonzeros,
                     double step_size) {
  const Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  return {Threshold(candidates, step_size, working_nonzeros), step_size};
}

StepResult ReciprocalStep(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros,
                          int64_t nonzeros, double step_size) {
  const Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  SparseVector moved = candidates.weights;
  for (size_t e = 0; e < moved.size(); ++e) {
    moved[e].value -= step_size * candidates.gradient[e].value;
  }
  return {ReciprocalThreshold(working_nonzeros, nonzeros, std::move(moved)), step_size};
}

StepResult NormalisedStep(const GatedProblem& problem, const SparseVector& weights,
                          const std::vector<double>& residual, int64_t working_nonzeros) {
  Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  return NormalisedStepAmong(problem, candidates, weights, working_nonzeros);
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

StepResult VarianceReducedStep(const GatedProblem& problem, const SparseVector& weights,
                               const std::vector<double>& residual, int64_t working_nonzeros,
                               double step_scale, std::span<const RowChunk> batches) {
  const Design& design = problem.design;
  Candidates candidates = FindCandidates(problem, weights, residual, working_nonzeros);
  StepResult first = NormalisedStepAmong(problem, candidates, weights, working_nonzeros);
  first.next_step_scale = step_scale;
  const double step_size = step_scale * first.step_size;
  // On the candidates: the iterate w, and w - w0 as the values of the rows.
  SparseVector iterate = Restrict(first.weights, candidates.keys);
  SparseRows& change = candidates.gated.grouped.rows;
  std::vector<double> image(design.padded_samples());  // A_B (w - w0), on the rows of B alone
  std::vector<double> products(iterate.size());
  for (const RowChunk& batch : batches) {
    if (problem.engine.stop_requested()) return first;
    const std::vector<RowChunk> rows = CutBatch(batch);
    for (size_t e = 0; e < iterate.size(); ++e) {
      change.value[e] = iterate[e].value - candidates.weights[e].value;
    }
    SupportForward(problem.engine, design, candidates.gated.masks, change, rows, image);
    SupportAdjoint(problem.engine, design, candidates.gated.masks, change, rows, image, products);
    const int64_t end =
        std::min((batch.first_word + batch.num_words) * kSamplesPerWord, design.num_samples);
    const double share = static_cast<double>(design.num_samples) /
                         static_cast<double>(end - batch.first_word * kSamplesPerWord);
    for (size_t e = 0; e < iterate.size(); ++e) {
      iterate[e].value -= step_size * (share * products[e] + candidates.gradient[e].value);
    }
    iterate = Restrict(HardThreshold(working_nonzeros, std::move(iterate)), candidates.keys);
  }
  SparseVector last = HardThreshold(working_nonzeros, std::move(iterate));
  // Written so that an epoch that overflowed is turned down.
  if (SquaredNorm(problem.Residual(last)) <= SquaredNorm(problem.Residual(first.weights))) {
    first.weights = std::move(last);
  } else {
    first.next_step_scale = step_scale / 2;
  }
  first.step_size = step_size;
  return first;
}

double LargestEigenvalue(const GatedProblem& problem, absl::FunctionRef<bool()> give_up) {
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
      if (problem.engine.stop_requested() || give_up()) return eigenvalue;
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
