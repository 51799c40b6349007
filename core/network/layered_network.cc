#include "core/network/layered_network.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace thresher {
namespace {

// Columns are 32-bit, and the constant input needs one.
constexpr int64_t kMaxUnits = std::numeric_limits<int32_t>::max() - 1;

constexpr int64_t kBlockSamples = 64;
// One unit on a block of samples.
using SampleBlock = std::array<double, kBlockSamples>;

// One layer on a block: `units` holds a block for each column but the constant's.
std::vector<SampleBlock> LayerOutputs(const SparseRows& layer,
                                      const std::vector<SampleBlock>& units) {
  std::vector<SampleBlock> outputs(static_cast<size_t>(layer.num_rows()));
  for (size_t j = 0; j < outputs.size(); ++j) {
    SampleBlock& sum = outputs[j];
    const auto begin = static_cast<size_t>(layer.row_begin[j]);
    auto end = static_cast<size_t>(layer.row_begin[j + 1]);
    double bias = 0;
    // The constant's column is the largest, so it stands last in its row.
    if (end > begin && static_cast<size_t>(layer.column[end - 1]) == units.size()) {
      bias = layer.value[--end];
    }
    sum.fill(bias);
    for (size_t e = begin; e < end; ++e) {
      const SampleBlock& unit = units[static_cast<size_t>(layer.column[e])];
      const double weight = layer.value[e];
      for (size_t i = 0; i < kBlockSamples; ++i) sum[i] += weight * unit[i];
    }
  }
  return outputs;
}

SparseRows DropZeros(const SparseRows& rows) {
  SparseRows kept;
  for (int64_t j = 0; j < rows.num_rows(); ++j) {
    for (int64_t e = rows.row_begin[j]; e < rows.row_begin[j + 1]; ++e) {
      if (rows.value[e] == 0) continue;
      kept.column.push_back(rows.column[e]);
      kept.value.push_back(rows.value[e]);
    }
    kept.row_begin.push_back(kept.nonzeros());
  }
  return kept;
}

// Removes the hidden units of `layer` that are dead as seen from its neighbours; false if none is.
bool RemoveDeadUnits(LayeredNetwork& network, size_t layer) {
  SparseRows& below = network.layers[layer];
  SparseRows& above = network.layers[layer + 1];
  const int64_t num_units = below.num_rows();
  const int64_t bias_below = network.has_bias ? network.num_columns(layer) - 1 : -1;

  std::vector<bool> leads_somewhere(num_units, false);
  for (const int32_t column : above.column) {
    if (column < num_units) leads_somewhere[column] = true;
  }
  std::vector<int32_t> new_index(num_units, -1);  // -1: dead
  std::vector<double> constant(num_units, 0);     // of the dead
  int32_t num_kept = 0;
  for (int64_t j = 0; j < num_units; ++j) {
    const int64_t count = below.row_begin[j + 1] - below.row_begin[j];
    const bool bias_alone = count == 1 && below.column[below.row_begin[j]] == bias_below;
    if (bias_alone) constant[j] = std::max(0.0, below.value[below.row_begin[j]]);
    if (leads_somewhere[j] && count > 0 && !bias_alone) new_index[j] = num_kept++;
  }
  if (num_kept == num_units) return false;

  SparseRows new_below;
  for (int64_t j = 0; j < num_units; ++j) {
    if (new_index[j] < 0) continue;
    for (int64_t e = below.row_begin[j]; e < below.row_begin[j + 1]; ++e) {
      new_below.column.push_back(below.column[e]);
      new_below.value.push_back(below.value[e]);
    }
    new_below.row_begin.push_back(new_below.nonzeros());
  }
  SparseRows new_above;
  for (int64_t j = 0; j < above.num_rows(); ++j) {
    double bias = 0;
    for (int64_t e = above.row_begin[j]; e < above.row_begin[j + 1]; ++e) {
      const int32_t column = above.column[e];
      if (column == num_units) {
        bias += above.value[e];
      } else if (new_index[column] >= 0) {
        new_above.column.push_back(new_index[column]);
        new_above.value.push_back(above.value[e]);
      } else {
        bias += above.value[e] * constant[column];
      }
    }
    if (bias != 0) {  // only ever with has_bias
      new_above.column.push_back(num_kept);
      new_above.value.push_back(bias);
    }
    new_above.row_begin.push_back(new_above.nonzeros());
  }
  below = std::move(new_below);
  above = std::move(new_above);
  return true;
}

}  // namespace

absl::Status ValidateNetwork(const LayeredNetwork& network) {
  if (network.num_inputs < 1 || network.num_inputs > kMaxUnits) {
    return absl::InvalidArgumentError(absl::StrCat("num_inputs is ", network.num_inputs,
                                                   "; it must lie between 1 and ", kMaxUnits));
  }
  if (network.layers.empty()) {
    return absl::InvalidArgumentError("layers: a network needs at least one");
  }
  for (size_t l = 0; l < network.layers.size(); ++l) {
    // row_begin may be empty in a hostile one.
    if (network.layers[l].num_rows() > kMaxUnits || network.layers[l].num_rows() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("layers: layer ", l, " must have at most ", kMaxUnits, " units"));
    }
    const absl::Status status = ValidateSparseRows(network.layers[l], network.num_columns(l));
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("layers: layer ", l, ": ", std::string(status.message())));
    }
  }
  if (network.num_outputs() < 1) {
    return absl::InvalidArgumentError("layers: the last layer must have at least one output");
  }
  return absl::OkStatus();
}

absl::Status Evaluate(const LayeredNetwork& network, InputView inputs, std::span<double> outputs) {
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  if (inputs.num_inputs != network.num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "inputs have ", inputs.num_inputs, " columns, but the network takes ", network.num_inputs));
  }
  if (inputs.num_samples < 0 || (inputs.num_samples > 0 && inputs.data == nullptr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("inputs: no data for num_samples = ", inputs.num_samples));
  }
  const int64_t num_outputs = network.layers.back().num_rows();
  const auto size = static_cast<int64_t>(outputs.size());
  // By division, as the product of hostile sizes could overflow.
  if (size % num_outputs != 0 || size / num_outputs != inputs.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat("outputs have ", size, " entries for ",
                                                   inputs.num_samples, " samples of ", num_outputs,
                                                   " outputs"));
  }
  std::vector<int32_t> used = network.layers.front().column;
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  if (!used.empty() && used.back() == network.num_inputs) used.pop_back();  // the constant
  std::vector<SampleBlock> input_units(static_cast<size_t>(network.num_inputs));
  for (int64_t first = 0; first < inputs.num_samples; first += kBlockSamples) {
    const int64_t present = std::min(kBlockSamples, inputs.num_samples - first);
    for (int64_t i = 0; i < present; ++i) {
      const std::span<const float> row = inputs.row(first + i);
      for (const int32_t q : used) input_units[q][i] = row[q];
    }
    std::vector<SampleBlock> units = LayerOutputs(network.layers.front(), input_units);
    for (size_t l = 1; l < network.layers.size(); ++l) {
      for (SampleBlock& unit : units) {
        // Not std::max: a NaN among the inputs must show in the output.
        for (double& value : unit) value = value <= 0 ? 0.0 : value;
      }
      units = LayerOutputs(network.layers[l], units);
    }
    for (int64_t i = 0; i < present; ++i) {
      for (int64_t k = 0; k < num_outputs; ++k) {
        outputs[(first + i) * num_outputs + k] = units[k][i];
      }
    }
  }
  return absl::OkStatus();
}

int64_t Nonzeros(const LayeredNetwork& network) {
  int64_t nonzeros = 0;
  for (const SparseRows& layer : network.layers) {
    nonzeros += layer.nonzeros() - std::count(layer.value.begin(), layer.value.end(), 0.0);
  }
  return nonzeros;
}

int64_t ActiveNeurons(const LayeredNetwork& network) {
  int64_t active = 0;
  for (size_t l = 0; l + 1 < network.layers.size(); ++l) {
    const SparseRows& below = network.layers[l];
    const SparseRows& above = network.layers[l + 1];
    std::vector<bool> has_weight(static_cast<size_t>(below.num_rows()), false);
    for (int64_t j = 0; j < below.num_rows(); ++j) {
      for (int64_t e = below.row_begin[j]; e < below.row_begin[j + 1]; ++e) {
        if (below.value[e] != 0) has_weight[j] = true;
      }
    }
    for (int64_t e = 0; e < above.nonzeros(); ++e) {
      if (above.value[e] != 0 && above.column[e] < below.num_rows()) {
        has_weight[above.column[e]] = true;
      }
    }
    active += std::count(has_weight.begin(), has_weight.end(), true);
  }
  return active;
}

LayeredNetwork RemoveDeadNeurons(const LayeredNetwork& network) {
  LayeredNetwork reduced = network;
  for (SparseRows& layer : reduced.layers) layer = DropZeros(layer);
  // Upwards for what nothing reaches, downwards for what leads nowhere.
  bool changed = reduced.layers.size() > 1;
  while (changed) {
    changed = false;
    for (size_t l = 0; l + 1 < reduced.layers.size(); ++l) changed |= RemoveDeadUnits(reduced, l);
    for (size_t l = reduced.layers.size() - 1; l-- > 0;) changed |= RemoveDeadUnits(reduced, l);
  }
  return reduced;
}

}  // namespace thresher
