#include "core/recovery/refine.h"

#include <cmath>
#include <utility>
#include <vector>

#include "core/kernels/support_products.h"
#include "core/recovery/gated_problem.h"

namespace thresher {
namespace {

constexpr double kFirstDamping = 1e-4;
constexpr double kMinDamping = 1e-14;
constexpr int kMaxTrials = 6;
// Conjugate gradients end at this relative size of the normal residual.
constexpr double kForcing = 1e-2;
constexpr double kTightForcing = 1e-8;

// argmin || J delta + r ||^2 + damping || delta ||^2 by CGLS.
std::vector<double> SolveDamped(const ReluProblem& problem, const SparseNetwork& network,
                                const Linearisation& at, double damping, double forcing,
                                int max_products) {
  const size_t size = network.weights.value.size();
  std::vector<double> step(size, 0.0);
  std::vector<double> residual = at.residual;
  for (double& value : residual) value = -value;
  std::vector<double> normal = JacobianTranspose(problem, network, at, residual);
  std::vector<double> direction = normal;
  double normal2 = SquaredNorm(normal);
  const double target = forcing * forcing * normal2;
  SparseRows rows = at.signed_rows;
  std::vector<double> image(residual.size());
  for (int k = 0; k < max_products && normal2 > target; ++k) {
    if (problem.engine.stop_requested()) return step;
    for (int64_t j = 0; j < network.hidden_width(); ++j) {
      for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
        rows.value[e] = network.output_signs[j] * direction[e];
      }
    }
    SupportForward(problem.engine, problem.design, at.masks, rows, image);
    const double curvature = SquaredNorm(image) + damping * SquaredNorm(direction);
    if (!(curvature > 0)) break;
    const double alpha = normal2 / curvature;
    for (size_t e = 0; e < size; ++e) step[e] += alpha * direction[e];
    for (size_t i = 0; i < residual.size(); ++i) residual[i] -= alpha * image[i];
    normal = JacobianTranspose(problem, network, at, residual);
    for (size_t e = 0; e < size; ++e) normal[e] -= damping * step[e];
    const double next = SquaredNorm(normal);
    const double ratio = next / normal2;
    for (size_t e = 0; e < size; ++e) direction[e] = normal[e] + ratio * direction[e];
    normal2 = next;
  }
  return step;
}

}  // namespace

double Refine(const ReluProblem& problem, const RefineOptions& options, SparseNetwork& network) {
  Linearisation at = Linearise(problem, network);
  double damping = kFirstDamping;
  double forcing = kForcing;
  const auto n = static_cast<double>(problem.design.num_samples);
  for (int k = 0; k < options.max_steps && at.loss > options.target_loss; ++k) {
    bool accepted = false;
    double decrease = 0;
    for (int trial = 0; trial < kMaxTrials && !accepted; ++trial) {
      const std::vector<double> step =
          SolveDamped(problem, network, at, damping * n, forcing, options.max_products);
      SparseNetwork moved = network;
      for (size_t e = 0; e < step.size(); ++e) moved.weights.value[e] += step[e];
      Linearisation there = Linearise(problem, moved);
      if (problem.engine.stop_requested()) return at.loss;
      if (there.loss < at.loss) {
        decrease = (at.loss - there.loss) / at.loss;
        network = std::move(moved);
        at = std::move(there);
        accepted = true;
        damping = std::max(damping / 10, kMinDamping);
      } else {
        damping *= 10;
      }
    }
    if (!accepted || decrease < options.min_decrease) break;
    // Near the end steps are exact: fast convergence is worth the products.
    if (decrease > 0.9) forcing = kTightForcing;
  }
  return at.loss;
}

}  // namespace thresher
