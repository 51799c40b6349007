// Evaluation of sparse networks against dense Eigen in the same run, one thread: a network of
// 784-300-100-10 with a share of its weights, one sample and 256. `ratio` is Eigen's time over
// ours.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/gates/random_gates.h"
#include "core/network/evaluation.h"
#include "tests/benchmark/eigen_product.h"

namespace thresher {
namespace {

constexpr int64_t kWidths[] = {784, 300, 100, 10};

// Each entry with the probability `share`.
SparseNetwork RandomNetwork(double share) {
  SparseNetwork network = {.num_inputs = kWidths[0], .has_bias = true};
  CounterRandom random(1, 0);
  for (int l = 0; l < 3; ++l) {
    SparseRows rows;
    for (int64_t r = 0; r < kWidths[l + 1]; ++r) {
      for (int64_t q = 0; q <= kWidths[l]; ++q) {
        if (random.NextUniform() >= share) continue;
        rows.column.push_back(static_cast<int32_t>(q));
        rows.value.push_back(random.NextNormal() / std::sqrt(share * kWidths[l]));
      }
      rows.row_begin.push_back(rows.nonzeros());
    }
    if (l == 0) {
      network.weights = rows;
    } else {
      network.upper_layers.push_back(rows);
    }
  }
  return network;
}

DenseLayers Densified(const SparseNetwork& network) {
  DenseLayers layers;
  for (int l = 0; l < 3; ++l) {
    const SparseRows& rows = l == 0 ? network.weights : network.upper_layers[l - 1];
    layers.widths.push_back(kWidths[l]);
    layers.weights.emplace_back(kWidths[l] * kWidths[l + 1]);
    layers.biases.emplace_back(kWidths[l + 1]);
    for (int64_t r = 0; r < kWidths[l + 1]; ++r) {
      for (int64_t e = rows.row_begin[r]; e < rows.row_begin[r + 1]; ++e) {
        const auto value = static_cast<float>(rows.value[e]);
        if (rows.column[e] == kWidths[l]) {
          layers.biases[l][r] = value;
        } else {
          layers.weights[l][r * kWidths[l] + rows.column[e]] = value;
        }
      }
    }
  }
  layers.widths.push_back(kWidths[3]);
  return layers;
}

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Arguments: weights in thousandths, samples, zeros among the inputs in percent (81 in MNIST). Ours
// and Eigen's turns alternate.
void BM_SparseAgainstEigen(benchmark::State& state) {
  const SparseNetwork network = RandomNetwork(static_cast<double>(state.range(0)) / 1000);
  const int64_t n = state.range(1);
  const EvaluationPlan plan = *MakeEvaluationPlan(network);
  const DenseLayers dense = Densified(network);
  CounterRandom random(2, 0);
  std::vector<float> inputs(n * kWidths[0]);
  const double zeros = static_cast<double>(state.range(2)) / 100;
  for (float& input : inputs) {
    const bool is_zero = random.NextUniform() < zeros;
    input = is_zero ? 0 : static_cast<float>(random.NextNormal());
  }
  std::vector<double> outputs(n * kWidths[3]);
  std::vector<float> dense_outputs(outputs.size());
  std::vector<double> ours;
  std::vector<double> eigens;
  for ([[maybe_unused]] auto _ : state) {
    const double begin = Seconds();
    if (!Evaluate(plan, {inputs.data(), n, kWidths[0]}, outputs).ok()) {
      state.SkipWithError("not evaluated");
    }
    benchmark::DoNotOptimize(outputs.data());
    const double middle = Seconds();
    EigenLayers(dense, inputs.data(), n, dense_outputs.data());
    benchmark::DoNotOptimize(dense_outputs.data());
    const double end = Seconds();
    ours.push_back(middle - begin);
    eigens.push_back(end - middle);
    state.SetIterationTime(middle - begin);
  }
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!(std::abs(outputs[k] - dense_outputs[k]) <= 1e-3 * (1 + std::abs(outputs[k])))) {
      state.SkipWithError("Eigen's outputs differ");
    }
  }
  state.counters["weights"] = static_cast<double>(Nonzeros(network));
  state.counters["median_us"] = 1e6 * Median(ours);
  state.counters["eigen_us"] = 1e6 * Median(eigens);
  state.counters["ratio"] = Median(eigens) / Median(ours);
}
BENCHMARK(BM_SparseAgainstEigen)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgNames({"thousandths", "samples", "zeros"})
    ->ArgsProduct({{10, 20, 50, 100, 200, 300, 400, 500, 1000}, {1, 8, 256}, {0, 81}});

}  // namespace
}  // namespace thresher

BENCHMARK_MAIN();
