#include "core/recovery/checkpoint.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"

namespace thresher {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little endian");

constexpr std::string_view kMagic = "THRSHR01";

// FNV-1a over 64-bit words (Fowler, Noll and Vo), with a final mix.
class Fingerprint {
 public:
  void Add(uint64_t word) {
    hash_ = (hash_ ^ word) * 0x100000001b3;
    hash_ ^= hash_ >> 29;
  }
  void AddBytes(const void* data, size_t size) {
    const char* bytes = static_cast<const char*>(data);
    Add(size);
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
      uint64_t word;
      std::memcpy(&word, bytes, sizeof(word));
      Add(word);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, bytes, size);
    Add(rest);
  }
  template <typename T>
  void AddVector(const std::vector<T>& values) {
    AddBytes(values.data(), values.size() * sizeof(T));
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

template <typename T>
void Append(const T& value, std::string& bytes) {
  static_assert(std::is_arithmetic_v<T>);
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void Append(const SparseVector& entries, std::string& bytes) {
  Append(static_cast<int64_t>(entries.size()), bytes);
  for (const KeyedValue& entry : entries) {
    Append(entry.key, bytes);
    Append(entry.value, bytes);
  }
}

template <typename T>
bool Take(std::string_view& bytes, T& value) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return true;
}

// False for entries that are cut short, out of order, out of range or not finite.
bool Take(std::string_view& bytes, int64_t num_candidates, SparseVector& entries) {
  int64_t count = 0;
  if (!Take(bytes, count) || count < 0 ||
      count > static_cast<int64_t>(bytes.size() / (sizeof(int64_t) + sizeof(double)))) {
    return false;
  }
  entries.resize(count);
  int64_t last_key = -1;
  for (KeyedValue& entry : entries) {
    if (!Take(bytes, entry.key) || !Take(bytes, entry.value)) return false;
    if (entry.key <= last_key || entry.key >= num_candidates || !std::isfinite(entry.value)) {
      return false;
    }
    last_key = entry.key;
  }
  return true;
}

uint64_t Checksum(std::string_view bytes) {
  Fingerprint checksum;
  checksum.AddBytes(bytes.data(), bytes.size());
  return checksum.value();
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
  if (start.gates) fingerprint.AddVector(start.gates->vectors);
  if (start.network) {
    fingerprint.AddVector(start.network->weights.row_begin);
    fingerprint.AddVector(start.network->weights.column);
    fingerprint.AddVector(start.network->weights.value);
    fingerprint.AddVector(start.network->output_signs);
  }
  return fingerprint.value();
}

std::string SerializeState(const SolverState& state, uint64_t fingerprint) {
  std::string bytes(kMagic);
  Append(fingerprint, bytes);
  Append(state.iteration, bytes);
  Append(state.weights, bytes);
  Append(state.fixed_step_size, bytes);
  Append(static_cast<uint8_t>(state.fixed_point), bytes);
  Append(state.elapsed_seconds, bytes);
  Append(state.best_weights, bytes);
  Append(state.best_relative_residual, bytes);
  Append(state.best_iteration, bytes);
  Append(state.progress_relative_residual, bytes);
  Append(state.iterations_without_progress, bytes);
  Append(Checksum(bytes), bytes);
  return bytes;
}

absl::StatusOr<SolverState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                       int64_t num_candidates) {
  if (!bytes.starts_with(kMagic)) {
    return absl::InvalidArgumentError(
        "checkpoint: not a checkpoint of this program version; start the solve anew");
  }
  uint64_t checksum = 0;
  std::string_view tail = bytes.size() >= sizeof(checksum)
                              ? bytes.substr(bytes.size() - sizeof(checksum))
                              : std::string_view();
  if (!Take(tail, checksum) ||
      checksum != Checksum(bytes.substr(0, bytes.size() - sizeof(checksum)))) {
    return absl::InvalidArgumentError("checkpoint: damaged; start the solve anew");
  }
  bytes.remove_suffix(sizeof(checksum));
  bytes.remove_prefix(kMagic.size());
  uint64_t found_fingerprint = 0;
  SolverState state;
  uint8_t fixed_point = 0;
  if (!Take(bytes, found_fingerprint) || found_fingerprint != fingerprint) {
    return absl::InvalidArgumentError(
        "checkpoint: belongs to other samples or options; start the solve anew");
  }
  if (!Take(bytes, state.iteration) || !Take(bytes, num_candidates, state.weights) ||
      !Take(bytes, state.fixed_step_size) || !Take(bytes, fixed_point) ||
      !Take(bytes, state.elapsed_seconds) || !Take(bytes, num_candidates, state.best_weights) ||
      !Take(bytes, state.best_relative_residual) || !Take(bytes, state.best_iteration) ||
      !Take(bytes, state.progress_relative_residual) ||
      !Take(bytes, state.iterations_without_progress) || !bytes.empty()) {
    return absl::InvalidArgumentError("checkpoint: damaged; start the solve anew");
  }
  state.fixed_point = fixed_point != 0;
  return state;
}

}  // namespace thresher
