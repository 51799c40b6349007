#include "core/recovery/support.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/gates/random_gates.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

SparseVector RandomVector(uint64_t seed, int64_t num_keys, double density) {
  CounterRandom random(seed, 1);
  SparseVector entries;
  for (int64_t key = 0; key < num_keys; ++key) {
    if (random.NextUniform() < density) entries.push_back({key, random.NextNormal()});
  }
  return entries;
}

std::set<int64_t> Keys(const SparseVector& entries) {
  std::set<int64_t> keys;
  for (const KeyedValue& entry : entries) keys.insert(entry.key);
  return keys;
}

TEST(HardThresholdTest, KeepsAtMostCountDropsZerosAndSortsByKey) {
  const SparseVector kept = HardThreshold(2, {{5, -3.0}, {1, 0.0}, {9, 1.0}, {7, 2.0}});
  ASSERT_EQ(kept.size(), 2);
  EXPECT_EQ(kept[0].key, 5);
  EXPECT_EQ(kept[0].value, -3.0);
  EXPECT_EQ(kept[1].key, 7);
  EXPECT_TRUE(HardThreshold(0, kept).empty());
  EXPECT_TRUE(HardThreshold(5, {{1, 0.0}}).empty());
}

TEST(HardThresholdTest, TiesGoByTheRule) {
  const SparseVector tied = {{1, 1.0}, {2, -1.0}, {3, 1.0}};
  EXPECT_EQ(Keys(HardThreshold(2, tied)), (std::set<int64_t>{1, 2}));
  EXPECT_EQ(Keys(HardThreshold(2, tied, TieRule::kHigherKey)), (std::set<int64_t>{2, 3}));
}

TEST(ReciprocalThresholdTest, KeepsTheSupportOfHardThresholdingAndShrinksByTheFormula) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SparseVector z = RandomVector(seed, 60, 0.8);
    for (const int64_t count : {1, 6, 20}) {
      const SparseVector hard = HardThreshold(count, z);
      const double tau = [&] {
        const SparseVector one_more = HardThreshold(count + 1, z);
        double smallest = std::abs(one_more.front().value);
        for (const KeyedValue& entry : one_more) {
          smallest = std::min(smallest, std::abs(entry.value));
        }
        return smallest;
      }();
      for (const int64_t nonzeros : {int64_t{1}, (count + 1) / 2, count}) {
        const SparseVector kept = ReciprocalThreshold(count, nonzeros, z);
        ASSERT_TRUE(SameSupport(kept, hard));
        const double rho = static_cast<double>(nonzeros) / static_cast<double>(count);
        for (size_t e = 0; e < kept.size(); ++e) {
          const double t = kept[e].value;
          // The solution of t (z - t) = (1 - rho^2) tau^2 / 4 that is nearer to z.
          EXPECT_NEAR(t * (hard[e].value - t), (1 - rho * rho) * tau * tau / 4, 1e-12);
          EXPECT_GE(t / hard[e].value, 0.5);
          EXPECT_LE(t / hard[e].value, 1);
        }
        if (nonzeros == count) {
          for (size_t e = 0; e < kept.size(); ++e) EXPECT_EQ(kept[e].value, hard[e].value);
        }
      }
    }
  }
}

TEST(ReciprocalThresholdTest, WhatDropsNothingShrinksNothing) {
  const SparseVector z = {{1, 3.0}, {4, -1.0}, {6, 0.0}};
  for (const int64_t count : {2, 3, 10}) {
    const SparseVector kept = ReciprocalThreshold(count, 1, z);
    ASSERT_EQ(kept.size(), 2);
    EXPECT_EQ(kept[0].value, 3.0);
    EXPECT_EQ(kept[1].value, -1.0);
  }
  // Equal magnitudes: the higher key is dropped and tau is the magnitude itself.
  const SparseVector tied = ReciprocalThreshold(2, 1, {{1, 2.0}, {2, -2.0}, {3, 2.0}});
  ASSERT_EQ(tied.size(), 2);
  EXPECT_EQ(tied[0].key, 1);
  EXPECT_EQ(tied[1].key, 2);
  EXPECT_NEAR(tied[0].value, 1.5, 1e-15);
  EXPECT_NEAR(tied[1].value, -1.5, 1e-15);
}

// The inequality that the bound on s~ rests on.
TEST(ReciprocalThresholdTest, KeepsTheBoundOnItsRelativeConcavity) {
  CounterRandom random(1, 7);
  for (int round = 0; round < 4000; ++round) {
    const auto size = static_cast<int64_t>(2 + random.NextBelow(12));
    const auto count = static_cast<int64_t>(1 + random.NextBelow(size));
    const auto nonzeros = static_cast<int64_t>(1 + random.NextBelow(count));
    SparseVector z;
    for (int64_t key = 0; key < size; ++key) {
      // Ties and near ties are where hard thresholding is worst.
      const bool tied = random.NextUniform() < 0.7;
      z.push_back({key, tied ? 1.0 : random.NextNormal()});
    }
    SparseVector t = Restrict(ReciprocalThreshold(count, nonzeros, z), z);
    std::vector<double> y(size, 0.0);
    const double spread = 2 * random.NextUniform();
    for (int64_t placed = 0; placed < nonzeros; ++placed) {
      const auto key = static_cast<int64_t>(random.NextBelow(size));
      y[key] = t[key].value + spread * (z[key].value - t[key].value) + 0.2 * random.NextNormal();
    }
    double inner = 0;
    double norm2 = 0;
    for (int64_t key = 0; key < size; ++key) {
      inner += (y[key] - t[key].value) * (z[key].value - t[key].value);
      norm2 += (y[key] - t[key].value) * (y[key] - t[key].value);
    }
    const double rho = static_cast<double>(nonzeros) / static_cast<double>(count);
    EXPECT_LE(inner, rho / (1 + rho) * norm2 + 1e-12);
  }
}

TEST(SupportTest, SetOperationsAgreeWithSets) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const SparseVector a = RandomVector(seed, 40, 0.3);
    const SparseVector b = RandomVector(seed + 1000, 40, 0.4);
    std::set<int64_t> expected = Keys(a);
    expected.merge(Keys(b));
    EXPECT_EQ(Keys(UnionOfSupports(a, b)), expected);
    int64_t entered = 0;
    for (const int64_t key : Keys(a)) entered += Keys(b).count(key) == 0 ? 1 : 0;
    EXPECT_EQ(CountEntered(a, b), entered);
    EXPECT_EQ(SameSupport(a, b), Keys(a) == Keys(b));
    EXPECT_TRUE(SameSupport(a, UnionOfSupports(a, {})));
    const SparseVector restricted = Restrict(a, b);
    ASSERT_TRUE(SameSupport(restricted, b));
    for (const KeyedValue& entry : restricted) {
      double value = 0;
      for (const KeyedValue& candidate : a) {
        if (candidate.key == entry.key) value = candidate.value;
      }
      EXPECT_EQ(entry.value, value);
    }
  }
}

TEST(SupportTest, GroupingByNeuronKeepsEveryEntryInOrder) {
  const SparseVector entries = RandomVector(1, 200, 0.2);
  const NeuronRows grouped = GroupByNeuron(entries, 10);
  ASSERT_TRUE(ValidateSparseRows(grouped.rows, 10).ok());
  ASSERT_EQ(grouped.rows.nonzeros(), static_cast<int64_t>(entries.size()));
  size_t at = 0;
  for (size_t k = 0; k < grouped.neurons.size(); ++k) {
    EXPECT_LT(grouped.rows.row_begin[k], grouped.rows.row_begin[k + 1]);
    for (int64_t e = grouped.rows.row_begin[k]; e < grouped.rows.row_begin[k + 1]; ++e, ++at) {
      EXPECT_EQ(grouped.neurons[k] * 10 + grouped.rows.column[e], entries[at].key);
      EXPECT_EQ(grouped.rows.value[e], entries[at].value);
    }
  }
}

}  // namespace
}  // namespace thresher
