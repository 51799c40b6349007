#include "core/recovery/path.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "core/kernels/engine.h"
#include "core/network/absorb_linear.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/grow.h"
#include "core/recovery/path_selection.h"
#include "core/recovery/path_state.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/solver.h"
#include "core/samples/split.h"

namespace thresher {
namespace {

constexpr int64_t kMaxRounds = 4;
// Share of the weights that one step of a descent removes.
constexpr double kDescendShare = 0.1;
// A new round begins this much above the choice: too large a budget is the easy case.
constexpr double kHeadroom = 0.1;
// The working support of the recovery at max_nonzeros, which has room already.
constexpr double kTopSupport = 1.5;
// Its iterations: two or three starts of winnow.
constexpr int64_t kTopIterations = 50;
// Residuals under this are the rounding of single-precision samples.
constexpr double kRoundingResidual = 1e-7;
// As winnow merges: where the cosine is over 1 - relative residual, within bounds.
constexpr double kLoosestMerge = 5e-3;
constexpr double kTightestMerge = 1e-7;
// As winnow polishes.
constexpr double kPolish = 0.25;

absl::StatusOr<std::vector<double>> SquaredErrors(const Network& network, const Samples& samples) {
  std::vector<double> errors(samples.num_samples);
  absl::Status status = Evaluate(network, samples.input_view(), errors);
  if (!status.ok()) return status;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const double error = errors[i] - samples.targets[i];
    errors[i] = error * error;
  }
  return errors;
}

double SquaredNorm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

double MaxMagnitude(std::span<const float> values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

class PathSolver {
 public:
  PathSolver(const Samples& samples, const RecoveryOptions& options, const PathOptions& path,
             const RecoveryObserver& observer, std::stop_token stop, uint64_t fingerprint)
      : samples_(samples),
        options_(options),
        path_(path),
        observer_(observer),
        stop_(std::move(stop)),
        fingerprint_(fingerprint),
        num_candidates_((samples.num_inputs + (options.bias ? 1 : 0)) * options.hidden_width),
        winnows_(ChooseAlgorithm(options, samples.num_samples) == Algorithm::kWinnow &&
                 options.linear_term != LinearTerm::kSparse),
        target_norm2_(SquaredNorm(samples.targets)),
        max_target_(MaxMagnitude(samples.targets)),
        relative_floor_(
            std::max(kRoundingResidual, options.termination.relative_residual_tolerance)),
        engine_(options.num_threads, stop_) {}

  absl::StatusOr<PathResult> Run(PathState state);

 private:
  bool HasFolds() const { return path_.criterion != SelectionCriterion::kInformation; }
  bool Complete(const PathLevel& level) const {
    return static_cast<int64_t>(level.fits.size()) == NumFolds(path_);
  }
  double Elapsed() const {
    return earlier_seconds_ +
           std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

  // Of the fold's training samples, taken to be as large on average as all.
  double Psnr(double relative_residual) const {
    return PsnrDb(relative_residual * relative_residual * target_norm2_, samples_.num_samples,
                  max_target_);
  }

  absl::Status LoadFold(int64_t fold);
  absl::Status RestoreHeldOutErrors(PathState& state);

  double CriterionOf(int64_t nonzeros, const PathLevel& level) const;
  // The best of these budgets, which are complete.
  int64_t Choose(const PathState& state, std::span<const int64_t> budgets) const;
  int64_t ChooseOfAll(const PathState& state) const;

  void BeginNextTask(PathState& state);
  void BeginTask(PathTaskKind kind, int64_t nonzeros, int64_t fold, PathState& state);
  // The fold's network of the least budget of the round over `nonzeros`.
  const SparseNetwork* NextLarger(const PathState& state, int64_t nonzeros, int64_t fold) const;
  absl::StatusOr<RecoveryStart> StartOf(const PathState& state);

  // One iteration of a descent.
  absl::Status DescendStep(PathState& state);
  absl::Status RunRecovery(PathState& state);
  absl::Status FinishTask(Network network, TerminationReason reason, PathState& state);

  double HeldOutResidual(const PathLevel& level) const;
  // Fills in the time and the number of points.
  void Report(IterationReport& report, const PathState& state) const;
  absl::StatusOr<PathResult> MakeResult(const PathState& state);

  const Samples& samples_;
  const RecoveryOptions& options_;
  const PathOptions& path_;
  const RecoveryObserver& observer_;
  const std::stop_token stop_;
  const uint64_t fingerprint_;
  const int64_t num_candidates_;
  const bool winnows_;  // and descends by its own steps
  const double target_norm2_;
  const double max_target_;
  const double relative_floor_;
  Engine engine_;

  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double earlier_seconds_ = 0;

  // The fold at work.
  int64_t fold_ = -1;
  SplitSamples split_;                   // with folds
  const Samples* training_ = nullptr;    // of the fold
  std::optional<ScaledSamples> scaled_;  // for descents

  std::optional<Network> interrupted_;  // what a recovery that was stopped had found
  std::optional<TerminationReason> stopped_by_;
};

absl::Status PathSolver::LoadFold(int64_t fold) {
  if (fold == fold_) return absl::OkStatus();
  scaled_.reset();
  fold_ = fold;
  training_ = &samples_;
  if (!HasFolds()) return absl::OkStatus();
  split_ = {};
  absl::StatusOr<SplitSamples> split =
      path_.criterion == SelectionCriterion::kKFold
          ? SplitFold(samples_, path_.num_folds, fold, options_.seed)
          : Split(samples_, path_.validation_fraction, options_.seed);
  if (!split.ok()) return split.status();
  split_ = *std::move(split);
  training_ = &split_.training;
  return absl::OkStatus();
}

absl::Status PathSolver::RestoreHeldOutErrors(PathState& state) {
  if (!HasFolds()) return absl::OkStatus();
  for (int64_t fold = 0; fold < NumFolds(path_); ++fold) {
    if (absl::Status status = LoadFold(fold); !status.ok()) return status;
    for (auto& [nonzeros, level] : state.levels) {
      if (fold >= static_cast<int64_t>(level.fits.size())) continue;
      absl::StatusOr<std::vector<double>> errors =
          SquaredErrors(level.fits[fold].network, split_.held_out);
      if (!errors.ok()) return errors.status();
      level.fits[fold].held_out_errors.assign(errors->begin(), errors->end());
    }
  }
  return absl::OkStatus();
}

double PathSolver::HeldOutResidual(const PathLevel& level) const {
  double loss = 0;
  double norm2 = 0;
  for (const PathFit& fit : level.fits) {
    for (const float error : fit.held_out_errors) loss += error;
    norm2 += target_norm2_ - fit.target_norm2;
  }
  return norm2 > 0 ? std::sqrt(loss / norm2) : std::sqrt(loss / target_norm2_);
}

double PathSolver::CriterionOf(int64_t nonzeros, const PathLevel& level) const {
  if (HasFolds()) return HeldOutResidual(level);
  const PathFit& fit = level.fits.front();
  return InformationCriterion(std::sqrt(fit.loss / fit.target_norm2), relative_floor_,
                              samples_.num_samples, nonzeros, num_candidates_);
}

int64_t PathSolver::Choose(const PathState& state, std::span<const int64_t> budgets) const {
  if (!HasFolds()) {
    std::vector<double> values;
    for (const int64_t s : budgets) values.push_back(CriterionOf(s, state.levels.at(s)));
    return budgets[std::max<int64_t>(0, LeastIndex(values))];
  }
  std::vector<std::vector<float>> errors;
  for (const int64_t s : budgets) {
    std::vector<float>& of_budget = errors.emplace_back();
    for (const PathFit& fit : state.levels.at(s).fits) {
      of_budget.insert(of_budget.end(), fit.held_out_errors.begin(), fit.held_out_errors.end());
    }
  }
  const double floor =
      relative_floor_ * relative_floor_ * target_norm2_ / static_cast<double>(samples_.num_samples);
  return budgets[std::max<int64_t>(0, OneStandardErrorIndex(errors, floor))];
}

int64_t PathSolver::ChooseOfAll(const PathState& state) const {
  std::vector<int64_t> budgets;
  for (const auto& [nonzeros, level] : state.levels) {
    if (Complete(level)) budgets.push_back(nonzeros);
  }
  return budgets.empty() ? 0 : Choose(state, budgets);
}

const SparseNetwork* PathSolver::NextLarger(const PathState& state, int64_t nonzeros,
                                            int64_t fold) const {
  const auto larger = state.visited.upper_bound(nonzeros);
  if (larger == state.visited.end()) return nullptr;
  return std::get_if<SparseNetwork>(&state.levels.at(*larger).fits[fold].network);
}

void PathSolver::BeginTask(PathTaskKind kind, int64_t nonzeros, int64_t fold, PathState& state) {
  state.task = {};
  state.task.kind = kind;
  state.task.nonzeros = nonzeros;
  state.task.fold = fold;
  state.task.begin_seconds = Elapsed();
}

void PathSolver::BeginNextTask(PathState& state) {
  if (!state.searched) {
    if (state.visited.empty()) return BeginTask(PathTaskKind::kRecover, state.top, 0, state);
    const auto choose = [&](std::span<const int64_t> budgets) { return Choose(state, budgets); };
    const std::optional<int64_t> next =
        NextBudget(path_.search, path_.min_nonzeros, state.top, state.visited, choose);
    const bool room = static_cast<int64_t>(state.levels.size()) < path_.max_points;
    if (next && (room || state.levels.contains(*next))) {
      return BeginTask(winnows_ ? PathTaskKind::kDescend : PathTaskKind::kRecover, *next, 0, state);
    }
    const int64_t chosen = ChooseOfAll(state);
    const bool moved = chosen != state.chosen;
    state.chosen = chosen;
    const auto headroom = static_cast<int64_t>(kHeadroom * static_cast<double>(chosen));
    const int64_t top = chosen + std::max<int64_t>(1, headroom);
    if (winnows_ && moved && room && top < state.top && state.round + 1 < kMaxRounds) {
      ++state.round;
      state.top = top;
      state.visited.clear();
      return BeginTask(PathTaskKind::kRecover, top, 0, state);
    }
    state.searched = true;
    const PathLevel& level = state.levels.at(chosen);
    const PathFit& fit = level.fits.front();
    const bool met =
        std::sqrt(fit.loss / fit.target_norm2) <= options_.termination.relative_residual_tolerance;
    if (HasFolds() || (winnows_ && !met)) return BeginTask(PathTaskKind::kFinal, chosen, 0, state);
    state.termination_reason = met ? TerminationReason::kConverged : level.termination_reason;
  }
  state.ended = true;
}

absl::StatusOr<RecoveryStart> PathSolver::StartOf(const PathState& state) {
  RecoveryStart start;
  if (options_.gate_mode != GateMode::kSequential) return start;
  const PathTask& task = state.task;
  if (task.kind == PathTaskKind::kFinal) {
    start.network = std::get<SparseNetwork>(state.levels.at(task.nonzeros).fits.front().network);
    return start;
  }
  // The largest network within the budget, from an earlier round.
  if (state.round > 0) {
    for (auto at = state.levels.upper_bound(task.nonzeros); at != state.levels.begin();) {
      --at;
      if (task.fold < static_cast<int64_t>(at->second.fits.size())) {
        start.network = std::get<SparseNetwork>(at->second.fits[task.fold].network);
        return start;
      }
    }
  }
  if (const SparseNetwork* larger = NextLarger(state, task.nonzeros, task.fold)) {
    if (!scaled_) scaled_ = ScaleToUnit(*training_, options_.bias);
    start.network = FromScaled(
        *scaled_, PruneTo(scaled_->problem(engine_), ToScaled(*scaled_, *larger), task.nonzeros));
  }
  return start;
}

absl::Status PathSolver::DescendStep(PathState& state) {
  if (!scaled_) scaled_ = ScaleToUnit(*training_, options_.bias);
  const ReluProblem problem = scaled_->problem(engine_);
  const PathTask& task = state.task;
  const double tolerance = kPolish * options_.termination.relative_residual_tolerance;
  const double target_loss = tolerance * tolerance * scaled_->target_norm2;
  const RefineOptions refine = {.max_steps = 4, .max_products = 40, .target_loss = target_loss};
  const auto merge = [&](double loss, const SparseNetwork& network) {
    const double residual = std::sqrt(loss / scaled_->target_norm2);
    return MergeParallelNeurons(MoveConstantNeurons(DropDeadNeurons(network)),
                                1 - std::clamp(residual, kTightestMerge, kLoosestMerge));
  };

  SparseNetwork network = task.network;
  if (task.iterations == 0) {
    network = ToScaled(*scaled_, *NextLarger(state, task.nonzeros, task.fold));
  }
  const int64_t present = network.weights.nonzeros();
  const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kDescendShare));
  const int64_t count = std::max(task.nonzeros, std::min(kept, present - 1));
  network = PruneTo(problem, network, count);
  double loss = Refine(problem, refine, network);
  network = merge(loss, network);
  if (loss > target_loss) {
    SparseNetwork grown =
        GrowAndThreshold(problem, network, count, options_.output_signs, /*new_neurons=*/false);
    const double grown_loss = Refine(problem, refine, grown);
    if (grown_loss < loss) {
      network = merge(grown_loss, grown);
      loss = grown_loss;
    }
  }
  const bool last = network.weights.nonzeros() <= task.nonzeros;
  if (last) {
    loss = Refine(problem, {.max_steps = 20, .max_products = 200, .target_loss = target_loss},
                  network);
  }
  if (engine_.stop_requested()) return absl::OkStatus();  // incomplete: the state stays

  state.task.network = std::move(network);
  ++state.task.iterations;
  IterationReport report;
  report.iteration = state.iterations + state.task.iterations;
  report.phase = SolvePhase::kPrune;
  report.start = -1;
  report.relative_residual = std::sqrt(loss / scaled_->target_norm2);
  report.best_relative_residual = report.relative_residual;
  report.psnr_db = Psnr(report.relative_residual);
  report.support_size = state.task.network.weights.nonzeros();
  report.active_neurons = state.task.network.hidden_width();
  report.path_nonzeros = state.task.nonzeros;
  if (last) {
    SparseNetwork found = FromScaled(*scaled_, state.task.network);
    if (options_.linear_term != LinearTerm::kNone) found = OrientNeurons(found);
    absl::Status status = FinishTask(std::move(found), TerminationReason::kStagnated, state);
    if (!status.ok()) return status;
  }
  Report(report, state);
  if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
    state.elapsed_seconds = Elapsed();
    observer_.on_checkpoint(SerializePath(state, fingerprint_));
  }
  return absl::OkStatus();
}

absl::Status PathSolver::RunRecovery(PathState& state) {
  RecoveryOptions options = options_;
  options.nonzeros = state.task.nonzeros;
  const bool final = state.task.kind == PathTaskKind::kFinal;
  if (winnows_ && !final && state.round == 0) {
    const double support = kTopSupport * static_cast<double>(options.nonzeros);
    options.working_nonzeros = std::min(num_candidates_, static_cast<int64_t>(support));
    options.termination.max_iterations =
        std::min(options.termination.max_iterations, kTopIterations);
  }
  if (options.termination.time_limit_seconds > 0) {
    // The recovery counts its own time, from the beginning of the task.
    options.termination.time_limit_seconds -= state.task.begin_seconds;
  }
  absl::StatusOr<RecoveryStart> start = StartOf(state);
  if (!start.ok()) return start.status();
  scaled_.reset();  // the recovery has a copy of its own
  if (engine_.stop_requested()) return absl::OkStatus();

  IterationReport last;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    last = report;
    last.iteration += state.iterations;
    last.path_nonzeros = state.task.nonzeros;
    Report(last, state);
  };
  if (observer_.checkpoint_due && observer_.on_checkpoint) {
    observer.checkpoint_due = [&](const IterationReport&) {
      return observer_.checkpoint_due(last);
    };
    observer.on_checkpoint = [&](std::string checkpoint) {
      state.task.checkpoint = std::move(checkpoint);
      state.elapsed_seconds = Elapsed();
      observer_.on_checkpoint(SerializePath(state, fingerprint_));
    };
  }
  absl::StatusOr<RecoveryResult> result = Recover(final ? samples_ : *training_, options, *start,
                                                  observer, stop_, state.task.checkpoint);
  if (!result.ok()) return result.status();
  if (result->termination_reason == TerminationReason::kCancelled ||
      result->termination_reason == TerminationReason::kTimeLimit) {
    state.task.checkpoint = std::move(result->checkpoint);
    interrupted_ = std::move(result->network);
    stopped_by_ = result->termination_reason;
    return absl::OkStatus();
  }
  state.task.iterations = result->iterations;
  if (final) {
    state.starts_tried = result->starts_tried;
    state.starts_agreeing = result->starts_agreeing;
  }
  return FinishTask(std::move(result->network), result->termination_reason, state);
}

absl::Status PathSolver::FinishTask(Network network, TerminationReason reason, PathState& state) {
  const PathTask task = std::exchange(state.task, {});
  const bool final = task.kind == PathTaskKind::kFinal;
  const Samples& fitted_to = final ? samples_ : *training_;
  PathFit fit = {.network = std::move(network), .target_norm2 = SquaredNorm(fitted_to.targets)};
  absl::StatusOr<std::vector<double>> errors = SquaredErrors(fit.network, fitted_to);
  if (!errors.ok()) return errors.status();
  for (const double error : *errors) fit.loss += error;
  state.iterations += task.iterations;

  PathLevel& level = state.levels[task.nonzeros];
  level.iterations += task.iterations;
  level.elapsed_seconds += Elapsed() - task.begin_seconds;
  if (final) {
    state.termination_reason = reason;
    state.ended = true;
    if (HasFolds()) {
      state.final_fit = std::move(fit);
      return absl::OkStatus();
    }
  }
  if (HasFolds()) {
    absl::StatusOr<std::vector<double>> held_out = SquaredErrors(fit.network, split_.held_out);
    if (!held_out.ok()) return held_out.status();
    fit.held_out_errors.assign(held_out->begin(), held_out->end());
  }
  if (task.fold == static_cast<int64_t>(level.fits.size())) {
    level.fits.push_back(std::move(fit));
    level.termination_reason = reason;
  } else if (fit.loss < level.fits[task.fold].loss) {
    level.fits[task.fold] = std::move(fit);
    level.termination_reason = reason;
  }
  // A budget does at least as well as every smaller one.
  const PathFit* least = &level.fits[task.fold];
  for (auto& [nonzeros, other] : state.levels) {
    if (task.fold >= static_cast<int64_t>(other.fits.size())) continue;
    PathFit& of_other = other.fits[task.fold];
    if (nonzeros < task.nonzeros && of_other.loss <= least->loss) {
      level.fits[task.fold] = of_other;
    } else if (nonzeros > task.nonzeros && of_other.loss > least->loss) {
      of_other = *least;
    }
  }
  if (final) return absl::OkStatus();
  if (task.fold + 1 < NumFolds(path_)) {
    BeginTask(task.kind, task.nonzeros, task.fold + 1, state);
  } else {
    state.visited.insert(task.nonzeros);
  }
  return absl::OkStatus();
}

void PathSolver::Report(IterationReport& report, const PathState& state) const {
  report.elapsed_seconds = Elapsed();
  report.path_points = static_cast<int64_t>(state.levels.size());
  if (observer_.on_iteration) observer_.on_iteration(report);
}

absl::StatusOr<PathResult> PathSolver::MakeResult(const PathState& state) {
  PathResult result;
  const int64_t chosen = ChooseOfAll(state);
  for (const auto& [nonzeros, level] : state.levels) {
    if (!Complete(level)) continue;
    double loss = 0;
    double norm2 = 0;
    for (const PathFit& fit : level.fits) {
      loss += fit.loss;
      norm2 += fit.target_norm2;
    }
    PathPoint point = {.nonzeros = nonzeros,
                       .relative_residual = std::sqrt(loss / norm2),
                       .criterion_value = CriterionOf(nonzeros, level),
                       .active_neurons = ActiveNeurons(level.fits.front().network),
                       .iterations = level.iterations,
                       .elapsed_seconds = level.elapsed_seconds,
                       .chosen = nonzeros == chosen};
    if (HasFolds()) point.held_out_relative_residual = HeldOutResidual(level);
    result.points.push_back(point);
  }
  RecoveryResult& recovery = result.recovery;
  recovery.termination_reason = stopped_by_.value_or(state.termination_reason);
  recovery.checkpoint = SerializePath(state, fingerprint_);
  recovery.options_used = options_;
  recovery.options_used.nonzeros = chosen > 0 ? chosen : path_.max_nonzeros;
  recovery.options_used = ResolveOptions(recovery.options_used, samples_.num_samples);
  recovery.iterations = state.iterations + state.task.iterations;
  if (state.final_fit) {
    recovery.network = state.final_fit->network;
  } else if (chosen > 0) {
    recovery.network = state.levels.at(chosen).fits.front().network;
  } else if (interrupted_) {
    recovery.network = *interrupted_;
  } else {
    SparseNetwork none;
    none.num_inputs = samples_.num_inputs;
    none.has_bias = options_.bias;
    recovery.network = std::move(none);
  }
  recovery.nonzeros = Nonzeros(recovery.network);
  recovery.active_neurons = ActiveNeurons(recovery.network);
  recovery.elapsed_seconds = Elapsed();
  recovery.starts_tried = state.starts_tried;
  recovery.starts_agreeing = state.starts_agreeing;
  if (absl::Status status = MeasureOnSamples(samples_, recovery); !status.ok()) return status;
  return result;
}

absl::StatusOr<PathResult> PathSolver::Run(PathState state) {
  earlier_seconds_ = state.elapsed_seconds;
  if (absl::Status status = RestoreHeldOutErrors(state); !status.ok()) return status;
  const double time_limit = options_.termination.time_limit_seconds;
  while (true) {
    state.elapsed_seconds = Elapsed();
    if (!state.ended && state.task.kind == PathTaskKind::kNone) BeginNextTask(state);
    if (state.ended) break;
    if (engine_.stop_requested()) {
      stopped_by_ = TerminationReason::kCancelled;
    } else if (time_limit > 0 && Elapsed() >= time_limit) {
      stopped_by_ = TerminationReason::kTimeLimit;
    }
    if (stopped_by_) break;
    if (absl::Status status = LoadFold(state.task.fold); !status.ok()) return status;
    absl::Status status =
        state.task.kind == PathTaskKind::kDescend ? DescendStep(state) : RunRecovery(state);
    if (!status.ok()) return status;
  }
  return MakeResult(state);
}

}  // namespace

absl::StatusOr<PathResult> RecoverPath(const Samples& samples, const RecoveryOptions& given,
                                       const PathOptions& path, const RecoveryObserver& observer,
                                       std::stop_token stop, std::string_view checkpoint) {
  RecoveryOptions options = given;
  options.choose_loss = false;  // paths are of the squared loss
  options.choose_output_signs = false;
  if (given.choose_output_signs) options.output_signs = ChooseOutputSigns(given, samples);
  absl::Status status = ValidatePath(path, options, samples.num_samples, samples.num_inputs);
  if (!status.ok()) return status;
  status = ValidateOptionsOfPath(options, path, samples.num_samples, samples.num_inputs);
  if (!status.ok()) return status;
  status = ValidateProblem(samples, AtMaxNonzeros(options, path), {});
  if (!status.ok()) return status;
  const uint64_t fingerprint = PathFingerprint(samples, options, path);
  PathState state;
  state.top = path.max_nonzeros;
  if (!checkpoint.empty()) {
    absl::StatusOr<PathState> parsed = ParsePath(checkpoint, fingerprint, samples, options, path);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  const RecoveryObserver measured = WithRSquared(observer, samples, options.loss);
  PathSolver solver(samples, options, path, measured, std::move(stop), fingerprint);
  return solver.Run(std::move(state));
}

}  // namespace thresher
