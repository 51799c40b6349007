// Networks within the state of a solve.
#ifndef THRESHER_CORE_ITERATION_NETWORK_STATE_H_
#define THRESHER_CORE_ITERATION_NETWORK_STATE_H_

#include "core/iteration/state_bytes.h"
#include "core/network/network.h"

namespace thresher {

void AddNetwork(const SparseNetwork& network, StateWriter& writer);
// Of either kind.
void AddAnyNetwork(const Network& network, StateWriter& writer);

// Into a network of the right inputs and bias. False for bytes that are no such network.
bool TakeNetwork(StateReader& reader, SparseNetwork& network);
bool TakeAnyNetwork(StateReader& reader, Network& network);

}  // namespace thresher

#endif  // THRESHER_CORE_ITERATION_NETWORK_STATE_H_
