#include "core/kernels/top_gradient.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

namespace thresher {
namespace {

// Gates of one block: the sums of a block and one row chunk stay in the second-level cache.
constexpr int64_t kMaxBlockGates = 1024;
constexpr int64_t kMinBlockGates = 16;
constexpr int64_t kBlockSums = 128 * 1024;
// Blocks in flight times row chunks: enough units for the threads, and few tiles in memory.
constexpr int64_t kUnitsInFlight = 16;

int64_t BlockGates(int64_t row_stride) {
  return std::clamp(kBlockSums / row_stride / 16 * 16, kMinBlockGates, kMaxBlockGates);
}

int64_t BlocksInFlight(int64_t num_chunks) {
  return std::max<int64_t>(1, kUnitsInFlight / num_chunks);
}

int64_t NumTiles(int64_t row_stride) {
  return (row_stride + kAdjointTileColumns - 1) / kAdjointTileColumns;
}

struct ThreadScratch {
  AlignedFloats tables = MakeAlignedFloats(kAdjointTableFloats);
  std::vector<uint64_t> words;
  std::vector<uint64_t> chunk_words;
};

// sums[(tile * count + gate) * 32 + q] over one row chunk.
void BlockChunkSums(Engine& engine, const Design& design, const GateField& gates,
                    const GateField::Block& block, const RowChunk& chunk, const float* residual,
                    ThreadScratch& scratch, float* sums) {
  const int64_t num_tiles = NumTiles(design.row_stride);
  std::memset(sums, 0, sizeof(float) * num_tiles * block.count * kAdjointTileColumns);
  // Words that are made here serve every tile; kept ones are used where they lie.
  const bool make_words = !gates.keeps_masks() || !block.positions.empty();
  if (make_words) {
    scratch.chunk_words.resize(chunk.num_words * block.count);
    for (int64_t w = 0; w < chunk.num_words; ++w) {
      const uint64_t* words =
          gates.BlockWords(engine, design, block, chunk.first_word + w, scratch.words);
      std::copy_n(words, block.count, scratch.chunk_words.data() + w * block.count);
    }
  }
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    if (engine.stop_requested()) return;
    const int64_t first_column = tile * kAdjointTileColumns;
    const int width =
        design.row_stride - first_column >= kAdjointTileColumns ? kAdjointTileColumns : kRowPadding;
    for (int64_t w = 0; w < chunk.num_words; ++w) {
      const int64_t first_sample = (chunk.first_word + w) * kSamplesPerWord;
      const uint64_t* words =
          make_words ? scratch.chunk_words.data() + w * block.count
                     : gates.BlockWords(engine, design, block, chunk.first_word + w, scratch.words);
      engine.kernels.table_adjoint(
          design.rows.get() + first_sample * design.row_stride + first_column, design.row_stride,
          width, residual + first_sample, words, block.count, scratch.tables.get(),
          sums + tile * block.count * kAdjointTileColumns);
    }
  }
}

double SmallestMagnitude(const std::vector<KeyedValue>& entries) {
  const auto smallest = std::min_element(entries.begin(), entries.end(),
                                         [](const KeyedValue& a, const KeyedValue& b) {
                                           return std::abs(a.value) < std::abs(b.value);
                                         });
  return std::abs(smallest->value);
}

}  // namespace

void KeepLargest(int64_t count, std::vector<KeyedValue>& entries, TieRule ties) {
  if (static_cast<int64_t>(entries.size()) <= count) return;
  if (count > 0) {
    std::nth_element(entries.begin(), entries.begin() + count - 1, entries.end(),
                     [ties](const KeyedValue& a, const KeyedValue& b) {
                       const double magnitude_a = std::abs(a.value);
                       const double magnitude_b = std::abs(b.value);
                       if (magnitude_a != magnitude_b) return magnitude_a > magnitude_b;
                       return ties == TieRule::kLowerKey ? a.key < b.key : a.key > b.key;
                     });
  }
  entries.resize(count);
}

std::vector<KeyedValue> TopGradient(Engine& engine, const Design& design, const GateField& gates,
                                    std::span<const double> residual, int64_t count,
                                    std::span<const int64_t> excluded,
                                    std::span<const double> column_scales, GradientScreen* screen) {
  std::vector<KeyedValue> best;
  if (count <= 0 || gates.num_live() == 0) return best;
  // Excluded entries are let through the selection and removed at its end.
  const int64_t wanted = count + static_cast<int64_t>(excluded.size());

  // Scaled by a power of two, which is exact, so that residuals of any size fit a float.
  double largest = 0;
  for (const double value : residual) largest = std::max(largest, std::abs(value));
  if (largest == 0) return best;
  const double scale = std::exp2(std::ilogb(largest));
  std::vector<float> single(residual.size());
  for (size_t i = 0; i < residual.size(); ++i) {
    single[i] = static_cast<float>(residual[i] / scale);
  }
  std::optional<std::vector<int64_t>> chosen;
  if (screen != nullptr) chosen = screen->BeginPass(residual, scale, gates.num_live(), wanted);
  const int64_t num_gates = chosen ? static_cast<int64_t>(chosen->size()) : gates.num_live();
  const auto num_chunks = static_cast<int64_t>(design.chunks.size());
  const int64_t block_gates = std::min(BlockGates(design.row_stride), num_gates);
  const int64_t num_blocks = (num_gates + block_gates - 1) / block_gates;
  const int64_t in_flight = std::min(BlocksInFlight(num_chunks), num_blocks);
  const int64_t block_floats = NumTiles(design.row_stride) * block_gates * kAdjointTileColumns;
  const AlignedFloats sums = MakeAlignedFloats(in_flight * num_chunks * block_floats);
  std::vector<ThreadScratch> scratch(engine.pool.num_threads());
  std::vector<GateField::Block> blocks(in_flight);
  std::vector<std::vector<KeyedValue>> found(in_flight);
  double threshold = 0;  // entries of smaller magnitude cannot be among the wanted

  for (int64_t first_block = 0; first_block < num_blocks; first_block += in_flight) {
    const int64_t present = std::min(in_flight, num_blocks - first_block);
    engine.pool.ParallelFor(present, [&](int64_t b, int) {
      const int64_t first = (first_block + b) * block_gates;
      const int64_t size = std::min(block_gates, num_gates - first);
      blocks[b] = chosen ? gates.PrepareBlock(std::span(*chosen).subspan(first, size))
                         : gates.PrepareBlock(first, size);
    });
    engine.pool.ParallelFor(present * num_chunks, [&](int64_t unit, int thread) {
      const int64_t b = unit / num_chunks;
      BlockChunkSums(engine, design, gates, blocks[b], design.chunks[unit % num_chunks],
                     single.data(), scratch[thread], sums.get() + unit * block_floats);
    });
    engine.pool.ParallelFor(present, [&](int64_t b, int) {
      std::vector<KeyedValue>& entries = found[b];
      entries.clear();
      const GateField::Block& block = blocks[b];
      double cut = threshold;
      for (int64_t k = 0; k < block.count; ++k) {
        const int64_t first_key = gates.live(block.position(k)) * design.num_columns;
        double largest_sum = 0;
        for (int64_t q = 0; q < design.num_columns; ++q) {
          const int64_t at = (q / kAdjointTileColumns * block.count + k) * kAdjointTileColumns +
                             q % kAdjointTileColumns;
          double sum = 0;
          for (int64_t c = 0; c < num_chunks; ++c) {
            sum += sums[(b * num_chunks + c) * block_floats + at];
          }
          if (!column_scales.empty()) sum *= column_scales[q];
          largest_sum = std::max(largest_sum, std::abs(sum));
          if (sum != 0 && std::abs(sum) >= cut) entries.push_back({first_key + q, sum});
        }
        if (screen != nullptr) screen->NoteGate(block.position(k), scale * largest_sum);
        if (static_cast<int64_t>(entries.size()) >= 2 * wanted + 1024) {
          KeepLargest(wanted, entries);
          cut = SmallestMagnitude(entries);
        }
      }
      KeepLargest(wanted, entries);
    });
    if (engine.stop_requested()) return {};
    for (int64_t b = 0; b < present; ++b) {
      best.insert(best.end(), found[b].begin(), found[b].end());
    }
    if (static_cast<int64_t>(best.size()) > wanted) {
      KeepLargest(wanted, best);
      threshold = SmallestMagnitude(best);
    }
  }
  if (screen != nullptr) {
    const bool complete = static_cast<int64_t>(best.size()) == wanted;
    screen->EndPass(complete ? scale * SmallestMagnitude(best) : 0);
  }
  std::erase_if(best, [&](const KeyedValue& entry) {
    return std::binary_search(excluded.begin(), excluded.end(), entry.key);
  });
  KeepLargest(count, best);
  for (KeyedValue& entry : best) entry.value *= scale;
  std::sort(best.begin(), best.end(),
            [](const KeyedValue& a, const KeyedValue& b) { return a.key < b.key; });
  return best;
}

int64_t TopGradientBytes(int64_t num_samples, int64_t num_columns, int64_t num_gates,
                         int num_threads, bool masks_kept) {
  const int64_t row_stride = (num_columns + kRowPadding - 1) / kRowPadding * kRowPadding;
  const std::vector<RowChunk> chunks = MakeRowChunks(num_samples);
  const auto num_chunks = static_cast<int64_t>(chunks.size());
  const int64_t block_gates = std::min(BlockGates(row_stride), num_gates);
  const int64_t num_blocks = (num_gates + block_gates - 1) / block_gates;
  const int64_t in_flight = std::min(BlocksInFlight(num_chunks), num_blocks);
  const int64_t block_floats = NumTiles(row_stride) * block_gates * kAdjointTileColumns;
  int64_t bytes = in_flight * num_chunks * block_floats * static_cast<int64_t>(sizeof(float));
  bytes += num_threads * kAdjointTableFloats * static_cast<int64_t>(sizeof(float));
  bytes += num_samples * static_cast<int64_t>(sizeof(float));
  // Until a selection is cut, every entry of the blocks in flight may be a candidate.
  bytes += in_flight * block_gates * num_columns * static_cast<int64_t>(2 * sizeof(KeyedValue));
  // Words that are gathered or made for a row chunk.
  bytes += num_threads * (chunks.front().num_words + 2) * block_gates *
           static_cast<int64_t>(sizeof(uint64_t));
  if (!masks_kept) {
    bytes += in_flight * block_gates * num_columns * static_cast<int64_t>(sizeof(float));
  }
  return bytes;
}

}  // namespace thresher
