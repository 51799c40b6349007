#include "core/samples/split.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string_view>
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

// The rows by their inputs: of equal ones the number of the first of them, numbers from 0 on in
// the order of first rows.
struct DistinctRows {
  std::vector<int64_t> number;
  int64_t count = 0;
};

DistinctRows NumberByInputs(const Samples& samples) {
  const auto bytes_of = [&samples](int64_t row) {
    return std::string_view(
        reinterpret_cast<const char*>(samples.inputs.data() + row * samples.num_inputs),
        samples.num_inputs * sizeof(float));
  };
  const int64_t n = samples.num_samples;
  std::vector<std::pair<size_t, int64_t>> hashes;
  hashes.reserve(n);
  for (int64_t i = 0; i < n; ++i) {
    hashes.emplace_back(std::hash<std::string_view>()(bytes_of(i)), i);
  }
  std::sort(hashes.begin(), hashes.end());
  std::vector<int64_t> first(n);
  for (int64_t k = 0; k < n; ++k) {
    const int64_t row = hashes[k].second;
    const bool repeats = k > 0 && hashes[k].first == hashes[k - 1].first &&
                         bytes_of(row) == bytes_of(hashes[k - 1].second);
    first[row] = repeats ? first[hashes[k - 1].second] : row;
  }
  DistinctRows distinct;
  distinct.number.resize(n);
  for (int64_t i = 0; i < n; ++i) {
    distinct.number[i] = first[i] == i ? distinct.count++ : distinct.number[first[i]];
  }
  return distinct;
}

// The rows whose number is held out, and the others.
SplitSamples SplitRows(const Samples& samples, const std::vector<int64_t>& number,
                       const std::vector<bool>& is_held_out) {
  const int64_t num_held_out = std::count_if(number.begin(), number.end(),
                                             [&is_held_out](int64_t k) { return is_held_out[k]; });
  SplitSamples split = {.training = EmptyLike(samples, samples.num_samples - num_held_out),
                        .held_out = EmptyLike(samples, num_held_out)};
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    AppendRow(samples, i, is_held_out[number[i]] ? split.held_out : split.training);
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
  const auto share_of = [held_out_fraction](int64_t count) {
    return static_cast<int64_t>(std::floor(held_out_fraction * static_cast<double>(count)));
  };
  if (share_of(samples.num_samples) >= samples.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat("held_out_fraction: ", held_out_fraction, " of ",
                                                   samples.num_samples,
                                                   " samples leaves none for training"));
  }

  const DistinctRows distinct = NumberByInputs(samples);
  std::vector<bool> is_held_out(distinct.count, false);
  for (const int64_t row : ShuffledRows(distinct.count, share_of(distinct.count), seed)) {
    is_held_out[row] = true;
  }
  return SplitRows(samples, distinct.number, is_held_out);
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
  DistinctRows distinct = NumberByInputs(samples);
  if (distinct.count < num_folds) {
    std::iota(distinct.number.begin(), distinct.number.end(), int64_t{0});
    distinct.count = n;
  }
  const std::vector<int64_t> rows = ShuffledRows(distinct.count, distinct.count, seed);
  std::vector<bool> is_held_out(distinct.count, false);
  for (int64_t i = fold; i < distinct.count; i += num_folds) is_held_out[rows[i]] = true;
  return SplitRows(samples, distinct.number, is_held_out);
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
