// x86-64 without extensions: SSE2.
#include <emmintrin.h>

#include <cstdint>

namespace thresher {
namespace {

struct Simd {
  using Floats = __m128;
  using Doubles = __m128d;
  static constexpr int kFloatLanes = 4;
  static constexpr int kDoubleLanes = 2;
  static constexpr int kGatesAtOnce = 3;  // 12 accumulators of 16 registers
  static constexpr int kGateSplit = 4;
  static constexpr int kPartVectors = 4;  // 8 sums of 16 registers
  static constexpr int kGramRows = 4;
  static constexpr int kGramVectors = 2;
  static constexpr int kTableVectors = 4;
  static constexpr int kGradientRows = 1;  // 12 sums of 16 registers
  static constexpr int kGradientColumns = 3;

  static Floats ZeroFloats() { return _mm_setzero_ps(); }
  static Doubles ZeroDoubles() { return _mm_setzero_pd(); }
  static Floats Load(const float* p) { return _mm_loadu_ps(p); }
  static Doubles Load(const double* p) { return _mm_loadu_pd(p); }
  static Doubles LoadFloatsAsDoubles(const float* p) {
    return _mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static void Store(float* p, Floats v) { _mm_storeu_ps(p, v); }
  static void Store(double* p, Doubles v) { _mm_storeu_pd(p, v); }
  static Floats Broadcast(float v) { return _mm_set1_ps(v); }
  static Doubles Broadcast(double v) { return _mm_set1_pd(v); }
  static Floats Add(Floats a, Floats b) { return _mm_add_ps(a, b); }
  static Doubles Add(Doubles a, Doubles b) { return _mm_add_pd(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm_mul_ps(a, b); }
  static Doubles Multiply(Doubles a, Doubles b) { return _mm_mul_pd(a, b); }
  static Floats MultiplyAdd(Floats a, Floats b, Floats c) {
    return _mm_add_ps(_mm_mul_ps(a, b), c);
  }
  static Doubles MultiplyAdd(Doubles a, Doubles b, Doubles c) {
    return _mm_add_pd(_mm_mul_pd(a, b), c);
  }
  static uint32_t PositiveBits(Floats v) {
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps(v, _mm_setzero_ps())));
  }
  static uint32_t PositiveBits(Doubles v) {
    return static_cast<uint32_t>(_mm_movemask_pd(_mm_cmpgt_pd(v, _mm_setzero_pd())));
  }
  static Floats Keep(uint32_t bits, Floats v) {
    const __m128i lanes = _mm_set_epi32(8, 4, 2, 1);
    const __m128i chosen = _mm_and_si128(_mm_set1_epi32(static_cast<int>(bits)), lanes);
    return _mm_and_ps(v, _mm_castsi128_ps(_mm_cmpeq_epi32(chosen, lanes)));
  }
  static Floats LoadStrided(const float* p, int stride) {
    return _mm_set_ps(p[3 * stride], p[2 * stride], p[stride], p[0]);
  }
  static Doubles LanesOf(uint32_t bits) {
    const auto low = -static_cast<int64_t>(bits & 1);
    const auto high = -static_cast<int64_t>(bits >> 1);
    return _mm_castsi128_pd(_mm_set_epi64x(high, low));
  }
  static Doubles AddSelected(Doubles c, uint32_t bits, Doubles a) {
    return _mm_add_pd(c, _mm_and_pd(LanesOf(bits), a));
  }
  static Doubles MultiplyAddSelected(Doubles a, Doubles b, Doubles c, uint32_t bits) {
    return _mm_add_pd(c, _mm_mul_pd(_mm_and_pd(LanesOf(bits), a), b));
  }
  static float SumLanes(const Floats (&v)[4]) {
    const __m128 fours = _mm_add_ps(_mm_add_ps(v[0], v[2]), _mm_add_ps(v[1], v[3]));
    const __m128 pairs = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
    return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
  }
};

}  // namespace
}  // namespace thresher

#include "core/kernels/kernels_impl.inc"

namespace thresher {
extern const KernelTable kBaselineKernels;
const KernelTable kBaselineKernels = kTable;
}  // namespace thresher
