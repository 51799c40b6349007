#include "core/refinement/joint_growth.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "core/refinement/joint_block.h"

namespace thresher {
namespace {

// Sums over samples run in so many groups, and then over the groups.
constexpr int64_t kGroups = 4;
// A new weight is this share of what would be best without the others.
constexpr double kFirstShare = 0.3;
// Of the largest squared norm: columns below it explain nothing.
constexpr double kLeastNorm = 1e-12;

// -gradient and squared norms of the derivatives for all entries of a matrix, a row a column of the
// matrix below and a column a unit.
struct Slopes {
  Eigen::MatrixXd product;
  Eigen::MatrixXd norm2;

  void SetZero(int64_t rows, int64_t cols) {
    product = Eigen::MatrixXd::Zero(rows, cols);
    norm2 = Eigen::MatrixXd::Zero(rows, cols);
  }
  void Add(const Slopes& other) {
    product += other.product;
    norm2 += other.norm2;
  }
};

struct AllSlopes {
  std::vector<Slopes> layers;  // entries of the matrices, present ones too
  Slopes halves[2];            // max(x_q, 0) and max(-x_q, 0) below a unit of the second layer
  Slopes half_rows[2];         // the same as units of the last layer of their own
  Slopes unit_rows;            // units of the first layer likewise
};

const SparseRows& LayerOf(const SparseNetwork& network, size_t l) {
  return l == 0 ? network.weights : network.upper_layers[l - 1];
}

bool GrowsRows(const SparseNetwork& network) {
  return IsFused(network) && network.upper_layers.size() == 1;
}

AllSlopes SlopesAt(const JointProblem& problem, const SparseNetwork& network) {
  const int64_t num_blocks = NumJointBlocks(problem);
  const int64_t num_inputs = network.num_inputs;
  const int64_t constant = network.has_bias ? 1 : 0;
  std::vector<AllSlopes> parts(kGroups);
  problem.engine.pool.ParallelFor(kGroups, [&](int64_t g, int) {
    AllSlopes& part = parts[g];
    part.layers.resize(1 + network.upper_layers.size());
    for (size_t l = 0; l < part.layers.size(); ++l) {
      const int64_t below = l == 0 ? num_inputs : LayerOf(network, l - 1).num_rows();
      part.layers[l].SetZero(below + constant, LayerOf(network, l).num_rows());
    }
    for (int h = 0; h < 2; ++h) {
      part.halves[h].SetZero(num_inputs, LayerOf(network, 1).num_rows());
      part.half_rows[h].SetZero(num_inputs, 1);
    }
    part.unit_rows.SetZero(network.weights.num_rows(), 1);
    for (int64_t b = g * num_blocks / kGroups; b < (g + 1) * num_blocks / kGroups; ++b) {
      if (problem.engine.stop_requested()) return;
      const JointBlock block(problem, network, b);
      const int64_t count = block.residual().rows();
      const Eigen::MatrixXd inputs = block.Inputs();
      std::vector<Eigen::MatrixXd> below = {inputs};
      for (size_t l = 1; l < part.layers.size(); ++l) {
        Eigen::MatrixXd values(count, block.units(l - 1).cols() + constant);
        values.leftCols(block.units(l - 1).cols()) = block.units(l - 1);
        if (constant == 1) values.rightCols(1).setOnes();
        below.push_back(std::move(values));
      }
      const Eigen::MatrixXd halves[2] = {inputs.leftCols(num_inputs).cwiseMax(0.0),
                                         (-inputs.leftCols(num_inputs)).cwiseMax(0.0)};
      const std::vector<Eigen::MatrixXd> gradient = block.Deltas(-block.residual());
      for (size_t l = 0; l < part.layers.size(); ++l) {
        part.layers[l].product += below[l].transpose() * gradient[l];
      }
      for (int h = 0; h < 2; ++h) {
        part.halves[h].product += halves[h].transpose() * gradient[1];
      }
      for (int64_t o = 0; o < problem.num_outputs; ++o) {
        Eigen::MatrixXd cotangent = Eigen::MatrixXd::Zero(count, problem.num_outputs);
        cotangent.col(o).setOnes();
        const std::vector<Eigen::MatrixXd> deltas = block.Deltas(cotangent);
        for (size_t l = 0; l < part.layers.size(); ++l) {
          part.layers[l].norm2 += below[l].cwiseAbs2().transpose() * deltas[l].cwiseAbs2();
        }
        for (int h = 0; h < 2; ++h) {
          part.halves[h].norm2 += halves[h].cwiseAbs2().transpose() * deltas[1].cwiseAbs2();
        }
      }
      if (!GrowsRows(network)) continue;
      const Eigen::VectorXd left = -block.residual().col(0);
      for (int h = 0; h < 2; ++h) {
        part.half_rows[h].product += halves[h].transpose() * left;
        part.half_rows[h].norm2 += halves[h].colwise().squaredNorm().transpose();
      }
      part.unit_rows.product += block.units(0).transpose() * left;
      part.unit_rows.norm2 += block.units(0).colwise().squaredNorm().transpose();
    }
  });
  if (problem.engine.stop_requested()) return {};  // groups that have not begun are empty
  AllSlopes sum = std::move(parts[0]);
  for (size_t g = 1; g < parts.size(); ++g) {
    for (size_t l = 0; l < sum.layers.size(); ++l) sum.layers[l].Add(parts[g].layers[l]);
    for (int h = 0; h < 2; ++h) {
      sum.halves[h].Add(parts[g].halves[h]);
      sum.half_rows[h].Add(parts[g].half_rows[h]);
    }
    sum.unit_rows.Add(parts[g].unit_rows);
  }
  return sum;
}

enum class Kind { kEntry, kHalf, kHalfRow, kUnitRow };

struct Candidate {
  double decrease = 0;  // of the loss
  double weight = 0;
  Kind kind = Kind::kEntry;
  int64_t layer = 0;  // of an entry; of a half its sign, 0 for +
  int64_t row = 0;
  int64_t column = 0;
};

using Rows = std::vector<std::map<int32_t, double>>;

Rows RowsOf(const SparseRows& matrix) {
  Rows rows(matrix.num_rows());
  for (int64_t r = 0; r < matrix.num_rows(); ++r) {
    for (int64_t e = matrix.row_begin[r]; e < matrix.row_begin[r + 1]; ++e) {
      rows[r].emplace(matrix.column[e], matrix.value[e]);
    }
  }
  return rows;
}

SparseRows MatrixOf(const Rows& rows) {
  SparseRows matrix;
  for (const auto& row : rows) {
    for (const auto& [column, value] : row) {
      matrix.column.push_back(column);
      matrix.value.push_back(value);
    }
    matrix.row_begin.push_back(matrix.nonzeros());
  }
  return matrix;
}

std::vector<Candidate> CandidatesOf(const AllSlopes& slopes, const std::vector<Rows>& layers,
                                    const JointGrowthOptions& options, bool grows_rows) {
  std::vector<Candidate> candidates;
  const auto add = [&](const Slopes& all, Kind kind, int64_t layer, bool any_sign) {
    const double least = all.norm2.size() == 0 ? 0 : kLeastNorm * all.norm2.maxCoeff();
    for (int64_t r = 0; r < all.norm2.cols(); ++r) {
      for (int64_t c = 0; c < all.norm2.rows(); ++c) {
        const double product = all.product(c, r);
        const double norm2 = all.norm2(c, r);
        if (!(norm2 > least) || product == 0 || (!any_sign && product < 0)) continue;
        if (kind == Kind::kEntry && layers[layer][r].contains(static_cast<int32_t>(c))) continue;
        candidates.push_back({.decrease = product * product / norm2,
                              .weight = kFirstShare * product / norm2,
                              .kind = kind,
                              .layer = layer,
                              .row = r,
                              .column = c});
      }
    }
  };
  for (size_t l = 0; l < slopes.layers.size(); ++l) {
    add(slopes.layers[l], Kind::kEntry, static_cast<int64_t>(l), true);
  }
  for (int h = 0; h < 2; ++h) add(slopes.halves[h], Kind::kHalf, h, true);
  if (grows_rows) {
    for (int h = 0; h < 2; ++h) {
      add(slopes.half_rows[h], Kind::kHalfRow, h, options.mixed_signs);
    }
    add(slopes.unit_rows, Kind::kUnitRow, 0, options.mixed_signs);
  }
  const auto count = std::min(options.count, static_cast<int64_t>(candidates.size()));
  const auto key = [](const Candidate& c) {
    return std::tuple(-c.decrease, c.kind, c.layer, c.row, c.column);
  };
  std::partial_sort(candidates.begin(), candidates.begin() + count, candidates.end(),
                    [&](const Candidate& a, const Candidate& b) { return key(a) < key(b); });
  candidates.resize(count);
  return candidates;
}

}  // namespace

SparseNetwork JointGrow(const JointProblem& problem, const JointGrowthOptions& options,
                        const SparseNetwork& network) {
  const AllSlopes slopes = SlopesAt(problem, network);
  if (problem.engine.stop_requested()) return network;
  std::vector<Rows> layers;
  for (size_t l = 0; l <= network.upper_layers.size(); ++l) {
    layers.push_back(RowsOf(LayerOf(network, l)));
  }
  const auto first_width = static_cast<int32_t>(layers[0].size());
  const std::vector<Candidate> candidates =
      CandidatesOf(slopes, layers, options, GrowsRows(network));
  // New units come between the units that are there and the constant.
  int32_t new_units = 0;
  for (const Candidate& c : candidates) {
    if (c.kind == Kind::kHalf || c.kind == Kind::kHalfRow) ++new_units;
  }
  if (new_units > 0) {
    for (auto& row : layers[1]) {
      if (auto node = row.extract(first_width); !node.empty()) {
        node.key() = first_width + new_units;
        row.insert(std::move(node));
      }
    }
  }
  SparseNetwork grown = network;
  const auto add_half = [&](const Candidate& c, int64_t input, double size) {
    layers[0].push_back({{static_cast<int32_t>(input), c.layer == 0 ? size : -size}});
    return static_cast<int32_t>(layers[0].size()) - 1;
  };
  for (const Candidate& c : candidates) {
    const double side = std::sqrt(std::abs(c.weight));
    const auto sign = static_cast<int8_t>(c.weight < 0 ? -1 : 1);
    auto column = static_cast<int32_t>(c.column);
    switch (c.kind) {
      case Kind::kEntry:
        // The constant of the second layer has moved.
        if (c.layer == 1 && column == first_width) column += new_units;
        layers[c.layer][c.row].emplace(column, c.weight);
        break;
      case Kind::kHalf:
        layers[1][c.row].emplace(add_half(c, c.column, side), sign * side);
        break;
      case Kind::kHalfRow:
        layers[1].push_back({{add_half(c, c.column, side), side}});
        grown.output_signs.push_back(sign);
        break;
      case Kind::kUnitRow:
        layers[1].push_back({{column, std::abs(c.weight)}});
        grown.output_signs.push_back(sign);
        break;
    }
  }
  grown.weights = MatrixOf(layers[0]);
  for (size_t l = 1; l < layers.size(); ++l) grown.upper_layers[l - 1] = MatrixOf(layers[l]);
  return grown;
}

}  // namespace thresher
