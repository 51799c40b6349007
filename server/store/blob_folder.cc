#include "server/store/blob_folder.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/store/error_details.h"

namespace thresher::store {
namespace {

constexpr char kTemporaryFolder[] = "tmp";
constexpr size_t kPieceBytes = size_t{1} << 20;

absl::Status ErrnoStatus(int error, const std::string& doing) {
  const std::string message =
      absl::StrCat(doing, ": ", std::error_code(error, std::generic_category()).message());
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return WithReason(absl::ResourceExhaustedError(absl::StrCat(message, "; free disk space")),
                        kReasonDiskFull);
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

int CloseOnExec(const std::string& path, int flags) {
  return open(path.c_str(), flags | O_CLOEXEC, 0640);
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

absl::Status Damaged(const std::string& name) {
  return absl::DataLossError(absl::StrCat("blob ", name, " is damaged: its hash differs"));
}

bool IsBlobName(std::string_view name) {
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

Sha256::Sha256(Sha256&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}

void Sha256::Update(std::string_view bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size());
}

std::string Sha256::Finish() {
  unsigned char digest[32] = {};
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest, nullptr);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

TemporaryFile::TemporaryFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      hash_(std::move(other.hash_)),
      sha256_(std::move(other.sha256_)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_size_(other.mapping_size_) {}

TemporaryFile::~TemporaryFile() {
  Unmap();
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(path_.c_str());
}

void TemporaryFile::Unmap() {
  if (mapping_ != nullptr) munmap(mapping_, static_cast<size_t>(mapping_size_));
  mapping_ = nullptr;
}

absl::Status TemporaryFile::Append(std::string_view bytes) {
  if (!sha256_.empty()) return absl::FailedPreconditionError("the file is complete");
  Unmap();
  hash_.Update(bytes);
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "writing a file");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    size_ += written;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> TemporaryFile::Map() {
  if (size_ == 0) return std::string_view("");
  if (mapping_ == nullptr) {
    void* mapping =
        mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (mapping == MAP_FAILED) return ErrnoStatus(errno, "mapping a file");
    mapping_ = mapping;
    mapping_size_ = size_;
  }
  return std::string_view(static_cast<const char*>(mapping_), static_cast<size_t>(mapping_size_));
}

const std::string& TemporaryFile::Sha256() {
  if (sha256_.empty()) sha256_ = hash_.Finish();
  return sha256_;
}

BlobPin::BlobPin(BlobPin&& other) noexcept
    : folder_(std::exchange(other.folder_, nullptr)),
      sha256_(std::move(other.sha256_)),
      size_(other.size_) {}

BlobPin& BlobPin::operator=(BlobPin&& other) noexcept {
  if (this == &other) return *this;
  if (folder_ != nullptr) folder_->Unpin(sha256_);
  folder_ = std::exchange(other.folder_, nullptr);
  sha256_ = std::move(other.sha256_);
  size_ = other.size_;
  return *this;
}

BlobPin::~BlobPin() {
  if (folder_ != nullptr) folder_->Unpin(sha256_);
}

absl::StatusOr<std::unique_ptr<BlobFolder>> BlobFolder::Open(const std::string& path) {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::path(path) / kTemporaryFolder;
  std::filesystem::create_directories(temporary, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("creating ", temporary.string()));
  for (const auto& entry : std::filesystem::directory_iterator(temporary, error)) {
    std::error_code ignored;  // a file that stays does no harm, and is tried again
    std::filesystem::remove(entry.path(), ignored);
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("reading ", temporary.string()));
  const int descriptor = CloseOnExec(path, O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  return std::unique_ptr<BlobFolder>(new BlobFolder(path, descriptor));
}

BlobFolder::BlobFolder(std::string path, int folder_descriptor)
    : path_(std::move(path)), folder_descriptor_(folder_descriptor) {}

BlobFolder::~BlobFolder() { close(folder_descriptor_); }

std::string BlobFolder::PathOf(std::string_view sha256) const {
  return absl::StrCat(path_, "/", absl::string_view(sha256.data(), sha256.size()));
}

void BlobFolder::Unpin(const std::string& sha256) {
  MutexLock lock(mutex_);
  const auto position = pins_.find(sha256);
  if (position != pins_.end() && --position->second == 0) pins_.erase(position);
}

absl::StatusOr<TemporaryFile> BlobFolder::NewTemporaryFile() {
  std::string path;
  {
    MutexLock lock(mutex_);
    path = absl::StrCat(path_, "/", kTemporaryFolder, "/", getpid(), "-", next_temporary_++);
  }
  const int descriptor = CloseOnExec(path, O_RDWR | O_CREAT | O_EXCL);
  if (descriptor < 0) return ErrnoStatus(errno, absl::StrCat("creating ", path));
  return TemporaryFile(path, descriptor);
}

absl::StatusOr<BlobPin> BlobFolder::Keep(TemporaryFile file) {
  const std::string sha256 = file.Sha256();
  BlobPin pin;
  {
    // Pinned before the look at the folder, so that nobody collects what is found there.
    MutexLock lock(mutex_);
    ++pins_[sha256];
    pin.folder_ = this;
    pin.sha256_ = sha256;
    pin.size_ = file.size();
  }
  const std::string path = PathOf(sha256);
  if (access(path.c_str(), F_OK) != 0) {
    if (fsync(file.descriptor_) != 0) return ErrnoStatus(errno, "syncing a file");
    if (rename(file.path_.c_str(), path.c_str()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("renaming to ", path));
    }
    file.Unmap();
    close(std::exchange(file.descriptor_, -1));
  }
  // Also when the blob was there: its own writer may not have come to this line.
  if (fsync(folder_descriptor_) != 0) return ErrnoStatus(errno, "syncing the blob folder");
  return pin;
}

absl::StatusOr<BlobPin> BlobFolder::Put(std::string_view bytes) {
  absl::StatusOr<TemporaryFile> file = NewTemporaryFile();
  if (!file.ok()) return file.status();
  absl::Status status = file->Append(bytes);
  if (!status.ok()) return status;
  return Keep(std::move(*file));
}

absl::StatusOr<MappedBlob> BlobFolder::Map(std::string_view sha256) {
  const std::string name(sha256);
  if (!IsBlobName(name)) return absl::NotFoundError("no such blob");
  // Read, not looked at through the mapping: a disk that fails is an error of the read, and the
  // pages are in memory afterwards.
  absl::Status intact = Stream(name, [](std::string_view) { return absl::OkStatus(); });
  if (!intact.ok()) return intact;
  const Descriptor file(CloseOnExec(PathOf(name), O_RDONLY));
  if (file.get() < 0) return ErrnoStatus(errno, absl::StrCat("opening blob ", name));
  struct stat about = {};
  if (fstat(file.get(), &about) != 0)
    return ErrnoStatus(errno, absl::StrCat("reading blob ", name));
  const auto size = static_cast<size_t>(about.st_size);
  MappedBlob blob;
  if (size > 0) {
    void* mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (mapping == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("mapping blob ", name));
    blob.owner = std::shared_ptr<const void>(
        mapping, [size](const void* start) { munmap(const_cast<void*>(start), size); });
    blob.bytes = {static_cast<const char*>(mapping), size};
  }
  return blob;
}

absl::Status BlobFolder::Stream(std::string_view sha256,
                                const std::function<absl::Status(std::string_view)>& consume) {
  const std::string name(sha256);
  if (!IsBlobName(name)) return absl::NotFoundError("no such blob");
  const Descriptor file(CloseOnExec(PathOf(name), O_RDONLY));
  if (file.get() < 0) return ErrnoStatus(errno, absl::StrCat("opening blob ", name));
  store::Sha256 hash;
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    const ssize_t got = read(file.get(), piece.data(), piece.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, absl::StrCat("reading blob ", name));
    }
    if (got == 0) break;
    const std::string_view bytes(piece.data(), static_cast<size_t>(got));
    hash.Update(bytes);
    absl::Status status = consume(bytes);
    if (!status.ok()) return status;
  }
  if (hash.Finish() != name) return Damaged(name);
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlobFolder::Get(std::string_view sha256) {
  std::string bytes;
  absl::Status status = Stream(sha256, [&bytes](std::string_view piece) {
    bytes.append(piece);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return bytes;
}

absl::Status BlobFolder::Collect(std::string_view sha256,
                                 const std::function<absl::StatusOr<bool>()>& referenced) {
  const std::string name(sha256);
  if (!IsBlobName(name)) return absl::OkStatus();
  MutexLock lock(mutex_);
  if (pins_.count(name) != 0) return absl::OkStatus();
  absl::StatusOr<bool> is_referenced = referenced();
  if (!is_referenced.ok()) return is_referenced.status();
  if (*is_referenced) return absl::OkStatus();
  if (unlink(PathOf(name).c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("removing blob ", name));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> BlobFolder::CollectAllBut(const std::set<std::string>& kept) {
  int64_t removed = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsBlobName(name) || kept.count(name) != 0) continue;
    std::error_code remove_error;
    if (std::filesystem::remove(entry.path(), remove_error)) ++removed;
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("reading ", path_));
  return removed;
}

}  // namespace thresher::store
