#include "core/refinement/joint_problem.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/network/merge.h"
#include "core/refinement/joint_block.h"

namespace thresher {
namespace {

// Sums of matrices run over so many groups of blocks, and then over the groups.
constexpr int64_t kGroups = 8;

constexpr double kFirstDamping = 1e-3;
constexpr double kMinDamping = 1e-15;
constexpr int kMaxTrials = 8;
// Of the largest diagonal entry: parameters that the outputs do not depend on stay.
constexpr double kLeastDiagonal = 1e-13;
constexpr double kForcing = 1e-6;
constexpr double kLeastRidge = 1e-12;

std::vector<double> ParametersOf(const SparseNetwork& network) {
  std::vector<double> parameters = network.weights.value;
  for (const SparseRows& layer : network.upper_layers) {
    parameters.insert(parameters.end(), layer.value.begin(), layer.value.end());
  }
  return parameters;
}

void SetParameters(std::span<const double> parameters, SparseNetwork& network) {
  const auto take = [&](SparseRows& layer) {
    std::copy_n(parameters.begin(), layer.value.size(), layer.value.begin());
    parameters = parameters.subspan(layer.value.size());
  };
  take(network.weights);
  for (SparseRows& layer : network.upper_layers) take(layer);
}

// The sum of vectors over all blocks, in their order; of some where a stop was requested.
template <typename OfBlock>
Eigen::VectorXd SumOverBlocks(const JointProblem& problem, const SparseNetwork& network,
                              int64_t size, const OfBlock& of_block) {
  const int64_t num_blocks = NumJointBlocks(problem);
  std::vector<Eigen::VectorXd> parts(kGroups, Eigen::VectorXd::Zero(size));
  problem.engine.pool.ParallelFor(kGroups, [&](int64_t g, int) {
    for (int64_t b = g * num_blocks / kGroups; b < (g + 1) * num_blocks / kGroups; ++b) {
      if (problem.engine.stop_requested()) return;
      of_block(JointBlock(problem, network, b), parts[g]);
    }
  });
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(size);
  for (const Eigen::VectorXd& part : parts) sum += part;
  return sum;
}

struct Gradient {
  Eigen::VectorXd gradient;  // J^T (f - Y)
  double loss = 0;
};
Gradient GradientAt(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  Eigen::VectorXd sums = SumOverBlocks(
      problem, network, size + 1, [&](const JointBlock& block, Eigen::VectorXd& part) {
        block.AddAdjoint(block.residual(), {part.data(), static_cast<size_t>(size)});
        part[size] = block.residual().squaredNorm();
      });
  return {sums.head(size), sums[size]};
}

Eigen::MatrixXd NormalMatrix(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  const int64_t num_blocks = NumJointBlocks(problem);
  std::vector<Eigen::MatrixXd> parts(kGroups);
  problem.engine.pool.ParallelFor(kGroups, [&](int64_t g, int) {
    parts[g] = Eigen::MatrixXd::Zero(size, size);
    for (int64_t b = g * num_blocks / kGroups; b < (g + 1) * num_blocks / kGroups; ++b) {
      if (problem.engine.stop_requested()) return;
      const JointBlock block(problem, network, b);
      for (int64_t o = 0; o < problem.num_outputs; ++o) {
        parts[g].selfadjointView<Eigen::Lower>().rankUpdate(block.Jacobian(o, size).transpose());
      }
    }
  });
  Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(size, size);
  for (const Eigen::MatrixXd& part : parts) {
    if (part.size() == normal.size()) normal += part;
  }
  return normal;
}

Eigen::VectorXd NormalDiagonal(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  return SumOverBlocks(problem, network, size, [&](const JointBlock& block, Eigen::VectorXd& part) {
    block.AddNormalDiagonal({part.data(), static_cast<size_t>(size)});
  });
}

// J^T J vector.
Eigen::VectorXd NormalProduct(const JointProblem& problem, const SparseNetwork& network,
                              const Eigen::VectorXd& vector) {
  return SumOverBlocks(problem, network, vector.size(),
                       [&](const JointBlock& block, Eigen::VectorXd& part) {
                         const Eigen::MatrixXd image =
                             block.Tangent({vector.data(), static_cast<size_t>(vector.size())});
                         block.AddAdjoint(image, {part.data(), static_cast<size_t>(part.size())});
                       });
}

// normal += strength v v^T for the direction v in which a hidden unit's scale moves from one of its
// sides to the other. The function does not change along it, and without this every weight would
// seem to be replaceable: by making it small and the others large.
void FixScales(const SparseNetwork& network, double strength, Eigen::MatrixXd& normal) {
  const SparseRows* below = &network.weights;
  int64_t first_below = 0;
  for (const SparseRows& above : network.upper_layers) {
    const int64_t first_above = first_below + below->nonzeros();
    const int64_t width = below->num_rows();
    std::vector<std::vector<std::pair<int64_t, double>>> moves(width);  // parameter, rate
    for (int64_t r = 0; r < width; ++r) {
      for (int64_t e = below->row_begin[r]; e < below->row_begin[r + 1]; ++e) {
        moves[r].emplace_back(first_below + e, below->value[e]);
      }
    }
    for (int64_t e = 0; e < above.nonzeros(); ++e) {
      if (above.column[e] < width) {
        moves[above.column[e]].emplace_back(first_above + e, -above.value[e]);
      }
    }
    for (const auto& move : moves) {
      double norm2 = 0;
      for (const auto& [parameter, rate] : move) norm2 += rate * rate;
      if (norm2 == 0) continue;
      for (const auto& [p, rate_p] : move) {
        for (const auto& [q, rate_q] : move) normal(p, q) += strength * rate_p * rate_q / norm2;
      }
    }
    below = &above;
    first_below = first_above;
  }
}

// The diagonal with a floor, so that nothing is divided by 0.
Eigen::VectorXd Floored(const Eigen::VectorXd& diagonal) {
  const double floor = kLeastDiagonal * std::max(diagonal.maxCoeff(), 1e-300);
  return diagonal.cwiseMax(floor);
}

// argmin of the damped quadratic model by conjugate gradients, scaled by the diagonal.
Eigen::VectorXd SolveByProducts(const JointProblem& problem, const SparseNetwork& network,
                                const Eigen::VectorXd& gradient, const Eigen::VectorXd& diagonal,
                                double damping, int max_products) {
  Eigen::VectorXd step = Eigen::VectorXd::Zero(gradient.size());
  Eigen::VectorXd residual = -gradient;
  Eigen::VectorXd direction = residual.cwiseQuotient(diagonal);
  double product = residual.dot(direction);
  const double target = kForcing * kForcing * product;
  for (int k = 0; k < max_products && product > target; ++k) {
    if (problem.stopped()) break;
    const Eigen::VectorXd image =
        NormalProduct(problem, network, direction) + damping * diagonal.cwiseProduct(direction);
    const double curvature = direction.dot(image);
    if (!(curvature > 0)) break;
    const double alpha = product / curvature;
    step += alpha * direction;
    residual -= alpha * image;
    const Eigen::VectorXd scaled = residual.cwiseQuotient(diagonal);
    const double next = residual.dot(scaled);
    direction = scaled + next / product * direction;
    product = next;
  }
  return step;
}

}  // namespace

double JointLoss(const JointProblem& problem, const SparseNetwork& network) {
  const double loss =
      SumOverBlocks(problem, network, 1, [](const JointBlock& block, Eigen::VectorXd& part) {
        part[0] = block.residual().squaredNorm();
      })[0];
  return std::isfinite(loss) ? loss : std::numeric_limits<double>::infinity();
}

double JointRefine(const JointProblem& problem, const JointRefineOptions& options,
                   SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  Gradient at = GradientAt(problem, network);
  if (size == 0) return at.loss;
  double damping = kFirstDamping;
  const bool dense = size <= kMaxJointWeights;
  for (int k = 0; k < options.max_steps && at.loss > options.target_loss; ++k) {
    Eigen::MatrixXd normal;
    if (dense) normal = NormalMatrix(problem, network);
    if (problem.stopped()) break;
    const Eigen::VectorXd diagonal =
        Floored(dense ? Eigen::VectorXd(normal.diagonal()) : NormalDiagonal(problem, network));
    bool accepted = false;
    double decrease = 0;
    for (int trial = 0; trial < kMaxTrials && !accepted; ++trial) {
      Eigen::VectorXd step;
      if (dense) {
        Eigen::MatrixXd damped = normal;
        damped.diagonal() = normal.diagonal() + damping * diagonal;
        const Eigen::LLT<Eigen::MatrixXd> factor(damped);
        if (factor.info() == Eigen::Success) step = factor.solve(-at.gradient);
      } else {
        step =
            SolveByProducts(problem, network, at.gradient, diagonal, damping, options.max_products);
      }
      if (step.size() == size && step.allFinite()) {
        SparseNetwork moved = network;
        std::vector<double> parameters = ParametersOf(network);
        for (int64_t p = 0; p < size; ++p) parameters[p] += step[p];
        SetParameters(parameters, moved);
        const double loss = JointLoss(problem, moved);
        if (problem.engine.stop_requested()) return at.loss;
        if (loss < at.loss) {
          decrease = (at.loss - loss) / at.loss;
          network = std::move(moved);
          accepted = true;
          damping = std::max(damping / 10, kMinDamping);
          break;
        }
      }
      damping *= 10;
    }
    if (!accepted) break;
    at = GradientAt(problem, network);
    if (decrease < options.min_decrease) break;
  }
  return at.loss;
}

std::vector<double> JointContributions(const JointProblem& problem, const SparseNetwork& network) {
  std::vector<double> contributions = ParametersOf(network);
  if (contributions.empty()) return contributions;
  const Eigen::VectorXd diagonal = NormalDiagonal(problem, network);
  for (size_t p = 0; p < contributions.size(); ++p) {
    contributions[p] *= contributions[p] * diagonal[static_cast<int64_t>(p)];
  }
  return contributions;
}

std::vector<double> JointSaliencies(const JointProblem& problem, const SparseNetwork& network) {
  const std::vector<double> parameters = ParametersOf(network);
  const auto size = static_cast<int64_t>(parameters.size());
  if (size > kMaxJointWeights || size == 0) return JointContributions(problem, network);
  Eigen::MatrixXd normal = NormalMatrix(problem, network);
  const Eigen::VectorXd diagonal = Floored(normal.diagonal());
  FixScales(network, diagonal.maxCoeff(), normal);
  for (double ridge = kLeastRidge;; ridge *= 10) {
    normal.diagonal() += ridge * diagonal;
    const Eigen::LLT<Eigen::MatrixXd> factor(normal);
    if (factor.info() != Eigen::Success && ridge < 1) continue;
    const Eigen::MatrixXd inverse_factor =
        factor.matrixL().solve(Eigen::MatrixXd::Identity(size, size));
    std::vector<double> saliencies(parameters.size());
    for (int64_t p = 0; p < size; ++p) {
      saliencies[p] = parameters[p] * parameters[p] / inverse_factor.col(p).squaredNorm();
    }
    return saliencies;
  }
}

SparseNetwork BalanceLayers(SparseNetwork network) {
  for (size_t l = 0; l < network.upper_layers.size(); ++l) {
    SparseRows& below = l == 0 ? network.weights : network.upper_layers[l - 1];
    SparseRows& above = network.upper_layers[l];
    std::vector<double> in(below.num_rows());
    std::vector<double> out(below.num_rows());
    for (int64_t r = 0; r < below.num_rows(); ++r) {
      for (int64_t e = below.row_begin[r]; e < below.row_begin[r + 1]; ++e) {
        in[r] += below.value[e] * below.value[e];
      }
    }
    for (size_t e = 0; e < above.value.size(); ++e) {
      if (above.column[e] < below.num_rows()) {
        out[above.column[e]] += above.value[e] * above.value[e];
      }
    }
    const auto scale_of = [&](int64_t r) {
      return in[r] > 0 && out[r] > 0 ? std::sqrt(std::sqrt(out[r] / in[r])) : 1.0;
    };
    for (int64_t r = 0; r < below.num_rows(); ++r) {
      for (int64_t e = below.row_begin[r]; e < below.row_begin[r + 1]; ++e) {
        below.value[e] *= scale_of(r);
      }
    }
    for (size_t e = 0; e < above.value.size(); ++e) {
      if (above.column[e] < below.num_rows()) above.value[e] /= scale_of(above.column[e]);
    }
  }
  return network;
}

SparseNetwork JointPruneTo(const JointProblem& problem, const SparseNetwork& network,
                           int64_t count) {
  const int64_t size = Nonzeros(network);
  if (size <= count) return network;
  const std::vector<double> saliencies = JointSaliencies(problem, network);
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return saliencies[a] < saliencies[b]; });
  std::vector<double> parameters = ParametersOf(network);
  for (int64_t k = 0; k < size - count; ++k) parameters[order[k]] = 0;
  SparseNetwork pruned = network;
  SetParameters(parameters, pruned);
  return DropDeadNeurons(pruned);
}

SparseNetwork JointPruneUnitsTo(const JointProblem& problem, const SparseNetwork& network,
                                int64_t layer, int64_t count) {
  SparseNetwork pruned = network;
  SparseRows& rows = layer == 0 ? pruned.weights : pruned.upper_layers[layer - 1];
  const int64_t width = rows.num_rows();
  if (width <= count) return network;
  const std::vector<double> saliencies = JointSaliencies(problem, network);
  int64_t parameter = layer == 0 ? 0 : network.weights.nonzeros();
  for (int64_t l = 1; l < layer; ++l) parameter += network.upper_layers[l - 1].nonzeros();
  std::vector<double> of_unit(width);
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      of_unit[j] += saliencies[parameter++];
    }
  }
  std::vector<int64_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return of_unit[a] < of_unit[b]; });
  for (int64_t k = 0; k < width - count; ++k) {
    std::fill(rows.value.begin() + rows.row_begin[order[k]],
              rows.value.begin() + rows.row_begin[order[k] + 1], 0.0);
  }
  return DropDeadNeurons(pruned);
}

namespace {

constexpr double kPruneShare = 0.1;
constexpr double kGreatestRise = 4;  // of the loss, by one removal
constexpr double kNoLoss = 1e-12;    // of || Y ||_F^2: rises below are rounding
constexpr int64_t kLastCandidates = 6;

double SquaredNorm(const JointProblem& problem) {
  double norm2 = 0;
  for (const double target : problem.targets) norm2 += target * target;
  return norm2;
}

// The weight of least rank-th saliency removed.
SparseNetwork WithoutWeight(const SparseNetwork& network, const std::vector<double>& saliencies,
                            int64_t rank) {
  std::vector<int64_t> order(saliencies.size());
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + rank, order.end(), [&](int64_t a, int64_t b) {
    return std::pair(saliencies[a], a) < std::pair(saliencies[b], b);
  });
  std::vector<double> parameters = ParametersOf(network);
  parameters[order[rank]] = 0;
  SparseNetwork pruned = network;
  SetParameters(parameters, pruned);
  return ReduceNetwork(DropDeadNeurons(pruned));
}

// The widest hidden layer over the width, -1 for none.
int64_t LayerOver(int64_t width, const SparseNetwork& network) {
  const std::vector<int64_t> widths = HiddenWidths(network);
  const auto widest = std::max_element(widths.begin(), widths.end());
  return widest != widths.end() && *widest > width ? widest - widths.begin() : -1;
}

}  // namespace

bool Within(const JointBudget& budget, const SparseNetwork& network) {
  return Nonzeros(network) <= budget.nonzeros && LayerOver(budget.width, network) < 0;
}

SparseNetwork CutToBudget(const JointBudget& budget, SparseNetwork network) {
  // What stays is greater than the first that goes.
  const auto cut_of = [](std::vector<double> values, int64_t count) {
    if (static_cast<int64_t>(values.size()) <= count) return 0.0;
    std::nth_element(values.begin(), values.begin() + count, values.end(), std::greater<>());
    return values[count];
  };
  std::vector<SparseRows*> layers = {&network.weights};
  for (SparseRows& layer : network.upper_layers) layers.push_back(&layer);
  const size_t num_hidden = layers.size() - (IsFused(network) ? 0 : 1);
  for (size_t l = 0; l < num_hidden; ++l) {
    SparseRows& rows = *layers[l];
    std::vector<double> sizes(rows.num_rows());
    for (int64_t j = 0; j < rows.num_rows(); ++j) {
      for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
        sizes[j] += rows.value[e] * rows.value[e];
      }
    }
    const double cut = cut_of(sizes, budget.width);
    for (int64_t j = 0; j < rows.num_rows(); ++j) {
      if (sizes[j] > cut) continue;
      std::fill(rows.value.begin() + rows.row_begin[j], rows.value.begin() + rows.row_begin[j + 1],
                0.0);
    }
  }
  network = DropDeadNeurons(network);
  std::vector<double> parameters = ParametersOf(network);
  std::vector<double> magnitudes;
  magnitudes.reserve(parameters.size());
  for (const double parameter : parameters) magnitudes.push_back(std::abs(parameter));
  const double cut = cut_of(std::move(magnitudes), budget.nonzeros);
  for (double& parameter : parameters) {
    if (std::abs(parameter) <= cut) parameter = 0;
  }
  SetParameters(parameters, network);
  return DropDeadNeurons(network);
}

SparseNetwork JointPruneBack(const JointProblem& problem, const JointBudget& budget,
                             const JointRefineOptions& refine, SparseNetwork network,
                             double& loss) {
  const double no_loss = kNoLoss * SquaredNorm(problem);
  const auto too_much = [&](double next) { return next > kGreatestRise * loss + no_loss; };
  loss = JointLoss(problem, network);
  double share = kPruneShare;
  while (Nonzeros(network) > budget.nonzeros && !problem.stopped()) {
    const int64_t present = Nonzeros(network);
    const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - share));
    const int64_t target = std::max(budget.nonzeros, std::min(kept, present - 1));
    network = BalanceLayers(std::move(network));
    SparseNetwork pruned = ReduceNetwork(JointPruneTo(problem, network, target));
    double next = JointRefine(problem, refine, pruned);
    if (too_much(next) && target < present - 1) {
      share = static_cast<double>(present - target) / static_cast<double>(present) / 3;
      continue;
    }
    if (too_much(next)) {
      const std::vector<double> saliencies = JointSaliencies(problem, network);
      for (int64_t rank = 1; rank < std::min(kLastCandidates, present); ++rank) {
        if (problem.stopped()) break;
        SparseNetwork other = WithoutWeight(network, saliencies, rank);
        const double loss_of_other = JointRefine(problem, refine, other);
        if (loss_of_other >= next) continue;
        next = loss_of_other;
        pruned = std::move(other);
        if (!too_much(next)) break;
      }
    }
    network = std::move(pruned);
    loss = next;
    share = std::min(kPruneShare, 2 * share);
  }
  for (int64_t layer = 0; !problem.stopped();) {
    layer = LayerOver(budget.width, network);
    if (layer < 0) break;
    network = ReduceNetwork(JointPruneUnitsTo(problem, BalanceLayers(network), layer,
                                              HiddenWidths(network)[layer] - 1));
    loss = JointRefine(problem, refine, network);
  }
  return network;
}

}  // namespace thresher
