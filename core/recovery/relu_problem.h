// The sparse ReLU network as a nonlinear least-squares problem,
//   minimise 1/2 || sum_j sign_j (X w_j)_+ - y ||^2,
// with the building blocks that find and refine it. An iterate is a SparseNetwork; its
// entries are numbered row by row, as in weights.value.
#ifndef THRESHER_CORE_RECOVERY_RELU_PROBLEM_H_
#define THRESHER_CORE_RECOVERY_RELU_PROBLEM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// Columns of the design should have mean square about 1 (winnow scales them), so that
// magnitudes of weights on different inputs compare.
struct ReluProblem {
  Engine& engine;
  const Design& design;
  std::span<const double> targets;  // design.padded_samples(), 0 behind the last sample
  int64_t num_inputs;               // columns of the design without the bias
  bool has_bias;
  // Entries of the linear term that are 0 are no parameters, but for the constant's.
  bool sparse_linear = false;
};

// The network at an iterate: f(X) - y and its Jacobian, J = [sign_j D_j X_q] over the
// parameters: the entries, then the linear term. The ReLU's derivative at 0 is taken as 0.
struct Linearisation {
  GateMasks masks;               // of the rows; the linear term's is open on every sample
  SparseRows signed_rows;        // sign_j w_j; the linear term, where there is one, is the last
  std::vector<double> signs;     // of the parameters
  std::vector<double> residual;  // f - y, padded
  double loss = 0;               // || f - y ||^2
};
Linearisation Linearise(const ReluProblem& problem, const SparseNetwork& network);

// The masks with a gate more, open on every sample.
GateMasks WithOpenGate(const GateMasks& masks, const Design& design);

// Entries and linear term, all of it.
int64_t NumParameters(const SparseNetwork& network);

// Columns of the linear term's parameters, ascending: none where the network has no such term.
std::vector<int32_t> LinearColumns(const ReluProblem& problem, const SparseNetwork& network);

// J^T v for the parameters of the iterate.
std::vector<double> JacobianTranspose(const ReluProblem& problem, const Linearisation& at,
                                      std::span<const double> vector);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_RELU_PROBLEM_H_
