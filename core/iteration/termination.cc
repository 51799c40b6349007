#include "core/iteration/termination.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace thresher {

std::string_view TerminationReasonName(TerminationReason reason) {
  switch (reason) {
    case TerminationReason::kConverged:
      return "converged";
    case TerminationReason::kStagnated:
      return "stagnated";
    case TerminationReason::kIterationLimit:
      return "iteration_limit";
    case TerminationReason::kTimeLimit:
      return "time_limit";
    case TerminationReason::kCancelled:
      return "cancelled";
    case TerminationReason::kEarlyStopped:
      return "early_stopped";
  }
  return "unknown";
}

absl::Status ValidateTermination(const TerminationCriteria& criteria) {
  if (criteria.max_iterations < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_iterations: must be at least 1, is ", criteria.max_iterations));
  }
  if (!(criteria.relative_residual_tolerance >= 0) || !(criteria.relative_residual_tolerance < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("relative_residual_tolerance: must be at least 0 and under 1, is ",
                     criteria.relative_residual_tolerance));
  }
  if (criteria.stagnation_iterations < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("stagnation_iterations: must be at least 0 (0 switches the rule off), is ",
                     criteria.stagnation_iterations));
  }
  if (!(criteria.stagnation_decrease > 0) || !(criteria.stagnation_decrease < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stagnation_decrease: must lie between 0 and 1, is ", criteria.stagnation_decrease));
  }
  if (!(criteria.time_limit_seconds >= 0) || !std::isfinite(criteria.time_limit_seconds)) {
    return absl::InvalidArgumentError(
        absl::StrCat("time_limit_seconds: must be at least 0 (0 means no limit), is ",
                     criteria.time_limit_seconds));
  }
  return absl::OkStatus();
}

std::optional<TerminationReason> CheckTermination(const TerminationCriteria& criteria,
                                                  const TerminationStatistics& statistics) {
  if (criteria.relative_residual_tolerance > 0 && statistics.iterations > 0 &&
      statistics.best_relative_residual <= criteria.relative_residual_tolerance) {
    return TerminationReason::kConverged;
  }
  if (statistics.cancelled) return TerminationReason::kCancelled;
  if (criteria.time_limit_seconds > 0 &&
      statistics.elapsed_seconds >= criteria.time_limit_seconds) {
    return TerminationReason::kTimeLimit;
  }
  if (statistics.iterations >= criteria.max_iterations) return TerminationReason::kIterationLimit;
  if (criteria.stagnation_iterations > 0 &&
      statistics.iterations_without_progress >= criteria.stagnation_iterations) {
    return TerminationReason::kStagnated;
  }
  return std::nullopt;
}

double TimeLeft(double time_limit_seconds, double seconds_before) {
  constexpr double kLeast = 1e-3;
  return time_limit_seconds > 0 ? std::max(kLeast, time_limit_seconds - seconds_before) : 0;
}

std::chrono::steady_clock::time_point DeadlineAfter(double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr double kMost = 1e9;  // farther ones do not fit the clock
  if (seconds <= 0 || seconds > kMost) return Clock::time_point::max();
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace thresher
