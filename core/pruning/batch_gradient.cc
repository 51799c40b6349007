#include "core/pruning/batch_gradient.h"

#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

namespace thresher {
namespace {

constexpr int64_t kLeastChunk = 128;
constexpr int64_t kMostChunks = 32;
constexpr int64_t kMostPanel = 256;
// Samples whose inputs are turned at a time: a cache line of a unit's values.
constexpr int64_t kGatherSamples = 16;
// A layer with at least this share of its weights is multiplied dense. Measured: see
// tests/benchmark/README.md.
constexpr double kDenseShare = 0.25;
// Beyond this squares overflow in Adam's float moments.
constexpr double kMaxGradient = 1e18;
// Weights a block of the sums over chunks.
constexpr int64_t kSumBlock = 4096;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

bool MultipliesDense(const PerceptronLayer& layer) {
  return static_cast<double>(layer.nonzeros()) >=
         kDenseShare * static_cast<double>(layer.num_rows * layer.num_columns);
}

}  // namespace

BatchChunks MakeBatchChunks(int64_t batch_size) {
  BatchChunks chunks;
  chunks.chunk_samples =
      std::max(kLeastChunk, RoundUp((batch_size + kMostChunks - 1) / kMostChunks, kSamplesPerWord));
  chunks.panel_samples = std::min(chunks.chunk_samples, kMostPanel);
  chunks.num_chunks = (batch_size + chunks.chunk_samples - 1) / chunks.chunk_samples;
  return chunks;
}

int64_t MostChunks(int64_t batch_size) {
  return std::min(kMostChunks, (batch_size + kLeastChunk - 1) / kLeastChunk);
}

BatchGradient::BatchGradient(Engine& engine, const Samples& samples, Loss loss,
                             const Perceptron& perceptron, int64_t batch_size, std::stop_token stop)
    : engine_(engine),
      samples_(samples),
      loss_(loss),
      stop_(std::move(stop)),
      panel_samples_(MakeBatchChunks(batch_size).panel_samples),
      zeros_(samples.num_inputs, 0.0f) {
  const int64_t num_chunks = MostChunks(batch_size);
  chunk_gradients_.resize(num_chunks);
  chunk_sums_.resize(num_chunks);
  for (auto& gradients : chunk_gradients_) gradients.resize(perceptron.layers.size());
  dense_weights_.resize(perceptron.layers.size());
  gradients_.resize(perceptron.layers.size());
  int64_t widest = 0;  // of the layers that have deltas
  for (const PerceptronLayer& layer : perceptron.layers) widest = std::max(widest, layer.num_rows);
  ++widest;  // the constant
  panels_.resize(engine.pool.num_threads());
  for (Panels& panels : panels_) {
    for (const PerceptronLayer& layer : perceptron.layers) {
      panels.units.push_back(MakeAlignedFloats(layer.num_columns * panel_samples_));
      if (!perceptron.has_bias) continue;
      float* constant = panels.units.back().get() + (layer.num_columns - 1) * panel_samples_;
      std::fill(constant, constant + panel_samples_, 1.0f);
    }
    const int64_t num_outputs = perceptron.layers.back().num_rows;
    panels.units.push_back(MakeAlignedFloats(num_outputs * panel_samples_));
    for (AlignedFloats& deltas : panels.deltas) {
      deltas = MakeAlignedFloats(widest * panel_samples_);
    }
    panels.outputs.resize(num_outputs);
    panels.output_gradient.resize(num_outputs);
  }
}

BatchOutcome BatchGradient::Compute(const Perceptron& perceptron, std::span<const int64_t> rows) {
  for (size_t l = 0; l < perceptron.layers.size(); ++l) {
    const PerceptronLayer& layer = perceptron.layers[l];
    if (!MultipliesDense(layer) || layer.dense()) continue;
    std::vector<float>& dense = dense_weights_[l];
    dense.assign(layer.num_rows * layer.num_columns, 0.0f);
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
        dense[q * layer.num_rows + layer.row[e]] = layer.weight[e];
      }
    }
  }
  const auto batch_size = static_cast<int64_t>(rows.size());
  // The cut follows the batch at hand: the last one of an epoch may be smaller.
  const BatchChunks chunks = MakeBatchChunks(batch_size);
  std::atomic<bool> stopped = false;
  engine_.pool.ParallelFor(chunks.num_chunks, [&](int64_t c, int thread) {
    const int64_t first = c * chunks.chunk_samples;
    const int64_t size = std::min(chunks.chunk_samples, batch_size - first);
    chunk_sums_[c] = {};
    for (size_t l = 0; l < perceptron.layers.size(); ++l) {
      const PerceptronLayer& layer = perceptron.layers[l];
      chunk_gradients_[c][l].assign(
          MultipliesDense(layer) ? layer.num_rows * layer.num_columns : layer.nonzeros(), 0.0f);
    }
    for (int64_t at = 0; at < size; at += panel_samples_) {
      if (stop_.stop_requested()) {
        stopped = true;
        return;
      }
      ComputePanel(perceptron, rows.subspan(first + at, std::min(panel_samples_, size - at)),
                   batch_size, panels_[thread], chunk_gradients_[c], chunk_sums_[c]);
    }
  });
  if (stopped) return BatchOutcome::kStopped;
  sums_ = {};
  for (int64_t c = 0; c < chunks.num_chunks; ++c) sums_.Add(chunk_sums_[c]);
  if (!std::isfinite(sums_.loss) || !std::isfinite(sums_.squared_error)) {
    return BatchOutcome::kNotFinite;
  }
  SumChunks(perceptron, chunks.num_chunks);
  return finite_ ? BatchOutcome::kDone : BatchOutcome::kNotFinite;
}

void BatchGradient::ComputePanel(const Perceptron& perceptron, std::span<const int64_t> rows,
                                 int64_t batch_size, Panels& panels,
                                 std::vector<std::vector<float>>& gradients, FitSums& sums) {
  const KernelTable& kernels = engine_.kernels;
  const auto num_samples = static_cast<int64_t>(rows.size());
  const int64_t padded = RoundUp(num_samples, kSamplesPerWord);
  const int64_t stride = panel_samples_;
  const size_t num_layers = perceptron.layers.size();

  GatherInputs(perceptron.layers.front(), rows, panels.units.front().get());
  for (size_t l = 0; l < num_layers; ++l) {
    const PerceptronLayer& layer = perceptron.layers[l];
    const float* units = panels.units[l].get();
    float* outputs = panels.units[l + 1].get();
    const bool dense = MultipliesDense(layer);
    const float* weights = layer.dense() ? layer.weight.data() : dense_weights_[l].data();
    for (int64_t i = 0; i < padded; i += kSamplesPerWord) {
      if (dense) {
        kernels.dense_layer(units + i, stride, layer.num_columns, weights, layer.num_rows,
                            outputs + i, stride);
      } else {
        kernels.sparse_layer(units + i, stride, layer.view(), layer.num_rows, outputs + i, stride);
      }
    }
    if (l + 1 == num_layers) break;
    for (int64_t j = 0; j < layer.num_rows; ++j) {
      float* unit = outputs + j * stride;
      // Keeps what is not a number, so that the loss shows it.
      for (int64_t i = 0; i < padded; ++i) unit[i] = unit[i] <= 0 ? 0.0f : unit[i];
    }
  }

  const int64_t num_outputs = samples_.num_outputs;
  float* deltas = panels.deltas[0].get();
  float* next_deltas = panels.deltas[1].get();
  const float* outputs = panels.units[num_layers].get();
  const double scale = 1 / static_cast<double>(batch_size);
  for (int64_t i = 0; i < num_samples; ++i) {
    for (int64_t k = 0; k < num_outputs; ++k) panels.outputs[k] = outputs[k * stride + i];
    const std::span<const float> targets(samples_.targets.data() + rows[i] * num_outputs,
                                         static_cast<size_t>(num_outputs));
    const double loss = SampleLoss(loss_, panels.outputs, targets, panels.output_gradient);
    sums.Add(loss_, panels.outputs, targets, loss);
    for (int64_t k = 0; k < num_outputs; ++k) {
      deltas[k * stride + i] = static_cast<float>(scale * panels.output_gradient[k]);
    }
  }
  for (int64_t k = 0; k < num_outputs; ++k) {
    std::fill(deltas + k * stride + num_samples, deltas + k * stride + padded, 0.0f);
  }

  for (size_t l = num_layers; l-- > 0;) {
    const PerceptronLayer& layer = perceptron.layers[l];
    const float* units = panels.units[l].get();
    if (MultipliesDense(layer)) {
      kernels.dense_layer_gradient(units, stride, layer.num_columns, deltas, stride, layer.num_rows,
                                   padded, gradients[l].data());
    } else {
      kernels.sparse_layer_gradient(units, stride, layer.view(), deltas, stride, padded,
                                    gradients[l].data());
    }
    if (l == 0) break;
    for (int64_t i = 0; i < padded; i += kSamplesPerWord) {
      kernels.layer_back(layer.view(), deltas + i, stride, next_deltas + i, stride);
    }
    // Behind a closed ReLU nothing changes. The constant's delta, if any, is not read.
    for (int64_t q = 0; q < perceptron.layers[l - 1].num_rows; ++q) {
      const float* unit = units + q * stride;
      float* delta = next_deltas + q * stride;
      for (int64_t i = 0; i < padded; ++i) delta[i] = unit[i] > 0 ? delta[i] : 0.0f;
    }
    std::swap(deltas, next_deltas);
  }
}

void BatchGradient::GatherInputs(const PerceptronLayer& layer, std::span<const int64_t> rows,
                                 float* panel) {
  const int64_t num_inputs = samples_.num_inputs;
  const auto num_samples = static_cast<int64_t>(rows.size());
  const int64_t stride = panel_samples_;
  for (int64_t first = 0; first < RoundUp(num_samples, kSamplesPerWord); first += kGatherSamples) {
    const float* row[kGatherSamples];
    for (int64_t i = 0; i < kGatherSamples; ++i) {
      row[i] = first + i < num_samples ? samples_.inputs.data() + rows[first + i] * num_inputs
                                       : zeros_.data();
    }
    int64_t q = 0;
    for (; q + 4 <= num_inputs; q += 4) {
      if (layer.column_begin[q] == layer.column_begin[q + 4]) continue;  // none is read
      for (int64_t i = 0; i < kGatherSamples; i += 4) {
        __m128 a = _mm_loadu_ps(row[i] + q);
        __m128 b = _mm_loadu_ps(row[i + 1] + q);
        __m128 c = _mm_loadu_ps(row[i + 2] + q);
        __m128 d = _mm_loadu_ps(row[i + 3] + q);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        float* at = panel + q * stride + first + i;
        _mm_storeu_ps(at, a);
        _mm_storeu_ps(at + stride, b);
        _mm_storeu_ps(at + 2 * stride, c);
        _mm_storeu_ps(at + 3 * stride, d);
      }
    }
    for (; q < num_inputs; ++q) {
      for (int64_t i = 0; i < kGatherSamples; ++i) panel[q * stride + first + i] = row[i][q];
    }
  }
}

void BatchGradient::SumChunks(const Perceptron& perceptron, int64_t num_chunks) {
  std::atomic<bool> finite = true;
  for (size_t l = 0; l < perceptron.layers.size(); ++l) {
    const PerceptronLayer& layer = perceptron.layers[l];
    const bool dense = MultipliesDense(layer);
    const int64_t size = dense ? layer.num_rows * layer.num_columns : layer.nonzeros();
    std::vector<float>& gradient = gradients_[l];
    gradient.resize(size);
    engine_.pool.ParallelFor((size + kSumBlock - 1) / kSumBlock, [&](int64_t block, int) {
      const int64_t begin = block * kSumBlock;
      const int64_t count = std::min(kSumBlock, size - begin);
      double sums[kSumBlock] = {};
      for (int64_t c = 0; c < num_chunks; ++c) {
        const float* values = chunk_gradients_[c][l].data() + begin;
        for (int64_t e = 0; e < count; ++e) sums[e] += values[e];
      }
      bool all_finite = true;
      for (int64_t e = 0; e < count; ++e) {
        all_finite &= std::abs(sums[e]) <= kMaxGradient;
        gradient[begin + e] = static_cast<float>(sums[e]);
      }
      if (!all_finite) finite = false;
    });
    if (!dense || layer.dense()) continue;
    // Of the dense sums those of remaining weights stay; their order is the same.
    int64_t e = 0;
    for (int64_t q = 0; q < layer.num_columns; ++q) {
      for (; e < layer.column_begin[q + 1]; ++e) {
        gradient[e] = gradient[q * layer.num_rows + layer.row[e]];
      }
    }
    gradient.resize(layer.nonzeros());
  }
  finite_ = finite;
}

int64_t BatchGradientBytes(int64_t num_inputs, std::span<const int64_t> hidden_widths,
                           int64_t num_outputs, bool bias, int64_t batch_size, int num_threads) {
  const BatchChunks chunks = MakeBatchChunks(batch_size);
  double units = static_cast<double>(num_inputs + num_outputs);
  double widest = static_cast<double>(num_outputs) + 1;
  for (const int64_t width : hidden_widths) {
    units += static_cast<double>(width) + 1;
    widest = std::max(widest, static_cast<double>(width) + 1);
  }
  const auto weights =
      static_cast<double>(NumWeights(num_inputs, hidden_widths, num_outputs, bias));
  const double bytes = sizeof(float) * (num_threads * (units + 2 * widest) *
                                            static_cast<double>(chunks.panel_samples) +
                                        weights * static_cast<double>(MostChunks(batch_size) + 2));
  return static_cast<int64_t>(std::min(bytes, static_cast<double>(int64_t{1} << 62)));
}

}  // namespace thresher
