#include "core/recovery/winnow.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/merge.h"
#include "core/recovery/grow.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/state_bytes.h"
#include "core/recovery/two_sparse.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHW01";

// How wide each start is: working support over s and gates over m. Easy problems end at the
// first; later ones pay for more room.
struct StartShape {
  double support_factor;
  double gate_factor;
};
constexpr StartShape kStarts[] = {{3, 1}, {3, 1.5}, {4, 1.5}, {4, 2},
                                  {5, 2}, {5, 3},   {4, 1.5}, {5, 2}};
constexpr auto kNumStarts = static_cast<int64_t>(std::size(kStarts));
// With this many weights a neuron or fewer, one-sparse gates are the better start.
constexpr double kSparseNeuron = 2.5;
constexpr double kMixedGateFactor = 1.5;

constexpr int64_t kMaxExpandSteps = 25;
constexpr int64_t kMinExpandSteps = 5;
constexpr double kExpandDecrease = 0.02;
// Expand steps of a one-sparse start that add two-sparse neurons.
constexpr int64_t kMaxTwoSparseSteps = 20;
constexpr double kPruneShare = 0.1;
constexpr double kSwapDecrease = 1e-3;
// Neurons merge where the cosine of their weights is over 1 - relative residual, within these
// bounds: as the fit gets better, smaller differences between neurons are believed.
constexpr double kLoosestMerge = 5e-3;
constexpr double kTightestMerge = 1e-7;
// Losses that agree to this are the same minimum.
constexpr double kSameLoss = 1e-3;
constexpr int64_t kHopelessStarts = 2;
constexpr double kHopelessResidual = 0.1;
constexpr double kLargeProblem = 5e5;  // samples times weights
constexpr int64_t kAgreeingStarts = 3;
// The target of refinement, relative to the tolerance: a solve that converges goes on to the
// rounding of the data.
constexpr double kPolish = 0.25;
// The search over two-sparse neurons looks at this many samples, and keeps this many bytes.
constexpr int64_t kSweepSamples = 5000;
constexpr int64_t kSweepBytes = int64_t{32} << 20;
constexpr int64_t kMaxSweepSteps = 40'000'000;  // pairs of inputs times samples
constexpr double kMaxPsnr = 400;

class Winnower {
 public:
  Winnower(const Samples& samples, const RecoveryOptions& options, const RecoveryStart& start,
           std::stop_token stop)
      : options_(options),
        start_(start),
        num_inputs_(samples.num_inputs),
        num_samples_(samples.num_samples),
        inputs_(samples.input_view()),
        engine_(options.num_threads, std::move(stop)),
        design_(MakeDesign(samples.input_view(), options.bias)),
        targets_(design_.padded_samples(), 0.0) {
    ScaleToUnit(samples);
    const double tolerance = options_.termination.relative_residual_tolerance;
    converged_loss_ = tolerance * tolerance * target_norm2_;
    target_loss_ = kPolish * kPolish * converged_loss_;
  }

  // Takes the state one step on. Where a stop is requested on the way the state is incomplete.
  void Step(WinnowState& state);

  bool Finished(const WinnowState& state) const {
    return state.start >= kNumStarts || Hopeless(state) ||
           state.agreeing_starts >= kAgreeingStarts ||
           (state.phase == SolvePhase::kStart && state.best_start >= 0 &&
            state.best_loss <= converged_loss_);
  }
  double RelativeResidual(double loss) const { return std::sqrt(loss / target_norm2_); }
  double Psnr(double loss) const {
    const double mse = loss / static_cast<double>(num_samples_);
    if (!(mse > 0)) return kMaxPsnr;
    return std::min(kMaxPsnr, 20 * std::log10(max_target_) - 10 * std::log10(mse));
  }
  bool stop_requested() const { return engine_.stop_requested(); }

  // The network in the user's units, within the budget: the best one, or, where no start has
  // come so far, the largest weights of the one at work.
  SparseNetwork Result(const WinnowState& state) const;

 private:
  // Columns and targets to mean square about 1 by powers of two, which is exact.
  void ScaleToUnit(const Samples& samples);
  void ScaleColumns(Design& design) const;
  ReluProblem problem() { return {engine_, design_, targets_, num_inputs_, options_.bias}; }

  int64_t NumColumns() const { return design_.num_columns; }
  bool OneSparse(int64_t start) const {
    const double weights_per_neuron =
        static_cast<double>(options_.nonzeros) / static_cast<double>(options_.hidden_width);
    return weights_per_neuron <= kSparseNeuron ? start % 2 == 0 : start % 3 == 2;
  }
  int64_t WorkingNonzeros(int64_t start) const;
  // Large data that two starts leave this badly explained are not a sparse network's: more
  // starts would cost much and change little.
  bool Hopeless(const WinnowState& state) const {
    return state.start >= kHopelessStarts && state.best_start >= 0 &&
           static_cast<double>(num_samples_) * static_cast<double>(options_.nonzeros) >
               kLargeProblem &&
           RelativeResidual(state.best_loss) > kHopelessResidual;
  }
  bool InBudget(const SparseNetwork& network) const {
    return network.weights.nonzeros() <= options_.nonzeros &&
           network.hidden_width() <= options_.hidden_width;
  }
  double MinCosine(double loss) const {
    return 1 - std::clamp(RelativeResidual(loss), kTightestMerge, kLoosestMerge);
  }
  double RefineAndMerge(const RefineOptions& options, SparseNetwork& network);
  void Consider(WinnowState& state);

  // The network with up to `count` two-sparse neurons more that lower the loss most, as the sweep
  // samples see it; as it is where a sweep would take too long.
  SparseNetwork WithTwoSparse(const SparseNetwork& network, int64_t count);
  void BeginStart(WinnowState& state);
  void Expand(WinnowState& state);
  void Prune(WinnowState& state);
  void Swap(WinnowState& state);
  // Refines a network of more weights and prunes it back; true when it is better.
  bool TryCandidate(SparseNetwork candidate, WinnowState& state);

  const RecoveryOptions& options_;
  const RecoveryStart& start_;
  const int64_t num_inputs_;
  const int64_t num_samples_;
  const InputView inputs_;
  Engine engine_;
  Design design_;
  // Some of the samples, for the search over all two-sparse neurons; made when first needed.
  struct Sweep {
    std::vector<int64_t> rows;
    Design design;
    AngleOrders orders;
  };
  std::optional<Sweep> sweep_;
  std::vector<double> targets_;
  std::vector<double> column_scales_;
  double target_scale_ = 1;
  double target_norm2_ = 0;
  double max_target_ = 0;
  double converged_loss_ = 0;  // at the tolerance
  double target_loss_ = 0;     // where refinement ends
};

void Winnower::ScaleToUnit(const Samples& samples) {
  const auto unit = [](double sum_of_squares, int64_t count) {
    const double rms = std::sqrt(sum_of_squares / static_cast<double>(count));
    return rms > 0 ? std::exp2(-std::round(std::log2(rms))) : 1.0;
  };
  column_scales_.resize(NumColumns());
  for (int64_t q = 0; q < NumColumns(); ++q) {
    const float* column = design_.columns.get() + q * design_.padded_samples();
    double sum = 0;
    for (int64_t i = 0; i < num_samples_; ++i) sum += static_cast<double>(column[i]) * column[i];
    column_scales_[q] = unit(sum, num_samples_);
  }
  ScaleColumns(design_);
  double sum = 0;
  for (const float target : samples.targets) sum += static_cast<double>(target) * target;
  target_scale_ = unit(sum, num_samples_);
  for (int64_t i = 0; i < num_samples_; ++i) {
    targets_[i] = target_scale_ * samples.targets[i];
    target_norm2_ += targets_[i] * targets_[i];
    max_target_ = std::max(max_target_, std::abs(targets_[i]));
  }
}

void Winnower::ScaleColumns(Design& design) const {
  for (int64_t q = 0; q < design.num_columns; ++q) {
    float* column = design.columns.get() + q * design.padded_samples();
    const auto scale = static_cast<float>(column_scales_[q]);
    for (int64_t i = 0; i < design.num_samples; ++i) {
      column[i] *= scale;
      design.rows[i * design.row_stride + q] *= scale;
    }
  }
}

SparseNetwork Winnower::Result(const WinnowState& state) const {
  SparseNetwork network = state.network;
  if (state.best_start >= 0) {
    network = state.best_network;
  } else if (!InBudget(network)) {
    // By magnitude alone: it takes no time.
    const auto keep = [&](int64_t row_count) {
      std::vector<double> sizes;
      for (int64_t j = 0; j < network.hidden_width(); ++j) {
        double size = 0;
        for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
          size += std::abs(network.weights.value[e]);
        }
        sizes.push_back(size);
      }
      std::vector<double> sorted = sizes;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      return static_cast<int64_t>(sorted.size()) > row_count ? sorted[row_count] : 0.0;
    };
    const double row_cut = keep(options_.hidden_width);
    std::vector<double> magnitudes;
    for (const double value : network.weights.value) magnitudes.push_back(std::abs(value));
    std::sort(magnitudes.begin(), magnitudes.end(), std::greater<>());
    const double cut = static_cast<int64_t>(magnitudes.size()) > options_.nonzeros
                           ? magnitudes[options_.nonzeros]
                           : 0.0;
    for (int64_t j = 0; j < network.hidden_width(); ++j) {
      double size = 0;
      for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
        size += std::abs(network.weights.value[e]);
      }
      for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
        double& value = network.weights.value[e];
        if (size <= row_cut || std::abs(value) <= cut) value = 0;
      }
    }
    network = DropDeadNeurons(network);
  }
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *= column_scales_[network.weights.column[e]] / target_scale_;
  }
  return network;
}

int64_t Winnower::WorkingNonzeros(int64_t start) const {
  // The later one-sparse starts of the list work on a larger support.
  const int64_t pair_index = start / 2;
  const double factor =
      OneSparse(start) ? 2.0 + static_cast<double>(pair_index) : kStarts[start].support_factor;
  const auto wanted = static_cast<int64_t>(factor * static_cast<double>(options_.nonzeros));
  return std::min({wanted, options_.working_nonzeros, NumColumns() * options_.hidden_width});
}

double Winnower::RefineAndMerge(const RefineOptions& options, SparseNetwork& network) {
  const double loss = Refine(problem(), options, network);
  network = MergeParallelNeurons(DropDeadNeurons(network), MinCosine(loss));
  return loss;
}

// Remembers the network at work when it is within the budget and the best so far.
void Winnower::Consider(WinnowState& state) {
  if (stop_requested() || !InBudget(state.network)) return;
  state.loss = Linearise(problem(), state.network).loss;
  if (state.best_start >= 0 && state.loss >= state.best_loss) return;
  state.best_network = state.network;
  state.best_loss = state.loss;
  state.best_start = state.start;
}

SparseNetwork Winnower::WithTwoSparse(const SparseNetwork& network, int64_t count) {
  const int64_t num_rows = std::min(num_samples_, kSweepSamples);
  if (NumColumnPairs(NumColumns()) > kMaxSweepSteps / num_rows || stop_requested()) return network;
  if (!sweep_) {
    std::vector<int64_t> rows(num_rows);
    for (int64_t i = 0; i < num_rows; ++i) rows[i] = i * num_samples_ / num_rows;
    sweep_.emplace(
        Sweep{.rows = rows, .design = MakeDesign(inputs_, options_.bias, rows), .orders = {}});
    ScaleColumns(sweep_->design);
    sweep_->orders = SortByAngle(engine_, sweep_->design, kSweepBytes);
  }
  const Linearisation at = Linearise(problem(), network);
  std::vector<double> residual(sweep_->design.padded_samples(), 0.0);
  for (size_t i = 0; i < sweep_->rows.size(); ++i) residual[i] = at.residual[sweep_->rows[i]];
  const ReluProblem sweep_problem = {engine_, sweep_->design, targets_, num_inputs_, options_.bias};
  const SparseNetwork added =
      BestTwoSparseNeurons(sweep_problem, sweep_->orders, residual, options_.output_signs, count);
  SparseVector entries = EntriesOf(network);
  std::vector<int8_t> signs = network.output_signs;
  for (const KeyedValue& entry : EntriesOf(added)) {
    entries.push_back({entry.key + network.hidden_width() * network.num_columns(), entry.value});
  }
  signs.insert(signs.end(), added.output_signs.begin(), added.output_signs.end());
  return NetworkOf(entries, num_inputs_, options_.bias, signs);
}

void Winnower::BeginStart(WinnowState& state) {
  const StartShape& shape = kStarts[state.start];
  const int64_t count = WorkingNonzeros(state.start);
  if (state.start == 0 && start_.network) {
    state.network = *start_.network;
    for (size_t e = 0; e < state.network.weights.value.size(); ++e) {
      state.network.weights.value[e] *=
          target_scale_ / column_scales_[state.network.weights.column[e]];
    }
    state.network = DropDeadNeurons(state.network);
  } else if (OneSparse(state.start)) {
    state.network = OneSparseStart(problem(), options_.output_signs, count);
  } else {
    const double mixed = options_.output_signs == OutputSigns::kMixed ? kMixedGateFactor : 1;
    const auto num_gates =
        std::max<int64_t>(2, static_cast<int64_t>(shape.gate_factor * mixed *
                                                  static_cast<double>(options_.hidden_width)));
    // Every start draws its own gates: the stream follows from seed and start.
    state.network = RandomStart(problem(), num_gates, options_.output_signs, count,
                                options_.seed + 0x9e3779b97f4a7c15u * state.start);
  }
  state.loss = RefineAndMerge({.max_steps = 3, .max_products = 20, .target_loss = target_loss_},
                              state.network);
  state.phase = SolvePhase::kExpand;
  state.phase_steps = 0;
}

void Winnower::Expand(WinnowState& state) {
  const double before = state.loss;
  if (OneSparse(state.start) && state.phase_steps < kMaxTwoSparseSteps &&
      state.network.hidden_width() < options_.hidden_width) {
    state.network = WithTwoSparse(state.network, std::max<int64_t>(1, options_.hidden_width / 4));
    RefineAndMerge({.max_steps = 3, .max_products = 20, .target_loss = target_loss_},
                   state.network);
  }
  state.network = GrowAndThreshold(problem(), state.network, WorkingNonzeros(state.start),
                                   options_.output_signs, /*new_neurons=*/false);
  state.loss = RefineAndMerge({.max_steps = 3, .max_products = 20, .target_loss = target_loss_},
                              state.network);
  ++state.phase_steps;
  const bool stalls = state.loss > (1 - kExpandDecrease) * before;
  if (state.loss <= target_loss_ || state.phase_steps >= kMaxExpandSteps ||
      (stalls && state.phase_steps >= kMinExpandSteps)) {
    state.loss = RefineAndMerge({.max_steps = 6, .max_products = 60, .target_loss = target_loss_},
                                state.network);
    state.phase = SolvePhase::kPrune;
    state.phase_steps = 0;
  }
}

void Winnower::Prune(WinnowState& state) {
  const RefineOptions refine = {.max_steps = 4, .max_products = 40, .target_loss = target_loss_};
  if (state.phase_steps == 0 && state.loss <= converged_loss_) {
    state.network = RemoveRedundant(problem(), state.network, options_.output_signs);
  }
  const int64_t present = state.network.weights.nonzeros();
  if (present > options_.nonzeros) {
    const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kPruneShare));
    const int64_t count = std::max(options_.nonzeros, std::min(kept, present - 1));
    state.network = PruneTo(problem(), state.network, count);
    state.loss = RefineAndMerge(refine, state.network);
    if (state.loss > target_loss_) {
      state.network = GrowAndThreshold(problem(), state.network, count, options_.output_signs,
                                       /*new_neurons=*/false);
      state.loss = RefineAndMerge(refine, state.network);
    }
    ++state.phase_steps;
    return;
  }
  if (state.network.hidden_width() > options_.hidden_width) {
    state.network = PruneNeuronsTo(problem(), state.network, options_.hidden_width);
  }
  state.loss =
      Refine(problem(), {.max_steps = 20, .max_products = 200, .target_loss = target_loss_},
             state.network);
  state.phase = SolvePhase::kSwap;
  state.phase_steps = 0;
  state.swap_size = std::max<int64_t>(1, options_.nonzeros / 2);
  Consider(state);
}

bool Winnower::TryCandidate(SparseNetwork candidate, WinnowState& state) {
  Refine(problem(), {.max_steps = 6, .max_products = 60, .target_loss = target_loss_}, candidate);
  candidate = MergeParallelNeurons(DropDeadNeurons(candidate), 1 - kTightestMerge);
  candidate = PruneTo(problem(), candidate, options_.nonzeros);
  candidate = PruneNeuronsTo(problem(), candidate, options_.hidden_width);
  const double loss = Refine(
      problem(), {.max_steps = 8, .max_products = 60, .target_loss = target_loss_}, candidate);
  if (!(loss < (1 - kSwapDecrease) * state.loss)) return false;
  state.network = std::move(candidate);
  state.loss = loss;
  Consider(state);
  return true;
}

void Winnower::Swap(WinnowState& state) {
  if (state.swap_size >= 1 && state.loss > converged_loss_) {
    const bool better =
        TryCandidate(SplitDominatedNeurons(state.network), state) ||
        TryCandidate(GrowAndThreshold(problem(), state.network, options_.nonzeros + state.swap_size,
                                      options_.output_signs, /*new_neurons=*/true),
                     state) ||
        TryCandidate(WithTwoSparse(state.network, std::max<int64_t>(1, state.swap_size / 2)),
                     state);
    if (!better) state.swap_size /= 2;
    ++state.phase_steps;
    return;
  }
  state.loss = Refine(
      problem(),
      {.max_steps = 30, .max_products = 300, .min_decrease = 1e-6, .target_loss = target_loss_},
      state.network);
  if (state.loss <= converged_loss_ && !stop_requested()) {
    state.network = MergeParallelNeurons(
        RemoveRedundant(problem(), state.network, options_.output_signs), 1 - kTightestMerge);
    state.best_start = -1;  // whatever was best is not as small
  }
  const double best_before = state.best_loss;
  const bool had_best = state.best_start >= 0 && state.best_start != state.start;
  Consider(state);
  if (had_best && std::abs(state.loss - best_before) <= kSameLoss * best_before) {
    ++state.agreeing_starts;
  } else if (state.best_start == state.start) {
    state.agreeing_starts = 1;
  }
  ++state.start;
  state.phase = SolvePhase::kStart;
  state.phase_steps = 0;
}

void Winnower::Step(WinnowState& state) {
  switch (state.phase) {
    case SolvePhase::kExpand:
      Expand(state);
      break;
    case SolvePhase::kPrune:
      Prune(state);
      break;
    case SolvePhase::kSwap:
      Swap(state);
      break;
    case SolvePhase::kStart:
    case SolvePhase::kIterate:
      BeginStart(state);
      break;
  }
  ++state.iteration;
}

void Add(const SparseNetwork& network, StateWriter& writer) {
  writer.AddVector(network.weights.row_begin);
  writer.AddVector(network.weights.column);
  writer.AddVector(network.weights.value);
  writer.AddVector(network.output_signs);
}

bool Take(StateReader& reader, SparseNetwork& network) {
  return reader.TakeVector(network.weights.row_begin) &&
         reader.TakeVector(network.weights.column) && reader.TakeVector(network.weights.value) &&
         reader.TakeVector(network.output_signs) && ValidateNetwork(network).ok();
}

std::string Serialize(const WinnowState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iteration);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.start);
  writer.Add(static_cast<int32_t>(state.phase));
  writer.Add(state.phase_steps);
  writer.Add(state.swap_size);
  Add(state.network, writer);
  writer.Add(state.loss);
  Add(state.best_network, writer);
  writer.Add(state.best_loss);
  writer.Add(state.best_start);
  writer.Add(state.agreeing_starts);
  return std::move(writer).Finish();
}

absl::StatusOr<WinnowState> Parse(std::string_view bytes, uint64_t fingerprint, WinnowState state) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  int32_t phase = 0;
  if (!reader->Take(state.iteration) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.start) || !reader->Take(phase) || !reader->Take(state.phase_steps) ||
      !reader->Take(state.swap_size) || !Take(*reader, state.network) ||
      !reader->Take(state.loss) || !Take(*reader, state.best_network) ||
      !reader->Take(state.best_loss) || !reader->Take(state.best_start) ||
      !reader->Take(state.agreeing_starts) || !reader->AtEnd() || state.start < 0 ||
      state.start > kNumStarts || phase < 0 || phase > static_cast<int32_t>(SolvePhase::kSwap)) {
    return StateReader::Damaged();
  }
  state.phase = static_cast<SolvePhase>(phase);
  return state;
}

}  // namespace

int64_t WinnowSweepBytes(int64_t num_samples, int64_t num_columns, int num_threads) {
  const int64_t num_rows = std::min(num_samples, kSweepSamples);
  if (NumColumnPairs(num_columns) > kMaxSweepSteps / num_rows) return 0;
  return DesignBytes(num_rows, num_columns) + AngleOrderBytes(num_rows, num_columns, kSweepBytes) +
         AngularSweepBytes(num_rows, num_threads);
}

int64_t DefaultWinnowSupport(int64_t nonzeros) {
  constexpr int64_t kLargestFactor = 5;
  return kLargestFactor * nonzeros;
}

absl::StatusOr<RecoveryResult> Winnow(const Samples& samples, const RecoveryOptions& options,
                                      const RecoveryStart& start, const RecoveryObserver& observer,
                                      std::stop_token stop, std::string_view checkpoint,
                                      uint64_t fingerprint) {
  WinnowState state;
  for (SparseNetwork* network : {&state.network, &state.best_network}) {
    network->num_inputs = samples.num_inputs;
    network->has_bias = options.bias;
  }
  if (!checkpoint.empty()) {
    absl::StatusOr<WinnowState> parsed = Parse(checkpoint, fingerprint, std::move(state));
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    return earlier_seconds + std::chrono::duration<double>(Clock::now() - begin).count();
  };
  Winnower winnower(samples, options, start, std::move(stop));

  std::optional<TerminationReason> reason;
  while (true) {
    state.elapsed_seconds = elapsed();
    const double best = state.best_start >= 0 ? winnower.RelativeResidual(state.best_loss)
                                              : std::numeric_limits<double>::infinity();
    const bool finished = winnower.Finished(state);
    // A start that is still at work may polish further than the tolerance asks.
    const bool polishing = state.phase != SolvePhase::kStart && !finished;
    reason = CheckTermination(
        options.termination,
        {.iterations = state.iteration,
         .best_relative_residual = polishing ? std::numeric_limits<double>::infinity() : best,
         .iterations_without_progress = 0,
         .elapsed_seconds = state.elapsed_seconds,
         .cancelled = winnower.stop_requested()});
    if (!reason && finished) reason = TerminationReason::kStagnated;
    if (reason) break;

    WinnowState next = state;
    winnower.Step(next);
    if (winnower.stop_requested()) continue;  // the step is incomplete: the state stays
    state = std::move(next);
    state.elapsed_seconds = elapsed();

    IterationReport report;
    report.iteration = state.iteration;
    report.phase = state.phase;
    report.start = state.start;
    report.relative_residual = winnower.RelativeResidual(state.loss);
    report.psnr_db = winnower.Psnr(state.loss);
    report.support_size = state.network.weights.nonzeros();
    report.active_neurons = state.network.hidden_width();
    report.best_relative_residual = state.best_start >= 0
                                        ? winnower.RelativeResidual(state.best_loss)
                                        : report.relative_residual;
    report.elapsed_seconds = state.elapsed_seconds;
    if (observer.on_iteration) observer.on_iteration(report);
    if (observer.checkpoint_due && observer.on_checkpoint && observer.checkpoint_due(report)) {
      observer.on_checkpoint(Serialize(state, fingerprint));
    }
  }

  RecoveryResult result;
  result.termination_reason = *reason;
  SparseNetwork network = winnower.Result(state);
  result.nonzeros = network.weights.nonzeros();
  result.active_neurons = network.hidden_width();
  result.network = std::move(network);
  result.iterations = state.iteration;
  result.elapsed_seconds = elapsed();
  result.starts_tried = state.start + (state.phase == SolvePhase::kStart ? 0 : 1);
  // The count is of an earlier best where the start at work holds the best one.
  const bool new_best = state.phase != SolvePhase::kStart && state.best_start == state.start;
  result.starts_agreeing = new_best ? 1 : state.agreeing_starts;
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  return result;
}

}  // namespace thresher
