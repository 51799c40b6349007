#include "core/recovery/report.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/gates/random_gates.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/pattern_statistics.h"
#include "core/kernels/support_products.h"
#include "core/kernels/top_gradient.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/exchange.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/relu_problem.h"
#include "core/recovery/scaled_samples.h"
#include "core/recovery/support.h"
#include "core/refinement/joint_problem.h"

namespace thresher {
namespace {

constexpr double kExactWeightError = 1e-4;

constexpr double kRounding = 3e-6;
constexpr double kUnexplained = 0.3;
// Of classes: a share of the errors of naming the most frequent one that no difference counts
// below.
constexpr double kFewErrors = 0.05;
// Held-out residuals above this multiple of what the training residual leads one to expect.
constexpr double kWorse = 1.5;
constexpr double kMostOverfit = 2;
// Beyond, the rounding of single-precision inputs alone (6e-8) moves weights by over half a
// percent.
constexpr double kDeterminedKappa = 1e10;
constexpr double kNarrowGap = 2;
constexpr double kRareNeuron = 0.01;
constexpr double kSamePattern = 1e-3;  // neurons that differ on a smaller share of the samples

constexpr int64_t kCandidates = 64;
// Normalised columns that differ by less in norm are the same in single precision.
constexpr double kParallel = 1e-6;
constexpr double kParallelWindow = 1e-5;
constexpr int kMostNeighbours = 32;
constexpr int64_t kRowsBetweenStops = 4096;

// ---- The problem at the network found.

// A network's weights as one support under gates. Columns of the design are scaled so that
// sums of squares stay in range, the weights with them.
struct FoundNetwork {
  std::vector<int64_t> gate_index;  // of each row, ascending
  SparseRows rows;                  // weights with their output signs, on scaled columns
  std::optional<GateField> gates;
  std::vector<int8_t> output_signs;  // of each row; empty for fixed gates
  // The linear term as a row, on the columns that are not zeros; empty where there is none.
  std::vector<int32_t> linear_column;
  std::vector<double> linear_value;
  std::vector<double> factors;  // of the columns, see ScaleColumns
};

// Multiplies columns to mean square about 1 by powers of two, which is exact: each by its own
// or, where fixed gates must keep their patterns, all by one. Returns the factors.
std::vector<double> ScaleColumns(bool each_by_its_own, Design& design) {
  const auto n = static_cast<double>(design.num_samples);
  std::vector<double> factors(design.num_columns);
  double total = 0;
  for (int64_t q = 0; q < design.num_columns; ++q) {
    const float* column = design.columns.get() + q * design.padded_samples();
    double sum = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      sum += static_cast<double>(column[i]) * column[i];
    }
    factors[q] = UnitScale(sum / n);
    total += sum / n;
  }
  if (!each_by_its_own) {
    std::fill(factors.begin(), factors.end(),
              UnitScale(total / static_cast<double>(design.num_columns)));
  }
  for (int64_t q = 0; q < design.num_columns; ++q) {
    float* column = design.columns.get() + q * design.padded_samples();
    const auto factor = static_cast<float>(factors[q]);
    for (int64_t i = 0; i < design.num_samples; ++i) {
      column[i] *= factor;
      design.rows[i * design.row_stride + q] *= factor;
    }
  }
  return factors;
}

void DivideByFactors(const std::vector<double>& factors, SparseRows& rows) {
  for (size_t e = 0; e < rows.value.size(); ++e) rows.value[e] /= factors[rows.column[e]];
}

// `network` outlives the result.
FoundNetwork OnDesign(const Network& network, Design& design) {
  FoundNetwork found;
  if (const auto* gated = std::get_if<GatedNetwork>(&network)) {
    const std::vector<double> factors = ScaleColumns(/*each_by_its_own=*/false, design);
    found.gate_index = gated->gate_index;
    found.rows = gated->weights;
    DivideByFactors(factors, found.rows);
    if (const auto* random = std::get_if<RandomGateSet>(&gated->gates)) {
      found.gates.emplace(*random, design);
    } else {
      found.gates.emplace(&std::get<GateVectorSet>(gated->gates), design);
    }
    return found;
  }
  // Parallel neurons are one: how the sum is divided among them means nothing.
  const SparseNetwork reduced = ReduceNetwork(std::get<SparseNetwork>(network));
  found.factors = ScaleColumns(/*each_by_its_own=*/true, design);
  const std::vector<double>& factors = found.factors;
  found.gate_index.resize(reduced.hidden_width());
  std::iota(found.gate_index.begin(), found.gate_index.end(), 0);
  found.rows = reduced.weights;
  DivideByFactors(factors, found.rows);
  found.gates.emplace(SparseGateSet{found.gate_index, found.rows}, design);
  if (!reduced.upper_layers.empty()) return found;
  found.output_signs = reduced.output_signs;
  for (int64_t k = 0; k < reduced.hidden_width(); ++k) {
    for (int64_t e = found.rows.row_begin[k]; e < found.rows.row_begin[k + 1]; ++e) {
      found.rows.value[e] *= reduced.output_signs[k];
    }
  }
  for (size_t q = 0; q < reduced.linear.size(); ++q) {
    if (reduced.linear[q] == 0) continue;  // of a sparse term
    const float* column = design.columns.get() + q * design.padded_samples();
    if (std::all_of(column, column + design.num_samples, [](float x) { return x == 0; })) continue;
    found.linear_column.push_back(static_cast<int32_t>(q));
    found.linear_value.push_back(reduced.linear[q] / factors[q]);
  }
  return found;
}

// The gates of the masks, each followed by its complement.
GateMasks WithComplements(const GateMasks& masks, const Design& design) {
  const GateMasks open = WithOpenGate({masks.num_words, 0, {}}, design);
  GateMasks both{masks.num_words, 2 * masks.num_gates, {}};
  both.words.reserve(both.num_words * both.num_gates);
  for (int64_t w = 0; w < masks.num_words; ++w) {
    for (int64_t j = 0; j < masks.num_gates; ++j) {
      both.words.push_back(masks.word(w, j));
      both.words.push_back(masks.word(w, j) ^ open.word(w, 0));
    }
  }
  return both;
}

void MeasureNeuronPatterns(Engine& engine, const GateMasks& masks, const Design& design,
                           bool either_side, RecoveryEvidence& evidence) {
  const PatternStatistics patterns =
      either_side ? MeasurePatterns(engine, WithComplements(masks, design), design.num_samples)
                  : MeasurePatterns(engine, masks, design.num_samples);
  evidence.smallest_active_fraction = patterns.smallest_active_fraction;
  if (masks.num_gates > 1) evidence.smallest_pattern_difference = patterns.smallest_difference;
  evidence.compared_patterns =
      either_side ? (patterns.compared_gates + 1) / 2 : patterns.compared_gates;
}

// The strongest candidate off the support, |a_q^T r| / ||a_q||.
std::optional<double> StrongestLeftOut(const GatedProblem& problem, const FoundNetwork& found,
                                       std::span<const double> residual) {
  std::vector<int64_t> support;
  for (int64_t k = 0; k < found.rows.num_rows(); ++k) {
    for (int64_t e = found.rows.row_begin[k]; e < found.rows.row_begin[k + 1]; ++e) {
      support.push_back(found.gate_index[k] * problem.design.num_columns + found.rows.column[e]);
    }
  }
  const SparseVector candidates =
      TopGradient(problem.engine, problem.design, problem.gates, residual, kCandidates, support);
  if (candidates.empty() || problem.engine.stop_requested()) return std::nullopt;
  GatedSupport gated = problem.Gate(candidates);
  const SparseVector gradient = problem.Gradient(gated, candidates, residual);
  const std::vector<double> norms =
      GatedColumnNorms(problem.engine, problem.design, gated.masks, gated.grouped.rows);
  double strongest = 0;
  for (size_t e = 0; e < gradient.size(); ++e) {
    if (norms[e] > 0) strongest = std::max(strongest, std::abs(gradient[e].value) / norms[e]);
  }
  return strongest;
}

// A network of several layers on columns of another scale: what its weights are worth.
void MeasureLayers(Engine& engine, const Design& design, SparseNetwork network,
                   const std::vector<double>& factors, const Samples& samples, Loss loss,
                   RecoveryEvidence& evidence) {
  DivideByFactors(factors, network.weights);
  network = BalanceLayers(std::move(network));
  const int64_t padded = design.padded_samples();
  std::vector<double> targets(samples.num_outputs * padded);
  double target_norm2 = 0;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t o = 0; o < samples.num_outputs; ++o) {
      const double target = samples.targets[i * samples.num_outputs + o];
      targets[o * padded + i] = target;
      target_norm2 += target * target;
    }
  }
  if (loss != Loss::kSquared) {
    // Outputs are scores: shares are of theirs.
    std::fill(targets.begin(), targets.end(), 0.0);
    target_norm2 = JointLoss({engine, design, targets, samples.num_outputs}, network);
  }
  const JointProblem problem = {engine, design, targets, samples.num_outputs};
  const std::vector<double> contributions = JointContributions(problem, network);
  if (contributions.empty()) return;
  evidence.weakest_kept =
      std::sqrt(*std::min_element(contributions.begin(), contributions.end()) / target_norm2);
  if (loss != Loss::kSquared) return;
  if (static_cast<int64_t>(contributions.size()) > kMaxJointWeights) return;
  const std::vector<double> saliencies = JointSaliencies(problem, network);
  evidence.smallest_saliency =
      *std::min_element(saliencies.begin(), saliencies.end()) / target_norm2;
}

// ---- What can keep samples from determining a network.

int64_t CountDistinctRows(const Samples& samples, const Engine& engine) {
  std::vector<uint64_t> hashes(samples.num_samples);
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    if (i % kRowsBetweenStops == 0 && engine.stop_requested()) return 0;
    uint64_t hash = 0;
    for (const float x : samples.input_view().row(i)) {
      // -0 is 0. The multiplier is the golden ratio's; the rotation brings high bits down.
      hash = std::rotl((hash ^ std::bit_cast<uint32_t>(x + 0.0F)) * 0x9e3779b97f4a7c15u, 31);
    }
    hashes[i] = hash;
  }
  std::sort(hashes.begin(), hashes.end());
  return std::unique(hashes.begin(), hashes.end()) - hashes.begin();
}

// Whether two columns are multiples of each other.
bool AreParallel(const Design& design, int64_t a, double norm_a, int64_t b, double norm_b) {
  const float* x = design.columns.get() + a * design.padded_samples();
  const float* y = design.columns.get() + b * design.padded_samples();
  double apart = 0;
  double opposed = 0;
  for (int64_t i = 0; i < design.num_samples; ++i) {
    const double p = x[i] / norm_a;
    const double q = y[i] / norm_b;
    apart += (p - q) * (p - q);
    opposed += (p + q) * (p + q);
  }
  return std::min(apart, opposed) <= kParallel * kParallel;
}

struct ColumnPair {
  int64_t used = 0;
  int64_t other = 0;
};

// A column that carries a weight and another column that is a multiple of it. Multiples have
// projections of equal size on a random direction, so only neighbours in that order are
// compared.
std::optional<ColumnPair> FindParallelColumns(const Engine& engine, const Design& design,
                                              const std::vector<int32_t>& used) {
  struct Projection {
    double size;
    int64_t column;
  };
  CounterRandom random(/*seed=*/2, /*stream=*/0);
  std::vector<double> direction(design.num_samples);
  for (double& value : direction) value = random.NextNormal();
  std::vector<double> norms(design.num_columns);
  std::vector<Projection> order;
  for (int64_t q = 0; q < design.num_columns; ++q) {
    if (engine.stop_requested()) return std::nullopt;
    const float* column = design.columns.get() + q * design.padded_samples();
    double square = 0;
    double product = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      square += static_cast<double>(column[i]) * column[i];
      product += direction[i] * column[i];
    }
    norms[q] = std::sqrt(square);
    if (square > 0) order.push_back({std::abs(product) / norms[q], q});
  }
  std::sort(order.begin(), order.end(), [](const Projection& a, const Projection& b) {
    return std::pair(a.size, a.column) < std::pair(b.size, b.column);
  });
  std::vector<bool> is_used(design.num_columns, false);
  for (const int32_t q : used) is_used[q] = true;
  for (size_t k = 0; k < order.size(); ++k) {
    const int64_t a = order[k].column;
    for (size_t l = k + 1; l < order.size() && l <= k + kMostNeighbours; ++l) {
      if (order[l].size - order[k].size > kParallelWindow) break;
      const int64_t b = order[l].column;
      if (!is_used[a] && !is_used[b]) continue;
      if (engine.stop_requested()) return std::nullopt;
      if (AreParallel(design, a, norms[a], b, norms[b])) {
        return is_used[a] ? ColumnPair{a, b} : ColumnPair{b, a};
      }
    }
  }
  return std::nullopt;
}

// ---- Words.

std::string Number(double value) { return absl::StrFormat("%.3g", value); }

std::string Percent(double share) { return absl::StrFormat("%.3g %%", 100 * share); }

// "1 sample", "2 samples".
std::string Count(int64_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string ColumnName(int64_t column, int64_t num_inputs) {
  return column == num_inputs ? "the bias" : absl::StrCat("input ", column);
}

struct Facts {
  const RecoveryResult& result;
  const Samples& training;
  const FitQuality& fit;
  const std::optional<FitQuality>& held_out;
  std::optional<ColumnPair> parallel;
  std::optional<Exchange> exchange;
  bool closed_column = false;  // a weight whose neuron is open nowhere where its input is not 0
  int64_t linear_entries = 0;  // of the linear term, 0 without one
  int64_t linear_columns = 0;  // those whose column is not of zeros

  int64_t parameters() const { return result.nonzeros + linear_columns; }
  std::string parameter_name() const {
    return linear_entries > 0 ? "weights and entries of the linear term" : "weights";
  }
};

std::string ExchangeSentence(const Facts& facts) {
  const int64_t d = facts.training.num_inputs;
  const Exchange& exchange = *facts.exchange;
  return absl::StrCat(
      "Tried out: a weight on ", ColumnName(exchange.removed_column, d),
      " can be exchanged for one on ", ColumnName(exchange.entered_column, d), " of ",
      exchange.same_neuron ? "the same" : "another",
      " neuron (inputs are counted from 0), the others adjusted, and the network fits these ",
      "samples as well. Samples with more varied inputs may decide.");
}

// Why the samples cannot determine the weights; empty where they can.
std::vector<std::string> CausesOfUndetermined(const Facts& facts,
                                              const RecoveryEvidence& evidence) {
  std::vector<std::string> causes;
  const int64_t n = facts.training.num_samples;
  const int64_t parameters = facts.parameters();
  if (n <= parameters) {
    causes.push_back(absl::StrCat("There are no more samples (", n, ") than ",
                                  facts.parameter_name(), " (", parameters,
                                  "), so many networks fit them. Add samples or lower the "
                                  "budget."));
  } else if (evidence.distinct_samples <= parameters) {
    causes.push_back(absl::StrCat(
        "Of the ", Count(n, "sample"), " only ", evidence.distinct_samples,
        " have different inputs, no more than there are ", facts.parameter_name(), " (", parameters,
        "), so many networks fit them. Add samples that differ or lower "
        "the budget."));
  }
  if (facts.parallel) {
    const int64_t d = facts.training.num_inputs;
    causes.push_back(absl::StrCat(
        "On these samples ", ColumnName(facts.parallel->used, d), " and ",
        ColumnName(facts.parallel->other, d),
        " (inputs are counted from 0) are multiples of each other, so a weight on one can move "
        "to the other. Leave one of them out."));
  }
  if (facts.closed_column) {
    causes.push_back(
        "A weight has no effect on any training sample, so its value is arbitrary. Lower the "
        "budget or add samples.");
  }
  // Far from the samples an exchange that costs nothing says that the search did not end, or noise.
  if (causes.empty() && facts.exchange && facts.fit.relative_residual <= kRounding) {
    causes.push_back(ExchangeSentence(facts));
  }
  if (!causes.empty() || !evidence.conditioning) return causes;
  const Conditioning& conditioning = *evidence.conditioning;
  if (conditioning.kappa() < kDeterminedKappa) return causes;
  const std::string consequence =
      " Other weights on the same support fit as well. Lower the budget or the width, or add "
      "samples.";
  if (evidence.smallest_pattern_difference &&
      *evidence.smallest_pattern_difference < kSamePattern) {
    const bool same = *evidence.smallest_pattern_difference == 0;
    causes.push_back(absl::StrCat("Two neurons are active on ", same ? "" : "nearly ",
                                  "the same training samples, so that only the sum of their "
                                  "weights is determined",
                                  same ? "." : " well.", consequence));
  } else {
    causes.push_back(absl::StrCat(
        "The columns of the support are linearly dependent on these samples to "
        "working precision (kappa ",
        conditioning.smallest_eigenvalue > 0 ? absl::StrCat("= ", Number(conditioning.kappa()))
                                             : "over 1e12",
        "): inputs may be combinations of each other.", consequence));
  }
  return causes;
}

// Errors that naming the most frequent class of them leaves, as a share of the samples.
double MajorityError(const Samples& samples) {
  const int64_t k = samples.num_outputs;
  std::vector<int64_t> counts(std::max<int64_t>(k, 2));
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const float* row = samples.targets.data() + i * k;
    ++counts[k == 1 ? static_cast<int64_t>(row[0] >= 0.5F) : std::max_element(row, row + k) - row];
  }
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  return 1 - static_cast<double>(most) / static_cast<double>(samples.num_samples);
}

// What is left of one where nothing is explained: of the norm of the targets, of classes of the
// errors of naming the most frequent one.
double Unexplained(const Facts& facts, const FitQuality& fit) {
  if (!fit.accuracy) return fit.relative_residual;
  const double majority = MajorityError(facts.training);
  return majority > 0 ? (1 - *fit.accuracy) / majority : 1;
}

bool Generalises(const Facts& facts) {
  const double training = Unexplained(facts, facts.fit);
  double held_out = Unexplained(facts, *facts.held_out);
  if (facts.held_out->accuracy) {
    // Few errors are as few by chance; so are they where the larger part of them is gone.
    const double error = 1 - *facts.held_out->accuracy;
    const double deviation =
        std::sqrt(error * (1 - error) / static_cast<double>(facts.held_out->num_samples));
    if (held_out <= kFewErrors) return true;
    if (held_out > kUnexplained) return false;
    held_out *= std::max(0.0, error - 3 * deviation) / error;
  } else if (held_out <= kRounding) {
    return true;
  }
  // Least squares on s of n samples: the residual is smaller than the noise by
  // sqrt(1 - s/n) on training samples and larger by sqrt(1 + s/n) on others.
  const double share = std::min(
      0.999, static_cast<double>(facts.parameters()) / static_cast<double>(facts.fit.num_samples));
  const double overfit = std::min(kMostOverfit, std::sqrt((1 + share) / (1 - share)));
  return held_out <= kWorse * overfit * training;
}

Verdict Judge(const Facts& facts, bool undetermined) {
  if (facts.parameters() == 0 || !(Unexplained(facts, facts.fit) <= kUnexplained)) {
    return Verdict::kDoesNotExplain;
  }
  if (undetermined) return Verdict::kUndetermined;
  if (!facts.held_out) return Verdict::kUnchecked;
  if (!Generalises(facts)) return Verdict::kFitsNotGeneralises;
  return facts.fit.relative_residual <= kRounding && facts.held_out->relative_residual <= kRounding
             ? Verdict::kExplains
             : Verdict::kApproximates;
}

// "800 training samples to rounding (relative residual 3e-08)" or "... up to a relative residual of
// 0.01", of classes "97.5 % of 800 training samples".
std::string HowWell(const FitQuality& fit, const char* kind) {
  const std::string samples = Count(fit.num_samples, kind);
  if (fit.accuracy) return absl::StrCat(Percent(*fit.accuracy), " of ", samples);
  if (fit.relative_residual <= kRounding) {
    return absl::StrCat(samples, " to rounding (relative residual ", Number(fit.relative_residual),
                        ")");
  }
  return absl::StrCat(samples, " up to a relative residual of ", Number(fit.relative_residual));
}

// What may explain more, of what was not asked for.
std::string Remedies(const Facts& facts) {
  if (facts.held_out && !Generalises(facts)) {
    return " On held-out samples it leaves clearly more: a smaller budget or more samples may "
           "help.";
  }
  const RecoveryOptions& options = facts.result.options_used;
  const bool fused = facts.training.num_outputs == 1 && options.loss == Loss::kSquared &&
                     options.gate_mode == GateMode::kSequential;
  std::string text = " A larger budget or width";
  if (fused && options.output_signs == OutputSigns::kPositive) text += ", mixed output signs";
  if (!options.bias) text += ", a bias";
  if (fused && options.hidden_layers == 1 && options.linear_term == LinearTerm::kNone) {
    text += ", a linear term";
  }
  return text +
         ", more time or another seed may help; or the data are not those of a sparse network.";
}

std::string VerdictSentence(const Facts& facts, Verdict verdict) {
  const bool classes = facts.fit.accuracy.has_value();
  const std::string begin = classes ? "The network names " : "The network explains ";
  const std::string right = classes ? " right" : "";
  const std::string training = HowWell(facts.fit, "training sample");
  const std::string held_out = facts.held_out ? HowWell(*facts.held_out, "held-out sample") : "";
  switch (verdict) {
    case Verdict::kExplains:
      return absl::StrCat("The network explains ", Count(facts.fit.num_samples, "training sample"),
                          " and ", Count(facts.held_out->num_samples, "held-out sample"),
                          " to rounding (relative residuals ", Number(facts.fit.relative_residual),
                          " and ", Number(facts.held_out->relative_residual),
                          "). That is strong evidence, though no proof, that it computes the "
                          "function behind the data.");
    case Verdict::kApproximates:
      return absl::StrCat(begin, training, " and ", held_out, right,
                          ", so what it found carries over. The rest is noise or a ",
                          "part of the function that the budget does not reach.");
    case Verdict::kUnchecked:
      return absl::StrCat(begin, training, right,
                          ". No samples were held out, so nothing here checks whether that ",
                          "carries over to others.");
    case Verdict::kFitsNotGeneralises:
      return absl::StrCat(begin, training, " but ", held_out, right,
                          ": it fits these samples, not the function behind them. Add ",
                          "samples or lower the budget.");
    case Verdict::kUndetermined:
      return absl::StrCat(begin, training, held_out.empty() ? "" : " and ", held_out, right,
                          ", but the samples do not determine its weights: other networks fit ",
                          "them as well.");
    case Verdict::kDoesNotExplain:
      break;
  }
  if (facts.parameters() == 0) return "The network has no weights and explains nothing.";
  const std::string remedy = Remedies(facts);
  if (classes) {
    return absl::StrCat(begin, training, " right, where the most frequent class alone is ",
                        Percent(1 - MajorityError(facts.training)), " of them.", remedy);
  }
  return absl::StrCat("The network leaves ", Percent(facts.fit.relative_residual),
                      " of the norm of the targets on ",
                      Count(facts.fit.num_samples, "training sample"), " unexplained.", remedy);
}

// What else a reader should know: findings that leave the verdict as it is.
void AppendCautions(const Facts& facts, RecoveryEvidence& evidence) {
  if (facts.exchange && facts.fit.relative_residual > kRounding &&
      evidence.verdict != Verdict::kUndetermined) {
    evidence.findings.push_back(ExchangeSentence(facts));
  }
  const int64_t parameters = facts.parameters();
  if (evidence.verdict == Verdict::kUnchecked && evidence.distinct_samples < 2 * parameters) {
    const std::string whole = parameters == 1
                                  ? std::string("1 weight")
                                  : absl::StrCat(parameters, " ", facts.parameter_name());
    evidence.findings.push_back(absl::StrCat("With ", evidence.distinct_samples,
                                             " different samples for ", whole,
                                             " a close fit is little evidence."));
  }
  if (evidence.verdict != Verdict::kDoesNotExplain && evidence.strongest_left_out &&
      *evidence.strongest_left_out > 0 &&
      evidence.weakest_kept < kNarrowGap * *evidence.strongest_left_out) {
    evidence.findings.push_back(
        absl::StrCat("The weakest weight (", Number(evidence.weakest_kept),
                     " of the norm of the targets) is not clearly stronger than the strongest "
                     "candidate left out (",
                     Number(*evidence.strongest_left_out),
                     "): which weights belong to the network is uncertain at its edge."));
  }
  if (facts.fit.relative_residual > kRounding && evidence.starts_tried > 1 &&
      evidence.starts_agreeing < 2) {
    evidence.findings.push_back(absl::StrCat("No two of the ", evidence.starts_tried,
                                             " starts ended at the same residual, so a better ",
                                             "network may exist. Try other seeds."));
  }
  if (evidence.smallest_active_fraction < kRareNeuron && facts.result.nonzeros > 0) {
    const auto open = std::llround(evidence.smallest_active_fraction *
                                   static_cast<double>(facts.fit.num_samples));
    const char* where = facts.linear_entries > 0 ? "A neuron has on one side of its hyperplane "
                                                 : "A neuron is active on ";
    evidence.findings.push_back(absl::StrCat(where, Percent(evidence.smallest_active_fraction),
                                             " of the training samples only (", open,
                                             "): little supports its weights."));
  }
}

void SayWhatItMeans(const Facts& facts, RecoveryEvidence& evidence) {
  std::vector<std::string> causes = CausesOfUndetermined(facts, evidence);
  evidence.verdict = Judge(facts, !causes.empty());
  evidence.findings.push_back(VerdictSentence(facts, evidence.verdict));
  if (facts.linear_entries > 0 && facts.result.nonzeros == 0) {
    evidence.findings.push_back("It is linear: no neuron is left beside the linear term.");
  } else if (facts.linear_entries > 0) {
    const int64_t entries = facts.linear_entries;
    evidence.findings.push_back(absl::StrCat(
        "A linear term of ", entries, entries == 1 ? " entry" : " entries",
        " was fitted beside the ", Count(facts.result.nonzeros, "weight"),
        ". On which side of its hyperplane a neuron is active is then a convention, as ",
        "(x.w)_+ = (-x.w)_+ + x.w."));
  }
  evidence.findings.insert(evidence.findings.end(), causes.begin(), causes.end());
  AppendCautions(facts, evidence);
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kExplains:
      return "explains";
    case Verdict::kApproximates:
      return "approximates";
    case Verdict::kUnchecked:
      return "unchecked";
    case Verdict::kFitsNotGeneralises:
      return "fits_not_generalises";
    case Verdict::kDoesNotExplain:
      return "does_not_explain";
    case Verdict::kUndetermined:
      return "undetermined";
  }
  return "does_not_explain";
}

absl::StatusOr<std::optional<PlantedComparison>> ComparePlanted(const Network& network,
                                                                const SparseNetwork& planted,
                                                                InputView inputs) {
  const auto* candidate = std::get_if<SparseNetwork>(&network);
  if (candidate == nullptr || !HaveSameForm(*candidate, planted) ||
      ActiveNeurons(network) > kMaxComparedNeurons ||
      ActiveNeurons(planted) > kMaxComparedNeurons) {
    return std::optional<PlantedComparison>();
  }
  absl::StatusOr<NetworkComparison> comparison = CompareNetworks(*candidate, planted, inputs);
  if (!comparison.ok()) return comparison.status();
  return std::optional<PlantedComparison>(PlantedComparison{
      .support_recall = comparison->support_recall,
      .support_precision = comparison->support_precision,
      .relative_weight_error = comparison->relative_weight_error,
      .relative_function_error = comparison->relative_function_error,
      .exact = comparison->same_support && comparison->relative_weight_error <= kExactWeightError,
      .planted_neurons = comparison->reference_neurons,
      .recovered_neurons = comparison->candidate_neurons,
      .planted_nonzeros = comparison->reference_nonzeros,
      .recovered_nonzeros = comparison->candidate_nonzeros,
      .matched_nonzeros = comparison->common_nonzeros});
}

absl::StatusOr<RecoveryEvidence> GatherEvidence(const RecoveryResult& result,
                                                const Samples& training,
                                                const FitQuality& training_fit,
                                                const std::optional<FitQuality>& held_out_fit,
                                                std::stop_token stop) {
  if (absl::Status status = ValidateSamples(training); !status.ok()) return status;
  absl::Status status =
      std::visit([](const auto& network) { return ValidateNetwork(network); }, result.network);
  if (!status.ok()) return status;
  if (NumInputs(result.network) != training.num_inputs ||
      NumOutputs(result.network) != training.num_outputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: ", training.num_inputs, " inputs and ", training.num_outputs,
                     " outputs do not fit a network of ", NumInputs(result.network), " inputs and ",
                     NumOutputs(result.network), " outputs"));
  }
  Facts facts = {
      .result = result, .training = training, .fit = training_fit, .held_out = held_out_fit};
  RecoveryEvidence evidence;
  evidence.starts_tried = result.starts_tried;
  evidence.starts_agreeing = result.starts_agreeing;
  const auto stopped = [] { return absl::CancelledError("stopped while evidence was gathered"); };

  Engine engine(result.options_used.num_threads, std::move(stop));
  evidence.distinct_samples = CountDistinctRows(training, engine);
  if (engine.stop_requested()) return stopped();
  const bool has_bias =
      std::visit([](const auto& network) { return network.has_bias; }, result.network);
  Design design = MakeDesign(training.input_view(), has_bias);
  const FoundNetwork found = OnDesign(result.network, design);
  const auto num_weights = static_cast<size_t>(found.rows.nonzeros());
  const bool linear_term = !found.linear_column.empty();
  if (linear_term) {
    const bool dense = result.options_used.linear_term == LinearTerm::kDense;
    facts.linear_entries =
        dense ? design.num_columns : static_cast<int64_t>(found.linear_column.size());
    facts.linear_columns = static_cast<int64_t>(found.linear_column.size());
  }
  if (num_weights == 0 && !linear_term) {
    SayWhatItMeans(facts, evidence);
    return evidence;
  }
  GateMasks masks = found.gates->MasksOf(engine, design, found.gate_index);
  if (num_weights > 0) MeasureNeuronPatterns(engine, masks, design, linear_term, evidence);
  if (const auto* layered = std::get_if<SparseNetwork>(&result.network);
      layered != nullptr && !layered->upper_layers.empty()) {
    MeasureLayers(engine, design, ReduceNetwork(*layered), found.factors, training,
                  result.options_used.loss, evidence);
    if (engine.stop_requested()) return stopped();
    facts.parallel = FindParallelColumns(engine, design, found.rows.column);
    SayWhatItMeans(facts, evidence);
    return evidence;
  }

  // r = A_S w - y with the targets scaled to mean square about 1.
  double target_norm2 = 0;
  for (const float target : training.targets) {
    target_norm2 += static_cast<double>(target) * target;
  }
  const double scale = UnitScale(target_norm2 / static_cast<double>(training.num_samples));
  const double target_norm = scale * std::sqrt(target_norm2);
  SparseRows rows = found.rows;
  if (linear_term) {
    masks = WithOpenGate(masks, design);
    rows.column.insert(rows.column.end(), found.linear_column.begin(), found.linear_column.end());
    rows.value.insert(rows.value.end(), found.linear_value.begin(), found.linear_value.end());
    rows.row_begin.push_back(rows.nonzeros());
  }
  for (double& value : rows.value) value *= scale;
  std::vector<double> targets(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < training.num_samples; ++i) targets[i] = scale * training.targets[i];
  std::vector<double> residual(design.padded_samples());
  SupportForward(engine, design, masks, rows, residual);
  for (size_t i = 0; i < residual.size(); ++i) residual[i] -= targets[i];

  const std::vector<double> norms = GatedColumnNorms(engine, design, masks, rows);
  if (engine.stop_requested()) return stopped();
  for (size_t e = 0; e < num_weights; ++e) {
    const double kept = std::abs(rows.value[e]) * norms[e] / target_norm;
    evidence.weakest_kept = e == 0 ? kept : std::min(evidence.weakest_kept, kept);
  }
  facts.closed_column = std::find(norms.begin(), norms.end(), 0.0) != norms.end();

  const GatedProblem problem = {engine, design, targets, *found.gates};
  if (num_weights > 0) evidence.strongest_left_out = StrongestLeftOut(problem, found, residual);
  if (evidence.strongest_left_out) *evidence.strongest_left_out /= target_norm;
  if (engine.stop_requested()) return stopped();

  const Conditioning conditioning =
      MeasureConditioning(engine, design, masks, rows, norms, static_cast<int64_t>(num_weights));
  if (engine.stop_requested()) return stopped();
  if (conditioning.smallest_saliency) {
    evidence.smallest_saliency = *conditioning.smallest_saliency / (target_norm * target_norm);
  }
  evidence.conditioning = conditioning;
  const double kappa = conditioning.kappa();
  const auto s = static_cast<double>(result.nonzeros);
  if (std::isfinite(kappa) && num_weights > 0) {
    evidence.hard_thresholding_nonzeros = kappa * kappa * s;
    evidence.reciprocal_thresholding_nonzeros = (2 * kappa - 1) * s;
  }
  facts.parallel = FindParallelColumns(engine, design, rows.column);
  if (kappa < kDeterminedKappa) {
    facts.exchange = FindExchange(
        {engine, design, masks, rows, found.output_signs, targets, linear_term}, norms);
  }
  if (engine.stop_requested()) return stopped();
  SayWhatItMeans(facts, evidence);
  return evidence;
}

}  // namespace thresher
