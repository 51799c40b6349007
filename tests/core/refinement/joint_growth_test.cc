#include "core/refinement/joint_growth.h"

#include <atomic>
#include <cmath>
#include <stop_token>
#include <thread>
#include <vector>

#include "core/network/merge.h"
#include "core/samples/planted.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

struct Problem {
  PlantedProblem planted;
  Engine engine;
  Design design;
  std::vector<double> targets;

  explicit Problem(int64_t num_outputs, int num_threads = 1)
      : planted(*GeneratePlanted({.num_samples = 900,
                                  .num_inputs = 8,
                                  .hidden_width = 4,
                                  .nonzeros = 30,
                                  .seed = 4,
                                  .num_outputs = num_outputs,
                                  .hidden_layers = 2})),
        engine(num_threads),
        design(MakeDesign(planted.samples.input_view(), false)),
        targets(num_outputs * design.padded_samples()) {
    planted.network = DropDeadNeurons(planted.network);
    for (int64_t i = 0; i < 900; ++i) {
      for (int64_t o = 0; o < num_outputs; ++o) {
        targets[o * design.padded_samples() + i] = planted.samples.targets[i * num_outputs + o];
      }
    }
  }
  JointProblem view() { return {engine, design, targets, planted.samples.num_outputs}; }
};

// The same network without one weight, and what that weight was.
SparseRows Without(SparseRows rows, int64_t entry) {
  rows.column.erase(rows.column.begin() + entry);
  rows.value.erase(rows.value.begin() + entry);
  for (int64_t& begin : rows.row_begin) begin -= begin > entry ? 1 : 0;
  return rows;
}

TEST(JointGrowthTest, AMissingWeightComesBackAndTheLossFalls) {
  for (const int64_t outputs : {1, 3}) {
    Problem problem(outputs);
    SparseNetwork lacking = problem.planted.network;
    // The largest of the first layer.
    int64_t largest = 0;
    for (int64_t e = 0; e < lacking.weights.nonzeros(); ++e) {
      if (std::abs(lacking.weights.value[e]) > std::abs(lacking.weights.value[largest])) {
        largest = e;
      }
    }
    lacking.weights = Without(lacking.weights, largest);
    const double before = JointLoss(problem.view(), lacking);
    ASSERT_GT(before, 0);
    SparseNetwork grown = JointGrow(problem.view(), {.count = 8}, lacking);
    ASSERT_TRUE(ValidateNetwork(grown).ok()) << ValidateNetwork(grown);
    EXPECT_GT(Nonzeros(grown), Nonzeros(lacking));
    EXPECT_LE(Nonzeros(grown), Nonzeros(lacking) + 16);
    const double after = JointRefine(problem.view(), {.max_steps = 30}, grown);
    EXPECT_LT(after, 0.05 * before) << outputs;
  }
}

TEST(JointGrowthTest, NothingJoinsAnExactNetworkByMuch) {
  Problem problem(1);
  const SparseNetwork grown = JointGrow(problem.view(), {.count = 5}, problem.planted.network);
  double norm2 = 0;
  for (const double target : problem.targets) norm2 += target * target;
  EXPECT_LE(JointLoss(problem.view(), grown), 1e-10 * norm2);
}

// A stop comes while some of the samples have been looked at and others have not.
TEST(JointGrowthTest, AStopAtAnyMomentLeavesANetwork) {
  for (const int threads : {1, 2}) {
    Problem problem(3);
    for (int wait = 0; wait < 60; ++wait) {
      std::stop_source stop;
      Engine engine(threads, stop.get_token());
      const JointProblem stopped = {engine, problem.design, problem.targets, 3};
      std::atomic<bool> begun = false;
      const std::jthread other([&] {
        while (!begun) std::this_thread::yield();
        for (volatile int spin = 0; spin < wait * 2000;) spin = spin + 1;
        stop.request_stop();
      });
      begun = true;
      const SparseNetwork grown = JointGrow(stopped, {.count = 5}, problem.planted.network);
      EXPECT_TRUE(ValidateNetwork(grown).ok());
    }
  }
}

TEST(JointGrowthTest, ThreadsChangeNoBit) {
  Problem one(3, 1);
  Problem three(3, 3);
  SparseNetwork network = one.planted.network;
  for (double& value : network.weights.value) value *= 1.3;
  EXPECT_EQ(JointGrow(one.view(), {.count = 9}, network),
            JointGrow(three.view(), {.count = 9}, network));
}

TEST(JointGrowthTest, TheConstantOfTheSecondLayerStaysTheConstant) {
  Samples samples = {.num_samples = 64, .num_inputs = 2};
  for (int i = 0; i < 64; ++i) {
    samples.inputs.push_back(static_cast<float>(i % 8) - 3);
    samples.inputs.push_back(static_cast<float>(i / 8) - 4);
  }
  Engine engine(1);
  const Design design = MakeDesign(samples.input_view(), true);
  std::vector<double> targets(design.padded_samples());
  for (int i = 0; i < 64; ++i) targets[i] = 1 + 2 * std::max(samples.inputs[2 * i + 1], 0.0F);
  SparseNetwork network = {.num_inputs = 2, .has_bias = true};
  network.weights = {.row_begin = {0, 1}, .column = {0}, .value = {1e-3}};
  network.upper_layers = {{.row_begin = {0, 2}, .column = {0, 1}, .value = {1, 1}}};
  network.output_signs = {1};
  const SparseNetwork grown = JointGrow({engine, design, targets, 1}, {.count = 4}, network);
  ASSERT_TRUE(ValidateNetwork(grown).ok()) << ValidateNetwork(grown);
  EXPECT_LT(JointLoss({engine, design, targets, 1}, grown),
            JointLoss({engine, design, targets, 1}, network));
}

}  // namespace
}  // namespace thresher
