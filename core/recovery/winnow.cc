#include "core/recovery/winnow.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <variant>
#include <vector>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/absorb_linear.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/grow.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/residual_noise.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/split_neurons.h"
#include "core/recovery/two_sparse.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHW04";

// How wide each start is: working support over s and gates over m. Easy problems end at the
// first; later ones pay for more room.
struct StartShape {
  double support_factor;
  double gate_factor;
};
constexpr StartShape kStarts[] = {{3, 1}, {3, 1.5}, {4, 1.5}, {4, 2},
                                  {5, 2}, {5, 3},   {4, 1.5}, {5, 2}};
constexpr auto kNumStarts = static_cast<int64_t>(std::size(kStarts));
constexpr double kMixedGateFactor = 1.5;

// Many samples: the first starts work on some of them, at least so many, and so many a weight.
constexpr int64_t kPartStarts = 2;
constexpr int64_t kPartSamples = 5000;
constexpr int64_t kPartSamplesPerWeight = 16;
constexpr int64_t kLeastSaving = 2;

// Starts from thresholding: how many come first, and the steps of each. As fewer neurons leave more
// weights for each, one has half the neurons of the one before; with many samples every second.
constexpr int64_t kThresholdingStarts = 4;
constexpr int64_t kThresholdingSteps = 100;
constexpr int64_t kMaxExpandSteps = 25;
constexpr int64_t kMinExpandSteps = 5;
constexpr double kExpandDecrease = 0.02;
// Starts from kinks: the part of s that a step lets in, the variances of the residual below which
// a weight explains nothing, and the steps without a decrease that end the phase.
constexpr int64_t kMaxKinkSteps = 60;
constexpr double kGrowth = 0.05;
constexpr double kInsignificant = 9;
constexpr double kClearlyInsignificant = 25;
constexpr int64_t kKinkPatience = 6;
// Neurons are split only below this relative residual.
constexpr double kSplitResidual = 2e-3;
constexpr double kMaxRise = 100;  // of the loss, in one step
constexpr double kPruneShare = 0.1;
constexpr double kSwapDecrease = 1e-3;
// Neurons merge where that raises the loss by less than about so many variances of the residual,
// within bounds on 1 - cosine.
constexpr double kMergeVariances = 2;
constexpr double kLoosestMerge = 5e-3;
constexpr double kTightestMerge = 1e-10;
// Losses that agree to this are the same minimum.
constexpr double kSameLoss = 1e-3;
constexpr int64_t kHopelessStarts = 2;
constexpr double kHopelessResidual = 0.1;
constexpr double kLargeProblem = 5e5;  // samples times weights
constexpr int64_t kAgreeingStarts = 3;
constexpr int64_t kAgreeingStartsAtNoise = 2;
// The target of refinement, relative to the tolerance: a solve that converges goes on to the
// rounding of the data.
constexpr double kPolish = 0.25;
// The search over two-sparse neurons looks at this many samples, and keeps this many bytes.
constexpr int64_t kSweepSamples = 5000;
constexpr int64_t kSweepBytes = int64_t{32} << 20;
constexpr int64_t kMaxSweepSteps = 40'000'000;  // pairs of inputs times samples

// Samples that the first starts work on.
int64_t PartSamples(int64_t num_samples, int64_t nonzeros) {
  const int64_t part = std::max(kPartSamples, kPartSamplesPerWeight * nonzeros);
  return num_samples / kLeastSaving >= part ? part : num_samples;
}

bool HasManyInputs(const RecoveryOptions& options, int64_t num_samples, int64_t num_columns) {
  return options.linear_term == LinearTerm::kNone &&
         (num_samples <= num_columns || num_columns + options.nonzeros > kMaxDenseWeights);
}

// `count` of the integers below `size`, evenly spread.
std::vector<int64_t> SpreadRows(int64_t count, int64_t size) {
  std::vector<int64_t> rows(count);
  for (int64_t i = 0; i < count; ++i) rows[i] = i * size / count;
  return rows;
}

class Winnower {
 public:
  Winnower(const Samples& samples, const RecoveryOptions& options, const RecoveryStart& start,
           std::stop_token stop)
      : options_(options),
        start_(start),
        samples_(samples),
        engine_(options.num_threads, stop),
        all_(ScaleToUnit(samples, options.bias)),
        negative_targets_(std::any_of(samples.targets.begin(), samples.targets.end(),
                                      [](float target) { return target < 0; })),
        stop_(std::move(stop)) {
    const int64_t part = PartSamples(samples.num_samples, options.nonzeros);
    if (part < samples.num_samples) {
      part_ = ScaledRows(samples, all_, SpreadRows(part, samples.num_samples));
    }
  }

  // Takes the state one step on. Where a stop is requested on the way the state is incomplete.
  void Step(WinnowState& state);

  bool Finished(const WinnowState& state) const {
    return state.start >= kNumStarts || Hopeless(state) ||
           state.agreeing_starts >=
               (state.best_leaves_noise ? kAgreeingStartsAtNoise : kAgreeingStarts) ||
           (state.phase == SolvePhase::kStart && state.best_start >= 0 &&
            state.best_loss <= ConvergedLoss(all_));
  }
  double RelativeResidual(const WinnowState& state) const {
    return Relative(AtWork(state), state.loss);
  }
  double BestRelativeResidual(const WinnowState& state) const {
    return Relative(all_, state.best_loss);
  }
  double Psnr(const WinnowState& state) const {
    const ScaledSamples& data = AtWork(state);
    return PsnrDb(state.loss, data.design.num_samples, data.max_target);
  }
  bool stop_requested() const { return engine_.stop_requested(); }

  // The network in the user's units, within the budget: the best one, or, where no start has
  // come so far, the largest weights of the one at work.
  SparseNetwork Result(const WinnowState& state) const;
  // The network at work on the scale of the samples, where it could be the result.
  std::optional<SparseNetwork> Present(const WinnowState& state) const;
  // Sets relative_residual and psnr_db, after a stop too.
  void Measure(const SparseNetwork& network, RecoveryResult& result) const;

 private:
  // The samples that a state's start works on; the loss is over these.
  const ScaledSamples& AtWork(const WinnowState& state) const {
    const bool finished_start = state.phase == SolvePhase::kStart;
    const int64_t start = finished_start ? kPartStarts : state.start;
    return part_ && start < kPartStarts ? *part_ : all_;
  }
  ReluProblem ProblemOf(const WinnowState& state) { return AtWork(state).problem(engine_); }
  static double Relative(const ScaledSamples& data, double loss) {
    return std::sqrt(loss / data.target_norm2);
  }
  double ConvergedLoss(const ScaledSamples& data) const {
    const double tolerance = options_.termination.relative_residual_tolerance;
    return tolerance * tolerance * data.target_norm2;
  }
  bool Converged(const WinnowState& state) const {
    return state.loss <= ConvergedLoss(AtWork(state));
  }
  // Steps of refinement, with its end.
  RefineOptions Refinement(const WinnowState& state, int max_steps, int max_products) const {
    return {.max_steps = max_steps,
            .max_products = max_products,
            .target_loss = kPolish * kPolish * ConvergedLoss(AtWork(state))};
  }
  RefineOptions Quick(const WinnowState& state) const { return Refinement(state, 3, 20); }
  RefineOptions Thorough(const WinnowState& state) const { return Refinement(state, 8, 60); }

  int64_t NumColumns() const { return all_.design.num_columns; }
  // With no more samples than inputs the linear term of a start from kinks explains everything,
  // with very many inputs it is too large to refine: there starts from thresholding take their
  // place.
  bool ManyInputs() const { return HasManyInputs(options_, samples_.num_samples, NumColumns()); }
  bool FromKinks(int64_t start) const { return start % 2 == 0 && !ManyInputs(); }
  bool FromThresholding(int64_t start) const {
    return ManyInputs() && (start < kThresholdingStarts || start % 2 == 0);
  }
  // Of the neurons of a start. With many inputs those of targets that are never negative add, in
  // most starts: where the target is 0 they are closed, which costs no weight.
  OutputSigns StartSigns(int64_t start) const {
    const bool add = ManyInputs() && !negative_targets_ && start % 4 != 3;
    return add ? OutputSigns::kPositive : options_.output_signs;
  }
  int64_t WorkingNonzeros(int64_t start) const;
  // Every start draws its own gates.
  uint64_t SeedOf(int64_t start) const { return options_.seed + 0x9e3779b97f4a7c15u * start; }
  // Large data that two starts leave this badly explained are not a sparse network's: more
  // starts would cost much and change little.
  bool Hopeless(const WinnowState& state) const {
    const int64_t starts = kHopelessStarts + (part_ ? kPartStarts : 0);
    return state.start >= starts && state.best_start >= 0 &&
           static_cast<double>(samples_.num_samples) * static_cast<double>(options_.nonzeros) >
               kLargeProblem &&
           BestRelativeResidual(state) > kHopelessResidual;
  }
  bool InBudget(const SparseNetwork& network) const {
    return network.weights.nonzeros() <= options_.nonzeros &&
           network.hidden_width() <= options_.hidden_width;
  }
  // An earlier start ended here, after its swaps.
  bool KnownMinimum(const WinnowState& state) const {
    return state.phase_steps == 0 && &AtWork(state) == &all_ && state.best_start >= 0 &&
           state.best_start != state.start &&
           std::abs(state.loss - state.best_loss) <= kSameLoss * state.best_loss;
  }
  // Whether the start at work lets neurons in beside a linear term, one after the other.
  bool GrowsFromKinks(const WinnowState& state) const {
    const bool given = state.start == 0 && start_.network;
    return FromKinks(state.start) && !given && !state.network.linear.empty();
  }
  // Without dead neurons, and beside a linear term without those that are part of it.
  static SparseNetwork WithoutIdleNeurons(const SparseNetwork& network) {
    return MoveConstantNeurons(DropDeadNeurons(network));
  }
  SparseNetwork FromRandomGates(const ReluProblem& problem, int64_t start) const;
  // What the published algorithm finds, with gates of its own for each start.
  SparseNetwork ThresholdingStart(int64_t start) const;
  // Refines and merges; leaves the loss before merging in the state.
  void RefineAndMerge(const RefineOptions& options, WinnowState& state);
  void Consider(WinnowState& state);

  // Two-sparse neurons that any step asks for.
  int64_t MaxTwoSparse() const {
    return std::max<int64_t>({1, options_.hidden_width / 4, options_.nonzeros / 4});
  }
  // The network with up to `count` <= MaxTwoSparse() two-sparse neurons more that lower the loss
  // most, as the sweep samples see it; as it is where a sweep would take too long.
  SparseNetwork WithTwoSparse(const WinnowState& state, int64_t count);
  void BeginStart(WinnowState& state);
  void Expand(WinnowState& state);
  void ExpandFromKinks(WinnowState& state);
  void Prune(WinnowState& state);
  void Swap(WinnowState& state);
  void EndStart(WinnowState& state);
  // Refines a network of more weights and prunes it back; true when it is better.
  bool TryCandidate(SparseNetwork candidate, WinnowState& state);

  const RecoveryOptions& options_;
  const RecoveryStart& start_;
  const Samples& samples_;
  Engine engine_;
  const ScaledSamples all_;
  std::optional<ScaledSamples> part_;
  const bool negative_targets_;  // any of them
  const std::stop_token stop_;
  // Some of the samples at work, for the search over all two-sparse neurons.
  struct Sweep {
    const ScaledSamples* of;
    std::vector<int64_t> rows;
    ScaledSamples samples;
    AngleOrders orders;
    // The neurons found last, best first, and the network whose residual asked for them.
    SparseNetwork asking;
    SparseNetwork found;
  };
  std::optional<Sweep> sweep_;
};

SparseNetwork Winnower::Result(const WinnowState& state) const {
  SparseNetwork network = state.best_start >= 0 ? state.best_network : state.network;
  if (options_.linear_term == LinearTerm::kNone && !network.linear.empty()) {
    network = AbsorbLinear(network, options_.output_signs);
  }
  if (!InBudget(network)) {
    // By magnitude alone: it takes no time.
    const auto size_of = [&network](int64_t j) {
      double size = 0;
      for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
        size += std::abs(network.weights.value[e]);
      }
      return size;
    };
    // The largest of `values` that does not stay where `count` stay.
    const auto cut_of = [](std::vector<double> values, int64_t count) {
      std::sort(values.begin(), values.end(), std::greater<>());
      return static_cast<int64_t>(values.size()) > count ? values[count] : 0.0;
    };
    std::vector<double> sizes;
    for (int64_t j = 0; j < network.hidden_width(); ++j) sizes.push_back(size_of(j));
    std::vector<double> magnitudes;
    for (const double value : network.weights.value) magnitudes.push_back(std::abs(value));
    const double row_cut = cut_of(sizes, options_.hidden_width);
    const double cut = cut_of(magnitudes, options_.nonzeros);
    for (int64_t j = 0; j < network.hidden_width(); ++j) {
      for (int64_t e = network.weights.row_begin[j]; e < network.weights.row_begin[j + 1]; ++e) {
        double& value = network.weights.value[e];
        if (sizes[j] <= row_cut || std::abs(value) <= cut) value = 0;
      }
    }
    network = DropDeadNeurons(network);
  }
  network = FromScaled(all_, std::move(network));
  if (options_.linear_term == LinearTerm::kNone) return network;
  network.linear.resize(NumColumns());  // none yet where no start has begun
  return OrientNeurons(network);
}

std::optional<SparseNetwork> Winnower::Present(const WinnowState& state) const {
  if (!InBudget(state.network) ||
      (options_.linear_term == LinearTerm::kNone && !state.network.linear.empty())) {
    return std::nullopt;
  }
  SparseNetwork network = FromScaled(all_, state.network);
  if (options_.linear_term == LinearTerm::kNone) return network;
  network.linear.resize(NumColumns());
  return OrientNeurons(network);
}

void Winnower::Measure(const SparseNetwork& network, RecoveryResult& result) const {
  Engine unstopped(options_.num_threads);
  const double loss = Linearise(all_.problem(unstopped), ToScaled(all_, network)).loss;
  result.relative_residual = Relative(all_, loss);
  result.psnr_db = PsnrDb(loss, all_.design.num_samples, all_.max_target);
}

int64_t Winnower::WorkingNonzeros(int64_t start) const {
  // The later starts from kinks work on a larger support.
  const int64_t pair_index = start / 2;
  const double factor =
      FromKinks(start) ? 2.0 + static_cast<double>(pair_index) : kStarts[start].support_factor;
  const auto wanted = static_cast<int64_t>(factor * static_cast<double>(options_.nonzeros));
  const int64_t most = std::min(options_.working_nonzeros, NumColumns() * options_.hidden_width);
  // As many weights as samples fit them all.
  const int64_t enough = std::max(options_.nonzeros, samples_.num_samples);
  return std::min({wanted, most, ManyInputs() ? enough : most});
}

void Winnower::RefineAndMerge(const RefineOptions& options, WinnowState& state) {
  const ReluProblem problem = ProblemOf(state);
  state.loss = Refine(problem, options, state.network);
  state.network = options_.linear_term != LinearTerm::kNone ? WithoutIdleNeurons(state.network)
                                                            : DropDeadNeurons(state.network);
  if (!state.network.linear.empty()) state.network = OrientNeurons(state.network);
  // Neurons of length l at an angle a differ on a part a of the samples, by up to a l: merging
  // them raises the loss by about n l^2 a^3.
  const auto n = static_cast<double>(problem.design.num_samples);
  double norm2 = 0;
  for (const double value : state.network.weights.value) norm2 += value * value;
  norm2 /= static_cast<double>(std::max<int64_t>(1, state.network.hidden_width()));
  const double angle = norm2 > 0 ? std::cbrt(kMergeVariances * state.loss / (n * n * norm2)) : 0.0;
  state.network = MergeParallelNeurons(
      state.network, 1 - std::clamp(angle * angle / 2, kTightestMerge, kLoosestMerge));
}

// Remembers the network at work when it is within the budget and the best so far, on all samples.
void Winnower::Consider(WinnowState& state) {
  if (stop_requested() || !InBudget(state.network)) return;
  const double loss = Linearise(all_.problem(engine_), state.network).loss;
  if (state.best_start >= 0 && loss >= state.best_loss) return;
  state.best_network = state.network;
  state.best_loss = loss;
  state.best_start = state.start;
}

SparseNetwork Winnower::WithTwoSparse(const WinnowState& state, int64_t count) {
  const ScaledSamples& data = AtWork(state);
  const int64_t num_samples = data.design.num_samples;
  const int64_t num_rows = std::min(num_samples, kSweepSamples);
  const SparseNetwork& network = state.network;
  if (NumColumnPairs(NumColumns()) > kMaxSweepSteps / num_rows || stop_requested()) return network;
  if (!sweep_ || sweep_->of != &data) {
    sweep_.reset();
    // Rows of the data at work, which are rows of all samples.
    std::vector<int64_t> rows = SpreadRows(num_rows, num_samples);
    std::vector<int64_t> of_all = rows;
    for (int64_t& row : of_all) row = row * samples_.num_samples / num_samples;
    sweep_.emplace(Sweep{.of = &data,
                         .rows = std::move(rows),
                         .samples = ScaledRows(samples_, all_, of_all),
                         .orders = {},
                         .asking = {},
                         .found = {}});
    sweep_->orders = SortByAngle(engine_, sweep_->samples.design, kSweepBytes);
  }
  if (network != sweep_->asking) {
    const Linearisation at = Linearise(data.problem(engine_), network);
    std::vector<double> residual(sweep_->samples.design.padded_samples(), 0.0);
    for (size_t i = 0; i < sweep_->rows.size(); ++i) residual[i] = at.residual[sweep_->rows[i]];
    sweep_->found = BestTwoSparseNeurons(sweep_->samples.problem(engine_), sweep_->orders, residual,
                                         options_.output_signs, MaxTwoSparse());
    sweep_->asking = stop_requested() ? SparseNetwork{} : network;
  }
  SparseVector entries = EntriesOf(network);
  std::vector<int8_t> signs = network.output_signs;
  const SparseNetwork& found = sweep_->found;
  const int64_t added = std::min(count, found.hidden_width());
  for (const KeyedValue& entry : EntriesOf(found)) {
    if (entry.key >= added * found.num_columns()) break;
    entries.push_back({entry.key + network.hidden_width() * network.num_columns(), entry.value});
  }
  signs.insert(signs.end(), found.output_signs.begin(), found.output_signs.begin() + added);
  return WithEntries(network, entries, signs);
}

SparseNetwork Winnower::FromRandomGates(const ReluProblem& problem, int64_t start) const {
  const double mixed = StartSigns(start) == OutputSigns::kMixed ? kMixedGateFactor : 1;
  const auto num_gates =
      std::max<int64_t>(2, static_cast<int64_t>(kStarts[start].gate_factor * mixed *
                                                static_cast<double>(options_.hidden_width)));
  const uint64_t seed = SeedOf(start);
  const int64_t count = WorkingNonzeros(start);
  if (options_.linear_term == LinearTerm::kNone) {
    return RandomStart(problem, num_gates, StartSigns(start), count, seed);
  }
  // What a linear function explains would hide the neurons.
  SparseNetwork linear = {.num_inputs = problem.num_inputs, .has_bias = problem.has_bias};
  linear.linear.assign(NumColumns(), 0.0);
  Refine(problem, {.max_steps = 3, .max_products = 100}, linear);
  std::vector<double> rest = Linearise(problem, linear).residual;
  for (double& value : rest) value = -value;
  ReluProblem beside = {problem.engine, problem.design, rest, problem.num_inputs, problem.has_bias};
  SparseNetwork network = RandomStart(beside, num_gates, options_.output_signs, count, seed);
  network.linear = std::move(linear.linear);
  return network;
}

SparseNetwork Winnower::ThresholdingStart(int64_t start) const {
  const bool few_samples = samples_.num_samples <= samples_.num_inputs;
  const int64_t halvings = start % (few_samples ? kThresholdingStarts : 2);
  const int64_t hidden_width = std::max<int64_t>(1, options_.hidden_width >> halvings);
  // More weights would slow the fit to few samples down, which needs no more.
  const int64_t enough = (samples_.num_samples + 1) / 2;
  RecoveryOptions options = {
      .hidden_width = hidden_width,
      .nonzeros = std::min({options_.nonzeros, enough, hidden_width * NumColumns()}),
      .algorithm = Algorithm::kAiht,
      .output_signs = StartSigns(start),
      .bias = options_.bias,
      .seed = SeedOf(start),
      .num_threads = options_.num_threads};
  options.termination = {.max_iterations = kThresholdingSteps,
                         .time_limit_seconds = options_.termination.time_limit_seconds};
  // What can be wrong with samples and options has been refused before.
  const absl::StatusOr<RecoveryResult> found = Recover(samples_, options, {}, {}, stop_);
  SparseNetwork empty = {.num_inputs = samples_.num_inputs, .has_bias = options_.bias};
  return found.ok() ? ToScaled(all_, std::get<SparseNetwork>(found->network)) : empty;
}

void Winnower::BeginStart(WinnowState& state) {
  state.phase = SolvePhase::kExpand;
  state.phase_steps = 0;
  state.stalled_steps = 0;
  state.irredundant = false;
  const ReluProblem problem = ProblemOf(state);
  if (state.start == 0 && start_.network) {
    state.network = DropDeadNeurons(ToScaled(all_, *start_.network));
    if (options_.linear_term != LinearTerm::kNone) state.network.linear.resize(NumColumns());
  } else if (FromThresholding(state.start)) {
    state.network = ThresholdingStart(state.start);
    Consider(state);
  } else if (FromKinks(state.start)) {
    state.network = KinkStart(problem, options_.output_signs, WorkingNonzeros(state.start));
  } else {
    state.network = FromRandomGates(problem, state.start);
  }
  RefineAndMerge(Quick(state), state);
  state.least_loss = state.loss;
  if (!FromThresholding(state.start)) return;
  RefineAndMerge(Refinement(state, 20, 200), state);
  Consider(state);
  if (Converged(state)) state.phase = SolvePhase::kPrune;
}

void Winnower::Expand(WinnowState& state) {
  const double before = state.loss;
  state.network = GrowAndThreshold(ProblemOf(state), state.network, WorkingNonzeros(state.start),
                                   options_.output_signs, /*new_neurons=*/false);
  RefineAndMerge(Quick(state), state);
  ++state.phase_steps;
  const bool stalls = state.loss > (1 - kExpandDecrease) * before;
  if (state.loss <= Quick(state).target_loss || state.phase_steps >= kMaxExpandSteps ||
      (stalls && state.phase_steps >= kMinExpandSteps)) {
    RefineAndMerge(Refinement(state, 6, 60), state);
    state.phase = SolvePhase::kPrune;
    state.phase_steps = 0;
  }
}

// Lets a few weights in and drops what explains nothing, beside a linear term: with it the side
// on which a neuron is open does not matter, which a fit would else have to get right at once.
void Winnower::ExpandFromKinks(WinnowState& state) {
  const SparseNetwork before = state.network;
  const double loss_before = state.loss;
  // Far from the solution a residual next to a neuron's hyperplane tells nothing about it.
  if (state.stalled_steps > 0 && Relative(AtWork(state), state.loss) < kSplitResidual) {
    state.network = SplitNeurons(ProblemOf(state), state.network);
  }
  if (state.network.hidden_width() < options_.hidden_width || state.stalled_steps > 0) {
    state.network = WithTwoSparse(state, std::max<int64_t>(1, options_.hidden_width / 4));
    RefineAndMerge(Quick(state), state);
  }
  const auto growth =
      std::max<int64_t>(1, static_cast<int64_t>(kGrowth * static_cast<double>(options_.nonzeros)));
  const int64_t room =
      std::min(WorkingNonzeros(state.start), state.network.weights.nonzeros() + growth);
  state.network = GrowAndThreshold(ProblemOf(state), state.network, room, options_.output_signs,
                                   /*new_neurons=*/false);
  RefineAndMerge(Quick(state), state);
  state.network = DropInsignificant(ProblemOf(state), state.network, state.loss, kInsignificant);
  RefineAndMerge(Thorough(state), state);
  if (state.loss > kMaxRise * loss_before) {
    state.network = before;
    state.loss = loss_before;
  }
  ++state.phase_steps;
  state.stalled_steps =
      state.loss > (1 - kExpandDecrease) * state.least_loss ? state.stalled_steps + 1 : 0;
  state.least_loss = std::min(state.least_loss, state.loss);
  const bool stalls = state.stalled_steps >= kKinkPatience ||
                      (state.stalled_steps > 1 && LooksLikeNoise(ProblemOf(state), state.network));
  if (!Converged(state) && state.phase_steps < kMaxKinkSteps && !stalls) return;
  state.network =
      DropInsignificant(ProblemOf(state), state.network, state.loss, kClearlyInsignificant);
  RefineAndMerge(Thorough(state), state);
  if (options_.linear_term == LinearTerm::kNone) {
    state.network = AbsorbLinear(state.network, options_.output_signs);
    RefineAndMerge(Thorough(state), state);
  }
  state.phase = SolvePhase::kPrune;
  state.phase_steps = 0;
}

void Winnower::Prune(WinnowState& state) {
  const ReluProblem problem = ProblemOf(state);
  const RefineOptions refine = Refinement(state, 4, 40);
  if (state.phase_steps == 0 && Converged(state)) {
    state.network = RemoveRedundant(problem, state.network, options_.output_signs);
    state.irredundant = true;
  }
  const int64_t present = state.network.weights.nonzeros();
  if (present > options_.nonzeros) {
    const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kPruneShare));
    const int64_t count = std::max(options_.nonzeros, std::min(kept, present - 1));
    state.network = PruneTo(problem, state.network, count);
    state.irredundant = false;
    RefineAndMerge(refine, state);
    if (state.loss > refine.target_loss) {
      state.network = GrowAndThreshold(problem, state.network, count, options_.output_signs,
                                       /*new_neurons=*/false);
      RefineAndMerge(refine, state);
    }
    ++state.phase_steps;
    return;
  }
  if (state.network.hidden_width() > options_.hidden_width) {
    state.network = PruneNeuronsTo(problem, state.network, options_.hidden_width);
    state.irredundant = false;
  }
  state.loss = Refine(problem, Refinement(state, 20, 200), state.network);
  state.phase = SolvePhase::kSwap;
  state.phase_steps = 0;
  state.swap_size = std::max<int64_t>(1, options_.nonzeros / 2);
  Consider(state);
}

bool Winnower::TryCandidate(SparseNetwork candidate, WinnowState& state) {
  const ReluProblem problem = ProblemOf(state);
  Refine(problem, Refinement(state, 6, 60), candidate);
  candidate = MergeParallelNeurons(WithoutIdleNeurons(candidate), 1 - kTightestMerge);
  candidate = PruneTo(problem, candidate, options_.nonzeros);
  candidate = PruneNeuronsTo(problem, candidate, options_.hidden_width);
  const double loss = Refine(problem, Refinement(state, 8, 60), candidate);
  if (!(loss < (1 - kSwapDecrease) * state.loss)) return false;
  state.network = std::move(candidate);
  state.irredundant = false;
  state.loss = loss;
  Consider(state);
  return true;
}

void Winnower::Swap(WinnowState& state) {
  if (state.swap_size < 1 || Converged(state) || KnownMinimum(state)) {
    EndStart(state);
    return;
  }
  const bool better =
      TryCandidate(SplitNeurons(ProblemOf(state), state.network), state) ||
      TryCandidate(CancelOppositeNeurons(state.network, 1 - kLoosestMerge), state) ||
      TryCandidate(
          GrowAndThreshold(ProblemOf(state), state.network, options_.nonzeros + state.swap_size,
                           options_.output_signs, /*new_neurons=*/true),
          state) ||
      TryCandidate(WithTwoSparse(state, std::max<int64_t>(1, state.swap_size / 2)), state);
  if (!better) state.swap_size /= 2;
  ++state.phase_steps;
}

void Winnower::EndStart(WinnowState& state) {
  if (Converged(state) && !state.irredundant && !stop_requested()) {
    state.network = MergeParallelNeurons(
        RemoveRedundant(ProblemOf(state), state.network, options_.output_signs),
        1 - kTightestMerge);
    state.best_start = -1;  // whatever was best is not as small
  }
  state.phase = SolvePhase::kStart;  // from here on over all samples
  RefineOptions last = Refinement(state, 30, 300);
  last.min_decrease = 1e-6;
  state.loss = Refine(all_.problem(engine_), last, state.network);
  const double best_before = state.best_loss;
  const bool had_best = state.best_start >= 0 && state.best_start != state.start;
  // Starts from kinks are not drawn: two of them that agree say little.
  const bool independent = !FromKinks(state.start) || !FromKinks(state.best_start);
  Consider(state);
  if (had_best && std::abs(state.loss - best_before) <= kSameLoss * best_before) {
    if (independent) ++state.agreeing_starts;
  } else if (state.best_start == state.start) {
    state.agreeing_starts = 1;
  }
  if (state.best_start == state.start && !Converged(state)) {
    state.best_leaves_noise = LooksLikeNoise(all_.problem(engine_), state.best_network);
  }
  ++state.start;
  state.phase_steps = 0;
}

void Winnower::Step(WinnowState& state) {
  switch (state.phase) {
    case SolvePhase::kExpand:
      GrowsFromKinks(state) ? ExpandFromKinks(state) : Expand(state);
      break;
    case SolvePhase::kPrune:
      Prune(state);
      break;
    case SolvePhase::kSwap:
      Swap(state);
      break;
    case SolvePhase::kStart:
    case SolvePhase::kIterate:
    case SolvePhase::kTrain:
      BeginStart(state);
      break;
  }
  ++state.iteration;
}

std::string Serialize(const WinnowState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iteration);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.start);
  writer.Add(static_cast<int32_t>(state.phase));
  writer.Add(state.phase_steps);
  writer.Add(state.swap_size);
  writer.Add(state.stalled_steps);
  writer.Add(state.least_loss);
  writer.Add(static_cast<int32_t>(state.irredundant));
  AddNetwork(state.network, writer);
  writer.Add(state.loss);
  AddNetwork(state.best_network, writer);
  writer.Add(state.best_loss);
  writer.Add(state.best_start);
  writer.Add(state.agreeing_starts);
  writer.Add(static_cast<int32_t>(state.best_leaves_noise));
  return std::move(writer).Finish();
}

absl::StatusOr<WinnowState> Parse(std::string_view bytes, uint64_t fingerprint, WinnowState state) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  int32_t phase = 0;
  int32_t irredundant = 0;
  int32_t best_leaves_noise = 0;
  if (!reader->Take(state.iteration) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.start) || !reader->Take(phase) || !reader->Take(state.phase_steps) ||
      !reader->Take(state.swap_size) || !reader->Take(state.stalled_steps) ||
      !reader->Take(state.least_loss) || !reader->Take(irredundant) ||
      !TakeNetwork(*reader, state.network) || !reader->Take(state.loss) ||
      !TakeNetwork(*reader, state.best_network) || !reader->Take(state.best_loss) ||
      !reader->Take(state.best_start) || !reader->Take(state.agreeing_starts) ||
      !reader->Take(best_leaves_noise) || !reader->AtEnd() || state.start < 0 ||
      state.start > kNumStarts || phase < 0 || phase > static_cast<int32_t>(SolvePhase::kSwap)) {
    return StateReader::Damaged();
  }
  state.phase = static_cast<SolvePhase>(phase);
  state.irredundant = irredundant != 0;
  state.best_leaves_noise = best_leaves_noise != 0;
  return state;
}

}  // namespace

double WinnowBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_columns) {
  const int64_t part = PartSamples(num_samples, options.nonzeros);
  double bytes = part < num_samples ? static_cast<double>(DesignBytes(part, num_columns)) : 0.0;
  // The nested solve's.
  if (HasManyInputs(options, num_samples, num_columns)) {
    bytes += static_cast<double>(DesignBytes(num_samples, num_columns));
  }
  const int64_t num_rows = std::min(part, kSweepSamples);
  if (NumColumnPairs(num_columns) <= kMaxSweepSteps / num_rows) {
    bytes += static_cast<double>(DesignBytes(num_rows, num_columns) +
                                 AngleOrderBytes(num_rows, num_columns, kSweepBytes) +
                                 AngularSweepBytes(num_rows, options.num_threads));
  }
  return bytes;
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
    const double best = state.best_start >= 0 ? winnower.BestRelativeResidual(state)
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
    report.relative_residual = winnower.RelativeResidual(state);
    report.psnr_db = winnower.Psnr(state);
    report.support_size = state.network.weights.nonzeros();
    report.active_neurons = state.network.hidden_width();
    report.best_relative_residual =
        state.best_start >= 0 ? winnower.BestRelativeResidual(state) : report.relative_residual;
    report.elapsed_seconds = state.elapsed_seconds;
    if (observer.on_network) {
      const std::optional<SparseNetwork> present = winnower.Present(state);
      if (present) observer.on_network(*present);
    }
    if (observer.on_iteration) observer.on_iteration(report);
    if (observer.checkpoint_due && observer.on_checkpoint && observer.checkpoint_due(report)) {
      observer.on_checkpoint(Serialize(state, fingerprint));
    }
  }

  RecoveryResult result;
  result.termination_reason = *reason;
  SparseNetwork network = winnower.Result(state);
  winnower.Measure(network, result);
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
