// The samples that a job learns from, those that choose among its networks and those held out for
// its report.
#ifndef THRESHER_SERVER_JOBS_JOB_SAMPLES_H_
#define THRESHER_SERVER_JOBS_JOB_SAMPLES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/samples/samples.h"
#include "server/store/store.h"

namespace thresher::jobs {

// How a data set will be divided, from records alone.
struct SplitPlan {
  int64_t num_training = 0;  // samples to learn from
  // Memory beside what the solve is predicted to need, which counts the samples to learn from.
  // Below 0 where nothing is taken out of the data set: it is mapped then and takes none.
  int64_t extra_bytes = 0;
};

// Errors: INVALID_ARGUMENT naming the field where the data set was uploaded without targets.
absl::Status CheckHasTargets(const store::DatasetRecord& dataset, std::string_view field);

// Errors: INVALID_ARGUMENT naming the field of the split: `held_out_fraction` outside [0, 1), or
// above 0 beside a data set; `validation.fraction` outside (0, 1); either where it leaves no
// sample; `held_out_dataset` or `validation.dataset`, the data set itself or one that does not fit
// it, in lacking targets too; `validation.patience` below 0. NOT_FOUND.
absl::StatusOr<SplitPlan> PlanSplit(store::Store& store, const store::DatasetRecord& dataset,
                                    const store::SampleSplit& split);

struct JobSamples {
  // Where none are taken out the data set itself, mapped and shared with other jobs.
  std::shared_ptr<const Samples> training;
  // Either may hold no samples. Those of another data set are scaled as those learned from and have
  // their classes.
  Samples held_out;
  Samples validation;
};

// Reads the data sets and divides them. Expects a split that PlanSplit takes.
absl::StatusOr<JobSamples> LoadJobSamples(store::Store& store, const store::DatasetRecord& dataset,
                                          const store::SampleSplit& split);

// The split as a model's file tells it.
void AddSplit(const store::SampleSplit& split, std::map<std::string, std::string>& metadata);

// Every so many-th sample, at most `count` of them.
Samples Thinned(const Samples& samples, int64_t count);

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_JOB_SAMPLES_H_
