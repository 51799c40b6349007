// Products with the gated design restricted to a support S, A_S = [D_j X_q], (j, q) in S,
// which is never formed. Row k of `support` belongs to gate k of `masks`.
#ifndef THRESHER_CORE_KERNELS_SUPPORT_PRODUCTS_H_
#define THRESHER_CORE_KERNELS_SUPPORT_PRODUCTS_H_

#include <span>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// outputs = A_S support.value: sum_k D_k X w_k, in double.
// Shapes: outputs has design.padded_samples() entries, those behind the last sample 0.
// Cost: n |S| multiply-adds.
void SupportForward(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<double> outputs);

// products = A_S^T residual, in double; the values of `support` are not read.
// Shapes: residual has design.padded_samples() entries, 0 behind the last sample; products
// as many as the support. Cost: n |S| multiply-adds.
void SupportAdjoint(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const double> residual,
                    std::span<double> products);

// The same over the samples of `rows` alone: the other outputs stay as they are, the other
// entries of the residual are not read.
void SupportForward(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const RowChunk> rows,
                    std::span<double> outputs);
void SupportAdjoint(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const RowChunk> rows,
                    std::span<const double> residual, std::span<double> products);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_SUPPORT_PRODUCTS_H_
