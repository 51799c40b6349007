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

}  // namespace thresher
