#include "core/samples/samples.h"

#include "absl/strings/str_cat.h"
#include "core/samples/unlabelled.h"

namespace thresher {

absl::Status ValidateSamples(const Samples& samples) {
  if (samples.num_outputs < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_outputs: must be at least 1, is ", samples.num_outputs));
  }
  return ValidateLabelledOrNot(samples);
}

}  // namespace thresher
