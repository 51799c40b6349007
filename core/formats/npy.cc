#include "core/formats/npy.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

static_assert(std::endian::native == std::endian::little, "SerializeNpy copies host bytes");

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kLargestHeader = 65535;
constexpr size_t kLargestRank = 32;
constexpr int64_t kLargestString = int64_t{1} << 20;

// Quotes foreign text for an error message: printable and short.
std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string shown =
      absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kLongest)));
  return absl::StrCat("'", shown, text.size() > kLongest ? "..." : "", "'");
}

struct NpyHeader {
  char byte_order = '|';  // '<', '>' or '|'
  char kind = 0;          // as in NumPy: f i u b S U
  int64_t item_size = 0;  // bytes
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads the one Python literal that a header is, {'descr': '<f4', 'fortran_order':
// False, 'shape': (3, 4), }, and nothing else: no expression is ever evaluated.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  absl::StatusOr<NpyHeader> Read() {
    if (!Take('{')) return Expected("'{'");
    while (!Take('}')) {
      std::string key;
      if (!TakeString(key)) return Expected("a quoted key or '}'");
      if (!Take(':')) return Expected("':'");
      absl::Status status;
      if (key == "descr" && !has_descr_) {
        status = ReadDescr();
        has_descr_ = true;
      } else if (key == "fortran_order" && !has_order_) {
        status = ReadOrder();
        has_order_ = true;
      } else if (key == "shape" && !has_shape_) {
        status = ReadShape();
        has_shape_ = true;
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("npy header: unknown or repeated key ", Quoted(key)));
      }
      if (!status.ok()) return status;
      if (!Take(',')) {
        if (!Take('}')) return Expected("',' or '}'");
        break;
      }
    }
    SkipSpace();
    if (position_ != text_.size()) return Expected("only spaces after '}'");
    if (!has_descr_ || !has_order_ || !has_shape_) {
      return absl::InvalidArgumentError(
          "npy header: the keys descr, fortran_order and shape must all be there");
    }
    return std::move(header_);
  }

 private:
  void SkipSpace() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) {
      ++position_;
    }
  }

  bool Take(char wanted) {
    SkipSpace();
    if (position_ == text_.size() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }

  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (text_.substr(position_, word.size()) != word) return false;
    position_ += word.size();
    return true;
  }

  // Strings with escapes are not taken: neither keys nor dtypes need one.
  bool TakeString(std::string& value) {
    SkipSpace();
    if (position_ == text_.size()) return false;
    const char quote = text_[position_];
    if (quote != '\'' && quote != '"') return false;
    const size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) return false;
    const std::string_view found = text_.substr(position_ + 1, end - position_ - 1);
    if (found.find('\\') != std::string_view::npos) return false;
    value = std::string(found);
    position_ = end + 1;
    return true;
  }

  absl::Status Expected(std::string_view wanted) const {
    return absl::InvalidArgumentError(
        absl::StrCat("npy header: expected ", std::string(wanted), " at character ", position_));
  }

  absl::Status ReadDescr() {
    SkipSpace();
    if (position_ < text_.size() && text_[position_] == '[') {
      return absl::InvalidArgumentError(
          "npy header: structured arrays are not supported; save one plain array per file");
    }
    std::string descr;
    if (!TakeString(descr)) return Expected("a quoted dtype");
    const bool has_order = !descr.empty() && std::strchr("<>|=", descr[0]) != nullptr;
    const std::string_view type = std::string_view(descr).substr(has_order ? 1 : 0);
    if (!type.empty() && type[0] == 'O') {
      return absl::InvalidArgumentError(
          "npy header: object arrays are pickled Python objects and are never loaded; convert "
          "the array to numbers first, for example with a.astype('float32')");
    }
    header_.byte_order = has_order ? descr[0] : '|';
    if (header_.byte_order == '=') header_.byte_order = '<';
    header_.kind = type.empty() ? 0 : type[0];
    int64_t item_size = 0;
    for (const char digit : type.substr(std::min<size_t>(1, type.size()))) {
      if (digit < '0' || digit > '9' || item_size > kLargestString) {
        item_size = -1;
        break;
      }
      item_size = item_size * 10 + (digit - '0');
    }
    if (header_.kind == 'U') item_size *= 4;
    const auto is_one_of = [&](std::initializer_list<int64_t> sizes) {
      return std::find(sizes.begin(), sizes.end(), item_size) != sizes.end();
    };
    bool supported = false;
    switch (header_.kind) {
      case 'f':
        supported = is_one_of({2, 4, 8});
        break;
      case 'i':
      case 'u':
        supported = is_one_of({1, 2, 4, 8});
        break;
      case 'b':
        supported = is_one_of({1});
        break;
      case 'S':
      case 'U':
        supported = item_size >= 1 && item_size <= kLargestString;
        break;
      default:
        break;
    }
    // '|' says that bytes have no order, which is only true of types of one byte.
    if (header_.byte_order == '|' && header_.kind != 'S' && item_size > 1) supported = false;
    if (!supported) {
      return absl::InvalidArgumentError(
          absl::StrCat("npy header: dtype ", Quoted(descr),
                       " is not supported; use float32, float64 or an integer type"));
    }
    header_.item_size = item_size;
    return absl::OkStatus();
  }

  absl::Status ReadOrder() {
    if (TakeWord("True")) {
      header_.fortran_order = true;
    } else if (!TakeWord("False")) {
      return Expected("True or False");
    }
    return absl::OkStatus();
  }

  absl::Status ReadShape() {
    if (!Take('(')) return Expected("'('");
    while (!Take(')')) {
      SkipSpace();
      const size_t start = position_;
      int64_t extent = 0;
      while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') {
        const int64_t digit = text_[position_] - '0';
        if (extent > (std::numeric_limits<int64_t>::max() - digit) / 10) {
          return absl::InvalidArgumentError("npy header: an extent of the shape is too large");
        }
        extent = extent * 10 + digit;
        ++position_;
      }
      if (position_ == start) return Expected("a number of the shape or ')'");
      TakeWord("L");  // Python 2 wrote long integers so
      if (header_.shape.size() == kLargestRank) {
        return absl::InvalidArgumentError("npy header: the shape has more than 32 dimensions");
      }
      header_.shape.push_back(extent);
      if (!Take(',')) {
        // (3) is a number in Python, no tuple.
        if (header_.shape.size() == 1) return Expected("','");
        if (!Take(')')) return Expected("',' or ')'");
        break;
      }
    }
    return absl::OkStatus();
  }

  std::string_view text_;
  size_t position_ = 0;
  NpyHeader header_;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

template <typename Stored>
Stored LoadItem(const char* item, bool swap) {
  Stored value;
  if (swap) {
    char reversed[sizeof(Stored)];
    std::reverse_copy(item, item + sizeof(Stored), reversed);
    std::memcpy(&value, reversed, sizeof(Stored));
  } else {
    std::memcpy(&value, item, sizeof(Stored));
  }
  return value;
}

// IEEE 754 half precision; every value is exact in float.
float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = fraction == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Visits the items in C order: visit(c_index, byte offset of the item in the file).
// In a Fortran-ordered file the first index runs fastest, so the offsets jump.
template <typename Visit>
void ForEachItem(const NpyHeader& header, int64_t count, Visit visit) {
  const size_t rank = header.shape.size();
  if (!header.fortran_order || rank < 2) {
    for (int64_t i = 0; i < count; ++i) visit(i, i * header.item_size);
    return;
  }
  std::vector<int64_t> stride(rank, header.item_size);
  for (size_t k = 1; k < rank; ++k) stride[k] = stride[k - 1] * header.shape[k - 1];
  std::vector<int64_t> index(rank, 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < count; ++i) {
    visit(i, offset);
    for (size_t k = rank; k-- > 0;) {
      offset += stride[k];
      if (++index[k] < header.shape[k]) break;
      offset -= stride[k] * header.shape[k];
      index[k] = 0;
    }
  }
}

template <typename Stored, typename Value>
std::vector<Value> LoadNumbers(const NpyHeader& header, int64_t count, const char* data) {
  std::vector<Value> values(static_cast<size_t>(count));
  const bool swap = header.byte_order == '>';
  if constexpr (std::is_same_v<Stored, Value>) {
    if (!swap && (!header.fortran_order || header.shape.size() < 2)) {
      if (count > 0) std::memcpy(values.data(), data, values.size() * sizeof(Value));
      return values;
    }
  }
  ForEachItem(header, count, [&](int64_t i, int64_t offset) {
    values[i] = static_cast<Value>(LoadItem<Stored>(data + offset, swap));
  });
  return values;
}

void AppendUtf8(uint32_t code, std::string& text) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 63));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 63));
    text += static_cast<char>(0x80 | (code & 63));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 63));
    text += static_cast<char>(0x80 | ((code >> 6) & 63));
    text += static_cast<char>(0x80 | (code & 63));
  }
}

absl::StatusOr<std::vector<std::string>> LoadStrings(const NpyHeader& header, int64_t count,
                                                     const char* data) {
  std::vector<std::string> values(static_cast<size_t>(count));
  bool valid = true;
  ForEachItem(header, count, [&](int64_t i, int64_t offset) {
    const char* item = data + offset;
    if (header.kind == 'S') {
      std::string_view text(item, static_cast<size_t>(header.item_size));
      const size_t last = text.find_last_not_of('\0');
      values[i] = std::string(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
      return;
    }
    int64_t length = header.item_size / 4;
    const auto code_at = [&](int64_t k) {
      return LoadItem<uint32_t>(item + 4 * k, header.byte_order == '>');
    };
    while (length > 0 && code_at(length - 1) == 0) --length;
    for (int64_t k = 0; k < length; ++k) {
      const uint32_t code = code_at(k);
      if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) valid = false;
      if (valid) AppendUtf8(code, values[i]);
    }
  });
  if (!valid) return absl::InvalidArgumentError("npy data: text holds an invalid code point");
  return values;
}

// Bytes of one item in memory; the type it widens to decides.
int64_t HeldItemSize(const NpyHeader& header) {
  switch (header.kind) {
    case 'S':
    case 'U':
      return static_cast<int64_t>(sizeof(std::string)) + header.item_size;
    case 'f':
      return std::max<int64_t>(header.item_size, sizeof(float));
    case 'i':
      return std::max<int64_t>(header.item_size, sizeof(int32_t));
    case 'u':
      return header.item_size == 1   ? 1
             : header.item_size == 2 ? static_cast<int64_t>(sizeof(int32_t))
                                     : static_cast<int64_t>(sizeof(int64_t));
    default:
      return 1;
  }
}

// Product of the shape; nothing when it overflows.
std::optional<int64_t> NumItems(const std::vector<int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (count > std::numeric_limits<int64_t>::max() / extent) return std::nullopt;
    count *= extent;
  }
  return count;
}

absl::StatusOr<NpyArray> LoadValues(const NpyHeader& header, int64_t count, const char* data) {
  NpyArray array;
  array.shape = header.shape;
  const int64_t size = header.item_size;
  switch (header.kind) {
    case 'f':
      if (size == 2) {
        const std::vector<uint16_t> halves = LoadNumbers<uint16_t, uint16_t>(header, count, data);
        std::vector<float> values(halves.size());
        std::transform(halves.begin(), halves.end(), values.begin(), HalfToFloat);
        array.values = std::move(values);
      } else if (size == 4) {
        array.values = LoadNumbers<float, float>(header, count, data);
      } else {
        array.values = LoadNumbers<double, double>(header, count, data);
      }
      return array;
    case 'i':
      if (size == 1) {
        array.values = LoadNumbers<int8_t, int32_t>(header, count, data);
      } else if (size == 2) {
        array.values = LoadNumbers<int16_t, int32_t>(header, count, data);
      } else if (size == 4) {
        array.values = LoadNumbers<int32_t, int32_t>(header, count, data);
      } else {
        array.values = LoadNumbers<int64_t, int64_t>(header, count, data);
      }
      return array;
    case 'u':
    case 'b':
      if (size == 1) {
        array.values = LoadNumbers<uint8_t, uint8_t>(header, count, data);
      } else if (size == 2) {
        array.values = LoadNumbers<uint16_t, int32_t>(header, count, data);
      } else if (size == 4) {
        array.values = LoadNumbers<uint32_t, int64_t>(header, count, data);
      } else {
        std::vector<int64_t> values = LoadNumbers<uint64_t, int64_t>(header, count, data);
        // Conversion wraps, so values from 2^63 on show as negative.
        if (std::any_of(values.begin(), values.end(), [](int64_t v) { return v < 0; })) {
          return absl::InvalidArgumentError("npy data: an unsigned value of 2^63 or more");
        }
        array.values = std::move(values);
      }
      return array;
    default: {
      absl::StatusOr<std::vector<std::string>> values = LoadStrings(header, count, data);
      if (!values.ok()) return values.status();
      array.values = *std::move(values);
      return array;
    }
  }
}

template <typename To>
absl::StatusOr<std::vector<To>> ToNumbers(const NpyArray& array) {
  return std::visit(
      [](const auto& values) -> absl::StatusOr<std::vector<To>> {
        using From = typename std::decay_t<decltype(values)>::value_type;
        if constexpr (std::is_same_v<From, std::string>) {
          return absl::InvalidArgumentError("expected numbers, found an array of text");
        } else {
          std::vector<To> result(values.size());
          for (size_t i = 0; i < values.size(); ++i) {
            // A double beyond float's range becomes an infinity, which the caller's check for
            // finite values names.
            if constexpr (std::is_same_v<From, double> && std::is_same_v<To, float>) {
              result[i] = std::fabs(values[i]) > std::numeric_limits<float>::max()
                              ? static_cast<float>(std::copysign(
                                    std::numeric_limits<double>::infinity(), values[i]))
                              : static_cast<float>(values[i]);
            } else {
              result[i] = static_cast<To>(values[i]);
            }
          }
          return result;
        }
      },
      array.values);
}

}  // namespace

int64_t NpyArray::size() const { return NumItems(shape).value_or(0); }

absl::StatusOr<NpyArray> ParseNpy(std::string_view bytes, int64_t max_bytes) {
  if (bytes.substr(0, kMagic.size()) != kMagic || bytes.size() < 10) {
    return absl::InvalidArgumentError("not an npy file: it must start with \\x93NUMPY");
  }
  const int major = static_cast<unsigned char>(bytes[6]);
  const int minor = static_cast<unsigned char>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return absl::InvalidArgumentError(absl::StrCat("npy format version ", major, ".", minor,
                                                   " is unknown; versions 1.0 to 3.0 are read"));
  }
  const size_t length_size = major == 1 ? 2 : 4;
  const size_t header_begin = 8 + length_size;
  if (bytes.size() < header_begin) return absl::InvalidArgumentError("npy file is truncated");
  const size_t header_size = major == 1 ? LoadItem<uint16_t>(bytes.data() + 8, false)
                                        : LoadItem<uint32_t>(bytes.data() + 8, false);
  if (header_size > kLargestHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat("npy header of ", header_size, " bytes is longer than ", kLargestHeader));
  }
  if (bytes.size() - header_begin < header_size) {
    return absl::InvalidArgumentError("npy file is truncated: it ends inside its header");
  }
  absl::StatusOr<NpyHeader> header = HeaderReader(bytes.substr(header_begin, header_size)).Read();
  if (!header.ok()) return header.status();

  const std::optional<int64_t> count = NumItems(header->shape);
  if (!count.has_value() || *count > std::max<int64_t>(max_bytes, 0) / HeldItemSize(*header)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("npy array would hold more than the limit of ", max_bytes, " bytes"));
  }
  const int64_t data_size = *count * header->item_size;
  const int64_t found = static_cast<int64_t>(bytes.size() - header_begin - header_size);
  if (found != data_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("npy file ", found < data_size ? "is truncated" : "has trailing bytes",
                     ": its shape needs ", data_size, " bytes of data, there are ", found));
  }
  return LoadValues(*header, *count, bytes.data() + header_begin + header_size);
}

std::string SerializeNpy(const NpyArray& array) {
  size_t item_size = 0;
  const std::string descr = std::visit(
      [&item_size](const auto& values) -> std::string {
        using Value = typename std::decay_t<decltype(values)>::value_type;
        item_size = sizeof(Value);
        if constexpr (std::is_same_v<Value, float>) return "<f4";
        if constexpr (std::is_same_v<Value, double>) return "<f8";
        if constexpr (std::is_same_v<Value, uint8_t>) return "|u1";
        if constexpr (std::is_same_v<Value, int32_t>) return "<i4";
        if constexpr (std::is_same_v<Value, int64_t>) return "<i8";
        if constexpr (std::is_same_v<Value, std::string>) {
          item_size = 1;
          for (const std::string& text : values) item_size = std::max(item_size, text.size());
          return absl::StrCat("|S", item_size);
        }
      },
      array.values);

  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (");
  for (size_t k = 0; k < array.shape.size(); ++k) {
    absl::StrAppend(&header, k > 0 ? " " : "", array.shape[k],
                    k + 1 < array.shape.size() || k == 0 ? "," : "");
  }
  header += "), }";
  // NumPy aligns the data to 64 bytes; the header ends with a line feed.
  constexpr size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';

  std::string bytes(kMagic);
  bytes += '\x01';
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 255);
  bytes += static_cast<char>(header.size() >> 8);
  std::visit(
      [&](const auto& values) {
        using Value = typename std::decay_t<decltype(values)>::value_type;
        assert(static_cast<int64_t>(values.size()) == array.size());
        bytes.reserve(bytes.size() + header.size() + values.size() * item_size);
        bytes += header;
        if constexpr (std::is_same_v<Value, std::string>) {
          for (const std::string& text : values) {
            bytes += text;
            bytes.append(item_size - text.size(), '\0');
          }
        } else {
          bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * item_size);
        }
      },
      array.values);
  return bytes;
}

absl::StatusOr<std::vector<double>> ToDoubles(const NpyArray& array) {
  return ToNumbers<double>(array);
}

absl::StatusOr<std::vector<float>> ToFloats(const NpyArray& array) {
  return ToNumbers<float>(array);
}

absl::StatusOr<std::vector<int64_t>> ToIntegers(const NpyArray& array) {
  return std::visit(
      [](const auto& values) -> absl::StatusOr<std::vector<int64_t>> {
        using From = typename std::decay_t<decltype(values)>::value_type;
        if constexpr (std::is_same_v<From, std::string>) {
          return absl::InvalidArgumentError("expected whole numbers, found an array of text");
        } else {
          std::vector<int64_t> result(values.size());
          for (size_t i = 0; i < values.size(); ++i) {
            if constexpr (std::is_floating_point_v<From>) {
              constexpr From kTwoTo63 = static_cast<From>(9223372036854775808.0);
              const From value = values[i];
              if (!(value >= -kTwoTo63 && value < kTwoTo63) || value != std::trunc(value)) {
                return absl::InvalidArgumentError(absl::StrCat(
                    "expected whole numbers, found ", value, " at entry ", i, " (from 0)"));
              }
            }
            result[i] = static_cast<int64_t>(values[i]);
          }
          return result;
        }
      },
      array.values);
}

}  // namespace thresher
