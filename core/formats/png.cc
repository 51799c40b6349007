#include "core/formats/png.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstring>
#include <limits>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

// Of chunks beside the pixels: how many are kept, and what one may unpack to.
constexpr png_uint_32 kMaxChunks = 64;
constexpr png_alloc_size_t kMaxChunkBytes = png_alloc_size_t{1} << 20;
constexpr int64_t kMaxSide = PNG_UINT_31_MAX;
// Pixels are read as 16 bits, to which all depths scale without loss.
constexpr double kLargestValue = 65535;

// libpng reports errors by longjmp, so nothing between setjmp and it may need a destructor.
struct Reader {
  const unsigned char* data;
  size_t size;
  size_t position;
  char message[128];
};

void ReadBytes(png_structp png, png_bytep target, size_t count) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (count > reader->size - reader->position) png_error(png, "the file ends early");
  std::memcpy(target, reader->data + reader->position, count);
  reader->position += count;
}

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader->message, message, sizeof(reader->message) - 1);
  png_longjmp(png, 1);
}

void OnWarning(png_structp /*png*/, png_const_charp /*message*/) {}

// False on an error, which is left in the reader.
bool ReadHeader(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_info(png, info);
  return true;
}

// Takes memory for rows.
bool SetPixelFormat(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_expand(png);
  png_set_expand_16(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool ReadRows(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

absl::Status Damaged(const Reader& reader) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable PNG: ", reader.message));
}

}  // namespace

absl::StatusOr<Image> ParsePng(std::string_view bytes, int64_t max_bytes) {
  Reader reader = {reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), 0, {}};
  constexpr size_t kSignatureBytes = 8;
  if (bytes.size() < kSignatureBytes || png_sig_cmp(reader.data, 0, kSignatureBytes) != 0) {
    return absl::InvalidArgumentError("not a PNG: it does not start with PNG's signature");
  }
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, OnError, OnWarning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  const absl::Cleanup destroy = [&] { png_destroy_read_struct(&png, &info, nullptr); };
  if (info == nullptr) return absl::ResourceExhaustedError("out of memory");
  png_set_read_fn(png, &reader, ReadBytes);
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_chunk_cache_max(png, kMaxChunks);
  png_set_chunk_malloc_max(png, kMaxChunkBytes);
  if (!ReadHeader(png, info)) return Damaged(reader);

  Image image;
  image.height = png_get_image_height(png, info);
  image.width = png_get_image_width(png, info);
  image.channels = (png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1;
  const int64_t most = std::max<int64_t>(max_bytes, 0) / static_cast<int64_t>(sizeof(float));
  if (image.width > most / image.channels / image.height) {
    return absl::ResourceExhaustedError(absl::StrCat("the PNG's ", image.width, " x ", image.height,
                                                     " pixels would hold more than the limit of ",
                                                     max_bytes, " bytes"));
  }
  if (!SetPixelFormat(png, info)) return Damaged(reader);
  const int64_t stored_channels = png_get_channels(png, info);
  const bool has_alpha = stored_channels > image.channels;
  const int64_t row_values = image.width * stored_channels;
  std::vector<unsigned char> pixels(static_cast<size_t>(2 * row_values * image.height));
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (int64_t row = 0; row < image.height; ++row) rows[row] = &pixels[2 * row_values * row];
  if (!ReadRows(png, rows.data())) return Damaged(reader);

  image.values.reserve(static_cast<size_t>(image.width * image.height * image.channels));
  for (int64_t i = 0; i < row_values * image.height; ++i) {
    const int value = pixels[2 * i] << 8 | pixels[2 * i + 1];
    if (!has_alpha || i % stored_channels != image.channels) {
      image.values.push_back(static_cast<float>(value / kLargestValue));
    } else if (value != 65535) {
      const int64_t pixel = i / stored_channels;
      return absl::InvalidArgumentError(absl::StrCat(
          "the PNG's pixel in row ", pixel / image.width, ", column ", pixel % image.width,
          " (from 0) is transparent; put the image on a background and save it without "
          "transparency"));
    }
  }
  return image;
}

absl::StatusOr<std::string> WritePng(const Image& image) {
  const bool sizes_fit =
      image.height >= 1 && image.width >= 1 && image.height <= kMaxSide &&
      image.width <= kMaxSide && (image.channels == 1 || image.channels == 3) &&
      image.width * image.channels <= std::numeric_limits<int32_t>::max() &&
      static_cast<int64_t>(image.values.size()) / image.height == image.width * image.channels &&
      static_cast<int64_t>(image.values.size()) % image.height == 0;
  if (!sizes_fit) {
    return absl::InvalidArgumentError(absl::StrCat("no image of ", image.width, " x ", image.height,
                                                   " pixels of ", image.channels, " channels with ",
                                                   image.values.size(), " values"));
  }
  std::vector<unsigned char> pixels;
  pixels.reserve(image.values.size());
  for (const float value : image.values) {
    // The first comparison is false for a NaN.
    pixels.push_back(
        value > 0 ? static_cast<unsigned char>(std::lround(255 * std::min(value, 1.0F))) : 0);
  }
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels.data(), 0, nullptr) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the image cannot be a PNG: ", png.message));
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace thresher
