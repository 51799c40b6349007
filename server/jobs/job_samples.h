// The samples that a job learns from and those held out for its report.
#ifndef THRESHER_SERVER_JOBS_JOB_SAMPLES_H_
#define THRESHER_SERVER_JOBS_JOB_SAMPLES_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/samples/samples.h"
#include "server/store/store.h"

namespace thresher::jobs {

// How many of `num_samples` samples the split leaves to learn from.
// Errors: INVALID_ARGUMENT `held_out_fraction` outside [0, 1), or one that leaves none.
absl::StatusOr<int64_t> NumTrainingSamples(double held_out_fraction, int64_t num_samples);

// Memory that splitting takes, the training samples not counted.
int64_t SplitBytes(const store::DatasetRecord& dataset, int64_t num_training);

struct JobSamples {
  // Without held-out samples the data set itself, shared with other jobs.
  std::shared_ptr<const Samples> training;
  Samples held_out;  // may hold no samples
};

// Reads the data set and splits it. Expects a fraction that NumTrainingSamples takes.
absl::StatusOr<JobSamples> LoadJobSamples(store::Store& store, const store::DatasetRecord& dataset,
                                          double held_out_fraction, uint64_t split_seed);

// Every so many-th sample, at most `count` of them.
Samples Thinned(const Samples& samples, int64_t count);

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_JOB_SAMPLES_H_
