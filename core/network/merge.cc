#include "core/network/merge.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"

namespace thresher {
namespace {

// Cosine from which neurons count as parallel: merging them keeps the function to rounding.
constexpr double kParallel = 1 - 1e-12;
// What a sum leaves of its largest term by rounding alone.
constexpr double kRounding = 1e-12;

struct Row {
  std::vector<int32_t> column;
  std::vector<double> value;
};

// A neuron's direction: its row scaled to length 1, and the row's length.
struct Direction {
  Row unit;
  double length = 0;
  double projection = 0;  // on a fixed vector with entries in [-1, 1]
};

Row RowOf(const SparseRows& rows, size_t row) {
  const auto begin = static_cast<std::ptrdiff_t>(rows.row_begin[row]);
  const auto end = static_cast<std::ptrdiff_t>(rows.row_begin[row + 1]);
  return {{rows.column.begin() + begin, rows.column.begin() + end},
          {rows.value.begin() + begin, rows.value.begin() + end}};
}

void AppendRow(const Row& row, SparseRows& rows) {
  rows.column.insert(rows.column.end(), row.column.begin(), row.column.end());
  rows.value.insert(rows.value.end(), row.value.begin(), row.value.end());
  rows.row_begin.push_back(rows.nonzeros());
}

// Entry q of the fixed vector that directions are projected on.
double ProjectionEntry(int32_t q) {
  const auto word = Philox(0, static_cast<uint64_t>(q), 0).word[0];
  return static_cast<double>(word) * 0x1p-31 - 1.0;
}

double LargestMagnitude(const Row& row) {
  double largest = 0;
  for (const double value : row.value) largest = std::max(largest, std::abs(value));
  return largest;
}

// Expects a row with a non-zero weight. Scaled by the largest weight first, so that no
// square overflows or vanishes.
Direction DirectionOf(Row row) {
  const double largest = LargestMagnitude(row);
  double square = 0;
  for (double& value : row.value) {
    value /= largest;
    square += value * value;
  }
  const double length = std::sqrt(square);
  Direction direction;
  direction.length = largest * length;
  for (size_t e = 0; e < row.value.size(); ++e) {
    row.value[e] /= length;
    direction.projection += row.value[e] * ProjectionEntry(row.column[e]);
  }
  direction.unit = std::move(row);
  return direction;
}

double InnerProduct(const Row& a, const Row& b) {
  double sum = 0;
  size_t ea = 0;
  size_t eb = 0;
  while (ea < a.column.size() && eb < b.column.size()) {
    if (a.column[ea] < b.column[eb]) {
      ++ea;
    } else if (a.column[ea] > b.column[eb]) {
      ++eb;
    } else {
      sum += a.value[ea++] * b.value[eb++];
    }
  }
  return sum;
}

Row Sum(const Row& a, const Row& b) {
  Row sum;
  size_t ea = 0;
  size_t eb = 0;
  while (ea < a.column.size() || eb < b.column.size()) {
    const bool from_a =
        eb == b.column.size() || (ea < a.column.size() && a.column[ea] <= b.column[eb]);
    const bool from_b =
        ea == a.column.size() || (eb < b.column.size() && b.column[eb] <= a.column[ea]);
    sum.column.push_back(from_a ? a.column[ea] : b.column[eb]);
    sum.value.push_back((from_a ? a.value[ea] : 0.0) + (from_b ? b.value[eb] : 0.0));
    ea += from_a ? 1 : 0;
    eb += from_b ? 1 : 0;
  }
  return sum;
}

// a - b, without what rounding leaves where they are equal.
Row Difference(const Row& a, Row b) {
  const double largest = LargestMagnitude(a);
  for (double& value : b.value) value = -value;
  const Row all = Sum(a, b);
  Row difference;
  for (size_t e = 0; e < all.column.size(); ++e) {
    if (std::abs(all.value[e]) <= kRounding * largest) continue;
    difference.column.push_back(all.column[e]);
    difference.value.push_back(all.value[e]);
  }
  return difference;
}

// Unit vectors u, v of at most so many entries and of cosine c are sqrt(2 (1 - c)) apart, and
// their projections at most sqrt(entries) times that: directions of at least min_cosine lie
// within this of each other.
double ProjectionWindow(double min_cosine, size_t entries) {
  const double distance = std::sqrt(std::max(0.0, 2 * (1 - min_cosine)) + 1e-15);
  return distance * std::sqrt(2.0 * static_cast<double>(entries)) + 1e-12;
}

// The sides of its hyperplane on which a neuron may be put.
std::span<const double> Sides(const SparseNetwork& network) {
  static constexpr double kSides[] = {1, -1};
  return {kSides, network.linear.empty() ? size_t{1} : size_t{2}};
}

Row Scaled(Row row, double factor) {
  for (double& value : row.value) value *= factor;
  return row;
}

// The linear term with factor x.row more.
std::vector<double> PlusRow(std::vector<double> linear, const Row& row, double factor) {
  for (size_t e = 0; e < row.column.size(); ++e) {
    linear[static_cast<size_t>(row.column[e])] += factor * row.value[e];
  }
  return linear;
}

bool AllFinite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value); });
}

bool IsDead(const Row& row) {
  return std::all_of(row.value.begin(), row.value.end(), [](double value) { return value == 0; });
}

// A network as coefficients of the one-sparse neurons (direction x_q)_+ and other neurons.
struct Unfolded {
  std::map<std::pair<int32_t, int>, double> halves;  // by column and direction
  std::vector<std::pair<Row, int8_t>> others;

  // Fewer weights count before fewer neurons.
  std::pair<size_t, size_t> Size() const {
    size_t weights = halves.size();
    for (const auto& [row, sign] : others) weights += row.column.size();
    return {weights, halves.size() + others.size()};
  }

  void AddHalf(int32_t column, int direction, double coefficient) {
    constexpr double kCancelled = 1e-3;
    const auto [place, is_new] = halves.try_emplace({column, direction}, coefficient);
    if (is_new) return;
    const double larger = std::max(std::abs(place->second), std::abs(coefficient));
    place->second += coefficient;
    if (std::abs(place->second) < kCancelled * larger) halves.erase(place);
  }

  // factor x.row as one-sparse neurons; the constant input is positive on every sample.
  void AddLinear(const Row& row, double factor, int32_t bias_column) {
    for (size_t e = 0; e < row.column.size(); ++e) {
      AddHalf(row.column[e], 1, factor * row.value[e]);
      if (row.column[e] != bias_column) AddHalf(row.column[e], -1, -factor * row.value[e]);
    }
  }

  bool Subtracts() const {
    return std::any_of(halves.begin(), halves.end(),
                       [](const auto& half) { return half.second < 0; }) ||
           std::any_of(others.begin(), others.end(),
                       [](const auto& other) { return other.second < 0; });
  }
};

double Norm(const Row& row) { return std::sqrt(InnerProduct(row, row)); }

// The neurons j and, where given, k (opposite to j) replaced by one on the side of j or the
// other, and a linear function.
Unfolded Unfold(const Unfolded& network, size_t j, std::optional<size_t> k, bool same_side,
                int32_t bias_column) {
  Unfolded result = network;
  Row row = network.others[j].first;
  const double near = network.others[j].second;
  double far = 0;  // in units of row j
  if (k) {
    far = network.others[*k].second * Norm(network.others[*k].first) / Norm(row);
    result.others.erase(result.others.begin() + static_cast<int64_t>(*k));
  }
  // The erased neuron stands behind j.
  result.others.erase(result.others.begin() + static_cast<int64_t>(j));
  result.AddLinear(row, same_side ? -far : near, bias_column);
  const double kept = near + far;
  constexpr double kCancelled = 1e-3;
  if (std::abs(kept) > kCancelled) {
    for (double& value : row.value) value *= same_side ? std::abs(kept) : -std::abs(kept);
    result.others.emplace_back(std::move(row), kept > 0 ? 1 : -1);
  }
  return result;
}

// The weight matrices of a network with upper layers, from the inputs on.
std::vector<const SparseRows*> Matrices(const SparseNetwork& network) {
  std::vector<const SparseRows*> matrices = {&network.weights};
  for (const SparseRows& layer : network.upper_layers) matrices.push_back(&layer);
  return matrices;
}

// Of every layer's units which live, and their new numbers, -1 for those dropped. Rows of the
// output layer are no units and stay.
struct UnitNumbers {
  std::vector<std::vector<bool>> lives;
  std::vector<std::vector<int32_t>> number;
};

// A unit stays where one of its group lives, of `group` consecutive units of its layer.
UnitNumbers NumberUnits(const std::vector<const SparseRows*>& matrices, bool fused, size_t group) {
  // From the inputs up: what is fed. From the outputs down: what is looked at by such a unit.
  // Then none that stays has lost its inputs, so that once is enough.
  const auto visit = [&](size_t l, auto unit_and_column) {
    const SparseRows& rows = *matrices[l];
    for (size_t j = 0; j + 1 < rows.row_begin.size(); ++j) {
      for (auto e = static_cast<size_t>(rows.row_begin[j]);
           e < static_cast<size_t>(rows.row_begin[j + 1]); ++e) {
        if (rows.value[e] != 0) unit_and_column(j, static_cast<size_t>(rows.column[e]));
      }
    }
  };
  std::vector<std::vector<bool>> lives(matrices.size());
  for (size_t l = 0; l < matrices.size(); ++l) {
    const bool is_output = !fused && l + 1 == matrices.size();
    lives[l].assign(static_cast<size_t>(matrices[l]->num_rows()), is_output);
    visit(l, [&](size_t j, size_t q) {
      if (l == 0 || q >= lives[l - 1].size() || lives[l - 1][q]) lives[l][j] = true;
    });
  }
  for (size_t l = matrices.size() - 1; l > 0; --l) {
    std::vector<bool> is_seen(lives[l - 1].size(), false);
    visit(l, [&](size_t j, size_t q) {
      if (lives[l][j] && q < is_seen.size()) is_seen[q] = true;
    });
    for (size_t q = 0; q < is_seen.size(); ++q) lives[l - 1][q] = lives[l - 1][q] && is_seen[q];
  }
  std::vector<std::vector<int32_t>> numbers(matrices.size());
  for (size_t l = 0; l < matrices.size(); ++l) {
    int32_t next = 0;
    for (size_t first = 0; first < lives[l].size(); first += group) {
      const size_t end = std::min(first + group, lives[l].size());
      const auto begin_of = lives[l].begin() + static_cast<std::ptrdiff_t>(first);
      const auto end_of = lives[l].begin() + static_cast<std::ptrdiff_t>(end);
      const bool stays = std::find(begin_of, end_of, true) != end_of;
      for (size_t j = first; j < end; ++j) numbers[l].push_back(stays ? next++ : -1);
    }
  }
  return {std::move(lives), std::move(numbers)};
}

SparseNetwork DropDeadUnits(const SparseNetwork& network, size_t group = 1) {
  const std::vector<const SparseRows*> matrices = Matrices(network);
  const auto [lives, numbers] = NumberUnits(matrices, IsFused(network), group);
  SparseNetwork kept;
  kept.num_inputs = network.num_inputs;
  kept.has_bias = network.has_bias;
  kept.upper_layers.resize(network.upper_layers.size());
  int32_t width_below = 0;  // of what is kept
  for (size_t l = 0; l < matrices.size(); ++l) {
    const SparseRows& rows = *matrices[l];
    SparseRows& kept_rows = l == 0 ? kept.weights : kept.upper_layers[l - 1];
    int32_t width = 0;
    for (size_t j = 0; j < numbers[l].size(); ++j) {
      if (numbers[l][j] < 0) continue;
      ++width;
      for (auto e = static_cast<size_t>(rows.row_begin[j]);
           lives[l][j] && e < static_cast<size_t>(rows.row_begin[j + 1]); ++e) {
        const auto q = static_cast<size_t>(rows.column[e]);
        int32_t column = rows.column[e];
        if (l > 0) column = q < numbers[l - 1].size() ? numbers[l - 1][q] : width_below;
        const bool is_fed = l == 0 || q >= lives[l - 1].size() || lives[l - 1][q];
        if (rows.value[e] == 0 || !is_fed) continue;
        kept_rows.column.push_back(column);
        kept_rows.value.push_back(rows.value[e]);
      }
      kept_rows.row_begin.push_back(kept_rows.nonzeros());
    }
    width_below = width;
  }
  for (size_t j = 0; j < network.output_signs.size(); ++j) {
    if (numbers.back()[j] >= 0) kept.output_signs.push_back(network.output_signs[j]);
  }
  if (IsFused(network) && kept.output_signs.empty()) {
    kept.weights = {};
    kept.upper_layers.clear();
  }
  return kept;
}

// Which units of a layer are parallel: for each the number of its group, and its length in units
// of the group's first.
struct UnitGroups {
  std::vector<size_t> first;  // of each group
  std::vector<size_t> group_of;
  std::vector<double> factor;
};

// Expects no dead units.
UnitGroups GroupParallelUnits(const SparseRows& rows, double min_cosine) {
  const auto num_units = static_cast<size_t>(rows.num_rows());
  size_t longest = 0;
  for (size_t j = 0; j < num_units; ++j) {
    longest = std::max(longest, static_cast<size_t>(rows.row_begin[j + 1] - rows.row_begin[j]));
  }
  const double window = ProjectionWindow(min_cosine, longest);
  UnitGroups groups;
  std::vector<Direction> directions;  // of the groups' first units
  std::multimap<double, size_t> by_projection;
  for (size_t j = 0; j < num_units; ++j) {
    Direction direction = DirectionOf(RowOf(rows, j));
    size_t chosen = groups.first.size();
    double factor = 1;
    const auto end = by_projection.upper_bound(direction.projection + window);
    for (auto it = by_projection.lower_bound(direction.projection - window); it != end; ++it) {
      const Direction& first = directions[it->second];
      const double ratio = direction.length / first.length;
      if (it->second > chosen || !std::isnormal(ratio) ||
          InnerProduct(first.unit, direction.unit) < min_cosine) {
        continue;
      }
      chosen = it->second;
      factor = ratio;
    }
    if (chosen == groups.first.size()) {
      by_projection.emplace(direction.projection, chosen);
      groups.first.push_back(j);
      directions.push_back(std::move(direction));
    }
    groups.group_of.push_back(chosen);
    groups.factor.push_back(factor);
  }
  return groups;
}

// Merges the parallel units of hidden layer l, which is not the last of a fused network. Expects
// no dead units; may leave some.
SparseNetwork MergeParallelUnits(const SparseNetwork& network, size_t l) {
  const SparseRows& rows = l == 0 ? network.weights : network.upper_layers[l - 1];
  const SparseRows& above = network.upper_layers[l];
  const UnitGroups groups = GroupParallelUnits(rows, kParallel);
  const size_t num_groups = groups.first.size();
  if (num_groups == groups.group_of.size()) return network;
  SparseRows merged_rows;
  for (const size_t j : groups.first) AppendRow(RowOf(rows, j), merged_rows);
  SparseRows merged_above;
  for (size_t r = 0; r + 1 < above.row_begin.size(); ++r) {
    struct Entry {
      double sum = 0;
      double largest = 0;  // of the terms
    };
    std::map<size_t, Entry> entries;  // by group, the constant behind them
    for (auto e = static_cast<size_t>(above.row_begin[r]);
         e < static_cast<size_t>(above.row_begin[r + 1]); ++e) {
      const auto q = static_cast<size_t>(above.column[e]);
      const bool is_constant = q == groups.group_of.size();
      const double term = above.value[e] * (is_constant ? 1.0 : groups.factor[q]);
      Entry& entry = entries[is_constant ? num_groups : groups.group_of[q]];
      entry.sum += term;
      entry.largest = std::max(entry.largest, std::abs(term));
    }
    for (const auto& [column, entry] : entries) {
      if (!std::isfinite(entry.sum)) return network;
      if (std::abs(entry.sum) <= kRounding * entry.largest) continue;
      merged_above.column.push_back(static_cast<int32_t>(column));
      merged_above.value.push_back(entry.sum);
    }
    merged_above.row_begin.push_back(merged_above.nonzeros());
  }
  SparseNetwork merged = network;
  (l == 0 ? merged.weights : merged.upper_layers[l - 1]) = std::move(merged_rows);
  merged.upper_layers[l] = std::move(merged_above);
  return merged;
}

SparseNetwork ReducePlain(const SparseNetwork& network) {
  return CancelOppositeNeurons(DropDeadNeurons(MergeParallelNeurons(
                                   MoveConstantNeurons(DropDeadNeurons(network)), kParallel)),
                               kParallel);
}

SparseNetwork ReduceLayered(const SparseNetwork& network) {
  SparseNetwork reduced = DropDeadUnits(network);
  for (size_t l = 0; l < reduced.upper_layers.size(); ++l) {
    // At once, as a unit that has lost its inputs is a column less for those above.
    reduced = DropDeadNeurons(MergeParallelUnits(reduced, l));
  }
  if (reduced.upper_layers.empty() || !IsFused(reduced)) return reduced;
  SparseNetwork last;
  last.num_inputs =
      (reduced.upper_layers.size() == 1 ? reduced.weights : reduced.upper_layers.rbegin()[1])
          .num_rows();
  last.has_bias = reduced.has_bias;
  last.weights = std::move(reduced.upper_layers.back());
  last.output_signs = std::move(reduced.output_signs);
  last = ReducePlain(last);
  if (last.output_signs.empty()) {
    return {.num_inputs = reduced.num_inputs,
            .has_bias = reduced.has_bias,
            .weights = {},
            .output_signs = {}};
  }
  reduced.upper_layers.back() = std::move(last.weights);
  reduced.output_signs = std::move(last.output_signs);
  return DropDeadUnits(reduced);
}

}  // namespace

SparseNetwork DropDeadNeurons(const SparseNetwork& network) {
  if (!network.upper_layers.empty()) return DropDeadUnits(network);
  SparseNetwork kept;
  kept.num_inputs = network.num_inputs;
  kept.has_bias = network.has_bias;
  kept.linear = network.linear;
  const SparseRows& rows = network.weights;
  for (size_t j = 0; j + 1 < rows.row_begin.size(); ++j) {
    for (auto e = static_cast<size_t>(rows.row_begin[j]);
         e < static_cast<size_t>(rows.row_begin[j + 1]); ++e) {
      if (rows.value[e] == 0) continue;
      kept.weights.column.push_back(rows.column[e]);
      kept.weights.value.push_back(rows.value[e]);
    }
    if (kept.weights.nonzeros() == kept.weights.row_begin.back()) continue;
    kept.weights.row_begin.push_back(kept.weights.nonzeros());
    kept.output_signs.push_back(network.output_signs[j]);
  }
  return kept;
}

SparseNetwork DropDeadGroups(const SparseNetwork& network, int64_t group) {
  assert(group >= 1 && !network.upper_layers.empty());
  return DropDeadUnits(network, static_cast<size_t>(group));
}

SparseNetwork FoldConstantUnits(const SparseNetwork& network) {
  SparseNetwork folded = network;
  int64_t columns_below = network.num_inputs;  // the constant's, where there is one
  for (size_t l = 0; l < folded.upper_layers.size(); ++l) {
    SparseRows& below = l == 0 ? folded.weights : folded.upper_layers[l - 1];
    SparseRows& above = folded.upper_layers[l];
    const int64_t num_units = below.num_rows();
    std::vector<std::optional<double>> constants(static_cast<size_t>(num_units));
    SparseRows live_below;
    for (size_t j = 0; j < constants.size(); ++j) {
      Row row = RowOf(below, j);
      double bias = 0;
      bool is_constant = true;
      for (size_t e = 0; e < row.column.size(); ++e) {
        if (row.column[e] == columns_below) {
          bias = row.value[e];
        } else if (row.value[e] != 0) {
          is_constant = false;
        }
      }
      if (is_constant) {
        constants[j] = std::max(0.0, bias);
        row = {};
      }
      AppendRow(row, live_below);
    }
    SparseRows live_above;
    for (size_t r = 0; r + 1 < above.row_begin.size(); ++r) {
      const Row row = RowOf(above, r);
      Row kept;
      double bias = 0;
      for (size_t e = 0; e < row.column.size(); ++e) {
        if (row.column[e] == num_units) {
          bias += row.value[e];
        } else if (constants[static_cast<size_t>(row.column[e])]) {
          bias += row.value[e] * *constants[static_cast<size_t>(row.column[e])];
        } else {
          kept.column.push_back(row.column[e]);
          kept.value.push_back(row.value[e]);
        }
      }
      if (!std::isfinite(bias)) return network;
      if (bias != 0) {  // only ever with has_bias
        kept.column.push_back(static_cast<int32_t>(num_units));
        kept.value.push_back(bias);
      }
      AppendRow(kept, live_above);
    }
    below = std::move(live_below);
    above = std::move(live_above);
    columns_below = num_units;
  }
  return folded;
}

SparseNetwork MoveConstantNeurons(const SparseNetwork& network) {
  if (network.linear.empty() || !network.has_bias) return network;
  SparseNetwork moved;
  moved.num_inputs = network.num_inputs;
  moved.has_bias = network.has_bias;
  moved.linear = network.linear;
  for (size_t j = 0; j < static_cast<size_t>(network.hidden_width()); ++j) {
    const Row row = RowOf(network.weights, j);
    if (row.column.size() == 1 && row.column[0] == network.num_inputs) {
      moved.linear.back() += network.output_signs[j] * std::max(0.0, row.value[0]);
      continue;
    }
    AppendRow(row, moved.weights);
    moved.output_signs.push_back(network.output_signs[j]);
  }
  return moved;
}

SparseNetwork MergeParallelNeurons(const SparseNetwork& network, double min_cosine) {
  struct Group {
    Row sum;
    Row first_unit;
    int8_t output_sign;
  };
  const SparseRows& rows = network.weights;
  const auto num_neurons = static_cast<size_t>(network.hidden_width());
  size_t longest = 0;
  for (size_t j = 0; j < num_neurons; ++j) {
    longest = std::max(longest, static_cast<size_t>(rows.row_begin[j + 1] - rows.row_begin[j]));
  }
  const double window = ProjectionWindow(min_cosine, longest);

  std::vector<Group> groups;
  std::vector<double> linear = network.linear;
  std::multimap<double, size_t> groups_by_projection[2];  // of sign -1 and +1
  for (size_t j = 0; j < num_neurons; ++j) {
    Row row = RowOf(rows, j);
    const int8_t sign = network.output_signs[j];
    if (IsDead(row)) {
      groups.push_back({std::move(row), {}, sign});
      continue;
    }
    Direction direction = DirectionOf(row);
    auto& candidates = groups_by_projection[sign > 0 ? 1 : 0];
    size_t chosen = groups.size();
    Row chosen_sum;
    std::vector<double> chosen_linear;
    for (const double side : Sides(network)) {
      const double projection = side * direction.projection;
      const auto end = candidates.upper_bound(projection + window);
      for (auto it = candidates.lower_bound(projection - window); it != end; ++it) {
        const Group& group = groups[it->second];
        if (it->second > chosen ||
            side * InnerProduct(group.first_unit, direction.unit) < min_cosine) {
          continue;
        }
        Row sum = Sum(group.sum, Scaled(row, side));
        std::vector<double> rest = side > 0 ? linear : PlusRow(linear, row, sign);
        if (!AllFinite(sum.value) || !AllFinite(rest)) continue;
        chosen = it->second;
        chosen_sum = std::move(sum);
        chosen_linear = std::move(rest);
      }
    }
    if (chosen < groups.size()) {
      groups[chosen].sum = std::move(chosen_sum);
      linear = std::move(chosen_linear);
    } else {
      candidates.emplace(direction.projection, groups.size());
      groups.push_back({std::move(row), std::move(direction.unit), sign});
    }
  }

  SparseNetwork merged;
  merged.num_inputs = network.num_inputs;
  merged.has_bias = network.has_bias;
  merged.linear = std::move(linear);
  for (const Group& group : groups) {
    AppendRow(group.sum, merged.weights);
    merged.output_signs.push_back(group.output_sign);
  }
  return merged;
}

SparseNetwork CancelOppositeNeurons(const SparseNetwork& network, double min_cosine) {
  const SparseRows& rows = network.weights;
  std::vector<Row> result;
  size_t longest = 0;
  std::multimap<double, std::pair<size_t, Row>> subtracting;  // by projection
  std::vector<std::pair<size_t, Direction>> adding;
  for (size_t j = 0; j + 1 < rows.row_begin.size(); ++j) {
    result.push_back(RowOf(rows, j));
    if (IsDead(result[j])) continue;
    longest = std::max(longest, result[j].column.size());
    Direction direction = DirectionOf(result[j]);
    if (network.output_signs[j] > 0) {
      adding.emplace_back(j, std::move(direction));
    } else {
      subtracting.emplace(direction.projection, std::pair(j, std::move(direction.unit)));
    }
  }
  const double window = ProjectionWindow(min_cosine, longest);
  std::vector<double> linear = network.linear;
  for (const auto& [j, direction] : adding) {
    auto closest = subtracting.end();
    double closest_side = 1;
    double largest_cosine = min_cosine;
    for (const double side : Sides(network)) {
      const double projection = side * direction.projection;
      const auto end = subtracting.upper_bound(projection + window);
      for (auto it = subtracting.lower_bound(projection - window); it != end; ++it) {
        const double cosine = side * InnerProduct(direction.unit, it->second.second);
        if (cosine < largest_cosine) continue;
        largest_cosine = cosine;
        closest = it;
        closest_side = side;
      }
    }
    if (closest == subtracting.end()) continue;
    const size_t k = closest->second.first;
    if (closest_side < 0) {
      // The subtracting neuron on its other side.
      std::vector<double> moved = PlusRow(linear, result[k], -1);
      if (!AllFinite(moved)) continue;
      linear = std::move(moved);
      result[k] = Scaled(std::move(result[k]), -1);
    }
    const double added = InnerProduct(result[j], direction.unit);
    const double subtracted = InnerProduct(result[k], direction.unit);
    const size_t kept = added >= subtracted ? j : k;
    const size_t gone = added >= subtracted ? k : j;
    result[kept] = Difference(result[kept], result[gone]);
    result[gone] = {};
    subtracting.erase(closest);
  }
  SparseNetwork reduced;
  reduced.num_inputs = network.num_inputs;
  reduced.has_bias = network.has_bias;
  reduced.linear = std::move(linear);
  reduced.output_signs = network.output_signs;
  for (const Row& row : result) AppendRow(row, reduced.weights);
  return DropDeadNeurons(reduced);
}

SparseNetwork ReduceNetwork(const SparseNetwork& network) {
  return network.upper_layers.empty() ? ReducePlain(network) : ReduceLayered(network);
}

SparseNetwork UnfoldNeurons(const SparseNetwork& network, double min_cosine, OutputSigns signs) {
  Unfolded present;
  const int32_t bias_column = network.has_bias ? static_cast<int32_t>(network.num_inputs) : -1;
  for (size_t j = 0; j < static_cast<size_t>(network.hidden_width()); ++j) {
    Row row = RowOf(network.weights, j);
    if (row.column.size() == 1) {
      present.AddHalf(row.column[0], row.value[0] > 0 ? 1 : -1,
                      network.output_signs[j] * std::abs(row.value[0]));
    } else if (!row.column.empty()) {
      present.others.emplace_back(std::move(row), network.output_signs[j]);
    }
  }
  const bool may_subtract = signs == OutputSigns::kMixed;
  bool changed = true;
  while (changed) {
    changed = false;
    const auto accept = [&](Unfolded candidate) {
      if (candidate.Size() >= present.Size() || (!may_subtract && candidate.Subtracts())) {
        return false;
      }
      present = std::move(candidate);
      return true;
    };
    for (size_t j = 0; j < present.others.size() && !changed; ++j) {
      changed = accept(Unfold(present, j, std::nullopt, /*same_side=*/false, bias_column));
      const Row unit = DirectionOf(present.others[j].first).unit;
      for (size_t k = j + 1; k < present.others.size() && !changed; ++k) {
        const Row& other = present.others[k].first;
        if (InnerProduct(unit, other) > -min_cosine * Norm(other)) continue;
        changed = accept(Unfold(present, j, k, /*same_side=*/true, bias_column)) ||
                  accept(Unfold(present, j, k, /*same_side=*/false, bias_column));
      }
    }
  }
  SparseNetwork result;
  result.num_inputs = network.num_inputs;
  result.has_bias = network.has_bias;
  result.linear = network.linear;
  for (const auto& [half, coefficient] : present.halves) {
    AppendRow({{half.first}, {half.second * std::abs(coefficient)}}, result.weights);
    result.output_signs.push_back(coefficient > 0 ? 1 : -1);
  }
  for (const auto& [row, sign] : present.others) {
    AppendRow(row, result.weights);
    result.output_signs.push_back(sign);
  }
  return result;
}

}  // namespace thresher
