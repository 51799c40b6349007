// Recovery of a sparse network from samples: the whole public surface of the
// solver. A problem and options go in, a result comes out.
//
//   minimise 1/2 || sum_j sign_j D_j X w_j - y ||^2  subject to  || w ||_0 <= s,
//   D_j = diag(1[X h_j > 0])
//
// or with X l, a linear term that is dense and free, beside the sum.
// with gates h_j that are fixed (random or given) or follow the weights (sequential).
// Source: Fridovich-Keil and Pilanci, "A Recovery Guarantee for Sparse Neural
// Networks", ICLR 2026 (arXiv 2509.20323). core/README.md maps each step to its
// function.
#ifndef THRESHER_CORE_RECOVERY_RECOVERY_H_
#define THRESHER_CORE_RECOVERY_RECOVERY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/iteration/termination.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/recovery/fit_quality.h"
#include "core/samples/samples.h"

namespace thresher {

enum class Algorithm {
  kAuto,         // winnow with sequential gates and all samples, or with a linear term; aiht with
                 // mini-batches or given start gates; with random gates splicing, niht with
                 // mini-batches; with enumerated gates cosamp
  kWinnow,       // expand, refine, prune back: finds planted networks exactly
  kIht,          // fixed step size, 1 / beta
  kNiht,         // normalised step with the support-change safeguard
  kAiht,         // the published algorithm: normalised step, then refinement with Armijo halving
  kHtp,          // hard-thresholding pursuit: least squares on each new support
  kCosamp,       // least squares on the support and 2 s~ candidates more, the s~ largest stay;
                 // with enumerated gates see enumerated.h
  kSplicing,     // exchanges weights while the loss falls; fixed gates only
  kReciprocal,   // reciprocal instead of hard thresholding, fixed step size
  kSvrg,         // stochastic variance-reduced hard thresholding: mini-batches between passes
  kCountSketch,  // the published algorithm for several outputs, see count_sketch.h
  kSequential,   // the published training of several hidden layers, one after another, by aiht
                 // or count_sketch: see sequential.h
};

// "auto", "winnow", "iht", "cosamp", ...
std::string_view AlgorithmName(Algorithm algorithm);

enum class GateMode {
  kSequential,  // random start gates, then h_j := w_j
  kRandom,      // random gates kept for ever: the convex problem
  kEnumerated,  // all gates of one- and two-sparse neurons, by angular sweeps: see enumerated.h
};

// A linear term x . l beside the neurons.
enum class LinearTerm {
  kNone,
  kDense,   // of num_columns entries, not counted in nonzeros
  kSparse,  // its entries are counted in nonzeros beside the weights, see sparse_linear.h
};

struct RecoveryOptions {
  // The architecture and the budget. With random gates hidden_width is the number of
  // gates, with enumerated ones that of gates in use at the end. hidden_layers of them, 1 to
  // kMaxHiddenLayers, are of that width each; with several outputs or a loss other than squared
  // an output layer follows, otherwise the last hidden layer is fused with it. The budget is over
  // all layers: 1 <= nonzeros <= NumCandidates.
  int64_t hidden_width = 0;
  int64_t hidden_layers = 1;
  int64_t nonzeros = 0;
  // Working support s~ kept while iterating, nonzeros <= s~; 0 means nonzeros, for reciprocal
  // and enumerated gates 2 nonzeros, for winnow 5 nonzeros; its starts use up to that much. The
  // result is reduced to nonzeros at the end.
  int64_t working_nonzeros = 0;

  Algorithm algorithm = Algorithm::kAuto;
  GateMode gate_mode = GateMode::kSequential;
  OutputSigns output_signs = OutputSigns::kPositive;
  // The signs are ChooseOutputSigns's instead.
  bool choose_output_signs = false;
  bool bias = false;  // appends a constant input 1
  // Fits f(x) = sum_j sign_j (x . w_j)_+ + x . l; with bias the entry of l for the constant is an
  // intercept, which is never counted. Beside a dense term it is a convention on which side of its
  // hyperplane a neuron is open, as (x.w)_+ = (-x.w)_+ + x.w: in the result its largest weight is
  // positive. Only for `winnow`, over all samples.
  LinearTerm linear_term = LinearTerm::kNone;
  // What is minimised. Cross-entropy and logistic are for targets that are classes, see loss.h;
  // `winnow` trains for them, `count_sketch` and `sequential` minimise cross-entropy.
  Loss loss = Loss::kSquared;
  // The loss is ChooseLoss's instead: by the samples and by what the other options allow.
  bool choose_loss = false;

  uint64_t seed = 0;  // of the start gates and the mini-batches

  // Step size eta of `iht` and `reciprocal`; unset: 1 / beta with beta, the largest
  // eigenvalue of A^T A, estimated by the power method. That of `count_sketch`, unset: as
  // published (CountSketchStepSize). Ignored by none: an error with the other algorithms.
  std::optional<double> step_size;
  // Rows a step looks at; 0 or at least n: all. For `count_sketch` 0 is a tenth of the rows, as
  // published. For `svrg` the rows of one of the steps that
  // follow each pass over all rows, rounded up to a multiple of 64; 0: a sixteenth of the rows,
  // at least 256. An iteration of `count_sketch` takes a step on every batch. Not for the
  // algorithms that solve least-squares problems: `htp`, `cosamp`, `splicing`, `winnow`.
  int64_t batch_size = 0;

  // Termination, see termination.h for the inequalities. max_iterations bounds the steps of every
  // stage of a solve of several outputs or layers, and for classes the epochs of every
  // start. The rule of
  // stagnation is that of the algorithms other than winnow and of random gates; winnow, enumerated
  // gates and what is built on them end where their starts or rounds do.
  TerminationCriteria termination;

  // Threads of this solve, 1 to 256. The result has the same bits for any number.
  int num_threads = 1;
  // Bytes for gate masks kept in memory. Above it random gates are regenerated tile by
  // tile in every step, at the cost of one more dense product. With enumerated gates bytes for
  // sample orders: pairs of columns beyond it are sorted again in every sweep.
  int64_t mask_memory_limit_bytes = int64_t{64} << 20;
};

// What the solve starts from, all optional.
struct RecoveryStart {
  // Start gates, row-major hidden_width x num_columns: instead of random ones.
  std::optional<GateVectorSet> gates;
  // Start weights: at most hidden_width neurons of at most working_nonzeros weights. Its
  // neurons are also the start gates, in sequential mode. One hidden layer and one output; with a
  // linear term only where linear_term is set.
  std::optional<SparseNetwork> network;
};

// What a step did.
enum class SolvePhase {
  kIterate,  // a step of the algorithms other than winnow, an epoch of count_sketch
  kStart,    // winnow is about to begin a start
  kExpand,   // winnow, see winnow.h
  kPrune,    // also of a path that descends to its next budget
  kSwap,
  kTrain,  // an epoch of training, see layers.h
};
std::string_view SolvePhaseName(SolvePhase phase);

// One line of the convergence history.
struct IterationReport {
  int64_t iteration = 0;  // completed steps, from 1
  SolvePhase phase = SolvePhase::kIterate;
  // Winnow: which start is at work, from 0; -1 where a path descends from a larger budget.
  int64_t start = 0;
  double relative_residual = 0;  // || f(X) - y || / || y ||, present gates, in double
  double psnr_db = 0;            // 20 log10 max|y| - 10 log10 MSE, at most 400
  double step_size = 0;
  int64_t support_size = 0;           // non-zero weights
  int64_t support_changes = 0;        // positions that entered in this step
  int64_t active_neurons = 0;         // neurons with at least one weight
  double best_relative_residual = 0;  // of the ReLU (or gated) network, so far
  double elapsed_seconds = 0;         // over all attempts
  // Within a path: the budget at work and the budgets visited so far. 0 without one.
  int64_t path_nonzeros = 0;
  int64_t path_points = 0;
  // Training for classes: the mean loss of the mini-batches, and the share of samples named right.
  std::optional<double> loss = {};
  std::optional<double> accuracy = {};
  // Of the relative residual where there are no classes: as in FitQuality.
  std::optional<double> r_squared = {};
  // Of the network that could be the result, on samples that are not learned from: see validated.h.
  std::optional<FitQuality> validation = {};
};

struct RecoveryObserver {
  // Called on the solving thread after every iteration.
  std::function<void(const IterationReport&)> on_iteration;
  // Asked after every iteration; true makes the solver hand a checkpoint over.
  std::function<bool(const IterationReport&)> checkpoint_due;
  std::function<void(std::string checkpoint)> on_checkpoint;
  // Told before on_iteration of the iteration's network where it could be the result: within the
  // budget. Stages of several (outputs, layers of `sequential`) tell of none.
  std::function<void(const Network&)> on_network = {};
};

// | termination_reason               | network                                     |
// | converged, stagnated, iterations | best iterate, reduced to `nonzeros` weights |
// | time limit, cancelled            | best iterate so far, reduced; may be empty  |
struct RecoveryResult {
  TerminationReason termination_reason = TerminationReason::kIterationLimit;
  Network network;
  int64_t iterations = 0;
  double elapsed_seconds = 0;
  // Of the network returned, on the training samples.
  double relative_residual = 0;
  double psnr_db = 0;
  int64_t nonzeros = 0;
  int64_t active_neurons = 0;
  // Starts that were begun, and those that ended at the residual of the network returned (1:
  // it alone). Only winnow has more than one.
  int64_t starts_tried = 1;
  int64_t starts_agreeing = 1;
  RecoveryOptions options_used;  // kAuto, choices and zeros replaced by what was done
  // State after the last completed iteration: Recover resumes from it.
  std::string checkpoint;
};

// What kAuto becomes for these options, any other algorithm itself. gates_given: whether the
// start holds gates.
Algorithm ChooseAlgorithm(const RecoveryOptions& options, int64_t num_samples,
                          bool gates_given = false);

// For samples of classes (num_classes > 0) logistic with one output, cross-entropy with several;
// squared for other samples, and where algorithm, gates, batches or a linear term are for that
// alone.
Loss ChooseLoss(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                int64_t num_outputs, int64_t num_classes);

// Mixed where a sum of neurons that all add cannot be it: a target lies below 0, or the start
// network subtracts; also beside a linear term, which leaves such a sum no say. Positive otherwise,
// the easier problem.
OutputSigns ChooseOutputSigns(const RecoveryOptions& options, const Samples& samples,
                              const RecoveryStart& start = {});

// What a solve will need, before it starts.
struct RecoveryCost {
  int64_t peak_memory_bytes = 0;   // upper estimate, the samples included
  double flops_per_iteration = 0;  // multiply-adds counted as two
};

// Weights that a network of these options may have: num_columns * hidden_width, and those of the
// layers above.
int64_t NumCandidates(const RecoveryOptions& options, int64_t num_inputs, int64_t num_outputs = 1);

// Errors: INVALID_ARGUMENT naming the field (nonzeros, hidden_width, hidden_layers,
// working_nonzeros, algorithm, gate_mode, loss, linear_term, step_size, batch_size, num_threads,
// termination..., gates, network).
absl::Status ValidateOptions(const RecoveryOptions& options, int64_t num_samples,
                             int64_t num_inputs, int64_t num_outputs = 1);

RecoveryCost PredictCost(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                         int64_t num_outputs = 1);

// Runs to the first termination reason. `checkpoint` resumes an earlier solve of the
// same samples and options: the outcome has the same bits as an uninterrupted one
// (time limits aside). A stop request is noticed within one tile of work; the best
// iterate so far is returned with kCancelled.
// Errors: INVALID_ARGUMENT naming the field for bad samples (also `targets` constant
// zero), options, start or checkpoint (one of another problem or program version).
// Cost: about n d m multiply-adds an iteration, 20 n s~ more for `aiht`.
absl::StatusOr<RecoveryResult> Recover(const Samples& samples, const RecoveryOptions& options,
                                       const RecoveryStart& start = {},
                                       const RecoveryObserver& observer = {},
                                       std::stop_token stop = {}, std::string_view checkpoint = {});

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_RECOVERY_H_
