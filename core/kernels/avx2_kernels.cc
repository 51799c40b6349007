// AVX2 and FMA. Compiled with these switched on: see CMakeLists.txt.
#include <immintrin.h>

#include <cstdint>

namespace thresher {
namespace {

struct Simd {
  using Floats = __m256;
  using Doubles = __m256d;
  static constexpr int kFloatLanes = 8;
  static constexpr int kDoubleLanes = 4;
  static constexpr int kGatesAtOnce = 3;  // 12 accumulators of 16 registers
  static constexpr int kGateSplit = 2;
  static constexpr int kPartVectors = 4;  // 8 sums of 16 registers
  static constexpr int kGramRows = 4;
  static constexpr int kGramVectors = 2;
  static constexpr int kTableVectors = 4;
  static constexpr int kGradientRows = 2;  // 12 sums of 16 registers
  static constexpr int kGradientColumns = 3;

  static Floats ZeroFloats() { return _mm256_setzero_ps(); }
  static Doubles ZeroDoubles() { return _mm256_setzero_pd(); }
  static Floats Load(const float* p) { return _mm256_loadu_ps(p); }
  static Doubles Load(const double* p) { return _mm256_loadu_pd(p); }
  static Doubles LoadFloatsAsDoubles(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
  static void Store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static void Store(double* p, Doubles v) { _mm256_storeu_pd(p, v); }
  static Floats Broadcast(float v) { return _mm256_set1_ps(v); }
  static Doubles Broadcast(double v) { return _mm256_set1_pd(v); }
  static Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Doubles Add(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Doubles Multiply(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
  static Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Doubles MultiplyAdd(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
  static uint32_t PositiveBits(Floats v) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ)));
  }
  static uint32_t PositiveBits(Doubles v) {
    return static_cast<uint32_t>(
        _mm256_movemask_pd(_mm256_cmp_pd(v, _mm256_setzero_pd(), _CMP_GT_OQ)));
  }
  static Floats Keep(uint32_t bits, Floats v) {
    const __m256i lanes = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lanes);
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, lanes)));
  }
  static Floats LoadStrided(const float* p, int stride) {
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_i32gather_ps(p, _mm256_mullo_epi32(lanes, _mm256_set1_epi32(stride)), 4);
  }
  static Doubles LanesOf(uint32_t bits) {
    const __m256i lanes = _mm256_set_epi64x(8, 4, 2, 1);
    const __m256i chosen = _mm256_and_si256(_mm256_set1_epi64x(bits), lanes);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(chosen, lanes));
  }
  static Doubles AddSelected(Doubles c, uint32_t bits, Doubles a) {
    return _mm256_add_pd(c, _mm256_and_pd(LanesOf(bits), a));
  }
  static Doubles MultiplyAddSelected(Doubles a, Doubles b, Doubles c, uint32_t bits) {
    return _mm256_fmadd_pd(_mm256_and_pd(LanesOf(bits), a), b, c);
  }
  static float SumLanes(const Floats (&v)[2]) {
    const __m256 eights = _mm256_add_ps(v[0], v[1]);
    const __m128 fours =
        _mm_add_ps(_mm256_castps256_ps128(eights), _mm256_extractf128_ps(eights, 1));
    const __m128 pairs = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
    return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
  }
};

}  // namespace
}  // namespace thresher

#include "core/kernels/kernels_impl.inc"

namespace thresher {
extern const KernelTable kAvx2Kernels;
const KernelTable kAvx2Kernels = kTable;
}  // namespace thresher
