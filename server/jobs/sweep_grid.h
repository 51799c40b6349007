// The grid of a sweep: which cells it has, and the job of each.
#ifndef THRESHER_SERVER_JOBS_SWEEP_GRID_H_
#define THRESHER_SERVER_JOBS_SWEEP_GRID_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "core/samples/planted.h"
#include "server/jobs/job.h"

namespace thresher::jobs {

inline constexpr int64_t kMaxSweepCells = 10000;

// Lists, methods and numbers, as far as they can be judged without the data set.
// Errors: INVALID_ARGUMENT naming `sweep.<field>`.
absl::Status ValidateSweep(const SweepSpec& spec);

// Whether the sweep's hidden widths are of this method's networks: a pruned model has its own.
bool HasHiddenWidth(const SweepMethod& method);

// Of a valid spec.
int64_t NumCells(const SweepSpec& spec);

// Consecutive cells that have the same samples: those of one planted problem, or of one subset of
// the data set.
int64_t CellsPerDataset(const SweepSpec& spec);

// The parameters of cell `index`, 0 <= index < NumCells(spec); num_samples is 0 for all samples of
// the data set, hidden_width for a method without.
SweepCell CellAt(const SweepSpec& spec, int64_t index);

// What is planted for a cell.
PlantedOptions PlantedOf(const SweepSpec& spec, const SweepCell& cell);

// The job of a cell on the data set that holds its samples.
JobSpec JobOf(const SweepSpec& spec, const SweepCell& cell, const std::string& dataset_id);

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_SWEEP_GRID_H_
