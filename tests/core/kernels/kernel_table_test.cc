// Every variant of every kernel against a plain double loop, and the variants against each
// other.
#include "core/kernels/kernel_table.h"

#include <cmath>
#include <cstring>
#include <tuple>

#include "core/kernels/engine.h"
#include "core/kernels/support_products.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

constexpr double kFloatEpsilon = 1.2e-7;

class KernelsTest : public testing::TestWithParam<InstructionSet> {
 protected:
  const KernelTable& kernels() const { return Kernels(GetParam()); }
};

TEST_P(KernelsTest, DenseGateWordsAreTheSignsOfTheProducts) {
  for (const int64_t num_columns : {1, 2, 7, 100}) {
    for (const int64_t num_gates : {1, 2, 5, 6, 7, 13}) {
      const Design design = RandomDesign(64, num_columns, num_columns);
      const std::vector<float> gates = RandomFloats(num_gates * num_columns, 9);
      std::vector<uint64_t> words(num_gates);
      kernels().dense_gate_words(design.columns.get(), 64, num_columns, gates.data(), num_gates,
                                 words.data());
      for (int64_t j = 0; j < num_gates; ++j) {
        for (int64_t i = 0; i < 64; ++i) {
          double sum = 0;
          double size = 0;
          for (int64_t q = 0; q < num_columns; ++q) {
            const double term =
                static_cast<double>(InputOf(design, i, q)) * gates[j * num_columns + q];
            sum += term;
            size += std::abs(term);
          }
          if (std::abs(sum) < 4 * kFloatEpsilon * num_columns * size) continue;
          EXPECT_EQ((words[j] >> i & 1) != 0, sum > 0) << "gate " << j << " sample " << i;
        }
      }
    }
  }
}

TEST_P(KernelsTest, ASampleOnTheBoundaryIsClosed) {
  const Design design = RandomDesign(64, 3, 1);
  const std::vector<float> zero_gate(3, 0.0f);
  uint64_t word = ~uint64_t{0};
  kernels().dense_gate_words(design.columns.get(), 64, 3, zero_gate.data(), 1, &word);
  EXPECT_EQ(word, 0);
  const int32_t column = 0;
  const double value = 0;
  EXPECT_EQ(kernels().sparse_gate_word(design.columns.get(), 64, &column, &value, 1), 0);
  EXPECT_EQ(kernels().sparse_gate_word(design.columns.get(), 64, &column, &value, 0), 0);
}

TEST_P(KernelsTest, SparseGateWordIsTheSignInDouble) {
  const Design design = RandomDesign(64, 10, 2);
  const SparseRows gates = RandomRows(20, 10, 0.4, 3);
  for (int64_t k = 0; k < gates.num_rows(); ++k) {
    const int64_t begin = gates.row_begin[k];
    const uint64_t word =
        kernels().sparse_gate_word(design.columns.get(), 64, gates.column.data() + begin,
                                   gates.value.data() + begin, gates.row_begin[k + 1] - begin);
    for (int64_t i = 0; i < 64; ++i) {
      double sum = 0;
      for (int64_t e = begin; e < gates.row_begin[k + 1]; ++e) {
        sum += gates.value[e] * InputOf(design, i, gates.column[e]);
      }
      EXPECT_EQ((word >> i & 1) != 0, sum > 0);
    }
  }
}

TEST_P(KernelsTest, TableAdjointAgreesWithThePlainLoop) {
  for (const int width : {kRowPadding, kAdjointTileColumns}) {
    for (const double density : {0.0, 0.05, 0.5, 1.0}) {
      for (const int64_t num_gates : {1, 3, 64}) {
        const Design design = RandomDesign(64, width, 5);
        const GateMasks masks = RandomMasks(design, num_gates, density, 6);
        const std::vector<float> residual = RandomFloats(64, 7);
        const AlignedFloats tables = MakeAlignedFloats(kAdjointTableFloats);
        const AlignedFloats sums = MakeAlignedFloats(num_gates * kAdjointTileColumns);
        for (int64_t k = 0; k < num_gates * kAdjointTileColumns; ++k) sums[k] = 0.25f;
        kernels().table_adjoint(design.rows.get(), design.row_stride, width, residual.data(),
                                masks.row(0), num_gates, tables.get(), sums.get());
        for (int64_t j = 0; j < num_gates; ++j) {
          for (int q = 0; q < width; ++q) {
            double sum = 0.25;
            double size = 0.25;
            for (int64_t i = 0; i < 64; ++i) {
              if (!IsOpen(masks, i, j)) continue;
              const double term = static_cast<double>(residual[i]) * InputOf(design, i, q);
              sum += term;
              size += std::abs(term);
            }
            EXPECT_NEAR(sums[j * kAdjointTileColumns + q], sum, 8 * kFloatEpsilon * size);
          }
          // Columns behind the width are not touched.
          for (int q = width; q < kAdjointTileColumns; ++q) {
            EXPECT_EQ(sums[j * kAdjointTileColumns + q], 0.25f);
          }
        }
      }
    }
  }
}

// Entries with their column-major position in a dense layer.
struct RandomLayer {
  std::vector<int64_t> column_begin = {0};
  std::vector<int32_t> row;
  std::vector<float> weight;
  std::vector<float> dense;  // column-major

  RandomLayer(int64_t num_rows, int64_t num_columns, double share) : dense(num_rows * num_columns) {
    const std::vector<float> values = RandomFloats(num_rows * num_columns, 77);
    for (int64_t q = 0; q < num_columns; ++q) {
      for (int64_t j = 0; j < num_rows; ++j) {
        const int64_t at = q * num_rows + j;
        if (static_cast<double>(at * 7919 % 1000) >= 1000 * share) continue;
        row.push_back(static_cast<int32_t>(j));
        weight.push_back(values[at]);
        dense[at] = values[at];
      }
      column_begin.push_back(static_cast<int64_t>(row.size()));
    }
  }
  LayerWeights view(int64_t num_columns) const {
    return {column_begin.data(), num_columns, row.data(), weight.data()};
  }
};

TEST_P(KernelsTest, LayersAreTheProductsDenseAndSparse) {
  for (const int64_t num_columns : {1, 2, 7, 100}) {
    for (const int64_t num_rows : {1, 2, 5, 6, 7, 13}) {
      for (const double share : {1.0, 0.3}) {
        const std::vector<float> columns = RandomFloats(num_columns * 64, 5);
        const RandomLayer layer(num_rows, num_columns, share);
        std::vector<float> dense(num_rows * 64);
        std::vector<float> sparse(num_rows * 64, 9.0f);
        kernels().dense_layer(columns.data(), 64, num_columns, layer.dense.data(), num_rows,
                              dense.data(), 64);
        kernels().sparse_layer(columns.data(), 64, layer.view(num_columns), num_rows, sparse.data(),
                               64);
        for (int64_t j = 0; j < num_rows; ++j) {
          for (int64_t i = 0; i < 64; ++i) {
            double sum = 0;
            double size = 0;
            for (int64_t q = 0; q < num_columns; ++q) {
              const double term =
                  static_cast<double>(layer.dense[q * num_rows + j]) * columns[q * 64 + i];
              sum += term;
              size += std::abs(term);
            }
            EXPECT_NEAR(dense[j * 64 + i], sum, kFloatEpsilon * num_columns * size);
            EXPECT_EQ(dense[j * 64 + i], sparse[j * 64 + i]);
          }
        }
        // The way back, with the rows' values in place of the deltas.
        std::vector<float> back(num_columns * 64, 9.0f);
        kernels().layer_back(layer.view(num_columns), dense.data(), 64, back.data(), 64);
        for (int64_t q = 0; q < num_columns; ++q) {
          for (int64_t i = 0; i < 64; ++i) {
            double sum = 0;
            double size = 0;
            for (int64_t j = 0; j < num_rows; ++j) {
              const double term =
                  static_cast<double>(layer.dense[q * num_rows + j]) * dense[j * 64 + i];
              sum += term;
              size += std::abs(term);
            }
            EXPECT_NEAR(back[q * 64 + i], sum, kFloatEpsilon * num_rows * size);
          }
        }
      }
    }
  }
}

TEST_P(KernelsTest, LayerGradientsAreTheSumsDenseAndSparse) {
  constexpr int64_t kStride = 192;
  for (const int64_t num_columns : {1, 2, 7, 100}) {
    for (const int64_t num_rows : {1, 2, 5, 6, 7, 13}) {
      for (const int64_t num_samples : {16, 64, 192}) {
        const std::vector<float> columns = RandomFloats(num_columns * kStride, 5);
        const std::vector<float> deltas = RandomFloats(num_rows * kStride, 6);
        const RandomLayer layer(num_rows, num_columns, 0.3);
        std::vector<float> dense(num_rows * num_columns, 1.0f);
        std::vector<float> sparse(layer.row.size(), 1.0f);
        kernels().dense_layer_gradient(columns.data(), kStride, num_columns, deltas.data(), kStride,
                                       num_rows, num_samples, dense.data());
        kernels().sparse_layer_gradient(columns.data(), kStride, layer.view(num_columns),
                                        deltas.data(), kStride, num_samples, sparse.data());
        for (int64_t q = 0; q < num_columns; ++q) {
          for (int64_t j = 0; j < num_rows; ++j) {
            double sum = 1;
            double size = 1;
            for (int64_t i = 0; i < num_samples; ++i) {
              const double term =
                  static_cast<double>(columns[q * kStride + i]) * deltas[j * kStride + i];
              sum += term;
              size += std::abs(term);
            }
            EXPECT_NEAR(dense[q * num_rows + j], sum, kFloatEpsilon * num_samples * size);
          }
          for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
            EXPECT_EQ(sparse[e], dense[q * num_rows + layer.row[e]]);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, KernelsTest,
                         testing::ValuesIn(AvailableInstructionSets()), [](const auto& test) {
                           return std::string(InstructionSetName(test.param));
                         });

TEST(KernelVariantsTest, FusedVariantsGiveTheSameBits) {
  const std::vector<InstructionSet> sets = AvailableInstructionSets();
  if (sets.size() < 3) GTEST_SKIP() << "this processor has no AVX-512";
  const Design design = RandomDesign(1000, 50, 8);
  const SparseRows rows = RandomRows(30, 50, 0.1, 9);
  const GateMasks masks = RandomMasks(design, 30, 0.5, 10);
  const std::vector<double> residual = RandomResidual(design, 11);
  std::vector<std::vector<double>> outputs;
  std::vector<std::vector<double>> sums;
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    Engine engine(1, {}, set);
    outputs.emplace_back(design.padded_samples());
    SupportForward(engine, design, masks, rows, outputs.back());
    sums.emplace_back(rows.nonzeros());
    SupportAdjoint(engine, design, masks, rows, residual, sums.back());
  }
  EXPECT_EQ(outputs[0], outputs[1]);
  EXPECT_EQ(sums[0], sums[1]);
}

}  // namespace
}  // namespace thresher
