#include "core/kernels/support_products.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/kernels/kernel_table.h"

namespace thresher {
namespace {

// A support in the order of the kernels: by column, and by row within.
struct ByColumn {
  std::vector<int32_t> column;
  std::vector<int64_t> begin;
  std::vector<int32_t> row;
  std::vector<double> value;
  std::vector<int64_t> entry;  // where the support has it

  SupportColumns view() const {
    return {column.data(), begin.data(), static_cast<int64_t>(column.size()), row.data(),
            value.data()};
  }
};

ByColumn OrderByColumn(const SparseRows& support) {
  ByColumn ordered;
  const int64_t num_entries = support.nonzeros();
  std::vector<int32_t> row_of(num_entries);
  for (int64_t k = 0; k < support.num_rows(); ++k) {
    std::fill(row_of.begin() + support.row_begin[k], row_of.begin() + support.row_begin[k + 1],
              static_cast<int32_t>(k));
  }
  ordered.entry.resize(num_entries);
  std::iota(ordered.entry.begin(), ordered.entry.end(), 0);
  std::stable_sort(ordered.entry.begin(), ordered.entry.end(),
                   [&](int64_t a, int64_t b) { return support.column[a] < support.column[b]; });
  for (const int64_t e : ordered.entry) {
    if (ordered.column.empty() || ordered.column.back() != support.column[e]) {
      ordered.column.push_back(support.column[e]);
      ordered.begin.push_back(static_cast<int64_t>(ordered.row.size()));
    }
    ordered.row.push_back(row_of[e]);
    ordered.value.push_back(support.value[e]);
  }
  ordered.begin.push_back(num_entries);
  return ordered;
}

}  // namespace

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
  const ByColumn ordered = OrderByColumn(support);
  engine.pool.ParallelFor(static_cast<int64_t>(rows.size()), [&](int64_t c, int) {
    const RowChunk& chunk = rows[c];
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      if (engine.stop_requested()) return;
      engine.kernels.gated_forward(design.columns.get() + w * kSamplesPerWord,
                                   design.padded_samples(), ordered.view(), masks.row(w),
                                   outputs.data() + w * kSamplesPerWord);
    }
  });
}

void SupportAdjoint(Engine& engine, const Design& design, const GateMasks& masks,
                    const SparseRows& support, std::span<const RowChunk> rows,
                    std::span<const double> residual, std::span<double> products) {
  const ByColumn ordered = OrderByColumn(support);
  const int64_t num_entries = support.nonzeros();
  const auto num_chunks = static_cast<int64_t>(rows.size());
  std::vector<double> partial(num_chunks * num_entries);
  engine.pool.ParallelFor(num_chunks, [&](int64_t c, int) {
    const RowChunk& chunk = rows[c];
    std::vector<double> sums(num_entries * kSumLanes, 0.0);
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      if (engine.stop_requested()) return;
      engine.kernels.gated_adjoint(design.columns.get() + w * kSamplesPerWord,
                                   design.padded_samples(), ordered.view(), masks.row(w),
                                   residual.data() + w * kSamplesPerWord, sums.data());
    }
    for (int64_t e = 0; e < num_entries; ++e) {
      const double* lane = sums.data() + e * kSumLanes;
      partial[c * num_entries + e] =
          ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
  });
  std::fill(products.begin(), products.end(), 0.0);
  for (int64_t c = 0; c < num_chunks; ++c) {
    for (int64_t e = 0; e < num_entries; ++e) {
      products[ordered.entry[e]] += partial[c * num_entries + e];
    }
  }
}

}  // namespace thresher
