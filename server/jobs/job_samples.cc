#include "server/jobs/job_samples.h"

#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/samples/align.h"
#include "core/samples/split.h"

namespace thresher::jobs {

using store::DatasetRecord;
using store::SampleSplit;

namespace {

// Apart from the choice of held-out samples.
constexpr uint64_t kValidationSeed = 0x76616c6964617465;

int64_t NumTakenOut(double fraction, int64_t num_samples) {
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(num_samples)));
}

SamplesForm FormOf(const DatasetRecord& dataset) {
  return {dataset.num_inputs, dataset.num_outputs, dataset.class_names};
}

int64_t RowBytes(const DatasetRecord& dataset) {
  return static_cast<int64_t>(sizeof(float)) * (dataset.num_inputs + dataset.num_outputs);
}

// Memory of another data set in the terms of the one learned from.
absl::StatusOr<int64_t> PlanOther(store::Store& store, const DatasetRecord& dataset,
                                  std::string_view field, const std::string& id) {
  const absl::StatusOr<DatasetRecord> other = store.datasets().Get(id);
  if (!other.ok()) return other.status();
  if (id == dataset.id || other->sha256 == dataset.sha256) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), ": datasets/", id,
                     " holds the samples that are learned from; give others or a fraction"));
  }
  if (dataset.num_outputs > 0) {
    if (absl::Status status = CheckHasTargets(*other, field); !status.ok()) return status;
  }
  if (const absl::Status status = CheckAlignment(FormOf(*other), FormOf(dataset)); !status.ok()) {
    // What it says after the name of a field, which is not one of the job.
    const auto message = std::string(status.message());
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": datasets/", id, " ",
                                                   message.substr(message.find(": ") + 2)));
  }
  return other->num_samples * RowBytes(dataset);
}

absl::StatusOr<Samples> LoadOther(store::Store& store, const std::string& id,
                                  const DatasetRecord& dataset, const Scaling& scaling) {
  const absl::StatusOr<DatasetRecord> other = store.datasets().Get(id);
  if (!other.ok()) return other.status();
  const absl::StatusOr<std::shared_ptr<const Samples>> samples = store.datasets().Load(*other);
  if (!samples.ok()) return samples.status();
  return Align(**samples, FormOf(dataset), scaling);
}

}  // namespace

absl::Status CheckHasTargets(const DatasetRecord& dataset, std::string_view field) {
  if (dataset.num_outputs > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": datasets/", dataset.id,
                   " has no targets, which only the pruning of a model does without; upload its "
                   "samples with their targets"));
}

absl::StatusOr<SplitPlan> PlanSplit(store::Store& store, const DatasetRecord& dataset,
                                    const SampleSplit& split) {
  if (!(split.held_out_fraction >= 0 && split.held_out_fraction < 1)) {
    return absl::InvalidArgumentError("held_out_fraction: must be at least 0 and less than 1");
  }
  const int64_t num_held_out = NumTakenOut(split.held_out_fraction, dataset.num_samples);
  int64_t num_training = dataset.num_samples - num_held_out;
  if (num_training < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("held_out_fraction: leaves no sample to learn from of ", dataset.num_samples,
                     "; use a smaller fraction"));
  }
  int64_t other_bytes = 0;
  if (!split.held_out_dataset_id.empty()) {
    if (split.held_out_fraction > 0) {
      return absl::InvalidArgumentError(
          "held_out_fraction: must be 0 beside held_out_dataset, whose samples are held out");
    }
    const absl::StatusOr<int64_t> bytes =
        PlanOther(store, dataset, "held_out_dataset", split.held_out_dataset_id);
    if (!bytes.ok()) return bytes.status();
    other_bytes += *bytes;
  }
  int64_t num_validation = 0;
  if (split.validation) {
    if (split.validation->patience < 0) {
      return absl::InvalidArgumentError("validation.patience: must be at least 0");
    }
    if (!split.validation->dataset_id.empty()) {
      if (split.validation->dataset_id == split.held_out_dataset_id) {
        return absl::InvalidArgumentError(
            "validation.dataset: is held_out_dataset too, whose samples choose nothing; give "
            "another or a fraction");
      }
      const absl::StatusOr<int64_t> bytes =
          PlanOther(store, dataset, "validation.dataset", split.validation->dataset_id);
      if (!bytes.ok()) return bytes.status();
      other_bytes += *bytes;
    } else {
      const double fraction = split.validation->fraction;
      if (!(fraction > 0 && fraction < 1)) {
        return absl::InvalidArgumentError("validation.fraction: must be above 0 and less than 1");
      }
      num_validation = NumTakenOut(fraction, num_training);
      if (num_validation < 1) {
        return absl::InvalidArgumentError(absl::StrCat("validation.fraction: leaves none of ",
                                                       num_training,
                                                       " samples to choose by; use a larger one"));
      }
    }
  }
  const int64_t held_and_validation = num_held_out + num_validation;
  // What the first split left is there beside its two parts while the second is made.
  const int64_t twice = num_held_out > 0 && num_validation > 0 ? num_training : 0;
  const int64_t mapped = held_and_validation > 0 ? 0 : num_training;
  num_training -= num_validation;
  return SplitPlan{
      .num_training = num_training,
      .extra_bytes = RowBytes(dataset) * (held_and_validation + twice - mapped) + other_bytes};
}

absl::StatusOr<JobSamples> LoadJobSamples(store::Store& store, const DatasetRecord& dataset,
                                          const SampleSplit& split) {
  absl::StatusOr<std::shared_ptr<const Samples>> loaded = store.datasets().Load(dataset);
  if (!loaded.ok()) return loaded.status();
  JobSamples samples;
  samples.training = *std::move(loaded);
  const auto take_out = [&](double fraction, uint64_t seed) -> absl::StatusOr<Samples> {
    absl::StatusOr<SplitSamples> parts = Split(*samples.training, fraction, seed);
    if (!parts.ok()) return parts.status();
    samples.training = std::make_shared<const Samples>(std::move(parts->training));
    return std::move(parts->held_out);
  };
  absl::StatusOr<Samples> held_out;
  if (!split.held_out_dataset_id.empty()) {
    held_out = LoadOther(store, split.held_out_dataset_id, dataset, samples.training->scaling);
  } else if (NumTakenOut(split.held_out_fraction, dataset.num_samples) > 0) {
    held_out = take_out(split.held_out_fraction, split.split_seed);
  } else {
    held_out = Samples();
  }
  if (!held_out.ok()) return held_out.status();
  samples.held_out = *std::move(held_out);
  if (!split.validation) return samples;
  absl::StatusOr<Samples> validation =
      split.validation->dataset_id.empty()
          ? take_out(split.validation->fraction, split.split_seed ^ kValidationSeed)
          : LoadOther(store, split.validation->dataset_id, dataset, samples.training->scaling);
  if (!validation.ok()) return validation.status();
  samples.validation = *std::move(validation);
  return samples;
}

void AddSplit(const SampleSplit& split, std::map<std::string, std::string>& metadata) {
  metadata["split_seed"] = absl::StrCat(split.split_seed);
  metadata["held_out_fraction"] = absl::StrCat(split.held_out_fraction);
  if (!split.held_out_dataset_id.empty()) metadata["held_out_dataset"] = split.held_out_dataset_id;
  if (!split.validation) return;
  if (split.validation->dataset_id.empty()) {
    metadata["validation_fraction"] = absl::StrCat(split.validation->fraction);
  } else {
    metadata["validation_dataset"] = split.validation->dataset_id;
  }
  metadata["patience"] = absl::StrCat(split.validation->patience);
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
    thinned.inputs.append(input, input + samples.num_inputs);
    const auto target = samples.targets.begin() + i * samples.num_outputs;
    thinned.targets.append(target, target + samples.num_outputs);
    ++thinned.num_samples;
  }
  return thinned;
}

}  // namespace thresher::jobs
