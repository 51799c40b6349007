// A given network and its options within the state of an interrupted pruning.
#ifndef THRESHER_CORE_PRUNING_NETWORK_STATE_H_
#define THRESHER_CORE_PRUNING_NETWORK_STATE_H_

#include "core/iteration/state_bytes.h"
#include "core/network/network.h"
#include "core/pruning/distill.h"

namespace thresher {

void AddNetwork(const SparseNetwork& network, Fingerprint& fingerprint);
// What decides the outcome: threads and time limits do not.
void AddOptions(const OneShotOptions& options, Fingerprint& fingerprint);
void AddOptions(const DistillOptions& options, Fingerprint& fingerprint);

void WriteNetwork(const SparseNetwork& network, StateWriter& writer);
// False where the bytes are no valid network.
bool ReadNetwork(StateReader& reader, SparseNetwork& network);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_NETWORK_STATE_H_
