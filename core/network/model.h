// A model: a network, the scaling of the data that it was fitted to, and where it
// came from.
#ifndef THRESHER_CORE_NETWORK_MODEL_H_
#define THRESHER_CORE_NETWORK_MODEL_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

// Affine scaling of inputs and targets: the network sees
//   x'_q = (x_q - input_offset_q) / input_scale_q,
// and y = y' * target_scale + target_offset is what the user sees. Empty vectors
// mean no scaling of the inputs.
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
  // Names of the classes that targets 0 and 1 stand for; empty for regression. A
  // prediction of at least 0.5 is class 1.
  std::vector<std::string> class_names;
  // Origin and report as plain text: job, dataset, dataset_sha256, seed,
  // algorithm, gates ("sequential", "random" or "vectors"), version, ...
  std::map<std::string, std::string> metadata;
  bool operator==(const Model&) const = default;
};

// Predictions in the user's units on unscaled inputs.
// Errors: INVALID_ARGUMENT as Evaluate, and for inputs that are not finite.
absl::StatusOr<std::vector<double>> Predict(const Model& model, InputView inputs);

// NPZ: member names are documented in core/network/README.md. A sparse network's
// weights are the SciPy CSR members format, shape, data, indices, indptr, so that
// scipy.sparse.load_npz on the file rebuilds the m x columns weight matrix.
absl::StatusOr<std::string> WriteModelNpz(const Model& model);
absl::StatusOr<Model> ReadModelNpz(std::string_view bytes, int64_t max_bytes);

// JSON: one object, the same words as the NPZ members. Numbers round trip exactly.
std::string WriteModelJson(const Model& model);
absl::StatusOr<Model> ReadModelJson(std::string_view text);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_MODEL_H_
