#include "core/pruning/adam.h"

#include <cmath>

namespace thresher {

void AdamStep(double learning_rate, double weight_decay, double l2, int64_t step,
              std::span<const float> gradient, std::span<float> weight,
              std::span<float> first_moment, std::span<float> second_moment) {
  constexpr double kDecay1 = 0.9;
  constexpr double kDecay2 = 0.999;
  constexpr float kEpsilon = 1e-8f;
  const auto t = static_cast<double>(step);
  const auto rate = static_cast<float>(learning_rate / (1 - std::pow(kDecay1, t)));
  const auto kept = static_cast<float>(1 - learning_rate * weight_decay);
  const auto root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(kDecay2, t)));
  const auto penalty = static_cast<float>(l2);
  constexpr auto kOld1 = static_cast<float>(kDecay1);
  constexpr auto kNew1 = static_cast<float>(1 - kDecay1);
  constexpr auto kOld2 = static_cast<float>(kDecay2);
  constexpr auto kNew2 = static_cast<float>(1 - kDecay2);
  const float* __restrict g = gradient.data();
  float* __restrict w = weight.data();
  float* __restrict m = first_moment.data();
  float* __restrict v = second_moment.data();
  const size_t size = gradient.size();
  for (size_t e = 0; e < size; ++e) {
    const float slope = g[e] + penalty * w[e];
    m[e] = kOld1 * m[e] + kNew1 * slope;
    v[e] = kOld2 * v[e] + kNew2 * (slope * slope);
    w[e] = kept * w[e] - rate * (m[e] / (std::sqrt(v[e]) * root_scale + kEpsilon));
  }
}

}  // namespace thresher
