// A model as named arrays: the form that the NPZ and the JSON format share, so that both
// have the same members and refuse the same mistakes. Names are documented in README.md.
#ifndef THRESHER_CORE_NETWORK_MODEL_ARCHIVE_H_
#define THRESHER_CORE_NETWORK_MODEL_ARCHIVE_H_

#include "absl/status/statusor.h"
#include "core/formats/npz.h"
#include "core/network/model.h"

namespace thresher {

// Expects a model that ValidateModel accepts.
NpzArchive ModelToArchive(const Model& model);

// Errors: INVALID_ARGUMENT naming the member that is missing, unknown, of the wrong type
// or shape, or out of range.
absl::StatusOr<Model> ModelFromArchive(const NpzArchive& archive);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_MODEL_ARCHIVE_H_
