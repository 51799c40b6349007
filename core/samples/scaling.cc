#include "core/samples/scaling.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/samples/unlabelled.h"

namespace thresher {
namespace {

struct Affine {
  double offset = 0;
  double scale = 1;
};

// Mean and standard deviation of each column, in two passes over the rows. A constant column
// gets its own value as the offset, so that it becomes exactly 0.
std::vector<Affine> ColumnMoments(std::span<const float> values, int64_t num_columns) {
  const int64_t num_rows = static_cast<int64_t>(values.size()) / num_columns;
  std::vector<double> mean(num_columns, 0);
  std::vector<double> variance(num_columns, 0);
  std::vector<bool> varies(num_columns, false);
  for (int64_t i = 0; i < num_rows; ++i) {
    for (int64_t q = 0; q < num_columns; ++q) {
      const float value = values[i * num_columns + q];
      mean[q] += value;
      if (value != values[q]) varies[q] = true;
    }
  }
  for (double& sum : mean) sum /= static_cast<double>(num_rows);
  for (int64_t i = 0; i < num_rows; ++i) {
    for (int64_t q = 0; q < num_columns; ++q) {
      const double difference = values[i * num_columns + q] - mean[q];
      variance[q] += difference * difference;
    }
  }
  std::vector<Affine> moments(num_columns);
  for (int64_t q = 0; q < num_columns; ++q) {
    if (varies[q]) {
      moments[q] = {mean[q], std::sqrt(variance[q] / static_cast<double>(num_rows))};
    } else {
      moments[q] = {values[q], 1};
    }
  }
  return moments;
}

float Scaled(float value, Affine affine) {
  return static_cast<float>((value - affine.offset) / affine.scale);
}

void ScaleInputs(const std::vector<Affine>& columns, Samples& samples) {
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t q = 0; q < samples.num_inputs; ++q) {
      float& value = samples.inputs[i * samples.num_inputs + q];
      value = Scaled(value, columns[q]);
    }
  }
  samples.scaling.input_offset.resize(columns.size());
  samples.scaling.input_scale.resize(columns.size());
  for (size_t q = 0; q < columns.size(); ++q) {
    samples.scaling.input_offset[q] = columns[q].offset;
    samples.scaling.input_scale[q] = columns[q].scale;
  }
}

}  // namespace

absl::Status ScaleSamples(ScalingMode mode, Samples& samples) {
  if (mode == ScalingMode::kNone) return absl::OkStatus();
  if (samples.scaling != Scaling{}) {
    return absl::FailedPreconditionError("scaling: the samples are scaled already");
  }
  if (absl::Status status = ValidateLabelledOrNot(samples); !status.ok()) return status;

  if (mode == ScalingMode::kUnitRange) {
    float largest = 0;
    for (const float value : samples.inputs) largest = std::max(largest, std::fabs(value));
    const Affine affine = {0, largest > 0 ? largest : 1.0};
    ScaleInputs(std::vector<Affine>(samples.num_inputs, affine), samples);
    return absl::OkStatus();
  }

  ScaleInputs(ColumnMoments(samples.inputs, samples.num_inputs), samples);
  if (HasTargets(samples) && samples.class_names.empty()) {
    const Affine affine = ColumnMoments(samples.targets, 1)[0];
    for (float& target : samples.targets) target = Scaled(target, affine);
    samples.scaling.target_offset = affine.offset;
    samples.scaling.target_scale = affine.scale;
  }
  return absl::OkStatus();
}

void RescaleInputs(const Scaling& to, Samples& samples) {
  const Scaling& from = samples.scaling;
  if (from.input_offset == to.input_offset && from.input_scale == to.input_scale) return;
  const int64_t d = samples.num_inputs;
  // (x * from_scale + from_offset - to_offset) / to_scale, column by column.
  std::vector<double> from_offset = from.input_offset;
  std::vector<double> from_scale = from.input_scale;
  std::vector<double> to_offset = to.input_offset;
  std::vector<double> to_scale = to.input_scale;
  from_offset.resize(d, 0);
  from_scale.resize(d, 1);
  to_offset.resize(d, 0);
  to_scale.resize(d, 1);
  float* row = samples.inputs.data();
  for (int64_t i = 0; i < samples.num_samples; ++i, row += d) {
    for (int64_t q = 0; q < d; ++q) {
      row[q] = static_cast<float>((row[q] * from_scale[q] + from_offset[q] - to_offset[q]) /
                                  to_scale[q]);
    }
  }
}

void RescaleTargets(double offset, double scale, Samples& samples) {
  const Scaling& from = samples.scaling;
  if (from.target_offset == offset && from.target_scale == scale) return;
  for (float& target : samples.targets) {
    target = static_cast<float>((target * from.target_scale + from.target_offset - offset) / scale);
  }
}

}  // namespace thresher
