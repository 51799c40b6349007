#include "core/recovery/fit_quality.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/network/compare.h"

namespace thresher {
namespace {

// Rows of num_outputs entries: softmax, or the logistic function of one.
void ToProbabilities(Loss loss, int64_t num_outputs, std::vector<double>& outputs) {
  if (loss == Loss::kLogistic) {
    for (double& output : outputs) output = 1 / (1 + std::exp(-output));
    return;
  }
  for (size_t i = 0; i < outputs.size(); i += num_outputs) {
    const std::span<double> row(outputs.data() + i, num_outputs);
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& output : row) sum += output = std::exp(output - largest);
    for (double& output : row) output /= sum;
  }
}

}  // namespace

absl::StatusOr<FitQuality> MeasureFit(const Network& network, const Samples& samples, Loss loss) {
  const int64_t num_outputs = NumOutputs(network);
  if (samples.num_samples < 1 || samples.num_outputs != num_outputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: at least one sample and ", num_outputs,
                     " outputs, the network's, are needed; there are ", samples.num_samples,
                     " samples of ", samples.num_outputs));
  }
  std::vector<double> outputs(samples.num_samples * num_outputs);
  if (absl::Status status = Evaluate(network, samples.input_view(), outputs); !status.ok()) {
    return status;
  }
  FitQuality fit;
  if (loss != Loss::kSquared) {
    double sum = 0;
    std::vector<double> gradient(num_outputs);
    for (int64_t i = 0; i < samples.num_samples; ++i) {
      sum += SampleLoss(loss, std::span(outputs).subspan(i * num_outputs, num_outputs),
                        std::span(samples.targets).subspan(i * num_outputs, num_outputs), gradient);
    }
    fit.loss = sum / static_cast<double>(samples.num_samples);
    ToProbabilities(loss, num_outputs, outputs);
  }
  double squared_error = 0;
  double squared_targets = 0;
  double peak = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const double target = samples.targets[i];
    squared_error += (outputs[i] - target) * (outputs[i] - target);
    squared_targets += target * target;
    peak = std::max(peak, std::abs(target));
  }
  // Two classes are one output, over a half or not; of more the largest output counts.
  const auto class_of = [num_outputs](const auto* row) {
    return num_outputs == 1 ? static_cast<int64_t>(row[0] >= 0.5)
                            : std::max_element(row, row + num_outputs) - row;
  };
  int64_t right = 0;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    right += class_of(outputs.data() + i * num_outputs) ==
                     class_of(samples.targets.data() + i * num_outputs)
                 ? 1
                 : 0;
  }
  fit.num_samples = samples.num_samples;
  fit.relative_residual = squared_error == 0 ? 0 : std::sqrt(squared_error / squared_targets);
  fit.psnr_db = PsnrDb(squared_error, static_cast<int64_t>(outputs.size()), peak);
  if (!samples.class_names.empty()) {
    fit.accuracy = static_cast<double>(right) / static_cast<double>(samples.num_samples);
  } else if (const double deviation2 = TargetDeviation2(samples);
             loss == Loss::kSquared && deviation2 > 0) {
    fit.r_squared = 1 - squared_error / deviation2;
  }
  return fit;
}

}  // namespace thresher
