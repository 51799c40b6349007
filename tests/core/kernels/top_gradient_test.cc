#include "core/kernels/top_gradient.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

// The whole gradient by plain loops: num_gates x num_columns.
std::vector<double> PlainGradient(const Design& design, const GateMasks& masks,
                                  const std::vector<double>& residual) {
  std::vector<double> gradient(masks.num_gates * design.num_columns, 0.0);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    for (int64_t j = 0; j < masks.num_gates; ++j) {
      if (!IsOpen(masks, i, j)) continue;
      for (int64_t q = 0; q < design.num_columns; ++q) {
        gradient[j * design.num_columns + q] += residual[i] * InputOf(design, i, q);
      }
    }
  }
  return gradient;
}

struct Shape {
  int64_t num_samples;
  int64_t num_columns;
  int64_t num_gates;
};

class TopGradientTest : public testing::TestWithParam<Shape> {};

TEST_P(TopGradientTest, FindsTheLargestEntriesOfThePlainGradient) {
  const auto [n, d, m] = GetParam();
  const Design design = RandomDesign(n, d, 1);
  const std::vector<double> residual = RandomResidual(design, 2);
  for (const InstructionSet set : AvailableInstructionSets()) {
    Engine engine(2, {}, set);
    GateField field(RandomGateSet{3, m}, design);
    std::vector<int64_t> all(m);
    for (int64_t j = 0; j < m; ++j) all[j] = j;
    const std::vector<double> gradient =
        PlainGradient(design, field.MasksOf(engine, design, all), residual);
    std::vector<int64_t> excluded;
    for (int64_t key = 0; key < d * m; key += 7) excluded.push_back(key);
    for (const bool keep : {false, true}) {
      if (keep) field.KeepMasks(engine, design, 1 << 28);
      for (const int64_t count : {int64_t{1}, int64_t{10}, d * m}) {
        const std::vector<KeyedValue> found =
            TopGradient(engine, design, field, residual, count, excluded);
        // What is found is right, in key order, and nothing larger was left out.
        double norm = 0;
        for (const double value : gradient) norm = std::max(norm, std::abs(value));
        double smallest = norm;
        std::vector<bool> seen(d * m, false);
        for (size_t k = 0; k < found.size(); ++k) {
          if (k > 0) {
            EXPECT_LT(found[k - 1].key, found[k].key);
          }
          EXPECT_NE(found[k].key % 7, 0);
          EXPECT_NEAR(found[k].value, gradient[found[k].key], 1e-5 * norm);
          smallest = std::min(smallest, std::abs(found[k].value));
          seen[found[k].key] = true;
        }
        const int64_t candidates = d * m - static_cast<int64_t>(excluded.size());
        if (count < candidates) {
          EXPECT_EQ(static_cast<int64_t>(found.size()), count);
        }
        for (int64_t key = 0; key < d * m; ++key) {
          if (seen[key] || key % 7 == 0) continue;
          // Entries that are zero are never proposed.
          if (count < candidates) {
            EXPECT_LE(std::abs(gradient[key]), smallest + 1e-5 * norm);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TopGradientTest,
                         testing::Values(Shape{1, 1, 1}, Shape{70, 3, 5}, Shape{500, 16, 40},
                                         Shape{1100, 33, 30}, Shape{300, 100, 20},
                                         Shape{130, 5, 2500}));

TEST(TopGradientBitsTest, DoNotDependOnThreadsOrOnKeptMasks) {
  const Design design = RandomDesign(5000, 20, 1);
  const std::vector<double> residual = RandomResidual(design, 2);
  std::vector<KeyedValue> first;
  for (const int num_threads : {1, 2, 3}) {
    for (const bool keep : {false, true}) {
      Engine engine(num_threads);
      GateField field(RandomGateSet{3, 1500}, design);
      if (keep) field.KeepMasks(engine, design, 1 << 28);
      const std::vector<KeyedValue> found = TopGradient(engine, design, field, residual, 200, {});
      if (first.empty()) first = found;
      ASSERT_EQ(found.size(), first.size());
      for (size_t k = 0; k < found.size(); ++k) {
        EXPECT_EQ(found[k].key, first[k].key);
        EXPECT_EQ(found[k].value, first[k].value);
      }
    }
  }
}

TEST(TopGradientTiesTest, TheLowerKeyIsKept) {
  // Two equal columns: every pair of entries ties.
  std::vector<float> inputs = RandomFloats(200, 1);
  for (int64_t i = 0; i < 100; ++i) inputs[2 * i + 1] = inputs[2 * i];
  const Design design = MakeDesign({inputs.data(), 100, 2}, false);
  Engine engine(1);
  const GateField field(SparseGateSet{{0}, {{0, 1}, {0}, {1.0}}}, design);
  const std::vector<KeyedValue> found =
      TopGradient(engine, design, field, RandomResidual(design, 2), 1, {});
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].key, 0);
}

TEST(TopGradientScaleTest, ResidualsOfAnySizeAreTaken) {
  const Design design = RandomDesign(100, 4, 1);
  Engine engine(1);
  const GateField field(RandomGateSet{1, 5}, design);
  const std::vector<double> residual = RandomResidual(design, 2);
  const std::vector<KeyedValue> unit = TopGradient(engine, design, field, residual, 5, {});
  for (const double scale : {0x1p-200, 0x1p200}) {
    std::vector<double> scaled = residual;
    for (double& value : scaled) value *= scale;
    const std::vector<KeyedValue> found = TopGradient(engine, design, field, scaled, 5, {});
    ASSERT_EQ(found.size(), unit.size());
    for (size_t k = 0; k < found.size(); ++k) {
      EXPECT_EQ(found[k].key, unit[k].key);
      EXPECT_EQ(found[k].value, unit[k].value * scale);
    }
  }
  const std::vector<double> zero(residual.size(), 0.0);
  EXPECT_TRUE(TopGradient(engine, design, field, zero, 5, {}).empty());
}

TEST(TopGradientScaleTest, ColumnScalesDecideWhichEntriesAreLargest) {
  const Design design = RandomDesign(300, 6, 1);
  Engine engine(1);
  const GateField field(RandomGateSet{1, 8}, design);
  const std::vector<double> residual = RandomResidual(design, 2);
  // By powers of two, so that scaling is exact; the third column never counts.
  const std::vector<double> scales = {1, 8, 0, 0.25, 2, 1};
  std::vector<KeyedValue> expected = TopGradient(engine, design, field, residual, 48, {});
  ASSERT_EQ(expected.size(), 48);
  for (KeyedValue& entry : expected) entry.value *= scales[entry.key % 6];
  KeepLargest(10, expected);
  std::sort(expected.begin(), expected.end(),
            [](const KeyedValue& a, const KeyedValue& b) { return a.key < b.key; });
  const std::vector<KeyedValue> found =
      TopGradient(engine, design, field, residual, 10, {}, scales);
  ASSERT_EQ(found.size(), 10);
  for (size_t k = 0; k < found.size(); ++k) {
    EXPECT_EQ(found[k].key, expected[k].key);
    EXPECT_EQ(found[k].value, expected[k].value);
  }
  EXPECT_EQ(TopGradient(engine, design, field, residual, 48, {}, scales).size(), 40);
}

void ExpectSameBits(const std::vector<KeyedValue>& found, const std::vector<KeyedValue>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t k = 0; k < found.size(); ++k) {
    EXPECT_EQ(found[k].key, expected[k].key);
    EXPECT_EQ(found[k].value, expected[k].value);
  }
}

// Residuals that settle, leap, shrink by a million and settle again; numbers of wanted entries
// and excluded keys that change on the way.
TEST(GradientScreenTest, ChangesNoBitAndLeavesMostGatesOutOnceTheResidualSettles) {
  constexpr int64_t kGates = 1500;
  const Design design = RandomDesign(1200, 10, 1);
  const std::vector<double> settled = RandomResidual(design, 2);
  const std::vector<double> away = RandomResidual(design, 3);
  for (const InstructionSet set : AvailableInstructionSets()) {
    for (const bool keep : {false, true}) {
      Engine engine(keep ? 2 : 3, {}, set);
      GateField field(RandomGateSet{4, kGates}, design);
      if (keep) field.KeepMasks(engine, design, 1 << 28);
      GradientScreen screen(design);
      double scale = 1;
      double distance = 1;
      int64_t most_left_out = 0;
      for (int pass = 0; pass < 30; ++pass) {
        if (pass == 12) distance = 1;     // a leap
        if (pass == 20) scale = 0x1p-20;  // of another size, by a leap as well
        std::vector<double> residual = settled;
        for (size_t i = 0; i < residual.size(); ++i) {
          residual[i] = scale * (residual[i] + distance * away[i]);
        }
        distance /= 4;
        const int64_t count = pass % 5 == 4 ? 20 : 12;
        std::vector<int64_t> excluded;
        for (int64_t key = pass; key < 40; key += 9) excluded.push_back(key);
        const std::vector<KeyedValue> expected =
            TopGradient(engine, design, field, residual, count, excluded);
        ExpectSameBits(TopGradient(engine, design, field, residual, count, excluded, {}, &screen),
                       expected);
        if (pass == 0 || pass == 12 || pass == 20) {
          EXPECT_EQ(screen.num_left_out(), 0);
        }
        most_left_out = std::max(most_left_out, screen.num_left_out());
      }
      EXPECT_GT(most_left_out, kGates / 2);
    }
  }
}

TEST(GradientScreenTest, APassThatWasStoppedLeavesNothingBehind) {
  const Design design = RandomDesign(1200, 10, 1);
  const std::vector<double> residual = RandomResidual(design, 2);
  GradientScreen screen(design);
  std::stop_source stop;
  stop.request_stop();
  Engine stopped(1, stop.get_token());
  Engine engine(1);
  const GateField field(RandomGateSet{4, 300}, design);
  const std::vector<KeyedValue> expected = TopGradient(engine, design, field, residual, 5, {});
  for (const int round : {0, 1}) {
    TopGradient(stopped, design, field, residual, 5, {}, {}, &screen);
    ExpectSameBits(TopGradient(engine, design, field, residual, 5, {}, {}, &screen), expected);
    EXPECT_EQ(screen.num_left_out(), 0) << round;
  }
  // And one that ended serves the next.
  ExpectSameBits(TopGradient(engine, design, field, residual, 5, {}, {}, &screen), expected);
  EXPECT_GT(screen.num_left_out(), 200);
}

TEST(KeepLargestTest, AgreesWithASort) {
  CounterRandom random(1, 1);
  for (const TieRule ties : {TieRule::kLowerKey, TieRule::kHigherKey}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<KeyedValue> entries(1 + random.NextBelow(40));
      for (size_t k = 0; k < entries.size(); ++k) {
        entries[k] = {static_cast<int64_t>(k), static_cast<double>(random.NextBelow(5)) - 2};
      }
      std::vector<KeyedValue> sorted = entries;
      std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
        if (std::abs(a.value) != std::abs(b.value)) return std::abs(a.value) > std::abs(b.value);
        return ties == TieRule::kLowerKey ? a.key < b.key : a.key > b.key;
      });
      const auto count = static_cast<int64_t>(random.NextBelow(entries.size() + 2));
      KeepLargest(count, entries, ties);
      ASSERT_EQ(static_cast<int64_t>(entries.size()),
                std::min<int64_t>(count, static_cast<int64_t>(sorted.size())));
      std::vector<int64_t> kept;
      std::vector<int64_t> expected;
      for (const KeyedValue& entry : entries) kept.push_back(entry.key);
      for (size_t k = 0; k < entries.size(); ++k) expected.push_back(sorted[k].key);
      std::sort(kept.begin(), kept.end());
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(kept, expected);
    }
  }
}

}  // namespace
}  // namespace thresher
