// A network of several layers on some of the samples: its units, the residual and the derivatives.
// Internal to refinement/.
#ifndef THRESHER_CORE_REFINEMENT_JOINT_BLOCK_H_
#define THRESHER_CORE_REFINEMENT_JOINT_BLOCK_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "core/network/merge.h"
#include "core/refinement/joint_problem.h"

namespace thresher {

inline constexpr int64_t kBlockSamples = 256;

inline int64_t NumJointBlocks(const JointProblem& problem) {
  return (problem.design.num_samples + kBlockSamples - 1) / kBlockSamples;
}

// The network at an iterate on one block of samples.
class JointBlock {
 public:
  JointBlock(const JointProblem& problem, const SparseNetwork& network, int64_t block)
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

  size_t num_hidden() const { return num_hidden_; }
  // The values of hidden layer l, a column a unit.
  const Eigen::MatrixXd& units(size_t l) const { return units_[l]; }
  // The inputs, a column each; with a bias the constant is the last.
  Eigen::MatrixXd Inputs() const {
    Eigen::MatrixXd inputs(count_, problem_.design.num_columns);
    for (int64_t q = 0; q < inputs.cols(); ++q) {
      inputs.col(q) = Input(static_cast<int32_t>(q)).cast<double>();
    }
    return inputs;
  }

  // The cotangent of the outputs carried back to the rows of every layer: a row's weight on a
  // column has the derivative (delta of the row) . (value of the column).
  std::vector<Eigen::MatrixXd> Deltas(const Eigen::MatrixXd& cotangent) const {
    std::vector<Eigen::MatrixXd> deltas(NumLayers());
    for (size_t l = NumLayers(); l-- > 0;) {
      Eigen::MatrixXd& here = deltas[l];
      if (l + 1 == NumLayers()) {
        here = num_hidden_ == NumLayers() ? FusedDeltas(cotangent) : cotangent;
      } else {
        here = Eigen::MatrixXd::Zero(count_, Layer(l).num_rows());
        const SparseRows& above = Layer(l + 1);
        for (int64_t r = 0; r < above.num_rows(); ++r) {
          for (int64_t e = above.row_begin[r]; e < above.row_begin[r + 1]; ++e) {
            if (IsConstant(l + 1, above.column[e])) continue;
            here.col(above.column[e]) += above.value[e] * deltas[l + 1].col(r);
          }
        }
      }
      if (l < num_hidden_) here = (units_[l].array() > 0).select(here, 0.0);
    }
    return deltas;
  }

  // gradient += J^T cotangent.
  void AddAdjoint(const Eigen::MatrixXd& cotangent, std::span<double> gradient) const {
    ForEachParameter(cotangent, [&](int64_t parameter, size_t layer, int32_t column,
                                    const Eigen::VectorXd& delta) {
      gradient[parameter] += Product(layer, column, delta);
    });
  }

  // diagonal += that of J^T J, over all outputs.
  void AddNormalDiagonal(std::span<double> diagonal) const {
    for (int64_t o = 0; o < problem_.num_outputs; ++o) {
      ForEachParameter(Unit(o), [&](int64_t parameter, size_t layer, int32_t column,
                                    const Eigen::VectorXd& delta) {
        diagonal[parameter] += SquaredNormOf(layer, column, delta);
      });
    }
  }

  // J for one output, a column a parameter.
  Eigen::MatrixXd Jacobian(int64_t output, int64_t num_parameters) const {
    Eigen::MatrixXd jacobian = Eigen::MatrixXd::Zero(count_, num_parameters);
    ForEachParameter(Unit(output), [&](int64_t parameter, size_t layer, int32_t column,
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
  // The cotangent that picks one output.
  Eigen::MatrixXd Unit(int64_t output) const {
    Eigen::MatrixXd cotangent = Eigen::MatrixXd::Zero(count_, problem_.num_outputs);
    cotangent.col(output).setOnes();
    return cotangent;
  }
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
  // Of the column of values times `vector`, sample by sample.
  double SquaredNormOf(size_t layer, int32_t column, const Eigen::VectorXd& vector) const {
    if (layer == 0) {
      return (Input(column).cast<double>().array() * vector.array()).matrix().squaredNorm();
    }
    if (IsConstant(layer, column)) return vector.squaredNorm();
    return (units_[layer - 1].col(column).array() * vector.array()).matrix().squaredNorm();
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
    const std::vector<Eigen::MatrixXd> deltas = Deltas(cotangent);
    int64_t parameter = 0;
    for (size_t l = 0; l < NumLayers(); ++l) {
      const SparseRows& rows = Layer(l);
      for (int64_t r = 0; r < rows.num_rows(); ++r) {
        const Eigen::VectorXd delta = deltas[l].col(r);
        for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
          visit(parameter++, l, rows.column[e], delta);
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

}  // namespace thresher

#endif  // THRESHER_CORE_REFINEMENT_JOINT_BLOCK_H_
