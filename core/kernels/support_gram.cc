#include "core/kernels/support_gram.h"

#include <algorithm>
#include <cstring>

namespace thresher {
namespace {

// A chunk of more words than this is summed in parts.
constexpr int64_t kFloatSumWords = 64;

}  // namespace

std::vector<double> SupportGram(Engine& engine, const Design& design, const GateMasks& masks,
                                const SparseRows& support) {
  const int64_t size = support.nonzeros();
  const int64_t stride = (size + kGramPadding - 1) / kGramPadding * kGramPadding;
  std::vector<double> gram(size * size, 0.0);
  std::vector<int32_t> row_of;
  row_of.reserve(size);
  for (int64_t row = 0; row < support.num_rows(); ++row) {
    row_of.insert(row_of.end(), support.row_begin[row + 1] - support.row_begin[row],
                  static_cast<int32_t>(row));
  }
  // One chunk a thread at a time; chunks are added in order.
  const int num_threads = engine.pool.num_threads();
  std::vector<AlignedFloats> panels;
  std::vector<AlignedFloats> sums;
  for (int thread = 0; thread < num_threads; ++thread) {
    panels.push_back(MakeAlignedFloats(kSamplesPerWord * stride));
    sums.push_back(MakeAlignedFloats(stride * stride));
  }
  struct Part {
    int64_t first_word;
    int64_t num_words;
  };
  std::vector<Part> parts;
  for (const RowChunk& chunk : design.chunks) {
    for (int64_t w = 0; w < chunk.num_words; w += kFloatSumWords) {
      parts.push_back({chunk.first_word + w, std::min(kFloatSumWords, chunk.num_words - w)});
    }
  }
  const auto num_parts = static_cast<int64_t>(parts.size());
  for (int64_t first = 0; first < num_parts; first += num_threads) {
    const int64_t present = std::min<int64_t>(num_threads, num_parts - first);
    engine.pool.ParallelFor(present, [&](int64_t slot, int) {
      const Part& part = parts[first + slot];
      std::memset(sums[slot].get(), 0, sizeof(float) * stride * stride);
      for (int64_t w = part.first_word; w < part.first_word + part.num_words; ++w) {
        if (engine.stop_requested()) return;
        engine.kernels.gated_panel(design.columns.get() + w * kSamplesPerWord,
                                   design.padded_samples(), row_of.data(), support.column.data(),
                                   size, masks.row(w), stride, panels[slot].get());
        engine.kernels.panel_gram(panels[slot].get(), stride, sums[slot].get());
      }
    });
    for (int64_t slot = 0; slot < present; ++slot) {
      for (int64_t a = 0; a < size; ++a) {
        for (int64_t b = a; b < size; ++b) gram[a * size + b] += sums[slot][a * stride + b];
      }
    }
  }
  for (int64_t a = 0; a < size; ++a) {
    for (int64_t b = 0; b < a; ++b) gram[a * size + b] = gram[b * size + a];
  }
  return gram;
}

}  // namespace thresher
