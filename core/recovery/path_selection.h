// How well a budget does, and which budget wins: pure functions of losses.
#ifndef THRESHER_CORE_RECOVERY_PATH_SELECTION_H_
#define THRESHER_CORE_RECOVERY_PATH_SELECTION_H_

#include <cstdint>
#include <span>
#include <vector>

namespace thresher {

// n log(RSS / n) + s log(d m) log log n, the penalty of the special information criterion;
// RSS is relative to || y ||^2, which shifts all values alike, and counts as relative_floor^2
// where it is less: rounding explains nothing. log log n counts as 1 for fewer than 16 samples.
// Source: Zhu, Wen, Zhu, Zhang and Wang, "A polynomial algorithm for best-subset selection
// problem", PNAS 117, 2020 (SIC).
double InformationCriterion(double relative_residual, double relative_floor, int64_t num_samples,
                            int64_t nonzeros, int64_t num_candidates);

// The index of the least value, of equal ones the first; -1 for none. NaN never wins.
int64_t LeastIndex(std::span<const double> values);

// The first budget (they ascend) whose mean squared error on held-out samples is over the
// least by at most one standard error of the difference, sample by sample: errors[p][i] is
// the squared error of budget p on held-out sample i. A mean of at most floor counts as floor.
// The pairing takes out what all budgets find hard. Source: Breiman, Friedman, Olshen and
// Stone, "Classification and Regression Trees", 1984, section 3.4.3 (the 1-SE rule).
// Cost: budgets times samples.
int64_t OneStandardErrorIndex(std::span<const std::vector<float>> errors, double floor);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_PATH_SELECTION_H_
