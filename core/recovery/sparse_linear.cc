#include "core/recovery/sparse_linear.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/iteration/termination.h"
#include "core/kernels/engine.h"
#include "core/network/absorb_linear.h"
#include "core/network/merge.h"
#include "core/recovery/nested_observer.h"
#include "core/recovery/network_entries.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/solver.h"
#include "core/recovery/support.h"
#include "core/recovery/winnow.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHS01";
// Variances of the residual that a weight of a neuron has to explain: the best of all the neurons
// there are explains some 20 by chance. An entry of the linear term, which is not searched for,
// has to explain 2, as Akaike's criterion asks.
constexpr double kNeuronVariances = 25;
constexpr double kLinearVariances = 2;
constexpr double kPruneShare = 0.1;
constexpr int kMaxRounds = 10;
// A relative residual beyond this says nothing about which entries are none.
constexpr double kLargestNothing = 0.05;
constexpr double kSmallestNothing = 1e-5;
constexpr RefineOptions kQuick = {.max_steps = 4, .max_products = 40};
constexpr RefineOptions kThorough = {.max_steps = 20, .max_products = 200};

// The solves that the networks to choose from come from, and the part of the time limit at which
// each ends.
struct Stage {
  LinearTerm linear_term;
  double end_share;
};
constexpr std::array kStages = {Stage{LinearTerm::kDense, 0.5}, Stage{LinearTerm::kNone, 0.9}};

// What is left of a solve between two iterations.
struct SparseLinearState {
  int64_t iterations = 0;  // of the stages that are done
  double elapsed_seconds = 0;
  bool at_limit = false;            // a stage ended at its last iteration
  bool timed_out = false;           // or at its share of the time limit
  std::vector<SparseNetwork> done;  // what the stages found
  std::string checkpoint;           // of the stage at work
};

std::string Serialize(const SparseLinearState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(static_cast<int32_t>(state.at_limit));
  writer.Add(static_cast<int32_t>(state.timed_out));
  writer.Add(static_cast<int64_t>(state.done.size()));
  for (const SparseNetwork& network : state.done) AddNetwork(network, writer);
  writer.AddText(state.checkpoint);
  return std::move(writer).Finish();
}

absl::StatusOr<SparseLinearState> Parse(std::string_view bytes, uint64_t fingerprint,
                                        const SparseNetwork& empty) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  SparseLinearState state;
  int32_t at_limit = 0;
  int32_t timed_out = 0;
  int64_t num_done = 0;
  if (!reader->Take(state.iterations) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(at_limit) || !reader->Take(timed_out) || !reader->Take(num_done) ||
      num_done < 0 || num_done > static_cast<int64_t>(kStages.size())) {
    return StateReader::Damaged();
  }
  state.at_limit = at_limit != 0;
  state.timed_out = timed_out != 0;
  for (int64_t k = 0; k < num_done; ++k) {
    state.done.push_back(empty);
    if (!TakeNetwork(*reader, state.done.back())) return StateReader::Damaged();
  }
  if (!reader->TakeText(state.checkpoint) || !reader->AtEnd()) return StateReader::Damaged();
  return state;
}

// A network of the scaled samples and its loss.
struct Fit {
  SparseNetwork network;
  double loss;
};

class Finisher {
 public:
  Finisher(const Samples& samples, const RecoveryOptions& options, double seconds_left,
           std::stop_token stop)
      : options_(options),
        scaled_(ScaleToUnit(samples, options.bias)),
        engine_(options.num_threads, std::move(stop)),
        problem_(scaled_.problem(engine_)),
        deadline_(DeadlineAfter(seconds_left)) {
    problem_.sparse_linear = true;
  }

  // The best within the budget of what the stages found: the first beside a dense linear term, the
  // second, where there is one, without.
  SparseNetwork Best(std::span<const SparseNetwork> found);
  bool Converged(double loss) const {
    const double tolerance = options_.termination.relative_residual_tolerance;
    return loss <= tolerance * tolerance * scaled_.target_norm2;
  }
  bool stopped() const {
    return engine_.stop_requested() || std::chrono::steady_clock::now() >= deadline_;
  }

 private:
  bool IsIntercept(int32_t column) const { return column == problem_.num_inputs; }
  int64_t Counted(const SparseNetwork& network) const;
  Fit Refined(RefineOptions options, SparseNetwork network);
  // Without neurons that the residual may hold by chance; the linear term is refitted.
  SparseNetwork Significant(SparseNetwork network);
  // The `count` weights and entries of most worth.
  SparseNetwork PruneTo(const SparseNetwork& network, int64_t count);
  Fit PrunedBack(SparseNetwork network);
  // n log loss and what the weights must explain: the smaller the better.
  double Criterion(const Fit& fit) const;

  const RecoveryOptions& options_;
  const ScaledSamples scaled_;
  Engine engine_;
  ReluProblem problem_;
  const std::chrono::steady_clock::time_point deadline_;
};

int64_t Finisher::Counted(const SparseNetwork& network) const {
  int64_t counted = network.weights.nonzeros();
  for (const int32_t q : LinearColumns(problem_, network)) counted += IsIntercept(q) ? 0 : 1;
  return counted;
}

Fit Finisher::Refined(RefineOptions options, SparseNetwork network) {
  const double loss = Refine(problem_, options, network);
  return {std::move(network), loss};
}

SparseNetwork Finisher::Significant(SparseNetwork network) {
  double loss = Linearise(problem_, network).loss;
  if (Converged(loss)) return network;
  int64_t before = -1;
  while (network.weights.nonzeros() != before && !stopped()) {
    before = network.weights.nonzeros();
    network = DropInsignificant(problem_, network, loss, kNeuronVariances);
    loss = Refine(problem_, {.max_steps = 8, .max_products = 60}, network);
    network = MoveConstantNeurons(DropDeadNeurons(network));
  }
  return network;
}

SparseNetwork Finisher::PruneTo(const SparseNetwork& network, int64_t count) {
  const std::vector<int32_t> columns = LinearColumns(problem_, network);
  const auto num_weights = static_cast<size_t>(network.weights.nonzeros());
  std::vector<double> worth;
  if (!stopped()) worth = Saliencies(problem_, network);
  if (worth.empty() || engine_.stop_requested()) {
    // By magnitude alone, which takes no time: gates are open on about half the samples.
    worth.clear();
    for (const double value : network.weights.value) worth.push_back(value * value / 2);
    for (const int32_t q : columns) worth.push_back(network.linear[q] * network.linear[q]);
  }
  SparseVector scores;
  for (size_t e = 0; e < worth.size(); ++e) {
    const bool free = e >= num_weights && IsIntercept(columns[e - num_weights]);
    if (!free) scores.push_back({static_cast<int64_t>(e), worth[e]});
  }
  const SparseVector all = EntriesOf(network);
  SparseVector entries;
  SparseNetwork pruned = network;
  for (const int32_t q : columns) {
    if (!IsIntercept(q)) pruned.linear[q] = 0;
  }
  for (const KeyedValue& kept : HardThreshold(count, std::move(scores))) {
    const auto e = static_cast<size_t>(kept.key);
    if (e < num_weights) {
      entries.push_back(all[e]);
    } else {
      pruned.linear[columns[e - num_weights]] = network.linear[columns[e - num_weights]];
    }
  }
  return WithEntries(pruned, entries, network.output_signs);
}

Fit Finisher::PrunedBack(SparseNetwork network) {
  for (int64_t counted = Counted(network); counted > options_.nonzeros;
       counted = Counted(network)) {
    const auto kept = static_cast<int64_t>(static_cast<double>(counted) * (1 - kPruneShare));
    const int64_t count = std::max(options_.nonzeros, std::min(kept, counted - 1));
    network = PruneTo(network, stopped() ? options_.nonzeros : count);
    if (stopped()) break;
    network = DropDeadNeurons(Refined(kQuick, std::move(network)).network);
  }
  Fit fit = Refined(stopped() ? RefineOptions{.max_steps = 0} : kThorough, std::move(network));
  // Entries of the linear term that explain nothing: a quarter of them at a time, as of two that
  // depend on each other one may stay.
  while (!stopped()) {
    const std::vector<int32_t> columns = LinearColumns(problem_, fit.network);
    const auto num_weights = static_cast<size_t>(fit.network.weights.nonzeros());
    const std::vector<double> worth = Saliencies(problem_, fit.network);
    const double variance = fit.loss / static_cast<double>(problem_.design.num_samples);
    std::vector<std::pair<double, int32_t>> idle;
    for (size_t k = 0; k < columns.size(); ++k) {
      const double of_entry = worth[num_weights + k];
      if (!IsIntercept(columns[k]) && of_entry < kLinearVariances * variance) {
        idle.emplace_back(of_entry, columns[k]);
      }
    }
    if (idle.empty() || stopped()) break;
    std::sort(idle.begin(), idle.end());
    idle.resize(1 + idle.size() / 4);
    for (const auto& [of_entry, column] : idle) fit.network.linear[column] = 0;
    fit = Refined(kQuick, std::move(fit.network));
  }
  return fit;
}

double Finisher::Criterion(const Fit& fit) const {
  return static_cast<double>(problem_.design.num_samples) * std::log(fit.loss) +
         (kNeuronVariances - kLinearVariances) *
             static_cast<double>(fit.network.weights.nonzeros()) +
         kLinearVariances * static_cast<double>(Counted(fit.network));
}

SparseNetwork Finisher::Best(std::span<const SparseNetwork> found) {
  const SparseNetwork beside = Significant(ToScaled(scaled_, found[0]));
  Fit best = PrunedBack(beside);
  // True where it is better by more than one variance.
  const auto consider = [&](Fit fit) {
    if (engine_.stop_requested() || !(Criterion(fit) < Criterion(best) - 1)) return false;
    best = std::move(fit);
    return true;
  };
  if (beside.hidden_width() > 0 && !stopped()) {
    const double residual = std::sqrt(Linearise(problem_, beside).loss / scaled_.target_norm2);
    const double nothing = std::clamp(residual, kSmallestNothing, kLargestNothing);
    consider(PrunedBack(SparsestSides(beside, nothing)));
  }
  if (found.size() > 1 && !stopped()) {
    SparseNetwork alone = ToScaled(scaled_, found[1]);
    alone.linear.assign(alone.num_columns(), 0.0);
    consider(PrunedBack(MoveConstantNeurons(alone)));
  }
  // The whole linear term comes back beside the weights that are left.
  for (int round = 0; round < kMaxRounds && !Converged(best.loss) && !stopped(); ++round) {
    SparseNetwork wider = best.network;
    problem_.sparse_linear = false;
    Refine(problem_, kThorough, wider);
    problem_.sparse_linear = true;
    if (!consider(PrunedBack(std::move(wider)))) break;
  }
  return FromScaled(scaled_, std::move(best.network));
}

}  // namespace

absl::StatusOr<RecoveryResult> RecoverSparseLinear(
    const Samples& samples, const RecoveryOptions& options, const RecoveryStart& start,
    const RecoveryObserver& observer, std::stop_token stop, std::string_view checkpoint,
    uint64_t fingerprint) {
  const SparseNetwork empty = {.num_inputs = samples.num_inputs, .has_bias = options.bias};
  SparseLinearState state;
  if (!checkpoint.empty()) {
    absl::StatusOr<SparseLinearState> parsed = Parse(checkpoint, fingerprint, empty);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  const double time_limit = options.termination.time_limit_seconds;
  RecoveryResult result;
  std::vector<SparseNetwork> found = state.done;
  std::optional<TerminationReason> reason;
  // Sets the network of what is found so far, and how well it fits.
  const auto finish = [&](double seconds_left) {
    const auto begin = std::chrono::steady_clock::now();
    result.network = Finisher(samples, options, seconds_left, stop).Best(found);
    absl::Status status = MeasureOnSamples(samples, result);
    state.elapsed_seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return status;
  };

  while (!reason && state.done.size() < kStages.size()) {
    const Stage& stage = kStages[state.done.size()];
    RecoveryOptions of_stage = options;
    of_stage.linear_term = stage.linear_term;
    of_stage.termination.time_limit_seconds =
        TimeLeft(stage.end_share * time_limit, state.elapsed_seconds);
    const RecoveryObserver inner = StageObserver(
        observer, state, [&](const SparseLinearState& now) { return Serialize(now, fingerprint); });
    Fingerprint mixed;
    mixed.Add(fingerprint);
    mixed.Add(state.done.size());
    absl::StatusOr<RecoveryResult> solved =
        Winnow(samples, of_stage, state.done.empty() ? start : RecoveryStart(), inner, stop,
               state.checkpoint, mixed.value());
    if (!solved.ok()) return solved.status();
    found.push_back(std::get<SparseNetwork>(std::move(solved->network)));
    if (solved->termination_reason == TerminationReason::kCancelled) {
      state.checkpoint = std::move(solved->checkpoint);
      result.iterations = solved->iterations;
      result.elapsed_seconds = solved->elapsed_seconds;
      reason = TerminationReason::kCancelled;
    } else {
      state.checkpoint.clear();
      state.iterations += solved->iterations;
      state.elapsed_seconds += solved->elapsed_seconds;
      state.at_limit |= solved->termination_reason == TerminationReason::kIterationLimit;
      state.timed_out |= solved->termination_reason == TerminationReason::kTimeLimit;
      state.done.push_back(found.back());
    }
    const bool last = found.size() == kStages.size();
    const double share = last ? 1.0 : kStages[found.size()].end_share;
    const absl::Status status = finish(TimeLeft(share * time_limit, state.elapsed_seconds));
    if (!status.ok()) return status;
    if (result.relative_residual <= options.termination.relative_residual_tolerance) {
      reason = TerminationReason::kConverged;
    } else if (stop.stop_requested()) {
      reason = TerminationReason::kCancelled;
    }
  }
  if (!reason) {
    reason = state.timed_out  ? TerminationReason::kTimeLimit
             : state.at_limit ? TerminationReason::kIterationLimit
                              : TerminationReason::kStagnated;
  }
  result.termination_reason = *reason;
  result.iterations += state.iterations;
  result.elapsed_seconds += state.elapsed_seconds;
  result.nonzeros = Nonzeros(result.network);
  result.active_neurons = ActiveNeurons(result.network);
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  return result;
}

}  // namespace thresher
