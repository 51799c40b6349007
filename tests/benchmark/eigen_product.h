// A dense product by Eigen, in a file of its own so that it can be built for AVX-512.
#ifndef THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_
#define THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_

namespace thresher {

// c (m x d) = a^T b, a n x m and b n x d, all row-major.
void EigenProduct(const float* a, const float* b, float* c, long n, long m, long d,
                  int num_threads);

}  // namespace thresher

#endif  // THRESHER_TESTS_BENCHMARK_EIGEN_PRODUCT_H_
