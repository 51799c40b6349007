// How well the samples determine the weights on a support: the spectrum of the normal matrix
// of its columns, and what each weight is worth.
#ifndef THRESHER_CORE_RECOVERY_CONDITIONING_H_
#define THRESHER_CORE_RECOVERY_CONDITIONING_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// The l2 norms of the columns of A_S, in double. Row k of `support` belongs to gate k of
// `masks`; its values are not read. Cost: n |S|.
std::vector<double> GatedColumnNorms(Engine& engine, const Design& design, const GateMasks& masks,
                                     const SparseRows& support);

struct Conditioning {
  // Extreme eigenvalues of A_S^T A_S with the columns of A_S scaled to norm 1, to about 1e-4
  // of their value; 1 and 1 for orthogonal columns. The smallest is 0 where the columns are
  // linearly dependent: under 1e-12, which is where single-precision inputs lose it.
  double smallest_eigenvalue = 0;
  double largest_eigenvalue = 0;
  // The iteration ended before it had converged: the smallest eigenvalue may be smaller still,
  // the largest larger.
  bool is_bound = false;
  // min over the weights of w_e^2 / [ (A_S^T A_S)^-1 ]_ee: the rise of the squared residual when
  // the weight of least worth is removed and the others are refitted (see prune_back.h). Unset
  // for more than kMaxDenseWeights columns and for dependent ones.
  std::optional<double> smallest_saliency;

  // Ratio of the eigenvalues, infinite where the smallest is 0.
  double kappa() const;
};

// For the support's weights, its values. Expects at least one entry, columns of the design with
// mean square around 1 and `norms` as GatedColumnNorms gives them. Meaningless once a stop is
// requested. Entries from num_weights on, those of a linear term, are refitted with the weights
// but are no weights: their own saliencies do not count.
//
// Up to kMaxDenseWeights weights the normal matrix is formed in float and factorised; the
// smallest eigenvalue is then found in double by preconditioned conjugate gradients on the
// Rayleigh quotient. Beyond, by the same iteration without a preconditioner, of bounded length.
// Source: Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block
// preconditioned conjugate gradient method", SIAM J. Sci. Comput. 23 (2001), block size 1.
// Cost: n k^2 / 2 + k^3 / 2 multiply-adds for k weights, or about 10^10 at most.
Conditioning MeasureConditioning(Engine& engine, const Design& design, const GateMasks& masks,
                                 const SparseRows& support, const std::vector<double>& norms,
                                 int64_t num_weights);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_CONDITIONING_H_
