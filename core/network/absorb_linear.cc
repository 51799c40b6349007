#include "core/network/absorb_linear.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace thresher {
namespace {

// Undecided neurons of an input whose sides are tried all together.
constexpr size_t kMaxUndecided = 16;
// A match is believed where one as close would come by chance less often than this. Few chances
// leave more sides to the search, many decide some of them wrongly: all are tried.
constexpr std::array kMaxChances = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2};
// A one-sparse weight below this part of the input's weights is nothing.
constexpr double kNothing = 1e-5;
// The search for the sides that no input decides.
constexpr size_t kMaxTenure = 10;
constexpr int64_t kFruitlessTurns = 2000;
constexpr double kLeastGain = 1e-9;

enum class Side : int8_t { kUndecided, kKept, kFlipped };

// A neuron's weight on an input, times the output sign: what flipping it adds to the linear term.
struct Share {
  size_t neuron;
  double weight;
};

struct Input {
  double kink = 0;    // of the one-sparse neurons, kink (x_q)_+
  double linear = 0;  // of the linear term and the flipped neurons
  double scale = 0;   // root of the sum of squares of all weights and the linear term
  bool is_bias = false;
  std::vector<Share> shares;
};

// One-sparse neurons kink (x)_+ + linear x as rising (x)_+ + falling (-x)_+.
struct Halves {
  double rising;
  double falling;
};

// What becomes of the linear term that the sides leave: one-sparse neurons, or it stays.
enum class Leftover { kNeurons, kStays };

class Sides {
 public:
  Sides(const SparseNetwork& network, OutputSigns signs, Leftover leftover, double nothing,
        double max_chance);

  void DecideByInput();
  void ChooseUndecided();
  // Weights of the one-sparse neurons, and what they cannot hold; or entries that stay.
  double TotalCost() const;
  SparseNetwork Network() const;
  SparseNetwork NetworkBesideLinear() const;

 private:
  bool Decide(Input& input);
  void Set(size_t neuron, Side side);
  Halves HalvesOf(const Input& input, double linear) const;
  double Cost(const Input& input, double linear) const;
  // What turning a neuron to its other side saves.
  double Gain(size_t neuron) const;
  void Turn(size_t neuron);
  void AppendNeuron(size_t neuron, SparseNetwork& result) const;

  const SparseNetwork& network_;
  const bool may_subtract_;
  const Leftover leftover_;
  const double nothing_;  // a smaller part of the input's weights is none
  const double max_chance_;
  std::vector<Input> inputs_;
  std::vector<Side> sides_;
};

size_t Begin(const SparseNetwork& network, size_t neuron) {
  return static_cast<size_t>(network.weights.row_begin[neuron]);
}

Sides::Sides(const SparseNetwork& network, OutputSigns signs, Leftover leftover, double nothing,
             double max_chance)
    : network_(network),
      may_subtract_(signs == OutputSigns::kMixed),
      leftover_(leftover),
      nothing_(nothing),
      max_chance_(max_chance),
      inputs_(static_cast<size_t>(network.num_columns())),
      sides_(static_cast<size_t>(network.hidden_width()), Side::kUndecided) {
  if (network.has_bias) inputs_.back().is_bias = true;
  for (size_t q = 0; q < network.linear.size(); ++q) inputs_[q].linear = network.linear[q];
  for (size_t j = 0; j < sides_.size(); ++j) {
    const size_t begin = Begin(network, j);
    const size_t end = Begin(network, j + 1);
    const double sign = network.output_signs[j];
    for (size_t e = begin; e < end; ++e) {
      const double weight = network.weights.value[e];
      Input& input = inputs_[static_cast<size_t>(network.weights.column[e])];
      input.scale += weight * weight;
      if (end - begin > 1 || leftover_ == Leftover::kStays) {
        input.shares.push_back({j, sign * weight});
        continue;
      }
      sides_[j] = Side::kKept;
      if (input.is_bias) {
        if (weight > 0) input.linear += sign * weight;
        continue;
      }
      input.kink += sign * std::abs(weight);
      if (weight < 0) input.linear += sign * weight;
    }
  }
  for (Input& input : inputs_) input.scale = std::sqrt(input.scale + input.linear * input.linear);
}

void Sides::Set(size_t neuron, Side side) {
  sides_[neuron] = side;
  if (side != Side::kFlipped) return;
  for (size_t e = Begin(network_, neuron); e < Begin(network_, neuron + 1); ++e) {
    inputs_[static_cast<size_t>(network_.weights.column[e])].linear +=
        network_.output_signs[neuron] * network_.weights.value[e];
  }
}

bool Sides::Decide(Input& input) {
  std::vector<Share> undecided;
  for (const Share& share : input.shares) {
    if (sides_[share.neuron] == Side::kUndecided) undecided.push_back(share);
  }
  if (undecided.empty() || undecided.size() > kMaxUndecided) return false;
  if (input.is_bias && leftover_ == Leftover::kStays) return false;
  std::vector<double> wanted = {0.0};
  if (std::abs(input.kink) > nothing_ * input.scale) wanted.push_back(-input.kink);
  // All sums in Gray code order: one neuron changes side at a time.
  const uint32_t count = 1u << undecided.size();
  double sum = input.linear;
  double smallest = sum;
  double largest = sum;
  double closest = std::numeric_limits<double>::infinity();
  uint32_t best = 0;
  uint32_t flipped = 0;
  for (uint32_t k = 0;;) {
    smallest = std::min(smallest, sum);
    largest = std::max(largest, sum);
    for (const double target : wanted) {
      const double distance = std::abs(sum - target);
      if (distance < closest) {
        closest = distance;
        best = flipped;
      }
    }
    if (++k == count) break;
    const auto changed = static_cast<uint32_t>(std::countr_zero(k));
    flipped ^= 1u << changed;
    sum += (flipped >> changed & 1u) != 0 ? undecided[changed].weight : -undecided[changed].weight;
  }
  const double chances = 2.0 * static_cast<double>(count) * static_cast<double>(wanted.size());
  if (!(chances * closest < max_chance_ * (largest - smallest))) return false;
  for (size_t k = 0; k < undecided.size(); ++k) {
    Set(undecided[k].neuron, (best >> k & 1u) != 0 ? Side::kFlipped : Side::kKept);
  }
  return true;
}

void Sides::DecideByInput() {
  bool changed = true;
  while (changed) {
    changed = false;
    // Few undecided neurons first: their sums are the farthest apart.
    for (size_t limit = 1; limit <= kMaxUndecided && !changed; ++limit) {
      for (Input& input : inputs_) {
        const auto undecided = std::count_if(
            input.shares.begin(), input.shares.end(),
            [this](const Share& share) { return sides_[share.neuron] == Side::kUndecided; });
        if (static_cast<size_t>(undecided) == limit) changed = Decide(input) || changed;
      }
    }
  }
}

Halves Sides::HalvesOf(const Input& input, double linear) const {
  if (input.is_bias) return {.rising = linear, .falling = 0};
  Halves halves = {.rising = input.kink + linear, .falling = -linear};
  const double least = nothing_ * input.scale;
  if (std::abs(halves.rising) < least) halves.rising = 0;
  if (std::abs(halves.falling) < least) halves.falling = 0;
  return halves;
}

double Sides::Cost(const Input& input, double linear) const {
  if (leftover_ == Leftover::kStays) {
    return !input.is_bias && std::abs(linear) > nothing_ * input.scale ? 1 : 0;
  }
  const Halves halves = HalvesOf(input, linear);
  double cost = (halves.rising != 0 ? 1 : 0) + (halves.falling != 0 ? 1 : 0);
  if (!may_subtract_) {
    // Any loss of function is worse than all weights.
    const double lost = std::max(0.0, -halves.rising) + std::max(0.0, -halves.falling);
    if (lost > 0) cost += 4 + lost / input.scale;
  }
  return cost;
}

double Sides::TotalCost() const {
  double cost = 0;
  for (const Input& input : inputs_) cost += Cost(input, input.linear);
  return cost;
}

double Sides::Gain(size_t neuron) const {
  const double turn = sides_[neuron] == Side::kFlipped ? -1 : 1;
  double gain = 0;
  for (size_t e = Begin(network_, neuron); e < Begin(network_, neuron + 1); ++e) {
    const Input& input = inputs_[static_cast<size_t>(network_.weights.column[e])];
    const double change = turn * network_.output_signs[neuron] * network_.weights.value[e];
    gain += Cost(input, input.linear) - Cost(input, input.linear + change);
  }
  return gain;
}

void Sides::Turn(size_t neuron) {
  const double turn = sides_[neuron] == Side::kFlipped ? -1 : 1;
  for (size_t e = Begin(network_, neuron); e < Begin(network_, neuron + 1); ++e) {
    inputs_[static_cast<size_t>(network_.weights.column[e])].linear +=
        turn * network_.output_signs[neuron] * network_.weights.value[e];
  }
  sides_[neuron] = turn > 0 ? Side::kFlipped : Side::kKept;
}

void Sides::ChooseUndecided() {
  std::vector<size_t> undecided;
  for (size_t j = 0; j < sides_.size(); ++j) {
    if (sides_[j] != Side::kUndecided) continue;
    sides_[j] = Side::kKept;
    undecided.push_back(j);
  }
  // Tabu search: the best turn is taken, a loss too, and not taken back for a while.
  const auto tenure = static_cast<int64_t>(std::min<size_t>(kMaxTenure, undecided.size() / 2));
  std::vector<int64_t> free_at(sides_.size(), 0);
  std::vector<Side> best_sides = sides_;
  std::vector<Input> best_inputs = inputs_;
  double gained = 0;
  double best_gained = 0;
  for (int64_t turn = 0, best_turn = 0; turn - best_turn < kFruitlessTurns; ++turn) {
    double largest = -std::numeric_limits<double>::infinity();
    size_t chosen = 0;
    for (const size_t j : undecided) {
      const double gain = Gain(j);
      if (free_at[j] > turn && !(gained + gain > best_gained + kLeastGain)) continue;
      if (gain > largest) {
        largest = gain;
        chosen = j;
      }
    }
    if (largest == -std::numeric_limits<double>::infinity()) break;
    Turn(chosen);
    free_at[chosen] = turn + 1 + tenure;
    gained += largest;
    if (gained > best_gained + kLeastGain) {
      best_gained = gained;
      best_turn = turn;
      best_sides = sides_;
      best_inputs = inputs_;
    }
  }
  sides_ = std::move(best_sides);
  inputs_ = std::move(best_inputs);
}

SparseNetwork Sides::Network() const {
  SparseNetwork result;
  result.num_inputs = network_.num_inputs;
  result.has_bias = network_.has_bias;
  for (size_t q = 0; q < inputs_.size(); ++q) {
    const Halves halves = HalvesOf(inputs_[q], inputs_[q].linear);
    for (const auto& [amount, direction] :
         {std::pair(halves.rising, 1), std::pair(halves.falling, -1)}) {
      if (amount == 0 || (amount < 0 && !may_subtract_)) continue;
      result.weights.column.push_back(static_cast<int32_t>(q));
      result.weights.value.push_back(direction * std::abs(amount));
      result.weights.row_begin.push_back(result.weights.nonzeros());
      result.output_signs.push_back(amount > 0 ? 1 : -1);
    }
  }
  for (size_t j = 0; j < sides_.size(); ++j) {
    if (Begin(network_, j + 1) - Begin(network_, j) > 1) AppendNeuron(j, result);
  }
  return result;
}

SparseNetwork Sides::NetworkBesideLinear() const {
  SparseNetwork result;
  result.num_inputs = network_.num_inputs;
  result.has_bias = network_.has_bias;
  for (const Input& input : inputs_) result.linear.push_back(input.linear);
  for (size_t j = 0; j < sides_.size(); ++j) AppendNeuron(j, result);
  return result;
}

// The neuron on its side.
void Sides::AppendNeuron(size_t neuron, SparseNetwork& result) const {
  const double side = sides_[neuron] == Side::kFlipped ? -1 : 1;
  for (size_t e = Begin(network_, neuron); e < Begin(network_, neuron + 1); ++e) {
    result.weights.column.push_back(network_.weights.column[e]);
    result.weights.value.push_back(side * network_.weights.value[e]);
  }
  result.weights.row_begin.push_back(result.weights.nonzeros());
  result.output_signs.push_back(network_.output_signs[neuron]);
}

}  // namespace

SparseNetwork OrientNeurons(const SparseNetwork& network) {
  SparseNetwork oriented = network;
  for (size_t j = 0; j < static_cast<size_t>(network.hidden_width()); ++j) {
    const size_t begin = Begin(network, j);
    const size_t end = Begin(network, j + 1);
    double largest = 0;
    for (size_t e = begin; e < end; ++e) {
      if (std::abs(network.weights.value[e]) > std::abs(largest)) {
        largest = network.weights.value[e];
      }
    }
    if (!(largest < 0)) continue;
    for (size_t e = begin; e < end; ++e) {
      oriented.linear[static_cast<size_t>(network.weights.column[e])] +=
          network.output_signs[j] * network.weights.value[e];
      oriented.weights.value[e] = -network.weights.value[e];
    }
  }
  return oriented;
}

namespace {

// The sides of least cost over all chances.
Sides CheapestSides(const SparseNetwork& network, OutputSigns signs, Leftover leftover,
                    double nothing) {
  std::optional<Sides> best;
  for (const double max_chance : kMaxChances) {
    Sides sides(network, signs, leftover, nothing, max_chance);
    sides.DecideByInput();
    sides.ChooseUndecided();
    if (!best || sides.TotalCost() < best->TotalCost()) best.emplace(std::move(sides));
  }
  return *std::move(best);
}

}  // namespace

SparseNetwork AbsorbLinear(const SparseNetwork& network, OutputSigns signs) {
  return CheapestSides(network, signs, Leftover::kNeurons, kNothing).Network();
}

SparseNetwork SparsestSides(const SparseNetwork& network, double nothing) {
  return CheapestSides(network, OutputSigns::kMixed, Leftover::kStays, nothing)
      .NetworkBesideLinear();
}

}  // namespace thresher
