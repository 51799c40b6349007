#include "server/store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/records.h"

namespace thresher::store {
namespace {

absl::StatusOr<int> LockDirectory(const std::string& data_dir) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("data directory ", data_dir, ": ", error.message()));
  }
  const std::string path = absl::StrCat(data_dir, "/lock");
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (descriptor < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", std::error_code(errno, std::generic_category()).message()));
  }
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    close(descriptor);
    return absl::FailedPreconditionError(absl::StrCat(
        "data directory ", data_dir, " is used by another server; stop it or choose another one"));
  }
  return descriptor;
}

absl::Status CollectGarbage(Database& database, BlobFolder& blobs) {
  std::set<std::string> kept;
  absl::Status status = database.Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<Statement> query = connection.Query("SELECT DISTINCT sha256 FROM blobs");
    if (!query.ok()) return query.status();
    for (;;) {
      absl::StatusOr<bool> row = query->Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
      kept.insert(query->Text(0));
    }
  });
  if (!status.ok()) return status;
  return blobs.CollectAllBut(kept).status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store());
  absl::StatusOr<int> lock = LockDirectory(options.data_dir);
  if (!lock.ok()) return lock.status();
  store->lock_descriptor_ = *lock;
  absl::StatusOr<std::unique_ptr<BlobFolder>> blobs = BlobFolder::Open(options.data_dir + "/blobs");
  if (!blobs.ok()) return blobs.status();
  store->blobs_ = std::move(*blobs);
  // The folder's own entry, so that the blobs in it outlive a loss of power.
  const int directory = open(options.data_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = directory >= 0 && fsync(directory) == 0;
  if (directory >= 0) close(directory);
  if (!synced) return absl::InternalError(absl::StrCat("cannot sync ", options.data_dir));
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(options.data_dir + "/thresher.db", SchemaMigrations());
  if (!database.ok()) return database.status();
  store->database_ = std::move(*database);
  absl::Status status = store->database_->Write(DeleteOrphans);
  if (status.ok()) status = CollectGarbage(*store->database_, *store->blobs_);
  if (!status.ok()) return status;
  store->datasets_ = std::make_unique<DatasetStore>(store->database_.get(), store->blobs_.get(),
                                                    options.max_dataset_bytes);
  store->models_ = std::make_unique<ModelStore>(store->database_.get(), store->blobs_.get());
  return store;
}

Store::~Store() {
  models_.reset();
  datasets_.reset();
  database_.reset();
  blobs_.reset();
  if (lock_descriptor_ >= 0) close(lock_descriptor_);
}

}  // namespace thresher::store
