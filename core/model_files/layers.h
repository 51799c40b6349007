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

// A gated network as numbers alone: f(x) = sum_j 1[g_j . x + c_j > 0] (w_j . x + b_j) over the
// gates in use, those of `gates` being the g_j.
struct GatedUnits {
  int64_t num_inputs = 0;
  std::vector<double> gates;      // row-major, one row of num_inputs entries a gate
  std::vector<double> gate_bias;  // the c_j, or empty: none
  Layer weights;                  // one row a gate
};

// The same function, exactly: signs of a fused network become a last layer of 1 and -1, a linear
// term the two hidden units of l.x = (l.x)_+ - (-l.x)_+, and a layer without units gets one
// without weights. Stored zeros are dropped.
// Errors: INVALID_ARGUMENT `network_kind` for a gated network, which no such chain gives.
absl::StatusOr<LayeredNetwork> ToLayers(const Network& network);

// The same function, to the bit where gates are tested as GatePreactivation does: random gates are
// spelled out, gates whose weights are all 0 are left out, and a network without gates gets one
// without weights. Stored zeros are dropped. Expects a valid network.
// Errors: RESOURCE_EXHAUSTED where the gates, at 4 bytes an entry, take more than max_bytes.
absl::StatusOr<GatedUnits> ToGatedUnits(const GatedNetwork& network, int64_t max_bytes);
// With gates given as vectors, and a bias where gates or weights have one. Errors: INVALID_ARGUMENT
// as ValidateNetwork, and for sizes that disagree.
absl::StatusOr<GatedNetwork> FromGatedUnits(const GatedUnits& units);

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

// Metadata of files with plain texts: the names of classes as a JSON list; what tensors named
// gates.weight and weight mean.
inline constexpr char kClassNamesKey[] = "class_names";
inline constexpr char kNetworkKindKey[] = "network_kind";
inline constexpr char kGatedNetworkKind[] = "gated_network";

// Width in which weights are written.
enum class WeightType { kFloat32, kFloat64 };

// The type of an uploaded network's weights, as its metadata say; float32 without, but float64
// where a number does not fit float32's range.
WeightType WeightTypeOf(const Model& model, std::span<const Layer> layers);
// The same, but without such metadata float64 as soon as a weight needs it to stay as it is.
WeightType ExactWeightTypeOf(const Model& model, std::span<const Layer> layers);
// float32 where that holds the gates exactly, as it holds random ones: a gate that is rounded may
// open for other samples.
WeightType GateTypeOf(const GatedUnits& units);
void SetWeightType(WeightType type, Model& model);

// Bytes of all weights and biases written densely, without overflow: at most INT64_MAX.
int64_t DenseBytes(const LayeredNetwork& network, WeightType type);
// Errors: RESOURCE_EXHAUSTED where they are more than max_bytes.
absl::Status CheckDenseBytes(const LayeredNetwork& network, WeightType type, int64_t max_bytes);
// Of gates, and of weights unless these are `sparse`.
absl::Status CheckDenseBytes(const GatedUnits& units, WeightType type, bool sparse,
                             int64_t max_bytes);

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
