// Losses of a network's outputs and what is said about a fit.
#ifndef THRESHER_CORE_PRUNING_LOSS_H_
#define THRESHER_CORE_PRUNING_LOSS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/samples/samples.h"

namespace thresher {

// Of one sample with outputs f and targets y, k of each; a fit's loss is the mean over samples.
enum class Loss {
  kSquared,       // sum_j (f_j - y_j)^2 / k
  kCrossEntropy,  // -sum_j y_j log softmax(f)_j; y one-hot or probabilities of k >= 2 classes
  kLogistic,      // log(1 + exp(f)) - y f; k = 1, y in [0, 1]
};

// "squared", "cross_entropy", "logistic".
std::string_view LossName(Loss loss);

// Of such a name; none of another.
std::optional<Loss> LossOfName(std::string_view name);

// Of the published trainings: cross-entropy for more than two classes, else squared.
Loss PublishedLoss(int64_t num_classes);

// Errors: INVALID_ARGUMENT `loss` for a number of outputs that it does not fit, `targets` with the
// first sample whose targets are no probabilities (each within [0, 1], for cross-entropy of sum 1
// to 1e-3).
absl::Status ValidateTargets(Loss loss, const Samples& samples);

// The loss of one sample, and its derivatives by the outputs. Finite outputs, however large, give
// finite results.
double SampleLoss(Loss loss, std::span<const double> outputs, std::span<const float> targets,
                  std::span<double> gradient);

// Whether the outputs name the class that the targets do: the largest of several (the first of
// equals), else on the same side of one half (squared) or of probability one half (logistic).
bool NamesClass(Loss loss, std::span<const double> outputs, std::span<const float> targets);

// Sums over samples.
struct FitSums {
  int64_t num_samples = 0;
  double loss = 0;
  double squared_error = 0;  // over outputs
  int64_t right_classes = 0;

  void Add(Loss loss_kind, std::span<const double> outputs, std::span<const float> targets,
           double sample_loss);
  void Add(const FitSums& other);
};

struct Fit {
  double loss = 0;                      // mean over samples
  std::optional<double> psnr_db = {};   // 20 log10 max|y| - 10 log10 MSE; squared loss, y not 0
  std::optional<double> accuracy = {};  // of class targets: the share named right
  // Squared loss without classes, targets not constant: 1 - squared error / that of the means.
  std::optional<double> r_squared = {};

  bool operator==(const Fit&) const = default;
};

// Sum of squared distances of the targets from the mean of their output.
double TargetDeviation2(const Samples& samples);

// What the fits of these samples are measured against.
struct FitScale {
  bool classes = false;  // targets are classes: by name, or by the loss
  int64_t num_outputs = 1;
  double largest_target = 0;   // max |y|
  double mean_deviation2 = 0;  // TargetDeviation2 of one sample
};
FitScale MakeFitScale(Loss loss, const Samples& samples);

Fit SummarizeFit(Loss loss, const FitSums& sums, const FitScale& scale);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_LOSS_H_
