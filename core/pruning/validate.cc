#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/pruning/batch_gradient.h"
#include "core/pruning/prune.h"

namespace thresher {
namespace {

constexpr int kMaxThreads = 256;
constexpr int64_t kMaxSamples = int64_t{1} << 40;
// Units of a layer, and the constant, are 32-bit.
constexpr int64_t kMaxUnits = std::numeric_limits<int32_t>::max() - 64;
// All weights are held at first.
constexpr int64_t kMaxWeights = int64_t{1} << 40;
constexpr int64_t kMaxEpochs = 1'000'000;
constexpr double kMaxLearningRate = 1000;
constexpr double kMaxPenalty = 1e6;
constexpr double kMaxPower = 10;
constexpr size_t kMaxRounds = 10000;

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
}

absl::Status ValidateUnits(std::string_view field, int64_t units) {
  if (units < 1 || units > kMaxUnits) {
    return Invalid(field, absl::StrCat("must be between 1 and ", kMaxUnits, ", is ", units));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateOptions(const PruneOptions& options, int64_t num_samples, int64_t num_inputs,
                             int64_t num_outputs) {
  if (num_samples < 1) return Invalid("num_samples", "there are no samples to learn from");
  if (num_samples > kMaxSamples) return Invalid("num_samples", "more than 2^40");
  if (auto status = ValidateUnits("num_inputs", num_inputs); !status.ok()) return status;
  if (auto status = ValidateUnits("num_outputs", num_outputs); !status.ok()) return status;
  const auto num_layers = static_cast<int64_t>(options.hidden_widths.size());
  if (num_layers < 1 || num_layers > kMaxHiddenLayers) {
    return Invalid("hidden_widths", absl::StrCat("must name 1 to ", kMaxHiddenLayers,
                                                 " hidden layers, names ", num_layers));
  }
  double num_weights = 0;
  double fan_in = static_cast<double>(num_inputs);
  for (const int64_t width : options.hidden_widths) {
    if (auto status = ValidateUnits("hidden_widths", width); !status.ok()) return status;
    num_weights += static_cast<double>(width) * (fan_in + 1);
    fan_in = static_cast<double>(width);
  }
  num_weights += static_cast<double>(num_outputs) * (fan_in + 1);
  if (num_weights > static_cast<double>(kMaxWeights)) {
    return Invalid("hidden_widths", "the dense network has more than 2^40 weights; take less");
  }
  const int64_t weights = NumWeights(num_inputs, options.hidden_widths, num_outputs, options.bias);
  if (options.nonzeros < 1 || options.nonzeros > weights) {
    return Invalid("nonzeros", absl::StrCat("must be between 1 and the dense network's ", weights,
                                            " weights, is ", options.nonzeros));
  }
  if (options.loss == Loss::kCrossEntropy && num_outputs < 2) {
    return Invalid("loss", "cross_entropy needs two or more outputs; choose logistic for one");
  }
  if (options.loss == Loss::kLogistic && num_outputs != 1) {
    return Invalid("loss", absl::StrCat("logistic takes one output, and there are ", num_outputs,
                                        "; choose cross_entropy"));
  }
  if (options.epochs < 1 || options.epochs > kMaxEpochs) {
    return Invalid("epochs",
                   absl::StrCat("must be between 1 and ", kMaxEpochs, ", is ", options.epochs));
  }
  if (options.batch_size < 0) {
    return Invalid("batch_size", absl::StrCat("must be at least 0 (0 takes all samples), is ",
                                              options.batch_size));
  }
  if (!(options.learning_rate > 0) || !(options.learning_rate <= kMaxLearningRate)) {
    return Invalid("learning_rate", absl::StrCat("must be positive and at most ", kMaxLearningRate,
                                                 ", is ", options.learning_rate));
  }
  if (!(options.weight_decay >= 0) || !(options.weight_decay <= 1) ||
      !(options.learning_rate * options.weight_decay <= 1)) {
    return Invalid("weight_decay",
                   absl::StrCat("must be between 0 and 1, and learning_rate * weight_decay at most "
                                "1, is ",
                                options.weight_decay));
  }
  if (!(options.l2 >= 0) || !(options.l2 <= kMaxPenalty)) {
    return Invalid("l2", absl::StrCat("must be between 0 and ", kMaxPenalty, ", is ", options.l2));
  }
  if (!(options.learning_rate_decay >= 0) || !(options.learning_rate_decay <= 1)) {
    return Invalid("learning_rate_decay",
                   absl::StrCat("must be between 0 and 1, is ", options.learning_rate_decay));
  }
  if (options.schedule == PruneSchedule::kRounds) {
    if (!(options.prune_fraction > 0) || !(options.prune_fraction < 1)) {
      return Invalid("prune_fraction",
                     absl::StrCat("must be above 0 and below 1, is ", options.prune_fraction));
    }
    if (RoundNonzeros(options, weights).size() > kMaxRounds) {
      return Invalid("prune_fraction",
                     absl::StrCat("takes more than ", kMaxRounds, " rounds; prune more in each"));
    }
    if (options.rewind_epoch < 0 || options.rewind_epoch >= options.epochs) {
      return Invalid("rewind_epoch", absl::StrCat("must be at least 0 and below epochs = ",
                                                  options.epochs, ", is ", options.rewind_epoch));
    }
  } else {
    if (options.rewind_epoch != 0) {
      return Invalid("rewind_epoch", "the gradual schedule never rewinds; leave it 0");
    }
    if (options.retrain_after_last_prune) {
      return Invalid("retrain_after_last_prune",
                     "the gradual schedule trains on by itself after prune_end of its epochs; "
                     "leave it unset");
    }
    if (!(options.schedule_power >= 1) || !(options.schedule_power <= kMaxPower)) {
      return Invalid("schedule_power", absl::StrCat("must be between 1 and ", kMaxPower, ", is ",
                                                    options.schedule_power));
    }
    if (!(options.prune_end > 0) || !(options.prune_end <= 1)) {
      return Invalid("prune_end",
                     absl::StrCat("must be above 0 and at most 1, is ", options.prune_end));
    }
  }
  if (options.num_threads < 1 || options.num_threads > kMaxThreads) {
    return Invalid("num_threads", absl::StrCat("must be between 1 and ", kMaxThreads, ", is ",
                                               options.num_threads));
  }
  if (!(options.time_limit_seconds >= 0) || !std::isfinite(options.time_limit_seconds)) {
    return Invalid("time_limit_seconds", absl::StrCat("must be at least 0 (0 means no limit), is ",
                                                      options.time_limit_seconds));
  }
  return absl::OkStatus();
}

PruneCost PredictCost(const PruneOptions& options, int64_t num_samples, int64_t num_inputs,
                      int64_t num_outputs) {
  const int64_t weights = NumWeights(num_inputs, options.hidden_widths, num_outputs, options.bias);
  const auto n = static_cast<double>(num_samples);
  const int64_t batch_size =
      options.batch_size == 0 ? num_samples : std::min(options.batch_size, num_samples);
  double bytes = n * static_cast<double>(num_inputs + num_outputs) * sizeof(float);
  bytes += 2 * n * sizeof(int64_t);  // the order of an epoch
  // A weight's row, value, rewind value and moments, at the epoch's start and now; and while
  // pruning its saliency, or its place in a checkpoint.
  bytes += static_cast<double>(weights) * (2.0 * 20 + 40);
  bytes += static_cast<double>(BatchGradientBytes(num_inputs, options.hidden_widths, num_outputs,
                                                  options.bias, batch_size, options.num_threads));
  constexpr double kFixedBytes = 16.0 * 1024 * 1024;  // code, stacks, allocator slack
  bytes = 1.1 * bytes + kFixedBytes;
  PruneCost cost;
  cost.peak_memory_bytes =
      static_cast<int64_t>(std::min(bytes, static_cast<double>(int64_t{1} << 62)));
  // Two products a weight, a third behind the first layer.
  const double first =
      static_cast<double>(num_inputs) * static_cast<double>(options.hidden_widths.front());
  const double share_behind = 1 - first / static_cast<double>(weights);
  const double flops_a_weight = (4 + 2 * share_behind) * n;
  if (options.schedule == PruneSchedule::kGradual) {
    cost.iterations = options.epochs;
    const auto most = static_cast<double>(weights);
    const auto least = static_cast<double>(options.nonzeros);
    const double mean_while_pruning = least + (most - least) / (options.schedule_power + 1);
    cost.flops = flops_a_weight * static_cast<double>(options.epochs) *
                 (options.prune_end * mean_while_pruning + (1 - options.prune_end) * least);
    return cost;
  }
  int64_t remaining = weights;
  int64_t epochs = options.epochs;
  for (const int64_t after : RoundNonzeros(options, weights)) {
    cost.iterations += epochs;
    cost.flops += flops_a_weight * static_cast<double>(epochs) * static_cast<double>(remaining);
    remaining = after;
    epochs = options.epochs - options.rewind_epoch;
  }
  if (options.retrain_after_last_prune) {
    cost.iterations += epochs;
    cost.flops += flops_a_weight * static_cast<double>(epochs) * static_cast<double>(remaining);
  }
  return cost;
}

}  // namespace thresher
