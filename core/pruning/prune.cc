#include "core/pruning/prune.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/engine.h"
#include "core/network/merge.h"
#include "core/pruning/adam.h"
#include "core/pruning/batch_gradient.h"
#include "core/pruning/training_state.h"

namespace thresher {
namespace {

// Stream of the counter-based generator that draws the order of epoch t: kOrderStream + t.
constexpr uint64_t kOrderStream = 0x02de2000000000ull;
// An epoch whose mean loss is this many times that of no network has diverged.
constexpr double kDivergedLoss = 100;
// After so many halvings the learning rate is not at fault.
constexpr int64_t kMaxDivergences = 60;
// RoundNonzeros looks no further.
constexpr size_t kMostRounds = 10000;
// Prunings of the gradual schedule.
constexpr int64_t kGradualPrunings = 500;
// Weights of one block of a step of Adam.
constexpr int64_t kStepBlock = 4096;
// Samples of one block of the final evaluation.
constexpr int64_t kFitBlock = 1024;

// What the rounds' pruning leaves of `remaining`. Rounds half to even, as Python does; where
// nothing goes, the next round's fraction is that of one weight.
int64_t PruneRound(int64_t remaining, double& fraction) {
  const auto pruned =
      static_cast<int64_t>(std::nearbyint(fraction * static_cast<double>(remaining)));
  if (pruned == 0) fraction = 1 / static_cast<double>(remaining);
  return remaining - pruned;
}

// Of a valid network whose sizes are the samples'.
Fit FitOf(const SparseNetwork& network, const Samples& samples, Loss loss, Engine& engine) {
  const int64_t n = samples.num_samples;
  const int64_t k = samples.num_outputs;
  const int64_t num_blocks = (n + kFitBlock - 1) / kFitBlock;
  std::vector<FitSums> blocks(num_blocks);
  engine.pool.ParallelFor(num_blocks, [&](int64_t block, int) {
    const int64_t first = block * kFitBlock;
    const int64_t size = std::min(kFitBlock, n - first);
    std::vector<double> outputs(size * k);
    std::vector<double> gradient(k);
    Evaluate(network,
             {samples.inputs.data() + first * samples.num_inputs, size, samples.num_inputs},
             outputs)
        .IgnoreError();
    for (int64_t i = 0; i < size; ++i) {
      const std::span<const double> sample(outputs.data() + i * k, k);
      const std::span<const float> targets(samples.targets.data() + (first + i) * k, k);
      blocks[block].Add(loss, sample, targets, SampleLoss(loss, sample, targets, gradient));
    }
  });
  FitSums sums;
  for (const FitSums& block : blocks) sums.Add(block);
  return SummarizeFit(loss, sums, MakeFitScale(loss, samples));
}

class Training {
 public:
  Training(const Samples& samples, const PruneOptions& options, const PruneObserver& observer,
           std::stop_token stop, const Perceptron& initial)
      : samples_(samples),
        options_(options),
        observer_(observer),
        stop_(std::move(stop)),
        num_weights_(initial.nonzeros()),
        steps_per_epoch_((samples.num_samples + options.batch_size - 1) / options.batch_size),
        fit_scale_(MakeFitScale(options.loss, samples)),
        engine_(options.num_threads),
        gradient_(engine_, samples, options.loss, initial, options.batch_size, stop_),
        order_(samples.num_samples) {}

  absl::StatusOr<PruneResult> Run(TrainingState state, uint64_t fingerprint);

 private:
  void DrawOrder(int64_t iteration);
  double LearningRate(const TrainingState& state) const;
  void Step(TrainingPoint& point, double learning_rate);
  void PruneGradually(TrainingPoint& point) const;
  void EndRound(TrainingPoint& point) const;
  double NoNetworkLoss() const;

  const Samples& samples_;
  const PruneOptions& options_;
  const PruneObserver& observer_;
  const std::stop_token stop_;
  const int64_t num_weights_;
  const int64_t steps_per_epoch_;
  const FitScale fit_scale_;
  Engine engine_;  // without the stop token: a step is made whole or not at all
  BatchGradient gradient_;
  std::vector<int64_t> order_;  // of the samples in this epoch
};

void Training::DrawOrder(int64_t iteration) {
  std::iota(order_.begin(), order_.end(), 0);
  if (steps_per_epoch_ == 1) return;
  CounterRandom random(options_.seed, kOrderStream + static_cast<uint64_t>(iteration));
  for (int64_t i = samples_.num_samples - 1; i > 0; --i) {
    std::swap(order_[i], order_[static_cast<int64_t>(random.NextBelow(i + 1))]);
  }
}

// Of the step to come.
double Training::LearningRate(const TrainingState& state) const {
  const double done =
      (static_cast<double>(state.now.epoch) +
       static_cast<double>(state.now.step) / static_cast<double>(steps_per_epoch_)) /
      static_cast<double>(options_.epochs);
  const double left = 1 - done;
  const double decay = options_.learning_rate_decay;
  const double share = left < decay ? left / decay : 1.0;
  return options_.learning_rate * state.learning_rate_scale * share;
}

void Training::Step(TrainingPoint& point, double learning_rate) {
  ++point.adam_steps;
  for (size_t l = 0; l < point.perceptron.layers.size(); ++l) {
    PerceptronLayer& layer = point.perceptron.layers[l];
    const int64_t size = layer.nonzeros();
    engine_.pool.ParallelFor((size + kStepBlock - 1) / kStepBlock, [&](int64_t block, int) {
      const int64_t begin = block * kStepBlock;
      const auto count = static_cast<size_t>(std::min(kStepBlock, size - begin));
      AdamStep(learning_rate, options_.weight_decay, options_.l2, point.adam_steps,
               gradient_.gradient(l).subspan(begin, count),
               std::span(layer.weight).subspan(begin, count),
               std::span(layer.first_moment).subspan(begin, count),
               std::span(layer.second_moment).subspan(begin, count));
    });
  }
}

void Training::PruneGradually(TrainingPoint& point) const {
  const auto last = std::max<int64_t>(
      1, static_cast<int64_t>(options_.prune_end *
                              static_cast<double>(options_.epochs * steps_per_epoch_)));
  const int64_t interval = (last + kGradualPrunings - 1) / kGradualPrunings;
  const int64_t step = point.epoch * steps_per_epoch_ + point.step;  // from 1
  if (step > last || (step != last && step % interval != 0)) return;
  const double left = 1 - static_cast<double>(step) / static_cast<double>(last);
  const auto excess = static_cast<double>(num_weights_ - options_.nonzeros);
  const auto target =
      options_.nonzeros +
      static_cast<int64_t>(std::nearbyint(excess * std::pow(left, options_.schedule_power)));
  KeepMostSalient(point.perceptron, target, options_.saliency);
}

// Prunes; a next round begins, unless this was the last.
void Training::EndRound(TrainingPoint& point) const {
  if (options_.schedule == PruneSchedule::kGradual || point.retraining) {
    point.finished = true;
    return;
  }
  const int64_t target = PruneRound(point.perceptron.nonzeros(), point.prune_fraction);
  KeepMostSalient(point.perceptron, target, options_.saliency);
  if (target <= options_.nonzeros) {
    point.finished = !options_.retrain_after_last_prune;
    point.retraining = options_.retrain_after_last_prune;
  }
  if (point.finished) return;
  Rewind(point.perceptron);
  ++point.round;
  point.epoch = options_.rewind_epoch;
  point.adam_steps = 0;
}

double Training::NoNetworkLoss() const {
  FitSums sums;
  const std::vector<double> outputs(samples_.num_outputs, 0.0);
  std::vector<double> gradient(samples_.num_outputs);
  for (int64_t i = 0; i < samples_.num_samples; ++i) {
    const std::span<const float> targets(samples_.targets.data() + i * samples_.num_outputs,
                                         outputs.size());
    sums.Add(options_.loss, outputs, targets,
             SampleLoss(options_.loss, outputs, targets, gradient));
  }
  return sums.loss / static_cast<double>(samples_.num_samples);
}

absl::StatusOr<PruneResult> Training::Run(TrainingState state, uint64_t fingerprint) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    return earlier_seconds + std::chrono::duration<double>(Clock::now() - begin).count();
  };
  if (state.reference_loss == 0) state.reference_loss = NoNetworkLoss();
  if (state.now.step > 0) DrawOrder(state.now.iteration);

  TrainingPoint& now = state.now;
  TerminationReason reason = TerminationReason::kIterationLimit;
  while (!now.finished) {
    state.elapsed_seconds = elapsed();
    if (stop_.stop_requested()) {
      reason = TerminationReason::kCancelled;
      break;
    }
    if (options_.time_limit_seconds > 0 && state.elapsed_seconds >= options_.time_limit_seconds) {
      reason = TerminationReason::kTimeLimit;
      break;
    }
    if (now.step == 0) {
      now.epoch_sums = {};
      state.epoch_start = now;
      DrawOrder(now.iteration);
    }

    const int64_t first = now.step * options_.batch_size;
    const int64_t size = std::min(options_.batch_size, samples_.num_samples - first);
    const BatchOutcome outcome =
        gradient_.Compute(now.perceptron, std::span(order_).subspan(first, size));
    if (outcome == BatchOutcome::kStopped) continue;
    bool diverged = outcome == BatchOutcome::kNotFinite;
    const double learning_rate = LearningRate(state);
    if (!diverged) {
      if (now.iteration == 0 && now.step == 0) {
        state.reference_loss =
            std::max(state.reference_loss, gradient_.sums().loss / static_cast<double>(size));
      }
      now.epoch_sums.Add(gradient_.sums());
      Step(now, learning_rate);
      ++now.step;
      if (options_.schedule == PruneSchedule::kGradual) PruneGradually(now);
      if (now.step < steps_per_epoch_) continue;
      diverged = state.divergences < kMaxDivergences &&
                 now.epoch_sums.loss / static_cast<double>(samples_.num_samples) >
                     kDivergedLoss * state.reference_loss;
    }
    if (diverged) {
      if (state.divergences >= kMaxDivergences) {
        return absl::InvalidArgumentError(
            "inputs: inputs or targets are so large that the loss has no finite value; scale them");
      }
      now = state.epoch_start;
      state.learning_rate_scale /= 2;
      ++state.divergences;
      continue;
    }

    PruneReport report;
    report.round = now.round + 1;
    report.fit = SummarizeFit(options_.loss, now.epoch_sums, fit_scale_);
    now.step = 0;
    now.epoch_sums = {};
    ++now.epoch;
    ++now.iteration;
    report.iteration = now.iteration;
    report.epoch = now.epoch;
    if (now.round == 0 && now.epoch == options_.rewind_epoch) {
      for (PerceptronLayer& layer : now.perceptron.layers) layer.rewind_weight = layer.weight;
    }
    const bool ends_round = now.epoch == options_.epochs;
    if (ends_round) EndRound(now);
    // What the next round begins with is not what this epoch has trained.
    const bool rewound = ends_round && !now.finished;
    state.elapsed_seconds = elapsed();
    report.nonzeros = now.perceptron.nonzeros();
    report.learning_rate = learning_rate;
    report.divergences = state.divergences;
    report.elapsed_seconds = state.elapsed_seconds;
    if (observer_.on_network && !rewound && report.nonzeros <= options_.nonzeros) {
      observer_.on_network(
          DropDeadGroups(FoldConstantUnits(MakeNetwork(now.perceptron)), options_.neuron_group));
    }
    if (observer_.on_iteration) observer_.on_iteration(report);
    if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
      observer_.on_checkpoint(SerializeState(state, fingerprint));
    }
  }

  PruneResult result;
  result.termination_reason = reason;
  result.checkpoint = SerializeState(state, fingerprint);
  // Before the first step no gradient is known.
  KeepMostSalient(now.perceptron, options_.nonzeros,
                  now.adam_steps > 0 ? options_.saliency : Saliency::kMagnitude);
  result.pruned_nonzeros = now.perceptron.nonzeros();
  result.network =
      DropDeadGroups(FoldConstantUnits(MakeNetwork(now.perceptron)), options_.neuron_group);
  result.iterations = now.iteration;
  result.rounds = now.round + 1;
  result.fit = FitOf(result.network, samples_, options_.loss, engine_);
  result.nonzeros = Nonzeros(result.network);
  result.active_neurons = ActiveNeurons(result.network);
  result.divergences = state.divergences;
  result.options_used = options_;
  result.elapsed_seconds = elapsed();
  return result;
}

// Expects valid options and samples, and an initial perceptron that fits them. The fingerprint is
// that of the initial weights where no option gives them.
absl::StatusOr<PruneResult> PruneFrom(Perceptron initial, uint64_t initial_fingerprint,
                                      const Samples& samples, PruneOptions options,
                                      const PruneObserver& observer, std::stop_token stop,
                                      std::string_view checkpoint) {
  if (absl::Status status = ValidateTargets(options.loss, samples); !status.ok()) return status;
  options.batch_size = options.batch_size == 0 ? samples.num_samples
                                               : std::min(options.batch_size, samples.num_samples);
  const uint64_t fingerprint = ProblemFingerprint(samples, options) ^ initial_fingerprint;
  TrainingState state;
  state.now.perceptron = std::move(initial);
  state.now.prune_fraction = options.prune_fraction;
  Training training(samples, options, observer, std::move(stop), state.now.perceptron);
  if (!checkpoint.empty()) {
    absl::StatusOr<TrainingState> parsed =
        ParseState(checkpoint, fingerprint, state.now.perceptron);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  return training.Run(std::move(state), fingerprint);
}

absl::Status InNetwork(const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("network: ", std::string(status.message())));
}

}  // namespace

std::string_view PruneScheduleName(PruneSchedule schedule) {
  switch (schedule) {
    case PruneSchedule::kRounds:
      return "rounds";
    case PruneSchedule::kGradual:
      return "gradual";
  }
  return "unknown";
}

std::vector<int64_t> RoundNonzeros(const PruneOptions& options, int64_t num_weights) {
  std::vector<int64_t> nonzeros;
  double fraction = options.prune_fraction;
  int64_t remaining = num_weights;
  do {
    remaining = PruneRound(remaining, fraction);
    nonzeros.push_back(remaining);
  } while (remaining > options.nonzeros && nonzeros.size() <= kMostRounds);
  return nonzeros;
}

absl::StatusOr<PruneResult> Prune(const Samples& samples, const PruneOptions& given,
                                  const PruneObserver& observer, std::stop_token stop,
                                  std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  PruneOptions options = given;
  options.choose_loss = false;
  if (given.choose_loss)
    options.loss = PublishedLoss(static_cast<int64_t>(samples.class_names.size()));
  if (absl::Status status =
          ValidateOptions(options, samples.num_samples, samples.num_inputs, samples.num_outputs);
      !status.ok()) {
    return status;
  }
  Perceptron initial = InitialPerceptron(samples.num_inputs, options.hidden_widths,
                                         samples.num_outputs, options.bias, options.seed);
  return PruneFrom(std::move(initial), /*initial_fingerprint=*/0, samples, options, observer,
                   std::move(stop), checkpoint);
}

absl::StatusOr<PruneResult> PruneTrained(const SparseNetwork& network, const Samples& samples,
                                         const PruneOptions& given, const PruneObserver& observer,
                                         std::stop_token stop, std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return InNetwork(status);
  if (!network.linear.empty()) {
    return absl::InvalidArgumentError("network: has a linear term; take one without");
  }
  if (network.num_inputs != samples.num_inputs || NumOutputs(network) != samples.num_outputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "network: takes ", network.num_inputs, " inputs and has ", NumOutputs(network),
        " outputs, but the samples have ", samples.num_inputs, " and ", samples.num_outputs));
  }
  PruneOptions options = given;
  options.hidden_widths = HiddenWidths(network);
  options.bias = network.has_bias;
  if (absl::Status status =
          ValidateOptions(options, samples.num_samples, samples.num_inputs, samples.num_outputs);
      !status.ok()) {
    return status;
  }
  Perceptron initial = MakePerceptron(network);
  if (options.nonzeros > initial.nonzeros()) {
    return absl::InvalidArgumentError(absl::StrCat("nonzeros: must be between 1 and the network's ",
                                                   initial.nonzeros(), " weights, is ",
                                                   options.nonzeros));
  }
  Fingerprint fingerprint;
  for (const PerceptronLayer& layer : initial.layers) {
    if (!std::all_of(layer.weight.begin(), layer.weight.end(),
                     [](float weight) { return std::isfinite(weight); })) {
      return absl::InvalidArgumentError("network: a weight is beyond float");
    }
    fingerprint.AddVector(layer.column_begin);
    fingerprint.AddVector(layer.row);
    fingerprint.AddVector(layer.weight);
  }
  return PruneFrom(std::move(initial), fingerprint.value(), samples, options, observer,
                   std::move(stop), checkpoint);
}

absl::StatusOr<Fit> MeasureFit(const SparseNetwork& network, const Samples& samples, Loss loss,
                               int num_threads) {
  if (samples.num_samples < 1) return absl::InvalidArgumentError("num_samples: there are none");
  if (samples.num_outputs != NumOutputs(network)) {
    return absl::InvalidArgumentError(absl::StrCat("num_outputs: the samples have ",
                                                   samples.num_outputs, ", the network has ",
                                                   NumOutputs(network)));
  }
  // Whatever else may be wrong shows on one sample.
  std::vector<double> outputs(samples.num_outputs);
  const absl::Status status =
      Evaluate(network, {samples.inputs.data(), 1, samples.num_inputs}, outputs);
  if (!status.ok()) return status;
  Engine engine(num_threads);
  return FitOf(network, samples, loss, engine);
}

}  // namespace thresher
