#include "core/pruning/distill.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/evaluation.h"
#include "core/network/merge.h"
#include "core/pruning/fingerprint.h"
#include "core/pruning/layer_matrices.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr int64_t kBlock = 1024;
constexpr int kRefineSteps = 50;
constexpr std::string_view kMagic = "THRSHD02";

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

// Whether few weights are refined to second order.
bool IsRefined(const DistillOptions& options) {
  return options.one_shot.loss == Loss::kSquared && options.one_shot.nonzeros <= kMaxJointWeights;
}

// Of the answer that is started from.
OneShotOptions StartOptions(const DistillOptions& options, int64_t num_weights) {
  OneShotOptions start = options.one_shot;
  // Labels say what the outputs are for; the layers' shares are set by the outputs themselves,
  // whose curvature does not vanish where classes are sure.
  start.loss = Loss::kSquared;
  if (start.pattern_size == 0 && !start.whole_neurons && start.scope == PruneScope::kGlobal) {
    start.nonzeros = static_cast<int64_t>(
        std::min(std::ceil(options.start_factor * static_cast<double>(start.nonzeros)),
                 static_cast<double>(num_weights)));
  }
  return start;
}

PruneOptions TrainingOptions(const DistillOptions& options, int64_t nonzeros) {
  PruneOptions training;
  training.nonzeros = nonzeros;
  training.loss = options.one_shot.loss;
  training.epochs = options.epochs;
  training.batch_size = options.batch_size;
  training.learning_rate = options.learning_rate;
  training.learning_rate_decay = options.learning_rate_decay;
  training.schedule = PruneSchedule::kGradual;
  training.saliency = Saliency::kFisher;
  training.schedule_power = options.schedule_power;
  training.prune_end = options.prune_end;
  training.seed = options.one_shot.seed;
  training.num_threads = options.one_shot.num_threads;
  training.time_limit_seconds = options.time_limit_seconds;
  training.neuron_group = NeuronGroup(options.one_shot);
  return training;
}

bool HasEmptyLayer(const SparseNetwork& network) {
  const std::vector<int64_t> widths = HiddenWidths(network);
  return Nonzeros(network) == 0 || std::find(widths.begin(), widths.end(), 0) != widths.end();
}

struct DistillState {
  SparseNetwork start;
  std::string training;  // PruneTrained's checkpoint
};

std::string SerializeState(const SparseNetwork& start, const std::string& training,
                           uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  AddNetwork(start, writer);
  writer.AddText(training);
  return std::move(writer).Finish();
}

// `given` is the network that is pruned.
absl::StatusOr<DistillState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                        const SparseNetwork& given) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  DistillState state;
  state.start = {.num_inputs = given.num_inputs, .has_bias = given.has_bias};
  if (!TakeNetwork(*reader, state.start) || !reader->TakeText(state.training) || !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  return state;
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

absl::Status ValidateOptions(const DistillOptions& options, const NetworkSizes& network,
                             int64_t num_samples) {
  if (!(options.start_factor >= 1) || !(options.start_factor <= kMaxStartFactor)) {
    return absl::InvalidArgumentError(absl::StrCat("start_factor: must be between 1 and ",
                                                   kMaxStartFactor, ", is ", options.start_factor));
  }
  if (absl::Status status = ValidateOptions(options.one_shot, network); !status.ok()) return status;
  PruneOptions training = TrainingOptions(options, options.one_shot.nonzeros);
  training.hidden_widths = network.hidden_widths;
  training.bias = network.bias;
  return ValidateOptions(training, num_samples, network.num_inputs, network.num_outputs);
}

PruneCost PredictCost(const DistillOptions& options, const NetworkSizes& network,
                      int64_t num_samples) {
  const OneShotOptions start = StartOptions(options, network.nonzeros);
  const PruneCost of_start = PredictCost(start, network, num_samples);
  PruneOptions training = TrainingOptions(options, options.one_shot.nonzeros);
  training.hidden_widths = network.hidden_widths;
  training.bias = network.bias;
  PruneCost cost = PredictCost(training, num_samples, network.num_inputs, network.num_outputs);
  const auto n = static_cast<double>(num_samples);
  const auto d = static_cast<double>(network.num_inputs);
  const auto k = static_cast<double>(network.num_outputs);
  double samples = sizeof(float) * n * (d + k);
  double refining = 0;
  if (IsRefined(options)) {
    // The design and targets, with padding; normal matrices of groups and their factors; a block's
    // Jacobian a thread.
    constexpr double kSize = kMaxJointWeights;
    refining = sizeof(float) * (n + kBlock) * (d + 1) + sizeof(double) * (n + kBlock) * k +
               sizeof(double) * kSize * (20 * kSize + kBlock * start.num_threads);
  }
  if (options.targets == PruneTargets::kNetwork) samples *= 2;  // with the network's answers
  // Weights are trained as entries of layers: those of the start.
  const double most = std::max(static_cast<double>(cost.peak_memory_bytes),
                               static_cast<double>(of_start.peak_memory_bytes) + refining);
  cost.peak_memory_bytes =
      static_cast<int64_t>(std::min(most + samples, static_cast<double>(int64_t{1} << 62)));
  const double share = static_cast<double>(start.nonzeros) /
                       static_cast<double>(NumWeights(network.num_inputs, network.hidden_widths,
                                                      network.num_outputs, network.bias));
  cost.flops = of_start.flops + std::min(1.0, share) * cost.flops;
  return cost;
}

absl::StatusOr<PruneResult> Distill(const SparseNetwork& network, const Samples& samples,
                                    const DistillOptions& options, const PruneObserver& observer,
                                    const std::stop_token& stop, std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  if (absl::Status status = ValidateOptions(options, SizesOf(network), samples.num_samples);
      !status.ok()) {
    return status;
  }
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const Loss loss = options.one_shot.loss;
  OneShotOptions one_shot = StartOptions(options, Nonzeros(network));
  Samples answered;
  if (options.targets == PruneTargets::kNetwork) {
    absl::StatusOr<Samples> made = WithNetworkTargets(network, samples, loss, one_shot.num_threads);
    if (!made.ok()) return made.status();
    answered = *std::move(made);
  }
  const Samples& fitted = options.targets == PruneTargets::kNetwork ? answered : samples;
  Fingerprint fingerprint;
  AddNetwork(network, fingerprint);
  AddOptions(options, fingerprint);
  DistillState state;
  if (checkpoint.empty()) {
    absl::StatusOr<SparseNetwork> start =
        PruneOneShot(network, samples.input_view(), one_shot, stop);
    if (!start.ok()) return start.status();
    state.start = *std::move(start);
  } else {
    absl::StatusOr<DistillState> parsed = ParseState(checkpoint, fingerprint.value(), network);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }

  PruneResult result;
  const auto trained_from = Clock::now();
  if (HasEmptyLayer(state.start)) {
    result.network = state.start;
  } else {
    const PruneOptions training =
        TrainingOptions(options, std::min(options.one_shot.nonzeros, Nonzeros(state.start)));
    PruneObserver of_training = observer;
    if (observer.on_checkpoint) {
      of_training.on_checkpoint = [&](const std::string& of_epochs) {
        observer.on_checkpoint(SerializeState(state.start, of_epochs, fingerprint.value()));
      };
    }
    absl::StatusOr<PruneResult> trained =
        PruneTrained(state.start, fitted, training, of_training, stop, state.training);
    if (!trained.ok()) return trained.status();
    result = *std::move(trained);
    result.checkpoint = SerializeState(state.start, result.checkpoint, fingerprint.value());
  }
  const auto trained_to = Clock::now();
  SparseNetwork pruned = std::move(result.network);
  if (IsRefined(options) && result.termination_reason == TerminationReason::kIterationLimit) {
    // Few weights are refined best, from what training or what one shot has left of them.
    one_shot.nonzeros = options.one_shot.nonzeros;
    const absl::StatusOr<SparseNetwork> at_once =
        PruneOneShot(network, samples.input_view(), one_shot, stop);
    if (at_once.ok()) {
      pruned = BestRefined(pruned, *at_once, fitted, one_shot.num_threads,
                           TimeLeft(options.time_limit_seconds, result.elapsed_seconds), stop);
    }
  }
  // Joined neurons would have the weights of both.
  result.network = options.one_shot.pattern_size > 0
                       ? DropDeadGroups(FoldConstantUnits(pruned), NeuronGroup(options.one_shot))
                       : ReduceNetwork(pruned);
  result.nonzeros = Nonzeros(result.network);
  result.active_neurons = ActiveNeurons(result.network);
  if (samples.num_outputs == NumOutputs(result.network)) {
    absl::StatusOr<Fit> fit = MeasureFit(result.network, samples, loss, one_shot.num_threads);
    if (!fit.ok()) return fit.status();
    result.fit = *fit;
  }
  // What comes before and behind the training counts too.
  result.elapsed_seconds +=
      std::chrono::duration<double>((trained_from - begin) + (Clock::now() - trained_to)).count();
  return result;
}

}  // namespace thresher
