// The state of a training between two steps, and its bytes.
#ifndef THRESHER_CORE_PRUNING_TRAINING_STATE_H_
#define THRESHER_CORE_PRUNING_TRAINING_STATE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/pruning/prune.h"

namespace thresher {

// Where a training stands.
struct TrainingPoint {
  int64_t round = 0;
  int64_t epoch = 0;       // completed within the round
  int64_t step = 0;        // completed within the epoch
  int64_t iteration = 0;   // epochs completed over all rounds
  int64_t adam_steps = 0;  // since the moments were 0
  double prune_fraction = 0;
  bool retraining = false;  // the round after the last pruning
  bool finished = false;
  FitSums epoch_sums;  // of this epoch's steps
  Perceptron perceptron;
};

// Everything that the next step depends on, besides the problem and the options.
struct TrainingState {
  TrainingPoint now;
  TrainingPoint epoch_start;  // where a diverging epoch begins again; read once a step was made
  double learning_rate_scale = 1;
  int64_t divergences = 0;
  double reference_loss = 0;  // of no network or of the first step, whichever is larger
  double elapsed_seconds = 0;
};

// Identifies a problem: samples and those options that the weights depend on. Cost: one pass over
// the samples.
uint64_t ProblemFingerprint(const Samples& samples, const PruneOptions& options);

std::string SerializeState(const TrainingState& state, uint64_t fingerprint);

// `initial` gives the shapes. Errors: INVALID_ARGUMENT `checkpoint` for damaged bytes, another
// version of the format or another problem.
absl::StatusOr<TrainingState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                         const Perceptron& initial);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_TRAINING_STATE_H_
