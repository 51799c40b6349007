#include "core/recovery/path_selection.h"

#include <algorithm>
#include <cmath>

namespace thresher {

double InformationCriterion(double relative_residual, double relative_floor, int64_t num_samples,
                            int64_t nonzeros, int64_t num_candidates) {
  const auto n = static_cast<double>(num_samples);
  const double residual = std::max(relative_residual, relative_floor);
  const double penalty =
      std::log(static_cast<double>(num_candidates)) * std::max(1.0, std::log(std::log(n)));
  return n * std::log(residual * residual / n) + static_cast<double>(nonzeros) * penalty;
}

int64_t LeastIndex(std::span<const double> values) {
  int64_t least = -1;
  for (size_t k = 0; k < values.size(); ++k) {
    if (std::isnan(values[k])) continue;
    if (least < 0 || values[k] < values[least]) least = static_cast<int64_t>(k);
  }
  return least;
}

int64_t OneStandardErrorIndex(std::span<const std::vector<float>> errors, double floor) {
  std::vector<double> means;
  for (const std::vector<float>& of_budget : errors) {
    double sum = 0;
    for (const float error : of_budget) sum += error;
    means.push_back(std::max(floor, sum / static_cast<double>(of_budget.size())));
  }
  const int64_t best = LeastIndex(means);
  for (int64_t k = 0; k < best; ++k) {
    const auto n = static_cast<double>(errors[k].size());
    double sum_of_squares = 0;
    const double mean = means[k] - means[best];
    for (size_t i = 0; i < errors[k].size(); ++i) {
      const double difference = static_cast<double>(errors[k][i]) - errors[best][i] - mean;
      sum_of_squares += difference * difference;
    }
    const double standard_error = std::sqrt(sum_of_squares / (n * std::max(1.0, n - 1)));
    if (mean <= standard_error) return k;
  }
  return best;
}

}  // namespace thresher
