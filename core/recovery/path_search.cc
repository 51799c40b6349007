#include "core/recovery/path_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace thresher {
namespace {

// Ranges of at most so many budgets are visited whole.
constexpr int64_t kGridPoints = 16;

// From highest down to lowest.
std::vector<int64_t> GridFrom(int64_t lowest, int64_t highest) {
  std::vector<int64_t> grid;
  if (highest - lowest < kGridPoints) {
    for (int64_t s = highest; s >= lowest; --s) grid.push_back(s);
    return grid;
  }
  const double ratio = static_cast<double>(lowest) / static_cast<double>(highest);
  for (int64_t k = 0; k < kGridPoints; ++k) {
    const double share = static_cast<double>(k) / static_cast<double>(kGridPoints - 1);
    const auto s =
        static_cast<int64_t>(std::llround(static_cast<double>(highest) * std::pow(ratio, share)));
    if (grid.empty() || s < grid.back()) grid.push_back(s);
  }
  return grid;
}

std::optional<int64_t> NextOfGrid(int64_t lowest, int64_t highest,
                                  const std::set<int64_t>& visited) {
  for (const int64_t s : GridFrom(lowest, highest)) {
    if (!visited.contains(s)) return s;
  }
  return std::nullopt;
}

std::optional<int64_t> NextOfGoldenSection(int64_t lowest, int64_t highest,
                                           const std::set<int64_t>& visited,
                                           const ChooseBudget& choose) {
  constexpr double kGoldenShare = 0.38196601125010515;  // (3 - sqrt 5) / 2
  if (!visited.contains(highest)) return highest;
  if (!visited.contains(lowest)) return lowest;
  while (highest - lowest > 2) {
    const auto width = static_cast<double>(highest - lowest);
    const int64_t step =
        std::max<int64_t>(1, static_cast<int64_t>(std::llround(kGoldenShare * width)));
    const int64_t right = highest - step;
    const int64_t left = std::min(lowest + step, right - 1);
    // The larger first: the smaller starts from its network.
    if (!visited.contains(right)) return right;
    if (!visited.contains(left)) return left;
    if (choose(std::array{left, right}) == left) {
      highest = right;
    } else {
      lowest = left;
    }
  }
  return std::nullopt;
}

// Halves the wider gap beside the best visited budget.
std::optional<int64_t> NextOfBisection(int64_t lowest, int64_t highest,
                                       const std::set<int64_t>& visited,
                                       const ChooseBudget& choose) {
  const std::vector<int64_t> in_range(visited.lower_bound(lowest), visited.upper_bound(highest));
  const int64_t best = choose(in_range);
  const auto at = std::find(in_range.begin(), in_range.end(), best);
  const int64_t below = at == in_range.begin() ? best : *(at - 1);
  const int64_t above = at + 1 == in_range.end() ? best : *(at + 1);
  if (std::max(best - below, above - best) <= 1) return std::nullopt;
  return above - best >= best - below ? best + (above - best) / 2 : best - (best - below) / 2;
}

}  // namespace

std::optional<int64_t> NextBudget(PathSearch search, int64_t lowest, int64_t highest,
                                  const std::set<int64_t>& visited, const ChooseBudget& choose) {
  std::optional<int64_t> next = search == PathSearch::kGrid
                                    ? NextOfGrid(lowest, highest, visited)
                                    : NextOfGoldenSection(lowest, highest, visited, choose);
  if (!next) next = NextOfBisection(lowest, highest, visited, choose);
  return next;
}

}  // namespace thresher
