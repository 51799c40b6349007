// The inputs as the kernels read them: both layouts, padded, cut into row chunks.
#ifndef THRESHER_CORE_KERNELS_DESIGN_H_
#define THRESHER_CORE_KERNELS_DESIGN_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/network/network.h"

namespace thresher {

struct FreeDeleter {
  void operator()(void* pointer) const;
};
// 64-byte aligned, set to zero.
using AlignedFloats = std::unique_ptr<float[], FreeDeleter>;
AlignedFloats MakeAlignedFloats(int64_t count);

// A run of whole words (64 samples each). Sums over samples are formed chunk by chunk and
// then over chunks in order; the chunks depend on the number of samples alone.
struct RowChunk {
  int64_t first_word = 0;
  int64_t num_words = 0;
};
std::vector<RowChunk> MakeRowChunks(int64_t num_samples);

struct Design {
  int64_t num_samples = 0;
  int64_t num_columns = 0;  // inputs, and the constant 1 when there is a bias
  int64_t num_words = 0;    // ceil(num_samples / 64)
  int64_t row_stride = 0;   // num_columns, padded
  AlignedFloats rows;       // 64 num_words x row_stride, row-major, zeros in the padding
  AlignedFloats columns;    // num_columns x 64 num_words, column-major, zeros likewise
  std::vector<RowChunk> chunks;

  int64_t padded_samples() const { return 64 * num_words; }
};

// The given rows of the inputs, in this order; an empty span takes all.
Design MakeDesign(InputView inputs, bool bias, std::span<const int64_t> row_subset = {});

// Bytes that MakeDesign allocates.
int64_t DesignBytes(int64_t num_samples, int64_t num_columns);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_DESIGN_H_
