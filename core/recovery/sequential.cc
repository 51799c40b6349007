#include "core/recovery/sequential.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/design.h"
#include "core/network/merge.h"
#include "core/recovery/count_sketch.h"
#include "core/recovery/layers.h"
#include "core/recovery/nested_observer.h"
#include "core/recovery/report.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHQ01";

struct SequentialState {
  int64_t iterations = 0;  // of the stages that are done
  double elapsed_seconds = 0;
  int64_t num_done = 0;
  TerminationReason reason = TerminationReason::kStagnated;  // of the last of them
  SparseNetwork found;     // the layers of these, and the output of the last
  std::string checkpoint;  // of the stage at work
};

std::string Serialize(const SequentialState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.num_done);
  writer.Add(static_cast<int32_t>(state.reason));
  AddNetwork(state.found, writer);
  writer.AddText(state.checkpoint);
  return std::move(writer).Finish();
}

absl::StatusOr<SequentialState> Parse(std::string_view bytes, uint64_t fingerprint,
                                      const SparseNetwork& empty, int64_t hidden_layers) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  SequentialState state;
  state.found = empty;
  int32_t done_reason = 0;
  if (!reader->Take(state.iterations) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.num_done) || state.num_done < 0 || state.num_done > hidden_layers ||
      !reader->Take(done_reason) || done_reason < 0 ||
      done_reason > static_cast<int32_t>(TerminationReason::kIterationLimit) ||
      !TakeNetwork(*reader, state.found) || !reader->TakeText(state.checkpoint) ||
      !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  state.reason = static_cast<TerminationReason>(done_reason);
  return state;
}

// The hidden layers of a network, from the inputs on.
std::vector<const SparseRows*> HiddenLayers(const SparseNetwork& network) {
  std::vector<const SparseRows*> layers = {&network.weights};
  for (const SparseRows& layer : network.upper_layers) layers.push_back(&layer);
  if (!network.upper_layers.empty() && !IsFused(network)) layers.pop_back();
  return layers;
}

// The hidden layers of `below` with a network on their values on top.
SparseNetwork Stack(const SparseNetwork& below, const SparseNetwork& above) {
  SparseNetwork network = below;
  if (above.hidden_width() == 0 && above.upper_layers.empty()) {  // zero, for one output
    network.weights = {};
    network.upper_layers.clear();
    network.output_signs.clear();
    return network;
  }
  network.upper_layers.clear();
  const std::vector<const SparseRows*> layers = HiddenLayers(below);
  for (size_t l = 1; l < layers.size(); ++l) network.upper_layers.push_back(*layers[l]);
  network.upper_layers.push_back(above.weights);
  network.upper_layers.insert(network.upper_layers.end(), above.upper_layers.begin(),
                              above.upper_layers.end());
  network.output_signs = above.output_signs;
  return network;
}

}  // namespace

RecoveryOptions StageOptions(const RecoveryOptions& options, int64_t num_inputs,
                             int64_t num_outputs) {
  RecoveryOptions stage = options;
  stage.algorithm = num_outputs > 1 ? Algorithm::kCountSketch : Algorithm::kAiht;
  stage.hidden_layers = 1;
  stage.nonzeros = std::min(options.nonzeros / options.hidden_layers,
                            NumCandidates(stage, num_inputs, num_outputs));
  stage.working_nonzeros = stage.nonzeros;
  return stage;
}

double SequentialBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                       int64_t num_outputs) {
  double bytes = 0;
  if (num_outputs > 1) bytes += CountSketchBytes(options, num_samples, num_inputs, num_outputs);
  if (options.hidden_layers > 1) {
    // The values of two layers and the design of one, with the targets.
    const double row = 2 * static_cast<double>(options.hidden_width + num_outputs) * sizeof(float);
    bytes += row * static_cast<double>(num_samples) +
             static_cast<double>(DesignBytes(num_samples, options.hidden_width + 1));
    if (num_outputs > 1) {
      bytes += CountSketchBytes(options, num_samples, options.hidden_width, num_outputs);
    }
  }
  return bytes;
}

absl::StatusOr<RecoveryResult> RecoverSequential(
    const Samples& samples, const RecoveryOptions& options, const RecoveryObserver& observer,
    const std::stop_token& stop, std::string_view checkpoint, uint64_t fingerprint) {
  SequentialState state;
  state.found = {.num_inputs = samples.num_inputs, .has_bias = options.bias};
  if (!checkpoint.empty()) {
    absl::StatusOr<SequentialState> parsed =
        Parse(checkpoint, fingerprint, state.found, options.hidden_layers);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  const auto begin = std::chrono::steady_clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    const auto now = std::chrono::steady_clock::now();
    return earlier_seconds + std::chrono::duration<double>(now - begin).count();
  };

  // What the stage at work looks at: the samples, or the values of the layers that are done.
  std::optional<Samples> values;
  const auto values_of = [&](const SparseRows& layer) {
    values = UnitValues(layer, values ? *values : samples);
  };
  if (state.num_done > 0 && state.num_done < options.hidden_layers) {
    for (const SparseRows* layer : HiddenLayers(state.found)) values_of(*layer);
  }

  SparseNetwork network = state.found;
  RecoveryResult result;
  std::optional<TerminationReason> reason;
  while (!reason && state.num_done < options.hidden_layers) {
    // Layers without units have no values to go on from.
    if (state.num_done > 0 && HiddenLayers(state.found).back()->num_rows() == 0) break;
    const Samples& inputs = values ? *values : samples;
    RecoveryOptions stage = StageOptions(options, inputs.num_inputs, samples.num_outputs);
    double& limit = stage.termination.time_limit_seconds;
    const double before = state.elapsed_seconds;
    limit = TimeLeft(limit, before);
    const auto inner = StageObserver(
        observer, state, [&](const SequentialState& now) { return Serialize(now, fingerprint); });
    absl::StatusOr<RecoveryResult> found =
        Recover(inputs, stage, {}, inner, stop, state.checkpoint);
    if (!found.ok()) return found.status();
    const auto& layer = std::get<SparseNetwork>(found->network);
    network = state.num_done == 0 ? layer : Stack(state.found, layer);
    switch (found->termination_reason) {
      case TerminationReason::kConverged:
      case TerminationReason::kStagnated:
      case TerminationReason::kIterationLimit:
      case TerminationReason::kEarlyStopped:
        state.checkpoint.clear();
        state.iterations += found->iterations;
        state.elapsed_seconds = before + found->elapsed_seconds;
        state.reason = found->termination_reason;
        state.found = network;
        ++state.num_done;
        if (state.num_done < options.hidden_layers) values_of(layer.weights);
        break;
      case TerminationReason::kTimeLimit:
      case TerminationReason::kCancelled:
        state.checkpoint = std::move(found->checkpoint);
        result.iterations = found->iterations;
        reason = found->termination_reason;
    }
  }

  network = DropDeadNeurons(network);
  const absl::StatusOr<FitQuality> fit =
      MeasureFitQuality(network, samples, options.loss, options.num_threads);
  if (!fit.ok()) return fit.status();
  result.relative_residual = fit->relative_residual;
  result.psnr_db = fit->psnr_db;
  result.termination_reason = reason.value_or(state.reason);
  result.iterations += state.iterations;
  result.elapsed_seconds = elapsed();
  result.nonzeros = Nonzeros(network);
  result.active_neurons = ActiveNeurons(network);
  result.network = std::move(network);
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  return result;
}

}  // namespace thresher
