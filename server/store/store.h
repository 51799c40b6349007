// The durable store of one server: a data directory with the database and the blobs.
#ifndef THRESHER_SERVER_STORE_STORE_H_
#define THRESHER_SERVER_STORE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/blob_folder.h"
#include "server/store/database.h"
#include "server/store/dataset_store.h"
#include "server/store/model_store.h"

namespace thresher::store {

struct StoreOptions {
  std::string data_dir;                          // created when missing
  int64_t max_dataset_bytes = int64_t{4} << 30;  // of one data set's samples in memory
};

class Store {
 public:
  // Locks the directory for this process, opens the database, removes blobs that no
  // record refers to (left by a death between file and record).
  // Errors: FAILED_PRECONDITION when another process holds the directory; as
  // Database::Open.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options);
  ~Store();

  Database& database() { return *database_; }
  BlobFolder& blobs() { return *blobs_; }
  DatasetStore& datasets() { return *datasets_; }
  ModelStore& models() { return *models_; }

 private:
  Store() = default;
  int lock_descriptor_ = -1;
  std::unique_ptr<BlobFolder> blobs_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<DatasetStore> datasets_;
  std::unique_ptr<ModelStore> models_;
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_STORE_H_
