// How full the groups of n:m patterns are.
#ifndef THRESHER_TESTS_CORE_PRUNING_PATTERN_GROUPS_H_
#define THRESHER_TESTS_CORE_PRUNING_PATTERN_GROUPS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/network/network.h"

namespace thresher {

// The most weights that any `size` consecutive inputs of a row have, over all rows and layers; the
// constant apart.
inline int64_t MostInGroup(const SparseNetwork& network, int64_t size) {
  std::vector<const SparseRows*> layers = {&network.weights};
  for (const SparseRows& layer : network.upper_layers) layers.push_back(&layer);
  int64_t most = 0;
  int64_t width = network.num_inputs;
  for (const SparseRows* rows : layers) {
    for (int64_t r = 0; r < rows->num_rows(); ++r) {
      std::vector<int64_t> in_group(width / size + 1);
      for (int64_t e = rows->row_begin[r]; e < rows->row_begin[r + 1]; ++e) {
        if (rows->column[e] == width || rows->value[e] == 0) continue;
        most = std::max(most, ++in_group[rows->column[e] / size]);
      }
    }
    width = rows->num_rows();
  }
  return most;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_PRUNING_PATTERN_GROUPS_H_
