#include "core/formats/npz.h"

#include <zip.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

constexpr int64_t kMostMembers = 4096;
constexpr std::string_view kSuffix = ".npy";
// Weights hold little that repeats: libzip's own level, 9, takes tens of times as long as this one
// for less than a tenth of the bytes.
constexpr zip_uint32_t kDeflateLevel = 3;
// An archive without members: the end record alone, which libzip does not write.
std::string EmptyArchive() { return std::string("PK\5\6") + std::string(18, '\0'); }

struct ZipErrorFini {
  void operator()(zip_error_t* error) const { zip_error_fini(error); }
};
struct ZipSourceFree {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
struct ZipDiscard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct ZipFileClose {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using ZipArchive = std::unique_ptr<zip_t, ZipDiscard>;

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 60;
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kLongest))),
      text.size() > kLongest ? "..." : "", "'");
}

absl::Status Damaged(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a readable npz (ZIP) file: ", std::string(what)));
}

// libzip allocates as many directory entries as the end record claims. The plain record
// cannot claim more than 65535, the ZIP64 record any number, so it is refused beforehand;
// only archives of 4 GiB and more need one.
bool HasZip64EndRecord(std::string_view bytes) {
  constexpr std::string_view kEndRecord("PK\5\6", 4);
  constexpr std::string_view kZip64Locator("PK\6\7", 4);
  constexpr size_t kLocatorSize = 20;
  constexpr size_t kLongestTail = 65536 + 22 + kLocatorSize;
  const std::string_view tail = bytes.substr(bytes.size() - std::min(bytes.size(), kLongestTail));
  for (size_t at = tail.find(kEndRecord); at != std::string_view::npos;
       at = tail.find(kEndRecord, at + 1)) {
    if (at >= kLocatorSize && tail.substr(at - kLocatorSize, 4) == kZip64Locator) return true;
  }
  return false;
}

absl::StatusOr<ZipArchive> OpenForReading(std::string_view bytes) {
  if (bytes.substr(0, 2) != "PK") return Damaged("it must start with PK");
  if (HasZip64EndRecord(bytes)) return Damaged("ZIP64 archives are not supported");
  zip_error_t error;
  zip_error_init(&error);
  std::unique_ptr<zip_error_t, ZipErrorFini> error_fini(&error);
  std::unique_ptr<zip_source_t, ZipSourceFree> source(
      zip_source_buffer_create(bytes.data(), bytes.size(), /*freep=*/0, &error));
  if (source == nullptr) return absl::ResourceExhaustedError("no memory to read a ZIP file");
  ZipArchive archive(zip_open_from_source(source.get(), ZIP_RDONLY | ZIP_CHECKCONS, &error));
  if (archive == nullptr) {
    return Damaged(zip_error_code_zip(&error) == ZIP_ER_EXISTS
                       ? "a member name occurs more than once"
                       : zip_error_strerror(&error));
  }
  source.release();  // owned by the archive now
  return archive;
}

struct Member {
  zip_uint64_t index = 0;
  std::string name;  // without .npy
  int64_t size = 0;  // as declared in the directory
};

// Checks the directory before anything is unpacked.
absl::StatusOr<std::vector<Member>> ListMembers(zip_t* archive, int64_t max_bytes) {
  const int64_t num_members = zip_get_num_entries(archive, 0);
  if (num_members > kMostMembers) {
    return absl::InvalidArgumentError(
        absl::StrCat("npz file has ", num_members, " members, more than ", kMostMembers));
  }
  std::vector<Member> members;
  int64_t total = 0;
  for (int64_t i = 0; i < num_members; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(archive, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW, &stat) != 0) {
      return Damaged(zip_strerror(archive));
    }
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((stat.valid & kNeeded) != kNeeded) return Damaged("a member lacks its name or size");
    const std::string_view name = stat.name;
    if (name.size() <= kSuffix.size() || name.substr(name.size() - kSuffix.size()) != kSuffix) {
      return absl::InvalidArgumentError(
          absl::StrCat("npz member ", Quoted(name), " is not an array: its name must end in .npy"));
    }
    if (stat.encryption_method != ZIP_EM_NONE) {
      return absl::InvalidArgumentError(absl::StrCat("npz member ", Quoted(name), " is encrypted"));
    }
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
      return absl::InvalidArgumentError(
          absl::StrCat("npz member ", Quoted(name), " uses compression method ", stat.comp_method,
                       "; only stored and deflated members are read"));
    }
    if (stat.size > static_cast<zip_uint64_t>(std::max<int64_t>(max_bytes - total, 0))) {
      return absl::ResourceExhaustedError(
          absl::StrCat("npz file would unpack to more than the limit of ", max_bytes,
                       " bytes, at member ", Quoted(name)));
    }
    total += static_cast<int64_t>(stat.size);
    members.push_back({.index = static_cast<zip_uint64_t>(i),
                       .name = std::string(name.substr(0, name.size() - kSuffix.size())),
                       .size = static_cast<int64_t>(stat.size)});
  }
  return members;
}

// Reads as many bytes as declared, and checks that no more follow.
absl::StatusOr<std::string> ReadMember(zip_t* archive, const Member& member) {
  const auto damaged = [&](std::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("npz member ", Quoted(member.name), " is damaged: ", std::string(what)));
  };
  std::unique_ptr<zip_file_t, ZipFileClose> file(zip_fopen_index(archive, member.index, 0));
  if (file == nullptr) return damaged(zip_strerror(archive));
  // Grown as data arrive: a false declared size must not cost memory.
  std::string content;
  constexpr int64_t kFirstBlock = int64_t{1} << 16;
  while (true) {
    const int64_t begin = static_cast<int64_t>(content.size());
    const int64_t block = std::min(member.size + 1 - begin, std::max(kFirstBlock, begin));
    content.resize(static_cast<size_t>(begin + block));
    const zip_int64_t got =
        zip_fread(file.get(), content.data() + begin, static_cast<zip_uint64_t>(block));
    if (got < 0) return damaged(zip_file_strerror(file.get()));
    content.resize(static_cast<size_t>(begin + got));
    if (got == 0) break;
    if (static_cast<int64_t>(content.size()) > member.size) {
      return damaged(absl::StrCat("it holds more than the ", member.size, " bytes declared"));
    }
  }
  if (static_cast<int64_t>(content.size()) != member.size) {
    return damaged(
        absl::StrCat("it holds ", content.size(), " bytes, ", member.size, " are declared"));
  }
  return content;
}

int64_t HeldBytes(const NpyArray& array) {
  return std::visit(
      [](const auto& values) {
        using Value = typename std::decay_t<decltype(values)>::value_type;
        int64_t bytes = static_cast<int64_t>(values.size() * sizeof(Value));
        if constexpr (std::is_same_v<Value, std::string>) {
          for (const std::string& text : values) bytes += static_cast<int64_t>(text.size());
        }
        return bytes;
      },
      array.values);
}

}  // namespace

absl::StatusOr<NpzArchive> ParseNpz(std::string_view bytes, int64_t max_bytes) {
  absl::StatusOr<ZipArchive> archive = OpenForReading(bytes);
  if (!archive.ok()) return archive.status();
  absl::StatusOr<std::vector<Member>> members = ListMembers(archive->get(), max_bytes);
  if (!members.ok()) return members.status();

  NpzArchive arrays;
  int64_t held = 0;
  for (const Member& member : *members) {
    absl::StatusOr<std::string> content = ReadMember(archive->get(), member);
    if (!content.ok()) return content.status();
    absl::StatusOr<NpyArray> array = ParseNpy(*content, max_bytes - held);
    if (!array.ok()) {
      return absl::Status(array.status().code(), absl::StrCat("npz member ", Quoted(member.name),
                                                              ": ", array.status().message()));
    }
    held += HeldBytes(*array);
    if (!arrays.emplace(member.name, *std::move(array)).second) {
      return Damaged("a member name occurs more than once");
    }
  }
  return arrays;
}

absl::StatusOr<std::string> SerializeNpz(const NpzArchive& archive) {
  if (archive.empty()) return EmptyArchive();
  std::vector<std::string> contents;  // must outlive zip_close
  contents.reserve(archive.size());
  zip_error_t error;
  zip_error_init(&error);
  std::unique_ptr<zip_error_t, ZipErrorFini> error_fini(&error);
  std::unique_ptr<zip_source_t, ZipSourceFree> target(
      zip_source_buffer_create(nullptr, 0, /*freep=*/0, &error));
  if (target == nullptr) return absl::ResourceExhaustedError("no memory to write a ZIP file");
  // The archive takes one reference at opening; this one reads the bytes afterwards.
  zip_source_keep(target.get());
  ZipArchive zip(zip_open_from_source(target.get(), ZIP_CREATE | ZIP_TRUNCATE, &error));
  if (zip == nullptr) {
    zip_source_free(target.get());
    return absl::InternalError(absl::StrCat("cannot write npz: ", zip_error_strerror(&error)));
  }
  const auto failed = [&zip] {
    return absl::InternalError(absl::StrCat("cannot write npz: ", zip_strerror(zip.get())));
  };
  for (const auto& [name, array] : archive) {
    const std::string& content = contents.emplace_back(SerializeNpy(array));
    std::unique_ptr<zip_source_t, ZipSourceFree> source(
        zip_source_buffer(zip.get(), content.data(), content.size(), /*freep=*/0));
    if (source == nullptr) return failed();
    const zip_int64_t index =
        zip_file_add(zip.get(), absl::StrCat(name, std::string(kSuffix)).c_str(), source.get(),
                     ZIP_FL_ENC_UTF_8);
    if (index < 0) return failed();
    source.release();
    const zip_uint64_t added = static_cast<zip_uint64_t>(index);
    // 1980-01-01 00:00, the earliest a ZIP file can say.
    constexpr zip_uint16_t kFirstDay = (1 << 5) | 1;
    if (zip_set_file_compression(zip.get(), added, ZIP_CM_DEFLATE, kDeflateLevel) != 0 ||
        zip_file_set_dostime(zip.get(), added, 0, kFirstDay, 0) != 0) {
      return failed();
    }
  }
  if (zip_close(zip.get()) != 0) return failed();
  zip.release();

  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_open(target.get()) != 0) {
    return absl::InternalError("cannot read back the npz that was written");
  }
  std::string bytes;
  zip_int64_t got = -1;
  if (zip_source_stat(target.get(), &stat) == 0 && (stat.valid & ZIP_STAT_SIZE) != 0) {
    bytes.resize(stat.size);
    got = zip_source_read(target.get(), bytes.data(), bytes.size());
  }
  zip_source_close(target.get());
  if (got != static_cast<zip_int64_t>(bytes.size())) {
    return absl::InternalError("cannot read back the npz that was written");
  }
  return bytes;
}

}  // namespace thresher
