// A path between two iterations, and as bytes. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_PATH_STATE_H_
#define THRESHER_CORE_RECOVERY_PATH_STATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/recovery/path.h"
#include "core/recovery/recovery.h"
#include "core/samples/samples.h"

namespace thresher {

// The network of one budget on one fold's training samples.
struct PathFit {
  Network network;
  double loss = 0;                          // || f(X) - y ||^2
  double target_norm2 = 0;                  // || y ||^2
  std::vector<float> held_out_errors = {};  // squared, a held-out sample each
};

// One budget.
struct PathLevel {
  TerminationReason termination_reason = TerminationReason::kStagnated;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  std::vector<PathFit> fits;  // one a fold, once they are done
};

// A recovery, a descent from the next larger budget, the final recovery.
enum class PathTaskKind : int32_t { kNone, kRecover, kDescend, kFinal };

// What is being done, between two iterations.
struct PathTask {
  PathTaskKind kind = PathTaskKind::kNone;
  int64_t nonzeros = 0;
  int64_t fold = 0;
  int64_t iterations = 0;
  double begin_seconds = 0;
  SparseNetwork network;   // kDescend: as far as it has come, in scaled units
  std::string checkpoint;  // the others: of the recovery under way
};

struct PathState {
  int64_t iterations = 0;  // of ended tasks
  double elapsed_seconds = 0;
  int64_t round = 0;
  int64_t top = 0;            // the largest budget of the round
  int64_t chosen = 0;         // by the last round
  std::set<int64_t> visited;  // in the round, in all folds
  std::map<int64_t, PathLevel> levels;
  bool searched = false;
  bool ended = false;
  PathTask task;
  // Of the final recovery on all samples, where the path was made on folds.
  std::optional<PathFit> final_fit;
  TerminationReason termination_reason = TerminationReason::kStagnated;
  int64_t starts_tried = 1;  // by the final recovery
  int64_t starts_agreeing = 1;
};

// Parts that the samples are cut into, each held out once; 1 for the other criteria.
int64_t NumFolds(const PathOptions& path);

// The options of the path's largest recovery.
RecoveryOptions AtMaxNonzeros(RecoveryOptions options, const PathOptions& path);

// Identifies samples, options and path, as ProblemFingerprint. Cost: one pass over the samples.
uint64_t PathFingerprint(const Samples& samples, const RecoveryOptions& options,
                         const PathOptions& path);

// Held-out errors are left out: they follow from the networks.
std::string SerializePath(const PathState& state, uint64_t fingerprint);

// Errors: INVALID_ARGUMENT `checkpoint` for damaged bytes, another version of the format or
// another problem.
absl::StatusOr<PathState> ParsePath(std::string_view bytes, uint64_t fingerprint,
                                    const Samples& samples, const RecoveryOptions& options,
                                    const PathOptions& path);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_PATH_STATE_H_
