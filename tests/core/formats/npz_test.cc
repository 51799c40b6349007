#include "core/formats/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 30;

// numpy.savez(X=numpy.array([[1, 2], [3, 4]], dtype="<f4"), y=numpy.array([0, 1])): stored
// members with ZIP64 sizes in their local headers.
std::string NumPyStored() {
  return absl::HexStringToBytes(
      "504b0304140000000000000021004efb2075900000009000000005001400582e6e707901001000900000000000"
      "00009000000000000000934e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e"
      "5f6f72646572273a2046616c73652c20277368617065273a2028322c2032292c207d2020202020202020202020"
      "202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
      "20200a0000803f000000400000404000008040504b0304140000000000000021007e6afbc99000000090000000"
      "05001400792e6e70790100100090000000000000009000000000000000934e554d5059010076007b2764657363"
      "72273a20273c6938272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065273a2028"
      "322c292c207d202020202020202020202020202020202020202020202020202020202020202020202020202020"
      "2020202020202020202020202020202020202020200a00000000000000000100000000000000504b0102140314"
      "0000000000000021004efb20759000000090000000050000000000000000000000800100000000582e6e707950"
      "4b01021403140000000000000021007e6afbc990000000900000000500000000000000000000008001c7000000"
      "792e6e7079504b05060000000002000200660000008e0100000000");
}

// numpy.savez_compressed of the same arrays.
std::string NumPyCompressed() {
  return absl::HexStringToBytes(
      "504b0304140000000800000021004efb2075530000009000000005001400582e6e707901001000900000000000"
      "000053000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498"
      "179f5f94920a12774bcc294e058a17672416a402f91a463a0a469a3a0ab50a64032e0686067b060606072002e2"
      "060700504b0304140000000800000021007e6afbc9490000009000000005001400792e6e707901001000900000"
      "000000000049000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a1aea3a09e965f54"
      "529498179f5f94920a12774bcc294e058a17672416a402f91a463a9a3a0ab50a14002e06286084d200504b0102"
      "1403140000000800000021004efb20755300000090000000050000000000000000000000800100000000582e6e"
      "7079504b01021403140000000800000021007e6afbc9490000009000000005000000000000000000000080018a"
      "000000792e6e7079504b05060000000002000200660000000a0100000000");
}

// Written to a pipe by Python's zipfile: sizes stand behind the data.
std::string Streamed() {
  return absl::HexStringToBytes(
      "504b03041400080008005595765d00000000000000000000000005000000582e6e70799bec17ea1b10c9c850c650"
      "ad9e925a9c5ca46ea5a06e9366a1aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a"
      "863a9a3a0ab50a14002e0630f8610f00504b0708b35d021f4900000088000000504b010214031400080008005595"
      "765db35d021f4900000088000000050000000000000000000000800100000000582e6e7079504b05060000000001"
      "000100330000007c0000000000");
}

size_t CentralHeader(const std::string& bytes, int which = 0) {
  size_t at = bytes.find("PK\1\2");
  while (which-- > 0) at = bytes.find("PK\1\2", at + 1);
  return at;
}

std::string Error(const std::string& bytes) {
  const auto archive = ParseNpz(bytes, kPlenty);
  EXPECT_TRUE(absl::IsInvalidArgument(archive.status())) << archive.status();
  return std::string(archive.status().message());
}

TEST(ParseNpzTest, ReadsWhatNumPyWrites) {
  for (const std::string& bytes : {NumPyStored(), NumPyCompressed()}) {
    const auto archive = ParseNpz(bytes, kPlenty);
    ASSERT_TRUE(archive.ok()) << archive.status();
    ASSERT_EQ(archive->size(), 2u);
    EXPECT_THAT(archive->at("X").shape, ElementsAre(2, 2));
    EXPECT_THAT(std::get<std::vector<float>>(archive->at("X").values), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(std::get<std::vector<int64_t>>(archive->at("y").values), ElementsAre(0, 1));
  }
  const auto streamed = ParseNpz(Streamed(), kPlenty);
  ASSERT_TRUE(streamed.ok()) << streamed.status();
  EXPECT_THAT(std::get<std::vector<double>>(streamed->at("X").values), ElementsAre(1.5));
}

TEST(ParseNpzTest, RefusesEveryTruncation) {
  const std::string bytes = NumPyCompressed();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseNpz(bytes.substr(0, size), kPlenty).status())) << size;
  }
}

TEST(ParseNpzTest, NoFlippedBitGoesUnnoticed) {
  // A flip may hit a byte without meaning (a time stamp, an attribute); the arrays must then
  // be the same. Names carry no check sum.
  const auto expected = ParseNpz(NumPyCompressed(), kPlenty);
  ASSERT_TRUE(expected.ok());
  for (size_t at = 0; at < NumPyCompressed().size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = NumPyCompressed();
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      const auto archive = ParseNpz(bytes, kPlenty);
      if (!archive.ok() || !archive->contains("X") || !archive->contains("y")) continue;
      EXPECT_EQ(archive->at("X").values, expected->at("X").values) << at;
      EXPECT_EQ(archive->at("y").values, expected->at("y").values) << at;
    }
  }
}

TEST(ParseNpzTest, RefusesABombBeforeUnpackingIt) {
  const NpzArchive zeros = {{"a", {.shape = {1 << 20}, .values = std::vector<uint8_t>(1 << 20)}},
                            {"b", {.shape = {1 << 20}, .values = std::vector<uint8_t>(1 << 20)}}};
  const auto bytes = SerializeNpz(zeros);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LT(bytes->size(), 10'000u);
  EXPECT_TRUE(ParseNpz(*bytes, (2 << 20) + 256).ok());
  for (const int64_t limit :
       {int64_t{2} << 20, int64_t{1} << 20, int64_t{1000}, int64_t{0}, int64_t{-1}}) {
    const auto refused = ParseNpz(*bytes, limit).status();
    EXPECT_TRUE(absl::IsResourceExhausted(refused)) << limit << ": " << refused;
  }
}

TEST(ParseNpzTest, RefusesMembersLargerThanDeclared) {
  // Both the local and the central header claim 64 bytes for the member of 144.
  std::string bytes = Streamed();
  const size_t central = CentralHeader(bytes);
  bytes[central + 24] = 64;
  bytes[central - 4] = 64;  // in the record behind the data
  EXPECT_THAT(Error(bytes), HasSubstr("damaged"));
}

TEST(ParseNpzTest, RefusesEncryptedMembers) {
  std::string bytes = Streamed();
  bytes[6] |= 1;
  bytes[CentralHeader(bytes) + 8] |= 1;
  EXPECT_THAT(Error(bytes), HasSubstr("encrypted"));
}

TEST(ParseNpzTest, RefusesUnknownCompression) {
  std::string bytes = Streamed();
  bytes[8] = 12;
  bytes[CentralHeader(bytes) + 10] = 12;
  EXPECT_THAT(Error(bytes), HasSubstr("compression method 12"));
}

TEST(ParseNpzTest, RefusesRepeatedMembers) {
  std::string bytes = NumPyStored();
  const size_t local = bytes.find("y.npy");
  bytes[local] = 'X';
  bytes[CentralHeader(bytes, 1) + 46] = 'X';
  EXPECT_THAT(Error(bytes), HasSubstr("occurs more than once"));
}

TEST(ParseNpzTest, RefusesMembersThatAreNoArrays) {
  std::string bytes = NumPyStored();
  bytes[bytes.find("y.npy") + 4] = 'z';
  bytes[CentralHeader(bytes, 1) + 50] = 'z';
  EXPECT_THAT(Error(bytes), HasSubstr("'y.npz' is not an array"));
  EXPECT_THAT(Error("PK"), HasSubstr("not a readable npz"));
  EXPECT_THAT(Error("\x93NUMPY"), HasSubstr("must start with PK"));
}

TEST(ParseNpzTest, RefusesZip64EndRecords) {
  // An end record that claims 2^40 members would make a trusting reader allocate them.
  std::string bytes = NumPyStored();
  const size_t end = bytes.rfind("PK\5\6");
  std::string zip64("PK\6\6");
  zip64 += std::string("\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0", 20);
  zip64 += std::string("\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0", 16);
  zip64 += std::string(16, '\0');
  std::string locator("PK\6\7");
  locator += std::string(4, '\0');
  for (int k = 0; k < 8; ++k) locator += static_cast<char>((uint64_t{end} >> (8 * k)) & 255);
  locator += std::string("\1\0\0\0", 4);
  std::string end_record = bytes.substr(end);
  end_record.replace(8, 4, "\xff\xff\xff\xff");
  EXPECT_THAT(Error(bytes.substr(0, end) + zip64 + locator + end_record), HasSubstr("ZIP64"));
}

TEST(ParseNpzTest, NamesTheMemberWhoseArrayIsBad) {
  // 228 bytes unpacked, but a hundred strings in memory.
  const NpzArchive text = {
      {"labels", {.shape = {100}, .values = std::vector<std::string>(100, "x")}}};
  const auto written = SerializeNpz(text);
  ASSERT_TRUE(written.ok());
  const absl::Status refused = ParseNpz(*written, 1000).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("npz member 'labels'"));
}

TEST(SerializeNpzTest, RoundTripsAndRepeats) {
  NpzArchive archive;
  archive["weights"] = {.shape = {2, 3}, .values = std::vector<double>{1, 2, 3, 4, 5, 6}};
  archive["format"] = {.shape = {}, .values = std::vector<std::string>{"csr"}};
  archive["empty"] = {.shape = {0}, .values = std::vector<int32_t>{}};
  const auto bytes = SerializeNpz(archive);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto parsed = ParseNpz(*bytes, kPlenty);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), archive.size());
  for (const auto& [name, array] : archive) {
    EXPECT_EQ(parsed->at(name).shape, array.shape) << name;
    EXPECT_EQ(parsed->at(name).values, array.values) << name;
  }
  EXPECT_EQ(*bytes, *SerializeNpz(*parsed));
  // The time stamp of both headers is ZIP's first moment, wherever and whenever this runs.
  EXPECT_EQ(bytes->substr(10, 4), std::string("\x00\x00\x21\x00", 4));
}

TEST(SerializeNpzTest, WritesAnEmptyArchive) {
  const auto bytes = SerializeNpz({});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto parsed = ParseNpz(*bytes, kPlenty);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->empty());
}

}  // namespace
}  // namespace thresher
