#include "core/samples/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace thresher {
namespace {

Samples Numbered(int64_t num_samples) {
  Samples samples{.num_samples = num_samples, .num_inputs = 2, .num_outputs = 1};
  samples.class_names = {"a", "b"};
  for (int64_t i = 0; i < num_samples; ++i) {
    samples.inputs.push_back(static_cast<float>(i));
    samples.inputs.push_back(static_cast<float>(-i));
    samples.targets.push_back(static_cast<float>(2 * i));
  }
  return samples;
}

void ExpectRowsBelongTogether(const Samples& part) {
  ASSERT_EQ(static_cast<int64_t>(part.inputs.size()), 2 * part.num_samples);
  ASSERT_EQ(static_cast<int64_t>(part.targets.size()), part.num_samples);
  for (int64_t i = 0; i < part.num_samples; ++i) {
    EXPECT_EQ(part.inputs[2 * i + 1], -part.inputs[2 * i]);
    EXPECT_EQ(part.targets[i], 2 * part.inputs[2 * i]);
    if (i > 0) {
      EXPECT_LT(part.inputs[2 * i - 2], part.inputs[2 * i]);
    }
  }
}

TEST(SplitTest, EveryRowIsInOnePartInItsOrder) {
  for (const int64_t n : {1, 2, 7, 100}) {
    for (const double fraction : {0.0, 0.2, 0.5, 0.999}) {
      const auto split = Split(Numbered(n), fraction, 3);
      ASSERT_TRUE(split.ok()) << split.status();
      EXPECT_EQ(split->held_out.num_samples,
                static_cast<int64_t>(std::floor(fraction * static_cast<double>(n))));
      EXPECT_EQ(split->training.num_samples + split->held_out.num_samples, n);
      ExpectRowsBelongTogether(split->training);
      ExpectRowsBelongTogether(split->held_out);
      FloatArray targets = split->training.targets;
      targets.append(split->held_out.targets.begin(), split->held_out.targets.end());
      std::sort(targets.begin(), targets.end());
      EXPECT_EQ(targets, Numbered(n).targets);
      EXPECT_EQ(split->held_out.class_names, Numbered(n).class_names);
      EXPECT_EQ(split->held_out.num_inputs, 2);
    }
  }
}

TEST(SplitTest, RepeatsForASeedAndDiffersBetweenSeeds) {
  const Samples samples = Numbered(1000);
  const auto first = Split(samples, 0.3, 1);
  const auto again = Split(samples, 0.3, 1);
  const auto other = Split(samples, 0.3, 2);
  ASSERT_TRUE(first.ok() && again.ok() && other.ok());
  EXPECT_EQ(first->held_out.targets, again->held_out.targets);
  EXPECT_NE(first->held_out.targets, other->held_out.targets);
}

TEST(SplitTest, EveryRowIsHeldOutEquallyOften) {
  // 2000 draws of 3 out of 10: 600 expected for each row, standard deviation 20.5.
  const Samples samples = Numbered(10);
  std::vector<int> times(10, 0);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const auto split = Split(samples, 0.3, seed);
    ASSERT_TRUE(split.ok());
    for (int64_t i = 0; i < 3; ++i) ++times[static_cast<int>(split->held_out.inputs[2 * i])];
  }
  for (const int count : times) EXPECT_NEAR(count, 600, 6 * 20.5);
}

// Row i has the inputs of row i mod `distinct`.
Samples Repeated(int64_t num_samples, int64_t distinct) {
  Samples samples = Numbered(num_samples);
  for (int64_t i = 0; i < num_samples; ++i) {
    samples.inputs[2 * i] = static_cast<float>(i % distinct);
    samples.inputs[2 * i + 1] = 0;
  }
  return samples;
}

std::set<float> FirstInputs(const Samples& part) {
  std::set<float> inputs;
  for (int64_t i = 0; i < part.num_samples; ++i) inputs.insert(part.inputs[2 * i]);
  return inputs;
}

void ExpectNothingShared(const SplitSamples& split) {
  const std::set<float> learned = FirstInputs(split.training);
  for (const float input : FirstInputs(split.held_out)) EXPECT_FALSE(learned.contains(input));
}

TEST(SplitTest, RepeatsOfARowStayWithIt) {
  for (const int64_t distinct : {1, 2, 10, 60}) {
    const auto split = Split(Repeated(300, distinct), 0.2, 5);
    ASSERT_TRUE(split.ok()) << split.status();
    EXPECT_EQ(split->training.num_samples + split->held_out.num_samples, 300);
    EXPECT_EQ(FirstInputs(split->held_out).size(), static_cast<size_t>(distinct / 5));
    ExpectNothingShared(*split);
  }
}

TEST(SplitFoldTest, RepeatsOfARowShareItsFold) {
  const Samples samples = Repeated(300, 20);
  int64_t held_out = 0;
  for (int64_t fold = 0; fold < 5; ++fold) {
    const auto split = SplitFold(samples, 5, fold, 6);
    ASSERT_TRUE(split.ok()) << split.status();
    EXPECT_EQ(FirstInputs(split->held_out).size(), 4U);
    ExpectNothingShared(*split);
    held_out += split->held_out.num_samples;
  }
  EXPECT_EQ(held_out, 300);
  // Fewer different rows than folds: no fold is empty all the same.
  for (int64_t fold = 0; fold < 5; ++fold) {
    EXPECT_GT(SplitFold(Repeated(300, 3), 5, fold, 6)->held_out.num_samples, 0);
  }
}

TEST(SplitTest, RefusesFractionsOutOfRange) {
  for (const double fraction :
       {-0.1, 1.0, 2.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const auto split = Split(Numbered(10), fraction, 0);
    EXPECT_TRUE(absl::IsInvalidArgument(split.status())) << fraction;
    EXPECT_TRUE(split.status().message().find("held_out_fraction") != absl::string_view::npos);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Split(Samples{}, 0.5, 0).status()));
}

TEST(SplitFoldTest, FoldsHoldEveryRowExactlyOnceAndAreEqualInSize) {
  for (const auto& [n, num_folds] : {std::pair{10, 2}, {10, 3}, {7, 7}, {100, 9}}) {
    std::vector<float> held_out;
    for (int64_t fold = 0; fold < num_folds; ++fold) {
      const auto split = SplitFold(Numbered(n), num_folds, fold, 5);
      ASSERT_TRUE(split.ok()) << split.status();
      ExpectRowsBelongTogether(split->training);
      ExpectRowsBelongTogether(split->held_out);
      EXPECT_EQ(split->training.num_samples + split->held_out.num_samples, n);
      EXPECT_GE(split->held_out.num_samples, n / num_folds);
      EXPECT_LE(split->held_out.num_samples, (n + num_folds - 1) / num_folds);
      held_out.insert(held_out.end(), split->held_out.targets.begin(),
                      split->held_out.targets.end());
    }
    std::sort(held_out.begin(), held_out.end());
    EXPECT_EQ(held_out, Numbered(n).targets);
  }
}

TEST(SplitFoldTest, RefusesFoldsThatDoNotExist) {
  for (const int64_t num_folds : {-1, 0, 1, 11}) {
    const auto split = SplitFold(Numbered(10), num_folds, 0, 0);
    EXPECT_TRUE(absl::IsInvalidArgument(split.status()));
    EXPECT_TRUE(split.status().message().find("num_folds") != absl::string_view::npos);
  }
  for (const int64_t fold : {-1, 5}) {
    const auto split = SplitFold(Numbered(10), 5, fold, 0);
    EXPECT_TRUE(absl::IsInvalidArgument(split.status()));
    EXPECT_TRUE(split.status().message().find("fold: ") != absl::string_view::npos);
  }
}

TEST(RandomSubsetTest, HasSoManyRowsInTheirOrderAndIsPartOfTheNext) {
  std::vector<float> smaller;
  for (const int64_t count : {1, 5, 30, 100}) {
    const auto subset = RandomSubset(Numbered(100), count, 4);
    ASSERT_TRUE(subset.ok()) << subset.status();
    EXPECT_EQ(subset->num_samples, count);
    EXPECT_EQ(subset->class_names, Numbered(100).class_names);
    ExpectRowsBelongTogether(*subset);
    EXPECT_TRUE(std::includes(subset->targets.begin(), subset->targets.end(), smaller.begin(),
                              smaller.end()));
    smaller.assign(subset->targets.begin(), subset->targets.end());
  }
  EXPECT_NE(RandomSubset(Numbered(100), 30, 4)->targets,
            RandomSubset(Numbered(100), 30, 5)->targets);
  for (const int64_t count : {-1, 0, 101}) {
    const absl::Status status = RandomSubset(Numbered(100), count, 4).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(status.message().substr(0, 12), "num_samples:");
  }
}

}  // namespace
}  // namespace thresher
