// What Recover accepts, and what it will cost.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/kernels/design.h"
#include "core/kernels/top_gradient.h"
#include "core/network/network.h"
#include "core/recovery/count_sketch.h"
#include "core/recovery/enumerated.h"
#include "core/recovery/layers.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/recovery.h"
#include "core/recovery/sequential.h"
#include "core/recovery/solver.h"
#include "core/recovery/winnow.h"

namespace thresher {
namespace {

constexpr int kMaxThreads = 256;
// Keys of candidate weights and byte counts stay far from overflow.
constexpr int64_t kMaxCandidates = int64_t{1} << 50;
constexpr int64_t kMaxSamples = int64_t{1} << 40;
constexpr int64_t kMaxUpperWidth = int64_t{1} << 14;
constexpr int64_t kMaxInputs = std::numeric_limits<int32_t>::max() - 64;

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
}

bool SolvesOverAllSamples(Algorithm algorithm) {
  return algorithm == Algorithm::kHtp || algorithm == Algorithm::kCosamp ||
         algorithm == Algorithm::kSplicing || algorithm == Algorithm::kWinnow;
}

}  // namespace

bool TakesStepSize(Algorithm algorithm) {
  return algorithm == Algorithm::kIht || algorithm == Algorithm::kReciprocal ||
         algorithm == Algorithm::kCountSketch;
}

namespace {

// The published algorithms for several outputs or layers.
absl::Status ValidatePublished(const RecoveryOptions& options, int64_t num_outputs) {
  const std::string name(AlgorithmName(options.algorithm));
  if (options.loss == Loss::kLogistic) {
    return Invalid("loss", absl::StrCat("algorithm ", name,
                                        " has no logistic loss; choose squared, or algorithm "
                                        "winnow"));
  }
  if (options.algorithm == Algorithm::kCountSketch) {
    if (num_outputs < 2) {
      return Invalid("algorithm",
                     "count_sketch is for several outputs, the samples have one; choose aiht");
    }
    if (options.hidden_layers > 1) {
      return Invalid("hidden_layers",
                     absl::StrCat("algorithm count_sketch fits one, is ", options.hidden_layers,
                                  "; choose algorithm sequential"));
    }
  } else if (options.nonzeros > 0 && options.nonzeros < options.hidden_layers) {
    return Invalid("nonzeros", absl::StrCat("algorithm sequential gives every hidden layer a part: "
                                            "must be at least hidden_layers = ",
                                            options.hidden_layers, ", is ", options.nonzeros));
  }
  if (options.working_nonzeros > options.nonzeros) {
    return Invalid("working_nonzeros",
                   absl::StrCat("algorithm ", name, " keeps `nonzeros` weights; leave it unset"));
  }
  return absl::OkStatus();
}

// Networks other than a sum of neurons: several layers, several outputs, a loss for classes.
absl::Status ValidateForm(const RecoveryOptions& options, int64_t num_samples,
                          int64_t num_outputs) {
  if (options.hidden_layers < 1 || options.hidden_layers > kMaxHiddenLayers) {
    return Invalid("hidden_layers", absl::StrCat("must be between 1 and ", kMaxHiddenLayers,
                                                 ", is ", options.hidden_layers));
  }
  if (options.loss == Loss::kCrossEntropy && num_outputs < 2) {
    return Invalid("loss",
                   "cross_entropy is for several outputs, the samples have one; choose logistic "
                   "for two classes, or squared");
  }
  if (options.loss == Loss::kLogistic && num_outputs > 1) {
    return Invalid("loss", absl::StrCat("logistic is for one output, the samples have ",
                                        num_outputs, "; choose cross_entropy, or squared"));
  }
  const Algorithm algorithm = ChooseAlgorithm(options, num_samples);
  const bool published =
      algorithm == Algorithm::kCountSketch || algorithm == Algorithm::kSequential;
  std::string form;
  if (published) form = absl::StrCat("algorithm is ", std::string(AlgorithmName(algorithm)));
  if (num_outputs > 1) form = absl::StrCat("the samples have ", num_outputs, " outputs");
  if (options.hidden_layers > 1) {
    form = absl::StrCat("hidden_layers is ", options.hidden_layers);
  }
  if (options.loss != Loss::kSquared) {
    form = absl::StrCat("loss is ", std::string(LossName(options.loss)));
  }
  if (form.empty()) return absl::OkStatus();
  const auto refuse = [&form](std::string_view field, std::string_view remedy) {
    return Invalid(field, absl::StrCat(form, "; ", std::string(remedy)));
  };
  if (options.gate_mode != GateMode::kSequential) {
    return refuse("gate_mode", "such networks have sequential gates");
  }
  if (options.linear_term != LinearTerm::kNone)
    return refuse("linear_term", "leave the linear term out");
  if (published) return ValidatePublished(options, num_outputs);
  if (options.batch_size > 0 && options.batch_size < num_samples) {
    return refuse("batch_size", "leave it unset, or choose algorithm sequential");
  }
  if (algorithm != Algorithm::kWinnow) {
    return refuse("algorithm", "choose auto, winnow, count_sketch or sequential");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t NumCandidates(const RecoveryOptions& options, int64_t num_inputs, int64_t num_outputs) {
  const int64_t constant = options.bias ? 1 : 0;
  const int64_t width = options.hidden_width;
  int64_t candidates = (num_inputs + constant) * width;
  candidates += (options.hidden_layers - 1) * (width + constant) * width;
  if (num_outputs > 1 || options.loss != Loss::kSquared) {
    candidates += (width + constant) * num_outputs;
  }
  return candidates;
}

absl::Status ValidateOptions(const RecoveryOptions& options, int64_t num_samples,
                             int64_t num_inputs, int64_t num_outputs) {
  if (num_samples < 1) return Invalid("num_samples", "there are no samples to learn from");
  if (num_samples > kMaxSamples) return Invalid("num_samples", "more than 2^40");
  if (num_inputs < 1) return Invalid("num_inputs", "the samples have no inputs");
  if (num_inputs > kMaxInputs) return Invalid("num_inputs", "more than 2^31 - 64");
  if (options.hidden_width < 1) {
    return Invalid("hidden_width", absl::StrCat("must be at least 1, is ", options.hidden_width));
  }
  const int64_t num_columns = num_inputs + (options.bias ? 1 : 0);
  if (options.hidden_width > kMaxCandidates / (num_columns + num_outputs)) {
    return Invalid(
        "hidden_width",
        absl::StrCat("(inputs + outputs) * hidden_width must be at most 2^50; with ", num_columns,
                     " inputs and ", num_outputs, " outputs hidden_width may be at most ",
                     kMaxCandidates / (num_columns + num_outputs)));
  }
  if (absl::Status status = ValidateForm(options, num_samples, num_outputs); !status.ok()) {
    return status;
  }
  // Layers above the first are dense while they are trained.
  if (options.hidden_layers > 1 && options.hidden_width > kMaxUpperWidth) {
    return Invalid("hidden_width",
                   absl::StrCat("must be at most ", kMaxUpperWidth,
                                " with several hidden layers, is ", options.hidden_width));
  }
  const int64_t num_candidates = NumCandidates(options, num_inputs, num_outputs);
  const char* what =
      options.hidden_layers > 1 || num_outputs > 1 ? "all weights" : "inputs * hidden_width";
  if (options.nonzeros < 1 || options.nonzeros > num_candidates) {
    return Invalid("nonzeros", absl::StrCat("must be between 1 and ", what, " = ", num_candidates,
                                            ", is ", options.nonzeros));
  }
  if (options.working_nonzeros != 0 &&
      (options.working_nonzeros < options.nonzeros || options.working_nonzeros > num_candidates)) {
    return Invalid("working_nonzeros",
                   absl::StrCat("must be 0 or between nonzeros = ", options.nonzeros, " and ", what,
                                " = ", num_candidates, ", is ", options.working_nonzeros));
  }
  if (options.linear_term != LinearTerm::kNone) {
    if (options.gate_mode != GateMode::kSequential) {
      return Invalid("linear_term",
                     "algorithm winnow fits it, which moves its gates; choose sequential gates or "
                     "leave linear_term unset");
    }
    if (options.algorithm != Algorithm::kAuto && options.algorithm != Algorithm::kWinnow) {
      return Invalid("linear_term",
                     absl::StrCat("algorithm ", std::string(AlgorithmName(options.algorithm)),
                                  " fits none; choose auto or winnow, or leave linear_term unset"));
    }
    if (options.batch_size > 0 && options.batch_size < num_samples) {
      return Invalid("linear_term",
                     "is fitted over all samples; leave batch_size or linear_term unset");
    }
  }
  if (options.step_size) {
    if (!TakesStepSize(options.algorithm)) {
      return Invalid("step_size",
                     "only algorithms iht, reciprocal and count_sketch take a step size; leave it "
                     "unset or choose one of them");
    }
    if (!(*options.step_size > 0) || !std::isfinite(*options.step_size)) {
      return Invalid("step_size",
                     absl::StrCat("must be positive and finite, is ", *options.step_size));
    }
  }
  if (options.batch_size < 0) {
    return Invalid("batch_size", absl::StrCat("must be at least 0 (0 takes all samples), is ",
                                              options.batch_size));
  }
  if (options.gate_mode == GateMode::kEnumerated) {
    if (options.algorithm != Algorithm::kAuto && options.algorithm != Algorithm::kCosamp) {
      return Invalid("algorithm",
                     absl::StrCat("enumerated gates are searched by cosamp alone; choose auto or "
                                  "cosamp, or other gates for ",
                                  std::string(AlgorithmName(options.algorithm))));
    }
    if (options.batch_size > 0 && options.batch_size < num_samples) {
      return Invalid("batch_size",
                     "enumerated gates are searched over all samples; leave batch_size unset");
    }
    if (num_columns < 2) {
      return Invalid("gate_mode",
                     "enumerated gates lie on two inputs and the samples have one; set bias, or "
                     "choose sequential gates");
    }
  }
  if (options.batch_size > 0 && options.batch_size < num_samples &&
      SolvesOverAllSamples(options.algorithm)) {
    return Invalid("batch_size",
                   absl::StrCat("algorithm ", std::string(AlgorithmName(options.algorithm)),
                                " solves over all samples; leave batch_size unset or choose "
                                "another algorithm, svrg for very many samples"));
  }
  if (options.algorithm == Algorithm::kSplicing && options.gate_mode == GateMode::kSequential) {
    return Invalid("gate_mode",
                   "algorithm splicing compares losses under gates that stay; choose random gates, "
                   "or algorithm winnow, which also exchanges weights");
  }
  if (options.algorithm == Algorithm::kWinnow && options.gate_mode == GateMode::kRandom) {
    return Invalid("gate_mode", "algorithm winnow moves its gates; choose sequential gates");
  }
  if (options.num_threads < 1 || options.num_threads > kMaxThreads) {
    return Invalid("num_threads", absl::StrCat("must be between 1 and ", kMaxThreads, ", is ",
                                               options.num_threads));
  }
  if (options.mask_memory_limit_bytes < 0) {
    return Invalid("mask_memory_limit_bytes", "must be at least 0");
  }
  return ValidateTermination(options.termination);
}

RecoveryCost PredictCost(const RecoveryOptions& given, int64_t num_samples, int64_t num_inputs,
                         int64_t num_outputs) {
  const RecoveryOptions options = ResolveOptions(given, num_samples);
  const int64_t num_columns = num_inputs + (options.bias ? 1 : 0);
  const auto n = static_cast<double>(num_samples);
  const int64_t working = options.working_nonzeros;
  // In sequential mode at most s~ neurons are live after the first steps.
  const double all_gates = static_cast<double>(options.hidden_width);
  const double mask_bytes = n / 8 * all_gates;
  const bool masks_kept = mask_bytes <= static_cast<double>(options.mask_memory_limit_bytes);
  // Support, candidates and their masks; sums of the products on them.
  const double proposed = options.algorithm == Algorithm::kCosamp ? 3 : 2;
  const double candidates = proposed * static_cast<double>(working) + 128;
  const double candidate_neurons = std::min(candidates, all_gates);
  const double chunks = static_cast<double>(MakeRowChunks(num_samples).size());
  double bytes = static_cast<double>(DesignBytes(num_samples, num_columns));
  bytes += n * static_cast<double>(num_inputs + num_outputs) * sizeof(float);  // the samples
  bytes += masks_kept ? mask_bytes : 0;
  bytes += 3 * n / 8 * candidate_neurons;
  bytes +=
      candidates * (chunks * sizeof(double) + options.num_threads * kSumLanes * sizeof(double) +
                    12 * sizeof(KeyedValue));
  bytes += 10 * n * sizeof(double);  // residuals and images
  if (options.gate_mode != GateMode::kSequential) {
    bytes += 2 * all_gates * sizeof(double);  // the screen
  }
  if (!masks_kept) bytes += candidate_neurons * static_cast<double>(num_columns) * sizeof(float);
  bytes += static_cast<double>(TopGradientBytes(num_samples, num_columns, options.hidden_width,
                                                options.num_threads, masks_kept));
  // The normal matrix and its factor, of winnow's working support or of the report's final one;
  // the sums of one chunk a thread.
  const int64_t parameters =
      (options.algorithm == Algorithm::kWinnow ? working : options.nonzeros) +
      (options.linear_term != LinearTerm::kNone ? num_columns : 0);
  const auto dense = static_cast<double>(std::min(parameters, kMaxDenseWeights));
  bytes += dense * dense * (3 * sizeof(double) + options.num_threads * sizeof(float));
  if (options.algorithm == Algorithm::kWinnow) {
    bytes += WinnowBytes(options, num_samples, num_columns);
  }
  if (options.algorithm == Algorithm::kCountSketch || options.algorithm == Algorithm::kSequential) {
    bytes += SequentialBytes(options, num_samples, num_inputs, num_outputs);
  } else if (num_outputs > 1 || options.hidden_layers > 1 || options.loss != Loss::kSquared) {
    bytes += LayersBytes(options, num_samples, num_inputs, num_outputs);
  }
  const bool enumerated = options.gate_mode == GateMode::kEnumerated;
  if (enumerated) bytes += EnumeratedBytes(options, num_samples, num_columns);
  constexpr double kFixedBytes = 16.0 * 1024 * 1024;  // code, stacks, allocator slack
  bytes = 1.1 * bytes + kFixedBytes;
  RecoveryCost cost;
  cost.peak_memory_bytes =
      static_cast<int64_t>(std::min(bytes, static_cast<double>(int64_t{1} << 62)));
  const double dense_pass = 2 * n * static_cast<double>(num_columns) * all_gates;
  const double support_pass = 2 * n * static_cast<double>(working);
  const double gate_pass =
      enumerated ? SweepFlops(num_samples, num_columns) : (masks_kept ? 1 : 2) * dense_pass;
  cost.flops_per_iteration = gate_pass + 24 * support_pass;
  return cost;
}

}  // namespace thresher
