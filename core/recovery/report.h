// What can be said about a recovered network: how well it explains samples, how close it is to
// a planted one, and how far the samples determine it. Evidence in plain numbers, not proof.
#ifndef THRESHER_CORE_RECOVERY_REPORT_H_
#define THRESHER_CORE_RECOVERY_REPORT_H_

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/network/network.h"
#include "core/recovery/conditioning.h"
#include "core/recovery/fit_quality.h"
#include "core/recovery/recovery.h"
#include "core/samples/samples.h"

namespace thresher {

// How close a network is to the planted one, up to the order of neurons and, beside a linear term,
// their sides; the term's entries count among the weights W (see compare.h).
struct PlantedComparison {
  double support_recall = 0;           // of the planted positions, found
  double support_precision = 0;        // of the found positions, planted
  double relative_weight_error = 0;    // || W - W_planted ||_F / || W_planted ||_F
  double relative_function_error = 0;  // on the given inputs
  bool exact = false;                  // the same support, weights within 1e-4 relative
  int64_t planted_neurons = 0;
  int64_t recovered_neurons = 0;
  // Weights after reduction, as the two shares count them, and those that both networks have; all
  // 0 where they are not known.
  int64_t planted_nonzeros = 0;
  int64_t recovered_nonzeros = 0;
  int64_t matched_nonzeros = 0;
};

// Nothing where the two cannot be compared: a gated network, another bias or number of layers
// (HaveSameForm), more neurons than kMaxComparedNeurons. Errors and cost: as CompareNetworks.
absl::StatusOr<std::optional<PlantedComparison>> ComparePlanted(const Network& network,
                                                                const SparseNetwork& planted,
                                                                InputView inputs);

// What the numbers amount to. "Rounding" is a relative residual of at most 3e-6, what
// single-precision data may leave. Of classes the samples named wrong count instead of residuals,
// against those that naming the most frequent class gets wrong.
enum class Verdict {
  // To rounding on training and held-out samples.
  kExplains,
  // Not to rounding, but as well on held-out samples as on training samples: noise, or a part
  // of the function that the budget does not reach.
  kApproximates,
  // No samples were held out, so nothing checks the fit.
  kUnchecked,
  // Clearly better on training samples than on held-out ones.
  kFitsNotGeneralises,
  // More than 0.3 of the targets' norm is left on the training samples.
  kDoesNotExplain,
  // The samples cannot determine the weights: others fit them as well.
  kUndetermined,
};
std::string_view VerdictName(Verdict verdict);  // "explains", "approximates", ...

// Unset numbers were not computed: they have no meaning for the network, or would have cost too
// much.
struct RecoveryEvidence {
  Verdict verdict = Verdict::kDoesNotExplain;
  // Sentences: the verdict in words, its causes, what to do.
  std::vector<std::string> findings;

  // What a thresholding step on columns of norm 1 decides between, relative to || y ||: the
  // weakest weight of the support, |w_e| ||a_e||, and the strongest candidate left out,
  // |a_q^T r| / ||a_q||, over the gates of the network (all gates where they are fixed), the
  // best of the 64 candidates of steepest gradient.
  double weakest_kept = 0;
  std::optional<double> strongest_left_out;
  // Conditioning::smallest_saliency / || y ||^2.
  std::optional<double> smallest_saliency;
  // Of the columns of the support and those of the linear term where there is one (without columns
  // of zeros), scaled to norm 1.
  std::optional<Conditioning> conditioning;
  // Working supports for which theory promises linear convergence to the weights on the support,
  // kappa^2 s for hard and (2 kappa - 1) s for reciprocal thresholding.
  std::optional<double> hard_thresholding_nonzeros;
  std::optional<double> reciprocal_thresholding_nonzeros;

  // Constants of the paper's Assumption 2, see PatternStatistics. Beside a linear term, where a
  // neuron and its mirror image are the same, of the patterns and their complements.
  double smallest_active_fraction = 0;
  std::optional<double> smallest_pattern_difference;
  int64_t compared_patterns = 0;

  // RecoveryResult's.
  int64_t starts_tried = 0;
  int64_t starts_agreeing = 0;
  // Rows of the training inputs that differ.
  int64_t distinct_samples = 0;
};

// Evidence about `result`, found on `training`, whose fit is given. Uses the threads of
// result.options_used; the same bits for any number of them.
// Errors: INVALID_ARGUMENT as ValidateSamples and Evaluate, or where the network has other inputs;
// CANCELLED when a stop is requested, within one tile of work.
// Cost: about two iterations of the solve and n s^2 multiply-adds (with the entries of a linear
// term among the s), bounded as in
// MeasureConditioning, MeasurePatterns and FindExchange; memory as Winnow with s~ = s.
absl::StatusOr<RecoveryEvidence> GatherEvidence(const RecoveryResult& result,
                                                const Samples& training,
                                                const FitQuality& training_fit,
                                                const std::optional<FitQuality>& held_out_fit,
                                                std::stop_token stop = {});

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_REPORT_H_
