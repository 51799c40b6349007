#include "core/recovery/exchange.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/kernels/gate_field.h"
#include "core/recovery/conditioning.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

constexpr int64_t kSamples = 500;
constexpr int64_t kInputs = 6;

std::vector<float> NormalInputs() {
  CounterRandom random(1, 1);
  std::vector<float> inputs(kSamples * kInputs);
  for (float& x : inputs) x = static_cast<float>(random.NextNormal());
  return inputs;
}

// The search on a ReLU network whose targets are its own outputs.
std::optional<Exchange> Search(const std::vector<float>& inputs, const SparseRows& weights,
                               std::stop_token stop = {}) {
  Engine engine(1, std::move(stop));
  const Design design = MakeDesign({inputs.data(), kSamples, kInputs}, /*bias=*/false);
  std::vector<int64_t> rows(weights.num_rows());
  std::iota(rows.begin(), rows.end(), 0);
  const GateField gates(SparseGateSet{rows, weights}, design);
  const GateMasks masks = gates.MasksOf(engine, design, rows);
  std::vector<double> targets(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < kSamples; ++i) {
    for (int64_t k = 0; k < weights.num_rows(); ++k) {
      double sum = 0;
      for (int64_t e = weights.row_begin[k]; e < weights.row_begin[k + 1]; ++e) {
        sum += weights.value[e] * inputs[i * kInputs + weights.column[e]];
      }
      targets[i] += std::max(sum, 0.0);
    }
  }
  const std::vector<int8_t> signs(weights.num_rows(), 1);
  return FindExchange({engine, design, masks, weights, signs, targets},
                      GatedColumnNorms(engine, design, masks, weights));
}

TEST(FindExchangeTest, FindsNoneWhereWeightsAreUnique) {
  EXPECT_FALSE(Search(NormalInputs(), {{0, 2, 4}, {0, 1, 2, 3}, {1, -2, 0.5, 3}}).has_value());
}

TEST(FindExchangeTest, FindsAMultipleOfAnInputInTheSameNeuron) {
  std::vector<float> inputs = NormalInputs();
  for (int64_t i = 0; i < kSamples; ++i) inputs[i * kInputs + 5] = -2 * inputs[i * kInputs + 1];
  const auto exchange = Search(inputs, {{0, 2, 4}, {0, 1, 2, 3}, {1, -2, 0.5, 3}});
  ASSERT_TRUE(exchange.has_value());
  EXPECT_EQ(exchange->removed_column, 1);
  EXPECT_EQ(exchange->entered_column, 5);
  EXPECT_TRUE(exchange->same_neuron);
}

TEST(FindExchangeTest, FindsACombinationAcrossNeuronsOfBinaryInputs) {
  // For inputs of 1 and -1, (x_1)_+ + (-x_0)_+ + (x_0 + x_1 / 4)_+: the gate of the last neuron
  // is x_0's, and x_1 = 2 (x_1)_+ - 1 = 2 (x_1)_+ - (x_0)_+ - (-x_0)_+, so x_1 over the gate of
  // the second neuron is a combination of the four columns.
  std::vector<float> inputs = NormalInputs();
  for (float& x : inputs) x = x > 0 ? 1.0F : -1.0F;
  EXPECT_TRUE(Search(inputs, {{0, 1, 2, 4}, {1, 0, 0, 1}, {1, -1, 1, 0.25}}).has_value());
}

TEST(FindExchangeTest, HasLimits) {
  std::vector<float> inputs = NormalInputs();
  for (int64_t i = 0; i < kSamples; ++i) inputs[i * kInputs + 5] = inputs[i * kInputs + 1];
  const SparseRows weights = {{0, 2}, {0, 1}, {1, -2}};
  EXPECT_TRUE(Search(inputs, weights).has_value());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(Search(inputs, weights, stop.get_token()).has_value());
}

}  // namespace
}  // namespace thresher
