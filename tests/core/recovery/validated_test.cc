// Early stopping and the best network by samples that are not learned from.
#include "core/recovery/validated.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/samples/planted.h"
#include "core/samples/split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;

struct Problem {
  std::string name;
  SplitSamples split;
  RecoveryOptions options;
};

// Little and noisy data, so that later networks need not be better ones.
Problem Noisy(const std::string& name, Algorithm algorithm) {
  PlantedOptions planted = {.num_samples = 160,
                            .num_inputs = 12,
                            .hidden_width = 4,
                            .nonzeros = 16,
                            .seed = 3,
                            .noise_db = 6};
  Problem problem = {.name = name};
  problem.split = *Split(GeneratePlanted(planted)->samples, 0.5, 1);
  problem.options.hidden_width = 6;
  problem.options.nonzeros = 30;
  problem.options.algorithm = algorithm;
  problem.options.termination.max_iterations = 40;
  problem.options.termination.stagnation_iterations = 0;
  return problem;
}

// Two classes of noisy targets, or three.
Problem Classes(const std::string& name, Algorithm algorithm, int64_t num_classes) {
  Problem problem = Noisy(name, algorithm);
  for (Samples* samples : {&problem.split.training, &problem.split.held_out}) {
    std::vector<float> targets;
    for (const float target : samples->targets) {
      const int64_t label = target < 0.5F ? 0 : target < 2 || num_classes == 2 ? 1 : 2;
      if (num_classes == 2) {
        targets.push_back(static_cast<float>(label));
      } else {
        for (int64_t c = 0; c < num_classes; ++c) targets.push_back(c == label ? 1 : 0);
      }
    }
    samples->targets = targets;
    samples->num_outputs = num_classes == 2 ? 1 : num_classes;
    samples->class_names.resize(num_classes);
    for (int64_t c = 0; c < num_classes; ++c) samples->class_names[c] = std::to_string(c);
  }
  problem.options.choose_loss = true;
  return problem;
}

std::vector<Problem> AllKinds() {
  std::vector<Problem> kinds = {Noisy("niht", Algorithm::kNiht),
                                Noisy("aiht", Algorithm::kAiht),
                                Noisy("htp", Algorithm::kHtp),
                                Noisy("winnow", Algorithm::kWinnow),
                                Classes("logistic", Algorithm::kAuto, 2),
                                Classes("cross_entropy", Algorithm::kAuto, 3),
                                Classes("count_sketch", Algorithm::kCountSketch, 3)};
  kinds.push_back(Noisy("splicing", Algorithm::kSplicing));
  kinds.back().options.gate_mode = GateMode::kRandom;
  kinds.push_back(Noisy("enumerated", Algorithm::kCosamp));
  kinds.back().options.gate_mode = GateMode::kEnumerated;
  kinds.push_back(Noisy("deep", Algorithm::kAuto));
  kinds.back().options.hidden_layers = 2;
  return kinds;
}

double LossOf(const FitQuality& fit) { return fit.loss.value_or(fit.mean_squared_error); }

ValidatedRecovery RecoverOrFail(const Problem& problem, int64_t patience,
                                const RecoveryObserver& observer = {}, std::stop_token stop = {},
                                std::string_view checkpoint = {}) {
  auto result = RecoverValidated(problem.split.training, problem.split.held_out, patience,
                                 problem.options, {}, observer, std::move(stop), checkpoint);
  EXPECT_TRUE(result.ok()) << problem.name << ": " << result.status();
  return *std::move(result);
}

TEST(ValidatedTest, TheBestOfAllNetworksIsReturned) {
  for (const Problem& problem : AllKinds()) {
    SCOPED_TRACE(problem.name);
    double least = std::numeric_limits<double>::infinity();
    int64_t measured = 0;
    int64_t best = 0;
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      if (!report.validation) return;
      ++measured;
      if (LossOf(*report.validation) < least) best = report.iteration;
      least = std::min(least, LossOf(*report.validation));
    };
    const ValidatedRecovery result = RecoverOrFail(problem, 0, observer);
    EXPECT_GT(measured, 0);
    EXPECT_LE(LossOf(result.validation), least);
    EXPECT_GT(result.best_iteration, 0);
    if (LossOf(result.validation) == least) {
      EXPECT_EQ(result.best_iteration, best);
    }
    EXPECT_LE(result.recovery.nonzeros, problem.options.nonzeros);
    EXPECT_EQ(result.recovery.nonzeros, Nonzeros(result.recovery.network));
    const FitQuality fit = *MeasureFitQuality(result.recovery.network, problem.split.held_out,
                                              result.recovery.options_used.loss);
    EXPECT_EQ(LossOf(fit), LossOf(result.validation));
    EXPECT_EQ(result.validation.num_samples, problem.split.held_out.num_samples);
    const FitQuality training = *MeasureFitQuality(result.recovery.network, problem.split.training,
                                                   result.recovery.options_used.loss);
    EXPECT_NEAR(training.relative_residual, result.recovery.relative_residual, 1e-9);
    // Plain recovery is one of those it is chosen from.
    const absl::StatusOr<RecoveryResult> plain = Recover(problem.split.training, problem.options);
    ASSERT_TRUE(plain.ok());
    EXPECT_LE(LossOf(fit), LossOf(*MeasureFitQuality(plain->network, problem.split.held_out,
                                                     plain->options_used.loss)));
  }
}

TEST(ValidatedTest, EndsAfterPatience) {
  int64_t ended = 0;
  for (const Problem& problem : AllKinds()) {
    SCOPED_TRACE(problem.name);
    constexpr int64_t kPatience = 3;
    int64_t since = 0;
    int64_t iterations = 0;
    double least = std::numeric_limits<double>::infinity();
    RecoveryObserver observer;
    observer.on_iteration = [&](const IterationReport& report) {
      EXPECT_LT(since, kPatience) << "an iteration after the end";
      iterations = report.iteration;
      if (!report.validation) return;
      since = LossOf(*report.validation) < least ? 0 : since + 1;
      least = std::min(least, LossOf(*report.validation));
    };
    const ValidatedRecovery result = RecoverOrFail(problem, kPatience, observer);
    EXPECT_LE(LossOf(result.validation), least);
    EXPECT_EQ(result.recovery.termination_reason == TerminationReason::kEarlyStopped,
              since >= kPatience);
    EXPECT_EQ(result.recovery.iterations, iterations);
    ended += since >= kPatience ? 1 : 0;
  }
  EXPECT_GE(ended, 4);
}

TEST(ValidatedTest, AStoppedSolveGoesOnToTheSameBits) {
  for (const Problem& problem : AllKinds()) {
    for (const int64_t patience : {0, 3}) {
      SCOPED_TRACE(problem.name + " " + std::to_string(patience));
      const ValidatedRecovery whole = RecoverOrFail(problem, patience);
      for (const int64_t stop_after : {1, 4, 11}) {
        std::stop_source source;
        std::string checkpoint;
        RecoveryObserver observer;
        observer.on_iteration = [&](const IterationReport& report) {
          if (report.iteration >= stop_after) source.request_stop();
        };
        const ValidatedRecovery part =
            RecoverOrFail(problem, patience, observer, source.get_token());
        const ValidatedRecovery rest =
            RecoverOrFail(problem, patience, {}, {}, part.recovery.checkpoint);
        EXPECT_EQ(rest.recovery.network, whole.recovery.network) << stop_after;
        EXPECT_EQ(LossOf(rest.validation), LossOf(whole.validation));
        EXPECT_EQ(rest.best_iteration, whole.best_iteration);
        EXPECT_EQ(rest.recovery.termination_reason, whole.recovery.termination_reason);
        EXPECT_EQ(rest.recovery.iterations, whole.recovery.iterations);
      }
    }
  }
}

TEST(ValidatedTest, CheckpointsHoldTheBestNetwork) {
  const Problem problem = Noisy("niht", Algorithm::kNiht);
  const ValidatedRecovery whole = RecoverOrFail(problem, 0);
  std::vector<std::string> checkpoints;
  RecoveryObserver observer;
  observer.checkpoint_due = [](const IterationReport&) { return true; };
  observer.on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); };
  RecoverOrFail(problem, 0, observer);
  ASSERT_GT(checkpoints.size(), 20);
  for (const size_t k : {size_t{0}, size_t{9}, checkpoints.size() - 1}) {
    const ValidatedRecovery rest = RecoverOrFail(problem, 0, {}, {}, checkpoints[k]);
    EXPECT_EQ(rest.recovery.network, whole.recovery.network) << k;
    EXPECT_EQ(rest.best_iteration, whole.best_iteration) << k;
  }
  // Those of a plain solve, of other samples or of another patience are refused, as damaged ones.
  const auto resumed = [&](int64_t patience, const Samples& validation, std::string_view bytes) {
    return RecoverValidated(problem.split.training, validation, patience, problem.options, {}, {},
                            {}, bytes)
        .status();
  };
  Samples other = problem.split.held_out;
  other.targets[0] += 1;
  EXPECT_EQ(resumed(1, problem.split.held_out, checkpoints[3]).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(resumed(0, other, checkpoints[3]).code(), absl::StatusCode::kInvalidArgument);
  const std::string plain = Recover(problem.split.training, problem.options)->checkpoint;
  EXPECT_EQ(resumed(0, problem.split.held_out, plain).code(), absl::StatusCode::kInvalidArgument);
  for (size_t size = 0; size < checkpoints[3].size(); size += 97) {
    if (size == 0) continue;  // none
    EXPECT_EQ(resumed(0, problem.split.held_out, checkpoints[3].substr(0, size)).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

// Nothing to be relative to: the errors themselves decide.
TEST(ValidatedTest, TargetsOfZerosChooseToo) {
  Problem problem = Noisy("niht", Algorithm::kNiht);
  for (float& target : problem.split.held_out.targets) target = 0;
  double least = std::numeric_limits<double>::infinity();
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    least = std::min(least, report.validation->mean_squared_error);
  };
  const ValidatedRecovery result = RecoverOrFail(problem, 0, observer);
  EXPECT_EQ(result.validation.mean_squared_error, least);
  EXPECT_GT(least, 0);
  EXPECT_LT(result.best_iteration, result.recovery.iterations);
}

TEST(ValidatedTest, PlantedNetworksAreStillFound) {
  const PlantedProblem planted = *GeneratePlanted(
      {.num_samples = 1500, .num_inputs = 15, .hidden_width = 5, .nonzeros = 20, .seed = 2});
  Problem problem = {.name = "exact", .split = *Split(planted.samples, 0.2, 1)};
  problem.options.hidden_width = 5;
  problem.options.nonzeros = 20;
  const ValidatedRecovery result = RecoverOrFail(problem, 0);
  EXPECT_EQ(result.recovery.termination_reason, TerminationReason::kConverged);
  EXPECT_GT(result.validation.psnr_db, 120);
}

TEST(ValidatedTest, RefusesSamplesThatDoNotFit) {
  const Problem problem = Noisy("niht", Algorithm::kNiht);
  const auto error = [&](const Samples& validation, int64_t patience) {
    return std::string(
        RecoverValidated(problem.split.training, validation, patience, problem.options)
            .status()
            .message());
  };
  EXPECT_THAT(error(problem.split.held_out, -1), HasSubstr("patience: must be at least 0"));
  EXPECT_THAT(error({}, 0), HasSubstr("validation: "));
  Samples narrow = problem.split.held_out;
  narrow.num_inputs = 6;
  narrow.num_samples *= 2;
  narrow.targets.resize(narrow.num_samples);
  EXPECT_THAT(error(narrow, 0), HasSubstr("validation: must have the inputs"));
  // Losses of classes are for targets that are probabilities.
  const Problem classes = Classes("logistic", Algorithm::kAuto, 2);
  Samples beyond = classes.split.held_out;
  beyond.targets[3] = 2;
  EXPECT_THAT(
      std::string(
          RecoverValidated(classes.split.training, beyond, 0, classes.options).status().message()),
      HasSubstr("validation: targets"));
  Samples named = problem.split.held_out;
  named.class_names = {"a", "b"};
  EXPECT_THAT(error(named, 0), HasSubstr("validation: must have the inputs"));
}

}  // namespace
}  // namespace thresher
