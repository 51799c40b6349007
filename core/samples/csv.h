// CSV tables as RFC 4180 describes them: one header line, commas, quoted fields where needed.
#ifndef THRESHER_CORE_SAMPLES_CSV_H_
#define THRESHER_CORE_SAMPLES_CSV_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thresher {

struct CsvOptions {
  std::vector<std::string> target_columns = {};  // may be none
  std::vector<std::string> ignored_columns = {};
  bool targets_are_labels = false;       // then one target column, kept as text
  int64_t max_bytes = int64_t{1} << 31;  // of the numbers read
};

struct CsvTable {
  int64_t num_rows = 0;
  int64_t num_inputs = 0;
  std::vector<float> inputs;          // num_rows x num_inputs, columns in the file's order
  std::vector<float> targets;         // num_rows x target_columns, in that order; empty for labels
  std::vector<std::string> labels;    // the distinct labels, in order of appearance
  std::vector<int32_t> label_of_row;  // indices of `labels`, num_rows or none
};

// Lines end in LF or CR LF; a byte order mark and empty lines at the end are skipped; blanks
// around unquoted fields do not count.
// Errors: INVALID_ARGUMENT with line and column (both from 1, and the column's name) for a
// missing or non-numeric value, a label as ValidateClassName, a row of another length, a stray
// quote; naming the field
// target_columns or ignored_columns for a column that does not exist, with those that do;
// for column names that occur twice. RESOURCE_EXHAUSTED beyond max_bytes.
absl::StatusOr<CsvTable> ParseCsv(std::string_view text, const CsvOptions& options);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_CSV_H_
