#include "core/pruning/layer_matrices.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"

namespace thresher {
namespace {

constexpr int64_t kBlockSamples = 256;
// Sums over samples run over so many groups of blocks, and then over the groups.
constexpr int64_t kGroups = 8;
// Stream of the counter-based generator that draws the targets of sample i: kTargetStream + i.
constexpr uint64_t kTargetStream = 0x7a49e7000000000ull;

LayerMatrix MakeLayerMatrix(const SparseRows& rows, int64_t num_columns) {
  LayerMatrix matrix = LayerMatrix::Zero(rows.num_rows(), num_columns);
  for (int64_t r = 0; r < rows.num_rows(); ++r) {
    for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
      matrix(r, rows.column[e]) = rows.value[e];
    }
  }
  return matrix;
}

void ForEachBlock(Engine& engine, int64_t num_samples,
                  const std::function<void(int64_t first, int64_t count)>& body) {
  engine.pool.ParallelFor((num_samples + kBlockSamples - 1) / kBlockSamples, [&](int64_t b, int) {
    const int64_t first = b * kBlockSamples;
    body(first, std::min(kBlockSamples, num_samples - first));
  });
}

}  // namespace

int64_t LayerMatrices::nonzeros() const {
  int64_t sum = 0;
  for (const LayerMatrix& layer : layers) sum += (layer.array() != 0).count();
  return sum;
}

absl::StatusOr<LayerMatrices> MakeLayerMatrices(const SparseNetwork& network) {
  if (!network.linear.empty()) {
    return absl::InvalidArgumentError(
        "network: a network with a linear term is not pruned; take one without");
  }
  LayerMatrices matrices = {.num_inputs = network.num_inputs, .has_bias = network.has_bias};
  const int64_t constant = network.has_bias ? 1 : 0;
  std::vector<SparseRows> layers = {network.weights};
  layers.insert(layers.end(), network.upper_layers.begin(), network.upper_layers.end());
  if (IsFused(network)) {
    SparseRows output;
    for (size_t j = 0; j < network.output_signs.size(); ++j) {
      output.column.push_back(static_cast<int32_t>(j));
      output.value.push_back(network.output_signs[j]);
    }
    output.row_begin.push_back(output.nonzeros());
    layers.push_back(std::move(output));
  }
  double entries = 0;
  int64_t below = network.num_inputs;
  for (const SparseRows& rows : layers) {
    entries += static_cast<double>(rows.num_rows()) * static_cast<double>(below + constant);
    below = rows.num_rows();
  }
  if (entries > static_cast<double>(kMaxDenseEntries)) {
    return absl::InvalidArgumentError(absl::StrCat("network: its layers have ", entries,
                                                   " entries, more than ", kMaxDenseEntries));
  }
  below = network.num_inputs;
  for (const SparseRows& rows : layers) {
    matrices.layers.push_back(MakeLayerMatrix(rows, below + constant));
    below = rows.num_rows();
  }
  return matrices;
}

SparseNetwork MakeNetwork(const LayerMatrices& matrices) {
  SparseNetwork network;
  network.num_inputs = matrices.num_inputs;
  network.has_bias = matrices.has_bias;
  network.upper_layers.resize(matrices.layers.size() - 1);
  for (size_t l = 0; l < matrices.layers.size(); ++l) {
    const LayerMatrix& layer = matrices.layers[l];
    SparseRows& rows = l == 0 ? network.weights : network.upper_layers[l - 1];
    for (int64_t r = 0; r < layer.rows(); ++r) {
      for (int64_t q = 0; q < layer.cols(); ++q) {
        if (layer(r, q) == 0) continue;
        rows.column.push_back(static_cast<int32_t>(q));
        rows.value.push_back(layer(r, q));
      }
      rows.row_begin.push_back(rows.nonzeros());
    }
  }
  return network;
}

UnitMatrix GatherInputs(InputView inputs, bool bias, int64_t most) {
  const int64_t count = std::min(inputs.num_samples, most);
  UnitMatrix units = UnitMatrix::Ones(count, inputs.num_inputs + (bias ? 1 : 0));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = i * inputs.num_samples / count;
    std::copy_n(inputs.row(row).data(), inputs.num_inputs, units.row(i).data());
  }
  return units;
}

UnitMatrix LayerImages(Engine& engine, const UnitMatrix& units, const LayerMatrix& layer) {
  UnitMatrix images = UnitMatrix::Zero(units.rows(), layer.rows());
  const UnitMatrix weights = layer.cast<float>();
  ForEachBlock(engine, units.rows(), [&](int64_t first, int64_t count) {
    images.middleRows(first, count).noalias() =
        units.middleRows(first, count) * weights.transpose();
  });
  return images;
}

UnitMatrix HiddenUnits(const UnitMatrix& images, bool bias) {
  UnitMatrix units = UnitMatrix::Ones(images.rows(), images.cols() + (bias ? 1 : 0));
  units.leftCols(images.cols()) = images.cwiseMax(0.0f);
  return units;
}

std::vector<UnitMatrix> AllUnits(Engine& engine, const LayerMatrices& network,
                                 const UnitMatrix& inputs) {
  std::vector<UnitMatrix> units = {inputs};
  for (size_t l = 0; l < network.layers.size(); ++l) {
    UnitMatrix images = LayerImages(engine, units.back(), network.layers[l]);
    const bool last = l + 1 == network.layers.size();
    units.push_back(last ? std::move(images) : HiddenUnits(images, network.has_bias));
  }
  return units;
}

std::vector<UnitMatrix> AllDeltas(Engine& engine, const LayerMatrices& network,
                                  const std::vector<UnitMatrix>& units, UnitMatrix of_outputs) {
  std::vector<UnitMatrix> deltas(network.layers.size());
  deltas.back() = std::move(of_outputs);
  for (size_t l = deltas.size() - 1; l > 0; --l) {
    const LayerMatrix& layer = network.layers[l];
    const int64_t width = network.layers[l - 1].rows();
    const UnitMatrix weights = layer.leftCols(width).cast<float>();
    UnitMatrix& below = deltas[l - 1];
    below = UnitMatrix::Zero(deltas[l].rows(), width);
    ForEachBlock(engine, below.rows(), [&](int64_t first, int64_t count) {
      const UnitMatrix block = deltas[l].middleRows(first, count) * weights;
      const auto open = units[l].middleRows(first, count).leftCols(width).array() > 0;
      below.middleRows(first, count) = open.select(block, 0.0f);
    });
  }
  return deltas;
}

UnitMatrix SampledCotangents(Loss loss, const UnitMatrix& outputs, uint64_t seed) {
  UnitMatrix cotangents(outputs.rows(), outputs.cols());
  std::vector<double> values(outputs.cols());
  std::vector<float> targets(outputs.cols());
  std::vector<double> gradient(outputs.cols());
  for (int64_t i = 0; i < outputs.rows(); ++i) {
    CounterRandom random(seed, kTargetStream + static_cast<uint64_t>(i));
    if (loss == Loss::kSquared) {
      for (int64_t c = 0; c < outputs.cols(); ++c) {
        cotangents(i, c) = static_cast<float>(random.NextNormal());
      }
      continue;
    }
    for (int64_t c = 0; c < outputs.cols(); ++c) values[c] = outputs(i, c);
    std::fill(targets.begin(), targets.end(), 0.0f);
    double left = random.NextUniform();
    if (loss == Loss::kLogistic) {
      targets[0] = left < 1 / (1 + std::exp(-values[0])) ? 1.0f : 0.0f;
    } else {
      // With targets of 0 the gradient is 0; with one target it is softmax less one-hot.
      const double largest = *std::max_element(values.begin(), values.end());
      double mass = 0;
      for (const double value : values) mass += std::exp(value - largest);
      left *= mass;
      size_t drawn = 0;
      while (drawn + 1 < values.size() && left >= std::exp(values[drawn] - largest)) {
        left -= std::exp(values[drawn++] - largest);
      }
      targets[drawn] = 1;
    }
    SampleLoss(loss, values, targets, gradient);
    for (int64_t c = 0; c < outputs.cols(); ++c) {
      cotangents(i, c) = static_cast<float>(gradient[c]);
    }
  }
  return cotangents;
}

UnitMatrix OutputMeans(Loss loss, const UnitMatrix& outputs) {
  switch (loss) {
    case Loss::kSquared:
      return outputs;
    case Loss::kLogistic:
      return (1 + (-outputs.cast<double>().array()).exp()).inverse().cast<float>();
    case Loss::kCrossEntropy: {
      const LayerMatrix masses =
          (outputs.cast<double>().colwise() - outputs.rowwise().maxCoeff().cast<double>())
              .array()
              .exp();
      const Eigen::VectorXd sums = masses.rowwise().sum();
      return (sums.cwiseInverse().asDiagonal() * masses).cast<float>();
    }
  }
  return outputs;
}

LayerMatrix SampleProducts(Engine& engine, const UnitMatrix& a, const UnitMatrix& b) {
  const int64_t num_blocks = (a.rows() + kBlockSamples - 1) / kBlockSamples;
  std::vector<LayerMatrix> parts(kGroups);
  engine.pool.ParallelFor(kGroups, [&](int64_t g, int) {
    parts[g] = LayerMatrix::Zero(a.cols(), b.cols());
    for (int64_t k = g * num_blocks / kGroups; k < (g + 1) * num_blocks / kGroups; ++k) {
      if (engine.stop_requested()) return;
      const int64_t first = k * kBlockSamples;
      const int64_t count = std::min(kBlockSamples, a.rows() - first);
      const UnitMatrix products =
          a.middleRows(first, count).transpose() * b.middleRows(first, count);
      parts[g] += products.cast<double>();
    }
  });
  LayerMatrix sum = LayerMatrix::Zero(a.cols(), b.cols());
  for (const LayerMatrix& part : parts) {
    if (part.size() == sum.size()) sum += part;
  }
  return sum;
}

}  // namespace thresher
