#include "core/pruning/prune_path.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

constexpr int64_t kMaxPoints = 100;

absl::StatusOr<SparseNetwork> PrunePoint(const SparseNetwork& network, const SparseNetwork& before,
                                         bool first, const Samples& fitted,
                                         const PrunePathOptions& options, int64_t budget,
                                         const std::stop_token& stop) {
  DistillOptions distill = options.distill;
  distill.one_shot.nonzeros = budget;
  if (!options.train) {
    return PruneOneShot(network, fitted.input_view(), distill.one_shot, stop);
  }
  // `fitted` holds the targets, so that the network before is not taken for the given one.
  distill.targets = PruneTargets::kLabels;
  // What came before is close to the budget: training does the pruning.
  if (!first) distill.start_factor = kMaxStartFactor;
  distill.one_shot.nonzeros = std::min(budget, Nonzeros(before));
  absl::StatusOr<PruneResult> result = Distill(before, fitted, distill, {}, stop);
  if (!result.ok()) return result.status();
  if (result->termination_reason == TerminationReason::kCancelled || stop.stop_requested()) {
    return absl::CancelledError("the path was stopped");
  }
  return std::move(result->network);
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
  if (options.min_nonzeros < 1 || options.min_nonzeros > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_nonzeros: must be between 1 and max_nonzeros = ", most, ", is ",
                     options.min_nonzeros));
  }
  if (options.num_points < 2 || options.num_points > kMaxPoints) {
    return absl::InvalidArgumentError(absl::StrCat("num_points: must be between 2 and ", kMaxPoints,
                                                   ", is ", options.num_points));
  }
  std::vector<int64_t> budgets;
  const double factor = static_cast<double>(options.min_nonzeros) / static_cast<double>(most);
  for (int64_t k = 0; k < options.num_points; ++k) {
    const double done = static_cast<double>(k) / static_cast<double>(options.num_points - 1);
    const int64_t budget = k + 1 == options.num_points
                               ? options.min_nonzeros
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

absl::StatusOr<PrunePathResult> PrunePath(
    const SparseNetwork& network, const Samples& samples, const Samples* held_out,
    const PrunePathOptions& options, const std::function<void(const PrunePathPoint&)>& on_point,
    const std::stop_token& stop, std::vector<PrunePathPoint> done) {
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
  const Samples& fitted = own ? answered : samples;
  PrunePathResult result = {.points = std::move(done)};
  if (result.points.size() > budgets->size()) {
    return absl::InvalidArgumentError("done: has more points than the path");
  }
  for (size_t k = 0; k < result.points.size(); ++k) {
    if (result.points[k].budget != (*budgets)[k]) {
      return absl::InvalidArgumentError(absl::StrCat("done: point ", k, " is of another path"));
    }
  }
  for (size_t k = result.points.size(); k < budgets->size(); ++k) {
    const SparseNetwork& before = k == 0 ? network : result.points.back().network;
    absl::StatusOr<SparseNetwork> pruned =
        PrunePoint(network, before, k == 0, fitted, options, (*budgets)[k], stop);
    if (!pruned.ok()) {
      if (!absl::IsCancelled(pruned.status())) return pruned.status();
      if (!result.points.empty()) result.knee = KneeOf(result.points);
      return result;
    }
    PrunePathPoint point = {
        .budget = (*budgets)[k], .nonzeros = Nonzeros(*pruned), .network = *std::move(pruned)};
    const absl::StatusOr<Fit> fit =
        MeasureFit(point.network, samples, one_shot.loss, one_shot.num_threads);
    if (!fit.ok()) return fit.status();
    point.fit = *fit;
    if (held_out != nullptr) {
      const absl::StatusOr<Fit> of_held_out =
          MeasureFit(point.network, *held_out, one_shot.loss, one_shot.num_threads);
      if (!of_held_out.ok()) return of_held_out.status();
      point.held_out = *of_held_out;
    }
    if (on_point) on_point(point);
    result.points.push_back(std::move(point));
  }
  result.knee = KneeOf(result.points);
  result.complete = true;
  return result;
}

}  // namespace thresher
