#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/network/model.h"
#include "core/network/model_archive.h"

namespace thresher {
namespace {

using nlohmann::json;

// ---- Writing

// The order in which members stand in the file: what a reader wants to know first.
std::vector<std::string> Order(const Model& model) {
  std::vector<std::string> order = {"network_kind",  "model_version", "num_inputs", "num_outputs",
                                    "hidden_widths", "has_bias",      "format",     "shape",
                                    "data",          "indices",       "indptr"};
  if (const auto* sparse = std::get_if<SparseNetwork>(&model.network)) {
    for (size_t layer = 2; layer < sparse->upper_layers.size() + 2; ++layer) {
      for (const char* part : {"shape", "data", "indices", "indptr"}) {
        order.push_back(absl::StrCat("layer_", layer, "_", part));
      }
    }
  }
  for (const char* name : {"output_signs", "linear", "gates_kind", "gates_seed", "gates_count",
                           "gate_index", "gate_vectors", "input_offset", "input_scale",
                           "target_offset", "target_scale", "class_names"}) {
    order.emplace_back(name);
  }
  return order;
}

std::string Dump(const json& value) {
  return value.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
                    json::error_handler_t::replace);
}

json ToJson(const NpyArray& array) {
  return std::visit(
      [&](const auto& values) -> json {
        if (array.shape.empty()) return values[0];
        if (array.shape.size() == 1) return values;
        json rows = json::array();
        const auto columns = static_cast<std::ptrdiff_t>(array.shape[1]);
        for (std::ptrdiff_t r = 0; r < array.shape[0]; ++r) {
          const auto begin = values.begin() + r * columns;
          rows.push_back(json(std::vector(begin, begin + columns)));
        }
        return rows;
      },
      array.values);
}

// ---- Reading

constexpr size_t kMaxMembers = 128;                  // of each of kMaxHiddenLayers layers four
constexpr size_t kMaxTextsInList = size_t{1} << 16;  // class names, one for each output

// Members whose form differs between the two formats.
constexpr std::string_view kJsonKind = "kind";
constexpr std::string_view kJsonMetadata = "metadata";
constexpr std::string_view kArchiveOnly[] = {"network_kind", "metadata_keys", "metadata_values"};

// Receives the parser's events and builds the archive. No tree of the whole text is
// ever built, nesting is limited to what a model needs, and lists of text and of
// members are bounded, so memory stays in proportion to the text. Every event returns
// whether parsing goes on.
class ModelJsonHandler {
 public:
  const absl::Status& status() const { return status_; }
  NpzArchive TakeArchive() { return std::move(archive_); }

  bool null() { return Fail("null is not a value of a model"); }

  bool boolean(bool value) {
    if (place_ != Place::kMember) return Fail("true and false are no entries of a list");
    return AddMember({.shape = {}, .values = std::vector<uint8_t>{static_cast<uint8_t>(value)}});
  }

  bool number_integer(int64_t value) { return AddInteger(value); }
  bool number_unsigned(uint64_t value) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return AddDouble(static_cast<double>(value));
    }
    return AddInteger(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string& /*text*/) { return AddDouble(value); }

  bool string(std::string& value) {
    switch (place_) {
      case Place::kMember:
        return AddMember({.shape = {}, .values = std::vector<std::string>{std::move(value)}});
      case Place::kMetadata:
        metadata_values_.push_back(std::move(value));
        return true;
      case Place::kList:
        if (!integers_.empty() || !doubles_.empty() || num_rows_ > 0) {
          return Fail("text and numbers in one list");
        }
        if (texts_.size() == kMaxTextsInList) return Fail("too many texts");
        texts_.push_back(std::move(value));
        return true;
      default:
        return Fail("unexpected text");
    }
  }

  bool binary(std::vector<uint8_t>& /*value*/) { return Fail("binary values are unknown"); }

  bool start_object(size_t /*size*/) {
    if (place_ == Place::kOutside) {
      place_ = Place::kMember;
      return true;
    }
    if (place_ != Place::kMember || member_ != kJsonMetadata) return Fail("unexpected object");
    place_ = Place::kMetadata;
    return true;
  }

  bool key(std::string& value) {
    if (place_ == Place::kMetadata) {
      if (static_cast<int64_t>(metadata_keys_.size()) == kMaxMetadataEntries) {
        return Fail(absl::StrCat("more than ", kMaxMetadataEntries, " entries"));
      }
      metadata_keys_.push_back(std::move(value));
      return true;
    }
    member_ = std::move(value);
    if (std::find(std::begin(kArchiveOnly), std::end(kArchiveOnly), member_) !=
        std::end(kArchiveOnly)) {
      return Fail("is unknown in JSON; write kind and metadata");
    }
    const bool repeated = member_ == kJsonMetadata ? archive_.contains("metadata_keys")
                                                   : archive_.contains(ArchiveName());
    if (repeated) return Fail("occurs twice");
    if (archive_.size() == kMaxMembers) return Fail("too many members");
    return true;
  }

  bool end_object() {
    if (place_ == Place::kMember) {
      place_ = Place::kOutside;
      return true;
    }
    const auto entries = static_cast<int64_t>(metadata_keys_.size());
    archive_["metadata_keys"] = {.shape = {entries}, .values = std::move(metadata_keys_)};
    archive_["metadata_values"] = {.shape = {entries}, .values = std::move(metadata_values_)};
    place_ = Place::kMember;
    return true;
  }

  bool start_array(size_t /*size*/) {
    if (place_ == Place::kMember) {
      place_ = Place::kList;
      num_rows_ = 0;
      row_length_ = 0;
      integers_.clear();
      doubles_.clear();
      texts_.clear();
      has_doubles_ = false;
      return true;
    }
    if (place_ != Place::kList) return Fail("unexpected list");
    if (!texts_.empty() || (num_rows_ == 0 && NumNumbers() > 0)) {
      return Fail("lists and single values in one list");
    }
    place_ = Place::kRow;
    row_begin_ = NumNumbers();
    return true;
  }

  bool end_array() {
    if (place_ == Place::kRow) {
      const size_t length = NumNumbers() - row_begin_;
      if (num_rows_ > 0 && length != row_length_) {
        return Fail(
            absl::StrCat("row ", num_rows_, " has ", length, " entries, the others ", row_length_));
      }
      // A shape of rows without entries says nothing that a model needs.
      if (length == 0) return Fail("a row is empty");
      row_length_ = length;
      ++num_rows_;
      place_ = Place::kList;
      return true;
    }
    place_ = Place::kMember;
    NpyArray array;
    if (!texts_.empty()) {
      array.shape = {static_cast<int64_t>(texts_.size())};
      array.values = std::move(texts_);
      return AddMember(std::move(array));
    }
    if (num_rows_ > 0) {
      array.shape = {num_rows_, static_cast<int64_t>(row_length_)};
    } else {
      array.shape = {static_cast<int64_t>(NumNumbers())};
    }
    if (has_doubles_) {
      array.values = std::move(doubles_);
    } else {
      array.values = std::move(integers_);
    }
    return AddMember(std::move(array));
  }

  template <typename Exception>
  bool parse_error(size_t /*position*/, const std::string& /*token*/, const Exception& error) {
    // The text behind the library's "[json.exception.parse_error.101] " quotes the input,
    // which may be anything.
    const std::string_view what = error.what();
    const size_t begin = what.find("] ");
    const std::string_view said =
        what.substr(begin == std::string_view::npos ? 0 : begin + 2).substr(0, 200);
    status_ = absl::InvalidArgumentError(absl::StrCat(
        "not a JSON model: ", absl::CHexEscape(absl::string_view(said.data(), said.size()))));
    return false;
  }

 private:
  enum class Place { kOutside, kMember, kMetadata, kList, kRow };

  std::string ArchiveName() const { return member_ == kJsonKind ? "network_kind" : member_; }

  bool Fail(std::string_view what) {
    if (place_ == Place::kOutside) {
      status_ = absl::InvalidArgumentError("not a JSON model: the text must be one object");
      return false;
    }
    const std::string shown = absl::CHexEscape(member_.substr(0, 60));
    status_ =
        absl::InvalidArgumentError(absl::StrCat("model member '", shown, "': ", std::string(what)));
    return false;
  }

  bool AddMember(NpyArray array) {
    if (member_ == kJsonMetadata) return Fail("must be an object of texts");
    archive_[ArchiveName()] = std::move(array);
    return true;
  }

  size_t NumNumbers() const { return has_doubles_ ? doubles_.size() : integers_.size(); }

  bool AcceptsNumber() {
    if (place_ == Place::kMetadata) return Fail("values must be text");
    if (place_ == Place::kList && !texts_.empty()) return Fail("text and numbers in one list");
    if (place_ == Place::kList && num_rows_ > 0) return Fail("lists and single values in one list");
    return place_ != Place::kOutside || Fail("");
  }

  bool AddInteger(int64_t value) {
    if (!AcceptsNumber()) return false;
    if (place_ == Place::kMember) {
      return AddMember({.shape = {}, .values = std::vector<int64_t>{value}});
    }
    if (has_doubles_) {
      doubles_.push_back(static_cast<double>(value));
    } else {
      integers_.push_back(value);
    }
    return true;
  }

  bool AddDouble(double value) {
    if (!AcceptsNumber()) return false;
    if (place_ == Place::kMember) {
      return AddMember({.shape = {}, .values = std::vector<double>{value}});
    }
    if (!has_doubles_) {
      // Whole numbers so far: the rest of the list decides that they are doubles.
      doubles_.assign(integers_.begin(), integers_.end());
      integers_ = {};
      has_doubles_ = true;
    }
    doubles_.push_back(value);
    return true;
  }

  absl::Status status_;
  NpzArchive archive_;
  Place place_ = Place::kOutside;
  std::string member_;
  std::vector<std::string> metadata_keys_;
  std::vector<std::string> metadata_values_;
  // The list being read: numbers in integers_, or all in doubles_ once has_doubles_.
  std::vector<int64_t> integers_;
  std::vector<double> doubles_;
  bool has_doubles_ = false;
  std::vector<std::string> texts_;
  int64_t num_rows_ = 0;
  size_t row_length_ = 0;
  size_t row_begin_ = 0;
};

}  // namespace

std::string WriteModelJson(const Model& model) {
  const NpzArchive archive = ModelToArchive(model);
  std::string text = "{\n";
  for (const std::string& name : Order(model)) {
    const auto it = archive.find(name);
    if (it == archive.end()) continue;
    const std::string_view word = name == "network_kind" ? kJsonKind : std::string_view(name);
    const json value = name == "has_bias"
                           ? json(std::get<std::vector<uint8_t>>(it->second.values)[0] == 1)
                           : ToJson(it->second);
    absl::StrAppend(&text, "  \"", std::string(word), "\": ", Dump(value), ",\n");
  }
  absl::StrAppend(&text, "  \"", std::string(kJsonMetadata), "\": ", Dump(json(model.metadata)),
                  "\n}\n");
  return text;
}

absl::StatusOr<Model> ReadModelJson(std::string_view text) {
  ModelJsonHandler handler;
  const bool parsed = json::sax_parse(text.begin(), text.end(), &handler);
  if (!handler.status().ok()) return handler.status();
  if (!parsed) return absl::InvalidArgumentError("not a JSON model: the text must be one object");
  return ModelFromArchive(handler.TakeArchive());
}

}  // namespace thresher
