// The batch's loss and gradient against a plain loop in double over one sample after the other.
#include "core/pruning/batch_gradient.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/gates/random_gates.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

Samples RandomSamples(int64_t n, int64_t d, int64_t k, Loss loss, uint64_t seed) {
  Samples samples{.num_samples = n, .num_inputs = d, .num_outputs = k};
  CounterRandom random(seed, 1);
  for (int64_t i = 0; i < n * d; ++i) {
    samples.inputs.push_back(static_cast<float>(random.NextNormal()));
  }
  for (int64_t i = 0; i < n; ++i) {
    const auto name = static_cast<int64_t>(random.NextBelow(std::max<int64_t>(k, 2)));
    for (int64_t j = 0; j < k; ++j) {
      float target = static_cast<float>(random.NextNormal());
      if (loss == Loss::kCrossEntropy) target = j == name ? 1.0f : 0.0f;
      if (loss == Loss::kLogistic) target = static_cast<float>(name);
      samples.targets.push_back(target);
    }
  }
  return samples;
}

// Adds the derivatives of one sample's loss to `gradients`, one entry a weight, and their
// magnitudes to `sizes`.
double PlainSample(const Perceptron& perceptron, const Samples& samples, Loss loss, int64_t i,
                   std::vector<std::vector<double>>& gradients,
                   std::vector<std::vector<double>>& sizes) {
  std::vector<std::vector<double>> units = {{}};
  for (int64_t q = 0; q < samples.num_inputs; ++q) {
    units[0].push_back(samples.inputs[i * samples.num_inputs + q]);
  }
  const size_t num_layers = perceptron.layers.size();
  for (size_t l = 0; l < num_layers; ++l) {
    if (perceptron.has_bias) units[l].push_back(1);
    const PerceptronLayer& layer = perceptron.layers[l];
    std::vector<double> next(layer.num_rows, 0.0);
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        next[layer.row[e]] += static_cast<double>(layer.weight[e]) * units[l][q];
      }
    }
    if (l + 1 < num_layers) {
      for (double& unit : next) unit = std::max(unit, 0.0);
    }
    units.push_back(next);
  }
  std::vector<double> delta(samples.num_outputs);
  const double value = SampleLoss(
      loss, units.back(),
      std::span(samples.targets).subspan(i * samples.num_outputs, samples.num_outputs), delta);
  for (size_t l = num_layers; l-- > 0;) {
    const PerceptronLayer& layer = perceptron.layers[l];
    std::vector<double> next(layer.num_columns, 0.0);
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        gradients[l][e] += delta[layer.row[e]] * units[l][q];
        sizes[l][e] += std::abs(delta[layer.row[e]] * units[l][q]);
        next[q] += delta[layer.row[e]] * layer.weight[e];
      }
      if (!(units[l][q] > 0)) next[q] = 0;
    }
    delta = next;
  }
  return value;
}

struct Shape {
  std::vector<int64_t> hidden_widths;
  bool bias;
  int64_t num_samples;
  Loss loss;
  int64_t num_outputs;
  double share;  // of the weights that remain
};

TEST(BatchGradientTest, IsThePlainGradient) {
  for (const Shape& shape : {Shape{{8}, false, 1, Loss::kSquared, 1, 1.0},
                             Shape{{8}, false, 130, Loss::kSquared, 3, 1.0},
                             Shape{{9, 7}, true, 700, Loss::kCrossEntropy, 4, 1.0},
                             Shape{{9, 7}, true, 700, Loss::kCrossEntropy, 4, 0.6},
                             Shape{{9, 7}, true, 300, Loss::kLogistic, 1, 0.15},
                             Shape{{20}, true, 9000, Loss::kSquared, 2, 0.1}}) {
    const Samples samples = RandomSamples(shape.num_samples, 11, shape.num_outputs, shape.loss, 5);
    Perceptron perceptron =
        InitialPerceptron(11, shape.hidden_widths, shape.num_outputs, shape.bias, 3);
    KeepMostSalient(perceptron,
                    static_cast<int64_t>(shape.share * static_cast<double>(perceptron.nonzeros())),
                    Saliency::kMagnitude);
    std::vector<int64_t> rows(shape.num_samples);
    std::iota(rows.rbegin(), rows.rend(), 0);
    Engine engine(1);
    BatchGradient gradient(engine, samples, shape.loss, perceptron, shape.num_samples, {});
    ASSERT_EQ(gradient.Compute(perceptron, rows), BatchOutcome::kDone);

    std::vector<std::vector<double>> expected;
    for (const PerceptronLayer& layer : perceptron.layers) {
      expected.emplace_back(layer.nonzeros(), 0.0);
    }
    std::vector<std::vector<double>> sizes = expected;
    double loss = 0;
    for (int64_t i = 0; i < shape.num_samples; ++i) {
      loss += PlainSample(perceptron, samples, shape.loss, i, expected, sizes);
    }
    EXPECT_NEAR(gradient.sums().loss, loss, 1e-4 * loss);
    EXPECT_EQ(gradient.sums().num_samples, shape.num_samples);
    const auto n = static_cast<double>(shape.num_samples);
    for (size_t l = 0; l < perceptron.layers.size(); ++l) {
      ASSERT_EQ(gradient.gradient(l).size(), expected[l].size());
      for (size_t e = 0; e < expected[l].size(); ++e) {
        EXPECT_NEAR(gradient.gradient(l)[e], expected[l][e] / n, 1e-5 * (1e-3 + sizes[l][e] / n));
      }
    }
  }
}

TEST(BatchGradientTest, HasTheSameBitsForAnyNumberOfThreads) {
  const Samples samples = RandomSamples(1500, 13, 3, Loss::kSquared, 2);
  for (const int64_t weights : {224, 120, 20}) {  // 14 * 16 + 3 * 17 = 275 in all
    Perceptron perceptron = InitialPerceptron(13, std::vector<int64_t>{16}, 3, true, 3);
    KeepMostSalient(perceptron, weights, Saliency::kMagnitude);
    std::vector<int64_t> rows(1500);
    std::iota(rows.begin(), rows.end(), 0);
    Engine one(1);
    BatchGradient reference(one, samples, Loss::kSquared, perceptron, 1500, {});
    ASSERT_EQ(reference.Compute(perceptron, rows), BatchOutcome::kDone);
    for (const int threads : {2, 3}) {
      Engine engine(threads);
      BatchGradient gradient(engine, samples, Loss::kSquared, perceptron, 1500, {});
      ASSERT_EQ(gradient.Compute(perceptron, rows), BatchOutcome::kDone);
      EXPECT_EQ(gradient.sums().loss, reference.sums().loss);
      for (size_t l = 0; l < 2; ++l) {
        EXPECT_TRUE(std::equal(gradient.gradient(l).begin(), gradient.gradient(l).end(),
                               reference.gradient(l).begin(), reference.gradient(l).end()));
      }
    }
  }
}

// 4000 samples are cut into more chunks than 5000.
TEST(BatchGradientTest, TakesABatchSmallerThanTheLargest) {
  for (int64_t largest = 1; largest <= 9000; largest += 37) {
    for (int64_t size = 1; size <= largest; size += 41) {
      EXPECT_LE(MakeBatchChunks(size).num_chunks, MostChunks(largest)) << size << " of " << largest;
    }
  }
  const Samples samples = RandomSamples(4000, 5, 1, Loss::kSquared, 2);
  const Perceptron perceptron = InitialPerceptron(5, std::vector<int64_t>{4}, 1, false, 3);
  std::vector<int64_t> rows(4000);
  std::iota(rows.begin(), rows.end(), 0);
  Engine engine(1);
  BatchGradient small(engine, samples, Loss::kSquared, perceptron, 4000, {});
  BatchGradient large(engine, samples, Loss::kSquared, perceptron, 5000, {});
  ASSERT_EQ(small.Compute(perceptron, rows), BatchOutcome::kDone);
  ASSERT_EQ(large.Compute(perceptron, rows), BatchOutcome::kDone);
  EXPECT_NEAR(large.sums().loss, small.sums().loss, 1e-9 * small.sums().loss);
}

TEST(BatchGradientTest, AStopAndALossWithoutAValueAreSaid) {
  Samples samples = RandomSamples(300, 5, 1, Loss::kSquared, 2);
  const Perceptron perceptron = InitialPerceptron(5, std::vector<int64_t>{4}, 1, false, 3);
  std::vector<int64_t> rows(300);
  std::iota(rows.begin(), rows.end(), 0);
  Engine engine(2);
  std::stop_source stop;
  BatchGradient gradient(engine, samples, Loss::kSquared, perceptron, 300, stop.get_token());
  EXPECT_EQ(gradient.Compute(perceptron, rows), BatchOutcome::kDone);
  Perceptron huge = perceptron;
  for (PerceptronLayer& layer : huge.layers) layer.weight.assign(layer.weight.size(), 1e30f);
  EXPECT_EQ(gradient.Compute(huge, rows), BatchOutcome::kNotFinite);
  // The loss has a value, its derivatives are too large for floats.
  for (PerceptronLayer& layer : huge.layers) layer.weight.assign(layer.weight.size(), 1e12f);
  EXPECT_EQ(gradient.Compute(huge, rows), BatchOutcome::kNotFinite);
  EXPECT_EQ(gradient.Compute(perceptron, rows), BatchOutcome::kDone);
  stop.request_stop();
  EXPECT_EQ(gradient.Compute(perceptron, rows), BatchOutcome::kStopped);
}

}  // namespace
}  // namespace thresher
