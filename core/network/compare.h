// How close a recovered network is to a planted one, up to the order of neurons and, beside a
// linear term, the sides of their hyperplanes on which they stand.
#ifndef THRESHER_CORE_NETWORK_COMPARE_H_
#define THRESHER_CORE_NETWORK_COMPARE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

// Peak signal to noise ratio: 20 log10(largest) - 10 log10(squared_error / num_samples), within
// +-400 dB; 400 for no error at all, -400 where all outputs are 0.
double PsnrDb(double squared_error, int64_t num_samples, double largest);

struct NetworkComparison {
  // Fractions of non-zero positions after matching neurons; 1 where there are none.
  double support_recall = 0;     // of the reference's positions, found
  double support_precision = 0;  // of the candidate's positions, right
  bool same_support = false;
  // || W_candidate(matched) - W_reference ||_F / || W_reference ||_F, where a neuron
  // without a partner counts whole. Where a network has a linear term l both norms hold a row
  // more, l + sum_j sign_j w_j / 2, which the neurons' sides do not change. For a zero reference
  // 0 when the candidate is zero too, infinity otherwise; so is the next.
  double relative_weight_error = 0;
  // || f_candidate - f_reference || / || f_reference || on the given inputs
  double relative_function_error = 0;
  // 20 log10 max|f_reference| - 10 log10 MSE on the given inputs, within +-400 dB
  double psnr_db = 0;
  int64_t reference_neurons = 0;  // after reduction
  int64_t candidate_neurons = 0;
  // matched_neuron[j]: candidate neuron matched to reference neuron j, -1 for none.
  // Neurons are numbered as ReduceNetwork (core/network/merge.h) leaves them.
  std::vector<int64_t> matched_neuron;
};

// The most neurons a reduced network may have in a comparison.
inline constexpr int64_t kMaxComparedNeurons = 2000;

// Both networks are reduced first (ReduceNetwork: parallel neurons merged or cancelled,
// dead ones dropped), then neurons of equal sign are matched so that the summed squared
// weight distance is least, each neuron without a partner counting as matched with zero
// (Hungarian method, exact). Weight vectors without a positive inner product are
// never matched: apart they are as close.
//
// Where either network has a linear term (the other's counts as zeros), a neuron may stand on
// either side, sign (x.w)_+ = sign (-x.w)_+ + sign x.w: opposite neurons merge and cancel too,
// the distance of two neurons is the lesser of that to the one and to its mirror image.
//
// Other weights can give the same function, for example (x)_+ - (-x)_+ = x; so a small
// function error with a large weight error is possible, the reverse is not.
// Errors: INVALID_ARGUMENT when a network is invalid, the networks' inputs or bias
// differ, the inputs do not fit, are not finite or hold no sample; RESOURCE_EXHAUSTED
// beyond kMaxComparedNeurons.
// Cost: O(m^3) for m neurons, O(n s) for the function; O(n + m + s) memory. Networks of
// 2000 neurons take a second or two, dense ones of 5000 up to some minutes.
absl::StatusOr<NetworkComparison> CompareNetworks(const SparseNetwork& candidate,
                                                  const SparseNetwork& reference, InputView inputs);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_COMPARE_H_
