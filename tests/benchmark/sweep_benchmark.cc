// The angular sweep over all half-planes of all pairs of inputs: time a pass, as a table.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/kernels/angular_sweep.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"

namespace thresher {
namespace {

double MedianSeconds(const std::function<void()>& pass) {
  constexpr int kPasses = 5;
  std::vector<double> seconds;
  for (int k = 0; k < kPasses; ++k) {
    const auto begin = std::chrono::steady_clock::now();
    pass();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kPasses / 2];
}

void Measure(int64_t n, int64_t d) {
  CounterRandom random(1, 1);
  std::vector<float> inputs(n * d);
  for (float& value : inputs) value = static_cast<float>(random.NextNormal());
  const Design design = MakeDesign({inputs.data(), n, d}, /*bias=*/false);
  std::vector<double> target(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < n; ++i) target[i] = random.NextNormal();
  for (const int threads : {1, 2}) {
    Engine engine(threads);
    AngleOrders orders;
    const double sort =
        MedianSeconds([&] { orders = SortByAngle(engine, design, int64_t{1} << 31); });
    const auto sweep = [&](const AngleOrders& kept, SweepFit fit) {
      return MedianSeconds([&] { BestHalfPlanes(engine, design, kept, target, fit, 32); });
    };
    std::printf("%8ld %5ld %8d %12.3f %12.3f %12.3f %16.3f\n", static_cast<long>(n),
                static_cast<long>(d), threads, sort, sweep(orders, SweepFit::kGated),
                sweep(orders, SweepFit::kKink), sweep({}, SweepFit::kKink));
    std::fflush(stdout);
  }
}

int Main() {
  std::printf("seconds, medians of 5: all half-planes of all pairs, the best 32\n");
  std::printf("%8s %5s %8s %12s %12s %12s %16s\n", "n", "d", "threads", "sort", "gated", "relu",
              "gated, sorting");
  Measure(5000, 100);
  Measure(50000, 100);
  Measure(5000, 400);
  return 0;
}

}  // namespace
}  // namespace thresher

int main() { return thresher::Main(); }
