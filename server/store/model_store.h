// Models: a record in the database, the network as an NPZ blob.
#ifndef THRESHER_SERVER_STORE_MODEL_STORE_H_
#define THRESHER_SERVER_STORE_MODEL_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/model_files/model_file.h"
#include "core/network/model.h"
#include "server/store/blob_folder.h"
#include "server/store/database.h"
#include "server/store/job_record.h"
#include "server/store/records.h"

namespace thresher::store {

enum class NetworkKind { kRelu = 1, kGated = 2 };

struct ModelRecord {
  std::string id;
  Timestamp create_time;
  std::string job_id;  // empty, as all that follows from a job: uploaded
  std::string dataset_id;
  std::string dataset_sha256;
  NetworkKind network_kind = NetworkKind::kRelu;
  int64_t num_inputs = 0;
  bool bias = false;
  bool linear_term = false;     // beside the neurons of a ReLU network
  int64_t linear_nonzeros = 0;  // its entries that are not 0, without the intercept
  bool output_weights = false;  // of a ReLU network's own, not the fixed signs
  int64_t num_outputs = 1;
  std::vector<int64_t> hidden_widths;  // empty in records of before it
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  std::vector<std::string> class_names;
  std::optional<Loss> loss;  // that the file says it was found by; none in records of before it
  std::optional<JobSpec> spec;
  std::optional<JobReport> report;  // of the spec's kind
  std::string program_version;
  Labels labels;
  int64_t size_bytes = 0;  // of the NPZ file
  std::string sha256;      // of the NPZ file
};

// A model whose blob is written and whose record waits to be inserted.
struct PreparedModel {
  BlobPin blob;
  ModelRecord record;  // what follows from the network filled in; the rest is the caller's
};

class ModelStore {
 public:
  ModelStore(Database* database, BlobFolder* blobs);

  absl::StatusOr<PreparedModel> Prepare(const Model& model);
  // Inserts inside a write. The id is `wanted_id`, or its beginning with a random ending when it
  // is taken or too long. Returns the id.
  absl::StatusOr<std::string> Insert(Connection& connection, ModelRecord record,
                                     std::string_view wanted_id);

  // The model that an earlier call of this identity made: ask before taking in bytes.
  // Errors: INVALID_ARGUMENT `model_id`, `request_id`; ALREADY_EXISTS.
  absl::StatusOr<std::optional<ModelRecord>> FindEarlier(const CreateIdentity& identity);
  // Keeps a network that comes from elsewhere; durable on return.
  // Errors: as FindEarlier, and INVALID_ARGUMENT `labels`.
  absl::StatusOr<ModelRecord> CreateUploaded(const CreateIdentity& identity, const Model& model,
                                             const Labels& labels,
                                             std::string_view program_version);

  absl::StatusOr<ModelRecord> Get(std::string_view id);
  absl::StatusOr<Page<ModelRecord>> List(const ListRequest& request);
  // Errors: NOT_FOUND; FAILED_PRECONDITION while a queued or running job starts from it.
  absl::Status Delete(std::string_view id);

  // The model as a file of its own; a C header's names begin with the id. NPZ is as stored and
  // copied in pieces. Errors: as WriteModelFile.
  absl::StatusOr<TemporaryFile> WriteFile(const ModelRecord& record, ModelFileFormat format,
                                          int64_t max_bytes);
  absl::StatusOr<std::shared_ptr<const Model>> Load(const ModelRecord& record);

  // A temporary file for an upload.
  absl::StatusOr<TemporaryFile> NewTemporaryFile() { return blobs_->NewTemporaryFile(); }

 private:
  Database* const database_;
  BlobFolder* const blobs_;
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_MODEL_STORE_H_
