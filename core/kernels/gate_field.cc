#include "core/kernels/gate_field.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/gates/random_gates.h"

namespace thresher {
namespace {

// Words of vector gates [first, first + count) in double, through the sparse kernel with all
// columns.
void VectorGateWords(Engine& engine, const Design& design, const GateVectorSet& gates,
                     std::span<const int64_t> chosen, int64_t w, uint64_t* words) {
  std::vector<int32_t> all_columns(design.num_columns);
  std::iota(all_columns.begin(), all_columns.end(), 0);
  const float* columns = design.columns.get() + w * kSamplesPerWord;
  for (size_t k = 0; k < chosen.size(); ++k) {
    words[k] = engine.kernels.sparse_gate_word(
        columns, design.padded_samples(), all_columns.data(),
        gates.vectors.data() + chosen[k] * design.num_columns, design.num_columns);
  }
}

}  // namespace

GateField::GateField(RandomGateSet gates, const Design& design)
    : gates_(gates), num_columns_(design.num_columns) {}

GateField::GateField(const GateVectorSet* gates, const Design& design)
    : gates_(gates), num_columns_(design.num_columns) {}

GateField::GateField(SparseGateSet gates, const Design& design)
    : gates_(std::move(gates)), num_columns_(design.num_columns) {}

int64_t GateField::num_live() const {
  if (const auto* random = std::get_if<RandomGateSet>(&gates_)) return random->num_gates;
  if (const auto* sparse = std::get_if<SparseGateSet>(&gates_)) {
    return static_cast<int64_t>(sparse->live.size());
  }
  return std::get<const GateVectorSet*>(gates_)->num_gates;
}

int64_t GateField::live(int64_t k) const {
  const auto* sparse = std::get_if<SparseGateSet>(&gates_);
  return sparse != nullptr ? sparse->live[k] : k;
}

bool GateField::KeepMasks(Engine& engine, const Design& design, int64_t limit_bytes) {
  const int64_t num_gates = num_live();
  if (num_gates > limit_bytes / static_cast<int64_t>(sizeof(uint64_t)) / design.num_words) {
    return false;
  }
  std::vector<int64_t> all(num_gates);
  for (int64_t k = 0; k < num_gates; ++k) all[k] = live(k);
  kept_ = MasksOf(engine, design, all);
  return true;
}

GateMasks GateField::MasksOf(Engine& engine, const Design& design,
                             std::span<const int64_t> gates) const {
  GateMasks masks;
  masks.num_words = design.num_words;
  masks.num_gates = static_cast<int64_t>(gates.size());
  masks.words.resize(masks.num_words * masks.num_gates);
  const auto* sparse = std::get_if<SparseGateSet>(&gates_);
  // Position of each gate among the live ones; -1 for a closed one.
  std::vector<int64_t> position(gates.begin(), gates.end());
  if (sparse != nullptr) {
    for (int64_t& p : position) {
      const auto it = std::lower_bound(sparse->live.begin(), sparse->live.end(), p);
      p = it != sparse->live.end() && *it == p ? it - sparse->live.begin() : -1;
    }
  }
  std::vector<float> vectors;
  if (const auto* random = std::get_if<RandomGateSet>(&gates_); random != nullptr && !kept_) {
    vectors.resize(gates.size() * num_columns_);
    engine.pool.ParallelFor(masks.num_gates, [&](int64_t k, int) {
      RandomGate(random->seed, gates[k],
                 {vectors.data() + k * num_columns_, static_cast<size_t>(num_columns_)});
    });
  }
  const auto num_chunks = static_cast<int64_t>(design.chunks.size());
  engine.pool.ParallelFor(num_chunks, [&](int64_t c, int) {
    const RowChunk& chunk = design.chunks[c];
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      if (engine.stop_requested()) return;
      uint64_t* words = masks.row(w);
      const float* columns = design.columns.get() + w * kSamplesPerWord;
      if (kept_) {
        const uint64_t* kept = kept_->row(w);
        for (size_t k = 0; k < position.size(); ++k) {
          words[k] = position[k] < 0 ? 0 : kept[position[k]];
        }
      } else if (sparse != nullptr) {
        for (size_t k = 0; k < position.size(); ++k) {
          if (position[k] < 0) continue;
          const int64_t begin = sparse->vectors.row_begin[position[k]];
          words[k] = engine.kernels.sparse_gate_word(
              columns, design.padded_samples(), sparse->vectors.column.data() + begin,
              sparse->vectors.value.data() + begin,
              sparse->vectors.row_begin[position[k] + 1] - begin);
        }
      } else if (const auto* given = std::get_if<const GateVectorSet*>(&gates_)) {
        VectorGateWords(engine, design, **given, gates, w, words);
      } else {
        engine.kernels.dense_gate_words(columns, design.padded_samples(), num_columns_,
                                        vectors.data(), masks.num_gates, words);
      }
    }
  });
  // Gates open at zero do not exist (x . h > 0 is strict), so the rows of zeros behind the
  // last sample have no bits.
  return masks;
}

GateField::Block GateField::PrepareBlock(int64_t first, int64_t count) const {
  Block block{.first = first, .count = count, .vectors = {}};
  MakeVectors(block);
  return block;
}

GateField::Block GateField::PrepareBlock(std::span<const int64_t> positions) const {
  Block block{
      .count = static_cast<int64_t>(positions.size()), .positions = positions, .vectors = {}};
  MakeVectors(block);
  return block;
}

void GateField::MakeVectors(Block& block) const {
  if (const auto* random = std::get_if<RandomGateSet>(&gates_); random != nullptr && !kept_) {
    block.vectors.resize(block.count * num_columns_);
    for (int64_t k = 0; k < block.count; ++k) {
      RandomGate(random->seed, block.position(k),
                 {block.vectors.data() + k * num_columns_, static_cast<size_t>(num_columns_)});
    }
  }
}

const uint64_t* GateField::BlockWords(Engine& engine, const Design& design, const Block& block,
                                      int64_t w, std::vector<uint64_t>& scratch) const {
  if (kept_ && block.positions.empty()) return kept_->row(w) + block.first;
  scratch.resize(block.count);
  if (kept_) {
    const uint64_t* kept = kept_->row(w);
    for (int64_t k = 0; k < block.count; ++k) scratch[k] = kept[block.positions[k]];
    return scratch.data();
  }
  const float* columns = design.columns.get() + w * kSamplesPerWord;
  if (!block.vectors.empty()) {
    engine.kernels.dense_gate_words(columns, design.padded_samples(), num_columns_,
                                    block.vectors.data(), block.count, scratch.data());
  } else if (const auto* sparse = std::get_if<SparseGateSet>(&gates_)) {
    for (int64_t k = 0; k < block.count; ++k) {
      const int64_t begin = sparse->vectors.row_begin[block.position(k)];
      scratch[k] = engine.kernels.sparse_gate_word(
          columns, design.padded_samples(), sparse->vectors.column.data() + begin,
          sparse->vectors.value.data() + begin,
          sparse->vectors.row_begin[block.position(k) + 1] - begin);
    }
  } else {
    std::vector<int64_t> chosen(block.count);
    for (int64_t k = 0; k < block.count; ++k) chosen[k] = block.position(k);
    VectorGateWords(engine, design, *std::get<const GateVectorSet*>(gates_), chosen, w,
                    scratch.data());
  }
  return scratch.data();
}

}  // namespace thresher
