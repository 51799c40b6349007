#include "core/samples/align.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/samples/scaling.h"

namespace thresher {
namespace {

// Of the sample's targets: two classes are one output, 0 or 1, of more the largest output counts.
int64_t ClassOf(const float* targets, int64_t num_outputs) {
  if (num_outputs == 1) return targets[0] >= 0.5F ? 1 : 0;
  return std::max_element(targets, targets + num_outputs) - targets;
}

void SetClass(int64_t label, int64_t num_outputs, float* targets) {
  if (num_outputs == 1) {
    targets[0] = static_cast<float>(label);
  } else {
    std::fill(targets, targets + num_outputs, 0.0F);
    targets[label] = 1;
  }
}

}  // namespace

absl::Status CheckAlignment(const SamplesForm& from, const SamplesForm& to) {
  if (from.num_inputs != to.num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("num_inputs: has ", from.num_inputs, " inputs, ",
                                                   to.num_inputs, " are needed"));
  }
  if (from.class_names.empty() != to.class_names.empty()) {
    return absl::InvalidArgumentError(to.class_names.empty()
                                          ? "class_names: has classes, numbers are needed"
                                          : "class_names: has numbers, classes are needed");
  }
  for (const std::string& name : from.class_names) {
    if (std::find(to.class_names.begin(), to.class_names.end(), name) == to.class_names.end()) {
      return absl::InvalidArgumentError(absl::StrCat("class_names: has the class '", name,
                                                     "', which is not among the ",
                                                     to.class_names.size(), " that are learned"));
    }
  }
  if (from.class_names.empty() && from.num_outputs != to.num_outputs) {
    return absl::InvalidArgumentError(absl::StrCat("num_outputs: has ", from.num_outputs,
                                                   " outputs, ", to.num_outputs, " are needed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Samples> Align(Samples samples, const SamplesForm& to, const Scaling& scaling) {
  const SamplesForm from = {samples.num_inputs, samples.num_outputs, samples.class_names};
  if (absl::Status status = CheckAlignment(from, to); !status.ok()) return status;
  RescaleInputs(scaling, samples);
  if (to.class_names.empty()) {
    RescaleTargets(scaling.target_offset, scaling.target_scale, samples);
  } else if (samples.class_names != to.class_names) {
    std::vector<int64_t> label_of;
    for (const std::string& name : samples.class_names) {
      label_of.push_back(std::find(to.class_names.begin(), to.class_names.end(), name) -
                         to.class_names.begin());
    }
    std::vector<float> targets(samples.num_samples * to.num_outputs);
    const float* given_targets = std::as_const(samples.targets).data();
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      const int64_t given = ClassOf(given_targets + i * samples.num_outputs, samples.num_outputs);
      SetClass(label_of[given], to.num_outputs, targets.data() + i * to.num_outputs);
    }
    samples.targets = std::move(targets);
    samples.num_outputs = to.num_outputs;
    samples.class_names = to.class_names;
  }
  samples.scaling = scaling;
  samples.image_shape = {};
  return samples;
}

}  // namespace thresher
