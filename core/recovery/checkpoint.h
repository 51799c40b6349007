// The state of a solve between two steps, and its bytes.
#ifndef THRESHER_CORE_RECOVERY_CHECKPOINT_H_
#define THRESHER_CORE_RECOVERY_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"
#include "core/recovery/support.h"

namespace thresher {

// Everything that the next step depends on, besides the problem and the options.
struct SolverState {
  int64_t iteration = 0;       // completed steps
  SparseVector weights;        // after the last step
  double fixed_step_size = 0;  // of `iht` and `reciprocal`, once estimated
  double step_scale = 1;       // of `svrg`
  bool fixed_point = false;    // with fixed gates: the last step changed nothing
  double elapsed_seconds = 0;

  // Best iterate so far, by the relative residual of the network that it stands for.
  SparseVector best_weights;
  double best_relative_residual = 0;
  int64_t best_iteration = 0;  // 0: none yet
  // Stagnation: the best relative residual when it last made progress.
  double progress_relative_residual = 0;
  int64_t iterations_without_progress = 0;
};

// Identifies a problem: samples, start and those options that the iterates depend on. Cost:
// one pass over the samples.
uint64_t ProblemFingerprint(const Samples& samples, const RecoveryOptions& options,
                            const RecoveryStart& start);

std::string SerializeState(const SolverState& state, uint64_t fingerprint);

// Errors: INVALID_ARGUMENT `checkpoint` for damaged bytes, another version of the format or
// another problem.
absl::StatusOr<SolverState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                       int64_t num_candidates);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_CHECKPOINT_H_
