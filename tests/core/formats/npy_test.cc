#include "core/formats/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 30;

// A file built by hand: prefix of the version, then header and data as they are.
std::string File(const std::string& header, const std::string& data, int major = 1) {
  std::string bytes("\x93NUMPY");
  bytes += static_cast<char>(major);
  bytes += '\0';
  const size_t length_size = major == 1 ? 2 : 4;
  for (size_t k = 0; k < length_size; ++k) {
    bytes += static_cast<char>((header.size() >> (8 * k)) & 255);
  }
  return bytes + header + data;
}

std::string Header(const std::string& descr, const std::string& shape, bool fortran = false) {
  return absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", fortran ? "True" : "False",
                      ", 'shape': ", shape, ", }\n");
}

template <typename T>
std::string Bytes(std::vector<T> values, bool big_endian = false) {
  std::string bytes;
  for (const T& value : values) {
    char item[sizeof(T)];
    std::memcpy(item, &value, sizeof(T));
    if (big_endian) std::reverse(item, item + sizeof(T));
    bytes.append(item, sizeof(T));
  }
  return bytes;
}

std::string Error(const std::string& bytes) {
  const auto array = ParseNpy(bytes, kPlenty);
  EXPECT_TRUE(absl::IsInvalidArgument(array.status())) << array.status();
  return std::string(array.status().message());
}

TEST(ParseNpyTest, ReadsWhatNumPyWrites) {
  // numpy.save of numpy.asfortranarray(numpy.arange(6, dtype=">i4").reshape(2, 3))
  const std::string bytes =
      absl::StrCat(absl::HexStringToBytes(
                       "934e554d5059010076007b276465736372273a20273e6934272c2027666f727472616e"
                       "5f6f72646572273a20547275652c20277368617065273a2028322c2033292c207d"),
                   std::string(59, ' '), "\n",
                   absl::HexStringToBytes("000000000000000300000001000000040000000200000005"));
  const auto array = ParseNpy(bytes, kPlenty);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_THAT(std::get<std::vector<int32_t>>(array->values), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(ParseNpyTest, ReadsEveryVersionTypeAndByteOrder) {
  for (const int version : {1, 2, 3}) {
    for (const bool big : {false, true}) {
      const std::string order = big ? ">" : "<";
      const auto f4 = ParseNpy(
          File(Header(order + "f4", "(2,)"), Bytes<float>({1.5f, -2}, big), version), kPlenty);
      ASSERT_TRUE(f4.ok()) << f4.status();
      EXPECT_THAT(std::get<std::vector<float>>(f4->values), ElementsAre(1.5f, -2));
      const auto f8 = ParseNpy(
          File(Header(order + "f8", "(2,)"), Bytes<double>({1e300, -2}, big), version), kPlenty);
      ASSERT_TRUE(f8.ok()) << f8.status();
      EXPECT_THAT(std::get<std::vector<double>>(f8->values), ElementsAre(1e300, -2));
      const auto i8 =
          ParseNpy(File(Header(order + "i8", "(2,)"),
                        Bytes<int64_t>({std::numeric_limits<int64_t>::min(), 7}, big), version),
                   kPlenty);
      ASSERT_TRUE(i8.ok()) << i8.status();
      EXPECT_THAT(std::get<std::vector<int64_t>>(i8->values),
                  ElementsAre(std::numeric_limits<int64_t>::min(), 7));
      const auto u2 = ParseNpy(
          File(Header(order + "u2", "(1,)"), Bytes<uint16_t>({65535}, big), version), kPlenty);
      ASSERT_TRUE(u2.ok()) << u2.status();
      EXPECT_THAT(std::get<std::vector<int32_t>>(u2->values), ElementsAre(65535));
      const auto u4 =
          ParseNpy(File(Header(order + "u4", "(1,)"), Bytes<uint32_t>({4294967295u}, big), version),
                   kPlenty);
      ASSERT_TRUE(u4.ok()) << u4.status();
      EXPECT_THAT(std::get<std::vector<int64_t>>(u4->values), ElementsAre(4294967295));
    }
  }
  const auto i4 = ParseNpy(File(Header("=i4", "(1,)"), Bytes<int32_t>({-5})), kPlenty);
  ASSERT_TRUE(i4.ok()) << i4.status();
  EXPECT_THAT(std::get<std::vector<int32_t>>(i4->values), ElementsAre(-5));
  for (const char* descr : {"|u1", "|b1", "<u1"}) {
    const auto u1 = ParseNpy(File(Header(descr, "(2,)"), std::string("\x01\x00", 2)), kPlenty);
    ASSERT_TRUE(u1.ok()) << u1.status();
    EXPECT_THAT(std::get<std::vector<uint8_t>>(u1->values), ElementsAre(1, 0));
  }
  const auto i1 = ParseNpy(File(Header("|i1", "(1,)"), "\xff"), kPlenty);
  ASSERT_TRUE(i1.ok()) << i1.status();
  EXPECT_THAT(std::get<std::vector<int32_t>>(i1->values), ElementsAre(-1));
}

TEST(ParseNpyTest, ReadsHalfPrecision) {
  // 1, -2, largest, smallest subnormal, infinity
  const auto array = ParseNpy(
      File(Header("<f2", "(5,)"), Bytes<uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00})),
      kPlenty);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(
      std::get<std::vector<float>>(array->values),
      ElementsAre(1, -2, 65504, std::ldexp(1.0f, -24), std::numeric_limits<float>::infinity()));
}

TEST(ParseNpyTest, ReadsText) {
  const auto bytes = ParseNpy(File(Header("|S3", "(2,)"), std::string("ab\0cde", 6)), kPlenty);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_THAT(std::get<std::vector<std::string>>(bytes->values), ElementsAre("ab", "cde"));
  for (const bool big : {false, true}) {
    const auto text = ParseNpy(File(Header(big ? ">U3" : "<U3", "(2,)"),
                                    Bytes<uint32_t>({'k', 0xE4, 0, 0x1F600, 0x20AC, 'z'}, big)),
                               kPlenty);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_THAT(std::get<std::vector<std::string>>(text->values),
                ElementsAre("k\xC3\xA4", "\xF0\x9F\x98\x80\xE2\x82\xACz"));
  }
  EXPECT_THAT(Error(File(Header("<U1", "(1,)"), Bytes<uint32_t>({0x110000}))),
              HasSubstr("code point"));
  EXPECT_THAT(Error(File(Header("<U1", "(1,)"), Bytes<uint32_t>({0xD800}))),
              HasSubstr("code point"));
}

TEST(ParseNpyTest, FortranOrderAgreesWithIndexArithmetic) {
  // a[i][j][k] = 100 i + 10 j + k, stored with i running fastest.
  const int extents[3] = {2, 3, 4};
  std::vector<float> stored;
  for (int k = 0; k < extents[2]; ++k) {
    for (int j = 0; j < extents[1]; ++j) {
      for (int i = 0; i < extents[0]; ++i) stored.push_back(100.0f * i + 10.0f * j + k);
    }
  }
  const auto array = ParseNpy(File(Header("<f4", "(2, 3, 4)", true), Bytes(stored)), kPlenty);
  ASSERT_TRUE(array.ok()) << array.status();
  const auto& values = std::get<std::vector<float>>(array->values);
  ASSERT_EQ(values.size(), 24u);
  for (int i = 0; i < extents[0]; ++i) {
    for (int j = 0; j < extents[1]; ++j) {
      for (int k = 0; k < extents[2]; ++k) {
        EXPECT_EQ(values[(i * 3 + j) * 4 + k], 100.0f * i + 10.0f * j + k);
      }
    }
  }
}

TEST(ParseNpyTest, ReadsScalarsAndEmptyArrays) {
  const auto scalar = ParseNpy(File(Header("<f8", "()"), Bytes<double>({2.5})), kPlenty);
  ASSERT_TRUE(scalar.ok()) << scalar.status();
  EXPECT_EQ(scalar->size(), 1);
  EXPECT_TRUE(scalar->shape.empty());
  for (const char* shape : {"(0,)", "(0, 5)", "(5, 0, 9223372036854775807)"}) {
    for (const bool fortran : {false, true}) {
      const auto empty = ParseNpy(File(Header("<f8", shape, fortran), ""), kPlenty);
      ASSERT_TRUE(empty.ok()) << empty.status();
      EXPECT_EQ(empty->size(), 0);
    }
  }
}

TEST(ParseNpyTest, ReadsHeadersInOtherSpellings) {
  // Keys in another order, double quotes, Python 2's long integers, no final comma.
  const auto array = ParseNpy(
      File("{\"shape\": (2L, 1L), 'fortran_order':False,'descr':'<i4'}  ", Bytes<int32_t>({3, 4})),
      kPlenty);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->shape, ElementsAre(2, 1));
}

TEST(ParseNpyTest, RefusesWhatIsNoHeader) {
  const std::string data = Bytes<int32_t>({3});
  EXPECT_THAT(Error(File("", data)), HasSubstr("expected '{'"));
  EXPECT_THAT(Error(File("{", data)), HasSubstr("expected"));
  EXPECT_THAT(Error(File("{}", data)), HasSubstr("must all be there"));
  EXPECT_THAT(Error(File("{'descr': '<i4', 'fortran_order': False}", data)),
              HasSubstr("must all be there"));
  EXPECT_THAT(Error(File("{'descr': '<i4', 'descr': '<i4'}", data)), HasSubstr("repeated key"));
  EXPECT_THAT(Error(File("{'surprise': 1}", data)), HasSubstr("'surprise'"));
  EXPECT_THAT(Error(File("{'descr': '<i4", data)), HasSubstr("expected"));
  EXPECT_THAT(Error(File("{'descr' '<i4'}", data)), HasSubstr("expected ':'"));
  EXPECT_THAT(Error(File("{'descr': __import__('os').system('true')}", data)),
              HasSubstr("expected a quoted dtype"));
  EXPECT_THAT(Error(File(Header("<i4", "(1,)") + "x", data)), HasSubstr("only spaces"));
  EXPECT_THAT(Error(File(Header("<i4", "(1)"), data)), HasSubstr("expected ','"));
  EXPECT_THAT(Error(File(Header("<i4", "(-1,)"), data)), HasSubstr("expected a number"));
  EXPECT_THAT(Error(File(Header("<i4", "(1.0,)"), data)), HasSubstr("expected"));
  EXPECT_THAT(Error(File(Header("<i4", "[1]"), data)), HasSubstr("expected '('"));
  EXPECT_THAT(Error(File("{'fortran_order': 0}", data)), HasSubstr("True or False"));
  std::string deep = "(";
  for (int k = 0; k < 33; ++k) deep += "1, ";
  EXPECT_THAT(Error(File(Header("<i4", deep + ")"), data)), HasSubstr("32 dimensions"));
}

TEST(ParseNpyTest, RefusesTypesThatAreNoNumbers) {
  EXPECT_THAT(Error(File(Header("|O", "(1,)"), "")), HasSubstr("pickled"));
  EXPECT_THAT(Error(File(Header("O", "(1,)"), "")), HasSubstr("pickled"));
  EXPECT_THAT(Error(File("{'descr': [('a', '<f4')]}", "")), HasSubstr("structured"));
  for (const char* descr : {"", "<", "<f", "<f3", "<f16", "<c8", "|V4", "<M8[ns]", "<m8", "|S0",
                            "|f4", "f8", "|U4", "<U0", "<i999999999999999999999", "<i-4", "|b2"}) {
    EXPECT_THAT(Error(File(Header(descr, "(1,)"), "xxxx")), HasSubstr("not supported")) << descr;
  }
}

TEST(ParseNpyTest, RefusesSizesThatDoNotFit) {
  // The product overflows 64 bits, or only exceeds the limit; nothing is allocated.
  for (const char* shape : {"(4294967296, 4294967296)", "(3037000500, 3037000500)",
                            "(9223372036854775807,)", "(268435457,)"}) {
    EXPECT_TRUE(
        absl::IsResourceExhausted(ParseNpy(File(Header("<f4", shape), ""), kPlenty).status()))
        << shape;
  }
  EXPECT_THAT(Error(File(Header("<f4", "(99999999999999999999,)"), "")), HasSubstr("too large"));
  // Short strings take far more memory than bytes in the file.
  EXPECT_TRUE(absl::IsResourceExhausted(
      ParseNpy(File(Header("|S1", "(100,)"), std::string(100, 'a')), 1000).status()));
  const std::string four = File(Header("<f4", "(4,)"), std::string(16, '\0'));
  EXPECT_TRUE(ParseNpy(four, 16).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ParseNpy(four, 15).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseNpy(four, -1).status()));
}

TEST(ParseNpyTest, RefusesTruncationAndTrailingBytes) {
  const std::string bytes = File(Header("<f4", "(2, 2)"), std::string(16, '\0'));
  ASSERT_TRUE(ParseNpy(bytes, kPlenty).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseNpy(bytes.substr(0, size), kPlenty).status()));
  }
  EXPECT_THAT(Error(bytes + "x"), HasSubstr("trailing bytes"));
  EXPECT_THAT(Error(File(Header("<f4", "(1,)"), "1234", 4)), HasSubstr("version 4.0"));
  EXPECT_THAT(Error(File(Header("<f4", "(1,)"), "1234", 0)), HasSubstr("version 0.0"));
  EXPECT_THAT(Error(File(Header("<f4", "(1,)") + std::string(70000, ' '), "1234", 2)),
              HasSubstr("longer than"));
}

TEST(SerializeNpyTest, RoundTripsEveryType) {
  const std::vector<NpyArray> arrays = {
      {.shape = {2, 2}, .values = std::vector<float>{1, -0.0f, 3e38f, 1e-45f}},
      {.shape = {}, .values = std::vector<double>{M_PI}},
      {.shape = {1, 1, 3}, .values = std::vector<uint8_t>{0, 128, 255}},
      {.shape = {2}, .values = std::vector<int32_t>{-2147483647 - 1, 2147483647}},
      {.shape = {1}, .values = std::vector<int64_t>{std::numeric_limits<int64_t>::min()}},
      {.shape = {0, 7}, .values = std::vector<float>{}},
      {.shape = {3}, .values = std::vector<std::string>{"", "csr", "longer text"}},
      {.shape = {}, .values = std::vector<std::string>{""}},
  };
  for (const NpyArray& array : arrays) {
    const std::string bytes = SerializeNpy(array);
    // NumPy aligns the data.
    const size_t header_size =
        static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
    EXPECT_EQ((10 + header_size) % 64, 0u);
    EXPECT_EQ(bytes[9 + header_size], '\n');
    const auto parsed = ParseNpy(bytes, kPlenty);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->shape, array.shape);
    EXPECT_EQ(parsed->values, array.values);
  }
}

TEST(SerializeNpyTest, WritesNumPysBytes) {
  // numpy.save of numpy.array(b"")
  EXPECT_EQ(SerializeNpy({.shape = {}, .values = std::vector<std::string>{""}}),
            absl::StrCat(std::string("\x93NUMPY\x01\x00v\x00", 10),
                         "{'descr': '|S1', 'fortran_order': False, 'shape': (), }",
                         std::string(62, ' '), "\n", std::string(1, '\0')));
}

TEST(ConversionTest, GivesNumbersOrSaysWhyNot) {
  const NpyArray bytes{.shape = {2}, .values = std::vector<uint8_t>{0, 255}};
  EXPECT_THAT(*ToDoubles(bytes), ElementsAre(0, 255));
  EXPECT_THAT(*ToFloats(bytes), ElementsAre(0, 255));
  EXPECT_THAT(*ToIntegers(bytes), ElementsAre(0, 255));
  const NpyArray whole{.shape = {2}, .values = std::vector<double>{-3, 4}};
  EXPECT_THAT(*ToIntegers(whole), ElementsAre(-3, 4));
  for (const double value :
       {0.5, std::nan(""), std::numeric_limits<double>::infinity(), 9223372036854775808.0, -1e19}) {
    const NpyArray array{.shape = {1}, .values = std::vector<double>{value}};
    EXPECT_TRUE(absl::IsInvalidArgument(ToIntegers(array).status())) << value;
  }
  const NpyArray large{.shape = {2}, .values = std::vector<double>{1e300, -1e300}};
  EXPECT_THAT(*ToFloats(large), ElementsAre(std::numeric_limits<float>::infinity(),
                                            -std::numeric_limits<float>::infinity()));
  const NpyArray text{.shape = {1}, .values = std::vector<std::string>{"a"}};
  EXPECT_TRUE(absl::IsInvalidArgument(ToDoubles(text).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ToFloats(text).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ToIntegers(text).status()));
}

TEST(ParseNpyTest, RefusesUnsignedValuesBeyondInt64) {
  EXPECT_THAT(Error(File(Header("<u8", "(1,)"), std::string(8, '\xff'))), HasSubstr("2^63"));
}

}  // namespace
}  // namespace thresher
