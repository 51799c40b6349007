#include "core/iteration/early_stopping.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace thresher {
namespace {

Network OfWeight(double weight) {
  SparseNetwork network = {.num_inputs = 2};
  network.weights.column = {1};
  network.weights.value = {weight};
  network.weights.row_begin = {0, 1};
  network.output_signs = {1};
  return network;
}

TEST(EarlyStoppingTest, KeepsTheFirstOfLeastLoss) {
  EarlyStopping early(0, {});
  EXPECT_FALSE(early.has_best());
  early.Consider(OfWeight(1), 3, 1);
  early.Consider(OfWeight(2), 2, 4);
  early.Consider(OfWeight(3), 2, 5);
  early.Consider(OfWeight(4), std::numeric_limits<double>::quiet_NaN(), 6);
  EXPECT_EQ(early.best(), OfWeight(2));
  EXPECT_EQ(early.best_loss(), 2);
  EXPECT_EQ(early.best_iteration(), 4);
  EXPECT_FALSE(early.token().stop_requested());
}

TEST(EarlyStoppingTest, EndsAfterAsManyNetworksAsPatienceHas) {
  EarlyStopping early(2, {});
  early.Consider(OfWeight(1), 3, 1);
  early.Consider(OfWeight(2), 4, 2);
  early.Consider(OfWeight(3), 1, 3);
  early.Consider(OfWeight(4), 1, 4);
  EXPECT_FALSE(early.token().stop_requested());
  early.Consider(OfWeight(5), 1, 5);
  EXPECT_TRUE(early.token().stop_requested());
  EXPECT_TRUE(early.patience_is_over());
  EXPECT_EQ(early.best_iteration(), 3);
}

TEST(EarlyStoppingTest, ANetworkWithoutALossIsOneToo) {
  EarlyStopping early(1, {});
  early.Consider(OfWeight(1), std::numeric_limits<double>::quiet_NaN(), 1);
  EXPECT_TRUE(early.has_best());
  EXPECT_EQ(early.best_loss(), std::numeric_limits<double>::infinity());
  early.Consider(OfWeight(2), 7, 2);
  EXPECT_EQ(early.best(), OfWeight(2));
  EXPECT_FALSE(early.patience_is_over());
}

TEST(EarlyStoppingTest, AFailureEndsTheSolveAndTheFirstCounts) {
  EarlyStopping early(0, {});
  early.Fail(absl::InvalidArgumentError("first"));
  early.Fail(absl::InternalError("second"));
  EXPECT_TRUE(early.token().stop_requested());
  EXPECT_EQ(early.failure().message(), "first");
}

TEST(EarlyStoppingTest, StopsWithTheWhole) {
  std::stop_source source;
  EarlyStopping early(0, source.get_token());
  EXPECT_FALSE(early.token().stop_requested());
  source.request_stop();
  EXPECT_TRUE(early.token().stop_requested());
  EXPECT_FALSE(early.patience_is_over());
  EXPECT_TRUE(EarlyStopping(0, source.get_token()).token().stop_requested());
}

TEST(EarlyStoppingTest, TheStateComesBack) {
  EarlyStopping early(2, {});
  const std::string fresh = early.Serialize(9, "of the solve");
  early.Consider(OfWeight(1), 3, 1);
  early.Consider(OfWeight(2), 4, 2);
  const std::string bytes = early.Serialize(9, "of the solve");
  for (const std::string& state : {fresh, bytes}) {
    EarlyStopping back(2, {});
    const absl::StatusOr<std::string> nested = back.Restore(state, 9);
    ASSERT_TRUE(nested.ok()) << nested.status();
    EXPECT_EQ(*nested, "of the solve");
    EXPECT_EQ(back.Serialize(9, *nested), state);
    EXPECT_FALSE(back.token().stop_requested());
  }
  EarlyStopping back(2, {});
  ASSERT_TRUE(back.Restore(bytes, 9).ok());
  back.Consider(OfWeight(3), 5, 3);
  EXPECT_TRUE(back.token().stop_requested());
  // Over already.
  EarlyStopping ended(2, {});
  ASSERT_TRUE(ended.Restore(back.Serialize(9, {}), 9).ok());
  EXPECT_TRUE(ended.token().stop_requested());

  EXPECT_EQ(back.Restore(bytes, 8).status().code(), absl::StatusCode::kInvalidArgument);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(back.Restore(bytes.substr(0, size), 9).ok()) << size;
  }
}

}  // namespace
}  // namespace thresher
