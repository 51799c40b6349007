#include "core/recovery/outputs.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/engine.h"
#include "core/network/merge.h"
#include "core/recovery/joint_samples.h"
#include "core/recovery/nested_observer.h"
#include "core/recovery/residual_noise.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/solver.h"
#include "core/recovery/winnow.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHO02";
// Neurons of different outputs are one where their angle is within so many relative residuals.
constexpr double kSameDirection = 3;
constexpr double kTightestMerge = 1e-10;
constexpr double kLoosestMerge = 5e-3;
constexpr double kPolish = 0.25;  // of the tolerance, as winnow

// What is left of a solve between two iterations.
struct OutputsState {
  int64_t iterations = 0;  // of the outputs that are done
  double elapsed_seconds = 0;
  int64_t starts_tried = 0;
  double worst_residual = 0;  // relative, of an output that is done
  bool at_limit = false;      // an output ended at its last iteration
  std::vector<SparseNetwork> done;
  std::string checkpoint;  // of the output at work
};

std::string Serialize(const OutputsState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.starts_tried);
  writer.Add(state.worst_residual);
  writer.Add(static_cast<int32_t>(state.at_limit));
  writer.Add(static_cast<int64_t>(state.done.size()));
  for (const SparseNetwork& network : state.done) AddNetwork(network, writer);
  writer.AddText(state.checkpoint);
  return std::move(writer).Finish();
}

absl::StatusOr<OutputsState> Parse(std::string_view bytes, uint64_t fingerprint,
                                   const SparseNetwork& empty, int64_t num_outputs) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  OutputsState state;
  int32_t at_limit = 0;
  int64_t num_done = 0;
  if (!reader->Take(state.iterations) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.starts_tried) || !reader->Take(state.worst_residual) ||
      !reader->Take(at_limit) || !reader->Take(num_done) || num_done < 0 ||
      num_done > num_outputs) {
    return StateReader::Damaged();
  }
  state.at_limit = at_limit != 0;
  for (int64_t o = 0; o < num_done; ++o) {
    state.done.push_back(empty);
    if (!TakeNetwork(*reader, state.done.back())) return StateReader::Damaged();
  }
  if (!reader->TakeText(state.checkpoint) || !reader->AtEnd()) return StateReader::Damaged();
  return state;
}

// Targets that are zero, or noise in which a fit would only find chance.
bool HoldsNothing(const Samples& samples, const RecoveryOptions& options, std::stop_token stop) {
  if (std::all_of(samples.targets.begin(), samples.targets.end(),
                  [](float target) { return target == 0; })) {
    return true;
  }
  Engine engine(options.num_threads, std::move(stop));
  const ScaledSamples scaled = ScaleToUnit(samples, options.bias);
  return LooksLikeNoise(scaled.problem(engine),
                        {.num_inputs = samples.num_inputs, .has_bias = options.bias});
}

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

uint64_t FingerprintOf(uint64_t fingerprint, int64_t output) {
  Fingerprint mixed;
  mixed.Add(fingerprint);
  mixed.Add(static_cast<uint64_t>(output));
  return mixed.value();
}

// The outputs' networks as one, refined, within the budget.
SparseNetwork FitJointly(const JointSamples& samples, const RecoveryOptions& options,
                         std::span<const SparseNetwork> outputs, double relative_residual,
                         const JointProblem& problem) {
  const double angle = kSameDirection * relative_residual;
  const double slack = std::clamp(angle * angle / 2, kTightestMerge, kLoosestMerge);
  const double tolerance = options.termination.relative_residual_tolerance;
  const JointBudget budget = {.nonzeros = options.nonzeros, .width = options.hidden_width};
  JointRefineOptions refine;
  refine.target_loss = kPolish * kPolish * tolerance * tolerance * samples.target_norm2;
  SparseNetwork network = BalanceLayers(ToScaled(samples, JoinOutputs(outputs, 1 - slack)));
  JointRefine(problem, refine, network);
  refine.max_steps = 6;
  double loss = 0;
  network = JointPruneBack(problem, budget, refine, std::move(network), loss);
  refine.max_steps = 30;
  refine.min_decrease = 1e-6;
  JointRefine(problem, refine, network);
  if (!Within(budget, network)) network = CutToBudget(budget, BalanceLayers(std::move(network)));
  return network;
}

}  // namespace

SparseNetwork JoinOutputs(std::span<const SparseNetwork> outputs, double min_cosine) {
  struct Unit {
    std::vector<int32_t> column;
    std::vector<double> value;  // length 1
  };
  std::vector<Unit> units;
  SparseNetwork joined;
  joined.upper_layers.emplace_back();
  for (const SparseNetwork& network : outputs) {
    joined.num_inputs = network.num_inputs;
    joined.has_bias = network.has_bias;
    std::vector<double> weights(units.size());  // of this output
    for (int64_t j = 0; j < network.hidden_width(); ++j) {
      const SparseRows& rows = network.weights;
      Unit unit{
          {rows.column.begin() + rows.row_begin[j], rows.column.begin() + rows.row_begin[j + 1]},
          {rows.value.begin() + rows.row_begin[j], rows.value.begin() + rows.row_begin[j + 1]}};
      double length = 0;
      for (const double value : unit.value) length = std::hypot(length, value);
      if (length == 0) continue;
      for (double& value : unit.value) value /= length;
      const auto same = std::find_if(units.begin(), units.end(), [&](const Unit& other) {
        double cosine = 0;
        for (size_t a = 0, b = 0; a < unit.column.size() && b < other.column.size();) {
          if (unit.column[a] == other.column[b])
            cosine += unit.value[a++] * other.value[b++];
          else if (unit.column[a] < other.column[b])
            ++a;
          else
            ++b;
        }
        return cosine >= min_cosine;
      });
      const auto index = static_cast<size_t>(same - units.begin());
      if (same == units.end()) {
        units.push_back(std::move(unit));
        weights.push_back(0);
      }
      weights[index] += network.output_signs[j] * length;
    }
    SparseRows& rows = joined.upper_layers[0];
    for (size_t j = 0; j < weights.size(); ++j) {
      if (weights[j] == 0) continue;
      rows.column.push_back(static_cast<int32_t>(j));
      rows.value.push_back(weights[j]);
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  for (const Unit& unit : units) {
    SparseRows& rows = joined.weights;
    rows.column.insert(rows.column.end(), unit.column.begin(), unit.column.end());
    rows.value.insert(rows.value.end(), unit.value.begin(), unit.value.end());
    rows.row_begin.push_back(rows.nonzeros());
  }
  return DropDeadNeurons(joined);
}

absl::StatusOr<RecoveryResult> RecoverOutputs(const Samples& samples,
                                              const RecoveryOptions& options,
                                              const RecoveryObserver& observer,
                                              std::stop_token stop, std::string_view checkpoint,
                                              uint64_t fingerprint) {
  const SparseNetwork empty = {.num_inputs = samples.num_inputs, .has_bias = options.bias};
  OutputsState state;
  if (!checkpoint.empty()) {
    absl::StatusOr<OutputsState> parsed =
        Parse(checkpoint, fingerprint, empty, samples.num_outputs);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  const double time_limit = options.termination.time_limit_seconds;

  // The samples with one output, which changes.
  Samples one = {.num_samples = samples.num_samples,
                 .num_inputs = samples.num_inputs,
                 .inputs = samples.inputs,
                 .targets = std::vector<float>(samples.num_samples)};
  RecoveryResult result;
  std::optional<TerminationReason> reason;
  std::vector<SparseNetwork> outputs = state.done;
  while (!reason && static_cast<int64_t>(state.done.size()) < samples.num_outputs) {
    const auto output = static_cast<int64_t>(state.done.size());
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      one.targets[i] = samples.targets[i * samples.num_outputs + output];
    }
    if (state.checkpoint.empty()) {
      const auto begin = std::chrono::steady_clock::now();
      const bool nothing = HoldsNothing(one, options, stop);
      if (stop.stop_requested()) {
        reason = TerminationReason::kCancelled;
        break;
      }
      state.elapsed_seconds += SecondsSince(begin);
      if (nothing) {
        state.done.push_back(empty);
        outputs.push_back(empty);
        if (time_limit > 0 && state.elapsed_seconds >= time_limit) {
          reason = TerminationReason::kTimeLimit;
        }
        continue;
      }
    }
    RecoveryOptions of_output = options;
    const double before = state.elapsed_seconds;
    of_output.termination.time_limit_seconds = TimeLeft(time_limit, before);
    const auto inner = StageObserver(
        observer, state, [&](const OutputsState& now) { return Serialize(now, fingerprint); });
    const RecoveryObserver measured =
        samples.class_names.empty() ? WithRSquared(inner, one, Loss::kSquared) : inner;
    absl::StatusOr<RecoveryResult> found = Winnow(
        one, of_output, {}, measured, stop, state.checkpoint, FingerprintOf(fingerprint, output));
    if (!found.ok()) return found.status();
    outputs.push_back(std::get<SparseNetwork>(found->network));
    const double worst = std::max(state.worst_residual, found->relative_residual);
    switch (found->termination_reason) {
      case TerminationReason::kConverged:
      case TerminationReason::kStagnated:
      case TerminationReason::kIterationLimit:
      case TerminationReason::kEarlyStopped:
        state.checkpoint.clear();
        state.worst_residual = worst;
        state.at_limit |= found->termination_reason == TerminationReason::kIterationLimit;
        state.iterations += found->iterations;
        state.elapsed_seconds = before + found->elapsed_seconds;
        state.starts_tried = std::max(state.starts_tried, found->starts_tried);
        state.done.push_back(outputs.back());
        break;
      case TerminationReason::kTimeLimit:
      case TerminationReason::kCancelled:
        state.checkpoint = std::move(found->checkpoint);
        result.iterations = found->iterations;
        result.elapsed_seconds = found->elapsed_seconds;
        reason = found->termination_reason;
    }
  }
  outputs.resize(samples.num_outputs, empty);

  result.elapsed_seconds += state.elapsed_seconds;
  const auto begin = std::chrono::steady_clock::now();
  const auto deadline = DeadlineAfter(TimeLeft(time_limit, result.elapsed_seconds));
  const JointSamples joint = MakeJointSamples(samples, options.bias);
  Engine engine(options.num_threads, std::move(stop));
  const JointProblem problem = joint.problem(engine, deadline);
  SparseNetwork network = FitJointly(joint, options, outputs, state.worst_residual, problem);
  Engine unstopped(options.num_threads);
  const double loss = JointLoss(joint.problem(unstopped), network);
  result.relative_residual = joint.RelativeResidual(loss);
  result.psnr_db = joint.PsnrDb(loss);
  network = FromScaled(joint, std::move(network));
  if (!reason && engine.stop_requested()) reason = TerminationReason::kCancelled;
  if (!reason) {
    const bool converged =
        result.relative_residual <= options.termination.relative_residual_tolerance;
    reason = converged           ? TerminationReason::kConverged
             : problem.stopped() ? TerminationReason::kTimeLimit
             : state.at_limit    ? TerminationReason::kIterationLimit
                                 : TerminationReason::kStagnated;
  }
  result.termination_reason = *reason;
  result.iterations += state.iterations;
  result.elapsed_seconds += SecondsSince(begin);
  result.nonzeros = Nonzeros(network);
  result.active_neurons = ActiveNeurons(network);
  result.network = std::move(network);
  result.starts_tried = std::max<int64_t>(1, state.starts_tried);
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  return result;
}

}  // namespace thresher
