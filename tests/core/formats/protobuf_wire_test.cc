#include "core/formats/protobuf_wire.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <string>

namespace thresher {
namespace {

TEST(ProtobufWireTest, ReadsWhatIsWritten) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{127}, uint64_t{128}, uint64_t{1} << 35,
                                std::numeric_limits<uint64_t>::max()}) {
    std::string message;
    AppendNumberField(1, number, message);
    AppendBytesField(200, std::string(300, 'a'), message);
    AppendFloatField(3, -1.5f, message);
    WireReader reader(message);
    ASSERT_TRUE(reader.Next());
    EXPECT_TRUE(reader.Is(1, WireType::kVarint));
    EXPECT_EQ(reader.number(), number);
    ASSERT_TRUE(reader.Next());
    EXPECT_TRUE(reader.Is(200, WireType::kBytes));
    EXPECT_EQ(reader.bytes(), std::string(300, 'a'));
    ASSERT_TRUE(reader.Next());
    EXPECT_TRUE(reader.Is(3, WireType::kFixed32));
    EXPECT_EQ(std::bit_cast<float>(static_cast<uint32_t>(reader.number())), -1.5f);
    EXPECT_FALSE(reader.Next());
    EXPECT_TRUE(reader.ok());
  }
}

// The examples of https://protobuf.dev/programming-guides/encoding.
TEST(ProtobufWireTest, AgreesWithThePublishedEncoding) {
  std::string message;
  AppendNumberField(1, 150, message);
  AppendBytesField(2, "testing", message);
  EXPECT_EQ(message, std::string("\x08\x96\x01\x12\x07testing"));
}

TEST(ProtobufWireTest, DamagedMessagesEndTheReading) {
  for (const std::string& message :
       {std::string("\x08"),
        std::string("\x0a\x05"
                    "abc"),
        std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),      // length 2^64 - 1
        std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),      // beyond 64 bits
        std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),  // eleven bytes
        std::string("\x0b"), std::string("\x0c"), std::string("\x0f"),    // groups, type 7
        std::string("\x00\x01", 2), std::string("\x0d\x01\x02\x03"), std::string("\x09\x01")}) {
    WireReader reader(message);
    EXPECT_FALSE(reader.Next());
    EXPECT_FALSE(reader.ok());
    EXPECT_FALSE(reader.Next());
  }
}

}  // namespace
}  // namespace thresher
