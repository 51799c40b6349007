// A model: a network, the scaling of the data that it was fitted to, and where it
// came from.
#ifndef THRESHER_CORE_NETWORK_MODEL_H_
#define THRESHER_CORE_NETWORK_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

// Affine scaling of inputs and targets: the network sees
//   x'_q = (x_q - input_offset_q) / input_scale_q,
// and y = y' * target_scale + target_offset, for every output, is what the user sees. Empty
// vectors mean no scaling of the inputs.
struct Scaling {
  std::vector<double> input_offset;
  std::vector<double> input_scale;  // all > 0
  double target_offset = 0;
  double target_scale = 1;  // > 0
  bool operator==(const Scaling&) const = default;
};

struct Model {
  Network network;
  Scaling scaling;
  // Names of the classes that targets 0 and 1 of one output stand for, where a prediction of at
  // least 0.5 is class 1; of k > 2 outputs one each, where the largest prediction is the class.
  // Empty for regression.
  std::vector<std::string> class_names;
  // Origin and report as plain text: job, dataset, dataset_sha256, seed,
  // algorithm, gates ("sequential", "random" or "vectors"), version, ...
  std::map<std::string, std::string> metadata;
  bool operator==(const Model&) const = default;
};

// Bounds of what a model's texts may hold, in bytes of UTF-8.
inline constexpr int64_t kMaxClassNameBytes = 1024;
inline constexpr int64_t kMaxMetadataEntries = 256;
inline constexpr int64_t kMaxMetadataKeyBytes = 256;
inline constexpr int64_t kMaxMetadataValueBytes = 65536;

// Errors: INVALID_ARGUMENT, which begins with `field`, unless the name is UTF-8 without NUL of at
// most kMaxClassNameBytes.
absl::Status ValidateClassName(std::string_view field, std::string_view name);

// Errors: INVALID_ARGUMENT naming the field: as ValidateNetwork; `input_offset` and
// `input_scale` (length neither 0 nor num_inputs, not finite, a scale that is not
// positive; both or none are given), `target_offset`, `target_scale`, `class_names`
// (neither none nor two, or one for each of k > 2 outputs) and `metadata` (too many or too long).
// Texts must be UTF-8 without NUL.
absl::Status ValidateModel(const Model& model);

// Predictions in the user's units on unscaled inputs, n x NumOutputs row-major. Scaled
// inputs are rounded to float, as they are when a network is fitted.
// Errors: INVALID_ARGUMENT as ValidateModel and Evaluate, and for inputs that are not
// finite or become so by scaling, and predictions that overflow.
// Memory: besides the result and Evaluate's at most 16 MiB, or one row of inputs.
absl::StatusOr<std::vector<double>> Predict(const Model& model, InputView inputs);

// NPZ: member names are documented in core/network/README.md. The weights are the
// SciPy CSR members format, shape, data, indices, indptr, so that
// scipy.sparse.load_npz on the file rebuilds the weight matrix. Equal models give
// equal bytes.
// Errors: INVALID_ARGUMENT as ValidateModel. On reading also for damaged files and
// naming a member that is missing, unknown, of the wrong type or shape, or out of
// range; RESOURCE_EXHAUSTED when the file unpacks to more than max_bytes.
absl::StatusOr<std::string> WriteModelNpz(const Model& model);
absl::StatusOr<Model> ReadModelNpz(std::string_view bytes, int64_t max_bytes);

// JSON: one object, the same words as the NPZ members. Numbers round trip exactly.
// Expects a model that ValidateModel accepts.
std::string WriteModelJson(const Model& model);
// Errors: INVALID_ARGUMENT with the place of a syntax error, or naming the member as
// ReadModelNpz does; a member given twice is an error too.
// Memory: up to 16 times the text.
absl::StatusOr<Model> ReadModelJson(std::string_view text);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_MODEL_H_
