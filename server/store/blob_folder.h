// A folder of immutable files named by the SHA-256 of their bytes.
//
// A file is written under a temporary name, synced, renamed, and its folder synced, so
// that a name always stands for whole bytes, whenever the process dies.
#ifndef THRESHER_SERVER_STORE_BLOB_FOLDER_H_
#define THRESHER_SERVER_STORE_BLOB_FOLDER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/mutex.h"

namespace thresher::store {

// SHA-256 over a stream of bytes.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&& other) noexcept;
  Sha256& operator=(Sha256&&) = delete;

  void Update(std::string_view bytes);
  // 64 hexadecimal digits. Once only.
  std::string Finish();

 private:
  void* context_;
};
std::string Sha256Hex(std::string_view bytes);

class BlobFolder;

// A file being written; removed when it goes without BlobFolder::Keep.
class TemporaryFile {
 public:
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile();

  // Errors: RESOURCE_EXHAUSTED with reason DISK_FULL.
  absl::Status Append(std::string_view bytes);
  int64_t size() const { return size_; }
  // All bytes so far, mapped; good until the next Append or the file's end.
  absl::StatusOr<std::string_view> Map();
  // Of all bytes; ends the writing.
  const std::string& Sha256();

 private:
  friend class BlobFolder;
  TemporaryFile(std::string path, int descriptor);
  void Unmap();

  std::string path_;
  int descriptor_;
  int64_t size_ = 0;
  store::Sha256 hash_;
  std::string sha256_;  // once Sha256() was called
  void* mapping_ = nullptr;
  int64_t mapping_size_ = 0;
};

// A blob that is kept from being collected while this lives: between writing the file
// and committing the record that refers to it.
class BlobPin {
 public:
  BlobPin() = default;
  BlobPin(BlobPin&& other) noexcept;
  BlobPin& operator=(BlobPin&& other) noexcept;
  ~BlobPin();

  const std::string& sha256() const { return sha256_; }
  int64_t size() const { return size_; }

 private:
  friend class BlobFolder;
  BlobFolder* folder_ = nullptr;
  std::string sha256_;
  int64_t size_ = 0;
};

// A blob's bytes, mapped: they take no memory that the system cannot have back. Good as long as
// `owner` lives, after Collect too. A disk that fails later, or a file that somebody cuts short,
// ends the process when its pages are looked at again (SIGBUS).
struct MappedBlob {
  std::string_view bytes;
  std::shared_ptr<const void> owner;
};

class BlobFolder {
 public:
  // Creates the folder and its subfolder for temporary files, and removes the temporary
  // files that a dead process left.
  static absl::StatusOr<std::unique_ptr<BlobFolder>> Open(const std::string& path);
  ~BlobFolder();

  absl::StatusOr<TemporaryFile> NewTemporaryFile();
  // Makes the file a blob, durable when this returns.
  absl::StatusOr<BlobPin> Keep(TemporaryFile file);
  absl::StatusOr<BlobPin> Put(std::string_view bytes);

  // Errors: NOT_FOUND; DATA_LOSS when the bytes are not those that the name says.
  absl::StatusOr<std::string> Get(std::string_view sha256);
  // Hands the file to `consume` in pieces; the hash is checked at the end.
  absl::Status Stream(std::string_view sha256,
                      const std::function<absl::Status(std::string_view piece)>& consume);

  // Reads the bytes once, to check the hash. Errors: as Get.
  absl::StatusOr<MappedBlob> Map(std::string_view sha256);

  // Removes the blob unless it is pinned or `referenced` says yes. No pin can be taken
  // meanwhile.
  absl::Status Collect(std::string_view sha256,
                       const std::function<absl::StatusOr<bool>()>& referenced);
  // Removes every blob outside `kept`. For start-up, before anything is pinned.
  absl::StatusOr<int64_t> CollectAllBut(const std::set<std::string>& kept);

 private:
  friend class BlobPin;
  BlobFolder(std::string path, int folder_descriptor);
  std::string PathOf(std::string_view sha256) const;
  void Unpin(const std::string& sha256) THRESHER_EXCLUDES(mutex_);

  const std::string path_;
  const int folder_descriptor_;
  Mutex mutex_;
  std::map<std::string, int> pins_ THRESHER_GUARDED_BY(mutex_);
  int64_t next_temporary_ THRESHER_GUARDED_BY(mutex_) = 0;
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_BLOB_FOLDER_H_
