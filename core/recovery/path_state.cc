#include "core/recovery/path_state.h"

#include <bit>
#include <utility>
#include <variant>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/recovery/checkpoint.h"
#include "core/recovery/solver.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHS02";

// Whether the task has a network of its own by now.
bool HasNetwork(const PathTask& task) {
  return task.kind == PathTaskKind::kDescend && task.iterations > 0;
}

bool TakeNetwork(StateReader& reader, Network& network) {
  if (!TakeAnyNetwork(reader, network)) return false;
  const auto* sparse = std::get_if<SparseNetwork>(&network);
  return sparse == nullptr || sparse->upper_layers.empty();
}

void AddFit(const PathFit& fit, StateWriter& writer) {
  AddAnyNetwork(fit.network, writer);
  writer.Add(fit.loss);
  writer.Add(fit.target_norm2);
}

bool TakeFit(StateReader& reader, PathFit& fit) {
  return TakeNetwork(reader, fit.network) && reader.Take(fit.loss) && reader.Take(fit.target_norm2);
}

bool TakeReason(StateReader& reader, TerminationReason& reason) {
  int32_t number = 0;
  if (!reader.Take(number) || number < 0 ||
      number > static_cast<int32_t>(TerminationReason::kCancelled)) {
    return false;
  }
  reason = static_cast<TerminationReason>(number);
  return true;
}

bool TakeFlag(StateReader& reader, bool& flag) {
  uint8_t number = 0;
  if (!reader.Take(number)) return false;
  flag = number != 0;
  return true;
}

bool TakeLevels(StateReader& reader, const PathOptions& path, int64_t num_folds,
                std::map<int64_t, PathLevel>& levels) {
  int64_t count = 0;
  if (!reader.Take(count) || count < 0 || count > path.max_points) return false;
  for (int64_t k = 0; k < count; ++k) {
    int64_t nonzeros = 0;
    PathLevel level;
    int64_t num_fits = 0;
    if (!reader.Take(nonzeros) || nonzeros < path.min_nonzeros || nonzeros > path.max_nonzeros ||
        !TakeReason(reader, level.termination_reason) || !reader.Take(level.iterations) ||
        !reader.Take(level.elapsed_seconds) || !reader.Take(num_fits) || num_fits < 1 ||
        num_fits > num_folds) {
      return false;
    }
    level.fits.resize(num_fits);
    for (PathFit& fit : level.fits) {
      if (!TakeFit(reader, fit)) return false;
    }
    levels[nonzeros] = std::move(level);
  }
  return true;
}

bool TakeTask(StateReader& reader, const PathOptions& path, int64_t num_folds, PathTask& task) {
  int32_t kind = 0;
  if (!reader.Take(kind) || kind < 0 || kind > static_cast<int32_t>(PathTaskKind::kFinal) ||
      !reader.Take(task.nonzeros) || !reader.Take(task.fold) || !reader.Take(task.iterations) ||
      !reader.Take(task.begin_seconds)) {
    return false;
  }
  task.kind = static_cast<PathTaskKind>(kind);
  if (task.kind != PathTaskKind::kNone &&
      (task.nonzeros < path.min_nonzeros || task.nonzeros > path.max_nonzeros || task.fold < 0 ||
       task.fold >= num_folds)) {
    return false;
  }
  if (HasNetwork(task)) {
    Network network;
    if (!TakeNetwork(reader, network) || !std::holds_alternative<SparseNetwork>(network)) {
      return false;
    }
    task.network = std::get<SparseNetwork>(std::move(network));
  }
  return reader.TakeText(task.checkpoint);
}

// Whether a network can be one of this problem's.
bool Fits(const Network& network, const Samples& samples, const RecoveryOptions& options) {
  const auto* sparse = std::get_if<SparseNetwork>(&network);
  return NumInputs(network) == samples.num_inputs &&
         (options.gate_mode == GateMode::kEnumerated ||
          (sparse != nullptr) == (options.gate_mode == GateMode::kSequential)) &&
         (sparse == nullptr ||
          (sparse->has_bias == options.bias &&
           (sparse->linear.empty() || options.linear_term != LinearTerm::kNone)));
}

}  // namespace

int64_t NumFolds(const PathOptions& path) {
  return path.criterion == SelectionCriterion::kKFold ? path.num_folds : 1;
}

RecoveryOptions AtMaxNonzeros(RecoveryOptions options, const PathOptions& path) {
  options.nonzeros = path.max_nonzeros;
  return options;
}

uint64_t PathFingerprint(const Samples& samples, const RecoveryOptions& options,
                         const PathOptions& path) {
  Fingerprint fingerprint;
  fingerprint.Add(ProblemFingerprint(
      samples, ResolveOptions(AtMaxNonzeros(options, path), samples.num_samples), {}));
  fingerprint.Add(path.min_nonzeros);
  fingerprint.Add(path.max_nonzeros);
  fingerprint.Add(static_cast<uint64_t>(path.criterion));
  fingerprint.Add(static_cast<uint64_t>(path.search));
  fingerprint.Add(std::bit_cast<uint64_t>(path.validation_fraction));
  fingerprint.Add(path.num_folds);
  fingerprint.Add(path.max_points);
  return fingerprint.value();
}

std::string SerializePath(const PathState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iterations);
  writer.Add(state.elapsed_seconds);
  writer.Add(state.round);
  writer.Add(state.top);
  writer.Add(state.chosen);
  writer.AddVector(std::vector<int64_t>(state.visited.begin(), state.visited.end()));
  writer.Add(static_cast<int64_t>(state.levels.size()));
  for (const auto& [nonzeros, level] : state.levels) {
    writer.Add(nonzeros);
    writer.Add(static_cast<int32_t>(level.termination_reason));
    writer.Add(level.iterations);
    writer.Add(level.elapsed_seconds);
    writer.Add(static_cast<int64_t>(level.fits.size()));
    for (const PathFit& fit : level.fits) AddFit(fit, writer);
  }
  writer.Add(static_cast<uint8_t>(state.searched));
  writer.Add(static_cast<uint8_t>(state.ended));
  writer.Add(static_cast<int32_t>(state.task.kind));
  writer.Add(state.task.nonzeros);
  writer.Add(state.task.fold);
  writer.Add(state.task.iterations);
  writer.Add(state.task.begin_seconds);
  if (HasNetwork(state.task)) AddAnyNetwork(state.task.network, writer);
  writer.AddText(state.task.checkpoint);
  writer.Add(static_cast<uint8_t>(state.final_fit.has_value()));
  if (state.final_fit) AddFit(*state.final_fit, writer);
  writer.Add(static_cast<int32_t>(state.termination_reason));
  writer.Add(state.starts_tried);
  writer.Add(state.starts_agreeing);
  return std::move(writer).Finish();
}

absl::StatusOr<PathState> ParsePath(std::string_view bytes, uint64_t fingerprint,
                                    const Samples& samples, const RecoveryOptions& options,
                                    const PathOptions& path) {
  const int64_t num_folds = NumFolds(path);
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  PathState state;
  std::vector<int64_t> visited;
  bool has_final = false;
  if (!reader->Take(state.iterations) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(state.round) || !reader->Take(state.top) || !reader->Take(state.chosen) ||
      !reader->TakeVector(visited) || !TakeLevels(*reader, path, num_folds, state.levels) ||
      !TakeFlag(*reader, state.searched) || !TakeFlag(*reader, state.ended) ||
      !TakeTask(*reader, path, num_folds, state.task) || !TakeFlag(*reader, has_final)) {
    return StateReader::Damaged();
  }
  if (has_final && !TakeFit(*reader, state.final_fit.emplace())) return StateReader::Damaged();
  if (!TakeReason(*reader, state.termination_reason) || !reader->Take(state.starts_tried) ||
      !reader->Take(state.starts_agreeing) || !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  if (state.top < path.min_nonzeros || state.top > path.max_nonzeros) {
    return StateReader::Damaged();
  }
  for (const auto& [nonzeros, level] : state.levels) {
    for (const PathFit& fit : level.fits) {
      if (!Fits(fit.network, samples, options)) return StateReader::Damaged();
    }
  }
  for (const int64_t nonzeros : visited) {
    const auto level = state.levels.find(nonzeros);
    if (level == state.levels.end() ||
        static_cast<int64_t>(level->second.fits.size()) != num_folds) {
      return StateReader::Damaged();
    }
    state.visited.insert(nonzeros);
  }
  const PathTask& task = state.task;
  const bool has_start = task.kind == PathTaskKind::kDescend
                             ? state.visited.upper_bound(task.nonzeros) != state.visited.end()
                         : task.kind == PathTaskKind::kFinal ? state.levels.contains(task.nonzeros)
                                                             : true;
  if (!has_start || (HasNetwork(task) && !Fits(task.network, samples, options))) {
    return StateReader::Damaged();
  }
  return state;
}

}  // namespace thresher
