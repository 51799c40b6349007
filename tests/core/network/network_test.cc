#include "core/network/network.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "core/gates/random_gates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void ExpectInvalid(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

// Dense and plain: weights as a full matrix, the constant input appended.
std::vector<std::vector<double>> Dense(const SparseRows& rows, int64_t num_columns) {
  std::vector<std::vector<double>> dense(static_cast<size_t>(rows.num_rows()),
                                         std::vector<double>(static_cast<size_t>(num_columns)));
  for (size_t j = 0; j < dense.size(); ++j) {
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      dense[j][static_cast<size_t>(rows.column[static_cast<size_t>(e)])] =
          rows.value[static_cast<size_t>(e)];
    }
  }
  return dense;
}

std::vector<double> WithConstant(std::span<const float> x, bool has_bias) {
  std::vector<double> extended(x.begin(), x.end());
  if (has_bias) extended.push_back(1);
  return extended;
}

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t q = 0; q < a.size(); ++q) sum += a[q] * b[q];
  return sum;
}

class EvaluateTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Bias, EvaluateTest, ::testing::Bool(), [](const auto& bias) {
  return bias.param ? std::string("WithBias") : std::string("WithoutBias");
});

TEST_P(EvaluateTest, SparseNetworkAgreesWithThePlainSum) {
  CounterRandom random(1, GetParam() ? 1 : 0);
  for (const int64_t width : {0, 1, 2, 17}) {
    for (const int64_t num_inputs : {1, 2, 9}) {
      SparseNetwork network = RandomSparseNetwork(random, width, num_inputs, GetParam(), 0.4);
      if (width % 2 == 1) {
        for (int64_t q = 0; q < network.num_columns(); ++q) {
          network.linear.push_back(random.NextNormal());
        }
      }
      const std::vector<float> data = RandomInputs(random, 20, num_inputs);
      const InputView inputs{data.data(), 20, num_inputs};
      std::vector<double> outputs(20, -1);
      ASSERT_TRUE(Evaluate(network, inputs, outputs).ok());
      const auto dense = Dense(network.weights, network.num_columns());
      for (int64_t i = 0; i < 20; ++i) {
        const std::vector<double> x = WithConstant(inputs.row(i), GetParam());
        double expected = network.linear.empty() ? 0 : Dot(x, network.linear);
        for (size_t j = 0; j < dense.size(); ++j) {
          expected += network.output_signs[j] * std::max(0.0, Dot(x, dense[j]));
        }
        EXPECT_NEAR(outputs[static_cast<size_t>(i)], expected, 1e-12);
      }
    }
  }
}

// One layer after the other on dense matrices.
std::vector<double> PlainOutputs(const SparseNetwork& network, std::span<const float> x) {
  std::vector<SparseRows> matrices = {network.weights};
  matrices.insert(matrices.end(), network.upper_layers.begin(), network.upper_layers.end());
  std::vector<double> values(x.begin(), x.end());
  for (size_t l = 0; l < matrices.size(); ++l) {
    if (network.has_bias) values.push_back(1);
    std::vector<double> next;
    for (const auto& row : Dense(matrices[l], static_cast<int64_t>(values.size()))) {
      const double sum = Dot(row, values);
      const bool is_output = network.output_signs.empty() && l + 1 == matrices.size();
      next.push_back(is_output ? sum : std::max(0.0, sum));
    }
    values = std::move(next);
  }
  if (network.output_signs.empty()) return values;
  double sum = 0;
  for (size_t j = 0; j < values.size(); ++j) sum += network.output_signs[j] * values[j];
  return {sum};
}

TEST_P(EvaluateTest, LayersAndOutputsAgreeWithThePlainLoop) {
  CounterRandom random(4, GetParam() ? 1 : 0);
  constexpr int64_t kSamples = 70;  // more than a block
  for (const std::vector<int64_t>& widths :
       std::vector<std::vector<int64_t>>{{5}, {1}, {6, 3}, {2, 7}, {4, 1, 5}}) {
    for (int64_t num_outputs = 0; num_outputs <= 5; ++num_outputs) {
      const SparseNetwork network =
          RandomLayeredNetwork(random, 4, widths, num_outputs, GetParam(), 0.6);
      ASSERT_TRUE(ValidateNetwork(network).ok()) << ValidateNetwork(network);
      EXPECT_EQ(IsFused(network), num_outputs == 0);
      EXPECT_EQ(HiddenWidths(network), widths);
      const auto k = static_cast<size_t>(NumOutputs(network));
      EXPECT_EQ(k, static_cast<size_t>(std::max<int64_t>(num_outputs, 1)));
      const std::vector<float> data = RandomInputs(random, kSamples, 4);
      const InputView inputs{data.data(), kSamples, 4};
      std::vector<double> outputs(kSamples * k, -1);
      ASSERT_TRUE(Evaluate(network, inputs, outputs).ok());
      for (int64_t i = 0; i < kSamples; ++i) {
        const std::vector<double> expected = PlainOutputs(network, inputs.row(i));
        ASSERT_EQ(expected.size(), k);
        for (size_t c = 0; c < k; ++c) {
          EXPECT_NEAR(outputs[static_cast<size_t>(i) * k + c], expected[c], 1e-11);
        }
      }
    }
  }
}

// Beyond 2^20 units blocks of samples are smaller.
TEST(EvaluateWideTest, ManyUnitsGiveTheSameBits) {
  CounterRandom random(5, 0);
  SparseNetwork network = RandomLayeredNetwork(random, 4, {6, 3}, 2, true, 0.7);
  const std::vector<float> data = RandomInputs(random, 70, 4);
  std::vector<double> outputs(140);
  ASSERT_TRUE(Evaluate(network, {data.data(), 70, 4}, outputs).ok());
  // Units without weights in front of the constant's column.
  constexpr int32_t kMore = 1 << 20;
  network.weights.row_begin.resize(network.weights.row_begin.size() + kMore,
                                   network.weights.nonzeros());
  for (int32_t& column : network.upper_layers[0].column) column += column == 6 ? kMore : 0;
  std::vector<double> wide_outputs(140);
  ASSERT_TRUE(Evaluate(network, {data.data(), 70, 4}, wide_outputs).ok());
  EXPECT_EQ(outputs, wide_outputs);
}

TEST_P(EvaluateTest, GatedNetworkAgreesWithThePlainSumForBothKindsOfGates) {
  CounterRandom random(2, GetParam() ? 1 : 0);
  for (const bool vectors : {false, true}) {
    const GatedNetwork network = RandomGatedNetwork(random, 12, 5, GetParam(), vectors, 0.5);
    const std::vector<float> data = RandomInputs(random, 30, 5);
    const InputView inputs{data.data(), 30, 5};
    std::vector<double> outputs(30, -1);
    ASSERT_TRUE(Evaluate(network, inputs, outputs).ok());
    const auto dense = Dense(network.weights, network.num_columns());
    for (int64_t i = 0; i < 30; ++i) {
      const std::vector<double> x = WithConstant(inputs.row(i), GetParam());
      double expected = 0;
      for (size_t k = 0; k < dense.size(); ++k) {
        std::vector<double> gate(x.size());
        if (vectors) {
          const auto& all = std::get<GateVectorSet>(network.gates).vectors;
          const auto begin = all.begin() + network.gate_index[k] * network.num_columns();
          gate.assign(begin, begin + network.num_columns());
        } else {
          std::vector<float> entries(x.size());
          RandomGate(std::get<RandomGateSet>(network.gates).seed, network.gate_index[k], entries);
          gate.assign(entries.begin(), entries.end());
        }
        if (Dot(x, gate) > 0) expected += Dot(x, dense[k]);
      }
      EXPECT_NEAR(outputs[static_cast<size_t>(i)], expected, 1e-12);
    }
  }
}

// A ReLU network is the gated one whose gates are its own weights.
TEST_P(EvaluateTest, GatesEqualToTheWeightsGiveTheReluNetwork) {
  CounterRandom random(3, GetParam() ? 1 : 0);
  const SparseNetwork relu = RandomSparseNetwork(random, 6, 4, GetParam(), 0.6);
  GatedNetwork gated;
  gated.num_inputs = relu.num_inputs;
  gated.has_bias = relu.has_bias;
  gated.weights = relu.weights;
  GateVectorSet gates{.num_gates = 6, .vectors = {}};
  for (const std::vector<double>& row : Dense(relu.weights, relu.num_columns())) {
    gates.vectors.insert(gates.vectors.end(), row.begin(), row.end());
  }
  gated.gates = gates;
  for (int64_t j = 0; j < 6; ++j) {
    gated.gate_index.push_back(j);
    const auto row = static_cast<size_t>(j);
    for (int64_t e = relu.weights.row_begin[row]; e < relu.weights.row_begin[row + 1]; ++e) {
      gated.weights.value[static_cast<size_t>(e)] *= relu.output_signs[row];
    }
  }
  const std::vector<float> data = RandomInputs(random, 50, 4);
  std::vector<double> relu_outputs(50);
  std::vector<double> gated_outputs(50);
  ASSERT_TRUE(Evaluate(Network(relu), {data.data(), 50, 4}, relu_outputs).ok());
  ASSERT_TRUE(Evaluate(Network(gated), {data.data(), 50, 4}, gated_outputs).ok());
  for (size_t i = 0; i < 50; ++i) EXPECT_NEAR(relu_outputs[i], gated_outputs[i], 1e-12);
}

SparseNetwork SmallNetwork() {
  return {.num_inputs = 2,
          .has_bias = true,
          .weights = {.row_begin = {0, 2, 3}, .column = {0, 2, 1}, .value = {2, -1, 3}},
          .output_signs = {1, -1}};
}

GatedNetwork SmallGatedNetwork() {
  return {.num_inputs = 2,
          .has_bias = false,
          .gates = GateVectorSet{.num_gates = 3, .vectors = {1, 0, 0, 1, 1, 1}},
          .gate_index = {0, 2},
          .weights = {.row_begin = {0, 1, 2}, .column = {0, 1}, .value = {1, 2}}};
}

TEST(EvaluateByHandTest, SmallNetworks) {
  const std::vector<float> data = {1, 1, 0, -1, 3, 0};
  std::vector<double> outputs(3);
  ASSERT_TRUE(Evaluate(SmallNetwork(), {data.data(), 3, 2}, outputs).ok());
  EXPECT_THAT(outputs, ElementsAre(1 - 3, 0, 5));
  ASSERT_TRUE(Evaluate(SmallGatedNetwork(), {data.data(), 3, 2}, outputs).ok());
  EXPECT_THAT(outputs, ElementsAre(1 + 2, 0, 3));
}

// At x . h = 0 the gate is closed, even where x . w is not 0.
TEST(EvaluateByHandTest, GateIsClosedAtZero) {
  GatedNetwork network = SmallGatedNetwork();
  const std::vector<float> data = {1, -1};
  std::vector<double> outputs(1);
  ASSERT_TRUE(Evaluate(network, {data.data(), 1, 2}, outputs).ok());
  EXPECT_THAT(outputs, ElementsAre(1));  // gate 2, (1, 1), is closed
}

TEST(EvaluateByHandTest, NanInputsShowInTheOutput) {
  const std::vector<float> data = {std::numeric_limits<float>::quiet_NaN(), 1};
  std::vector<double> outputs(1);
  ASSERT_TRUE(Evaluate(SmallNetwork(), {data.data(), 1, 2}, outputs).ok());
  EXPECT_TRUE(std::isnan(outputs[0]));
}

TEST(EvaluateByHandTest, NoSamplesAreNoError) {
  EXPECT_TRUE(Evaluate(SmallNetwork(), {nullptr, 0, 2}, {}).ok());
  EXPECT_TRUE(Evaluate(SmallGatedNetwork(), {nullptr, 0, 2}, {}).ok());
}

TEST(EvaluateErrorsTest, NameWhatDisagrees) {
  const std::vector<float> data(6);
  std::vector<double> outputs(3);
  ExpectInvalid(Evaluate(SmallNetwork(), {data.data(), 2, 3}, std::span(outputs).first(2)),
                "inputs have 3 columns, but the network takes 2");
  ExpectInvalid(Evaluate(SmallNetwork(), {data.data(), 2, 2}, outputs), "outputs have 3 entries");
  ExpectInvalid(Evaluate(SmallNetwork(), {nullptr, 3, 2}, outputs), "no data");
  ExpectInvalid(Evaluate(SmallGatedNetwork(), {data.data(), -1, 2}, {}), "num_samples = -1");
  SparseNetwork broken = SmallNetwork();
  broken.weights.row_begin = {0, 5, 3};
  ExpectInvalid(Evaluate(broken, {data.data(), 3, 2}, outputs), "row_begin");
}

TEST(ValidateSparseRowsTest, AcceptsTheBoundaries) {
  EXPECT_TRUE(ValidateSparseRows({}, 1).ok());
  EXPECT_TRUE(ValidateSparseRows({{0, 0, 0}, {}, {}}, 1).ok());
  EXPECT_TRUE(ValidateSparseRows({{0, 2}, {0, 6}, {1, -1}}, 7).ok());
}

TEST(ValidateSparseRowsTest, RefusesEachFault) {
  ExpectInvalid(ValidateSparseRows({{}, {}, {}}, 3), "row_begin");
  ExpectInvalid(ValidateSparseRows({{1, 1}, {0}, {1}}, 3), "row_begin must start with 0");
  ExpectInvalid(ValidateSparseRows({{0, 2}, {0}, {1}}, 3), "row_begin must start with 0");
  ExpectInvalid(ValidateSparseRows({{0, 2, 1, 2}, {0, 1}, {1, 1}}, 3), "must not descend");
  ExpectInvalid(ValidateSparseRows({{0, -5, 2}, {0, 1}, {1, 1}}, 3), "must not descend");
  ExpectInvalid(ValidateSparseRows({{0, 1}, {0}, {1, 2}}, 3), "2 values for 1 column");
  ExpectInvalid(ValidateSparseRows({{0, 1}, {3}, {1}}, 3), "column 3 in row 0");
  ExpectInvalid(ValidateSparseRows({{0, 1}, {-1}, {1}}, 3), "column -1 in row 0");
  ExpectInvalid(ValidateSparseRows({{0, 2}, {1, 1}, {1, 1}}, 3), "1 follows 1");
  ExpectInvalid(ValidateSparseRows({{0, 2}, {2, 1}, {1, 1}}, 3), "1 follows 2");
  ExpectInvalid(ValidateSparseRows({{0, 1}, {0}, {kNan}}, 3), "row 0, column 0 is not finite");
  ExpectInvalid(ValidateSparseRows({{0, 1}, {0}, {-kInfinity}}, 3), "not finite");
}

TEST(ValidateNetworkTest, RefusesEachFaultOfASparseNetwork) {
  EXPECT_TRUE(ValidateNetwork(SmallNetwork()).ok());
  for (const int64_t num_inputs :
       {int64_t{0}, int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max()}) {
    SparseNetwork network = SmallNetwork();
    network.num_inputs = num_inputs;
    ExpectInvalid(ValidateNetwork(network), "num_inputs");
  }
  SparseNetwork network = SmallNetwork();
  network.has_bias = false;  // leaves the constant's weight without a column
  ExpectInvalid(ValidateNetwork(network), "column 2");
  network = SmallNetwork();
  network.output_signs.pop_back();
  ExpectInvalid(ValidateNetwork(network), "output_signs has 1 entries for 2 neurons");
  network = SmallNetwork();
  network.linear.assign(network.num_columns() + 1, 1.0);
  ExpectInvalid(ValidateNetwork(network), "linear has 4 entries for 3 columns");
  network.linear.assign(network.num_columns(), std::numeric_limits<double>::infinity());
  ExpectInvalid(ValidateNetwork(network), "linear");
  for (const int8_t sign : {0, 2, -2}) {
    network = SmallNetwork();
    network.output_signs[1] = sign;
    ExpectInvalid(ValidateNetwork(network), "output_signs: entry 1");
  }
}

// Two inputs, layers of 2 and 1 units, 2 outputs.
SparseNetwork SmallLayeredNetwork() {
  return {.num_inputs = 2,
          .has_bias = true,
          .weights = {.row_begin = {0, 2, 3}, .column = {0, 2, 1}, .value = {2, -1, 3}},
          .output_signs = {},
          .upper_layers = {{.row_begin = {0, 3}, .column = {0, 1, 2}, .value = {1, -2, 5}},
                           {.row_begin = {0, 1, 3}, .column = {0, 0, 1}, .value = {3, -1, 2}}}};
}

TEST(EvaluateByHandTest, SmallLayeredNetwork) {
  const std::vector<float> data = {1, 1, 0, -1};
  std::vector<double> outputs(4);
  // z_1 = (1, 3) and (0, 0), z_2 = 1 - 6 + 5 = 0 and 5.
  ASSERT_TRUE(Evaluate(SmallLayeredNetwork(), {data.data(), 2, 2}, outputs).ok());
  EXPECT_THAT(outputs, ElementsAre(0, 2, 15, -3));
  SparseNetwork fused = SmallLayeredNetwork();
  fused.upper_layers.pop_back();
  fused.output_signs = {-1};
  outputs.resize(2);
  ASSERT_TRUE(Evaluate(fused, {data.data(), 2, 2}, outputs).ok());
  EXPECT_THAT(outputs, ElementsAre(0, -5));
  ExpectInvalid(Evaluate(SmallLayeredNetwork(), {data.data(), 2, 2}, outputs),
                "2 entries for 2 samples and num_outputs = 2");
}

TEST(ValidateNetworkTest, RefusesEachFaultOfALayeredNetwork) {
  EXPECT_TRUE(ValidateNetwork(SmallLayeredNetwork()).ok());
  SparseNetwork network = SmallLayeredNetwork();
  network.upper_layers[0].column[2] = 3;
  ExpectInvalid(ValidateNetwork(network), "layer_2: column 3 in row 0 lies outside [0, 3)");
  network = SmallLayeredNetwork();
  network.upper_layers[1].column[2] = 2;
  ExpectInvalid(ValidateNetwork(network), "layer_3: column 2");
  network = SmallLayeredNetwork();
  network.has_bias = false;
  network.weights = {.row_begin = {0, 1, 2}, .column = {0, 1}, .value = {2, 3}};
  ExpectInvalid(ValidateNetwork(network), "layer_2: column 2");
  network = SmallLayeredNetwork();
  network.upper_layers[1].value[0] = kNan;
  ExpectInvalid(ValidateNetwork(network), "layer_3: the value in row 0, column 0 is not finite");
  network = SmallLayeredNetwork();
  network.upper_layers[1] = {};
  ExpectInvalid(ValidateNetwork(network), "layer_3: has no rows");
  network = SmallLayeredNetwork();
  network.output_signs = {1};
  ExpectInvalid(ValidateNetwork(network), "output_signs has 1 entries for 2 neurons");
  network.output_signs = {1, 0};
  ExpectInvalid(ValidateNetwork(network), "output_signs: entry 1");
  network.output_signs = {1, -1};
  EXPECT_TRUE(ValidateNetwork(network).ok());
  network.linear.assign(3, 1.0);
  ExpectInvalid(ValidateNetwork(network), "linear: a linear term needs");
  network = SmallLayeredNetwork();
  const SparseRows one_unit{.row_begin = {0, 1}, .column = {0}, .value = {1}};
  network.upper_layers.assign(kMaxHiddenLayers, one_unit);
  EXPECT_TRUE(ValidateNetwork(network).ok());
  network.upper_layers.push_back(one_unit);
  ExpectInvalid(ValidateNetwork(network), "upper_layers make 17 hidden layers");
}

TEST(ValidateNetworkTest, CountsAreOverAllLayers) {
  SparseNetwork network = SmallLayeredNetwork();
  EXPECT_EQ(Nonzeros(network), 9);
  EXPECT_EQ(Nonzeros(Network(network)), 9);
  EXPECT_EQ(ActiveNeurons(network), 3);
  network.upper_layers[0].value = {0, 0, 0};
  EXPECT_EQ(Nonzeros(network), 6);
  EXPECT_EQ(ActiveNeurons(Network(network)), 2);
  // As many units, the last ones hidden.
  network.output_signs = {1, 1};
  EXPECT_EQ(ActiveNeurons(network), 4);
  EXPECT_EQ(HiddenWidths(Network(network)), (std::vector<int64_t>{2, 1, 2}));
}

TEST(ValidateNetworkTest, RefusesEachFaultOfAGatedNetwork) {
  EXPECT_TRUE(ValidateNetwork(SmallGatedNetwork()).ok());
  GatedNetwork network = SmallGatedNetwork();
  network.num_inputs = 0;
  ExpectInvalid(ValidateNetwork(network), "num_inputs");
  network = SmallGatedNetwork();
  network.gates = GateVectorSet{.num_gates = 3, .vectors = {1, 2, 3, 4, 5}};
  ExpectInvalid(ValidateNetwork(network), "vectors hold 5 entries");
  // 3 + 2^63 gates of 2 columns would wrap around to the right product.
  network.gates = GateVectorSet{.num_gates = std::numeric_limits<int64_t>::min() + 3,
                                .vectors = {1, 0, 0, 1, 1, 1}};
  ExpectInvalid(ValidateNetwork(network), "vectors hold 6 entries");
  network.gates = GateVectorSet{.num_gates = 3, .vectors = {1, 0, 0, kNan, 1, 1}};
  ExpectInvalid(ValidateNetwork(network), "entry 1 of gate 1 is not finite");
  network.gates = RandomGateSet{.seed = 1, .num_gates = -1};
  ExpectInvalid(ValidateNetwork(network), "num_gates is -1");
  network.gates = RandomGateSet{.seed = 1, .num_gates = 3};
  EXPECT_TRUE(ValidateNetwork(network).ok());
  network.gates = RandomGateSet{.seed = 1, .num_gates = 2};
  ExpectInvalid(ValidateNetwork(network), "gate_index: 2 lies outside [0, 2)");
  network = SmallGatedNetwork();
  network.gate_index = {-1, 2};
  ExpectInvalid(ValidateNetwork(network), "gate_index: -1");
  network.gate_index = {1, 1};
  ExpectInvalid(ValidateNetwork(network), "gate_index must ascend");
  network.gate_index = {1};
  ExpectInvalid(ValidateNetwork(network), "gate_index has 1 entries for 2 rows");
}

TEST(CountsTest, IgnoreStoredZerosAndEmptyRows) {
  SparseNetwork network = SmallNetwork();
  EXPECT_EQ(NumInputs(network), 2);
  EXPECT_EQ(Nonzeros(network), 3);
  EXPECT_EQ(ActiveNeurons(network), 2);
  network.weights.value[2] = -0.0;
  EXPECT_EQ(Nonzeros(network), 2);
  EXPECT_EQ(ActiveNeurons(network), 1);
  EXPECT_EQ(Nonzeros(SmallGatedNetwork()), 2);
  EXPECT_EQ(ActiveNeurons(SmallGatedNetwork()), 2);
  EXPECT_EQ(ActiveNeurons(SparseNetwork{}), 0);
}

}  // namespace
}  // namespace thresher
