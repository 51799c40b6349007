#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "Eigen/Cholesky"
#include "Eigen/Eigenvalues"
#include "core/pruning/selection.h"
#include "core/pruning/surgeon.h"

namespace thresher {
namespace {

// Columns of a product at a time, so that its bits do not depend on the threads.
constexpr int64_t kBlockRows = 32;
// ADMM's penalty: its first value, relative to a diagonal of 1, and its growth while many, some
// or few weights still change places (ALPS, section 3.1).
constexpr double kFirstPenalty = 0.1;
constexpr double kManyChanges = 0.1;
constexpr double kSomeChanges = 0.005;
constexpr int kMaxSteps = 100;
constexpr int kStepsAPenalty = 2;

using Vector = Eigen::VectorXd;

// min sum_r weight_r || X w_r - t_r ||^2 over rows w_r, up to constants
// sum_r weight_r (w_r^T gram w_r - 2 w_r . cross_r).
struct LayerProblem {
  LayerMatrix gram;   // X^T X / n, with the ridge
  LayerMatrix cross;  // a row's X^T t_r / n, with the ridge's
  Vector weight;      // of each row
};

// The weights that stay, by the alternating direction method of multipliers. Columns are scaled to
// a Gram diagonal of 1 and rows by the root of their weight.
LayerMatrix ChooseByAdmm(Engine& engine, const LayerProblem& problem, const LayerMatrix& given,
                         int64_t count, const OneShotOptions& options, bool bias) {
  const Vector column_scale = problem.gram.diagonal().cwiseSqrt();
  const Vector row_scale = problem.weight.cwiseSqrt();
  const Vector inverse_scale = column_scale.cwiseInverse();
  const Eigen::MatrixXd gram =
      inverse_scale.asDiagonal() * problem.gram * inverse_scale.asDiagonal();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(gram);
  const Eigen::MatrixXd& basis = eigen.eigenvectors();
  const LayerMatrix cross = row_scale.asDiagonal() * problem.cross * inverse_scale.asDiagonal();
  const LayerMatrix allowed = (given.array() != 0).cast<double>();

  LayerMatrix dual = LayerMatrix::Zero(given.rows(), given.cols());
  const LayerMatrix scaled = row_scale.asDiagonal() * given * column_scale.asDiagonal();
  LayerMatrix kept = SelectInLayer(scaled.cwiseAbs2(), count, options, bias);
  LayerMatrix sparse = scaled.cwiseProduct(kept);
  LayerMatrix free = scaled;
  double penalty = kFirstPenalty;
  LayerMatrix compared = kept;
  for (int step = 1; step <= kMaxSteps && !engine.stop_requested(); ++step) {
    const Vector damped = (eigen.eigenvalues().array().max(0.0) + penalty).inverse();
    const int64_t num_blocks = (given.rows() + kBlockRows - 1) / kBlockRows;
    engine.pool.ParallelFor(num_blocks, [&](int64_t b, int) {
      const int64_t first = b * kBlockRows;
      const int64_t size = std::min(kBlockRows, given.rows() - first);
      const LayerMatrix right = cross.middleRows(first, size) - dual.middleRows(first, size) +
                                penalty * sparse.middleRows(first, size);
      const LayerMatrix turned = (right * basis) * damped.asDiagonal();
      free.middleRows(first, size) = turned * basis.transpose();
    });
    const LayerMatrix shifted = free + dual / penalty;
    kept = SelectInLayer(shifted.cwiseAbs2().cwiseProduct(allowed), count, options, bias);
    sparse = shifted.cwiseProduct(kept);
    dual += penalty * (free - sparse);
    if (step % kStepsAPenalty != 0) continue;
    const auto changed = static_cast<double>((kept.array() != compared.array()).count());
    if (changed == 0) break;
    const double share = changed / static_cast<double>(std::max<int64_t>(count, 1));
    penalty *= share >= kManyChanges ? 1.3 : share >= kSomeChanges ? 1.2 : 1.1;
    compared = kept;
  }
  return kept;
}

// Each row's least squares on the weights that it keeps.
LayerMatrix Refit(Engine& engine, const LayerProblem& problem, const LayerMatrix& kept) {
  LayerMatrix refitted = LayerMatrix::Zero(kept.rows(), kept.cols());
  engine.pool.ParallelFor(kept.rows(), [&](int64_t r, int) {
    std::vector<int64_t> support;
    for (int64_t q = 0; q < kept.cols(); ++q) {
      if (kept(r, q) != 0) support.push_back(q);
    }
    if (support.empty()) return;
    const auto size = static_cast<int64_t>(support.size());
    Eigen::MatrixXd gram(size, size);
    Vector cross(size);
    for (int64_t a = 0; a < size; ++a) {
      cross[a] = problem.cross(r, support[a]);
      for (int64_t b = 0; b < size; ++b) gram(a, b) = problem.gram(support[a], support[b]);
    }
    const Vector values = gram.llt().solve(cross);
    for (int64_t a = 0; a < size; ++a) refitted(r, support[a]) = values[a];
  });
  return refitted;
}

double AddRidge(LayerMatrix& gram, double damping) {
  const double mean = gram.trace() / static_cast<double>(std::max<int64_t>(gram.rows(), 1));
  // Where all inputs are 0 anything positive will do.
  const double ridge = mean > 0 ? damping * mean : 1;
  gram.diagonal().array() += ridge;
  return ridge;
}

// How much an error of each row's outputs counts: its mean squared derivative.
std::vector<Vector> RowWeights(Engine& engine, const LayerMatrices& network,
                               const std::vector<UnitMatrix>& units,
                               const OneShotOptions& options) {
  std::vector<Vector> weights;
  for (const UnitMatrix& deltas : AllDeltas(
           engine, network, units, SampledCotangents(options.loss, units.back(), options.seed))) {
    Vector weight = deltas.cast<double>().colwise().squaredNorm().transpose() /
                    static_cast<double>(deltas.rows());
    // Rows that the outputs do not depend on still take part, last.
    weight = weight.cwiseMax(1e-6 * std::max(weight.maxCoeff(), 1e-30));
    weights.push_back(std::move(weight));
  }
  return weights;
}

}  // namespace

LayerMatrices PruneByLayers(Engine& engine, const LayerMatrices& network, const UnitMatrix& inputs,
                            const OneShotOptions& options) {
  const std::vector<UnitMatrix> given = AllUnits(engine, network, inputs);
  const std::vector<Vector> weights = RowWeights(engine, network, given, options);
  const auto num_samples = static_cast<double>(inputs.rows());
  // w^2 / [gram^-1]_qq: the rise of the layer's error when this weight goes and the row's others
  // are refitted.
  std::vector<LayerMatrix> saliencies;
  for (size_t l = 0; l < network.layers.size(); ++l) {
    LayerMatrix gram = SampleProducts(engine, given[l], given[l]) / num_samples;
    AddRidge(gram, options.damping);
    const Eigen::MatrixXd factor = Eigen::MatrixXd(gram).llt().matrixL().solve(
        Eigen::MatrixXd::Identity(gram.rows(), gram.cols()));
    const Vector inverse = factor.colwise().squaredNorm().transpose().cwiseInverse();
    saliencies.push_back(weights[l].asDiagonal() * network.layers[l].cwiseAbs2() *
                         inverse.asDiagonal());
    if (engine.stop_requested()) return network;
  }
  const std::vector<LayerMatrix> selected = Select(saliencies, options, network.has_bias);

  LayerMatrices pruned = network;
  UnitMatrix units = inputs;
  for (size_t l = 0; l < network.layers.size(); ++l) {
    const LayerMatrix& layer = network.layers[l];
    const auto count = static_cast<int64_t>(selected[l].sum());
    LayerProblem problem = {.gram = SampleProducts(engine, units, units) / num_samples,
                            .weight = weights[l]};
    problem.cross =
        SampleProducts(engine, LayerImages(engine, given[l], layer), units) / num_samples;
    problem.cross += AddRidge(problem.gram, options.damping) * layer;
    if (engine.stop_requested()) return network;
    const bool above_is_known =
        options.scope == PruneScope::kPerLayer && l + 1 < network.layers.size();
    const LayerMatrix allowed = above_is_known ? IntoUnitsRead(layer, selected[l + 1]) : layer;
    const LayerMatrix kept = options.whole_neurons ? selected[l]
                                                   : ChooseByAdmm(engine, problem, allowed, count,
                                                                  options, network.has_bias);
    pruned.layers[l] = Refit(engine, problem, kept);
    if (engine.stop_requested()) return network;
    const UnitMatrix images = LayerImages(engine, units, pruned.layers[l]);
    units = HiddenUnits(images, network.has_bias);
  }
  return pruned;
}

}  // namespace thresher
