#include "core/samples/read_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "core/formats/npy.h"
#include "core/formats/npz.h"
#include "core/samples/split.h"
#include "core/samples/unlabelled.h"

namespace thresher {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

template <typename T>
std::string Npy(std::vector<int64_t> shape, std::vector<T> values) {
  return SerializeNpy({.shape = std::move(shape), .values = std::move(values)});
}

std::string Npz(const NpzArchive& archive) {
  const auto bytes = SerializeNpz(archive);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return *bytes;
}

// A gzip file that stores the bytes as they are: header, one stored block each 65535 bytes,
// check sum and length.
std::string StoredGzip(const std::string& text) {
  std::string bytes("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
  bytes += '\x01';
  for (const size_t size : {text.size(), ~text.size()}) {
    bytes += static_cast<char>(size & 255);
    bytes += static_cast<char>(size >> 8 & 255);
  }
  bytes += text;
  uint32_t check = ~0u;
  for (const unsigned char byte : text) {
    check ^= byte;
    for (int k = 0; k < 8; ++k) check = check >> 1 ^ (check & 1 ? 0xEDB88320u : 0);
  }
  for (const uint32_t word : {~check, static_cast<uint32_t>(text.size())}) {
    for (const int shift : {0, 8, 16, 24}) bytes += static_cast<char>(word >> shift & 255);
  }
  return bytes;
}

Samples Read(const ReadOptions& options, const std::string& inputs,
             const std::string& targets = "") {
  auto samples = ReadSamples(options, inputs, targets);
  EXPECT_TRUE(samples.ok()) << samples.status();
  return samples.ok() ? *std::move(samples) : Samples{};
}

std::string Error(const ReadOptions& options, const std::string& inputs,
                  const std::string& targets = "") {
  const auto samples = ReadSamples(options, inputs, targets);
  EXPECT_TRUE(absl::IsInvalidArgument(samples.status())) << samples.status();
  return std::string(samples.status().message());
}

const std::string& Inputs() {
  static const std::string* const kInputs = new std::string(Npy<float>({3, 2}, {1, 2, 3, 4, 5, 6}));
  return *kInputs;
}

TEST(ReadSamplesTest, ReadsNpyOfEveryNumberType) {
  const std::vector<std::string> targets = {
      Npy<float>({3}, {7, 8, 9}), Npy<double>({3, 1}, {7, 8, 9}), Npy<uint8_t>({3}, {7, 8, 9}),
      Npy<int32_t>({3}, {7, 8, 9}), Npy<int64_t>({3}, {7, 8, 9})};
  for (const std::string& bytes : targets) {
    const Samples samples = Read({.format = FileFormat::kNpy}, Inputs(), bytes);
    EXPECT_EQ(samples.num_samples, 3);
    EXPECT_EQ(samples.num_inputs, 2);
    EXPECT_EQ(samples.num_outputs, 1);
    EXPECT_THAT(samples.inputs, ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(samples.targets, ElementsAre(7, 8, 9));
    EXPECT_TRUE(samples.class_names.empty());
  }
}

TEST(ReadSamplesTest, FlattensInputsAndKeepsSeveralOutputs) {
  const Samples images = Read({}, Npy<uint8_t>({2, 2, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
                              Npy<float>({2, 2}, {1, 2, 3, 4}));
  EXPECT_EQ(images.num_inputs, 6);
  EXPECT_EQ(images.num_outputs, 2);
  EXPECT_THAT(images.targets, ElementsAre(1, 2, 3, 4));
  const Samples column = Read({}, Npy<float>({3}, {1, 2, 3}), Npy<float>({3}, {1, 2, 3}));
  EXPECT_EQ(column.num_inputs, 1);
}

TEST(ReadSamplesTest, InputsMayComeAlone) {
  const std::string labels = Npy<float>({3}, {7, 8, 9});
  const auto archive = [&](const std::string& inputs, const std::string& targets) {
    return Npz({{inputs, *ParseNpy(Inputs(), 1 << 20)}, {targets, *ParseNpy(labels, 1 << 20)}});
  };
  const std::string alone = Npz({{"X", *ParseNpy(Inputs(), 1 << 20)}});
  const std::string table = "a,b\n1,2\n3,4\n5,6\n";
  for (const ScalingMode scaling :
       {ScalingMode::kNone, ScalingMode::kStandardise, ScalingMode::kUnitRange}) {
    const Samples npy = Read({.format = FileFormat::kNpy, .scaling = scaling}, Inputs(), "");
    EXPECT_EQ(npy.num_samples, 3);
    EXPECT_EQ(npy.num_inputs, 2);
    EXPECT_EQ(npy.num_outputs, 0);
    EXPECT_TRUE(npy.targets.empty());
    EXPECT_TRUE(ValidateLabelledOrNot(npy).ok());
    EXPECT_THAT(std::string(ValidateSamples(npy).message()), StartsWith("num_outputs:"));
    const Samples npz = Read({.format = FileFormat::kNpz, .scaling = scaling}, alone);
    const Samples csv = Read({.format = FileFormat::kCsv, .scaling = scaling}, table);
    for (const Samples* other : {&npz, &csv}) {
      EXPECT_EQ(other->num_outputs, 0);
      EXPECT_EQ(other->inputs, npy.inputs);
      EXPECT_EQ(other->scaling, npy.scaling);
    }
    const auto parts = Split(npy, 0.34, 1);
    ASSERT_TRUE(parts.ok()) << parts.status();
    EXPECT_EQ(parts->training.num_samples, 2);
    EXPECT_EQ(parts->held_out.num_outputs, 0);
  }
  // What was named or may be meant is not passed over.
  EXPECT_THAT(Error({.format = FileFormat::kNpz}, archive("X", "Y")),
              StartsWith("targets_member:"));
  EXPECT_THAT(Error({.format = FileFormat::kNpz, .targets_member = "t"}, alone),
              StartsWith("targets_member:"));
  for (const FileFormat format : {FileFormat::kNpy, FileFormat::kNpz, FileFormat::kCsv}) {
    const std::string& bytes = format == FileFormat::kNpy   ? Inputs()
                               : format == FileFormat::kNpz ? alone
                                                            : table;
    EXPECT_THAT(Error({.format = format, .targets_are_classes = true}, bytes),
                StartsWith("target"));
  }
}

TEST(ReadSamplesTest, EveryFormatMayBeGzipped) {
  const std::string targets = Npy<float>({3}, {7, 8, 9});
  const Samples plain = Read({}, Inputs(), targets);
  EXPECT_EQ(Read({}, StoredGzip(Inputs()), targets).inputs, plain.inputs);
  EXPECT_EQ(Read({}, Inputs(), StoredGzip(targets)).targets, plain.targets);
  const std::string npz =
      Npz({{"X", *ParseNpy(Inputs(), 1 << 20)}, {"y", *ParseNpy(targets, 1 << 20)}});
  EXPECT_EQ(Read({.format = FileFormat::kNpz}, StoredGzip(npz)).inputs, plain.inputs);
  EXPECT_EQ(Read({.format = FileFormat::kCsv, .target_columns = {"y"}},
                 StoredGzip("a,b,y\n1,2,7\n3,4,8\n5,6,9\n"))
                .inputs,
            plain.inputs);
  const std::string idx_inputs("\0\0\x08\x02\0\0\0\x03\0\0\0\x02\x01\x02\x03\x04\x05\x06", 18);
  const std::string idx_targets("\0\0\x08\x01\0\0\0\x03\x07\x08\x09", 11);
  const Samples idx =
      Read({.format = FileFormat::kIdx}, StoredGzip(idx_inputs), StoredGzip(idx_targets));
  EXPECT_EQ(idx.inputs, plain.inputs);
  EXPECT_EQ(idx.targets, plain.targets);
  std::string damaged = StoredGzip(Inputs());
  damaged[damaged.size() - 7] ^= 1;
  EXPECT_THAT(Error({}, damaged, targets), StartsWith("inputs: gzip data"));
}

TEST(ReadSamplesTest, ReadsMembersOfNpz) {
  const NpyArray inputs = *ParseNpy(Inputs(), 1 << 20);
  const NpyArray targets{.shape = {3}, .values = std::vector<double>{7, 8, 9}};
  ReadOptions options{.format = FileFormat::kNpz};
  EXPECT_THAT(Read(options, Npz({{"X", inputs}, {"y", targets}})).targets, ElementsAre(7, 8, 9));
  const std::string renamed = Npz({{"images", inputs}, {"labels", targets}});
  EXPECT_THAT(Error(options, renamed),
              HasSubstr("no member 'X'; its members are 'images', 'labels'"));
  options.inputs_member = "images";
  EXPECT_THAT(Error(options, renamed), StartsWith("targets_member:"));
  options.targets_member = "labels";
  EXPECT_THAT(Read(options, renamed).targets, ElementsAre(7, 8, 9));
  options.targets_member = "images";
  EXPECT_THAT(Error(options, renamed), StartsWith("targets_member: must differ"));
}

TEST(ReadSamplesTest, ReadsClassesFromEveryFormat) {
  ReadOptions options{.format = FileFormat::kNpy, .targets_are_classes = true};
  for (const std::string& targets :
       {Npy<uint8_t>({3}, {1, 0, 1}), Npy<int64_t>({3, 1}, {1, 0, 1}), Npy<double>({3}, {1, 0, 1}),
        Npy<std::string>({3}, {"1", "0", "1"})}) {
    const Samples samples = Read(options, Inputs(), targets);
    EXPECT_THAT(samples.class_names, ElementsAre("0", "1"));
    EXPECT_THAT(samples.targets, ElementsAre(1, 0, 1));
  }
  EXPECT_THAT(Error(options, Inputs(), Npy<double>({3}, {1, 0, std::nan("")})),
              StartsWith("targets: the class label in row 2"));
  EXPECT_THAT(Error(options, Inputs(), Npy<int32_t>({3, 2}, {1, 0, 1, 0, 1, 0})),
              HasSubstr("must be (n,) for class labels"));
  options.classes = {"1", "0"};
  EXPECT_THAT(Read(options, Inputs(), Npy<uint8_t>({3}, {1, 0, 5})).targets, ElementsAre(0, 1));
  options = {.format = FileFormat::kCsv, .target_columns = {"kind"}, .targets_are_classes = true};
  const Samples table = Read(options, "a,kind\n1,rose\n2,lily\n3,\"tulip, red\"\n");
  EXPECT_THAT(table.class_names, ElementsAre("lily", "rose", "tulip, red"));
  EXPECT_THAT(table.targets, ElementsAre(0, 1, 0, 1, 0, 0, 0, 0, 1));
}

TEST(ReadSamplesTest, ClassLabelsOfArraysAreText) {
  // |S2 of Latin-1, which text of our own never is.
  std::string targets = Npy<std::string>({2}, {"ab", "cd"});
  const size_t at = targets.find("ab");
  ASSERT_NE(at, std::string::npos);
  targets[at] = '\xE9';
  EXPECT_THAT(Error({.format = FileFormat::kNpy, .targets_are_classes = true},
                    Npy<float>({2, 1}, {1, 2}), targets),
              AllOf(StartsWith("targets: the class label in row 0"), HasSubstr("UTF-8")));
}

TEST(ReadSamplesTest, ClassesNeedClassTargets) {
  EXPECT_THAT(Error({.classes = {"0", "1"}}, Inputs(), Npy<float>({3}, {0, 1, 0})),
              StartsWith("classes:"));
}

TEST(ReadSamplesTest, Scales) {
  const Samples samples =
      Read({.scaling = ScalingMode::kUnitRange}, Inputs(), Npy<float>({3}, {1, 2, 3}));
  EXPECT_FLOAT_EQ(samples.inputs[5], 1);
  EXPECT_THAT(samples.scaling.input_scale, ElementsAre(6, 6));
}

TEST(ReadSamplesTest, NamesTheFieldThatIsWrong) {
  const std::string targets = Npy<float>({3}, {7, 8, 9});
  EXPECT_THAT(Error({}, "", targets), StartsWith("inputs: no bytes"));
  EXPECT_THAT(Error({}, "garbage", targets), StartsWith("inputs: not an npy file"));
  EXPECT_THAT(Error({.format = FileFormat::kIdx}, "garbage", targets),
              StartsWith("inputs: not an IDX"));
  EXPECT_THAT(Error({.format = FileFormat::kNpz}, "garbage"),
              StartsWith("inputs: not a readable npz"));
  EXPECT_THAT(Error({.format = FileFormat::kNpz}, "PK", "x"), StartsWith("targets: must be empty"));
  EXPECT_THAT(Error({.format = FileFormat::kCsv}, ""), StartsWith("inputs: no bytes"));
  EXPECT_THAT(Error({}, Inputs(), Npy<float>({2}, {1, 2})),
              HasSubstr("has 2 rows, inputs of shape (3, 2) have 3"));
  EXPECT_THAT(Error({}, Npy<float>({}, {1}), targets), StartsWith("inputs: a single number"));
  EXPECT_THAT(Error({}, Inputs(), Npy<float>({}, {1})), StartsWith("targets: a single number"));
  EXPECT_THAT(Error({}, Npy<float>({0, 2}, {}), targets), HasSubstr("is empty"));
  EXPECT_THAT(Error({}, Npy<float>({3, 0}, {}), targets), HasSubstr("is empty"));
  EXPECT_THAT(Error({}, Inputs(), Npy<float>({3, 0}, {})), HasSubstr("k of at least 1"));
  EXPECT_THAT(Error({}, Inputs(), Npy<float>({3, 1, 1}, {1, 2, 3})), StartsWith("targets: shape"));
  EXPECT_THAT(Error({}, Npy<std::string>({3}, {"a", "b", "c"}), targets),
              StartsWith("inputs: expected numbers"));
  EXPECT_THAT(Error({}, Inputs(), Npy<double>({3}, {1, 1e300, 2})),
              HasSubstr("targets: entry 1 (from 0), 1e+300, is beyond the range of float32"));
  EXPECT_THAT(Error({}, Npy<double>({3, 1}, {1, std::nan(""), 2}), targets),
              HasSubstr("inputs: the entry in row 1, column 0 (both from 0) is NaN"));
}

TEST(ReadSamplesTest, StaysWithinItsLimit) {
  // 100 bytes in the file become 400 as float32.
  const std::string inputs = Npy<uint8_t>({100}, std::vector<uint8_t>(100, 1));
  const std::string targets = Npy<uint8_t>({100}, std::vector<uint8_t>(100, 1));
  EXPECT_TRUE(ReadSamples({.max_bytes = 800}, inputs, targets).ok());
  for (const int64_t limit : {799, 399, 99, 0, -1}) {
    EXPECT_TRUE(
        absl::IsResourceExhausted(ReadSamples({.max_bytes = limit}, inputs, targets).status()))
        << limit;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(
      ReadSamples({.max_bytes = 100}, StoredGzip(inputs), targets).status()));
}

}  // namespace
}  // namespace thresher
