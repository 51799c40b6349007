#include "core/gates/gate_activity.h"

#include <cstddef>

namespace thresher {
namespace {

template <typename T>
double Preactivation(std::span<const float> inputs, std::span<const T> gate) {
  double sum[4] = {0, 0, 0, 0};
  const size_t whole = inputs.size() / 4 * 4;
  for (size_t q = 0; q < whole; q += 4) {
    for (size_t k = 0; k < 4; ++k) {
      sum[k] += static_cast<double>(inputs[q + k]) * static_cast<double>(gate[q + k]);
    }
  }
  for (size_t q = whole; q < inputs.size(); ++q) {
    sum[q % 4] += static_cast<double>(inputs[q]) * static_cast<double>(gate[q]);
  }
  if (gate.size() > inputs.size()) {
    sum[inputs.size() % 4] += static_cast<double>(gate[inputs.size()]);
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace

double GatePreactivation(std::span<const float> inputs, std::span<const float> gate) {
  return Preactivation(inputs, gate);
}

double GatePreactivation(std::span<const float> inputs, std::span<const double> gate) {
  return Preactivation(inputs, gate);
}

}  // namespace thresher
