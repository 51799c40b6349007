#include "core/samples/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 30;

std::string File(unsigned char type, const std::vector<uint32_t>& shape, const std::string& data) {
  std::string bytes(2, '\0');
  bytes += static_cast<char>(type);
  bytes += static_cast<char>(shape.size());
  for (const uint32_t extent : shape) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(extent >> shift & 255);
  }
  return bytes + data;
}

template <typename T>
std::vector<T> Values(const std::string& bytes) {
  const auto array = ParseIdx(bytes, kPlenty);
  EXPECT_TRUE(array.ok()) << array.status();
  if (!array.ok()) return {};
  const auto* values = std::get_if<std::vector<T>>(&array->values);
  EXPECT_NE(values, nullptr);
  return values != nullptr ? *values : std::vector<T>{};
}

TEST(ParseIdxTest, ReadsEveryType) {
  EXPECT_THAT(Values<uint8_t>(File(0x08, {2}, "\x01\xff")), ElementsAre(1, 255));
  EXPECT_THAT(Values<int32_t>(File(0x09, {2}, "\x01\xff")), ElementsAre(1, -1));
  EXPECT_THAT(Values<int32_t>(File(0x0B, {2}, std::string("\x01\x02\xff\xfe", 4))),
              ElementsAre(0x102, -2));
  EXPECT_THAT(Values<int32_t>(File(0x0C, {1}, std::string("\x80\0\0\x01", 4))),
              ElementsAre(-2147483647));
  EXPECT_THAT(Values<float>(File(0x0D, {1}, std::string("\xbf\xc0\0\0", 4))), ElementsAre(-1.5f));
  EXPECT_THAT(Values<double>(File(0x0E, {1}, std::string("\x3f\xf8\0\0\0\0\0\0", 8))),
              ElementsAre(1.5));
}

TEST(ParseIdxTest, KeepsTheShape) {
  const auto array = ParseIdx(File(0x08, {2, 3, 1}, "abcdef"), kPlenty);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->shape, ElementsAre(2, 3, 1));
}

TEST(ParseIdxTest, RefusesTruncationAndTrailingBytes) {
  const std::string bytes = File(0x0D, {2, 2}, std::string(16, '\0'));
  ASSERT_TRUE(ParseIdx(bytes, kPlenty).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIdx(bytes.substr(0, size), kPlenty).status()));
  }
  EXPECT_THAT(std::string(ParseIdx(bytes + "x", kPlenty).status().message()),
              HasSubstr("trailing bytes"));
}

TEST(ParseIdxTest, RefusesWhatItDoesNotKnow) {
  for (const std::string& bytes :
       {File(0x0A, {1}, "x"), File(0x00, {1}, "x"), File(0x08, {}, "x"), File(0x08, {0}, ""),
        File(0x08, {4, 0}, ""), "\x01" + File(0x08, {1}, "x").substr(1)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIdx(bytes, kPlenty).status()));
  }
}

TEST(ParseIdxTest, RefusesSizesBeyondTheLimit) {
  const std::vector<uint32_t> huge(255, 0xffffffffu);
  EXPECT_TRUE(absl::IsResourceExhausted(ParseIdx(File(0x08, huge, ""), kPlenty).status()));
  // A short widens to four bytes.
  const std::string shorts = File(0x0B, {4}, std::string(8, '\0'));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseIdx(shorts, 15).status()));
  EXPECT_TRUE(ParseIdx(shorts, 16).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ParseIdx(shorts, -1).status()));
}

}  // namespace
}  // namespace thresher
