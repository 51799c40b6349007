#include "client/formatting.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"

namespace thresher::client {
namespace {

// Bytes of the UTF-8 sequence at the start of `text`, 0 when it is not one.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80              ? 1
                        : (lead >> 5) == 0b110   ? 2
                        : (lead >> 4) == 0b1110  ? 3
                        : (lead >> 3) == 0b11110 ? 4
                                                 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

bool LooksNumeric(std::string_view text) {
  if (text.empty() || text == "-" || text == "nan" || text == "inf" || text == "-inf") return true;
  const size_t first = text[0] == '-' || text[0] == '+' || text[0] == '<' || text[0] == '>';
  return first < text.size() && (absl::ascii_isdigit(text[first]) || text[first] == ' ');
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would round to 1000, which is four digits.
  while (std::abs(value) >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.3g %s", value, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (!(seconds > 0)) return "0 s";
  if (seconds < 0.9995) {
    const double milliseconds = seconds * 1000;
    if (milliseconds < 10) return absl::StrFormat("%.2g ms", milliseconds);
    return absl::StrFormat("%.0f ms", milliseconds);
  }
  if (seconds < 99.95) return absl::StrFormat("%.1f s", seconds);
  if (seconds > 1e15) return "for ever";
  const int64_t total = std::llround(seconds);
  const auto two = [](int64_t large, const char* large_unit, int64_t small,
                      const char* small_unit) {
    if (small == 0) return absl::StrCat(large, " ", large_unit);
    return absl::StrCat(large, " ", large_unit, " ", small, " ", small_unit);
  };
  if (total < 3600) return two(total / 60, "min", total % 60, "s");
  if (total < 86400) return two(total / 3600, "h", total % 3600 / 60, "min");
  return two(total / 86400, "d", total % 86400 / 3600, "h");
}

std::string FormatDuration(const google::protobuf::Duration& duration) {
  return FormatSeconds(static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos());
}

std::string FormatTime(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

std::string FormatNumber(double value) { return value == 0 ? "0" : absl::StrFormat("%.3g", value); }

std::string FormatShare(double share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share < 1 && share > 0.999) return "> 99.9 %";
  return absl::StrFormat("%.1f %%", 100 * share);
}

std::string FormatAccuracy(double share) {
  if (share > 0 && share <= 0.00005) return "< 0.01 %";
  if (share < 1 && share >= 0.99995) return "> 99.99 %";
  return absl::StrFormat("%.2f %%", 100 * share);
}

std::string FormatDecibel(double value) { return absl::StrFormat("%.1f dB", value); }

std::string FormatCount(int64_t count, std::string_view noun) {
  return absl::StrCat(count, " ", std::string(noun), count == 1 ? "" : "s");
}

std::string Printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const unsigned char lead = text[0];
    // C0 controls and DEL; C1 controls are 0xC2 0x80 to 0xC2 0x9F.
    const bool control =
        lead < 0x20 || lead == 0x7F ||
        (length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0);
    if (length == 0 || control) {
      result += '?';
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(1, length));
  }
  return result;
}

int DisplayWidth(std::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); }));
}

std::string Truncate(std::string_view text, int width) {
  int columns = 0;
  size_t end = 0;
  for (; end < text.size(); ++end) {
    if (!IsContinuation(text[end]) && ++columns > width) break;
  }
  return std::string(text.substr(0, end));
}

std::string WrapWords(std::string_view text, int width) {
  std::string result;
  int column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    // A space that ended the last word is still to be written, as itself or as a line break.
    if (!result.empty() && result.back() == ' ' && column + DisplayWidth(word) > width) {
      result.back() = '\n';
      column = 0;
    }
    result += word;
    column += DisplayWidth(word);
    if (end < text.size()) {
      result += text[end];
      column = text[end] == '\n' ? 0 : column + 1;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

std::string Sparkline(const std::vector<double>& values, int width, bool unicode) {
  static constexpr std::array kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array kAscii = {"_", ".", "-", "=", "+", "*", "%", "#"};
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](double value) { return std::isfinite(value); });
  if (finite.empty() || width < 1) return "";
  const size_t count = std::min<size_t>(width, finite.size());
  std::vector<double> buckets(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * finite.size() / count;
    const size_t end = (i + 1) * finite.size() / count;
    double sum = 0;
    for (size_t k = begin; k < end; ++k) sum += finite[k] / static_cast<double>(end - begin);
    buckets[i] = sum;
  }
  const auto [low, high] = std::minmax_element(buckets.begin(), buckets.end());
  const double range = *high - *low;
  std::string line;
  for (const double value : buckets) {
    const double height = range > 0 ? (value - *low) / range : 0;
    const auto level = static_cast<size_t>(std::clamp(height * 7.0 + 0.5, 0.0, 7.0));
    line += unicode ? kBlocks[level] : kAscii[level];
  }
  return line;
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<int> widths;
  std::vector<bool> numeric;
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : rows) {
    cells.emplace_back();
    for (size_t i = 0; i < row.size(); ++i) {
      cells.back().push_back(Printable(row[i]));
      if (i == widths.size()) {
        widths.push_back(0);
        numeric.push_back(true);
      }
      widths[i] = std::max(widths[i], DisplayWidth(cells.back()[i]));
      if (cells.size() > 1 && !LooksNumeric(cells.back()[i])) numeric[i] = false;
    }
  }
  std::string text;
  for (const auto& row : cells) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      const std::string padding(widths[i] - DisplayWidth(row[i]), ' ');
      line += numeric[i] ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string FormatFields(const std::vector<Field>& fields) {
  int width = 0;
  for (const Field& field : fields) width = std::max(width, DisplayWidth(field.name));
  std::string text;
  for (const Field& field : fields) {
    const std::string padding(width - DisplayWidth(field.name) + 2, ' ');
    absl::StrAppend(&text, field.name, padding, Printable(field.value), "\n");
  }
  return text;
}

}  // namespace thresher::client
