#include "core/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace thresher {
namespace {

using ::testing::HasSubstr;

std::string FileOf(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  for (size_t k = 0; k < 8; ++k) bytes[k] = static_cast<char>(header.size() >> (8 * k));
  return bytes + header + std::string(data_bytes, '\0');
}

std::string MessageOf(const std::string& bytes) {
  const auto file = ParseSafetensors(bytes);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
  return std::string(file.status().message());
}

TEST(SafetensorsTest, RoundTripsWithOrderAndMetadata) {
  SafetensorsFile file;
  file.metadata = {{"format", "pt"}, {"quoted", "\"\\\n\xC3\xA9"}};
  file.tensors = {
      {"z", {.shape = {3}, .values = std::vector<float>{1, -0.0f, 3e-45f}}},
      {"a", {.shape = {2, 1}, .values = std::vector<double>{1e300, 0.1}}},
      {"scalar", {.shape = {}, .values = std::vector<float>{7}}},
      {"empty", {.shape = {0, 4}, .values = std::vector<float>{}}},
  };
  const std::string bytes = SerializeSafetensors(file);
  const auto again = ParseSafetensors(bytes);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->metadata, file.metadata);
  ASSERT_EQ(again->tensors.size(), file.tensors.size());
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    EXPECT_EQ(again->tensors[i].name, file.tensors[i].name);
    EXPECT_EQ(again->tensors[i].array.shape, file.tensors[i].array.shape);
    EXPECT_EQ(again->tensors[i].array.values, file.tensors[i].array.values);
  }
  EXPECT_EQ(SerializeSafetensors(*again), bytes);
}

TEST(SafetensorsTest, TakesAFileOfAnotherWriter) {
  const std::string header = R"({"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   )";
  std::string bytes = FileOf(header, 8);
  const float two = 2;
  bytes.replace(bytes.size() - 4, 4, reinterpret_cast<const char*>(&two), 4);
  const auto file = ParseSafetensors(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(std::get<std::vector<float>>(file->tensors[0].array.values),
            (std::vector<float>{0, 2}));
}

TEST(SafetensorsTest, LiesAreRefusedWithTheTensorsName) {
  for (const auto& [entry, word] : std::vector<std::pair<std::string, std::string>>{
           {R"({"dtype":"F16","shape":[4],"data_offsets":[0,8]})", "F16"},
           {R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", "its shape needs"},
           {R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", "its shape"},
           {R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})", "its shape"},
           {R"({"dtype":"F32","shape":[2,0,9223372036854775807],"data_offsets":[0,8]})", "shape"},
           {R"({"dtype":"F32","shape":[-1],"data_offsets":[0,8]})", "negative"},
           {R"({"dtype":"F32","shape":[2.5],"data_offsets":[0,8]})", "not whole"},
           {R"({"dtype":"F32","shape":[2],"data_offsets":[4,8]})", "data_offsets"},
           {R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", "of which"},
           {R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", "data_offsets"},
           {R"({"dtype":"F32","shape":[2]})", "data_offsets"},
           {R"({"dtype":"F32","data_offsets":[0,8]})", "shape"},
           {R"({"shape":[2],"data_offsets":[0,8]})", "dtype"},
           {R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})", "too long"},
           {R"({"dtype":"F32","shape":[[2]],"data_offsets":[0,8]})", "list"},
           {R"({"dtype":"F32","more":{},"shape":[2],"data_offsets":[0,8]})", "object"},
           {R"([])", "list"},
           {R"(null)", "null"}}) {
    EXPECT_THAT(MessageOf(FileOf(R"({"w":)" + entry + "}", 8)), HasSubstr(word)) << entry;
  }
}

TEST(SafetensorsTest, SharedUnusedAndRepeatedBytesAreRefused) {
  const std::string one = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_THAT(MessageOf(FileOf("{" + one + "}", 12)), HasSubstr("12 bytes"));
  EXPECT_THAT(MessageOf(FileOf("{" + one + "," + one + "}", 8)), HasSubstr("'a': occurs twice"));
  const std::string other = R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})";
  EXPECT_THAT(MessageOf(FileOf("{" + one + "," + other + "}", 12)), HasSubstr("'b'"));
}

TEST(SafetensorsTest, HeadersThatLieAreRefused) {
  EXPECT_THAT(MessageOf(""), HasSubstr("8 bytes"));
  EXPECT_THAT(MessageOf(std::string(8, '\xff')), HasSubstr("header"));
  EXPECT_THAT(MessageOf(FileOf("{\"a\"", 0)), HasSubstr("JSON"));
  EXPECT_THAT(MessageOf(FileOf("7", 0)), HasSubstr("header"));
  EXPECT_THAT(MessageOf(FileOf(std::string(1'000'000, '['), 0)), HasSubstr("list"));
  std::string many = "{";
  for (int i = 0; i < 100'000; ++i) {
    many += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
            R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_THAT(MessageOf(FileOf(many + "}", 0)), HasSubstr("more than 4096"));
}

}  // namespace
}  // namespace thresher
