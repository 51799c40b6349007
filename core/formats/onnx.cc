#include "core/formats/onnx.h"

#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/formats/protobuf_wire.h"

namespace thresher {
namespace {

constexpr size_t kMaxInGraph = 1024;
constexpr size_t kMaxInNode = 64;
constexpr size_t kMaxDimensions = 8;

absl::Status Damaged(std::string_view message) {
  return absl::InvalidArgumentError(
      absl::StrCat("ONNX: the message ", std::string(message), " is damaged"));
}

absl::Status TooMany(std::string_view what, size_t most) {
  return absl::InvalidArgumentError(
      absl::StrCat("ONNX: more than ", most, " ", std::string(what), "; a network needs fewer"));
}

// Reads a message: `take` is called with the reader at each field and returns a status.
template <typename Take>
absl::Status ForEachField(std::string_view message, std::string_view name, const Take& take) {
  WireReader reader(message);
  while (reader.Next()) {
    if (absl::Status status = take(reader); !status.ok()) return status;
  }
  return reader.ok() ? absl::OkStatus() : Damaged(name);
}

int64_t Signed(const WireReader& reader) { return static_cast<int64_t>(reader.number()); }

// The first kMaxDimensions + 1 of a repeated int64, one by one or packed.
absl::Status TakeFirstIntegers(const WireReader& reader, std::string_view what,
                               std::vector<int64_t>& values) {
  std::string_view packed = reader.bytes();
  if (reader.type() != WireType::kBytes && reader.type() != WireType::kVarint) return Damaged(what);
  bool first = true;
  while (reader.type() == WireType::kVarint ? first : !packed.empty()) {
    first = false;
    uint64_t value = reader.number();
    if (reader.type() == WireType::kBytes && !TakeVarint(packed, value)) return Damaged(what);
    if (values.size() <= kMaxDimensions) values.push_back(static_cast<int64_t>(value));
  }
  return absl::OkStatus();
}

// The same, of which there must not be more.
absl::Status TakeIntegers(const WireReader& reader, std::string_view what,
                          std::vector<int64_t>& values) {
  absl::Status status = TakeFirstIntegers(reader, what, values);
  if (status.ok() && values.size() > kMaxDimensions) return TooMany("dimensions", kMaxDimensions);
  return status;
}

absl::Status TakeSparseTensor(std::string_view message, OnnxSparseTensor& sparse) {
  return ForEachField(message, "SparseTensorProto", [&](const WireReader& reader) -> absl::Status {
    if (reader.field() == 3) return TakeIntegers(reader, "SparseTensorProto", sparse.dims);
    if (reader.Is(1, WireType::kBytes) || reader.Is(2, WireType::kBytes)) {
      absl::StatusOr<OnnxTensor> tensor = ParseOnnxTensor(reader.bytes());
      if (!tensor.ok()) return tensor.status();
      (reader.field() == 1 ? sparse.values : sparse.indices) = *std::move(tensor);
    }
    return absl::OkStatus();
  });
}

absl::Status TakeAttribute(std::string_view message, OnnxAttribute& attribute) {
  return ForEachField(message, "AttributeProto", [&](const WireReader& reader) -> absl::Status {
    if (reader.Is(1, WireType::kBytes)) attribute.name = reader.bytes();
    if (reader.Is(2, WireType::kFixed32)) {
      attribute.float_value = std::bit_cast<float>(static_cast<uint32_t>(reader.number()));
    }
    if (reader.Is(3, WireType::kVarint)) attribute.int_value = Signed(reader);
    if (reader.Is(5, WireType::kBytes)) attribute.tensor = reader.bytes();
    if (reader.field() == 8) {
      return TakeFirstIntegers(reader, "AttributeProto", attribute.integers);
    }
    return absl::OkStatus();
  });
}

absl::Status TakeNode(std::string_view message, OnnxNode& node) {
  return ForEachField(message, "NodeProto", [&](const WireReader& reader) -> absl::Status {
    if (reader.type() != WireType::kBytes) return absl::OkStatus();
    switch (reader.field()) {
      case 1:
      case 2: {
        auto& names = reader.field() == 1 ? node.inputs : node.outputs;
        if (names.size() == kMaxInNode) return TooMany("inputs or outputs of a node", kMaxInNode);
        names.push_back(reader.bytes());
        break;
      }
      case 3:
        node.name = reader.bytes();
        break;
      case 4:
        node.op_type = reader.bytes();
        break;
      case 5:
        if (node.attributes.size() == kMaxInNode) {
          return TooMany("attributes of a node", kMaxInNode);
        }
        return TakeAttribute(reader.bytes(), node.attributes.emplace_back());
      case 7:
        node.domain = reader.bytes();
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

absl::Status TakeShape(std::string_view message, OnnxValue& value) {
  value.has_shape = true;
  value.dims.clear();
  return ForEachField(message, "TensorShapeProto", [&](const WireReader& reader) -> absl::Status {
    if (!reader.Is(1, WireType::kBytes)) return absl::OkStatus();
    if (value.dims.size() == kMaxDimensions) return TooMany("dimensions", kMaxDimensions);
    int64_t& extent = value.dims.emplace_back(-1);
    return ForEachField(reader.bytes(), "TensorShapeProto.Dimension",
                        [&](const WireReader& dimension) {
                          if (dimension.Is(1, WireType::kVarint)) extent = Signed(dimension);
                          return absl::OkStatus();
                        });
  });
}

absl::Status TakeValue(std::string_view message, OnnxValue& value) {
  const auto take_tensor = [&](const WireReader& reader) -> absl::Status {
    if (reader.Is(1, WireType::kVarint)) value.element_type = Signed(reader);
    if (reader.Is(2, WireType::kBytes)) return TakeShape(reader.bytes(), value);
    return absl::OkStatus();
  };
  const auto take_type = [&](const WireReader& reader) -> absl::Status {
    if (!reader.Is(1, WireType::kBytes)) return absl::OkStatus();
    return ForEachField(reader.bytes(), "TypeProto.Tensor", take_tensor);
  };
  return ForEachField(message, "ValueInfoProto", [&](const WireReader& reader) -> absl::Status {
    if (reader.Is(1, WireType::kBytes)) value.name = reader.bytes();
    if (reader.Is(2, WireType::kBytes)) return ForEachField(reader.bytes(), "TypeProto", take_type);
    return absl::OkStatus();
  });
}

absl::Status TakeGraph(std::string_view message, OnnxFile& file) {
  return ForEachField(message, "GraphProto", [&](const WireReader& reader) -> absl::Status {
    if (reader.type() != WireType::kBytes) return absl::OkStatus();
    switch (reader.field()) {
      case 1:
        if (file.nodes.size() == kMaxInGraph) return TooMany("nodes", kMaxInGraph);
        return TakeNode(reader.bytes(), file.nodes.emplace_back());
      case 5: {
        if (file.initializers.size() == kMaxInGraph) return TooMany("initializers", kMaxInGraph);
        absl::StatusOr<OnnxTensor> tensor = ParseOnnxTensor(reader.bytes());
        if (!tensor.ok()) return tensor.status();
        file.initializers.push_back(*std::move(tensor));
        return absl::OkStatus();
      }
      case 11:
      case 12: {
        auto& values = reader.field() == 11 ? file.inputs : file.outputs;
        if (values.size() == kMaxInGraph) return TooMany("inputs or outputs", kMaxInGraph);
        return TakeValue(reader.bytes(), values.emplace_back());
      }
      case 15:
        if (file.sparse_initializers.size() == kMaxInGraph) {
          return TooMany("sparse initializers", kMaxInGraph);
        }
        return TakeSparseTensor(reader.bytes(), file.sparse_initializers.emplace_back());
      default:
        return absl::OkStatus();
    }
  });
}

absl::Status TakeOpset(std::string_view message, OnnxFile& file) {
  std::string_view domain;
  int64_t version = 0;
  absl::Status status = ForEachField(message, "OperatorSetIdProto", [&](const WireReader& reader) {
    if (reader.Is(1, WireType::kBytes)) domain = reader.bytes();
    if (reader.Is(2, WireType::kVarint)) version = Signed(reader);
    return absl::OkStatus();
  });
  if (domain.empty() || domain == "ai.onnx") file.opset = version;
  return status;
}

absl::Status TakeMetadata(std::string_view message, OnnxFile& file) {
  if (file.metadata.size() == kMaxInGraph) return TooMany("entries of metadata", kMaxInGraph);
  auto& entry = file.metadata.emplace_back();
  return ForEachField(message, "StringStringEntryProto", [&](const WireReader& reader) {
    if (reader.Is(1, WireType::kBytes)) entry.first = reader.bytes();
    if (reader.Is(2, WireType::kBytes)) entry.second = reader.bytes();
    return absl::OkStatus();
  });
}

// The number of entries that the dimensions make, if it is at most `most`.
absl::StatusOr<size_t> CountEntries(const std::vector<int64_t>& dims, size_t most) {
  size_t count = 1;
  bool empty = false;
  for (const int64_t extent : dims) {
    if (extent < 0) return absl::InvalidArgumentError("has a negative dimension");
    empty = empty || extent == 0;
  }
  if (empty) return size_t{0};
  for (const int64_t extent : dims) {
    if (static_cast<uint64_t>(extent) > most / count) {
      return absl::InvalidArgumentError("its dimensions need more bytes than the file has");
    }
    count *= static_cast<size_t>(extent);
  }
  return count;
}

// Entries of T, from raw_data or from the packed or single entries of `data_field`.
template <typename T>
absl::StatusOr<std::vector<double>> FixedEntries(const OnnxTensor& tensor, uint32_t data_field) {
  // An entry takes at least its own bytes in either form.
  const absl::StatusOr<size_t> count = CountEntries(tensor.dims, tensor.message.size() / sizeof(T));
  if (!count.ok()) return count.status();
  std::vector<double> values;
  values.reserve(*count);
  bool damaged = false;
  absl::Status status =
      ForEachField(tensor.message, "TensorProto", [&](const WireReader& reader) -> absl::Status {
        std::string_view bytes;
        char single[sizeof(uint64_t)];
        if (reader.Is(9, WireType::kBytes) || reader.Is(data_field, WireType::kBytes)) {
          bytes = reader.bytes();
        } else if (reader.Is(data_field,
                             sizeof(T) == 4 ? WireType::kFixed32 : WireType::kFixed64)) {
          const uint64_t bits = reader.number();
          std::memcpy(single, &bits, sizeof(bits));
          bytes = {single, sizeof(T)};
        }
        if (bytes.size() % sizeof(T) != 0 || bytes.size() / sizeof(T) > *count - values.size()) {
          damaged = true;
          return absl::OkStatus();
        }
        for (size_t at = 0; at < bytes.size(); at += sizeof(T)) {
          T value;
          std::memcpy(&value, bytes.data() + at, sizeof(T));
          values.push_back(static_cast<double>(value));
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (damaged || values.size() != *count) {
    return absl::InvalidArgumentError(
        absl::StrCat("its dimensions need ", *count, " entries, its data hold ",
                     damaged ? std::string("another number") : absl::StrCat(values.size())));
  }
  return values;
}

absl::Status CheckType(const OnnxTensor& tensor, std::string_view wanted) {
  if (tensor.external) {
    return absl::InvalidArgumentError(
        "its data are in another file; save the model as one file, without external data");
  }
  return absl::InvalidArgumentError(absl::StrCat("type ", OnnxTypeName(tensor.data_type),
                                                 " is not supported here; ", std::string(wanted)));
}

}  // namespace

std::string OnnxTypeName(int64_t type) {
  constexpr std::string_view kNames[] = {"undefined",  "float",   "uint8",  "int8",   "uint16",
                                         "int16",      "int32",   "int64",  "string", "bool",
                                         "float16",    "double",  "uint32", "uint64", "complex64",
                                         "complex128", "bfloat16"};
  // Numbers 1 to 16 without a gap.
  if (type < 0 || type >= static_cast<int64_t>(std::size(kNames))) {
    return absl::StrCat("type ", type);
  }
  return std::string(kNames[static_cast<size_t>(type)]);
}

absl::StatusOr<OnnxTensor> ParseOnnxTensor(std::string_view message) {
  OnnxTensor tensor;
  tensor.message = message;
  absl::Status status =
      ForEachField(message, "TensorProto", [&](const WireReader& reader) -> absl::Status {
        if (reader.field() == 1) return TakeIntegers(reader, "TensorProto", tensor.dims);
        if (reader.Is(2, WireType::kVarint)) tensor.data_type = Signed(reader);
        if (reader.Is(8, WireType::kBytes)) tensor.name = reader.bytes();
        if (reader.field() == 13) tensor.external = true;
        if (reader.Is(14, WireType::kVarint)) tensor.external |= reader.number() != 0;
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return tensor;
}

absl::StatusOr<std::vector<double>> OnnxDoubles(const OnnxTensor& tensor) {
  if (!tensor.external && tensor.data_type == static_cast<int64_t>(OnnxType::kFloat)) {
    return FixedEntries<float>(tensor, 4);
  }
  if (!tensor.external && tensor.data_type == static_cast<int64_t>(OnnxType::kDouble)) {
    return FixedEntries<double>(tensor, 10);
  }
  return CheckType(tensor, "save it as float or double");
}

absl::StatusOr<std::vector<int64_t>> OnnxIntegers(const OnnxTensor& tensor) {
  if (tensor.external || tensor.data_type != static_cast<int64_t>(OnnxType::kInt64)) {
    return CheckType(tensor, "it must be int64");
  }
  // int64_data has a byte an entry at least.
  const absl::StatusOr<size_t> count = CountEntries(tensor.dims, tensor.message.size());
  if (!count.ok()) return count.status();
  std::vector<int64_t> values;
  bool damaged = false;
  absl::Status status =
      ForEachField(tensor.message, "TensorProto", [&](const WireReader& reader) -> absl::Status {
        std::string_view bytes = reader.bytes();
        if (reader.Is(7, WireType::kVarint) && values.size() < *count) {
          values.push_back(Signed(reader));
          return absl::OkStatus();
        }
        const bool raw = reader.Is(9, WireType::kBytes);
        if (!raw && !reader.Is(7, WireType::kBytes)) return absl::OkStatus();
        while (!bytes.empty() && !damaged) {
          uint64_t value = 0;
          if (raw && bytes.size() >= sizeof(value)) {
            std::memcpy(&value, bytes.data(), sizeof(value));
            bytes.remove_prefix(sizeof(value));
          } else if (raw || !TakeVarint(bytes, value)) {
            damaged = true;
          }
          damaged = damaged || values.size() == *count;
          if (!damaged) values.push_back(static_cast<int64_t>(value));
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (damaged || values.size() != *count) {
    return absl::InvalidArgumentError(
        absl::StrCat("its dimensions need ", *count, " entries, its data hold another number"));
  }
  return values;
}

absl::StatusOr<OnnxFile> ParseOnnx(std::string_view bytes) {
  OnnxFile file;
  bool has_graph = false;
  absl::Status status =
      ForEachField(bytes, "ModelProto", [&](const WireReader& reader) -> absl::Status {
        if (reader.Is(1, WireType::kVarint)) file.ir_version = Signed(reader);
        if (reader.type() != WireType::kBytes) return absl::OkStatus();
        switch (reader.field()) {
          case 7:
            if (has_graph) return absl::InvalidArgumentError("ONNX: two graphs in one file");
            has_graph = true;
            return TakeGraph(reader.bytes(), file);
          case 8:
            return TakeOpset(reader.bytes(), file);
          case 14:
            return TakeMetadata(reader.bytes(), file);
          case 25:
            return absl::InvalidArgumentError(
                "ONNX: functions of the file's own are not supported; export without them");
          default:
            return absl::OkStatus();
        }
      });
  if (!status.ok()) return status;
  if (!has_graph) return absl::InvalidArgumentError("ONNX: the file has no graph");
  return file;
}

}  // namespace thresher
