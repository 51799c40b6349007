#include "core/kernels/support_products.h"

#include <algorithm>
#include <vector>

namespace thresher {

void SupportForward(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<double> outputs) {
  SupportForward(engine, design, masks, support, design.chunks, outputs);
}

void SupportAdjoint(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const double> residual,
                    std::span<double> products) {
  SupportAdjoint(engine, design, masks, support, design.chunks, residual, products);
}

void SupportForward(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const RowChunk> rows,
                    std::span<double> outputs) {
  const int64_t stride = design.padded_samples();
  engine.pool.ParallelFor(static_cast<int64_t>(rows.size()), [&](int64_t c, int) {
    const RowChunk& chunk = rows[c];
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      if (engine.stop_requested()) return;
      engine.kernels.gated_forward(design.columns.get() + w * kSamplesPerWord, stride,
                                   support.row_begin.data(), support.column.data(),
                                   support.value.data(), support.num_rows(), masks.row(w),
                                   outputs.data() + w * kSamplesPerWord);
    }
  });
}

void SupportAdjoint(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const RowChunk> rows,
                    std::span<const double> residual, std::span<double> products) {
  const int64_t stride = design.padded_samples();
  const int64_t num_entries = support.nonzeros();
  const auto num_chunks = static_cast<int64_t>(rows.size());
  std::vector<double> partial(num_chunks * num_entries);
  engine.pool.ParallelFor(num_chunks, [&](int64_t c, int) {
    const RowChunk& chunk = rows[c];
    std::vector<double> sums(num_entries * kSumLanes, 0.0);
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      if (engine.stop_requested()) return;
      engine.kernels.gated_adjoint(design.columns.get() + w * kSamplesPerWord, stride,
                                   support.row_begin.data(), support.column.data(),
                                   support.num_rows(), masks.row(w),
                                   residual.data() + w * kSamplesPerWord, sums.data());
    }
    for (int64_t e = 0; e < num_entries; ++e) {
      const double* lane = sums.data() + e * kSumLanes;
      partial[c * num_entries + e] =
          ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
  });
  std::fill(products.begin(), products.end(), 0.0);
  for (int64_t c = 0; c < num_chunks; ++c)
    for (int64_t e = 0; e < num_entries; ++e) products[e] += partial[c * num_entries + e];
}

}  // namespace thresher
