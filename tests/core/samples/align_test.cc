#include "core/samples/align.h"

#include <cmath>
#include <string>

#include "core/samples/scaling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;

SamplesForm FormOf(const Samples& samples) {
  return {samples.num_inputs, samples.num_outputs, samples.class_names};
}

Samples Rows() {
  return {
      .num_samples = 3, .num_inputs = 2, .inputs = {1, 10, 3, -20, 8, 60}, .targets = {4, 6, 11}};
}

TEST(AlignTest, ScaledSamplesGetTheScalingOfOthers) {
  Samples learned = Rows();
  learned.inputs = {0, 7, 4, 9, 2, -40};
  learned.targets = {100, 300, 200};
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, learned).ok());
  Samples scaled = Rows();
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, scaled).ok());
  const Samples plain = *Align(Rows(), FormOf(learned), learned.scaling);
  EXPECT_EQ(plain.scaling, learned.scaling);
  // However they had been scaled before.
  const Samples aligned = *Align(scaled, FormOf(learned), learned.scaling);
  EXPECT_THAT(aligned.inputs, Pointwise(FloatNear(1e-5F), plain.inputs));
  EXPECT_THAT(aligned.targets, Pointwise(FloatNear(1e-5F), plain.targets));
  // The first input of the first sample, by hand: mean 2, variance 8 / 3.
  EXPECT_NEAR(plain.inputs[0], (1 - 2) / std::sqrt(8.0 / 3), 1e-6);
  EXPECT_NEAR(plain.targets[0], (4 - 200) / std::sqrt(20000.0 / 3), 1e-6);
  // And back.
  const Samples back = *Align(aligned, FormOf(learned), Scaling());
  EXPECT_THAT(back.inputs, Pointwise(FloatNear(1e-4F), Rows().inputs));
  EXPECT_THAT(back.targets, Pointwise(FloatNear(1e-4F), Rows().targets));
}

TEST(AlignTest, WithoutScalingNothingChanges) {
  const Samples same = *Align(Rows(), FormOf(Rows()), Scaling());
  EXPECT_EQ(same.inputs, Rows().inputs);
  EXPECT_EQ(same.targets, Rows().targets);
}

TEST(AlignTest, ClassesAreFoundByTheirNames) {
  Samples two = Rows();
  two.class_names = {"b", "c"};
  two.targets = {0, 1, 1};
  const Samples three =
      *Align(two, {.num_inputs = 2, .num_outputs = 3, .class_names = {"a", "b", "c"}}, {});
  EXPECT_EQ(three.num_outputs, 3);
  EXPECT_THAT(three.targets, ElementsAre(0, 1, 0, 0, 0, 1, 0, 0, 1));
  const Samples swapped = *Align(two, {.num_inputs = 2, .class_names = {"c", "b"}}, {});
  EXPECT_THAT(swapped.targets, ElementsAre(1, 0, 0));
  const Samples turned =
      *Align(three, {.num_inputs = 2, .num_outputs = 3, .class_names = {"c", "a", "b"}}, {});
  EXPECT_THAT(turned.targets, ElementsAre(0, 0, 1, 1, 0, 0, 1, 0, 0));
  EXPECT_THAT(turned.class_names, ElementsAre("c", "a", "b"));
}

TEST(AlignTest, TargetsOfClassesAreNotScaled) {
  Samples two = Rows();
  two.class_names = {"b", "c"};
  two.targets = {0, 1, 1};
  Scaling scaling = {.input_offset = {1, 1}, .input_scale = {2, 4}};
  const Samples scaled = *Align(two, FormOf(two), scaling);
  EXPECT_THAT(scaled.targets, ElementsAre(0, 1, 1));
  EXPECT_THAT(scaled.inputs, ElementsAre(0, 2.25, 1, -5.25, 3.5, 14.75));
}

TEST(AlignTest, NamesWhatDoesNotFit) {
  const auto error = [](const SamplesForm& from, const SamplesForm& to) {
    return std::string(CheckAlignment(from, to).message());
  };
  EXPECT_EQ(error({3, 1}, {4, 1}), "num_inputs: has 3 inputs, 4 are needed");
  EXPECT_EQ(error({3, 1}, {3, 2}), "num_outputs: has 1 outputs, 2 are needed");
  EXPECT_THAT(error({3, 1, {"a", "b"}}, {3, 1}), HasSubstr("class_names: has classes"));
  EXPECT_THAT(error({3, 1}, {3, 1, {"a", "b"}}), HasSubstr("class_names: has numbers"));
  EXPECT_THAT(error({3, 1, {"a", "z"}}, {3, 1, {"a", "b"}}), HasSubstr("has the class 'z'"));
  EXPECT_EQ(error({3, 1, {"a", "b"}}, {3, 3, {"a", "b", "c"}}), "");
  EXPECT_FALSE(Align(Rows(), {.num_inputs = 3}, {}).ok());
}

}  // namespace
}  // namespace thresher
