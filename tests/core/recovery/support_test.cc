#include "core/recovery/support.h"

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
