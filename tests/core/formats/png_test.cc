#include "core/formats/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "tests/core/formats/png_files.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 20;

Image Parse(const std::string& bytes) {
  const auto image = ParsePng(bytes, kPlenty);
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? *image : Image{};
}

// Any pattern.
std::vector<unsigned char> Bytes(size_t count) {
  std::vector<unsigned char> bytes;
  for (size_t i = 0; i < count; ++i) bytes.push_back(static_cast<unsigned char>(37 * i + 11));
  return bytes;
}

TEST(PngTest, GreyOfEveryDepthIsScaledByItsLargestValue) {
  // 2 x 2 pixels: 0 and the largest value, then in the second row the other way round.
  EXPECT_THAT(
      Parse(MakePng({.width = 2, .height = 2, .bit_depth = 1, .bytes = {0x40, 0x80}})).values,
      ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(Parse(MakePng({.width = 2, .bit_depth = 2, .bytes = {0x90}})).values,
              ElementsAre(2.0F / 3, 1.0F / 3));
  EXPECT_THAT(Parse(MakePng({.width = 2, .bit_depth = 4, .bytes = {0x1E}})).values,
              ElementsAre(1.0F / 15, 14.0F / 15));
  EXPECT_THAT(Parse(MakePng({.width = 2, .bytes = {1, 254}})).values,
              ElementsAre(1.0F / 255, 254.0F / 255));
  EXPECT_THAT(Parse(MakePng({.width = 2, .bit_depth = 16, .bytes = {0, 1, 255, 254}})).values,
              ElementsAre(1.0F / 65535, 65534.0F / 65535));
}

TEST(PngTest, ColoursAreInTheOrderOfPixels) {
  const Image image = Parse(MakePng(
      {.width = 2, .color_type = PNG_COLOR_TYPE_RGB, .bytes = {0, 51, 102, 153, 204, 255}}));
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_EQ(image.channels, 3);
  EXPECT_THAT(image.values, ElementsAre(0.0F, 0.2F, 0.4F, 0.6F, 0.8F, 1.0F));
}

TEST(PngTest, APaletteBecomesItsColours) {
  const Image image = Parse(MakePng({.width = 2,
                                     .color_type = PNG_COLOR_TYPE_PALETTE,
                                     .bit_depth = 4,
                                     .bytes = {0x10},
                                     .palette = {{255, 0, 51}, {102, 153, 204}}}));
  EXPECT_EQ(image.channels, 3);
  EXPECT_THAT(image.values, ElementsAre(0.4F, 0.6F, 0.8F, 1.0F, 0.0F, 0.2F));
}

TEST(PngTest, InterlacedFilesHoldTheSamePixels) {
  for (const int type : {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_RGB}) {
    for (const int depth : {8, 16}) {
      PngFile file = {.width = 11, .height = 9, .color_type = type, .bit_depth = depth};
      file.bytes = Bytes(11 * 9 * (type == PNG_COLOR_TYPE_RGB ? 3 : 1) * (depth / 8));
      const Image plain = Parse(MakePng(file));
      file.interlaced = true;
      EXPECT_EQ(Parse(MakePng(file)).values, plain.values) << type << " " << depth;
    }
  }
}

TEST(PngTest, AnAlphaChannelIsDroppedWhereAllIsOpaque) {
  const Image grey = Parse(
      MakePng({.width = 2, .color_type = PNG_COLOR_TYPE_GRAY_ALPHA, .bytes = {51, 255, 102, 255}}));
  EXPECT_EQ(grey.channels, 1);
  EXPECT_THAT(grey.values, ElementsAre(0.2F, 0.4F));
  const Image colour =
      Parse(MakePng({.color_type = PNG_COLOR_TYPE_RGBA, .bytes = {0, 51, 102, 255}}));
  EXPECT_EQ(colour.channels, 3);
  EXPECT_THAT(colour.values, ElementsAre(0.0F, 0.2F, 0.4F));
  // A value that no pixel has is transparent.
  EXPECT_THAT(Parse(MakePng({.width = 2, .bytes = {0, 51}, .transparent_grey = 7})).values,
              ElementsAre(0.0F, 0.2F));
}

TEST(PngTest, TransparentPixelsAreRefusedWithTheirPlace) {
  const std::string files[] = {
      MakePng({.width = 2,
               .height = 2,
               .color_type = PNG_COLOR_TYPE_GRAY_ALPHA,
               .bytes = {1, 255, 2, 255, 3, 255, 4, 254}}),
      MakePng({.width = 2, .height = 2, .bytes = {1, 2, 3, 7}, .transparent_grey = 7}),
      MakePng({.width = 2,
               .height = 2,
               .color_type = PNG_COLOR_TYPE_PALETTE,
               .bytes = {0, 0, 0, 1},
               .palette = {{1, 2, 3}, {4, 5, 6}},
               .opacities = {255, 0}})};
  for (const std::string& file : files) {
    const auto image = ParsePng(file, kPlenty);
    EXPECT_TRUE(absl::IsInvalidArgument(image.status()));
    EXPECT_THAT(std::string(image.status().message()), HasSubstr("row 1, column 1"));
  }
}

TEST(PngTest, WhatIsWrittenIsReadBack) {
  for (const int64_t channels : {1, 3}) {
    Image image = {.height = 5, .width = 7, .channels = channels};
    for (int64_t i = 0; i < 35 * channels; ++i) {
      image.values.push_back(static_cast<float>(i * 7 % 256) / 255);
    }
    const auto bytes = WritePng(image);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const Image again = Parse(*bytes);
    EXPECT_EQ(again.height, 5);
    EXPECT_EQ(again.width, 7);
    EXPECT_EQ(again.channels, channels);
    EXPECT_EQ(again.values, image.values);
  }
}

TEST(PngTest, WrittenValuesAreClampedAndRounded) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto bytes = WritePng(
      {.height = 1, .width = 6, .values = {-3, 1.5, kInfinity, NAN, 0.4F / 255, 0.6F / 255}});
  ASSERT_TRUE(bytes.ok());
  EXPECT_THAT(Parse(*bytes).values, ElementsAre(0, 1, 1, 0, 0, 1.0F / 255));
}

TEST(PngTest, SizesThatDisagreeAreNotWritten) {
  EXPECT_TRUE(absl::IsInvalidArgument(WritePng({}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(WritePng({.height = 2, .width = 2, .values = {1, 2, 3}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      WritePng({.height = 1, .width = 1, .channels = 2, .values = {1, 1}}).status()));
}

TEST(PngTest, DamageIsNamed) {
  const std::string file = MakePng({.width = 8, .height = 8, .bytes = Bytes(64)});
  EXPECT_THAT(std::string(ParsePng("GIF89a..", kPlenty).status().message()),
              HasSubstr("signature"));
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePng(file.substr(0, size), kPlenty).status())) << size;
  }
  // Of the pixels: the check sum finds it.
  std::string damaged = file;
  damaged[file.find("IDAT") + 12] ^= 0x10;
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePng(damaged, kPlenty).status()));
}

TEST(PngTest, TheLimitHoldsBeforePixelsAreUnpacked) {
  const std::string file = MakePng({.width = 8, .height = 8, .bytes = Bytes(64)});
  EXPECT_TRUE(ParsePng(file, 256).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ParsePng(file, 255).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(ParsePng(file, 0).status()));
  // 2^31 - 1 pixels a side, declared in a header whose check sum is right, and few pixels.
  const std::string header = absl::HexStringToBytes(
      "89504e470d0a1a0a0000000d494844527fffffff7fffffff080000000031a254ba0000000b49444154789c636080"
      "0"
      "100000a00017f80745e");
  EXPECT_TRUE(absl::IsResourceExhausted(ParsePng(header, int64_t{1} << 40).status()));
}

}  // namespace
}  // namespace thresher
