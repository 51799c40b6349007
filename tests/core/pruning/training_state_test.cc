#include "core/pruning/training_state.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;

const std::vector<int64_t> kWidths = {5, 4};

TrainingState SomeState() {
  TrainingState state;
  state.now.round = 3;
  state.now.epoch = 2;
  state.now.step = 7;
  state.now.iteration = 17;
  state.now.adam_steps = 40;
  state.now.prune_fraction = 0.25;
  state.now.epoch_sums = {.num_samples = 70, .loss = 1.5, .squared_error = 2, .right_classes = 9};
  state.now.perceptron = InitialPerceptron(6, kWidths, 2, true, 1);
  state.epoch_start = state.now;
  KeepMostSalient(state.now.perceptron, 30, Saliency::kMagnitude);
  state.learning_rate_scale = 0.5;
  state.divergences = 1;
  state.reference_loss = 4;
  state.elapsed_seconds = 12;
  return state;
}

Perceptron Initial() { return InitialPerceptron(6, kWidths, 2, true, 1); }

TEST(TrainingStateTest, RoundTrips) {
  TrainingState state = SomeState();
  for (const int64_t step : {7, 0}) {
    state.now.step = step;
    const std::string bytes = SerializeState(state, 77);
    const auto read = ParseState(bytes, 77, Initial());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(SerializeState(*read, 77), bytes);
    EXPECT_EQ(read->now.perceptron, state.now.perceptron);
    EXPECT_EQ(read->now.epoch_sums.loss, 1.5);
    if (step > 0) {
      EXPECT_EQ(read->epoch_start.perceptron, state.epoch_start.perceptron);
    }
  }
}

TEST(TrainingStateTest, ForeignAndDamagedBytesAreRefused) {
  const std::string bytes = SerializeState(SomeState(), 77);
  EXPECT_THAT(ParseState(bytes, 78, Initial()).status().message(), HasSubstr("other samples"));
  EXPECT_THAT(ParseState("nonsense", 77, Initial()).status().message(), HasSubstr("checkpoint"));
  for (size_t length = 0; length < bytes.size(); length += 13) {
    EXPECT_FALSE(ParseState(bytes.substr(0, length), 77, Initial()).ok());
  }
  for (size_t at = 0; at < bytes.size(); at += 11) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    EXPECT_FALSE(ParseState(damaged, 77, Initial()).ok()) << at;
  }
  // Whole, but of other shapes or without a meaning.
  const Perceptron other = InitialPerceptron(6, std::vector<int64_t>{5, 3}, 2, true, 1);
  EXPECT_THAT(ParseState(bytes, 77, other).status().message(), HasSubstr("damaged"));
  TrainingState state = SomeState();
  state.now.perceptron.layers[0].weight[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(ParseState(SerializeState(state, 77), 77, Initial()).ok());
  state = SomeState();
  state.now.perceptron.layers[0].row[0] = 5;
  EXPECT_FALSE(ParseState(SerializeState(state, 77), 77, Initial()).ok());
}

}  // namespace
}  // namespace thresher
