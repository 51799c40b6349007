#include "core/formats/gzip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"

namespace thresher {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 30;

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string bytes(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  bytes.resize(stream.total_out);
  deflateEnd(&stream);
  return bytes;
}

TEST(GunzipTest, ReadsWhatPythonWrites) {
  // gzip.compress(b"hello world", mtime=0)
  const std::string bytes =
      absl::HexStringToBytes("1f8b0800000000000203cb48cdc9c95728cf2fca49010085114a0d0b000000");
  EXPECT_TRUE(IsGzip(bytes));
  const auto text = Gunzip(bytes, kPlenty);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "hello world");
}

TEST(GunzipTest, RoundTripsSizesAroundItsBlocks) {
  for (const size_t size : {0u, 1u, 65535u, 65536u, 65537u, 131072u, 1000003u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * i + i / 7) & 255);
    const auto result = Gunzip(Gzip(text), static_cast<int64_t>(size));
    ASSERT_TRUE(result.ok()) << size << ": " << result.status();
    EXPECT_EQ(*result, text) << size;
  }
}

TEST(GunzipTest, JoinsMembersAndSkipsPadding) {
  const std::string padded = Gzip("one ") + Gzip("") + Gzip("two") + std::string(100, '\0');
  const auto text = Gunzip(padded, kPlenty);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "one two");
}

TEST(GunzipTest, StopsAtTheLimit) {
  const std::string bomb = Gzip(std::string(10'000'000, 'a'));
  EXPECT_LT(bomb.size(), 20'000u);
  EXPECT_TRUE(absl::IsResourceExhausted(Gunzip(bomb, 9'999'999).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Gunzip(bomb, 0).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Gunzip(bomb, -1).status()));
  EXPECT_TRUE(Gunzip(bomb, 10'000'000).ok());
  const std::string members = Gzip("12345") + Gzip("67890");
  EXPECT_TRUE(absl::IsResourceExhausted(Gunzip(members, 9).status()));
  EXPECT_TRUE(Gunzip(members, 10).ok());
}

TEST(GunzipTest, RefusesEveryTruncation) {
  const std::string bytes = Gzip("some text that is long enough to be compressed, compressed");
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto result = Gunzip(std::string_view(bytes).substr(0, size), kPlenty);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << size;
  }
}

TEST(GunzipTest, NamesDamage) {
  std::string bytes = Gzip("some text");
  bytes[bytes.size() - 6] ^= 1;  // the check sum
  EXPECT_THAT(std::string(Gunzip(bytes, kPlenty).status().message()), HasSubstr("damaged"));
  EXPECT_THAT(std::string(Gunzip("plain", kPlenty).status().message()), HasSubstr("not a gzip"));
  EXPECT_THAT(std::string(Gunzip(Gzip("a") + "tail", kPlenty).status().message()),
              HasSubstr("no gzip member"));
  EXPECT_FALSE(IsGzip(""));
  EXPECT_FALSE(IsGzip("\x1f"));
}

}  // namespace
}  // namespace thresher
