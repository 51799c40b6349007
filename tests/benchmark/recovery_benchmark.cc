// Whole solves: quality, time per step and memory, as tables.
//
//   recovery_benchmark quality | steps | memory | growth | fixed_gates SEEDS
//                      | grid|full_size|phase_transition SEEDS positive|mixed
//                      | path SEEDS information|held_out|k_fold NOISE_DB|exact | noise SEEDS
//                      NOISE_DB
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/kernels/engine.h"
#include "core/kernels/instruction_set.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/path.h"
#include "core/recovery/prune_back.h"
#include "core/recovery/recovery.h"
#include "core/recovery/refine.h"
#include "core/recovery/scaled_samples.h"
#include "core/samples/planted.h"

namespace thresher {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

PlantedProblem Plant(int64_t n, int64_t d, int64_t m, int64_t s, uint64_t seed) {
  return OrDie(GeneratePlanted(
      {.num_samples = n, .num_inputs = d, .hidden_width = m, .nonzeros = s, .seed = seed}));
}

// Planted scalar task, the published algorithm at its published 15 steps.
void Quality() {
  std::printf("planted, n = 5000, d = 100, aiht, 15 iterations, 16 draws\n");
  std::printf("%6s %6s %12s %12s\n", "m", "s", "mean dB", "published dB");
  for (const auto& [m, s, published] : {std::tuple{20, 20, 29}, {20, 100, 26}, {100, 100, 29}}) {
    double sum = 0;
    for (uint64_t seed = 0; seed < 16; ++seed) {
      const PlantedProblem problem = Plant(5000, 100, m, s, seed);
      RecoveryOptions options;
      options.hidden_width = m;
      options.nonzeros = s;
      options.algorithm = Algorithm::kAiht;
      options.seed = seed + 1000;
      options.termination = {
          .max_iterations = 15, .relative_residual_tolerance = 0, .stagnation_iterations = 0};
      sum += OrDie(Recover(problem.samples, options)).psnr_db;
    }
    std::printf("%6d %6d %12.1f %12d\n", m, s, sum / 16, published);
  }
}

// Planted weights under fixed random gates: the convex problem.
struct GatedPlant {
  Samples samples;
  std::vector<double> weights;  // gate * num_inputs + input
};

GatedPlant PlantGated(int64_t n, int64_t d, int64_t p, int64_t s, uint64_t seed) {
  GatedPlant plant;
  plant.samples.num_samples = n;
  plant.samples.num_inputs = d;
  CounterRandom random(seed, 1);
  for (int64_t k = 0; k < n * d; ++k) {
    plant.samples.inputs.push_back(static_cast<float>(random.NextNormal()));
  }
  plant.weights.resize(p * d);
  for (int64_t placed = 0; placed < s;) {
    double& weight = plant.weights[random.NextBelow(p * d)];
    if (weight != 0) continue;
    weight = random.NextNormal();
    ++placed;
  }
  GatedNetwork network;
  network.num_inputs = d;
  network.gates = RandomGateSet{seed, p};
  for (int64_t j = 0; j < p; ++j) {
    network.gate_index.push_back(j);
    for (int64_t q = 0; q < d; ++q) {
      if (plant.weights[j * d + q] == 0) continue;
      network.weights.column.push_back(static_cast<int32_t>(q));
      network.weights.value.push_back(plant.weights[j * d + q]);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
  }
  std::vector<double> targets(n);
  if (!Evaluate(network, plant.samples.input_view(), targets).ok()) std::exit(1);
  plant.samples.targets.assign(targets.begin(), targets.end());
  return plant;
}

// || w - w_planted || / || w_planted ||.
double WeightError(const GatedNetwork& found, const GatedPlant& plant) {
  const int64_t d = plant.samples.num_inputs;
  std::vector<double> difference = plant.weights;
  double norm2 = 0;
  for (const double weight : plant.weights) norm2 += weight * weight;
  for (size_t k = 0; k < found.gate_index.size(); ++k) {
    for (int64_t e = found.weights.row_begin[k]; e < found.weights.row_begin[k + 1]; ++e) {
      difference[found.gate_index[k] * d + found.weights.column[e]] -= found.weights.value[e];
    }
  }
  double error2 = 0;
  for (const double value : difference) error2 += value * value;
  return std::sqrt(error2 / norm2);
}

// Every algorithm under fixed random gates: exact recoveries and times.
void FixedGates(int seeds) {
  constexpr double kExact = 1e-5;
  std::printf(
      "fixed random gates, n = 500, d = 20, p = 50, %d seeds: weights within 1e-5, median s\n",
      seeds);
  std::printf("%12s", "s");
  for (const int64_t s : {20, 40, 80, 120, 160, 200}) std::printf(" %15d", static_cast<int>(s));
  std::printf("\n");
  for (const Algorithm algorithm :
       {Algorithm::kIht, Algorithm::kReciprocal, Algorithm::kNiht, Algorithm::kAiht,
        Algorithm::kSvrg, Algorithm::kHtp, Algorithm::kCosamp, Algorithm::kSplicing}) {
    std::printf("%12s", std::string(AlgorithmName(algorithm)).c_str());
    for (const int64_t s : {20, 40, 80, 120, 160, 200}) {
      int found = 0;
      std::vector<double> seconds;
      for (int seed = 0; seed < seeds; ++seed) {
        const GatedPlant plant = PlantGated(500, 20, 50, s, static_cast<uint64_t>(seed));
        RecoveryOptions options;
        options.hidden_width = 50;
        options.nonzeros = s;
        options.algorithm = algorithm;
        options.gate_mode = GateMode::kRandom;
        options.seed = static_cast<uint64_t>(seed);
        const RecoveryResult result = OrDie(Recover(plant.samples, options));
        found += WeightError(std::get<GatedNetwork>(result.network), plant) < kExact ? 1 : 0;
        seconds.push_back(result.elapsed_seconds);
      }
      std::printf(" %4d/%-3d %5.2f s", found, seeds, Median(seconds));
      std::fflush(stdout);
    }
    std::printf("\n");
  }
}

// Of every iteration but the first.
std::vector<double> StepSeconds(const Samples& samples, const RecoveryOptions& options) {
  std::vector<double> seconds;
  double last = 0;
  RecoveryObserver observer;
  observer.on_iteration = [&](const IterationReport& report) {
    if (report.iteration > 1) seconds.push_back(report.elapsed_seconds - last);
    last = report.elapsed_seconds;
  };
  OrDie(Recover(samples, options, {}, observer));
  return seconds;
}

// One step of `aiht` at the paper's full size.
void Steps() {
  constexpr double kPublishedSeconds = 28;
  const PlantedProblem problem = Plant(50000, 100, 1000, 1000, 1);
  std::printf(
      "one step of aiht, n = 50000, d = 100, m = 1000, s = 1000, %s; published script: %g s\n",
      std::string(InstructionSetName(DetectInstructionSet())).c_str(), kPublishedSeconds);
  std::printf("%8s %12s %12s %14s\n", "threads", "median s", "least s", "times faster");
  for (const int num_threads : {1, 2}) {
    RecoveryOptions options;
    options.hidden_width = 1000;
    options.nonzeros = 1000;
    options.algorithm = Algorithm::kAiht;
    options.num_threads = num_threads;
    options.termination = {
        .max_iterations = 15, .relative_residual_tolerance = 0, .stagnation_iterations = 0};
    const std::vector<double> seconds = StepSeconds(problem.samples, options);
    std::printf("%8d %12.3f %12.3f %14.0f\n", num_threads, Median(seconds),
                *std::min_element(seconds.begin(), seconds.end()),
                kPublishedSeconds / Median(seconds));
  }
}

constexpr double kExactDecibel = 120;
constexpr double kExactWeights = 1e-4;

struct Shape {
  int64_t num_samples;
  int64_t hidden_width;
  int64_t nonzeros;
};

struct Trial {
  bool same_function;  // over 120 dB on fresh samples
  bool same_network;   // and weights within 1e-4
  double seconds;
};

Trial RecoverPlanted(const Shape& shape, OutputSigns signs, uint64_t seed, Algorithm algorithm,
                     int num_threads, double time_limit_seconds) {
  const PlantedProblem problem = OrDie(GeneratePlanted({.num_samples = shape.num_samples,
                                                        .num_inputs = 100,
                                                        .hidden_width = shape.hidden_width,
                                                        .nonzeros = shape.nonzeros,
                                                        .seed = seed,
                                                        .output_signs = signs}));
  RecoveryOptions options;
  options.hidden_width = shape.hidden_width;
  options.nonzeros = shape.nonzeros;
  options.output_signs = signs;
  options.seed = seed;
  options.algorithm = algorithm;
  options.num_threads = num_threads;
  options.termination.time_limit_seconds = time_limit_seconds;
  const RecoveryResult result = OrDie(Recover(problem.samples, options));
  // Inputs that the solver has not seen.
  const PlantedProblem fresh = Plant(2000, 100, 1, 1, 1000 + seed);
  const NetworkComparison comparison = OrDie(CompareNetworks(
      std::get<SparseNetwork>(result.network), problem.network, fresh.samples.input_view()));
  const bool same_function = comparison.psnr_db > kExactDecibel;
  return {same_function, same_function && comparison.relative_weight_error < kExactWeights,
          result.elapsed_seconds};
}

// The default algorithm on these shapes: exact recoveries and times.
void Recoveries(const std::vector<Shape>& shapes, OutputSigns signs, int seeds, int num_threads,
                double time_limit_seconds) {
  std::printf("planted, d = 100, default algorithm, threads: %d, %d seeds a cell\n", num_threads,
              seeds);
  std::printf("%7s %6s %6s %10s %10s %12s %12s\n", "n", "m", "s", "function", "network", "median s",
              "largest s");
  std::vector<Trial> all;
  const auto print = [](const std::vector<Trial>& trials) {
    std::vector<double> seconds;
    int functions = 0;
    int networks = 0;
    for (const Trial& trial : trials) {
      functions += trial.same_function ? 1 : 0;
      networks += trial.same_network ? 1 : 0;
      seconds.push_back(trial.seconds);
    }
    const auto count = static_cast<int>(trials.size());
    std::printf(" %6d/%-3d %6d/%-3d %12.2f %12.2f\n", functions, count, networks, count,
                Median(seconds), *std::max_element(seconds.begin(), seconds.end()));
    std::fflush(stdout);
  };
  for (const Shape& shape : shapes) {
    std::vector<Trial> trials;
    for (int seed = 0; seed < seeds; ++seed) {
      trials.push_back(RecoverPlanted(shape, signs, static_cast<uint64_t>(seed), Algorithm::kAuto,
                                      num_threads, time_limit_seconds));
    }
    all.insert(all.end(), trials.begin(), trials.end());
    std::printf("%7d %6d %6d", static_cast<int>(shape.num_samples),
                static_cast<int>(shape.hidden_width), static_cast<int>(shape.nonzeros));
    print(trials);
  }
  std::printf("%21s", "all");
  print(all);
}

void Grid(int seeds, OutputSigns signs) {
  std::vector<Shape> shapes;
  for (const int64_t m : {5, 20, 50, 100}) {
    for (const int64_t s : {5, 20, 50, 100, 200}) shapes.push_back({5000, m, s});
  }
  Recoveries(shapes, signs, seeds, /*num_threads=*/1, /*time_limit_seconds=*/0);
}

// The paper's full size.
void FullSize(int seeds, OutputSigns signs) {
  Recoveries({{50000, 100, 100},
              {50000, 1000, 200},
              {50000, 50, 1000},
              {50000, 200, 1000},
              {50000, 500, 500},
              {50000, 1000, 1000}},
             signs, seeds, /*num_threads=*/2, /*time_limit_seconds=*/120);
}

// Success rates over the number of samples, in multiples of s ln(d m / s).
void PhaseTransition(int seeds, OutputSigns signs) {
  const std::vector<int> multiples = {1, 2, 3, 4, 6, 8, 12};
  std::printf("planted, d = 100, %d seeds a cell: exact functions at n = c s ln(d m / s)\n", seeds);
  std::printf("%6s %6s %10s", "m", "s", "algorithm");
  for (const int c : multiples) std::printf("   c = %-2d", c);
  std::printf("\n");
  for (const auto& [m, s] : {std::pair{50, 50}, {25, 50}, {10, 50}, {100, 100}, {20, 100}}) {
    for (const Algorithm algorithm :
         {Algorithm::kAiht, Algorithm::kNiht, Algorithm::kHtp, Algorithm::kWinnow}) {
      std::printf("%6d %6d %10s", m, s, std::string(AlgorithmName(algorithm)).c_str());
      for (const int c : multiples) {
        const auto n = static_cast<int64_t>(std::ceil(c * s * std::log(100.0 * m / s)));
        int exact = 0;
        for (int seed = 0; seed < seeds; ++seed) {
          exact += RecoverPlanted({n, m, s}, signs, static_cast<uint64_t>(seed), algorithm,
                                  /*num_threads=*/1, /*time_limit_seconds=*/60)
                           .same_function
                       ? 1
                       : 0;
        }
        std::printf(" %4d/%-3d", exact, seeds);
        std::fflush(stdout);
      }
      std::printf("\n");
    }
  }
}

// A planted problem with noise, and what of it can be told from the noise.
struct NoisyProblem {
  PlantedProblem planted;
  SparseNetwork reduced;  // parallel neurons merged: it may have fewer weights
  // Its weights whose removal would cost more than the largest of d m candidates gains by chance:
  // a saliency over 2 ln(d m) variances of the noise.
  int64_t above_floor = 0;
};

NoisyProblem PlantNoisy(int64_t m, int64_t s, uint64_t seed, std::optional<double> noise_db) {
  constexpr int64_t n = 5000;
  NoisyProblem problem;
  problem.planted = OrDie(GeneratePlanted({.num_samples = n,
                                           .num_inputs = 100,
                                           .hidden_width = m,
                                           .nonzeros = s,
                                           .seed = seed,
                                           .noise_db = noise_db}));
  problem.reduced = ReduceNetwork(problem.planted.network);
  problem.above_floor = problem.reduced.weights.nonzeros();
  if (!noise_db) return problem;
  const ScaledSamples scaled = ScaleToUnit(problem.planted.samples, /*bias=*/false);
  Engine engine(1);
  SparseNetwork network = ToScaled(scaled, problem.reduced);
  const double loss =
      Refine(scaled.problem(engine), {.max_steps = 30, .max_products = 300}, network);
  const double floor = 2 * std::log(100.0 * static_cast<double>(m)) * loss / n;
  const std::vector<double> saliencies = Saliencies(scaled.problem(engine), network);
  problem.above_floor = std::count_if(saliencies.begin(), saliencies.end(),
                                      [floor](double saliency) { return saliency > floor; });
  return problem;
}

bool WithinTenPercent(int64_t chosen, int64_t truth) {
  return 10 * std::abs(chosen - truth) <= truth;
}

// The budget chosen from [s / 4, 4 s] by a path.
void Path(int seeds, SelectionCriterion criterion, std::optional<double> noise_db) {
  std::printf("budget chosen from s / 4 to 4 s, n = 5000, d = 100, %s, %s, 1 thread\n",
              std::string(SelectionCriterionName(criterion)).c_str(),
              noise_db ? "with noise" : "without noise");
  std::printf("%6s %6s %12s %12s %8s %10s %10s\n", "m", "s", "10% of s", "of weights", "equal",
              "median s", "largest s");
  int runs = 0;
  int all[3] = {0, 0, 0};
  for (const int64_t m : {5, 20, 50}) {
    for (const int64_t s : {20, 50, 100}) {
      int found[3] = {0, 0, 0};
      std::vector<double> seconds;
      for (int seed = 0; seed < seeds; ++seed) {
        const NoisyProblem problem = PlantNoisy(m, s, static_cast<uint64_t>(seed), noise_db);
        RecoveryOptions options;
        options.hidden_width = m;
        options.seed = static_cast<uint64_t>(seed);
        PathOptions path;
        path.min_nonzeros = s / 4;
        path.max_nonzeros = std::min(4 * s, 100 * m);
        path.criterion = criterion;
        const PathResult result = OrDie(RecoverPath(problem.planted.samples, options, path));
        const int64_t chosen = result.recovery.options_used.nonzeros;
        found[0] += WithinTenPercent(chosen, s) ? 1 : 0;
        found[1] += WithinTenPercent(chosen, problem.above_floor) ? 1 : 0;
        found[2] += chosen == problem.above_floor ? 1 : 0;
        seconds.push_back(result.recovery.elapsed_seconds);
      }
      std::printf("%6d %6d %8d/%-3d %8d/%-3d %4d/%-3d %10.2f %10.2f\n", static_cast<int>(m),
                  static_cast<int>(s), found[0], seeds, found[1], seeds, found[2], seeds,
                  Median(seconds), *std::max_element(seconds.begin(), seconds.end()));
      std::fflush(stdout);
      runs += seeds;
      for (int k = 0; k < 3; ++k) all[k] += found[k];
    }
  }
  std::printf("%13s %8d/%-3d %8d/%-3d %4d/%-3d\n", "all", all[0], runs, all[1], runs, all[2], runs);
}

// The budget is known; runs in which a weight lies under the noise floor are left out.
void Noise(int seeds, double noise_db) {
  std::printf("known budget, n = 5000, d = 100, noise at %g dB, every weight above the floor\n",
              noise_db);
  std::printf("%6s %6s %8s %10s %10s %10s\n", "m", "s", "runs", "support", "median s", "largest s");
  int all_runs = 0;
  int all_found = 0;
  for (const int64_t m : {5, 20, 50}) {
    for (const int64_t s : {20, 50, 100}) {
      int found = 0;
      std::vector<double> seconds;
      for (int seed = 0; seed < seeds; ++seed) {
        const NoisyProblem problem = PlantNoisy(m, s, static_cast<uint64_t>(seed), noise_db);
        if (problem.above_floor < problem.reduced.weights.nonzeros()) continue;
        RecoveryOptions options;
        options.hidden_width = m;
        options.nonzeros = problem.above_floor;
        options.seed = static_cast<uint64_t>(seed);
        const RecoveryResult result = OrDie(Recover(problem.planted.samples, options));
        const NetworkComparison comparison =
            OrDie(CompareNetworks(std::get<SparseNetwork>(result.network), problem.planted.network,
                                  problem.planted.samples.input_view()));
        found += comparison.same_support ? 1 : 0;
        seconds.push_back(result.elapsed_seconds);
      }
      const int runs = static_cast<int>(seconds.size());
      if (runs == 0) continue;
      std::printf("%6d %6d %8d %10d %10.2f %10.2f\n", static_cast<int>(m), static_cast<int>(s),
                  runs, found, Median(seconds), *std::max_element(seconds.begin(), seconds.end()));
      std::fflush(stdout);
      all_runs += runs;
      all_found += found;
    }
  }
  std::printf("%13s %8d %10d\n", "all", all_runs, all_found);
}

struct GrowthShape {
  int64_t num_samples = 10000;
  int64_t num_inputs = 100;
  int64_t hidden_width = 100;
  int64_t nonzeros = 100;
};

PlantedProblem PlantShape(const GrowthShape& shape, uint64_t seed) {
  return OrDie(GeneratePlanted({.num_samples = shape.num_samples,
                                .num_inputs = shape.num_inputs,
                                .hidden_width = shape.hidden_width,
                                .nonzeros = shape.nonzeros,
                                .seed = seed}));
}

// Median seconds of a step of `niht` under fixed random gates.
double NihtStepSeconds(const GrowthShape& shape) {
  const PlantedProblem problem = PlantShape(shape, 1);
  RecoveryOptions options;
  options.hidden_width = shape.hidden_width;
  options.nonzeros = shape.nonzeros;
  options.algorithm = Algorithm::kNiht;
  options.gate_mode = GateMode::kRandom;
  options.termination = {
      .max_iterations = 12, .relative_residual_tolerance = 0, .stagnation_iterations = 0};
  return Median(StepSeconds(problem.samples, options));
}

// Median seconds of a solve with the default, of five seeds.
double SolveSeconds(const GrowthShape& shape) {
  std::vector<double> seconds;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const PlantedProblem problem = PlantShape(shape, seed);
    RecoveryOptions options;
    options.hidden_width = shape.hidden_width;
    options.nonzeros = shape.nonzeros;
    options.seed = seed;
    seconds.push_back(OrDie(Recover(problem.samples, options)).elapsed_seconds);
  }
  return Median(seconds);
}

// Time against each size, the others as GrowthShape has them, and the exponent of the fitted
// power law.
void Growth() {
  constexpr int kSizes = 5;
  struct Size {
    const char* name;
    int64_t GrowthShape::*member;
    int64_t first;
  };
  std::printf("one thread, n = 10000, d = m = s = 100 but for the size that doubles\n");
  for (const auto& [what, measure] :
       {std::pair{"step", &NihtStepSeconds}, std::pair{"solve", &SolveSeconds}}) {
    for (const Size& size :
         {Size{"n", &GrowthShape::num_samples, 2500}, Size{"d", &GrowthShape::num_inputs, 25},
          Size{"m", &GrowthShape::hidden_width, 25}, Size{"s", &GrowthShape::nonzeros, 25}}) {
      std::printf("%6s %s:", what, size.name);
      GrowthShape shape;
      double slope = 0;
      double squares = 0;
      for (int k = 0; k < kSizes; ++k) {
        shape.*size.member = size.first << k;
        const double seconds = measure(shape);
        std::printf("  %lld %.4f s", static_cast<long long>(size.first << k), seconds);
        std::fflush(stdout);
        // Least squares in log2: the sizes are -2, -1, 0, 1, 2 around their mean.
        const double centred = k - (kSizes - 1) / 2.0;
        slope += centred * std::log2(seconds);
        squares += centred * centred;
      }
      std::printf("  exponent %.2f\n", slope / squares);
    }
  }
}

int64_t PeakResidentBytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

// A hundred million candidate weights.
void Memory() {
  const PlantedProblem problem = Plant(5000, 100, 1000, 1000, 1);
  const int64_t before = PeakResidentBytes();
  RecoveryOptions options;
  options.hidden_width = 1000000;
  options.nonzeros = 1000;
  options.gate_mode = GateMode::kRandom;
  options.num_threads = 2;
  options.termination.max_iterations = 3;
  const RecoveryCost cost = PredictCost(options, 5000, 100);
  const RecoveryResult result = OrDie(Recover(problem.samples, options));
  constexpr double kMegabyte = 1e6;
  std::printf("n = 5000, d = 100, m = 1000000 random gates, s = 1000, %d iterations in %.1f s\n",
              static_cast<int>(result.iterations), result.elapsed_seconds);
  std::printf("peak resident: %.1f MB before the solve, %.1f MB after; predicted %.1f MB\n",
              static_cast<double>(before) / kMegabyte,
              static_cast<double>(PeakResidentBytes()) / kMegabyte,
              static_cast<double>(cost.peak_memory_bytes) / kMegabyte);
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) {
  const std::string_view what = argc >= 2 ? argv[1] : "";
  const auto signs = argc == 4 && std::string_view(argv[3]) == "mixed"
                         ? thresher::OutputSigns::kMixed
                         : thresher::OutputSigns::kPositive;
  if (what == "grid" && argc == 4 && std::atoi(argv[2]) > 0) {
    thresher::Grid(std::atoi(argv[2]), signs);
  } else if (what == "full_size" && argc == 4 && std::atoi(argv[2]) > 0) {
    thresher::FullSize(std::atoi(argv[2]), signs);
  } else if (what == "phase_transition" && argc == 4 && std::atoi(argv[2]) > 0) {
    thresher::PhaseTransition(std::atoi(argv[2]), signs);
  } else if (what == "fixed_gates" && argc == 3 && std::atoi(argv[2]) > 0) {
    thresher::FixedGates(std::atoi(argv[2]));
  } else if (what == "path" && argc == 5 && std::atoi(argv[2]) > 0) {
    const std::string_view criterion = argv[3];
    thresher::Path(
        std::atoi(argv[2]),
        criterion == "held_out" ? thresher::SelectionCriterion::kHeldOut
        : criterion == "k_fold" ? thresher::SelectionCriterion::kKFold
                                : thresher::SelectionCriterion::kInformation,
        std::string_view(argv[4]) == "exact" ? std::nullopt : std::optional(std::atof(argv[4])));
  } else if (what == "noise" && argc == 4 && std::atoi(argv[2]) > 0) {
    thresher::Noise(std::atoi(argv[2]), std::atof(argv[3]));
  } else if (what == "quality") {
    thresher::Quality();
  } else if (what == "steps") {
    thresher::Steps();
  } else if (what == "growth") {
    thresher::Growth();
  } else if (what == "memory") {
    thresher::Memory();
  } else {
    std::fprintf(stderr,
                 "usage: recovery_benchmark quality | steps | memory | growth | "
                 "grid|full_size|phase_transition SEEDS positive|mixed | fixed_gates SEEDS | "
                 "path SEEDS information|held_out|k_fold NOISE_DB|exact | noise SEEDS NOISE_DB\n");
    return 2;
  }
  return 0;
}
