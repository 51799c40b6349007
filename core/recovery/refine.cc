#include "core/recovery/refine.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/kernels/support_products.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/normal_equations.h"

namespace thresher {
namespace {

double DotProduct(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

constexpr double kFirstDamping = 1e-4;
constexpr double kMinDamping = 1e-14;
// The normal matrix is exact to about this.
constexpr double kMinRidge = 1e-7;
constexpr int kMaxTrials = 6;
// Conjugate gradients end at this relative size of the normal residual.
constexpr double kForcing = 1e-2;
constexpr double kTightForcing = 1e-8;

// Products that a stale preconditioner may cost before new normal equations are worth theirs.
int64_t MaxStaleProducts(int64_t num_parameters) {
  return std::max<int64_t>(4, num_parameters / 30);
}

struct DampedStep {
  std::vector<double> step;
  int products;
};

// argmin || J delta + r ||^2 + damping || delta ||^2 by CGLS, preconditioned by the factored
// normal equations where given.
DampedStep SolveDamped(const ReluProblem& problem, const Linearisation& at,
                       const NormalEquations* preconditioner, double damping, double forcing,
                       int max_products) {
  const size_t size = at.signs.size();
  DampedStep solve{.step = std::vector<double>(size, 0.0), .products = 0};
  std::vector<double>& step = solve.step;
  std::vector<double> residual = at.residual;
  for (double& value : residual) value = -value;
  std::vector<double> normal = JacobianTranspose(problem, at, residual);
  const auto precondition = [&](std::vector<double> vector) {
    if (preconditioner != nullptr) preconditioner->Solve(vector);
    return vector;
  };
  std::vector<double> direction = precondition(normal);
  double product = DotProduct(normal, direction);
  const double target = forcing * forcing * product;
  SparseRows rows = at.signed_rows;
  std::vector<double> image(residual.size());
  for (; solve.products < max_products && product > target; ++solve.products) {
    if (problem.engine.stop_requested()) return solve;
    for (size_t e = 0; e < size; ++e) rows.value[e] = at.signs[e] * direction[e];
    SupportForward(problem.engine, problem.design, at.masks, rows, image);
    const double curvature = SquaredNorm(image) + damping * SquaredNorm(direction);
    if (!(curvature > 0)) break;
    const double alpha = product / curvature;
    for (size_t e = 0; e < size; ++e) step[e] += alpha * direction[e];
    for (size_t i = 0; i < residual.size(); ++i) residual[i] -= alpha * image[i];
    normal = JacobianTranspose(problem, at, residual);
    for (size_t e = 0; e < size; ++e) normal[e] -= damping * step[e];
    const std::vector<double> scaled = precondition(normal);
    const double next = DotProduct(normal, scaled);
    const double ratio = next / product;
    for (size_t e = 0; e < size; ++e) direction[e] = scaled[e] + ratio * direction[e];
    product = next;
  }
  return solve;
}

}  // namespace

double Refine(const ReluProblem& problem, const RefineOptions& options, SparseNetwork& network) {
  Linearisation at = Linearise(problem, network);
  double damping = kFirstDamping;
  double forcing = kForcing;
  const auto n = static_cast<double>(problem.design.num_samples);
  const bool dense = NumParameters(network) <= kMaxDenseWeights;
  std::optional<NormalEquations> normal;
  int products = 0;
  for (int k = 0; k < options.max_steps && at.loss > options.target_loss; ++k) {
    bool accepted = false;
    double decrease = 0;
    // The normal equations of an earlier iterate precondition well until the gates have moved.
    const bool renew = dense && (!normal || products > MaxStaleProducts(NumParameters(network)));
    if (renew) normal.emplace(problem, at);
    if (problem.engine.stop_requested()) return at.loss;
    for (int trial = 0; trial < kMaxTrials && !accepted; ++trial) {
      if (normal && (renew || trial > 0)) normal->Factor(std::max(damping, kMinRidge) * n);
      const DampedStep solve = SolveDamped(problem, at, normal ? &*normal : nullptr, damping * n,
                                           forcing, options.max_products);
      products = solve.products;
      SparseNetwork moved = network;
      const size_t entries = moved.weights.value.size();
      for (size_t e = 0; e < entries; ++e) moved.weights.value[e] += solve.step[e];
      for (size_t e = entries; e < solve.step.size(); ++e) {
        moved.linear[at.signed_rows.column[e]] += solve.step[e];
      }
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
