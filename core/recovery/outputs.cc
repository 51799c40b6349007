#include "core/recovery/outputs.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/iteration/state_bytes.h"
#include "core/kernels/engine.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/residual_noise.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/winnow.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHO01";
constexpr double kPruneShare = 0.1;
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

std::string Serialize(const OutputsState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.starts_tried);
  writer.Add(state.worst_residual);
  writer.Add(static_cast<int32_t>(state.at_limit));
  writer.Add(static_cast<int64_t>(state.done.size()));
  for (const SparseNetwork& network : state.done) Add(network, writer);
  writer.AddVector(std::vector<char>(state.checkpoint.begin(), state.checkpoint.end()));
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
    if (!Take(*reader, state.done.back())) return StateReader::Damaged();
  }
  std::vector<char> inner;
  if (!reader->TakeVector(inner) || !reader->AtEnd()) return StateReader::Damaged();
  state.checkpoint.assign(inner.begin(), inner.end());
  return state;
}

// Targets that are zero, or noise in which a fit would only find chance.
bool HoldsNothing(const Samples& samples, const RecoveryOptions& options) {
  if (std::all_of(samples.targets.begin(), samples.targets.end(),
                  [](float target) { return target == 0; })) {
    return true;
  }
  Engine engine(options.num_threads);
  const ScaledSamples scaled = ScaleToUnit(samples, options.bias);
  return LooksLikeNoise(scaled.problem(engine),
                        {.num_inputs = samples.num_inputs, .has_bias = options.bias});
}

uint64_t FingerprintOf(uint64_t fingerprint, int64_t output) {
  Fingerprint mixed;
  mixed.Add(fingerprint);
  mixed.Add(static_cast<uint64_t>(output));
  return mixed.value();
}

// All outputs' networks, taken together.
class Joint {
 public:
  Joint(const Samples& samples, const Samples& inputs, const RecoveryOptions& options,
        std::stop_token stop)
      : options_(options),
        engine_(options.num_threads, std::move(stop)),
        scaled_(ScaleToUnit(inputs, options.bias)),
        num_outputs_(samples.num_outputs) {
    const int64_t padded = scaled_.design.padded_samples();
    targets_.assign(num_outputs_ * padded, 0.0);
    // One scale for all outputs: the sum of their squared errors is what counts.
    scaled_.target_scale = 1;
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      for (int64_t o = 0; o < num_outputs_; ++o) {
        const double target = samples.targets[i * num_outputs_ + o];
        targets_[o * padded + i] = target;
        target_norm2_ += target * target;
        max_target_ = std::max(max_target_, std::abs(target));
      }
    }
  }

  // The outputs' networks as one, refined, within the budget.
  SparseNetwork Fit(std::span<const SparseNetwork> outputs, double relative_residual) {
    const double angle = kSameDirection * relative_residual;
    const double slack = std::clamp(angle * angle / 2, kTightestMerge, kLoosestMerge);
    SparseNetwork network = JoinOutputs(outputs, 1 - slack);
    for (size_t e = 0; e < network.weights.value.size(); ++e) {
      network.weights.value[e] /= scaled_.column_scales[network.weights.column[e]];
    }
    const double tolerance = options_.termination.relative_residual_tolerance;
    JointRefineOptions refine;
    refine.target_loss = kPolish * kPolish * tolerance * tolerance * target_norm2_;
    network = BalanceLayers(network);
    JointRefine(problem(engine_), refine, network);
    refine.max_steps = 6;
    while (Excess(network) > 0 && !engine_.stop_requested()) {
      const int64_t present = Nonzeros(network);
      const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kPruneShare));
      network = present > options_.nonzeros
                    ? JointPruneTo(problem(engine_), network,
                                   std::max(options_.nonzeros, std::min(kept, present - 1)))
                    : JointPruneUnitsTo(problem(engine_), network, options_.hidden_width);
      network = BalanceLayers(network);
      JointRefine(problem(engine_), refine, network);
    }
    refine.max_steps = 30;
    refine.min_decrease = 1e-6;
    JointRefine(problem(engine_), refine, network);
    if (Excess(network) > 0) network = WithinBudget(std::move(network));
    for (size_t e = 0; e < network.weights.value.size(); ++e) {
      network.weights.value[e] *= scaled_.column_scales[network.weights.column[e]];
    }
    return network;
  }

  // Sets relative_residual and psnr_db, after a stop too.
  void Measure(SparseNetwork network, RecoveryResult& result) const {
    for (size_t e = 0; e < network.weights.value.size(); ++e) {
      network.weights.value[e] /= scaled_.column_scales[network.weights.column[e]];
    }
    Engine unstopped(options_.num_threads);
    const double loss = JointLoss(problem(unstopped), network);
    result.relative_residual = std::sqrt(loss / target_norm2_);
    result.psnr_db = PsnrDb(loss, scaled_.design.num_samples * num_outputs_, max_target_);
  }

  bool stop_requested() const { return engine_.stop_requested(); }

 private:
  JointProblem problem(Engine& engine) const {
    return {engine, scaled_.design, targets_, num_outputs_};
  }
  // Weights and units over the budget.
  int64_t Excess(const SparseNetwork& network) const {
    return std::max(Nonzeros(network) - options_.nonzeros,
                    network.hidden_width() - options_.hidden_width);
  }
  // By magnitude alone: it takes no time.
  SparseNetwork WithinBudget(SparseNetwork network) const;

  const RecoveryOptions& options_;
  Engine engine_;
  ScaledSamples scaled_;  // its targets are not used
  const int64_t num_outputs_;
  std::vector<double> targets_;
  double target_norm2_ = 0;
  double max_target_ = 0;
};

SparseNetwork Joint::WithinBudget(SparseNetwork network) const {
  // Units by the product of the norms on their sides, then weights of the units that stay.
  network = BalanceLayers(std::move(network));
  SparseRows& hidden = network.weights;
  SparseRows& output = network.upper_layers[0];
  std::vector<double> sizes(hidden.num_rows());
  for (int64_t j = 0; j < hidden.num_rows(); ++j) {
    for (int64_t e = hidden.row_begin[j]; e < hidden.row_begin[j + 1]; ++e) {
      sizes[j] += hidden.value[e] * hidden.value[e];
    }
  }
  const auto cut_of = [](std::vector<double> values, int64_t count) {
    std::sort(values.begin(), values.end(), std::greater<>());
    return static_cast<int64_t>(values.size()) > count ? values[count] : 0.0;
  };
  const double unit_cut = cut_of(sizes, options_.hidden_width);
  const auto stays = [&](int64_t unit) {
    return unit >= hidden.num_rows() || sizes[unit] > unit_cut;
  };
  std::vector<double> magnitudes;
  for (int64_t j = 0; j < hidden.num_rows(); ++j) {
    for (int64_t e = hidden.row_begin[j]; e < hidden.row_begin[j + 1]; ++e) {
      if (!stays(j)) hidden.value[e] = 0;
      magnitudes.push_back(std::abs(hidden.value[e]));
    }
  }
  for (size_t e = 0; e < output.value.size(); ++e) {
    if (!stays(output.column[e])) output.value[e] = 0;
    magnitudes.push_back(std::abs(output.value[e]));
  }
  const double cut = cut_of(magnitudes, options_.nonzeros);
  for (SparseRows* rows : {&hidden, &output}) {
    for (double& value : rows->value) {
      if (std::abs(value) <= cut) value = 0;
    }
  }
  return DropDeadNeurons(network);
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
  const auto begin = std::chrono::steady_clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    const auto now = std::chrono::steady_clock::now();
    return earlier_seconds + std::chrono::duration<double>(now - begin).count();
  };

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
    if (state.checkpoint.empty() && HoldsNothing(one, options)) {
      state.done.push_back(empty);
      outputs.push_back(empty);
      continue;
    }
    RecoveryOptions of_output = options;
    TerminationCriteria& criteria = of_output.termination;
    const double before = state.elapsed_seconds;
    if (criteria.time_limit_seconds > 0) {
      criteria.time_limit_seconds = std::max(1e-3, criteria.time_limit_seconds - before);
    }
    const auto on_whole = [&](IterationReport report) {
      report.iteration += state.iterations;
      report.elapsed_seconds += before;
      return report;
    };
    RecoveryObserver inner;
    inner.on_iteration = [&](const IterationReport& report) {
      if (observer.on_iteration) observer.on_iteration(on_whole(report));
    };
    if (observer.checkpoint_due && observer.on_checkpoint) {
      inner.checkpoint_due = [&](const IterationReport& report) {
        return observer.checkpoint_due(on_whole(report));
      };
      inner.on_checkpoint = [&](std::string bytes) {
        OutputsState now = state;
        now.checkpoint = std::move(bytes);
        observer.on_checkpoint(Serialize(now, fingerprint));
      };
    }
    absl::StatusOr<RecoveryResult> found = Winnow(one, of_output, {}, inner, stop, state.checkpoint,
                                                  FingerprintOf(fingerprint, output));
    if (!found.ok()) return found.status();
    outputs.push_back(std::get<SparseNetwork>(found->network));
    const double worst = std::max(state.worst_residual, found->relative_residual);
    switch (found->termination_reason) {
      case TerminationReason::kConverged:
      case TerminationReason::kStagnated:
      case TerminationReason::kIterationLimit:
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
        reason = found->termination_reason;
    }
  }
  outputs.resize(samples.num_outputs, empty);

  Joint joint(samples, one, options, std::move(stop));
  SparseNetwork network = joint.Fit(outputs, state.worst_residual);
  joint.Measure(network, result);
  if (!reason && joint.stop_requested()) reason = TerminationReason::kCancelled;
  if (!reason) {
    const bool converged =
        result.relative_residual <= options.termination.relative_residual_tolerance;
    reason = converged        ? TerminationReason::kConverged
             : state.at_limit ? TerminationReason::kIterationLimit
                              : TerminationReason::kStagnated;
  }
  result.termination_reason = *reason;
  result.iterations += state.iterations;
  result.elapsed_seconds = elapsed();
  result.nonzeros = Nonzeros(network);
  result.active_neurons = ActiveNeurons(network);
  result.network = std::move(network);
  result.starts_tried = std::max<int64_t>(1, state.starts_tried);
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  return result;
}

}  // namespace thresher
