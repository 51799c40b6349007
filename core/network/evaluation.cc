#include "core/network/evaluation.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

// Built for each instruction set and chosen at run time: the sums are the same, since a lane holds
// one sample or one row and multiplications and additions are not contracted.
#if defined(__x86_64__)
#define THRESHER_INLINE inline __attribute__((always_inline))
#define THRESHER_TARGET(set) __attribute__((target(set)))
#endif

namespace thresher {
namespace {

constexpr int64_t kBlockSamples = 32;
// Fewer samples are faster one by one. Measured: tests/benchmark/README.md.
constexpr int64_t kLeastBlock = 12;
// Beyond, a block of everything would be much larger than the network itself.
constexpr int64_t kMaxBlockUnits = int64_t{1} << 20;

int64_t RoundUp(int64_t value) { return (value + kSliceRows - 1) / kSliceRows * kSliceRows; }

// Eight doubles, which the compiler cuts as the instruction set needs.
using Lanes [[gnu::vector_size(64)]] = double;
constexpr int64_t kLanes = kSliceRows;
static_assert(kLanes == 8 && kBlockSamples == 4 * kLanes);

// Between lanes and arrays, which are not aligned for them.
THRESHER_INLINE void Load(const double* values, Lanes& lanes) {
  std::memcpy(&lanes, values, sizeof(lanes));
}
THRESHER_INLINE void Store(const Lanes& lanes, double* values) {
  std::memcpy(values, &lanes, sizeof(lanes));
}

// Not std::max: a NaN among the inputs must show in the output.
THRESHER_INLINE double Relu(double value) { return value <= 0 ? 0.0 : value; }

// What a layer reads on one sample, a 0 behind its slots, and what its rows give; `rows` is padded.
template <typename Slot>
THRESHER_INLINE void SparseOnSample(const PackedLayer& layer, const Slot* slots,
                                    const double* __restrict units, double* __restrict rows) {
  const auto num_slices = static_cast<int64_t>(layer.slice_begin.size()) - 1;
  for (int64_t s = 0; s < num_slices; ++s) {
    double sums[kSliceRows];
    const double* constant = layer.constant.data() + s * kSliceRows;
    for (int64_t r = 0; r < kSliceRows; ++r) sums[r] = constant[r];
    for (int64_t e = layer.slice_begin[s]; e < layer.slice_begin[s + 1]; e += kSliceRows) {
      const double* value = layer.value.data() + e;
      const Slot* slot = slots + e;
      for (int64_t r = 0; r < kSliceRows; ++r) sums[r] += value[r] * units[slot[r]];
    }
    for (int64_t r = 0; r < kSliceRows; ++r) rows[s * kSliceRows + r] = sums[r];
  }
}

// The first layer on one sample, over the columns that are not 0 alone.
void ColumnsOnSample(const PackedLayer& layer, const PackedColumns& columns, const double* units,
                     double* __restrict rows) {
  std::copy(layer.constant.begin(), layer.constant.end(), rows);
  for (int64_t q = 0; q < layer.num_slots; ++q) {
    const double unit = units[q];
    if (unit == 0) continue;
    for (int32_t e = columns.column_begin[q]; e < columns.column_begin[q + 1]; ++e) {
      rows[columns.row[e]] += columns.value[e] * unit;
    }
  }
}

// kSlices slices of a dense layer, whose sums stay in registers.
template <int64_t kSlices>
THRESHER_INLINE void DenseSlicesOnSample(const PackedLayer& layer, int64_t first,
                                         const double* units, double* rows) {
  const int64_t padded = RoundUp(layer.num_rows);
  Lanes sums[kSlices];
  for (int64_t s = 0; s < kSlices; ++s) {
    Load(layer.constant.data() + first + s * kSliceRows, sums[s]);
  }
  for (int64_t q = 0; q < layer.num_slots; ++q) {
    const double* value = layer.value.data() + q * padded + first;
    for (int64_t s = 0; s < kSlices; ++s) {
      Lanes weights;
      Load(value + s * kSliceRows, weights);
      sums[s] += weights * units[layer.dense_slots[q]];
    }
  }
  for (int64_t s = 0; s < kSlices; ++s) Store(sums[s], rows + first + s * kSliceRows);
}

THRESHER_INLINE void DenseOnSample(const PackedLayer& layer, const double* units, double* rows) {
  constexpr int64_t kSlices = 4;
  int64_t first = 0;
  for (; first + kSlices * kSliceRows <= layer.num_rows; first += kSlices * kSliceRows) {
    DenseSlicesOnSample<kSlices>(layer, first, units, rows);
  }
  for (; first < layer.num_rows; first += kSliceRows) {
    DenseSlicesOnSample<1>(layer, first, units, rows);
  }
}

THRESHER_INLINE void LayerOnSample(const PackedLayer& layer, const double* units, double* rows) {
  if (layer.dense) {
    DenseOnSample(layer, units, rows);
  } else if (!layer.narrow_slots.empty()) {
    SparseOnSample(layer, layer.narrow_slots.data(), units, rows);
  } else {
    SparseOnSample(layer, layer.wide_slots.data(), units, rows);
  }
}

// The same on a block: kBlockSamples values a slot, and a row.
template <typename Slot>
THRESHER_INLINE void SparseOnBlock(const PackedLayer& layer, const Slot* slots,
                                   const double* __restrict units, double* __restrict rows) {
  for (int64_t row = 0; row < layer.num_rows; ++row) {
    Lanes sums[kBlockSamples / kLanes];
    for (Lanes& sum : sums) sum = Lanes{} + layer.constant[row];
    int64_t e = layer.slice_begin[row / kSliceRows] + row % kSliceRows;
    for (int32_t k = 0; k < layer.row_entries[row]; ++k, e += kSliceRows) {
      const double weight = layer.value[e];
      const double* unit = units + static_cast<int64_t>(slots[e]) * kBlockSamples;
      for (int64_t v = 0; v < kBlockSamples / kLanes; ++v) {
        Lanes values;
        Load(unit + v * kLanes, values);
        sums[v] += weight * values;
      }
    }
    for (int64_t v = 0; v < kBlockSamples / kLanes; ++v) {
      Store(sums[v], rows + row * kBlockSamples + v * kLanes);
    }
  }
}

THRESHER_INLINE void DenseOnBlock(const PackedLayer& layer, const double* __restrict units,
                                  double* __restrict rows) {
  const int64_t padded = RoundUp(layer.num_rows);
  for (int64_t first = 0; first < layer.num_rows; first += kSliceRows) {
    const int64_t count = std::min(kSliceRows, layer.num_rows - first);
    for (int64_t i0 = 0; i0 < kBlockSamples; i0 += kLanes) {
      Lanes sums[kSliceRows];
      for (int64_t r = 0; r < kSliceRows; ++r) sums[r] = Lanes{} + layer.constant[first + r];
      for (int64_t q = 0; q < layer.num_slots; ++q) {
        Lanes unit;
        Load(units + layer.dense_slots[q] * kBlockSamples + i0, unit);
        const double* value = layer.value.data() + q * padded + first;
        for (int64_t r = 0; r < kSliceRows; ++r) sums[r] += value[r] * unit;
      }
      for (int64_t r = 0; r < count; ++r) Store(sums[r], rows + (first + r) * kBlockSamples + i0);
    }
  }
}

THRESHER_INLINE void LayerOnBlock(const PackedLayer& layer, const double* units, double* rows) {
  if (layer.dense) {
    DenseOnBlock(layer, units, rows);
  } else if (!layer.narrow_slots.empty()) {
    SparseOnBlock(layer, layer.narrow_slots.data(), units, rows);
  } else {
    SparseOnBlock(layer, layer.wide_slots.data(), units, rows);
  }
}

struct LayerKernels {
  void (*on_sample)(const PackedLayer& layer, const double* units, double* rows);
  void (*on_block)(const PackedLayer& layer, const double* units, double* rows);
};

void BaselineOnSample(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnSample(layer, units, rows);
}
void BaselineOnBlock(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnBlock(layer, units, rows);
}
THRESHER_TARGET("avx2")
void Avx2OnSample(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnSample(layer, units, rows);
}
THRESHER_TARGET("avx2")
void Avx2OnBlock(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnBlock(layer, units, rows);
}
THRESHER_TARGET("avx512f")
void Avx512OnBlock(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnBlock(layer, units, rows);
}
THRESHER_TARGET("avx512f")
void Avx512OnSample(const PackedLayer& layer, const double* units, double* rows) {
  LayerOnSample(layer, units, rows);
}

LayerKernels ChooseKernels() {
  if (__builtin_cpu_supports("avx512f")) return {Avx512OnSample, Avx512OnBlock};
  if (__builtin_cpu_supports("avx2")) return {Avx2OnSample, Avx2OnBlock};
  return {BaselineOnSample, BaselineOnBlock};
}

// slot_of has an entry a column but the constant's; those that no row reads are not looked at.
PackedLayer PackLayer(const SparseRows& rows, const std::vector<int32_t>& slot_of,
                      int64_t num_columns, int64_t num_slots) {
  PackedLayer layer = {.num_rows = rows.num_rows(), .num_slots = num_slots};
  // The constant's column is the largest, so it stands last in its row.
  const auto entries_of = [&](int64_t row) {
    const int64_t begin = rows.row_begin[row];
    const int64_t end = rows.row_begin[row + 1];
    return end - begin - (end > begin && rows.column[end - 1] == num_columns ? 1 : 0);
  };
  layer.row_of.resize(layer.num_rows);
  std::iota(layer.row_of.begin(), layer.row_of.end(), 0);
  std::stable_sort(layer.row_of.begin(), layer.row_of.end(),
                   [&](int32_t a, int32_t b) { return entries_of(a) > entries_of(b); });
  const int64_t padded = RoundUp(layer.num_rows);
  layer.constant.resize(padded);
  layer.row_entries.resize(layer.num_rows);
  int64_t entries = 0;
  for (int64_t at = 0; at < layer.num_rows; ++at) {
    const int64_t row = layer.row_of[at];
    layer.row_entries[at] = static_cast<int32_t>(entries_of(row));
    entries += entries_of(row);
    const int64_t end = rows.row_begin[row + 1];
    if (rows.row_begin[row] + entries_of(row) < end) layer.constant[at] = rows.value[end - 1];
  }
  layer.dense =
      static_cast<double>(entries) >=
      kDenseEvaluationShare * static_cast<double>(layer.num_rows) * static_cast<double>(num_slots);
  if (layer.dense) {
    layer.dense_slots.assign(slot_of.begin(), slot_of.end());
    layer.value.resize(padded * num_slots);
    for (int64_t at = 0; at < layer.num_rows; ++at) {
      const int64_t begin = rows.row_begin[layer.row_of[at]];
      for (int64_t e = begin; e < begin + layer.row_entries[at]; ++e) {
        layer.value[rows.column[e] * padded + at] = rows.value[e];
      }
    }
    return layer;
  }
  // Slices are as long as their first row; the rest reads the 0 behind the slots.
  layer.slice_begin = {0};
  for (int64_t at = 0; at < layer.num_rows; at += kSliceRows) {
    layer.slice_begin.push_back(layer.slice_begin.back() + kSliceRows * layer.row_entries[at]);
  }
  const int64_t size = layer.slice_begin.back();
  layer.value.resize(size);
  const bool narrow = num_slots <= std::numeric_limits<uint16_t>::max();
  if (narrow) {
    layer.narrow_slots.assign(size, static_cast<uint16_t>(num_slots));
  } else {
    layer.wide_slots.assign(size, static_cast<uint32_t>(num_slots));
  }
  for (int64_t at = 0; at < layer.num_rows; ++at) {
    const int64_t begin = rows.row_begin[layer.row_of[at]];
    for (int32_t k = 0; k < layer.row_entries[at]; ++k) {
      const int64_t to = layer.slice_begin[at / kSliceRows] + k * kSliceRows + at % kSliceRows;
      const int32_t slot = slot_of[rows.column[begin + k]];
      layer.value[to] = rows.value[begin + k];
      if (narrow) {
        layer.narrow_slots[to] = static_cast<uint16_t>(slot);
      } else {
        layer.wide_slots[to] = static_cast<uint32_t>(slot);
      }
    }
  }
  return layer;
}

// The entries of the layer below its constants; `rows` are those that it was packed from.
PackedColumns PackColumns(const SparseRows& rows, const PackedLayer& layer) {
  PackedColumns columns;
  if (layer.dense || rows.nonzeros() > std::numeric_limits<int32_t>::max()) return columns;
  columns.column_begin.assign(layer.num_slots + 1, 0);
  for (const int32_t column : rows.column) {
    if (column < layer.num_slots) ++columns.column_begin[column + 1];
  }
  std::partial_sum(columns.column_begin.begin(), columns.column_begin.end(),
                   columns.column_begin.begin());
  columns.row.resize(columns.column_begin.back());
  columns.value.resize(columns.column_begin.back());
  std::vector<int32_t> next(columns.column_begin.begin(), columns.column_begin.end() - 1);
  for (int64_t at = 0; at < layer.num_rows; ++at) {
    const int64_t begin = rows.row_begin[layer.row_of[at]];
    for (int64_t e = begin; e < begin + layer.row_entries[at]; ++e) {
      const int32_t to = next[rows.column[e]]++;
      columns.row[to] = static_cast<int32_t>(at);
      columns.value[to] = rows.value[e];
    }
  }
  return columns;
}

absl::Status ValidateSizes(const EvaluationPlan& plan, InputView inputs,
                           std::span<const double> outputs) {
  if (inputs.num_inputs != plan.num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "inputs have ", inputs.num_inputs, " columns, but the network takes ", plan.num_inputs));
  }
  if (inputs.num_samples < 0 || (inputs.num_samples > 0 && inputs.data == nullptr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("inputs: no data for num_samples = ", inputs.num_samples));
  }
  // By division, as the product could overflow.
  const auto entries = static_cast<int64_t>(outputs.size());
  if (entries % plan.num_outputs != 0 || entries / plan.num_outputs != inputs.num_samples) {
    return absl::InvalidArgumentError(
        absl::StrCat("outputs have ", entries, " entries for ", inputs.num_samples,
                     " samples and num_outputs = ", plan.num_outputs));
  }
  return absl::OkStatus();
}

double LinearTerm(const EvaluationPlan& plan, std::span<const float> row) {
  double sum = 0;
  for (size_t q = 0; q < plan.linear.size(); ++q) {
    sum += plan.linear[q] * (q < row.size() ? row[q] : 1.0);
  }
  return sum;
}

// The inputs in use of a block of samples. Some rows at a time, so that a slot's values are written
// next to each other.
void GatherBlock(const EvaluationPlan& plan, InputView inputs, int64_t first, int64_t num_samples,
                 double* units) {
  constexpr int64_t kTurned = 4;
  const auto num_used = static_cast<int64_t>(plan.used_inputs.size());
  for (int64_t i0 = 0; i0 < kBlockSamples; i0 += kTurned) {
    const float* row[kTurned];
    for (int64_t i = 0; i < kTurned; ++i) {
      // Behind the samples the last one is repeated.
      row[i] = inputs.row(first + std::min(i0 + i, num_samples - 1)).data();
    }
    for (int64_t u = 0; u < num_used;) {
      const int32_t q = plan.used_inputs[u];
      double* unit = units + u * kBlockSamples + i0;
      if (u + kTurned > num_used || plan.used_inputs[u + kTurned - 1] != q + kTurned - 1) {
        for (int64_t i = 0; i < kTurned; ++i) unit[i] = row[i][q];
        ++u;
        continue;
      }
      __m128 a = _mm_loadu_ps(row[0] + q);
      __m128 b = _mm_loadu_ps(row[1] + q);
      __m128 c = _mm_loadu_ps(row[2] + q);
      __m128 d = _mm_loadu_ps(row[3] + q);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      for (const __m128& turned : {a, b, c, d}) {
        _mm_storeu_pd(unit, _mm_cvtps_pd(turned));
        _mm_storeu_pd(unit + 2, _mm_cvtps_pd(_mm_movehl_ps(turned, turned)));
        unit += kBlockSamples;
      }
      u += kTurned;
    }
  }
}

// `num_samples` samples from `first` on, `stride` values a slot or row: 1, or kBlockSamples.
void EvaluateSome(const EvaluationPlan& plan, InputView inputs, int64_t first, int64_t num_samples,
                  int64_t stride, void (*layer_kernel)(const PackedLayer&, const double*, double*),
                  double* units, double* rows, std::span<double> outputs) {
  const auto num_used = static_cast<int64_t>(plan.used_inputs.size());
  bool few_inputs = false;
  if (stride == 1) {
    const float* row = inputs.row(first).data();
    int64_t num_set = 0;
    for (int64_t u = 0; u < num_used; ++u) {
      units[u] = row[plan.used_inputs[u]];
      num_set += units[u] == 0 ? 0 : 1;
    }
    few_inputs = !plan.first_columns.column_begin.empty() &&
                 static_cast<double>(num_set) <= kFewInputsShare * static_cast<double>(num_used);
  } else {
    GatherBlock(plan, inputs, first, num_samples, units);
  }
  std::fill_n(units + num_used * stride, stride, 0.0);
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const PackedLayer& layer = plan.layers[l];
    if (l == 0 && few_inputs) {
      ColumnsOnSample(layer, plan.first_columns, units, rows);
    } else {
      layer_kernel(layer, units, rows);
    }
    if (l + 1 == plan.layers.size() && !plan.fused) break;
    const int64_t size = layer.num_rows * stride;
    for (int64_t k = 0; k < size; ++k) rows[k] = Relu(rows[k]);
    std::fill_n(rows + size, stride, 0.0);
    std::swap(units, rows);
  }
  for (int64_t i = 0; i < num_samples; ++i) {
    double* output = outputs.data() + (first + i) * plan.num_outputs;
    if (!plan.fused) {
      const PackedLayer& last = plan.layers.back();
      for (int64_t at = 0; at < last.num_rows; ++at) {
        output[last.row_of[at]] = rows[at * stride + i];
      }
      continue;
    }
    double sum = 0;  // over `units`, the last layer
    for (size_t j = 0; j < plan.output_signs.size(); ++j) {
      sum += plan.output_signs[j] * units[plan.output_slots[j] * stride + i];
    }
    if (!plan.linear.empty()) sum += LinearTerm(plan, inputs.row(first + i));
    output[0] = sum;
  }
}

}  // namespace

absl::StatusOr<EvaluationPlan> MakeEvaluationPlan(const SparseNetwork& network) {
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  EvaluationPlan plan = {.num_inputs = network.num_inputs,
                         .num_outputs = NumOutputs(network),
                         .fused = IsFused(network),
                         .output_signs = network.output_signs,
                         .linear = network.linear};
  plan.used_inputs = network.weights.column;
  std::sort(plan.used_inputs.begin(), plan.used_inputs.end());
  plan.used_inputs.erase(std::unique(plan.used_inputs.begin(), plan.used_inputs.end()),
                         plan.used_inputs.end());
  // The constant.
  if (!plan.used_inputs.empty() && plan.used_inputs.back() == network.num_inputs) {
    plan.used_inputs.pop_back();
  }
  // The first layer's columns become slots, so that nothing is as large as the number of inputs.
  SparseRows first = network.weights;
  const auto num_used = static_cast<int64_t>(plan.used_inputs.size());
  for (int32_t& column : first.column) {
    column = static_cast<int32_t>(
        std::lower_bound(plan.used_inputs.begin(), plan.used_inputs.end(), column) -
        plan.used_inputs.begin());
  }
  std::vector<int32_t> slot_of(num_used);
  std::iota(slot_of.begin(), slot_of.end(), 0);
  plan.layers.push_back(PackLayer(first, slot_of, num_used, num_used));
  plan.first_columns = PackColumns(first, plan.layers.front());
  for (const SparseRows& rows : network.upper_layers) {
    const PackedLayer& below = plan.layers.back();
    slot_of.resize(below.num_rows);
    for (int64_t at = 0; at < below.num_rows; ++at) {
      slot_of[below.row_of[at]] = static_cast<int32_t>(at);
    }
    plan.layers.push_back(PackLayer(rows, slot_of, below.num_rows, below.num_rows));
  }
  if (plan.fused) {
    const std::vector<int32_t>& row_of = plan.layers.back().row_of;
    plan.output_slots.resize(row_of.size());
    for (size_t at = 0; at < row_of.size(); ++at) {
      plan.output_slots[row_of[at]] = static_cast<int64_t>(at);
    }
  }
  return plan;
}

absl::Status Evaluate(const SparseNetwork& network, InputView inputs, std::span<double> outputs) {
  absl::StatusOr<EvaluationPlan> plan = MakeEvaluationPlan(network);
  if (!plan.ok()) return plan.status();
  return Evaluate(*plan, inputs, outputs);
}

absl::Status Evaluate(const EvaluationPlan& plan, InputView inputs, std::span<double> outputs) {
  if (absl::Status status = ValidateSizes(plan, inputs, outputs); !status.ok()) return status;
  static const LayerKernels kernels = ChooseKernels();
  auto widest = static_cast<int64_t>(plan.used_inputs.size());
  int64_t all_units = widest;
  for (const PackedLayer& layer : plan.layers) {
    widest = std::max(widest, RoundUp(layer.num_rows));
    all_units += layer.num_rows;
  }
  // One more, the 0 behind the slots.
  const bool in_blocks = inputs.num_samples >= kLeastBlock && all_units <= kMaxBlockUnits;
  const int64_t stride = in_blocks ? kBlockSamples : 1;
  // All that is read is written before.
  const auto units = std::make_unique_for_overwrite<double[]>((widest + 1) * stride);
  const auto rows = std::make_unique_for_overwrite<double[]>((widest + 1) * stride);
  int64_t first = 0;
  for (; in_blocks && first + kLeastBlock <= inputs.num_samples; first += kBlockSamples) {
    EvaluateSome(plan, inputs, first, std::min(kBlockSamples, inputs.num_samples - first),
                 kBlockSamples, kernels.on_block, units.get(), rows.get(), outputs);
  }
  for (; first < inputs.num_samples; ++first) {
    EvaluateSome(plan, inputs, first, 1, 1, kernels.on_sample, units.get(), rows.get(), outputs);
  }
  return absl::OkStatus();
}

}  // namespace thresher
