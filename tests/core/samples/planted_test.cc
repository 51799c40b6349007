#include "core/samples/planted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace thresher {
namespace {

using ::testing::StartsWith;

PlantedOptions Small() {
  return {.num_samples = 50, .num_inputs = 8, .hidden_width = 6, .nonzeros = 10, .seed = 1};
}

PlantedProblem Generate(const PlantedOptions& options) {
  auto problem = GeneratePlanted(options);
  EXPECT_TRUE(problem.ok()) << problem.status();
  return problem.ok() ? *std::move(problem) : PlantedProblem{};
}

// Flat positions row * d + column of the network's weights.
std::vector<int64_t> Positions(const SparseNetwork& network) {
  std::vector<int64_t> positions;
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      positions.push_back(j * network.num_inputs + network.weights.column[e]);
    }
  }
  return positions;
}

TEST(GeneratePlantedTest, TargetsAreThePlantedNetworksAnswers) {
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    PlantedOptions options = Small();
    options.output_signs = signs;
    const PlantedProblem problem = Generate(options);
    ASSERT_TRUE(ValidateSamples(problem.samples).ok());
    ASSERT_TRUE(ValidateNetwork(problem.network).ok());
    EXPECT_EQ(problem.network.hidden_width(), 6);
    EXPECT_EQ(problem.network.weights.nonzeros(), 10);
    for (int64_t i = 0; i < 50; ++i) {
      double expected = 0;
      for (int64_t j = 0; j < 6; ++j) {
        double sum = 0;
        for (int64_t e = problem.network.weights.row_begin[j];
             e < problem.network.weights.row_begin[j + 1]; ++e) {
          sum += problem.network.weights.value[e] *
                 problem.samples.inputs[i * 8 + problem.network.weights.column[e]];
        }
        expected += problem.network.output_signs[j] * std::max(sum, 0.0);
      }
      EXPECT_NEAR(problem.samples.targets[i], expected, 1e-6 * (1 + std::fabs(expected)));
    }
  }
}

TEST(GeneratePlantedTest, RepeatsForASeed) {
  const PlantedProblem first = Generate(Small());
  const PlantedProblem again = Generate(Small());
  EXPECT_EQ(first.samples.inputs, again.samples.inputs);
  EXPECT_EQ(first.samples.targets, again.samples.targets);
  EXPECT_EQ(first.network, again.network);
  PlantedOptions other = Small();
  other.seed = 2;
  EXPECT_NE(first.samples.inputs, Generate(other).samples.inputs);
  EXPECT_NE(first.network, Generate(other).network);
}

TEST(GeneratePlantedTest, OneChoiceLeavesTheOtherDrawsAlone) {
  const PlantedProblem plain = Generate(Small());
  PlantedOptions options = Small();
  options.noise_db = 20;
  options.output_signs = OutputSigns::kMixed;
  options.num_samples = 20;
  const PlantedProblem other = Generate(options);
  EXPECT_EQ(plain.network.weights, other.network.weights);
  EXPECT_TRUE(std::equal(other.samples.inputs.begin(), other.samples.inputs.end(),
                         plain.samples.inputs.begin()));
}

TEST(GeneratePlantedTest, ALinearTermLeavesTheOtherDrawsAlone) {
  PlantedOptions options = {
      .num_samples = 400, .num_inputs = 300, .hidden_width = 5, .nonzeros = 20, .seed = 8};
  const PlantedProblem without = *GeneratePlanted(options);
  EXPECT_TRUE(without.network.linear.empty());
  options.linear_term = true;
  const PlantedProblem with = *GeneratePlanted(options);
  EXPECT_EQ(with.samples.inputs, without.samples.inputs);
  ASSERT_EQ(with.network.linear.size(), 300u);
  double sum = 0;
  double squares = 0;
  for (const double entry : with.network.linear) {
    sum += entry;
    squares += entry * entry;
  }
  // N(0, 1), within five standard errors.
  EXPECT_NEAR(sum / 300, 0, 5 / std::sqrt(300.0));
  EXPECT_NEAR(squares / 300, 1, 5 * std::sqrt(2.0 / 300));
  for (int64_t i = 0; i < 400; ++i) {
    double linear = 0;
    for (int64_t q = 0; q < 300; ++q) {
      linear += with.network.linear[q] * with.samples.inputs[i * 300 + q];
    }
    EXPECT_NEAR(with.samples.targets[i] - without.samples.targets[i], linear, 1e-4);
  }
  SparseNetwork beside = with.network;
  beside.linear.clear();
  EXPECT_EQ(beside, without.network);
}

TEST(GeneratePlantedTest, TakesTheSmallestAndTheFullestProblem) {
  PlantedOptions options = {
      .num_samples = 1, .num_inputs = 1, .hidden_width = 1, .nonzeros = 1, .seed = 0};
  EXPECT_EQ(Positions(Generate(options).network), (std::vector<int64_t>{0}));
  options = Small();
  options.nonzeros = 48;
  std::vector<int64_t> all(48);
  for (int64_t k = 0; k < 48; ++k) all[k] = k;
  EXPECT_EQ(Positions(Generate(options).network), all);
}

TEST(GeneratePlantedTest, PositionsAreUniformInBothMethods) {
  // 3 of 60 positions are drawn by Floyd's method, 20 of 60 by selection sampling.
  for (const int64_t nonzeros : {3, 20}) {
    std::vector<int> times(60, 0);
    constexpr int kDraws = 3000;
    for (uint64_t seed = 0; seed < kDraws; ++seed) {
      const PlantedProblem problem = Generate({.num_samples = 1,
                                               .num_inputs = 10,
                                               .hidden_width = 6,
                                               .nonzeros = nonzeros,
                                               .seed = seed});
      const std::vector<int64_t> positions = Positions(problem.network);
      ASSERT_EQ(std::set<int64_t>(positions.begin(), positions.end()).size(),
                static_cast<size_t>(nonzeros));
      for (const int64_t position : positions) ++times[position];
    }
    const double chance = static_cast<double>(nonzeros) / 60;
    const double deviation = std::sqrt(kDraws * chance * (1 - chance));
    for (const int count : times) EXPECT_NEAR(count, kDraws * chance, 5 * deviation);
  }
}

TEST(GeneratePlantedTest, ManyCandidatesTakeLittleMemory) {
  // 10^9 candidate weights; a vector over them would exceed the limit by far.
  const PlantedOptions options = {.num_samples = 10,
                                  .num_inputs = 1000,
                                  .hidden_width = 1'000'000,
                                  .nonzeros = 1000,
                                  .seed = 5,
                                  .max_bytes = 20'000'000};
  const PlantedProblem problem = Generate(options);
  EXPECT_EQ(problem.network.weights.nonzeros(), 1000);
  EXPECT_TRUE(ValidateNetwork(problem.network).ok());
  EXPECT_EQ(problem.network.hidden_width(), 1'000'000);
}

TEST(GeneratePlantedTest, WeightsFollowTheirDistribution) {
  const auto weights_of = [](WeightDistribution distribution) {
    std::vector<double> weights = Generate({.num_samples = 1,
                                            .num_inputs = 100,
                                            .hidden_width = 400,
                                            .nonzeros = 40000,
                                            .seed = 3,
                                            .weight_distribution = distribution})
                                      .network.weights.value;
    std::sort(weights.begin(), weights.end());
    return weights;
  };
  // Quantiles against the distribution function; 40000 draws put them within 0.015 in
  // probability (six standard deviations).
  const auto expect_distribution = [](const std::vector<double>& sorted, auto cdf) {
    for (const double p : {0.05, 0.25, 0.5, 0.75, 0.95}) {
      EXPECT_NEAR(cdf(sorted[static_cast<size_t>(p * 40000)]), p, 0.015);
    }
  };
  expect_distribution(weights_of(WeightDistribution::kNormal),
                      [](double w) { return 0.5 * std::erfc(-w / std::sqrt(2.0)); });
  expect_distribution(weights_of(WeightDistribution::kHeavyTailed),
                      [](double w) { return 0.5 + w / (2 * std::sqrt(2 + w * w)); });
  const std::vector<double> uniform = weights_of(WeightDistribution::kUniform);
  expect_distribution(uniform, [](double w) {
    return w < 0 ? std::min(0.5, (w + 1) / 1.8) : std::max(0.5, 0.5 + (w - 0.1) / 1.8);
  });
  for (const double w : uniform) {
    EXPECT_GE(std::fabs(w), 0.1);
    EXPECT_LE(std::fabs(w), 1);
  }
  const std::vector<double> signs = weights_of(WeightDistribution::kSign);
  EXPECT_NEAR(std::count(signs.begin(), signs.end(), 1.0), 20000, 600);
  EXPECT_NEAR(std::count(signs.begin(), signs.end(), -1.0), 20000, 600);
}

TEST(GeneratePlantedTest, InputsHaveUnitVarianceAndTheCorrelationAsked) {
  constexpr int64_t kSamples = 20000;
  constexpr int64_t kInputs = 6;
  for (const InputDistribution distribution :
       {InputDistribution::kNormal, InputDistribution::kUniform, InputDistribution::kBinary}) {
    for (const double rho : {0.0, 0.8, -0.5}) {
      const PlantedProblem problem = Generate({.num_samples = kSamples,
                                               .num_inputs = kInputs,
                                               .hidden_width = 1,
                                               .nonzeros = 1,
                                               .seed = 11,
                                               .input_distribution = distribution,
                                               .input_correlation = rho});
      const FloatArray& x = problem.samples.inputs;
      for (int64_t a = 0; a < kInputs; ++a) {
        for (int64_t b = 0; b < kInputs; ++b) {
          double covariance = 0;
          for (int64_t i = 0; i < kSamples; ++i) {
            covariance += x[i * kInputs + a] * x[i * kInputs + b] / kSamples;
          }
          EXPECT_NEAR(covariance, std::pow(rho, std::abs(a - b)), 0.06)
              << static_cast<int>(distribution) << " " << rho << " " << a << " " << b;
        }
      }
      for (const float value : x) {
        if (distribution == InputDistribution::kUniform) {
          ASSERT_LE(std::fabs(value), 1.7320509f);
        } else if (distribution == InputDistribution::kBinary) {
          ASSERT_EQ(std::fabs(value), 1);
        }
      }
    }
  }
}

TEST(GeneratePlantedTest, NoiseHasTheRatioAsked) {
  PlantedOptions options = {
      .num_samples = 20000, .num_inputs = 5, .hidden_width = 4, .nonzeros = 8, .seed = 2};
  const PlantedProblem clean = Generate(options);
  for (const double noise_db : {-10.0, 0.0, 30.0}) {
    options.noise_db = noise_db;
    const PlantedProblem noisy = Generate(options);
    double signal = 0;
    double noise = 0;
    for (int64_t i = 0; i < 20000; ++i) {
      signal += std::pow(clean.samples.targets[i], 2);
      noise += std::pow(noisy.samples.targets[i] - clean.samples.targets[i], 2);
    }
    EXPECT_NEAR(10 * std::log10(signal / noise), noise_db, 0.3);
  }
}

TEST(GeneratePlantedTest, MixedSignsAreBoth) {
  PlantedOptions options = Small();
  options.hidden_width = 1000;
  options.output_signs = OutputSigns::kMixed;
  const SparseNetwork network = Generate(options).network;
  EXPECT_NEAR(std::count(network.output_signs.begin(), network.output_signs.end(), 1), 500, 100);
  options.output_signs = OutputSigns::kPositive;
  const SparseNetwork positive = Generate(options).network;
  EXPECT_EQ(std::count(positive.output_signs.begin(), positive.output_signs.end(), 1), 1000);
}

TEST(GeneratePlantedTest, EveryWeightMatrixGetsItsShare) {
  for (const int64_t num_outputs : {1, 2, 10}) {
    for (const int64_t hidden_layers : {1, 2, 3}) {
      PlantedOptions options = Small();
      options.num_outputs = num_outputs;
      options.hidden_layers = hidden_layers;
      options.nonzeros = 47;
      const PlantedProblem problem = Generate(options);
      const SparseNetwork& network = problem.network;
      ASSERT_TRUE(ValidateNetwork(network).ok());
      ASSERT_TRUE(ValidateSamples(problem.samples).ok());
      EXPECT_EQ(IsFused(network), num_outputs == 1);
      EXPECT_EQ(NumOutputs(network), num_outputs);
      EXPECT_EQ(problem.samples.num_outputs, num_outputs);
      EXPECT_EQ(HiddenWidths(network), std::vector<int64_t>(hidden_layers, 6));
      const int64_t matrices = hidden_layers + (num_outputs > 1 ? 1 : 0);
      EXPECT_EQ(network.weights.nonzeros(), std::min<int64_t>(48, 47 / matrices));
      ASSERT_EQ(network.upper_layers.size(), static_cast<size_t>(matrices) - 1);
      for (int64_t l = 2; l <= matrices; ++l) {
        const int64_t entries = 6 * (l > hidden_layers ? num_outputs : 6);
        EXPECT_EQ(network.upper_layers[l - 2].nonzeros(), std::min(entries, 47 / matrices));
      }
      std::vector<double> outputs(problem.samples.targets.size());
      ASSERT_TRUE(Evaluate(network, problem.samples.input_view(), outputs).ok());
      for (size_t i = 0; i < outputs.size(); ++i) {
        EXPECT_NEAR(problem.samples.targets[i], outputs[i], 1e-6 * (1 + std::fabs(outputs[i])));
      }
    }
  }
}

TEST(GeneratePlantedTest, LayersAreDrawnApart) {
  PlantedOptions options = Small();
  options.hidden_layers = 3;
  options.hidden_width = 8;
  options.nonzeros = 60;
  const SparseNetwork network = Generate(options).network;
  EXPECT_NE(network.weights.value, network.upper_layers[0].value);
  EXPECT_NE(network.upper_layers[0].value, network.upper_layers[1].value);
  EXPECT_NE(network.weights.column, network.upper_layers[0].column);
  // The lower layers do not change with what is above; 80 / 4 = 60 / 3.
  options.num_outputs = 4;
  options.nonzeros = 80;
  const PlantedProblem above = Generate(options);
  EXPECT_EQ(above.network.weights, network.weights);
  EXPECT_EQ(above.network.upper_layers[0], network.upper_layers[0]);
  EXPECT_EQ(above.network.upper_layers[1], network.upper_layers[1]);
  EXPECT_EQ(above.samples.inputs, Generate(Small()).samples.inputs);
}

TEST(GeneratePlantedTest, MixedSignsReachTheLastLayerOfADeepNetwork) {
  PlantedOptions options = Small();
  options.hidden_layers = 2;
  options.hidden_width = 30;
  options.output_signs = OutputSigns::kMixed;
  const SparseNetwork network = Generate(options).network;
  ASSERT_EQ(network.output_signs.size(), 30u);
  EXPECT_GT(std::count(network.output_signs.begin(), network.output_signs.end(), 1), 0);
  EXPECT_GT(std::count(network.output_signs.begin(), network.output_signs.end(), -1), 0);
}

TEST(GeneratePlantedTest, WithoutAPathTargetsAreZero) {
  PlantedOptions options = Small();
  options.hidden_layers = 4;
  options.hidden_width = 1000;
  options.nonzeros = 4;
  const PlantedProblem problem = Generate(options);
  EXPECT_EQ(problem.samples.targets, std::vector<float>(50, 0.0f));
}

TEST(GeneratePlantedTest, NoiseIsOverAllOutputs) {
  PlantedOptions options = Small();
  options.num_samples = 4000;
  options.num_outputs = 3;
  options.nonzeros = 30;
  const FloatArray clean = Generate(options).samples.targets;
  options.noise_db = 10;
  const FloatArray noisy = Generate(options).samples.targets;
  double power = 0;
  double noise = 0;
  for (size_t i = 0; i < clean.size(); ++i) {
    power += clean[i] * clean[i];
    noise += (noisy[i] - clean[i]) * (noisy[i] - clean[i]);
  }
  EXPECT_NEAR(10 * std::log10(power / noise), 10, 0.3);
}

TEST(GeneratePlantedTest, NamesTheFieldThatIsWrong) {
  const auto error = [](auto change) {
    PlantedOptions options = Small();
    change(options);
    const absl::Status status = GeneratePlanted(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(PlantedBytes(options).status(), status);
    return std::string(status.message());
  };
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(error([](auto& o) { o.num_samples = 0; }), StartsWith("num_samples:"));
  EXPECT_THAT(error([](auto& o) { o.num_inputs = -1; }), StartsWith("num_inputs:"));
  EXPECT_THAT(error([](auto& o) { o.hidden_width = 0; }), StartsWith("hidden_width:"));
  EXPECT_THAT(error([](auto& o) { o.nonzeros = 0; }), StartsWith("nonzeros:"));
  EXPECT_THAT(error([](auto& o) { o.nonzeros = 49; }), StartsWith("nonzeros:"));
  EXPECT_THAT(error([](auto& o) { o.num_inputs = int64_t{1} << 31; }), StartsWith("num_inputs:"));
  EXPECT_THAT(error([](auto& o) { o.num_samples = kHuge; }), StartsWith("num_samples:"));
  EXPECT_THAT(error([](auto& o) { o.hidden_width = kHuge; }), StartsWith("hidden_width:"));
  EXPECT_THAT(error([](auto& o) { o.num_samples = 200'000'000'000; }), StartsWith("num_samples:"));
  EXPECT_THAT(error([](auto& o) { o.num_outputs = 0; }), StartsWith("num_outputs:"));
  EXPECT_THAT(error([](auto& o) { o.num_outputs = kHuge; }), StartsWith("num_outputs:"));
  EXPECT_THAT(error([](auto& o) { o.hidden_layers = 0; }), StartsWith("hidden_layers:"));
  EXPECT_THAT(error([](auto& o) { o.hidden_layers = kMaxHiddenLayers + 1; }),
              StartsWith("hidden_layers:"));
  EXPECT_THAT(error([](auto& o) {
                o.hidden_layers = 2;
                o.hidden_width = int64_t{1} << 32;
              }),
              StartsWith("hidden_width:"));
  EXPECT_THAT(error([](auto& o) {
                o.hidden_layers = 3;
                o.nonzeros = 2;
              }),
              StartsWith("nonzeros:"));
  EXPECT_THAT(error([](auto& o) {
                o.hidden_layers = 2;
                o.num_outputs = 2;
                o.nonzeros = 8 * 6 + 6 * 6 + 6 * 2 + 1;
              }),
              StartsWith("nonzeros:"));
  EXPECT_THAT(error([](auto& o) {
                o.num_outputs = 2;
                o.output_signs = OutputSigns::kMixed;
              }),
              StartsWith("output_signs:"));
  EXPECT_THAT(error([](auto& o) {
                o.hidden_layers = 2;
                o.linear_term = true;
              }),
              StartsWith("linear_term:"));
  EXPECT_THAT(error([](auto& o) { o.noise_db = std::nan(""); }), StartsWith("noise_db:"));
  EXPECT_THAT(error([](auto& o) { o.noise_db = -101; }), StartsWith("noise_db:"));
  EXPECT_THAT(error([](auto& o) { o.input_correlation = 1; }), StartsWith("input_correlation:"));
  EXPECT_THAT(error([](auto& o) { o.input_correlation = std::nan(""); }),
              StartsWith("input_correlation:"));
}

TEST(GeneratePlantedTest, RefusesWhatDoesNotFit) {
  PlantedOptions options = Small();
  const auto bytes = PlantedBytes(options);
  ASSERT_TRUE(bytes.ok());
  options.max_bytes = *bytes;
  EXPECT_TRUE(GeneratePlanted(options).ok());
  options.max_bytes = *bytes - 1;
  EXPECT_TRUE(absl::IsResourceExhausted(GeneratePlanted(options).status()));
  // Far beyond any memory; must fail at once, not allocate.
  options = Small();
  options.hidden_width = int64_t{1} << 59;
  EXPECT_TRUE(absl::IsResourceExhausted(GeneratePlanted(options).status()));
}

TEST(GeneratePlantedTest, StopsWhenAsked) {
  std::stop_source stop;
  const auto going = GeneratePlanted(Small(), stop.get_token());
  ASSERT_TRUE(going.ok()) << going.status();
  EXPECT_EQ(going->samples.targets, Generate(Small()).samples.targets);
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(GeneratePlanted(Small(), stop.get_token()).status()));
}

}  // namespace
}  // namespace thresher
