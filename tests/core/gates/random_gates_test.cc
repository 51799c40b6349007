#include "core/gates/random_gates.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "core/gates/gate_activity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;

std::vector<float> Gate(uint64_t seed, int64_t index, size_t num_inputs) {
  std::vector<float> gate(num_inputs);
  RandomGate(seed, index, gate);
  return gate;
}

double TailProbability(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }
double Density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }

// The known answers of the Random123 library's philox4x32-10.
TEST(PhiloxTest, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox(0, 0, 0).word,
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}).word,
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e).word,
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

// The reference is erfc, which no step of the computation uses.
TEST(NormalFromBitsTest, InvertsTheDistributionFunction) {
  CounterRandom random(11, 0);
  for (int octave = 0; octave <= 38; ++octave) {
    for (int sample = 0; sample < 2000; ++sample) {
      const uint64_t tail = (random.NextBits() | (uint64_t{1} << 63)) >> octave;
      const double x = NormalFromBits(tail >> 1);
      const double p = std::ldexp(static_cast<double>(tail), -65);
      ASSERT_LT(std::abs(TailProbability(x) - p), 3e-8 * Density(x)) << "p = " << p;
    }
  }
}

TEST(NormalFromBitsTest, IsOdd) {
  CounterRandom random(12, 0);
  for (int sample = 0; sample < 10000; ++sample) {
    const uint64_t bits = random.NextBits();
    ASSERT_EQ(NormalFromBits(bits), -NormalFromBits(bits ^ (uint64_t{1} << 63)));
  }
}

TEST(NormalFromBitsTest, IsFiniteAndBoundedAtTheEnds) {
  EXPECT_NEAR(NormalFromBits(0), 9.16, 0.1);  // the smallest tail, 2^-65
  EXPECT_EQ(NormalFromBits(uint64_t{1} << 63), -NormalFromBits(0));
  EXPECT_NEAR(NormalFromBits(~uint64_t{0} >> 1), 0, 1e-9);
  EXPECT_NEAR(NormalFromBits(~uint64_t{0}), 0, 1e-9);
}

TEST(NormalFromBitsTest, FallsAsTheTailGrowsAcrossSegmentBorders) {
  for (int octave = 0; octave < 40; ++octave) {
    for (uint64_t segment = 0; segment < 16; ++segment) {
      const uint64_t border = ((uint64_t{16} + segment) << 59 >> octave) >> 1;
      const uint64_t step = uint64_t{1} << std::max(0, 40 - octave);
      EXPECT_GT(NormalFromBits(border - step), NormalFromBits(border + step))
          << "octave " << octave << " segment " << segment;
    }
  }
}

TEST(RandomGateTest, ShorterGateIsAPrefixOfALongerOne) {
  const std::vector<float> longest = Gate(5, 9, 200);
  for (size_t num_inputs = 0; num_inputs < 200; ++num_inputs) {
    const std::vector<float> gate = Gate(5, 9, num_inputs);
    ASSERT_TRUE(std::equal(gate.begin(), gate.end(), longest.begin())) << num_inputs;
  }
}

TEST(RandomGateTest, WritesNothingBeyondTheGate) {
  std::vector<float> buffer(50, 77.0f);
  RandomGate(1, 2, std::span<float>(buffer).subspan(3, 37));
  EXPECT_EQ(std::count(buffer.begin(), buffer.end(), 77.0f), 13);
}

// Models keep gates as (seed, index), so these bits may never change.
TEST(RandomGateTest, KeepsTheBitsThatStoredModelsReferTo) {
  EXPECT_THAT(Gate(0, 0, 3), ElementsAre(-1.1006279f, 0.475007296f, -1.39184284f));
  EXPECT_THAT(Gate(0x123456789abcdef0, 1000000007, 3),
              ElementsAre(2.06502342f, -0.208324879f, -0.622119069f));
}

TEST(RandomGateTest, GatesOfDifferentSeedOrIndexDiffer) {
  std::set<std::vector<float>> gates;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    for (int64_t index : {int64_t{0}, int64_t{1}, int64_t{1} << 32, int64_t{1} << 40}) {
      EXPECT_TRUE(gates.insert(Gate(seed, index, 4)).second);
    }
  }
}

TEST(RandomGateTest, DoesNotShareBlocksWithTheStreamOfTheSameNumber) {
  CounterRandom random(3, 8);
  const std::vector<float> gate = Gate(3, 8, 400);
  const std::set<float> entries(gate.begin(), gate.end());
  int shared = 0;
  for (int k = 0; k < 400; ++k) {
    const uint64_t bits = random.NextBits();
    for (const uint64_t word : {bits & 0xFFFFFFFF, bits >> 32}) {
      const auto entry = static_cast<float>(NormalFromBits(word << 32 | 0x80000000));
      shared += entries.contains(entry) ? 1 : 0;
    }
  }
  EXPECT_LE(shared, 2);  // by chance; all 400 if the blocks were shared
}

// Kolmogorov and Smirnov's distance to N(0, 1), and the correlation of neighbours in
// both directions; the limits are beyond five standard errors.
TEST(RandomGateTest, EntriesAreIndependentStandardNormals) {
  constexpr int kGates = 2000;
  constexpr size_t kInputs = 100;
  std::vector<double> entries;
  double along = 0;
  double across = 0;
  std::vector<float> previous(kInputs, 0.0f);
  for (int64_t j = 0; j < kGates; ++j) {
    const std::vector<float> gate = Gate(42, j, kInputs);
    for (size_t q = 0; q < kInputs; ++q) {
      entries.push_back(gate[q]);
      if (q > 0) along += static_cast<double>(gate[q]) * gate[q - 1];
      across += static_cast<double>(gate[q]) * previous[q];
      ASSERT_NE(gate[q], 0.0f);
    }
    previous = gate;
  }
  const auto count = static_cast<double>(entries.size());
  EXPECT_LT(std::abs(along / count), 5 / std::sqrt(count));
  EXPECT_LT(std::abs(across / count), 5 / std::sqrt(count));
  std::sort(entries.begin(), entries.end());
  double distance = 0;
  for (size_t k = 0; k < entries.size(); ++k) {
    const double below = 1 - TailProbability(entries[k]);
    distance = std::max(distance, std::abs(below - (static_cast<double>(k) + 0.5) / count));
  }
  EXPECT_LT(distance, 2.5 / std::sqrt(count));
}

TEST(CounterRandomTest, EqualArgumentsGiveEqualNumbersAndStreamsDiffer) {
  CounterRandom first(7, 1);
  CounterRandom again(7, 1);
  CounterRandom other_stream(7, 2);
  CounterRandom other_seed(8, 1);
  for (int k = 0; k < 100; ++k) {
    const uint64_t bits = first.NextBits();
    EXPECT_EQ(bits, again.NextBits());
    EXPECT_NE(bits, other_stream.NextBits());
    EXPECT_NE(bits, other_seed.NextBits());
  }
}

TEST(CounterRandomTest, UniformLiesInTheUnitIntervalWithTheRightMoments) {
  CounterRandom random(1, 1);
  constexpr int kCount = 100000;
  double sum = 0;
  double square = 0;
  for (int k = 0; k < kCount; ++k) {
    const double u = random.NextUniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    square += u * u;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(square / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(CounterRandomTest, NormalHasTheRightMoments) {
  CounterRandom random(1, 1);
  constexpr int kCount = 100000;
  double moment[5] = {};
  for (int k = 0; k < kCount; ++k) {
    const double x = random.NextNormal();
    double power = 1;
    for (double& m : moment) {
      m += power / kCount;
      power *= x;
    }
  }
  EXPECT_NEAR(moment[1], 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(moment[2], 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(moment[3], 0, 5 * std::sqrt(15.0 / kCount));
  EXPECT_NEAR(moment[4], 3, 5 * std::sqrt(96.0 / kCount));
}

TEST(CounterRandomTest, BelowStaysBelowAndIsUniform) {
  CounterRandom random(2, 0);
  for (int k = 0; k < 100; ++k) EXPECT_EQ(random.NextBelow(1), 0u);
  constexpr int kCount = 70000;
  std::vector<int> count(7, 0);
  for (int k = 0; k < kCount; ++k) {
    const uint64_t value = random.NextBelow(7);
    ASSERT_LT(value, 7u);
    ++count[value];
  }
  for (int c : count) EXPECT_NEAR(c, kCount / 7, 5 * std::sqrt(kCount / 7.0));
  // A bound that rejects a third of all draws: the mean would be off if it did not.
  const uint64_t bound = (uint64_t{1} << 63) + (uint64_t{1} << 62);
  double mean = 0;
  for (int k = 0; k < kCount; ++k) {
    const uint64_t value = random.NextBelow(bound);
    ASSERT_LT(value, bound);
    mean += static_cast<double>(value) / static_cast<double>(bound) / kCount;
  }
  EXPECT_NEAR(mean, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
}

TEST(GateActivityTest, AgreesWithAPlainSumAndTakesTheConstantInput) {
  for (size_t num_inputs = 0; num_inputs < 12; ++num_inputs) {
    const std::vector<float> inputs = Gate(1, 1, num_inputs);
    const std::vector<float> gate = Gate(1, 2, num_inputs + 1);
    const std::vector<double> precise(gate.begin(), gate.end());
    double sum = 0;
    for (size_t q = 0; q < num_inputs; ++q) sum += static_cast<double>(inputs[q]) * gate[q];
    const std::span<const float> without(gate.data(), num_inputs);
    const std::span<const double> precise_without(precise.data(), num_inputs);
    EXPECT_NEAR(GatePreactivation(inputs, without), sum, 1e-14);
    EXPECT_NEAR(GatePreactivation(inputs, gate), sum + gate.back(), 1e-14);
    EXPECT_EQ(GatePreactivation(inputs, precise_without), GatePreactivation(inputs, without));
    EXPECT_EQ(GatePreactivation(inputs, precise), GatePreactivation(inputs, gate));
  }
}

TEST(GateActivityTest, TestIsStrict) {
  const std::vector<float> inputs = {1.0f, -1.0f};
  const std::vector<float> tie = {0.5f, 0.5f};
  const float above = std::nextafter(0.5f, 1.0f);
  EXPECT_FALSE(IsActive(inputs, tie));
  EXPECT_TRUE(IsActive(inputs, std::vector<float>{above, 0.5f}));
  EXPECT_FALSE(IsActive(inputs, std::vector<float>{0.5f, above}));
  EXPECT_TRUE(IsActive(inputs, std::vector<double>{0.5 + 1e-16 * 2, 0.5}));
  EXPECT_FALSE(IsActive({}, std::vector<float>{}));
}

// Cancellation that float sums would get wrong.
TEST(GateActivityTest, SumsInDouble) {
  const std::vector<float> inputs = {1e8f, 1.0f, 0.0f, 0.0f, -1e8f};
  const std::vector<float> gate = {1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  EXPECT_EQ(GatePreactivation(inputs, gate), 1.0);
}

}  // namespace
}  // namespace thresher
