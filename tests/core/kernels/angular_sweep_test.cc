#include "core/kernels/angular_sweep.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

constexpr double kDependent = 1e-9;

// Normal inputs; small integers, so that samples share lines, repeat and vanish; or normal
// inputs with a column of zeros, a constant one and a repeated one.
enum class Inputs { kNormal, kIntegers, kDegenerate };

Design MakeInputs(Inputs kind, int64_t n, int64_t d, uint64_t seed) {
  std::vector<float> inputs = RandomFloats(n * d, seed);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t q = 0; q < d; ++q) {
      float& x = inputs[i * d + q];
      if (kind == Inputs::kIntegers) x = std::round(x);
      if (kind == Inputs::kDegenerate && q == 0) x = 0;
      if (kind == Inputs::kDegenerate && q == 1) x = 1;
      if (kind == Inputs::kDegenerate && q == d - 1)
        x = inputs[i * d + std::max<int64_t>(0, d - 2)];
    }
  }
  return MakeDesign({inputs.data(), n, d}, /*bias=*/false);
}

struct Plain {
  double ca = 0;
  double cb = 0;
  double gaa = 0;
  double gab = 0;
  double gbb = 0;
};

// Sums over the samples that the gate opens.
Plain SumsUnder(const Design& design, const std::vector<double>& target, int64_t a, int64_t b,
                double ha, double hb) {
  Plain sums;
  for (int64_t i = 0; i < design.num_samples; ++i) {
    const double xa = InputOf(design, i, a);
    const double xb = InputOf(design, i, b);
    if (!(ha * xa + hb * xb > 0)) continue;
    sums.ca += target[i] * xa;
    sums.cb += target[i] * xb;
    sums.gaa += xa * xa;
    sums.gab += xa * xb;
    sums.gbb += xb * xb;
  }
  return sums;
}

double GatedDecrease(const Plain& s) {
  const double determinant = s.gaa * s.gbb - s.gab * s.gab;
  if (determinant > kDependent * s.gaa * s.gbb) {
    return (s.gbb * s.ca * s.ca - 2 * s.gab * s.ca * s.cb + s.gaa * s.cb * s.cb) / determinant;
  }
  return std::max(s.gaa > 0 ? s.ca * s.ca / s.gaa : 0, s.gbb > 0 ? s.cb * s.cb / s.gbb : 0);
}

double ReluDecrease(const Plain& s, double ha, double hb, bool added) {
  const double product = s.ca * ha + s.cb * hb;
  const double norm2 = s.gaa * ha * ha + 2 * s.gab * ha * hb + s.gbb * hb * hb;
  if (norm2 < 1e-12 || (added && product < 0)) return 0;
  return product * product / norm2;
}

// By Gram-Schmidt on the samples: columns a and b, then the gated one.
double KinkDecrease(const Design& design, const std::vector<double>& target, int64_t a, int64_t b,
                    double ha, double hb, bool added) {
  std::vector<std::vector<double>> columns(3, std::vector<double>(design.num_samples));
  for (int64_t i = 0; i < design.num_samples; ++i) {
    columns[0][i] = InputOf(design, i, a);
    columns[1][i] = InputOf(design, i, b);
    columns[2][i] = std::max(0.0, ha * columns[0][i] + hb * columns[1][i]);
  }
  const auto dot = [](const std::vector<double>& x, const std::vector<double>& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  };
  double decrease = 0;
  for (size_t k = 0; k < 3; ++k) {
    const double before = dot(columns[k], columns[k]);
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t other = 0; other < k; ++other) {
        const double norm2 = dot(columns[other], columns[other]);
        if (norm2 == 0) continue;
        const double share = dot(columns[k], columns[other]) / norm2;
        for (size_t i = 0; i < columns[k].size(); ++i) {
          columns[k][i] -= share * columns[other][i];
        }
      }
    }
    const double norm2 = dot(columns[k], columns[k]);
    if (norm2 <= kDependent * before) {
      columns[k].assign(columns[k].size(), 0.0);
    } else if (k == 2) {
      const double product = dot({target.begin(), target.begin() + design.num_samples}, columns[k]);
      decrease = added && product < 0 ? 0 : product * product / norm2;
    }
  }
  return decrease;
}

// The best over all patterns of a pair, each made by a gate halfway between two samples' lines
// (or, for ReLUs, on a sample's line), sample by sample.
double BestByEnumeration(const Design& design, const std::vector<double>& target, int64_t a,
                         int64_t b, SweepFit fit) {
  std::map<double, std::array<double, 2>> lines;  // by angle, with a sample on each
  for (int64_t i = 0; i < design.num_samples; ++i) {
    const double xa = InputOf(design, i, a);
    const double xb = InputOf(design, i, b);
    if (xa == 0 && xb == 0) continue;
    double angle = std::atan2(xb, xa);
    if (angle < 0) angle += std::numbers::pi;
    if (angle >= std::numbers::pi - 1e-12) angle = 0;
    const auto near = lines.lower_bound(angle - 1e-12);
    if (near == lines.end() || near->first > angle + 1e-12) lines[angle] = {xa, xb};
  }
  std::vector<double> angles;
  std::vector<std::array<double, 2>> on_line;
  for (const auto& [angle, sample] : lines) {
    angles.push_back(angle);
    on_line.push_back(sample);
  }
  double best = 0;
  for (size_t k = 0; k < angles.size(); ++k) {
    const double next = k + 1 < angles.size() ? angles[k + 1] : angles[0] + std::numbers::pi;
    const double line = (angles[k] + next) / 2;
    for (const double sign : {1.0, -1.0}) {
      double ha = -sign * std::sin(line);
      double hb = sign * std::cos(line);
      if (fit != SweepFit::kGated) {
        // From the sample itself, so that it lies on the line exactly.
        ha = -sign * on_line[k][1];
        hb = sign * on_line[k][0];
      }
      const Plain sums = SumsUnder(design, target, a, b, ha, hb);
      if (fit == SweepFit::kGated) {
        best = std::max(best, GatedDecrease(sums));
      } else if (fit == SweepFit::kKink || fit == SweepFit::kKinkAdded) {
        best =
            std::max(best, KinkDecrease(design, target, a, b, ha, hb, fit == SweepFit::kKinkAdded));
      } else {
        best = std::max(best, ReluDecrease(sums, ha, hb, fit == SweepFit::kReluAdded));
      }
    }
  }
  return best;
}

double DecreaseOf(const Design& design, const std::vector<double>& target, const HalfPlane& found) {
  double decrease = 0;
  for (int64_t i = 0; i < design.num_samples; ++i) {
    const double xa = InputOf(design, i, found.column[0]);
    const double xb = InputOf(design, i, found.column[1]);
    if (!(found.gate[0] * xa + found.gate[1] * xb > 0)) continue;
    const double left = target[i] - found.weights[0] * xa - found.weights[1] * xb;
    decrease += target[i] * target[i] - left * left;
  }
  return decrease;
}

std::string FitName(SweepFit fit) {
  switch (fit) {
    case SweepFit::kGated:
      return "gated";
    case SweepFit::kRelu:
      return "relu";
    case SweepFit::kReluAdded:
      return "relu_added";
    case SweepFit::kKink:
      return "kink";
    case SweepFit::kKinkAdded:
      return "kink_added";
  }
  return "";
}

class SweepTest : public testing::TestWithParam<std::tuple<Inputs, int, SweepFit>> {};

// Every pair's best half-plane is as good as the best of a plain double loop, and has what it says.
TEST_P(SweepTest, AgreesWithEnumeration) {
  const auto& [kind, n, fit] = GetParam();
  constexpr int64_t kColumns = 5;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const Design design = MakeInputs(kind, n, kColumns, 10 * seed + n);
    const std::vector<double> target = RandomResidual(design, seed);
    double norm2 = 0;
    for (const double value : target) norm2 += value * value;
    for (int64_t pair = 0; pair < NumColumnPairs(kColumns); ++pair) {
      const HalfPlane found = BestHalfPlaneOfPair(design, {}, target, fit, pair);
      const auto [a, b] = found.column;
      SCOPED_TRACE(testing::Message()
                   << FitName(fit) << " seed " << seed << " pair " << a << ' ' << b);
      EXPECT_NEAR(found.decrease, BestByEnumeration(design, target, a, b, fit), 1e-5 * norm2);
      if (fit != SweepFit::kKink && fit != SweepFit::kKinkAdded) {
        EXPECT_NEAR(found.decrease, DecreaseOf(design, target, found), 1e-5 * norm2);
      }
      if (found.decrease > 0) {
        EXPECT_NEAR(std::hypot(found.gate[0], found.gate[1]), 1, 1e-12);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, SweepTest,
    testing::Combine(testing::Values(Inputs::kNormal, Inputs::kIntegers, Inputs::kDegenerate),
                     testing::Values(1, 2, 3, 17, 64, 130, 300),
                     testing::Values(SweepFit::kGated, SweepFit::kRelu, SweepFit::kReluAdded,
                                     SweepFit::kKink, SweepFit::kKinkAdded)));

TEST(ColumnPairTest, NumbersAllPairsInOrder) {
  for (const int64_t d : {2, 3, 7, 100}) {
    int64_t pair = 0;
    for (int32_t a = 0; a < d; ++a) {
      for (int32_t b = a + 1; b < d; ++b, ++pair) {
        EXPECT_THAT(ColumnPair(pair, d), testing::ElementsAre(a, b));
        EXPECT_EQ(ColumnPairIndex(a, b, d), pair);
      }
    }
    EXPECT_EQ(NumColumnPairs(d), pair);
  }
  constexpr int64_t kMany = (int64_t{1} << 31) - 64;
  EXPECT_THAT(ColumnPair(NumColumnPairs(kMany) - 1, kMany),
              testing::ElementsAre(kMany - 2, kMany - 1));
}

// No angle of a fine grid does better.
TEST(AngularSweepTest, ADenseScanOfAnglesFindsNothingBetter) {
  const Design design = MakeInputs(Inputs::kNormal, 200, 3, 5);
  const std::vector<double> target = RandomResidual(design, 6);
  for (int64_t pair = 0; pair < 3; ++pair) {
    const HalfPlane found = BestHalfPlaneOfPair(design, {}, target, SweepFit::kGated, pair);
    double best = 0;
    for (int k = 0; k < 20000; ++k) {
      const double angle = 2 * std::numbers::pi * k / 20000;
      best =
          std::max(best, GatedDecrease(SumsUnder(design, target, found.column[0], found.column[1],
                                                 std::cos(angle), std::sin(angle))));
    }
    EXPECT_GE(found.decrease, best * (1 - 1e-6));
  }
}

TEST(AngularSweepTest, FindsAPlantedNeuronWithItsFullEnergy) {
  for (const SweepFit fit : {SweepFit::kGated, SweepFit::kRelu, SweepFit::kReluAdded}) {
    const Design design = MakeInputs(Inputs::kNormal, 1000, 20, 7);
    std::vector<double> target(design.padded_samples(), 0.0);
    double energy = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      target[i] = std::max(0.0, 0.8 * InputOf(design, i, 4) - 1.7 * InputOf(design, i, 13));
      energy += target[i] * target[i];
    }
    Engine engine(2);
    const std::vector<HalfPlane> found = BestHalfPlanes(engine, design, {}, target, fit, 3);
    ASSERT_EQ(found.size(), 3u);
    EXPECT_THAT(found[0].column, testing::ElementsAre(4, 13));
    EXPECT_NEAR(found[0].weights[0], 0.8, 2e-2);
    EXPECT_NEAR(found[0].weights[1], -1.7, 2e-2);
    EXPECT_GT(found[0].decrease, (fit == SweepFit::kGated ? 1 - 1e-6 : 1 - 1e-3) * energy);
    EXPECT_LT(found[1].decrease, 0.9 * energy);
  }
}

// A linear function hides a neuron from the other fits; the slope change is the neuron's.
TEST(AngularSweepTest, AKinkIsFoundUnderALinearFunction) {
  const Design design = MakeInputs(Inputs::kNormal, 2000, 10, 23);
  std::vector<double> target(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    target[i] = InputOf(design, i, 0) - 2 * InputOf(design, i, 3) +
                std::max(0.0, 0.6 * InputOf(design, i, 0) + 0.9 * InputOf(design, i, 3));
  }
  Engine engine(1);
  const std::vector<HalfPlane> found =
      BestHalfPlanes(engine, design, {}, target, SweepFit::kKink, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].column, testing::ElementsAre(0, 3));
  const double sign = found[0].gate[0] > 0 ? 1 : -1;
  EXPECT_NEAR(found[0].weights[0], sign * 0.6, 2e-3);
  EXPECT_NEAR(found[0].weights[1], sign * 0.9, 2e-3);
}

// Order by decrease; the same for any number of threads and however many orders are kept.
TEST(AngularSweepTest, TheListIsTheSameForAnyThreadsAndAnyMemory) {
  const Design design = MakeInputs(Inputs::kIntegers, 333, 12, 8);
  const std::vector<double> target = RandomResidual(design, 9);
  const int64_t num_pairs = NumColumnPairs(12);
  Engine one(1);
  const std::vector<HalfPlane> all =
      BestHalfPlanes(one, design, {}, target, SweepFit::kGated, num_pairs);
  ASSERT_EQ(static_cast<int64_t>(all.size()), num_pairs);
  for (size_t k = 1; k < all.size(); ++k) {
    EXPECT_TRUE(all[k - 1].decrease > all[k].decrease ||
                (all[k - 1].decrease == all[k].decrease && all[k - 1].key < all[k].key));
  }
  for (const int threads : {1, 2, 3}) {
    for (const int64_t limit : {int64_t{0}, int64_t{333 * 2 * 20 + 1}, int64_t{1} << 30}) {
      Engine engine(threads);
      const AngleOrders orders = SortByAngle(engine, design, limit);
      EXPECT_EQ(orders.num_pairs, std::min(limit / (333 * 2), num_pairs));
      EXPECT_EQ(static_cast<int64_t>(orders.narrow.size() * sizeof(uint16_t)),
                AngleOrderBytes(333, 12, limit));
      const std::vector<HalfPlane> best =
          BestHalfPlanes(engine, design, orders, target, SweepFit::kGated, 10);
      ASSERT_EQ(best.size(), 10u);
      for (size_t k = 0; k < best.size(); ++k) {
        EXPECT_EQ(best[k].key, all[k].key);
        EXPECT_EQ(best[k].decrease, all[k].decrease);
        EXPECT_EQ(best[k].gate, all[k].gate);
        EXPECT_EQ(best[k].weights, all[k].weights);
      }
    }
  }
}

// Repeated columns: the pairs that stand first win.
TEST(AngularSweepTest, EqualDecreasesKeepTheLowerKey) {
  const std::vector<float> column = RandomFloats(100, 10);
  std::vector<float> inputs;
  for (const float x : column) inputs.insert(inputs.end(), {x, x, x, x});
  const Design design = MakeDesign({inputs.data(), 100, 4}, false);
  const std::vector<double> target = RandomResidual(design, 11);
  Engine engine(3);
  const std::vector<HalfPlane> best =
      BestHalfPlanes(engine, design, {}, target, SweepFit::kGated, 2);
  ASSERT_EQ(best.size(), 2u);
  EXPECT_THAT(best[0].column, testing::ElementsAre(0, 1));
  EXPECT_THAT(best[1].column, testing::ElementsAre(0, 2));
  EXPECT_EQ(best[0].decrease, best[1].decrease);
}

// Angles that pseudo-angles of 22 bits cannot tell apart.
TEST(AngularSweepTest, SortsNearlyParallelSamplesExactly) {
  constexpr int64_t kSamples = 500;
  std::vector<float> inputs = RandomFloats(kSamples * 2, 12);
  for (int64_t i = 0; i < kSamples; ++i) inputs[2 * i] *= 1e-9f;
  const Design design = MakeDesign({inputs.data(), kSamples, 2}, false);
  for (int64_t i = 0; i < kSamples; ++i) inputs[2 * i] *= 1e9f;
  const Design rescaled = MakeDesign({inputs.data(), kSamples, 2}, false);
  const std::vector<double> target = RandomResidual(design, 13);
  const double expected = BestHalfPlaneOfPair(rescaled, {}, target, SweepFit::kGated, 0).decrease;
  EXPECT_NEAR(BestHalfPlaneOfPair(design, {}, target, SweepFit::kGated, 0).decrease, expected,
              1e-4 * expected);
}

TEST(AngularSweepTest, TargetsOfAnySizeGiveTheSameGates) {
  const Design design = MakeInputs(Inputs::kNormal, 100, 4, 14);
  const std::vector<double> target = RandomResidual(design, 15);
  Engine engine(1);
  const std::vector<HalfPlane> plain =
      BestHalfPlanes(engine, design, {}, target, SweepFit::kRelu, 3);
  ASSERT_EQ(plain.size(), 3u);
  for (const double scale : {0x1p-200, 0x1p200}) {
    std::vector<double> scaled = target;
    for (double& value : scaled) value *= scale;
    const std::vector<HalfPlane> found =
        BestHalfPlanes(engine, design, {}, scaled, SweepFit::kRelu, 3);
    ASSERT_EQ(found.size(), 3u);
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(found[k].gate, plain[k].gate);
      EXPECT_EQ(found[k].decrease, plain[k].decrease * scale * scale);
      EXPECT_EQ(found[k].weights[0], plain[k].weights[0] * scale);
    }
  }
}

TEST(AngularSweepTest, WideOrdersServeMoreThan65536Samples) {
  constexpr int64_t kSamples = 65537;
  const Design design = MakeInputs(Inputs::kNormal, kSamples, 3, 16);
  const std::vector<double> target = RandomResidual(design, 17);
  Engine engine(1);
  const AngleOrders orders = SortByAngle(engine, design, int64_t{1} << 30);
  EXPECT_EQ(orders.wide.size(), 3u * kSamples);
  EXPECT_TRUE(orders.narrow.empty());
  for (int64_t pair = 0; pair < 3; ++pair) {
    const HalfPlane kept = BestHalfPlaneOfPair(design, orders, target, SweepFit::kGated, pair);
    const HalfPlane sorted = BestHalfPlaneOfPair(design, {}, target, SweepFit::kGated, pair);
    EXPECT_EQ(kept.key, sorted.key);
    EXPECT_EQ(kept.decrease, sorted.decrease);
  }
}

TEST(AngularSweepTest, NothingToFindGivesAnEmptyList) {
  const Design design = MakeInputs(Inputs::kNormal, 50, 4, 18);
  Engine engine(1);
  const std::vector<double> zero(design.padded_samples(), 0.0);
  EXPECT_TRUE(BestHalfPlanes(engine, design, {}, zero, SweepFit::kGated, 5).empty());
  EXPECT_EQ(BestHalfPlaneOfPair(design, {}, zero, SweepFit::kGated, 1).decrease, 0);
  const std::vector<double> target = RandomResidual(design, 19);
  EXPECT_TRUE(BestHalfPlanes(engine, design, {}, target, SweepFit::kGated, 0).empty());
  const Design one_column = MakeInputs(Inputs::kNormal, 50, 1, 20);
  EXPECT_TRUE(BestHalfPlanes(engine, one_column, {}, target, SweepFit::kGated, 5).empty());
  // Everything that adds makes it worse.
  std::vector<double> below(design.padded_samples(), 0.0);
  const Design positive = MakeDesign({std::vector<float>(100, 1).data(), 50, 2}, false);
  for (int64_t i = 0; i < 50; ++i) below[i] = -1;
  EXPECT_TRUE(BestHalfPlanes(engine, positive, {}, below, SweepFit::kReluAdded, 5).empty());
}

TEST(AngularSweepTest, AStopRequestEndsTheSweep) {
  const Design design = MakeInputs(Inputs::kNormal, 50, 30, 21);
  const std::vector<double> target = RandomResidual(design, 22);
  std::stop_source source;
  Engine engine(2, source.get_token());
  source.request_stop();
  EXPECT_TRUE(BestHalfPlanes(engine, design, {}, target, SweepFit::kGated, 5).empty());
}

}  // namespace
}  // namespace thresher
