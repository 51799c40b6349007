// The gates of the present iterate: where their activation patterns come from, and whether
// the bits are kept or made again when needed.
#ifndef THRESHER_CORE_KERNELS_GATE_FIELD_H_
#define THRESHER_CORE_KERNELS_GATE_FIELD_H_

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "core/gates/gate_masks.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/network/network.h"

namespace thresher {

// Gates that are sparse vectors: gate live[k] is row k of `vectors`; all others are closed.
struct SparseGateSet {
  std::vector<int64_t> live;  // ascending
  SparseRows vectors;
};

// 1[x . h > 0] for every gate. Random gates are summed in float, vectors and sparse gates in
// double. Only the gates in live() can be open.
class GateField {
 public:
  GateField(RandomGateSet gates, const Design& design);
  // `gates` must outlive the field.
  GateField(const GateVectorSet* gates, const Design& design);
  GateField(SparseGateSet gates, const Design& design);

  // Indices of gates that may be open, ascending.
  int64_t num_live() const;
  int64_t live(int64_t k) const;

  // Bits of all live gates are kept from now on, when they need at most limit_bytes.
  // Returns whether they are.
  bool KeepMasks(Engine& engine, const Design& design, int64_t limit_bytes);
  bool keeps_masks() const { return kept_.has_value(); }

  // Patterns of some gates, by index, ascending. Cost: a copy where bits are kept, else n d
  // multiply-adds a dense gate, n nnz a sparse one.
  GateMasks MasksOf(Engine& engine, const Design& design, std::span<const int64_t> gates) const;

  // For the pass over all gates, a block of live gates at a time: what the block needs
  // before its words can be made (the vectors of random gates), then the words of one row
  // chunk, word-major, num_words x count.
  struct Block {
    int64_t first = 0;  // position in the live gates
    int64_t count = 0;
    // Where the block is not first, first + 1, ...: its positions, ascending.
    std::span<const int64_t> positions = {};
    std::vector<float> vectors;  // random gates without kept bits: count x num_columns

    int64_t position(int64_t k) const { return positions.empty() ? first + k : positions[k]; }
  };
  Block PrepareBlock(int64_t first, int64_t count) const;
  // `positions` must outlive the block.
  Block PrepareBlock(std::span<const int64_t> positions) const;
  // Words of `block` for the chunk's word w. `scratch` (block.count words) is used where the
  // bits are not kept; the result points into it or into the kept bits.
  const uint64_t* BlockWords(Engine& engine, const Design& design, const Block& block, int64_t w,
                             std::vector<uint64_t>& scratch) const;

 private:
  void MakeVectors(Block& block) const;

  std::variant<RandomGateSet, const GateVectorSet*, SparseGateSet> gates_;
  int64_t num_columns_;
  std::optional<GateMasks> kept_;  // of the live gates
};

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_GATE_FIELD_H_
