#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/formats/npz.h"
#include "core/formats/safetensors.h"
#include "core/model_files/model_file.h"
#include "tests/core/model_files/models.h"

namespace thresher {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMaxBytes = int64_t{1} << 24;

NpyArray Floats(std::vector<int64_t> shape, std::vector<float> values) {
  return {.shape = std::move(shape), .values = std::move(values)};
}
NpyArray Text(std::string text) {
  return {.shape = {}, .values = std::vector<std::string>{std::move(text)}};
}

// Of 2 inputs, 2 units, 1 output: f(x) = 3 (x_0 + 2 x_1 - 1)_+ + 5 (-x_0)_+ + 7, in the order of
// `names`: hidden weight and bias, output weight and bias.
std::vector<NamedArray> SmallNetwork(const std::vector<std::string>& names) {
  return {{names[0], Floats({2, 2}, {1, 2, -1, 0})},
          {names[1], Floats({2}, {-1, 0})},
          {names[2], Floats({1, 2}, {3, 5})},
          {names[3], Floats({1}, {7})}};
}

absl::StatusOr<Model> Read(std::vector<NamedArray> tensors,
                           std::map<std::string, std::string> metadata = {}) {
  return ReadSafetensorsModel(
      SerializeSafetensors({.metadata = std::move(metadata), .tensors = std::move(tensors)}));
}

void ExpectSmallNetwork(const absl::StatusOr<Model>& model) {
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(OutputsOf(*model, {1, 1, -2, 0, 0, 0.25}), ::testing::ElementsAre(13, 17, 7));
}

std::string MessageOf(const absl::StatusOr<Model>& model) {
  EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << model.status();
  return std::string(model.status().message());
}

TEST(NamedLayersTest, TakesTheNamesOfPyTorch) {
  ExpectSmallNetwork(
      Read(SmallNetwork({"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"})));
  ExpectSmallNetwork(Read(SmallNetwork({"0.weight", "0.bias", "2.weight", "2.bias"})));
  ExpectSmallNetwork(
      Read(SmallNetwork({"net.fc9.weight", "net.fc9.bias", "net.fc10.weight", "net.fc10.bias"})));
  ExpectSmallNetwork(Read(SmallNetwork({"body.weight", "body.bias", "head.weight", "head.bias"})));
}

TEST(NamedLayersTest, NumbersDecideOverTheFilesOrder) {
  std::vector<NamedArray> tensors =
      SmallNetwork({"fc2.weight", "fc2.bias", "fc10.weight", "fc10.bias"});
  std::reverse(tensors.begin(), tensors.end());
  ExpectSmallNetwork(Read(tensors));
}

TEST(NamedLayersTest, AnOrderThatOnlyTheFileGivesIsTaken) {
  // By name the output would come first, which its shape forbids.
  ExpectSmallNetwork(Read(SmallNetwork({"z.weight", "z.bias", "a.weight", "a.bias"})));
}

TEST(NamedLayersTest, AnOrderThatIsNotClearIsRefused) {
  const std::vector<NamedArray> tensors = {{"one.weight", Floats({2, 2}, {1, 2, 3, 4})},
                                           {"a.weight", Floats({2, 2}, {1, 2, 3, 4})}};
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'a.weight'"));
  EXPECT_TRUE(Read(tensors, {{"layers", "[\"one\", \"a\"]"}}).ok());
}

TEST(NamedLayersTest, ErrorsNameTheTensor) {
  const std::vector<std::string> names = {"0.weight", "0.bias", "1.weight", "1.bias"};
  std::vector<NamedArray> tensors = SmallNetwork(names);
  tensors[2].array = Floats({1, 3}, {1, 2, 3});
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'1.weight'"));

  tensors = SmallNetwork(names);
  tensors[1].array = Floats({3}, {1, 2, 3});
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'0.bias'"));

  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    tensors = SmallNetwork(names);
    std::get<std::vector<float>>(tensors[2].array.values)[1] = value;
    EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'1.weight': entry 1"));
  }

  tensors = SmallNetwork(names);
  tensors.push_back({"norm.running_mean", Floats({2}, {1, 1})});
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'norm.running_mean'"));

  tensors = SmallNetwork(names);
  tensors.push_back({"conv.weight", Floats({1, 1, 1, 1}, {1})});
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'conv.weight'"));

  tensors = SmallNetwork(names);
  tensors.erase(tensors.begin());
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("'0.bias'"));

  tensors = SmallNetwork(names);
  tensors.resize(2);
  EXPECT_THAT(MessageOf(Read(tensors)), HasSubstr("layers"));
  EXPECT_THAT(MessageOf(Read({})), HasSubstr("layers"));
}

TEST(NamedLayersTest, PlainNpzArchivesAreTaken) {
  NpzArchive archive;
  for (const NamedArray& tensor : SmallNetwork({"a.weight", "a.bias", "b.weight", "b.bias"})) {
    archive[tensor.name] = tensor.array;
  }
  ExpectSmallNetwork(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes));
  archive["description"] = Text(R"({"layers": ["a", "b"], "class_names": ["low", "high"]})");
  const auto model = ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes);
  ExpectSmallNetwork(model);
  EXPECT_THAT(model->class_names, ::testing::ElementsAre("low", "high"));
  for (const auto& [description, word] :
       {std::pair(R"({"layers": ["b"]})", "layers"), std::pair(R"({"layers": 3})", "layers"),
        std::pair(R"({"layer": []})", "'layer'"), std::pair("[", "description"),
        std::pair(R"({"class_names": ["x"]})", "class_names")}) {
    archive["description"] = Text(description);
    EXPECT_THAT(MessageOf(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes)),
                HasSubstr(word));
  }
}

TEST(NamedLayersTest, SparseLayersOfNpzArchivesAreTaken) {
  NpzArchive archive;
  for (const NamedArray& tensor : SmallNetwork({"a.weight", "a.bias", "b.weight", "b.bias"})) {
    if (tensor.name != "a.weight") archive[tensor.name] = tensor.array;
  }
  archive["a.weight.data"] = Floats({3}, {1, 2, -1});
  archive["a.weight.indices"] = {.shape = {3}, .values = std::vector<int32_t>{0, 1, 0}};
  archive["a.weight.indptr"] = {.shape = {3}, .values = std::vector<int32_t>{0, 2, 3}};
  archive["a.weight.shape"] = {.shape = {2}, .values = std::vector<int64_t>{2, 2}};
  ExpectSmallNetwork(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes));

  for (const auto& indices : {std::vector<int32_t>{0, 2, 0}, std::vector<int32_t>{1, 0, 0},
                              std::vector<int32_t>{-1, 1, 0}, std::vector<int32_t>{0, 1}}) {
    archive["a.weight.indices"] = {.shape = {static_cast<int64_t>(indices.size())},
                                   .values = indices};
    EXPECT_THAT(MessageOf(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes)),
                HasSubstr("a.weight.indices"));
  }
  archive["a.weight.shape"] = {.shape = {2}, .values = std::vector<int64_t>{int64_t{1} << 60, 2}};
  EXPECT_THAT(MessageOf(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes)),
              HasSubstr("a.weight.shape"));
  archive.erase("a.weight.shape");
  EXPECT_THAT(MessageOf(ReadNpzModelFile(SerializeNpz(archive).value(), kMaxBytes)),
              HasSubstr("a.weight.shape"));
}

TEST(NamedLayersTest, ModelArchivesAreStillRead) {
  const Model model = FusedModel(3);
  EXPECT_EQ(ReadNpzModelFile(WriteModelNpz(model).value(), kMaxBytes).value(), model);
}

}  // namespace
}  // namespace thresher
