#include "client/matrix_file.h"

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <regex>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace thresher::client {
namespace {

static_assert(std::endian::native == std::endian::little, "NPY values are copied as they are");

constexpr int64_t kLargestFileBytes = int64_t{1} << 30;
constexpr size_t kLargestHeader = 4096;

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// A finite float, or nothing.
std::optional<float> ParseValue(absl::string_view text) {
  double value;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(static_cast<float>(value))) {
    return std::nullopt;
  }
  return static_cast<float>(value);
}

// Appends the numbers of one line; the error says where.
absl::Status AppendLine(absl::string_view line, int64_t line_number, v1::Matrix* matrix) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
  const auto num_columns = static_cast<int64_t>(cells.size());
  if (matrix->num_rows() == 0) matrix->set_num_columns(num_columns);
  if (num_columns != matrix->num_columns()) {
    return Invalid(absl::StrCat("inputs: line ", line_number, " has ", num_columns,
                                " columns, the lines before it have ", matrix->num_columns()));
  }
  for (int64_t column = 0; column < num_columns; ++column) {
    const absl::string_view cell = absl::StripAsciiWhitespace(cells[column]);
    const std::optional<float> value = ParseValue(cell);
    if (!value) {
      return Invalid(absl::StrCat("inputs: line ", line_number, ", column ", column + 1, ": \"",
                                  cell.substr(0, 40), "\" is not a finite number"));
    }
    matrix->add_values(*value);
  }
  matrix->set_num_rows(matrix->num_rows() + 1);
  return absl::OkStatus();
}

bool IsHeader(absl::string_view line) {
  for (const absl::string_view cell : absl::StrSplit(line, ',')) {
    double value;
    if (absl::SimpleAtod(absl::StripAsciiWhitespace(cell), &value)) return false;
  }
  return true;
}

template <typename Value>
absl::Status CopyValues(std::string_view data, v1::Matrix* matrix) {
  matrix->mutable_values()->Reserve(static_cast<int>(data.size() / sizeof(Value)));
  for (size_t offset = 0; offset < data.size(); offset += sizeof(Value)) {
    Value value;
    std::memcpy(&value, data.data() + offset, sizeof(Value));
    if (!std::isfinite(static_cast<float>(value))) {
      const int64_t index = offset / sizeof(Value);
      return Invalid(absl::StrCat("inputs: row ", index / matrix->num_columns() + 1, ", column ",
                                  index % matrix->num_columns() + 1,
                                  " is not a finite single-precision number"));
    }
    matrix->add_values(static_cast<float>(value));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Matrix> ParseCsvMatrix(std::string_view text) {
  v1::Matrix matrix;
  int64_t line_number = 0;
  bool first = true;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    if (std::exchange(first, false) && IsHeader(line)) continue;
    absl::Status status = AppendLine(line, line_number, &matrix);
    if (!status.ok()) return status;
  }
  if (matrix.num_rows() == 0) return Invalid("inputs: the file holds no numbers");
  return matrix;
}

absl::StatusOr<v1::Matrix> ParseRows(const std::vector<std::string>& rows) {
  v1::Matrix matrix;
  for (size_t i = 0; i < rows.size(); ++i) {
    absl::Status status = AppendLine(rows[i], static_cast<int64_t>(i) + 1, &matrix);
    if (!status.ok()) return status;
  }
  if (matrix.num_rows() == 0) return Invalid("inputs: no row given");
  return matrix;
}

absl::StatusOr<v1::Matrix> ParseNpyMatrix(std::string_view bytes) {
  if (bytes.size() < 10 || bytes.substr(0, 6) != "\x93NUMPY") {
    return Invalid("inputs: not an .npy file");
  }
  // Version 1 has a header length of two bytes, 2 and 3 of four.
  const bool short_length = bytes[6] == 1;
  const size_t start = short_length ? 10 : 12;
  uint32_t header_size = 0;
  if (bytes.size() < start) return Invalid("inputs: the .npy header is cut off");
  std::memcpy(&header_size, bytes.data() + 8, short_length ? 2 : 4);
  if (header_size > kLargestHeader || header_size > bytes.size() - start) {
    return Invalid("inputs: the .npy header is cut off");
  }
  const std::string header(bytes.substr(start, header_size));
  static const std::regex kDescription("'descr':\\s*'([^']*)'");
  static const std::regex kOrder("'fortran_order':\\s*(True|False)");
  static const std::regex kShape("'shape':\\s*\\((\\d{1,18}),\\s*(\\d{1,18})?,?\\s*\\)");
  std::smatch description, order, shape;
  if (!std::regex_search(header, description, kDescription) ||
      !std::regex_search(header, order, kOrder)) {
    return Invalid("inputs: the .npy header is damaged");
  }
  if (!std::regex_search(header, shape, kShape)) {
    return Invalid("inputs: the array must have one or two dimensions");
  }
  if (order[1] == "True") {
    return Invalid("inputs: the array is in Fortran order; save numpy.ascontiguousarray(x)");
  }
  const bool is_double = description[1] == "<f8";
  if (!is_double && description[1] != "<f4") {
    return Invalid(absl::StrCat("inputs: type ", description[1].str(),
                                " is not read here; save x.astype(\"float32\")"));
  }
  int64_t num_rows, num_columns = 1;
  if (!absl::SimpleAtoi(shape[1].str(), &num_rows) ||
      (shape[2].matched && !absl::SimpleAtoi(shape[2].str(), &num_columns))) {
    return Invalid("inputs: the .npy header is damaged");
  }
  const std::string_view data = bytes.substr(start + header_size);
  const int64_t num_values = static_cast<int64_t>(data.size() / (is_double ? 8 : 4));
  if (num_rows < 1 || num_columns < 1) return Invalid("inputs: the array is empty");
  if (num_columns > num_values || num_rows != num_values / num_columns ||
      num_values % num_columns != 0 || data.size() % (is_double ? 8 : 4) != 0) {
    return Invalid("inputs: the .npy file does not have the size that its header says");
  }
  v1::Matrix matrix;
  matrix.set_num_rows(num_rows);
  matrix.set_num_columns(num_columns);
  absl::Status status =
      is_double ? CopyValues<double>(data, &matrix) : CopyValues<float>(data, &matrix);
  if (!status.ok()) return status;
  return matrix;
}

absl::StatusOr<v1::Matrix> ReadMatrixFile(const std::string& path) {
  const std::string lower = absl::AsciiStrToLower(path);
  const bool csv = absl::EndsWith(lower, ".csv");
  if (!csv && !absl::EndsWith(lower, ".npy")) {
    return Invalid(absl::StrCat("inputs: ", path, " ends in neither .csv nor .npy"));
  }
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    const absl::Status status = absl::ErrnoToStatus(errno, "inputs: cannot open " + path);
    return Invalid(std::string(status.message()));
  }
  const int64_t size = file.tellg();
  if (size < 0 || size > kLargestFileBytes) {
    return Invalid(absl::StrCat("inputs: ", path, " is larger than 1 GiB or not a file"));
  }
  std::string bytes(size, '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), size)) return Invalid(absl::StrCat("inputs: cannot read ", path));
  absl::StatusOr<v1::Matrix> matrix = csv ? ParseCsvMatrix(bytes) : ParseNpyMatrix(bytes);
  if (!matrix.ok()) return Invalid(absl::StrCat(path, ": ", matrix.status().message()));
  return matrix;
}

}  // namespace thresher::client
