#include "core/network/layered_network.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/gates/random_gates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;

// Rows of `num_columns` columns with about `share` of the entries.
SparseRows RandomRows(int64_t num_rows, int64_t num_columns, double share, uint64_t seed) {
  CounterRandom random(seed, 1);
  SparseRows rows;
  for (int64_t j = 0; j < num_rows; ++j) {
    for (int64_t q = 0; q < num_columns; ++q) {
      if (random.NextUniform() >= share) continue;
      rows.column.push_back(static_cast<int32_t>(q));
      rows.value.push_back(random.NextNormal());
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  return rows;
}

LayeredNetwork RandomNetwork(std::vector<int64_t> sizes, bool bias, double share, uint64_t seed) {
  LayeredNetwork network{.num_inputs = sizes.front(), .has_bias = bias};
  for (size_t l = 1; l < sizes.size(); ++l) {
    network.layers.push_back(
        RandomRows(sizes[l], sizes[l - 1] + (bias ? 1 : 0), share, seed * 100 + l));
  }
  return network;
}

std::vector<float> RandomInputs(int64_t size, uint64_t seed) {
  CounterRandom random(seed, 2);
  std::vector<float> inputs(size);
  for (float& value : inputs) value = static_cast<float>(random.NextNormal());
  return inputs;
}

// One sample, one unit after the other.
std::vector<double> PlainOutputs(const LayeredNetwork& network, std::span<const float> x) {
  std::vector<double> units(x.begin(), x.end());
  for (size_t l = 0; l < network.layers.size(); ++l) {
    if (network.has_bias) units.push_back(1);
    const SparseRows& layer = network.layers[l];
    std::vector<double> next(layer.num_rows(), 0.0);
    for (int64_t j = 0; j < layer.num_rows(); ++j) {
      for (int64_t e = layer.row_begin[j]; e < layer.row_begin[j + 1]; ++e) {
        next[j] += layer.value[e] * units[layer.column[e]];
      }
      if (l + 1 < network.layers.size()) next[j] = std::max(0.0, next[j]);
    }
    units = next;
  }
  return units;
}

TEST(LayeredNetworkTest, EvaluatesAsAPlainLoop) {
  for (const bool bias : {false, true}) {
    for (const std::vector<int64_t>& sizes :
         {std::vector<int64_t>{5, 3}, {7, 10, 1}, {6, 8, 9, 4}}) {
      const LayeredNetwork network = RandomNetwork(sizes, bias, 0.6, 3);
      ASSERT_TRUE(ValidateNetwork(network).ok());
      const int64_t n = 131;
      const std::vector<float> inputs = RandomInputs(n * sizes.front(), 4);
      const InputView view{inputs.data(), n, sizes.front()};
      std::vector<double> outputs(n * sizes.back());
      ASSERT_TRUE(Evaluate(network, view, outputs).ok());
      for (int64_t i = 0; i < n; ++i) {
        const std::vector<double> expected = PlainOutputs(network, view.row(i));
        for (int64_t k = 0; k < sizes.back(); ++k) {
          EXPECT_NEAR(outputs[i * sizes.back() + k], expected[k],
                      1e-12 * (1 + std::abs(expected[k])));
        }
      }
    }
  }
}

TEST(LayeredNetworkTest, DeadNeuronsGoAndTheFunctionStays) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const bool bias : {false, true}) {
      // Few weights: many units lead nowhere or are reached by nothing or their bias.
      LayeredNetwork network = RandomNetwork({4, 12, 12, 2}, bias, 0.12, seed);
      if (!network.layers[1].value.empty()) network.layers[1].value[0] = 0;
      const LayeredNetwork reduced = RemoveDeadNeurons(network);
      ASSERT_TRUE(ValidateNetwork(reduced).ok());
      EXPECT_LE(Nonzeros(reduced), Nonzeros(network));
      EXPECT_EQ(reduced.num_outputs(), 2);
      EXPECT_EQ(RemoveDeadNeurons(reduced), reduced);
      for (size_t l = 0; l + 1 < reduced.layers.size(); ++l) {
        for (int64_t j = 0; j < reduced.layers[l].num_rows(); ++j) {
          EXPECT_GT(reduced.layers[l].row_begin[j + 1], reduced.layers[l].row_begin[j]);
          EXPECT_THAT(reduced.layers[l + 1].column, testing::Contains(j));
        }
      }
      const std::vector<float> inputs = RandomInputs(50 * 4, seed);
      std::vector<double> before(100);
      std::vector<double> after(100);
      ASSERT_TRUE(Evaluate(network, {inputs.data(), 50, 4}, before).ok());
      ASSERT_TRUE(Evaluate(reduced, {inputs.data(), 50, 4}, after).ok());
      for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-12);
    }
  }
}

TEST(LayeredNetworkTest, ANeuronOfABiasAloneBecomesABias) {
  LayeredNetwork network{.num_inputs = 1, .has_bias = true};
  // Units: 2 from the bias alone, -3 from the bias alone, x.
  network.layers.push_back({{0, 1, 2, 3}, {1, 1, 0}, {2, -3, 1}});
  // 5 u_0 + 7 u_1 + 11 u_2 + 1.
  network.layers.push_back({{0, 4}, {0, 1, 2, 3}, {5, 7, 11, 1}});
  const LayeredNetwork reduced = RemoveDeadNeurons(network);
  LayeredNetwork expected{.num_inputs = 1, .has_bias = true};
  expected.layers.push_back({{0, 1}, {0}, {1}});
  expected.layers.push_back({{0, 2}, {0, 1}, {11, 11}});
  EXPECT_EQ(reduced, expected);
  EXPECT_EQ(ActiveNeurons(network), 3);
  EXPECT_EQ(ActiveNeurons(reduced), 1);
}

TEST(LayeredNetworkTest, ANetworkWithoutAnyWeightIsZero) {
  LayeredNetwork network = RandomNetwork({3, 4, 2}, false, 0.0, 1);
  const LayeredNetwork reduced = RemoveDeadNeurons(network);
  EXPECT_EQ(reduced.layers[0].num_rows(), 0);
  ASSERT_TRUE(ValidateNetwork(reduced).ok());
  const std::vector<float> inputs = {1, 2, 3};
  std::vector<double> outputs(2, 5.0);
  ASSERT_TRUE(Evaluate(reduced, {inputs.data(), 1, 3}, outputs).ok());
  EXPECT_EQ(outputs, std::vector<double>({0, 0}));
}

TEST(LayeredNetworkTest, ANanInputShowsInTheOutput) {
  const LayeredNetwork network = RandomNetwork({3, 4, 1}, false, 1.0, 1);
  const std::vector<float> inputs = {1, std::numeric_limits<float>::quiet_NaN(), 3};
  std::vector<double> outputs(1);
  ASSERT_TRUE(Evaluate(network, {inputs.data(), 1, 3}, outputs).ok());
  EXPECT_TRUE(std::isnan(outputs[0]));
}

TEST(LayeredNetworkTest, FaultsNameTheField) {
  const LayeredNetwork good = RandomNetwork({3, 4, 2}, true, 0.5, 1);
  LayeredNetwork network = good;
  network.num_inputs = 0;
  EXPECT_THAT(ValidateNetwork(network).message(), HasSubstr("num_inputs"));
  network = good;
  network.layers.clear();
  EXPECT_THAT(ValidateNetwork(network).message(), HasSubstr("layers"));
  network = good;
  network.layers[1].row_begin.clear();
  EXPECT_THAT(ValidateNetwork(network).message(), HasSubstr("layer 1"));
  network = good;
  network.layers[1] = {{0, 1, 1}, {5}, {1}};  // 4 units and the constant
  EXPECT_THAT(ValidateNetwork(network).message(), HasSubstr("layer 1"));
  network = good;
  network.layers[1] = {};
  EXPECT_THAT(ValidateNetwork(network).message(), HasSubstr("output"));
  std::vector<double> outputs(3);
  const std::vector<float> inputs(6);
  EXPECT_FALSE(Evaluate(good, {inputs.data(), 2, 3}, outputs).ok());
  EXPECT_FALSE(Evaluate(good, {inputs.data(), 3, 2}, outputs).ok());
}

}  // namespace
}  // namespace thresher
