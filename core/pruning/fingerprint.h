// A given network and its options in the fingerprint of a pruning. Internal to pruning/.
#ifndef THRESHER_CORE_PRUNING_FINGERPRINT_H_
#define THRESHER_CORE_PRUNING_FINGERPRINT_H_

#include "core/iteration/state_bytes.h"
#include "core/network/network.h"
#include "core/pruning/distill.h"

namespace thresher {

void AddNetwork(const SparseNetwork& network, Fingerprint& fingerprint);
// What decides the outcome: threads and time limits do not.
void AddOptions(const OneShotOptions& options, Fingerprint& fingerprint);
void AddOptions(const DistillOptions& options, Fingerprint& fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_FINGERPRINT_H_
