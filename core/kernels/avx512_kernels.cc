// AVX-512 F, BW, DQ, VL. Compiled with these switched on: see CMakeLists.txt.
#include <immintrin.h>

#include <cstdint>

namespace thresher {
namespace {

struct Simd {
  using Floats = __m512;
  using Doubles = __m512d;
  static constexpr int kFloatLanes = 16;
  static constexpr int kDoubleLanes = 8;
  static constexpr int kGatesAtOnce = 6;  // 24 accumulators of 32 registers
  static constexpr int kGateSplit = 1;
  static constexpr int kPartVectors = 8;  // 16 sums of 32 registers
  static constexpr int kGramRows = 8;
  static constexpr int kGramVectors = 3;
  static constexpr int kTableVectors = 2;
  static constexpr int kGradientRows = 4;  // 24 sums of 32 registers
  static constexpr int kGradientColumns = 6;

  static Floats ZeroFloats() { return _mm512_setzero_ps(); }
  static Doubles ZeroDoubles() { return _mm512_setzero_pd(); }
  static Floats Load(const float* p) { return _mm512_loadu_ps(p); }
  static Doubles Load(const double* p) { return _mm512_loadu_pd(p); }
  static Doubles LoadFloatsAsDoubles(const float* p) {
    return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
  }
  static void Store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static void Store(double* p, Doubles v) { _mm512_storeu_pd(p, v); }
  static Floats Broadcast(float v) { return _mm512_set1_ps(v); }
  static Doubles Broadcast(double v) { return _mm512_set1_pd(v); }
  static Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Doubles Add(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Doubles Multiply(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
  static Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Doubles MultiplyAdd(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
  static uint32_t PositiveBits(Floats v) {
    return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ);
  }
  static uint32_t PositiveBits(Doubles v) {
    return _mm512_cmp_pd_mask(v, _mm512_setzero_pd(), _CMP_GT_OQ);
  }
  static Floats Keep(uint32_t bits, Floats v) {
    return _mm512_maskz_mov_ps(static_cast<__mmask16>(bits), v);
  }
  static Floats LoadStrided(const float* p, int stride) {
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff,
                                    _mm512_mullo_epi32(lanes, _mm512_set1_epi32(stride)), p, 4);
  }
  static Doubles AddSelected(Doubles c, uint32_t bits, Doubles a) {
    return _mm512_mask_add_pd(c, static_cast<__mmask8>(bits), c, a);
  }
  static Doubles MultiplyAddSelected(Doubles a, Doubles b, Doubles c, uint32_t bits) {
    return _mm512_mask3_fmadd_pd(a, b, c, static_cast<__mmask8>(bits));
  }
  static float SumLanes(const Floats (&v)[1]) {
    const __m256 eights = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v[0], 0),
                                        _mm512_maskz_extractf32x8_ps(0xff, v[0], 1));
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
extern const KernelTable kAvx512Kernels;
const KernelTable kAvx512Kernels = kTable;
}  // namespace thresher
