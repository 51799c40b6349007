#include "core/samples/number_text.h"

#include <charconv>
#include <cmath>
#include <cstdint>

#include "absl/strings/numbers.h"

namespace thresher {

std::optional<double> ParseNumber(std::string_view text) {
  double value = 0;
  // SimpleAtod reads hexadecimal too.
  if (text.find_first_of("xX") != std::string_view::npos ||
      !absl::SimpleAtod(absl::string_view(text.data(), text.size()), &value)) {
    return std::nullopt;
  }
  return value;
}

std::string NumberText(double value) {
  if (value == 0) return "0";  // -0 too
  char text[32];
  // Whole numbers in full, not as 1e+06.
  const bool whole = value == std::trunc(value) && std::fabs(value) < 1e15;
  const std::to_chars_result end =
      whole ? std::to_chars(text, text + sizeof(text), static_cast<int64_t>(value))
            : std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

}  // namespace thresher
