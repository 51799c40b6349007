#include "core/recovery/checkpoint.h"

#include <bit>
#include <cmath>
#include <utility>

#include "core/iteration/state_bytes.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHI03";

// Ascending keys of candidates and finite values.
bool IsSparseVector(const SparseVector& entries, int64_t num_candidates) {
  int64_t last_key = -1;
  for (const KeyedValue& entry : entries) {
    if (entry.key <= last_key || entry.key >= num_candidates || !std::isfinite(entry.value)) {
      return false;
    }
    last_key = entry.key;
  }
  return true;
}

}  // namespace

uint64_t ProblemFingerprint(const Samples& samples, const RecoveryOptions& options,
                            const RecoveryStart& start) {
  Fingerprint fingerprint;
  fingerprint.Add(samples.num_samples);
  fingerprint.Add(samples.num_inputs);
  fingerprint.AddVector(samples.inputs);
  fingerprint.AddVector(samples.targets);
  fingerprint.Add(options.hidden_width);
  fingerprint.Add(options.nonzeros);
  fingerprint.Add(options.working_nonzeros);
  fingerprint.Add(static_cast<uint64_t>(options.algorithm));
  fingerprint.Add(static_cast<uint64_t>(options.gate_mode));
  fingerprint.Add(static_cast<uint64_t>(options.output_signs));
  fingerprint.Add(options.bias ? 1 : 0);
  fingerprint.Add(options.seed);
  fingerprint.Add(std::bit_cast<uint64_t>(options.step_size.value_or(0)));
  fingerprint.Add(options.batch_size);
  fingerprint.Add(static_cast<int32_t>(options.linear_term));
  fingerprint.Add(options.hidden_layers);
  fingerprint.Add(static_cast<uint64_t>(options.loss));
  fingerprint.Add(start.gates ? 1 : 0);
  if (start.gates) fingerprint.AddVector(start.gates->vectors);
  fingerprint.Add(start.network ? 1 : 0);
  if (start.network) {
    fingerprint.AddVector(start.network->weights.row_begin);
    fingerprint.AddVector(start.network->weights.column);
    fingerprint.AddVector(start.network->weights.value);
    fingerprint.AddVector(start.network->output_signs);
    fingerprint.AddVector(start.network->linear);
  }
  return fingerprint.value();
}

std::string SerializeState(const SolverState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iteration);
  writer.AddVector(state.weights);
  writer.Add(state.fixed_step_size);
  writer.Add(state.step_scale);
  writer.Add(static_cast<uint8_t>(state.fixed_point));
  writer.Add(state.elapsed_seconds);
  writer.AddVector(state.best_weights);
  writer.Add(state.best_relative_residual);
  writer.Add(state.best_iteration);
  writer.Add(state.progress_relative_residual);
  writer.Add(state.iterations_without_progress);
  return std::move(writer).Finish();
}

absl::StatusOr<SolverState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                       int64_t num_candidates) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  SolverState state;
  uint8_t fixed_point = 0;
  if (!reader->Take(state.iteration) || !reader->TakeVector(state.weights) ||
      !reader->Take(state.fixed_step_size) || !reader->Take(state.step_scale) ||
      !reader->Take(fixed_point) || !reader->Take(state.elapsed_seconds) ||
      !reader->TakeVector(state.best_weights) || !reader->Take(state.best_relative_residual) ||
      !reader->Take(state.best_iteration) || !reader->Take(state.progress_relative_residual) ||
      !reader->Take(state.iterations_without_progress) || !reader->AtEnd() ||
      !IsSparseVector(state.weights, num_candidates) ||
      !IsSparseVector(state.best_weights, num_candidates)) {
    return StateReader::Damaged();
  }
  state.fixed_point = fixed_point != 0;
  return state;
}

}  // namespace thresher
