// A sparse network laid out for evaluation: made once, used for many calls.
#ifndef THRESHER_CORE_NETWORK_EVALUATION_H_
#define THRESHER_CORE_NETWORK_EVALUATION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

// A layer's rows in the order in which they are worked on, the longest first. What a layer reads
// are slots: of the first layer the inputs in use, of the others the rows below in their order.
struct PackedLayer {
  int64_t num_rows = 0;
  int64_t num_slots = 0;               // that it reads
  bool dense = false;                  // with at least kDenseEvaluationShare of its entries
  std::vector<int32_t> row_of;         // rows as they are numbered in the network
  std::vector<double> constant;        // weights on the constant, 0 where there is none
  std::vector<int32_t> row_entries;    // sparse: entries of each row
  std::vector<int64_t> slice_begin;    // sparse: of each kSliceRows rows, the first entry
  std::vector<uint16_t> narrow_slots;  // sparse: of each entry where num_slots fits, else
  std::vector<uint32_t> wide_slots;
  std::vector<int64_t> dense_slots;  // dense: of each column
  // Sparse: entry k of a slice's rows next to each other, slices padded
  // with 0. Dense: column by column, num_rows padded to kSliceRows.
  std::vector<double> value;
};

// From this share of entries on a layer is multiplied dense. Measured: tests/benchmark/README.md.
inline constexpr double kDenseEvaluationShare = 0.5;
// Rows whose entries stand next to each other.
inline constexpr int64_t kSliceRows = 8;

// The first layer once more, column by column: of one sample only the columns of inputs that are
// not 0 are looked at, where these are few. Empty where the layer is dense.
struct PackedColumns {
  std::vector<int32_t> column_begin;  // of each slot the first entry
  std::vector<int32_t> row;           // among the rows as they are worked on
  std::vector<double> value;
};
// Up to this share of the inputs in use. Measured: tests/benchmark/README.md.
inline constexpr double kFewInputsShare = 0.4;

struct EvaluationPlan {
  int64_t num_inputs = 0;
  int64_t num_outputs = 0;
  std::vector<int32_t> used_inputs;  // ascending
  std::vector<PackedLayer> layers;
  PackedColumns first_columns;
  bool fused = false;
  std::vector<int8_t> output_signs;   // fused: of each unit of the last layer, and where
  std::vector<int64_t> output_slots;  // among its rows it stands
  std::vector<double> linear;
};

// Errors: INVALID_ARGUMENT as ValidateNetwork. Cost: O(s log s). Memory: 10 to 12 bytes an entry,
// 12 more of the first layer, 8 an entry of a dense layer, zeros included.
absl::StatusOr<EvaluationPlan> MakeEvaluationPlan(const SparseNetwork& network);

// As Evaluate of the network (network.h), to the same bits: every sum is formed in double, the
// constant first and then over ascending columns, whatever the number of samples, the layout and
// the processor. What is not finite shows as NaN in rows of a dense layer that do not read it, too.
// A few samples are taken one by one, more in blocks of 32. Errors: INVALID_ARGUMENT when inputs or
// outputs have another size. Memory: 8 bytes an input in use and unit; in blocks, which are not
// used beyond 2^20 of them, 256.
absl::Status Evaluate(const EvaluationPlan& plan, InputView inputs, std::span<double> outputs);

}  // namespace thresher

#endif  // THRESHER_CORE_NETWORK_EVALUATION_H_
