// What the reports of both kinds of prunings share.
#ifndef THRESHER_SERVER_JOBS_PRUNING_REPORT_H_
#define THRESHER_SERVER_JOBS_PRUNING_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/pruning/loss.h"
#include "core/samples/samples.h"

namespace thresher::jobs {

// Of the samples as many as a cancelled job's report looks at, some 50 ms for a network of so many
// weights: whoever cancelled it waits.
Samples ThinnedForCancelled(const Samples& samples, int64_t nonzeros);

// "mean_loss" and what else the fit has, as a model carries it.
void AddFit(std::string_view prefix, const Fit& fit, std::map<std::string, std::string>& metadata);

}  // namespace thresher::jobs

#endif  // THRESHER_SERVER_JOBS_PRUNING_REPORT_H_
