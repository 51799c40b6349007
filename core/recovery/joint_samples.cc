#include "core/recovery/joint_samples.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/network/compare.h"

namespace thresher {

double JointSamples::RelativeResidual(double loss) const { return std::sqrt(loss / target_norm2); }

double JointSamples::PsnrDb(double loss) const {
  return thresher::PsnrDb(loss, scaled.design.num_samples * num_outputs, max_target);
}

JointSamples MakeJointSamples(const Samples& samples, bool bias) {
  JointSamples joint;
  // One scale for all outputs: the sum of their squared errors is what counts.
  joint.scaled = ScaleToUnit(samples.input_view(), bias);
  joint.num_outputs = samples.num_outputs;
  const int64_t padded = joint.scaled.design.padded_samples();
  joint.targets.assign(joint.num_outputs * padded, 0.0);
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    for (int64_t o = 0; o < joint.num_outputs; ++o) {
      const double target = samples.targets[i * joint.num_outputs + o];
      joint.targets[o * padded + i] = target;
      joint.target_norm2 += target * target;
      joint.max_target = std::max(joint.max_target, std::abs(target));
    }
  }
  return joint;
}

SparseNetwork ToScaled(const JointSamples& samples, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] /= samples.scaled.column_scales[network.weights.column[e]];
  }
  return network;
}

SparseNetwork FromScaled(const JointSamples& samples, SparseNetwork network) {
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    network.weights.value[e] *= samples.scaled.column_scales[network.weights.column[e]];
  }
  return network;
}

}  // namespace thresher
