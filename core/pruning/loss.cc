#include "core/pruning/loss.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/network/compare.h"

namespace thresher {
namespace {

// How far probabilities may sum from 1: those of float32 files do, those of other things do not.
constexpr double kSumTolerance = 1e-3;

}  // namespace

std::string_view LossName(Loss loss) {
  switch (loss) {
    case Loss::kSquared:
      return "squared";
    case Loss::kCrossEntropy:
      return "cross_entropy";
    case Loss::kLogistic:
      return "logistic";
  }
  return "unknown";
}

std::optional<Loss> LossOfName(std::string_view name) {
  for (const Loss loss : {Loss::kSquared, Loss::kCrossEntropy, Loss::kLogistic}) {
    if (LossName(loss) == name) return loss;
  }
  return std::nullopt;
}

Loss PublishedLoss(int64_t num_classes) {
  return num_classes > 2 ? Loss::kCrossEntropy : Loss::kSquared;
}

absl::Status ValidateTargets(Loss loss, const Samples& samples) {
  if (loss == Loss::kSquared) return absl::OkStatus();
  const int64_t k = samples.num_outputs;
  if (loss == Loss::kCrossEntropy && k < 2) {
    return absl::InvalidArgumentError(
        "loss: cross_entropy needs an output for each of two or more classes, and the samples have "
        "one; choose logistic");
  }
  if (loss == Loss::kLogistic && k != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "loss: logistic takes one output, and the samples have ", k, "; choose cross_entropy"));
  }
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      const float target = samples.targets[i * k + j];
      if (!(target >= 0 && target <= 1)) {
        return absl::InvalidArgumentError(
            absl::StrCat("targets: row ", i, ", column ", j, " is ", target, "; loss ",
                         std::string(LossName(loss)), " takes probabilities, within [0, 1]"));
      }
      sum += target;
    }
    if (loss == Loss::kCrossEntropy && std::abs(sum - 1) > kSumTolerance) {
      return absl::InvalidArgumentError(
          absl::StrCat("targets: row ", i, " sums to ", sum,
                       "; loss cross_entropy takes the classes' probabilities, of sum 1"));
    }
  }
  return absl::OkStatus();
}

double SampleLoss(Loss loss, std::span<const double> outputs, std::span<const float> targets,
                  std::span<double> gradient) {
  const size_t k = outputs.size();
  switch (loss) {
    case Loss::kSquared: {
      double sum = 0;
      for (size_t j = 0; j < k; ++j) {
        const double error = outputs[j] - targets[j];
        sum += error * error;
        gradient[j] = 2 * error / static_cast<double>(k);
      }
      return sum / static_cast<double>(k);
    }
    case Loss::kCrossEntropy: {
      // log sum exp(f) = max + log sum exp(f - max), no exponent of which is positive.
      const double largest = *std::max_element(outputs.begin(), outputs.end());
      double sum = 0;
      double mass = 0;
      for (size_t j = 0; j < k; ++j) {
        gradient[j] = std::exp(outputs[j] - largest);
        sum += gradient[j];
        mass += targets[j];
      }
      const double log_sum = std::log(sum);
      double value = 0;
      for (size_t j = 0; j < k; ++j) {
        // Target by target: a difference of large sums would lose a small loss.
        if (targets[j] != 0) value += targets[j] * (log_sum + (largest - outputs[j]));
        gradient[j] = mass * (gradient[j] / sum) - targets[j];
      }
      return value;
    }
    case Loss::kLogistic: {
      // exp of minus the magnitude never overflows.
      const double f = outputs[0];
      const double tail = std::exp(-std::abs(f));
      const double target = targets[0];
      gradient[0] = (f >= 0 ? 1 / (1 + tail) : tail / (1 + tail)) - target;
      // max(f, 0) - y f without a difference of large numbers.
      return std::log1p(tail) + (f >= 0 ? (1 - target) * f : -target * f);
    }
  }
  return 0;
}

bool NamesClass(Loss loss, std::span<const double> outputs, std::span<const float> targets) {
  if (outputs.size() == 1) {
    const double middle = loss == Loss::kLogistic ? 0.0 : 0.5;
    return (outputs[0] >= middle) == (targets[0] >= 0.5f);
  }
  return std::max_element(outputs.begin(), outputs.end()) - outputs.begin() ==
         std::max_element(targets.begin(), targets.end()) - targets.begin();
}

void FitSums::Add(Loss loss_kind, std::span<const double> outputs, std::span<const float> targets,
                  double sample_loss) {
  ++num_samples;
  loss += sample_loss;
  for (size_t j = 0; j < outputs.size(); ++j) {
    squared_error += (outputs[j] - targets[j]) * (outputs[j] - targets[j]);
  }
  right_classes += NamesClass(loss_kind, outputs, targets) ? 1 : 0;
}

void FitSums::Add(const FitSums& other) {
  num_samples += other.num_samples;
  loss += other.loss;
  squared_error += other.squared_error;
  right_classes += other.right_classes;
}

double TargetDeviation2(const Samples& samples) {
  const int64_t k = samples.num_outputs;
  std::vector<double> means(k, 0.0);
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t j = 0; j < k; ++j) means[j] += samples.targets[i * k + j];
  }
  for (double& mean : means) mean /= static_cast<double>(samples.num_samples);
  double sum = 0;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      const double deviation = samples.targets[i * k + j] - means[j];
      sum += deviation * deviation;
    }
  }
  return sum;
}

FitScale MakeFitScale(Loss loss, const Samples& samples) {
  FitScale scale;
  scale.classes = loss != Loss::kSquared || !samples.class_names.empty();
  scale.num_outputs = samples.num_outputs;
  for (const float target : samples.targets) {
    scale.largest_target = std::max(scale.largest_target, std::abs(static_cast<double>(target)));
  }
  if (samples.num_samples > 0) {
    scale.mean_deviation2 = TargetDeviation2(samples) / static_cast<double>(samples.num_samples);
  }
  return scale;
}

Fit SummarizeFit(Loss loss, const FitSums& sums, const FitScale& scale) {
  Fit fit;
  const auto n = static_cast<double>(std::max<int64_t>(sums.num_samples, 1));
  fit.loss = sums.loss / n;
  // Targets that are all 0 have no peak to compare with.
  if (loss == Loss::kSquared && scale.largest_target > 0) {
    fit.psnr_db =
        PsnrDb(sums.squared_error, sums.num_samples * scale.num_outputs, scale.largest_target);
  }
  if (scale.classes) {
    fit.accuracy = static_cast<double>(sums.right_classes) / n;
  } else if (scale.mean_deviation2 > 0) {
    fit.r_squared = 1 - sums.squared_error / (n * scale.mean_deviation2);
  }
  return fit;
}

}  // namespace thresher
