// The normal matrix of a support, for problems small enough to hold it.
#ifndef THRESHER_CORE_KERNELS_SUPPORT_GRAM_H_
#define THRESHER_CORE_KERNELS_SUPPORT_GRAM_H_

#include <vector>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// A_S^T A_S, k x k for the k entries of the support, row-major, symmetric; the values of the
// support are not read. Products and sums of up to 4096 samples are in float, sums over these
// in double: relative error about 1e-6 of the diagonal.
// Cost: n k^2 / 2 multiply-adds, 4 k^2 bytes for each row chunk at work.
std::vector<double> SupportGram(Engine& engine, const Design& design, const GateMasks& masks,
                                const SparseRows& support);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_SUPPORT_GRAM_H_
