// A network as a chain of affine layers: the form in which other tools' files hold it.
#ifndef THRESHER_CORE_MODEL_FILES_LAYERS_H_
#define THRESHER_CORE_MODEL_FILES_LAYERS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/model.h"

namespace thresher {

struct Layer {
  SparseRows weights;        // one row a unit, a column a unit of the layer below; no constant
  std::vector<double> bias;  // one a unit, or empty: none
};

// z_l = (W_l z_(l-1) + b_l)_+ with z_0 the inputs; the last layer is without ( )_+.
struct LayeredNetwork {
  int64_t num_inputs = 0;
  std::vector<Layer> layers;  // two or more
};

// The same function, exactly: signs of a fused network become a last layer of 1 and -1, a linear
// term the two hidden units of l.x = (l.x)_+ - (-l.x)_+, and a layer without units gets one
// without weights. Stored zeros are dropped.
// Errors: INVALID_ARGUMENT `network_kind` for a gated network, which no such chain gives.
absl::StatusOr<LayeredNetwork> ToLayers(const Network& network);

// With a bias where a layer has one. Errors: INVALID_ARGUMENT as ValidateNetwork, and for fewer
// than two layers or layers whose widths disagree.
absl::StatusOr<SparseNetwork> FromLayers(LayeredNetwork network);

// The non-zeros of a dense matrix, row-major. Expects num_rows * num_columns values.
// Errors: INVALID_ARGUMENT for an entry that is not finite, without a name.
absl::StatusOr<SparseRows> RowsOfDense(std::span<const double> values, int64_t num_rows,
                                       int64_t num_columns);
// Errors: INVALID_ARGUMENT for an entry that is not finite, without a name.
absl::Status CheckFinite(std::span<const double> values);
// Row-major, num_columns a row.
std::vector<double> DenseOfRows(const SparseRows& rows, int64_t num_columns);

// Metadata of files with plain texts: the names of classes as a JSON list.
inline constexpr char kClassNamesKey[] = "class_names";

// Width in which weights are written.
enum class WeightType { kFloat32, kFloat64 };

// The type of an uploaded network's weights, as its metadata say; float32 without, but float64
// where a number does not fit float32's range.
WeightType WeightTypeOf(const Model& model, const LayeredNetwork& network);
// Whether float32 holds all weights exactly.
bool IsExactInFloat32(const LayeredNetwork& network);
void SetWeightType(WeightType type, Model& model);

// Bytes of all weights and biases written densely, without overflow: at most INT64_MAX.
int64_t DenseBytes(const LayeredNetwork& network, WeightType type);
// Errors: RESOURCE_EXHAUSTED where they are more than max_bytes.
absl::Status CheckDenseBytes(const LayeredNetwork& network, WeightType type, int64_t max_bytes);

// Names of classes and layers as one JSON list of texts, as files with plain texts hold them.
std::string TextsToJson(const std::vector<std::string>& texts);
// Errors: INVALID_ARGUMENT naming `field`: not a list of texts, or more than 64 KiB.
absl::StatusOr<std::vector<std::string>> TextsFromJson(std::string_view field,
                                                       std::string_view json);

// Keeps a foreign file's text, unless it is longer than a model's metadata may be, or there are
// too many. Names of classes (key `class_names`, a JSON list) go where they belong.
// Errors: INVALID_ARGUMENT `class_names`.
absl::Status KeepMetadata(std::string_view key, std::string_view value, Model& model);

// A foreign name as it stands in messages: quoted, escaped, cut at 100 bytes.
std::string QuotedName(std::string_view name);

}  // namespace thresher

#endif  // THRESHER_CORE_MODEL_FILES_LAYERS_H_
