#include "tests/benchmark/eigen_product.h"

#include <Eigen/Core>

namespace thresher {

void EigenProduct(const float* a, const float* b, float* c, long n, long m, long d,
                  int num_threads) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::setNbThreads(num_threads);
  Eigen::Map<Matrix>(c, m, d).noalias() =
      Eigen::Map<const Matrix>(a, n, m).transpose() * Eigen::Map<const Matrix>(b, n, d);
}

void EigenLayers(const DenseLayers& layers, const float* inputs, long n, float* outputs) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::setNbThreads(1);
  const size_t last = layers.weights.size() - 1;
  if (n == 1) {
    Eigen::VectorXf units = Eigen::Map<const Eigen::VectorXf>(inputs, layers.widths[0]);
    for (size_t l = 0; l <= last; ++l) {
      const Eigen::Map<const Matrix> weights(layers.weights[l].data(), layers.widths[l + 1],
                                             layers.widths[l]);
      Eigen::VectorXf rows =
          Eigen::Map<const Eigen::VectorXf>(layers.biases[l].data(), layers.widths[l + 1]);
      rows.noalias() += weights * units;
      units = l == last ? rows : rows.cwiseMax(0.0f);
    }
    Eigen::Map<Eigen::VectorXf>(outputs, units.size()) = units;
    return;
  }
  Matrix units = Eigen::Map<const Matrix>(inputs, n, layers.widths[0]);
  for (size_t l = 0; l <= last; ++l) {
    const Eigen::Map<const Matrix> weights(layers.weights[l].data(), layers.widths[l + 1],
                                           layers.widths[l]);
    Matrix rows(n, layers.widths[l + 1]);
    rows.noalias() = units * weights.transpose();
    rows.rowwise() +=
        Eigen::Map<const Eigen::RowVectorXf>(layers.biases[l].data(), layers.widths[l + 1]);
    if (l == last) {
      Eigen::Map<Matrix>(outputs, n, rows.cols()) = rows;
    } else {
      units = rows.cwiseMax(0.0f);
    }
  }
}

}  // namespace thresher
