// RecoverPath as its users call it: the budget it finds, what it refuses, and that its results
// repeat.
#include "core/recovery/path.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/network/compare.h"
#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr int64_t kPlanted = 9;

PlantedProblem Planted(uint64_t seed, std::optional<double> noise_db = std::nullopt) {
  return *GeneratePlanted({.num_samples = 500,
                           .num_inputs = 12,
                           .hidden_width = 3,
                           .nonzeros = kPlanted,
                           .seed = seed,
                           .weight_distribution = WeightDistribution::kUniform,
                           .noise_db = noise_db});
}

RecoveryOptions Options() {
  RecoveryOptions options;
  options.hidden_width = 3;
  options.seed = 3;
  return options;
}

PathOptions Range(int64_t min_nonzeros, int64_t max_nonzeros,
                  SelectionCriterion criterion = SelectionCriterion::kInformation) {
  PathOptions path;
  path.min_nonzeros = min_nonzeros;
  path.max_nonzeros = max_nonzeros;
  path.criterion = criterion;
  path.num_folds = 3;
  return path;
}

// Fixed random gates under which s weights explain the targets.
Samples GatedSamples(uint64_t seed, int64_t num_gates, int64_t nonzeros) {
  Samples samples;
  samples.num_samples = 400;
  samples.num_inputs = 10;
  CounterRandom random(seed, 1);
  for (int64_t k = 0; k < 4000; ++k) {
    samples.inputs.push_back(static_cast<float>(random.NextNormal()));
  }
  GatedNetwork network;
  network.num_inputs = 10;
  network.gates = RandomGateSet{seed, num_gates};
  for (int64_t e = 0; e < nonzeros; ++e) {
    network.gate_index.push_back(e);
    network.weights.column.push_back(static_cast<int32_t>(random.NextBelow(10)));
    network.weights.value.push_back(e % 2 == 0 ? 1.0 : -0.7);
    network.weights.row_begin.push_back(e + 1);
  }
  std::vector<double> targets(400);
  EXPECT_TRUE(Evaluate(network, samples.input_view(), targets).ok());
  samples.targets.assign(targets.begin(), targets.end());
  return samples;
}

// What must hold of every path.
void ExpectSoundPath(const PathResult& result, const PathOptions& path) {
  ASSERT_FALSE(result.points.empty());
  EXPECT_LE(static_cast<int64_t>(result.points.size()), path.max_points);
  int64_t num_chosen = 0;
  int64_t last = 0;
  for (const PathPoint& point : result.points) {
    EXPECT_GT(point.nonzeros, last);
    last = point.nonzeros;
    EXPECT_GE(point.nonzeros, path.min_nonzeros);
    EXPECT_LE(point.nonzeros, path.max_nonzeros);
    EXPECT_TRUE(std::isfinite(point.relative_residual));
    EXPECT_TRUE(std::isfinite(point.criterion_value));
    EXPECT_EQ(point.held_out_relative_residual.has_value(),
              path.criterion != SelectionCriterion::kInformation);
    EXPECT_GT(point.iterations, 0);
    num_chosen += point.chosen ? 1 : 0;
    if (point.chosen) {
      EXPECT_EQ(result.recovery.options_used.nonzeros, point.nonzeros);
    }
  }
  EXPECT_EQ(num_chosen, 1);
  EXPECT_LE(result.recovery.nonzeros, result.recovery.options_used.nonzeros);
}

struct Choice {
  SelectionCriterion criterion;
  PathSearch search;
};

class PathChoiceTest : public testing::TestWithParam<Choice> {};

TEST_P(PathChoiceTest, FindsTheBudgetAndTheNetworkOfExactTargets) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const PlantedProblem problem = Planted(seed);
    PathOptions path = Range(2, 36, GetParam().criterion);
    path.search = GetParam().search;
    const auto result = RecoverPath(problem.samples, Options(), path);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSoundPath(*result, path);
    EXPECT_EQ(result->recovery.options_used.nonzeros, kPlanted) << seed;
    EXPECT_EQ(result->recovery.termination_reason, TerminationReason::kConverged);
    const auto comparison = CompareNetworks(std::get<SparseNetwork>(result->recovery.network),
                                            problem.network, problem.samples.input_view());
    ASSERT_TRUE(comparison.ok());
    EXPECT_TRUE(comparison->same_support);
    EXPECT_LT(comparison->relative_weight_error, 1e-5);
  }
}

TEST_P(PathChoiceTest, FindsTheBudgetOfNoisyTargetsAndTrainingResidualsFallWithIt) {
  const PlantedProblem problem = Planted(4, 40);
  PathOptions path = Range(2, 36, GetParam().criterion);
  path.search = GetParam().search;
  const auto result = RecoverPath(problem.samples, Options(), path);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectSoundPath(*result, path);
  // All planted weights are far above the noise; chance may add one.
  EXPECT_GE(result->recovery.options_used.nonzeros, kPlanted);
  EXPECT_LE(result->recovery.options_used.nonzeros, kPlanted + 1);
  for (size_t k = 1; k < result->points.size(); ++k) {
    EXPECT_LE(result->points[k].relative_residual, result->points[k - 1].relative_residual);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Choices, PathChoiceTest,
    testing::Values(Choice{SelectionCriterion::kInformation, PathSearch::kGrid},
                    Choice{SelectionCriterion::kInformation, PathSearch::kGoldenSection},
                    Choice{SelectionCriterion::kHeldOut, PathSearch::kGrid},
                    Choice{SelectionCriterion::kKFold, PathSearch::kGoldenSection}),
    [](const auto& variant) {
      return std::string(SelectionCriterionName(variant.param.criterion)) + "_" +
             std::string(PathSearchName(variant.param.search));
    });

TEST(RecoverPathTest, FixedGatesAndPursuitFindTheBudget) {
  const Samples samples = GatedSamples(7, 20, 12);
  RecoveryOptions options;
  options.hidden_width = 20;
  options.seed = 7;
  options.gate_mode = GateMode::kRandom;
  options.algorithm = Algorithm::kHtp;
  for (const SelectionCriterion criterion :
       {SelectionCriterion::kInformation, SelectionCriterion::kHeldOut}) {
    const PathOptions path = Range(3, 48, criterion);
    const auto result = RecoverPath(samples, options, path);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSoundPath(*result, path);
    EXPECT_EQ(result->recovery.options_used.nonzeros, 12);
    EXPECT_LT(result->recovery.relative_residual, 1e-6);
  }
}

TEST(RecoverPathTest, TheOtherAlgorithmsWalkAPathToo) {
  const PlantedProblem problem = Planted(5, 40);
  for (const Algorithm algorithm :
       {Algorithm::kIht, Algorithm::kNiht, Algorithm::kAiht, Algorithm::kHtp, Algorithm::kCosamp,
        Algorithm::kReciprocal, Algorithm::kSvrg}) {
    RecoveryOptions options = Options();
    options.algorithm = algorithm;
    options.termination.max_iterations = 30;
    const PathOptions path = Range(5, 20);
    const auto result = RecoverPath(problem.samples, options, path);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSoundPath(*result, path);
    EXPECT_EQ(result->points.size(), 16U);
    const auto chosen = std::find_if(result->points.begin(), result->points.end(),
                                     [](const PathPoint& point) { return point.chosen; });
    for (const PathPoint& point : result->points) {
      EXPECT_GE(point.criterion_value, chosen->criterion_value);
    }
  }
}

TEST(RecoverPathTest, ScaleDoesNotChangeTheChoice) {
  PlantedProblem problem = Planted(1, 40);
  const auto result = RecoverPath(problem.samples, Options(), Range(2, 30));
  for (float& input : problem.samples.inputs) input *= 0x1p-20F;
  for (float& target : problem.samples.targets) target *= 0x1p20F;
  const auto scaled = RecoverPath(problem.samples, Options(), Range(2, 30));
  ASSERT_TRUE(result.ok() && scaled.ok());
  ASSERT_EQ(result->points.size(), scaled->points.size());
  for (size_t k = 0; k < result->points.size(); ++k) {
    EXPECT_EQ(result->points[k].chosen, scaled->points[k].chosen);
    EXPECT_NEAR(result->points[k].relative_residual, scaled->points[k].relative_residual,
                1e-9 * result->points[k].relative_residual);
  }
}

TEST(RecoverPathTest, ASingleBudgetIsAPathOfOnePoint) {
  const PlantedProblem problem = Planted(2);
  const PathOptions path = Range(kPlanted, kPlanted);
  const auto result = RecoverPath(problem.samples, Options(), path);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectSoundPath(*result, path);
  EXPECT_EQ(result->points.size(), 1U);
}

TEST(RecoverPathTest, VisitsAtMostMaxPoints) {
  const PlantedProblem problem = Planted(2, 40);
  for (const int64_t max_points : {2, 3, 5}) {
    PathOptions path = Range(1, 36);
    path.max_points = max_points;
    const auto result = RecoverPath(problem.samples, Options(), path);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectSoundPath(*result, path);
    EXPECT_EQ(static_cast<int64_t>(result->points.size()), max_points);
  }
}

TEST(RecoverPathTest, ReportsSayWhereThePathIs) {
  const PlantedProblem problem = Planted(2, 40);
  int64_t last_iteration = 0;
  int64_t most_points = 0;
  bool descended = false;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    EXPECT_EQ(report.iteration, last_iteration + 1);
    last_iteration = report.iteration;
    EXPECT_GE(report.path_nonzeros, 2);
    EXPECT_LE(report.path_nonzeros, 30);
    EXPECT_GE(report.path_points, most_points);
    most_points = report.path_points;
    EXPECT_TRUE(std::isfinite(report.relative_residual) && std::isfinite(report.psnr_db));
    descended = descended || (report.phase == SolvePhase::kPrune && report.start == -1);
  };
  const auto result = RecoverPath(problem.samples, Options(), Range(2, 30), observer);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(descended);
  EXPECT_EQ(result->recovery.iterations, last_iteration);
  EXPECT_EQ(static_cast<int64_t>(result->points.size()), most_points);
}

// Whether two results have the same bits, times aside.
void ExpectSameBits(const PathResult& a, const PathResult& b) {
  EXPECT_TRUE(a.recovery.network == b.recovery.network);
  EXPECT_EQ(a.recovery.relative_residual, b.recovery.relative_residual);
  EXPECT_EQ(a.recovery.iterations, b.recovery.iterations);
  EXPECT_EQ(a.recovery.termination_reason, b.recovery.termination_reason);
  ASSERT_EQ(a.points.size(), b.points.size());
  for (size_t k = 0; k < a.points.size(); ++k) {
    EXPECT_EQ(a.points[k].nonzeros, b.points[k].nonzeros);
    EXPECT_EQ(a.points[k].relative_residual, b.points[k].relative_residual);
    EXPECT_EQ(a.points[k].held_out_relative_residual, b.points[k].held_out_relative_residual);
    EXPECT_EQ(a.points[k].criterion_value, b.points[k].criterion_value);
    EXPECT_EQ(a.points[k].active_neurons, b.points[k].active_neurons);
    EXPECT_EQ(a.points[k].iterations, b.points[k].iterations);
    EXPECT_EQ(a.points[k].chosen, b.points[k].chosen);
  }
}

struct Variant {
  const char* name;
  Algorithm algorithm;
  GateMode gate_mode;
  SelectionCriterion criterion;
};

class PathRepeatsTest : public testing::TestWithParam<Variant> {
 protected:
  Samples MakeSamples() const {
    return GetParam().gate_mode == GateMode::kRandom ? GatedSamples(7, 20, 6)
                                                     : Planted(6, 40).samples;
  }
  RecoveryOptions MakeOptions() const {
    RecoveryOptions options = Options();
    options.algorithm = GetParam().algorithm;
    options.gate_mode = GetParam().gate_mode;
    if (options.gate_mode == GateMode::kRandom) {
      options.hidden_width = 20;
      options.seed = 7;
    }
    options.termination.max_iterations = 60;
    return options;
  }
  PathOptions MakePath() const { return Range(3, 14, GetParam().criterion); }
};

TEST_P(PathRepeatsTest, SameBitsOnAnyNumberOfThreads) {
  const Samples samples = MakeSamples();
  RecoveryOptions options = MakeOptions();
  const auto one = RecoverPath(samples, options, MakePath());
  ASSERT_TRUE(one.ok()) << one.status();
  for (const int num_threads : {2, 3}) {
    options.num_threads = num_threads;
    const auto more = RecoverPath(samples, options, MakePath());
    ASSERT_TRUE(more.ok()) << more.status();
    ExpectSameBits(*one, *more);
  }
}

TEST_P(PathRepeatsTest, ResumesFromAnyCheckpointToTheSameBits) {
  const Samples samples = MakeSamples();
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  observer.checkpoint_due = [](const IterationReport&) { return true; };
  observer.on_checkpoint = [&](std::string checkpoint) {
    checkpoints.push_back(std::move(checkpoint));
  };
  const auto whole = RecoverPath(samples, MakeOptions(), MakePath(), observer);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_GT(checkpoints.size(), 10U);
  for (size_t k = 0; k < checkpoints.size(); k += 1 + checkpoints.size() / 12) {
    const auto resumed = RecoverPath(samples, MakeOptions(), MakePath(), {}, {}, checkpoints[k]);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    ExpectSameBits(*whole, *resumed);
  }
}

TEST_P(PathRepeatsTest, AStopRequestKeepsTheBestNetworkAndAStateToResumeFrom) {
  const Samples samples = MakeSamples();
  const auto whole = RecoverPath(samples, MakeOptions(), MakePath());
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const int64_t share : {0, 1, 2, 3}) {
    std::stop_source stop;
    const int64_t stop_at = 1 + share * (whole->recovery.iterations - 2) / 3;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (report.iteration >= stop_at) stop.request_stop();
    };
    const auto stopped =
        RecoverPath(samples, MakeOptions(), MakePath(), observer, stop.get_token());
    ASSERT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(stopped->recovery.termination_reason, TerminationReason::kCancelled);
    EXPECT_GT(stopped->recovery.nonzeros, 0);
    EXPECT_LE(stopped->recovery.nonzeros, stopped->recovery.options_used.nonzeros);
    EXPECT_TRUE(std::isfinite(stopped->recovery.relative_residual));
    const auto resumed =
        RecoverPath(samples, MakeOptions(), MakePath(), {}, {}, stopped->recovery.checkpoint);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    ExpectSameBits(*whole, *resumed);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, PathRepeatsTest,
    testing::Values(
        Variant{"Winnow", Algorithm::kAuto, GateMode::kSequential,
                SelectionCriterion::kInformation},
        Variant{"WinnowHeldOut", Algorithm::kAuto, GateMode::kSequential,
                SelectionCriterion::kHeldOut},
        Variant{"WinnowFolds", Algorithm::kAuto, GateMode::kSequential, SelectionCriterion::kKFold},
        Variant{"Aiht", Algorithm::kAiht, GateMode::kSequential, SelectionCriterion::kInformation},
        Variant{"FixedGates", Algorithm::kHtp, GateMode::kRandom, SelectionCriterion::kHeldOut}),
    [](const auto& variant) { return variant.param.name; });

TEST(RecoverPathTest, StoppedBeforeItBeginsItHasNoNetworkButCanBeResumed) {
  const PlantedProblem problem = Planted(2);
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = RecoverPath(problem.samples, Options(), Range(5, 12), {}, stop.get_token());
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(stopped->recovery.termination_reason, TerminationReason::kCancelled);
  EXPECT_EQ(stopped->recovery.nonzeros, 0);
  EXPECT_TRUE(stopped->points.empty());
  const auto resumed =
      RecoverPath(problem.samples, Options(), Range(5, 12), {}, {}, stopped->recovery.checkpoint);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->recovery.options_used.nonzeros, kPlanted);
}

TEST(RecoverPathTest, ATimeLimitEndsThePathWithWhatItHas) {
  const PlantedProblem problem = Planted(2, 40);
  RecoveryOptions options = Options();
  options.termination.time_limit_seconds = 1e-9;
  const auto result = RecoverPath(problem.samples, options, Range(2, 30));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->recovery.termination_reason, TerminationReason::kTimeLimit);
}

TEST(RecoverPathErrorsTest, NameTheField) {
  const PlantedProblem problem = Planted(1);
  const auto expect = [&](const std::string& field, const auto& change) {
    RecoveryOptions options = Options();
    PathOptions path = Range(2, 20);
    change(options, path);
    const auto result = RecoverPath(problem.samples, options, path);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << field;
    EXPECT_THAT(std::string(result.status().message()), StartsWith(field + ": "));
  };
  using O = RecoveryOptions;
  using P = PathOptions;
  expect("nonzeros", [](O& options, P&) { options.nonzeros = 5; });
  expect("working_nonzeros", [](O& options, P&) { options.working_nonzeros = 50; });
  expect("min_nonzeros", [](O&, P& path) { path.min_nonzeros = 0; });
  expect("max_nonzeros", [](O&, P& path) { path.max_nonzeros = 1; });
  expect("max_nonzeros", [](O&, P& path) { path.max_nonzeros = 3 * 12 + 1; });
  expect("max_points", [](O&, P& path) { path.max_points = 1; });
  expect("max_points", [](O&, P& path) { path.max_points = 1001; });
  expect("hidden_width", [](O& options, P&) { options.hidden_width = 0; });
  expect("step_size", [](O& options, P&) { options.step_size = 0.1; });
  for (const double fraction : {0.0, 1.0, -1.0, std::nan(""), 1e-3}) {
    expect("validation_fraction", [&](O&, P& path) {
      path.criterion = SelectionCriterion::kHeldOut;
      path.validation_fraction = fraction;
    });
  }
  for (const int64_t num_folds : {-1, 0, 1, 21}) {
    expect("num_folds", [&](O&, P& path) {
      path.criterion = SelectionCriterion::kKFold;
      path.num_folds = num_folds;
    });
  }
  Samples broken = problem.samples;
  broken.targets.resize(broken.targets.size() - 1);
  EXPECT_TRUE(absl::IsInvalidArgument(RecoverPath(broken, Options(), Range(2, 20)).status()));
}

TEST(RecoverPathErrorsTest, DamagedOrForeignCheckpointsAreRefused) {
  const PlantedProblem problem = Planted(1, 40);
  std::string checkpoint;
  RecoveryObserver observer;
  observer.checkpoint_due = [&](const IterationReport& report) {
    return checkpoint.empty() && report.path_points > 3;
  };
  observer.on_checkpoint = [&](std::string bytes) { checkpoint = std::move(bytes); };
  const PathOptions path = Range(2, 20);
  ASSERT_TRUE(RecoverPath(problem.samples, Options(), path, observer).ok());
  ASSERT_FALSE(checkpoint.empty());
  const auto expect_refused = [&](const PathOptions& other, const std::string& bytes) {
    const auto result = RecoverPath(problem.samples, Options(), other, {}, {}, bytes);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status()));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("checkpoint"));
  };
  for (size_t at = 0; at + 1 < checkpoint.size(); at += 1 + checkpoint.size() / 50) {
    std::string damaged = checkpoint;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    expect_refused(path, damaged);
    expect_refused(path, checkpoint.substr(0, at + 1));
  }
  expect_refused(Range(2, 21), checkpoint);
  expect_refused(Range(2, 20, SelectionCriterion::kHeldOut), checkpoint);
  // Nor is a path's a recovery's.
  RecoveryOptions options = Options();
  options.nonzeros = 20;
  EXPECT_FALSE(Recover(problem.samples, options, {}, {}, {}, checkpoint).ok());
}

TEST(PredictPathCostTest, CoversTheLargestRecoveryAndWhatThePathKeeps) {
  RecoveryOptions options = Options();
  const int64_t path_bytes = PredictPathCost(options, Range(2, 20), 1000, 12).peak_memory_bytes;
  const int64_t fold_bytes =
      PredictPathCost(options, Range(2, 20, SelectionCriterion::kKFold), 1000, 12)
          .peak_memory_bytes;
  options.nonzeros = 20;
  const RecoveryCost recovery = PredictCost(options, 1000, 12);
  EXPECT_GT(path_bytes, recovery.peak_memory_bytes);
  EXPECT_GT(fold_bytes, path_bytes);
}

}  // namespace
}  // namespace thresher
