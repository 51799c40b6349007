#include "core/recovery/enumerated.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "core/iteration/state_bytes.h"
#include "core/kernels/angular_sweep.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/support_products.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/grow.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/refine.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/solver.h"
#include "core/recovery/two_sparse.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHE01";
// Refinement goes on to this share of the tolerance, near the rounding of the data.
constexpr double kPolish = 0.25;

// Of the gates that a sweep proposes those join that explain at least this share of what the
// best one does, at most a quarter of the width at once.
constexpr double kJoinShare = 0.3;
constexpr int64_t kJoinFraction = 4;
// The search within pairs is repeated while it helps.
constexpr int kSearchRounds = 3;
constexpr double kSearchDecrease = 0.1;
// Gates of one pair whose lines have a cosine above this are not told apart while expanding.
constexpr double kNearLine = 0.98;
// From this relative residual on refinement often converges: each step tries.
constexpr double kNearlyExpanded = 0.1;
// Nothing is left to be found.
constexpr double kExpanded = 1e-4;
// The linear term needs this many samples for each of its weights.
constexpr int64_t kSamplesPerLinearWeight = 4;

constexpr double kFitTolerance = 1e-10;
constexpr int kMaxFitProducts = 300;
constexpr double kRidge = 1e-7;

constexpr double kPruneShare = 0.1;
constexpr double kSwapDecrease = 1e-3;
constexpr double kSameDirection = 1 - 1e-9;
// Gates that stay apart from the weights must divide the sum of squares by this.
constexpr double kGatedGain = 4;

constexpr RefineOptions kLongRefine = {.max_steps = 40, .max_products = 300, .min_decrease = 1e-6};
constexpr RefineOptions kShortRefine = {.max_steps = 6, .max_products = 60};

// Gates and weights on the same columns, row by row.
struct GatedRows {
  SparseRows gates;
  SparseRows weights;

  int64_t size() const { return gates.num_rows(); }
};

void Append(const HalfPlane& plane, GatedRows& rows) {
  for (const int end : {0, 1}) {
    rows.gates.column.push_back(plane.column[end]);
    rows.gates.value.push_back(plane.gate[end]);
    rows.weights.column.push_back(plane.column[end]);
    rows.weights.value.push_back(plane.weights[end]);
  }
  rows.gates.row_begin.push_back(rows.gates.nonzeros());
  rows.weights.row_begin.push_back(rows.weights.nonzeros());
}

// Whether a row has nearly the plane's line. What such a gate adds the search within the pair
// finds as well, and two of them would cancel each other.
bool IsNear(const GatedRows& rows, const HalfPlane& plane) {
  for (int64_t j = 0; j < rows.size(); ++j) {
    const int64_t e = rows.gates.row_begin[j];
    if (rows.gates.column[e] != plane.column[0] || rows.gates.column[e + 1] != plane.column[1]) {
      continue;
    }
    const double cosine =
        rows.gates.value[e] * plane.gate[0] + rows.gates.value[e + 1] * plane.gate[1];
    if (std::abs(cosine) > kNearLine) return true;
  }
  return false;
}

struct EnumeratedState {
  int64_t iteration = 0;
  double elapsed_seconds = 0;
  SolvePhase phase = SolvePhase::kExpand;
  bool finished = false;
  int64_t swap_size = 0;
  double loss = 0;
  GatedRows expanded;     // two entries a row
  SparseNetwork network;  // the best ReLU network within the budget, once pruned
  double network_loss = 0;
  bool has_network = false;
  GatedRows gated;  // the best gates that stay apart, where they were asked for
  double gated_loss = 0;
  bool has_gated = false;

  bool GatedWins() const {
    return has_gated && (!has_network || kGatedGain * gated_loss < network_loss);
  }
  double BestLoss() const {
    if (GatedWins()) return gated_loss;
    return has_network ? network_loss : std::numeric_limits<double>::infinity();
  }
};

class Enumerator {
 public:
  Enumerator(const Samples& samples, const RecoveryOptions& options, std::stop_token stop)
      : options_(options),
        engine_(options.num_threads, std::move(stop)),
        scaled_(ScaleToUnit(samples, options.bias)),
        design_(scaled_.design),
        targets_(scaled_.targets) {
    for (const double target : targets_) max_target_ = std::max(max_target_, std::abs(target));
    const double tolerance = kPolish * options_.termination.relative_residual_tolerance;
    target_loss_ = tolerance * tolerance * scaled_.target_norm2;
    orders_ = SortByAngle(engine_, design_, options_.mask_memory_limit_bytes);
    open_ = AlwaysOpen(design_);
    with_linear_ = design_.num_samples >= kSamplesPerLinearWeight * (design_.num_columns + 1);
  }

  // Takes the state one step on. Where a stop is requested on the way the state is incomplete.
  void Step(EnumeratedState& state);

  double RelativeResidual(double loss) const { return std::sqrt(loss / scaled_.target_norm2); }
  double Psnr(double loss) const { return PsnrDb(loss, design_.num_samples, max_target_); }
  bool stop_requested() const { return engine_.stop_requested(); }

  // In the user's units; without weights where no step has met the budget.
  Network Result(const EnumeratedState& state) const;

 private:
  ReluProblem problem() { return scaled_.problem(engine_); }
  SparseNetwork EmptyNetwork() const {
    SparseNetwork network;
    network.num_inputs = scaled_.num_inputs;
    network.has_bias = scaled_.has_bias;
    return network;
  }
  RefineOptions Towards(RefineOptions refine) const {
    refine.target_loss = target_loss_;
    return refine;
  }
  SweepFit KinkFit() const {
    return options_.output_signs == OutputSigns::kPositive ? SweepFit::kKinkAdded : SweepFit::kKink;
  }

  // argmin || A w - y || over the weights of all rows under the masks, from the present ones, by
  // preconditioned conjugate gradients. Returns y - A w.
  std::vector<double> LeastSquares(const GateMasks& masks, SparseRows& rows);
  // The same over the gates' weights and, `with_linear`, a linear term, which is returned.
  struct Fit {
    std::vector<double> left;    // y - A w
    std::vector<double> linear;  // weights on the columns, empty without the term
    double loss = 0;
  };
  Fit FitWeights(bool with_linear, GatedRows& rows);
  // Every gate at its best within its pair while the others stay.
  GatedRows SearchWithinPairs(const GatedRows& rows, const std::vector<double>& left, SweepFit fit);

  // The ReLU network that changes slope as the gates do: each neuron is open on the side that
  // leaves least of the linear term.
  SparseNetwork Fuse(const GatedRows& rows, const std::vector<double>& linear) const;
  // Refines, prunes to the budget, refines.
  double FitToBudget(SparseNetwork& network);

  // The ReLU network of the gates, fitted to the budget; remembered where it is the best so far.
  void TryNetwork(const Fit& fit, EnumeratedState& state);

  // More gates, at most `most`, by a sweep of what is left; all weights and gates fitted anew.
  struct Growth {
    Fit fit;
    int64_t joined = 0;
  };
  Growth Grow(SweepFit fit, bool with_linear, int64_t most, GatedRows& rows);

  void Expand(EnumeratedState& state);
  void Prune(EnumeratedState& state);
  void Swap(EnumeratedState& state);
  SparseNetwork WithNewNeurons(NeuronMeasure measure, const EnumeratedState& state);
  // Fits a network of more weights to the budget; true when it is better.
  bool TryCandidate(SparseNetwork candidate, EnumeratedState& state);
  void KeepGatesApart(EnumeratedState& state);

  const RecoveryOptions& options_;
  Engine engine_;
  const ScaledSamples scaled_;
  const Design& design_;
  const std::vector<double>& targets_;
  AngleOrders orders_;
  GateMasks open_;
  bool with_linear_ = false;
  double max_target_ = 0;
  double target_loss_ = 0;
};

std::vector<double> Enumerator::LeastSquares(const GateMasks& masks, SparseRows& rows) {
  std::optional<NormalEquations> normal;
  if (rows.nonzeros() <= kMaxDenseWeights) {
    normal.emplace(problem(), Linearisation{.masks = masks,
                                            .signed_rows = rows,
                                            .signs = std::vector<double>(rows.nonzeros(), 1.0)});
    normal->Factor(kRidge * std::max(normal->MeanDiagonal(), 1.0));
  }
  std::vector<double> left(targets_.size());
  SupportForward(engine_, design_, masks, rows, left);
  for (size_t i = 0; i < left.size(); ++i) left[i] = targets_[i] - left[i];
  std::vector<double> gradient(rows.nonzeros());
  std::vector<double> image(left.size());
  const auto preconditioned = [&](std::vector<double> vector) {
    if (normal) normal->Solve(vector);
    return vector;
  };
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  SupportAdjoint(engine_, design_, masks, rows, targets_, gradient);
  const double end = kFitTolerance * kFitTolerance * dot(gradient, preconditioned(gradient));
  SupportAdjoint(engine_, design_, masks, rows, left, gradient);
  SparseRows direction = rows;
  direction.value = preconditioned(gradient);
  double product = dot(gradient, direction.value);
  for (int k = 0; k < kMaxFitProducts && product > end; ++k) {
    if (stop_requested()) return left;
    SupportForward(engine_, design_, masks, direction, image);
    const double curvature = SquaredNorm(image);
    if (!(curvature > 0)) break;
    const double step = product / curvature;
    for (size_t e = 0; e < rows.value.size(); ++e) rows.value[e] += step * direction.value[e];
    for (size_t i = 0; i < left.size(); ++i) left[i] -= step * image[i];
    SupportAdjoint(engine_, design_, masks, rows, left, gradient);
    const std::vector<double> scaled = preconditioned(gradient);
    const double next = dot(gradient, scaled);
    for (size_t e = 0; e < scaled.size(); ++e) {
      direction.value[e] = scaled[e] + next / product * direction.value[e];
    }
    product = next;
  }
  return left;
}

std::vector<int64_t> FirstIntegers(int64_t count) {
  std::vector<int64_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

Enumerator::Fit Enumerator::FitWeights(bool with_linear, GatedRows& rows) {
  const std::vector<int64_t> all = FirstIntegers(rows.size());
  const GateField gates(SparseGateSet{all, rows.gates}, design_);
  const GateMasks gated = gates.MasksOf(engine_, design_, all);
  Fit fit;
  if (!with_linear) {
    fit.left = LeastSquares(gated, rows.weights);
    fit.loss = SquaredNorm(fit.left);
    return fit;
  }
  // The linear term is the row of a gate that is always open.
  const int64_t num_columns = design_.num_columns;
  SparseRows joint;
  joint.column.resize(num_columns);
  std::iota(joint.column.begin(), joint.column.end(), 0);
  joint.value.resize(num_columns, 0.0);
  joint.row_begin.push_back(num_columns);
  joint.column.insert(joint.column.end(), rows.weights.column.begin(), rows.weights.column.end());
  joint.value.insert(joint.value.end(), rows.weights.value.begin(), rows.weights.value.end());
  GateMasks masks{design_.num_words, rows.size() + 1, {}};
  for (int64_t j = 1; j <= rows.size(); ++j) {
    joint.row_begin.push_back(num_columns + rows.weights.row_begin[j]);
  }
  for (int64_t w = 0; w < design_.num_words; ++w) {
    masks.words.push_back(open_.word(w, 0));
    masks.words.insert(masks.words.end(), gated.row(w), gated.row(w) + rows.size());
  }
  fit.left = LeastSquares(masks, joint);
  fit.loss = SquaredNorm(fit.left);
  fit.linear.assign(joint.value.begin(), joint.value.begin() + num_columns);
  rows.weights.value.assign(joint.value.begin() + num_columns, joint.value.end());
  return fit;
}

GatedRows Enumerator::SearchWithinPairs(const GatedRows& rows, const std::vector<double>& left,
                                        SweepFit fit) {
  std::vector<HalfPlane> found(rows.size());
  engine_.pool.ParallelFor(rows.size(), [&](int64_t j, int) {
    const int64_t e = rows.gates.row_begin[j];
    const int32_t a = rows.gates.column[e];
    const int32_t b = rows.gates.column[e + 1];
    const float* xa = design_.columns.get() + a * design_.padded_samples();
    const float* xb = design_.columns.get() + b * design_.padded_samples();
    std::vector<double> target = left;
    for (int64_t i = 0; i < design_.num_samples; ++i) {
      if (rows.gates.value[e] * xa[i] + rows.gates.value[e + 1] * xb[i] > 0) {
        target[i] += rows.weights.value[e] * xa[i] + rows.weights.value[e + 1] * xb[i];
      }
    }
    found[j] = BestHalfPlaneOfPair(design_, orders_, target, fit,
                                   ColumnPairIndex(a, b, design_.num_columns));
  });
  GatedRows searched;
  for (const HalfPlane& plane : found) {
    if (plane.decrease > 0) Append(plane, searched);
  }
  return searched;
}

SparseNetwork Enumerator::Fuse(const GatedRows& rows, const std::vector<double>& linear) const {
  const int64_t size = rows.size();
  // f = sum_j D_j X w_j + X l is the same with (1 - D_j) X (-w_j) in place of term j and l + w_j
  // in place of l. The choice that brings l nearest to 0: the share of each w_j in -l by least
  // squares, rounded, then single exchanges.
  std::vector<bool> turned(size, false);
  if (!linear.empty() && size > 0) {
    Eigen::MatrixXd slopes = Eigen::MatrixXd::Zero(static_cast<Eigen::Index>(linear.size()), size);
    for (int64_t j = 0; j < size; ++j) {
      for (int64_t e = rows.weights.row_begin[j]; e < rows.weights.row_begin[j + 1]; ++e) {
        slopes(rows.weights.column[e], j) = rows.weights.value[e];
      }
    }
    Eigen::VectorXd rest =
        Eigen::Map<const Eigen::VectorXd>(linear.data(), static_cast<Eigen::Index>(linear.size()));
    Eigen::MatrixXd normal = slopes.transpose() * slopes;
    normal.diagonal().array() += 1e-9 * normal.trace() / static_cast<double>(size) + 1e-300;
    const Eigen::VectorXd share = normal.llt().solve(-slopes.transpose() * rest);
    for (int64_t j = 0; j < size; ++j) {
      turned[j] = share(j) > 0.5;
      if (turned[j]) rest += slopes.col(j);
    }
    for (int64_t exchanges = 0; exchanges < 4 * size; ++exchanges) {
      int64_t best = -1;
      double best_norm2 = (1 - 1e-9) * rest.squaredNorm();
      for (int64_t j = 0; j < size; ++j) {
        const double norm2 = (rest + (turned[j] ? -1 : 1) * slopes.col(j)).squaredNorm();
        if (norm2 < best_norm2) {
          best = j;
          best_norm2 = norm2;
        }
      }
      if (best < 0) break;
      rest += (turned[best] ? -1 : 1) * slopes.col(best);
      turned[best] = !turned[best];
    }
  }
  SparseNetwork network = EmptyNetwork();
  for (int64_t j = 0; j < size; ++j) {
    double along = 0;
    for (int64_t e = rows.gates.row_begin[j]; e < rows.gates.row_begin[j + 1]; ++e) {
      along += rows.gates.value[e] * rows.weights.value[e];
    }
    const int sign = along < 0 ? -1 : 1;
    if (sign < 0 && options_.output_signs == OutputSigns::kPositive) continue;
    for (int64_t e = rows.gates.row_begin[j]; e < rows.gates.row_begin[j + 1]; ++e) {
      network.weights.column.push_back(rows.weights.column[e]);
      network.weights.value.push_back((turned[j] ? -sign : sign) * rows.weights.value[e]);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
    network.output_signs.push_back(static_cast<int8_t>(sign));
  }
  return DropDeadNeurons(network);
}

double Enumerator::FitToBudget(SparseNetwork& network) {
  double loss = Refine(problem(), Towards(kLongRefine), network);
  network = MergeParallelNeurons(DropDeadNeurons(network), kSameDirection);
  while (!stop_requested() && (network.hidden_width() > options_.hidden_width ||
                               network.weights.nonzeros() > options_.nonzeros)) {
    const auto after = [](int64_t present, int64_t budget) {
      const auto kept = static_cast<int64_t>(static_cast<double>(present) * (1 - kPruneShare));
      return std::max(budget, std::min(kept, present - 1));
    };
    if (network.hidden_width() > options_.hidden_width) {
      network =
          PruneNeuronsTo(problem(), network, after(network.hidden_width(), options_.hidden_width));
    } else {
      network = PruneTo(problem(), network, after(network.weights.nonzeros(), options_.nonzeros));
    }
    loss = Refine(problem(), Towards(kShortRefine), network);
  }
  if (loss > target_loss_) loss = Refine(problem(), Towards(kLongRefine), network);
  return loss;
}

void Enumerator::TryNetwork(const Fit& fit, EnumeratedState& state) {
  SparseNetwork network = Fuse(state.expanded, fit.linear);
  const double loss = FitToBudget(network);
  if (stop_requested() || (state.has_network && !(loss < state.network_loss))) return;
  state.network = std::move(network);
  state.network_loss = loss;
  state.has_network = true;
  state.finished = loss <= target_loss_;
}

Enumerator::Growth Enumerator::Grow(SweepFit fit, bool with_linear, int64_t most, GatedRows& rows) {
  Growth growth;
  growth.fit = FitWeights(with_linear, rows);
  const int64_t joining =
      std::min(most - rows.size(), std::max<int64_t>(1, options_.hidden_width / kJoinFraction));
  const std::vector<HalfPlane> planes = BestDisjointHalfPlanes(
      engine_, design_, orders_,
      with_linear ? AffineResidual(engine_, design_, growth.fit.left) : growth.fit.left, fit,
      joining + rows.size());
  double best = 0;
  for (const HalfPlane& plane : planes) {
    if (growth.joined == joining || plane.decrease < kJoinShare * best) break;
    if (IsNear(rows, plane)) continue;
    if (growth.joined == 0) best = plane.decrease;
    Append(plane, rows);
    ++growth.joined;
  }
  if (stop_requested()) return growth;
  growth.fit = FitWeights(with_linear, rows);
  for (int round = 0; round < kSearchRounds; ++round) {
    GatedRows searched = SearchWithinPairs(rows, growth.fit.left, fit);
    if (stop_requested()) return growth;
    Fit there = FitWeights(with_linear, searched);
    if (!(there.loss < (1 - kSearchDecrease) * growth.fit.loss)) break;
    rows = std::move(searched);
    growth.fit = std::move(there);
  }
  return growth;
}

void Enumerator::Expand(EnumeratedState& state) {
  const int64_t most = std::max<int64_t>(1, options_.working_nonzeros / 2);
  const Growth growth = Grow(KinkFit(), with_linear_, most, state.expanded);
  state.loss = growth.fit.loss;
  if (state.expanded.size() >= options_.hidden_width ||
      RelativeResidual(state.loss) <= kNearlyExpanded) {
    TryNetwork(growth.fit, state);
    if (state.finished) state.loss = state.network_loss;
  }
  if (growth.joined == 0 || state.expanded.size() >= most ||
      RelativeResidual(state.loss) <= kExpanded) {
    state.phase = SolvePhase::kPrune;
  }
}

void Enumerator::Prune(EnumeratedState& state) {
  TryNetwork(FitWeights(with_linear_, state.expanded), state);
  state.loss = state.network_loss;
  state.swap_size = std::max<int64_t>(1, options_.hidden_width / 2);
  state.phase = SolvePhase::kSwap;
}

void Enumerator::Swap(EnumeratedState& state) {
  // Weights that existing neurons lack cost no sweep.
  const bool better =
      TryCandidate(GrowAndThreshold(problem(), state.network, options_.nonzeros + state.swap_size,
                                    options_.output_signs, /*new_neurons=*/false),
                   state) ||
      TryCandidate(WithNewNeurons(NeuronMeasure::kBesideAffine, state), state) ||
      TryCandidate(WithNewNeurons(NeuronMeasure::kAlone, state), state);
  if (!better) state.swap_size /= 2;
  state.loss = state.network_loss;
  state.finished = state.loss <= target_loss_;
  if (!state.finished && state.swap_size == 0) state.phase = SolvePhase::kIterate;
}

SparseNetwork Enumerator::WithNewNeurons(NeuronMeasure measure, const EnumeratedState& state) {
  if (stop_requested()) return state.network;
  const Linearisation at = Linearise(problem(), state.network);
  const SparseNetwork entering = BestTwoSparseNeurons(
      problem(), orders_, at.residual, options_.output_signs, state.swap_size, measure);
  SparseNetwork network = state.network;
  SparseRows& rows = network.weights;
  rows.column.insert(rows.column.end(), entering.weights.column.begin(),
                     entering.weights.column.end());
  rows.value.insert(rows.value.end(), entering.weights.value.begin(), entering.weights.value.end());
  const int64_t first = rows.row_begin.back();
  for (int64_t j = 1; j <= entering.hidden_width(); ++j) {
    rows.row_begin.push_back(first + entering.weights.row_begin[j]);
  }
  network.output_signs.insert(network.output_signs.end(), entering.output_signs.begin(),
                              entering.output_signs.end());
  return network;
}

bool Enumerator::TryCandidate(SparseNetwork candidate, EnumeratedState& state) {
  const double loss = FitToBudget(candidate);
  if (stop_requested() || !(loss < (1 - kSwapDecrease) * state.network_loss)) return false;
  state.network = std::move(candidate);
  state.network_loss = loss;
  return true;
}

void Enumerator::KeepGatesApart(EnumeratedState& state) {
  const int64_t most = std::min(options_.hidden_width, options_.nonzeros / 2);
  state.finished = most == 0;
  if (state.finished) return;
  const Growth growth = Grow(SweepFit::kGated, /*with_linear=*/false, most, state.gated);
  state.gated_loss = growth.fit.loss;
  state.has_gated = state.gated.size() > 0;
  state.loss = state.gated_loss;
  state.finished =
      growth.joined == 0 || state.gated.size() >= most || state.gated_loss <= target_loss_;
}

void Enumerator::Step(EnumeratedState& state) {
  switch (state.phase) {
    case SolvePhase::kPrune:
      Prune(state);
      break;
    case SolvePhase::kSwap:
      Swap(state);
      break;
    case SolvePhase::kIterate:
      KeepGatesApart(state);
      break;
    case SolvePhase::kStart:
    case SolvePhase::kTrain:
    case SolvePhase::kExpand:
      Expand(state);
      break;
  }
  ++state.iteration;
}

Network Enumerator::Result(const EnumeratedState& state) const {
  if (!state.GatedWins()) return FromScaled(scaled_, state.network);
  GatedNetwork network;
  network.num_inputs = scaled_.num_inputs;
  network.has_bias = scaled_.has_bias;
  network.weights = state.gated.weights;
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *=
        scaled_.column_scales[network.weights.column[e]] / scaled_.target_scale;
  }
  network.gate_index = FirstIntegers(state.gated.size());
  GateVectorSet gates{state.gated.size(), {}};
  gates.vectors.resize(gates.num_gates * design_.num_columns, 0.0);
  for (int64_t j = 0; j < gates.num_gates; ++j) {
    for (int64_t e = state.gated.gates.row_begin[j]; e < state.gated.gates.row_begin[j + 1]; ++e) {
      const int32_t q = state.gated.gates.column[e];
      gates.vectors[j * design_.num_columns + q] =
          state.gated.gates.value[e] * scaled_.column_scales[q];
    }
  }
  network.gates = std::move(gates);
  return network;
}

void Add(const SparseRows& rows, StateWriter& writer) {
  writer.AddVector(rows.row_begin);
  writer.AddVector(rows.column);
  writer.AddVector(rows.value);
}

bool Take(StateReader& reader, int64_t num_columns, SparseRows& rows) {
  return reader.TakeVector(rows.row_begin) && reader.TakeVector(rows.column) &&
         reader.TakeVector(rows.value) && ValidateSparseRows(rows, num_columns).ok();
}

// Gates and weights on two columns each, the same ones.
bool Take(StateReader& reader, int64_t num_columns, GatedRows& rows) {
  if (!Take(reader, num_columns, rows.gates) || !Take(reader, num_columns, rows.weights) ||
      rows.gates.row_begin != rows.weights.row_begin || rows.gates.column != rows.weights.column) {
    return false;
  }
  for (int64_t j = 0; j < rows.size(); ++j) {
    if (rows.gates.row_begin[j + 1] - rows.gates.row_begin[j] != 2) return false;
  }
  return true;
}

std::string Serialize(const EnumeratedState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iteration);
  writer.Add(state.elapsed_seconds);
  writer.Add(static_cast<int32_t>(state.phase));
  writer.Add(static_cast<uint8_t>(state.finished));
  writer.Add(state.swap_size);
  writer.Add(state.loss);
  Add(state.expanded.gates, writer);
  Add(state.expanded.weights, writer);
  writer.Add(static_cast<uint8_t>(state.has_network));
  writer.Add(state.network_loss);
  Add(state.network.weights, writer);
  writer.AddVector(state.network.output_signs);
  writer.Add(static_cast<uint8_t>(state.has_gated));
  writer.Add(state.gated_loss);
  Add(state.gated.gates, writer);
  Add(state.gated.weights, writer);
  return std::move(writer).Finish();
}

absl::StatusOr<EnumeratedState> Parse(std::string_view bytes, uint64_t fingerprint,
                                      EnumeratedState state) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  const int64_t num_columns = state.network.num_columns();
  int32_t phase = 0;
  uint8_t finished = 0;
  uint8_t has_network = 0;
  uint8_t has_gated = 0;
  if (!reader->Take(state.iteration) || !reader->Take(state.elapsed_seconds) ||
      !reader->Take(phase) || !reader->Take(finished) || !reader->Take(state.swap_size) ||
      !reader->Take(state.loss) || !Take(*reader, num_columns, state.expanded) ||
      !reader->Take(has_network) || !reader->Take(state.network_loss) ||
      !Take(*reader, num_columns, state.network.weights) ||
      !reader->TakeVector(state.network.output_signs) || !ValidateNetwork(state.network).ok() ||
      !reader->Take(has_gated) || !reader->Take(state.gated_loss) ||
      !Take(*reader, num_columns, state.gated) || !reader->AtEnd() || phase < 0 ||
      phase > static_cast<int32_t>(SolvePhase::kSwap)) {
    return StateReader::Damaged();
  }
  state.phase = static_cast<SolvePhase>(phase);
  state.finished = finished != 0;
  state.has_network = has_network != 0;
  state.has_gated = has_gated != 0;
  return state;
}

}  // namespace

int64_t DefaultEnumeratedSupport(int64_t nonzeros) {
  constexpr int64_t kFactor = 2;
  return kFactor * nonzeros;
}

double EnumeratedBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_columns) {
  const auto n = static_cast<double>(num_samples);
  const int64_t expanded = options.working_nonzeros / 2;
  const auto gates = static_cast<double>(expanded + options.hidden_width);
  double bytes = static_cast<double>(
      AngleOrderBytes(num_samples, num_columns, options.mask_memory_limit_bytes) +
      AngularSweepBytes(num_samples, options.num_threads));
  // What a sweep proposes, one list a thread and one for all.
  const double proposed =
      std::min(static_cast<double>(NumColumnPairs(num_columns)),
               static_cast<double>(options.hidden_width) * 2.0 * static_cast<double>(num_columns));
  bytes += proposed * (options.num_threads + 1) * sizeof(HalfPlane);
  // Masks of all gates, twice; the search within each pair; residuals and images.
  bytes += 2 * n / 8 * (gates + 1) + n * sizeof(double) * (8 + options.num_threads);
  const double fitted =
      std::min(static_cast<double>(num_columns) + 2 * gates, static_cast<double>(kMaxDenseWeights));
  bytes += fitted * fitted * (4 * sizeof(double) + options.num_threads * sizeof(float));
  return bytes;
}

double SweepFlops(int64_t num_samples, int64_t num_columns) {
  constexpr double kFlopsPerSample = 80;
  return kFlopsPerSample * static_cast<double>(NumColumnPairs(num_columns)) *
         static_cast<double>(num_samples);
}

absl::StatusOr<RecoveryResult> RecoverEnumerated(const Samples& samples,
                                                 const RecoveryOptions& options,
                                                 const RecoveryObserver& observer,
                                                 std::stop_token stop, std::string_view checkpoint,
                                                 uint64_t fingerprint) {
  EnumeratedState state;
  state.network.num_inputs = samples.num_inputs;
  state.network.has_bias = options.bias;
  if (!checkpoint.empty()) {
    absl::StatusOr<EnumeratedState> parsed = Parse(checkpoint, fingerprint, std::move(state));
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    return earlier_seconds + std::chrono::duration<double>(Clock::now() - begin).count();
  };
  Enumerator enumerator(samples, options, std::move(stop));

  std::optional<TerminationReason> reason;
  while (true) {
    state.elapsed_seconds = elapsed();
    reason =
        CheckTermination(options.termination,
                         {.iterations = state.iteration,
                          .best_relative_residual = enumerator.RelativeResidual(state.BestLoss()),
                          .iterations_without_progress = 0,
                          .elapsed_seconds = state.elapsed_seconds,
                          .cancelled = enumerator.stop_requested()});
    if (!reason && state.finished) reason = TerminationReason::kStagnated;
    if (reason) break;

    EnumeratedState next = state;
    enumerator.Step(next);
    if (enumerator.stop_requested()) continue;  // the step is incomplete: the state stays
    state = std::move(next);
    state.elapsed_seconds = elapsed();

    const bool expanding = !state.finished && (state.phase == SolvePhase::kExpand ||
                                               state.phase == SolvePhase::kPrune);
    IterationReport report;
    report.iteration = state.iteration;
    report.phase = state.phase;
    report.relative_residual = enumerator.RelativeResidual(state.loss);
    report.psnr_db = enumerator.Psnr(state.loss);
    report.support_size =
        expanding ? state.expanded.weights.nonzeros() : state.network.weights.nonzeros();
    report.active_neurons = expanding ? state.expanded.size() : state.network.hidden_width();
    report.best_relative_residual = state.has_network
                                        ? enumerator.RelativeResidual(state.BestLoss())
                                        : report.relative_residual;
    report.elapsed_seconds = state.elapsed_seconds;
    if (observer.on_network && !expanding) observer.on_network(enumerator.Result(state));
    if (observer.on_iteration) observer.on_iteration(report);
    if (observer.checkpoint_due && observer.on_checkpoint && observer.checkpoint_due(report)) {
      observer.on_checkpoint(Serialize(state, fingerprint));
    }
  }

  RecoveryResult result;
  result.termination_reason = *reason;
  result.network = enumerator.Result(state);
  result.nonzeros = Nonzeros(result.network);
  result.active_neurons = ActiveNeurons(result.network);
  result.iterations = state.iteration;
  result.elapsed_seconds = elapsed();
  result.options_used = options;
  result.checkpoint = Serialize(state, fingerprint);
  if (absl::Status status = MeasureOnSamples(samples, result); !status.ok()) return status;
  return result;
}

}  // namespace thresher
