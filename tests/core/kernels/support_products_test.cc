#include "core/kernels/support_products.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tests/core/kernels/random_problem.h"

namespace thresher {
namespace {

struct Shape {
  int64_t num_samples;
  int64_t num_columns;
  int64_t num_rows;
  double mask_density;
  double row_density;
};

class SupportProductsTest : public testing::TestWithParam<Shape> {};

std::vector<double> PlainForward(const Design& design, const GateMasks& masks,
                                 const SparseRows& rows) {
  std::vector<double> outputs(design.padded_samples(), 0.0);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    for (int64_t k = 0; k < rows.num_rows(); ++k) {
      if (!IsOpen(masks, i, k)) continue;
      for (int64_t e = rows.row_begin[k]; e < rows.row_begin[k + 1]; ++e) {
        outputs[i] += rows.value[e] * InputOf(design, i, rows.column[e]);
      }
    }
  }
  return outputs;
}

TEST_P(SupportProductsTest, AgreeWithPlainLoopsOnEveryInstructionSet) {
  const Shape& shape = GetParam();
  const Design design = RandomDesign(shape.num_samples, shape.num_columns, 1);
  const GateMasks masks = RandomMasks(design, shape.num_rows, shape.mask_density, 2);
  const SparseRows rows = RandomRows(shape.num_rows, shape.num_columns, shape.row_density, 3);
  const std::vector<double> residual = RandomResidual(design, 4);
  const std::vector<double> expected = PlainForward(design, masks, rows);
  for (const InstructionSet set : AvailableInstructionSets()) {
    Engine engine(1, {}, set);
    std::vector<double> outputs(design.padded_samples(), 7.0);
    SupportForward(engine, design, masks, rows, outputs);
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_NEAR(outputs[i], expected[i], 1e-12 * (1 + std::abs(expected[i])));
    }
    std::vector<double> products(rows.nonzeros());
    SupportAdjoint(engine, design, masks, rows, residual, products);
    for (int64_t k = 0; k < rows.num_rows(); ++k) {
      for (int64_t e = rows.row_begin[k]; e < rows.row_begin[k + 1]; ++e) {
        double sum = 0;
        double size = 0;
        for (int64_t i = 0; i < design.num_samples; ++i) {
          if (!IsOpen(masks, i, k)) continue;
          const double term = residual[i] * InputOf(design, i, rows.column[e]);
          sum += term;
          size += std::abs(term);
        }
        EXPECT_NEAR(products[e], sum, 1e-13 * (1 + size));
      }
    }
  }
}

TEST_P(SupportProductsTest, AreAdjointToEachOther) {
  const Shape& shape = GetParam();
  const Design design = RandomDesign(shape.num_samples, shape.num_columns, 5);
  const GateMasks masks = RandomMasks(design, shape.num_rows, shape.mask_density, 6);
  const SparseRows rows = RandomRows(shape.num_rows, shape.num_columns, shape.row_density, 7);
  const std::vector<double> residual = RandomResidual(design, 8);
  Engine engine(1);
  std::vector<double> outputs(design.padded_samples());
  SupportForward(engine, design, masks, rows, outputs);
  std::vector<double> products(rows.nonzeros());
  SupportAdjoint(engine, design, masks, rows, residual, products);
  double left = 0;
  double right = 0;
  double size = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    left += outputs[i] * residual[i];
    size += std::abs(outputs[i] * residual[i]);
  }
  for (size_t e = 0; e < products.size(); ++e) right += products[e] * rows.value[e];
  EXPECT_NEAR(left, right, 1e-12 * (1 + size));
}

TEST_P(SupportProductsTest, HaveTheSameBitsOnAnyNumberOfThreads) {
  const Shape& shape = GetParam();
  const Design design = RandomDesign(shape.num_samples, shape.num_columns, 9);
  const GateMasks masks = RandomMasks(design, shape.num_rows, shape.mask_density, 10);
  const SparseRows rows = RandomRows(shape.num_rows, shape.num_columns, shape.row_density, 11);
  const std::vector<double> residual = RandomResidual(design, 12);
  std::vector<double> first_outputs;
  std::vector<double> first_products;
  for (const int num_threads : {1, 2, 3}) {
    Engine engine(num_threads);
    std::vector<double> outputs(design.padded_samples());
    SupportForward(engine, design, masks, rows, outputs);
    std::vector<double> products(rows.nonzeros());
    SupportAdjoint(engine, design, masks, rows, residual, products);
    if (num_threads == 1) {
      first_outputs = outputs;
      first_products = products;
    }
    EXPECT_EQ(outputs, first_outputs);
    EXPECT_EQ(products, first_products);
  }
}

// Runs of words: what they give is what the other rows, closed, would give.
TEST_P(SupportProductsTest, OverSomeRowsAreTheProductsWithTheOthersClosed) {
  const Shape& shape = GetParam();
  const Design design = RandomDesign(shape.num_samples, shape.num_columns, 13);
  const GateMasks masks = RandomMasks(design, shape.num_rows, shape.mask_density, 14);
  const SparseRows rows = RandomRows(shape.num_rows, shape.num_columns, shape.row_density, 15);
  const std::vector<double> residual = RandomResidual(design, 16);
  // The first third and the last third.
  const int64_t third = design.num_words / 3;
  const std::vector<RowChunk> some = {{0, third}, {design.num_words - third, third}};
  GateMasks closed = masks;
  for (int64_t w = third; w < design.num_words - third; ++w) {
    std::fill_n(closed.row(w), masks.num_gates, 0);
  }
  Engine engine(2);
  std::vector<double> expected_outputs(design.padded_samples());
  SupportForward(engine, design, closed, rows, expected_outputs);
  std::vector<double> expected_products(rows.nonzeros());
  SupportAdjoint(engine, design, closed, rows, residual, expected_products);

  constexpr double kUntouched = 7;
  std::vector<double> outputs(design.padded_samples(), kUntouched);
  SupportForward(engine, design, masks, rows, some, outputs);
  for (int64_t i = 0; i < design.padded_samples(); ++i) {
    const int64_t w = i / kSamplesPerWord;
    const bool chosen = w < third || w >= design.num_words - third;
    EXPECT_EQ(outputs[i], chosen ? expected_outputs[i] : kUntouched);
  }
  std::vector<double> products(rows.nonzeros(), kUntouched);
  SupportAdjoint(engine, design, masks, rows, some, residual, products);
  for (size_t e = 0; e < products.size(); ++e) {
    EXPECT_NEAR(products[e], expected_products[e], 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SupportProductsTest,
                         testing::Values(Shape{1, 1, 1, 1.0, 1.0}, Shape{63, 3, 2, 0.5, 0.7},
                                         Shape{64, 16, 5, 0.5, 0.5}, Shape{65, 17, 5, 0.9, 0.5},
                                         Shape{1000, 33, 20, 0.5, 0.1},
                                         Shape{5000, 100, 40, 0.5, 0.03},
                                         Shape{9000, 5, 3, 0.02, 1.0}, Shape{300, 40, 10, 0.0, 0.5},
                                         Shape{300, 40, 10, 1.0, 0.0}));

}  // namespace
}  // namespace thresher
