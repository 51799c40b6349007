#include "core/pruning/prune_path.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"
#include "core/pruning/fingerprint.h"

namespace thresher {
namespace {

constexpr int64_t kMaxPoints = 100;

constexpr std::string_view kMagic = "THRSHB02";

// Where an interrupted path goes on.
struct PathState {
  std::vector<PrunePathPoint> points;
  double elapsed_seconds = 0;  // in the point under way
  std::string of_point;        // Distill's checkpoint; empty: from its start
};

void Write(const Fit& fit, StateWriter& writer) {
  writer.Add(fit.loss);
  for (const std::optional<double>& value : {fit.psnr_db, fit.accuracy, fit.r_squared}) {
    writer.Add(static_cast<uint8_t>(value.has_value()));
    writer.Add(value.value_or(0));
  }
}

bool Read(StateReader& reader, Fit& fit) {
  if (!reader.Take(fit.loss)) return false;
  for (std::optional<double>* value : {&fit.psnr_db, &fit.accuracy, &fit.r_squared}) {
    uint8_t given = 0;
    double number = 0;
    if (!reader.Take(given) || !reader.Take(number)) return false;
    if (given != 0) *value = number;
  }
  return true;
}

std::string SerializeState(const PathState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.elapsed_seconds);
  writer.AddText(state.of_point);
  writer.Add(static_cast<int64_t>(state.points.size()));
  for (const PrunePathPoint& point : state.points) {
    writer.Add(point.iterations);
    writer.Add(point.divergences);
    writer.Add(point.elapsed_seconds);
    Write(point.fit, writer);
    writer.Add(static_cast<uint8_t>(point.held_out.has_value()));
    Write(point.held_out.value_or(Fit()), writer);
    AddNetwork(point.network, writer);
  }
  return std::move(writer).Finish();
}

absl::StatusOr<PathState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                     const SparseNetwork& given,
                                     const std::vector<int64_t>& budgets) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  PathState state;
  int64_t num_points = 0;
  if (!reader->Take(state.elapsed_seconds) || !reader->TakeText(state.of_point) ||
      !reader->Take(num_points) || num_points < 0 ||
      num_points > static_cast<int64_t>(budgets.size())) {
    return StateReader::Damaged();
  }
  for (int64_t k = 0; k < num_points; ++k) {
    PrunePathPoint point = {.budget = budgets[k]};
    point.network = {.num_inputs = given.num_inputs, .has_bias = given.has_bias};
    uint8_t has_held_out = 0;
    Fit held_out;
    if (!reader->Take(point.iterations) || !reader->Take(point.divergences) ||
        !reader->Take(point.elapsed_seconds) || !Read(*reader, point.fit) ||
        !reader->Take(has_held_out) || !Read(*reader, held_out) ||
        !TakeNetwork(*reader, point.network)) {
      return StateReader::Damaged();
    }
    point.nonzeros = Nonzeros(point.network);
    point.active_neurons = ActiveNeurons(point.network);
    if (has_held_out != 0) point.held_out = held_out;
    state.points.push_back(std::move(point));
  }
  if (!reader->AtEnd()) return StateReader::Damaged();
  return state;
}

uint64_t PathFingerprint(const SparseNetwork& network, const Samples& samples,
                         const PrunePathOptions& options, const std::vector<int64_t>& budgets) {
  Fingerprint fingerprint;
  AddNetwork(network, fingerprint);
  fingerprint.AddVector(samples.inputs);
  fingerprint.AddVector(samples.targets);
  AddOptions(options.distill, fingerprint);
  fingerprint.Add(options.train ? 1 : 0);
  fingerprint.AddVector(budgets);
  return fingerprint.value();
}

// What a point needs, however it is pruned.
DistillOptions PointOptions(const PrunePathOptions& options, int64_t budget, bool first) {
  DistillOptions distill = options.distill;
  distill.one_shot.nonzeros = budget;
  // The samples hold the targets, so that the network before is not taken for the given one.
  distill.targets = PruneTargets::kLabels;
  // What came before is close to the budget: training does the pruning.
  if (!first) distill.start_factor = kMaxStartFactor;
  return distill;
}

class Path {
 public:
  using Clock = std::chrono::steady_clock;

  Path(const SparseNetwork& network, const Samples& samples, const Samples& fitted,
       const Samples* held_out, const PrunePathOptions& options, const PruneObserver& observer,
       const std::stop_token& stop, uint64_t fingerprint)
      : network_(network),
        samples_(samples),
        fitted_(fitted),
        held_out_(held_out),
        options_(options),
        observer_(observer),
        stop_(stop),
        fingerprint_(fingerprint) {}

  absl::StatusOr<PrunePathResult> Run(const std::vector<int64_t>& budgets, PathState state);

 private:
  // Why the path ends before the point; none: the point is done.
  using Interruption = std::optional<TerminationReason>;

  absl::StatusOr<Interruption> PrunePoint(int64_t budget);
  absl::StatusOr<Interruption> TrainPoint(int64_t budget, PrunePathPoint& point);
  void ReportPoint(const PrunePathPoint& point) const;

  double SecondsBefore() const {
    double seconds = 0;
    for (const PrunePathPoint& point : state_.points) seconds += point.elapsed_seconds;
    return seconds;
  }
  int64_t IterationsBefore() const {
    int64_t iterations = 0;
    for (const PrunePathPoint& point : state_.points) iterations += point.iterations;
    return iterations;
  }
  double SecondsInPoint() const {
    return state_.elapsed_seconds +
           std::chrono::duration<double>(Clock::now() - point_begin_).count();
  }
  std::string Checkpoint(std::string of_point) const {
    return SerializeState({.points = state_.points,
                           .elapsed_seconds = SecondsInPoint(),
                           .of_point = std::move(of_point)},
                          fingerprint_);
  }

  const SparseNetwork& network_;
  const Samples& samples_;
  const Samples& fitted_;  // with the targets of training
  const Samples* const held_out_;
  const PrunePathOptions& options_;
  const PruneObserver& observer_;
  const std::stop_token& stop_;
  const uint64_t fingerprint_;
  PathState state_;  // its elapsed_seconds are those of earlier attempts
  Clock::time_point point_begin_;
  int64_t iterations_in_point_ = 0;
};

absl::StatusOr<Path::Interruption> Path::TrainPoint(int64_t budget, PrunePathPoint& point) {
  const bool first = state_.points.empty();
  const SparseNetwork& before = first ? network_ : state_.points.back().network;
  if (Nonzeros(before) == 0) {  // nothing is left to prune
    point.network = before;
    return Interruption();
  }
  DistillOptions distill = PointOptions(options_, std::min(budget, Nonzeros(before)), first);
  if (distill.time_limit_seconds > 0) {
    distill.time_limit_seconds = std::max(distill.time_limit_seconds - SecondsBefore(), 1e-9);
  }
  const double seconds_before = SecondsBefore();
  const int64_t iterations_before = IterationsBefore();
  const auto of_path = [&](PruneReport report) {
    report.round = static_cast<int64_t>(state_.points.size()) + 1;
    report.path_nonzeros = budget;
    report.iteration += iterations_before;
    report.elapsed_seconds = seconds_before + SecondsInPoint();
    return report;
  };
  PruneObserver observer;
  observer.on_iteration = [&](const PruneReport& report) {
    iterations_in_point_ = report.iteration;
    if (observer_.on_iteration) observer_.on_iteration(of_path(report));
  };
  if (observer_.checkpoint_due && observer_.on_checkpoint) {
    observer.checkpoint_due = [&](const PruneReport& report) {
      return observer_.checkpoint_due(of_path(report));
    };
    observer.on_checkpoint = [&](std::string of_point) {
      observer_.on_checkpoint(Checkpoint(std::move(of_point)));
    };
  }
  absl::StatusOr<PruneResult> result =
      Distill(before, fitted_, distill, observer, stop_, state_.of_point);
  if (absl::IsCancelled(result.status())) return Interruption(TerminationReason::kCancelled);
  if (!result.ok()) return result.status();
  iterations_in_point_ = result->iterations;
  if (result->termination_reason != TerminationReason::kIterationLimit) {
    state_.of_point = std::move(result->checkpoint);
    return Interruption(result->termination_reason);
  }
  // Without its last refinement the point would be another.
  if (stop_.stop_requested()) return Interruption(TerminationReason::kCancelled);
  point.network = std::move(result->network);
  point.iterations = result->iterations;
  point.divergences = result->divergences;
  return Interruption();
}

absl::StatusOr<Path::Interruption> Path::PrunePoint(int64_t budget) {
  PrunePathPoint point = {.budget = budget};
  if (options_.train) {
    absl::StatusOr<Interruption> interruption = TrainPoint(budget, point);
    if (!interruption.ok() || interruption->has_value()) return interruption;
  } else {
    OneShotOptions one_shot = options_.distill.one_shot;
    one_shot.nonzeros = budget;
    absl::StatusOr<SparseNetwork> pruned =
        PruneOneShot(network_, samples_.input_view(), one_shot, stop_);
    if (absl::IsCancelled(pruned.status())) return Interruption(TerminationReason::kCancelled);
    if (!pruned.ok()) return pruned.status();
    point.network = *std::move(pruned);
    point.iterations = 1;
  }
  point.nonzeros = Nonzeros(point.network);
  point.active_neurons = ActiveNeurons(point.network);
  const OneShotOptions& one_shot = options_.distill.one_shot;
  const Loss loss = options_.fit_loss.value_or(one_shot.loss);
  const absl::StatusOr<Fit> fit = MeasureFit(point.network, samples_, loss, one_shot.num_threads);
  if (!fit.ok()) return fit.status();
  point.fit = *fit;
  if (held_out_ != nullptr) {
    const absl::StatusOr<Fit> of_held_out =
        MeasureFit(point.network, *held_out_, loss, one_shot.num_threads);
    if (!of_held_out.ok()) return of_held_out.status();
    point.held_out = *of_held_out;
  }
  point.elapsed_seconds = SecondsInPoint();
  state_.points.push_back(std::move(point));
  state_.elapsed_seconds = 0;
  state_.of_point.clear();
  point_begin_ = Clock::now();
  if (!options_.train) ReportPoint(state_.points.back());
  return Interruption();
}

void Path::ReportPoint(const PrunePathPoint& point) const {
  const auto number = static_cast<int64_t>(state_.points.size());
  const PruneReport report = {.iteration = number,
                              .round = number,
                              .fit = point.fit,
                              .nonzeros = point.nonzeros,
                              .elapsed_seconds = SecondsBefore(),
                              .path_nonzeros = point.budget};
  if (observer_.on_iteration) observer_.on_iteration(report);
  if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
    observer_.on_checkpoint(Checkpoint(""));
  }
}

absl::StatusOr<PrunePathResult> Path::Run(const std::vector<int64_t>& budgets, PathState state) {
  state_ = std::move(state);
  point_begin_ = Clock::now();
  PrunePathResult result;
  while (state_.points.size() < budgets.size()) {
    iterations_in_point_ = 0;
    const double limit = options_.distill.time_limit_seconds;
    Interruption interruption;
    if (stop_.stop_requested()) {
      interruption = TerminationReason::kCancelled;
    } else if (limit > 0 && SecondsBefore() + SecondsInPoint() >= limit) {
      interruption = TerminationReason::kTimeLimit;
    } else {
      const absl::StatusOr<Interruption> of_point = PrunePoint(budgets[state_.points.size()]);
      if (!of_point.ok()) return of_point.status();
      interruption = *of_point;
    }
    if (interruption) {
      result.termination_reason = *interruption;
      break;
    }
  }
  result.checkpoint = Checkpoint(state_.of_point);
  result.iterations =
      IterationsBefore() + (state_.points.size() < budgets.size() ? iterations_in_point_ : 0);
  result.elapsed_seconds = SecondsBefore() + SecondsInPoint();
  result.points = std::move(state_.points);
  if (!result.points.empty()) result.knee = KneeOf(result.points);
  return result;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> PathBudgets(const PrunePathOptions& options,
                                                 int64_t num_weights) {
  const int64_t most =
      options.max_nonzeros == 0 ? std::max<int64_t>(num_weights / 2, 1) : options.max_nonzeros;
  if (most < 1 || most > num_weights) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_nonzeros: must be between 1 and the network's ", num_weights, " weights, is ", most));
  }
  const int64_t least = options.min_nonzeros == 0 ? std::clamp<int64_t>(num_weights / 100, 1, most)
                                                  : options.min_nonzeros;
  if (least < 1 || least > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_nonzeros: must be between 1 and max_nonzeros = ", most, ", is ", least));
  }
  if (options.num_points < 2 || options.num_points > kMaxPoints) {
    return absl::InvalidArgumentError(absl::StrCat("num_points: must be between 2 and ", kMaxPoints,
                                                   ", is ", options.num_points));
  }
  std::vector<int64_t> budgets;
  const double factor = static_cast<double>(least) / static_cast<double>(most);
  for (int64_t k = 0; k < options.num_points; ++k) {
    const double done = static_cast<double>(k) / static_cast<double>(options.num_points - 1);
    const int64_t budget = k + 1 == options.num_points
                               ? least
                               : std::llround(static_cast<double>(most) * std::pow(factor, done));
    if (budgets.empty() || budget < budgets.back()) budgets.push_back(budget);
  }
  return budgets;
}

int64_t KneeOf(const std::vector<PrunePathPoint>& points) {
  const bool held_out = std::all_of(points.begin(), points.end(), [](const PrunePathPoint& point) {
    return point.held_out.has_value();
  });
  const auto loss_of = [&](const PrunePathPoint& point) {
    return held_out ? point.held_out->loss : point.fit.loss;
  };
  const auto log_of = [](const PrunePathPoint& point) {
    return std::log(static_cast<double>(std::max<int64_t>(point.nonzeros, 1)));
  };
  const PrunePathPoint& first = points.front();
  const PrunePathPoint& last = points.back();
  auto knee = static_cast<int64_t>(points.size()) - 1;
  double farthest = 0;
  for (size_t k = 0; k < points.size(); ++k) {
    const double width = log_of(first) - log_of(last);
    const double height = loss_of(last) - loss_of(first);
    if (!(width > 0) || !(height > 0)) break;
    const double share = (log_of(first) - log_of(points[k])) / width;
    const double below = share - (loss_of(points[k]) - loss_of(first)) / height;
    if (below > farthest) {
      farthest = below;
      knee = static_cast<int64_t>(k);
    }
  }
  return knee;
}

PruneCost PredictCost(const PrunePathOptions& options, const NetworkSizes& network,
                      int64_t num_samples) {
  PruneCost cost;
  double points = 0;
  const std::vector<int64_t> budgets =
      PathBudgets(options, network.nonzeros).value_or(std::vector<int64_t>());
  NetworkSizes before = network;
  double most = 0;
  for (const int64_t budget : budgets) {
    const DistillOptions distill = PointOptions(options, budget, budget == budgets.front());
    const PruneCost of_point = options.train ? PredictCost(distill, before, num_samples)
                                             : PredictCost(distill.one_shot, network, num_samples);
    most = std::max(most, static_cast<double>(of_point.peak_memory_bytes));
    cost.flops += of_point.flops;
    cost.iterations += of_point.iterations;
    before.nonzeros = budget;
    // An entry is a column, a value, and both again in a checkpoint and its copy.
    points += 3.0 * 12 * static_cast<double>(budget);
  }
  double samples = sizeof(float) * static_cast<double>(num_samples) *
                   static_cast<double>(network.num_inputs + network.num_outputs);
  // A training counts them.
  if (options.train) samples = options.distill.targets == PruneTargets::kNetwork ? samples : 0;
  cost.peak_memory_bytes = static_cast<int64_t>(
      std::min(most + samples + points, static_cast<double>(int64_t{1} << 62)));
  return cost;
}

absl::StatusOr<PrunePathResult> PrunePath(const SparseNetwork& network, const Samples& samples,
                                          const Samples* held_out, const PrunePathOptions& options,
                                          const PruneObserver& observer,
                                          const std::stop_token& stop,
                                          std::string_view checkpoint) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  const absl::StatusOr<std::vector<int64_t>> budgets = PathBudgets(options, Nonzeros(network));
  if (!budgets.ok()) return budgets.status();
  const OneShotOptions& one_shot = options.distill.one_shot;
  Samples answered;
  const bool own = options.train && options.distill.targets == PruneTargets::kNetwork;
  if (own) {
    absl::StatusOr<Samples> made =
        WithNetworkTargets(network, samples, one_shot.loss, one_shot.num_threads);
    if (!made.ok()) return made.status();
    answered = *std::move(made);
  }
  const uint64_t fingerprint = PathFingerprint(network, samples, options, *budgets);
  PathState state;
  if (!checkpoint.empty()) {
    absl::StatusOr<PathState> parsed = ParseState(checkpoint, fingerprint, network, *budgets);
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  return Path(network, samples, own ? answered : samples, held_out, options, observer, stop,
              fingerprint)
      .Run(*budgets, std::move(state));
}

}  // namespace thresher
