#include "core/pruning/perceptron.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/gates/random_gates.h"

namespace thresher {
namespace {

// Stream of the counter-based generator that draws layer l: kInitialStream + l.
constexpr uint64_t kInitialStream = 0x1417a1000000000ull;

struct SalientWeight {
  double saliency;
  int64_t index;  // over all layers
};

double SaliencyOf(const PerceptronLayer& layer, int64_t e, Saliency saliency) {
  const double weight = layer.weight[e];
  return saliency == Saliency::kFisher ? weight * weight * layer.second_moment[e]
                                       : std::abs(weight);
}

// Drops the entries that are not kept, in place.
void Keep(PerceptronLayer& layer, const std::vector<bool>& kept, int64_t first) {
  int64_t size = 0;
  int64_t begin = 0;
  for (int64_t q = 0; q < layer.num_columns; ++q) {
    const int64_t end = layer.column_begin[q + 1];
    for (int64_t e = begin; e < end; ++e) {
      if (!kept[first + e]) continue;
      layer.row[size] = layer.row[e];
      layer.weight[size] = layer.weight[e];
      layer.rewind_weight[size] = layer.rewind_weight[e];
      layer.first_moment[size] = layer.first_moment[e];
      layer.second_moment[size] = layer.second_moment[e];
      ++size;
    }
    begin = end;
    layer.column_begin[q + 1] = size;
  }
  layer.row.resize(size);
  for (std::vector<float>* values :
       {&layer.weight, &layer.rewind_weight, &layer.first_moment, &layer.second_moment}) {
    values->resize(size);
  }
}

}  // namespace

int64_t Perceptron::nonzeros() const {
  int64_t sum = 0;
  for (const PerceptronLayer& layer : layers) sum += layer.nonzeros();
  return sum;
}

Perceptron InitialPerceptron(int64_t num_inputs, std::span<const int64_t> hidden_widths,
                             int64_t num_outputs, bool bias, uint64_t seed) {
  Perceptron perceptron{.num_inputs = num_inputs, .has_bias = bias};
  int64_t fan_in = num_inputs;
  for (size_t l = 0; l <= hidden_widths.size(); ++l) {
    PerceptronLayer layer;
    layer.num_rows = l < hidden_widths.size() ? hidden_widths[l] : num_outputs;
    layer.num_columns = fan_in + (bias ? 1 : 0);
    const int64_t size = layer.num_rows * layer.num_columns;
    layer.row.reserve(size);
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t j = 0; j < layer.num_rows; ++j) layer.row.push_back(static_cast<int32_t>(j));
      layer.column_begin.push_back(static_cast<int64_t>(layer.row.size()));
    }
    layer.weight.resize(size);
    const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
    CounterRandom random(seed, kInitialStream + l);
    for (float& weight : layer.weight) {
      weight = static_cast<float>(bound * (2 * random.NextUniform() - 1));
    }
    layer.rewind_weight = layer.weight;
    layer.first_moment.resize(size);
    layer.second_moment.resize(size);
    fan_in = layer.num_rows;
    perceptron.layers.push_back(std::move(layer));
  }
  return perceptron;
}

Perceptron MakePerceptron(const SparseNetwork& network) {
  Perceptron perceptron{.num_inputs = network.num_inputs, .has_bias = network.has_bias};
  std::vector<const SparseRows*> layers = {&network.weights};
  for (const SparseRows& layer : network.upper_layers) layers.push_back(&layer);
  SparseRows signs;
  if (IsFused(network)) {
    for (size_t j = 0; j < network.output_signs.size(); ++j) {
      signs.column.push_back(static_cast<int32_t>(j));
      signs.value.push_back(network.output_signs[j]);
    }
    signs.row_begin.push_back(signs.nonzeros());
    layers.push_back(&signs);
  }
  int64_t below = network.num_inputs;
  for (const SparseRows* rows : layers) {
    PerceptronLayer layer;
    layer.num_rows = rows->num_rows();
    layer.num_columns = below + (network.has_bias ? 1 : 0);
    below = layer.num_rows;
    // What rounds to 0 is left out too.
    const auto is_kept = [&](int64_t e) { return static_cast<float>(rows->value[e]) != 0; };
    layer.column_begin.assign(layer.num_columns + 1, 0);
    for (int64_t e = 0; e < rows->nonzeros(); ++e) {
      if (is_kept(e)) ++layer.column_begin[rows->column[e] + 1];
    }
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      layer.column_begin[q + 1] += layer.column_begin[q];
    }
    layer.row.resize(layer.column_begin.back());
    layer.weight.resize(layer.row.size());
    std::vector<int64_t> next(layer.column_begin.begin(), layer.column_begin.end() - 1);
    for (int64_t j = 0; j < layer.num_rows; ++j) {
      for (int64_t e = rows->row_begin[j]; e < rows->row_begin[j + 1]; ++e) {
        if (!is_kept(e)) continue;
        const int64_t at = next[rows->column[e]]++;
        layer.row[at] = static_cast<int32_t>(j);
        layer.weight[at] = static_cast<float>(rows->value[e]);
      }
    }
    layer.rewind_weight = layer.weight;
    layer.first_moment.resize(layer.row.size());
    layer.second_moment.resize(layer.row.size());
    perceptron.layers.push_back(std::move(layer));
  }
  return perceptron;
}

int64_t NumWeights(int64_t num_inputs, std::span<const int64_t> hidden_widths, int64_t num_outputs,
                   bool bias) {
  int64_t sum = 0;
  int64_t fan_in = num_inputs;
  for (const int64_t width : hidden_widths) {
    sum += width * (fan_in + (bias ? 1 : 0));
    fan_in = width;
  }
  return sum + num_outputs * (fan_in + (bias ? 1 : 0));
}

std::string_view SaliencyName(Saliency saliency) {
  switch (saliency) {
    case Saliency::kMagnitude:
      return "magnitude";
    case Saliency::kFisher:
      return "fisher";
  }
  return "unknown";
}

void KeepMostSalient(Perceptron& perceptron, int64_t count, Saliency saliency) {
  const int64_t remaining = perceptron.nonzeros();
  if (count >= remaining) return;
  std::vector<SalientWeight> weights;
  weights.reserve(remaining);
  for (const PerceptronLayer& layer : perceptron.layers) {
    for (int64_t e = 0; e < layer.nonzeros(); ++e) {
      weights.push_back({SaliencyOf(layer, e, saliency), static_cast<int64_t>(weights.size())});
    }
  }
  std::nth_element(weights.begin(), weights.begin() + count, weights.end(),
                   [](const SalientWeight& a, const SalientWeight& b) {
                     return a.saliency != b.saliency ? a.saliency > b.saliency : a.index < b.index;
                   });
  std::vector<bool> kept(remaining, false);
  for (int64_t k = 0; k < count; ++k) kept[weights[k].index] = true;
  int64_t first = 0;
  for (PerceptronLayer& layer : perceptron.layers) {
    const int64_t size = layer.nonzeros();
    Keep(layer, kept, first);
    first += size;
  }
}

void Rewind(Perceptron& perceptron) {
  for (PerceptronLayer& layer : perceptron.layers) {
    layer.weight = layer.rewind_weight;
    std::fill(layer.first_moment.begin(), layer.first_moment.end(), 0.0f);
    std::fill(layer.second_moment.begin(), layer.second_moment.end(), 0.0f);
  }
}

SparseNetwork MakeNetwork(const Perceptron& perceptron) {
  SparseNetwork network;
  network.num_inputs = perceptron.num_inputs;
  network.has_bias = perceptron.has_bias;
  network.upper_layers.resize(perceptron.layers.size() - 1);
  for (size_t l = 0; l < perceptron.layers.size(); ++l) {
    const PerceptronLayer& layer = perceptron.layers[l];
    SparseRows& rows = l == 0 ? network.weights : network.upper_layers[l - 1];
    rows.row_begin.assign(layer.num_rows + 1, 0);
    for (const int32_t row : layer.row) ++rows.row_begin[row + 1];
    for (int64_t j = 0; j < layer.num_rows; ++j) rows.row_begin[j + 1] += rows.row_begin[j];
    rows.column.resize(layer.row.size());
    rows.value.resize(layer.row.size());
    std::vector<int64_t> next(rows.row_begin.begin(), rows.row_begin.end() - 1);
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        const int64_t at = next[layer.row[e]]++;
        rows.column[at] = static_cast<int32_t>(q);
        rows.value[at] = layer.weight[e];
      }
    }
  }
  return network;
}

}  // namespace thresher
