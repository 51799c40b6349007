#include "core/iteration/state_bytes.h"

#include <bit>
#include <utility>

#include "absl/status/status.h"

namespace thresher {
namespace {

static_assert(std::endian::native == std::endian::little, "states are little endian");

uint64_t Checksum(std::string_view bytes) {
  Fingerprint checksum;
  checksum.AddBytes(bytes.data(), bytes.size());
  return checksum.value();
}

}  // namespace

void Fingerprint::AddBytes(const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  Add(size);
  for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bytes, sizeof(word));
    Add(word);
  }
  if (size > 0) {
    uint64_t rest = 0;
    std::memcpy(&rest, bytes, size);
    Add(rest);
  }
}

StateWriter::StateWriter(std::string_view magic, uint64_t fingerprint) : bytes_(magic) {
  Add(fingerprint);
}

std::string StateWriter::Finish() && {
  Add(Checksum(bytes_));
  return std::move(bytes_);
}

absl::StatusOr<StateReader> StateReader::Open(std::string_view bytes, std::string_view magic,
                                              uint64_t fingerprint) {
  if (!bytes.starts_with(magic)) {
    return absl::InvalidArgumentError(
        "checkpoint: not one of this algorithm and program version; start the solve anew");
  }
  uint64_t checksum = 0;
  if (bytes.size() < magic.size() + sizeof(fingerprint) + sizeof(checksum)) return Damaged();
  std::memcpy(&checksum, bytes.data() + bytes.size() - sizeof(checksum), sizeof(checksum));
  bytes.remove_suffix(sizeof(checksum));
  if (checksum != Checksum(bytes)) return Damaged();
  StateReader reader(bytes.substr(magic.size()));
  uint64_t found = 0;
  reader.Take(found);
  if (found != fingerprint) {
    return absl::InvalidArgumentError(
        "checkpoint: belongs to other samples or options; start the solve anew");
  }
  return reader;
}

absl::Status StateReader::Damaged() {
  return absl::InvalidArgumentError("checkpoint: damaged; start the solve anew");
}

}  // namespace thresher
