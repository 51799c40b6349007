#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/gradient_screen.h"
#include "core/kernels/kernel_table.h"
#include "core/network/compare.h"
#include "core/recovery/checkpoint.h"
#include "core/recovery/count_sketch.h"
#include "core/recovery/enumerated.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/layers.h"
#include "core/recovery/least_squares.h"
#include "core/recovery/outputs.h"
#include "core/recovery/recovery.h"
#include "core/recovery/sequential.h"
#include "core/recovery/solver.h"
#include "core/recovery/sparse_linear.h"
#include "core/recovery/steps.h"
#include "core/recovery/support.h"
#include "core/recovery/winnow.h"

namespace thresher {
namespace {

bool AllFinite(const SparseVector& weights) {
  return std::all_of(weights.begin(), weights.end(),
                     [](const KeyedValue& entry) { return std::isfinite(entry.value); });
}

// Larger magnitudes would overflow single-precision sums.
constexpr float kMaxMagnitude = 1e30f;
// Share of the weights that one round of the final reduction removes.
constexpr double kReductionRound = 0.1;
// Stream of the counter-based generator that draws mini-batches, and of the order of the
// batches of epoch t, kBatchStream + 1 + t; gates use their index.
constexpr uint64_t kBatchStream = 0xba7c4000000000ull;
// Passes over the batches in one epoch of svrg.
constexpr int kPassesAnEpoch = 2;
// Its default batches: this many, of at least so many samples.
constexpr int64_t kCountSketchBatches = 10;
constexpr int64_t kSvrgBatches = 16;
constexpr int64_t kLeastSvrgBatch = 256;
// Default working support of reciprocal thresholding over the budget.
constexpr int64_t kReciprocalSupport = 2;

// One batch of samples as the kernels read them.
struct Batch {
  Design design;
  std::vector<double> targets;  // padded
};

class Solver {
 public:
  Solver(const Samples& samples, const RecoveryOptions& options, const RecoveryStart& start,
         const RecoveryObserver& observer, std::stop_token stop)
      : options_(options),
        start_(start),
        observer_(observer),
        num_columns_(samples.num_inputs + (options.bias ? 1 : 0)),
        num_inputs_(samples.num_inputs),
        engine_(options.num_threads, std::move(stop)) {
    MakeBatches(samples);
    for (const float target : samples.targets) {
      target_norm2_ += static_cast<double>(target) * target;
      max_target_ = std::max(max_target_, std::abs(static_cast<double>(target)));
    }
    num_samples_ = samples.num_samples;
    const int64_t limit = options_.mask_memory_limit_bytes / static_cast<int64_t>(batches_.size());
    for (const Batch& batch : batches_) {
      start_gates_.push_back(StartGates(batch.design));
      start_gates_.back().KeepMasks(engine_, batch.design, limit);
      if (!Sequential()) screens_.emplace_back(batch.design);
    }
  }

  RecoveryResult Run(SolverState state, uint64_t fingerprint);

 private:
  void MakeBatches(const Samples& samples);
  GateField StartGates(const Design& design) const;

  int OutputSign(int64_t neuron) const;
  bool Sequential() const { return options_.gate_mode == GateMode::kSequential; }
  // Start gates serve the first pass over the batches and one batch more, as published; then
  // the gates follow the weights. A start network is its own gates from the beginning.
  bool UsesStartGates(int64_t iteration) const {
    return !Sequential() || (!start_.network && iteration <= static_cast<int64_t>(batches_.size()));
  }
  // h_j = w_j: the fused weight c_j = sign_j w_j times the sign.
  GateField WeightGates(const Design& design, const SparseVector& weights) const;

  double EstimateStepSize(absl::FunctionRef<bool()> give_up);
  StepResult Step(const SolverState& state);
  // The mini-batches of one epoch of svrg, in their order.
  std::vector<RowChunk> EpochBatches(int64_t iteration) const;
  // Sum of squared residuals of the network that `weights` stand for, over all samples.
  double NetworkLoss(const SparseVector& weights) { return NetworkLoss(engine_, weights); }
  double NetworkLoss(Engine& engine, const SparseVector& weights);
  SparseVector ReduceToBudget(SparseVector weights);
  SparseVector Refit(const SparseVector& weights);
  Network MakeNetwork(const SparseVector& weights) const;
  double RelativeResidual(double loss) const { return std::sqrt(loss / target_norm2_); }
  double Psnr(double loss) const { return PsnrDb(loss, num_samples_, max_target_); }

  const RecoveryOptions& options_;
  const RecoveryStart& start_;
  const RecoveryObserver& observer_;
  const int64_t num_columns_;
  const int64_t num_inputs_;
  int64_t num_samples_ = 0;
  double target_norm2_ = 0;
  double max_target_ = 0;
  Engine engine_;
  std::vector<Batch> batches_;
  std::vector<GateField> start_gates_;   // one a batch
  std::vector<GradientScreen> screens_;  // one a batch, for gates that stay

  // Left by NetworkLoss for the next step on a single batch: the weights' gates and the
  // residual under them.
  struct Evaluated {
    GateField gates;
    std::vector<double> residual;
  };
  std::optional<Evaluated> evaluated_;
};

void Solver::MakeBatches(const Samples& samples) {
  const int64_t n = samples.num_samples;
  std::vector<int64_t> order;
  if (options_.batch_size < n) {
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    CounterRandom random(options_.seed, kBatchStream);
    for (int64_t i = n - 1; i > 0; --i) {
      std::swap(order[i], order[static_cast<int64_t>(random.NextBelow(i + 1))]);
    }
  }
  // The batches of svrg are runs of words of the whole.
  const int64_t batch_size = options_.algorithm == Algorithm::kSvrg ? n : options_.batch_size;
  for (int64_t first = 0; first < n; first += batch_size) {
    const int64_t size = std::min(batch_size, n - first);
    std::span<const int64_t> rows;
    if (!order.empty()) rows = std::span(order).subspan(first, size);
    Batch batch{MakeDesign(samples.input_view(), options_.bias, rows), {}};
    batch.targets.resize(batch.design.padded_samples());
    for (int64_t i = 0; i < size; ++i) {
      batch.targets[i] = samples.targets[rows.empty() ? i : rows[i]];
    }
    batches_.push_back(std::move(batch));
  }
}

GateField Solver::StartGates(const Design& design) const {
  if (start_.gates) return GateField(&*start_.gates, design);
  return GateField(RandomGateSet{options_.seed, options_.hidden_width}, design);
}

int Solver::OutputSign(int64_t neuron) const {
  if (start_.network && neuron < start_.network->hidden_width()) {
    return start_.network->output_signs[neuron];
  }
  return options_.output_signs == OutputSigns::kMixed && neuron % 2 == 1 ? -1 : 1;
}

GateField Solver::WeightGates(const Design& design, const SparseVector& weights) const {
  NeuronRows grouped = GroupByNeuron(weights, num_columns_);
  for (int64_t k = 0; k < grouped.rows.num_rows(); ++k) {
    const double sign = OutputSign(grouped.neurons[k]);
    for (int64_t e = grouped.rows.row_begin[k]; e < grouped.rows.row_begin[k + 1]; ++e) {
      grouped.rows.value[e] *= sign;
    }
  }
  return GateField({std::move(grouped.neurons), std::move(grouped.rows)}, design);
}

std::vector<RowChunk> Solver::EpochBatches(int64_t iteration) const {
  const int64_t num_words = batches_.front().design.num_words;
  const int64_t batch_words =
      std::min(num_words, (options_.batch_size + kSamplesPerWord - 1) / kSamplesPerWord);
  const int64_t num_batches = (num_words + batch_words - 1) / batch_words;
  CounterRandom random(options_.seed, kBatchStream + 1 + static_cast<uint64_t>(iteration));
  std::vector<RowChunk> batches;
  for (int pass = 0; pass < kPassesAnEpoch; ++pass) {
    const auto first = static_cast<int64_t>(batches.size());
    for (int64_t b = 0; b < num_batches; ++b) {
      batches.push_back({b * batch_words, std::min(batch_words, num_words - b * batch_words)});
      std::swap(batches.back(), batches[first + static_cast<int64_t>(random.NextBelow(b + 1))]);
    }
  }
  return batches;
}

StepResult Solver::Step(const SolverState& state) {
  const auto num_batches = static_cast<int64_t>(batches_.size());
  const int64_t b = state.iteration % num_batches;
  const Batch& batch = batches_[b];
  std::optional<GateField> own_gates;
  const GateField* gates = nullptr;
  if (UsesStartGates(state.iteration)) {
    gates = &start_gates_[b];
  } else if (evaluated_ && num_batches == 1) {
    gates = &evaluated_->gates;
  } else {
    own_gates = WeightGates(batch.design, state.weights);
    own_gates->KeepMasks(engine_, batch.design, options_.mask_memory_limit_bytes);
    gates = &*own_gates;
  }
  GradientScreen* screen = Sequential() ? nullptr : &screens_[b];
  const GatedProblem problem{engine_, batch.design, batch.targets, *gates, screen};
  const bool residual_known = evaluated_ && gates == &evaluated_->gates;
  const std::vector<double> residual =
      residual_known ? evaluated_->residual : problem.Residual(state.weights);
  switch (options_.algorithm) {
    case Algorithm::kIht:
      return FixedStep(problem, state.weights, residual, options_.working_nonzeros,
                       state.fixed_step_size);
    case Algorithm::kAiht:
      return PublishedStep(problem, state.weights, residual, options_.working_nonzeros);
    case Algorithm::kHtp:
      return PursuitStep(problem, state.weights, residual, options_.working_nonzeros);
    case Algorithm::kCosamp:
      return CosampStep(problem, state.weights, residual, options_.working_nonzeros);
    case Algorithm::kSplicing:
      return SplicingStep(problem, state.weights, residual, options_.working_nonzeros);
    case Algorithm::kReciprocal:
      return ReciprocalStep(problem, state.weights, residual, options_.working_nonzeros,
                            options_.nonzeros, state.fixed_step_size);
    case Algorithm::kSvrg:
      return VarianceReducedStep(problem, state.weights, residual, options_.working_nonzeros,
                                 state.step_scale, EpochBatches(state.iteration));
    case Algorithm::kAuto:    // resolved before
    case Algorithm::kWinnow:  // these have loops of their own
    case Algorithm::kCountSketch:
    case Algorithm::kSequential:
    case Algorithm::kNiht:
      break;
  }
  return NormalisedStep(problem, state.weights, residual, options_.working_nonzeros);
}

double Solver::NetworkLoss(Engine& engine, const SparseVector& weights) {
  evaluated_.reset();
  double loss = 0;
  for (size_t b = 0; b < batches_.size(); ++b) {
    const Batch& batch = batches_[b];
    if (!Sequential()) {
      const GatedProblem problem{engine, batch.design, batch.targets, start_gates_[b]};
      loss += SquaredNorm(problem.Residual(weights));
      continue;
    }
    GateField gates = WeightGates(batch.design, weights);
    gates.KeepMasks(engine, batch.design, options_.mask_memory_limit_bytes);
    const GatedProblem problem{engine, batch.design, batch.targets, gates};
    std::vector<double> residual = problem.Residual(weights);
    loss += SquaredNorm(residual);
    if (batches_.size() == 1) evaluated_ = Evaluated{std::move(gates), std::move(residual)};
  }
  return loss;
}

// Least squares on the support under the gates of the weights (or the fixed gates), over the
// first batch when there are several; kept only where the network gets better.
SparseVector Solver::Refit(const SparseVector& weights) {
  const Batch& batch = batches_.front();
  std::optional<GateField> own_gates;
  if (Sequential()) {
    own_gates = WeightGates(batch.design, weights);
    own_gates->KeepMasks(engine_, batch.design, options_.mask_memory_limit_bytes);
  }
  const GatedProblem problem{engine_, batch.design, batch.targets,
                             own_gates ? *own_gates : start_gates_.front()};
  SparseVector refitted = LeastSquaresOnSupport(problem, weights);
  std::erase_if(refitted, [](const KeyedValue& entry) { return entry.value == 0; });
  return NetworkLoss(refitted) < NetworkLoss(weights) ? refitted : weights;
}

SparseVector Solver::ReduceToBudget(SparseVector weights) {
  while (static_cast<int64_t>(weights.size()) > options_.nonzeros) {
    const auto present = static_cast<int64_t>(weights.size());
    const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kReductionRound));
    weights =
        HardThreshold(std::max(options_.nonzeros, std::min(kept, present - 1)), std::move(weights));
    // Stopped: the rest of the reduction is the plain cut, which takes no time.
    if (!engine_.stop_requested()) {
      SparseVector refitted = Refit(weights);
      if (!engine_.stop_requested()) weights = std::move(refitted);
    }
  }
  return weights;
}

Network Solver::MakeNetwork(const SparseVector& weights) const {
  NeuronRows grouped = GroupByNeuron(weights, num_columns_);
  if (!Sequential()) {
    GatedNetwork network;
    network.num_inputs = num_inputs_;
    network.has_bias = options_.bias;
    if (start_.gates) {
      network.gates = *start_.gates;
    } else {
      network.gates = RandomGateSet{options_.seed, options_.hidden_width};
    }
    network.gate_index = std::move(grouped.neurons);
    network.weights = std::move(grouped.rows);
    return network;
  }
  SparseNetwork network;
  network.num_inputs = num_inputs_;
  network.has_bias = options_.bias;
  for (int64_t k = 0; k < grouped.rows.num_rows(); ++k) {
    const int sign = OutputSign(grouped.neurons[k]);
    network.output_signs.push_back(static_cast<int8_t>(sign));
    for (int64_t e = grouped.rows.row_begin[k]; e < grouped.rows.row_begin[k + 1]; ++e) {
      grouped.rows.value[e] *= sign;
    }
  }
  network.weights = std::move(grouped.rows);
  return network;
}

// 1 / beta under the start gates of the first batch.
double Solver::EstimateStepSize(absl::FunctionRef<bool()> give_up) {
  // The power method approaches beta from below; the margin keeps the step on the safe side.
  constexpr double kMargin = 1.05;
  const Batch& batch = batches_.front();
  const GatedProblem problem{engine_, batch.design, batch.targets, start_gates_.front()};
  const double beta = kMargin * LargestEigenvalue(problem, give_up);
  return beta > 0 ? 1 / beta : 1;
}

RecoveryResult Solver::Run(SolverState state, uint64_t fingerprint) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    return earlier_seconds + std::chrono::duration<double>(Clock::now() - begin).count();
  };
  // Not part of the state: it follows from the weights.
  if (state.iteration > 0 && Sequential() && batches_.size() == 1) NetworkLoss(state.weights);
  if (TakesStepSize(options_.algorithm) && state.fixed_step_size == 0) {
    state.fixed_step_size = options_.step_size ? *options_.step_size : EstimateStepSize([&] {
      const double limit = options_.termination.time_limit_seconds;
      return limit > 0 && elapsed() >= limit;
    });
  }

  std::optional<TerminationReason> reason;
  while (true) {
    state.elapsed_seconds = elapsed();
    reason =
        CheckTermination(options_.termination,
                         {.iterations = state.iteration,
                          .best_relative_residual = state.best_iteration > 0
                                                        ? state.best_relative_residual
                                                        : std::numeric_limits<double>::infinity(),
                          .iterations_without_progress = state.iterations_without_progress,
                          .elapsed_seconds = state.elapsed_seconds,
                          .cancelled = engine_.stop_requested()});
    if (!reason && state.fixed_point) reason = TerminationReason::kStagnated;
    // The estimate above ended before its time: it must not be kept.
    if (reason && state.iteration == 0) state.fixed_step_size = 0;
    if (reason) break;

    StepResult step = Step(state);
    const double loss = engine_.stop_requested() ? 0 : NetworkLoss(step.weights);
    if (engine_.stop_requested()) continue;  // the step is incomplete: the state stays
    if (!std::isfinite(loss) || !AllFinite(step.weights)) {
      state.fixed_point = true;  // the step diverges: what was before it is the end
      continue;
    }

    IterationReport report;
    report.support_changes = CountEntered(step.weights, state.weights);
    state.weights = std::move(step.weights);
    ++state.iteration;
    const double relative_residual = RelativeResidual(loss);
    if (state.best_iteration == 0 || relative_residual < state.best_relative_residual) {
      state.best_weights = state.weights;
      state.best_relative_residual = relative_residual;
      state.best_iteration = state.iteration;
    }
    ++state.iterations_without_progress;
    if (state.iteration == 1 ||
        state.best_relative_residual <=
            (1 - options_.termination.stagnation_decrease) * state.progress_relative_residual) {
      state.progress_relative_residual = state.best_relative_residual;
      state.iterations_without_progress = 0;
    }
    state.fixed_point = step.fixed_point && !Sequential();
    state.step_scale = step.next_step_scale;
    state.elapsed_seconds = elapsed();

    report.iteration = state.iteration;
    report.relative_residual = relative_residual;
    report.psnr_db = Psnr(loss);
    report.step_size = step.step_size;
    report.support_size = static_cast<int64_t>(state.weights.size());
    report.active_neurons =
        static_cast<int64_t>(GroupByNeuron(state.weights, num_columns_).neurons.size());
    report.best_relative_residual = state.best_relative_residual;
    report.elapsed_seconds = state.elapsed_seconds;
    if (observer_.on_network && report.support_size <= options_.nonzeros) {
      observer_.on_network(MakeNetwork(state.weights));
    }
    if (observer_.on_iteration) observer_.on_iteration(report);
    if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
      observer_.on_checkpoint(SerializeState(state, fingerprint));
    }
  }

  RecoveryResult result;
  result.termination_reason = *reason;
  result.checkpoint = SerializeState(state, fingerprint);
  // The published algorithm ends with its last iterate.
  const bool last =
      options_.algorithm == Algorithm::kAiht && *reason == TerminationReason::kIterationLimit;
  SparseVector weights = ReduceToBudget(last ? state.weights : state.best_weights);
  result.network = MakeNetwork(weights);
  result.nonzeros = static_cast<int64_t>(weights.size());
  result.active_neurons = static_cast<int64_t>(GroupByNeuron(weights, num_columns_).neurons.size());
  result.iterations = state.iteration;
  result.options_used = options_;
  if (TakesStepSize(options_.algorithm) && state.fixed_step_size > 0) {
    result.options_used.step_size = state.fixed_step_size;
  }
  // Where a stop ended the solve too: one pass over the samples with the gates at hand.
  Engine unstopped(options_.num_threads);
  const double loss = NetworkLoss(unstopped, weights);
  result.relative_residual = RelativeResidual(loss);
  result.psnr_db = Psnr(loss);
  result.elapsed_seconds = elapsed();
  return result;
}

SparseVector StartWeights(const RecoveryStart& start, int64_t num_columns) {
  SparseVector weights;
  if (!start.network) return weights;
  const SparseRows& rows = start.network->weights;
  for (int64_t j = 0; j < rows.num_rows(); ++j) {
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      if (rows.value[e] == 0) continue;
      weights.push_back(
          {j * num_columns + rows.column[e], rows.value[e] * start.network->output_signs[j]});
    }
  }
  return weights;
}

}  // namespace

std::string_view SolvePhaseName(SolvePhase phase) {
  switch (phase) {
    case SolvePhase::kIterate:
      return "iterate";
    case SolvePhase::kStart:
      return "start";
    case SolvePhase::kExpand:
      return "expand";
    case SolvePhase::kPrune:
      return "prune";
    case SolvePhase::kTrain:
      return "train";
    case SolvePhase::kSwap:
      return "swap";
  }
  return "iterate";
}

std::string_view AlgorithmName(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kAuto:
      return "auto";
    case Algorithm::kWinnow:
      return "winnow";
    case Algorithm::kIht:
      return "iht";
    case Algorithm::kNiht:
      return "niht";
    case Algorithm::kAiht:
      return "aiht";
    case Algorithm::kHtp:
      return "htp";
    case Algorithm::kCosamp:
      return "cosamp";
    case Algorithm::kSplicing:
      return "splicing";
    case Algorithm::kReciprocal:
      return "reciprocal";
    case Algorithm::kSvrg:
      return "svrg";
    case Algorithm::kCountSketch:
      return "count_sketch";
    case Algorithm::kSequential:
      return "sequential";
  }
  return "auto";
}

Algorithm ChooseAlgorithm(const RecoveryOptions& options, int64_t num_samples, bool gates_given) {
  if (options.algorithm != Algorithm::kAuto) return options.algorithm;
  if (options.linear_term != LinearTerm::kNone) return Algorithm::kWinnow;
  const bool mini_batch = options.batch_size > 0 && options.batch_size < num_samples;
  if (options.gate_mode == GateMode::kEnumerated) return Algorithm::kCosamp;
  if (options.gate_mode == GateMode::kRandom) {
    return mini_batch ? Algorithm::kNiht : Algorithm::kSplicing;
  }
  return mini_batch || gates_given ? Algorithm::kAiht : Algorithm::kWinnow;
}

RecoveryObserver WithRSquared(const RecoveryObserver& observer, const Samples& samples, Loss loss) {
  const double deviation2 = TargetDeviation2(samples);
  if (!observer.on_iteration || loss != Loss::kSquared || !samples.class_names.empty() ||
      deviation2 == 0) {
    return observer;
  }
  double norm2 = 0;
  for (const float target : samples.targets) norm2 += static_cast<double>(target) * target;
  RecoveryObserver measured = observer;
  measured.on_iteration = [&observer, ratio = norm2 / deviation2](const IterationReport& report) {
    IterationReport with = report;
    if (!with.r_squared) {
      with.r_squared = 1 - report.relative_residual * report.relative_residual * ratio;
    }
    observer.on_iteration(with);
  };
  return measured;
}

Loss ChooseLoss(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                int64_t num_outputs, int64_t num_classes) {
  if (num_classes == 0) return Loss::kSquared;
  RecoveryOptions of_classes = options;
  of_classes.loss = num_outputs > 1 ? Loss::kCrossEntropy : Loss::kLogistic;
  return ValidateOptions(of_classes, num_samples, num_inputs, num_outputs).ok() ? of_classes.loss
                                                                                : Loss::kSquared;
}

OutputSigns ChooseOutputSigns(const RecoveryOptions& options, const Samples& samples,
                              const RecoveryStart& start) {
  const auto negative = [](auto value) { return value < 0; };
  const bool mixed = options.linear_term != LinearTerm::kNone ||
                     std::any_of(samples.targets.begin(), samples.targets.end(), negative) ||
                     (start.network && std::any_of(start.network->output_signs.begin(),
                                                   start.network->output_signs.end(), negative));
  return mixed ? OutputSigns::kMixed : OutputSigns::kPositive;
}

RecoveryOptions ResolveOptions(const RecoveryOptions& options, int64_t num_samples,
                               bool gates_given) {
  RecoveryOptions resolved = options;
  resolved.algorithm = ChooseAlgorithm(options, num_samples, gates_given);
  if (resolved.working_nonzeros == 0) {
    resolved.working_nonzeros = options.nonzeros;
    if (resolved.algorithm == Algorithm::kWinnow) {
      resolved.working_nonzeros = DefaultWinnowSupport(options.nonzeros);
    } else if (options.gate_mode == GateMode::kEnumerated) {
      resolved.working_nonzeros = DefaultEnumeratedSupport(options.nonzeros);
    } else if (resolved.algorithm == Algorithm::kReciprocal) {
      resolved.working_nonzeros = kReciprocalSupport * options.nonzeros;
    }
  }
  if (resolved.algorithm == Algorithm::kSvrg) {
    if (resolved.batch_size == 0) {
      resolved.batch_size = std::max(kLeastSvrgBatch, num_samples / kSvrgBatches);
    }
    // Whole words of samples.
    resolved.batch_size =
        (resolved.batch_size + kSamplesPerWord - 1) / kSamplesPerWord * kSamplesPerWord;
  }
  if (resolved.algorithm == Algorithm::kCountSketch && resolved.batch_size == 0) {
    resolved.batch_size = (num_samples + kCountSketchBatches - 1) / kCountSketchBatches;
  }
  // The stages of `sequential` have defaults of their own.
  const bool of_stages = resolved.algorithm == Algorithm::kSequential;
  if ((resolved.batch_size == 0 && !of_stages) || resolved.batch_size > num_samples) {
    resolved.batch_size = num_samples;
  }
  return resolved;
}

absl::Status ValidateProblem(const Samples& samples, const RecoveryOptions& options,
                             const RecoveryStart& start) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  for (size_t i = 0; i < samples.inputs.size(); ++i) {
    if (std::abs(samples.inputs[i]) > kMaxMagnitude) {
      return absl::InvalidArgumentError(
          absl::StrCat("inputs: magnitudes must be at most 1e30; sample ", i / samples.num_inputs,
                       " has ", samples.inputs[i], "; rescale the inputs"));
    }
  }
  if (std::all_of(samples.targets.begin(), samples.targets.end(),
                  [&](float target) { return target == samples.targets.front(); })) {
    return absl::InvalidArgumentError(absl::StrCat("targets: all are ", samples.targets.front(),
                                                   "; constant targets leave nothing to recover"));
  }
  if (absl::Status status =
          ValidateOptions(options, samples.num_samples, samples.num_inputs, samples.num_outputs);
      !status.ok()) {
    return status;
  }
  const int64_t num_columns = samples.num_inputs + (options.bias ? 1 : 0);
  const bool layered =
      samples.num_outputs > 1 || options.hidden_layers > 1 || options.loss != Loss::kSquared;
  if (options.algorithm == Algorithm::kSequential && (start.gates || start.network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(start.gates ? "gates" : "network",
                     ": algorithm sequential begins every layer anew; leave the start out"));
  }
  if (layered && start.gates) {
    return absl::InvalidArgumentError(
        "gates: start gates are for one hidden layer, one output and the squared loss; leave them "
        "out");
  }
  if (layered && start.network) {
    return absl::InvalidArgumentError(
        "network: a start network is for one hidden layer, one output and the squared loss; leave "
        "it out");
  }
  if (start.gates && options.linear_term != LinearTerm::kNone) {
    return absl::InvalidArgumentError(
        "linear_term: algorithm winnow fits it and chooses its own start gates; leave the gates or "
        "linear_term out");
  }
  if (start.gates && options.algorithm == Algorithm::kWinnow) {
    return absl::InvalidArgumentError(
        "gates: algorithm winnow chooses its own start gates; give a start network instead");
  }
  if (start.gates && options.gate_mode == GateMode::kEnumerated) {
    return absl::InvalidArgumentError(
        "gates: enumerated gates are all there are; choose sequential or random gates to give "
        "some");
  }
  if (start.gates) {
    const auto expected = static_cast<size_t>(options.hidden_width * num_columns);
    if (start.gates->num_gates != options.hidden_width || start.gates->vectors.size() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("gates: must be hidden_width x inputs = ", options.hidden_width, " x ",
                       num_columns, ", holds ", start.gates->num_gates, " gates and ",
                       start.gates->vectors.size(), " numbers"));
    }
    if (!std::all_of(start.gates->vectors.begin(), start.gates->vectors.end(),
                     [](double value) { return std::isfinite(value); })) {
      return absl::InvalidArgumentError("gates: an entry is not finite");
    }
  }
  if (start.network) {
    if (absl::Status status = ValidateNetwork(*start.network); !status.ok()) return status;
    if (!start.network->upper_layers.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("network: the start network has ", HiddenWidths(*start.network).size(),
                       " hidden layers and ", NumOutputs(*start.network),
                       " outputs; start from one hidden layer with output signs"));
    }
    if (options.gate_mode != GateMode::kSequential) {
      return absl::InvalidArgumentError(
          "network: a start network brings its own gates; choose sequential gates");
    }
    if (!start.network->linear.empty() && options.linear_term == LinearTerm::kNone) {
      return absl::InvalidArgumentError(
          "network: the start network has a linear term; set linear_term to keep one");
    }
    if (start.network->num_inputs != samples.num_inputs ||
        start.network->has_bias != options.bias) {
      return absl::InvalidArgumentError(
          "network: the start network has other inputs or another bias than the problem");
    }
    if (start.network->hidden_width() > options.hidden_width) {
      return absl::InvalidArgumentError(
          absl::StrCat("network: the start network has ", start.network->hidden_width(),
                       " neurons, more than hidden_width = ", options.hidden_width));
    }
    const int64_t working =
        options.working_nonzeros > 0 ? options.working_nonzeros : options.nonzeros;
    if (start.network->weights.nonzeros() > working) {
      return absl::InvalidArgumentError(
          absl::StrCat("network: the start network has ", start.network->weights.nonzeros(),
                       " weights, more than the working support of ", working));
    }
  }
  return absl::OkStatus();
}

absl::Status MeasureOnSamples(const Samples& samples, RecoveryResult& result) {
  std::vector<double> outputs(samples.num_samples);
  if (absl::Status status = Evaluate(result.network, samples.input_view(), outputs); !status.ok()) {
    return status;
  }
  double loss = 0;
  double target_norm2 = 0;
  double max_target = 0;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const double target = samples.targets[i];
    loss += (outputs[i] - target) * (outputs[i] - target);
    target_norm2 += target * target;
    max_target = std::max(max_target, std::abs(target));
  }
  result.relative_residual = std::sqrt(loss / target_norm2);
  result.psnr_db = PsnrDb(loss, samples.num_samples, max_target);
  return absl::OkStatus();
}

RecoveryOptions WithChoices(const Samples& samples, const RecoveryOptions& given,
                            const RecoveryStart& start) {
  RecoveryOptions options = given;
  options.choose_loss = false;
  options.choose_output_signs = false;
  if (given.choose_output_signs) options.output_signs = ChooseOutputSigns(given, samples, start);
  if (given.choose_loss) {
    // Starts are for the squared loss.
    options.loss =
        start.gates || start.network
            ? Loss::kSquared
            : ChooseLoss(given, samples.num_samples, samples.num_inputs, samples.num_outputs,
                         static_cast<int64_t>(samples.class_names.size()));
  }
  return options;
}

absl::StatusOr<RecoveryResult> Recover(const Samples& samples, const RecoveryOptions& given,
                                       const RecoveryStart& start, const RecoveryObserver& observer,
                                       std::stop_token stop, std::string_view checkpoint) {
  const RecoveryOptions options = WithChoices(samples, given, start);
  if (absl::Status status = ValidateProblem(samples, options, start); !status.ok()) return status;
  const RecoveryOptions resolved =
      ResolveOptions(options, samples.num_samples, start.gates.has_value());
  const RecoveryObserver measured = WithRSquared(observer, samples, resolved.loss);
  const int64_t num_columns = samples.num_inputs + (options.bias ? 1 : 0);
  const uint64_t fingerprint = ProblemFingerprint(samples, resolved, start);
  if (absl::Status status = ValidateTargets(resolved.loss, samples); !status.ok()) return status;
  if (resolved.algorithm == Algorithm::kSequential) {
    return RecoverSequential(samples, resolved, measured, stop, checkpoint, fingerprint);
  }
  if (resolved.algorithm == Algorithm::kCountSketch) {
    return RecoverCountSketch(samples, resolved, measured, std::move(stop), checkpoint,
                              fingerprint);
  }
  if (resolved.hidden_layers > 1 || resolved.loss != Loss::kSquared) {
    return RecoverLayers(samples, resolved, measured, std::move(stop), checkpoint, fingerprint);
  }
  if (samples.num_outputs > 1) {
    RecoveryOptions of_outputs = resolved;
    of_outputs.output_signs = OutputSigns::kMixed;  // output weights are of either sign
    return RecoverOutputs(samples, of_outputs, measured, std::move(stop), checkpoint, fingerprint);
  }
  if (resolved.linear_term == LinearTerm::kSparse) {
    return RecoverSparseLinear(samples, resolved, start, measured, std::move(stop), checkpoint,
                               fingerprint);
  }
  if (resolved.algorithm == Algorithm::kWinnow) {
    return Winnow(samples, resolved, start, measured, std::move(stop), checkpoint, fingerprint);
  }
  if (resolved.gate_mode == GateMode::kEnumerated) {
    return RecoverEnumerated(samples, resolved, measured, std::move(stop), checkpoint, fingerprint);
  }
  SolverState state;
  state.weights = StartWeights(start, num_columns);
  if (!checkpoint.empty()) {
    absl::StatusOr<SolverState> parsed =
        ParseState(checkpoint, fingerprint, num_columns * options.hidden_width);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  Solver solver(samples, resolved, start, measured, std::move(stop));
  return solver.Run(std::move(state), fingerprint);
}

}  // namespace thresher
