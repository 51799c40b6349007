// Samples of one data set in the terms of another.
#ifndef THRESHER_CORE_SAMPLES_ALIGN_H_
#define THRESHER_CORE_SAMPLES_ALIGN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/model.h"
#include "core/samples/samples.h"

namespace thresher {

// The terms: what samples of different data sets may differ in.
struct SamplesForm {
  int64_t num_inputs = 0;
  int64_t num_outputs = 1;
  std::vector<std::string> class_names = {};
};

// Whether samples of form `from` can be put in the terms of `to`: the same inputs, and outputs or
// classes of the same names in any order, some of which may lack in `from`.
// Errors: INVALID_ARGUMENT `num_inputs`, `num_outputs` or `class_names`, in numbers and names.
absl::Status CheckAlignment(const SamplesForm& from, const SamplesForm& to);

// The samples with their scaling undone and the other applied, to inputs and to targets that are
// no classes, and with targets for the other's classes.
// Errors: as CheckAlignment.
absl::StatusOr<Samples> Align(Samples samples, const SamplesForm& to, const Scaling& scaling);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_ALIGN_H_
