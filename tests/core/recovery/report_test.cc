// The report on networks whose truth is known: what it measures against plain references, and
// what it concludes.
#include "core/recovery/report.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "Eigen/Core"
#include "Eigen/Eigenvalues"
#include "core/gates/gate_activity.h"
#include "core/gates/random_gates.h"
#include "core/network/merge.h"
#include "core/samples/planted.h"
#include "core/samples/split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

PlantedOptions Easy() {
  return {.num_samples = 800, .num_inputs = 12, .hidden_width = 4, .nonzeros = 10, .seed = 1};
}

RecoveryOptions OptionsFor(const PlantedOptions& planted) {
  RecoveryOptions options;
  options.hidden_width = planted.hidden_width;
  options.nonzeros = planted.nonzeros;
  options.termination.max_iterations = 400;
  return options;
}

struct Outcome {
  RecoveryResult result;
  SplitSamples split;
  FitQuality training;
  std::optional<FitQuality> held_out;
  RecoveryEvidence evidence;
};

Outcome Reported(RecoveryResult result, SplitSamples split) {
  Outcome outcome{std::move(result), std::move(split), {}, {}, {}};
  outcome.training = *MeasureFitQuality(outcome.result.network, outcome.split.training);
  if (outcome.split.held_out.num_samples > 0) {
    outcome.held_out = *MeasureFitQuality(outcome.result.network, outcome.split.held_out);
  }
  absl::StatusOr<RecoveryEvidence> evidence =
      GatherEvidence(outcome.result, outcome.split.training, outcome.training, outcome.held_out);
  EXPECT_TRUE(evidence.ok()) << evidence.status();
  if (evidence.ok()) outcome.evidence = *std::move(evidence);
  EXPECT_FALSE(outcome.evidence.findings.empty());
  return outcome;
}

Outcome Solve(const Samples& samples, const RecoveryOptions& options, double held_out = 0.25) {
  SplitSamples split = *Split(samples, held_out, 3);
  absl::StatusOr<RecoveryResult> result = Recover(split.training, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return Reported(*std::move(result), std::move(split));
}

// A result as a solve returns it, around a network of our own.
RecoveryResult ResultOf(SparseNetwork network) {
  RecoveryResult result;
  result.nonzeros = network.weights.nonzeros();
  result.active_neurons = network.hidden_width();
  result.network = std::move(network);
  return result;
}

std::string Text(const RecoveryEvidence& evidence) {
  std::string text;
  for (const std::string& finding : evidence.findings) text += finding + "\n";
  return text;
}

// The targets of `samples` become what the network answers.
void Answer(const SparseNetwork& network, Samples& samples) {
  std::vector<double> outputs(samples.num_samples);
  ASSERT_TRUE(Evaluate(network, samples.input_view(), outputs).ok());
  samples.targets.assign(outputs.begin(), outputs.end());
}

TEST(GatherEvidenceTest, AnExactNetworkExplains) {
  const PlantedProblem problem = *GeneratePlanted(Easy());
  const Outcome outcome = Solve(problem.samples, OptionsFor(Easy()));
  const RecoveryEvidence& evidence = outcome.evidence;
  EXPECT_EQ(evidence.verdict, Verdict::kExplains) << Text(evidence);
  EXPECT_THAT(evidence.findings[0], HasSubstr("no proof"));
  EXPECT_THAT(evidence.findings, SizeIs(1)) << Text(evidence);
  EXPECT_EQ(evidence.distinct_samples, 600);
  EXPECT_GE(evidence.starts_tried, 1);
  EXPECT_GE(evidence.starts_agreeing, 1);
  EXPECT_LE(evidence.starts_agreeing, evidence.starts_tried);

  const auto planted =
      ComparePlanted(outcome.result.network, problem.network, outcome.split.held_out.input_view());
  ASSERT_TRUE(planted.ok() && planted->has_value());
  EXPECT_TRUE((*planted)->exact);
  EXPECT_EQ((*planted)->support_recall, 1);
  EXPECT_LT((*planted)->relative_function_error, 1e-6);
}

TEST(GatherEvidenceTest, MeasuresWhatPlainLoopsMeasure) {
  PlantedOptions options = Easy();
  options.output_signs = OutputSigns::kMixed;
  options.noise_db = 30;
  const PlantedProblem problem = *GeneratePlanted(options);
  const SparseNetwork network = DropDeadNeurons(problem.network);
  const Outcome outcome = Reported(ResultOf(network), {problem.samples, {}});
  const RecoveryEvidence& evidence = outcome.evidence;

  const Samples& samples = problem.samples;
  const int64_t n = samples.num_samples;
  const int64_t m = network.hidden_width();
  const auto open = [&](int64_t i, int64_t j) {
    std::vector<double> gate(samples.num_inputs, 0.0);
    for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
      gate[network.weights.column[e]] = network.weights.value[e];
    }
    return IsActive(samples.input_view().row(i), std::span<const double>(gate));
  };
  Eigen::MatrixXd gates(n, m);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < m; ++j) gates(i, j) = open(i, j) ? 1 : 0;
  }
  EXPECT_EQ(evidence.smallest_active_fraction, gates.colwise().mean().minCoeff());
  double difference = 1;
  for (int64_t a = 0; a < m; ++a) {
    for (int64_t b = a + 1; b < m; ++b) {
      difference = std::min(difference, (gates.col(a) - gates.col(b)).cwiseAbs().mean());
    }
  }
  ASSERT_TRUE(evidence.smallest_pattern_difference.has_value());
  EXPECT_NEAR(*evidence.smallest_pattern_difference, difference, 1e-12);

  // Columns of the support and of all other candidates.
  std::vector<double> outputs(n);
  ASSERT_TRUE(Evaluate(network, samples.input_view(), outputs).ok());
  Eigen::VectorXd residual(n);
  Eigen::VectorXd targets(n);
  for (int64_t i = 0; i < n; ++i) {
    targets[i] = samples.targets[i];
    residual[i] = outputs[i] - samples.targets[i];
  }
  Eigen::MatrixXd support(n, network.weights.nonzeros());
  double left_out = 0;
  double kept = 1e300;
  Eigen::Index next = 0;
  for (int64_t j = 0; j < m; ++j) {
    for (int64_t q = 0; q < samples.num_inputs; ++q) {
      Eigen::VectorXd column(n);
      for (int64_t i = 0; i < n; ++i) column[i] = gates(i, j) * samples.input_view().row(i)[q];
      const auto begin = network.weights.column.begin() + network.weights.row_begin[j];
      const auto end = network.weights.column.begin() + network.weights.row_begin[j + 1];
      if (std::find(begin, end, q) == end) {
        left_out = std::max(left_out, std::abs(column.dot(residual)) / column.norm());
      } else {
        kept = std::min(kept, std::abs(network.weights.value[next]) * column.norm());
        support.col(next++) = column;
      }
    }
  }
  EXPECT_NEAR(evidence.weakest_kept, kept / targets.norm(), 1e-6);
  ASSERT_TRUE(evidence.strongest_left_out.has_value());
  EXPECT_NEAR(*evidence.strongest_left_out, left_out / targets.norm(), 1e-9);
  const Eigen::MatrixXd unit = support.colwise().normalized();
  const Eigen::VectorXd eigenvalues =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(unit.transpose() * unit).eigenvalues();
  const double kappa = eigenvalues.maxCoeff() / eigenvalues.minCoeff();
  EXPECT_NEAR(evidence.conditioning->kappa(), kappa, 1e-3 * kappa);
  EXPECT_NEAR(*evidence.hard_thresholding_nonzeros, kappa * kappa * 10, 0.03 * kappa * kappa);
  EXPECT_NEAR(*evidence.reciprocal_thresholding_nonzeros, (2 * kappa - 1) * 10, 0.03 * kappa);
  EXPECT_GT(*evidence.smallest_saliency, 0);
  // Refitting the others makes up for a part of what a removed weight contributed.
  EXPECT_LE(*evidence.smallest_saliency, std::pow(evidence.weakest_kept, 2) * (1 + 1e-6));
}

TEST(GatherEvidenceTest, DoesNotDependOnUnitsOrThreads) {
  const PlantedProblem problem = *GeneratePlanted(Easy());
  const SparseNetwork network = DropDeadNeurons(problem.network);
  const RecoveryEvidence one = Reported(ResultOf(network), {problem.samples, {}}).evidence;
  Samples scaled = problem.samples;
  SparseNetwork other = network;
  const float input_scale = std::exp2(-60.0F);
  for (float& x : scaled.inputs) x *= input_scale;
  for (float& y : scaled.targets) y *= 1024.0F;
  for (double& w : other.weights.value) w *= 1024.0 / input_scale;
  RecoveryResult result = ResultOf(other);
  result.options_used.num_threads = 3;
  const RecoveryEvidence many = Reported(result, {scaled, {}}).evidence;
  EXPECT_EQ(many.weakest_kept, one.weakest_kept);
  EXPECT_EQ(many.strongest_left_out, one.strongest_left_out);
  EXPECT_EQ(many.smallest_saliency, one.smallest_saliency);
  EXPECT_EQ(many.conditioning->kappa(), one.conditioning->kappa());
  EXPECT_EQ(many.smallest_pattern_difference, one.smallest_pattern_difference);
  EXPECT_EQ(many.findings, one.findings);
}

TEST(GatherEvidenceTest, NoiseThatCarriesOverIsAnApproximation) {
  PlantedOptions planted = Easy();
  planted.noise_db = 30;
  const Outcome outcome = Solve(GeneratePlanted(planted)->samples, OptionsFor(planted));
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kApproximates) << Text(outcome.evidence);
}

TEST(GatherEvidenceTest, WithoutHeldOutSamplesTheFitIsUnchecked) {
  const Outcome outcome = Solve(GeneratePlanted(Easy())->samples, OptionsFor(Easy()), 0);
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kUnchecked) << Text(outcome.evidence);
  EXPECT_THAT(outcome.evidence.findings, Contains(HasSubstr("No samples were held out")));
}

// Targets that do not depend on the inputs.
Samples PureNoise(int64_t num_samples) {
  PlantedOptions planted = Easy();
  planted.num_samples = num_samples;
  Samples samples = GeneratePlanted(planted)->samples;
  CounterRandom random(5, 5);
  for (float& y : samples.targets) y = static_cast<float>(random.NextNormal());
  return samples;
}

TEST(GatherEvidenceTest, NoiseIsNotExplained) {
  const Outcome outcome = Solve(PureNoise(400), OptionsFor(Easy()));
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kDoesNotExplain) << Text(outcome.evidence);
}

TEST(GatherEvidenceTest, AFitToNoiseDoesNotGeneralise) {
  RecoveryOptions options = OptionsFor(Easy());
  options.hidden_width = 12;
  options.nonzeros = 36;
  options.output_signs = OutputSigns::kMixed;
  const Outcome outcome = Solve(PureNoise(56), options);  // 42 of them for training
  EXPECT_LT(outcome.training.relative_residual, 0.3);
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kFitsNotGeneralises) << Text(outcome.evidence);
}

// Classes are judged by the samples that are named right, not by how sure the outputs are.
TEST(GatherEvidenceTest, ClassesAreJudgedByTheirNames) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  Samples& samples = problem.samples;
  std::vector<float> sorted(samples.targets.begin(), samples.targets.end());
  std::sort(sorted.begin(), sorted.end());
  const float middle = sorted[sorted.size() / 2];  // half of the samples are of either class
  for (float& target : samples.targets) target = target >= middle ? 1 : 0;
  samples.class_names = {"no", "yes"};
  const RecoveryResult result = ResultOf(problem.network);
  struct Case {
    double training;
    std::optional<double> held_out;
    int64_t num_held_out;
    Verdict verdict;
    const char* words;
  };
  const Case cases[] = {
      {0.975, 0.96, 200, Verdict::kApproximates,
       "names 97.5 % of 800 training samples and 96 % of 200 held-out samples right"},
      {1.0, 0.98, 100000, Verdict::kApproximates, "100 % of 800 training samples and 98 %"},
      {1.0, 0.9, 100, Verdict::kFitsNotGeneralises, "but 90 % of 100 held-out samples right"},
      {0.97, 0.92, 100, Verdict::kApproximates, "and 92 %"},  // as few samples may have it
      {0.97, 0.92, 10000, Verdict::kFitsNotGeneralises, "but 92 %"},
      {0.9, 0.89, 10000, Verdict::kApproximates, "and 89 %"},
      {0.9, 0.8, 10000, Verdict::kFitsNotGeneralises, "but 80 %"},
      {0.8, 0.8, 10000, Verdict::kDoesNotExplain, "where the most frequent class alone is 50 %"},
      {0.9, std::nullopt, 0, Verdict::kUnchecked, "names 90 % of 800 training samples right."},
  };
  for (const Case& each : cases) {
    const FitQuality training = {
        .num_samples = 800, .relative_residual = 0.4, .accuracy = each.training};
    std::optional<FitQuality> held_out;
    if (each.held_out) {
      held_out = FitQuality{
          .num_samples = each.num_held_out, .relative_residual = 0.5, .accuracy = *each.held_out};
    }
    const auto evidence = GatherEvidence(result, samples, training, held_out);
    ASSERT_TRUE(evidence.ok()) << evidence.status();
    EXPECT_EQ(evidence->verdict, each.verdict) << Text(*evidence);
    EXPECT_THAT(Text(*evidence), HasSubstr(each.words));
  }
}

TEST(GatherEvidenceTest, MultiplesOfAnInputLeaveTheWeightsUndetermined) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  const int32_t used = DropDeadNeurons(problem.network).weights.column[0];
  const int64_t other = used == 7 ? 8 : 7;
  for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
    float* row = problem.samples.inputs.data() + i * problem.samples.num_inputs;
    row[other] = -3.7F * row[used];
  }
  Answer(problem.network, problem.samples);
  const Outcome outcome = Solve(problem.samples, OptionsFor(Easy()));
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kUndetermined) << Text(outcome.evidence);
  EXPECT_THAT(Text(outcome.evidence), HasSubstr("multiples of each other"));
  EXPECT_THAT(Text(outcome.evidence),
              AnyOf(HasSubstr("input " + std::to_string(used) + " and input"),
                    HasSubstr("and input " + std::to_string(used) + " ")));
}

TEST(GatherEvidenceTest, AConstantInputIsAMultipleOfTheBias) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  SparseNetwork network = DropDeadNeurons(problem.network);
  const int32_t constant = network.weights.column[0];
  for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
    problem.samples.inputs[i * problem.samples.num_inputs + constant] = 0.3F;
  }
  network.has_bias = true;
  Answer(network, problem.samples);
  const Outcome outcome = Reported(ResultOf(network), *Split(problem.samples, 0.25, 3));
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kUndetermined) << Text(outcome.evidence);
  EXPECT_THAT(Text(outcome.evidence), HasSubstr("the bias"));
}

TEST(GatherEvidenceTest, FewerSamplesThanWeightsDetermineNothing) {
  Samples few = GeneratePlanted(Easy())->samples;
  few.num_samples = 9;
  few.inputs.resize(9 * few.num_inputs);
  few.targets.resize(9);
  const RecoveryEvidence evidence = Solve(few, OptionsFor(Easy()), 0).evidence;
  EXPECT_THAT(evidence.verdict, AnyOf(Verdict::kUndetermined, Verdict::kUnchecked));
  EXPECT_THAT(Text(evidence), AnyOf(HasSubstr("many networks fit"), HasSubstr("little evidence")));

  const SparseNetwork network = DropDeadNeurons(GeneratePlanted(Easy())->network);
  const Outcome planted = Reported(ResultOf(network), {few, {}});
  EXPECT_EQ(planted.evidence.verdict, Verdict::kUndetermined);
  EXPECT_THAT(Text(planted.evidence), HasSubstr("no more samples (9) than weights (10)"));
  EXPECT_TRUE(std::isinf(planted.evidence.conditioning->kappa()));
  EXPECT_FALSE(planted.evidence.hard_thresholding_nonzeros.has_value());
}

TEST(GatherEvidenceTest, DuplicatesDoNotCountAsSamples) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  Samples& samples = problem.samples;
  for (int64_t i = 8; i < samples.num_samples; ++i) {
    std::copy_n(samples.inputs.begin() + (i % 8) * samples.num_inputs, samples.num_inputs,
                samples.inputs.begin() + i * samples.num_inputs);
    samples.targets[i] = samples.targets[i % 8];
  }
  const Outcome outcome = Reported(ResultOf(DropDeadNeurons(problem.network)), {samples, {}});
  EXPECT_EQ(outcome.evidence.distinct_samples, 8);
  EXPECT_EQ(outcome.evidence.verdict, Verdict::kUndetermined) << Text(outcome.evidence);
  EXPECT_THAT(Text(outcome.evidence), HasSubstr("only 8 have different inputs"));
}

TEST(GatherEvidenceTest, CombinationsOfInputsAndTwinNeuronsAreNamed) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  Samples& samples = problem.samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.inputs.data() + i * samples.num_inputs;
    row[2] = row[0] + row[1];
  }
  SparseNetwork dependent = problem.network;
  dependent.weights = {{0, 3}, {0, 1, 2}, {1, 1, 1}};
  dependent.output_signs = {1};
  Answer(dependent, samples);
  const RecoveryEvidence combination = Reported(ResultOf(dependent), {samples, {}}).evidence;
  EXPECT_EQ(combination.verdict, Verdict::kUndetermined);
  EXPECT_THAT(Text(combination), HasSubstr("linearly dependent"));

  // With x_0 in {1, -1} the gates of x_0 and of x_0 + x_1 / 100 are the same.
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.inputs.data() + i * samples.num_inputs;
    row[0] = row[0] > 0 ? 1.0F : -1.0F;
  }
  SparseNetwork twins = problem.network;
  twins.weights = {{0, 1, 3}, {0, 0, 1}, {1, 1, 0.01}};
  twins.output_signs = {1, 1};
  Answer(twins, samples);
  const RecoveryEvidence twin = Reported(ResultOf(twins), {samples, {}}).evidence;
  EXPECT_EQ(twin.verdict, Verdict::kUndetermined);
  EXPECT_EQ(twin.smallest_pattern_difference, 0.0);
  EXPECT_THAT(Text(twin), HasSubstr("Two neurons are active on the same"));

  // Parallel neurons are one neuron.
  SparseNetwork parallel = problem.network;
  parallel.weights = {{0, 1, 2}, {1, 1}, {1, 2}};
  parallel.output_signs = {1, 1};
  Answer(parallel, samples);
  EXPECT_EQ(Reported(ResultOf(parallel), {samples, {}}).evidence.verdict, Verdict::kUnchecked);
}

TEST(GatherEvidenceTest, AWeightThatNoSampleTouchesIsArbitrary) {
  PlantedProblem problem = *GeneratePlanted(Easy());
  Samples& samples = problem.samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.inputs.data() + i * samples.num_inputs;
    row[0] = std::abs(row[0]) + 0.1F;
  }
  SparseNetwork network = problem.network;
  network.weights = {{0, 1, 2}, {0, 1}, {-1, 2}};
  network.output_signs = {1, 1};
  Answer(network, samples);
  const RecoveryEvidence evidence = Reported(ResultOf(network), {samples, {}}).evidence;
  EXPECT_EQ(evidence.verdict, Verdict::kUndetermined);
  EXPECT_EQ(evidence.smallest_active_fraction, 0);
  EXPECT_THAT(Text(evidence), HasSubstr("no effect on any training sample"));
}

TEST(GatherEvidenceTest, GatedNetworksAreReportedOnToo) {
  RecoveryOptions options;
  options.hidden_width = 30;
  options.nonzeros = 20;
  options.gate_mode = GateMode::kRandom;
  const Outcome outcome = Solve(GeneratePlanted(Easy())->samples, options);
  ASSERT_TRUE(std::holds_alternative<GatedNetwork>(outcome.result.network));
  EXPECT_THAT(outcome.evidence.verdict, AnyOf(Verdict::kApproximates, Verdict::kDoesNotExplain));
  EXPECT_GT(outcome.evidence.weakest_kept, 0);
  EXPECT_GT(outcome.evidence.strongest_left_out, 0);
  EXPECT_GT(outcome.evidence.conditioning->smallest_eigenvalue, 0);
  EXPECT_NEAR(outcome.evidence.smallest_active_fraction, 0.5, 0.1);
  // After least squares on the support each kept weight is worth more than any other.
  EXPECT_GT(outcome.evidence.smallest_saliency, 0);
}

TEST(GatherEvidenceTest, AnEmptyNetworkExplainsNothing) {
  const PlantedProblem problem = *GeneratePlanted(Easy());
  SparseNetwork empty;
  empty.num_inputs = problem.samples.num_inputs;
  const RecoveryEvidence evidence = Reported(ResultOf(empty), {problem.samples, {}}).evidence;
  EXPECT_EQ(evidence.verdict, Verdict::kDoesNotExplain);
  EXPECT_FALSE(evidence.conditioning.has_value());
  EXPECT_FALSE(evidence.strongest_left_out.has_value());
}

TEST(GatherEvidenceTest, StopsAndRefuses) {
  const PlantedProblem problem = *GeneratePlanted(Easy());
  const RecoveryResult result = ResultOf(problem.network);
  const FitQuality fit = *MeasureFitQuality(problem.network, problem.samples);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(GatherEvidence(result, problem.samples, fit, {}, stop.get_token()).status().code(),
            absl::StatusCode::kCancelled);
  PlantedOptions wider = Easy();
  wider.num_inputs = 13;
  EXPECT_EQ(GatherEvidence(result, GeneratePlanted(wider)->samples, fit, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GatherEvidence(result, {}, fit, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MeasureFitQuality(problem.network, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MeasureFitTest, GivesHandComputedNumbers) {
  SparseNetwork network;
  network.num_inputs = 2;
  network.weights = {{0, 1}, {1}, {2.5}};
  network.output_signs = {1};
  Samples samples;
  samples.num_samples = 4;
  samples.num_inputs = 2;
  samples.inputs = {0, 0, 0, 0.4F, 0, 0.2F, 0, -1};
  samples.targets = {0, 1, 1, 0};
  samples.class_names = {"no", "yes"};
  // f(x) = 2.5 (x_1)_+: 0, 1, 0.5, 0.
  FitQuality fit = *MeasureFitQuality(network, samples);
  EXPECT_NEAR(fit.relative_residual, std::sqrt(0.25 / 2), 1e-7);
  EXPECT_NEAR(fit.psnr_db, -10 * std::log10(0.25 / 4), 1e-6);
  EXPECT_EQ(fit.accuracy, 1.0);
  samples.targets = {0, 1, 0, 1};
  EXPECT_EQ(MeasureFitQuality(network, samples)->accuracy, 0.5);
  samples.targets = {0, 0, 0, 0};
  EXPECT_EQ(MeasureFitQuality(network, samples)->psnr_db, -400);
  samples.class_names.clear();
  EXPECT_FALSE(MeasureFitQuality(network, samples)->accuracy.has_value());
}

TEST(MeasureFitTest, ThereAreMetricsForTheTask) {
  SparseNetwork network;
  network.num_inputs = 1;
  network.weights = {{0, 1}, {0}, {1.0}};
  network.output_signs = {1};
  // f(x) = x on these.
  Samples samples{.num_samples = 3, .num_inputs = 1, .inputs = {1, 2, 3}, .targets = {1, 2, 6}};
  FitQuality fit = *MeasureFitQuality(network, samples);
  // Around the mean 3 the targets leave 4 + 1 + 9.
  EXPECT_NEAR(*fit.r_squared, 1 - 9.0 / 14, 1e-12);
  EXPECT_FALSE(fit.loss.has_value());
  samples.targets = {2, 2, 2};
  EXPECT_FALSE(MeasureFitQuality(network, samples)->r_squared.has_value());
  samples.targets = {0, 1, 1};
  samples.class_names = {"no", "yes"};
  fit = *MeasureFitQuality(network, samples, Loss::kLogistic);
  EXPECT_FALSE(fit.r_squared.has_value());
  EXPECT_NEAR(*fit.loss,
              (std::log1p(std::exp(1)) + std::log1p(std::exp(-2)) + std::log1p(std::exp(-3))) / 3,
              1e-12);
}

TEST(ComparePlantedTest, SaysNothingAboutNetworksOfAnotherKind) {
  const PlantedProblem problem = *GeneratePlanted(Easy());
  SparseNetwork with_bias = problem.network;
  with_bias.has_bias = true;
  GatedNetwork gated;
  gated.num_inputs = problem.network.num_inputs;
  for (const Network& network : {Network(with_bias), Network(gated)}) {
    const auto comparison = ComparePlanted(network, problem.network, problem.samples.input_view());
    ASSERT_TRUE(comparison.ok());
    EXPECT_FALSE(comparison->has_value());
  }
}

}  // namespace
}  // namespace thresher
