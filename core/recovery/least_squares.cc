#include "core/recovery/least_squares.h"

#include <cmath>
#include <utility>
#include <vector>

namespace thresher {
namespace {

constexpr double kGradientTolerance = 1e-14;

}  // namespace

SparseVector LeastSquaresOnSupport(const GatedProblem& problem, const SparseVector& start) {
  if (start.empty()) return start;
  SparseVector weights = start;
  GatedSupport support = problem.Gate(start);
  // residual = y - A w; normal = A^T residual; direction: conjugate to the earlier ones.
  std::vector<double> residual = problem.Forward(support, weights);
  for (size_t i = 0; i < residual.size(); ++i) residual[i] = problem.targets[i] - residual[i];
  SparseVector normal = problem.Gradient(support, weights, residual);
  const double scale = SquaredNorm(problem.Gradient(support, weights, problem.targets));
  const double target = kGradientTolerance * kGradientTolerance * scale;
  SparseVector direction = normal;
  double normal_norm2 = SquaredNorm(normal);
  const int64_t max_iterations = 4 * static_cast<int64_t>(start.size()) + 20;
  for (int64_t k = 0; k < max_iterations && normal_norm2 > target; ++k) {
    if (problem.engine.stop_requested()) return weights;
    const std::vector<double> image = problem.Forward(support, direction);
    const double image_norm2 = SquaredNorm(image);
    if (!(image_norm2 > 0)) break;
    const double step = normal_norm2 / image_norm2;
    for (size_t e = 0; e < weights.size(); ++e) weights[e].value += step * direction[e].value;
    for (size_t i = 0; i < residual.size(); ++i) residual[i] -= step * image[i];
    normal = problem.Gradient(support, weights, residual);
    const double next_norm2 = SquaredNorm(normal);
    const double ratio = next_norm2 / normal_norm2;
    for (size_t e = 0; e < direction.size(); ++e) {
      direction[e].value = normal[e].value + ratio * direction[e].value;
    }
    normal_norm2 = next_norm2;
  }
  return weights;
}

}  // namespace thresher
