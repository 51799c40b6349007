#include "core/samples/split.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/samples/unlabelled.h"

namespace thresher {
namespace {

// "split" in ASCII: apart from every other use of the same seed.
constexpr uint64_t kSplitStream = 0x73706c6974000000;
// "subset", so that a subset and its split are independent.
constexpr uint64_t kSubsetStream = 0x7375627365740000;

Samples EmptyLike(const Samples& samples, int64_t num_samples) {
  Samples part;
  part.num_inputs = samples.num_inputs;
  part.num_outputs = samples.num_outputs;
  part.class_names = samples.class_names;
  part.scaling = samples.scaling;
  part.inputs.reserve(num_samples * samples.num_inputs);
  part.targets.reserve(num_samples * samples.num_outputs);
  return part;
}

void AppendRow(const Samples& samples, int64_t row, Samples& part) {
  const auto inputs = samples.inputs.begin() + row * samples.num_inputs;
  const auto targets = samples.targets.begin() + row * samples.num_outputs;
  part.inputs.append(inputs, inputs + samples.num_inputs);
  part.targets.append(targets, targets + samples.num_outputs);
  ++part.num_samples;
}

// The first `count` rows of a random order of n: that many steps of a Fisher-Yates shuffle.
std::vector<int64_t> ShuffledRows(int64_t n, int64_t count, uint64_t seed,
                                  uint64_t stream = kSplitStream) {
  std::vector<int64_t> row(n);
  std::iota(row.begin(), row.end(), int64_t{0});
  CounterRandom random(seed, stream);
  for (int64_t i = 0; i < count; ++i) {
    const auto remaining = static_cast<uint64_t>(n - i);
    std::swap(row[i], row[i + static_cast<int64_t>(random.NextBelow(remaining))]);
  }
  row.resize(count);
  return row;
}

SplitSamples SplitRows(const Samples& samples, const std::vector<bool>& is_held_out,
                       int64_t num_held_out) {
  SplitSamples split = {.training = EmptyLike(samples, samples.num_samples - num_held_out),
                        .held_out = EmptyLike(samples, num_held_out)};
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    AppendRow(samples, i, is_held_out[i] ? split.held_out : split.training);
  }
  return split;
}

}  // namespace

absl::StatusOr<SplitSamples> Split(const Samples& samples, double held_out_fraction,
                                   uint64_t seed) {
  if (absl::Status status = ValidateLabelledOrNot(samples); !status.ok()) return status;
  if (!(held_out_fraction >= 0 && held_out_fraction < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "held_out_fraction: must be at least 0 and less than 1, is ", held_out_fraction));
  }
  const int64_t num_held_out = static_cast<int64_t>(
      std::floor(held_out_fraction * static_cast<double>(samples.num_samples)));
  if (num_held_out >= samples.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat("held_out_fraction: ", held_out_fraction, " of ",
                                                   samples.num_samples,
                                                   " samples leaves none for training"));
  }

  std::vector<bool> is_held_out(samples.num_samples, false);
  for (const int64_t row : ShuffledRows(samples.num_samples, num_held_out, seed)) {
    is_held_out[row] = true;
  }
  return SplitRows(samples, is_held_out, num_held_out);
}

absl::StatusOr<SplitSamples> SplitFold(const Samples& samples, int64_t num_folds, int64_t fold,
                                       uint64_t seed) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  const int64_t n = samples.num_samples;
  if (num_folds < 2 || num_folds > n) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_folds: must be between 2 and the number of samples, ", n, ", is ", num_folds));
  }
  if (fold < 0 || fold >= num_folds) {
    return absl::InvalidArgumentError(
        absl::StrCat("fold: must be at least 0 and less than ", num_folds, ", is ", fold));
  }
  const std::vector<int64_t> rows = ShuffledRows(n, n, seed);
  std::vector<bool> is_held_out(n, false);
  int64_t num_held_out = 0;
  for (int64_t i = fold; i < n; i += num_folds, ++num_held_out) is_held_out[rows[i]] = true;
  return SplitRows(samples, is_held_out, num_held_out);
}

absl::StatusOr<Samples> RandomSubset(const Samples& samples, int64_t count, uint64_t seed) {
  if (absl::Status status = ValidateSamples(samples); !status.ok()) return status;
  if (count < 1 || count > samples.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat("num_samples: must be between 1 and the ",
                                                   samples.num_samples, " there are, is ", count));
  }
  std::vector<int64_t> rows = ShuffledRows(samples.num_samples, count, seed, kSubsetStream);
  std::sort(rows.begin(), rows.end());
  Samples subset = EmptyLike(samples, count);
  for (const int64_t row : rows) AppendRow(samples, row, subset);
  return subset;
}

}  // namespace thresher
