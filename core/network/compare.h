// How close a recovered network is to a planted one, up to the order of neurons.
#ifndef THRESHER_CORE_NETWORK_COMPARE_H_
#define THRESHER_CORE_NETWORK_COMPARE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

struct NetworkComparison {
  // Fractions of non-zero positions after matching neurons.
  double support_recall = 0;     // of the reference's positions, found
  double support_precision = 0;  // of the candidate's positions, right
  bool same_support = false;
  // || W_candidate(matched) - W_reference ||_F / || W_reference ||_F
  double relative_weight_error = 0;
  // || f_candidate - f_reference || / || f_reference || on the given inputs
  double relative_function_error = 0;
  // 20 log10 max|f_reference| - 10 log10 MSE on the given inputs, capped at 400 dB
  double psnr_db = 0;
  int64_t reference_neurons = 0;  // after merging
  int64_t candidate_neurons = 0;
  // matched_neuron[j]: candidate neuron matched to reference neuron j, -1 for none.
  std::vector<int64_t> matched_neuron;
};

// Both networks are reduced first (parallel neurons of equal sign merged, dead ones
// dropped), then neurons of equal sign are matched so that the summed squared weight
// distance is least (Hungarian method, exact).
// Errors: INVALID_ARGUMENT when the networks' inputs or bias differ.
// Cost: O(m^3) for m neurons, O(n s) for the function.
absl::StatusOr<NetworkComparison> CompareNetworks(const SparseNetwork& candidate,
                                                  const SparseNetwork& reference,
                                                  InputView inputs);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_COMPARE_H_
