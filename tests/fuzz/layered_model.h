// What must hold of every network that a reader of layered files accepts.
#ifndef THRESHER_TESTS_FUZZ_LAYERED_MODEL_H_
#define THRESHER_TESTS_FUZZ_LAYERED_MODEL_H_

#include <cstdlib>
#include <variant>

#include "core/model_files/model_file.h"

namespace thresher {

inline void CheckAccepted(const absl::StatusOr<Model>& model) {
  constexpr int64_t kMaxBytes = int64_t{1} << 22;
  if (!model.ok()) return;
  if (!ValidateModel(*model).ok()) std::abort();
  const auto* network = std::get_if<SparseNetwork>(&model->network);
  for (const ModelFileFormat format : kModelFileFormats) {
    const absl::StatusOr<std::string> bytes = WriteModelFile(*model, format, "network", kMaxBytes);
    // The only reason not to write: a network far larger than its file.
    if (!bytes.ok()) {
      if (absl::IsInternal(bytes.status())) std::abort();
      continue;
    }
    if (format == ModelFileFormat::kCHeader) continue;
    const absl::StatusOr<Model> again = ReadModelFile(format, *bytes, int64_t{1} << 26);
    if (!again.ok()) std::abort();
    // Exactly, but for what float32 does to doubles that were not given as such, and for the form
    // of networks with output signs.
    const bool exact = format == ModelFileFormat::kNpz || format == ModelFileFormat::kJson;
    if (exact && !(*again == *model)) std::abort();
    if (network != nullptr && NumInputs(again->network) != network->num_inputs) std::abort();
    if (NumOutputs(again->network) != NumOutputs(model->network)) std::abort();
  }
}

}  // namespace thresher

#endif  // THRESHER_TESTS_FUZZ_LAYERED_MODEL_H_
