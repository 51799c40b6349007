#include "core/recovery/scaled_samples.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace thresher {
namespace {

void ScaleColumns(const std::vector<double>& scales, Design& design) {
  for (int64_t q = 0; q < design.num_columns; ++q) {
    float* column = design.columns.get() + q * design.padded_samples();
    const auto scale = static_cast<float>(scales[q]);
    for (int64_t i = 0; i < design.num_samples; ++i) {
      column[i] *= scale;
      design.rows[i * design.row_stride + q] *= scale;
    }
  }
}

void AddTarget(float target, int64_t row, ScaledSamples& scaled) {
  const double value = scaled.target_scale * target;
  scaled.targets[row] = value;
  scaled.target_norm2 += value * value;
  scaled.max_target = std::max(scaled.max_target, std::abs(value));
}

}  // namespace

double UnitScale(double mean_square) {
  const double rms = std::sqrt(mean_square);
  return rms > 0 ? std::exp2(std::clamp(-std::round(std::log2(rms)), -120.0, 120.0)) : 1.0;
}

ScaledSamples ScaleToUnit(InputView inputs, bool bias) {
  const int64_t n = inputs.num_samples;
  ScaledSamples scaled;
  scaled.design = MakeDesign(inputs, bias);
  scaled.num_inputs = inputs.num_inputs;
  scaled.has_bias = bias;
  for (int64_t q = 0; q < scaled.design.num_columns; ++q) {
    const float* column = scaled.design.columns.get() + q * scaled.design.padded_samples();
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(column[i]) * column[i];
    scaled.column_scales.push_back(UnitScale(sum / static_cast<double>(n)));
  }
  ScaleColumns(scaled.column_scales, scaled.design);
  scaled.targets.resize(scaled.design.padded_samples());
  return scaled;
}

ScaledSamples ScaleToUnit(const Samples& samples, bool bias) {
  ScaledSamples scaled = ScaleToUnit(samples.input_view(), bias);
  double sum = 0;
  for (const float target : samples.targets) sum += static_cast<double>(target) * target;
  scaled.target_scale = UnitScale(sum / static_cast<double>(samples.num_samples));
  for (int64_t i = 0; i < samples.num_samples; ++i) AddTarget(samples.targets[i], i, scaled);
  return scaled;
}

ScaledSamples ScaledRows(const Samples& samples, const ScaledSamples& scaled,
                         std::span<const int64_t> rows) {
  ScaledSamples some;
  some.design = MakeDesign(samples.input_view(), scaled.has_bias, rows);
  some.column_scales = scaled.column_scales;
  some.target_scale = scaled.target_scale;
  some.num_inputs = scaled.num_inputs;
  some.has_bias = scaled.has_bias;
  ScaleColumns(some.column_scales, some.design);
  some.targets.resize(some.design.padded_samples());
  for (size_t k = 0; k < rows.size(); ++k) {
    AddTarget(samples.targets[rows[k]], static_cast<int64_t>(k), some);
  }
  return some;
}

SparseNetwork ToScaled(const ScaledSamples& scaled, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *=
        scaled.target_scale / scaled.column_scales[network.weights.column[e]];
  }
  for (size_t q = 0; q < network.linear.size(); ++q) {
    network.linear[q] *= scaled.target_scale / scaled.column_scales[q];
  }
  return network;
}

SparseNetwork FromScaled(const ScaledSamples& scaled, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *=
        scaled.column_scales[network.weights.column[e]] / scaled.target_scale;
  }
  for (size_t q = 0; q < network.linear.size(); ++q) {
    network.linear[q] *= scaled.column_scales[q] / scaled.target_scale;
  }
  return network;
}

}  // namespace thresher
