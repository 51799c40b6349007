// How well a recovered network explains samples.
#ifndef THRESHER_CORE_RECOVERY_FIT_QUALITY_H_
#define THRESHER_CORE_RECOVERY_FIT_QUALITY_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/samples/samples.h"

namespace thresher {

// How well a network explains samples.
struct FitQuality {
  int64_t num_samples = 0;
  double relative_residual = 0;    // || f(X) - y || / || y ||
  double psnr_db = 0;              // 20 log10 max|y| - 10 log10 MSE, within +-400
  std::optional<double> accuracy;  // share of samples in the right class; classes only
  // Classes, with a loss other than squared: its mean over the samples.
  std::optional<double> loss = {};
  // Without classes, where targets are not constant: 1 - || f(X) - y ||^2 / || y - mean y ||^2.
  std::optional<double> r_squared = {};
  double mean_squared_error = 0;  // over samples and outputs; in no record
};

// Samples scaled as the network was fitted. Of several outputs the residual and the PSNR are over
// all, and the class is the largest. For losses of classes outputs are turned into probabilities
// first. Errors: INVALID_ARGUMENT as Evaluate, for no samples and
// for another number of outputs. Cost: as Evaluate, in blocks; the same bits for any number of
// threads.
absl::StatusOr<FitQuality> MeasureFitQuality(const Network& network, const Samples& samples,
                                             Loss loss = Loss::kSquared, int num_threads = 1);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_FIT_QUALITY_H_
