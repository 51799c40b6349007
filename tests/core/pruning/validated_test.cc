// Early stopping and the best network of trainings.
#include "core/pruning/validated.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/samples/planted.h"
#include "core/samples/split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;

// Little and noisy data, which a long training learns by heart.
SplitSamples Noisy() {
  const PlantedProblem planted = *GeneratePlanted({.num_samples = 120,
                                                   .num_inputs = 12,
                                                   .hidden_width = 4,
                                                   .nonzeros = 16,
                                                   .seed = 3,
                                                   .noise_db = 6});
  return *Split(planted.samples, 0.5, 1);
}

PruneOptions Gradual() {
  PruneOptions options;
  options.hidden_widths = {16};
  options.nonzeros = 60;
  options.epochs = 60;
  options.batch_size = 10;
  options.learning_rate = 2e-2;
  options.schedule = PruneSchedule::kGradual;
  options.prune_end = 0.3;
  return options;
}

PruneOptions Retrained() {
  PruneOptions options = Gradual();
  options.schedule = PruneSchedule::kRounds;
  options.epochs = 20;
  options.prune_fraction = 0.4;
  options.retrain_after_last_prune = true;
  return options;
}

ValidatedPruning PruneOrFail(const SplitSamples& split, int64_t patience,
                             const PruneOptions& options, const PruneObserver& observer = {},
                             std::stop_token stop = {}, std::string_view checkpoint = {}) {
  auto result = PruneValidated(split.training, split.held_out, patience, options, observer,
                               std::move(stop), checkpoint);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

TEST(PruneValidatedTest, TheBestNetworkWithinTheBudgetIsReturned) {
  const SplitSamples split = Noisy();
  for (const PruneOptions& options : {Gradual(), Retrained()}) {
    double least = std::numeric_limits<double>::infinity();
    int64_t best = 0;
    const int64_t num_epochs = Prune(split.training, options)->iterations;
    PruneObserver observer;
    observer.on_iteration = [&](const PruneReport& report) {
      const bool rewound = options.schedule == PruneSchedule::kRounds &&
                           report.epoch == options.epochs && report.iteration < num_epochs;
      EXPECT_EQ(report.validation.has_value(), !rewound && report.nonzeros <= options.nonzeros);
      if (report.validation && report.validation->loss < least) {
        least = report.validation->loss;
        best = report.iteration;
      }
    };
    const ValidatedPruning result = PruneOrFail(split, 0, options, observer);
    EXPECT_EQ(result.pruning.termination_reason, TerminationReason::kIterationLimit);
    EXPECT_EQ(result.validation.loss, least);
    EXPECT_EQ(result.best_iteration, best);
    EXPECT_LT(best, result.pruning.iterations);  // such data are learned by heart
    EXPECT_LE(result.pruning.nonzeros, options.nonzeros);
    EXPECT_EQ(result.pruning.nonzeros, Nonzeros(result.pruning.network));
    EXPECT_EQ(MeasureFit(result.pruning.network, split.held_out, Loss::kSquared, 1)->loss, least);
    EXPECT_EQ(*MeasureFit(result.pruning.network, split.training, Loss::kSquared, 1),
              result.pruning.fit);
    // The training itself is as without.
    const PruneResult plain = *Prune(split.training, options);
    EXPECT_EQ(plain.iterations, result.pruning.iterations);
    EXPECT_GT(MeasureFit(plain.network, split.held_out, Loss::kSquared, 1)->loss, least);
  }
}

TEST(PruneValidatedTest, EndsAfterPatience) {
  const SplitSamples split = Noisy();
  for (const PruneOptions& options : {Gradual(), Retrained()}) {
    constexpr int64_t kPatience = 4;
    const ValidatedPruning result = PruneOrFail(split, kPatience, options);
    EXPECT_EQ(result.pruning.termination_reason, TerminationReason::kEarlyStopped);
    EXPECT_EQ(result.pruning.iterations, result.best_iteration + kPatience);
  }
}

TEST(PruneValidatedTest, AStoppedTrainingGoesOnToTheSameBits) {
  const SplitSamples split = Noisy();
  for (const PruneOptions& options : {Gradual(), Retrained()}) {
    for (const int64_t patience : {0, 4}) {
      const ValidatedPruning whole = PruneOrFail(split, patience, options);
      for (const int64_t stop_after :
           {int64_t{2}, whole.best_iteration, whole.pruning.iterations - 1}) {
        std::stop_source source;
        PruneObserver observer;
        observer.on_iteration = [&](const PruneReport& report) {
          if (report.iteration >= stop_after) source.request_stop();
        };
        const ValidatedPruning part =
            PruneOrFail(split, patience, options, observer, source.get_token());
        EXPECT_EQ(part.pruning.termination_reason, TerminationReason::kCancelled);
        const ValidatedPruning rest =
            PruneOrFail(split, patience, options, {}, {}, part.pruning.checkpoint);
        EXPECT_EQ(rest.pruning.network, whole.pruning.network) << stop_after;
        EXPECT_EQ(rest.validation, whole.validation);
        EXPECT_EQ(rest.best_iteration, whole.best_iteration);
        EXPECT_EQ(rest.pruning.iterations, whole.pruning.iterations);
      }
    }
  }
}

// The published rounds reach the budget with their last pruning: there is one network to choose.
TEST(PruneValidatedTest, RoundsWithoutRetrainingEndAsEver) {
  const SplitSamples split = Noisy();
  PruneOptions options = Retrained();
  options.retrain_after_last_prune = false;
  const ValidatedPruning result = PruneOrFail(split, 1, options);
  const PruneResult plain = *Prune(split.training, options);
  EXPECT_EQ(result.pruning.termination_reason, TerminationReason::kIterationLimit);
  EXPECT_EQ(result.pruning.network, plain.network);
  EXPECT_EQ(result.best_iteration, plain.iterations);
}

TEST(PruneValidatedTest, RefusesSamplesThatDoNotFit) {
  const SplitSamples split = Noisy();
  const auto error = [&](const Samples& validation, int64_t patience) {
    return std::string(
        PruneValidated(split.training, validation, patience, Gradual()).status().message());
  };
  EXPECT_THAT(error(split.held_out, -1), HasSubstr("patience: must be at least 0"));
  EXPECT_THAT(error({}, 0), HasSubstr("validation: "));
  Samples named = split.held_out;
  named.class_names = {"a", "b"};
  EXPECT_THAT(error(named, 0), HasSubstr("validation: must have the inputs"));
}

}  // namespace
}  // namespace thresher
