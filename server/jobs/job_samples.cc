#include "server/jobs/job_samples.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/samples/split.h"

namespace thresher::jobs {
namespace {

int64_t NumHeldOut(double fraction, int64_t num_samples) {
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(num_samples)));
}

}  // namespace

absl::StatusOr<int64_t> NumTrainingSamples(double held_out_fraction, int64_t num_samples) {
  if (!(held_out_fraction >= 0 && held_out_fraction < 1)) {
    return absl::InvalidArgumentError("held_out_fraction: must be at least 0 and less than 1");
  }
  const int64_t num_training = num_samples - NumHeldOut(held_out_fraction, num_samples);
  if (num_training < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("held_out_fraction: leaves no sample to learn from of ", num_samples,
                     "; use a smaller fraction"));
  }
  return num_training;
}

int64_t SplitBytes(const store::DatasetRecord& dataset, int64_t num_training) {
  const int64_t num_held_out = dataset.num_samples - num_training;
  if (num_held_out == 0) return 0;
  // While it is split the data set is there twice, then without its training half.
  constexpr int64_t kFloatBytes = sizeof(float);
  const int64_t row_bytes = kFloatBytes * (dataset.num_inputs + dataset.num_outputs);
  return row_bytes * (dataset.num_samples + num_held_out);
}

absl::StatusOr<JobSamples> LoadJobSamples(store::Store& store, const store::DatasetRecord& dataset,
                                          double held_out_fraction, uint64_t split_seed) {
  absl::StatusOr<std::shared_ptr<const Samples>> loaded = store.datasets().Load(dataset);
  if (!loaded.ok()) return loaded.status();
  JobSamples samples;
  if (NumHeldOut(held_out_fraction, dataset.num_samples) == 0) {
    samples.training = *std::move(loaded);
    return samples;
  }
  absl::StatusOr<SplitSamples> split = Split(**loaded, held_out_fraction, split_seed);
  if (!split.ok()) return split.status();
  samples.training = std::make_shared<const Samples>(std::move(split->training));
  samples.held_out = std::move(split->held_out);
  return samples;
}

// Every so many-th sample, at most `count` of them.
Samples Thinned(const Samples& samples, int64_t count) {
  Samples thinned;
  thinned.num_inputs = samples.num_inputs;
  thinned.num_outputs = samples.num_outputs;
  thinned.class_names = samples.class_names;
  thinned.scaling = samples.scaling;
  const int64_t stride = (samples.num_samples + count - 1) / count;
  for (int64_t i = 0; i < samples.num_samples; i += stride) {
    const auto input = samples.inputs.begin() + i * samples.num_inputs;
    thinned.inputs.insert(thinned.inputs.end(), input, input + samples.num_inputs);
    const auto target = samples.targets.begin() + i * samples.num_outputs;
    thinned.targets.insert(thinned.targets.end(), target, target + samples.num_outputs);
    ++thinned.num_samples;
  }
  return thinned;
}

}  // namespace thresher::jobs
