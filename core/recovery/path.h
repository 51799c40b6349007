// Choosing the budget s: a path of networks over a range of budgets, each warm-started from
// the next larger, and a criterion that picks one.
//
//   top      one recovery at the largest budget (too large a budget is the easy case)
//   descend  prune by saliency in rounds of a tenth, refine after each (winnow); the other
//            algorithms run again from the pruned network, with fixed gates from nothing
//   again    a recovery a little above the chosen budget, and a new descent from it, while
//            the choice moves
//   final    a recovery at the chosen budget from the path's network; the better one stays
//
// For criteria with held-out samples the path is made on the training part, or on that of
// every fold, and the final recovery on all samples.
#ifndef THRESHER_CORE_RECOVERY_PATH_H_
#define THRESHER_CORE_RECOVERY_PATH_H_

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/recovery/path_search.h"
#include "core/recovery/recovery.h"
#include "core/samples/samples.h"

namespace thresher {

// How a budget is judged, see path_selection.h. The least value wins, with held-out samples
// the smallest budget within one standard error of it.
enum class SelectionCriterion {
  kInformation,  // n log(RSS / n) + s log(d m) log log n
  kHeldOut,      // squared error on one held-out part
  kKFold,        // the same over num_folds parts, each held out once
};

std::string_view SelectionCriterionName(SelectionCriterion criterion);  // "information", ...
std::string_view PathSearchName(PathSearch search);                     // "grid", ...

struct PathOptions {
  // 1 <= min_nonzeros <= max_nonzeros <= num_columns * hidden_width.
  int64_t min_nonzeros = 0;
  int64_t max_nonzeros = 0;
  SelectionCriterion criterion = SelectionCriterion::kInformation;
  PathSearch search = PathSearch::kGrid;
  // Share of the samples that kHeldOut holds out, in (0, 1).
  double validation_fraction = 0.2;
  int64_t num_folds = 5;    // of kKFold, 2 to 20
  int64_t max_points = 60;  // budgets visited at most, 2 to 1000
};

// One row of the path.
struct PathPoint {
  int64_t nonzeros = 0;  // the budget; the network may have fewer weights
  // || f(X) - y || / || y || on the samples that the point was fitted to; with folds the root
  // of the mean square over them.
  double relative_residual = 0;
  // On the samples held out; unset for kInformation.
  std::optional<double> held_out_relative_residual = std::nullopt;
  // kInformation: the formula with RSS relative to || y ||^2. Otherwise the held-out relative
  // residual.
  double criterion_value = 0;
  int64_t active_neurons = 0;  // of the first fold's network
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  bool chosen = false;
};

struct PathResult {
  // As Recover's, at the chosen budget; options_used.nonzeros is that budget. iterations and
  // elapsed_seconds are the whole path's. Residuals are on all samples.
  RecoveryResult recovery;
  std::vector<PathPoint> points;  // ascending budgets; one is chosen, unless stopped too early
};

// Errors: INVALID_ARGUMENT naming the field of PathOptions.
absl::Status ValidatePath(const PathOptions& path, const RecoveryOptions& options,
                          int64_t num_samples, int64_t num_inputs);

// As ValidateOptions for the options of a valid path. Errors: also `nonzeros` and
// `working_nonzeros` unless they are 0, for the path sets them.
absl::Status ValidateOptionsOfPath(const RecoveryOptions& options, const PathOptions& path,
                                   int64_t num_samples, int64_t num_inputs);

// Of one iteration at max_nonzeros, and the memory of the whole path.
RecoveryCost PredictPathCost(const RecoveryOptions& options, const PathOptions& path,
                             int64_t num_samples, int64_t num_inputs);

// As Recover, with the budget chosen from a range. termination.max_iterations bounds each
// recovery of the path, time_limit_seconds the whole. Stopped or out of time it returns the
// best network so far. Same bits for any number of threads and over interruptions.
// Errors: as Recover, ValidatePath and ValidateOptionsOfPath.
// Cost: a few recoveries, and about max_points refinements of 50 n s multiply-adds; times
// num_folds for kKFold.
absl::StatusOr<PathResult> RecoverPath(const Samples& samples, const RecoveryOptions& options,
                                       const PathOptions& path,
                                       const RecoveryObserver& observer = {},
                                       std::stop_token stop = {}, std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_PATH_H_
