// Each rule with a value just inside and one just outside.
#include "core/iteration/termination.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const TerminationCriteria kCriteria = {.max_iterations = 10,
                                       .relative_residual_tolerance = 1e-3,
                                       .stagnation_iterations = 4,
                                       .stagnation_decrease = 0.5,
                                       .time_limit_seconds = 2};
const TerminationStatistics kRunning = {.iterations = 9,
                                        .best_relative_residual = 2e-3,
                                        .iterations_without_progress = 3,
                                        .elapsed_seconds = 1.999,
                                        .cancelled = false};

TEST(TerminationTest, NothingHoldsWhileRunning) {
  EXPECT_EQ(CheckTermination(kCriteria, kRunning), std::nullopt);
}

TEST(TerminationTest, ConvergesAtTheTolerance) {
  TerminationStatistics statistics = kRunning;
  statistics.best_relative_residual = std::nextafter(1e-3, 1.0);
  EXPECT_EQ(CheckTermination(kCriteria, statistics), std::nullopt);
  statistics.best_relative_residual = 1e-3;
  EXPECT_EQ(CheckTermination(kCriteria, statistics), TerminationReason::kConverged);
  TerminationCriteria off = kCriteria;
  off.relative_residual_tolerance = 0;
  statistics.best_relative_residual = 0;
  EXPECT_EQ(CheckTermination(off, statistics), std::nullopt);
}

TEST(TerminationTest, EndsAtTheIterationLimit) {
  TerminationStatistics statistics = kRunning;
  statistics.iterations = 10;
  EXPECT_EQ(CheckTermination(kCriteria, statistics), TerminationReason::kIterationLimit);
}

TEST(TerminationTest, EndsAtTheTimeLimit) {
  TerminationStatistics statistics = kRunning;
  statistics.elapsed_seconds = 2;
  EXPECT_EQ(CheckTermination(kCriteria, statistics), TerminationReason::kTimeLimit);
  TerminationCriteria off = kCriteria;
  off.time_limit_seconds = 0;
  statistics.elapsed_seconds = 1e9;
  EXPECT_EQ(CheckTermination(off, statistics), std::nullopt);
}

TEST(TerminationTest, StagnatesAfterTheWindow) {
  TerminationStatistics statistics = kRunning;
  statistics.iterations_without_progress = 4;
  EXPECT_EQ(CheckTermination(kCriteria, statistics), TerminationReason::kStagnated);
  TerminationCriteria off = kCriteria;
  off.stagnation_iterations = 0;
  EXPECT_EQ(CheckTermination(off, statistics), std::nullopt);
}

TEST(TerminationTest, ReasonsGoBeforeEachOtherAsDocumented) {
  TerminationStatistics all = {.iterations = 10,
                               .best_relative_residual = 0,
                               .iterations_without_progress = 4,
                               .elapsed_seconds = 3,
                               .cancelled = true};
  EXPECT_EQ(CheckTermination(kCriteria, all), TerminationReason::kConverged);
  all.best_relative_residual = 1;
  EXPECT_EQ(CheckTermination(kCriteria, all), TerminationReason::kCancelled);
  all.cancelled = false;
  EXPECT_EQ(CheckTermination(kCriteria, all), TerminationReason::kTimeLimit);
  all.elapsed_seconds = 0;
  EXPECT_EQ(CheckTermination(kCriteria, all), TerminationReason::kIterationLimit);
  all.iterations = 9;
  EXPECT_EQ(CheckTermination(kCriteria, all), TerminationReason::kStagnated);
}

TEST(TerminationTest, ValidationNamesTheField) {
  EXPECT_TRUE(ValidateTermination({}).ok());
  EXPECT_TRUE(ValidateTermination(kCriteria).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto expect = [](TerminationCriteria criteria, const std::string& field) {
    const absl::Status status = ValidateTermination(criteria);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(field + ":"));
  };
  TerminationCriteria bad = kCriteria;
  bad.max_iterations = 0;
  expect(bad, "max_iterations");
  for (const double value : {-1e-9, 1.0, nan}) {
    bad = kCriteria;
    bad.relative_residual_tolerance = value;
    expect(bad, "relative_residual_tolerance");
  }
  bad = kCriteria;
  bad.stagnation_iterations = -1;
  expect(bad, "stagnation_iterations");
  for (const double value : {0.0, 1.0, nan}) {
    bad = kCriteria;
    bad.stagnation_decrease = value;
    expect(bad, "stagnation_decrease");
  }
  for (const double value : {-1.0, infinity, nan}) {
    bad = kCriteria;
    bad.time_limit_seconds = value;
    expect(bad, "time_limit_seconds");
  }
}

}  // namespace
}  // namespace thresher
