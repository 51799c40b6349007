#include "core/samples/class_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = int64_t{1} << 30;

// One input per sample: its number.
Samples Numbered(size_t num_samples) {
  Samples samples{.num_samples = static_cast<int64_t>(num_samples), .num_inputs = 1};
  for (size_t i = 0; i < num_samples; ++i) samples.inputs.push_back(static_cast<float>(i));
  return samples;
}

std::string Error(const Labels& labels, const std::vector<std::string>& classes) {
  Samples samples = Numbered(labels.of_sample.size());
  const absl::Status status = SetClassTargets(labels, classes, kPlenty, samples);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(SetClassTargetsTest, TwoClassesAreOneOutput) {
  Samples samples = Numbered(3);
  ASSERT_TRUE(SetClassTargets({{"dog", "cat"}, {0, 1, 0}}, {}, kPlenty, samples).ok());
  EXPECT_THAT(samples.class_names, ElementsAre("cat", "dog"));
  EXPECT_EQ(samples.num_outputs, 1);
  EXPECT_THAT(samples.targets, ElementsAre(1, 0, 1));
  EXPECT_TRUE(ValidateSamples(samples).ok());
}

TEST(SetClassTargetsTest, MoreClassesAreOneHot) {
  Samples samples = Numbered(4);
  ASSERT_TRUE(SetClassTargets({{"10", "9", "-1"}, {0, 1, 2, 1}}, {}, kPlenty, samples).ok());
  EXPECT_THAT(samples.class_names, ElementsAre("-1", "9", "10"));
  EXPECT_EQ(samples.num_outputs, 3);
  EXPECT_THAT(samples.targets, ElementsAre(0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0));
  EXPECT_TRUE(ValidateSamples(samples).ok());
}

TEST(SetClassTargetsTest, FilterKeepsSamplesInOrderAndClassesAsGiven) {
  Samples samples = Numbered(6);
  ASSERT_TRUE(
      SetClassTargets({{"0", "1", "2"}, {2, 0, 1, 2, 1, 0}}, {"2", "0"}, kPlenty, samples).ok());
  EXPECT_THAT(samples.class_names, ElementsAre("2", "0"));
  EXPECT_THAT(samples.inputs, ElementsAre(0, 1, 3, 5));
  EXPECT_THAT(samples.targets, ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(samples.num_samples, 4);
  EXPECT_TRUE(ValidateSamples(samples).ok());
}

TEST(SetClassTargetsTest, NumbersAreComparedAsNumbers) {
  Samples samples = Numbered(4);
  ASSERT_TRUE(
      SetClassTargets({{"1", "1.0", "2", "2e0"}, {0, 1, 2, 3}}, {"1.00", "2"}, kPlenty, samples)
          .ok());
  EXPECT_THAT(samples.class_names, ElementsAre("1", "2"));
  EXPECT_THAT(samples.targets, ElementsAre(0, 0, 1, 1));
  // One text among them, and all are texts.
  samples = Numbered(3);
  ASSERT_TRUE(SetClassTargets({{"1", "1.0", "x"}, {0, 1, 2}}, {}, kPlenty, samples).ok());
  EXPECT_THAT(samples.class_names, ElementsAre("1", "1.0", "x"));
}

TEST(SetClassTargetsTest, LargeNumbersStayDifferent) {
  Samples samples = Numbered(3);
  ASSERT_TRUE(SetClassTargets({{"9007199254740992", "9007199254740993", "5"}, {0, 1, 2}}, {},
                              kPlenty, samples)
                  .ok());
  EXPECT_THAT(samples.class_names, ElementsAre("5", "9007199254740992", "9007199254740993"));
}

TEST(SetClassTargetsTest, NamesTheField) {
  const Labels labels = {{"a", "b"}, {0, 1}};
  EXPECT_THAT(Error(labels, {"a", "c"}),
              HasSubstr("no sample has class 'c'; the classes are 'a', 'b'"));
  EXPECT_THAT(Error(labels, {"a", "a"}), HasSubstr("given twice"));
  EXPECT_THAT(Error(labels, {"a"}), HasSubstr("at least two"));
  EXPECT_THAT(Error({{"a"}, {0, 0}}, {}), HasSubstr("at least two"));
  EXPECT_THAT(Error({{"1", "2"}, {0, 1}}, {"1", "x"}), HasSubstr("no sample has class 'x'"));
  Labels many;
  for (int32_t k = 0; k < 1001; ++k) {
    many.names.push_back(absl::StrCat(k));
    many.of_sample.push_back(k);
  }
  EXPECT_THAT(Error(many, {}), HasSubstr("1001 distinct labels"));
  Samples samples = Numbered(3);
  EXPECT_TRUE(absl::IsInvalidArgument(SetClassTargets(labels, {}, kPlenty, samples)));
  samples = Numbered(2);
  EXPECT_TRUE(absl::IsResourceExhausted(SetClassTargets(labels, {}, 15, samples)));
  EXPECT_TRUE(SetClassTargets(labels, {}, 16, samples).ok());
}

}  // namespace
}  // namespace thresher
