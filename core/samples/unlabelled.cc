#include "core/samples/unlabelled.h"

#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

absl::Status CheckMatrix(absl::string_view field, std::span<const float> values, int64_t num_rows,
                         int64_t num_columns) {
  const int64_t size = static_cast<int64_t>(values.size());
  if (num_columns == 0 && size == 0) return absl::OkStatus();
  // Divided, not multiplied: the product may overflow.
  if (num_columns == 0 || size / num_columns != num_rows || size % num_columns != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", size, " entries, expected ", num_rows, " x ", num_columns));
  }
  for (int64_t i = 0; i < size; ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": the entry in row ", i / num_columns, ", column ", i % num_columns,
                       " (both from 0) is ", std::isnan(values[i]) ? "NaN" : "infinite",
                       "; remove or replace such values"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateLabelledOrNot(const Samples& samples) {
  if (samples.num_samples < 1) {
    return absl::InvalidArgumentError("num_samples: there are no samples; at least one is needed");
  }
  // Weight indices are 32 bits wide, with one to spare for a constant input.
  constexpr int64_t kMostColumns = std::numeric_limits<int32_t>::max() - 1;
  if (samples.num_inputs < 1 || samples.num_inputs > kMostColumns) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_inputs: must be from 1 to ", kMostColumns, ", is ", samples.num_inputs));
  }
  if (samples.num_outputs < 0 || samples.num_outputs > kMostColumns) {
    return absl::InvalidArgumentError(absl::StrCat("num_outputs: must be from 0 to ", kMostColumns,
                                                   ", is ", samples.num_outputs));
  }
  absl::Status status =
      CheckMatrix("inputs", samples.inputs, samples.num_samples, samples.num_inputs);
  if (!status.ok()) return status;
  status = CheckMatrix("targets", samples.targets, samples.num_samples, samples.num_outputs);
  if (!status.ok()) return status;
  const int64_t num_classes = static_cast<int64_t>(samples.class_names.size());
  if (num_classes != 0 && (num_classes == 2 ? 1 : num_classes) != samples.num_outputs) {
    return absl::InvalidArgumentError(absl::StrCat("class_names: ", num_classes,
                                                   " names do not go ", "with ",
                                                   samples.num_outputs, " outputs"));
  }
  for (const std::string& name : samples.class_names) {
    status = ValidateClassName("class_names: a name", name);
    if (!status.ok()) return status;
  }
  const Scaling& scaling = samples.scaling;
  if (scaling.input_offset.size() != scaling.input_scale.size() ||
      (!scaling.input_offset.empty() &&
       static_cast<int64_t>(scaling.input_offset.size()) != samples.num_inputs)) {
    return absl::InvalidArgumentError("scaling: its length differs from the number of inputs");
  }
  return absl::OkStatus();
}

}  // namespace thresher
