#include "core/formats/npz.h"
#include "core/network/model.h"
#include "core/network/model_archive.h"

namespace thresher {

absl::StatusOr<std::string> WriteModelNpz(const Model& model) {
  if (absl::Status status = ValidateModel(model); !status.ok()) return status;
  return SerializeNpz(ModelToArchive(model));
}

absl::StatusOr<Model> ReadModelNpz(std::string_view bytes, int64_t max_bytes) {
  absl::StatusOr<NpzArchive> archive = ParseNpz(bytes, max_bytes);
  if (!archive.ok()) return archive.status();
  return ModelFromArchive(*archive);
}

}  // namespace thresher
