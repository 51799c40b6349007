#include "core/recovery/exchange.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "Eigen/Core"
#include "core/gates/random_gates.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/support_products.h"
#include "core/recovery/conditioning.h"
#include "core/recovery/gated_problem.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/normal_matrix.h"
#include "core/recovery/relu_problem.h"

namespace thresher {
namespace {

using Eigen::Index;
using Eigen::VectorXd;

constexpr double kMaxCandidateEntries = 2e9;
constexpr double kMaxTrialEntries = 1e9;
constexpr int64_t kBlockEntries = 16384;  // columns looked at together
constexpr int kMaxTrials = 64;
constexpr int kTrialsOfACandidate = 4;
constexpr int kSolves = 3;
// A column of norm 1 whose distance from the span is less lies in it.
constexpr double kInSpan = 1e-5;
constexpr double kRounding = 3e-6;
constexpr double kSameResidual = 1e-3;

class ExchangeSearch {
 public:
  ExchangeSearch(const GatedFit& fit, const std::vector<double>& norms)
      : fit_(fit),
        norms_(norms),
        normal_(fit.engine, fit.design, fit.masks, fit.weights, norms),
        factor_(
            FactoriseNormalMatrix(fit.engine, fit.design, fit.masks, fit.weights, norms).factor) {
    const double rise = kRounding * std::sqrt(SquaredNorm(fit.targets));
    const double limit =
        (1 + kSameResidual) * std::sqrt(SquaredResidual(fit.weights, fit.masks)) + rise;
    largest_loss_ = limit * limit;
    const double entries =
        static_cast<double>(fit.weights.nonzeros()) * static_cast<double>(fit.design.num_samples);
    trials_left_ = std::min(kMaxTrials, static_cast<int>(kMaxTrialEntries / entries));
  }

  std::optional<Exchange> Run();

 private:
  struct Candidate {
    int64_t row = 0;
    int32_t column = 0;
  };

  bool stopped() const { return fit_.engine.stop_requested(); }
  double SquaredResidual(const SparseRows& weights, const GateMasks& masks) const;
  // Least squares in double with the factor as preconditioner: coefficients on columns of norm 1.
  VectorXd Coefficients(const std::vector<double>& samples);
  std::vector<double> Probe(uint64_t stream);
  SparseRows OffSupport(int64_t first, int64_t last) const;
  SparseRows ProductsVanish(const SparseRows& columns, const std::vector<double>& norms,
                            const std::vector<double>& probe) const;
  std::vector<Candidate> ColumnsInSpan();
  std::optional<Exchange> Try(const Candidate& candidate);
  bool FitsAsWell(const Candidate& candidate, const VectorXd& values, double entered) const;

  const GatedFit& fit_;
  const std::vector<double>& norms_;
  NormalOperator normal_;
  const Eigen::LLT<Eigen::MatrixXd> factor_;
  double largest_loss_ = 0;
  int trials_left_ = 0;
};

double ExchangeSearch::SquaredResidual(const SparseRows& weights, const GateMasks& masks) const {
  std::vector<double> outputs(fit_.design.padded_samples());
  SupportForward(fit_.engine, fit_.design, masks, weights, outputs);
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i] -= fit_.targets[i];
  return SquaredNorm(outputs);
}

VectorXd ExchangeSearch::Coefficients(const std::vector<double>& samples) {
  VectorXd coefficients = VectorXd::Zero(static_cast<Index>(norms_.size()));
  std::vector<double> rest = samples;
  for (int k = 0; k < kSolves && !stopped(); ++k) {
    coefficients += factor_.solve(normal_.Adjoint(rest));
    const std::vector<double>& fitted = normal_.Forward(coefficients);
    for (size_t i = 0; i < rest.size(); ++i) rest[i] = samples[i] - fitted[i];
  }
  return coefficients;
}

// A random vector over the samples without its part in the span of the support's columns.
std::vector<double> ExchangeSearch::Probe(uint64_t stream) {
  CounterRandom random(/*seed=*/3, stream);
  std::vector<double> probe(fit_.design.padded_samples(), 0.0);
  for (int64_t i = 0; i < fit_.design.num_samples; ++i) probe[i] = random.NextNormal();
  const VectorXd coefficients = Coefficients(probe);
  const std::vector<double>& fitted = normal_.Forward(coefficients);
  for (size_t i = 0; i < probe.size(); ++i) probe[i] -= fitted[i];
  return probe;
}

// The entries of `columns` whose products with a probe are negligible against their norms.
SparseRows ExchangeSearch::ProductsVanish(const SparseRows& columns,
                                          const std::vector<double>& norms,
                                          const std::vector<double>& probe) const {
  std::vector<double> products(columns.nonzeros());
  SupportAdjoint(fit_.engine, fit_.design, fit_.masks, columns, probe, products);
  SparseRows kept;
  for (int64_t row = 0; row < columns.num_rows(); ++row) {
    for (int64_t e = columns.row_begin[row]; e < columns.row_begin[row + 1]; ++e) {
      if (!(norms[e] > 0) || std::abs(products[e]) > kInSpan * norms[e]) continue;
      kept.column.push_back(columns.column[e]);
      kept.value.push_back(0);
    }
    kept.row_begin.push_back(kept.nonzeros());
  }
  return kept;
}

// All columns off the support for the rows [first, last), none for the others.
SparseRows ExchangeSearch::OffSupport(int64_t first, int64_t last) const {
  const SparseRows& weights = fit_.weights;
  SparseRows columns;
  for (int64_t row = 0; row < weights.num_rows(); ++row) {
    int64_t e = weights.row_begin[row];
    for (int32_t q = 0; row >= first && row < last && q < fit_.design.num_columns; ++q) {
      if (e < weights.row_begin[row + 1] && weights.column[e] == q) {
        ++e;
      } else {
        columns.column.push_back(q);
      }
    }
    columns.row_begin.push_back(columns.nonzeros());
  }
  columns.value.resize(columns.column.size());
  return columns;
}

std::vector<ExchangeSearch::Candidate> ExchangeSearch::ColumnsInSpan() {
  // Norms without gates are no smaller and quick to get: they do for the first probe.
  std::vector<double> input_norms(fit_.design.num_columns);
  for (int64_t q = 0; q < fit_.design.num_columns; ++q) {
    const float* x = fit_.design.columns.get() + q * fit_.design.padded_samples();
    double sum = 0;
    for (int64_t i = 0; i < fit_.design.num_samples; ++i) sum += static_cast<double>(x[i]) * x[i];
    input_norms[q] = std::sqrt(sum);
  }
  const std::vector<double> first_probe = Probe(/*stream=*/0);
  const std::vector<double> second_probe = Probe(/*stream=*/1);
  std::vector<Candidate> candidates;
  const int64_t num_rows = fit_.num_neurons();
  const int64_t block = std::max<int64_t>(1, kBlockEntries / fit_.design.num_columns);
  for (int64_t first = 0; first < num_rows; first += block) {
    if (stopped() || static_cast<int>(candidates.size()) >= kMaxTrials) break;
    SparseRows columns = OffSupport(first, std::min(first + block, num_rows));
    std::vector<double> norms(columns.nonzeros());
    for (size_t e = 0; e < norms.size(); ++e) norms[e] = input_norms[columns.column[e]];
    columns = ProductsVanish(columns, norms, first_probe);
    if (columns.nonzeros() == 0) continue;
    columns = ProductsVanish(
        columns, GatedColumnNorms(fit_.engine, fit_.design, fit_.masks, columns), second_probe);
    for (int64_t row = 0; row < columns.num_rows(); ++row) {
      for (int64_t e = columns.row_begin[row]; e < columns.row_begin[row + 1]; ++e) {
        candidates.push_back({row, columns.column[e]});
      }
    }
  }
  return candidates;
}

// The network with other values, one entry at 0 left out and the candidate put in.
bool ExchangeSearch::FitsAsWell(const Candidate& candidate, const VectorXd& values,
                                double entered) const {
  const SparseRows& weights = fit_.weights;
  SparseRows changed;
  for (int64_t row = 0; row < weights.num_rows(); ++row) {
    bool inserted = row != candidate.row;
    for (int64_t e = weights.row_begin[row]; e <= weights.row_begin[row + 1]; ++e) {
      const bool end = e == weights.row_begin[row + 1];
      if (!inserted && (end || weights.column[e] > candidate.column)) {
        changed.column.push_back(candidate.column);
        changed.value.push_back(entered);
        inserted = true;
      }
      if (end) break;
      if (values[e] == 0) continue;
      changed.column.push_back(weights.column[e]);
      changed.value.push_back(values[e]);
    }
    changed.row_begin.push_back(changed.nonzeros());
  }
  if (fit_.output_signs.empty()) return SquaredResidual(changed, fit_.masks) <= largest_loss_;
  std::vector<int64_t> rows(fit_.num_neurons());
  std::iota(rows.begin(), rows.end(), 0);
  SparseRows own;
  for (const int64_t row : rows) {
    for (int64_t e = changed.row_begin[row]; e < changed.row_begin[row + 1]; ++e) {
      own.column.push_back(changed.column[e]);
      own.value.push_back(fit_.output_signs[row] * changed.value[e]);
    }
    own.row_begin.push_back(own.nonzeros());
  }
  const GateField gates(SparseGateSet{rows, std::move(own)}, fit_.design);
  GateMasks masks = gates.MasksOf(fit_.engine, fit_.design, rows);
  if (fit_.linear_term) masks = WithOpenGate(masks, fit_.design);
  return SquaredResidual(changed, masks) <= largest_loss_;
}

std::optional<Exchange> ExchangeSearch::Try(const Candidate& candidate) {
  // The candidate's column.
  SparseRows one;
  one.row_begin.assign(fit_.weights.num_rows() + 1, 0);
  std::fill(one.row_begin.begin() + candidate.row + 1, one.row_begin.end(), 1);
  one.column.push_back(candidate.column);
  one.value.push_back(1);
  std::vector<double> column(fit_.design.padded_samples());
  SupportForward(fit_.engine, fit_.design, fit_.masks, one, column);
  const VectorXd coefficients = Coefficients(column).cwiseQuotient(
      Eigen::Map<const VectorXd>(norms_.data(), static_cast<Index>(norms_.size())));
  // The candidate takes the value at which an entry becomes 0; the smallest changes keep most
  // gates.
  struct Value {
    Index entry;
    double entered;
  };
  std::vector<Value> values;
  const double column_norm = std::sqrt(SquaredNorm(column));
  const Eigen::Map<const VectorXd> weights(fit_.weights.value.data(), coefficients.size());
  for (Index e = 0; e < fit_.num_weights(); ++e) {
    if (std::abs(coefficients[e]) * norms_[e] > kInSpan * column_norm) {
      values.push_back({e, weights[e] / coefficients[e]});
    }
  }
  std::sort(values.begin(), values.end(), [](const Value& a, const Value& b) {
    return std::pair(std::abs(a.entered), a.entry) < std::pair(std::abs(b.entered), b.entry);
  });
  for (size_t k = 0; k < values.size() && k < kTrialsOfACandidate; ++k) {
    if (trials_left_-- <= 0 || stopped()) return std::nullopt;
    VectorXd changed = weights - values[k].entered * coefficients;
    changed[values[k].entry] = 0;
    if (!FitsAsWell(candidate, changed, values[k].entered) || stopped()) continue;
    const int64_t removed = values[k].entry;
    return Exchange{.removed_column = fit_.weights.column[removed],
                    .entered_column = candidate.column,
                    .same_neuron = removed >= fit_.weights.row_begin[candidate.row] &&
                                   removed < fit_.weights.row_begin[candidate.row + 1]};
  }
  return std::nullopt;
}

std::optional<Exchange> ExchangeSearch::Run() {
  for (const Candidate& candidate : ColumnsInSpan()) {
    if (trials_left_ <= 0 || stopped()) break;
    std::optional<Exchange> exchange = Try(candidate);
    if (exchange) return exchange;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Exchange> FindExchange(const GatedFit& fit, const std::vector<double>& norms) {
  const double entries = static_cast<double>(fit.design.num_samples) *
                         static_cast<double>(fit.design.num_columns) *
                         static_cast<double>(fit.weights.num_rows());
  if (fit.weights.nonzeros() > kMaxDenseWeights ||
      fit.weights.nonzeros() >= fit.design.num_samples || entries > kMaxCandidateEntries) {
    return std::nullopt;
  }
  return ExchangeSearch(fit, norms).Run();
}

}  // namespace thresher
