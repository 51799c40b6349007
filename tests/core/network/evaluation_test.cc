#include "core/network/evaluation.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

using testing::HasSubstr;

std::vector<double> OnAll(const EvaluationPlan& plan, const std::vector<float>& inputs) {
  const int64_t n = static_cast<int64_t>(inputs.size()) / plan.num_inputs;
  std::vector<double> outputs(n * plan.num_outputs, -1);
  EXPECT_TRUE(Evaluate(plan, {inputs.data(), n, plan.num_inputs}, outputs).ok());
  return outputs;
}

// One by one, in blocks and with a last block cut short.
TEST(EvaluationTest, AnyNumberOfSamplesGivesTheSameBits) {
  CounterRandom random(1, 0);
  for (const double density : {0.05, 0.3, 0.9}) {
    for (const int64_t num_outputs : {0, 1, 5}) {
      const SparseNetwork network =
          RandomLayeredNetwork(random, 40, {37, 21}, num_outputs, true, density);
      const EvaluationPlan plan = *MakeEvaluationPlan(network);
      const std::vector<float> inputs = RandomInputs(random, 77, 40);
      const std::vector<double> whole = OnAll(plan, inputs);
      for (const int64_t size : {1, 5, 11, 12, 13, 32, 45}) {
        std::vector<double> parts;
        for (int64_t first = 0; first < 77; first += size) {
          const int64_t end = std::min<int64_t>(first + size, 77);
          const std::vector<double> part =
              OnAll(plan, {inputs.begin() + first * 40, inputs.begin() + end * 40});
          parts.insert(parts.end(), part.begin(), part.end());
        }
        EXPECT_EQ(whole, parts) << density << " " << num_outputs << " " << size;
      }
    }
  }
}

// One by one only the inputs that are not 0 are looked at, in blocks all of them.
TEST(EvaluationTest, InputsThatAreMostlyZeroGiveTheSameBits) {
  CounterRandom random(3, 0);
  for (const double share : {0.0, 0.2, 0.5}) {
    const SparseNetwork network = RandomLayeredNetwork(random, 40, {37, 21}, 5, true, 0.1);
    const EvaluationPlan plan = *MakeEvaluationPlan(network);
    std::vector<float> inputs = RandomInputs(random, 50, 40);
    for (float& input : inputs) input = random.NextUniform() < share ? input : 0;
    const std::vector<double> whole = OnAll(plan, inputs);
    for (int64_t i = 0; i < 50; ++i) {
      const std::vector<double> one =
          OnAll(plan, {inputs.begin() + i * 40, inputs.begin() + (i + 1) * 40});
      EXPECT_EQ(std::vector<double>(whole.begin() + i * 5, whole.begin() + (i + 1) * 5), one);
    }
    // What is not a number shows.
    std::vector<float> one(40, 0.0f);
    one[plan.used_inputs.front()] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<double> outputs = OnAll(plan, one);
    EXPECT_TRUE(std::any_of(outputs.begin(), outputs.end(), [](double y) { return y != y; }));
  }
}

// Layers on both sides of the threshold, by entries that are 0.
TEST(EvaluationTest, DenseLayersGiveTheBitsOfSparseOnes) {
  CounterRandom random(2, 0);
  const SparseNetwork network = RandomLayeredNetwork(random, 30, {19, 11}, 3, true, 0.2);
  SparseNetwork filled = network;
  int64_t below = 30;
  for (SparseRows* rows : {&filled.weights, &filled.upper_layers[0], &filled.upper_layers[1]}) {
    SparseRows full;
    for (int64_t r = 0; r < rows->num_rows(); ++r) {
      int64_t e = rows->row_begin[r];
      for (int32_t q = 0; q <= below; ++q) {
        const bool there = e < rows->row_begin[r + 1] && rows->column[e] == q;
        full.column.push_back(q);
        full.value.push_back(there ? rows->value[e] : 0);
        e += there ? 1 : 0;
      }
      full.row_begin.push_back(full.nonzeros());
    }
    below = rows->num_rows();
    *rows = full;
  }
  const EvaluationPlan sparse = *MakeEvaluationPlan(network);
  const EvaluationPlan dense = *MakeEvaluationPlan(filled);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_FALSE(sparse.layers[l].dense);
    EXPECT_TRUE(dense.layers[l].dense);
  }
  for (const int64_t n : {1, 50}) {
    const std::vector<float> inputs = RandomInputs(random, n, 30);
    EXPECT_EQ(OnAll(sparse, inputs), OnAll(dense, inputs));
  }
}

// More slots than 16 bits number.
TEST(EvaluationTest, WideLayersGiveTheSameBits) {
  constexpr int32_t kWidth = 70000;
  SparseNetwork network = {.num_inputs = 2};
  SparseNetwork few = network;
  SparseRows output;
  SparseRows few_output;
  for (int32_t j = 0; j < kWidth; ++j) {
    network.weights.column.push_back(j % 2);
    network.weights.value.push_back(j < kWidth - 3 ? -1 : j);
    network.weights.row_begin.push_back(network.weights.nonzeros());
    if (j < kWidth - 3) continue;
    few.weights.column.push_back(j % 2);
    few.weights.value.push_back(j);
    few.weights.row_begin.push_back(few.weights.nonzeros());
    output.column.push_back(j);
    output.value.push_back(0.1 * j);
    few_output.column.push_back(j - (kWidth - 3));
    few_output.value.push_back(0.1 * j);
  }
  output.row_begin.push_back(3);
  few_output.row_begin.push_back(3);
  network.upper_layers = {output};
  few.upper_layers = {few_output};
  const EvaluationPlan plan = *MakeEvaluationPlan(network);
  EXPECT_FALSE(plan.layers[1].wide_slots.empty());
  for (const int64_t n : {1, 40}) {
    CounterRandom random(3, 0);
    const std::vector<float> inputs = RandomInputs(random, n, 2);
    EXPECT_EQ(OnAll(plan, inputs), OnAll(*MakeEvaluationPlan(few), inputs));
  }
}

TEST(EvaluationTest, NothingGrowsWithInputsThatAreNotUsed) {
  SparseNetwork network = {.num_inputs = 2'000'000'000};
  network.weights = {.row_begin = {0, 1}, .column = {1'999'999'999}, .value = {2}};
  network.output_signs = {1};
  const EvaluationPlan plan = *MakeEvaluationPlan(network);
  EXPECT_EQ(plan.layers[0].num_slots, 1);
  EXPECT_EQ(plan.used_inputs, std::vector<int32_t>{1'999'999'999});
}

TEST(EvaluationTest, SizesThatDisagreeAreNamed) {
  CounterRandom random(4, 0);
  const EvaluationPlan plan =
      *MakeEvaluationPlan(RandomLayeredNetwork(random, 4, {3}, 2, false, 1));
  const std::vector<float> inputs(8);
  std::vector<double> outputs(4);
  EXPECT_THAT(Evaluate(plan, {inputs.data(), 2, 3}, outputs).message(), HasSubstr("columns"));
  EXPECT_THAT(Evaluate(plan, {inputs.data(), 1, 4}, outputs).message(), HasSubstr("outputs"));
  EXPECT_THAT(Evaluate(plan, {nullptr, 2, 4}, outputs).message(), HasSubstr("inputs"));
  EXPECT_FALSE(MakeEvaluationPlan({.num_inputs = 0}).ok());
}

}  // namespace
}  // namespace thresher
