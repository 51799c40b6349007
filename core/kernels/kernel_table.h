// The hot loops, one table of functions per instruction set.
//
// All work on 64 samples at a time, one word of gate bits. `columns` points at the first
// of these samples in column-major inputs: input q of sample i is columns[q * stride + i].
// AVX2 and AVX-512 give the same bits: both have eight lanes of double sums and fused
// multiply-adds in the same order. The baseline has no fused multiply-add.
#ifndef THRESHER_CORE_KERNELS_KERNEL_TABLE_H_
#define THRESHER_CORE_KERNELS_KERNEL_TABLE_H_

#include <cstdint>

#include "core/kernels/instruction_set.h"

namespace thresher {

inline constexpr int kSamplesPerWord = 64;
// Columns of one tile of the gated adjoint; the row-major inputs are padded to half of it.
inline constexpr int kAdjointTileColumns = 32;
inline constexpr int kRowPadding = 16;
inline constexpr int kGramPadding = 48;
// Lanes of a double sum.
inline constexpr int kSumLanes = 8;

// The entries of a sparse matrix column by column: a column's samples are read once for all of
// its entries. Entry begin[c] <= e < begin[c + 1] stands in column[c] and in row[e]; words[row] are
// the row's gate bits.
struct SupportColumns {
  const int32_t* column;
  const int64_t* begin;
  int64_t num_columns;
  const int32_t* row;
  const double* value;
};

// The weights of a layer of a network in training, column by column: the entry
// column_begin[q] <= e < column_begin[q + 1] leads from input q to output row[e], ascending.
struct LayerWeights {
  const int64_t* column_begin;
  int64_t num_columns;
  const int32_t* row;
  const float* weight;
};

// Samples that a sum of layer gradients may hold at a time: a multiple of this.
inline constexpr int kGradientLanes = 16;

struct KernelTable {
  // Gate bits of dense float gates. words[j] bit i = [ sum_q gates[j * num_columns + q]
  // x_iq > 0 ], summed in float over ascending q.
  void (*dense_gate_words)(const float* columns, int64_t stride, int64_t num_columns,
                           const float* gates, int64_t num_gates, uint64_t* words);

  // Gate bits of one sparse gate, summed in double over its entries in order.
  uint64_t (*sparse_gate_word)(const float* columns, int64_t stride, const int32_t* column,
                               const double* value, int64_t num_entries);

  // outputs[i] = sum over the entries e of `support` whose row's word has bit i of value[e] times
  // the sample's input in the column of e, in double, over e in order.
  void (*gated_forward)(const float* columns, int64_t stride, const SupportColumns& support,
                        const uint64_t* words, double* outputs);

  // sums[e * kSumLanes + l] += sum over the samples i = l modulo kSumLanes whose bit the word of
  // e's row has of residual[i] times the sample's input in the column of e, in double.
  void (*gated_adjoint)(const float* columns, int64_t stride, const SupportColumns& support,
                        const uint64_t* words, const double* residual, double* sums);

  // panel[i * panel_stride + e] = bit i of words[row[e]] * x_i,column[e] for the 64 samples;
  // zeros follow up to the next multiple of a vector.
  void (*gated_panel)(const float* columns, int64_t stride, const int32_t* row,
                      const int32_t* column, int64_t num_entries, const uint64_t* words,
                      int64_t panel_stride, float* panel);

  // gram[a * stride + b] += sum_i panel[i * stride + a] * panel[i * stride + b] over 64 rows, in
  // float, for all b >= a, the upper triangle (tiles on the diagonal are
  // filled whole). stride, a multiple of kGramPadding, is the number of columns.
  void (*panel_gram)(const float* panel, int64_t stride, float* gram);

  // All gates at once, by table lookup: for each gate j of num_gates and tile column q,
  //   sums[j * kAdjointTileColumns + q] += sum_i bit i of words[j] * residual[i] * rows[i *
  //   row_stride + q],
  // i over 64 samples, in float. Each four samples' sixteen subset sums stand in a table;
  // a gate adds the entry that its four bits choose (Arlazarov, Dinic, Kronrod and
  // Faradzhev, 1970). width is kAdjointTileColumns or kRowPadding columns.
  // tables is scratch of kAdjointTableFloats floats; it, rows and sums are 64-byte aligned.
  void (*table_adjoint)(const float* rows, int64_t row_stride, int width, const float* residual,
                        const uint64_t* words, int64_t num_gates, float* tables, float* sums);

  // Layers of a network in training, in float; a unit's values on consecutive samples stand next
  // to each other here too. outputs[j * output_stride + i] = sum over q of weight (j, q) times
  // columns[q * stride + i] for 64 samples, over ascending q. Dense weights are column-major:
  // weights[q * num_rows + j]. Dense and sparse give the same bits for finite inputs.
  void (*dense_layer)(const float* columns, int64_t stride, int64_t num_columns,
                      const float* weights, int64_t num_rows, float* outputs,
                      int64_t output_stride);
  void (*sparse_layer)(const float* columns, int64_t stride, const LayerWeights& weights,
                       int64_t num_rows, float* outputs, int64_t output_stride);

  // The way back: deltas_in[q * stride + i] = sum over the entries e of column q of weight[e] times
  // deltas[row[e] * delta_stride + i] for 64 samples.
  void (*layer_back)(const LayerWeights& weights, const float* deltas, int64_t delta_stride,
                     float* deltas_in, int64_t stride);

  // gradient (j, q) += sum over num_samples samples i of deltas[j * delta_stride + i] times
  // columns[q * stride + i], in kGradientLanes sums, of all weights (column-major) or of the
  // entries alone. Dense and sparse give the same bits. num_samples is a multiple of
  // kGradientLanes.
  void (*dense_layer_gradient)(const float* columns, int64_t stride, int64_t num_columns,
                               const float* deltas, int64_t delta_stride, int64_t num_rows,
                               int64_t num_samples, float* gradient);
  void (*sparse_layer_gradient)(const float* columns, int64_t stride, const LayerWeights& weights,
                                const float* deltas, int64_t delta_stride, int64_t num_samples,
                                float* gradient);
};

inline constexpr int64_t kAdjointTableFloats = (kSamplesPerWord / 4) * 16 * kAdjointTileColumns;

// The kernels of an instruction set that this processor has (see
// AvailableInstructionSets).
const KernelTable& Kernels(InstructionSet instruction_set);

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_KERNEL_TABLE_H_
