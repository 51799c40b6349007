// A SparseNetwork's entries as a keyed vector, key = row * num_columns + column, and back.
#ifndef THRESHER_CORE_RECOVERY_NETWORK_ENTRIES_H_
#define THRESHER_CORE_RECOVERY_NETWORK_ENTRIES_H_

#include <cstdint>
#include <vector>

#include "core/network/network.h"
#include "core/recovery/support.h"

namespace thresher {

SparseVector EntriesOf(const SparseNetwork& network);

// Rows without entries are dropped. signs holds the output sign of every row that a key names.
SparseNetwork NetworkOf(const SparseVector& entries, int64_t num_inputs, bool has_bias,
                        const std::vector<int8_t>& signs);

// The network with other entries, its inputs and linear term unchanged.
SparseNetwork WithEntries(const SparseNetwork& network, const SparseVector& entries,
                          const std::vector<int8_t>& signs);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_NETWORK_ENTRIES_H_
