#include "core/recovery/layers.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/engine.h"
#include "core/network/merge.h"
#include "core/pruning/prune.h"
#include "core/recovery/joint_samples.h"
#include "core/recovery/nested_observer.h"
#include "core/recovery/report.h"
#include "core/recovery/solver.h"
#include "core/recovery/winnow.h"
#include "core/refinement/joint_growth.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHL03";

// Starts from neurons and rows, then from training.
constexpr int64_t kRowStarts = 2;
constexpr int64_t kTrainStarts = 2;
constexpr int64_t kTrainStartsAlone = 4;
// Of winnow, which finds candidates; one start that fits exactly takes less.
constexpr int64_t kCandidateSteps = 40;
// The working budget over the budget, and the weights that join in a round as a share of it.
constexpr double kFirstWorking = 1.5;
constexpr double kLaterWorking = 2.5;
constexpr int64_t kRounds = 24;
constexpr int64_t kFinishEvery = 6;  // rounds
constexpr int64_t kMostFailures = 3;
constexpr double kLeastDecrease = 2e-3;  // of the loss, for a round to count
constexpr double kNearlyExact = 1e-5;    // a relative residual worth finishing at once
constexpr int kPruneSteps = 8;
constexpr int kGrowSteps = 15;
constexpr int kFinishSteps = 30;
constexpr double kPolish = 0.25;  // of the tolerance, as winnow

constexpr int64_t kPublishedSteps = 100;
constexpr double kPublishedShare = 0.25;  // of the time limit

// Training of starts, and for classes.
constexpr int64_t kStartSteps = 2000;
constexpr int64_t kStartBatch = 100;
constexpr double kStartRate = 1e-2;
// Measured on MNIST, see tests/benchmark/README.md: without the weight decay ten classes with 2000
// weights are learnt by heart, and how good few weights are depends on the start.
constexpr int64_t kClassStarts = 3;
constexpr int64_t kClassSteps = 12000;
constexpr int64_t kClassBatch = 128;
constexpr double kClassRate = 1e-2;
constexpr double kClassDecay = 0.1;
// What small tables want: a penalty that fades with the number of samples, and many starts, which
// cost little there, every other one narrow: few weights spread over many neurons lead nowhere.
constexpr double kClassPenalty = 5;  // over the number of samples
constexpr int64_t kSmallCandidates = 5000;
constexpr int64_t kSmallSamples = 20000;
constexpr int64_t kSmallClassStarts = 12;
constexpr int64_t kNarrowWeights = 4;  // of the budget a neuron
constexpr int64_t kLeastEpochs = 20;
constexpr int64_t kMostEpochs = 2000;

enum class Stage : int32_t { kNeurons, kRows, kTrain, kSwap, kDone };

struct LayersState {
  int64_t iterations = 0;  // completed, of the steps that are done
  double elapsed_seconds = 0;
  double seconds_before = 0;  // the stage began, or the latest round
  Stage stage = Stage::kNeurons;
  int64_t start = 0;
  int64_t rounds = 0;  // of this start
  int64_t growth = 0;
  int64_t failures = 0;
  SparseNetwork neurons;  // what the stage of that name has found
  SparseNetwork first;    // what the rows gave, on scaled columns
  SparseNetwork work;     // of the start at work, likewise
  double work_loss = 0;
  SparseNetwork best;  // within the budget
  double best_loss = std::numeric_limits<double>::infinity();
  double least_residual = std::numeric_limits<double>::infinity();  // reported so far
  std::string nested;  // checkpoint of the solve within the stage
};

std::string Serialize(const LayersState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.seconds_before);
  writer.Add(static_cast<int32_t>(state.stage));
  writer.Add(state.start);
  writer.Add(state.rounds);
  writer.Add(state.growth);
  writer.Add(state.failures);
  AddNetwork(state.neurons, writer);
  AddNetwork(state.first, writer);
  AddNetwork(state.work, writer);
  writer.Add(state.work_loss);
  AddNetwork(state.best, writer);
  writer.Add(state.best_loss);
  writer.Add(state.least_residual);
  writer.AddText(state.nested);
  return std::move(writer).Finish();
}

absl::StatusOr<LayersState> Parse(std::string_view bytes, uint64_t fingerprint,
                                  const LayersState& empty) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  LayersState state = empty;
  int32_t stage = 0;
  if (!reader->Take(state.iterations) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.seconds_before) || !reader->Take(stage) || stage < 0 ||
      stage > static_cast<int32_t>(Stage::kDone) || !reader->Take(state.start) ||
      !reader->Take(state.rounds) || !reader->Take(state.growth) || !reader->Take(state.failures) ||
      !TakeNetwork(*reader, state.neurons) || !TakeNetwork(*reader, state.first) ||
      !TakeNetwork(*reader, state.work) || !reader->Take(state.work_loss) ||
      !TakeNetwork(*reader, state.best) || !reader->Take(state.best_loss) ||
      !reader->Take(state.least_residual) || !reader->TakeText(state.nested) || !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  state.stage = static_cast<Stage>(stage);
  return state;
}

uint64_t FingerprintOf(uint64_t fingerprint, Stage stage) {
  Fingerprint mixed;
  mixed.Add(fingerprint);
  mixed.Add(static_cast<uint64_t>(stage));
  return mixed.value();
}

// The halves of every input, then the neurons of several inputs, as units of a first layer.
SparseRows CandidateUnits(const SparseNetwork& neurons) {
  SparseRows units;
  for (int32_t q = 0; q < neurons.num_inputs; ++q) {
    for (const double sign : {1.0, -1.0}) {
      units.column.push_back(q);
      units.value.push_back(sign);
      units.row_begin.push_back(units.nonzeros());
    }
  }
  const SparseRows& rows = neurons.weights;
  for (int64_t j = 0; j < rows.num_rows(); ++j) {
    if (rows.row_begin[j + 1] - rows.row_begin[j] < 2) continue;
    double length = 0;
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      length = std::hypot(length, rows.value[e]);
    }
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      units.column.push_back(rows.column[e]);
      units.value.push_back(rows.value[e] / length);
    }
    units.row_begin.push_back(units.nonzeros());
  }
  return units;
}

bool IsPartial(TerminationReason reason) {
  return reason == TerminationReason::kTimeLimit || reason == TerminationReason::kCancelled;
}

class LayersSolver {
 public:
  LayersSolver(const Samples& samples, const RecoveryOptions& options,
               const RecoveryObserver& observer, std::stop_token stop, uint64_t fingerprint)
      : samples_(samples),
        options_(options),
        observer_(observer),
        stop_(std::move(stop)),
        fingerprint_(fingerprint),
        engine_(options.num_threads, stop_),
        joint_(MakeJointSamples(samples, options.bias)),
        fused_(samples.num_outputs == 1 && options.loss == Loss::kSquared) {
    empty_ = {.num_inputs = samples.num_inputs, .has_bias = options.bias};
    const double tolerance = options.termination.relative_residual_tolerance;
    target_loss_ = kPolish * kPolish * tolerance * tolerance * joint_.target_norm2;
  }

  absl::StatusOr<RecoveryResult> Run(std::string_view checkpoint);

 private:
  JointProblem problem() { return joint_.problem(engine_, deadline_); }
  bool for_classes() const { return options_.loss != Loss::kSquared; }
  bool is_small() const {
    return NumCandidates(options_, samples_.num_inputs, samples_.num_outputs) <= kSmallCandidates &&
           samples_.num_samples <= kSmallSamples;
  }
  // Whether starts come from neurons and rows first.
  bool has_row_starts() const { return fused_ && options_.hidden_layers == 2; }
  int64_t num_starts() const {
    if (for_classes()) return is_small() ? kSmallClassStarts : kClassStarts;
    return has_row_starts() ? kRowStarts + kTrainStarts : kTrainStartsAlone;
  }
  bool from_rows(int64_t start) const { return has_row_starts() && start < kRowStarts; }
  double working_share(int64_t start) const {
    return has_row_starts() && start == 0 ? kFirstWorking : kLaterWorking;
  }
  JointBudget budget() const {
    return {.nonzeros = options_.nonzeros, .width = options_.hidden_width};
  }
  JointBudget working_budget(int64_t start) const {
    const auto grown = [&](int64_t value) {
      return static_cast<int64_t>(working_share(start) * static_cast<double>(value));
    };
    return {.nonzeros = grown(options_.nonzeros),
            .width = std::max(options_.hidden_width + 2, grown(options_.hidden_width))};
  }
  JointRefineOptions refine(int max_steps) const {
    return {.max_steps = max_steps, .target_loss = target_loss_};
  }

  double Elapsed() const {
    const auto now = std::chrono::steady_clock::now();
    return earlier_seconds_ + std::chrono::duration<double>(now - begin_).count();
  }
  double TimeLeftOf(const LayersState& state) const {
    return TimeLeft(options_.termination.time_limit_seconds, state.seconds_before);
  }
  bool OutOfTime() const {
    const double limit = options_.termination.time_limit_seconds;
    return limit > 0 && Elapsed() >= limit;
  }

  // What the published algorithm finds: no result is worse, however early the time is up.
  void BeginWithPublished(LayersState& state);
  void BeginStart(LayersState& state);
  // The stage at work, of swaps one round.
  absl::StatusOr<std::optional<TerminationReason>> RunStage(LayersState& state);
  // A stage; a reason when it was not brought to its end. The state is then that before it, with
  // the checkpoint of the solve within.
  absl::StatusOr<std::optional<TerminationReason>> FindNeurons(LayersState& state);
  absl::StatusOr<std::optional<TerminationReason>> FindRows(LayersState& state);
  absl::StatusOr<std::optional<TerminationReason>> Train(LayersState& state);
  void BeginSwaps(SparseNetwork network, LayersState& state);
  // One round; the state stays as it was where a stop came in between.
  void Swap(LayersState& state);
  void Finish(LayersState& state);
  // Weights without which an exact network stays exact.
  void RemoveRedundant(SparseNetwork& network, double& loss);

  absl::StatusOr<RecoveryResult> Winnowed(const Samples& samples, const LayersState& state);
  PruneOptions Training(const LayersState& state) const;
  // The state with the checkpoint of the solve within.
  std::string StateWith(const LayersState& state, std::string nested) const;
  // The least residual of all reports.
  void SetBest(IterationReport& report) {
    least_residual_ = std::min(least_residual_, report.relative_residual);
    report.best_relative_residual = least_residual_;
  }
  void Report(const LayersState& state, SolvePhase phase, const SparseNetwork& network,
              double loss);
  bool IsExact(double loss) const {
    return joint_.RelativeResidual(loss) <= options_.termination.relative_residual_tolerance;
  }

  const Samples& samples_;
  const RecoveryOptions& options_;
  const RecoveryObserver& observer_;
  const std::stop_token stop_;
  const uint64_t fingerprint_;
  Engine engine_;
  const JointSamples joint_;
  const bool fused_;
  SparseNetwork empty_;
  double target_loss_ = 0;
  double least_residual_ = std::numeric_limits<double>::infinity();
  double earlier_seconds_ = 0;
  int64_t partial_iterations_ = 0;  // of a stage that was not brought to its end
  std::chrono::steady_clock::time_point deadline_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

std::string LayersSolver::StateWith(const LayersState& state, std::string nested) const {
  LayersState now = state;
  now.nested = std::move(nested);
  now.elapsed_seconds = Elapsed();
  now.least_residual = least_residual_;
  return Serialize(now, fingerprint_);
}

void LayersSolver::Report(const LayersState& state, SolvePhase phase, const SparseNetwork& network,
                          double loss) {
  IterationReport report;
  report.iteration = state.iterations;
  report.phase = phase;
  report.start = state.start;
  report.relative_residual = joint_.RelativeResidual(loss);
  report.psnr_db = joint_.PsnrDb(loss);
  report.support_size = Nonzeros(network);
  report.active_neurons = ActiveNeurons(network);
  SetBest(report);
  report.elapsed_seconds = Elapsed();
  if (observer_.on_iteration) observer_.on_iteration(report);
  if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
    observer_.on_checkpoint(StateWith(state, {}));
  }
}

absl::StatusOr<RecoveryResult> LayersSolver::Winnowed(const Samples& samples,
                                                      const LayersState& state) {
  RecoveryOptions options = options_;
  options.hidden_layers = 1;
  options.hidden_width = 2 * options_.hidden_width;
  options.nonzeros = std::min(options_.nonzeros, NumCandidates(options, samples.num_inputs));
  options.working_nonzeros = 0;
  options.termination.time_limit_seconds = TimeLeftOf(state);
  options.termination.max_iterations =
      std::min(options.termination.max_iterations, kCandidateSteps);
  options = ResolveOptions(options, samples.num_samples);
  const auto inner = NestedObserver<RecoveryObserver>(
      observer_,
      [&](IterationReport report) {
        report.iteration += state.iterations;
        report.start = state.start;
        SetBest(report);
        report.elapsed_seconds = Elapsed();
        return report;
      },
      [&](std::string bytes) { return StateWith(state, std::move(bytes)); });
  return Winnow(samples, options, {}, inner, stop_, state.nested,
                FingerprintOf(fingerprint_, state.stage));
}

absl::StatusOr<std::optional<TerminationReason>> LayersSolver::FindNeurons(LayersState& state) {
  absl::StatusOr<RecoveryResult> found = Winnowed(samples_, state);
  if (!found.ok()) return found.status();
  if (IsPartial(found->termination_reason)) {
    state.nested = std::move(found->checkpoint);
    partial_iterations_ = found->iterations;
    return std::optional(found->termination_reason);
  }
  state.nested.clear();
  state.iterations += found->iterations;
  state.neurons = std::get<SparseNetwork>(std::move(found->network));
  state.stage = Stage::kRows;
  return std::optional<TerminationReason>();
}

absl::StatusOr<std::optional<TerminationReason>> LayersSolver::FindRows(LayersState& state) {
  const SparseRows units = CandidateUnits(state.neurons);
  const Samples values = UnitValues(units, samples_);
  absl::StatusOr<RecoveryResult> found = Winnowed(values, state);
  if (!found.ok()) return found.status();
  if (IsPartial(found->termination_reason)) {
    state.nested = std::move(found->checkpoint);
    partial_iterations_ = found->iterations;
    return std::optional(found->termination_reason);
  }
  state.nested.clear();
  state.iterations += found->iterations;
  const auto& rows = std::get<SparseNetwork>(found->network);
  SparseNetwork network = empty_;
  network.weights = units;
  network.upper_layers = {rows.weights};
  network.output_signs = rows.output_signs;
  state.first = ToScaled(joint_, ReduceNetwork(DropDeadNeurons(network)));
  BeginSwaps(state.first, state);
  return std::optional<TerminationReason>();
}

PruneOptions LayersSolver::Training(const LayersState& state) const {
  PruneOptions options;
  const int64_t width =
      for_classes() ? options_.hidden_width
                    : std::min<int64_t>(2 * options_.hidden_width, options_.hidden_width + 500);
  const int64_t narrow = std::min(width, std::max<int64_t>(1, options_.nonzeros / kNarrowWeights));
  const bool is_narrow = for_classes() && is_small() && state.start % 2 == 1;
  options.hidden_widths.assign(options_.hidden_layers, is_narrow ? narrow : width);
  options.bias = options_.bias;
  options.loss = options_.loss;
  options.schedule = PruneSchedule::kGradual;
  options.saliency = Saliency::kFisher;
  options.schedule_power = for_classes() ? 5 : 4;
  options.learning_rate_decay = for_classes() ? 0.2 : 0.4;
  options.prune_end = for_classes() ? 0.8 : 0.75;
  options.weight_decay = for_classes() ? kClassDecay : 0;
  options.l2 = for_classes() ? kClassPenalty / static_cast<double>(samples_.num_samples) : 0;
  options.seed = options_.seed + static_cast<uint64_t>(state.start);
  options.num_threads = options_.num_threads;
  options.time_limit_seconds = TimeLeftOf(state);
  const int64_t steps = for_classes() ? kClassSteps : kStartSteps;
  options.batch_size = for_classes() ? kClassBatch : kStartBatch;
  options.learning_rate = for_classes() ? kClassRate : kStartRate;
  const int64_t steps_an_epoch =
      (samples_.num_samples + options.batch_size - 1) / options.batch_size;
  options.epochs = std::min(std::clamp(steps / steps_an_epoch, kLeastEpochs, kMostEpochs),
                            options_.termination.max_iterations);
  const auto working =
      static_cast<int64_t>(working_share(state.start) * static_cast<double>(options_.nonzeros));
  options.nonzeros = std::min(
      for_classes() ? options_.nonzeros : working,
      NumWeights(samples_.num_inputs, options.hidden_widths, samples_.num_outputs, options.bias));
  return options;
}

absl::StatusOr<std::optional<TerminationReason>> LayersSolver::Train(LayersState& state) {
  // Inputs on one scale: columns that are rarely anything else than zero stay small.
  Samples scaled = samples_;
  double sum = 0;
  for (const float input : samples_.inputs) sum += static_cast<double>(input) * input;
  const double scale = UnitScale(sum / static_cast<double>(samples_.inputs.size()));
  for (float& input : scaled.inputs) input = static_cast<float>(input * scale);
  double target_scale = 1;
  if (!for_classes()) {
    target_scale = UnitScale(joint_.target_norm2 / static_cast<double>(samples_.targets.size()));
    for (float& target : scaled.targets) target = static_cast<float>(target * target_scale);
  }

  const PruneOptions training = Training(state);
  const auto on_whole = [&](const PruneReport& epoch) {
    IterationReport report;
    report.iteration = state.iterations + epoch.iteration;
    report.phase = SolvePhase::kTrain;
    report.start = state.start;
    report.support_size = epoch.nonzeros;
    if (for_classes()) {
      // Of the mean loss that equal chances leave.
      const double chance =
          std::log(static_cast<double>(std::max<int64_t>(samples_.num_outputs, 2)));
      report.relative_residual = std::sqrt(epoch.fit.loss / chance);
      report.loss = epoch.fit.loss;
      report.accuracy = epoch.fit.accuracy;
    } else {
      report.relative_residual =
          std::sqrt(epoch.fit.loss * static_cast<double>(samples_.targets.size()) /
                    (joint_.target_norm2 * target_scale * target_scale));
    }
    report.psnr_db = epoch.fit.psnr_db.value_or(0);
    report.step_size = epoch.learning_rate;
    SetBest(report);
    report.elapsed_seconds = Elapsed();
    return report;
  };
  const auto unscaled = [&](SparseNetwork network) {
    for (size_t e = 0; e < network.weights.value.size(); ++e) {
      if (network.weights.column[e] < samples_.num_inputs) network.weights.value[e] *= scale;
    }
    if (target_scale != 1 && !network.upper_layers.empty()) {
      for (double& weight : network.upper_layers.back().value) weight /= target_scale;
    }
    return fused_ ? FuseOutput(network) : network;
  };
  auto inner = NestedObserver<PruneObserver>(
      observer_, on_whole, [&](std::string bytes) { return StateWith(state, std::move(bytes)); });
  // For targets that are no classes there is refinement to come.
  if (observer_.on_network && for_classes()) {
    inner.on_network = [&](const SparseNetwork& network) {
      observer_.on_network(unscaled(network));
    };
  }
  absl::StatusOr<PruneResult> trained = Prune(scaled, training, inner, stop_, state.nested);
  if (!trained.ok()) return trained.status();
  SparseNetwork network = ToScaled(joint_, unscaled(std::move(trained->network)));
  if (IsPartial(trained->termination_reason)) {
    state.nested = std::move(trained->checkpoint);
    partial_iterations_ = trained->iterations;
    state.work = std::move(network);
    return std::optional(trained->termination_reason);
  }
  state.nested.clear();
  state.iterations += trained->iterations;
  if (for_classes()) {
    if (trained->fit.loss < state.best_loss) {
      state.best = std::move(network);
      state.best_loss = trained->fit.loss;
    }
    ++state.start;
    BeginStart(state);
  } else {
    BeginSwaps(ReduceNetwork(network), state);
  }
  return std::optional<TerminationReason>();
}

void LayersSolver::BeginWithPublished(LayersState& state) {
  if (for_classes() || options_.hidden_layers < 2) return;
  RecoveryOptions options = options_;
  options.algorithm = Algorithm::kSequential;
  options.working_nonzeros = 0;
  options.batch_size = 0;
  options.termination.max_iterations =
      std::min(options.termination.max_iterations, kPublishedSteps);
  options.termination.time_limit_seconds *= kPublishedShare;
  const absl::StatusOr<RecoveryResult> found = Recover(samples_, options, {}, {}, stop_);
  // Budgets of less than one weight a layer are not for it.
  if (!found.ok() || stop_.stop_requested()) return;
  SparseNetwork network = ToScaled(joint_, std::get<SparseNetwork>(found->network));
  if (!Within(budget(), network)) return;
  state.best_loss = JointLoss(problem(), network);
  state.best = std::move(network);
}

void LayersSolver::BeginStart(LayersState& state) {
  state.rounds = 0;
  state.failures = 0;
  state.nested.clear();
  if (state.start >= num_starts()) {
    state.stage = Stage::kDone;
  } else if (!from_rows(state.start)) {
    state.stage = Stage::kTrain;
  } else if (state.start == 0) {
    state.stage = Stage::kNeurons;
  } else {
    BeginSwaps(state.first, state);
  }
}

void LayersSolver::BeginSwaps(SparseNetwork network, LayersState& state) {
  state.stage = Stage::kSwap;
  state.rounds = 0;
  state.failures = 0;
  const int64_t share = working_share(state.start) > kFirstWorking ? 2 : 4;
  state.growth = std::max<int64_t>(4, options_.nonzeros / share);
  state.work = BalanceLayers(std::move(network));
  state.work_loss = std::numeric_limits<double>::infinity();  // not refined yet
}

void LayersSolver::RemoveRedundant(SparseNetwork& network, double& loss) {
  for (int64_t count = std::max<int64_t>(1, Nonzeros(network) / 10);
       count > 0 && Nonzeros(network) > count && !network.upper_layers.empty();) {
    SparseNetwork fewer =
        ReduceNetwork(JointPruneTo(problem(), BalanceLayers(network), Nonzeros(network) - count));
    const double next = JointRefine(problem(), refine(kPruneSteps), fewer);
    if (engine_.stop_requested()) return;
    if (IsExact(next)) {
      network = std::move(fewer);
      loss = next;
    } else {
      count /= 2;
    }
  }
}

void LayersSolver::Finish(LayersState& state) {
  double loss = 0;
  SparseNetwork network =
      JointPruneBack(problem(), budget(), refine(kPruneSteps), state.work, loss);
  JointRefineOptions last = refine(kFinishSteps);
  last.min_decrease = 1e-6;
  loss = JointRefine(problem(), last, network);
  if (IsExact(loss)) RemoveRedundant(network, loss);
  if (engine_.stop_requested() || !Within(budget(), network)) return;
  if (loss < state.best_loss) {
    state.best_loss = loss;
    state.best = std::move(network);
  }
}

void LayersSolver::Swap(LayersState& state) {
  const JointBudget working = working_budget(state.start);
  if (!std::isfinite(state.work_loss)) {
    JointRefine(problem(), refine(kGrowSteps), state.work);
    state.work =
        JointPruneBack(problem(), working, refine(kPruneSteps), state.work, state.work_loss);
    state.work_loss = JointLoss(problem(), state.work);
  } else if (!state.work.upper_layers.empty()) {
    SparseNetwork grown = JointGrow(
        problem(),
        {.count = state.growth, .mixed_signs = options_.output_signs == OutputSigns::kMixed},
        state.work);
    JointRefine(problem(), refine(kGrowSteps), grown);
    double loss = 0;
    grown = JointPruneBack(problem(), working, refine(kPruneSteps), ReduceNetwork(grown), loss);
    if (loss < (1 - kLeastDecrease) * state.work_loss) {
      state.work = std::move(grown);
      state.work_loss = loss;
      state.failures = 0;
    } else {
      ++state.failures;
      state.growth =
          state.failures == 1 ? 2 * state.growth : std::max<int64_t>(2, state.growth / 4);
    }
  }
  ++state.rounds;
  const bool last = state.failures >= kMostFailures || state.rounds >= kRounds ||
                    state.rounds >= options_.termination.max_iterations ||
                    state.work.upper_layers.empty();
  if (last || state.rounds % kFinishEvery == 0 ||
      joint_.RelativeResidual(state.work_loss) < kNearlyExact) {
    Finish(state);
  }
  if (IsExact(state.best_loss)) {
    state.stage = Stage::kDone;
  } else if (last) {
    ++state.start;
    BeginStart(state);
  }
}

absl::StatusOr<std::optional<TerminationReason>> LayersSolver::RunStage(LayersState& state) {
  if (state.stage == Stage::kNeurons) return FindNeurons(state);
  if (state.stage == Stage::kRows) return FindRows(state);
  if (state.stage == Stage::kTrain) return Train(state);
  LayersState next = state;
  Swap(next);
  // A round that a stop cut short is dropped.
  if (engine_.stop_requested()) return std::optional(TerminationReason::kCancelled);
  const bool began = !std::isfinite(state.work_loss);
  const bool better = next.best_loss < state.best_loss;
  state = std::move(next);
  ++state.iterations;
  if (observer_.on_network && better) observer_.on_network(FromScaled(joint_, state.best));
  Report(state, began ? SolvePhase::kPrune : SolvePhase::kSwap, state.work, state.work_loss);
  return std::optional<TerminationReason>();
}

absl::StatusOr<RecoveryResult> LayersSolver::Run(std::string_view checkpoint) {
  LayersState state;
  state.neurons = state.first = state.work = state.best = empty_;
  if (!checkpoint.empty()) {
    absl::StatusOr<LayersState> parsed = Parse(checkpoint, fingerprint_, state);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
    earlier_seconds_ = state.elapsed_seconds;
    least_residual_ = state.least_residual;
  }
  deadline_ = DeadlineAfter(TimeLeft(options_.termination.time_limit_seconds, earlier_seconds_));
  if (checkpoint.empty()) {
    BeginWithPublished(state);
    BeginStart(state);
    state.seconds_before = Elapsed();
  }
  std::optional<TerminationReason> reason;
  while (!reason && state.stage != Stage::kDone) {
    absl::StatusOr<std::optional<TerminationReason>> ended = RunStage(state);
    if (!ended.ok()) return ended.status();
    reason = *ended;
    if (!reason && state.stage != Stage::kDone) {
      if (engine_.stop_requested()) reason = TerminationReason::kCancelled;
      if (OutOfTime()) reason = TerminationReason::kTimeLimit;
    }
    if (!reason) state.seconds_before = Elapsed();
  }

  // What there is so far.
  RecoveryResult result;
  SparseNetwork network = state.best;
  if (!std::isfinite(state.best_loss)) {
    network = CutToBudget(budget(), BalanceLayers(state.work));
  }
  network = FromScaled(joint_, std::move(network));
  absl::StatusOr<FitQuality> fit =
      MeasureFitQuality(network, samples_, options_.loss, options_.num_threads);
  if (!fit.ok() && network == empty_) fit = FitQuality{.relative_residual = 1};
  if (!fit.ok()) return fit.status();
  result.relative_residual = fit->relative_residual;
  result.psnr_db = fit->psnr_db;
  result.termination_reason =
      reason ? *reason
      : !for_classes() && fit->relative_residual <= options_.termination.relative_residual_tolerance
          ? TerminationReason::kConverged
      : for_classes() ? TerminationReason::kIterationLimit
                      : TerminationReason::kStagnated;
  result.iterations = state.iterations + partial_iterations_;
  state.elapsed_seconds = Elapsed();
  result.elapsed_seconds = state.elapsed_seconds;
  result.nonzeros = Nonzeros(network);
  result.active_neurons = ActiveNeurons(network);
  result.network = std::move(network);
  // Trained networks never agree, so that their number would say nothing.
  if (!for_classes()) result.starts_tried = std::min(state.start + 1, num_starts());
  result.options_used = options_;
  result.checkpoint = StateWith(state, state.nested);
  return result;
}

}  // namespace

Samples UnitValues(const SparseRows& units, const Samples& samples) {
  Samples values = {.num_samples = samples.num_samples,
                    .num_inputs = units.num_rows(),
                    .num_outputs = samples.num_outputs,
                    .targets = samples.targets,
                    .class_names = samples.class_names};
  values.inputs.resize(samples.num_samples * units.num_rows());
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const float* row = samples.inputs.data() + i * samples.num_inputs;
    for (int64_t j = 0; j < units.num_rows(); ++j) {
      double sum = 0;
      for (int64_t e = units.row_begin[j]; e < units.row_begin[j + 1]; ++e) {
        const int32_t q = units.column[e];
        sum += units.value[e] * (q < samples.num_inputs ? row[q] : 1.0);
      }
      values.inputs[i * units.num_rows() + j] = static_cast<float>(std::max(sum, 0.0));
    }
  }
  return values;
}

SparseNetwork FuseOutput(const SparseNetwork& network) {
  SparseNetwork fused = network;
  if (fused.upper_layers.empty()) return fused;
  const SparseRows output = fused.upper_layers.back();
  fused.upper_layers.pop_back();
  SparseRows& last = fused.upper_layers.empty() ? fused.weights : fused.upper_layers.back();
  const int64_t width = last.num_rows();
  std::vector<double> weights(width + 1);  // of the units and of the constant
  for (int64_t e = 0; e < output.nonzeros(); ++e) weights[output.column[e]] = output.value[e];
  fused.output_signs.clear();
  for (int64_t j = 0; j < width; ++j) {
    fused.output_signs.push_back(weights[j] < 0 ? -1 : 1);
    for (int64_t e = last.row_begin[j]; e < last.row_begin[j + 1]; ++e) {
      last.value[e] *= std::abs(weights[j]);
    }
  }
  if (weights[width] != 0) {
    const auto constant =
        static_cast<int32_t>(fused.upper_layers.empty() ? fused.num_inputs
                             : fused.upper_layers.size() == 1
                                 ? fused.weights.num_rows()
                                 : fused.upper_layers[fused.upper_layers.size() - 2].num_rows());
    last.column.push_back(constant);
    last.value.push_back(std::abs(weights[width]));
    last.row_begin.push_back(last.nonzeros());
    fused.output_signs.push_back(weights[width] < 0 ? -1 : 1);
  }
  return DropDeadNeurons(fused);
}

double LayersBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                   int64_t num_outputs) {
  const auto n = static_cast<double>(num_samples);
  const auto width = static_cast<double>(options.hidden_width);
  // Candidate units and their design, which classes have none of; dense networks in training with
  // Adam's moments; slopes of all entries; a copy of the samples and the targets in double.
  const double units = options.loss == Loss::kSquared
                           ? 2 * static_cast<double>(num_inputs) +
                                 std::min(2 * width, static_cast<double>(options.nonzeros))
                           : 0;
  RecoveryOptions wide = options;
  wide.hidden_width = static_cast<int64_t>(kLaterWorking * width) + 2;
  const auto weights = static_cast<double>(NumCandidates(wide, num_inputs, num_outputs));
  return n * units * 3 * sizeof(float) + weights * (8 * sizeof(float) + 10 * 2 * sizeof(double)) +
         n * (static_cast<double>(num_inputs) * sizeof(float) +
              static_cast<double>(num_outputs) * sizeof(double));
}

absl::StatusOr<RecoveryResult> RecoverLayers(const Samples& samples, const RecoveryOptions& options,
                                             const RecoveryObserver& observer, std::stop_token stop,
                                             std::string_view checkpoint, uint64_t fingerprint) {
  LayersSolver solver(samples, options, observer, std::move(stop), fingerprint);
  return solver.Run(checkpoint);
}

}  // namespace thresher
