// A given network pruned to many budgets, from dense to sparse.
#ifndef THRESHER_CORE_PRUNING_PRUNE_PATH_H_
#define THRESHER_CORE_PRUNING_PRUNE_PATH_H_

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/pruning/distill.h"

namespace thresher {

struct PrunePathOptions {
  // Of every point; its budget is not read, its time limit is the path's. Without training each
  // point is one shot from the given network; with it a point goes on from the one before, the
  // targets those of the given network or the labels throughout.
  DistillOptions distill;
  bool train = true;
  std::optional<Loss> fit_loss = {};  // of the points' fits; none: that of distill.one_shot
  // Budgets fall by a constant factor from max_nonzeros (0: half of the network's weights) to
  // min_nonzeros (0: a hundredth of them), at least 1.
  int64_t min_nonzeros = 0;
  int64_t max_nonzeros = 0;
  int64_t num_points = 8;  // 2 to 100; equal budgets are one point
};

struct PrunePathPoint {
  int64_t budget = 0;
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  int64_t iterations = 0;  // epochs; 1 without training
  int64_t divergences = 0;
  double elapsed_seconds = 0;
  Fit fit;                           // on the samples' targets
  std::optional<Fit> held_out = {};  // likewise
  SparseNetwork network;
};

struct PrunePathResult {
  // kTimeLimit, kCancelled: after the points that are there, maybe none.
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  std::vector<PrunePathPoint> points;  // from dense to sparse
  int64_t knee = 0;                    // index, as KneeOf
  int64_t iterations = 0;              // epochs of all points, that under way included
  double elapsed_seconds = 0;          // over all attempts
  std::string checkpoint;              // the points and what was made of the next
};

// Budgets of the points, falling. Errors: INVALID_ARGUMENT naming the option.
absl::StatusOr<std::vector<int64_t>> PathBudgets(const PrunePathOptions& options,
                                                 int64_t num_weights);

// What PrunePath will need, the samples and all points included. Expects valid options.
PruneCost PredictCost(const PrunePathOptions& options, const NetworkSizes& network,
                      int64_t num_samples);

// The point farthest below the line from the first to the last in the plane of log nonzeros and
// loss, both scaled to [0, 1]; losses are those held out where all are. The last where none is
// below. Satopaa et al., "Finding a kneedle in a haystack", 2011. Expects a point or more.
int64_t KneeOf(const std::vector<PrunePathPoint>& points);

// `held_out` may be null. The observer hears of every epoch, without training of every point. A
// stop request or the time limit ends the path behind the last point that is done; the checkpoint
// goes on behind it, within a point too, to the same bits. Errors: as PathBudgets, Distill and
// MeasureFit; INVALID_ARGUMENT `checkpoint` where it is of another path.
absl::StatusOr<PrunePathResult> PrunePath(const SparseNetwork& network, const Samples& samples,
                                          const Samples* held_out, const PrunePathOptions& options,
                                          const PruneObserver& observer = {},
                                          const std::stop_token& stop = {},
                                          std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_PRUNE_PATH_H_
