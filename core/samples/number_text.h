// Numbers as people write them in tables.
#ifndef THRESHER_CORE_SAMPLES_NUMBER_TEXT_H_
#define THRESHER_CORE_SAMPLES_NUMBER_TEXT_H_

#include <optional>
#include <string>
#include <string_view>

namespace thresher {

// A decimal number with optional sign and exponent, blanks around it allowed; also inf and
// nan, which callers refuse by their own words. Nothing for any other text, hexadecimal
// included. Beyond double's range it is an infinity, below it 0.
std::optional<double> ParseNumber(std::string_view text);

// The shortest decimal text that reads back as `value`: 1 is "1", 0.5 is "0.5".
std::string NumberText(double value);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_NUMBER_TEXT_H_
