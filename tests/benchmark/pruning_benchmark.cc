// Dense networks trained and pruned, and recovery for classes: accuracy on MNIST, quality on
// planted problems, as tables.
//
//   pruning_benchmark mnist FOLDER THREADS SEEDS    FOLDER holds the four .gz files of MNIST
//   pruning_benchmark classes FOLDER THREADS SEEDS  recovery, of two digits and of ten
//   pruning_benchmark planted SEEDS
//   pruning_benchmark given FOLDER THREADS MODEL    prunes a dense 784-300-100-10 network, which is
//                                                   trained and kept as MODEL (.npz) where there is
//                                                   none
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/formats/gzip.h"
#include "core/network/model.h"
#include "core/pruning/distill.h"
#include "core/pruning/one_shot.h"
#include "core/pruning/prune.h"
#include "core/recovery/recovery.h"
#include "core/recovery/report.h"
#include "core/samples/idx.h"
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

constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr int64_t kPixels = 784;
constexpr int64_t kDigits = 10;

NpyArray ReadIdx(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  return OrDie(ParseIdx(OrDie(Gunzip(bytes, kMaxBytes)), kMaxBytes));
}

struct Digits {
  Samples train;
  Samples test;
};

// The paper's split: of each digit the first 5000 pictures train and the next 1000 test, digit
// after digit. Pixels within [0, 1], targets one-hot.
Digits ReadMnist(const std::string& folder) {
  std::vector<const uint8_t*> pictures[kDigits];
  std::vector<NpyArray> arrays;  // what the pictures point into
  for (const std::string part : {"train", "t10k"}) {
    arrays.push_back(ReadIdx(folder + "/" + part + "-images-idx3-ubyte.gz"));
    arrays.push_back(ReadIdx(folder + "/" + part + "-labels-idx1-ubyte.gz"));
  }
  for (size_t part = 0; part < arrays.size(); part += 2) {
    const auto& pixels = std::get<std::vector<uint8_t>>(arrays[part].values);
    const auto& labels = std::get<std::vector<uint8_t>>(arrays[part + 1].values);
    for (size_t i = 0; i < labels.size(); ++i) {
      pictures[labels[i]].push_back(pixels.data() + i * kPixels);
    }
  }
  Digits digits;
  for (Samples* samples : {&digits.train, &digits.test}) {
    samples->num_inputs = kPixels;
    samples->num_outputs = kDigits;
    for (int64_t digit = 0; digit < kDigits; ++digit) {
      samples->class_names.push_back(std::to_string(digit));
      const size_t first = samples == &digits.train ? 0 : 5000;
      const size_t count = samples == &digits.train ? 5000 : 1000;
      for (size_t i = first; i < first + count; ++i) {
        for (int64_t q = 0; q < kPixels; ++q) {
          samples->inputs.push_back(static_cast<float>(pictures[digit][i][q]) / 255.0f);
        }
        for (int64_t k = 0; k < kDigits; ++k) samples->targets.push_back(k == digit ? 1.0f : 0.0f);
        ++samples->num_samples;
      }
    }
  }
  return digits;
}

// 0 and 1 alone, one target.
Samples TwoDigits(const Samples& ten) {
  Samples two = {.num_inputs = kPixels, .num_outputs = 1, .class_names = {"0", "1"}};
  for (int64_t i = 0; i < ten.num_samples; ++i) {
    const float* targets = ten.targets.data() + i * kDigits;
    if (targets[0] + targets[1] == 0) continue;
    const float* inputs = ten.inputs.data() + i * kPixels;
    two.inputs.append(inputs, inputs + kPixels);
    two.targets.push_back(targets[1]);
    ++two.num_samples;
  }
  return two;
}

void Classes(const std::string& folder, int num_threads, int seeds) {
  const Digits ten = ReadMnist(folder);
  const Digits two = {TwoDigits(ten.train), TwoDigits(ten.test)};
  struct Row {
    const Digits& digits;
    Loss loss;
    int64_t hidden_width;
    int64_t nonzeros;
  };
  std::printf("MNIST, recovery, no bias, %d threads, %d seeds: accuracy %%, means\n", num_threads,
              seeds);
  std::printf("%8s %14s %4s %6s %10s %10s %9s\n", "classes", "loss", "m", "s", "training",
              "held out", "seconds");
  for (const Row& row :
       {Row{two, Loss::kLogistic, 10, 10}, Row{two, Loss::kLogistic, 10, 50},
        Row{two, Loss::kLogistic, 10, 200}, Row{two, Loss::kSquared, 10, 10},
        Row{two, Loss::kSquared, 10, 50}, Row{two, Loss::kSquared, 10, 200},
        Row{ten, Loss::kCrossEntropy, 50, 200}, Row{ten, Loss::kCrossEntropy, 50, 1000},
        Row{ten, Loss::kCrossEntropy, 50, 2000}}) {
    double training = 0;
    double held_out = 0;
    double seconds = 0;
    for (int seed = 0; seed < seeds; ++seed) {
      RecoveryOptions options;
      options.hidden_width = row.hidden_width;
      options.nonzeros = row.nonzeros;
      options.loss = row.loss;
      options.output_signs = OutputSigns::kMixed;
      options.seed = static_cast<uint64_t>(seed);
      options.num_threads = num_threads;
      const RecoveryResult result = OrDie(Recover(row.digits.train, options));
      const auto accuracy = [&](const Samples& samples) {
        return 100 *
               OrDie(MeasureFitQuality(result.network, samples, row.loss)).accuracy.value_or(0);
      };
      training += accuracy(row.digits.train) / seeds;
      held_out += accuracy(row.digits.test) / seeds;
      seconds += result.elapsed_seconds / seeds;
    }
    std::printf("%8zu %14s %4ld %6ld %10.2f %10.2f %9.1f\n", row.digits.train.class_names.size(),
                std::string(LossName(row.loss)).c_str(), static_cast<long>(row.hidden_width),
                static_cast<long>(row.nonzeros), training, held_out, seconds);
    std::fflush(stdout);
  }
}

double Accuracy(const SparseNetwork& network, const Samples& samples) {
  std::vector<double> outputs(samples.num_samples * samples.num_outputs);
  if (!Evaluate(network, samples.input_view(), outputs).ok()) std::exit(1);
  FitSums sums;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    sums.Add(Loss::kCrossEntropy, std::span(outputs).subspan(i * kDigits, kDigits),
             std::span(samples.targets).subspan(i * kDigits, kDigits), 0);
  }
  return static_cast<double>(sums.right_classes) / static_cast<double>(samples.num_samples);
}

void Mnist(const std::string& folder, int num_threads, int seeds) {
  const Digits digits = ReadMnist(folder);
  Digits raw = digits;  // pixels 0 to 255, as the paper has them
  for (Samples* samples : {&raw.train, &raw.test}) {
    for (float& input : samples->inputs) input *= 255.0f;
  }
  PruneOptions published;
  published.hidden_widths = {50};
  published.loss = Loss::kCrossEntropy;
  published.num_threads = num_threads;
  PruneOptions cubic = published;
  cubic.schedule = PruneSchedule::kGradual;
  cubic.epochs = 28;
  cubic.batch_size = 512;
  PruneOptions fisher = cubic;
  fisher.saliency = Saliency::kFisher;
  fisher.schedule_power = 4;
  fisher.epochs = 60;
  fisher.learning_rate_decay = 0.25;
  PruneOptions fast = fisher;
  fast.batch_size = 128;
  fast.learning_rate = 3e-3;
  fast.prune_end = 0.6;
  fast.learning_rate_decay = 0.4;
  std::printf("MNIST, ten classes, m = 50, no bias, %d threads, %d seeds: accuracy %%\n",
              num_threads, seeds);
  std::printf("%20s %6s %10s %10s %8s %9s\n", "", "s", "training", "held out", "weights",
              "seconds");
  struct Row {
    const char* name;
    const Digits& digits;
    const PruneOptions& options;
  };
  for (const auto& [name, samples, options] :
       {Row{"as published", raw, published}, Row{"published, scaled", digits, published},
        Row{"gradual, cubic", digits, cubic}, Row{"gradual, fisher", digits, fisher},
        Row{"gradual, small batch", digits, fast}}) {
    for (const int64_t s : {200, 1000, 2000}) {
      double training = 0;
      double held_out = 0;
      double seconds = 0;
      int64_t weights = 0;
      for (int seed = 0; seed < seeds; ++seed) {
        PruneOptions of_seed = options;
        of_seed.nonzeros = s;
        of_seed.seed = seed;
        const PruneResult result = OrDie(Prune(samples.train, of_seed));
        training += *result.fit.accuracy / seeds;
        held_out += Accuracy(result.network, samples.test) / seeds;
        seconds += result.elapsed_seconds / seeds;
        weights = result.pruned_nonzeros;
      }
      std::printf("%20s %6d %10.2f %10.2f %8d %9.1f\n", name, static_cast<int>(s), 100 * training,
                  100 * held_out, static_cast<int>(weights), seconds);
      std::fflush(stdout);
    }
  }
}

// 2500 steps of Adam a round, as a fair comparison takes; and one gradual training of 15000.
void Planted(int seeds) {
  std::printf("planted, n = 5000, d = 100, one thread, %d seeds: PSNR dB\n", seeds);
  std::printf("%6s %6s %12s %9s %12s %9s\n", "m", "s", "rounds", "seconds", "gradual", "seconds");
  for (const auto& [m, s] : {std::pair{5, 100}, {20, 20}, {20, 100}, {50, 200}, {100, 100}}) {
    double psnr[2] = {};
    double seconds[2] = {};
    for (int seed = 0; seed < seeds; ++seed) {
      PlantedOptions plant{.num_samples = 5000, .num_inputs = 100};
      plant.hidden_width = m;
      plant.nonzeros = s;
      plant.seed = seed;
      const PlantedProblem problem = OrDie(GeneratePlanted(plant));
      PruneOptions rounds;
      rounds.hidden_widths = {m};
      rounds.nonzeros = s;
      rounds.batch_size = 100;
      rounds.seed = seed;
      PruneOptions gradual = rounds;
      gradual.schedule = PruneSchedule::kGradual;
      gradual.saliency = Saliency::kFisher;
      gradual.epochs = 300;
      gradual.learning_rate = 3e-3;
      gradual.learning_rate_decay = 0.25;
      gradual.schedule_power = 4;
      for (int kind = 0; kind < 2; ++kind) {
        const PruneResult result = OrDie(Prune(problem.samples, kind == 0 ? rounds : gradual));
        psnr[kind] += *result.fit.psnr_db / seeds;
        seconds[kind] += result.elapsed_seconds / seeds;
      }
    }
    std::printf("%6d %6d %12.1f %9.1f %12.1f %9.1f\n", m, s, psnr[0], seconds[0], psnr[1],
                seconds[1]);
    std::fflush(stdout);
  }
}

// A dense network as its user would bring it.
SparseNetwork DenseNetwork(const Digits& digits, int num_threads, const std::string& path) {
  if (std::ifstream file(path, std::ios::binary); file) {
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    return std::get<SparseNetwork>(OrDie(ReadModelNpz(bytes, kMaxBytes)).network);
  }
  PruneOptions options;
  options.hidden_widths = {300, 100};
  options.bias = true;
  options.nonzeros = 785 * 300 + 301 * 100 + 101 * 10;
  options.loss = Loss::kCrossEntropy;
  options.schedule = PruneSchedule::kGradual;
  options.epochs = 15;
  options.batch_size = 128;
  options.learning_rate_decay = 0.5;
  options.num_threads = num_threads;
  Model model;
  model.network = OrDie(Prune(digits.train, options)).network;
  std::ofstream(path, std::ios::binary) << OrDie(WriteModelNpz(model));
  return std::get<SparseNetwork>(model.network);
}

void Given(const std::string& folder, int num_threads, const std::string& path) {
  const Digits digits = ReadMnist(folder);
  const SparseNetwork dense = DenseNetwork(digits, num_threads, path);
  const int64_t weights = Nonzeros(dense);
  std::printf("dense 784-300-100-10: %d weights, held out %.2f %%\n", static_cast<int>(weights),
              100 * Accuracy(dense, digits.test));
  std::printf("%12s %6s %8s %10s %8s\n", "method", "share", "weights", "held out", "seconds");
  for (const double share : {0.2, 0.1, 0.05, 0.02, 0.01}) {
    const auto measure = [&](std::string_view name, auto prune) {
      const auto begin = std::chrono::steady_clock::now();
      const SparseNetwork pruned = prune();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      std::printf("%12s %6.3f %8d %10.2f %8.1f\n", name.data(), share,
                  static_cast<int>(Nonzeros(pruned)), 100 * Accuracy(pruned, digits.test),
                  seconds.count());
      std::fflush(stdout);
    };
    OneShotOptions options;
    options.nonzeros = std::lround(share * static_cast<double>(weights));
    options.num_threads = num_threads;
    for (const OneShotMethod method : {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                       OneShotMethod::kObs, OneShotMethod::kCurvature}) {
      options.method = method;
      measure(OneShotMethodName(method),
              [&] { return OrDie(PruneOneShot(dense, digits.train.input_view(), options)); });
    }
    DistillOptions distill = {.one_shot = options};
    distill.one_shot.method = OneShotMethod::kObs;
    distill.one_shot.loss = Loss::kCrossEntropy;
    measure("distill", [&] { return OrDie(Distill(dense, digits.train, distill)).network; });
    distill.targets = PruneTargets::kLabels;
    measure("labels", [&] { return OrDie(Distill(dense, digits.train, distill)).network; });
  }
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "mnist") {
    thresher::Mnist(arguments[1], std::atoi(arguments[2].c_str()), std::atoi(arguments[3].c_str()));
  } else if (arguments.size() == 4 && arguments[0] == "classes") {
    thresher::Classes(arguments[1], std::atoi(arguments[2].c_str()),
                      std::atoi(arguments[3].c_str()));
  } else if (arguments.size() == 2 && arguments[0] == "planted") {
    thresher::Planted(std::atoi(arguments[1].c_str()));
  } else if (arguments.size() == 4 && arguments[0] == "given") {
    thresher::Given(arguments[1], std::atoi(arguments[2].c_str()), arguments[3]);
  } else {
    std::fprintf(stderr, "see the head of pruning_benchmark.cc\n");
    return 1;
  }
  return 0;
}
