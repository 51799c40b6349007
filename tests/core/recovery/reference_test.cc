// The published script's own results: from the same samples and start gates `aiht` ends
// with the same support and weights. The files lie outside the project, in ../shared/data or
// where THRESHER_DATA_DIR says; without them the tests are skipped.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "core/formats/npy.h"
#include "core/network/merge.h"
#include "core/recovery/recovery.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher {
namespace {

std::filesystem::path ReferenceFolder() {
  const char* folder = std::getenv("THRESHER_DATA_DIR");
  const std::filesystem::path data =
      folder != nullptr ? std::filesystem::path(folder)
                        : std::filesystem::path(THRESHER_SOURCE_DIR) / ".." / "shared" / "data";
  return data / "reference";
}

NpyArray ReadArray(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  absl::StatusOr<NpyArray> array = ParseNpy(bytes, int64_t{1} << 30);
  EXPECT_TRUE(array.ok()) << path << ": " << array.status();
  return *std::move(array);
}

class ReferenceTest : public testing::TestWithParam<std::string> {};

TEST_P(ReferenceTest, PublishedAlgorithmEndsWithTheScriptsWeights) {
  const std::filesystem::path folder = ReferenceFolder() / GetParam();
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "reference problems are not at " << folder;
  }
  const NpyArray inputs = ReadArray(folder / "X.npy");
  const NpyArray gates = ReadArray(folder / "H0.npy");
  const NpyArray expected = ReadArray(folder / "U_iht.npy");
  Samples samples;
  samples.num_samples = inputs.shape[0];
  samples.num_inputs = inputs.shape[1];
  samples.inputs = ToFloats(inputs).value();
  samples.targets = ToFloats(ReadArray(folder / "y.npy")).value();

  const int64_t m = gates.shape[0];
  const int64_t d = samples.num_inputs;
  RecoveryStart start;
  start.gates = GateVectorSet{m, ToDoubles(gates).value()};
  const std::vector<double> weights = ToDoubles(expected).value();
  ASSERT_EQ(expected.shape, (std::vector<int64_t>{m, d}));
  SparseNetwork published;
  published.num_inputs = d;
  for (int64_t j = 0; j < m; ++j) {
    for (int64_t q = 0; q < d; ++q) {
      if (weights[j * d + q] == 0) continue;
      published.weights.column.push_back(static_cast<int32_t>(q));
      published.weights.value.push_back(weights[j * d + q]);
    }
    published.weights.row_begin.push_back(published.weights.nonzeros());
    published.output_signs.push_back(1);
  }
  published = DropDeadNeurons(published);

  RecoveryOptions options;
  options.hidden_width = m;
  options.nonzeros = published.weights.nonzeros();
  options.algorithm = Algorithm::kAiht;
  options.termination = {
      .max_iterations = 15, .relative_residual_tolerance = 0, .stagnation_iterations = 0};
  const absl::StatusOr<RecoveryResult> result = Recover(samples, options, start);
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& network = std::get<SparseNetwork>(result->network);
  ASSERT_EQ(network.weights.row_begin, published.weights.row_begin);
  ASSERT_EQ(network.weights.column, published.weights.column);
  double error = 0;
  double norm = 0;
  for (size_t e = 0; e < network.weights.value.size(); ++e) {
    const double difference = network.weights.value[e] - published.weights.value[e];
    error += difference * difference;
    norm += published.weights.value[e] * published.weights.value[e];
  }
  EXPECT_LE(std::sqrt(error / norm), 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Planted, ReferenceTest,
                         testing::Values("m20_s20_seed0", "m100_s100_seed0"));

}  // namespace
}  // namespace thresher
