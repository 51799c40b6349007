// A linear term and the sides of neurons: the same function, without the term.
#include "core/network/absorb_linear.h"

#include <algorithm>
#include <cmath>

#include "core/network/compare.h"
#include "core/network/merge.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

constexpr int64_t kInputs = 12;
constexpr int64_t kSamples = 200;

class AbsorbLinearTest : public testing::TestWithParam<uint64_t> {
 protected:
  AbsorbLinearTest() : random_(GetParam(), 3), inputs_(RandomInputs(random_, kSamples, kInputs)) {}

  InputView view() const { return {inputs_.data(), kSamples, kInputs}; }

  std::vector<double> OutputsOf(const SparseNetwork& network) const {
    std::vector<double> outputs(kSamples);
    EXPECT_TRUE(Evaluate(network, view(), outputs).ok());
    return outputs;
  }

  void ExpectSameFunction(const SparseNetwork& a, const SparseNetwork& b) const {
    const std::vector<double> of_a = OutputsOf(a);
    const std::vector<double> of_b = OutputsOf(b);
    for (size_t i = 0; i < of_a.size(); ++i) EXPECT_NEAR(of_a[i], of_b[i], 1e-3);
  }

  SparseNetwork WithLinear(bool has_bias) {
    SparseNetwork network = RandomSparseNetwork(random_, 10, kInputs, has_bias, 0.25);
    for (int64_t q = 0; q < network.num_columns(); ++q) {
      network.linear.push_back(random_.NextNormal());
    }
    return network;
  }

  // Every second neuron of several weights stands on its other side, beside a linear term.
  static SparseNetwork TurnEverySecond(const SparseNetwork& network) {
    SparseNetwork turned = network;
    turned.linear.assign(static_cast<size_t>(network.num_columns()), 0.0);
    for (int64_t j = 0; j < network.hidden_width(); j += 2) {
      for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
        turned.linear[network.weights.column[e]] +=
            network.output_signs[j] * network.weights.value[e];
        turned.weights.value[e] = -network.weights.value[e];
      }
    }
    return turned;
  }

  CounterRandom random_;
  std::vector<float> inputs_;
};

TEST_P(AbsorbLinearTest, OrientingKeepsTheFunctionAndMakesTheLargestWeightPositive) {
  for (const bool has_bias : {false, true}) {
    const SparseNetwork network = WithLinear(has_bias);
    const SparseNetwork oriented = OrientNeurons(network);
    ExpectSameFunction(network, oriented);
    for (int64_t j = 0; j < oriented.hidden_width(); ++j) {
      const auto begin = oriented.weights.value.begin() + oriented.weights.row_begin[j];
      const auto end = oriented.weights.value.begin() + oriented.weights.row_begin[j + 1];
      if (begin == end) continue;
      EXPECT_GT(*std::max_element(begin, end), -*std::min_element(begin, end) - 1e-12);
    }
  }
}

TEST_P(AbsorbLinearTest, WithMixedSignsAnyLinearTermIsTakenUp) {
  for (const bool has_bias : {false, true}) {
    const SparseNetwork network = WithLinear(has_bias);
    const SparseNetwork absorbed = AbsorbLinear(network, OutputSigns::kMixed);
    EXPECT_TRUE(absorbed.linear.empty());
    EXPECT_TRUE(ValidateNetwork(absorbed).ok());
    ExpectSameFunction(network, absorbed);
    EXPECT_LE(absorbed.weights.nonzeros(),
              network.weights.nonzeros() + 2 * static_cast<int64_t>(network.linear.size()));
  }
}

TEST_P(AbsorbLinearTest, FindsTheSidesOfANetworkWithoutALinearTerm) {
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    SparseNetwork network = DropDeadNeurons(RandomSparseNetwork(random_, 14, kInputs, false, 0.35));
    if (signs == OutputSigns::kPositive) {
      std::fill(network.output_signs.begin(), network.output_signs.end(), int8_t{1});
    }
    const SparseNetwork absorbed = AbsorbLinear(TurnEverySecond(network), signs);
    const auto comparison = CompareNetworks(absorbed, network, view());
    ASSERT_TRUE(comparison.ok());
    EXPECT_LT(comparison->relative_weight_error, 1e-9);
    EXPECT_EQ(comparison->candidate_neurons, comparison->reference_neurons);
  }
}

TEST_P(AbsorbLinearTest, SparsestSidesFindATermOfFewEntriesAgain) {
  for (const bool has_bias : {false, true}) {
    SparseNetwork network =
        DropDeadNeurons(RandomSparseNetwork(random_, 6, kInputs, has_bias, 0.25));
    network.linear.assign(network.num_columns(), 0.0);
    for (const int64_t q : {1, 4, 9}) network.linear[q] = 1 + random_.NextUniform();
    if (has_bias) network.linear.back() = 3;
    const SparseNetwork oriented = OrientNeurons(network);
    const SparseNetwork found = SparsestSides(oriented, 1e-5);
    EXPECT_TRUE(ValidateNetwork(found).ok());
    ExpectSameFunction(network, found);
    EXPECT_EQ(found.weights.nonzeros(), network.weights.nonzeros());
    int64_t entries = 0;
    for (int64_t q = 0; q < kInputs; ++q) entries += std::abs(found.linear[q]) > 1e-5 ? 1 : 0;
    EXPECT_LE(entries, 3);
  }
}

TEST_P(AbsorbLinearTest, WithPositiveSignsNoNeuronSubtracts) {
  SparseNetwork network = WithLinear(/*has_bias=*/true);
  std::fill(network.output_signs.begin(), network.output_signs.end(), int8_t{1});
  const SparseNetwork absorbed = AbsorbLinear(network, OutputSigns::kPositive);
  for (const int8_t sign : absorbed.output_signs) EXPECT_EQ(sign, 1);
  EXPECT_TRUE(absorbed.linear.empty());
}

// More neurons an input than sums can decide: sides that hold the function with positive signs are
// searched for. Beside (x_q)_+ and (-x_q)_+ many sides do.
TEST_P(AbsorbLinearTest, WithPositiveSignsFindsSidesThatHoldTheFunction) {
  SparseNetwork network;
  network.num_inputs = kInputs;
  const auto add = [&](std::vector<int32_t> columns) {
    for (const int32_t column : columns) {
      network.weights.column.push_back(column);
      network.weights.value.push_back(random_.NextNormal());
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
    network.output_signs.push_back(1);
  };
  for (int j = 0; j < 120; ++j) {
    const auto first = static_cast<int32_t>(random_.NextBelow(kInputs));
    const auto second = static_cast<int32_t>(random_.NextBelow(kInputs - 1));
    add({std::min(first, second + (second >= first ? 1 : 0)),
         std::max(first, second + (second >= first ? 1 : 0))});
  }
  for (int32_t q = 0; q < kInputs; ++q) {
    add({q});
    add({q});
    add({q});
  }
  const SparseNetwork absorbed =
      AbsorbLinear(OrientNeurons(TurnEverySecond(network)), OutputSigns::kPositive);
  for (const int8_t sign : absorbed.output_signs) EXPECT_EQ(sign, 1);
  ExpectSameFunction(network, absorbed);
  EXPECT_LE(absorbed.weights.nonzeros(), 2 * 120 + 2 * kInputs);
}

TEST(AbsorbLinearEdgesTest, AnInputWithoutNeuronsIsNoObstacle) {
  SparseNetwork network;
  network.num_inputs = 3;
  network.weights = {{0, 2}, {0, 1}, {1.0, 0.5}};
  network.output_signs = {1};
  network.linear = {0, 0, 3};
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    const SparseNetwork absorbed = AbsorbLinear(network, signs);
    EXPECT_EQ(absorbed.num_inputs, 3);
    EXPECT_TRUE(ValidateNetwork(absorbed).ok());
    EXPECT_GE(absorbed.hidden_width(), 2);
  }
}

TEST(AbsorbLinearEdgesTest, ALinearFunctionIsTwoHalves) {
  SparseNetwork network;
  network.num_inputs = 3;
  network.linear = {0, -2, 0};
  const SparseNetwork absorbed = AbsorbLinear(network, OutputSigns::kMixed);
  EXPECT_EQ(absorbed.weights.column, (std::vector<int32_t>{1, 1}));
  EXPECT_EQ(absorbed.weights.value, (std::vector<double>{2, -2}));
  EXPECT_EQ(absorbed.output_signs, (std::vector<int8_t>{-1, 1}));
  EXPECT_EQ(AbsorbLinear(network, OutputSigns::kPositive).weights.nonzeros(), 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AbsorbLinearTest, testing::Range<uint64_t>(0, 10));

}  // namespace
}  // namespace thresher
