#include "core/samples/csv.h"

#include <csv.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/network/model.h"
#include "core/samples/number_text.h"

namespace thresher {
namespace {

constexpr std::string_view kByteOrderMark("\xEF\xBB\xBF", 3);
constexpr std::string_view kBlanks(" \t\r\n", 4);
constexpr size_t kPiece = size_t{1} << 16;
// A field that does not end would otherwise swallow the file, and slowly: libcsv grows its
// buffer by constant steps.
constexpr size_t kLongestField = size_t{1} << 20;
constexpr size_t kMostColumns = size_t{1} << 20;
constexpr size_t kMostLabels = 100000;

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 60;
  return absl::StrCat(
      "'", absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kLongest))),
      text.size() > kLongest ? "..." : "", "'");
}

std::string Listed(const std::vector<std::string>& names) {
  constexpr size_t kMostShown = 20;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMostShown); ++i) {
    absl::StrAppend(&list, i > 0 ? ", " : "", Quoted(names[i]));
  }
  if (names.size() > kMostShown) {
    absl::StrAppend(&list, " and ", names.size() - kMostShown, " more");
  }
  return list;
}

enum class Role { kInput, kTarget, kIgnored };

struct Column {
  Role role = Role::kInput;
  size_t target = 0;  // position among the targets
};

// Takes fields and row ends from libcsv. The first error stops everything after it.
class TableBuilder {
 public:
  explicit TableBuilder(const CsvOptions& options) : options_(options) {}

  void BeginLine() {
    ++line_;
    rows_ended_in_line_ = 0;
  }

  // Callbacks of libcsv.
  static void TakeField(void* field, size_t length, void* self) {
    static_cast<TableBuilder*>(self)->AddField(
        std::string_view(static_cast<const char*>(field), length));
  }
  static void TakeRowEnd(int /*terminator*/, void* self) {
    static_cast<TableBuilder*>(self)->EndRow();
  }

  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  void FailHere(std::string_view what) {
    Fail(absl::InvalidArgumentError(absl::StrCat("csv line ", line_, ": ", std::string(what))));
  }
  void SkipBlankLine() {
    if (first_blank_line_ == 0) first_blank_line_ = line_;
  }

  bool ok() const { return status_.ok(); }
  int rows_ended_in_line() const { return rows_ended_in_line_; }
  size_t num_fields() const { return num_fields_; }

  absl::StatusOr<CsvTable> Finish() {
    if (!status_.ok()) return status_;
    if (!has_header_) {
      return absl::InvalidArgumentError("csv: the file is empty; it must start with a header line");
    }
    if (table_.num_rows == 0) {
      return absl::InvalidArgumentError("csv: there are no rows below the header line");
    }
    return std::move(table_);
  }

 private:
  void AddField(std::string_view field) {
    ++num_fields_;
    if (!ok()) return;
    if (first_blank_line_ != 0) {
      Fail(absl::InvalidArgumentError(
          absl::StrCat("csv line ", first_blank_line_, ": the line is empty")));
    } else if (rows_ended_in_line_ > 0) {
      FailHere("a carriage return without a line feed; lines must end in LF or CR LF");
    } else if (!has_header_) {
      if (names_.size() == kMostColumns) {
        FailHere(absl::StrCat("more than ", kMostColumns, " columns"));
      } else {
        names_.emplace_back(field);
      }
    } else if (num_fields_in_row_ < columns_.size()) {
      AddValue(field, num_fields_in_row_);
    }
    ++num_fields_in_row_;
  }

  void EndRow() {
    ++rows_ended_in_line_;
    if (!ok()) return;
    if (!has_header_) {
      has_header_ = true;
      Fail(AssignColumns());
    } else if (num_fields_in_row_ != columns_.size()) {
      FailHere(absl::StrCat(num_fields_in_row_, num_fields_in_row_ == 1 ? " field" : " fields",
                            ", the header has ", columns_.size()));
    } else {
      ++table_.num_rows;
      const size_t bytes = sizeof(float) * (table_.inputs.size() + table_.targets.size() +
                                            table_.label_of_row.size());
      if (bytes > static_cast<size_t>(std::max<int64_t>(options_.max_bytes, 0))) {
        Fail(absl::ResourceExhaustedError(absl::StrCat("csv line ", line_,
                                                       ": the table holds more than the limit of ",
                                                       options_.max_bytes, " bytes")));
      }
    }
    num_fields_in_row_ = 0;
  }

  absl::Status AssignColumns() {
    std::unordered_map<std::string, size_t> column_of_name;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (!column_of_name.emplace(names_[i], i).second) {
        return absl::InvalidArgumentError(absl::StrCat(
            "csv line 1: the column name ", Quoted(names_[i]), " occurs more than once"));
      }
    }
    columns_.resize(names_.size());
    const auto assign = [&](const std::vector<std::string>& wanted, absl::string_view field,
                            Role role) -> absl::Status {
      for (size_t k = 0; k < wanted.size(); ++k) {
        const auto found = column_of_name.find(wanted[k]);
        if (found == column_of_name.end()) {
          return absl::InvalidArgumentError(absl::StrCat(field, ": there is no column ",
                                                         Quoted(wanted[k]), "; the columns are ",
                                                         Listed(names_)));
        }
        Column& column = columns_[found->second];
        if (column.role != Role::kInput) {
          return absl::InvalidArgumentError(
              absl::StrCat(field, ": the column ", Quoted(wanted[k]), " is named twice"));
        }
        column = {.role = role, .target = k};
      }
      return absl::OkStatus();
    };
    absl::Status status = assign(options_.target_columns, "target_columns", Role::kTarget);
    if (!status.ok()) return status;
    status = assign(options_.ignored_columns, "ignored_columns", Role::kIgnored);
    if (!status.ok()) return status;
    table_.num_inputs = std::count_if(columns_.begin(), columns_.end(),
                                      [](const Column& c) { return c.role == Role::kInput; });
    if (table_.num_inputs == 0) {
      return absl::InvalidArgumentError(
          "target_columns: no column is left for the inputs; the rest of the table are inputs");
    }
    return absl::OkStatus();
  }

  void FailAtField(size_t i, std::string_view what) {
    FailHere(absl::StrCat("column ", i + 1, " (", Quoted(names_[i]), "): ", std::string(what)));
  }

  void AddValue(std::string_view field, size_t i) {
    const Column& column = columns_[i];
    if (column.role == Role::kIgnored) return;
    if (field.empty()) {
      FailAtField(i, "missing value; fill it in or leave the row out");
      return;
    }
    if (column.role == Role::kTarget && options_.targets_are_labels) {
      AddLabel(field, i);
      return;
    }
    const std::optional<double> number = ParseNumber(field);
    const double value = number.value_or(0);
    if (!number.has_value()) {
      FailAtField(i, absl::StrCat(Quoted(field), " is not a number"));
    } else if (!std::isfinite(value)) {
      FailAtField(i, absl::StrCat(Quoted(field), " is not finite"));
    } else if (std::fabs(value) > std::numeric_limits<float>::max()) {
      FailAtField(i, absl::StrCat(Quoted(field), " is beyond the range of float32"));
    } else if (column.role == Role::kInput) {
      table_.inputs.push_back(static_cast<float>(value));
    } else {
      const size_t num_targets = options_.target_columns.size();
      table_.targets.resize((table_.num_rows + 1) * num_targets);
      table_.targets[table_.num_rows * num_targets + column.target] = static_cast<float>(value);
    }
  }

  void AddLabel(std::string_view field, size_t i) {
    const auto [found, is_new] = label_index_.emplace(std::string(field), table_.labels.size());
    if (is_new) {
      if (table_.labels.size() == kMostLabels) {
        FailAtField(i, absl::StrCat("more than ", kMostLabels, " distinct class labels"));
        return;
      }
      if (const absl::Status status = ValidateClassName("the class label", field); !status.ok()) {
        FailAtField(i, std::string(status.message()));
        return;
      }
      table_.labels.emplace_back(field);
    }
    table_.label_of_row.push_back(static_cast<int32_t>(found->second));
  }

  const CsvOptions& options_;
  absl::Status status_;
  CsvTable table_;
  std::vector<std::string> names_;
  std::vector<Column> columns_;
  std::unordered_map<std::string, size_t> label_index_;
  bool has_header_ = false;
  int64_t line_ = 0;
  int64_t first_blank_line_ = 0;
  int rows_ended_in_line_ = 0;
  size_t num_fields_ = 0;
  size_t num_fields_in_row_ = 0;
};

// Frees libcsv's buffer on every way out.
class CsvParser {
 public:
  CsvParser() {
    initialised_ = csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI) == 0;
    if (initialised_) csv_set_blk_size(&parser_, kPiece);
  }
  ~CsvParser() {
    if (initialised_) csv_free(&parser_);
  }
  CsvParser(const CsvParser&) = delete;
  CsvParser& operator=(const CsvParser&) = delete;

  bool initialised() const { return initialised_; }
  bool Feed(std::string_view text, TableBuilder& builder) {
    return csv_parse(&parser_, text.data(), text.size(), TableBuilder::TakeField,
                     TableBuilder::TakeRowEnd, &builder) == text.size();
  }
  bool Finish(TableBuilder& builder) {
    return csv_fini(&parser_, TableBuilder::TakeField, TableBuilder::TakeRowEnd, &builder) == 0;
  }

 private:
  csv_parser parser_;
  bool initialised_ = false;
};

// Feeds the file line by line, so that every message knows its line.
void FeedLines(std::string_view text, CsvParser& parser, TableBuilder& builder) {
  bool row_is_open = false;  // a quoted field runs over the end of a line
  size_t field_bytes = 0;    // since a field last ended
  for (size_t begin = 0; begin < text.size() && builder.ok();) {
    const size_t line_feed = text.find('\n', begin);
    const size_t end = line_feed == std::string_view::npos ? text.size() : line_feed + 1;
    const std::string_view line = text.substr(begin, end - begin);
    begin = end;
    builder.BeginLine();
    if (!row_is_open && line.find_first_not_of(kBlanks) == std::string_view::npos) {
      builder.SkipBlankLine();
      continue;
    }
    for (size_t at = 0; at < line.size() && builder.ok(); at += kPiece) {
      const std::string_view piece = line.substr(at, kPiece);
      const size_t num_fields = builder.num_fields();
      if (!parser.Feed(piece, builder)) {
        builder.FailHere(
            "a stray quote; quote the whole field and double the quotes inside it (RFC 4180)");
        return;
      }
      field_bytes = builder.num_fields() == num_fields ? field_bytes + piece.size() : 0;
      if (field_bytes > kLongestField) {
        builder.FailHere(absl::StrCat("a field is longer than ", kLongestField,
                                      " bytes; is a closing quote missing?"));
      }
    }
    row_is_open = builder.rows_ended_in_line() == 0;
  }
  if (builder.ok() && !parser.Finish(builder)) {
    builder.FailHere("the file ends inside a quoted field; a closing quote is missing");
  }
}

}  // namespace

absl::StatusOr<CsvTable> ParseCsv(std::string_view text, const CsvOptions& options) {
  if (options.targets_are_labels && options.target_columns.size() != 1) {
    return absl::InvalidArgumentError("target_columns: class labels must be in one column");
  }
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    text.remove_prefix(kByteOrderMark.size());
  }
  CsvParser parser;
  if (!parser.initialised()) return absl::InternalError("the CSV parser does not start");
  TableBuilder builder(options);
  FeedLines(text, parser, builder);
  return builder.Finish();
}

}  // namespace thresher
