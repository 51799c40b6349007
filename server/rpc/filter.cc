#include "server/rpc/filter.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace thresher::rpc {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameCharacter(char c) { return IsLower(c) || IsDigit(c) || c == '_' || c == '-'; }
bool IsWordCharacter(char c) { return IsNameCharacter(c) || (c >= 'A' && c <= 'Z') || c == '.'; }

// Reads the text from left to right; every function leaves `position_` behind what
// it took.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool AtEnd() {
    SkipSpace();
    return position_ == text_.size();
  }

  absl::StatusOr<std::string> Field() {
    SkipSpace();
    const size_t begin = position_;
    while (true) {
      if (AtText() || !IsLower(text_[position_])) {
        return Expected("a field such as state or labels.team");
      }
      while (!AtText() && IsNameCharacter(text_[position_])) ++position_;
      if (AtText() || text_[position_] != '.') break;
      ++position_;
    }
    return std::string(text_.substr(begin, position_ - begin));
  }

  absl::Status Equals() {
    SkipSpace();
    if (AtText() || text_[position_] != '=') return Expected("'=', the only comparison");
    ++position_;
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Value() {
    SkipSpace();
    if (!AtText() && text_[position_] == '"') return QuotedString();
    const size_t begin = position_;
    while (!AtText() && IsWordCharacter(text_[position_])) ++position_;
    if (position_ == begin) return Expected("a word or a \"quoted string\"");
    return std::string(text_.substr(begin, position_ - begin));
  }

  absl::Status And() {
    SkipSpace();
    const size_t begin = position_;
    while (!AtText() && IsWordCharacter(text_[position_])) ++position_;
    if (text_.substr(begin, position_ - begin) != "AND") {
      position_ = begin;
      return Expected("AND between conditions");
    }
    return absl::OkStatus();
  }

 private:
  bool AtText() const { return position_ == text_.size(); }

  void SkipSpace() {
    while (!AtText() && IsSpace(text_[position_])) ++position_;
  }

  absl::StatusOr<std::string> QuotedString() {
    std::string value;
    for (++position_; !AtText(); ++position_) {
      char c = text_[position_];
      if (c == '"') {
        ++position_;
        return value;
      }
      if (c == '\\') {
        ++position_;
        if (AtText() || (text_[position_] != '"' && text_[position_] != '\\')) {
          return Expected("\\\" or \\\\ after a backslash");
        }
        c = text_[position_];
      }
      value.push_back(c);
    }
    return Expected("a closing quote");
  }

  absl::Status Expected(const char* what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("filter: at position ", position_ + 1, ": expected ", what));
  }

  std::string_view text_;
  size_t position_ = 0;
};

absl::StatusOr<FilterCondition> ReadCondition(Reader& reader) {
  absl::StatusOr<std::string> field = reader.Field();
  if (!field.ok()) return field.status();
  if (absl::Status status = reader.Equals(); !status.ok()) return status;
  absl::StatusOr<std::string> value = reader.Value();
  if (!value.ok()) return value.status();
  return FilterCondition{*std::move(field), *std::move(value)};
}

}  // namespace

absl::StatusOr<std::vector<FilterCondition>> ParseFilter(std::string_view text) {
  if (text.size() > kMaxFilterBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter: must have at most ", kMaxFilterBytes, " bytes, has ", text.size()));
  }
  std::vector<FilterCondition> conditions;
  Reader reader(text);
  while (!reader.AtEnd()) {
    if (!conditions.empty()) {
      if (absl::Status status = reader.And(); !status.ok()) return status;
    }
    absl::StatusOr<FilterCondition> condition = ReadCondition(reader);
    if (!condition.ok()) return condition.status();
    for (const FilterCondition& earlier : conditions) {
      if (earlier.field == condition->field) {
        return absl::InvalidArgumentError(
            absl::StrCat("filter: ", condition->field, " is compared twice"));
      }
    }
    if (conditions.size() == kMaxFilterConditions) {
      return absl::InvalidArgumentError(
          absl::StrCat("filter: must have at most ", kMaxFilterConditions, " conditions"));
    }
    conditions.push_back(*std::move(condition));
  }
  return conditions;
}

}  // namespace thresher::rpc
