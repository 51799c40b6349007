#include "core/recovery/fit_quality.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/kernels/engine.h"
#include "core/network/compare.h"

namespace thresher {
namespace {

// Samples of one block.
constexpr int64_t kBlock = 4096;

// Rows of num_outputs entries: softmax, or the logistic function of one.
void ToProbabilities(Loss loss, int64_t num_outputs, std::span<double> outputs) {
  if (loss == Loss::kLogistic) {
    for (double& output : outputs) output = 1 / (1 + std::exp(-output));
    return;
  }
  for (size_t i = 0; i < outputs.size(); i += num_outputs) {
    const std::span<double> row = outputs.subspan(i, num_outputs);
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& output : row) sum += output = std::exp(output - largest);
    for (double& output : row) output /= sum;
  }
}

struct Sums {
  double loss = 0;
  double squared_error = 0;
  double squared_targets = 0;
  double peak = 0;
  int64_t right = 0;
};

// Of the samples from `first` on. The network fits the samples.
Sums SumsOf(const Network& network, const Samples& samples, Loss loss, int64_t first,
            int64_t size) {
  const int64_t k = samples.num_outputs;
  std::vector<double> outputs(size * k);
  Evaluate(network, {samples.inputs.data() + first * samples.num_inputs, size, samples.num_inputs},
           outputs)
      .IgnoreError();
  const std::span<const float> targets(samples.targets.data() + first * k, size * k);
  Sums sums;
  if (loss != Loss::kSquared) {
    std::vector<double> gradient(k);
    for (int64_t i = 0; i < size; ++i) {
      sums.loss += SampleLoss(loss, std::span(outputs).subspan(i * k, k), targets.subspan(i * k, k),
                              gradient);
    }
    ToProbabilities(loss, k, outputs);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const double target = targets[i];
    sums.squared_error += (outputs[i] - target) * (outputs[i] - target);
    sums.squared_targets += target * target;
    sums.peak = std::max(sums.peak, std::abs(target));
  }
  // Two classes are one output, over a half or not; of more the largest output counts.
  const auto class_of = [k](const auto* row) {
    return k == 1 ? static_cast<int64_t>(row[0] >= 0.5) : std::max_element(row, row + k) - row;
  };
  for (int64_t i = 0; i < size; ++i) {
    sums.right += class_of(outputs.data() + i * k) == class_of(targets.data() + i * k) ? 1 : 0;
  }
  return sums;
}

}  // namespace

absl::StatusOr<FitQuality> MeasureFitQuality(const Network& network, const Samples& samples,
                                             Loss loss, int num_threads) {
  const int64_t num_outputs = NumOutputs(network);
  const int64_t n = samples.num_samples;
  if (n < 1 || samples.num_outputs != num_outputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "samples: at least one sample and ", num_outputs,
        " outputs, the network's, are needed; there are ", n, " samples of ", samples.num_outputs));
  }
  // Whatever may be wrong shows on one sample.
  std::vector<double> outputs(num_outputs);
  const absl::Status status =
      Evaluate(network, {samples.inputs.data(), 1, samples.num_inputs}, outputs);
  if (!status.ok()) return status;
  const int64_t num_blocks = (n + kBlock - 1) / kBlock;
  std::vector<Sums> blocks(num_blocks);
  Engine engine(static_cast<int>(std::min<int64_t>(num_threads, num_blocks)));
  engine.pool.ParallelFor(num_blocks, [&](int64_t block, int) {
    const int64_t first = block * kBlock;
    blocks[block] = SumsOf(network, samples, loss, first, std::min(kBlock, n - first));
  });
  Sums sums;
  for (const Sums& block : blocks) {
    sums.loss += block.loss;
    sums.squared_error += block.squared_error;
    sums.squared_targets += block.squared_targets;
    sums.peak = std::max(sums.peak, block.peak);
    sums.right += block.right;
  }
  const auto count = static_cast<double>(n);
  FitQuality fit;
  fit.num_samples = n;
  fit.mean_squared_error = sums.squared_error / (count * static_cast<double>(num_outputs));
  if (loss != Loss::kSquared) fit.loss = sums.loss / count;
  fit.relative_residual =
      sums.squared_error == 0 ? 0 : std::sqrt(sums.squared_error / sums.squared_targets);
  fit.psnr_db = PsnrDb(sums.squared_error, n * num_outputs, sums.peak);
  if (!samples.class_names.empty()) {
    fit.accuracy = static_cast<double>(sums.right) / count;
  } else if (const double deviation2 = TargetDeviation2(samples);
             loss == Loss::kSquared && deviation2 > 0) {
    fit.r_squared = 1 - sums.squared_error / deviation2;
  }
  return fit;
}

}  // namespace thresher
