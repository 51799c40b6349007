#include "core/gates/random_gates.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>

namespace thresher {
namespace {

// ---- The inverse of the normal distribution function, in fixed point.
//
// A tail probability p in (0, 1/2) is written p = (1 + f) 2^-(octave + 2) with
// 0 <= f < 1. Each octave is cut into kSegments equal parts; within a part the
// quantile -Phi^-1(p) is a cubic in the position t in [0, 1). It changes by less than
// 1/16 within a part, so the terms in t need fewer bits than the constant one, and
// products of 64 bits do.

constexpr int kOctaves = 64;
constexpr int kSegmentBits = 4;
constexpr int kSegments = 1 << kSegmentBits;
constexpr int kValueBits = 58;     // c0 and the result are in units of 2^-58
constexpr int kSlopeBits = 34;     // c1, c2, c3 in units of 2^-34
constexpr int kPositionBits = 32;  // t in units of 2^-32

// c0 + c1 t + c2 t^2 + c3 t^3
struct Cubic {
  int64_t c0, c1, c2, c3;
};

// ln of (1 + f) 2^-exponent, by the series of atanh.
constexpr double Log(double one_plus_f, int exponent) {
  constexpr double kLn2 = 0.693147180559945309417;
  const double z = (one_plus_f - 1) / (one_plus_f + 1);
  double sum = 0;
  double power = z;
  for (int n = 1; n < 41; n += 2) {
    sum += power / n;
    power *= z * z;
  }
  return 2 * sum - exponent * kLn2;
}

constexpr double Sqrt(double x) {
  double root = x > 1 ? x : 1;
  for (int step = 0; step < 12; ++step) root = (root + x / root) / 2;
  return root;
}

constexpr double Polynomial(const double (&coefficient)[8], double x) {
  double value = coefficient[7];
  for (int k = 6; k >= 0; --k) value = value * x + coefficient[k];
  return value;
}

// -Phi^-1(p) for p = (1 + f) 2^-exponent <= 1/2, relative error about 1e-16: algorithm
// AS 241, PPND16 (Wichura, "The percentage points of the normal distribution",
// Applied Statistics 37, 1988).
constexpr double UpperQuantile(double one_plus_f, int exponent) {
  constexpr double kCentralNumerator[8] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                                           1.9715909503065514427e3, 1.3731693765509461125e4,
                                           4.5921953931549871457e4, 6.7265770927008700853e4,
                                           3.3430575583588128105e4, 2.5090809287301226727e3};
  constexpr double kCentralDenominator[8] = {1.0,
                                             4.2313330701600911252e1,
                                             6.8718700749205790830e2,
                                             5.3941960214247511077e3,
                                             2.1213794301586595867e4,
                                             3.9307895800092710610e4,
                                             2.8729085735721942674e4,
                                             5.2264952788528545610e3};
  constexpr double kMiddleNumerator[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                          5.76949722146069140550e0,  3.64784832476320460504e0,
                                          1.27045825245236838258e0,  2.41780725177450611770e-1,
                                          2.27238449892691845833e-2, 7.74545014278341407640e-4};
  constexpr double kMiddleDenominator[8] = {1.0,
                                            2.05319162663775882187e0,
                                            1.67638483018380384940e0,
                                            6.89767334985100004550e-1,
                                            1.48103976427480074590e-1,
                                            1.51986665636164571966e-2,
                                            5.47593808499534494600e-4,
                                            1.05075007164441684324e-9};
  constexpr double kFarNumerator[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                       1.78482653991729133580e0,  2.96560571828504891230e-1,
                                       2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                       2.71155556874348757815e-5, 2.01033439929228813265e-7};
  constexpr double kFarDenominator[8] = {1.0,
                                         5.99832206555887937690e-1,
                                         1.36929880922735805310e-1,
                                         1.48753612908506148525e-2,
                                         7.86869131145613259100e-4,
                                         1.84631831751005468180e-5,
                                         1.42151175831644588870e-7,
                                         2.04426310338993978564e-15};
  double p = one_plus_f;
  for (int k = 0; k < exponent; ++k) p /= 2;
  const double from_median = 0.5 - p;
  if (from_median <= 0.425) {
    const double r = 0.180625 - from_median * from_median;
    return from_median * Polynomial(kCentralNumerator, r) / Polynomial(kCentralDenominator, r);
  }
  const double r = Sqrt(-Log(one_plus_f, exponent));
  if (r <= 5) {
    return Polynomial(kMiddleNumerator, r - 1.6) / Polynomial(kMiddleDenominator, r - 1.6);
  }
  return Polynomial(kFarNumerator, r - 5) / Polynomial(kFarDenominator, r - 5);
}

constexpr int64_t ToFixedPoint(double value, int bits) {
  const double scaled = value * static_cast<double>(int64_t{1} << bits);
  return static_cast<int64_t>(scaled + (scaled < 0 ? -0.5 : 0.5));
}

// The cubic through the quantiles at t = 0, 1/4, 3/4, 1 (the extrema of the Chebyshev
// polynomial of degree 3), which makes neighbouring parts meet.
constexpr Cubic FitSegment(int octave, int segment) {
  double y[4] = {};
  constexpr double kNode[4] = {0, 0.25, 0.75, 1};
  for (int k = 0; k < 4; ++k) {
    y[k] = UpperQuantile(1 + (segment + kNode[k]) / kSegments, octave + 2);
  }
  // Newton's divided differences, then multiplied out.
  const double d01 = (y[1] - y[0]) / 0.25;
  const double d12 = (y[2] - y[1]) / 0.5;
  const double d23 = (y[3] - y[2]) / 0.25;
  const double d012 = (d12 - d01) / 0.75;
  const double d123 = (d23 - d12) / 0.75;
  const double d0123 = d123 - d012;
  return {.c0 = ToFixedPoint(y[0], kValueBits),
          .c1 = ToFixedPoint(d01 - 0.25 * d012 + 0.1875 * d0123, kSlopeBits),
          .c2 = ToFixedPoint(d012 - d0123, kSlopeBits),
          .c3 = ToFixedPoint(d0123, kSlopeBits)};
}

// 32 KiB, of which the first few octaves are in use nearly always. Computed by the
// compiler, whose arithmetic is that of IEEE 754 whatever the flags.
constexpr std::array<Cubic, kOctaves * kSegments> MakeCubics() {
  std::array<Cubic, kOctaves* kSegments> cubics = {};
  for (int octave = 0; octave < kOctaves; ++octave) {
    for (int segment = 0; segment < kSegments; ++segment) {
      cubics[static_cast<size_t>(octave * kSegments + segment)] = FitSegment(octave, segment);
    }
  }
  return cubics;
}
constexpr std::array<Cubic, kOctaves* kSegments> kCubics = MakeCubics();

// The normal of `bits` in units of 2^-kValueBits.
inline int64_t FixedPointNormal(uint64_t bits) {
  const uint64_t tail = (bits << 1) | 1;  // p = tail 2^-65, never 0
  const int octave = std::countl_zero(tail);
  const uint64_t fraction = tail << octave << 1;
  const auto segment = static_cast<size_t>(fraction >> (64 - kSegmentBits));
  const auto t = static_cast<int64_t>(fraction << kSegmentBits >> (64 - kPositionBits));
  const Cubic& cubic = kCubics[static_cast<size_t>(octave) * kSegments + segment];
  int64_t slope = cubic.c2 + ((cubic.c3 * t) >> kPositionBits);
  slope = cubic.c1 + ((slope * t) >> kPositionBits);
  const int64_t value = cubic.c0 + ((slope * t) >> (kSlopeBits + kPositionBits - kValueBits));
  const auto sign = static_cast<int64_t>(bits) >> 63;  // 0 or -1
  return (value ^ sign) - sign;
}

constexpr double kUnit = 1.0 / static_cast<double>(int64_t{1} << kValueBits);

// Half a step beyond the 32 bits, so that no entry is 0 and the mean is.
inline float NormalFromWord(uint32_t word) {
  const uint64_t bits = (static_cast<uint64_t>(word) << 32) | 0x80000000u;
  return static_cast<float>(FixedPointNormal(bits)) * static_cast<float>(kUnit);
}

// Counters of gates have this bit, those of CounterRandom never reach it.
constexpr uint64_t kGateCounters = uint64_t{1} << 63;

// kLanes blocks of consecutive counters at once, word by word, in a form that compilers
// turn into vector instructions.
template <int kLanes>
inline void PhiloxLanes(uint64_t key, uint64_t counter_low, uint64_t counter_high,
                        uint32_t (&x)[4][kLanes]) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9;
  constexpr uint32_t kWeyl1 = 0xBB67AE85;
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t counter = counter_low + static_cast<uint64_t>(lane);
    x[0][lane] = static_cast<uint32_t>(counter);
    x[1][lane] = static_cast<uint32_t>(counter >> 32);
    x[2][lane] = static_cast<uint32_t>(counter_high);
    x[3][lane] = static_cast<uint32_t>(counter_high >> 32);
  }
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint64_t product0 = kMultiplier0 * x[0][lane];
      const uint64_t product1 = kMultiplier1 * x[2][lane];
      x[0][lane] = static_cast<uint32_t>(product1 >> 32) ^ x[1][lane] ^ key0;
      x[1][lane] = static_cast<uint32_t>(product1);
      x[2][lane] = static_cast<uint32_t>(product0 >> 32) ^ x[3][lane] ^ key1;
      x[3][lane] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
}

}  // namespace

PhiloxBlock Philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t x[4][1];
  PhiloxLanes(key, counter_low, counter_high, x);
  return {{x[0][0], x[1][0], x[2][0], x[3][0]}};
}

double NormalFromBits(uint64_t bits) { return static_cast<double>(FixedPointNormal(bits)) * kUnit; }

uint64_t CounterRandom::NextBits() {
  if (has_pending_bits_) {
    has_pending_bits_ = false;
    return pending_bits_;
  }
  const PhiloxBlock block = Philox(seed_, counter_++, stream_);
  pending_bits_ = (static_cast<uint64_t>(block.word[3]) << 32) | block.word[2];
  has_pending_bits_ = true;
  return (static_cast<uint64_t>(block.word[1]) << 32) | block.word[0];
}

double CounterRandom::NextUniform() {
  constexpr double kStep = 1.0 / static_cast<double>(uint64_t{1} << 53);
  return static_cast<double>(NextBits() >> 11) * kStep;
}

double CounterRandom::NextNormal() { return NormalFromBits(NextBits()); }

// Lemire, "Fast random integer generation in an interval", ACM TOMACS 29, 2019.
uint64_t CounterRandom::NextBelow(uint64_t bound) {
  auto product = static_cast<unsigned __int128>(NextBits()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = (0 - bound) % bound;
    while (static_cast<uint64_t>(product) < threshold) {
      product = static_cast<unsigned __int128>(NextBits()) * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

void RandomGate(uint64_t seed, int64_t index, std::span<float> gate) {
  const auto stream = static_cast<uint64_t>(index);
  constexpr size_t kLanes = 8;
  uint32_t words[4][kLanes];
  for (size_t begin = 0; begin < gate.size(); begin += 4 * kLanes) {
    PhiloxLanes(seed, kGateCounters | (begin / 4), stream, words);
    const size_t end = std::min(gate.size(), begin + 4 * kLanes);
    for (size_t q = begin; q < end; ++q) {
      gate[q] = NormalFromWord(words[q % 4][(q - begin) / 4]);
    }
  }
}

}  // namespace thresher
