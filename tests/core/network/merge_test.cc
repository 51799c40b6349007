#include "core/network/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "core/gates/random_gates.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

TEST(FoldConstantUnitsTest, ConstantsGoAndTheFunctionStays) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const bool bias : {false, true}) {
      for (const int64_t num_outputs : {0, 2}) {  // 0: fused
        CounterRandom random(seed, 0);
        // Few weights: many units lead nowhere or are reached by nothing or their bias.
        const SparseNetwork network =
            RandomLayeredNetwork(random, 4, {12, 12}, num_outputs, bias, 0.12);
        const SparseNetwork reduced = DropDeadNeurons(FoldConstantUnits(network));
        ASSERT_TRUE(ValidateNetwork(reduced).ok());
        EXPECT_LE(Nonzeros(reduced), Nonzeros(network));
        EXPECT_EQ(NumOutputs(reduced), NumOutputs(network));
        EXPECT_EQ(DropDeadNeurons(FoldConstantUnits(reduced)), reduced);
        for (size_t l = 0; l < reduced.upper_layers.size(); ++l) {
          const SparseRows& below = l == 0 ? reduced.weights : reduced.upper_layers[l - 1];
          const int64_t constant = l == 0   ? reduced.num_inputs
                                   : l == 1 ? reduced.weights.num_rows()
                                            : reduced.upper_layers[l - 2].num_rows();
          for (int64_t j = 0; j < below.num_rows(); ++j) {
            ASSERT_GT(below.row_begin[j + 1], below.row_begin[j]);
            EXPECT_NE(below.column[below.row_begin[j]], constant) << "a bias alone";
            EXPECT_THAT(reduced.upper_layers[l].column, testing::Contains(j));
          }
        }
        const std::vector<float> inputs = RandomInputs(random, 50, 4);
        std::vector<double> before(50 * NumOutputs(network));
        std::vector<double> after(before.size());
        ASSERT_TRUE(Evaluate(network, {inputs.data(), 50, 4}, before).ok());
        ASSERT_TRUE(Evaluate(reduced, {inputs.data(), 50, 4}, after).ok());
        for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-12);
      }
    }
  }
}

TEST(DropDeadGroupsTest, UnitsGoInWholeGroupsAndTheFunctionStays) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const bool bias : {false, true}) {
      CounterRandom random(seed, 0);
      const SparseNetwork network = RandomLayeredNetwork(random, 4, {13, 12}, 2, bias, 0.1);
      EXPECT_EQ(DropDeadGroups(network, 1), DropDeadNeurons(network));
      const SparseNetwork kept = DropDeadGroups(network, 4);
      ASSERT_TRUE(ValidateNetwork(kept).ok());
      EXPECT_EQ(DropDeadGroups(kept, 4), kept);
      EXPECT_EQ(DropDeadNeurons(kept), DropDeadNeurons(network));
      EXPECT_EQ(Nonzeros(kept), Nonzeros(DropDeadNeurons(network)));
      const std::vector<int64_t> widths = HiddenWidths(kept);
      EXPECT_TRUE(widths[0] % 4 == 0 || widths[0] % 4 == 1) << widths[0];
      EXPECT_EQ(widths[1] % 4, 0);
      const std::vector<float> inputs = RandomInputs(random, 20, 4);
      std::vector<double> before(40);
      std::vector<double> after(40);
      ASSERT_TRUE(Evaluate(network, {inputs.data(), 20, 4}, before).ok());
      ASSERT_TRUE(Evaluate(kept, {inputs.data(), 20, 4}, after).ok());
      EXPECT_EQ(before, after);
    }
  }
}

TEST(FoldConstantUnitsTest, AUnitOfABiasAloneBecomesABias) {
  // Units: 2 from the bias alone, -3 from the bias alone, x. Then 5 u_0 + 7 u_1 + 11 u_2 + 1.
  const SparseNetwork network{
      .num_inputs = 1,
      .has_bias = true,
      .weights = {.row_begin = {0, 1, 2, 3}, .column = {1, 1, 0}, .value = {2, -3, 1}},
      .output_signs = {},
      .upper_layers = {{.row_begin = {0, 4}, .column = {0, 1, 2, 3}, .value = {5, 7, 11, 1}}}};
  const SparseNetwork expected{
      .num_inputs = 1,
      .has_bias = true,
      .weights = {.row_begin = {0, 1}, .column = {0}, .value = {1}},
      .output_signs = {},
      .upper_layers = {{.row_begin = {0, 2}, .column = {0, 1}, .value = {11, 11}}}};
  EXPECT_EQ(DropDeadNeurons(FoldConstantUnits(network)), expected);
}

TEST(FoldConstantUnitsTest, ABiasThatWouldOverflowStays) {
  const SparseNetwork network{
      .num_inputs = 1,
      .has_bias = true,
      .weights = {.row_begin = {0, 1}, .column = {1}, .value = {1e200}},
      .output_signs = {},
      .upper_layers = {{.row_begin = {0, 1}, .column = {0}, .value = {1e200}}}};
  EXPECT_EQ(FoldConstantUnits(network), network);
}

}  // namespace
}  // namespace thresher
