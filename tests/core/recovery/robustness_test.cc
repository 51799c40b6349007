// Data of every kind through Recover: nothing breaks, the budget holds, the planted network is
// found where the data determine it, and the report says where they do not.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

PlantedOptions Base() {
  return {.num_samples = 1000,
          .num_inputs = 20,
          .hidden_width = 4,
          .nonzeros = 12,
          .seed = 1,
          .output_signs = OutputSigns::kPositive};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.hidden_width = planted.hidden_width;
  options.nonzeros = planted.nonzeros;
  options.output_signs = planted.output_signs;
  return options;
}

// What holds for every outcome, whatever the data.
void ExpectSound(const Samples& samples, const RecoveryOptions& options,
                 const absl::StatusOr<RecoveryResult>& result) {
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(std::isfinite(result->relative_residual));
  EXPECT_LE(result->relative_residual, 1 + 1e-6);
  EXPECT_TRUE(std::isfinite(result->psnr_db));
  EXPECT_LE(result->nonzeros, options.nonzeros);
  EXPECT_EQ(result->nonzeros, Nonzeros(result->network));
  EXPECT_LE(result->active_neurons, options.hidden_width);
  EXPECT_TRUE(std::visit([](const auto& network) { return ValidateNetwork(network).ok(); },
                         result->network));
  const absl::StatusOr<FitQuality> fit = MeasureFitQuality(result->network, samples);
  ASSERT_TRUE(fit.ok()) << fit.status();
  const absl::StatusOr<RecoveryEvidence> evidence = GatherEvidence(*result, samples, *fit, {});
  ASSERT_TRUE(evidence.ok()) << evidence.status();
  EXPECT_FALSE(evidence->findings.empty());
  EXPECT_TRUE(std::isfinite(evidence->weakest_kept));
  if (evidence->strongest_left_out) {
    EXPECT_TRUE(std::isfinite(*evidence->strongest_left_out));
  }
  if (evidence->conditioning) {
    EXPECT_GE(evidence->conditioning->smallest_eigenvalue, 0);
    EXPECT_GE(evidence->conditioning->largest_eigenvalue, 1 - 1e-3);
    EXPECT_TRUE(std::isfinite(evidence->conditioning->largest_eigenvalue));
  }
}

bool IsExact(const RecoveryResult& result, const PlantedProblem& problem) {
  const auto comparison =
      ComparePlanted(result.network, problem.network, problem.samples.input_view());
  return comparison.ok() && comparison->has_value() && (*comparison)->exact;
}

// Data that determine the network, however unusual: found exactly.
struct Case {
  std::string name;
  std::function<void(PlantedOptions&)> change;
  // On binary inputs gates are Boolean functions: other weights may compute the same, which the
  // report must notice, and a solve stops in a local minimum now and then.
  bool binary = false;
};

class DistributionsTest : public testing::TestWithParam<Case> {};

TEST_P(DistributionsTest, TheNetworkIsFound) {
  int found = 0;
  constexpr int kSeeds = 5;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    PlantedOptions planted = Base();
    planted.seed = seed;
    GetParam().change(planted);
    const PlantedProblem problem = *GeneratePlanted(planted);
    const RecoveryOptions options = OptionsFor(planted);
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ExpectSound(problem.samples, options, result);
    if (!result.ok()) continue;
    const bool exact =
        GetParam().binary ? result->relative_residual <= 1e-6 : IsExact(*result, problem);
    found += exact ? 1 : 0;
  }
  EXPECT_GE(found, GetParam().binary ? kSeeds - 2 : kSeeds);
}

INSTANTIATE_TEST_SUITE_P(
    All, DistributionsTest,
    testing::Values(
        Case{"Normal", [](PlantedOptions&) {}},
        Case{"MixedSigns", [](PlantedOptions& p) { p.output_signs = OutputSigns::kMixed; }},
        Case{"HeavyTailedWeights",
             [](PlantedOptions& p) { p.weight_distribution = WeightDistribution::kHeavyTailed; }},
        Case{"SignWeights",
             [](PlantedOptions& p) { p.weight_distribution = WeightDistribution::kSign; }},
        Case{"UniformInputs",
             [](PlantedOptions& p) { p.input_distribution = InputDistribution::kUniform; }},
        Case{"BinaryInputs",
             [](PlantedOptions& p) { p.input_distribution = InputDistribution::kBinary; }, true},
        Case{"CorrelatedInputs", [](PlantedOptions& p) { p.input_correlation = 0.5; }}),
    [](const auto& instance) { return instance.param.name; });

TEST(UnitsTest, NeitherScaleOfInputsNorOfTargetsMatters) {
  for (const auto& [input_scale, target_scale] :
       {std::pair(1e-6, 1.0), std::pair(1.0, 1e6), std::pair(1e-6, 1e6), std::pair(1e6, 1e-6)}) {
    const PlantedProblem problem = *GeneratePlanted(Base());
    PlantedProblem scaled = problem;
    for (float& x : scaled.samples.inputs) x = static_cast<float>(input_scale * x);
    for (float& y : scaled.samples.targets) y = static_cast<float>(target_scale * y);
    for (double& w : scaled.network.weights.value) w *= target_scale / input_scale;
    const RecoveryOptions options = OptionsFor(Base());
    const absl::StatusOr<RecoveryResult> result = Recover(scaled.samples, options);
    ExpectSound(scaled.samples, options, result);
    EXPECT_TRUE(IsExact(*result, scaled)) << input_scale << " " << target_scale;
  }
}

TEST(UnitsTest, InputsMayHaveUnitsOfTheirOwn) {
  PlantedProblem problem = *GeneratePlanted(Base());
  const auto unit = [](int64_t q) { return std::pow(10.0, static_cast<double>(q % 7) - 3); };
  for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
    for (int64_t q = 0; q < problem.samples.num_inputs; ++q) {
      float& x = problem.samples.inputs[i * problem.samples.num_inputs + q];
      x = static_cast<float>(unit(q) * x);
    }
  }
  SparseRows& weights = problem.network.weights;
  for (size_t e = 0; e < weights.value.size(); ++e) weights.value[e] /= unit(weights.column[e]);
  const RecoveryOptions options = OptionsFor(Base());
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
  ExpectSound(problem.samples, options, result);
  EXPECT_LE(result->relative_residual, 1e-6);
  EXPECT_TRUE(IsExact(*result, problem));
}

// The network's answers on the inputs as they are now.
void AnswerAnew(PlantedProblem& problem) {
  std::vector<double> outputs(problem.samples.num_samples);
  ASSERT_TRUE(Evaluate(problem.network, problem.samples.input_view(), outputs).ok());
  problem.samples.targets.assign(outputs.begin(), outputs.end());
}

float* Row(PlantedProblem& problem, int64_t i) {
  return problem.samples.inputs.data() + i * problem.samples.num_inputs;
}

// Data with a defect, for every algorithm.
struct Defect {
  std::string name;
  std::function<void(PlantedProblem&)> inflict;
  bool undetermined = false;  // where the solve fits
};

class DefectsTest : public testing::TestWithParam<Defect> {};

TEST_P(DefectsTest, NothingBreaks) {
  PlantedProblem problem = *GeneratePlanted(Base());
  GetParam().inflict(problem);
  AnswerAnew(problem);
  for (const Algorithm algorithm :
       {Algorithm::kWinnow, Algorithm::kIht, Algorithm::kNiht, Algorithm::kAiht, Algorithm::kHtp}) {
    for (const bool bias : {false, true}) {
      RecoveryOptions options = OptionsFor(Base());
      options.algorithm = algorithm;
      options.bias = bias;
      if (algorithm != Algorithm::kWinnow) options.termination.max_iterations = 25;
      SCOPED_TRACE(std::string(AlgorithmName(algorithm)) + (bias ? " with bias" : ""));
      const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
      ExpectSound(problem.samples, options, result);
      if (algorithm != Algorithm::kWinnow) continue;
      // The function is found even where the weights are not determined.
      EXPECT_LE(result->relative_residual, 1e-6);
      const FitQuality fit = *MeasureFitQuality(result->network, problem.samples);
      const RecoveryEvidence evidence = *GatherEvidence(*result, problem.samples, fit, {});
      EXPECT_EQ(evidence.verdict,
                GetParam().undetermined ? Verdict::kUndetermined : Verdict::kUnchecked)
          << evidence.findings.front();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, DefectsTest,
    testing::Values(Defect{"EveryInputTwice",
                           [](PlantedProblem& problem) {
                             for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
                               std::copy_n(Row(problem, i), 10, Row(problem, i) + 10);
                             }
                           },
                           true},
                    Defect{"EverySampleTwice",
                           [](PlantedProblem& problem) {
                             for (int64_t i = 0; i < problem.samples.num_samples; i += 2) {
                               std::copy_n(Row(problem, i), problem.samples.num_inputs,
                                           Row(problem, i + 1));
                             }
                           }},
                    Defect{"ConstantAndZeroInputsOffTheSupport",
                           [](PlantedProblem& problem) {
                             // Two inputs that carry no weight.
                             std::vector<bool> used(problem.samples.num_inputs, false);
                             for (const int32_t q : problem.network.weights.column) used[q] = true;
                             int set = 0;
                             for (int64_t q = 0; q < problem.samples.num_inputs && set < 2; ++q) {
                               if (used[q]) continue;
                               const float value = set++ == 0 ? 0.0F : 3.0F;
                               for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
                                 Row(problem, i)[q] = value;
                               }
                             }
                           }},
                    Defect{"AnInputTooSmallForFloats",
                           [](PlantedProblem& problem) {
                             std::vector<bool> used(problem.samples.num_inputs, false);
                             for (const int32_t q : problem.network.weights.column) used[q] = true;
                             const auto unused = std::find(used.begin(), used.end(), false);
                             for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
                               Row(problem, i)[unused - used.begin()] = i % 100 == 0 ? 1e-40F : 0;
                             }
                           }},
                    Defect{"OneOutlier",
                           [](PlantedProblem& problem) {
                             for (int64_t q = 0; q < problem.samples.num_inputs; ++q)
                               Row(problem, 0)[q] *= 100;
                           }}),
    [](const auto& instance) { return instance.param.name; });

TEST(FewSamplesTest, AnyNumberOfSamplesIsTaken) {
  for (const int64_t num_samples : {2, 3, 8, 12, 40}) {
    PlantedOptions planted = Base();
    planted.num_samples = num_samples;
    const PlantedProblem problem = *GeneratePlanted(planted);
    if (std::all_of(problem.samples.targets.begin(), problem.samples.targets.end(),
                    [&](float y) { return y == problem.samples.targets.front(); })) {
      continue;
    }
    const RecoveryOptions options = OptionsFor(planted);
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ExpectSound(problem.samples, options, result);
    const FitQuality fit = *MeasureFitQuality(result->network, problem.samples);
    const RecoveryEvidence evidence = *GatherEvidence(*result, problem.samples, fit, {});
    EXPECT_NE(evidence.verdict, Verdict::kExplains) << num_samples;
    if (num_samples < result->nonzeros) {
      EXPECT_NE(evidence.verdict, Verdict::kUnchecked) << num_samples;
    }
  }
}

TEST(NoiseTest, TheFitIsAsGoodAsTheNoiseAllows) {
  for (const double noise_db : {40.0, 20.0, 0.0}) {
    PlantedOptions planted = Base();
    planted.noise_db = noise_db;
    const PlantedProblem problem = *GeneratePlanted(planted);
    const RecoveryOptions options = OptionsFor(planted);
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ExpectSound(problem.samples, options, result);
    // Noise of variance 10^(-dB/10) mean y^2 is in the targets' norm as well.
    const double noise = std::pow(10, -noise_db / 10);
    EXPECT_LE(result->relative_residual, 1.02 * std::sqrt(noise / (1 + noise)));
    EXPECT_GE(result->relative_residual, 0.9 * std::sqrt(noise / (1 + noise)));
  }
}

// What is left is noise, and two starts of different kinds say so: no more are needed.
TEST(NoiseTest, TwoStartsThatAgreeEndTheSolve) {
  for (int seed = 1; seed <= 4; ++seed) {
    PlantedOptions planted = Base();
    planted.seed = seed;
    planted.noise_db = 40;
    const PlantedProblem problem = *GeneratePlanted(planted);
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, OptionsFor(planted));
    ExpectSound(problem.samples, OptionsFor(planted), result);
    EXPECT_EQ(result->starts_agreeing, 2) << seed;
    EXPECT_EQ(result->termination_reason, TerminationReason::kStagnated);
  }
}

// A neuron fitted as the difference of two long ones, nearly parallel: more weights and neurons
// than it takes, and a minimum that no single exchange leaves.
TEST(LocalMinimumTest, LongNeuronsThatNearlyCancelBecomeOne) {
  PlantedOptions options = Base();
  options.output_signs = OutputSigns::kMixed;
  PlantedProblem problem = *GeneratePlanted(options);
  problem.network.weights = {.row_begin = {0, 2, 4, 5},
                             .column = {3, 7, 1, 2, 5},
                             .value = {-0.0017, -0.95, 0.8, -1.2, 0.7}};
  problem.network.output_signs = {1, -1, 1};
  std::vector<double> outputs(options.num_samples);
  ASSERT_TRUE(Evaluate(problem.network, problem.samples.input_view(), outputs).ok());
  problem.samples.targets.assign(outputs.begin(), outputs.end());
  RecoveryStart start;
  start.network = problem.network;
  start.network->weights = {.row_begin = {0, 2, 4, 5, 6},
                            .column = {3, 7, 1, 2, 5, 7},
                            .value = {-0.0017, -85.64, 0.8, -1.2, 0.7, -84.69}};
  start.network->output_signs = {1, -1, 1, -1};
  RecoveryOptions recovery = OptionsFor(options);
  recovery.nonzeros = 6;
  recovery.termination.max_iterations = 20;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, recovery, start);
  ExpectSound(problem.samples, recovery, result);
  EXPECT_TRUE(IsExact(*result, problem));
  EXPECT_EQ(result->starts_tried, 1);
}

}  // namespace
}  // namespace thresher
