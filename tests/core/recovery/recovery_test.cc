// Recover as its users call it: what it finds, what it refuses, and that its results repeat.
#include "core/recovery/recovery.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/gates/random_gates.h"
#include "core/network/compare.h"
#include "core/recovery/checkpoint.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

PlantedProblem Planted(uint64_t seed, OutputSigns signs = OutputSigns::kPositive) {
  return *GeneratePlanted({.num_samples = 600,
                           .num_inputs = 12,
                           .hidden_width = 4,
                           .nonzeros = 10,
                           .seed = seed,
                           .output_signs = signs});
}

// Targets of a gated network with random gates: the convex problem, whose weights are known.
struct GatedProblemWithAnswer {
  Samples samples;
  GatedNetwork network;
};

GatedProblemWithAnswer PlantedGated(uint64_t seed, int64_t n, int64_t d, int64_t num_gates,
                                    int64_t nonzeros) {
  GatedProblemWithAnswer problem;
  problem.samples.num_samples = n;
  problem.samples.num_inputs = d;
  CounterRandom random(seed, 1);
  for (int64_t k = 0; k < n * d; ++k) {
    problem.samples.inputs.push_back(static_cast<float>(random.NextNormal()));
  }
  std::vector<double> weights(num_gates * d, 0.0);
  for (int64_t placed = 0; placed < nonzeros;) {
    double& weight = weights[random.NextBelow(weights.size())];
    if (weight != 0) continue;
    weight = random.NextNormal();
    ++placed;
  }
  GatedNetwork& network = problem.network;
  network.num_inputs = d;
  network.gates = RandomGateSet{seed, num_gates};
  for (int64_t j = 0; j < num_gates; ++j) {
    for (int64_t q = 0; q < d; ++q) {
      if (weights[j * d + q] == 0) continue;
      network.weights.column.push_back(static_cast<int32_t>(q));
      network.weights.value.push_back(weights[j * d + q]);
    }
    if (network.weights.nonzeros() > network.weights.row_begin.back()) {
      network.weights.row_begin.push_back(network.weights.nonzeros());
      network.gate_index.push_back(j);
    }
  }
  std::vector<double> targets(n);
  EXPECT_TRUE(Evaluate(network, problem.samples.input_view(), targets).ok());
  problem.samples.targets.assign(targets.begin(), targets.end());
  return problem;
}

bool FindsTheWeights(const GatedProblemWithAnswer& problem, Algorithm algorithm, uint64_t seed,
                     int64_t num_gates, int64_t nonzeros) {
  RecoveryOptions options;
  options.hidden_width = num_gates;
  options.nonzeros = nonzeros;
  options.algorithm = algorithm;
  options.gate_mode = GateMode::kRandom;
  options.seed = seed;
  options.termination.max_iterations = 500;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->nonzeros, nonzeros);
  const auto& found = std::get<GatedNetwork>(result->network);
  if (found.gate_index != problem.network.gate_index ||
      found.weights.row_begin != problem.network.weights.row_begin ||
      found.weights.column != problem.network.weights.column) {
    return false;
  }
  double error = 0;
  double norm = 0;
  for (size_t e = 0; e < found.weights.value.size(); ++e) {
    error += std::pow(found.weights.value[e] - problem.network.weights.value[e], 2);
    norm += std::pow(problem.network.weights.value[e], 2);
  }
  return std::sqrt(error / norm) < 1e-5;
}

class FixedGatesTest : public testing::TestWithParam<Algorithm> {};

TEST_P(FixedGatesTest, FindsThePlantedWeightsInNineOfTenSeeds) {
  int found = 0;
  for (uint64_t seed = 100; seed < 110; ++seed) {
    const GatedProblemWithAnswer problem = PlantedGated(seed, 500, 20, 50, 20);
    found += FindsTheWeights(problem, GetParam(), seed, 50, 20) ? 1 : 0;
  }
  EXPECT_GE(found, 9);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, FixedGatesTest,
                         testing::Values(Algorithm::kNiht, Algorithm::kHtp, Algorithm::kCosamp,
                                         Algorithm::kSplicing, Algorithm::kSvrg));

// Where a working support of s leaves fixed step sizes without hope, 2 s find the weights, slowly.
TEST(FixedGatesTest, ReciprocalThresholdingFindsThePlantedWeights) {
  for (uint64_t seed = 100; seed < 103; ++seed) {
    const GatedProblemWithAnswer problem = PlantedGated(seed, 500, 20, 10, 10);
    EXPECT_TRUE(FindsTheWeights(problem, Algorithm::kReciprocal, seed, 10, 10));
  }
}

// As many planted weights as a quarter of the samples.
TEST(FixedGatesTest, SplicingFindsManyPlantedWeights) {
  for (uint64_t seed = 100; seed < 103; ++seed) {
    const GatedProblemWithAnswer problem = PlantedGated(seed, 500, 20, 50, 120);
    EXPECT_TRUE(FindsTheWeights(problem, Algorithm::kSplicing, seed, 50, 120));
    EXPECT_TRUE(FindsTheWeights(problem, Algorithm::kCosamp, seed, 50, 120));
  }
}

struct Variant {
  Algorithm algorithm;
  GateMode gate_mode;
  OutputSigns output_signs;
  int64_t working_nonzeros;
  int64_t batch_size;
  bool bias;
};

RecoveryOptions OptionsOf(const Variant& variant) {
  RecoveryOptions options;
  options.hidden_width = 6;
  options.nonzeros = 12;
  options.working_nonzeros = variant.working_nonzeros;
  options.algorithm = variant.algorithm;
  options.gate_mode = variant.gate_mode;
  options.output_signs = variant.output_signs;
  options.batch_size = variant.batch_size;
  options.bias = variant.bias;
  options.seed = 5;
  options.termination.max_iterations = 12;
  return options;
}

// What result.relative_residual should be: the network, evaluated on the samples.
double EvaluatedResidual(const RecoveryResult& result, const Samples& samples) {
  std::vector<double> outputs(samples.num_samples);
  EXPECT_TRUE(Evaluate(result.network, samples.input_view(), outputs).ok());
  double loss = 0;
  double norm = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    loss += std::pow(outputs[i] - samples.targets[i], 2);
    norm += std::pow(samples.targets[i], 2);
  }
  return std::sqrt(loss / norm);
}

class VariantsTest : public testing::TestWithParam<Variant> {};

// Every line of the history keeps the invariants, and the result is what it says it is.
TEST_P(VariantsTest, KeepsItsInvariants) {
  const PlantedProblem problem = Planted(1, GetParam().output_signs);
  const RecoveryOptions options = OptionsOf(GetParam());
  const bool winnows =
      options.algorithm == Algorithm::kWinnow ||
      (options.algorithm == Algorithm::kAuto && options.gate_mode == GateMode::kSequential);
  int64_t working = std::max(options.nonzeros, options.working_nonzeros);
  if (winnows && options.working_nonzeros == 0) working = 5 * options.nonzeros;
  if (options.algorithm == Algorithm::kReciprocal && options.working_nonzeros == 0) {
    working = 2 * options.nonzeros;
  }
  int64_t last_iteration = 0;
  double best = std::numeric_limits<double>::infinity();
  double squares = 0;
  double sum = 0;
  for (const float target : problem.samples.targets) {
    squares += static_cast<double>(target) * target;
    sum += target;
  }
  const double deviation2 = squares - sum * sum / static_cast<double>(problem.samples.num_samples);
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    ASSERT_TRUE(report.r_squared.has_value());
    const double squared_error = report.relative_residual * report.relative_residual * squares;
    EXPECT_NEAR(*report.r_squared, 1 - squared_error / deviation2, 1e-9);
    EXPECT_EQ(report.iteration, last_iteration + 1);
    last_iteration = report.iteration;
    EXPECT_LE(report.support_size, working);
    // Winnow starts wider and knows a best network only once it is within the budget.
    if (!winnows) {
      EXPECT_LE(report.active_neurons, options.hidden_width);
    }
    EXPECT_LE(report.support_changes, report.support_size);
    EXPECT_TRUE(std::isfinite(report.relative_residual));
    best = std::min(best, report.relative_residual);
    if (!winnows) {
      EXPECT_EQ(report.best_relative_residual, best);
    }
  };
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, {}, observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->iterations, last_iteration);
  EXPECT_LE(result->nonzeros, options.nonzeros);
  EXPECT_EQ(result->nonzeros, Nonzeros(result->network));
  EXPECT_EQ(result->active_neurons, ActiveNeurons(result->network));
  EXPECT_LE(result->active_neurons, options.hidden_width);
  EXPECT_EQ(std::holds_alternative<SparseNetwork>(result->network),
            options.gate_mode == GateMode::kSequential);
  EXPECT_NE(result->options_used.algorithm, Algorithm::kAuto);
  EXPECT_EQ(result->options_used.working_nonzeros, working);
  EXPECT_NEAR(result->relative_residual, EvaluatedResidual(*result, problem.samples), 1e-12);
  if (const auto* network = std::get_if<SparseNetwork>(&result->network)) {
    EXPECT_TRUE(ValidateNetwork(*network).ok());
    EXPECT_EQ(network->has_bias, options.bias);
    if (options.output_signs == OutputSigns::kPositive) {
      EXPECT_THAT(network->output_signs, testing::Each(1));
    }
  }
}

TEST_P(VariantsTest, HasTheSameBitsOnAnyNumberOfThreads) {
  const PlantedProblem problem = Planted(2, GetParam().output_signs);
  RecoveryOptions options = OptionsOf(GetParam());
  const absl::StatusOr<RecoveryResult> one = Recover(problem.samples, options);
  ASSERT_TRUE(one.ok()) << one.status();
  for (const int num_threads : {2, 3}) {
    options.num_threads = num_threads;
    const absl::StatusOr<RecoveryResult> many = Recover(problem.samples, options);
    ASSERT_TRUE(many.ok()) << many.status();
    EXPECT_TRUE(many->network == one->network);
    EXPECT_EQ(many->iterations, one->iterations);
  }
}

TEST_P(VariantsTest, ResumesFromEveryCheckpointToTheSameBits) {
  const PlantedProblem problem = Planted(3, GetParam().output_signs);
  const RecoveryOptions options = OptionsOf(GetParam());
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  observer.checkpoint_due = [](const IterationReport&) { return true; };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options, {}, observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_EQ(static_cast<int64_t>(checkpoints.size()), whole->iterations);
  for (const std::string& checkpoint : checkpoints) {
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network);
    EXPECT_EQ(resumed->iterations, whole->iterations);
    EXPECT_EQ(resumed->termination_reason, whole->termination_reason);
  }
}

TEST_P(VariantsTest, AStopRequestKeepsTheBestIterateAndAStateToResumeFrom) {
  const PlantedProblem problem = Planted(4, GetParam().output_signs);
  const RecoveryOptions options = OptionsOf(GetParam());
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const int64_t stop_after : {1, 3}) {
    if (stop_after >= whole->iterations) continue;
    std::stop_source stop;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration == stop_after) stop.request_stop();
    };
    const absl::StatusOr<RecoveryResult> stopped =
        Recover(problem.samples, options, {}, observer, stop.get_token());
    ASSERT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(stopped->termination_reason, TerminationReason::kCancelled);
    EXPECT_EQ(stopped->iterations, stop_after);
    EXPECT_LE(stopped->nonzeros, options.nonzeros);
    EXPECT_NEAR(stopped->relative_residual, EvaluatedResidual(*stopped, problem.samples), 1e-12);
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, options, {}, {}, {}, stopped->checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_TRUE(resumed->network == whole->network);
  }
}

// Also within the estimate of a step size, which must not be taken for the whole of it then.
TEST_P(VariantsTest, ATimeLimitBeforeTheFirstIterateLeavesAStateToResumeFrom) {
  const PlantedProblem problem = Planted(4, GetParam().output_signs);
  RecoveryOptions options = OptionsOf(GetParam());
  const absl::StatusOr<RecoveryResult> whole = Recover(problem.samples, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  options.termination.time_limit_seconds = 1e-9;
  const absl::StatusOr<RecoveryResult> stopped = Recover(problem.samples, options);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(stopped->termination_reason, TerminationReason::kTimeLimit);
  EXPECT_EQ(stopped->iterations, 0);
  options.termination.time_limit_seconds = 0;
  const absl::StatusOr<RecoveryResult> resumed =
      Recover(problem.samples, options, {}, {}, {}, stopped->checkpoint);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_TRUE(resumed->network == whole->network);
}

constexpr auto kSequential = GateMode::kSequential;
constexpr auto kRandom = GateMode::kRandom;
constexpr auto kPositive = OutputSigns::kPositive;
constexpr auto kMixed = OutputSigns::kMixed;

INSTANTIATE_TEST_SUITE_P(
    Variants, VariantsTest,
    testing::Values(Variant{Algorithm::kAuto, kSequential, kPositive, 0, 0, false},
                    Variant{Algorithm::kAuto, kRandom, kPositive, 0, 0, false},
                    Variant{Algorithm::kWinnow, kSequential, kMixed, 0, 0, true},
                    Variant{Algorithm::kWinnow, kSequential, kPositive, 30, 0, false},
                    Variant{Algorithm::kAiht, kSequential, kMixed, 0, 0, true},
                    Variant{Algorithm::kAiht, kSequential, kPositive, 0, 100, false},
                    Variant{Algorithm::kNiht, kSequential, kPositive, 20, 0, false},
                    Variant{Algorithm::kNiht, kRandom, kPositive, 20, 0, true},
                    Variant{Algorithm::kNiht, kSequential, kMixed, 0, 128, false},
                    Variant{Algorithm::kIht, kSequential, kPositive, 0, 0, false},
                    Variant{Algorithm::kIht, kRandom, kPositive, 15, 0, false},
                    Variant{Algorithm::kHtp, kRandom, kPositive, 0, 0, false},
                    Variant{Algorithm::kHtp, kSequential, kMixed, 24, 0, false},
                    Variant{Algorithm::kCosamp, kRandom, kPositive, 0, 0, true},
                    Variant{Algorithm::kCosamp, kSequential, kMixed, 15, 0, false},
                    Variant{Algorithm::kSplicing, kRandom, kPositive, 0, 0, false},
                    Variant{Algorithm::kSplicing, kRandom, kMixed, 20, 0, true},
                    Variant{Algorithm::kReciprocal, kRandom, kPositive, 0, 0, false},
                    Variant{Algorithm::kReciprocal, kSequential, kMixed, 30, 100, false},
                    Variant{Algorithm::kSvrg, kRandom, kPositive, 0, 0, false},
                    Variant{Algorithm::kSvrg, kSequential, kMixed, 20, 100, true}));

// The default finds the planted network itself.
TEST(RecoverTest, FindsPlantedNetworksExactly) {
  struct Case {
    int64_t hidden_width;
    int64_t nonzeros;
    OutputSigns signs;
    double input_scale;
    double target_scale;
  };
  for (const Case& c :
       {Case{4, 10, OutputSigns::kPositive, 1, 1}, Case{3, 30, OutputSigns::kPositive, 1, 1},
        Case{10, 12, OutputSigns::kPositive, 1e-6, 1}, Case{5, 20, OutputSigns::kMixed, 1, 1e6}}) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      PlantedProblem problem = *GeneratePlanted({.num_samples = 1500,
                                                 .num_inputs = 20,
                                                 .hidden_width = c.hidden_width,
                                                 .nonzeros = c.nonzeros,
                                                 .seed = seed,
                                                 .output_signs = c.signs});
      for (float& x : problem.samples.inputs) x = static_cast<float>(x * c.input_scale);
      std::vector<double> outputs(problem.samples.num_samples);
      ASSERT_TRUE(Evaluate(problem.network, problem.samples.input_view(), outputs).ok());
      for (int64_t i = 0; i < problem.samples.num_samples; ++i) {
        problem.samples.targets[i] = static_cast<float>(outputs[i] * c.target_scale);
      }
      for (double& weight : problem.network.weights.value) weight *= c.target_scale;
      RecoveryOptions options;
      options.hidden_width = c.hidden_width;
      options.nonzeros = c.nonzeros;
      options.output_signs = c.signs;
      options.seed = seed;
      options.termination.max_iterations = 2000;
      const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->options_used.algorithm, Algorithm::kWinnow);
      EXPECT_LE(result->relative_residual, 1e-6);
      EXPECT_LE(result->nonzeros, c.nonzeros);
      EXPECT_LE(result->active_neurons, c.hidden_width);
      const absl::StatusOr<NetworkComparison> comparison = CompareNetworks(
          std::get<SparseNetwork>(result->network), problem.network, problem.samples.input_view());
      ASSERT_TRUE(comparison.ok()) << comparison.status();
      EXPECT_GE(comparison->psnr_db, 120);
    }
  }
}

TEST(RecoverTest, StartsFromThePlantedNetworkAndStaysThere) {
  const PlantedProblem problem = Planted(7, OutputSigns::kMixed);
  RecoveryOptions options;
  options.hidden_width = 4;
  options.nonzeros = 10;
  options.algorithm = Algorithm::kNiht;
  RecoveryStart start;
  start.network = problem.network;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, start);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->termination_reason, TerminationReason::kConverged);
  const absl::StatusOr<NetworkComparison> comparison = CompareNetworks(
      std::get<SparseNetwork>(result->network), problem.network, problem.samples.input_view());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_TRUE(comparison->same_support);
  EXPECT_LE(comparison->relative_weight_error, 1e-5);
}

TEST(RecoverTest, GivenGatesAreTheGatesOfTheResult) {
  const PlantedProblem problem = Planted(8);
  RecoveryOptions options;
  options.hidden_width = 3;
  options.nonzeros = 6;
  options.gate_mode = GateMode::kRandom;
  RecoveryStart start;
  start.gates = GateVectorSet{3, std::vector<double>(36, 0.0)};
  CounterRandom random(1, 1);
  for (double& value : start.gates->vectors) value = random.NextNormal();
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, start);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(std::get<GateVectorSet>(std::get<GatedNetwork>(result->network).gates), *start.gates);
}

TEST(RecoverTest, MaskMemoryLimitDoesNotChangeTheBits) {
  const PlantedProblem problem = Planted(9);
  RecoveryOptions options = OptionsOf({Algorithm::kAuto, kRandom, kPositive, 0, 0, false});
  const absl::StatusOr<RecoveryResult> kept = Recover(problem.samples, options);
  options.mask_memory_limit_bytes = 0;
  const absl::StatusOr<RecoveryResult> made_again = Recover(problem.samples, options);
  ASSERT_TRUE(kept.ok() && made_again.ok());
  EXPECT_TRUE(kept->network == made_again->network);
}

TEST(RecoverTest, AskingForEveryWeightIsAllowed) {
  const PlantedProblem problem = Planted(10);
  RecoveryOptions options;
  options.hidden_width = 2;
  options.nonzeros = 24;
  options.algorithm = Algorithm::kHtp;
  options.gate_mode = GateMode::kRandom;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->nonzeros, 24);
}

TEST(RecoverTest, DegenerateDataDoesNotBreakAnything) {
  // Duplicated samples, a constant and a zero column, two collinear columns.
  PlantedProblem problem = Planted(11);
  Samples& samples = problem.samples;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    float* row = samples.inputs.data() + i * samples.num_inputs;
    row[0] = 0;
    row[1] = 3;
    row[3] = row[2];
    if (i % 2 == 1) {
      std::copy_n(row - samples.num_inputs, samples.num_inputs, row);
      samples.targets[i] = samples.targets[i - 1];
    }
  }
  for (const Algorithm algorithm :
       {Algorithm::kIht, Algorithm::kNiht, Algorithm::kAiht, Algorithm::kHtp, Algorithm::kCosamp,
        Algorithm::kSplicing, Algorithm::kReciprocal, Algorithm::kSvrg}) {
    for (const GateMode gate_mode : {GateMode::kSequential, GateMode::kRandom}) {
      if (algorithm == Algorithm::kSplicing && gate_mode == GateMode::kSequential) continue;
      RecoveryOptions options;
      options.hidden_width = 5;
      options.nonzeros = 10;
      options.algorithm = algorithm;
      options.gate_mode = gate_mode;
      options.termination.max_iterations = 20;
      const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(std::isfinite(result->relative_residual));
      EXPECT_LE(result->nonzeros, 10);
    }
  }
}

// Enough samples that threads share every product, of whole problems and of mini-batches.
TEST(RecoverTest, ManySamplesGiveTheSameBitsOnAnyNumberOfThreads) {
  const GatedProblemWithAnswer problem = PlantedGated(1, 5000, 10, 20, 15);
  for (const Algorithm algorithm :
       {Algorithm::kCosamp, Algorithm::kSplicing, Algorithm::kReciprocal, Algorithm::kSvrg}) {
    RecoveryOptions options;
    options.hidden_width = 20;
    options.nonzeros = 15;
    options.algorithm = algorithm;
    options.gate_mode = GateMode::kRandom;
    options.seed = 2;  // not the planted gates: no exact fit ends the solve at once
    if (algorithm == Algorithm::kSvrg) options.batch_size = 2048;
    options.termination.max_iterations = 8;
    const absl::StatusOr<RecoveryResult> one = Recover(problem.samples, options);
    ASSERT_TRUE(one.ok()) << one.status();
    for (const int num_threads : {2, 3}) {
      options.num_threads = num_threads;
      const absl::StatusOr<RecoveryResult> many = Recover(problem.samples, options);
      ASSERT_TRUE(many.ok()) << many.status();
      EXPECT_TRUE(many->network == one->network);
    }
  }
}

TEST(RecoverTest, OutputSignsFollowTheTargets) {
  PlantedOptions planted = {.num_samples = 400, .num_inputs = 8, .hidden_width = 3, .nonzeros = 6};
  const Samples adding = GeneratePlanted(planted)->samples;
  Samples below = adding;
  below.targets[7] = -1;
  RecoveryOptions options;
  options.hidden_width = 3;
  options.nonzeros = 6;
  options.choose_output_signs = true;
  EXPECT_EQ(ChooseOutputSigns(options, adding), OutputSigns::kPositive);
  EXPECT_EQ(ChooseOutputSigns(options, below), OutputSigns::kMixed);
  RecoveryStart start;
  start.network = SparseNetwork{.num_inputs = 8};
  EXPECT_EQ(ChooseOutputSigns(options, adding, start), OutputSigns::kPositive);
  start.network->weights = {{0, 1}, {2}, {1.0}};
  start.network->output_signs = {-1};
  EXPECT_EQ(ChooseOutputSigns(options, adding, start), OutputSigns::kMixed);
  const auto result = Recover(below, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options_used.output_signs, OutputSigns::kMixed);
  EXPECT_FALSE(result->options_used.choose_output_signs);
  // The same bits as where it is said.
  options.choose_output_signs = false;
  options.output_signs = OutputSigns::kMixed;
  EXPECT_TRUE(Recover(below, options)->network == result->network);
  options.linear_term = LinearTerm::kSparse;
  EXPECT_EQ(ChooseOutputSigns(options, adding), OutputSigns::kMixed);
}

TEST(RecoverTest, BatchesOfSvrgAreWholeWords) {
  const PlantedProblem problem = Planted(14);
  RecoveryOptions options = OptionsOf({Algorithm::kSvrg, kRandom, kPositive, 0, 0, false});
  for (const auto& [asked, used] :
       {std::pair{0, 256}, {1, 64}, {65, 128}, {577, 600}, {600, 600}}) {
    options.batch_size = asked;
    const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->options_used.batch_size, used);
  }
}

TEST(RecoverTest, SingleSamplesAndSingleInputsAreTaken) {
  Samples samples;
  samples.num_samples = 2;
  samples.num_inputs = 1;
  samples.inputs = {1, 2};
  samples.targets = {2, 4};
  RecoveryOptions options;
  options.hidden_width = 8;
  options.nonzeros = 1;
  options.algorithm = Algorithm::kNiht;
  const absl::StatusOr<RecoveryResult> result = Recover(samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->relative_residual, 1e-6);
}

void ExpectInvalid(const Samples& samples, const RecoveryOptions& options,
                   const RecoveryStart& start, const std::string& field) {
  const absl::StatusOr<RecoveryResult> result = Recover(samples, options, start);
  ASSERT_FALSE(result.ok()) << "accepted a bad " << field;
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), StartsWith(field + ":"));
}

TEST(RecoverTest, AStepSizeThatDivergesEndsTheSolve) {
  const PlantedProblem problem = Planted(12);
  for (const Algorithm algorithm : {Algorithm::kIht, Algorithm::kReciprocal}) {
    for (const double step_size : {0.01, 10.0, 1e300}) {
      RecoveryOptions options;
      options.hidden_width = 4;
      options.nonzeros = 10;
      options.algorithm = algorithm;
      options.step_size = step_size;
      options.termination.stagnation_iterations = 0;
      options.termination.max_iterations = 400;
      std::vector<std::string> checkpoints;
      RecoveryObserver observer;
      observer.checkpoint_due = [](const IterationReport&) { return true; };
      observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
      const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options, {}, observer);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(std::isfinite(result->relative_residual));
      EXPECT_LE(result->nonzeros, 10);
      if (step_size > 1) {
        EXPECT_EQ(result->termination_reason, TerminationReason::kStagnated);
      }
      checkpoints.push_back(result->checkpoint);
      const absl::StatusOr<RecoveryResult> resumed =
          Recover(problem.samples, options, {}, {}, {}, checkpoints.back());
      ASSERT_TRUE(resumed.ok()) << resumed.status();
      EXPECT_EQ(resumed->network, result->network);
    }
  }
}

TEST(RecoverErrorsTest, NameTheField) {
  const PlantedProblem problem = Planted(12);
  const Samples& good = problem.samples;
  RecoveryOptions options;
  options.hidden_width = 4;
  options.nonzeros = 10;
  ASSERT_TRUE(Recover(good, options).ok());

  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 2e30f}) {
    Samples samples = good;
    samples.inputs[17] = bad;
    ExpectInvalid(samples, options, {}, "inputs");
  }
  Samples samples = good;
  samples.targets[3] = std::numeric_limits<float>::quiet_NaN();
  ExpectInvalid(samples, options, {}, "targets");
  samples = good;
  std::fill(samples.targets.begin(), samples.targets.end(), 3.0f);
  ExpectInvalid(samples, options, {}, "targets");
  samples = good;
  samples.inputs.resize(samples.inputs.size() - 1);
  ExpectInvalid(samples, options, {}, "inputs");
  samples = {};
  ExpectInvalid(samples, options, {}, "num_samples");
  // Nor where the number of all weights does not fit 64 bits.
  RecoveryOptions wide = options;
  wide.hidden_width = int64_t{1} << 50;
  for (const int64_t outputs : {int64_t{8192}, int64_t{16384}, int64_t{1} << 40}) {
    EXPECT_THAT(std::string(ValidateOptions(wide, 100, 1, outputs).message()),
                StartsWith("hidden_width:"));
  }

  const auto with = [&](auto change) {
    RecoveryOptions changed = options;
    change(changed);
    return changed;
  };
  ExpectInvalid(good, with([](auto& o) { o.hidden_width = 0; }), {}, "hidden_width");
  ExpectInvalid(good, with([](auto& o) { o.hidden_width = int64_t{1} << 62; }), {}, "hidden_width");
  ExpectInvalid(good, with([](auto& o) { o.nonzeros = 0; }), {}, "nonzeros");
  ExpectInvalid(good, with([](auto& o) { o.nonzeros = 12 * 4 + 1; }), {}, "nonzeros");
  ExpectInvalid(good, with([](auto& o) { o.working_nonzeros = 9; }), {}, "working_nonzeros");
  ExpectInvalid(good, with([](auto& o) { o.working_nonzeros = 12 * 4 + 1; }), {},
                "working_nonzeros");
  ExpectInvalid(good, with([](auto& o) { o.step_size = 0.1; }), {}, "step_size");
  ExpectInvalid(good, with([](auto& o) {
                  o.algorithm = Algorithm::kIht;
                  o.step_size = -1;
                }),
                {}, "step_size");
  ExpectInvalid(good, with([](auto& o) { o.batch_size = -1; }), {}, "batch_size");
  for (const Algorithm algorithm :
       {Algorithm::kHtp, Algorithm::kCosamp, Algorithm::kSplicing, Algorithm::kWinnow}) {
    ExpectInvalid(good, with([&](auto& o) {
                    o.algorithm = algorithm;
                    o.gate_mode =
                        algorithm == Algorithm::kWinnow ? GateMode::kSequential : GateMode::kRandom;
                    o.batch_size = 10;
                  }),
                  {}, "batch_size");
  }
  ExpectInvalid(good, with([](auto& o) { o.algorithm = Algorithm::kSplicing; }), {}, "gate_mode");
  for (const Algorithm algorithm : {Algorithm::kCosamp, Algorithm::kSvrg}) {
    ExpectInvalid(good, with([&](auto& o) {
                    o.algorithm = algorithm;
                    o.step_size = 0.1;
                  }),
                  {}, "step_size");
  }
  ExpectInvalid(good, with([](auto& o) {
                  o.algorithm = Algorithm::kWinnow;
                  o.gate_mode = GateMode::kRandom;
                }),
                {}, "gate_mode");
  ExpectInvalid(good, with([](auto& o) { o.num_threads = 0; }), {}, "num_threads");
  ExpectInvalid(good, with([](auto& o) { o.num_threads = 257; }), {}, "num_threads");
  ExpectInvalid(good, with([](auto& o) { o.termination.max_iterations = 0; }), {},
                "max_iterations");

  RecoveryStart start;
  start.gates = GateVectorSet{4, std::vector<double>(47, 1.0)};
  ExpectInvalid(good, options, start, "gates");
  start.gates->vectors.assign(48, std::numeric_limits<double>::infinity());
  ExpectInvalid(good, options, start, "gates");
  start = {};
  start.network = problem.network;
  ExpectInvalid(good, with([](auto& o) { o.nonzeros = 9; }), start, "network");
  ExpectInvalid(good, with([](auto& o) { o.hidden_width = 3; }), start, "network");
  ExpectInvalid(good, with([](auto& o) { o.bias = true; }), start, "network");
  ExpectInvalid(good, with([](auto& o) { o.gate_mode = GateMode::kRandom; }), start, "network");
  // A second layer, which recovery does not take: 4 neurons into one.
  start.network->upper_layers = {{.row_begin = {0, 1}, .column = {3}, .value = {1}}};
  start.network->output_signs = {1};
  ExpectInvalid(good, options, start, "network");
}

TEST(RecoverErrorsTest, DamagedOrForeignCheckpointsAreRefused) {
  const PlantedProblem problem = Planted(13);
  RecoveryOptions options;
  options.hidden_width = 4;
  options.nonzeros = 10;
  options.termination.max_iterations = 3;
  const absl::StatusOr<RecoveryResult> result = Recover(problem.samples, options);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto expect_refused = [&](const RecoveryOptions& other, const std::string& bytes) {
    const absl::StatusOr<RecoveryResult> resumed =
        Recover(problem.samples, other, {}, {}, {}, bytes);
    ASSERT_FALSE(resumed.ok());
    EXPECT_THAT(std::string(resumed.status().message()), StartsWith("checkpoint:"));
  };
  for (size_t length = 1; length < result->checkpoint.size(); length += 7) {
    expect_refused(options, result->checkpoint.substr(0, length));
  }
  for (size_t at = 0; at < result->checkpoint.size(); at += 5) {
    std::string damaged = result->checkpoint;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    expect_refused(options, damaged);
  }
  RecoveryOptions other = options;
  other.seed = 1;
  expect_refused(other, result->checkpoint);
  // Options that take the same number.
  RecoveryOptions layers = options;
  layers.hidden_layers = 2;
  other = options;
  other.loss = Loss::kLogistic;
  other.linear_term = LinearTerm::kDense;
  EXPECT_NE(ProblemFingerprint(problem.samples, layers, {}),
            ProblemFingerprint(problem.samples, other, {}));
  other.linear_term = LinearTerm::kNone;
  EXPECT_NE(ProblemFingerprint(problem.samples, layers, {}),
            ProblemFingerprint(problem.samples, other, {}));
  // Limits may change: a solve can be continued beyond its first limit.
  other = options;
  other.termination.max_iterations = 5;
  const absl::StatusOr<RecoveryResult> longer =
      Recover(problem.samples, other, {}, {}, {}, result->checkpoint);
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_EQ(longer->iterations, 5);
}

TEST(PredictCostTest, GrowsWithEverySizeAndNeverOverflows) {
  RecoveryOptions options;
  options.hidden_width = 100;
  options.nonzeros = 50;
  const RecoveryCost base = PredictCost(options, 1000, 20);
  EXPECT_GT(base.peak_memory_bytes, 1000 * 20 * 4);
  EXPECT_GT(PredictCost(options, 100000, 20).peak_memory_bytes, base.peak_memory_bytes);
  EXPECT_GT(PredictCost(options, 1000, 2000).peak_memory_bytes, base.peak_memory_bytes);
  RecoveryOptions larger = options;
  larger.nonzeros = 2000;
  EXPECT_GT(PredictCost(larger, 1000, 20).peak_memory_bytes, base.peak_memory_bytes);
  larger = options;
  larger.hidden_width = 100000;
  EXPECT_GT(PredictCost(larger, 1000, 20).flops_per_iteration, base.flops_per_iteration);
  larger.hidden_width = int64_t{1} << 40;
  larger.nonzeros = int64_t{1} << 40;
  EXPECT_GT(PredictCost(larger, int64_t{1} << 40, 1000).peak_memory_bytes, int64_t{1} << 40);
}

}  // namespace
}  // namespace thresher
