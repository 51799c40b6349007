// A sparse weight vector over all candidate weights, as the algorithms handle it: entries
// sorted by key = neuron * num_columns + column.
#ifndef THRESHER_CORE_RECOVERY_SUPPORT_H_
#define THRESHER_CORE_RECOVERY_SUPPORT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/top_gradient.h"
#include "core/network/network.h"

namespace thresher {

// Ascending keys, no key twice.
using SparseVector = std::vector<KeyedValue>;

// The same entries grouped by neuron, as the kernels read them: row k of `rows` belongs to
// neuron neurons[k]; entry order is that of the vector.
struct NeuronRows {
  std::vector<int64_t> neurons;  // ascending
  SparseRows rows;
};
NeuronRows GroupByNeuron(const SparseVector& entries, int64_t num_columns);

// H_count: keeps the `count` entries of largest magnitude and drops zeros. Source: Blumensath and
// Davies, "Iterative hard thresholding for compressed sensing", Appl. Comput. Harmon. Anal. 27
// (2009). Cost: O(n) on average.
SparseVector HardThreshold(int64_t count, SparseVector entries, TieRule ties = TieRule::kLowerKey);

// Reciprocal thresholding: keeps the `count` entries of largest magnitude, as H_count, and
// shrinks them to sign(z) (|z| + sqrt(z^2 - (1 - rho^2) tau^2)) / 2, where tau is the largest
// magnitude that is dropped and rho = nonzeros / count, 1 at most (nothing shrinks then, nor
// where nothing is dropped). For every y with `nonzeros` entries the result t has
//   <y - t, z - t> <= rho / (1 + rho) ||y - t||^2,
// against sqrt(rho) / 2 for hard thresholding. Source: Liu and Barber, "Between hard and soft
// thresholding: optimal iterative thresholding algorithms", Inf. Inference 9 (2020). Cost: O(n).
SparseVector ReciprocalThreshold(int64_t count, int64_t nonzeros, SparseVector entries);

// The keys of both, ascending; values are 0.
SparseVector UnionOfSupports(const SparseVector& a, const SparseVector& b);

// The entries of `values` that stand at the keys of `support`, 0 where there is none.
SparseVector Restrict(const SparseVector& values, const SparseVector& support);

bool SameSupport(const SparseVector& a, const SparseVector& b);

// Keys of `a` that `b` does not have.
int64_t CountEntered(const SparseVector& a, const SparseVector& b);

std::vector<int64_t> KeysOf(const SparseVector& entries);
std::vector<double> ValuesOf(const SparseVector& entries);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SUPPORT_H_
