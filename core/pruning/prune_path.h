// A given network pruned to many budgets, from dense to sparse.
#ifndef THRESHER_CORE_PRUNING_PRUNE_PATH_H_
#define THRESHER_CORE_PRUNING_PRUNE_PATH_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "absl/status/statusor.h"
#include "core/pruning/distill.h"

namespace thresher {

struct PrunePathOptions {
  // Of every point; its budget is not read. Without training each point is one shot from the given
  // network; with it a point goes on from the one before, the targets those of the given network or
  // the labels throughout.
  DistillOptions distill;
  bool train = true;
  // Budgets fall by a constant factor from max_nonzeros (0: half of the network's weights) to
  // min_nonzeros, at least 1.
  int64_t min_nonzeros = 0;
  int64_t max_nonzeros = 0;
  int64_t num_points = 8;  // 2 to 100; equal budgets are one point
};

struct PrunePathPoint {
  int64_t budget = 0;
  int64_t nonzeros = 0;
  Fit fit;                           // on the samples' targets
  std::optional<Fit> held_out = {};  // likewise
  SparseNetwork network;
};

struct PrunePathResult {
  std::vector<PrunePathPoint> points;  // from dense to sparse
  int64_t knee = 0;                    // index, as KneeOf
  bool complete = false;               // false: stopped after the points that are there
};

// Budgets of the points, falling. Errors: INVALID_ARGUMENT naming the option.
absl::StatusOr<std::vector<int64_t>> PathBudgets(const PrunePathOptions& options,
                                                 int64_t num_weights);

// The point farthest below the line from the first to the last in the plane of log nonzeros and
// loss, both scaled to [0, 1]; losses are those held out where all are. The last where none is
// below. Satopaa et al., "Finding a kneedle in a haystack", 2011. Expects a point or more.
int64_t KneeOf(const std::vector<PrunePathPoint>& points);

// `held_out` may be null. `done` are the points of an earlier, stopped path of the same arguments,
// in order: it goes on behind them to the same bits. A stop request ends the path behind the last
// point that is done. Errors: as PathBudgets, Distill and MeasureFit; INVALID_ARGUMENT `done` where
// budgets disagree.
absl::StatusOr<PrunePathResult> PrunePath(
    const SparseNetwork& network, const Samples& samples, const Samples* held_out,
    const PrunePathOptions& options,
    const std::function<void(const PrunePathPoint&)>& on_point = {},
    const std::stop_token& stop = {}, std::vector<PrunePathPoint> done = {});

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_PRUNE_PATH_H_
