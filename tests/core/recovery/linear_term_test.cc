// Recovery of networks beside a dense linear term.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/absorb_linear.h"
#include "core/network/compare.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::StartsWith;

constexpr double kHeldOutPsnrDb = 120;

// A network and its answers on samples to learn from and on others.
struct Problem {
  SparseNetwork network;
  Samples training;
  Samples held_out;
};

// The first num_training samples, and the others.
Problem Divide(const PlantedProblem& planted, int64_t num_training) {
  Problem problem{planted.network, planted.samples, planted.samples};
  const int64_t d = planted.samples.num_inputs;
  problem.training.num_samples = num_training;
  problem.training.inputs.resize(num_training * d);
  problem.training.targets.resize(num_training);
  Samples& held_out = problem.held_out;
  held_out.num_samples -= num_training;
  held_out.inputs = std::vector(held_out.inputs.begin() + num_training * d, held_out.inputs.end());
  held_out.targets = std::vector(held_out.targets.begin() + num_training, held_out.targets.end());
  return problem;
}

PlantedOptions Plant(uint64_t seed, OutputSigns signs) {
  return {.num_samples = 1700,
          .num_inputs = 20,
          .hidden_width = 5,
          .nonzeros = 18,
          .seed = seed,
          .output_signs = signs,
          .linear_term = true};
}

// Targets of the network with an intercept and neurons that use the constant.
void AddBias(Problem& problem) {
  SparseNetwork& network = problem.network;
  SparseNetwork biased;
  biased.num_inputs = network.num_inputs;
  biased.has_bias = true;
  biased.output_signs = network.output_signs;
  biased.linear = network.linear;
  biased.linear.push_back(3);
  for (int64_t j = 0; j < network.hidden_width(); ++j) {
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      biased.weights.column.push_back(network.weights.column[e]);
      biased.weights.value.push_back(network.weights.value[e]);
    }
    if (biased.weights.nonzeros() > biased.weights.row_begin.back() && j % 2 == 0) {
      biased.weights.column.push_back(static_cast<int32_t>(network.num_inputs));
      biased.weights.value.push_back(j == 0 ? 0.5 : -0.75);
    }
    biased.weights.row_begin.push_back(biased.weights.nonzeros());
  }
  network = std::move(biased);
  for (Samples* samples : {&problem.training, &problem.held_out}) {
    std::vector<double> targets(samples->num_samples);
    ASSERT_TRUE(Evaluate(network, samples->input_view(), targets).ok());
    samples->targets.assign(targets.begin(), targets.end());
  }
}

RecoveryOptions OptionsFor(const SparseNetwork& network, OutputSigns signs) {
  RecoveryOptions options;
  options.hidden_width = network.hidden_width();
  options.nonzeros = network.weights.nonzeros();
  options.output_signs = signs;
  options.bias = network.has_bias;
  options.linear_term = LinearTerm::kDense;
  return options;
}

PlantedComparison Comparison(const RecoveryResult& result, const Problem& problem) {
  const auto comparison =
      ComparePlanted(result.network, problem.network, problem.held_out.input_view());
  EXPECT_TRUE(comparison.ok() && comparison->has_value());
  return comparison.ok() ? comparison->value_or(PlantedComparison()) : PlantedComparison();
}

// What holds for every result with a linear term.
void ExpectSound(const RecoveryResult& result, const RecoveryOptions& options) {
  const auto& network = std::get<SparseNetwork>(result.network);
  EXPECT_TRUE(ValidateNetwork(network).ok());
  EXPECT_EQ(static_cast<int64_t>(network.linear.size()), network.num_columns());
  EXPECT_LE(result.nonzeros, options.nonzeros);
  EXPECT_EQ(result.nonzeros, Nonzeros(result.network));
  EXPECT_LE(result.active_neurons, options.hidden_width);
  EXPECT_EQ(OrientNeurons(network), network);
  if (options.output_signs == OutputSigns::kPositive) {
    EXPECT_THAT(network.output_signs, Each(1));
  }
}

struct Case {
  std::string name;
  OutputSigns signs = OutputSigns::kPositive;
  bool bias = false;
  double input_scale = 1;
  double target_scale = 1;
  WeightDistribution weights = WeightDistribution::kNormal;
  double correlation = 0;
};

class LinearTermTest : public testing::TestWithParam<Case> {};

TEST_P(LinearTermTest, ThePlantedNetworkIsFoundUpToItsSymmetries) {
  const Case& c = GetParam();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    PlantedOptions planted = Plant(seed, c.signs);
    planted.weight_distribution = c.weights;
    planted.input_correlation = c.correlation;
    Problem problem = Divide(*GeneratePlanted(planted), 1500);
    if (c.bias) AddBias(problem);
    for (Samples* samples : {&problem.training, &problem.held_out}) {
      for (float& x : samples->inputs) x = static_cast<float>(c.input_scale * x);
      for (float& y : samples->targets) y = static_cast<float>(c.target_scale * y);
    }
    const double unit = c.target_scale / c.input_scale;
    for (double& w : problem.network.weights.value) w *= unit;
    for (double& l : problem.network.linear) l *= unit;
    const RecoveryOptions options = OptionsFor(problem.network, c.signs);
    const auto result = Recover(problem.training, options);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSound(*result, options);
    EXPECT_EQ(result->options_used.algorithm, Algorithm::kWinnow);
    EXPECT_TRUE(Comparison(*result, problem).exact) << seed;
    EXPECT_GT(MeasureFitQuality(result->network, problem.held_out)->psnr_db, kHeldOutPsnrDb)
        << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, LinearTermTest,
    testing::Values(
        Case{"Positive"}, Case{"Mixed", OutputSigns::kMixed},
        Case{"PositiveWithBias", OutputSigns::kPositive, true},
        Case{"MixedWithBias", OutputSigns::kMixed, true},
        Case{"SmallInputsLargeTargets", OutputSigns::kMixed, false, 1e-6, 1e6},
        Case{"LargeInputsSmallTargets", OutputSigns::kPositive, false, 1e6, 1e-6},
        Case{"SignWeights", OutputSigns::kMixed, false, 1, 1, WeightDistribution::kSign},
        Case{"HeavyTails", OutputSigns::kPositive, false, 1, 1, WeightDistribution::kHeavyTailed},
        Case{"CorrelatedInputs", OutputSigns::kMixed, false, 1, 1, WeightDistribution::kNormal,
             0.5}),
    [](const auto& instance) { return instance.param.name; });

// Neurons on both sides of their hyperplanes add: only beside a linear term the side is free.
TEST(LinearTermRecoveryTest, ANetworkWithoutATermIsFoundToo) {
  PlantedOptions planted = Plant(4, OutputSigns::kPositive);
  planted.linear_term = false;
  const Problem problem = Divide(*GeneratePlanted(planted), 1500);
  ASSERT_TRUE(problem.network.linear.empty());
  const auto result =
      Recover(problem.training, OptionsFor(problem.network, OutputSigns::kPositive));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(Comparison(*result, problem).exact);
}

TEST(LinearTermRecoveryTest, TargetsThatTheLinearTermExplainsNeedNoNeuron) {
  PlantedOptions planted = Plant(5, OutputSigns::kMixed);
  PlantedProblem whole = *GeneratePlanted(planted);
  whole.network.weights = {};
  whole.network.output_signs = {};
  std::vector<double> targets(whole.samples.num_samples);
  ASSERT_TRUE(Evaluate(whole.network, whole.samples.input_view(), targets).ok());
  whole.samples.targets.assign(targets.begin(), targets.end());
  const Problem problem = Divide(whole, 1500);
  for (const OutputSigns signs : {OutputSigns::kPositive, OutputSigns::kMixed}) {
    for (const bool given : {false, true}) {
      RecoveryOptions options = OptionsFor(problem.network, signs);
      options.hidden_width = 4;
      options.nonzeros = 10;
      RecoveryStart start;
      if (given) start.network = problem.network;
      const auto result = Recover(problem.training, options, start);
      ASSERT_TRUE(result.ok()) << result.status();
      ExpectSound(*result, options);
      EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
      EXPECT_GT(MeasureFitQuality(result->network, problem.held_out)->psnr_db, kHeldOutPsnrDb);
      const FitQuality fit = *MeasureFitQuality(result->network, problem.training);
      const auto evidence =
          GatherEvidence(*result, problem.training, fit,
                         MeasureFitQuality(result->network, problem.held_out).value());
      ASSERT_TRUE(evidence.ok()) << evidence.status();
      EXPECT_EQ(evidence->verdict, Verdict::kExplains);
    }
  }
}

TEST(LinearTermRecoveryTest, AStartNetworkBringsItsLinearTerm) {
  const Problem problem = Divide(*GeneratePlanted(Plant(6, OutputSigns::kMixed)), 1500);
  RecoveryOptions options = OptionsFor(problem.network, OutputSigns::kMixed);
  RecoveryStart start;
  start.network = problem.network;
  // The planted network fits from the beginning.
  double first = 1;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    if (report.iteration == 1) first = report.relative_residual;
  };
  const auto result = Recover(problem.training, options, start, observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(first, 1e-6);
  EXPECT_TRUE(Comparison(*result, problem).exact);
  // One without a term starts from a term of zeros.
  start.network->linear.clear();
  const auto without = Recover(problem.training, options, start);
  ASSERT_TRUE(without.ok()) << without.status();
  ExpectSound(*without, options);
  EXPECT_TRUE(Comparison(*without, problem).exact);
}

// Noise, so that all starts are tried, random gates among them.
Samples Noisy(OutputSigns signs) {
  PlantedOptions planted = Plant(7, signs);
  planted.num_samples = 500;
  planted.noise_db = 30;
  return GeneratePlanted(planted)->samples;
}

TEST(LinearTermRecoveryTest, HasTheSameBitsOnAnyNumberOfThreadsAndResumed) {
  for (const bool bias : {false, true}) {
    const OutputSigns signs = bias ? OutputSigns::kMixed : OutputSigns::kPositive;
    const Samples samples = Noisy(signs);
    RecoveryOptions options;
    options.hidden_width = 5;
    options.nonzeros = 18;
    options.output_signs = signs;
    options.bias = bias;
    options.linear_term = LinearTerm::kDense;
    options.termination.max_iterations = 60;
    std::vector<std::string> checkpoints;
    RecoveryObserver observer;
    observer.checkpoint_due = [](const IterationReport&) { return true; };
    observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
    const auto whole = Recover(samples, options, {}, observer);
    ASSERT_TRUE(whole.ok()) << whole.status();
    ExpectSound(*whole, options);
    EXPECT_GT(whole->starts_tried, 1);
    for (size_t k = 0; k < checkpoints.size(); k += 5) {
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
    // Another problem than the same without a term.
    options.linear_term = LinearTerm::kNone;
    const auto other = Recover(samples, options, {}, {}, {}, checkpoints.front());
    EXPECT_THAT(std::string(other.status().message()), StartsWith("checkpoint:"));
  }
}

TEST(LinearTermRecoveryTest, StoppedAnywhereTheResultIsWithinTheBudget) {
  const Samples samples = Noisy(OutputSigns::kPositive);
  RecoveryOptions options;
  options.hidden_width = 3;
  options.nonzeros = 6;
  options.linear_term = LinearTerm::kDense;
  for (int64_t last = 0; last < 12; ++last) {
    std::stop_source stop;
    if (last == 0) stop.request_stop();
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == last) stop.request_stop();
    };
    const auto result = Recover(samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSound(*result, options);
    EXPECT_NEAR(result->relative_residual,
                MeasureFitQuality(result->network, samples)->relative_residual, 1e-9);
  }
}

TEST(LinearTermRecoveryTest, DegenerateInputsDoNotBreakAnything) {
  // A column of zeros, a constant, a double and binary inputs, duplicated samples; fewer samples
  // than entries.
  PlantedProblem planted = *GeneratePlanted(Plant(8, OutputSigns::kMixed));
  for (const int64_t n : {int64_t{10}, int64_t{300}}) {
    Samples samples = Divide(planted, n).training;
    for (int64_t i = 0; i < n; ++i) {
      float* row = samples.inputs.data() + i * samples.num_inputs;
      row[0] = 0;
      row[1] = 3;
      row[3] = row[2];
      row[4] = row[4] > 0 ? 1 : 0;
      if (i % 5 == 1) std::copy_n(row - samples.num_inputs, samples.num_inputs, row);
    }
    std::vector<double> targets(n);
    ASSERT_TRUE(Evaluate(planted.network, samples.input_view(), targets).ok());
    samples.targets.assign(targets.begin(), targets.end());
    for (const bool bias : {false, true}) {
      RecoveryOptions options;
      options.hidden_width = 4;
      options.nonzeros = 8;
      options.bias = bias;
      options.linear_term = LinearTerm::kDense;
      options.termination.max_iterations = 40;
      const auto result = Recover(samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      ExpectSound(*result, options);
      EXPECT_LE(result->relative_residual, 1);
      const auto evidence =
          GatherEvidence(*result, samples, *MeasureFitQuality(result->network, samples), {});
      ASSERT_TRUE(evidence.ok()) << evidence.status();
      EXPECT_EQ(evidence->verdict, Verdict::kUndetermined);
    }
  }
}

TEST(LinearTermPathTest, FindsTheBudgetAndRepeats) {
  PlantedOptions planted = Plant(9, OutputSigns::kMixed);
  planted.hidden_width = 3;
  planted.nonzeros = 9;
  planted.weight_distribution = WeightDistribution::kUniform;
  const Problem problem = Divide(*GeneratePlanted(planted), 1500);
  RecoveryOptions options = OptionsFor(problem.network, OutputSigns::kMixed);
  options.nonzeros = 0;
  for (const auto criterion : {SelectionCriterion::kInformation, SelectionCriterion::kHeldOut}) {
    PathOptions path;
    path.min_nonzeros = 3;
    path.max_nonzeros = 14;
    path.criterion = criterion;
    std::vector<std::string> checkpoints;
    RecoveryObserver observer;
    observer.checkpoint_due = [](const IterationReport&) { return true; };
    observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
    const auto whole = RecoverPath(problem.training, options, path, observer);
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_EQ(whole->recovery.options_used.nonzeros, 9);
    EXPECT_EQ(whole->recovery.options_used.algorithm, Algorithm::kWinnow);
    ExpectSound(whole->recovery, whole->recovery.options_used);
    EXPECT_TRUE(Comparison(whole->recovery, problem).exact);
    for (size_t k = 0; k < checkpoints.size(); k += 1 + checkpoints.size() / 8) {
      const auto resumed = RecoverPath(problem.training, options, path, {}, {}, checkpoints[k]);
      ASSERT_TRUE(resumed.ok()) << resumed.status();
      EXPECT_TRUE(resumed->recovery.network == whole->recovery.network) << k;
    }
  }
}

void ExpectRefused(const absl::Status& status, const std::string& field, const std::string& word) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith(field + ":"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(word));
}

TEST(LinearTermErrorsTest, OnlyWinnowOverAllSamplesFitsOne) {
  const PlantedProblem problem = *GeneratePlanted(Plant(10, OutputSigns::kPositive));
  RecoveryOptions options = OptionsFor(problem.network, OutputSigns::kPositive);
  for (const Algorithm algorithm :
       {Algorithm::kIht, Algorithm::kNiht, Algorithm::kAiht, Algorithm::kHtp, Algorithm::kCosamp,
        Algorithm::kSplicing, Algorithm::kReciprocal, Algorithm::kSvrg}) {
    for (const GateMode gates : {GateMode::kSequential, GateMode::kRandom, GateMode::kEnumerated}) {
      options.algorithm = algorithm;
      options.gate_mode = gates;
      ExpectRefused(Recover(problem.samples, options).status(), "linear_term", "choose");
    }
  }
  options.algorithm = Algorithm::kAuto;
  for (const GateMode gates : {GateMode::kRandom, GateMode::kEnumerated}) {
    options.gate_mode = gates;
    ExpectRefused(Recover(problem.samples, options).status(), "linear_term", "sequential");
  }
  options.gate_mode = GateMode::kSequential;
  options.batch_size = 100;
  ExpectRefused(Recover(problem.samples, options).status(), "linear_term", "batch_size");
  options.batch_size = 0;
  RecoveryStart start;
  start.gates = GateVectorSet{5, std::vector<double>(100, 1.0)};
  ExpectRefused(Recover(problem.samples, options, start).status(), "linear_term", "gates");
}

TEST(LinearTermErrorsTest, AStartNetworkWithATermNeedsTheOption) {
  const PlantedProblem problem = *GeneratePlanted(Plant(11, OutputSigns::kPositive));
  RecoveryOptions options = OptionsFor(problem.network, OutputSigns::kPositive);
  options.linear_term = LinearTerm::kNone;
  RecoveryStart start;
  start.network = problem.network;
  for (const Algorithm algorithm : {Algorithm::kAuto, Algorithm::kWinnow, Algorithm::kNiht}) {
    options.algorithm = algorithm;
    ExpectRefused(Recover(problem.samples, options, start).status(), "network", "linear_term");
  }
}

TEST(LinearTermReportTest, TheTermIsJoinedToTheWeights) {
  const Problem problem = Divide(*GeneratePlanted(Plant(12, OutputSigns::kMixed)), 1500);
  RecoveryResult result;
  result.network = problem.network;
  result.nonzeros = problem.network.weights.nonzeros();
  result.active_neurons = ActiveNeurons(result.network);
  const auto evidence = [&](const Network& network) {
    result.network = network;
    const auto gathered =
        GatherEvidence(result, problem.training, *MeasureFitQuality(network, problem.training),
                       MeasureFitQuality(network, problem.held_out).value());
    EXPECT_TRUE(gathered.ok()) << gathered.status();
    return gathered.value_or(RecoveryEvidence());
  };
  const RecoveryEvidence planted = evidence(problem.network);
  EXPECT_EQ(planted.verdict, Verdict::kExplains);
  EXPECT_THAT(
      planted.findings,
      testing::Contains(HasSubstr("linear term of 20 entries was fitted beside the 18 weights")));
  // On whichever sides the neurons stand the numbers are the same: those of the columns' span but
  // for kappa, which knows the columns themselves.
  SparseNetwork turned = problem.network;
  for (double& value : turned.weights.value) value = -value;
  for (int64_t j = 0; j < turned.hidden_width(); ++j) {
    for (int64_t e = turned.weights.row_begin[j]; e < turned.weights.row_begin[j + 1]; ++e) {
      turned.linear[turned.weights.column[e]] -= turned.output_signs[j] * turned.weights.value[e];
    }
  }
  const RecoveryEvidence mirrored = evidence(turned);
  EXPECT_EQ(mirrored.verdict, Verdict::kExplains);
  EXPECT_NEAR(mirrored.smallest_active_fraction, planted.smallest_active_fraction, 1e-12);
  EXPECT_NEAR(*mirrored.smallest_pattern_difference, *planted.smallest_pattern_difference, 1e-12);
  EXPECT_EQ(mirrored.compared_patterns, planted.compared_patterns);
  EXPECT_NEAR(*mirrored.smallest_saliency, *planted.smallest_saliency,
              1e-3 * *planted.smallest_saliency);
  // Beside the term a weight is worth less: part of what it explains, the term would take over.
  SparseNetwork alone = problem.network;
  alone.linear.clear();
  EXPECT_LT(*planted.smallest_saliency, *evidence(alone).smallest_saliency);
}

TEST(LinearTermReportTest, SamplesMustBeMoreThanWeightsAndEntries) {
  const PlantedProblem planted = *GeneratePlanted(Plant(13, OutputSigns::kPositive));
  const Samples few = Divide(planted, 36).training;
  RecoveryResult result;
  result.network = planted.network;
  result.nonzeros = 18;
  const auto evidence = GatherEvidence(result, few, *MeasureFitQuality(result.network, few), {});
  ASSERT_TRUE(evidence.ok()) << evidence.status();
  EXPECT_EQ(evidence->verdict, Verdict::kUndetermined);
  EXPECT_THAT(evidence->findings,
              testing::Contains(HasSubstr("than weights and entries of the linear term (38)")));
}

}  // namespace
}  // namespace thresher
