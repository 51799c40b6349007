// Whether a gate is open for a sample: the one definition of the gate test.
#ifndef THRESHER_CORE_GATES_GATE_ACTIVITY_H_
#define THRESHER_CORE_GATES_GATE_ACTIVITY_H_

#include <span>

namespace thresher {

// x . h, where `gate` has as many entries as `inputs`, or one more for the constant
// input 1 behind them. Products and sums are in double: entry q is added to partial
// sum q mod 4, the constant's entry to partial sum (inputs.size() mod 4), and the
// result is (s0 + s1) + (s2 + s3). With a gate in float every product is exact, so
// the value is the same on every machine and for every compiler.
// Expects gate.size() - inputs.size() in {0, 1}.
double GatePreactivation(std::span<const float> inputs, std::span<const float> gate);
double GatePreactivation(std::span<const float> inputs, std::span<const double> gate);

// The gate test, strict: a sample with x . h = 0 is inactive, as a ReLU is at 0.
inline bool IsActive(std::span<const float> inputs, std::span<const float> gate) {
  return GatePreactivation(inputs, gate) > 0;
}
inline bool IsActive(std::span<const float> inputs, std::span<const double> gate) {
  return GatePreactivation(inputs, gate) > 0;
}

}  // namespace thresher

#endif  // THRESHER_CORE_GATES_GATE_ACTIVITY_H_
