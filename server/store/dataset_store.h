// Data sets: a record in the database, the samples as a blob.
#ifndef THRESHER_SERVER_STORE_DATASET_STORE_H_
#define THRESHER_SERVER_STORE_DATASET_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/samples/planted.h"
#include "core/samples/read_samples.h"
#include "core/samples/samples.h"
#include "server/store/blob_folder.h"
#include "server/store/database.h"
#include "server/store/records.h"

namespace thresher::store {

using DatasetSource = std::variant<PlantedOptions, ReadOptions>;

struct DatasetRecord {
  std::string id;
  DatasetSource source;  // ReadOptions::max_bytes is not kept
  Labels labels;
  Timestamp create_time;
  int64_t num_samples = 0;
  int64_t num_inputs = 0;
  int64_t num_outputs = 0;
  std::vector<std::string> class_names;
  ImageShape image_shape;
  int64_t size_bytes = 0;
  // Of the blob: two .npy arrays of float32, inputs (n x d) and targets (n x k), one
  // behind the other, as numpy.load reads them from one open file.
  std::string sha256;

  // The server's own.
  Scaling scaling;
  bool constant_targets = false;
  std::string planted_network_sha256;  // model NPZ blob; empty: not planted
};

class DatasetStore {
 public:
  // The database and the folder outlive the store. max_dataset_bytes bounds the samples
  // of one data set in memory.
  DatasetStore(Database* database, BlobFolder* blobs, int64_t max_dataset_bytes);

  // The data set that an earlier call of this identity made: ask before taking in bytes.
  // Errors: INVALID_ARGUMENT `dataset_id`, `request_id`; ALREADY_EXISTS.
  absl::StatusOr<std::optional<DatasetRecord>> FindEarlier(const CreateIdentity& identity);

  // Generates and keeps a planted problem; durable on return. Blocks for the work, at
  // most some minutes.
  // Errors: INVALID_ARGUMENT naming `planted.<field>`, `dataset_id`, `request_id` or
  // `labels`; ALREADY_EXISTS; RESOURCE_EXHAUSTED (too large, disk full); CANCELLED by `stop`.
  absl::StatusOr<DatasetRecord> CreatePlanted(const CreateIdentity& identity,
                                              const PlantedOptions& options, const Labels& labels,
                                              const std::stop_token& stop = {});
  // Parses uploaded files and keeps the samples; durable on return. Errors as above and
  // as ReadSamples (`upload.<field>`).
  absl::StatusOr<DatasetRecord> CreateUploaded(const CreateIdentity& identity,
                                               const ReadOptions& options, const Labels& labels,
                                               std::string_view inputs, std::string_view targets);
  // Keeps given samples. `source` says where they are from.
  absl::StatusOr<DatasetRecord> Create(const CreateIdentity& identity, const DatasetSource& source,
                                       const Labels& labels, const Samples& samples,
                                       const SparseNetwork* planted_network);

  absl::StatusOr<DatasetRecord> Get(std::string_view id);
  absl::StatusOr<Page<DatasetRecord>> List(const ListRequest& request);
  // Errors: NOT_FOUND; FAILED_PRECONDITION while a queued or running job needs it.
  absl::Status Delete(std::string_view id);

  // The samples, shared among those who hold them at the same time.
  // Errors: NOT_FOUND; DATA_LOSS when the blob is damaged.
  absl::StatusOr<std::shared_ptr<const Samples>> Load(const DatasetRecord& record);
  // Nothing when the data set was not planted.
  absl::StatusOr<std::optional<SparseNetwork>> LoadPlantedNetwork(const DatasetRecord& record);

  // A temporary file for an upload.
  absl::StatusOr<TemporaryFile> NewTemporaryFile() { return blobs_->NewTemporaryFile(); }
  int64_t max_dataset_bytes() const { return max_dataset_bytes_; }

 private:
  struct Loading {
    Mutex mutex;  // held by the thread that reads the blob
    std::weak_ptr<const Samples> samples THRESHER_GUARDED_BY(mutex);
  };

  Database* const database_;
  BlobFolder* const blobs_;
  const int64_t max_dataset_bytes_;

  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Loading>> loaded_ THRESHER_GUARDED_BY(mutex_);
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_DATASET_STORE_H_
