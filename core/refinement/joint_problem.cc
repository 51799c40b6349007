#include "core/refinement/joint_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/network/merge.h"

namespace thresher {
namespace {

constexpr int64_t kBlockSamples = 256;
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

// The network at an iterate on some of the samples.
class Block {
 public:
  Block(const JointProblem& problem, const SparseNetwork& network, int64_t block)
      : problem_(problem),
        network_(network),
        first_(block * kBlockSamples),
        count_(std::min(kBlockSamples, problem.design.num_samples - first_)),
        num_hidden_(NumLayers() - (IsFused(network) ? 0 : 1)) {
    units_.resize(num_hidden_);
    residual_.resize(count_, problem.num_outputs);
    for (int64_t o = 0; o < problem.num_outputs; ++o) {
      for (int64_t i = 0; i < count_; ++i) residual_(i, o) = -problem.target(o)[first_ + i];
    }
    for (size_t l = 0; l < num_hidden_; ++l) {
      units_[l] = Images(l, ValuesOf(l));
      units_[l] = units_[l].cwiseMax(0.0);
    }
    AddOutputs(units_, residual_);
  }

  // f(X) - Y.
  const Eigen::MatrixXd& residual() const { return residual_; }

  // gradient += J^T cotangent.
  void AddAdjoint(const Eigen::MatrixXd& cotangent, std::span<double> gradient) const {
    ForEachParameter(cotangent, [&](int64_t parameter, size_t layer, int32_t column,
                                    const Eigen::VectorXd& delta) {
      gradient[parameter] += Product(layer, column, delta);
    });
  }

  // J for one output, a column a parameter.
  Eigen::MatrixXd Jacobian(int64_t output, int64_t num_parameters) const {
    Eigen::MatrixXd jacobian = Eigen::MatrixXd::Zero(count_, num_parameters);
    Eigen::MatrixXd cotangent = Eigen::MatrixXd::Zero(count_, problem_.num_outputs);
    cotangent.col(output).setOnes();
    ForEachParameter(cotangent, [&](int64_t parameter, size_t layer, int32_t column,
                                    const Eigen::VectorXd& delta) {
      AddScaled(layer, column, delta, jacobian.col(parameter));
    });
    return jacobian;
  }

  // J direction.
  Eigen::MatrixXd Tangent(std::span<const double> direction) const {
    std::vector<Eigen::MatrixXd> tangents(num_hidden_);
    int64_t first = 0;
    for (size_t l = 0; l < num_hidden_; ++l) {
      tangents[l] = Images(l, direction.subspan(first));
      if (l > 0) AddImagesOf(l, tangents[l - 1], tangents[l]);
      tangents[l] = (units_[l].array() > 0).select(tangents[l], 0.0);
      first += Layer(l).nonzeros();
    }
    Eigen::MatrixXd outputs = Eigen::MatrixXd::Zero(count_, problem_.num_outputs);
    if (num_hidden_ < NumLayers()) outputs = Images(num_hidden_, direction.subspan(first));
    AddOutputs(tangents, outputs, /*constant=*/0);
    return outputs;
  }

 private:
  size_t NumLayers() const { return 1 + network_.upper_layers.size(); }
  const SparseRows& Layer(size_t l) const {
    return l == 0 ? network_.weights : network_.upper_layers[l - 1];
  }
  std::span<const double> ValuesOf(size_t l) const { return Layer(l).value; }
  // Whether a column of a layer is the constant input.
  bool IsConstant(size_t layer, int32_t column) const {
    return layer > 0 && column == Layer(layer - 1).num_rows();
  }
  Eigen::Map<const Eigen::VectorXf> Input(int32_t column) const {
    const Design& design = problem_.design;
    return {design.columns.get() + column * design.padded_samples() + first_, count_};
  }

  // What a layer's rows with these values give on the values below.
  Eigen::MatrixXd Images(size_t layer, std::span<const double> values) const {
    const SparseRows& rows = Layer(layer);
    Eigen::MatrixXd images = Eigen::MatrixXd::Zero(count_, rows.num_rows());
    for (int64_t r = 0; r < rows.num_rows(); ++r) {
      for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
        if (layer == 0) {
          images.col(r) += values[e] * Input(rows.column[e]).cast<double>();
        } else if (IsConstant(layer, rows.column[e])) {
          images.col(r).array() += values[e];
        } else {
          images.col(r) += values[e] * units_[layer - 1].col(rows.column[e]);
        }
      }
    }
    return images;
  }
  // images += the layer's own rows on `below`, whose constant is 0.
  void AddImagesOf(size_t layer, const Eigen::MatrixXd& below, Eigen::MatrixXd& images) const {
    const SparseRows& rows = Layer(layer);
    for (int64_t r = 0; r < rows.num_rows(); ++r) {
      for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
        if (IsConstant(layer, rows.column[e])) continue;
        images.col(r) += rows.value[e] * below.col(rows.column[e]);
      }
    }
  }
  void AddOutputs(const std::vector<Eigen::MatrixXd>& hidden, Eigen::MatrixXd& outputs,
                  double constant = 1) const {
    if (num_hidden_ == NumLayers()) {
      for (size_t j = 0; j < network_.output_signs.size(); ++j) {
        outputs.col(0) += network_.output_signs[j] * hidden.back().col(static_cast<int64_t>(j));
      }
      return;
    }
    AddImagesOf(num_hidden_, hidden.back(), outputs);
    if (constant == 0) return;
    const SparseRows& rows = Layer(num_hidden_);
    for (int64_t r = 0; r < rows.num_rows(); ++r) {
      for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
        if (IsConstant(num_hidden_, rows.column[e])) outputs.col(r).array() += rows.value[e];
      }
    }
  }

  double Product(size_t layer, int32_t column, const Eigen::VectorXd& vector) const {
    if (layer == 0) return Input(column).cast<double>().dot(vector);
    if (IsConstant(layer, column)) return vector.sum();
    return units_[layer - 1].col(column).dot(vector);
  }
  void AddScaled(size_t layer, int32_t column, const Eigen::VectorXd& vector,
                 Eigen::Ref<Eigen::VectorXd> target) const {
    if (layer == 0) {
      target.array() += Input(column).cast<double>().array() * vector.array();
    } else if (IsConstant(layer, column)) {
      target += vector;
    } else {
      target.array() += units_[layer - 1].col(column).array() * vector.array();
    }
  }

  // Calls visit(parameter, layer, column, delta), where the parameter's derivative is delta times
  // the layer's input of that column; delta is the cotangent carried back to the row.
  template <typename Visit>
  void ForEachParameter(const Eigen::MatrixXd& cotangent, const Visit& visit) const {
    std::vector<int64_t> first_parameter = {0};
    for (size_t l = 0; l < NumLayers(); ++l) {
      first_parameter.push_back(first_parameter.back() + Layer(l).nonzeros());
    }
    // Deltas of the rows of layer l + 1, then of layer l.
    Eigen::MatrixXd deltas;
    for (size_t l = NumLayers(); l-- > 0;) {
      Eigen::MatrixXd here;
      if (l + 1 == NumLayers()) {
        here = num_hidden_ == NumLayers() ? FusedDeltas(cotangent) : cotangent;
      } else {
        here = Eigen::MatrixXd::Zero(count_, Layer(l).num_rows());
        const SparseRows& above = Layer(l + 1);
        for (int64_t r = 0; r < above.num_rows(); ++r) {
          for (int64_t e = above.row_begin[r]; e < above.row_begin[r + 1]; ++e) {
            if (IsConstant(l + 1, above.column[e])) continue;
            here.col(above.column[e]) += above.value[e] * deltas.col(r);
          }
        }
      }
      if (l < num_hidden_) here = (units_[l].array() > 0).select(here, 0.0);
      deltas = std::move(here);
      const SparseRows& rows = Layer(l);
      for (int64_t r = 0; r < rows.num_rows(); ++r) {
        const Eigen::VectorXd delta = deltas.col(r);
        for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
          visit(first_parameter[l] + e, l, rows.column[e], delta);
        }
      }
    }
  }
  Eigen::MatrixXd FusedDeltas(const Eigen::MatrixXd& cotangent) const {
    const auto width = static_cast<int64_t>(network_.output_signs.size());
    Eigen::MatrixXd deltas(count_, width);
    for (int64_t j = 0; j < width; ++j) {
      deltas.col(j) = network_.output_signs[j] * cotangent.col(0);
    }
    return deltas;
  }

  const JointProblem& problem_;
  const SparseNetwork& network_;
  const int64_t first_;
  const int64_t count_;
  const size_t num_hidden_;
  std::vector<Eigen::MatrixXd> units_;  // of each hidden layer, a column a unit
  Eigen::MatrixXd residual_;
};

int64_t NumBlocks(const JointProblem& problem) {
  return (problem.design.num_samples + kBlockSamples - 1) / kBlockSamples;
}

// The sum of vectors over all blocks, in their order.
template <typename OfBlock>
Eigen::VectorXd SumOverBlocks(const JointProblem& problem, const SparseNetwork& network,
                              int64_t size, const OfBlock& of_block) {
  std::vector<Eigen::VectorXd> parts(NumBlocks(problem));
  problem.engine.pool.ParallelFor(NumBlocks(problem), [&](int64_t b, int) {
    parts[b] = Eigen::VectorXd::Zero(size);
    of_block(Block(problem, network, b), parts[b]);
  });
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(size);
  for (const Eigen::VectorXd& part : parts) {
    if (part.size() == size) sum += part;
  }
  return sum;
}

struct Gradient {
  Eigen::VectorXd gradient;  // J^T (f - Y)
  double loss = 0;
};
Gradient GradientAt(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  Eigen::VectorXd sums =
      SumOverBlocks(problem, network, size + 1, [&](const Block& block, Eigen::VectorXd& part) {
        block.AddAdjoint(block.residual(), {part.data(), static_cast<size_t>(size)});
        part[size] = block.residual().squaredNorm();
      });
  return {sums.head(size), sums[size]};
}

Eigen::MatrixXd NormalMatrix(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t size = Nonzeros(network);
  const int64_t num_blocks = NumBlocks(problem);
  std::vector<Eigen::MatrixXd> parts(kGroups);
  problem.engine.pool.ParallelFor(kGroups, [&](int64_t g, int) {
    parts[g] = Eigen::MatrixXd::Zero(size, size);
    for (int64_t b = g * num_blocks / kGroups; b < (g + 1) * num_blocks / kGroups; ++b) {
      if (problem.engine.stop_requested()) return;
      const Block block(problem, network, b);
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
  return SumOverBlocks(problem, network, size, [&](const Block& block, Eigen::VectorXd& part) {
    for (int64_t o = 0; o < problem.num_outputs; ++o) {
      part += block.Jacobian(o, size).colwise().squaredNorm().transpose();
    }
  });
}

// J^T J vector.
Eigen::VectorXd NormalProduct(const JointProblem& problem, const SparseNetwork& network,
                              const Eigen::VectorXd& vector) {
  return SumOverBlocks(problem, network, vector.size(),
                       [&](const Block& block, Eigen::VectorXd& part) {
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
Eigen::VectorXd Floored(Eigen::VectorXd diagonal) {
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
    if (problem.engine.stop_requested()) break;
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
      SumOverBlocks(problem, network, 1, [](const Block& block, Eigen::VectorXd& part) {
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
    if (problem.engine.stop_requested()) break;
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
                                int64_t count) {
  const int64_t width = network.hidden_width();
  if (width <= count) return network;
  const std::vector<double> saliencies = JointSaliencies(problem, network);
  std::vector<double> of_unit(width);
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      of_unit[j] += saliencies[e];
    }
  }
  std::vector<int64_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return of_unit[a] < of_unit[b]; });
  SparseNetwork pruned = network;
  for (int64_t k = 0; k < width - count; ++k) {
    for (int64_t e = pruned.weights.row_begin[order[k]]; e < pruned.weights.row_begin[order[k] + 1];
         ++e) {
      pruned.weights.value[e] = 0;
    }
  }
  return DropDeadNeurons(pruned);
}

}  // namespace thresher
