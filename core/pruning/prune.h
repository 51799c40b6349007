// Training a dense network and pruning it: iterative magnitude pruning (`imp`), the baseline of the
// paper, and gradual pruning within one training. A problem and options go in, a sparse network of
// any number of layers and outputs comes out.
//
//   minimise the mean loss of W_L relu( ... relu(W_1 x)) over the samples by Adam on mini-batches,
//   while the number of weights falls to `nonzeros`
//
// Sources: Frankle and Carbin, "The lottery ticket hypothesis", ICLR 2019 (rounds with rewinding);
// Zhu and Gupta, "To prune, or not to prune", 2017 (gradual); Fridovich-Keil and Pilanci,
// arXiv 2509.20323 (the rounds as they ran them).
#ifndef THRESHER_CORE_PRUNING_PRUNE_H_
#define THRESHER_CORE_PRUNING_PRUNE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/iteration/termination.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/pruning/perceptron.h"
#include "core/samples/samples.h"

namespace thresher {

enum class PruneSchedule {
  kRounds,   // train, prune a fraction of what remains, rewind; until nonzeros remain
  kGradual,  // one training, in which the number of weights falls along a power law
};
// "rounds", "gradual".
std::string_view PruneScheduleName(PruneSchedule schedule);

// The defaults are the published experiments'.
struct PruneOptions {
  // The dense network: one width a hidden layer, 1 to kMaxHiddenLayers of them. Its outputs are the
  // samples'.
  std::vector<int64_t> hidden_widths = {};
  // The budget over all layers, biases and output weights included: from 1 to all weights.
  int64_t nonzeros = 0;
  bool bias = false;  // a constant input 1 of every layer
  Loss loss = Loss::kSquared;
  // The loss is PublishedLoss's instead.
  bool choose_loss = false;

  // Passes over the samples: of each round, or of the whole gradual training.
  int64_t epochs = 50;
  // Samples a step looks at, in an order drawn anew for every epoch; 0 or at least n: all.
  int64_t batch_size = 5000;
  double learning_rate = 1e-3;  // of Adam, in (0, 1000]
  // The last share of the epochs (of each round), in [0, 1], over which the learning rate falls
  // linearly to 0.
  double learning_rate_decay = 0;
  // Before each step weights are multiplied by 1 - learning_rate * weight_decay; in [0, 1], and the
  // product at most 1.
  double weight_decay = 0;
  // Half of it times the sum of the squared weights is added to the mean loss, not to the one
  // reported; in [0, 1e6].
  double l2 = 0;

  PruneSchedule schedule = PruneSchedule::kRounds;
  Saliency saliency = Saliency::kMagnitude;
  uint64_t seed = 0;  // of the initial weights and the orders

  // Rounds only. What a round prunes of the remaining weights, in (0, 1): rounded to the nearest
  // number, to the even one of two. Once that is 0 the fraction becomes that of one weight.
  double prune_fraction = 0.1;
  // Between rounds weights return to what they were after so many epochs of the first, and training
  // goes on from there; 0: the initial weights. Less than `epochs`.
  int64_t rewind_epoch = 0;
  // One more round without pruning at the end; else the result is what the last pruning left.
  bool retrain_after_last_prune = false;

  // Gradual only. After a share t of the pruning, nonzeros + (weights - nonzeros) (1 - t)^power
  // weights remain, power in [1, 10]; it ends after prune_end of the epochs, in (0, 1].
  double schedule_power = 3;
  double prune_end = 0.75;

  // Dead neurons go only in groups of so many consecutive ones, at least 1 (DropDeadGroups): the
  // size of the pattern that the weights of a trained network keep. Does not matter to training.
  int64_t neuron_group = 1;

  // Threads of this training, 1 to 256. The result has the same bits for any number.
  int num_threads = 1;
  double time_limit_seconds = 0;  // 0: none
};

// One epoch.
struct PruneReport {
  int64_t iteration = 0;     // epochs over all rounds, from 1
  int64_t round = 0;         // from 1
  int64_t epoch = 0;         // within the round, from 1
  Fit fit;                   // of the mini-batches as they were trained on
  int64_t nonzeros = 0;      // after the epoch, its pruning included
  double learning_rate = 0;  // of its last step
  // How often training diverged: the epoch was then done again at half the learning rate.
  int64_t divergences = 0;
  double elapsed_seconds = 0;  // over all attempts
  // Of a path: the budget of the point, whose number `round` is; 0: no path.
  int64_t path_nonzeros = 0;
  // On samples that are not learned from: see validated.h.
  std::optional<Fit> validation = {};
};

struct PruneObserver {
  // Called on the calling thread after every epoch.
  std::function<void(const PruneReport&)> on_iteration;
  // Asked after every epoch; true makes the training hand a checkpoint over.
  std::function<bool(const PruneReport&)> checkpoint_due;
  std::function<void(std::string checkpoint)> on_checkpoint;
  // Told before on_iteration of the network after the epoch where it is within the budget.
  std::function<void(const SparseNetwork&)> on_network = {};
};

struct PruneResult {
  // kIterationLimit: the schedule has ended; kTimeLimit, kCancelled: before it had.
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  // At most `nonzeros` weights. Where a stop came before the schedule's end, the weights of that
  // moment, pruned to the budget at once. With a linear output layer, without dead and constant
  // neurons (FoldConstantUnits, DropDeadGroups).
  SparseNetwork network;
  int64_t iterations = 0;  // epochs
  int64_t rounds = 0;      // begun
  double elapsed_seconds = 0;
  // Of the network returned.
  Fit fit;                      // on the training samples, in double
  int64_t nonzeros = 0;         // at most pruned_nonzeros: dead weights are gone
  int64_t pruned_nonzeros = 0;  // what the schedule left
  int64_t active_neurons = 0;   // hidden
  int64_t divergences = 0;
  PruneOptions options_used;  // zeros replaced by what was done
  std::string checkpoint;     // state after the last completed step: Prune resumes from it
};

// Errors: INVALID_ARGUMENT naming the field: num_samples, num_inputs, num_outputs, or the option.
absl::Status ValidateOptions(const PruneOptions& options, int64_t num_samples, int64_t num_inputs,
                             int64_t num_outputs);

// What a training will need, before it starts. Expects valid options.
struct PruneCost {
  int64_t peak_memory_bytes = 0;  // upper estimate, the samples included
  double flops = 0;               // of the whole training, multiply-adds counted as two
  int64_t iterations = 0;         // epochs over all rounds
};
PruneCost PredictCost(const PruneOptions& options, int64_t num_samples, int64_t num_inputs,
                      int64_t num_outputs);

// Weights that remain after each round of `rounds`: published, the last is the first that does not
// exceed options.nonzeros. Ends after 10001 rounds, which ValidateOptions refuses.
std::vector<int64_t> RoundNonzeros(const PruneOptions& options, int64_t num_weights);

// Trains to the schedule's end. `checkpoint` resumes an earlier training of the same samples and
// options: the outcome has the same bits as an uninterrupted one (time limits aside). A stop
// request is noticed within one panel of samples; the step under way is dropped. An epoch with a
// loss that is not finite, or a hundred times what no network at all has, is done again from its
// start at half the learning rate, which stays.
// Errors: INVALID_ARGUMENT naming the field for bad samples, options or checkpoint, and `inputs`
// where the initial network has no finite loss at any learning rate.
// Cost: about 4 n multiply-adds a remaining weight and epoch.
absl::StatusOr<PruneResult> Prune(const Samples& samples, const PruneOptions& options,
                                  const PruneObserver& observer = {}, std::stop_token stop = {},
                                  std::string_view checkpoint = {});

// The same from a trained network instead of initial weights: options.hidden_widths and bias are
// taken from it, weights that it does not have never come, and nonzeros goes up to those it has.
// With the gradual schedule it is pruned as it is trained on, from the first step's gradients on.
// Errors: also INVALID_ARGUMENT `network`: invalid, a linear term, other inputs or outputs than the
// samples', or a weight beyond float.
absl::StatusOr<PruneResult> PruneTrained(const SparseNetwork& network, const Samples& samples,
                                         const PruneOptions& options,
                                         const PruneObserver& observer = {},
                                         std::stop_token stop = {},
                                         std::string_view checkpoint = {});

// The fit of a pruned network, on samples scaled as those that it was trained on, in double; the
// same bits for any number of threads.
// Errors: INVALID_ARGUMENT as Evaluate, and naming num_outputs or num_samples (none).
absl::StatusOr<Fit> MeasureFit(const SparseNetwork& network, const Samples& samples, Loss loss,
                               int num_threads);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_PRUNE_H_
