// What RecoverPath accepts, and what it will cost.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/recovery/path.h"
#include "core/recovery/path_state.h"

namespace thresher {
namespace {

constexpr int64_t kMostFolds = 20;
constexpr int64_t kMostPoints = 1000;

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
}

}  // namespace

std::string_view SelectionCriterionName(SelectionCriterion criterion) {
  switch (criterion) {
    case SelectionCriterion::kInformation:
      return "information";
    case SelectionCriterion::kHeldOut:
      return "held_out";
    case SelectionCriterion::kKFold:
      return "k_fold";
  }
  return "information";
}

std::string_view PathSearchName(PathSearch search) {
  switch (search) {
    case PathSearch::kGrid:
      return "grid";
    case PathSearch::kGoldenSection:
      return "golden_section";
  }
  return "grid";
}

absl::Status ValidatePath(const PathOptions& path, const RecoveryOptions& options,
                          int64_t num_samples, int64_t num_inputs) {
  if (path.min_nonzeros < 1) {
    return Invalid("min_nonzeros", absl::StrCat("must be at least 1, is ", path.min_nonzeros));
  }
  if (path.max_nonzeros < path.min_nonzeros) {
    return Invalid("max_nonzeros", absl::StrCat("must be at least min_nonzeros = ",
                                                path.min_nonzeros, ", is ", path.max_nonzeros));
  }
  if (num_inputs >= 1 && options.hidden_width >= 1) {
    const int64_t num_columns = num_inputs + (options.bias ? 1 : 0);
    if ((path.max_nonzeros - 1) / options.hidden_width >= num_columns) {
      return Invalid("max_nonzeros",
                     absl::StrCat("must be at most inputs * hidden_width = ", num_columns, " * ",
                                  options.hidden_width, ", is ", path.max_nonzeros));
    }
  }
  if (path.criterion == SelectionCriterion::kHeldOut) {
    if (!(path.validation_fraction > 0 && path.validation_fraction < 1)) {
      return Invalid("validation_fraction",
                     absl::StrCat("must lie between 0 and 1, is ", path.validation_fraction));
    }
    const auto num_held_out = static_cast<int64_t>(
        std::floor(path.validation_fraction * static_cast<double>(num_samples)));
    if (num_held_out < 1 || num_held_out >= num_samples) {
      return Invalid(
          "validation_fraction",
          absl::StrCat("leaves no sample to ", num_held_out < 1 ? "judge by" : "learn from", " of ",
                       num_samples, ", is ", path.validation_fraction));
    }
  }
  if (path.criterion == SelectionCriterion::kKFold &&
      (path.num_folds < 2 || path.num_folds > std::min(kMostFolds, num_samples))) {
    return Invalid("num_folds",
                   absl::StrCat("must be between 2 and ", std::min(kMostFolds, num_samples),
                                ", is ", path.num_folds));
  }
  if (path.max_points < 2 || path.max_points > kMostPoints) {
    return Invalid("max_points",
                   absl::StrCat("must be between 2 and ", kMostPoints, ", is ", path.max_points));
  }
  return absl::OkStatus();
}

absl::Status ValidateOptionsOfPath(const RecoveryOptions& options, const PathOptions& path,
                                   int64_t num_samples, int64_t num_inputs) {
  if (options.nonzeros != 0) {
    return Invalid("nonzeros",
                   "a path chooses it between min_nonzeros and max_nonzeros; "
                   "leave it unset");
  }
  if (options.hidden_layers > 1) {
    return Invalid("hidden_layers", "a path is of networks with one hidden layer; leave it unset");
  }
  if (options.algorithm == Algorithm::kSequential) {
    return Invalid("algorithm",
                   "a path starts from networks, sequential begins every layer anew; choose aiht");
  }
  if (options.loss != Loss::kSquared) {
    return Invalid("loss", "a path is of least-squares fits; leave it unset");
  }
  if (options.working_nonzeros != 0) {
    return Invalid("working_nonzeros", "follows the budget within a path; leave it unset");
  }
  return ValidateOptions(AtMaxNonzeros(options, path), num_samples, num_inputs);
}

RecoveryCost PredictPathCost(const RecoveryOptions& options, const PathOptions& path,
                             int64_t num_samples, int64_t num_inputs) {
  RecoveryCost cost = PredictCost(AtMaxNonzeros(options, path), num_samples, num_inputs);
  const auto n = static_cast<double>(num_samples);
  const auto points =
      static_cast<double>(std::min(path.max_points, path.max_nonzeros - path.min_nonzeros + 1));
  double bytes = 0;
  if (path.criterion != SelectionCriterion::kInformation) {
    bytes += n * static_cast<double>(num_inputs + 1) * sizeof(float);  // the fold's samples
    bytes += 2 * points * n * sizeof(float);                           // held-out errors
  }
  // Networks, and the checkpoint that spells them out.
  constexpr double kBytesPerWeight = 128;
  const int64_t entries =
      path.max_nonzeros +
      (options.linear_term != LinearTerm::kNone ? num_inputs + (options.bias ? 1 : 0) : 0);
  bytes +=
      points * static_cast<double>(NumFolds(path)) * static_cast<double>(entries) * kBytesPerWeight;
  constexpr auto kMost = static_cast<double>(int64_t{1} << 62);
  cost.peak_memory_bytes =
      static_cast<int64_t>(std::min(kMost, static_cast<double>(cost.peak_memory_bytes) + bytes));
  return cost;
}

}  // namespace thresher
