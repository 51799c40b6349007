#include "server/jobs/pruning_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/jobs/job_samples.h"

namespace thresher::jobs {
namespace {

constexpr int64_t kCancelledReportWork = 2'000'000;  // multiply-adds
constexpr int64_t kCancelledReportSamples = 100;     // at least

}  // namespace

Samples ThinnedForCancelled(const Samples& samples, int64_t nonzeros) {
  const int64_t affordable = kCancelledReportWork / std::max<int64_t>(nonzeros, 1);
  return Thinned(samples, std::max(kCancelledReportSamples, affordable));
}

void AddFit(std::string_view prefix, const Fit& fit, std::map<std::string, std::string>& metadata) {
  const std::string start(prefix);
  metadata[start + "mean_loss"] = absl::StrCat(fit.loss);
  if (fit.psnr_db) metadata[start + "psnr_db"] = absl::StrCat(*fit.psnr_db);
  if (fit.accuracy) metadata[start + "accuracy"] = absl::StrCat(*fit.accuracy);
  if (fit.r_squared) metadata[start + "r_squared"] = absl::StrCat(*fit.r_squared);
}

}  // namespace thresher::jobs
