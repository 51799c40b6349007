#include "core/recovery/support.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace thresher {
namespace {

bool ByKey(const KeyedValue& a, const KeyedValue& b) { return a.key < b.key; }

}  // namespace

NeuronRows GroupByNeuron(const SparseVector& entries, int64_t num_columns) {
  NeuronRows grouped;
  grouped.rows.column.reserve(entries.size());
  grouped.rows.value.reserve(entries.size());
  for (const KeyedValue& entry : entries) {
    const int64_t neuron = entry.key / num_columns;
    if (grouped.neurons.empty() || grouped.neurons.back() != neuron) {
      grouped.neurons.push_back(neuron);
      grouped.rows.row_begin.push_back(grouped.rows.row_begin.back());
    }
    grouped.rows.column.push_back(static_cast<int32_t>(entry.key % num_columns));
    grouped.rows.value.push_back(entry.value);
    ++grouped.rows.row_begin.back();
  }
  return grouped;
}

SparseVector HardThreshold(int64_t count, SparseVector entries, TieRule ties) {
  std::erase_if(entries, [](const KeyedValue& entry) { return entry.value == 0; });
  KeepLargest(count, entries, ties);
  std::sort(entries.begin(), entries.end(), ByKey);
  return entries;
}

SparseVector ReciprocalThreshold(int64_t count, int64_t nonzeros, SparseVector entries) {
  if (static_cast<int64_t>(entries.size()) <= count || nonzeros >= count) {
    return HardThreshold(count, std::move(entries));
  }
  SparseVector kept = HardThreshold(count + 1, std::move(entries));
  if (static_cast<int64_t>(kept.size()) <= count) return kept;
  // The entry that H_count drops: of the least magnitude, among equals the highest key.
  const auto dropped =
      std::min_element(kept.begin(), kept.end(), [](const KeyedValue& a, const KeyedValue& b) {
        const double magnitude_a = std::abs(a.value);
        const double magnitude_b = std::abs(b.value);
        return magnitude_a != magnitude_b ? magnitude_a < magnitude_b : a.key > b.key;
      });
  const double rho = static_cast<double>(nonzeros) / static_cast<double>(count);
  const double shrink = (1 - rho * rho) * dropped->value * dropped->value;
  kept.erase(dropped);
  for (KeyedValue& entry : kept) {
    const double magnitude = std::abs(entry.value);
    const double root = std::sqrt(magnitude * magnitude - shrink);
    entry.value = std::copysign((magnitude + root) / 2, entry.value);
  }
  return kept;
}

SparseVector UnionOfSupports(const SparseVector& a, const SparseVector& b) {
  SparseVector both;
  both.reserve(a.size() + b.size());
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both), ByKey);
  for (KeyedValue& entry : both) entry.value = 0;
  return both;
}

SparseVector Restrict(const SparseVector& values, const SparseVector& support) {
  SparseVector restricted = support;
  auto it = values.begin();
  for (KeyedValue& entry : restricted) {
    while (it != values.end() && it->key < entry.key) ++it;
    entry.value = it != values.end() && it->key == entry.key ? it->value : 0;
  }
  return restricted;
}

bool SameSupport(const SparseVector& a, const SparseVector& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const KeyedValue& x, const KeyedValue& y) { return x.key == y.key; });
}

int64_t CountEntered(const SparseVector& a, const SparseVector& b) {
  int64_t entered = 0;
  auto it = b.begin();
  for (const KeyedValue& entry : a) {
    while (it != b.end() && it->key < entry.key) ++it;
    if (it == b.end() || it->key != entry.key) ++entered;
  }
  return entered;
}

std::vector<int64_t> KeysOf(const SparseVector& entries) {
  std::vector<int64_t> keys(entries.size());
  std::transform(entries.begin(), entries.end(), keys.begin(),
                 [](const KeyedValue& entry) { return entry.key; });
  return keys;
}

std::vector<double> ValuesOf(const SparseVector& entries) {
  std::vector<double> values(entries.size());
  std::transform(entries.begin(), entries.end(), values.begin(),
                 [](const KeyedValue& entry) { return entry.value; });
  return values;
}

}  // namespace thresher
