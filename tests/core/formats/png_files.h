// PNG files of every kind, made by libpng.
#ifndef THRESHER_TESTS_CORE_FORMATS_PNG_FILES_H_
#define THRESHER_TESTS_CORE_FORMATS_PNG_FILES_H_

#include <png.h>

#include <string>
#include <vector>

namespace thresher {

struct PngFile {
  int width = 1;
  int height = 1;
  int color_type = PNG_COLOR_TYPE_GRAY;
  int bit_depth = 8;
  bool interlaced = false;
  // A row after the other, packed as PNG packs them; 16 bits big endian.
  std::vector<unsigned char> bytes;
  std::vector<png_color> palette = {};
  // tRNS: opacities of the palette, or the grey value that is transparent.
  std::vector<unsigned char> opacities = {};
  int transparent_grey = -1;
};

// The file is valid, so libpng reports no error.
inline std::string MakePng(const PngFile& file) {
  std::string written;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &written,
      [](png_structp from, png_bytep data, size_t size) {
        static_cast<std::string*>(png_get_io_ptr(from))
            ->append(reinterpret_cast<const char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, file.width, file.height, file.bit_depth, file.color_type,
               file.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!file.palette.empty()) {
    png_set_PLTE(png, info, file.palette.data(), static_cast<int>(file.palette.size()));
  }
  if (!file.opacities.empty()) {
    png_set_tRNS(png, info, file.opacities.data(), static_cast<int>(file.opacities.size()),
                 nullptr);
  }
  if (file.transparent_grey >= 0) {
    png_color_16 grey = {};
    grey.gray = static_cast<png_uint_16>(file.transparent_grey);
    png_set_tRNS(png, info, nullptr, 0, &grey);
  }
  const size_t row_bytes = file.bytes.size() / file.height;
  std::vector<unsigned char> bytes = file.bytes;
  std::vector<png_bytep> rows;
  for (int row = 0; row < file.height; ++row) rows.push_back(&bytes[row * row_bytes]);
  png_set_rows(png, info, rows.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  return written;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_FORMATS_PNG_FILES_H_
