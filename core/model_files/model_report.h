// What a network costs as it is and as a dense one: sizes, work, time.
#ifndef THRESHER_CORE_MODEL_FILES_MODEL_REPORT_H_
#define THRESHER_CORE_MODEL_FILES_MODEL_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model_files/model_file.h"

namespace thresher {

struct LayerReport {
  int64_t num_inputs = 0;
  int64_t num_units = 0;
  int64_t nonzeros = 0;  // biases too
};

// Median over repeated runs of one evaluation (evaluation.h), in the same process, one thread.
struct LatencyReport {
  int64_t batch = 0;  // samples at once
  double sparse_seconds = 0;
  // Eigen's float32 products of the dense network, as this program is built.
  double dense_seconds = 0;
};

struct FileSize {
  ModelFileFormat format = ModelFileFormat::kNpz;
  std::optional<int64_t> bytes;  // none: cannot be written so
};

// The dense network is the one that was pruned, where it is given, else that of these widths.
struct ModelReport {
  bool has_given = false;
  std::vector<LayerReport> layers;  // none for a gated network
  int64_t nonzeros = 0;             // of all layers, as written to files
  int64_t dense_weights = 0;        // of its matrices and biases
  int64_t multiply_adds = 0;        // a sample, without biases
  int64_t dense_multiply_adds = 0;
  // Of all its weights in the model's weight type; of a gated network, gates and weights, in
  // double.
  int64_t dense_bytes = 0;
  std::vector<FileSize> files;
  std::vector<LatencyReport> latencies;  // of one sample and 256; none where dense is too large
};

// Files larger than max_bytes are not written; dense products are timed where the dense weights
// take at most that. given: what the model was pruned from, to compare with; null: none.
// Cost: that of writing every format, and about a second of timing.
// Errors: INVALID_ARGUMENT as ValidateModel, and `given` for a gated network or other inputs.
absl::StatusOr<ModelReport> ReportModel(const Model& model, const Model* given, int64_t max_bytes);

}  // namespace thresher

#endif  // THRESHER_CORE_MODEL_FILES_MODEL_REPORT_H_
