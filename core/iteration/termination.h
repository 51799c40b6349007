// When a solve ends, as pure functions: criteria and statistics in, reason out.
#ifndef THRESHER_CORE_ITERATION_TERMINATION_H_
#define THRESHER_CORE_ITERATION_TERMINATION_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace thresher {

enum class TerminationReason {
  kConverged,  // relative residual at or under the tolerance
  kStagnated,  // no progress over the stagnation window
  kIterationLimit,
  kTimeLimit,
  kCancelled,
  kEarlyStopped,  // no better network for samples that are not learned from, see early_stopping.h
};

std::string_view TerminationReasonName(TerminationReason reason);

struct TerminationCriteria {
  // iterations >= max_iterations; at least 1.
  int64_t max_iterations = 1000;
  // best relative residual <= relative_residual_tolerance; 0 switches it off.
  double relative_residual_tolerance = 1e-7;
  // best relative residual of the last stagnation_iterations steps
  //   > (1 - stagnation_decrease) * best before them; 0 iterations switches it off.
  int64_t stagnation_iterations = 30;
  double stagnation_decrease = 1e-3;
  // elapsed_seconds >= time_limit_seconds; 0: no limit.
  double time_limit_seconds = 0;
};

// What the rules look at.
struct TerminationStatistics {
  int64_t iterations = 0;
  double best_relative_residual = 0;
  // Iterations since the best relative residual last fell by the factor
  // (1 - stagnation_decrease).
  int64_t iterations_without_progress = 0;
  double elapsed_seconds = 0;
  bool cancelled = false;
};

// Errors: INVALID_ARGUMENT naming termination.<field>.
absl::Status ValidateTermination(const TerminationCriteria& criteria);

// The first rule that holds, in the order converged, cancelled, time limit, iteration
// limit, stagnated.
std::optional<TerminationReason> CheckTermination(const TerminationCriteria& criteria,
                                                  const TerminationStatistics& statistics);

// What is left of a time limit for a solve within that counts its own time; 0: no limit.
double TimeLeft(double time_limit_seconds, double seconds_before);

// The moment at which so many seconds from now have passed; 0: never.
std::chrono::steady_clock::time_point DeadlineAfter(double seconds);

}  // namespace thresher

#endif  // THRESHER_CORE_ITERATION_TERMINATION_H_
