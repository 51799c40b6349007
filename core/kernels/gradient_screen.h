// What earlier passes over the same gates tell about the next one: which gates cannot hold one
// of the largest entries of the gradient.
#ifndef THRESHER_CORE_KERNELS_GRADIENT_SCREEN_H_
#define THRESHER_CORE_KERNELS_GRADIENT_SCREEN_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/kernels/design.h"

namespace thresher {

// Between two passes the gradient moves by at most
//   |g_j(t') - g_j(t)| <= ||a_j|| ||r(t') - r(t)||,  ||a_j|| <= max_q ||X_q|| for every gate.
// So a gate whose largest entry was small when it was last computed cannot hold a wanted one
// before the residual has moved far, and the wanted ones of the last pass cannot have fallen far.
// The bounds allow for the rounding of the single-precision sums: the result of a pass has the
// same bits as without a screen. It helps where many gates compete and the residual moves little:
// late iterations on noisy targets.
//
// For one design and one set of gates, at most one pass at a time. Memory: 8 bytes a gate and a
// sample; 8 more a gate while a pass is on.
class GradientScreen {
 public:
  // Cost: n d multiply-adds.
  explicit GradientScreen(const Design& design);

  // Begins a pass for the `wanted` largest entries. Returns the positions, ascending, of the
  // gates that may hold one, or nothing where all may (or nearly all).
  // residual_unit: the residual is divided by it before it is rounded to single precision.
  std::optional<std::vector<int64_t>> BeginPass(std::span<const double> residual,
                                                double residual_unit, int64_t num_gates,
                                                int64_t wanted);
  // The largest magnitude that the pass found for a gate. Gates may be noted by several threads.
  void NoteGate(int64_t position, double largest);
  // Ends the pass: the smallest of the wanted magnitudes, 0 where fewer than wanted were found.
  // A pass that does not end leaves a screen that lets the next one see every gate.
  void EndPass(double smallest_wanted);

  // Gates that the last pass left out.
  int64_t num_left_out() const { return num_left_out_; }

 private:
  double largest_column_norm_ = 0;
  double rounding_ = 0;   // of a sum over one row chunk, relative to ||a|| ||r||
  double underflow_ = 0;  // of the same, in units of the residual
  std::vector<double> last_residual_;
  double path_ = 0;  // || r(1) - r(0) || + || r(2) - r(1) || + ...
  // bound on what a pass at the present path would find for a gate: offset + norm * path
  std::vector<double> offsets_;
  double slack_ = 0;  // rounding of the present pass, as a magnitude
  int64_t wanted_ = 0;
  // The smallest wanted magnitude of the last pass less its rounding; 0: there is none.
  double certain_magnitude_ = 0;
  bool pass_on_ = false;
  int64_t num_left_out_ = 0;
};

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_GRADIENT_SCREEN_H_
