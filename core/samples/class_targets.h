// Class labels become targets.
#ifndef THRESHER_CORE_SAMPLES_CLASS_TARGETS_H_
#define THRESHER_CORE_SAMPLES_CLASS_TARGETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/samples/samples.h"

namespace thresher {

struct Labels {
  std::vector<std::string> names;  // distinct texts, any order
  std::vector<int32_t> of_sample;  // index of a name for each sample
};

// Sets samples.targets, num_outputs and class_names, with num_samples, num_inputs and inputs
// already set. Labels that are all numbers are compared as numbers ("1" is "1.0") and sorted
// as such. With `classes`, samples of other classes are left out; the rest keep their order.
// Errors: INVALID_ARGUMENT naming `classes` for a class that no sample has (with those that
// exist) or that is given twice, for fewer than two classes or more than 1000;
// RESOURCE_EXHAUSTED when inputs and targets would exceed max_bytes.
absl::Status SetClassTargets(const Labels& labels, const std::vector<std::string>& classes,
                             int64_t max_bytes, Samples& samples);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_CLASS_TARGETS_H_
