// Pruning of a trained network with training: the network given is the function to recover, from
// its own outputs or from labels.
#ifndef THRESHER_CORE_PRUNING_DISTILL_H_
#define THRESHER_CORE_PRUNING_DISTILL_H_

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/pruning/one_shot.h"
#include "core/pruning/prune.h"

namespace thresher {

// What a pruned network is fitted to.
enum class PruneTargets {
  kNetwork,  // the given network's outputs: for losses of classes their probabilities
  kLabels,   // the samples' targets
};
// "network", "labels".
std::string_view PruneTargetsName(PruneTargets targets);

inline constexpr double kMaxStartFactor = 1000;

struct DistillOptions {
  // The answer that is started from; its loss, budget and threads are those of all. With a pattern,
  // whole neurons or budgets per layer it has the final budget and its weights are trained; else it
  // has start_factor times as many weights and training prunes the rest.
  OneShotOptions one_shot;
  double start_factor = 8;  // 1 to kMaxStartFactor
  PruneTargets targets = PruneTargets::kNetwork;
  // Of the training: fisher saliency, gradual.
  int64_t epochs = 30;
  int64_t batch_size = 128;
  double learning_rate = 2e-3;
  double learning_rate_decay = 0.5;
  double schedule_power = 3;
  double prune_end = 0.6;
  double time_limit_seconds = 0;
};

// Errors: INVALID_ARGUMENT naming the option, as ValidateOptions of one-shot pruning and of
// training.
absl::Status ValidateOptions(const DistillOptions& options, const NetworkSizes& network,
                             int64_t num_samples);

// What Distill will need, the samples included. Expects valid options.
PruneCost PredictCost(const DistillOptions& options, const NetworkSizes& network,
                      int64_t num_samples);

// Samples with the network's answers in place of their targets. Errors: as Evaluate, and
// INVALID_ARGUMENT `loss` where it does not fit the number of outputs.
absl::StatusOr<Samples> WithNetworkTargets(const SparseNetwork& network, const Samples& samples,
                                           Loss loss, int num_threads);

// One-shot pruning, then all layers trained together while the rest of the weights goes
// (PruneTrained); for squared loss and at most kMaxJointWeights weights the result and the
// one-shot answer of the same budget are refined to second order (JointRefine) and the closer one
// is taken; ReduceNetwork drops and joins neurons, but with a pattern, which it would break: then
// DropDeadGroups drops them. The samples' targets are read for
// PruneTargets::kLabels and for the fit. Where the one-shot answer has a layer without weights it
// is the result. Resumes from a checkpoint to the same bits; errors: as PruneOneShot and
// PruneTrained.
absl::StatusOr<PruneResult> Distill(const SparseNetwork& network, const Samples& samples,
                                    const DistillOptions& options,
                                    const PruneObserver& observer = {},
                                    const std::stop_token& stop = {},
                                    std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_DISTILL_H_
