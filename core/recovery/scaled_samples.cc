#include "core/recovery/scaled_samples.h"

#include <cmath>
#include <utility>

namespace thresher {
namespace {

// The power of two that brings the root mean square to about 1.
double UnitScale(double sum_of_squares, int64_t count) {
  const double rms = std::sqrt(sum_of_squares / static_cast<double>(count));
  return rms > 0 ? std::exp2(-std::round(std::log2(rms))) : 1.0;
}

}  // namespace

ScaledSamples ScaleToUnit(const Samples& samples, bool bias) {
  const int64_t n = samples.num_samples;
  ScaledSamples scaled = {.design = MakeDesign(samples.input_view(), bias),
                          .num_inputs = samples.num_inputs,
                          .has_bias = bias};
  Design& design = scaled.design;
  for (int64_t q = 0; q < design.num_columns; ++q) {
    float* column = design.columns.get() + q * design.padded_samples();
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(column[i]) * column[i];
    scaled.column_scales.push_back(UnitScale(sum, n));
    const auto scale = static_cast<float>(scaled.column_scales.back());
    for (int64_t i = 0; i < n; ++i) {
      column[i] *= scale;
      design.rows[i * design.row_stride + q] *= scale;
    }
  }
  double sum = 0;
  for (const float target : samples.targets) sum += static_cast<double>(target) * target;
  scaled.target_scale = UnitScale(sum, n);
  scaled.targets.resize(design.padded_samples());
  for (int64_t i = 0; i < n; ++i) {
    scaled.targets[i] = scaled.target_scale * samples.targets[i];
    scaled.target_norm2 += scaled.targets[i] * scaled.targets[i];
  }
  return scaled;
}

SparseNetwork ToScaled(const ScaledSamples& scaled, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *=
        scaled.target_scale / scaled.column_scales[network.weights.column[e]];
  }
  return network;
}

SparseNetwork FromScaled(const ScaledSamples& scaled, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *=
        scaled.column_scales[network.weights.column[e]] / scaled.target_scale;
  }
  return network;
}

}  // namespace thresher
