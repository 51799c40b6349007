// The gated adjoint, as the solver runs it (selection of the largest entries included),
// against dense single-precision products of the same shape: G (m x d) = M^T (m x n) X (n x d)
// with the mask expanded to floats.
//
//   adjoint_benchmark --benchmark_repetitions=7 --benchmark_report_aggregates_only=true
//
// Rows are interleaved by --benchmark_enable_random_interleaving=true: compare medians of one
// run only. GFLOP/s count n d m multiply-adds as two, whatever is really done.
#include <cblas.h>
#include <dnnl.h>
#include <omp.h>

#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/gates/random_gates.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/kernels/top_gradient.h"
#include "tests/benchmark/eigen_product.h"

namespace thresher {
namespace {

struct Shape {
  int64_t n;
  int64_t d;
  int64_t m;
};

// Built once a shape, shared by all rows.
struct Problem {
  Shape shape;
  std::vector<float> inputs;
  Design design;
  GateField gates;
  std::vector<double> residual;
  std::vector<float> expanded;  // n x m, mask times residual

  explicit Problem(const Shape& s)
      : shape(s),
        inputs([&] {
          CounterRandom random(1, 1);
          std::vector<float> values(s.n * s.d);
          for (float& value : values) value = static_cast<float>(random.NextNormal());
          return values;
        }()),
        design(MakeDesign({inputs.data(), s.n, s.d}, false)),
        gates(RandomGateSet{1, s.m}, design),
        residual(design.padded_samples(), 0.0),
        expanded(s.n * s.m) {
    CounterRandom random(1, 2);
    for (int64_t i = 0; i < s.n; ++i) residual[i] = random.NextNormal();
    Engine engine(2);
    gates.KeepMasks(engine, design, int64_t{1} << 40);
    std::vector<uint64_t> scratch;
    const GateField::Block all = gates.PrepareBlock(0, s.m);
    for (int64_t i = 0; i < s.n; ++i) {
      const uint64_t* words = gates.BlockWords(engine, design, all, i / 64, scratch);
      for (int64_t j = 0; j < s.m; ++j) {
        expanded[i * s.m + j] =
            (words[j] >> (i % 64) & 1) != 0 ? static_cast<float>(residual[i]) : 0.0f;
      }
    }
  }
};

Problem& SharedProblem(const Shape& shape) {
  static std::unique_ptr<Problem> problem;
  if (problem == nullptr || problem->shape.n != shape.n || problem->shape.m != shape.m ||
      problem->shape.d != shape.d) {
    problem = nullptr;
    problem = std::make_unique<Problem>(shape);
  }
  return *problem;
}

void Report(benchmark::State& state, const Shape& shape) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * static_cast<double>(shape.n * shape.d * shape.m),
                         benchmark::Counter::kIsIterationInvariantRate);
}

void TableLookup(benchmark::State& state, Shape shape, InstructionSet set, int num_threads) {
  Problem& problem = SharedProblem(shape);
  Engine engine(num_threads, {}, set);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        TopGradient(engine, problem.design, problem.gates, problem.residual, 1000, {}));
  }
  Report(state, shape);
}

void OpenBlas(benchmark::State& state, Shape shape, int num_threads) {
  Problem& problem = SharedProblem(shape);
  openblas_set_num_threads(num_threads);
  std::vector<float> product(shape.m * shape.d);
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(shape.m),
                static_cast<int>(shape.d), static_cast<int>(shape.n), 1, problem.expanded.data(),
                static_cast<int>(shape.m), problem.inputs.data(), static_cast<int>(shape.d), 0,
                product.data(), static_cast<int>(shape.d));
    benchmark::DoNotOptimize(product.data());
  }
  Report(state, shape);
}

void OneDnn(benchmark::State& state, Shape shape, int num_threads) {
  Problem& problem = SharedProblem(shape);
  omp_set_num_threads(num_threads);
  std::vector<float> product(shape.m * shape.d);
  for (auto _ : state) {
    dnnl_sgemm('T', 'N', shape.m, shape.d, shape.n, 1, problem.expanded.data(), shape.m,
               problem.inputs.data(), shape.d, 0, product.data(), shape.d);
    benchmark::DoNotOptimize(product.data());
  }
  Report(state, shape);
}

void Eigen(benchmark::State& state, Shape shape, int num_threads) {
  Problem& problem = SharedProblem(shape);
  std::vector<float> product(shape.m * shape.d);
  for (auto _ : state) {
    EigenProduct(problem.expanded.data(), problem.inputs.data(), product.data(), shape.n, shape.m,
                 shape.d, num_threads);
    benchmark::DoNotOptimize(product.data());
  }
  Report(state, shape);
}

void Register(const Shape& shape) {
  const std::string suffix = "/n:" + std::to_string(shape.n) + "/d:" + std::to_string(shape.d) +
                             "/m:" + std::to_string(shape.m);
  const auto add = [&](const std::string& name, int num_threads, auto function) {
    benchmark::RegisterBenchmark(
        (name + suffix + "/threads:" + std::to_string(num_threads)).c_str(), function)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const int num_threads : {1, 2}) {
    for (const InstructionSet set : AvailableInstructionSets()) {
      add("adjoint_" + std::string(InstructionSetName(set)), num_threads,
          [=](benchmark::State& state) { TableLookup(state, shape, set, num_threads); });
    }
    add("sgemm_openblas", num_threads,
        [=](benchmark::State& state) { OpenBlas(state, shape, num_threads); });
    add("sgemm_onednn", num_threads,
        [=](benchmark::State& state) { OneDnn(state, shape, num_threads); });
    if (DetectInstructionSet() == InstructionSet::kAvx512) {
      add("sgemm_eigen_avx512", num_threads,
          [=](benchmark::State& state) { Eigen(state, shape, num_threads); });
    }
  }
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  thresher::Register({50000, 100, 1000});
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
