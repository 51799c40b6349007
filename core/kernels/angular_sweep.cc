#include "core/kernels/angular_sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

namespace thresher {
namespace {

// Samples of a block: its running sums stay in the first-level cache.
constexpr int64_t kBlock = 256;
// The sort: pseudo-angles of 22 bits in two passes, then insertion with exact comparisons.
constexpr int kDigitBits = 11;
constexpr int64_t kDigits = int64_t{1} << kDigitBits;
constexpr int32_t kMaxKey = (1 << (2 * kDigitBits)) - 1;
constexpr double kAngleScale = (kMaxKey + 1.0) / 2;
constexpr double kLargestAngle = kMaxKey / kAngleScale;
// With more moves than this a sample the pseudo-angles were no help.
constexpr int64_t kMaxMoves = 8;
constexpr int64_t kMaxNarrowSamples = int64_t{1} << 16;
// Sums are differences of larger ones: what is below this share of these is rounding.
constexpr double kRounding = 1e-12;
// Columns are dependent where det G is below this share of G_aa G_bb.
constexpr double kDependent = 1e-9;

// A sample in a pair's plane, turned into the upper half: angle in [0, pi).
struct Point {
  float a;
  float b;
  float target;
  float turn;  // -1 where the sample is the antipode of (a, b)
};

// Sums over samples of target x_a, target x_b, x_a^2, x_a x_b, x_b^2.
struct Sums {
  double ca = 0;
  double cb = 0;
  double gaa = 0;
  double gab = 0;
  double gbb = 0;

  void Add(const Point& p, double first_order, double second_order) {
    const double a = p.a;
    const double b = p.b;
    const double t = first_order * p.target;
    ca += t * a;
    cb += t * b;
    gaa += second_order * (a * a);
    gab += second_order * (a * b);
    gbb += second_order * (b * b);
  }
};

Sums Difference(const Sums& x, const Sums& y) {
  return {x.ca - y.ca, x.cb - y.cb, x.gaa - y.gaa, x.gab - y.gab, x.gbb - y.gbb};
}

Sums HalfSum(const Sums& x, const Sums& y) {
  return {(x.ca + y.ca) / 2, (x.cb + y.cb) / 2, (x.gaa + y.gaa) / 2, (x.gab + y.gab) / 2,
          (x.gbb + y.gbb) / 2};
}

// Sine of the angle from p to q times lengths: its sign is exact, for products of floats are.
double Cross(const Point& p, const Point& q) {
  return static_cast<double>(p.a) * q.b - static_cast<double>(p.b) * q.a;
}

bool IsOrigin(const Point& p) { return p.a == 0 && p.b == 0; }

// By angle, the origin last.
bool Before(const Point& p, const Point& q) {
  if (IsOrigin(p) || IsOrigin(q)) return !IsOrigin(p);
  return Cross(p, q) > 0;
}

struct Scratch {
  std::vector<Point> points;
  std::vector<int32_t> keys;
  std::vector<uint64_t> items;
  std::vector<uint64_t> sorted_items;
  std::vector<uint32_t> order;
};

void MakePoints(const Design& design, const std::array<int32_t, 2>& columns, const float* target,
                std::vector<Point>& points) {
  const int64_t n = design.num_samples;
  points.resize(n);
  const float* xa = design.columns.get() + columns[0] * design.padded_samples();
  const float* xb = design.columns.get() + columns[1] * design.padded_samples();
  for (int64_t i = 0; i < n; ++i) {
    // On the axis the sign of a decides. Without branches, which would be guesses.
    const float side = xb[i] == 0 ? xa[i] : xb[i];
    const float turn = std::copysign(1.0f, side == 0 ? 0.0f : side);
    points[i] = {turn * xa[i], turn * xb[i], target[i], turn};
  }
}

// Ascends with the angle, up to rounding: 1 - a / (|a| + b), which is in [0, 2), as an integer.
// The origin's is the largest. Without branches, which would be guesses.
int32_t PseudoAngle(const Point& p) {
  const double a = p.a;
  const double angle = 1 - a / (std::abs(a) + p.b);
  const double bounded = angle < kLargestAngle ? angle : kLargestAngle;  // the origin's is NaN
  return static_cast<int32_t>(bounded * kAngleScale);
}

// The order of points by Before, ties by index.
template <typename Index>
void SortPoints(Scratch& scratch, Index* order) {
  const std::vector<Point>& points = scratch.points;
  const auto n = static_cast<int64_t>(points.size());
  scratch.items.resize(n);
  scratch.sorted_items.resize(n);
  std::array<uint32_t, kDigits> low = {};
  std::array<uint32_t, kDigits> high = {};
  scratch.keys.resize(n);
  for (int64_t i = 0; i < n; ++i) scratch.keys[i] = PseudoAngle(points[i]);
  for (int64_t i = 0; i < n; ++i) {
    const auto key = static_cast<uint32_t>(scratch.keys[i]);
    scratch.items[i] = static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(i);
    ++low[key % kDigits];
    ++high[key / kDigits];
  }
  uint32_t low_sum = 0;
  uint32_t high_sum = 0;
  for (int64_t digit = 0; digit < kDigits; ++digit) {
    low_sum += std::exchange(low[digit], low_sum);
    high_sum += std::exchange(high[digit], high_sum);
  }
  for (const uint64_t item : scratch.items) {
    scratch.sorted_items[low[(item >> 32) % kDigits]++] = item;
  }
  for (const uint64_t item : scratch.sorted_items) {
    order[high[item >> (32 + kDigitBits)]++] = static_cast<Index>(item);
  }
  int64_t moves = 0;
  for (int64_t k = 1; k < n; ++k) {
    const Index index = order[k];
    const Point point = points[index];
    int64_t place = k;
    for (; place > 0 && Before(point, points[order[place - 1]]); --place) {
      order[place] = order[place - 1];
    }
    order[place] = index;
    moves += k - place;
    if (moves > kMaxMoves * n) {
      std::sort(order, order + n, [&](Index i, Index j) {
        if (Before(points[i], points[j])) return true;
        return !Before(points[j], points[i]) && i < j;
      });
      return;
    }
  }
}

// What least squares on one side of a line decreases. `floor_a` and `floor_b` are the sizes of
// rounding errors in gaa and gbb. Written without branches, so that loops become vectors.
inline double GatedDecrease(double ca, double cb, double gaa, double gab, double gbb,
                            double floor_a, double floor_b) {
  const double only_a = gaa > floor_a ? ca * ca / gaa : 0.0;
  const double only_b = gbb > floor_b ? cb * cb / gbb : 0.0;
  const double determinant = gaa * gbb - gab * gab;
  const double both = (gbb * ca * ca - 2 * gab * ca * cb + gaa * cb * cb) / determinant;
  const double single = only_a > only_b ? only_a : only_b;
  const bool regular = gaa > floor_a && gbb > floor_b && determinant > kDependent * gaa * gbb;
  return regular ? both : single;
}

// The same for weights along (ha, hb). Where neurons must add, a negative product counts as 0.
template <bool kAdded>
inline double ReluDecrease(double ca, double cb, double gaa, double gab, double gbb, double floor_a,
                           double floor_b, double ha, double hb) {
  double product = ca * ha + cb * hb;
  if constexpr (kAdded) product = product > 0 ? product : 0.0;
  const double norm2 = gaa * ha * ha + 2 * gab * ha * hb + gbb * hb * hb;
  const double floor = floor_a * ha * ha + floor_b * hb * hb;
  const double quotient = product * product / norm2;
  return norm2 > floor ? quotient : 0.0;
}

// The linear fit of a pair: weights w and the inverse of the normal matrix, which for dependent
// columns is that of one of them.
struct LinearFit {
  double wa = 0;
  double wb = 0;
  double maa = 0;
  double mab = 0;
  double mbb = 0;
};

LinearFit FitOf(const Sums& total) {
  const auto& [ca, cb, gaa, gab, gbb] = total;
  LinearFit fit;
  const double determinant = gaa * gbb - gab * gab;
  if (determinant > kDependent * gaa * gbb) {
    fit.maa = gbb / determinant;
    fit.mab = -gab / determinant;
    fit.mbb = gaa / determinant;
  } else if (gaa > 0 && gaa >= gbb) {
    fit.maa = 1 / gaa;
  } else if (gbb > 0) {
    fit.mbb = 1 / gbb;
  }
  fit.wa = fit.maa * ca + fit.mab * cb;
  fit.wb = fit.mab * ca + fit.mbb * cb;
  return fit;
}

// Of the gated column u = D (x_a h_a + x_b h_b) less its linear fit: its product with the target
// and its squared norm.
struct Kink {
  double product;
  double norm2;
};
inline Kink KinkOf(double ca, double cb, double gaa, double gab, double gbb, double ha, double hb,
                   const LinearFit& linear) {
  const double ua = gaa * ha + gab * hb;
  const double ub = gab * ha + gbb * hb;
  return {
      ca * ha + cb * hb - (ua * linear.wa + ub * linear.wb),
      ha * ua + hb * ub - (linear.maa * ua * ua + 2 * linear.mab * ua * ub + linear.mbb * ub * ub)};
}

template <bool kAdded>
inline double KinkDecrease(double ca, double cb, double gaa, double gab, double gbb, double floor_a,
                           double floor_b, double ha, double hb, const LinearFit& linear) {
  const Kink kink = KinkOf(ca, cb, gaa, gab, gbb, ha, hb, linear);
  constexpr double kFlat = kDependent / kRounding;
  const double floor = kFlat * (floor_a * ha * ha + floor_b * hb * hb);
  const double product = kAdded && kink.product < 0 ? 0.0 : kink.product;
  const double quotient = product * product / kink.norm2;
  return kink.norm2 > floor ? quotient : 0.0;
}

// Running sums at a block's lines, and what they are worth on either side.
struct Block {
  alignas(64) std::array<double, kBlock> a;
  alignas(64) std::array<double, kBlock> b;
  alignas(64) std::array<double, kBlock> ca;
  alignas(64) std::array<double, kBlock> cb;
  alignas(64) std::array<double, kBlock> gaa;
  alignas(64) std::array<double, kBlock> gab;
  alignas(64) std::array<double, kBlock> gbb;
  alignas(64) std::array<double, kBlock> left;
  alignas(64) std::array<double, kBlock> right;
};

template <SweepFit kFit>
void ScoreBlock(int64_t size, const Sums& total, Block& at) {
  const double floor_a = kRounding * total.gaa;
  const double floor_b = kRounding * total.gbb;
  [[maybe_unused]] const LinearFit linear = FitOf(total);
  for (int64_t k = 0; k < size; ++k) {
    const double ca = total.ca - at.ca[k];
    const double cb = total.cb - at.cb[k];
    const double gaa = total.gaa - at.gaa[k];
    const double gab = total.gab - at.gab[k];
    const double gbb = total.gbb - at.gbb[k];
    if constexpr (kFit == SweepFit::kGated) {
      at.left[k] =
          GatedDecrease(at.ca[k], at.cb[k], at.gaa[k], at.gab[k], at.gbb[k], floor_a, floor_b);
      at.right[k] = GatedDecrease(ca, cb, gaa, gab, gbb, floor_a, floor_b);
    } else if constexpr (kFit == SweepFit::kKink || kFit == SweepFit::kKinkAdded) {
      at.left[k] = KinkDecrease<kFit == SweepFit::kKinkAdded>(at.ca[k], at.cb[k], at.gaa[k],
                                                              at.gab[k], at.gbb[k], floor_a,
                                                              floor_b, -at.b[k], at.a[k], linear);
      at.right[k] = 0;
    } else {
      constexpr bool kAdded = kFit == SweepFit::kReluAdded;
      at.left[k] = ReluDecrease<kAdded>(at.ca[k], at.cb[k], at.gaa[k], at.gab[k], at.gbb[k],
                                        floor_a, floor_b, -at.b[k], at.a[k]);
      at.right[k] =
          ReluDecrease<kAdded>(ca, cb, gaa, gab, gbb, floor_a, floor_b, at.b[k], -at.a[k]);
    }
  }
}

struct Line {
  int64_t position = -1;  // in the order: the line before this sample (kGated), or through it
  int side = 0;           // 0: left of the line's direction, 1: right
  double decrease = 0;
  Sums sums;   // over the open side
  Sums total;  // over both
};

// The half-plane left of a line at angle t in [0, pi) holds the points of larger angle as they
// are and those of smaller angle turned. With P(k) the sum over the first k points of
// target (a, b), its first-order sums are T - P(k), T those of the points that are not turned; the
// second-order sums likewise with the sign of the turn.
template <SweepFit kFit, typename Index>
Line BestLine(const std::vector<Point>& points, const Index* order) {
  const auto n = static_cast<int64_t>(points.size());
  // Without branches: the upper half's sums are half of those of all and of all turned.
  Sums turned;
  Sums total;
  for (const Point& p : points) {
    turned.Add(p, 1, p.turn);
    total.Add(p, p.turn, 1);
  }
  const Sums upper = HalfSum(turned, total);
  Line best;
  best.total = total;
  Block at;
  Sums before;
  Point last{0, 0, 0, 0};
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t size = std::min(kBlock, n - first);
    for (int64_t k = 0; k < size; ++k) {
      const Point& p = points[order[first + k]];
      at.a[k] = p.a;
      at.b[k] = p.b;
      at.ca[k] = upper.ca - before.ca;
      at.cb[k] = upper.cb - before.cb;
      at.gaa[k] = upper.gaa - before.gaa;
      at.gab[k] = upper.gab - before.gab;
      at.gbb[k] = upper.gbb - before.gbb;
      before.Add(p, 1, p.turn);
    }
    ScoreBlock<kFit>(size, total, at);
    double largest = 0;
    for (int64_t k = 0; k < size; ++k) {
      const double larger = at.left[k] > at.right[k] ? at.left[k] : at.right[k];
      largest = larger > largest ? larger : largest;
    }
    if (largest > best.decrease) {
      for (int64_t k = 0; k < size; ++k) {
        // A line between samples on one line is none; the first line of all lies before them.
        const Point& p = points[order[first + k]];
        const Point& previous = k > 0 ? points[order[first + k - 1]] : last;
        if (IsOrigin(p) || (first + k > 0 && Cross(previous, p) == 0)) continue;
        for (const int side : {0, 1}) {
          const double decrease = side == 0 ? at.left[k] : at.right[k];
          if (!(decrease > best.decrease)) continue;
          const Sums left = {at.ca[k], at.cb[k], at.gaa[k], at.gab[k], at.gbb[k]};
          best = {first + k, side, decrease, side == 0 ? left : Difference(total, left), total};
        }
      }
    }
    last = points[order[first + size - 1]];
  }
  return best;
}

std::array<double, 2> Unit(double a, double b) {
  const double length = std::hypot(a, b);
  return {a / length, b / length};
}

// A gate of the half-plane: on the sample's line for a ReLU, else halfway to the line before.
template <typename Index>
std::array<double, 2> GateOf(const std::vector<Point>& points, const Index* order, const Line& line,
                             SweepFit fit) {
  const Point& p = points[order[line.position]];
  std::array<double, 2> direction = Unit(p.a, p.b);
  if (fit == SweepFit::kGated) {
    int64_t previous = line.position - 1;
    double turned = 1;
    if (previous < 0) {
      previous = static_cast<int64_t>(points.size()) - 1;
      while (IsOrigin(points[order[previous]])) --previous;
      turned = -1;
    }
    const Point& q = points[order[previous]];
    if (turned < 0 && Cross(p, q) == 0) {
      // All samples on one line: the one across it.
      direction = {direction[1], -direction[0]};
    } else {
      const std::array<double, 2> other = Unit(turned * q.a, turned * q.b);
      direction = Unit(direction[0] + other[0], direction[1] + other[1]);
    }
  }
  const double sign = line.side == 0 ? 1 : -1;
  return {-sign * direction[1], sign * direction[0]};
}

// Weights that give the decrease.
std::array<double, 2> WeightsOf(const Line& line, SweepFit fit, const std::array<double, 2>& gate) {
  const auto& [ca, cb, gaa, gab, gbb] = line.sums;
  const auto& [ha, hb] = gate;
  if (fit == SweepFit::kKink || fit == SweepFit::kKinkAdded) {
    const Kink kink = KinkOf(ca, cb, gaa, gab, gbb, ha, hb, FitOf(line.total));
    const double change = kink.product / kink.norm2;
    return {change * ha, change * hb};
  }
  if (fit != SweepFit::kGated) {
    const double scale = (ca * ha + cb * hb) / (gaa * ha * ha + 2 * gab * ha * hb + gbb * hb * hb);
    return {scale * ha, scale * hb};
  }
  const double floor_a = kRounding * line.total.gaa;
  const double floor_b = kRounding * line.total.gbb;
  const double determinant = gaa * gbb - gab * gab;
  if (gaa > floor_a && gbb > floor_b && determinant > kDependent * gaa * gbb) {
    return {(gbb * ca - gab * cb) / determinant, (gaa * cb - gab * ca) / determinant};
  }
  const double only_a = gaa > floor_a ? ca * ca / gaa : 0.0;
  const double only_b = gbb > floor_b ? cb * cb / gbb : 0.0;
  if (only_a > only_b) return {ca / gaa, 0};
  return {0, cb / gbb};
}

template <typename Index>
HalfPlane BestOfPair(const Design& design, int64_t pair, const std::vector<Point>& points,
                     const Index* order, SweepFit fit) {
  HalfPlane found;
  found.column = ColumnPair(pair, design.num_columns);
  Line line;
  switch (fit) {
    case SweepFit::kGated:
      line = BestLine<SweepFit::kGated>(points, order);
      break;
    case SweepFit::kRelu:
      line = BestLine<SweepFit::kRelu>(points, order);
      break;
    case SweepFit::kReluAdded:
      line = BestLine<SweepFit::kReluAdded>(points, order);
      break;
    case SweepFit::kKink:
      line = BestLine<SweepFit::kKink>(points, order);
      break;
    case SweepFit::kKinkAdded:
      line = BestLine<SweepFit::kKinkAdded>(points, order);
      break;
  }
  found.decrease = line.decrease;
  if (line.position < 0) return found;
  found.key = 2 * (design.num_samples * pair + line.position) + line.side;
  found.gate = GateOf(points, order, line, fit);
  found.weights = WeightsOf(line, fit, found.gate);
  return found;
}

// target / scale in float, scale a power of two: targets of any size fit.
struct ScaledTarget {
  double scale = 0;  // 0 where all targets are
  std::vector<float> values;
};

ScaledTarget Scale(const Design& design, std::span<const double> target) {
  ScaledTarget scaled;
  double largest = 0;
  for (int64_t i = 0; i < design.num_samples; ++i) {
    largest = std::max(largest, std::abs(target[i]));
  }
  if (largest == 0) return scaled;
  scaled.scale = std::exp2(std::ilogb(largest));
  scaled.values.resize(design.num_samples);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    scaled.values[i] = static_cast<float>(target[i] / scaled.scale);
  }
  return scaled;
}

HalfPlane SweepPair(const Design& design, const AngleOrders& orders, const ScaledTarget& target,
                    SweepFit fit, int64_t pair, Scratch& scratch) {
  const int64_t n = design.num_samples;
  MakePoints(design, ColumnPair(pair, design.num_columns), target.values.data(), scratch.points);
  HalfPlane found;
  if (pair < orders.num_pairs && !orders.narrow.empty()) {
    found = BestOfPair(design, pair, scratch.points, orders.narrow.data() + pair * n, fit);
  } else if (pair < orders.num_pairs) {
    found = BestOfPair(design, pair, scratch.points, orders.wide.data() + pair * n, fit);
  } else {
    scratch.order.resize(n);
    SortPoints(scratch, scratch.order.data());
    found = BestOfPair(design, pair, scratch.points, scratch.order.data(), fit);
  }
  for (double& weight : found.weights) weight *= target.scale;
  found.decrease *= target.scale * target.scale;
  return found;
}

bool IsBetter(const HalfPlane& x, const HalfPlane& y) {
  if (x.decrease != y.decrease) return x.decrease > y.decrease;
  return x.key < y.key;
}

int64_t BytesPerOrder(int64_t num_samples) {
  return num_samples * static_cast<int64_t>(num_samples <= kMaxNarrowSamples ? sizeof(uint16_t)
                                                                             : sizeof(uint32_t));
}

int64_t NumKeptPairs(int64_t num_samples, int64_t num_columns, int64_t limit_bytes) {
  return std::min(NumColumnPairs(num_columns), limit_bytes / BytesPerOrder(num_samples));
}

}  // namespace

int64_t NumColumnPairs(int64_t num_columns) { return num_columns * (num_columns - 1) / 2; }

int64_t ColumnPairIndex(int32_t a, int32_t b, int64_t num_columns) {
  return a * (2 * num_columns - a - 1) / 2 + (b - a - 1);
}

std::array<int32_t, 2> ColumnPair(int64_t pair, int64_t num_columns) {
  // The largest a with a (2 d - a - 1) / 2 <= pair.
  const double side = 2 * static_cast<double>(num_columns) - 1;
  const double root = std::sqrt(std::max(0.0, side * side - 8 * static_cast<double>(pair)));
  auto a = static_cast<int64_t>((side - root) / 2);
  const auto first = [&](int64_t row) { return row * (2 * num_columns - row - 1) / 2; };
  while (a > 0 && first(a) > pair) --a;
  while (first(a + 1) <= pair) ++a;
  return {static_cast<int32_t>(a), static_cast<int32_t>(a + 1 + pair - first(a))};
}

AngleOrders SortByAngle(Engine& engine, const Design& design, int64_t limit_bytes) {
  const int64_t n = design.num_samples;
  AngleOrders orders;
  orders.num_pairs = NumKeptPairs(n, design.num_columns, limit_bytes);
  const bool narrow = n <= kMaxNarrowSamples;
  if (narrow) {
    orders.narrow.resize(orders.num_pairs * n);
  } else {
    orders.wide.resize(orders.num_pairs * n);
  }
  const std::vector<float> no_target(n);
  std::vector<Scratch> scratch(engine.pool.num_threads());
  engine.pool.ParallelFor(orders.num_pairs, [&](int64_t pair, int thread) {
    Scratch& own = scratch[thread];
    MakePoints(design, ColumnPair(pair, design.num_columns), no_target.data(), own.points);
    if (narrow) {
      SortPoints(own, orders.narrow.data() + pair * n);
    } else {
      SortPoints(own, orders.wide.data() + pair * n);
    }
  });
  return orders;
}

int64_t AngleOrderBytes(int64_t num_samples, int64_t num_columns, int64_t limit_bytes) {
  return NumKeptPairs(num_samples, num_columns, limit_bytes) * BytesPerOrder(num_samples);
}

int64_t AngularSweepBytes(int64_t num_samples, int num_threads) {
  constexpr auto kBytesPerSample =
      static_cast<int64_t>(sizeof(Point) + 2 * sizeof(uint64_t) + 2 * sizeof(uint32_t));
  return num_samples *
         (num_threads * kBytesPerSample + static_cast<int64_t>(sizeof(double) + sizeof(float)));
}

std::vector<HalfPlane> BestHalfPlanes(Engine& engine, const Design& design,
                                      const AngleOrders& orders, std::span<const double> target,
                                      SweepFit fit, int64_t count) {
  const ScaledTarget scaled = Scale(design, target);
  if (scaled.scale == 0 || count <= 0) return {};
  struct Worker {
    Scratch scratch;
    std::vector<HalfPlane> best;  // a heap, the worst on top
  };
  std::vector<Worker> workers(engine.pool.num_threads());
  engine.pool.ParallelFor(NumColumnPairs(design.num_columns), [&](int64_t pair, int thread) {
    Worker& own = workers[thread];
    const HalfPlane found = SweepPair(design, orders, scaled, fit, pair, own.scratch);
    if (!(found.decrease > 0)) return;
    if (static_cast<int64_t>(own.best.size()) == count) {
      if (!IsBetter(found, own.best.front())) return;
      std::pop_heap(own.best.begin(), own.best.end(), IsBetter);
      own.best.pop_back();
    }
    own.best.push_back(found);
    std::push_heap(own.best.begin(), own.best.end(), IsBetter);
  });
  if (engine.stop_requested()) return {};
  std::vector<HalfPlane> best;
  for (const Worker& worker : workers) {
    best.insert(best.end(), worker.best.begin(), worker.best.end());
  }
  std::sort(best.begin(), best.end(), IsBetter);
  if (static_cast<int64_t>(best.size()) > count) best.resize(count);
  return best;
}

HalfPlane BestHalfPlaneOfPair(const Design& design, const AngleOrders& orders,
                              std::span<const double> target, SweepFit fit, int64_t pair) {
  const ScaledTarget scaled = Scale(design, target);
  Scratch scratch;
  if (scaled.scale == 0) {
    HalfPlane none;
    none.column = ColumnPair(pair, design.num_columns);
    return none;
  }
  return SweepPair(design, orders, scaled, fit, pair, scratch);
}

}  // namespace thresher
