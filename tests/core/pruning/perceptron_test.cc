#include "core/pruning/perceptron.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace thresher {
namespace {

using Position = std::tuple<size_t, int64_t, int32_t>;  // layer, column, row

std::set<Position> Positions(const Perceptron& perceptron) {
  std::set<Position> positions;
  for (size_t l = 0; l < perceptron.layers.size(); ++l) {
    const PerceptronLayer& layer = perceptron.layers[l];
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        positions.insert({l, q, layer.row[e]});
      }
    }
  }
  return positions;
}

TEST(PerceptronTest, InitialWeightsAreUniformWithinTheFanIn) {
  const std::vector<int64_t> widths = {30, 20};
  const Perceptron perceptron = InitialPerceptron(100, widths, 4, true, 7);
  EXPECT_EQ(perceptron.nonzeros(), 30 * 101 + 20 * 31 + 4 * 21);
  EXPECT_EQ(perceptron.nonzeros(), NumWeights(100, widths, 4, true));
  const double fan_in[] = {100, 30, 20};
  for (size_t l = 0; l < 3; ++l) {
    const double bound = 1 / std::sqrt(fan_in[l]);
    double sum2 = 0;
    for (const float weight : perceptron.layers[l].weight) {
      EXPECT_LE(std::abs(weight), bound);
      sum2 += static_cast<double>(weight) * weight;
    }
    const double size = static_cast<double>(perceptron.layers[l].weight.size());
    // The variance of a uniform distribution is a third of its bound squared.
    EXPECT_NEAR(sum2 / size * 3 / (bound * bound), 1, 4 / std::sqrt(size));
    EXPECT_TRUE(perceptron.layers[l].dense());
  }
  EXPECT_EQ(perceptron, InitialPerceptron(100, widths, 4, true, 7));
  EXPECT_NE(perceptron, InitialPerceptron(100, widths, 4, true, 8));
}

TEST(PerceptronTest, PruningKeepsTheLargestOverAllLayers) {
  Perceptron perceptron = InitialPerceptron(20, std::vector<int64_t>{10}, 3, false, 1);
  std::vector<float> magnitudes;
  for (const PerceptronLayer& layer : perceptron.layers) {
    for (const float weight : layer.weight) magnitudes.push_back(std::abs(weight));
  }
  std::sort(magnitudes.rbegin(), magnitudes.rend());
  const std::set<Position> before = Positions(perceptron);
  for (const int64_t count : {100, 17, 1, 0}) {
    KeepMostSalient(perceptron, count, Saliency::kMagnitude);
    EXPECT_EQ(perceptron.nonzeros(), count);
    const std::set<Position> after = Positions(perceptron);
    EXPECT_EQ(static_cast<int64_t>(after.size()), count);
    EXPECT_TRUE(std::includes(before.begin(), before.end(), after.begin(), after.end()));
    for (const PerceptronLayer& layer : perceptron.layers) {
      EXPECT_EQ(layer.weight, layer.rewind_weight);  // they moved together
      for (const float weight : layer.weight) EXPECT_GE(std::abs(weight), magnitudes[count - 1]);
    }
  }
}

TEST(PerceptronTest, FisherSaliencyWeighsBySquaredGradients) {
  Perceptron perceptron = InitialPerceptron(1, std::vector<int64_t>{3}, 1, false, 1);
  perceptron.layers[0].weight = {1, 2, 3};
  perceptron.layers[0].second_moment = {100, 1, 1e-12f};
  perceptron.layers[1].weight = {10, 10, 10};
  perceptron.layers[1].second_moment = {0, 0, 1};
  Perceptron by_fisher = perceptron;
  KeepMostSalient(by_fisher, 3, Saliency::kFisher);
  EXPECT_EQ(Positions(by_fisher), (std::set<Position>{{0, 0, 0}, {0, 0, 1}, {1, 2, 0}}));
  KeepMostSalient(perceptron, 3, Saliency::kMagnitude);
  EXPECT_EQ(Positions(perceptron), (std::set<Position>{{1, 0, 0}, {1, 1, 0}, {1, 2, 0}}));
}

TEST(PerceptronTest, RewindingRestoresWhatRemains) {
  Perceptron perceptron = InitialPerceptron(6, std::vector<int64_t>{5}, 2, false, 1);
  Perceptron pruned = perceptron;
  for (PerceptronLayer& layer : pruned.layers) {
    for (float& weight : layer.weight) weight = 1 - weight;
    std::fill(layer.second_moment.begin(), layer.second_moment.end(), 1.0f);
  }
  KeepMostSalient(pruned, 12, Saliency::kMagnitude);
  Rewind(pruned);
  for (size_t l = 0; l < 2; ++l) {
    const PerceptronLayer& layer = pruned.layers[l];
    const PerceptronLayer& whole = perceptron.layers[l];
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        EXPECT_EQ(layer.weight[e], whole.weight[q * whole.num_rows + layer.row[e]]);
        EXPECT_EQ(layer.second_moment[e], 0);
      }
    }
  }
}

TEST(PerceptronTest, BecomesANetworkOfLayers) {
  Perceptron perceptron = InitialPerceptron(6, std::vector<int64_t>{5}, 2, true, 1);
  KeepMostSalient(perceptron, 25, Saliency::kMagnitude);
  const SparseNetwork network = MakeNetwork(perceptron);
  ASSERT_TRUE(ValidateNetwork(network).ok());
  EXPECT_EQ(Nonzeros(network), 25);
  for (size_t l = 0; l < 2; ++l) {
    const SparseRows& rows = l == 0 ? network.weights : network.upper_layers[l - 1];
    const PerceptronLayer& layer = perceptron.layers[l];
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        const int64_t j = layer.row[e];
        const auto begin = rows.column.begin() + rows.row_begin[j];
        const auto end = rows.column.begin() + rows.row_begin[j + 1];
        const auto found = std::lower_bound(begin, end, q);
        ASSERT_TRUE(found != end && *found == q);
        EXPECT_EQ(rows.value[found - rows.column.begin()], layer.weight[e]);
      }
    }
  }
}

}  // namespace
}  // namespace thresher
