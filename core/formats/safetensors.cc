#include "core/formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors are little endian");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;
constexpr size_t kMaxTensors = 4096;
constexpr size_t kMaxMetadata = 1024;
constexpr size_t kMaxDimensions = 8;
constexpr std::string_view kMetadataName = "__metadata__";

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 100;
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kLongest))),
      text.size() > kLongest ? "..." : "", "'");
}

// What the header says of a tensor.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_shape = false;
};

// Receives the parser's events, so that no tree of a hostile header is ever built.
class HeaderHandler {
 public:
  const absl::Status& status() const { return status_; }
  std::vector<Entry>& entries() { return entries_; }
  std::map<std::string, std::string>& metadata() { return metadata_; }

  bool null() { return Fail("null is no value"); }
  bool boolean(bool /*value*/) { return Fail("true and false are no values"); }
  bool number_integer(int64_t /*value*/) { return Fail("a negative number"); }
  bool number_unsigned(uint64_t value) {
    if (place_ != Place::kList) return Fail("a number outside of shape and data_offsets");
    std::vector<uint64_t>& list = List();
    if (list.size() == kMaxDimensions) return Fail(absl::StrCat(key_, " is too long"));
    list.push_back(value);
    return true;
  }
  bool number_float(double /*value*/, const std::string& /*text*/) {
    return Fail("a number that is not whole");
  }
  bool string(std::string& value) {
    if (place_ == Place::kMetadata) {
      if (metadata_.size() == kMaxMetadata) return Fail("too many entries");
      if (!metadata_.emplace(key_, std::move(value)).second) {
        return Fail(absl::StrCat(Quoted(key_), " occurs twice"));
      }
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype" || !entries_.back().dtype.empty()) {
      return Fail("unexpected text");
    }
    entries_.back().dtype = std::move(value);
    return true;
  }
  bool binary(std::vector<uint8_t>& /*value*/) { return Fail("binary values are unknown"); }

  bool start_object(size_t /*size*/) {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        place_ = name_ == kMetadataName ? Place::kMetadata : Place::kTensor;
        if (place_ == Place::kMetadata) return true;
        if (entries_.size() == kMaxTensors) {
          return Fail(absl::StrCat("more than ", kMaxTensors, " tensors"));
        }
        entries_.emplace_back();
        entries_.back().name = name_;
        return true;
      default:
        return Fail("unexpected object");
    }
  }
  bool key(std::string& value) {
    if (place_ != Place::kTop) {
      key_ = std::move(value);
      return true;
    }
    name_ = std::move(value);
    return names_.insert(name_).second || Fail("occurs twice");
  }
  bool end_object() {
    if (place_ == Place::kTensor) {
      const Entry& entry = entries_.back();
      if (entry.dtype.empty() || !entry.has_shape || entry.offsets.size() != 2) {
        return Fail("needs dtype, shape and two data_offsets");
      }
    }
    place_ = place_ == Place::kTop ? Place::kEnd : Place::kTop;
    return true;
  }
  bool start_array(size_t /*size*/) {
    if (place_ != Place::kTensor || (key_ != "shape" && key_ != "data_offsets") ||
        !List().empty()) {
      return Fail("unexpected list");
    }
    if (key_ == "shape") entries_.back().has_shape = true;
    place_ = Place::kList;
    return true;
  }
  bool end_array() {
    place_ = Place::kTensor;
    return true;
  }
  template <typename Exception>
  bool parse_error(size_t position, const std::string& /*token*/, const Exception& /*error*/) {
    name_.clear();
    return Fail(absl::StrCat("damaged JSON at byte ", position));
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kList, kEnd };

  std::vector<uint64_t>& List() {
    return key_ == "shape" ? entries_.back().shape : entries_.back().offsets;
  }

  bool Fail(std::string_view what) {
    status_ = absl::InvalidArgumentError(
        name_.empty()
            ? absl::StrCat("safetensors header: ", std::string(what))
            : absl::StrCat("safetensors header: ", Quoted(name_), ": ", std::string(what)));
    return false;
  }

  absl::Status status_;
  Place place_ = Place::kOutside;
  std::string name_;  // of the tensor
  std::string key_;   // within it
  std::set<std::string> names_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

absl::Status TensorError(const Entry& entry, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", Quoted(entry.name), ": ", std::string(what)));
}

template <typename T>
std::vector<T> Copy(std::string_view bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

absl::StatusOr<NpyArray> ReadTensor(const Entry& entry, std::string_view data) {
  const bool is_double = entry.dtype == "F64";
  if (!is_double && entry.dtype != "F32") {
    return TensorError(entry, absl::StrCat("dtype ", Quoted(entry.dtype),
                                           " is not supported; save it as F32 or F64"));
  }
  const uint64_t begin = entry.offsets[0];
  const uint64_t end = entry.offsets[1];
  if (begin > end || end > data.size()) {
    return TensorError(entry, absl::StrCat("data_offsets [", begin, ", ", end, "] lie outside the ",
                                           data.size(), " bytes of data"));
  }
  // Dimension by dimension against what is there, so that the product cannot overflow.
  uint64_t bytes = is_double ? sizeof(double) : sizeof(float);
  const bool empty = std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end();
  NpyArray array;
  for (const uint64_t extent : entry.shape) {
    if (extent > data.size() || (!empty && bytes > data.size() / extent)) {
      return TensorError(entry, "its shape needs more bytes than the file has");
    }
    bytes *= empty ? 1 : extent;
    array.shape.push_back(static_cast<int64_t>(extent));
  }
  if (empty) bytes = 0;
  if (bytes != end - begin) {
    return TensorError(
        entry, absl::StrCat("its shape needs ", bytes, " bytes, data_offsets hold ", end - begin));
  }
  const std::string_view own = data.substr(begin, bytes);
  if (is_double) {
    array.values = Copy<double>(own);
  } else {
    array.values = Copy<float>(own);
  }
  return array;
}

// Every byte belongs to one tensor: nothing is hidden between or behind them.
absl::Status CheckCoverage(const std::vector<Entry>& entries, size_t size) {
  std::vector<const Entry*> sorted;
  sorted.reserve(entries.size());
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const Entry* a, const Entry* b) { return a->offsets < b->offsets; });
  uint64_t covered = 0;
  for (const Entry* entry : sorted) {
    if (entry->offsets[0] != covered) {
      return TensorError(*entry, absl::StrCat("data_offsets begin at ", entry->offsets[0],
                                              ", but the tensor before it ends at ", covered));
    }
    covered = entry->offsets[1];
  }
  if (covered != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: ", size, " bytes of data, of which the tensors take ", covered));
  }
  return absl::OkStatus();
}

std::string_view BytesOf(const NpyArray& array) {
  if (const auto* floats = std::get_if<std::vector<float>>(&array.values)) {
    return {reinterpret_cast<const char*>(floats->data()), floats->size() * sizeof(float)};
  }
  const auto& doubles = std::get<std::vector<double>>(array.values);
  return {reinterpret_cast<const char*>(doubles.data()), doubles.size() * sizeof(double)};
}

bool IsDouble(const NpyArray& array) {
  return std::holds_alternative<std::vector<double>>(array.values);
}

std::string Dump(const json& value) {
  return value.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
                    json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<SafetensorsFile> ParseSafetensors(std::string_view bytes) {
  if (bytes.size() < kLengthBytes) {
    return absl::InvalidArgumentError(
        "safetensors: shorter than the 8 bytes of its header's length");
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  bytes.remove_prefix(kLengthBytes);
  if (header_bytes > bytes.size() || header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors: a header of ", header_bytes,
                                                   " bytes, but the file has ", bytes.size(),
                                                   " and at most ", kMaxHeaderBytes, " are taken"));
  }
  const std::string_view header = bytes.substr(0, header_bytes);
  HeaderHandler handler;
  const bool parsed = json::sax_parse(header.begin(), header.end(), &handler);
  if (!handler.status().ok()) return handler.status();
  if (!parsed) return absl::InvalidArgumentError("safetensors header: must be a JSON object");

  const std::string_view data = bytes.substr(header_bytes);
  SafetensorsFile file;
  file.metadata = std::move(handler.metadata());
  if (absl::Status status = CheckCoverage(handler.entries(), data.size()); !status.ok()) {
    return status;
  }
  for (const Entry& entry : handler.entries()) {
    absl::StatusOr<NpyArray> array = ReadTensor(entry, data);
    if (!array.ok()) return array.status();
    file.tensors.push_back({entry.name, *std::move(array)});
  }
  return file;
}

std::string SerializeSafetensors(const SafetensorsFile& file) {
  std::vector<size_t> order;  // of the bytes
  for (const bool doubles : {true, false}) {
    for (size_t i = 0; i < file.tensors.size(); ++i) {
      if (IsDouble(file.tensors[i].array) == doubles) order.push_back(i);
    }
  }
  std::vector<size_t> begin(file.tensors.size());
  size_t position = 0;
  for (const size_t i : order) {
    begin[i] = position;
    position += BytesOf(file.tensors[i].array).size();
  }
  std::string header = "{";
  if (!file.metadata.empty()) {
    absl::StrAppend(&header, "\"", std::string(kMetadataName), "\":", Dump(json(file.metadata)));
  }
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const auto& [name, array] = file.tensors[i];
    absl::StrAppend(&header, header.size() > 1 ? "," : "", Dump(json(name)), ":{\"dtype\":\"",
                    IsDouble(array) ? "F64" : "F32", "\",\"shape\":", Dump(json(array.shape)),
                    ",\"data_offsets\":[", begin[i], ",", begin[i] + BytesOf(array).size(), "]}");
  }
  header += "}";
  header.resize((header.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  const uint64_t header_bytes = header.size();
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &header_bytes, kLengthBytes);
  bytes.reserve(kLengthBytes + header.size() + position);
  bytes += header;
  for (const size_t i : order) bytes.append(BytesOf(file.tensors[i].array));
  return bytes;
}

}  // namespace thresher
