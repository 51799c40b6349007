// Dense products by Eigen, in a file of its own so that they can be built for AVX-512.
#ifndef THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_
#define THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_

#include <vector>

namespace thresher {

// c (m x d) = a^T b, a n x m and b n x d, all row-major.
void EigenProduct(const float* a, const float* b, float* c, long n, long m, long d,
                  int num_threads);

// A dense ReLU network in float, row-major, its last layer linear.
struct DenseLayers {
  std::vector<long> widths;  // inputs first
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<float>> biases;
};

// outputs (n x last width) on inputs (n x first width), one thread; one sample by products with a
// vector.
void EigenLayers(const DenseLayers& layers, const float* inputs, long n, float* outputs);

}  // namespace thresher

#endif  // THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_
