#include "core/kernels/gradient_screen.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/kernel_table.h"

namespace thresher {
namespace {

// Where fewer gates can be left out, looking for the others costs more than it saves.
constexpr double kLeastShareLeftOut = 0.1;
// Of the sums of squares and of the path, in double.
constexpr double kDoubleRounding = 1e-12;

double Norm(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

}  // namespace

GradientScreen::GradientScreen(const Design& design) {
  for (int64_t q = 0; q < design.num_columns; ++q) {
    const float* column = design.columns.get() + q * design.padded_samples();
    double norm2 = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      norm2 += static_cast<double>(column[i]) * column[i];
    }
    largest_column_norm_ = std::max(largest_column_norm_, std::sqrt(norm2));
  }
  largest_column_norm_ *= 1 + kDoubleRounding;
  // k single-precision operations on the way of a term into its sum cost it k u / (1 - k u)
  // relative, in any order of summation: the residual's rounding, the product, the additions.
  int64_t longest = 0;
  for (const RowChunk& chunk : design.chunks) longest = std::max(longest, chunk.num_words);
  const double operations = static_cast<double>(longest * kSamplesPerWord + 2) * 0x1p-24;
  rounding_ =
      operations < 0.5 ? operations / (1 - operations) : std::numeric_limits<double>::infinity();
  underflow_ = static_cast<double>(design.padded_samples()) * 0x1p-126;
}

std::optional<std::vector<int64_t>> GradientScreen::BeginPass(std::span<const double> residual,
                                                              double residual_unit,
                                                              int64_t num_gates, int64_t wanted) {
  // Nothing is known of the gates before a pass over all of them has ended.
  const bool known = !pass_on_ && std::isfinite(rounding_) &&
                     static_cast<int64_t>(offsets_.size()) == num_gates &&
                     last_residual_.size() == residual.size();
  double moved = 0;
  if (known) {
    for (size_t i = 0; i < residual.size(); ++i) {
      moved += (residual[i] - last_residual_[i]) * (residual[i] - last_residual_[i]);
    }
    moved = std::sqrt(moved) * (1 + kDoubleRounding);
    path_ += moved;
  } else {
    path_ = 0;
    offsets_.assign(num_gates, 0.0);
  }
  slack_ = largest_column_norm_ * (rounding_ * Norm(residual) + kDoubleRounding * path_) +
           underflow_ * residual_unit;
  // That many entries are certain to reach this magnitude.
  const double threshold = known && certain_magnitude_ > 0 && wanted <= wanted_
                               ? certain_magnitude_ - largest_column_norm_ * moved - slack_
                               : 0;
  last_residual_.assign(residual.begin(), residual.end());
  wanted_ = wanted;
  pass_on_ = true;
  num_left_out_ = 0;
  if (!(threshold > 0)) return std::nullopt;
  const double least_offset = threshold - slack_ - largest_column_norm_ * path_;
  const int64_t possible = std::count_if(offsets_.begin(), offsets_.end(),
                                         [&](double offset) { return offset >= least_offset; });
  if (static_cast<double>(num_gates - possible) <
      kLeastShareLeftOut * static_cast<double>(num_gates)) {
    return std::nullopt;
  }
  std::vector<int64_t> positions;
  positions.reserve(possible);
  for (int64_t k = 0; k < num_gates; ++k) {
    if (offsets_[k] >= least_offset) positions.push_back(k);
  }
  num_left_out_ = num_gates - possible;
  return positions;
}

void GradientScreen::NoteGate(int64_t position, double largest) {
  offsets_[position] = largest + slack_ - largest_column_norm_ * path_;
}

void GradientScreen::EndPass(double smallest_wanted) {
  certain_magnitude_ = smallest_wanted > 0 ? smallest_wanted - slack_ : 0;
  pass_on_ = false;
}

}  // namespace thresher
