#include "core/network/network.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/gates/gate_activity.h"
#include "core/gates/random_gates.h"

namespace thresher {
namespace {

// Columns are 32-bit, and the constant input needs one.
constexpr int64_t kMaxInputs = std::numeric_limits<int32_t>::max() - 1;

absl::Status ValidateNumInputs(int64_t num_inputs) {
  if (num_inputs < 1 || num_inputs > kMaxInputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_inputs is ", num_inputs, "; it must lie between 1 and ", kMaxInputs));
  }
  return absl::OkStatus();
}

absl::Status ValidateGates(const RandomGateSet& gates, int64_t /*num_columns*/) {
  if (gates.num_gates < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("gates: num_gates is ", gates.num_gates, "; it must not be negative"));
  }
  return absl::OkStatus();
}

absl::Status ValidateGates(const GateVectorSet& gates, int64_t num_columns) {
  const auto entries = static_cast<int64_t>(gates.vectors.size());
  // By division, as the product of hostile sizes could overflow.
  if (gates.num_gates < 0 || entries % num_columns != 0 ||
      entries / num_columns != gates.num_gates) {
    return absl::InvalidArgumentError(absl::StrCat("gates: vectors hold ", entries, " entries; ",
                                                   gates.num_gates, " gates of ", num_columns,
                                                   " columns need as many as the product"));
  }
  for (int64_t e = 0; e < entries; ++e) {
    if (!std::isfinite(gates.vectors[static_cast<size_t>(e)])) {
      return absl::InvalidArgumentError(absl::StrCat("gates: entry ", e % num_columns, " of gate ",
                                                     e / num_columns, " is not finite"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateEvaluation(int64_t num_inputs, int64_t num_outputs, InputView inputs,
                                std::span<const double> outputs) {
  if (inputs.num_inputs != num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("inputs have ", inputs.num_inputs,
                                                   " columns, but the network takes ", num_inputs));
  }
  if (inputs.num_samples < 0 || (inputs.num_samples > 0 && inputs.data == nullptr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("inputs: no data for num_samples = ", inputs.num_samples));
  }
  // By division, as the product could overflow.
  const auto entries = static_cast<int64_t>(outputs.size());
  if (entries % num_outputs != 0 || entries / num_outputs != inputs.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat("outputs have ", entries, " entries for ",
                                                   inputs.num_samples,
                                                   " samples and num_outputs = ", num_outputs));
  }
  return absl::OkStatus();
}

// x . w of row `row`, the constant input included.
double RowProduct(const SparseRows& weights, int64_t row, std::span<const float> x) {
  const auto begin = static_cast<size_t>(weights.row_begin[static_cast<size_t>(row)]);
  auto end = static_cast<size_t>(weights.row_begin[static_cast<size_t>(row) + 1]);
  double sum = 0;
  // The constant's column is the largest, so it stands last in its row.
  if (end > begin && static_cast<size_t>(weights.column[end - 1]) == x.size()) {
    sum = weights.value[--end];
  }
  for (size_t e = begin; e < end; ++e) {
    sum += weights.value[e] * static_cast<double>(x[static_cast<size_t>(weights.column[e])]);
  }
  return sum;
}

// The layers of units, from the inputs on.
std::vector<const SparseRows*> HiddenLayers(const SparseNetwork& network) {
  std::vector<const SparseRows*> layers = {&network.weights};
  for (const SparseRows& layer : network.upper_layers) layers.push_back(&layer);
  if (!IsFused(network)) layers.pop_back();  // the output layer
  return layers;
}

int64_t NonzerosOf(const SparseRows& rows) {
  return rows.nonzeros() - std::count(rows.value.begin(), rows.value.end(), 0.0);
}

int64_t ActiveRows(const SparseRows& rows) {
  int64_t active = 0;
  for (size_t row = 0; row + 1 < rows.row_begin.size(); ++row) {
    const auto begin = rows.value.begin() + rows.row_begin[row];
    const auto end = rows.value.begin() + rows.row_begin[row + 1];
    active += std::any_of(begin, end, [](double value) { return value != 0; }) ? 1 : 0;
  }
  return active;
}

template <typename Gate>
void AddGatedRow(const GatedNetwork& network, int64_t row, std::span<const Gate> gate,
                 InputView inputs, std::span<double> outputs) {
  for (int64_t i = 0; i < inputs.num_samples; ++i) {
    if (IsActive(inputs.row(i), gate)) {
      outputs[static_cast<size_t>(i)] += RowProduct(network.weights, row, inputs.row(i));
    }
  }
}

absl::Status ValidateRows(std::string_view name, const SparseRows& rows, int64_t num_columns) {
  const std::string prefix = absl::StrCat(std::string(name), ": ");
  const auto entries = static_cast<int64_t>(rows.column.size());
  if (rows.value.size() != rows.column.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(prefix, rows.value.size(), " values for ", entries, " column indices"));
  }
  if (rows.row_begin.empty() || rows.row_begin.front() != 0 || rows.row_begin.back() != entries) {
    return absl::InvalidArgumentError(absl::StrCat(
        prefix, "row_begin must start with 0 and end with the number of entries, ", entries));
  }
  // Before any entry is looked at, as row_begin says where they are.
  if (!std::is_sorted(rows.row_begin.begin(), rows.row_begin.end())) {
    return absl::InvalidArgumentError(absl::StrCat(prefix, "row_begin must not descend"));
  }
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    const int64_t begin = rows.row_begin[static_cast<size_t>(row)];
    const int64_t end = rows.row_begin[static_cast<size_t>(row) + 1];
    int64_t previous = -1;
    for (int64_t e = begin; e < end; ++e) {
      const int64_t column = rows.column[static_cast<size_t>(e)];
      if (column < 0 || column >= num_columns) {
        return absl::InvalidArgumentError(absl::StrCat(prefix, "column ", column, " in row ", row,
                                                       " lies outside [0, ", num_columns, ")"));
      }
      if (column <= previous) {
        return absl::InvalidArgumentError(absl::StrCat(
            prefix, "columns of row ", row, " must ascend, but ", column, " follows ", previous));
      }
      if (!std::isfinite(rows.value[static_cast<size_t>(e)])) {
        return absl::InvalidArgumentError(
            absl::StrCat(prefix, "the value in row ", row, ", column ", column, " is not finite"));
      }
      previous = column;
    }
  }
  return absl::OkStatus();
}

// As the members of a model file are called (core/network/README.md).
std::string LayerName(size_t upper_layer) { return absl::StrCat("layer_", upper_layer + 2); }

// The layers above the first: their number, their rows, and that they end in an output.
absl::Status ValidateUpperLayers(const SparseNetwork& network) {
  const bool fused = IsFused(network);
  const auto num_layers = static_cast<int64_t>(network.upper_layers.size()) + (fused ? 1 : 0);
  if (num_layers > kMaxHiddenLayers) {
    return absl::InvalidArgumentError(absl::StrCat("upper_layers make ", num_layers,
                                                   " hidden layers, more than ", kMaxHiddenLayers));
  }
  int64_t width = network.hidden_width();
  for (size_t l = 0; l < network.upper_layers.size(); ++l) {
    const std::string name = LayerName(l);
    if (width > kMaxInputs) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": the layer below has ", width, " units, more than ", kMaxInputs));
    }
    absl::Status status =
        ValidateRows(name, network.upper_layers[l], width + (network.has_bias ? 1 : 0));
    if (!status.ok()) return status;
    width = network.upper_layers[l].num_rows();
  }
  if (!fused && width < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(LayerName(network.upper_layers.size() - 1),
                     ": has no rows; without output_signs the last layer has one an output"));
  }
  if (fused && static_cast<int64_t>(network.output_signs.size()) != width) {
    return absl::InvalidArgumentError(absl::StrCat("output_signs has ", network.output_signs.size(),
                                                   " entries for ", width, " neurons"));
  }
  if (!network.linear.empty() && !network.upper_layers.empty()) {
    return absl::InvalidArgumentError(
        "linear: a linear term needs a network without upper layers; leave one of them out");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateSparseRows(const SparseRows& rows, int64_t num_columns) {
  return ValidateRows("weights", rows, num_columns);
}

absl::Status ValidateNetwork(const SparseNetwork& network) {
  if (absl::Status status = ValidateNumInputs(network.num_inputs); !status.ok()) return status;
  if (absl::Status status = ValidateSparseRows(network.weights, network.num_columns());
      !status.ok()) {
    return status;
  }
  if (absl::Status status = ValidateUpperLayers(network); !status.ok()) return status;
  for (size_t j = 0; j < network.output_signs.size(); ++j) {
    const int sign = network.output_signs[j];
    if (sign != 1 && sign != -1) {
      return absl::InvalidArgumentError(
          absl::StrCat("output_signs: entry ", j, " is ", sign, "; it must be 1 or -1"));
    }
  }
  if (!network.linear.empty() &&
      static_cast<int64_t>(network.linear.size()) != network.num_columns()) {
    return absl::InvalidArgumentError(absl::StrCat("linear has ", network.linear.size(),
                                                   " entries for ", network.num_columns(),
                                                   " columns; give one a column, or none"));
  }
  if (!std::all_of(network.linear.begin(), network.linear.end(),
                   [](double value) { return std::isfinite(value); })) {
    return absl::InvalidArgumentError("linear: an entry is not finite");
  }
  return absl::OkStatus();
}

absl::Status ValidateNetwork(const GatedNetwork& network) {
  if (absl::Status status = ValidateNumInputs(network.num_inputs); !status.ok()) return status;
  if (absl::Status status = ValidateSparseRows(network.weights, network.num_columns());
      !status.ok()) {
    return status;
  }
  absl::Status status =
      std::visit([&](const auto& gates) { return ValidateGates(gates, network.num_columns()); },
                 network.gates);
  if (!status.ok()) return status;
  const int64_t num_gates =
      std::visit([](const auto& gates) { return gates.num_gates; }, network.gates);
  if (static_cast<int64_t>(network.gate_index.size()) != network.weights.num_rows()) {
    return absl::InvalidArgumentError(absl::StrCat("gate_index has ", network.gate_index.size(),
                                                   " entries for ", network.weights.num_rows(),
                                                   " rows of weights"));
  }
  int64_t previous = -1;
  for (const int64_t index : network.gate_index) {
    if (index < 0 || index >= num_gates) {
      return absl::InvalidArgumentError(
          absl::StrCat("gate_index: ", index, " lies outside [0, ", num_gates, ")"));
    }
    if (index <= previous) {
      return absl::InvalidArgumentError(
          absl::StrCat("gate_index must ascend, but ", index, " follows ", previous));
    }
    previous = index;
  }
  return absl::OkStatus();
}

absl::Status Evaluate(const GatedNetwork& network, InputView inputs, std::span<double> outputs) {
  if (absl::Status status = ValidateNetwork(network); !status.ok()) return status;
  if (absl::Status status = ValidateEvaluation(network.num_inputs, 1, inputs, outputs);
      !status.ok()) {
    return status;
  }
  std::fill(outputs.begin(), outputs.end(), 0.0);
  if (inputs.num_samples == 0) return absl::OkStatus();
  const auto num_columns = static_cast<size_t>(network.num_columns());
  // Gates outside, samples inside: a random gate is generated once.
  if (const auto* random = std::get_if<RandomGateSet>(&network.gates)) {
    std::vector<float> gate(num_columns);
    for (int64_t row = 0; row < network.weights.num_rows(); ++row) {
      RandomGate(random->seed, network.gate_index[static_cast<size_t>(row)], gate);
      AddGatedRow<float>(network, row, gate, inputs, outputs);
    }
    return absl::OkStatus();
  }
  const std::vector<double>& vectors = std::get<GateVectorSet>(network.gates).vectors;
  for (int64_t row = 0; row < network.weights.num_rows(); ++row) {
    const auto index = static_cast<size_t>(network.gate_index[static_cast<size_t>(row)]);
    AddGatedRow<double>(network, row, {vectors.data() + index * num_columns, num_columns}, inputs,
                        outputs);
  }
  return absl::OkStatus();
}

absl::Status Evaluate(const Network& network, InputView inputs, std::span<double> outputs) {
  return std::visit([&](const auto& n) { return Evaluate(n, inputs, outputs); }, network);
}

bool IsFused(const SparseNetwork& network) {
  return network.upper_layers.empty() || !network.output_signs.empty();
}

int64_t NumOutputs(const SparseNetwork& network) {
  return IsFused(network) ? 1 : network.upper_layers.back().num_rows();
}

std::vector<int64_t> HiddenWidths(const SparseNetwork& network) {
  std::vector<int64_t> widths;
  for (const SparseRows* layer : HiddenLayers(network)) widths.push_back(layer->num_rows());
  return widths;
}

int64_t Nonzeros(const SparseNetwork& network) {
  int64_t nonzeros = NonzerosOf(network.weights);
  for (const SparseRows& layer : network.upper_layers) nonzeros += NonzerosOf(layer);
  return nonzeros;
}

int64_t ActiveNeurons(const SparseNetwork& network) {
  int64_t active = 0;
  for (const SparseRows* layer : HiddenLayers(network)) active += ActiveRows(*layer);
  return active;
}

int64_t NumInputs(const Network& network) {
  return std::visit([](const auto& n) { return n.num_inputs; }, network);
}

int64_t NumOutputs(const Network& network) {
  const auto* sparse = std::get_if<SparseNetwork>(&network);
  return sparse != nullptr ? NumOutputs(*sparse) : 1;
}

std::vector<int64_t> HiddenWidths(const Network& network) {
  if (const auto* sparse = std::get_if<SparseNetwork>(&network)) return HiddenWidths(*sparse);
  return {std::get<GatedNetwork>(network).weights.num_rows()};
}

int64_t Nonzeros(const Network& network) {
  if (const auto* sparse = std::get_if<SparseNetwork>(&network)) return Nonzeros(*sparse);
  return NonzerosOf(std::get<GatedNetwork>(network).weights);
}

int64_t LinearNonzeros(const Network& network) {
  const auto* relu = std::get_if<SparseNetwork>(&network);
  if (relu == nullptr || relu->linear.empty()) return 0;
  const auto end = relu->linear.begin() + relu->num_inputs;
  return std::count_if(relu->linear.begin(), end, [](double entry) { return entry != 0; });
}

int64_t ActiveNeurons(const Network& network) {
  if (const auto* sparse = std::get_if<SparseNetwork>(&network)) return ActiveNeurons(*sparse);
  return ActiveRows(std::get<GatedNetwork>(network).weights);
}

}  // namespace thresher
