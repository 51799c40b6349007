#include "core/samples/float_array.h"

#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::ElementsAre;

struct Shared {
  std::shared_ptr<std::vector<float>> values =
      std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  FloatArray array = FloatArray(*values, values);
};

TEST(FloatArrayTest, ReadsWhatIsShared) {
  const Shared shared;
  EXPECT_TRUE(shared.array.is_shared());
  EXPECT_EQ(shared.array.data(), shared.values->data());
  EXPECT_THAT(shared.array, ElementsAre(1, 2, 3));
  EXPECT_EQ(shared.array[1], 2);
  EXPECT_EQ(shared.array.front() + shared.array.back(), 4);
  EXPECT_EQ(shared.array, FloatArray({1, 2, 3}));
  EXPECT_FALSE(shared.array == FloatArray({1, 2}));
  EXPECT_FALSE(shared.array == FloatArray({1, 2, 4}));
}

TEST(FloatArrayTest, CopiesShareAndKeepTheOwner) {
  FloatArray copy;
  std::weak_ptr<std::vector<float>> owner;
  {
    const Shared shared;
    owner = shared.values;
    copy = shared.array;
    EXPECT_EQ(std::as_const(copy).data(), shared.values->data());
  }
  EXPECT_FALSE(owner.expired());
  EXPECT_THAT(std::as_const(copy), ElementsAre(1, 2, 3));
  const FloatArray moved = std::move(copy);
  EXPECT_TRUE(moved.is_shared());
  EXPECT_THAT(moved, ElementsAre(1, 2, 3));
}

TEST(FloatArrayTest, AChangeCopies) {
  const std::vector<void (*)(FloatArray&)> changes = {
      [](FloatArray& a) { a[0] = 9; },
      [](FloatArray& a) { *a.begin() = 9; },
      [](FloatArray& a) { a.data()[0] = 9; },
      [](FloatArray& a) { a.push_back(9); },
      [](FloatArray& a) { a.resize(7); },
      [](FloatArray& a) { a.reserve(7); },
      [](FloatArray& a) { a.shrink_to_fit(); },
      [](FloatArray& a) { a.clear(); },
      [](FloatArray& a) { a.assign(2, 5.0F); },
      [](FloatArray& a) { a.append(a.begin(), a.begin()); },
      [](FloatArray& a) { a = {4, 5}; },
  };
  for (const auto change : changes) {
    const Shared shared;
    FloatArray plain = {1, 2, 3};
    FloatArray array = shared.array;
    change(array);
    change(plain);
    EXPECT_FALSE(array.is_shared());
    EXPECT_EQ(array, plain);
    EXPECT_THAT(*shared.values, ElementsAre(1, 2, 3));
    EXPECT_TRUE(shared.array.is_shared());
  }
}

TEST(FloatArrayTest, AnOwnedOneIsAVector) {
  FloatArray array;
  EXPECT_TRUE(array.empty());
  array.push_back(1);
  const std::vector<float> more = {2, 3};
  array.append(more.begin(), more.end());
  EXPECT_THAT(array, ElementsAre(1, 2, 3));
  array.resize(2);
  EXPECT_EQ(array.size(), 2);
  const FloatArray copy = array;
  array[0] = 7;
  EXPECT_THAT(copy, ElementsAre(1, 2));
  array.assign(more.begin(), more.end());
  EXPECT_THAT(array, ElementsAre(2, 3));
}

}  // namespace
}  // namespace thresher
