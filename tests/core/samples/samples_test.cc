#include "core/samples/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "absl/status/status.h"

namespace thresher {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Samples Valid() {
  return {.num_samples = 2,
          .num_inputs = 3,
          .num_outputs = 1,
          .inputs = {1, 2, 3, 4, 5, 6},
          .targets = {0, 1}};
}

std::string Error(const Samples& samples) {
  const absl::Status status = ValidateSamples(samples);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(ValidateSamplesTest, TakesWhatIsSound) {
  EXPECT_TRUE(ValidateSamples(Valid()).ok());
  Samples constant = Valid();
  constant.targets = {7, 7};  // whether that can be fitted is the solver's matter
  EXPECT_TRUE(ValidateSamples(constant).ok());
  Samples two_classes = Valid();
  two_classes.class_names = {"cat", "dog"};
  EXPECT_TRUE(ValidateSamples(two_classes).ok());
}

TEST(ValidateSamplesTest, NamesTheField) {
  Samples samples = Valid();
  samples.num_samples = 0;
  EXPECT_THAT(Error(samples), StartsWith("num_samples:"));
  samples = Valid();
  samples.num_inputs = 0;
  EXPECT_THAT(Error(samples), StartsWith("num_inputs:"));
  samples.num_inputs = int64_t{1} << 31;
  EXPECT_THAT(Error(samples), StartsWith("num_inputs:"));
  samples = Valid();
  samples.num_outputs = -1;
  EXPECT_THAT(Error(samples), StartsWith("num_outputs:"));
  samples = Valid();
  samples.inputs.resize(samples.inputs.size() - 1);
  EXPECT_THAT(Error(samples), StartsWith("inputs: 5 entries, expected 2 x 3"));
  samples = Valid();
  samples.targets.push_back(1);
  EXPECT_THAT(Error(samples), StartsWith("targets: 3 entries"));
  samples = Valid();
  samples.class_names = {"a", "b", "c"};
  EXPECT_THAT(Error(samples), StartsWith("class_names:"));
  for (const std::string& name :
       {std::string("\xE9"), std::string(1, '\0'), std::string(kMaxClassNameBytes + 1, 'n')}) {
    samples.class_names = {"a", name};
    EXPECT_THAT(Error(samples), StartsWith("class_names: a name")) << name.size();
  }
  samples = Valid();
  samples.scaling.input_offset = {1, 2};
  samples.scaling.input_scale = {1, 2};
  EXPECT_THAT(Error(samples), StartsWith("scaling:"));
}

TEST(ValidateSamplesTest, SizesThatOverflowDoNotPass) {
  Samples samples = Valid();
  samples.num_samples = (int64_t{1} << 62) + 2;  // times 4 is 8 modulo 2^64
  samples.num_inputs = 4;
  samples.inputs = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_THAT(Error(samples), StartsWith("inputs: 8 entries"));
}

TEST(ValidateSamplesTest, SaysWhereAValueIsNotFinite) {
  Samples samples = Valid();
  samples.inputs[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Error(samples), HasSubstr("inputs: the entry in row 1, column 2"));
  samples = Valid();
  samples.targets[1] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(Error(samples), HasSubstr("targets: the entry in row 1, column 0"));
  EXPECT_THAT(Error(samples), HasSubstr("infinite"));
}

}  // namespace
}  // namespace thresher
