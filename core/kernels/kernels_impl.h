// The kernels, written once over a vector type and compiled once per instruction set: the
// including file defines `Simd` (see avx512_kernels.cc) and then the table.
//
// Only plain loops over pointers here: code shared with other files would be compiled for
// the wrong processor and merged by the linker.
//
// Simd gives kFloatLanes, kDoubleLanes, kHasFusedMultiplyAdd and, for floats and doubles,
// Zero, Load, Store, Broadcast, Add, MultiplyAdd(a, b, c) = a b + c; PositiveBits, the lanes
// above zero as bits; LoadFloatsAsDoubles; AddSelected(a, bits, b), a + b where the bit is set
// and a elsewhere.
#include <cstdint>

#include "core/kernels/kernel_table.h"

namespace thresher {
namespace {

using Floats = Simd::Floats;
using Doubles = Simd::Doubles;

// Words of kGates gates at a time: kGates x kVectors accumulators stay in registers.
template <int kGates>
inline void DenseGateWords(const float* columns, int64_t stride, int64_t num_columns,
                           const float* gates, uint64_t* words) {
  constexpr int kVectors = kSamplesPerWord / Simd::kFloatLanes / Simd::kGateSplit;
  for (int gate = 0; gate < kGates; ++gate) words[gate] = 0;
  for (int part = 0; part < Simd::kGateSplit; ++part) {
    const int first = part * kVectors * Simd::kFloatLanes;
    Floats sum[kGates][kVectors];
    for (int gate = 0; gate < kGates; ++gate)
      for (int v = 0; v < kVectors; ++v) sum[gate][v] = Simd::ZeroFloats();
    for (int64_t q = 0; q < num_columns; ++q) {
      Floats x[kVectors];
      for (int v = 0; v < kVectors; ++v)
        x[v] = Simd::Load(columns + q * stride + first + v * Simd::kFloatLanes);
      for (int gate = 0; gate < kGates; ++gate) {
        const Floats h = Simd::Broadcast(gates[gate * num_columns + q]);
        for (int v = 0; v < kVectors; ++v) sum[gate][v] = Simd::MultiplyAdd(h, x[v], sum[gate][v]);
      }
    }
    for (int gate = 0; gate < kGates; ++gate)
      for (int v = 0; v < kVectors; ++v)
        words[gate] |= static_cast<uint64_t>(Simd::PositiveBits(sum[gate][v]))
                       << (first + v * Simd::kFloatLanes);
  }
}

void DenseGateWordsAll(const float* columns, int64_t stride, int64_t num_columns,
                       const float* gates, int64_t num_gates, uint64_t* words) {
  int64_t gate = 0;
  for (; gate + Simd::kGatesAtOnce <= num_gates; gate += Simd::kGatesAtOnce)
    DenseGateWords<Simd::kGatesAtOnce>(columns, stride, num_columns, gates + gate * num_columns,
                                       words + gate);
  for (; gate < num_gates; ++gate)
    DenseGateWords<1>(columns, stride, num_columns, gates + gate * num_columns, words + gate);
}

constexpr int kDoubleVectors = kSamplesPerWord / Simd::kDoubleLanes;

// The 64 samples of a word go through in parts: the part's sums stay in registers.
constexpr int kPartVectors = Simd::kPartVectors;
constexpr int kPartSamples = kPartVectors * Simd::kDoubleLanes;

inline uint32_t LaneBits(uint64_t word, int first) {
  return static_cast<uint32_t>(word >> first) & ((1u << Simd::kDoubleLanes) - 1);
}

// Pre-activations of one neuron on kPartSamples samples.
inline void PreActivations(const float* columns, int64_t stride, const int32_t* column,
                           const double* value, int64_t num_entries, Doubles* sum) {
  for (int v = 0; v < kPartVectors; ++v) sum[v] = Simd::ZeroDoubles();
  for (int64_t e = 0; e < num_entries; ++e) {
    const float* x = columns + column[e] * stride;
    const Doubles w = Simd::Broadcast(value[e]);
    for (int v = 0; v < kPartVectors; ++v)
      sum[v] = Simd::MultiplyAdd(w, Simd::LoadFloatsAsDoubles(x + v * Simd::kDoubleLanes), sum[v]);
  }
}

uint64_t SparseGateWord(const float* columns, int64_t stride, const int32_t* column,
                        const double* value, int64_t num_entries) {
  uint64_t word = 0;
  for (int first = 0; first < kSamplesPerWord; first += kPartSamples) {
    Doubles sum[kPartVectors];
    PreActivations(columns + first, stride, column, value, num_entries, sum);
    for (int v = 0; v < kPartVectors; ++v)
      word |= static_cast<uint64_t>(Simd::PositiveBits(sum[v])) << (first + v * Simd::kDoubleLanes);
  }
  return word;
}

void GatedForward(const float* columns, int64_t stride, const int64_t* row_begin,
                  const int32_t* column, const double* value, int64_t num_rows,
                  const uint64_t* words, double* outputs) {
  for (int first = 0; first < kSamplesPerWord; first += kPartSamples) {
    Doubles output[kPartVectors];
    for (int v = 0; v < kPartVectors; ++v) output[v] = Simd::ZeroDoubles();
    for (int64_t row = 0; row < num_rows; ++row) {
      if (words[row] == 0) continue;
      const int64_t begin = row_begin[row];
      Doubles sum[kPartVectors];
      PreActivations(columns + first, stride, column + begin, value + begin,
                     row_begin[row + 1] - begin, sum);
      for (int v = 0; v < kPartVectors; ++v)
        output[v] = Simd::AddSelected(output[v],
                                      LaneBits(words[row], first + v * Simd::kDoubleLanes), sum[v]);
    }
    for (int v = 0; v < kPartVectors; ++v)
      Simd::Store(outputs + first + v * Simd::kDoubleLanes, output[v]);
  }
}

void GatedAdjoint(const float* columns, int64_t stride, const int64_t* row_begin,
                  const int32_t* column, int64_t num_rows, const uint64_t* words,
                  const double* residual, double* sums) {
  constexpr int kVectorsPerSum = kSumLanes / Simd::kDoubleLanes;
  for (int64_t row = 0; row < num_rows; ++row) {
    if (words[row] == 0) continue;
    Doubles gated[kDoubleVectors];
    for (int v = 0; v < kDoubleVectors; ++v) {
      const int first = v * Simd::kDoubleLanes;
      gated[v] = Simd::AddSelected(Simd::ZeroDoubles(), LaneBits(words[row], first),
                                   Simd::Load(residual + first));
    }
    for (int64_t e = row_begin[row]; e < row_begin[row + 1]; ++e) {
      const float* x = columns + column[e] * stride;
      // Two chains of sums in each lane, over the even and the odd groups of eight samples.
      Doubles even[kVectorsPerSum];
      Doubles odd[kVectorsPerSum];
      for (int l = 0; l < kVectorsPerSum; ++l) {
        even[l] = Simd::ZeroDoubles();
        odd[l] = Simd::ZeroDoubles();
      }
      for (int v = 0; v < kDoubleVectors; v += 2 * kVectorsPerSum) {
        for (int l = 0; l < kVectorsPerSum; ++l) {
          const float* even_x = x + (v + l) * Simd::kDoubleLanes;
          even[l] = Simd::MultiplyAdd(gated[v + l], Simd::LoadFloatsAsDoubles(even_x), even[l]);
          odd[l] = Simd::MultiplyAdd(gated[v + l + kVectorsPerSum],
                                     Simd::LoadFloatsAsDoubles(even_x + kSumLanes), odd[l]);
        }
      }
      for (int l = 0; l < kVectorsPerSum; ++l) {
        double* lane = sums + e * kSumLanes + l * Simd::kDoubleLanes;
        Simd::Store(lane, Simd::Add(Simd::Load(lane), Simd::Add(even[l], odd[l])));
      }
    }
  }
}

// kVectors vectors wide: kAdjointTileColumns or kRowPadding columns.
template <int kVectors>
inline void TableAdjointTile(const float* rows, int64_t row_stride, const float* residual,
                             const uint64_t* words, int64_t num_gates, float* tables, float* sums) {
  constexpr int kWidth = kVectors * Simd::kFloatLanes;
  constexpr int kGroups = kSamplesPerWord / 4;
  constexpr int kEntries = 16;
  for (int group = 0; group < kGroups; ++group) {
    float* table = tables + group * kEntries * kWidth;
    for (int v = 0; v < kVectors; ++v)
      Simd::Store(table + v * Simd::kFloatLanes, Simd::ZeroFloats());
    for (int bit = 0; bit < 4; ++bit) {
      const int i = group * 4 + bit;
      const Floats r = Simd::Broadcast(residual[i]);
      for (int v = 0; v < kVectors; ++v) {
        const int q = v * Simd::kFloatLanes;
        const Floats row = Simd::Multiply(r, Simd::Load(rows + i * row_stride + q));
        for (int entry = 0; entry < (1 << bit); ++entry)
          Simd::Store(table + ((1 << bit) + entry) * kWidth + q,
                      Simd::Add(Simd::Load(table + entry * kWidth + q), row));
      }
    }
  }
  // Columns that do not fit the registers twice over go through in parts.
  constexpr int kPart = kVectors < Simd::kTableVectors ? kVectors : Simd::kTableVectors;
  for (int64_t gate = 0; gate < num_gates; ++gate) {
    const uint64_t word = words[gate];
    for (int part = 0; part < kVectors; part += kPart) {
      float* sum = sums + gate * kAdjointTileColumns + part * Simd::kFloatLanes;
      const float* base = tables + part * Simd::kFloatLanes;
      Floats even[kPart];
      Floats odd[kPart];
      for (int v = 0; v < kPart; ++v) {
        even[v] = Simd::Load(sum + v * Simd::kFloatLanes);
        odd[v] = Simd::ZeroFloats();
      }
#pragma GCC unroll 8
      for (int group = 0; group < kGroups; group += 2) {
        const float* first = base + (group * kEntries + ((word >> (4 * group)) & 15)) * kWidth;
        const float* second =
            base + ((group + 1) * kEntries + ((word >> (4 * group + 4)) & 15)) * kWidth;
        for (int v = 0; v < kPart; ++v) {
          even[v] = Simd::Add(even[v], Simd::Load(first + v * Simd::kFloatLanes));
          odd[v] = Simd::Add(odd[v], Simd::Load(second + v * Simd::kFloatLanes));
        }
      }
      for (int v = 0; v < kPart; ++v)
        Simd::Store(sum + v * Simd::kFloatLanes, Simd::Add(even[v], odd[v]));
    }
  }
}

void TableAdjoint(const float* rows, int64_t row_stride, int width, const float* residual,
                  const uint64_t* words, int64_t num_gates, float* tables, float* sums) {
  if (width == kAdjointTileColumns) {
    TableAdjointTile<kAdjointTileColumns / Simd::kFloatLanes>(rows, row_stride, residual, words,
                                                              num_gates, tables, sums);
  } else {
    TableAdjointTile<kRowPadding / Simd::kFloatLanes>(rows, row_stride, residual, words, num_gates,
                                                      tables, sums);
  }
}

// A tile of kGramRows x kGramVectors vectors of sums stays in registers.
void PanelGram(const float* panel, int64_t stride, float* gram) {
  constexpr int kRows = Simd::kGramRows;
  constexpr int kVectors = Simd::kGramVectors;
  constexpr int kColumns = kVectors * Simd::kFloatLanes;
  static_assert(kGramPadding % kRows == 0 && kGramPadding % kColumns == 0);
  for (int64_t a = 0; a < stride; a += kRows) {
    for (int64_t b = a / kColumns * kColumns; b < stride; b += kColumns) {
      Floats sum[kRows][kVectors];
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v)
          sum[r][v] = Simd::Load(gram + (a + r) * stride + b + v * Simd::kFloatLanes);
      for (int i = 0; i < kSamplesPerWord; ++i) {
        const float* row = panel + i * stride;
        Floats right[kVectors];
        for (int v = 0; v < kVectors; ++v) right[v] = Simd::Load(row + b + v * Simd::kFloatLanes);
        for (int r = 0; r < kRows; ++r) {
          const Floats left = Simd::Broadcast(row[a + r]);
          for (int v = 0; v < kVectors; ++v)
            sum[r][v] = Simd::MultiplyAdd(left, right[v], sum[r][v]);
        }
      }
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v)
          Simd::Store(gram + (a + r) * stride + b + v * Simd::kFloatLanes, sum[r][v]);
    }
  }
}

constexpr KernelTable kTable = {&DenseGateWordsAll, &SparseGateWord, &GatedForward,
                                &GatedAdjoint,      &PanelGram,      &TableAdjoint};

}  // namespace
}  // namespace thresher
