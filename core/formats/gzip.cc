#include "core/formats/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

constexpr size_t kFirstBlock = size_t{1} << 16;
// zlib counts in unsigned int; larger inputs are handed over in parts.
constexpr size_t kLargestInput = size_t{1} << 30;
// 15 window bits, plus 16 to ask for gzip's header and check sum.
constexpr int kGzipWindowBits = 15 + 16;

}  // namespace

bool IsGzip(std::string_view bytes) {
  return bytes.size() >= 2 && bytes[0] == '\x1f' && bytes[1] == '\x8b';
}

absl::StatusOr<std::string> Gunzip(std::string_view bytes, int64_t max_bytes) {
  if (!IsGzip(bytes))
    return absl::InvalidArgumentError("not a gzip file: it must start with 1f 8b");
  z_stream stream = {};
  if (inflateInit2(&stream, kGzipWindowBits) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to unpack gzip data");
  }
  std::unique_ptr<z_stream, int (*)(z_stream*)> end_inflation(&stream, inflateEnd);

  const size_t limit = static_cast<size_t>(std::max<int64_t>(max_bytes, 0));
  std::string result;
  size_t written = 0;
  size_t taken = 0;
  while (true) {
    // One byte over the limit tells "exactly max_bytes" from "more".
    if (written == result.size()) {
      result.resize(std::min(limit + 1, std::max(kFirstBlock, result.size() * 2)));
    }
    const size_t input_part = std::min(bytes.size() - taken, kLargestInput);
    const size_t output_part = std::min(result.size() - written, kLargestInput);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + taken));
    stream.avail_in = static_cast<uInt>(input_part);
    stream.next_out = reinterpret_cast<Bytef*>(result.data() + written);
    stream.avail_out = static_cast<uInt>(output_part);
    const int code = inflate(&stream, Z_NO_FLUSH);
    taken += input_part - stream.avail_in;
    written += output_part - stream.avail_out;
    if (written > limit) {
      return absl::ResourceExhaustedError(
          absl::StrCat("gzip data unpack to more than the limit of ", limit, " bytes"));
    }
    if (code == Z_STREAM_END) {
      // Members may follow one another; zero bytes at the end are padding.
      const size_t next = bytes.find_first_not_of('\0', taken);
      if (next == std::string_view::npos) break;
      if (next != taken || !IsGzip(bytes.substr(taken))) {
        return absl::InvalidArgumentError(absl::StrCat(
            "gzip data are followed by bytes that are no gzip member, at byte ", next));
      }
      inflateReset(&stream);
      continue;
    }
    if (code == Z_MEM_ERROR) return absl::ResourceExhaustedError("no memory to unpack gzip data");
    if (code == Z_BUF_ERROR || (code == Z_OK && taken == bytes.size() && stream.avail_out > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("gzip data are truncated: they end at byte ", bytes.size(),
                       " in the middle of a member; send the whole file"));
    }
    if (code != Z_OK) {
      return absl::InvalidArgumentError(
          absl::StrCat("gzip data are damaged at byte ", taken, ": ",
                       stream.msg != nullptr ? stream.msg : "they do not inflate"));
    }
  }
  result.resize(written);
  return result;
}

}  // namespace thresher
