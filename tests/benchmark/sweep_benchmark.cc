// Enumerated gates: the time of an angular sweep over all half-planes of all pairs of inputs,
// and recovery of planted neurons of two weights, as tables.
//
//   sweep_benchmark sweep | planted SEEDS
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/kernels/angular_sweep.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/compare.h"
#include "core/recovery/recovery.h"

namespace thresher {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double MedianSeconds(const std::function<void()>& pass) {
  constexpr int kPasses = 5;
  std::vector<double> seconds;
  for (int k = 0; k < kPasses; ++k) {
    const auto begin = std::chrono::steady_clock::now();
    pass();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return Median(seconds);
}

void SweepOf(int64_t n, int64_t d) {
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

void Sweep() {
  std::printf("seconds, medians of 5: all half-planes of all pairs, the best 32\n");
  std::printf("%8s %5s %8s %12s %12s %12s %16s\n", "n", "d", "threads", "sort", "gated", "kink",
              "kink, sorting");
  SweepOf(5000, 100);
  SweepOf(20000, 100);
  SweepOf(5000, 200);
}

// m neurons of two weights N(0, 1) on inputs drawn at random; inputs N(0, 1), neighbours with
// the given correlation.
struct TwoSparse {
  Samples samples;
  SparseNetwork network;
};
TwoSparse Plant(int64_t n, int64_t d, int64_t m, double correlation, bool mixed, uint64_t seed) {
  CounterRandom random(seed, 1);
  TwoSparse planted;
  planted.network.num_inputs = d;
  for (int64_t j = 0; j < m; ++j) {
    auto a = static_cast<int32_t>(random.NextBelow(d));
    auto b = static_cast<int32_t>(random.NextBelow(d - 1));
    if (b >= a) ++b;
    if (b < a) std::swap(a, b);
    for (const int32_t q : {a, b}) {
      planted.network.weights.column.push_back(q);
      planted.network.weights.value.push_back(random.NextNormal());
    }
    planted.network.weights.row_begin.push_back(2 * (j + 1));
    planted.network.output_signs.push_back(mixed && random.NextBelow(2) == 1 ? -1 : 1);
  }
  planted.samples.num_samples = n;
  planted.samples.num_inputs = d;
  for (int64_t i = 0; i < n; ++i) {
    double last = random.NextNormal();
    for (int64_t q = 0; q < d; ++q) {
      last = correlation * last + std::sqrt(1 - correlation * correlation) * random.NextNormal();
      planted.samples.inputs.push_back(static_cast<float>(last));
    }
  }
  std::vector<double> targets(n);
  if (!Evaluate(planted.network, planted.samples.input_view(), targets).ok()) std::abort();
  planted.samples.targets.assign(targets.begin(), targets.end());
  return planted;
}

void Planted(int64_t seeds) {
  constexpr int64_t kSamples = 5000;
  constexpr int64_t kInputs = 100;
  std::printf("planted neurons of two weights, n = 5000, d = 100, enumerated gates, 2 threads\n");
  std::printf("%6s %12s %8s %8s %12s %12s\n", "m", "correlation", "signs", "exact", "median s",
              "largest s");
  for (const int64_t m : {1, 2, 5, 10, 20, 50}) {
    for (const double correlation : {0.0, 0.5}) {
      for (const bool mixed : {false, true}) {
        int64_t exact = 0;
        std::vector<double> seconds;
        for (int64_t seed = 0; seed < seeds; ++seed) {
          const TwoSparse planted = Plant(kSamples, kInputs, m, correlation, mixed, seed);
          const TwoSparse fresh = Plant(2000, kInputs, 1, correlation, false, seed + 1000000);
          RecoveryOptions options;
          options.hidden_width = m;
          options.nonzeros = 2 * m;
          options.gate_mode = GateMode::kEnumerated;
          options.output_signs = mixed ? OutputSigns::kMixed : OutputSigns::kPositive;
          options.num_threads = 2;
          const absl::StatusOr<RecoveryResult> result = Recover(planted.samples, options);
          if (!result.ok()) std::abort();
          seconds.push_back(result->elapsed_seconds);
          const auto* network = std::get_if<SparseNetwork>(&result->network);
          if (network == nullptr) continue;
          const absl::StatusOr<NetworkComparison> comparison =
              CompareNetworks(*network, planted.network, fresh.samples.input_view());
          if (!comparison.ok()) std::abort();
          exact += comparison->psnr_db > 120 && comparison->relative_weight_error < 1e-4 ? 1 : 0;
        }
        std::printf("%6ld %12.1f %8s %4ld/%-3ld %12.2f %12.2f\n", static_cast<long>(m), correlation,
                    mixed ? "mixed" : "positive", static_cast<long>(exact),
                    static_cast<long>(seeds), Median(seconds),
                    *std::max_element(seconds.begin(), seconds.end()));
        std::fflush(stdout);
      }
    }
  }
}

int Main(int argc, char** argv) {
  const std::string_view table = argc > 1 ? argv[1] : "";
  if (table == "sweep" && argc == 2) {
    Sweep();
  } else if (table == "planted" && argc == 3 && std::atoi(argv[2]) > 0) {
    Planted(std::atoi(argv[2]));
  } else {
    std::fprintf(stderr, "usage: sweep_benchmark sweep | planted SEEDS\n");
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) { return thresher::Main(argc, argv); }
