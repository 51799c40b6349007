#include "core/network/compare.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/network/merge.h"

namespace thresher {
namespace {

constexpr double kMaxPsnrDb = 400;

SparseRows& Layer(SparseNetwork& network, size_t l) {
  return l == 0 ? network.weights : network.upper_layers[l - 1];
}

const SparseRows& Layer(const SparseNetwork& network, size_t l) {
  return l == 0 ? network.weights : network.upper_layers[l - 1];
}

int64_t NumHiddenUnits(const SparseNetwork& network) {
  int64_t units = 0;
  for (const int64_t width : HiddenWidths(network)) units += width;
  return units;
}

double LargestWeight(const SparseNetwork& network) {
  double largest = 0;
  for (size_t l = 0; l <= network.upper_layers.size(); ++l) {
    for (const double value : Layer(network, l).value) {
      largest = std::max(largest, std::abs(value));
    }
  }
  for (const double value : network.linear) largest = std::max(largest, std::abs(value));
  return largest;
}

// Weights in units of `scale`, so that no square of them overflows.
void DivideWeights(SparseNetwork& network, double scale) {
  for (size_t l = 0; l <= network.upper_layers.size(); ++l) {
    for (double& value : Layer(network, l).value) value /= scale;
  }
  for (double& value : network.linear) value /= scale;
}

// Gives every unit that another layer looks at a row of length 1, and its length to the weights
// that look at it. False when one of them overflows.
bool ToCanonicalForm(SparseNetwork& network) {
  for (size_t l = 0; l < network.upper_layers.size(); ++l) {
    SparseRows& rows = Layer(network, l);
    std::vector<double> length(static_cast<size_t>(rows.num_rows()) + 1, 1.0);  // with a constant
    for (size_t j = 0; j + 1 < length.size(); ++j) {
      const auto row = std::span(rows.value)
                           .subspan(static_cast<size_t>(rows.row_begin[j]),
                                    static_cast<size_t>(rows.row_begin[j + 1] - rows.row_begin[j]));
      double largest = 0;  // so that no square overflows
      for (const double value : row) largest = std::max(largest, std::abs(value));
      if (largest == 0) continue;
      double square = 0;
      for (double& value : row) {
        value /= largest;
        square += value * value;
      }
      for (double& value : row) value /= std::sqrt(square);
      length[j] = largest * std::sqrt(square);
    }
    SparseRows& above = network.upper_layers[l];
    for (size_t e = 0; e < above.value.size(); ++e) {
      above.value[e] *= length[static_cast<size_t>(above.column[e])];
      if (!std::isfinite(above.value[e])) return false;
    }
  }
  return true;
}

// The linear function x . result that stays when every neuron is put half on either side,
//   (x.w)_+ = ((x.w)_+ + (-x.w)_+) / 2 + x.w / 2 :
// the same on whichever sides the neurons stand. Empty without a linear term.
std::vector<double> LinearPart(const SparseNetwork& network) {
  std::vector<double> part = network.linear;
  if (part.empty()) return part;
  for (size_t j = 0; j < network.output_signs.size(); ++j) {
    for (auto e = static_cast<size_t>(network.weights.row_begin[j]);
         e < static_cast<size_t>(network.weights.row_begin[j + 1]); ++e) {
      part[static_cast<size_t>(network.weights.column[e])] +=
          0.5 * network.output_signs[j] * network.weights.value[e];
    }
  }
  return part;
}

// The units of one output sign.
std::vector<size_t> UnitsOfSign(const std::vector<int8_t>& output_signs, int8_t sign) {
  std::vector<size_t> units;
  for (size_t j = 0; j < output_signs.size(); ++j) {
    if (output_signs[j] == sign) units.push_back(j);
  }
  return units;
}

std::vector<size_t> AllUnits(const SparseRows& rows) {
  std::vector<size_t> units(static_cast<size_t>(rows.num_rows()));
  std::iota(units.begin(), units.end(), size_t{0});
  return units;
}

// Inner products of a neuron of one network with the listed neurons of another, a row
// at a time: the matrix of all of them is never formed.
class InnerProducts {
 public:
  InnerProducts(const SparseRows& rows, const std::vector<size_t>& neurons) {
    for (size_t k = 0; k < neurons.size(); ++k) {
      for (auto e = static_cast<size_t>(rows.row_begin[neurons[k]]);
           e < static_cast<size_t>(rows.row_begin[neurons[k] + 1]); ++e) {
        entries_.push_back({rows.column[e], k, rows.value[e]});
      }
    }
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.column, a.neuron) < std::pair(b.column, b.neuron);
    });
  }

  // products[k] = row . listed neuron k
  void Compute(const SparseRows& rows, size_t row, std::vector<double>& products) const {
    std::fill(products.begin(), products.end(), 0.0);
    for (auto e = static_cast<size_t>(rows.row_begin[row]);
         e < static_cast<size_t>(rows.row_begin[row + 1]); ++e) {
      const int32_t column = rows.column[e];
      auto it = std::lower_bound(entries_.begin(), entries_.end(), column,
                                 [](const Entry& a, int32_t c) { return a.column < c; });
      for (; it != entries_.end() && it->column == column; ++it) {
        products[it->neuron] += rows.value[e] * it->value;
      }
    }
  }

 private:
  struct Entry {
    int32_t column;
    size_t neuron;
    double value;
  };
  std::vector<Entry> entries_;  // by column
};

constexpr size_t kNone = std::numeric_limits<size_t>::max();

// An assignment of all rows to different columns, num_rows <= num_columns, of least
// total cost. row_costs(i, costs) writes the costs of row i. Hungarian method in the form
// of shortest augmenting paths (Jonker and Volgenant, Computing 38, 1987): O(num_rows^2
// num_columns) time, O(num_columns) memory. Returns the column of each row.
template <typename RowCosts>
std::vector<size_t> AssignRows(size_t num_rows, size_t num_columns, RowCosts row_costs) {
  std::vector<double> row_price(num_rows, 0.0);
  std::vector<double> column_price(num_columns, 0.0);
  std::vector<size_t> row_of(num_columns, kNone);
  std::vector<size_t> column_of(num_rows, kNone);
  std::vector<double> costs(num_columns);
  std::vector<double> distance(num_columns);  // of the shortest path found to the column
  std::vector<size_t> previous(num_columns);  // the row before the column on that path
  std::vector<bool> reached(num_columns);
  std::vector<size_t> reached_columns;
  // Start: each row takes its cheapest column if that is free. For networks that are
  // close to each other little is left to do after it.
  for (size_t i = 0; i < num_rows; ++i) {
    row_costs(i, costs);
    const auto cheapest = std::min_element(costs.begin(), costs.end());
    row_price[i] = *cheapest;
    const auto c = static_cast<size_t>(cheapest - costs.begin());
    if (row_of[c] != kNone) continue;
    row_of[c] = i;
    column_of[i] = c;
  }
  for (size_t start = 0; start < num_rows; ++start) {
    if (column_of[start] != kNone) continue;
    std::fill(distance.begin(), distance.end(), std::numeric_limits<double>::infinity());
    std::fill(reached.begin(), reached.end(), false);
    reached_columns.clear();
    size_t row = start;
    double length = 0;
    size_t sink = kNone;
    while (sink == kNone) {
      row_costs(row, costs);
      size_t nearest = kNone;
      for (size_t c = 0; c < num_columns; ++c) {
        if (reached[c]) continue;
        const double through = length + costs[c] - row_price[row] - column_price[c];
        if (through < distance[c]) {
          distance[c] = through;
          previous[c] = row;
        }
        if (nearest == kNone || distance[c] < distance[nearest]) nearest = c;
      }
      length = distance[nearest];
      reached[nearest] = true;
      if (row_of[nearest] == kNone) {
        sink = nearest;
      } else {
        reached_columns.push_back(nearest);
        row = row_of[nearest];
      }
    }
    row_price[start] += length;
    for (const size_t c : reached_columns) {
      row_price[row_of[c]] += length - distance[c];
      column_price[c] -= length - distance[c];
    }
    for (size_t column = sink;;) {
      const size_t path_row = previous[column];
      row_of[column] = path_row;
      std::swap(column_of[path_row], column);
      if (path_row == start) break;
    }
  }
  return column_of;
}

// For each reference neuron of a layer its candidate neuron, -1 for none, and whether that stands
// on the other side.
struct Matching {
  explicit Matching(int64_t num_references)
      : neuron(static_cast<size_t>(num_references), -1), mirrored(neuron.size(), false) {}

  std::vector<int64_t> neuron;
  std::vector<bool> mirrored;
};

// The neurons of a layer that may be matched with each other.
struct Neurons {
  const SparseRows& rows;
  std::vector<size_t> listed;
};

// || a - b ||^2 = || a ||^2 + || b ||^2 - 2 a.b, so least distance is greatest sum of
// inner products, where a pair without a positive one is as well left apart. With either_side
// sides do not count: the least of || a - b || and || a + b ||.
void MatchNeurons(const Neurons& candidate, const Neurons& reference, bool either_side,
                  Matching& matching) {
  const bool rows_are_references = reference.listed.size() <= candidate.listed.size();
  const Neurons& row_neurons = rows_are_references ? reference : candidate;
  const Neurons& column_neurons = rows_are_references ? candidate : reference;
  const std::vector<size_t>& rows = row_neurons.listed;
  const std::vector<size_t>& columns = column_neurons.listed;
  const InnerProducts inner_products(column_neurons.rows, columns);
  const auto row_costs = [&](size_t i, std::vector<double>& costs) {
    inner_products.Compute(row_neurons.rows, rows[i], costs);
    for (double& cost : costs) cost = -std::max(either_side ? -cost : 0.0, cost);
  };
  const std::vector<size_t> column_of = AssignRows(rows.size(), columns.size(), row_costs);
  std::vector<double> products(columns.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    inner_products.Compute(row_neurons.rows, rows[i], products);
    const double product = products[column_of[i]];
    if (!(product > 0) && !(either_side && product < 0)) continue;
    const size_t column = columns[column_of[i]];
    const size_t reference_neuron = rows_are_references ? rows[i] : column;
    const size_t candidate_neuron = rows_are_references ? column : rows[i];
    matching.neuron[reference_neuron] = static_cast<int64_t>(candidate_neuron);
    matching.mirrored[reference_neuron] = product < 0;
  }
}

double SquaredNorm(const SparseRows& rows, size_t begin_row, size_t end_row) {
  double sum = 0;
  for (auto e = static_cast<size_t>(rows.row_begin[begin_row]);
       e < static_cast<size_t>(rows.row_begin[end_row]); ++e) {
    sum += rows.value[e] * rows.value[e];
  }
  return sum;
}

// Adds the squared distance of side * a and b and their common positions.
void ComparePair(const SparseRows& a, size_t row_a, double side, const SparseRows& b, size_t row_b,
                 double& squared_distance, int64_t& common) {
  auto ea = static_cast<size_t>(a.row_begin[row_a]);
  const auto end_a = static_cast<size_t>(a.row_begin[row_a + 1]);
  auto eb = static_cast<size_t>(b.row_begin[row_b]);
  const auto end_b = static_cast<size_t>(b.row_begin[row_b + 1]);
  while (ea < end_a || eb < end_b) {
    double difference;
    if (eb == end_b || (ea < end_a && a.column[ea] < b.column[eb])) {
      difference = side * a.value[ea++];
    } else if (ea == end_a || b.column[eb] < a.column[ea]) {
      difference = b.value[eb++];
    } else {
      difference = side * a.value[ea++] - b.value[eb++];
      ++common;
    }
    squared_distance += difference * difference;
  }
}

// sqrt(squared_error / squared_reference), with the convention for a zero reference.
double RelativeError(double squared_error, double squared_reference) {
  if (squared_error == 0) return 0;
  if (squared_reference == 0) return std::numeric_limits<double>::infinity();
  return std::sqrt(squared_error / squared_reference);
}

// What the layers add up to.
struct WeightSums {
  double squared_error = 0;
  double squared_reference = 0;
  int64_t common = 0;
  int64_t candidate_positions = 0;
  int64_t reference_positions = 0;
};

void AddLayer(const SparseRows& found, const SparseRows& wanted, const Matching& matching,
              WeightSums& sums) {
  std::vector<bool> candidate_is_matched(static_cast<size_t>(found.num_rows()), false);
  for (size_t j = 0; j < matching.neuron.size(); ++j) {
    if (matching.neuron[j] < 0) {
      sums.squared_error += SquaredNorm(wanted, j, j + 1);
      continue;
    }
    const auto partner = static_cast<size_t>(matching.neuron[j]);
    candidate_is_matched[partner] = true;
    ComparePair(found, partner, matching.mirrored[j] ? -1 : 1, wanted, j, sums.squared_error,
                sums.common);
  }
  for (size_t k = 0; k < candidate_is_matched.size(); ++k) {
    if (!candidate_is_matched[k]) sums.squared_error += SquaredNorm(found, k, k + 1);
  }
  sums.squared_reference += SquaredNorm(wanted, 0, static_cast<size_t>(wanted.num_rows()));
  sums.candidate_positions += found.nonzeros();
  sums.reference_positions += wanted.nonzeros();
}

// The rows with what stands in column q in column_of[q].
SparseRows WithColumns(const SparseRows& rows, const std::vector<int32_t>& column_of) {
  SparseRows moved;
  std::vector<std::pair<int32_t, double>> row;
  for (size_t j = 0; j + 1 < rows.row_begin.size(); ++j) {
    row.clear();
    for (auto e = static_cast<size_t>(rows.row_begin[j]);
         e < static_cast<size_t>(rows.row_begin[j + 1]); ++e) {
      row.emplace_back(column_of[static_cast<size_t>(rows.column[e])], rows.value[e]);
    }
    std::sort(row.begin(), row.end());
    for (const auto& [column, value] : row) {
      moved.column.push_back(column);
      moved.value.push_back(value);
    }
    moved.row_begin.push_back(moved.nonzeros());
  }
  return moved;
}

// Gives the columns of a layer of both networks the numbers of the reference's units below;
// behind them stand the candidate's units without a partner, and last the constant.
void MatchColumns(const Matching& below, int64_t candidate_width, SparseRows& found,
                  SparseRows& wanted) {
  const auto reference_width = static_cast<int32_t>(below.neuron.size());
  std::vector<int32_t> found_columns(static_cast<size_t>(candidate_width) + 1, -1);
  for (int32_t j = 0; j < reference_width; ++j) {
    const int64_t partner = below.neuron[static_cast<size_t>(j)];
    if (partner >= 0) found_columns[static_cast<size_t>(partner)] = j;
  }
  int32_t next = reference_width;
  for (int32_t& column : found_columns) {
    if (column < 0) column = next++;
  }
  std::vector<int32_t> wanted_columns(below.neuron.size() + 1);
  std::iota(wanted_columns.begin(), wanted_columns.end(), 0);
  wanted_columns.back() = found_columns.back();
  found = WithColumns(found, found_columns);
  wanted = WithColumns(wanted, wanted_columns);
}

// Matches and compares layer after layer. Expects canonical forms of equal form.
void CompareWeights(SparseNetwork found, SparseNetwork wanted, bool fused,
                    NetworkComparison& comparison) {
  WeightSums sums;
  const size_t num_layers = wanted.upper_layers.size() + 1;
  int64_t first_candidate = 0;  // of the layer, among the neurons of all
  Matching below(0);
  for (size_t l = 0; l < num_layers; ++l) {
    SparseRows& found_rows = Layer(found, l);
    SparseRows& wanted_rows = Layer(wanted, l);
    if (l > 0) MatchColumns(below, Layer(found, l - 1).num_rows(), found_rows, wanted_rows);
    Matching matching(wanted_rows.num_rows());
    const bool is_last = l + 1 == num_layers;
    if (is_last && fused) {
      const bool either_side = !wanted.linear.empty();
      for (const int8_t sign : {int8_t{1}, int8_t{-1}}) {
        MatchNeurons({found_rows, UnitsOfSign(found.output_signs, sign)},
                     {wanted_rows, UnitsOfSign(wanted.output_signs, sign)}, either_side, matching);
      }
    } else if (is_last) {
      std::iota(matching.neuron.begin(), matching.neuron.end(), int64_t{0});
    } else {
      MatchNeurons({found_rows, AllUnits(found_rows)}, {wanted_rows, AllUnits(wanted_rows)},
                   /*either_side=*/false, matching);
    }
    AddLayer(found_rows, wanted_rows, matching, sums);
    if (!is_last || fused) {
      for (const int64_t neuron : matching.neuron) {
        comparison.matched_neuron.push_back(neuron < 0 ? -1 : first_candidate + neuron);
      }
    }
    first_candidate += found_rows.num_rows();
    below = std::move(matching);
  }
  const std::vector<double> found_linear = LinearPart(found);
  const std::vector<double> wanted_linear = LinearPart(wanted);
  for (size_t q = 0; q < wanted_linear.size(); ++q) {
    const double difference = found_linear[q] - wanted_linear[q];
    sums.squared_error += difference * difference;
    sums.squared_reference += wanted_linear[q] * wanted_linear[q];
  }
  const auto fraction_of = [&sums](int64_t positions) {
    return positions == 0 ? 1.0 : static_cast<double>(sums.common) / static_cast<double>(positions);
  };
  comparison.reference_nonzeros = sums.reference_positions;
  comparison.candidate_nonzeros = sums.candidate_positions;
  comparison.common_nonzeros = sums.common;
  comparison.support_recall = fraction_of(sums.reference_positions);
  comparison.support_precision = fraction_of(sums.candidate_positions);
  comparison.same_support =
      sums.common == sums.reference_positions && sums.common == sums.candidate_positions;
  comparison.relative_weight_error = RelativeError(sums.squared_error, sums.squared_reference);
}

absl::Status CompareFunctions(const SparseNetwork& candidate, const SparseNetwork& reference,
                              InputView inputs, NetworkComparison& comparison) {
  const auto num_outputs = static_cast<size_t>(NumOutputs(reference));
  std::vector<double> found(static_cast<size_t>(inputs.num_samples) * num_outputs);
  std::vector<double> wanted(found.size());
  if (absl::Status status = Evaluate(candidate, inputs, found); !status.ok()) return status;
  if (absl::Status status = Evaluate(reference, inputs, wanted); !status.ok()) return status;
  double largest = 0;
  double scale = 0;  // so that no square overflows
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!std::isfinite(found[i]) || !std::isfinite(wanted[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("inputs: a network's output on row ", i / num_outputs, " overflows"));
    }
    largest = std::max(largest, std::abs(wanted[i]));
    scale = std::max({scale, largest, std::abs(found[i])});
  }
  if (scale == 0) scale = 1;
  largest /= scale;
  double squared_error = 0;
  double squared_reference = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double error = found[i] / scale - wanted[i] / scale;
    squared_error += error * error;
    squared_reference += (wanted[i] / scale) * (wanted[i] / scale);
  }
  comparison.relative_function_error = RelativeError(squared_error, squared_reference);
  comparison.psnr_db = PsnrDb(squared_error, static_cast<int64_t>(wanted.size()), largest);
  return absl::OkStatus();
}

std::string FormText(const SparseNetwork& network) {
  return absl::StrCat("has ", HiddenWidths(network).size(), " hidden layers and ",
                      NumOutputs(network), " outputs ", IsFused(network) ? "with" : "without",
                      " output_signs");
}

absl::Status ValidateComparison(const SparseNetwork& candidate, const SparseNetwork& reference,
                                InputView inputs) {
  if (absl::Status status = ValidateNetwork(candidate); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("candidate network: ", status.message()));
  }
  if (absl::Status status = ValidateNetwork(reference); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("reference network: ", status.message()));
  }
  if (candidate.num_inputs != reference.num_inputs || candidate.has_bias != reference.has_bias) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the networks cannot be compared: the candidate takes ", candidate.num_inputs, " inputs ",
        candidate.has_bias ? "with" : "without", " a bias, the reference ", reference.num_inputs,
        " inputs ", reference.has_bias ? "with" : "without", " a bias"));
  }
  if (!HaveSameForm(candidate, reference)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the networks cannot be compared: the candidate ", FormText(candidate),
                     ", the reference ", FormText(reference)));
  }
  if (inputs.num_inputs != reference.num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("inputs have ", inputs.num_inputs,
                                                   " columns, but the networks take ",
                                                   reference.num_inputs));
  }
  if (inputs.num_samples < 1 || inputs.data == nullptr) {
    return absl::InvalidArgumentError("inputs: at least one sample is needed for a comparison");
  }
  for (int64_t i = 0; i < inputs.num_samples; ++i) {
    for (const float x : inputs.row(i)) {
      if (!std::isfinite(x)) {
        return absl::InvalidArgumentError(
            absl::StrCat("inputs: row ", i, " holds a value that is not finite"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

double PsnrDb(double squared_error, int64_t num_values, double largest) {
  if (squared_error == 0) return kMaxPsnrDb;
  // Nothing to compare with, or an error that is no number.
  if (!(squared_error > 0) || largest == 0) return -kMaxPsnrDb;
  const double mean_squared_error = squared_error / static_cast<double>(num_values);
  return std::clamp(20 * std::log10(largest) - 10 * std::log10(mean_squared_error), -kMaxPsnrDb,
                    kMaxPsnrDb);
}

bool HaveSameForm(const SparseNetwork& a, const SparseNetwork& b) {
  return a.has_bias == b.has_bias && IsFused(a) == IsFused(b) &&
         a.upper_layers.size() == b.upper_layers.size() && NumOutputs(a) == NumOutputs(b);
}

absl::StatusOr<NetworkComparison> CompareNetworks(const SparseNetwork& candidate,
                                                  const SparseNetwork& reference,
                                                  InputView inputs) {
  if (absl::Status status = ValidateComparison(candidate, reference, inputs); !status.ok()) {
    return status;
  }
  SparseNetwork found = candidate;
  SparseNetwork wanted = reference;
  if (!found.linear.empty() || !wanted.linear.empty()) {
    found.linear.resize(static_cast<size_t>(found.num_columns()));
    wanted.linear.resize(static_cast<size_t>(wanted.num_columns()));
  }
  found = ReduceNetwork(found);
  wanted = ReduceNetwork(wanted);
  const int64_t units = std::max(NumHiddenUnits(found), NumHiddenUnits(wanted));
  if (units > kMaxComparedNeurons) {
    return absl::ResourceExhaustedError(absl::StrCat("a network has ", units,
                                                     " different neurons; networks of up to ",
                                                     kMaxComparedNeurons, " can be compared"));
  }
  NetworkComparison comparison;
  comparison.candidate_neurons = NumHiddenUnits(found);
  comparison.reference_neurons = NumHiddenUnits(wanted);
  // A fused network of which nothing is left has lost its layers.
  found.upper_layers.resize(candidate.upper_layers.size());
  wanted.upper_layers.resize(reference.upper_layers.size());
  if (!ToCanonicalForm(found) || !ToCanonicalForm(wanted)) {
    return absl::InvalidArgumentError(
        "the networks cannot be compared: the product of the lengths of their layers overflows");
  }
  const double scale = std::max(LargestWeight(found), LargestWeight(wanted));
  if (scale > 0) {
    DivideWeights(found, scale);
    DivideWeights(wanted, scale);
  }
  CompareWeights(std::move(found), std::move(wanted), IsFused(reference), comparison);
  if (absl::Status status = CompareFunctions(candidate, reference, inputs, comparison);
      !status.ok()) {
    return status;
  }
  return comparison;
}

}  // namespace thresher
