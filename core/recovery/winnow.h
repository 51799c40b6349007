// Exact recovery of a sparse ReLU network: expand, refine, prune back, swap, from several
// starts. Found experimentally to find planted networks where the published algorithm stops
// at 20 to 38 dB; tests/benchmark/README.md keeps the figures.
//
// From each start:
//   expand  random gates: iterative hard thresholding with s~ > s weights, each step followed by
//           Levenberg-Marquardt on the support; parallel neurons are merged.
//           Kinks: beside a linear term, which makes the side of a neuron's hyperplane on which it
//           is open irrelevant, the best two-sparse neurons and a few more weights come in, and
//           what explains nothing goes, until the loss stops falling; then the linear term is
//           absorbed, which decides the sides (AbsorbLinear). With linear_term it stays, here and
//           in starts from random gates
//   prune   rounds that remove a tenth of the weights by saliency, refine, and let weights
//           come back by one thresholding step; at the end at most m neurons and s weights
//   swap    neurons that one input dominates are split, or q more weights (also of new
//           one-sparse neurons, or the best two-sparse ones) come in; refine, prune back to s;
//           kept where the loss falls, else q is halved
// A network that fits exactly loses its redundant parts first (RemoveRedundant): what is left is
// pruned. Starts alternate between random gates and kinks. With no more samples than inputs, or
// with very many inputs, kinks explain nothing and give way to the published algorithm, whose
// network, and those of fewer neurons, are refined and grow and shrink from there. Where there are
// many samples the first starts work on some of them, and refine on all at their end. The solve
// ends at the first start that meets the tolerance, or when three starts agree on the least loss,
// not all of them from kinks; two are enough where what they leave looks like noise. It also ends
// when two starts leave a large problem unexplained.
#ifndef THRESHER_CORE_RECOVERY_WINNOW_H_
#define THRESHER_CORE_RECOVERY_WINNOW_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/recovery/recovery.h"

namespace thresher {

// What is left of a solve between two steps.
struct WinnowState {
  int64_t iteration = 0;
  double elapsed_seconds = 0;
  int64_t start = 0;  // which start is at work
  SolvePhase phase = SolvePhase::kStart;
  int64_t phase_steps = 0;  // steps in this phase
  int64_t swap_size = 0;
  int64_t stalled_steps = 0;  // of expanding, without a decrease
  double least_loss = 0;      // while expanding
  SparseNetwork network;      // of the start at work
  bool irredundant = false;   // nothing has changed since RemoveRedundant
  double loss = 0;
  // Best network within the budget, over all starts; best_start -1: none yet.
  SparseNetwork best_network;
  double best_loss = 0;
  int64_t best_start = -1;
  int64_t agreeing_starts = 0;     // starts that ended at the best loss
  bool best_leaves_noise = false;  // see residual_noise.h; set where a start ends
};

// The largest support that the starts use where working_nonzeros does not cap it.
int64_t DefaultWinnowSupport(int64_t nonzeros);

// Bytes of the samples that the first starts work on, of a nested solve on few samples and of the
// search over two-sparse neurons, an upper bound.
double WinnowBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_columns);

// As Recover, for Algorithm::kWinnow; problem and options are valid and resolved.
absl::StatusOr<RecoveryResult> Winnow(const Samples& samples, const RecoveryOptions& options,
                                      const RecoveryStart& start, const RecoveryObserver& observer,
                                      std::stop_token stop, std::string_view checkpoint,
                                      uint64_t fingerprint);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_WINNOW_H_
