#ifndef THRESHER_CLIENT_FORMATTING_H_
#define THRESHER_CLIENT_FORMATTING_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace thresher::client {

// "0 B", "512 B", "1.5 KiB", "24 GiB": three significant digits at most, binary units.
std::string FormatBytes(int64_t bytes);

// "0 s", "350 ms", "3.2 s", "2 min 5 s", "1 h 30 min", "3 d 4 h". Negative: "0 s".
std::string FormatSeconds(double seconds);
std::string FormatDuration(const google::protobuf::Duration& duration);

// Local time, "2025-01-31 14:03:22"; "-" when the time is not set.
std::string FormatTime(const google::protobuf::Timestamp& time);

// Three significant digits, "0.125", "3.2e-08", "nan".
std::string FormatNumber(double value);
// A share in percent with one digit after the point: "99.3 %". Rounds neither to 0 nor to 100
// what is not: "< 0.1 %", "> 99.9 %".
std::string FormatShare(double share);
// The same with two digits, which thousands of samples tell apart: "99.95 %", "> 99.99 %".
std::string FormatAccuracy(double share);
// "152.3 dB".
std::string FormatDecibel(double value);

// "1 row", "2 rows".
std::string FormatCount(int64_t count, std::string_view noun);

// Text from elsewhere made safe for a terminal: control characters and broken UTF-8 become '?'.
std::string Printable(std::string_view text);

// Columns that printable text takes on a terminal: one per code point.
int DisplayWidth(std::string_view text);

// The first `width` columns of printable text.
std::string Truncate(std::string_view text, int width);

// Printable text of several lines with its lines broken at spaces, so that none is longer than
// `width` columns unless a single word is.
std::string WrapWords(std::string_view text, int width);

// One character per bucket of consecutive values, at most `width`; the height is the bucket's
// mean between the smallest and the largest of them. Values that are not finite are left out.
// With unicode eighths of blocks, without it ASCII. Empty for no values.
std::string Sparkline(const std::vector<double>& values, int width, bool unicode);

// Rows in aligned columns, the first row being the header, two spaces between columns. Columns
// whose entries all begin with a digit, a sign or "-" are aligned right. Every line ends
// with '\n' and has no trailing spaces. Entries are made Printable.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

// "name   value" lines with the values aligned.
struct Field {
  std::string name;
  std::string value;
};
std::string FormatFields(const std::vector<Field>& fields);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_FORMATTING_H_
