#include "core/kernels/design.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/kernels/kernel_table.h"

namespace thresher {
namespace {

// At most 4096 samples a chunk while there are at most 64 chunks, two chunks from 1024
// samples on, and always a power of two: the work divides evenly among threads.
constexpr int64_t kTargetChunkWords = 64;
constexpr int64_t kMaxChunks = 64;
constexpr int64_t kMinSplitWords = 16;

int64_t NumWords(int64_t num_samples) {
  return (num_samples + kSamplesPerWord - 1) / kSamplesPerWord;
}

int64_t RowStride(int64_t num_columns) {
  return (num_columns + kRowPadding - 1) / kRowPadding * kRowPadding;
}

}  // namespace

void FreeDeleter::operator()(void* pointer) const { std::free(pointer); }

AlignedFloats MakeAlignedFloats(int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, std::max<size_t>(bytes, 64));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return AlignedFloats(static_cast<float*>(memory));
}

std::vector<RowChunk> MakeRowChunks(int64_t num_samples) {
  const int64_t num_words = NumWords(num_samples);
  int64_t num_chunks = num_words >= kMinSplitWords ? 2 : 1;
  while (num_chunks > 1 && num_chunks < kMaxChunks && num_words > num_chunks * kTargetChunkWords) {
    num_chunks *= 2;
  }
  std::vector<RowChunk> chunks;
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t first = num_words * chunk / num_chunks;
    chunks.push_back({first, num_words * (chunk + 1) / num_chunks - first});
  }
  return chunks;
}

Design MakeDesign(InputView inputs, bool bias, std::span<const int64_t> row_subset) {
  Design design;
  design.num_samples =
      row_subset.empty() ? inputs.num_samples : static_cast<int64_t>(row_subset.size());
  design.num_columns = inputs.num_inputs + (bias ? 1 : 0);
  design.num_words = NumWords(design.num_samples);
  design.row_stride = RowStride(design.num_columns);
  design.rows = MakeAlignedFloats(design.padded_samples() * design.row_stride);
  design.columns = MakeAlignedFloats(design.padded_samples() * design.num_columns);
  design.chunks = MakeRowChunks(design.num_samples);
  for (int64_t i = 0; i < design.num_samples; ++i) {
    const std::span<const float> source = inputs.row(row_subset.empty() ? i : row_subset[i]);
    float* row = design.rows.get() + i * design.row_stride;
    std::copy(source.begin(), source.end(), row);
    if (bias) row[inputs.num_inputs] = 1;
  }
  // Transposed in blocks of 64 samples, which stay in the cache.
  for (int64_t first = 0; first < design.num_samples; first += kSamplesPerWord) {
    const int64_t last = std::min(first + kSamplesPerWord, design.num_samples);
    for (int64_t q = 0; q < design.num_columns; ++q) {
      float* column = design.columns.get() + q * design.padded_samples();
      for (int64_t i = first; i < last; ++i) column[i] = design.rows[i * design.row_stride + q];
    }
  }
  return design;
}

int64_t DesignBytes(int64_t num_samples, int64_t num_columns) {
  const int64_t padded = NumWords(num_samples) * kSamplesPerWord;
  return padded * (RowStride(num_columns) + num_columns) * static_cast<int64_t>(sizeof(float));
}

}  // namespace thresher
