#include "core/network/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "core/network/merge.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Dense = std::vector<std::vector<double>>;

SparseNetwork FromDense(const Dense& rows, std::vector<int8_t> signs) {
  SparseNetwork network;
  network.num_inputs = static_cast<int64_t>(rows.empty() ? 1 : rows[0].size());
  for (const std::vector<double>& row : rows) {
    for (size_t q = 0; q < row.size(); ++q) {
      if (row[q] == 0) continue;
      network.weights.column.push_back(static_cast<int32_t>(q));
      network.weights.value.push_back(row[q]);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
  }
  network.output_signs = std::move(signs);
  return network;
}

Dense ToDense(const SparseNetwork& network) {
  Dense rows(static_cast<size_t>(network.hidden_width()),
             std::vector<double>(static_cast<size_t>(network.num_columns())));
  for (size_t j = 0; j < rows.size(); ++j) {
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      rows[j][static_cast<size_t>(network.weights.column[static_cast<size_t>(e)])] =
          network.weights.value[static_cast<size_t>(e)];
    }
  }
  return rows;
}

NetworkComparison Compare(const SparseNetwork& candidate, const SparseNetwork& reference) {
  CounterRandom random(99, 0);
  const std::vector<float> data = RandomInputs(random, 64, reference.num_inputs);
  absl::StatusOr<NetworkComparison> comparison =
      CompareNetworks(candidate, reference, {data.data(), 64, reference.num_inputs});
  EXPECT_TRUE(comparison.ok()) << comparison.status();
  return comparison.value_or(NetworkComparison());
}

void ExpectEqualNetworks(const NetworkComparison& comparison) {
  EXPECT_EQ(comparison.support_recall, 1);
  EXPECT_EQ(comparison.support_precision, 1);
  EXPECT_TRUE(comparison.same_support);
  EXPECT_LT(comparison.relative_weight_error, 1e-14);
  EXPECT_LT(comparison.relative_function_error, 1e-14);
  EXPECT_GT(comparison.psnr_db, 250);
}

SparseNetwork Permuted(const SparseNetwork& network, CounterRandom& random) {
  const Dense rows = ToDense(network);
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[random.NextBelow(k)]);
  Dense permuted;
  std::vector<int8_t> signs;
  for (const size_t j : order) {
    permuted.push_back(rows[j]);
    signs.push_back(network.output_signs[j]);
  }
  SparseNetwork result = FromDense(permuted, signs);
  result.num_inputs = network.num_inputs;
  result.has_bias = network.has_bias;
  return result;
}

TEST(MergeTest, DropsDeadNeuronsAndStoredZeros) {
  SparseNetwork network = FromDense({{1, 0, 2}, {0, 0, 0}, {0, 3, 4}}, {1, 1, -1});
  network.weights.value[3] = 0;  // the 4
  const SparseNetwork kept = DropDeadNeurons(network);
  EXPECT_EQ(kept, FromDense({{1, 0, 2}, {0, 3, 0}}, {1, -1}));
  EXPECT_EQ(DropDeadNeurons(kept), kept);
}

TEST(MergeTest, MergesParallelNeuronsOfEqualSignInPlace) {
  const SparseNetwork network =
      FromDense({{1, 2}, {5, 0}, {2, 4}, {-1, -2}, {3, 6}}, {1, 1, 1, 1, -1});
  EXPECT_EQ(MergeParallelNeurons(network, 1 - 1e-12),
            FromDense({{3, 6}, {5, 0}, {-1, -2}, {3, 6}}, {1, 1, 1, -1}));
}

TEST(MergeTest, MinCosineIsTheBoundary) {
  // Cosine 0.8 between the two.
  const SparseNetwork network = FromDense({{1, 0}, {4, 3}}, {1, 1});
  EXPECT_EQ(MergeParallelNeurons(network, 0.81).hidden_width(), 2);
  EXPECT_EQ(MergeParallelNeurons(network, 0.79), FromDense({{5, 3}}, {1}));
}

// (x.a)_+ + (-x.b)_+ = (x.(a + b))_+ - x.b for parallel a and b.
TEST(MergeTest, BesideALinearTermOppositeNeuronsMerge) {
  SparseNetwork network = FromDense({{1, 2}, {-3, -6}, {-1, 0}, {2, 0}}, {1, 1, -1, -1});
  EXPECT_EQ(MergeParallelNeurons(network, 1 - 1e-12), network);
  network.linear = {10, 20};
  SparseNetwork merged = FromDense({{4, 8}, {-3, 0}}, {1, -1});
  merged.linear = {10 - 3 - 2, 20 - 6};
  EXPECT_EQ(MergeParallelNeurons(network, 1 - 1e-12), merged);
}

TEST(MergeTest, BesideALinearTermNeuronsOfTheConstantAreAPartOfIt) {
  SparseNetwork network = FromDense({{0, 2}, {0, -5}, {1, 3}, {0, 4}}, {1, 1, 1, -1});
  network.num_inputs = 1;
  network.has_bias = true;
  EXPECT_EQ(MoveConstantNeurons(network), network);
  network.linear = {7, 1};
  SparseNetwork moved = FromDense({{1, 3}}, {1});
  moved.num_inputs = 1;
  moved.has_bias = true;
  moved.linear = {7, 1 + 2 - 4};
  EXPECT_EQ(MoveConstantNeurons(network), moved);
}

// The short cut by projections must not miss a pair that a plain double loop finds.
TEST(MergeTest, FindsTheGroupsThatAPlainLoopFinds) {
  CounterRandom random(5, 0);
  for (const double min_cosine : {0.3, 0.9, 0.999, 1 - 1e-12}) {
    Dense rows;
    std::vector<int8_t> signs;
    for (int j = 0; j < 80; ++j) {
      std::vector<double> row(4);
      if (j > 0 && random.NextBelow(2) == 0) {
        row = rows[random.NextBelow(rows.size())];
        const double scale = 0.1 + random.NextUniform();
        const double noise = std::sqrt(1 - min_cosine) * 0.7;
        for (double& w : row) w = scale * (w + noise * random.NextNormal());
      } else {
        for (double& w : row) w = random.NextNormal();
      }
      rows.push_back(row);
      signs.push_back(random.NextBelow(2) == 0 ? 1 : -1);
    }
    Dense first;
    Dense sums;
    std::vector<int8_t> sum_signs;
    for (size_t j = 0; j < rows.size(); ++j) {
      size_t group = 0;
      for (; group < sums.size(); ++group) {
        const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
          return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
        };
        const double cosine = dot(first[group], rows[j]) /
                              std::sqrt(dot(first[group], first[group])) /
                              std::sqrt(dot(rows[j], rows[j]));
        if (sum_signs[group] == signs[j] && cosine >= min_cosine) break;
      }
      if (group == sums.size()) {
        first.push_back(rows[j]);
        sums.push_back(rows[j]);
        sum_signs.push_back(signs[j]);
      } else {
        for (size_t q = 0; q < 4; ++q) sums[group][q] += rows[j][q];
      }
    }
    EXPECT_LT(sums.size(), rows.size());
    EXPECT_EQ(MergeParallelNeurons(FromDense(rows, signs), min_cosine), FromDense(sums, sum_signs))
        << min_cosine;
  }
}

TEST(MergeTest, HandlesExtremeWeights) {
  const SparseNetwork tiny = FromDense({{1e-300, 2e-300}, {3e-300, 6e-300}}, {1, 1});
  EXPECT_EQ(ReduceNetwork(tiny).hidden_width(), 1);
  const SparseNetwork huge = FromDense({{1e308, 1e308}, {1e308, 1e308}}, {1, 1});
  EXPECT_EQ(ReduceNetwork(huge), huge);  // the sum would overflow
  EXPECT_EQ(ReduceNetwork(FromDense({}, {})).hidden_width(), 0);
}

TEST(ReduceNetworkTest, ParallelNeuronsOfOppositeSignCancel) {
  // 3 (x_0)_+ - 1 (x_0)_+ = 2 (x_0)_+; 2 (-x_1)_+ - 5 (-x_1)_+ = -3 (-x_1)_+; equal ones vanish.
  const SparseNetwork network = FromDense(
      {{3, 0, 0}, {1, 0, 0}, {0, -2, 0}, {0, -5, 0}, {0, 0, 4}, {0, 0, 4}}, {1, -1, 1, -1, 1, -1});
  EXPECT_EQ(ReduceNetwork(network), FromDense({{2, 0, 0}, {0, -3, 0}}, {1, -1}));
  // Nearly parallel ones stay.
  const SparseNetwork near = FromDense({{3, 0, 0}, {1, 1e-4, 0}}, {1, -1});
  EXPECT_EQ(ReduceNetwork(near), near);
}

TEST(CancelOppositeTest, ALooseCosineKeepsTheDifferenceWithItsSmallEntries) {
  const SparseNetwork near =
      FromDense({{-0.002, -85, 0}, {0, -84, 0}, {0, 1, 1}, {0, 1, 0}}, {1, -1, 1, -1});
  // The closest pair cancels; (0, 1, 1) and (0, 1, 0) are 45 degrees apart.
  EXPECT_EQ(CancelOppositeNeurons(near, 0.99),
            FromDense({{-0.002, -1, 0}, {0, 1, 1}, {0, 1, 0}}, {1, 1, -1}));
  EXPECT_EQ(CancelOppositeNeurons(near, 1 - 1e-12), near);
  // The longer one keeps its sign, each neuron is used once, the closest first.
  const SparseNetwork chosen = FromDense({{1, 0.1, 0}, {3, 0.01, 0}, {2, 0, 0}}, {-1, -1, 1});
  EXPECT_EQ(CancelOppositeNeurons(chosen, 0.9), FromDense({{1, 0.1, 0}, {1, 0.01, 0}}, {-1, -1}));
}

TEST(CancelOppositeTest, OnlyOppositeSignsCancel) {
  CounterRandom random(7, 0);
  SparseNetwork network = RandomSparseNetwork(random, 12, 3, false, 0.9);
  network.output_signs.assign(12, 1);
  EXPECT_EQ(CancelOppositeNeurons(network, 0.5), DropDeadNeurons(network));
}

// 3 (x)_+ - 1 (-x)_+ = 2 (x)_+ + x; 1 (y)_+ - 4 (-y)_+ = -3 (y)_+ + 4 y, and so on.
TEST(ReduceNetworkTest, BesideALinearTermOppositeNeuronsCancel) {
  SparseNetwork network = FromDense(
      {{3, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -4, 0}, {0, 0, 2}, {0, 0, -2}}, {1, -1, 1, -1, 1, -1});
  network.linear = {0, 0, 0};
  SparseNetwork reduced = FromDense({{2, 0, 0}, {0, 3, 0}}, {1, -1});
  reduced.linear = {1, 4, 2};
  EXPECT_EQ(ReduceNetwork(network), reduced);
}

TEST(ReduceNetworkTest, KeepsTheFunctionAndIsIdempotent) {
  CounterRandom random(6, 0);
  for (int trial = 0; trial < 40; ++trial) {
    SparseNetwork network = RandomSparseNetwork(random, 12, 3, trial % 2 == 0, 0.3);
    if (trial % 4 >= 2) {
      for (int64_t q = 0; q < network.num_columns(); ++q) {
        network.linear.push_back(random.NextNormal());
      }
    }
    const SparseNetwork reduced = ReduceNetwork(network);
    ASSERT_TRUE(ValidateNetwork(reduced).ok());
    const std::vector<float> data = RandomInputs(random, 40, 3);
    std::vector<double> before(40);
    std::vector<double> after(40);
    ASSERT_TRUE(Evaluate(network, {data.data(), 40, 3}, before).ok());
    ASSERT_TRUE(Evaluate(reduced, {data.data(), 40, 3}, after).ok());
    for (size_t i = 0; i < 40; ++i) EXPECT_NEAR(before[i], after[i], 1e-12);
    EXPECT_EQ(ReduceNetwork(reduced), reduced);
  }
}

TEST(CompareTest, CountsTheWeightsThatAreLeftAfterReduction) {
  // Five weights, of which the parallel rows keep two; the dead row has none.
  const SparseNetwork reference =
      FromDense({{1, 2, 0}, {2, 4, 0}, {0, 0, 0}, {0, 0, 3}}, {1, 1, 1, 1});
  const SparseNetwork candidate =
      FromDense({{1, 0, 4}, {3, 6, 0}, {3, 6, 0}, {0, 0, 1}, {0, -1, 0}}, {-1, 1, 1, 1, 1});
  const NetworkComparison comparison = Compare(candidate, reference);
  EXPECT_EQ(comparison.reference_nonzeros, 3);
  EXPECT_EQ(comparison.candidate_nonzeros, 6);
  EXPECT_EQ(comparison.common_nonzeros, 3);
  EXPECT_EQ(comparison.support_recall, 1);
  EXPECT_EQ(comparison.support_precision, 0.5);
  EXPECT_EQ(Compare(reference, candidate).common_nonzeros, 3);
}

TEST(CompareTest, OrderOfNeuronsDoesNotMatter) {
  CounterRandom random(7, 0);
  for (int trial = 0; trial < 20; ++trial) {
    const SparseNetwork network = RandomSparseNetwork(random, 15, 6, trial % 2 == 0, 0.4);
    ExpectEqualNetworks(Compare(Permuted(network, random), network));
  }
}

// Every second neuron on the other side, in another order: the same function.
SparseNetwork Turned(const SparseNetwork& network, CounterRandom& random) {
  SparseNetwork turned = network;
  turned.linear.resize(network.num_columns());
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    if (random.NextBelow(2) == 0) continue;
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      turned.linear[network.weights.column[e]] +=
          network.output_signs[j] * network.weights.value[e];
      turned.weights.value[e] = -network.weights.value[e];
    }
  }
  SparseNetwork permuted = Permuted(turned, random);
  permuted.linear = turned.linear;
  return permuted;
}

SparseNetwork RandomLinearNetwork(CounterRandom& random, bool has_bias) {
  SparseNetwork network = RandomSparseNetwork(random, 15, 6, has_bias, 0.4);
  for (int64_t q = 0; q < network.num_columns(); ++q) network.linear.push_back(random.NextNormal());
  return network;
}

TEST(CompareTest, BesideALinearTermSidesDoNotMatter) {
  CounterRandom random(17, 0);
  for (int trial = 0; trial < 40; ++trial) {
    SparseNetwork network = RandomLinearNetwork(random, trial % 2 == 0);
    // Whole weights: equal magnitudes, so that no rule by the largest one decides.
    if (trial % 3 == 0) {
      for (double& value : network.weights.value) value = value < 0 ? -1 : 1;
    }
    if (trial % 4 == 0) network.linear.clear();
    const SparseNetwork turned = Turned(network, random);
    ExpectEqualNetworks(Compare(turned, network));
    ExpectEqualNetworks(Compare(network, turned));
    // Beside another network too.
    const SparseNetwork other = RandomLinearNetwork(random, network.has_bias);
    const NetworkComparison one = Compare(other, network);
    const NetworkComparison two = Compare(Turned(other, random), turned);
    EXPECT_NEAR(one.relative_weight_error, two.relative_weight_error, 1e-12);
    EXPECT_NEAR(one.support_recall, two.support_recall, 1e-12);
  }
}

TEST(CompareTest, BesideALinearTermEitherNetworkMayBeTheReference) {
  CounterRandom random(18, 0);
  for (int trial = 0; trial < 20; ++trial) {
    const SparseNetwork a = RandomLinearNetwork(random, trial % 2 == 0);
    SparseNetwork b = RandomLinearNetwork(random, trial % 2 == 0);
    if (trial % 4 == 0) b.linear.clear();
    const NetworkComparison ab = Compare(a, b);
    const NetworkComparison ba = Compare(b, a);
    EXPECT_NEAR(ab.support_recall, ba.support_precision, 1e-12);
    EXPECT_NEAR(ab.support_precision, ba.support_recall, 1e-12);
    EXPECT_EQ(ab.same_support, ba.same_support);
    for (size_t j = 0; j < ab.matched_neuron.size(); ++j) {
      if (ab.matched_neuron[j] < 0) continue;
      EXPECT_EQ(ba.matched_neuron[ab.matched_neuron[j]], static_cast<int64_t>(j));
    }
  }
}

TEST(CompareTest, TheLinearTermCountsAmongTheWeights) {
  // By hand: the neuron stands half on either side, so that the linear parts are (3, 4) - (0, 1)
  // apart from each other and (0, 1) + (1, 0) of the reference counts, beside its weight of 2.
  SparseNetwork reference = FromDense({{2, 0}}, {1});
  reference.linear = {0, 1};
  SparseNetwork candidate = FromDense({{-2, 0}}, {1});
  candidate.linear = {2 + 3, 4};
  const NetworkComparison comparison = Compare(candidate, reference);
  EXPECT_TRUE(comparison.same_support);
  EXPECT_NEAR(comparison.relative_weight_error, std::sqrt((9.0 + 9.0) / (4 + 1 + 1)), 1e-14);
  EXPECT_GT(comparison.relative_function_error, 0.1);
  // Without a term counts as a term of zeros.
  reference.linear.clear();
  candidate.linear = {2, 0};
  ExpectEqualNetworks(Compare(candidate, reference));
  candidate.linear = {0, 0};
  EXPECT_GT(Compare(candidate, reference).relative_weight_error, 0.1);
}

// ---- Several layers and outputs

SparseRows& LayerOf(SparseNetwork& network, size_t l) {
  return l == 0 ? network.weights : network.upper_layers[l - 1];
}

// The rows with row j from row order[j], columns likewise (the constant stays), row j times
// row_scale[j] and column q times column_scale[q].
SparseRows Shuffled(const SparseRows& rows, const std::vector<size_t>& row_order,
                    const std::vector<double>& row_scale, const std::vector<size_t>& column_order,
                    const std::vector<double>& column_scale) {
  std::vector<int32_t> column_of(column_order.size() + 1);
  for (size_t q = 0; q < column_order.size(); ++q) {
    column_of[column_order[q]] = static_cast<int32_t>(q);
  }
  column_of.back() = static_cast<int32_t>(column_order.size());
  SparseRows shuffled;
  for (size_t j = 0; j < row_order.size(); ++j) {
    std::vector<std::pair<int32_t, double>> row;
    for (int64_t e = rows.row_begin[row_order[j]]; e < rows.row_begin[row_order[j] + 1]; ++e) {
      const int32_t column = column_of[rows.column[e]];
      const bool is_constant = static_cast<size_t>(column) == column_order.size();
      const double factor = row_scale[j] * (is_constant ? 1.0 : column_scale[column]);
      row.emplace_back(column, factor * rows.value[e]);
    }
    std::sort(row.begin(), row.end());
    for (const auto& [column, value] : row) {
      shuffled.column.push_back(column);
      shuffled.value.push_back(value);
    }
    shuffled.row_begin.push_back(shuffled.nonzeros());
  }
  return shuffled;
}

// The same function: the units of every hidden layer in another order and, where another layer
// looks at them, at another scale.
SparseNetwork Disguised(const SparseNetwork& network, CounterRandom& random) {
  SparseNetwork disguised = network;
  std::vector<size_t> order_below(static_cast<size_t>(network.num_inputs));
  std::iota(order_below.begin(), order_below.end(), size_t{0});
  std::vector<double> scale_below(order_below.size(), 1.0);
  const size_t num_layers = network.upper_layers.size() + 1;
  for (size_t l = 0; l < num_layers; ++l) {
    SparseRows& rows = LayerOf(disguised, l);
    const bool is_last = l + 1 == num_layers;
    std::vector<size_t> order(static_cast<size_t>(rows.num_rows()));
    std::iota(order.begin(), order.end(), size_t{0});
    std::vector<double> scale(order.size(), 1.0);
    if (!is_last || IsFused(network)) {
      for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[random.NextBelow(k)]);
    }
    if (!is_last) {
      for (double& factor : scale) factor = 0.1 + 3 * random.NextUniform();
    }
    rows = Shuffled(rows, order, scale, order_below, scale_below);
    if (is_last && IsFused(network)) {
      for (size_t j = 0; j < order.size(); ++j) {
        disguised.output_signs[j] = network.output_signs[order[j]];
      }
    }
    order_below = order;
    scale_below = scale;
    for (double& factor : scale_below) factor = 1 / factor;
  }
  return disguised;
}

std::vector<double> Outputs(const SparseNetwork& network, const std::vector<float>& data) {
  const auto num_samples = static_cast<int64_t>(data.size()) / network.num_inputs;
  std::vector<double> outputs(static_cast<size_t>(num_samples * NumOutputs(network)));
  EXPECT_TRUE(Evaluate(network, {data.data(), num_samples, network.num_inputs}, outputs).ok());
  return outputs;
}

// L = 1..3 hidden layers, fused for num_outputs = 0.
class LayeredTest : public ::testing::TestWithParam<std::tuple<int, int, bool>> {
 protected:
  int num_layers() const { return std::get<0>(GetParam()); }
  int num_outputs() const { return std::get<1>(GetParam()); }
  SparseNetwork Draw(double density) {
    std::vector<int64_t> widths = {9, 7, 8};
    widths.resize(static_cast<size_t>(num_layers()));
    return RandomLayeredNetwork(random_, 5, widths, num_outputs(), std::get<2>(GetParam()),
                                density);
  }
  CounterRandom random_ = CounterRandom(31, 0);
};

INSTANTIATE_TEST_SUITE_P(Shapes, LayeredTest,
                         ::testing::Combine(::testing::Values(1, 2, 3),
                                            ::testing::Values(0, 1, 2, 5), ::testing::Bool()));

TEST_P(LayeredTest, ReductionKeepsTheFunctionAndIsIdempotent) {
  int smaller = 0;
  for (int trial = 0; trial < 20; ++trial) {
    SparseNetwork network = Draw(trial % 2 == 0 ? 0.15 : 0.5);
    // Every third unit of the first layer parallel to the one before.
    const Dense rows = ToDense(network);
    Dense parallel = rows;
    for (size_t j = 2; j < rows.size(); j += 3) {
      for (size_t q = 0; q < rows[j].size(); ++q) parallel[j][q] = 0.3 * parallel[j - 1][q];
    }
    network.weights = FromDense(parallel, {}).weights;
    ASSERT_TRUE(ValidateNetwork(network).ok());
    const SparseNetwork reduced = ReduceNetwork(network);
    ASSERT_TRUE(ValidateNetwork(reduced).ok()) << ValidateNetwork(reduced);
    EXPECT_EQ(NumOutputs(reduced), NumOutputs(network));
    EXPECT_LE(Nonzeros(reduced), Nonzeros(network));
    smaller += ActiveNeurons(reduced) < ActiveNeurons(network) ? 1 : 0;
    const std::vector<float> data = RandomInputs(random_, 40, 5);
    const std::vector<double> before = Outputs(network, data);
    const std::vector<double> after = Outputs(reduced, data);
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_NEAR(before[i], after[i], 1e-11 * (1 + std::abs(before[i])));
    }
    EXPECT_EQ(ReduceNetwork(reduced), reduced);
    EXPECT_EQ(DropDeadNeurons(reduced), reduced);
  }
  EXPECT_GT(smaller, 10);
}

TEST_P(LayeredTest, OrderAndScaleOfUnitsDoNotMatter) {
  for (int trial = 0; trial < 20; ++trial) {
    const SparseNetwork network = Draw(0.5);
    const SparseNetwork disguised = Disguised(network, random_);
    ASSERT_TRUE(ValidateNetwork(disguised).ok()) << ValidateNetwork(disguised);
    const NetworkComparison comparison = Compare(disguised, network);
    EXPECT_TRUE(comparison.same_support);
    EXPECT_EQ(comparison.support_recall, 1);
    EXPECT_EQ(comparison.support_precision, 1);
    EXPECT_LT(comparison.relative_weight_error, 1e-13);
    EXPECT_LT(comparison.relative_function_error, 1e-13);
    EXPECT_EQ(comparison.candidate_neurons, comparison.reference_neurons);
    EXPECT_EQ(comparison.matched_neuron.size(), static_cast<size_t>(comparison.reference_neurons));
    // Each candidate once.
    std::vector<int64_t> sorted = comparison.matched_neuron;
    std::sort(sorted.begin(), sorted.end());
    for (size_t j = 0; j < sorted.size(); ++j) EXPECT_EQ(sorted[j], static_cast<int64_t>(j));
  }
}

TEST_P(LayeredTest, AFlippedWeightIsDetectedInEveryLayer) {
  const SparseNetwork network = ReduceNetwork(Draw(0.9));
  for (size_t l = 0; l <= network.upper_layers.size(); ++l) {
    SparseNetwork flipped = Disguised(network, random_);
    std::vector<double>& values = LayerOf(flipped, l).value;
    double& largest = *std::max_element(
        values.begin(), values.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
    largest = -largest;
    const NetworkComparison comparison = Compare(flipped, network);
    EXPECT_GT(comparison.relative_weight_error, 1e-3) << l;
    EXPECT_GT(comparison.relative_function_error, 1e-6) << l;
    // A weight less is one position less.
    flipped = Disguised(network, random_);
    SparseRows& rows = LayerOf(flipped, l);
    rows.value[0] = 0;
    EXPECT_FALSE(Compare(flipped, network).same_support) << l;
    EXPECT_LT(Compare(flipped, network).support_recall, 1) << l;
  }
}

TEST(CompareTest, WeightErrorsOfLayersAddUpByHand) {
  // (3, 4) has length 5, which goes into the output weight: 2 * 5 against 2 * 5 and 1 more.
  SparseNetwork reference{.num_inputs = 2,
                          .has_bias = false,
                          .weights = {.row_begin = {0, 2}, .column = {0, 1}, .value = {3, 4}},
                          .output_signs = {},
                          .upper_layers = {{.row_begin = {0, 1, 1}, .column = {0}, .value = {2}}}};
  SparseNetwork candidate = reference;
  candidate.weights.value = {0.3, 0.4};
  candidate.upper_layers[0] = {.row_begin = {0, 1, 2}, .column = {0, 0}, .value = {20, 2}};
  const NetworkComparison comparison = Compare(candidate, reference);
  EXPECT_EQ(comparison.support_recall, 1);
  EXPECT_EQ(comparison.support_precision, 3.0 / 4);
  EXPECT_NEAR(comparison.relative_weight_error, std::sqrt(1.0 / (1 + 100)), 1e-14);
  EXPECT_NEAR(comparison.relative_function_error, 0.1, 1e-14);
}

TEST(ReduceNetworkTest, ConstantUnitsStayWhereOneLooksAtThem) {
  // With a bias: units (bias alone), (x), (nothing); the next layer looks at the first two.
  SparseNetwork network{
      .num_inputs = 1,
      .has_bias = true,
      .weights = {.row_begin = {0, 1, 2, 2}, .column = {1, 0}, .value = {2, 1}},
      .output_signs = {1},
      .upper_layers = {{.row_begin = {0, 3}, .column = {0, 1, 3}, .value = {1, -1, 0.5}}}};
  SparseNetwork reduced = network;
  reduced.weights.row_begin = {0, 1, 2};
  reduced.upper_layers[0].column[2] = 2;
  EXPECT_EQ(ReduceNetwork(network), reduced);
  network.upper_layers[0].value[0] = 0;
  EXPECT_EQ(HiddenWidths(ReduceNetwork(network)), (std::vector<int64_t>{1, 1}));
}

TEST(ReduceNetworkTest, NothingLeftOfAFusedNetworkIsThePlainZeroNetwork) {
  // W_2 looks only at a unit without weights.
  const SparseNetwork network{.num_inputs = 1,
                              .has_bias = false,
                              .weights = {.row_begin = {0, 1, 1}, .column = {0}, .value = {1}},
                              .output_signs = {-1},
                              .upper_layers = {{.row_begin = {0, 1}, .column = {1}, .value = {1}}}};
  EXPECT_EQ(ReduceNetwork(network),
            (SparseNetwork{.num_inputs = 1, .has_bias = false, .weights = {}, .output_signs = {}}));
  ExpectEqualNetworks(Compare(network, network));
  // Several outputs keep their rows.
  SparseNetwork outputs = network;
  outputs.output_signs.clear();
  EXPECT_EQ(HiddenWidths(ReduceNetwork(outputs)), (std::vector<int64_t>{0}));
  EXPECT_EQ(NumOutputs(ReduceNetwork(outputs)), 1);
}

TEST(CompareErrorsTest, FormsMustAgree) {
  CounterRandom random(41, 0);
  const std::vector<float> data = RandomInputs(random, 8, 3);
  const std::vector<SparseNetwork> networks = {
      RandomLayeredNetwork(random, 3, {4}, 0, false, 1),
      RandomLayeredNetwork(random, 3, {4}, 1, false, 1),
      RandomLayeredNetwork(random, 3, {4}, 2, false, 1),
      RandomLayeredNetwork(random, 3, {4, 4}, 0, false, 1),
      RandomLayeredNetwork(random, 3, {4, 4}, 2, false, 1)};
  for (size_t a = 0; a < networks.size(); ++a) {
    for (size_t b = 0; b < networks.size(); ++b) {
      EXPECT_EQ(HaveSameForm(networks[a], networks[b]), a == b);
      const auto comparison = CompareNetworks(networks[a], networks[b], {data.data(), 8, 3});
      EXPECT_EQ(comparison.ok(), a == b);
      if (a != b) {
        EXPECT_THAT(std::string(comparison.status().message()), HasSubstr("hidden layers"));
      }
    }
  }
  // Lengths whose product is no double.
  SparseNetwork huge = networks[2];
  for (double& value : huge.weights.value) value *= 1e200;
  for (double& value : huge.upper_layers[0].value) value *= 1e200;
  const auto overflow = CompareNetworks(huge, huge, {data.data(), 8, 3});
  EXPECT_EQ(overflow.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CompareTest, ASplitNeuronCountsAsOne) {
  const SparseNetwork whole = FromDense({{1, 2, 0}, {0, -3, 1}}, {1, -1});
  const SparseNetwork split = FromDense(
      {{0, -2, 2.0 / 3}, {0.25, 0.5, 0}, {0, -1, 1.0 / 3}, {0.75, 1.5, 0}}, {-1, 1, -1, 1});
  const NetworkComparison comparison = Compare(split, whole);
  ExpectEqualNetworks(comparison);
  EXPECT_EQ(comparison.candidate_neurons, 2);
  EXPECT_EQ(comparison.reference_neurons, 2);
  EXPECT_THAT(comparison.matched_neuron, ElementsAre(1, 0));
}

TEST(CompareTest, DeadNeuronsDoNotCount) {
  const SparseNetwork reference = FromDense({{1, 2}}, {1});
  ExpectEqualNetworks(Compare(FromDense({{0, 0}, {1, 2}}, {-1, 1}), reference));
}

TEST(CompareTest, AFlippedSignIsDetected) {
  const SparseNetwork reference = FromDense({{1, 2}, {3, -1}}, {1, 1});
  const NetworkComparison comparison = Compare(FromDense({{1, 2}, {3, -1}}, {1, -1}), reference);
  EXPECT_FALSE(comparison.same_support);
  EXPECT_EQ(comparison.support_recall, 0.5);
  EXPECT_EQ(comparison.support_precision, 0.5);
  // The second neuron of both stands alone: 2 * 10 of 15.
  EXPECT_NEAR(comparison.relative_weight_error, std::sqrt(20.0 / 15), 1e-14);
  EXPECT_GT(comparison.relative_function_error, 0.1);
  EXPECT_THAT(comparison.matched_neuron, ElementsAre(0, -1));
}

TEST(CompareTest, CountsMissedAndWrongPositions) {
  const SparseNetwork reference = FromDense({{1, 2, 0, 0}, {0, 0, 3, 4}}, {1, 1});
  const SparseNetwork candidate = FromDense({{0, 0, 3, 0}, {1, 2, 0.5, 0}}, {1, 1});
  const NetworkComparison comparison = Compare(candidate, reference);
  EXPECT_EQ(comparison.support_recall, 3.0 / 4);
  EXPECT_EQ(comparison.support_precision, 3.0 / 4);
  EXPECT_FALSE(comparison.same_support);
  EXPECT_NEAR(comparison.relative_weight_error, std::sqrt((16 + 0.25) / 30), 1e-14);
  EXPECT_THAT(comparison.matched_neuron, ElementsAre(1, 0));
}

TEST(CompareTest, PsnrFollowsItsFormula) {
  const SparseNetwork reference = FromDense({{1}}, {1});
  const SparseNetwork candidate = FromDense({{1.5}}, {1});
  const std::vector<float> data = {1, 2, -4};
  absl::StatusOr<NetworkComparison> comparison =
      CompareNetworks(candidate, reference, {data.data(), 3, 1});
  ASSERT_TRUE(comparison.ok());
  EXPECT_NEAR(comparison->psnr_db, 20 * std::log10(2.0) - 10 * std::log10(1.25 / 3), 1e-12);
  EXPECT_NEAR(comparison->relative_function_error, 0.5, 1e-14);
}

TEST(CompareTest, ZeroNetworks) {
  const SparseNetwork zero = FromDense({{0, 0}}, {1});
  const SparseNetwork some = FromDense({{1, 0}}, {1});
  ExpectEqualNetworks(Compare(zero, zero));
  NetworkComparison comparison = Compare(zero, some);
  EXPECT_EQ(comparison.support_recall, 0);
  EXPECT_EQ(comparison.support_precision, 1);
  EXPECT_EQ(comparison.relative_weight_error, 1);
  EXPECT_EQ(comparison.relative_function_error, 1);
  comparison = Compare(some, zero);
  EXPECT_EQ(comparison.support_recall, 1);
  EXPECT_EQ(comparison.support_precision, 0);
  EXPECT_TRUE(std::isinf(comparison.relative_weight_error));
  EXPECT_TRUE(std::isinf(comparison.relative_function_error));
  EXPECT_EQ(comparison.psnr_db, -400);
}

TEST(CompareTest, HugeAndTinyWeightsDoNotOverflow) {
  for (const double scale : {1e-200, 1e200}) {
    const SparseNetwork reference = FromDense({{1 * scale, 2 * scale}}, {1});
    const SparseNetwork candidate = FromDense({{1 * scale, 3 * scale}}, {1});
    const NetworkComparison comparison = Compare(candidate, reference);
    EXPECT_NEAR(comparison.relative_weight_error, std::sqrt(1.0 / 5), 1e-14) << scale;
    EXPECT_LT(comparison.relative_function_error, 1) << scale;
    EXPECT_TRUE(std::isfinite(comparison.psnr_db)) << scale;
  }
}

// The least squared distance over all partial matchings, by trying all.
double BruteForce(const Dense& a, const Dense& b, std::vector<bool>& used, size_t j) {
  if (j == b.size()) {
    double rest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      if (!used[i]) rest += std::inner_product(a[i].begin(), a[i].end(), a[i].begin(), 0.0);
    }
    return rest;
  }
  double best = std::inner_product(b[j].begin(), b[j].end(), b[j].begin(), 0.0) +
                BruteForce(a, b, used, j + 1);
  for (size_t i = 0; i < a.size(); ++i) {
    if (used[i]) continue;
    double distance = 0;
    for (size_t q = 0; q < b[j].size(); ++q) distance += std::pow(a[i][q] - b[j][q], 2);
    used[i] = true;
    best = std::min(best, distance + BruteForce(a, b, used, j + 1));
    used[i] = false;
  }
  return best;
}

TEST(CompareTest, MatchingIsTheBestOfAll) {
  CounterRandom random(8, 0);
  for (int trial = 0; trial < 200; ++trial) {
    const auto candidate_width = static_cast<int64_t>(random.NextBelow(6));
    const auto reference_width = static_cast<int64_t>(1 + random.NextBelow(5));
    SparseNetwork candidate = RandomSparseNetwork(random, candidate_width, 2, false, 1);
    SparseNetwork reference = RandomSparseNetwork(random, reference_width, 2, false, 1);
    double least = 0;
    double norm = 0;
    for (const int8_t sign : {-1, 1}) {
      Dense a;
      Dense b;
      const Dense candidate_rows = ToDense(candidate);
      const Dense reference_rows = ToDense(reference);
      for (size_t i = 0; i < candidate_rows.size(); ++i) {
        if (candidate.output_signs[i] == sign) a.push_back(candidate_rows[i]);
      }
      for (size_t j = 0; j < reference_rows.size(); ++j) {
        if (reference.output_signs[j] == sign) b.push_back(reference_rows[j]);
      }
      std::vector<bool> used(a.size(), false);
      least += BruteForce(a, b, used, 0);
      for (const auto& row : b)
        norm += std::inner_product(row.begin(), row.end(), row.begin(), 0.0);
    }
    EXPECT_NEAR(Compare(candidate, reference).relative_weight_error, std::sqrt(least / norm), 1e-9)
        << "trial " << trial;
  }
}

// Each candidate neuron at most once, and only one of its sign.
TEST(CompareTest, MatchingIsOneToOne) {
  CounterRandom random(9, 0);
  const SparseNetwork candidate = RandomSparseNetwork(random, 150, 8, true, 0.5);
  const SparseNetwork reference = RandomSparseNetwork(random, 100, 8, true, 0.5);
  const SparseNetwork found = ReduceNetwork(candidate);
  const SparseNetwork wanted = ReduceNetwork(reference);
  const NetworkComparison comparison = Compare(candidate, reference);
  std::vector<bool> used(static_cast<size_t>(comparison.candidate_neurons), false);
  ASSERT_EQ(static_cast<int64_t>(comparison.matched_neuron.size()), comparison.reference_neurons);
  for (size_t j = 0; j < comparison.matched_neuron.size(); ++j) {
    const int64_t partner = comparison.matched_neuron[j];
    if (partner < 0) continue;
    ASSERT_LT(partner, comparison.candidate_neurons);
    EXPECT_FALSE(used[static_cast<size_t>(partner)]);
    used[static_cast<size_t>(partner)] = true;
    EXPECT_EQ(found.output_signs[static_cast<size_t>(partner)], wanted.output_signs[j]);
  }
}

TEST(CompareTest, WideNetworksAreRecognised) {
  CounterRandom random(10, 0);
  const SparseNetwork network = RandomSparseNetwork(random, 1500, 50, false, 0.05);
  ExpectEqualNetworks(Compare(Permuted(network, random), network));
}

TEST(CompareErrorsTest, NameWhatDisagrees) {
  const SparseNetwork network = FromDense({{1, 2}}, {1});
  const std::vector<float> data = {1, 2};
  const InputView inputs{data.data(), 1, 2};
  const auto expect = [&](const SparseNetwork& candidate, InputView view, absl::StatusCode code,
                          const std::string& message) {
    const absl::Status status = CompareNetworks(candidate, network, view).status();
    EXPECT_EQ(status.code(), code);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  expect(FromDense({{1, 2, 3}}, {1}), inputs, kInvalid, "candidate takes 3 inputs");
  SparseNetwork with_bias = network;
  with_bias.has_bias = true;
  expect(with_bias, inputs, kInvalid, "with a bias");
  SparseNetwork broken = network;
  broken.output_signs.clear();
  expect(broken, inputs, kInvalid, "candidate network: output_signs");
  EXPECT_THAT(std::string(CompareNetworks(network, broken, inputs).status().message()),
              HasSubstr("reference network: output_signs"));
  expect(network, {data.data(), 2, 1}, kInvalid, "inputs have 1 columns");
  expect(network, {data.data(), 0, 2}, kInvalid, "at least one sample");
  const std::vector<float> infinite = {1, std::numeric_limits<float>::infinity()};
  expect(network, {infinite.data(), 1, 2}, kInvalid, "row 0 holds a value that is not finite");
  expect(FromDense({{1.7e308, 1.7e308}}, {1}), inputs, kInvalid, "overflows");
}

TEST(CompareErrorsTest, TooManyNeuronsAreRefusedOnlyAfterReduction) {
  Dense rows;
  for (int64_t j = 0; j <= kMaxComparedNeurons; ++j) {
    const double angle = static_cast<double>(j) / kMaxComparedNeurons;
    rows.push_back({std::cos(angle), std::sin(angle)});
  }
  std::vector<int8_t> signs(rows.size(), 1);
  const SparseNetwork wide = FromDense(rows, signs);
  const std::vector<float> data = {1, 2};
  EXPECT_EQ(CompareNetworks(wide, wide, {data.data(), 1, 2}).status().code(),
            absl::StatusCode::kResourceExhausted);
  for (auto& row : rows) row = {1, 2};
  const SparseNetwork parallel = FromDense(rows, signs);
  ExpectEqualNetworks(Compare(parallel, parallel));
}

// The largest difference of the outputs on a grid of two inputs.
double LargestDifference(const SparseNetwork& a, const SparseNetwork& b) {
  std::vector<float> grid;
  for (int i = -7; i <= 7; ++i) {
    for (int j = -7; j <= 7; ++j) {
      grid.push_back(0.31f * static_cast<float>(i));
      grid.push_back(0.17f * static_cast<float>(j));
    }
  }
  const auto num_samples = static_cast<int64_t>(grid.size()) / 2;
  const InputView inputs = {grid.data(), num_samples, 2};
  std::vector<double> outputs_a(num_samples);
  std::vector<double> outputs_b(num_samples);
  EXPECT_TRUE(Evaluate(a, inputs, outputs_a).ok());
  EXPECT_TRUE(Evaluate(b, inputs, outputs_b).ok());
  double largest = 0;
  for (int64_t i = 0; i < num_samples; ++i) {
    largest = std::max(largest, std::abs(outputs_a[i] - outputs_b[i]));
  }
  return largest;
}

TEST(UnfoldNeuronsTest, FlipsANeuronWhoseLinearPartStandsThereAlready) {
  // (a)_+ = (-a)_+ + a: three neurons hold 2 x_0 - x_1, beside (-2 x_0 + x_1)_+.
  const SparseNetwork flipped =
      FromDense({{-2, 1}, {2, 0}, {-2, 0}, {0, 1}, {0, -1}}, {1, 1, -1, -1, 1});
  const SparseNetwork unfolded = UnfoldNeurons(flipped, 1 - 1e-9, OutputSigns::kMixed);
  EXPECT_EQ(unfolded.hidden_width(), 1);
  EXPECT_EQ(unfolded.weights.nonzeros(), 2);
  EXPECT_LT(LargestDifference(flipped, unfolded), 1e-12);
}

TEST(UnfoldNeuronsTest, OppositeNeuronsBecomeOneWhereThatIsSmaller) {
  // 3 (a)_+ - 1 (-a)_+ = 2 (a)_+ + a, and a cancels one-sparse neurons.
  const SparseNetwork opposite = FromDense({{3, 3}, {-1, -1}, {-1, 0}, {0, -1}}, {1, -1, 1, 1});
  const SparseNetwork unfolded = UnfoldNeurons(opposite, 1 - 1e-9, OutputSigns::kMixed);
  EXPECT_LT(unfolded.weights.nonzeros(), opposite.weights.nonzeros());
  EXPECT_LT(LargestDifference(opposite, unfolded), 1e-12);
}

TEST(UnfoldNeuronsTest, PositiveSignsStayPositiveAndSmallNetworksStayAsTheyAre) {
  const SparseNetwork one_sparse = FromDense({{-2, 1}, {2, 0}, {0, -1}}, {1, 1, 1});
  const SparseNetwork unfolded = UnfoldNeurons(one_sparse, 1 - 1e-9, OutputSigns::kPositive);
  for (const int8_t sign : unfolded.output_signs) EXPECT_EQ(sign, 1);
  EXPECT_LE(unfolded.weights.nonzeros(), one_sparse.weights.nonzeros());
  EXPECT_LT(LargestDifference(one_sparse, unfolded), 1e-12);
}

}  // namespace
}  // namespace thresher
