#include "core/kernels/gate_field.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

std::vector<int64_t> Range(int64_t count) {
  std::vector<int64_t> values(count);
  for (int64_t k = 0; k < count; ++k) values[k] = k;
  return values;
}

TEST(GateFieldTest, RandomGatesAreOpenOnTheirSideAndClosedBehindTheLastSample) {
  const Design design = RandomDesign(130, 20, 1);
  Engine engine(1);
  const GateField field(RandomGateSet{42, 9}, design);
  EXPECT_EQ(field.num_live(), 9);
  const GateMasks masks = field.MasksOf(engine, design, Range(9));
  std::vector<float> gate(20);
  for (int64_t j = 0; j < 9; ++j) {
    RandomGate(42, j, gate);
    for (int64_t i = 0; i < 192; ++i) {
      double product = 0;
      for (int64_t q = 0; q < 20; ++q) {
        product += static_cast<double>(InputOf(design, i, q)) * gate[q];
      }
      if (i < 130 && std::abs(product) < 1e-5) continue;
      EXPECT_EQ(IsOpen(masks, i, j), product > 0);
    }
  }
}

TEST(GateFieldTest, SparseGatesFollowTheirVectorsAndAllOthersAreClosed) {
  const Design design = RandomDesign(100, 4, 2);
  Engine engine(1);
  const GateField field(SparseGateSet{{3, 8}, {{0, 1, 3}, {2, 0, 1}, {-1.5, 1.0, 0.5}}}, design);
  EXPECT_EQ(field.num_live(), 2);
  EXPECT_EQ(field.live(1), 8);
  const std::vector<int64_t> asked = {0, 3, 8, 9};
  const GateMasks masks = field.MasksOf(engine, design, asked);
  for (int64_t i = 0; i < 100; ++i) {
    EXPECT_FALSE(IsOpen(masks, i, 0));
    EXPECT_EQ(IsOpen(masks, i, 1), -1.5 * InputOf(design, i, 2) > 0);
    EXPECT_EQ(IsOpen(masks, i, 2), InputOf(design, i, 0) + 0.5 * InputOf(design, i, 1) > 0);
    EXPECT_FALSE(IsOpen(masks, i, 3));
  }
}

TEST(GateFieldTest, VectorsGiveTheGatesThatSparseGatesGive) {
  const Design design = RandomDesign(200, 5, 3);
  Engine engine(1);
  const SparseRows rows = RandomRows(6, 5, 1.0, 4);
  const GateVectorSet vectors{6, rows.value};
  const GateField dense(&vectors, design);
  const GateField sparse(SparseGateSet{Range(6), rows}, design);
  EXPECT_EQ(dense.MasksOf(engine, design, Range(6)).words,
            sparse.MasksOf(engine, design, Range(6)).words);
}

// Whatever the kind, kept bits and bits made again are the same, for single gates and for
// blocks.
TEST(GateFieldTest, KeptBitsEqualBitsMadeAgain) {
  const Design design = RandomDesign(700, 12, 5);
  Engine engine(2);
  const GateVectorSet vectors{10, [] {
                                const std::vector<float> floats = RandomFloats(120, 6);
                                return std::vector<double>(floats.begin(), floats.end());
                              }()};
  const SparseRows rows = RandomRows(10, 12, 0.3, 7);
  for (int kind = 0; kind < 3; ++kind) {
    const auto make = [&] {
      if (kind == 0) return GateField(RandomGateSet{5, 10}, design);
      if (kind == 1) return GateField(&vectors, design);
      return GateField(SparseGateSet{Range(10), rows}, design);
    };
    const GateField made_again = make();
    GateField kept = make();
    ASSERT_TRUE(kept.KeepMasks(engine, design, 1 << 20));
    const std::vector<int64_t> some = {1, 4, 5, 9};
    EXPECT_EQ(kept.MasksOf(engine, design, some).words,
              made_again.MasksOf(engine, design, some).words);
    const GateField::Block kept_block = kept.PrepareBlock(2, 5);
    const GateField::Block made_block = made_again.PrepareBlock(2, 5);
    std::vector<uint64_t> scratch;
    std::vector<uint64_t> kept_scratch;
    for (int64_t w = 0; w < design.num_words; ++w) {
      const uint64_t* a = kept.BlockWords(engine, design, kept_block, w, kept_scratch);
      const uint64_t* b = made_again.BlockWords(engine, design, made_block, w, scratch);
      EXPECT_TRUE(std::equal(a, a + 5, b));
    }
  }
}

TEST(GateFieldTest, KeepsMasksOnlyWithinTheLimit) {
  const Design design = RandomDesign(640, 3, 8);  // 10 words a gate
  Engine engine(1);
  GateField field(RandomGateSet{1, 4}, design);
  EXPECT_FALSE(field.KeepMasks(engine, design, 4 * 10 * 8 - 1));
  EXPECT_FALSE(field.keeps_masks());
  EXPECT_TRUE(field.KeepMasks(engine, design, 4 * 10 * 8));
  EXPECT_TRUE(field.keeps_masks());
}

}  // namespace
}  // namespace thresher
