// Recovery of networks beside a linear term that shares their budget.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/evaluation.h"
#include "core/recovery/fit_quality.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

constexpr int64_t kInputs = 12;

SparseNetwork Linear(std::vector<double> entries, double intercept) {
  SparseNetwork network = {.num_inputs = kInputs, .has_bias = true};
  network.linear = std::move(entries);
  network.linear.resize(kInputs, 0.0);
  network.linear.push_back(intercept);
  return network;
}

void AddNeuron(std::vector<std::pair<int32_t, double>> weights, int8_t sign,
               SparseNetwork& network) {
  for (const auto& [column, value] : weights) {
    network.weights.column.push_back(column);
    network.weights.value.push_back(value);
  }
  network.weights.row_begin.push_back(network.weights.nonzeros());
  network.output_signs.push_back(sign);
}

// Three neurons of two weights, four inputs of a linear term, an intercept.
SparseNetwork Mixed() {
  SparseNetwork network = Linear({0, 1.5, 0, 0, -2, 0, 0, 0.8, 0, 0, 0, -1}, 3);
  AddNeuron({{0, 1.2}, {2, -0.7}}, 1, network);
  AddNeuron({{1, -1.1}, {5, 0.9}}, -1, network);
  AddNeuron({{3, -0.8}, {kInputs, 0.5}}, 1, network);
  return network;
}

Samples SamplesOf(const SparseNetwork& network, int64_t num_samples, double noise, uint64_t seed) {
  CounterRandom random(seed, 7);
  Samples samples = {.num_samples = num_samples, .num_inputs = kInputs};
  std::vector<float> inputs(num_samples * kInputs);
  for (float& input : inputs) input = static_cast<float>(random.NextNormal());
  samples.inputs = inputs;
  std::vector<double> outputs(num_samples);
  EXPECT_TRUE(Evaluate(network, {inputs.data(), num_samples, kInputs}, outputs).ok());
  std::vector<float> targets;
  for (const double output : outputs) {
    targets.push_back(static_cast<float>(output + noise * random.NextNormal()));
  }
  samples.targets = targets;
  return samples;
}

RecoveryOptions OptionsFor(int64_t hidden_width, int64_t nonzeros) {
  RecoveryOptions options;
  options.hidden_width = hidden_width;
  options.nonzeros = nonzeros;
  options.output_signs = OutputSigns::kMixed;
  options.bias = true;
  options.linear_term = LinearTerm::kSparse;
  return options;
}

std::vector<int64_t> LinearSupport(const RecoveryResult& result) {
  const std::vector<double>& linear = std::get<SparseNetwork>(result.network).linear;
  std::vector<int64_t> support;
  for (int64_t q = 0; q < kInputs; ++q) {
    if (linear[q] != 0) support.push_back(q);
  }
  return support;
}

// What holds for every result.
void ExpectSound(const RecoveryResult& result, const RecoveryOptions& options,
                 const Samples& samples) {
  const auto& network = std::get<SparseNetwork>(result.network);
  EXPECT_TRUE(ValidateNetwork(network).ok());
  EXPECT_EQ(static_cast<int64_t>(network.linear.size()), network.num_columns());
  EXPECT_LE(Nonzeros(network) + LinearNonzeros(network), options.nonzeros);
  EXPECT_EQ(result.nonzeros, Nonzeros(result.network));
  EXPECT_LE(result.active_neurons, options.hidden_width);
  EXPECT_NEAR(result.relative_residual, MeasureFitQuality(network, samples)->relative_residual,
              1e-9);
}

TEST(SparseLinearTest, ExactTargetsGiveThePlantedTermAndNeurons) {
  const SparseNetwork planted = Mixed();
  for (const uint64_t seed : {1, 2, 3}) {
    const Samples samples = SamplesOf(planted, 1000, 0, seed);
    const RecoveryOptions options = OptionsFor(3, 10);
    const auto result = Recover(samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSound(*result, options, samples);
    EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
    EXPECT_THAT(LinearSupport(*result), ElementsAre(1, 4, 7, 11));
    const auto& network = std::get<SparseNetwork>(result->network);
    EXPECT_EQ(network.weights.nonzeros(), 6);
    for (size_t q = 0; q < network.linear.size(); ++q) {
      EXPECT_NEAR(network.linear[q], planted.linear[q], 1e-4);
    }
    EXPECT_LT(MeasureFitQuality(network, SamplesOf(planted, 500, 0, 99))->relative_residual, 1e-6);
  }
}

TEST(SparseLinearTest, NoiseOnALinearFunctionGetsNoNeurons) {
  const SparseNetwork planted = Linear({0, 1, 0, 0, -1, 0, 0.7}, -2);
  for (const uint64_t seed : {4, 5, 6}) {
    const Samples samples = SamplesOf(planted, 400, 1, seed);
    for (const int64_t nonzeros : {3, 12, 30}) {
      const RecoveryOptions options = OptionsFor(5, nonzeros);
      const auto result = Recover(samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      ExpectSound(*result, options, samples);
      EXPECT_EQ(result->nonzeros, 0);
      const std::vector<int64_t> support = LinearSupport(*result);
      for (const int64_t q : {1, 4, 6}) EXPECT_THAT(support, testing::Contains(q));
    }
  }
}

TEST(SparseLinearTest, NeuronsAboveTheNoiseAreFoundBesideTheTerm) {
  const SparseNetwork planted = Mixed();
  const Samples samples = SamplesOf(planted, 3000, 0.05, 7);
  const RecoveryOptions options = OptionsFor(3, 10);
  const auto result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectSound(*result, options, samples);
  const double error =
      MeasureFitQuality(result->network, SamplesOf(planted, 1000, 0, 98))->relative_residual;
  EXPECT_LT(error, 0.01);
}

TEST(SparseLinearTest, EveryBudgetIsKept) {
  const Samples samples = SamplesOf(Mixed(), 300, 0.5, 8);
  for (int64_t nonzeros = 1; nonzeros <= 12; ++nonzeros) {
    for (const bool bias : {false, true}) {
      for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
        RecoveryOptions options = OptionsFor(2, nonzeros);
        options.bias = bias;
        options.output_signs = signs;
        const auto result = Recover(samples, options);
        ASSERT_TRUE(result.ok()) << result.status();
        ExpectSound(*result, options, samples);
        if (signs == OutputSigns::kPositive) {
          EXPECT_THAT(std::get<SparseNetwork>(result->network).output_signs, testing::Each(1));
        }
      }
    }
  }
}

TEST(SparseLinearTest, TheInterceptIsNeverCounted) {
  const Samples samples = SamplesOf(Linear({0, 0, 2}, 100), 200, 0, 9);
  const RecoveryOptions options = OptionsFor(1, 1);
  const auto result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectSound(*result, options, samples);
  EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
  EXPECT_THAT(LinearSupport(*result), ElementsAre(2));
  EXPECT_NEAR(std::get<SparseNetwork>(result->network).linear.back(), 100, 1e-3);
}

TEST(SparseLinearTest, HasTheSameBitsOnAnyNumberOfThreadsAndResumed) {
  const Samples samples = SamplesOf(Mixed(), 500, 0.5, 10);
  RecoveryOptions options = OptionsFor(4, 8);
  options.termination.max_iterations = 40;
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  observer.checkpoint_due = [](const IterationReport&) { return true; };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  const auto whole = Recover(samples, options, {}, observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ExpectSound(*whole, options, samples);
  EXPECT_GT(whole->iterations, 20);
  checkpoints.push_back(whole->checkpoint);
  for (size_t k = 0; k < checkpoints.size(); k += 1 + checkpoints.size() / 12) {
    const auto resumed = Recover(samples, options, {}, {}, {}, checkpoints[k]);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network) << k;
    EXPECT_EQ(resumed->iterations, whole->iterations);
  }
  for (const int num_threads : {2, 3}) {
    RecoveryOptions more = options;
    more.num_threads = num_threads;
    const auto many = Recover(samples, more);
    ASSERT_TRUE(many.ok()) << many.status();
    EXPECT_TRUE(many->network == whole->network);
  }
  // Another problem than that of a dense term.
  options.linear_term = LinearTerm::kDense;
  const auto other = Recover(samples, options, {}, {}, {}, checkpoints.front());
  EXPECT_THAT(std::string(other.status().message()), StartsWith("checkpoint:"));
  // Damage anywhere is found.
  options.linear_term = LinearTerm::kSparse;
  const std::string& bytes = checkpoints.back();
  for (size_t k = 0; k < bytes.size(); k += 1 + bytes.size() / 40) {
    std::string damaged = bytes;
    damaged[k] ^= 4;
    EXPECT_FALSE(Recover(samples, options, {}, {}, {}, damaged).ok()) << k;
    EXPECT_FALSE(Recover(samples, options, {}, {}, {}, bytes.substr(0, k)).ok() && k > 0) << k;
  }
}

TEST(SparseLinearTest, StoppedAnywhereTheResultIsWithinTheBudgetAndGoesOn) {
  const Samples samples = SamplesOf(Mixed(), 400, 0.5, 11);
  const RecoveryOptions options = OptionsFor(3, 6);
  const auto whole = Recover(samples, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (int64_t last = 0; last < whole->iterations; last += 1 + whole->iterations / 12) {
    std::stop_source stop;
    if (last == 0) stop.request_stop();
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == last) stop.request_stop();
    };
    const auto result = Recover(samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->termination_reason, TerminationReason::kCancelled);
    ExpectSound(*result, options, samples);
    const auto resumed = Recover(samples, options, {}, {}, {}, result->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network) << last;
    EXPECT_EQ(resumed->iterations, whole->iterations) << last;
  }
}

TEST(SparseLinearTest, ATimeLimitThatHasPassedStillGivesANetworkWithinTheBudget) {
  const Samples samples = SamplesOf(Mixed(), 400, 0.5, 12);
  RecoveryOptions options = OptionsFor(3, 6);
  options.termination.time_limit_seconds = 1e-6;
  const auto result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->termination_reason, TerminationReason::kTimeLimit);
  ExpectSound(*result, options, samples);
}

TEST(SparseLinearTest, APathChoosesHowManyEntries) {
  const Samples samples = SamplesOf(Linear({0, 1, 0, 0, -1, 0, 0.7}, -2), 400, 0.5, 13);
  RecoveryOptions options = OptionsFor(3, 0);
  const auto path = RecoverPath(samples, options, {.min_nonzeros = 1, .max_nonzeros = 8});
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->recovery.options_used.nonzeros, 3);
  EXPECT_THAT(LinearSupport(path->recovery), ElementsAre(1, 4, 6));
  EXPECT_EQ(path->recovery.nonzeros, 0);
}

TEST(SparseLinearTest, TheReportJudgesANetworkOfATermAlone) {
  const Samples samples = SamplesOf(Linear({0, 1, 0, 0, -1, 0, 0.7}, -2), 400, 0, 14);
  const auto result = Recover(samples, OptionsFor(3, 5));
  ASSERT_TRUE(result.ok()) << result.status();
  const auto evidence =
      GatherEvidence(*result, samples, *MeasureFitQuality(result->network, samples), {});
  ASSERT_TRUE(evidence.ok()) << evidence.status();
  EXPECT_EQ(evidence->verdict, Verdict::kUnchecked);
  EXPECT_THAT(evidence->findings, testing::Contains(testing::HasSubstr("It is linear")));
  EXPECT_FALSE(evidence->hard_thresholding_nonzeros.has_value());
}

}  // namespace
}  // namespace thresher
