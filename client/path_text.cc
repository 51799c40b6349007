#include "client/path_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/formatting.h"

namespace thresher::client {
namespace {

// "k_fold"; the server's default where it is not given.
std::string CriterionWord(v1::SelectionCriterion criterion) {
  if (criterion == v1::SELECTION_CRITERION_UNSPECIFIED) return "information";
  const auto* value = v1::SelectionCriterion_descriptor()->FindValueByNumber(criterion);
  // A newer server may know more.
  if (value == nullptr) return absl::StrCat("criterion ", static_cast<int>(criterion));
  return absl::AsciiStrToLower(value->name().substr(sizeof("SELECTION_CRITERION")));
}

}  // namespace

std::string BudgetText(const v1::RecoverySpec& spec) {
  if (!spec.has_path()) return FormatCount(spec.options().nonzeros(), "weight");
  return absl::StrCat(spec.path().min_nonzeros(), " to ",
                      FormatCount(spec.path().max_nonzeros(), "weight"), ", chosen by ",
                      CriterionWord(spec.path().criterion()));
}

std::string BudgetColumn(const v1::RecoverySpec& spec) {
  if (!spec.has_path()) return absl::StrCat(spec.options().nonzeros());
  return absl::StrCat(spec.path().min_nonzeros(), "-", spec.path().max_nonzeros());
}

std::string PathPage(const v1::RecoveryReport& report) {
  if (report.path().empty()) return "";
  const bool held_out = std::any_of(
      report.path().begin(), report.path().end(),
      [](const v1::PathPoint& point) { return point.has_held_out_relative_residual(); });
  std::vector<std::string> header = {"WEIGHTS", "RESIDUAL"};
  // With held-out samples their residual is the criterion.
  header.emplace_back(held_out ? "HELD OUT" : "CRITERION");
  for (const char* name : {"NEURONS", "ITERATIONS", "TIME", ""}) header.emplace_back(name);
  std::vector<std::vector<std::string>> rows = {header};
  for (const v1::PathPoint& point : report.path()) {
    rows.push_back({absl::StrCat(point.nonzeros()), FormatNumber(point.relative_residual()),
                    held_out ? FormatNumber(point.held_out_relative_residual())
                             : absl::StrFormat("%.1f", point.criterion_value()),
                    absl::StrCat(point.active_neurons()), absl::StrCat(point.iterations()),
                    FormatDuration(point.elapsed()), point.chosen() ? "<- chosen" : ""});
  }
  return absl::StrCat("\nBudgets on the path:\n", FormatTable(rows),
                      held_out ? "Chosen is the smallest budget whose held-out error is within one "
                                 "standard error of the least.\n"
                               : "");
}

}  // namespace thresher::client
