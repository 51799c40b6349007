// ONNX files whose graph is a chain of layers, and those that onnx_write.cc makes of gated
// networks.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <deque>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/formats/onnx.h"
#include "core/formats/protobuf_wire.h"
#include "core/model_files/layers.h"
#include "core/model_files/model_file.h"

namespace thresher {
namespace {

constexpr int64_t kOldestOpset = 7;  // before it Gemm and Add broadcast by attributes
constexpr int64_t kMaxInputs = std::numeric_limits<int32_t>::max() - 1;
// Of a sparse tensor, whose rows a file need not pay for.
constexpr int64_t kMaxSparseRows = int64_t{1} << 20;
// Numbers that small files may repeat at will by naming an initializer again and again.
constexpr int64_t kFreeNumbers = int64_t{1} << 21;

using Constant = std::variant<OnnxTensor, OnnxSparseTensor>;

const std::vector<int64_t>& DimsOf(const Constant& constant) {
  if (const auto* tensor = std::get_if<OnnxTensor>(&constant)) return tensor->dims;
  return std::get<OnnxSparseTensor>(constant).dims;
}

// Numbers that reading the constant makes: its entries, and of a sparse one its rows or columns.
// At most one a byte of the file and kMaxSparseRows, whatever the dimensions claim.
int64_t NumbersOf(const Constant& constant) {
  const auto* sparse = std::get_if<OnnxSparseTensor>(&constant);
  const OnnxTensor& values = sparse == nullptr ? std::get<OnnxTensor>(constant) : sparse->values;
  const auto most = static_cast<int64_t>(values.message.size());
  int64_t numbers = 1;
  for (const int64_t extent : values.dims) {
    numbers = extent < 1 ? 0 : numbers > most / extent ? most : numbers * extent;
  }
  if (sparse == nullptr) return numbers;
  int64_t rows = 0;
  for (const int64_t extent : sparse->dims) rows = std::max(rows, extent);
  return numbers + std::min(rows, kMaxSparseRows);
}

std::string DimsText(const std::vector<int64_t>& dims) {
  return absl::StrCat("[", absl::StrJoin(dims, ", "), "]");
}

std::string Escaped(std::string_view name) {
  return absl::CHexEscape(absl::string_view(name.data(), std::min<size_t>(name.size(), 40)));
}

// A matrix with a row a unit.
struct Matrix {
  SparseRows rows;
  int64_t num_columns = 0;
};

// Row-major positions of a sparse tensor's values; in order without repetition, as ONNX demands.
absl::StatusOr<std::vector<int64_t>> Positions(const OnnxSparseTensor& sparse) {
  absl::StatusOr<std::vector<int64_t>> indices = OnnxIntegers(sparse.indices);
  if (!indices.ok()) return indices.status();
  const std::vector<int64_t>& dims = sparse.indices.dims;
  const int64_t columns = sparse.dims[1];
  const int64_t size = sparse.dims[0] * columns;
  std::vector<int64_t> positions;
  if (dims.size() == 2 && dims[1] == 2) {
    for (size_t e = 0; e < indices->size(); e += 2) {
      const int64_t row = (*indices)[e];
      const int64_t column = (*indices)[e + 1];
      if (row < 0 || row >= sparse.dims[0] || column < 0 || column >= columns) {
        return absl::InvalidArgumentError("an index lies outside of its dimensions");
      }
      positions.push_back(row * columns + column);
    }
  } else if (dims.size() == 1) {
    positions = *std::move(indices);
  } else {
    return absl::InvalidArgumentError("its indices must have shape [nnz] or [nnz, 2]");
  }
  for (size_t e = 0; e < positions.size(); ++e) {
    if (positions[e] < 0 || positions[e] >= size || (e > 0 && positions[e] <= positions[e - 1])) {
      return absl::InvalidArgumentError("its indices must ascend within its dimensions");
    }
  }
  return positions;
}

SparseRows Transposed(const SparseRows& rows, int64_t num_columns) {
  SparseRows result;
  result.row_begin.assign(static_cast<size_t>(num_columns) + 1, 0);
  for (const int32_t column : rows.column) ++result.row_begin[static_cast<size_t>(column) + 1];
  for (size_t q = 1; q < result.row_begin.size(); ++q) {
    result.row_begin[q] += result.row_begin[q - 1];
  }
  std::vector<int64_t> next = result.row_begin;
  result.column.resize(rows.column.size());
  result.value.resize(rows.value.size());
  for (size_t row = 0; row < static_cast<size_t>(rows.num_rows()); ++row) {
    for (int64_t e = rows.row_begin[row]; e < rows.row_begin[row + 1]; ++e) {
      const auto from = static_cast<size_t>(e);
      const auto to = static_cast<size_t>(next[static_cast<size_t>(rows.column[from])]++);
      result.column[to] = static_cast<int32_t>(row);
      result.value[to] = rows.value[from];
    }
  }
  return result;
}

// The weights of a Gemm or MatMul, transposed unless `is_unit_major`. Errors: without a name.
absl::StatusOr<Matrix> ReadMatrix(const Constant& constant, bool is_unit_major) {
  const std::vector<int64_t>& dims = DimsOf(constant);
  if (dims.size() != 2 || dims[0] < 1 || dims[1] < 1 || dims[0] > kMaxInputs ||
      dims[1] > kMaxInputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("has shape ", DimsText(dims), "; weights need two dimensions"));
  }
  Matrix matrix;
  if (const auto* tensor = std::get_if<OnnxTensor>(&constant)) {
    absl::StatusOr<std::vector<double>> values = OnnxDoubles(*tensor);
    if (!values.ok()) return values.status();
    absl::StatusOr<SparseRows> rows = RowsOfDense(*values, dims[0], dims[1]);
    if (!rows.ok()) return rows.status();
    matrix.rows = *std::move(rows);
  } else {
    const auto& sparse = std::get<OnnxSparseTensor>(constant);
    if (dims[0] > kMaxSparseRows || dims[1] > kMaxSparseRows) {
      return absl::InvalidArgumentError(absl::StrCat("has shape ", DimsText(dims),
                                                     "; sparse weights take at most ",
                                                     kMaxSparseRows, " rows and columns"));
    }
    absl::StatusOr<std::vector<double>> values = OnnxDoubles(sparse.values);
    if (!values.ok()) return values.status();
    if (absl::Status status = CheckFinite(*values); !status.ok()) return status;
    absl::StatusOr<std::vector<int64_t>> positions = Positions(sparse);
    if (!positions.ok()) return positions.status();
    if (sparse.values.dims.size() != 1 || positions->size() != values->size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("has ", values->size(), " values for ", positions->size(), " indices"));
    }
    size_t e = 0;
    for (int64_t row = 0; row < dims[0]; ++row) {
      for (; e < positions->size() && (*positions)[e] / dims[1] == row; ++e) {
        if ((*values)[e] == 0) continue;
        matrix.rows.column.push_back(static_cast<int32_t>((*positions)[e] % dims[1]));
        matrix.rows.value.push_back((*values)[e]);
      }
      matrix.rows.row_begin.push_back(matrix.rows.nonzeros());
    }
  }
  matrix.num_columns = dims[1];
  if (!is_unit_major) {
    matrix.rows = Transposed(matrix.rows, dims[1]);
    matrix.num_columns = dims[0];
  }
  return matrix;
}

// Of the input's shape, in PyTorch's x.view(x.size(0), -1): all of it; the batch as a number and as
// a list; a list of the batch and another number.
struct ShapeValue {
  enum class Kind { kWhole, kBatch, kBatchList, kTarget };
  Kind kind = Kind::kWhole;
  int64_t second = 0;  // of kTarget
};

const OnnxAttribute* FindAttribute(const OnnxNode& node, std::string_view name) {
  for (const OnnxAttribute& attribute : node.attributes) {
    if (attribute.name == name) return &attribute;
  }
  return nullptr;
}

// Walks the nodes in the file's order, which ONNX demands to be one of evaluation: each takes what
// the one before it gave. So a branch, a cycle and a wrong order all end at the first node that
// reads something else, and the walk takes one step a node.
class ChainReader {
 public:
  // Repeated initializers may make twice the numbers that a file of so many bytes holds itself.
  ChainReader(const OnnxFile& file, size_t file_bytes)
      : file_(file),
        max_numbers_(std::max<int64_t>(kFreeNumbers, static_cast<int64_t>(file_bytes / 2))) {}
  absl::StatusOr<Model> Read();

 private:
  // kGates: of a gated network, behind the test of its gates; then a layer, its weights; kGated:
  // behind the choice by open gates; kSum: behind the sum over them.
  enum class Stage { kInputs, kLayer, kRelu, kGates, kGated, kSum, kTargetScale, kTargetOffset };

  absl::Status Error(absl::string_view what) const;
  absl::Status ReadConstants();
  absl::Status ReadInput();
  absl::Status TakeNode(const OnnxNode& node);
  absl::Status TakeConstantNode(const OnnxNode& node);
  absl::Status TakeChainNode(const OnnxNode& node);
  absl::Status TakeGemm(const OnnxNode& node);
  absl::Status TakeMatMul(const OnnxNode& node);
  absl::Status TakeAdd(const OnnxNode& node);
  absl::Status TakeRelu();
  absl::Status TakeFlatten(const OnnxNode& node);
  absl::Status TakeReshape(const OnnxNode& node);
  absl::StatusOr<ShapeValue> ShapeOf(const OnnxNode& node) const;
  absl::StatusOr<std::vector<int64_t>> Integers(const OnnxNode& node, size_t input) const;
  absl::Status TakeTranspose(const OnnxNode& node);
  absl::Status TakeInputScaling(const OnnxNode& node);
  absl::Status TakeTargetScale(const OnnxNode& node);
  absl::Status TakeGreater(const OnnxNode& node);
  absl::Status TakeWhere(const OnnxNode& node);
  absl::Status TakeReduceSum(const OnnxNode& node);
  absl::Status CheckZero(const OnnxNode& node, size_t input);
  absl::Status CheckAsIs(const OnnxNode& node) const;
  // Whether the node reads what the chain has come to.
  bool ReadsChain(const OnnxNode& node) const;
  std::string_view SourceOf(std::string_view value) const;
  absl::StatusOr<Network> ToNetwork();
  absl::Status CheckAttributes(const OnnxNode& node, const std::set<std::string_view>& known) const;
  absl::StatusOr<const Constant*> ConstantInput(const OnnxNode& node, size_t input) const;
  absl::Status CountNumbers(const Constant& constant, std::string_view name);
  absl::StatusOr<std::vector<double>> Values(const OnnxNode& node, size_t input);
  absl::Status AddLayer(const OnnxNode& node, bool is_unit_major);
  absl::Status AddBias(std::vector<double> bias, std::string_view name);
  absl::Status CheckInput(Model& model) const;

  const OnnxFile& file_;
  const int64_t max_numbers_;
  int64_t num_numbers_ = 0;  // read from constants so far
  std::map<std::string_view, Constant> constants_;
  std::set<std::string_view> transposed_;  // constants that are read so
  std::map<std::string_view, ShapeValue> shapes_;
  std::deque<std::string> made_tensors_;  // messages of constants that are no tensors in the file
  std::set<std::string_view> given_;      // every value that is defined so far
  const OnnxValue* input_ = nullptr;
  std::string_view current_;  // what the last node of the chain gave
  std::string where_;         // the node in hand, for errors
  Stage stage_ = Stage::kInputs;
  bool is_flat_ = false;
  bool has_doubles_ = false;
  int64_t reshaped_inputs_ = -1;
  LayeredNetwork layered_;
  std::map<std::string_view, std::string_view> sources_;  // of values that equal another
  std::string_view first_input_;                          // what the first layer reads
  bool has_sparse_first_ = false;
  bool has_doubles_before_ = false;  // before the first layer
  std::optional<Layer> gates_;       // of a gated network
  std::string_view open_;            // where they are open
  std::vector<double> input_offset_;
  std::vector<double> input_scale_;
  double target_offset_ = 0;
  double target_scale_ = 1;
};

absl::Status ChainReader::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat("ONNX: ", where_, ": ", what));
}

absl::Status ChainReader::ReadConstants() {
  for (const OnnxTensor& tensor : file_.initializers) {
    if (!constants_.emplace(tensor.name, tensor).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("ONNX: initializer ", QuotedName(tensor.name), " is given twice"));
    }
  }
  for (const OnnxSparseTensor& sparse : file_.sparse_initializers) {
    if (!constants_.emplace(sparse.values.name, sparse).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("ONNX: initializer ", QuotedName(sparse.values.name), " is given twice"));
    }
  }
  for (const auto& [name, constant] : constants_) given_.insert(name);
  return absl::OkStatus();
}

absl::Status ChainReader::ReadInput() {
  for (const OnnxValue& value : file_.inputs) {
    if (constants_.contains(value.name)) continue;  // its default, up to IR version 3 listed
    if (input_ != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("ONNX: the graph has inputs ",
                                                     QuotedName(input_->name), " and ",
                                                     QuotedName(value.name), "; it must have one"));
    }
    input_ = &value;
  }
  if (input_ == nullptr) return absl::InvalidArgumentError("ONNX: the graph has no input");
  const auto type = static_cast<OnnxType>(input_->element_type);
  if (type != OnnxType::kFloat && type != OnnxType::kDouble) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ONNX: input ", QuotedName(input_->name), ": type ", OnnxTypeName(input_->element_type),
        " is not supported; it must be float or double"));
  }
  is_flat_ = !input_->has_shape || input_->dims.size() == 2;
  current_ = input_->name;
  given_.insert(current_);
  return absl::OkStatus();
}

absl::Status ChainReader::CheckAttributes(const OnnxNode& node,
                                          const std::set<std::string_view>& known) const {
  for (const OnnxAttribute& attribute : node.attributes) {
    if (!known.contains(attribute.name)) {
      return Error(absl::StrCat("attribute ", QuotedName(attribute.name), " is not supported"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const Constant*> ChainReader::ConstantInput(const OnnxNode& node,
                                                           size_t input) const {
  if (input >= node.inputs.size()) {
    return Error(absl::StrCat("needs ", input + 1, " inputs, has ", node.inputs.size()));
  }
  const auto it = constants_.find(node.inputs[input]);
  if (it == constants_.end()) {
    return Error(absl::StrCat("its input ", QuotedName(node.inputs[input]),
                              " must be an initializer or a Constant"));
  }
  return &it->second;
}

// Before they are read: a name costs a few bytes, what it stands for may be the whole file.
absl::Status ChainReader::CountNumbers(const Constant& constant, std::string_view name) {
  num_numbers_ += NumbersOf(constant);
  if (num_numbers_ <= max_numbers_) return absl::OkStatus();
  return Error(absl::StrCat(QuotedName(name), ": with it the layers hold ", num_numbers_,
                            " numbers, a file of this size at most ", max_numbers_,
                            "; give each layer an initializer of its own"));
}

absl::StatusOr<std::vector<double>> ChainReader::Values(const OnnxNode& node, size_t input) {
  const absl::StatusOr<const Constant*> constant = ConstantInput(node, input);
  if (!constant.ok()) return constant.status();
  const auto* tensor = std::get_if<OnnxTensor>(*constant);
  const std::string name = QuotedName(node.inputs[input]);
  if (tensor == nullptr) return Error(absl::StrCat(name, ": must not be sparse"));
  if (transposed_.contains(node.inputs[input])) {
    return Error(absl::StrCat(name, ": a Transpose is supported only of weights"));
  }
  // A vector, perhaps written as one row, or a scalar.
  if (tensor->dims.size() > 2 || (tensor->dims.size() == 2 && tensor->dims[0] != 1)) {
    return Error(absl::StrCat(name, ": shape ", DimsText(tensor->dims),
                              " is not supported; it must be one number or one a unit"));
  }
  absl::Status status = CountNumbers(**constant, node.inputs[input]);
  if (!status.ok()) return status;
  absl::StatusOr<std::vector<double>> values = OnnxDoubles(*tensor);
  if (!values.ok()) return Error(absl::StrCat(name, ": ", values.status().message()));
  status = CheckFinite(*values);
  if (!status.ok()) return Error(absl::StrCat(name, ": ", status.message()));
  if (values->empty()) return Error(absl::StrCat(name, ": is empty"));
  has_doubles_ |= tensor->data_type == static_cast<int64_t>(OnnxType::kDouble);
  return values;
}

absl::Status ChainReader::AddLayer(const OnnxNode& node, bool is_unit_major) {
  if (stage_ != Stage::kInputs && stage_ != Stage::kRelu && stage_ != Stage::kGates) {
    return Error("must follow the input or a Relu");
  }
  if (!is_flat_) {
    return Error(absl::StrCat("input ", QuotedName(input_->name), " has shape ",
                              DimsText(input_->dims), "; a Flatten must stand before this"));
  }
  if (layered_.layers.size() > static_cast<size_t>(kMaxHiddenLayers)) {
    return Error(absl::StrCat("more than ", kMaxHiddenLayers, " hidden layers"));
  }
  const absl::StatusOr<const Constant*> constant = ConstantInput(node, 1);
  if (!constant.ok()) return constant.status();
  absl::Status status = CountNumbers(**constant, node.inputs[1]);
  if (!status.ok()) return status;
  absl::StatusOr<Matrix> matrix =
      ReadMatrix(**constant, is_unit_major != transposed_.contains(node.inputs[1]));
  if (!matrix.ok()) {
    return Error(absl::StrCat(QuotedName(node.inputs[1]), ": ", matrix.status().message()));
  }
  const OnnxTensor* tensor = std::get_if<OnnxTensor>(*constant);
  const bool is_first = layered_.layers.empty() && !gates_.has_value();
  if (is_first) {
    first_input_ = SourceOf(node.inputs[0]);
    has_sparse_first_ = tensor == nullptr;
    has_doubles_before_ = has_doubles_;
  }
  if (tensor == nullptr) tensor = &std::get<OnnxSparseTensor>(**constant).values;
  has_doubles_ |= tensor->data_type == static_cast<int64_t>(OnnxType::kDouble);
  if (is_first) {
    layered_.num_inputs = matrix->num_columns;
  } else if (gates_.has_value()) {
    if (matrix->num_columns != layered_.num_inputs ||
        matrix->rows.num_rows() != gates_->weights.num_rows()) {
      return Error(absl::StrCat(QuotedName(node.inputs[1]), ": ", matrix->rows.num_rows(),
                                " units of ", matrix->num_columns, " inputs, but the gates are ",
                                gates_->weights.num_rows(), " of ", layered_.num_inputs));
    }
  } else if (matrix->num_columns != layered_.layers.back().weights.num_rows()) {
    return Error(absl::StrCat(QuotedName(node.inputs[1]), ": takes ", matrix->num_columns,
                              " inputs, but the layer before has ",
                              layered_.layers.back().weights.num_rows(), " units"));
  }
  layered_.layers.push_back({.weights = std::move(matrix->rows), .bias = {}});
  stage_ = Stage::kLayer;
  return absl::OkStatus();
}

absl::Status ChainReader::AddBias(std::vector<double> bias, std::string_view name) {
  Layer& layer = layered_.layers.back();
  const auto num_units = static_cast<size_t>(layer.weights.num_rows());
  if (bias.size() == 1) bias.resize(num_units, bias[0]);
  if (bias.size() != num_units) {
    return Error(
        absl::StrCat(QuotedName(name), ": ", bias.size(), " entries for ", num_units, " units"));
  }
  if (layer.bias.empty()) {
    layer.bias = std::move(bias);
  } else {
    for (size_t j = 0; j < num_units; ++j) layer.bias[j] += bias[j];
  }
  return absl::OkStatus();
}

absl::Status ChainReader::TakeGemm(const OnnxNode& node) {
  absl::Status status = CheckAttributes(node, {"alpha", "beta", "transA", "transB"});
  if (!status.ok()) return status;
  const auto* trans_a = FindAttribute(node, "transA");
  if (trans_a != nullptr && trans_a->int_value != 0) return Error("transA is not supported");
  const auto* trans_b = FindAttribute(node, "transB");
  status = AddLayer(node, trans_b != nullptr && trans_b->int_value != 0);
  if (!status.ok()) return status;
  const auto* alpha = FindAttribute(node, "alpha");
  const auto* beta = FindAttribute(node, "beta");
  for (const OnnxAttribute* factor : {alpha, beta}) {
    if (factor != nullptr && !std::isfinite(factor->float_value)) {
      return Error("alpha and beta must be finite");
    }
  }
  // A factor of 0 would leave zeros among the weights.
  if (alpha != nullptr && alpha->float_value == 0) return Error("alpha must not be 0");
  if (alpha != nullptr) {
    for (double& value : layered_.layers.back().weights.value) value *= alpha->float_value;
  }
  if (node.inputs.size() < 3 || node.inputs[2].empty()) return absl::OkStatus();
  absl::StatusOr<std::vector<double>> bias = Values(node, 2);
  if (!bias.ok()) return bias.status();
  if (beta != nullptr) {
    for (double& value : *bias) value *= beta->float_value;
  }
  return AddBias(*std::move(bias), node.inputs[2]);
}

absl::Status ChainReader::TakeMatMul(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  return AddLayer(node, /*is_unit_major=*/false);
}

absl::Status ChainReader::TakeAdd(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  const size_t constant = node.inputs.size() == 2 && node.inputs[1] == current_ ? 0 : 1;
  absl::StatusOr<std::vector<double>> values = Values(node, constant);
  if (!values.ok()) return values.status();
  if (stage_ == Stage::kTargetScale && values->size() == 1) {
    target_offset_ = (*values)[0];
    stage_ = Stage::kTargetOffset;
    return absl::OkStatus();
  }
  if (stage_ != Stage::kLayer) return Error("must follow a MatMul or Gemm");
  return AddBias(*std::move(values), node.inputs[constant]);
}

absl::Status ChainReader::TakeRelu() {
  if (stage_ != Stage::kLayer || gates_.has_value())
    return Error("must follow a MatMul, Gemm or Add");
  stage_ = Stage::kRelu;
  return absl::OkStatus();
}

absl::Status ChainReader::TakeFlatten(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {"axis"}); !status.ok()) return status;
  const auto* axis = FindAttribute(node, "axis");
  if (axis != nullptr && axis->int_value != 1) return Error("axis must be 1");
  is_flat_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> ChainReader::Integers(const OnnxNode& node,
                                                           size_t input) const {
  const absl::StatusOr<const Constant*> constant = ConstantInput(node, input);
  if (!constant.ok()) return constant.status();
  const std::string name = QuotedName(node.inputs[input]);
  const auto* tensor = std::get_if<OnnxTensor>(*constant);
  if (tensor == nullptr) return Error(absl::StrCat(name, ": must not be sparse"));
  absl::StatusOr<std::vector<int64_t>> values = OnnxIntegers(*tensor);
  if (!values.ok()) return Error(absl::StrCat(name, ": ", values.status().message()));
  return values;
}

absl::Status ChainReader::TakeTranspose(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {"perm"}); !status.ok()) return status;
  const absl::StatusOr<const Constant*> constant = ConstantInput(node, 0);
  if (!constant.ok()) return constant.status();
  const auto* perm = FindAttribute(node, "perm");
  if (DimsOf(**constant).size() != 2 ||
      (perm != nullptr && perm->integers != std::vector<int64_t>{1, 0})) {
    return Error("is supported only of weights with two dimensions, with perm 1, 0");
  }
  constants_.emplace(node.outputs[0], **constant);
  if (!transposed_.contains(node.inputs[0])) transposed_.insert(node.outputs[0]);
  return absl::OkStatus();
}

absl::StatusOr<ShapeValue> ChainReader::ShapeOf(const OnnxNode& node) const {
  using Kind = ShapeValue::Kind;
  const auto unsupported = Error(
      "is supported only in front, where Shape, Gather, Unsqueeze, Concat and Reshape "
      "flatten the input");
  if (stage_ != Stage::kInputs || node.inputs.empty()) return unsupported;
  const auto* axis = FindAttribute(node, "axis");
  if (axis != nullptr && axis->int_value != 0) return unsupported;
  if (node.op_type == "Shape") {
    if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
    if (SourceOf(node.inputs[0]) != SourceOf(current_)) return unsupported;
    return ShapeValue{.kind = Kind::kWhole};
  }
  const auto it = shapes_.find(node.inputs[0]);
  if (it == shapes_.end()) return unsupported;
  const Kind kind = it->second.kind;
  if (node.op_type == "Unsqueeze") {
    if (absl::Status status = CheckAttributes(node, {"axes"}); !status.ok()) return status;
    // An attribute up to opset 12, then an input.
    const auto* axes = FindAttribute(node, "axes");
    const absl::StatusOr<std::vector<int64_t>> values =
        axes != nullptr ? axes->integers : Integers(node, 1);
    if (!values.ok()) return values.status();
    if (kind != Kind::kBatch || *values != std::vector<int64_t>{0}) return unsupported;
    return ShapeValue{.kind = Kind::kBatchList};
  }
  if (absl::Status status = CheckAttributes(node, {"axis"}); !status.ok()) return status;
  const absl::StatusOr<std::vector<int64_t>> values = Integers(node, 1);
  if (!values.ok()) return values.status();
  if (values->size() != 1 || node.inputs.size() != 2) return unsupported;
  const bool is_list = !DimsOf(constants_.at(node.inputs[1])).empty();
  if (node.op_type == "Gather") {
    if (kind != Kind::kWhole || (*values)[0] != 0) return unsupported;
    return ShapeValue{.kind = is_list ? Kind::kBatchList : Kind::kBatch};
  }
  if (kind != Kind::kBatchList || !is_list) return unsupported;  // Concat
  return ShapeValue{.kind = Kind::kTarget, .second = (*values)[0]};
}

absl::Status ChainReader::TakeReshape(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {"allowzero"}); !status.ok()) return status;
  if (stage_ != Stage::kInputs) return Error("must stand before the first layer");
  const absl::StatusOr<std::vector<int64_t>> shape = [&]() -> absl::StatusOr<std::vector<int64_t>> {
    const auto it = node.inputs.size() > 1 ? shapes_.find(node.inputs[1]) : shapes_.end();
    if (it == shapes_.end() || it->second.kind != ShapeValue::Kind::kTarget) {
      return Integers(node, 1);
    }
    return std::vector<int64_t>{0, it->second.second};
  }();
  if (!shape.ok()) return shape.status();
  if (shape->size() != 2 || ((*shape)[0] == -1 && (*shape)[1] == -1)) {
    return Error(absl::StrCat("shape ", DimsText(*shape),
                              " is not supported; it must be the batch and the inputs"));
  }
  is_flat_ = true;
  reshaped_inputs_ = (*shape)[1] == 0 ? -1 : (*shape)[1];
  return absl::OkStatus();
}

absl::Status ChainReader::TakeInputScaling(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  if (stage_ != Stage::kInputs) return Error("is supported only before the first layer");
  std::vector<double>& own = node.op_type == "Sub" ? input_offset_ : input_scale_;
  if (!input_scale_.empty() || !own.empty()) {
    return Error("inputs are scaled by at most one Sub and then one Div");
  }
  absl::StatusOr<std::vector<double>> values = Values(node, 1);
  if (!values.ok()) return values.status();
  if (values->size() > 1 && !is_flat_) return Error("a Flatten must stand before this");
  own = *std::move(values);
  return absl::OkStatus();
}

absl::Status ChainReader::TakeTargetScale(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  const size_t constant = node.inputs.size() == 2 && node.inputs[1] == current_ ? 0 : 1;
  const absl::StatusOr<std::vector<double>> values = Values(node, constant);
  if (!values.ok()) return values.status();
  const bool is_behind_last =
      stage_ == Stage::kSum || (stage_ == Stage::kLayer && !gates_.has_value());
  if (!is_behind_last || values->size() != 1 || (*values)[0] <= 0) {
    return Error("is supported only behind the last layer, by one positive number");
  }
  target_scale_ = (*values)[0];
  stage_ = Stage::kTargetScale;
  return absl::OkStatus();
}

// Nodes whose values stay as they are: Identity, Cast between float and double, Dropout when it
// does not train.
absl::Status ChainReader::CheckAsIs(const OnnxNode& node) const {
  if (node.op_type == "Identity") return CheckAttributes(node, {});
  if (node.op_type == "Dropout") {
    if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
      return Error("training_mode is not supported; export the network for inference");
    }
    return CheckAttributes(node, {"ratio", "seed"});
  }
  if (absl::Status status = CheckAttributes(node, {"to"}); !status.ok()) return status;
  const auto* to = FindAttribute(node, "to");
  const auto type = static_cast<OnnxType>(to == nullptr ? 0 : to->int_value);
  if (type != OnnxType::kFloat && type != OnnxType::kDouble) {
    return Error("the attribute to must be float or double");
  }
  const auto constant = node.inputs.empty() ? constants_.end() : constants_.find(node.inputs[0]);
  if (constant == constants_.end()) return absl::OkStatus();
  const auto* tensor = std::get_if<OnnxTensor>(&constant->second);
  const auto from = static_cast<OnnxType>(
      (tensor != nullptr ? *tensor : std::get<OnnxSparseTensor>(constant->second).values)
          .data_type);
  if (from == OnnxType::kFloat || from == type) return absl::OkStatus();
  return Error("a constant must be float, or keep its type; cast it before the export");
}

absl::Status ChainReader::CheckZero(const OnnxNode& node, size_t input) {
  const absl::StatusOr<std::vector<double>> values = Values(node, input);
  if (!values.ok()) return values.status();
  if (values->size() == 1 && (*values)[0] == 0) return absl::OkStatus();
  return Error(absl::StrCat(QuotedName(node.inputs[input]), ": must be 0"));
}

// The layer before it turns out to be the gates of a gated network.
absl::Status ChainReader::TakeGreater(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  if (stage_ != Stage::kLayer || gates_.has_value() || layered_.layers.size() != 1) {
    return Error("must follow the first layer, as the test of a gated network's gates");
  }
  // Their rows are held densely.
  if (has_sparse_first_) return Error("gates as a sparse initializer are not supported");
  if (absl::Status status = CheckZero(node, 1); !status.ok()) return status;
  gates_ = std::move(layered_.layers.front());
  layered_.layers.clear();
  has_doubles_ = has_doubles_before_;  // the type of gates is not the weights'
  open_ = node.outputs[0];
  stage_ = Stage::kGates;
  return absl::OkStatus();
}

absl::Status ChainReader::TakeWhere(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {}); !status.ok()) return status;
  if (stage_ != Stage::kLayer || !gates_.has_value()) {
    return Error("must follow the weights of a gated network");
  }
  stage_ = Stage::kGated;
  return CheckZero(node, 2);
}

absl::Status ChainReader::TakeReduceSum(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {"keepdims"}); !status.ok()) return status;
  const auto* keeps = FindAttribute(node, "keepdims");
  if (stage_ != Stage::kGated || (keeps != nullptr && keeps->int_value != 1)) {
    return Error("must follow the Where of a gated network, with keepdims 1");
  }
  const absl::StatusOr<const Constant*> constant = ConstantInput(node, 1);
  if (!constant.ok()) return constant.status();
  const auto* tensor = std::get_if<OnnxTensor>(*constant);
  const absl::StatusOr<std::vector<int64_t>> axes =
      tensor == nullptr ? std::vector<int64_t>() : OnnxIntegers(*tensor);
  if (!axes.ok() || axes->size() != 1 || ((*axes)[0] != 1 && (*axes)[0] != -1)) {
    return Error(absl::StrCat(QuotedName(node.inputs[1]), ": must be the units' axis, 1"));
  }
  stage_ = Stage::kSum;
  return absl::OkStatus();
}

std::string_view ChainReader::SourceOf(std::string_view value) const {
  const auto it = sources_.find(value);
  return it == sources_.end() ? value : it->second;
}

bool ChainReader::ReadsChain(const OnnxNode& node) const {
  if (node.inputs.empty()) return false;
  // A gated network's weights read what its gates have read.
  if (stage_ == Stage::kGates) {
    const bool is_product = node.op_type == "Gemm" || node.op_type == "MatMul";
    return is_product && SourceOf(node.inputs[0]) == first_input_;
  }
  if (node.op_type == "Where") {
    return node.inputs.size() == 3 && gates_.has_value() && node.inputs[0] == open_ &&
           node.inputs[1] == current_;
  }
  // The data come first, but the sum and the product are symmetric.
  const bool symmetric = node.op_type == "Add" || node.op_type == "Mul";
  return node.inputs[0] == current_ || (symmetric && node.inputs.back() == current_);
}

absl::Status ChainReader::TakeConstantNode(const OnnxNode& node) {
  if (absl::Status status = CheckAttributes(node, {"value", "value_ints"}); !status.ok()) {
    return status;
  }
  if (const auto* list = FindAttribute(node, "value_ints")) {
    // Shapes and axes; longer lists stand for nothing that is read.
    if (list->integers.size() > 8) return Error("value_ints: more than 8 numbers");
    std::string raw(list->integers.size() * sizeof(int64_t), '\0');
    if (!raw.empty()) std::memcpy(raw.data(), list->integers.data(), raw.size());
    std::string& message = made_tensors_.emplace_back();
    AppendBytesField(9, raw, message);
    OnnxTensor tensor;
    tensor.dims = {static_cast<int64_t>(list->integers.size())};
    tensor.data_type = static_cast<int64_t>(OnnxType::kInt64);
    tensor.message = message;
    constants_.emplace(node.outputs[0], std::move(tensor));
    return absl::OkStatus();
  }
  const auto* value = FindAttribute(node, "value");
  if (value == nullptr) return Error("needs the attribute value, a tensor, or value_ints");
  absl::StatusOr<OnnxTensor> tensor = ParseOnnxTensor(value->tensor);
  if (!tensor.ok()) return Error(tensor.status().message());
  constants_.emplace(node.outputs[0], *std::move(tensor));
  return absl::OkStatus();
}

absl::Status ChainReader::TakeChainNode(const OnnxNode& node) {
  if (!ReadsChain(node)) {
    for (const std::string_view name : node.inputs) {
      if (!name.empty() && !given_.contains(name)) {
        return Error(absl::StrCat("reads ", QuotedName(name),
                                  ", which no node before it gives: a cycle, or nodes out of "
                                  "order"));
      }
    }
    return Error(absl::StrCat("must read ", QuotedName(current_),
                              " first, what the node before it gives; only chains are supported"));
  }
  if (node.op_type == "Identity" || node.op_type == "Cast" || node.op_type == "Dropout") {
    sources_.emplace(node.outputs[0], SourceOf(current_));
    return CheckAsIs(node);
  }
  if (node.op_type == "Gemm") return TakeGemm(node);
  if (node.op_type == "MatMul") return TakeMatMul(node);
  if (node.op_type == "Add") return TakeAdd(node);
  if (node.op_type == "Relu") return TakeRelu();
  if (node.op_type == "Flatten") return TakeFlatten(node);
  if (node.op_type == "Reshape") return TakeReshape(node);
  if (node.op_type == "Mul") return TakeTargetScale(node);
  if (node.op_type == "Greater") return TakeGreater(node);
  if (node.op_type == "Where") return TakeWhere(node);
  if (node.op_type == "ReduceSum") return TakeReduceSum(node);
  return TakeInputScaling(node);  // Sub, Div
}

absl::Status ChainReader::TakeNode(const OnnxNode& node) {
  static constexpr std::string_view kKnown[] = {
      "Identity", "Cast",    "Dropout", "Gemm",      "MatMul",   "Add",
      "Relu",     "Flatten", "Reshape", "Mul",       "Sub",      "Div",
      "Constant", "Greater", "Where",   "ReduceSum", "Transpose"};
  static constexpr std::string_view kShapes[] = {"Shape", "Gather", "Unsqueeze", "Concat"};
  const bool is_shape =
      std::find(std::begin(kShapes), std::end(kShapes), node.op_type) != std::end(kShapes);
  const bool standard = node.domain.empty() || node.domain == "ai.onnx";
  const bool is_known =
      is_shape || std::find(std::begin(kKnown), std::end(kKnown), node.op_type) != std::end(kKnown);
  if (!standard || !is_known) {
    return Error(absl::StrCat(
        "the operator is not supported; a network is a chain of Gemm, or MatMul and Add, with "
        "Relu between",
        node.op_type == "Softmax" ? "; export the logits before the Softmax" : ""));
  }
  if (node.outputs.size() != 1 || node.outputs[0].empty()) {
    return Error(absl::StrCat("must have one output, has ", node.outputs.size()));
  }
  const bool keeps_constants = node.op_type == "Identity" || node.op_type == "Cast";
  const auto of_constant = keeps_constants && node.inputs.size() == 1
                               ? constants_.find(node.inputs[0])
                               : constants_.end();
  absl::Status status = absl::OkStatus();
  const bool is_given = given_.contains(node.outputs[0]);
  if (is_given) {
    status = Error(absl::StrCat("its output ", QuotedName(node.outputs[0]), " is given twice"));
  } else if (node.op_type == "Constant") {
    status = TakeConstantNode(node);
  } else if (of_constant != constants_.end()) {
    status = CheckAsIs(node);
    constants_.emplace(node.outputs[0], of_constant->second);
    if (transposed_.contains(node.inputs[0])) transposed_.insert(node.outputs[0]);
  } else if (node.op_type == "Transpose") {
    status = TakeTranspose(node);
  } else if (is_shape) {
    const absl::StatusOr<ShapeValue> shape = ShapeOf(node);
    status = shape.status();
    if (shape.ok()) shapes_.emplace(node.outputs[0], *shape);
  } else {
    status = TakeChainNode(node);
    current_ = node.outputs[0];
  }
  given_.insert(node.outputs[0]);
  return status;
}

absl::Status ChainReader::CheckInput(Model& model) const {
  const std::string input = absl::StrCat("ONNX: input ", QuotedName(input_->name), ": ");
  const int64_t num_inputs = layered_.num_inputs;
  if (input_->has_shape && input_->dims.size() < 2) {
    return absl::InvalidArgumentError(input +
                                      "needs a dimension for the batch and one for the inputs");
  }
  int64_t declared = input_->has_shape ? 1 : -1;  // -1: not known
  for (size_t k = 1; k < input_->dims.size() && declared > 0; ++k) {
    const int64_t extent = input_->dims[k];
    declared = extent < 1 || extent > kMaxInputs / declared ? -1 : declared * extent;
  }
  for (const int64_t given : {declared, reshaped_inputs_}) {
    if (given > 0 && given != num_inputs) {
      return absl::InvalidArgumentError(
          absl::StrCat(input, "has ", given, " entries, but the first layer takes ", num_inputs));
    }
  }
  for (const std::vector<double>* values : {&input_offset_, &input_scale_}) {
    if (values->size() > 1 && static_cast<int64_t>(values->size()) != num_inputs) {
      return absl::InvalidArgumentError(absl::StrCat(input, "is scaled by ", values->size(),
                                                     " numbers, but the first layer takes ",
                                                     num_inputs));
    }
  }
  if (declared == num_inputs && input_->dims.size() > 2) {
    model.metadata[kOnnxInputShapeKey] =
        absl::StrJoin(input_->dims.begin() + 1, input_->dims.end(), ",");
  }
  return absl::OkStatus();
}

absl::StatusOr<Network> ChainReader::ToNetwork() {
  if (!gates_.has_value()) {
    absl::StatusOr<SparseNetwork> network = FromLayers(std::move(layered_));
    if (!network.ok()) return network.status();
    return Network(*std::move(network));
  }
  const GatedUnits units{.num_inputs = layered_.num_inputs,
                         .gates = DenseOfRows(gates_->weights, layered_.num_inputs),
                         .gate_bias = std::move(gates_->bias),
                         .weights = std::move(layered_.layers.front())};
  absl::StatusOr<GatedNetwork> network = FromGatedUnits(units);
  if (!network.ok()) return network.status();
  return Network(*std::move(network));
}

absl::StatusOr<Model> ChainReader::Read() {
  if (file_.opset < kOldestOpset) {
    return absl::InvalidArgumentError(
        absl::StrCat("ONNX: opset_import states version ", file_.opset,
                     " of the standard operators; it must be at least ", kOldestOpset));
  }
  if (absl::Status status = ReadConstants(); !status.ok()) return status;
  if (absl::Status status = ReadInput(); !status.ok()) return status;
  int64_t number = 0;
  for (const OnnxNode& node : file_.nodes) {
    where_ = absl::StrCat("node ", node.name.empty() ? absl::StrCat(number) : QuotedName(node.name),
                          " (", Escaped(node.op_type), ")");
    ++number;
    if (absl::Status status = TakeNode(node); !status.ok()) return status;
  }
  if (file_.outputs.size() != 1 || file_.outputs[0].name != current_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ONNX: the graph must have one output, what its last node gives, ", QuotedName(current_)));
  }
  if (stage_ == Stage::kRelu) return Error("a Relu behind the last layer is not supported");
  const bool is_summed =
      stage_ == Stage::kSum || stage_ == Stage::kTargetScale || stage_ == Stage::kTargetOffset;
  if (gates_.has_value() && !is_summed) {
    return Error("gates must be followed by Gemm, Where and ReduceSum");
  }

  Model model;
  for (const auto& [key, value] : file_.metadata) {
    if (absl::Status status = KeepMetadata(key, value, model); !status.ok()) return status;
  }
  // Those of the network that this one was made from are not this file's.
  model.metadata.erase(kOnnxInputShapeKey);
  if (absl::Status status = CheckInput(model); !status.ok()) return status;
  model.metadata[kOnnxInputNameKey] = std::string(input_->name);
  model.metadata[kOnnxOutputNameKey] = std::string(file_.outputs[0].name);
  model.metadata[kSourceFormatKey] = "onnx";
  SetWeightType(has_doubles_ ? WeightType::kFloat64 : WeightType::kFloat32, model);
  if (!input_offset_.empty() || !input_scale_.empty()) {
    const auto spread = [&](const std::vector<double>& values, double absent) {
      const auto d = static_cast<size_t>(layered_.num_inputs);
      if (values.size() == d) return values;
      return std::vector<double>(d, values.empty() ? absent : values[0]);
    };
    model.scaling.input_offset = spread(input_offset_, 0);
    model.scaling.input_scale = spread(input_scale_, 1);
  }
  model.scaling.target_offset = target_offset_;
  model.scaling.target_scale = target_scale_;
  absl::StatusOr<Network> network = ToNetwork();
  absl::Status status = network.status();
  if (status.ok()) {
    model.network = *std::move(network);
    status = ValidateModel(model);
  }
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("ONNX: ", status.message()));
  return model;
}

}  // namespace

absl::StatusOr<Model> ReadOnnxModel(std::string_view bytes) {
  const absl::StatusOr<OnnxFile> file = ParseOnnx(bytes);
  if (!file.ok()) return file.status();
  return ChainReader(*file, bytes.size()).Read();
}

}  // namespace thresher
