#include "core/pruning/prune.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/samples/planted.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Samples PlantedSamples() {
  auto problem = GeneratePlanted(
      {.num_samples = 700, .num_inputs = 12, .hidden_width = 3, .nonzeros = 10, .seed = 4});
  return problem->samples;
}

// 12 * 10 + 10 = 130 weights.
PruneOptions SmallRounds() {
  PruneOptions options;
  options.hidden_widths = {10};
  options.nonzeros = 40;
  options.epochs = 3;
  options.batch_size = 100;
  options.learning_rate = 5e-3;
  options.prune_fraction = 0.3;
  return options;
}

PruneOptions SmallGradual() {
  PruneOptions options = SmallRounds();
  options.schedule = PruneSchedule::kGradual;
  options.saliency = Saliency::kFisher;
  options.epochs = 10;
  options.learning_rate_decay = 0.3;
  return options;
}

// For the properties that hold for all.
std::vector<PruneOptions> AllKinds() {
  std::vector<PruneOptions> kinds = {SmallRounds(), SmallGradual()};
  PruneOptions deep = SmallRounds();
  deep.hidden_widths = {8, 6};
  deep.bias = true;
  deep.rewind_epoch = 1;
  deep.retrain_after_last_prune = true;
  kinds.push_back(deep);
  PruneOptions diverging = SmallGradual();
  diverging.learning_rate = 300;
  kinds.push_back(diverging);
  return kinds;
}

PruneResult PruneOrFail(const Samples& samples, const PruneOptions& options,
                        const PruneObserver& observer = {}, std::stop_token stop = {},
                        std::string_view checkpoint = {}) {
  auto result = Prune(samples, options, observer, std::move(stop), checkpoint);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

TEST(RoundNonzerosTest, RoundsToTheNearestHalvesToEven) {
  PruneOptions options;
  options.nonzeros = 1;
  // A tenth of 25 and of 5 is a half: the even number goes, 2 and 0. Then a fifth of what remains.
  const std::vector<int64_t> expected = {23, 21, 19, 17, 15, 13, 12, 11, 10, 9,
                                         8,  7,  6,  5,  5,  4,  3,  2,  2};
  std::vector<int64_t> found = RoundNonzeros(options, 25);
  ASSERT_GE(found.size(), 17);
  for (size_t round = 0; round < 17; ++round) EXPECT_EQ(found[round], expected[round]) << round;
  EXPECT_EQ(found.back(), 1);
  // MNIST with 50 neurons, by hand: 39700 - 3970, - 3573, - 3216 (of 3215.7), ...
  options.nonzeros = 2000;
  found = RoundNonzeros(options, 39700);
  EXPECT_EQ(found[0], 35730);
  EXPECT_EQ(found[1], 32157);
  EXPECT_EQ(found[2], 28941);
  EXPECT_LE(found.back(), 2000);
  EXPECT_GT(found[found.size() - 2], 2000);
  // A budget that the dense network meets still takes one round.
  options.nonzeros = 39700;
  EXPECT_EQ(RoundNonzeros(options, 39700), std::vector<int64_t>{35730});
}

TEST(PruneTest, RoundsFollowThePublishedCounts) {
  const Samples samples = PlantedSamples();
  PruneOptions options = SmallRounds();
  options.prune_fraction = 0.1;
  options.epochs = 2;
  const std::vector<int64_t> counts = RoundNonzeros(options, 130);
  std::vector<PruneReport> reports;
  const PruneResult result = PruneOrFail(
      samples, options, {.on_iteration = [&](const PruneReport& r) { reports.push_back(r); }});
  ASSERT_EQ(reports.size(), 2 * counts.size());
  int64_t before = 130;
  for (size_t t = 0; t < reports.size(); ++t) {
    EXPECT_EQ(reports[t].iteration, t + 1);
    EXPECT_EQ(reports[t].round, t / 2 + 1);
    EXPECT_EQ(reports[t].epoch, t % 2 + 1);
    EXPECT_EQ(reports[t].nonzeros, t % 2 == 0 ? before : counts[t / 2]);
    before = counts[t / 2];
  }
  EXPECT_EQ(result.termination_reason, TerminationReason::kIterationLimit);
  EXPECT_EQ(result.rounds, counts.size());
  EXPECT_EQ(result.pruned_nonzeros, counts.back());
}

TEST(PruneTest, ResultsMeetTheBudgetAndTheirMetrics) {
  const Samples samples = PlantedSamples();
  for (const PruneOptions& options : AllKinds()) {
    int64_t remaining = std::numeric_limits<int64_t>::max();
    const PruneResult result =
        PruneOrFail(samples, options, {.on_iteration = [&](const PruneReport& report) {
                      EXPECT_LE(report.nonzeros, remaining);  // pruned weights stay away
                      remaining = report.nonzeros;
                    }});
    ASSERT_TRUE(ValidateNetwork(result.network).ok());
    EXPECT_LE(result.pruned_nonzeros, options.nonzeros);
    EXPECT_LE(result.nonzeros, result.pruned_nonzeros);
    EXPECT_EQ(Nonzeros(result.network), result.nonzeros);
    if (options.schedule == PruneSchedule::kGradual) {
      EXPECT_EQ(result.pruned_nonzeros, options.nonzeros);
    }
    std::vector<double> outputs(samples.num_samples);
    ASSERT_TRUE(Evaluate(result.network, samples.input_view(), outputs).ok());
    double error = 0;
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      error += std::pow(outputs[i] - samples.targets[i], 2);
    }
    EXPECT_NEAR(result.fit.loss, error / static_cast<double>(samples.num_samples), 1e-9 * error);
    EXPECT_EQ(result.iterations, PredictCost(options, 700, 12, 1).iterations);
  }
}

TEST(PruneTest, TheNumberOfThreadsDoesNotMatter) {
  const Samples samples = PlantedSamples();
  for (PruneOptions options : AllKinds()) {
    const PruneResult one = PruneOrFail(samples, options);
    for (const int threads : {2, 3}) {
      options.num_threads = threads;
      const PruneResult more = PruneOrFail(samples, options);
      EXPECT_EQ(more.network, one.network);
      EXPECT_EQ(more.fit.loss, one.fit.loss);
      EXPECT_EQ(more.divergences, one.divergences);
    }
  }
}

TEST(PruneTest, AResumedTrainingHasTheSameBits) {
  const Samples samples = PlantedSamples();
  for (PruneOptions options : AllKinds()) {
    const PruneResult whole = PruneOrFail(samples, options);
    // From every checkpoint that is handed over.
    std::vector<std::string> checkpoints;
    PruneOrFail(
        samples, options,
        {.checkpoint_due = [](const PruneReport& report) { return report.iteration % 4 == 2; },
         .on_checkpoint = [&](std::string bytes) { checkpoints.push_back(std::move(bytes)); }});
    EXPECT_GE(checkpoints.size(), 2);
    for (const std::string& checkpoint : checkpoints) {
      EXPECT_EQ(PruneOrFail(samples, options, {}, {}, checkpoint).network, whole.network);
    }
    // Interrupted again and again, within epochs too.
    PruneResult part;
    int legs = 0;
    do {
      options.time_limit_seconds = part.elapsed_seconds + 1e-4;
      part = PruneOrFail(samples, options, {}, {}, part.checkpoint);
      ++legs;
    } while (part.termination_reason == TerminationReason::kTimeLimit);
    EXPECT_EQ(part.network, whole.network) << legs << " legs";
    EXPECT_EQ(part.iterations, whole.iterations);
    EXPECT_EQ(part.divergences, whole.divergences);
    // A finished one has nothing left to do.
    EXPECT_EQ(PruneOrFail(samples, options, {}, {}, part.checkpoint).network, whole.network);
  }
}

TEST(PruneTest, AStopReturnsWhatThereIsWithinTheBudget) {
  const Samples samples = PlantedSamples();
  for (const PruneOptions& options : AllKinds()) {
    for (const int64_t epochs : {0, 2}) {
      std::stop_source stop;
      if (epochs == 0) stop.request_stop();
      const PruneResult result = PruneOrFail(samples, options,
                                             {.on_iteration =
                                                  [&](const PruneReport& report) {
                                                    if (report.iteration == epochs)
                                                      stop.request_stop();
                                                  }},
                                             stop.get_token());
      EXPECT_EQ(result.termination_reason, TerminationReason::kCancelled);
      EXPECT_EQ(result.iterations, epochs);
      EXPECT_EQ(result.pruned_nonzeros, options.nonzeros);
      EXPECT_TRUE(ValidateNetwork(result.network).ok());
      EXPECT_TRUE(std::isfinite(result.fit.loss));
    }
  }
}

TEST(PruneTest, ADivergingLearningRateIsHalvedUntilTrainingWorks) {
  const Samples samples = PlantedSamples();
  double no_network = 0;
  for (const float target : samples.targets) no_network += std::pow(target, 2) / 700;
  for (PruneOptions options : {SmallRounds(), SmallGradual()}) {
    options.learning_rate = 1000;
    options.epochs = 10;
    const PruneResult result =
        PruneOrFail(samples, options, {.on_iteration = [&](const PruneReport& report) {
                      EXPECT_TRUE(std::isfinite(report.fit.loss));
                    }});
    EXPECT_GT(result.divergences, 0);
    EXPECT_TRUE(ValidateNetwork(result.network).ok());  // all its weights are finite
    EXPECT_LT(result.fit.loss, 2 * no_network);
  }
  PruneOptions fine = SmallGradual();
  EXPECT_EQ(PruneOrFail(samples, fine).divergences, 0);
}

TEST(PruneTest, InputsBeyondAnyLearningRateAreRefused) {
  Samples samples = PlantedSamples();
  for (float& input : samples.inputs) input *= 1e37f;
  const auto result = Prune(samples, SmallGradual());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), StartsWith("inputs:"));
}

TEST(PruneTest, RewindingGoesOnFromItsEpoch) {
  const Samples samples = PlantedSamples();
  PruneOptions options = SmallRounds();
  options.rewind_epoch = 2;
  std::vector<int64_t> first_epochs;
  int64_t round = 0;
  const PruneResult late =
      PruneOrFail(samples, options, {.on_iteration = [&](const PruneReport& report) {
                    if (report.round != round) first_epochs.push_back(report.epoch);
                    round = report.round;
                  }});
  ASSERT_GE(first_epochs.size(), 2);
  EXPECT_EQ(first_epochs[0], 1);
  for (size_t k = 1; k < first_epochs.size(); ++k) EXPECT_EQ(first_epochs[k], 3);
  options.rewind_epoch = 0;
  EXPECT_NE(PruneOrFail(samples, options).network, late.network);
}

TEST(PruneTest, RetrainingAfterTheLastPruneLowersTheLoss) {
  const Samples samples = PlantedSamples();
  PruneOptions options = SmallRounds();
  options.epochs = 20;
  const PruneResult published = PruneOrFail(samples, options);
  options.retrain_after_last_prune = true;
  const PruneResult retrained = PruneOrFail(samples, options);
  EXPECT_EQ(retrained.pruned_nonzeros, published.pruned_nonzeros);
  EXPECT_EQ(retrained.iterations, published.iterations + 20);
  EXPECT_LT(retrained.fit.loss, published.fit.loss);
}

TEST(PruneTest, FitsAPlantedNetwork) {
  auto problem = GeneratePlanted(
      {.num_samples = 2000, .num_inputs = 15, .hidden_width = 4, .nonzeros = 16, .seed = 2});
  PruneOptions options;
  options.hidden_widths = {12};
  options.nonzeros = 24;  // output weights are counted here and not planted
  options.schedule = PruneSchedule::kGradual;
  options.saliency = Saliency::kFisher;
  options.epochs = 60;
  options.batch_size = 100;
  options.learning_rate = 1e-2;
  options.learning_rate_decay = 0.3;
  EXPECT_GT(*PruneOrFail(problem->samples, options).fit.psnr_db, 30);
}

TEST(PruneTest, LearnsClassesWithEitherClassLoss) {
  // Classes by the signs of two inputs, which no linear network tells apart.
  Samples samples = PlantedSamples();
  samples.num_outputs = 2;
  samples.targets.clear();
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const bool same = (samples.inputs[12 * i] > 0) == (samples.inputs[12 * i + 1] > 0);
    samples.targets.push_back(same ? 1.0f : 0.0f);
    samples.targets.push_back(same ? 0.0f : 1.0f);
  }
  PruneOptions options = SmallGradual();
  options.bias = true;
  options.epochs = 60;
  options.learning_rate = 1e-2;
  options.nonzeros = 30;
  options.loss = Loss::kCrossEntropy;
  EXPECT_GT(*PruneOrFail(samples, options).fit.accuracy, 0.93);
  std::vector<float> first;
  for (size_t i = 0; i < samples.targets.size(); i += 2) first.push_back(samples.targets[i]);
  samples.targets = first;
  samples.num_outputs = 1;
  options.loss = Loss::kLogistic;
  const PruneResult result = PruneOrFail(samples, options);
  EXPECT_GT(*result.fit.accuracy, 0.93);
  EXPECT_FALSE(result.fit.psnr_db.has_value());
}

TEST(PruneTest, AChosenLossIsThePublishedOne) {
  Samples samples = PlantedSamples();
  PruneOptions options = SmallGradual();
  options.epochs = 1;
  options.choose_loss = true;
  EXPECT_EQ(PruneOrFail(samples, options).options_used.loss, Loss::kSquared);
  samples.num_outputs = 3;
  samples.class_names = {"a", "b", "c"};
  samples.targets.assign(3 * samples.num_samples, 0.0f);
  for (int64_t i = 0; i < samples.num_samples; ++i) samples.targets[3 * i + i % 3] = 1;
  EXPECT_EQ(PruneOrFail(samples, options).options_used.loss, Loss::kCrossEntropy);
}

TEST(PruneTest, ACheckpointOfAnotherProblemIsRefused) {
  Samples samples = PlantedSamples();
  const PruneOptions options = SmallRounds();
  std::stop_source stop;
  stop.request_stop();
  const std::string checkpoint = PruneOrFail(samples, options, {}, stop.get_token()).checkpoint;
  PruneOptions others = options;
  others.seed = 1;
  EXPECT_THAT(std::string(Prune(samples, others, {}, {}, checkpoint).status().message()),
              StartsWith("checkpoint"));
  samples.targets[3] += 1;
  EXPECT_THAT(std::string(Prune(samples, options, {}, {}, checkpoint).status().message()),
              StartsWith("checkpoint"));
}

TEST(ValidatePruneOptionsTest, FaultsNameTheField) {
  const auto fault = [](auto&& change, int64_t num_outputs = 1) {
    PruneOptions options = SmallRounds();
    change(options);
    return std::string(ValidateOptions(options, 700, 12, num_outputs).message());
  };
  EXPECT_EQ(fault([](PruneOptions&) {}), "");
  EXPECT_THAT(fault([](PruneOptions& o) { o.hidden_widths.clear(); }), StartsWith("hidden_widths"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.hidden_widths = {0}; }), StartsWith("hidden_widths"));
  EXPECT_THAT(fault([](PruneOptions& o) {
                o.hidden_widths = {1 << 30, 1 << 30};
              }),
              StartsWith("hidden_widths"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.nonzeros = 0; }), StartsWith("nonzeros"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.nonzeros = 131; }), StartsWith("nonzeros"));
  EXPECT_EQ(fault([](PruneOptions& o) { o.nonzeros = 130; }), "");
  EXPECT_THAT(fault([](PruneOptions& o) { o.loss = Loss::kCrossEntropy; }), StartsWith("loss"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.loss = Loss::kLogistic; }, 2), StartsWith("loss"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.epochs = 0; }), StartsWith("epochs"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.batch_size = -1; }), StartsWith("batch_size"));
  for (const double bad : {0.0, -1.0, 1e4, std::nan("")}) {
    EXPECT_THAT(fault([&](PruneOptions& o) { o.learning_rate = bad; }),
                StartsWith("learning_rate:"));
  }
  for (const double bad : {-0.1, 1.1, std::nan("")}) {
    EXPECT_THAT(fault([&](PruneOptions& o) { o.learning_rate_decay = bad; }),
                StartsWith("learning_rate_decay"));
    EXPECT_THAT(fault([&](PruneOptions& o) { o.weight_decay = bad; }), StartsWith("weight_decay"));
    EXPECT_THAT(fault([&](PruneOptions& o) { o.l2 = bad > 1 ? 1e7 : bad; }), StartsWith("l2"));
  }
  for (const double bad : {0.0, 1.0, std::nan("")}) {
    EXPECT_THAT(fault([&](PruneOptions& o) { o.prune_fraction = bad; }),
                StartsWith("prune_fraction"));
  }
  EXPECT_THAT(fault([](PruneOptions& o) {
                o.hidden_widths = {100000};
                o.prune_fraction = 1e-9;
                o.nonzeros = 1;
              }),
              HasSubstr("rounds"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.rewind_epoch = 3; }), StartsWith("rewind_epoch"));
  const auto gradual = [&](auto&& change) {
    return fault([&](PruneOptions& o) {
      o.schedule = PruneSchedule::kGradual;
      change(o);
    });
  };
  EXPECT_EQ(gradual([](PruneOptions&) {}), "");
  EXPECT_THAT(gradual([](PruneOptions& o) { o.rewind_epoch = 1; }), StartsWith("rewind_epoch"));
  EXPECT_THAT(gradual([](PruneOptions& o) { o.retrain_after_last_prune = true; }),
              StartsWith("retrain_after_last_prune"));
  EXPECT_THAT(gradual([](PruneOptions& o) { o.schedule_power = 0.5; }),
              StartsWith("schedule_power"));
  EXPECT_THAT(gradual([](PruneOptions& o) { o.prune_end = 0; }), StartsWith("prune_end"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.num_threads = 0; }), StartsWith("num_threads"));
  EXPECT_THAT(fault([](PruneOptions& o) { o.time_limit_seconds = -1; }),
              StartsWith("time_limit_seconds"));
  EXPECT_THAT(std::string(ValidateOptions(SmallRounds(), 0, 12, 1).message()),
              StartsWith("num_samples"));
  EXPECT_THAT(std::string(ValidateOptions(SmallRounds(), 700, 0, 1).message()),
              StartsWith("num_inputs"));
  EXPECT_THAT(std::string(ValidateOptions(SmallRounds(), 700, 12, 0).message()),
              StartsWith("num_outputs"));
}

TEST(PredictPruneCostTest, GrowsWithEachSize) {
  const PruneOptions options = SmallRounds();
  const PruneCost cost = PredictCost(options, 1000, 50, 1);
  EXPECT_GT(PredictCost(options, 100000, 50, 1).peak_memory_bytes, cost.peak_memory_bytes);
  EXPECT_GT(PredictCost(options, 1000, 50000, 1).peak_memory_bytes, cost.peak_memory_bytes);
  PruneOptions wider = options;
  wider.hidden_widths = {10000};
  EXPECT_GT(PredictCost(wider, 1000, 50, 1).peak_memory_bytes, cost.peak_memory_bytes);
  EXPECT_GT(PredictCost(wider, 1000, 50, 1).flops, 100 * cost.flops);
  // The published rounds on MNIST by hand: 4 flops a weight and sample, 6 for the 500 behind.
  PruneOptions mnist;
  mnist.hidden_widths = {50};
  mnist.nonzeros = 39700;
  EXPECT_NEAR(PredictCost(mnist, 50000, 784, 10).flops, 50.0 * 50000 * (4 * 39700 + 2 * 500),
              1e-9 * 4e11);
}

TEST(PruneTrainedTest, GoesOnFromTheNetworkAndKeepsItsSupport) {
  const Samples samples = PlantedSamples();
  PruneOptions options = SmallGradual();
  const SparseNetwork first = PruneOrFail(samples, options).network;
  options.nonzeros = Nonzeros(first) / 2;
  const auto second = PruneTrained(first, samples, options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->pruned_nonzeros, options.nonzeros);
  EXPECT_EQ(second->options_used.hidden_widths, HiddenWidths(first));
  // A step of no length from all of its weights leaves it where it is.
  options.nonzeros = Nonzeros(first);
  options.learning_rate = 1e-12;
  const auto same = PruneTrained(first, samples, options);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->network, first);
  options.nonzeros = Nonzeros(first) + 1;
  EXPECT_THAT(std::string(PruneTrained(first, samples, options).status().message()),
              StartsWith("nonzeros:"));
  SparseNetwork other = first;
  other.num_inputs += 1;
  EXPECT_THAT(std::string(PruneTrained(other, samples, options).status().message()),
              StartsWith("network:"));
}

}  // namespace
}  // namespace thresher
