// Plans and runs the pruning of a model that there is: PruningSpecs with a model.
#ifndef THRESHER_SERVER_JOBS_MODEL_PRUNING_RUNNER_H_
#define THRESHER_SERVER_JOBS_MODEL_PRUNING_RUNNER_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "core/network/model.h"
#include "core/pruning/loss.h"
#include "core/samples/samples.h"
#include "server/jobs/job.h"
#include "server/store/store.h"

namespace thresher::jobs {

// Checks the spec against the records of model and data set. Reads neither weights nor samples.
// Errors: INVALID_ARGUMENT naming `pruning.<field>`; NOT_FOUND.
absl::StatusOr<JobCost> PlanModelPruning(store::Store& store, const PruningSpec& spec,
                                         int threads_per_job);

// Loads, splits, prunes, reports; of a path every point becomes a model.
absl::StatusOr<JobOutcome> RunModelPruning(store::Store& store, const JobRun& run,
                                           std::string_view program_version);

// The samples in the model's units: their scaling is undone and the model's applied, to targets for
// squared loss alone; two classes become two outputs where the model has them, without names, which
// samples of two outputs do not have. They are lost too where a model of one output scales it: one
// half no longer divides the classes.
// Expects samples of the model's inputs and outputs.
Samples InUnitsOf(const Model& model, Loss loss, Samples samples);

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_MODEL_PRUNING_RUNNER_H_
