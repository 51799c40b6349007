// Which budgets a path visits: a pure function of those visited so far, so that a path
// resumes from its points alone.
#ifndef THRESHER_CORE_RECOVERY_PATH_SEARCH_H_
#define THRESHER_CORE_RECOVERY_PATH_SEARCH_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>

namespace thresher {

enum class PathSearch {
  kGrid,           // a geometric grid (every budget where there are few), then bisection
  kGoldenSection,  // golden section over the whole range, then bisection
};

// The better of some budgets (they ascend; at least one).
using ChooseBudget = std::function<int64_t(std::span<const int64_t>)>;

// The next budget in [lowest, highest] to visit; none at the end of the search. Begins with
// highest. After the grid or the golden section the gaps beside the best budget are halved
// until both its neighbours have been visited: a criterion that falls and then rises has its
// minimum there. Source of the search: Kiefer, "Sequential minimax search for a maximum",
// Proc. AMS 4, 1953; over supports as in Zhu et al., PNAS 117, 2020 (golden-section ABESS).
std::optional<int64_t> NextBudget(PathSearch search, int64_t lowest, int64_t highest,
                                  const std::set<int64_t>& visited, const ChooseBudget& choose);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_PATH_SEARCH_H_
