#include "core/network/compare.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/network/merge.h"

namespace thresher {
namespace {

constexpr double kMaxPsnrDb = 400;

double LargestWeight(const SparseNetwork& network) {
  double largest = 0;
  for (const double value : network.weights.value) largest = std::max(largest, std::abs(value));
  for (const double value : network.linear) largest = std::max(largest, std::abs(value));
  return largest;
}

// Weights in units of `scale`, so that no square of them overflows.
void DivideWeights(SparseNetwork& network, double scale) {
  for (double& value : network.weights.value) value /= scale;
  for (double& value : network.linear) value /= scale;
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

// The neurons of one network with one output sign.
std::vector<size_t> NeuronsOfSign(const SparseNetwork& network, int8_t sign) {
  std::vector<size_t> neurons;
  for (size_t j = 0; j < network.output_signs.size(); ++j) {
    if (network.output_signs[j] == sign) neurons.push_back(j);
  }
  return neurons;
}

// Inner products of a neuron of one network with the listed neurons of another, a row
// at a time: the matrix of all of them is never formed.
class InnerProducts {
 public:
  InnerProducts(const SparseNetwork& network, const std::vector<size_t>& neurons) {
    for (size_t k = 0; k < neurons.size(); ++k) {
      const SparseRows& rows = network.weights;
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

// For each reference neuron its candidate neuron, -1 for none, and whether that stands on the
// other side.
struct Matching {
  std::vector<int64_t> neuron;
  std::vector<bool> mirrored;
};

// || a - b ||^2 = || a ||^2 + || b ||^2 - 2 a.b, so least distance is greatest sum of
// inner products, where a pair without a positive one is as well left apart. Beside a linear
// term sides do not count: the least of || a - b || and || a + b ||.
void MatchNeurons(const SparseNetwork& candidate, const SparseNetwork& reference, int8_t sign,
                  Matching& matching) {
  const std::vector<size_t> candidates = NeuronsOfSign(candidate, sign);
  const std::vector<size_t> references = NeuronsOfSign(reference, sign);
  const bool rows_are_references = references.size() <= candidates.size();
  const SparseNetwork& row_network = rows_are_references ? reference : candidate;
  const SparseNetwork& column_network = rows_are_references ? candidate : reference;
  const std::vector<size_t>& rows = rows_are_references ? references : candidates;
  const std::vector<size_t>& columns = rows_are_references ? candidates : references;
  const InnerProducts inner_products(column_network, columns);
  const bool either_side = !reference.linear.empty();
  const auto row_costs = [&](size_t i, std::vector<double>& costs) {
    inner_products.Compute(row_network.weights, rows[i], costs);
    for (double& cost : costs) cost = -std::max(either_side ? -cost : 0.0, cost);
  };
  const std::vector<size_t> column_of = AssignRows(rows.size(), columns.size(), row_costs);
  std::vector<double> products(columns.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    inner_products.Compute(row_network.weights, rows[i], products);
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

void CompareWeights(const SparseNetwork& candidate, const SparseNetwork& reference,
                    const Matching& matching, NetworkComparison& comparison) {
  const SparseRows& found = candidate.weights;
  const SparseRows& wanted = reference.weights;
  std::vector<bool> candidate_is_matched(static_cast<size_t>(found.num_rows()), false);
  double squared_error = 0;
  int64_t common = 0;
  for (size_t j = 0; j < matching.neuron.size(); ++j) {
    if (matching.neuron[j] < 0) {
      squared_error += SquaredNorm(wanted, j, j + 1);
      continue;
    }
    const auto partner = static_cast<size_t>(matching.neuron[j]);
    candidate_is_matched[partner] = true;
    ComparePair(found, partner, matching.mirrored[j] ? -1 : 1, wanted, j, squared_error, common);
  }
  for (size_t k = 0; k < candidate_is_matched.size(); ++k) {
    if (!candidate_is_matched[k]) squared_error += SquaredNorm(found, k, k + 1);
  }
  const auto fraction_of = [common](int64_t positions) {
    return positions == 0 ? 1.0 : static_cast<double>(common) / static_cast<double>(positions);
  };
  comparison.support_recall = fraction_of(wanted.nonzeros());
  comparison.support_precision = fraction_of(found.nonzeros());
  comparison.same_support = common == wanted.nonzeros() && common == found.nonzeros();
  double squared_reference = SquaredNorm(wanted, 0, static_cast<size_t>(wanted.num_rows()));
  const std::vector<double> found_linear = LinearPart(candidate);
  const std::vector<double> wanted_linear = LinearPart(reference);
  for (size_t q = 0; q < wanted_linear.size(); ++q) {
    const double difference = found_linear[q] - wanted_linear[q];
    squared_error += difference * difference;
    squared_reference += wanted_linear[q] * wanted_linear[q];
  }
  comparison.relative_weight_error = RelativeError(squared_error, squared_reference);
}

absl::Status CompareFunctions(const SparseNetwork& candidate, const SparseNetwork& reference,
                              InputView inputs, NetworkComparison& comparison) {
  std::vector<double> found(static_cast<size_t>(inputs.num_samples));
  std::vector<double> wanted(found.size());
  if (absl::Status status = Evaluate(candidate, inputs, found); !status.ok()) return status;
  if (absl::Status status = Evaluate(reference, inputs, wanted); !status.ok()) return status;
  double largest = 0;
  double scale = 0;  // so that no square overflows
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!std::isfinite(found[i]) || !std::isfinite(wanted[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("inputs: a network's output on row ", i, " overflows"));
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

double PsnrDb(double squared_error, int64_t num_samples, double largest) {
  if (squared_error == 0) return kMaxPsnrDb;
  // Nothing to compare with, or an error that is no number.
  if (!(squared_error > 0) || largest == 0) return -kMaxPsnrDb;
  const double mean_squared_error = squared_error / static_cast<double>(num_samples);
  return std::clamp(20 * std::log10(largest) - 10 * std::log10(mean_squared_error), -kMaxPsnrDb,
                    kMaxPsnrDb);
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
  const int64_t width = std::max(found.hidden_width(), wanted.hidden_width());
  if (width > kMaxComparedNeurons) {
    return absl::ResourceExhaustedError(absl::StrCat("a network has ", width,
                                                     " different neurons; networks of up to ",
                                                     kMaxComparedNeurons, " can be compared"));
  }
  const double scale = std::max(LargestWeight(found), LargestWeight(wanted));
  if (scale > 0) {
    DivideWeights(found, scale);
    DivideWeights(wanted, scale);
  }

  NetworkComparison comparison;
  comparison.candidate_neurons = found.hidden_width();
  comparison.reference_neurons = wanted.hidden_width();
  const auto width_of_reference = static_cast<size_t>(wanted.hidden_width());
  Matching matching{std::vector<int64_t>(width_of_reference, -1),
                    std::vector<bool>(width_of_reference, false)};
  MatchNeurons(found, wanted, 1, matching);
  MatchNeurons(found, wanted, -1, matching);
  CompareWeights(found, wanted, matching, comparison);
  comparison.matched_neuron = std::move(matching.neuron);
  if (absl::Status status = CompareFunctions(candidate, reference, inputs, comparison);
      !status.ok()) {
    return status;
  }
  return comparison;
}

}  // namespace thresher
