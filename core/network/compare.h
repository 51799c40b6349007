// How close a recovered network is to a planted one, up to the order of neurons, their scaling
// between two layers and, beside a linear term, the sides of their hyperplanes on which they stand.
#ifndef THRESHER_CORE_NETWORK_COMPARE_H_
#define THRESHER_CORE_NETWORK_COMPARE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

// Peak signal to noise ratio: 20 log10(largest) - 10 log10(squared_error / num_values), within
// +-400 dB; 400 for no error at all, -400 where all outputs are 0. num_values counts every output
// of every sample.
double PsnrDb(double squared_error, int64_t num_values, double largest);

struct NetworkComparison {
  // Fractions of non-zero positions in all layers after matching neurons; 1 where there are none.
  double support_recall = 0;     // of the reference's positions, found
  double support_precision = 0;  // of the candidate's positions, right
  bool same_support = false;
  // || W_candidate(matched) - W_reference ||_F / || W_reference ||_F over all layers in canonical
  // form, where a neuron without a partner counts whole. Where a network has a linear term l both
  // norms hold a row more, l + sum_j sign_j w_j / 2, which the neurons' sides do not change. For a
  // zero reference 0 when the candidate is zero too, infinity otherwise; so is the next.
  double relative_weight_error = 0;
  // || f_candidate - f_reference || / || f_reference || on the given inputs, over all outputs
  double relative_function_error = 0;
  // 20 log10 max|f_reference| - 10 log10 MSE on the given inputs, within +-400 dB
  double psnr_db = 0;
  int64_t reference_neurons = 0;  // after reduction, in all hidden layers
  int64_t candidate_neurons = 0;
  // Non-zero positions in all layers after reduction, without a linear term's, and those that both
  // networks have: support_recall is common / reference, support_precision common / candidate.
  int64_t reference_nonzeros = 0;
  int64_t candidate_nonzeros = 0;
  int64_t common_nonzeros = 0;
  // matched_neuron[j]: candidate neuron matched to reference neuron j, -1 for none.
  // Neurons are numbered as ReduceNetwork (core/network/merge.h) leaves them, layer after layer.
  std::vector<int64_t> matched_neuron;
};

// The most neurons a reduced network may have in a comparison, in all layers.
inline constexpr int64_t kMaxComparedNeurons = 2000;

// Whether the weights of two networks of the same inputs can be compared: both have the same bias,
// number of hidden layers and of outputs, and both or neither are fused.
bool HaveSameForm(const SparseNetwork& a, const SparseNetwork& b);

// Both networks are reduced first (ReduceNetwork: parallel neurons merged or cancelled,
// dead ones dropped), then neurons of equal sign are matched so that the summed squared
// weight distance is least, each neuron without a partner counting as matched with zero
// (Hungarian method, exact). Weight vectors without a positive inner product are
// never matched: apart they are as close.
//
// Several layers are compared in canonical form: every unit that another layer looks at has a row
// of length 1, and its length stands in the weights that look at it. Units are matched layer by
// layer from the inputs on, each layer's columns in the order of the match below; output rows
// belong together by their number.
//
// Where either network has a linear term (the other's counts as zeros), a neuron may stand on
// either side, sign (x.w)_+ = sign (-x.w)_+ + sign x.w: opposite neurons merge and cancel too,
// the distance of two neurons is the lesser of that to the one and to its mirror image.
//
// Other weights can give the same function, for example (x)_+ - (-x)_+ = x; so a small
// function error with a large weight error is possible, the reverse is not.
// Errors: INVALID_ARGUMENT when a network is invalid, the networks differ in inputs or form
// (HaveSameForm), their canonical weights overflow, the inputs do not fit, are not finite or
// hold no sample; RESOURCE_EXHAUSTED beyond kMaxComparedNeurons.
// Cost: O(m^3) for m neurons, O(n s) for the function; O(n k + m + s) memory. Networks of
// 2000 neurons take a second or two, dense ones of 5000 up to some minutes.
absl::StatusOr<NetworkComparison> CompareNetworks(const SparseNetwork& candidate,
                                                  const SparseNetwork& reference, InputView inputs);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_COMPARE_H_
