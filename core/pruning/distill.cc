#include "core/pruning/distill.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/evaluation.h"
#include "core/network/merge.h"
#include "core/pruning/layer_matrices.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr int64_t kBlock = 1024;
constexpr int kRefineSteps = 50;

// The closer of two networks after Levenberg-Marquardt on all their layers, within so many seconds
// (0: no limit).
SparseNetwork BestRefined(SparseNetwork a, SparseNetwork b, const Samples& samples, int num_threads,
                          double seconds, const std::stop_token& stop) {
  Engine engine(num_threads, stop);
  const Design design = MakeDesign(samples.input_view(), a.has_bias);
  std::vector<double> targets(samples.num_outputs * design.padded_samples());
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t c = 0; c < samples.num_outputs; ++c) {
      targets[c * design.padded_samples() + i] = samples.targets[i * samples.num_outputs + c];
    }
  }
  const JointProblem problem = {engine, design, targets, samples.num_outputs,
                                DeadlineAfter(seconds)};
  const JointRefineOptions refine = {.max_steps = kRefineSteps};
  const double loss_of_a = JointRefine(problem, refine, a);
  const double loss_of_b = JointRefine(problem, refine, b);
  return loss_of_b < loss_of_a && !engine.stop_requested() ? b : a;
}

}  // namespace

std::string_view PruneTargetsName(PruneTargets targets) {
  switch (targets) {
    case PruneTargets::kNetwork:
      return "network";
    case PruneTargets::kLabels:
      return "labels";
  }
  return "unknown";
}

absl::StatusOr<Samples> WithNetworkTargets(const SparseNetwork& network, const Samples& samples,
                                           Loss loss, int num_threads) {
  const absl::StatusOr<EvaluationPlan> plan = MakeEvaluationPlan(network);
  if (!plan.ok()) return plan.status();
  if ((loss == Loss::kCrossEntropy && plan->num_outputs < 2) ||
      (loss == Loss::kLogistic && plan->num_outputs != 1)) {
    return absl::InvalidArgumentError(absl::StrCat("loss: ", std::string(LossName(loss)),
                                                   " does not fit a network of ", plan->num_outputs,
                                                   " outputs"));
  }
  if (samples.num_inputs != network.num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("network: takes ", network.num_inputs,
                                                   " inputs, but the samples have ",
                                                   samples.num_inputs));
  }
  Samples answered = samples;
  answered.num_outputs = plan->num_outputs;
  answered.targets.resize(samples.num_samples * plan->num_outputs);
  Engine engine(num_threads);
  engine.pool.ParallelFor((samples.num_samples + kBlock - 1) / kBlock, [&](int64_t b, int) {
    const int64_t first = b * kBlock;
    const int64_t size = std::min(kBlock, samples.num_samples - first);
    std::vector<double> outputs(size * plan->num_outputs);
    Evaluate(*plan, {samples.inputs.data() + first * samples.num_inputs, size, samples.num_inputs},
             outputs)
        .IgnoreError();
    UnitMatrix values(size, plan->num_outputs);
    std::transform(outputs.begin(), outputs.end(), values.data(),
                   [](double output) { return static_cast<float>(output); });
    values = OutputMeans(loss, values);
    std::copy_n(values.data(), values.size(), answered.targets.begin() + first * plan->num_outputs);
  });
  return answered;
}

absl::StatusOr<PruneResult> Distill(const SparseNetwork& network, const Samples& samples,
                                    const DistillOptions& options, const PruneObserver& observer,
                                    const std::stop_token& stop, std::string_view checkpoint) {
  if (!(options.start_factor >= 1) || !(options.start_factor <= kMaxStartFactor)) {
    return absl::InvalidArgumentError(absl::StrCat("start_factor: must be between 1 and ",
                                                   kMaxStartFactor, ", is ", options.start_factor));
  }
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  OneShotOptions one_shot = options.one_shot;
  const Loss loss = one_shot.loss;
  // Labels say what the outputs are for; the layers' shares are set by the outputs themselves,
  // whose curvature does not vanish where classes are sure.
  one_shot.loss = Loss::kSquared;
  if (one_shot.pattern_size == 0 && !one_shot.whole_neurons &&
      one_shot.scope == PruneScope::kGlobal) {
    one_shot.nonzeros = static_cast<int64_t>(
        std::min(std::ceil(options.start_factor * static_cast<double>(one_shot.nonzeros)),
                 static_cast<double>(Nonzeros(network))));
  }
  Samples answered;
  if (options.targets == PruneTargets::kNetwork) {
    absl::StatusOr<Samples> made = WithNetworkTargets(network, samples, loss, one_shot.num_threads);
    if (!made.ok()) return made.status();
    answered = *std::move(made);
  }
  const Samples& fitted = options.targets == PruneTargets::kNetwork ? answered : samples;
  absl::StatusOr<SparseNetwork> start = PruneOneShot(network, samples.input_view(), one_shot, stop);
  if (!start.ok()) return start.status();

  PruneOptions training;
  training.nonzeros = std::min(options.one_shot.nonzeros, Nonzeros(*start));
  training.loss = loss;
  training.epochs = options.epochs;
  training.batch_size = options.batch_size;
  training.learning_rate = options.learning_rate;
  training.learning_rate_decay = options.learning_rate_decay;
  training.schedule = PruneSchedule::kGradual;
  training.saliency = Saliency::kFisher;
  training.schedule_power = options.schedule_power;
  training.prune_end = options.prune_end;
  training.seed = one_shot.seed;
  training.num_threads = one_shot.num_threads;
  training.time_limit_seconds = options.time_limit_seconds;
  absl::StatusOr<PruneResult> result =
      PruneTrained(*start, fitted, training, observer, stop, checkpoint);
  if (!result.ok()) return result.status();
  SparseNetwork pruned = std::move(result->network);
  const bool whole = result->termination_reason == TerminationReason::kIterationLimit;
  if (whole && loss == Loss::kSquared && options.one_shot.nonzeros <= kMaxJointWeights) {
    // Few weights are refined best, from what training or what one shot has left of them.
    one_shot.nonzeros = options.one_shot.nonzeros;
    const absl::StatusOr<SparseNetwork> at_once =
        PruneOneShot(network, samples.input_view(), one_shot, stop);
    if (at_once.ok()) {
      pruned = BestRefined(pruned, *at_once, fitted, one_shot.num_threads,
                           TimeLeft(options.time_limit_seconds, result->elapsed_seconds), stop);
    }
  }
  result->network = ReduceNetwork(pruned);
  result->nonzeros = Nonzeros(result->network);
  result->active_neurons = ActiveNeurons(result->network);
  if (samples.num_outputs == NumOutputs(result->network)) {
    absl::StatusOr<Fit> fit = MeasureFit(result->network, samples, loss, one_shot.num_threads);
    if (!fit.ok()) return fit.status();
    result->fit = *fit;
  }
  return result;
}

}  // namespace thresher
