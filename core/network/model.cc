#include "core/network/model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "core/network/evaluation.h"

namespace thresher {
namespace {

constexpr int64_t kTileEntries = int64_t{4} << 20;  // 16 MiB of floats

// Well-formed UTF-8 (RFC 3629) without NUL, which fixed-length NumPy strings would lose.
bool IsText(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    size_t length = 1;
    uint32_t code = lead;
    if (lead == 0 || (lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return false;
    if (lead >= 0xF0) {
      length = 4;
      code = lead & 0x07;
    } else if (lead >= 0xE0) {
      length = 3;
      code = lead & 0x0F;
    } else if (lead >= 0xC2) {
      length = 2;
      code = lead & 0x1F;
    }
    if (text.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xC0) != 0x80) return false;
      code = code << 6 | (byte & 0x3F);
    }
    if (length == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) return false;
    if (length == 4 && (code < 0x10000 || code > 0x10FFFF)) return false;
    i += length;
  }
  return true;
}

absl::Status ValidateText(std::string_view field, std::string_view text, int64_t max_bytes) {
  if (static_cast<int64_t>(text.size()) > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), " of ", text.size(), " bytes is longer than ", max_bytes));
  }
  if (!IsText(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), " must be UTF-8 text without NUL"));
  }
  return absl::OkStatus();
}

absl::Status ValidateScaling(const Scaling& scaling, int64_t num_inputs) {
  if (scaling.input_offset.size() != scaling.input_scale.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("input_offset has ", scaling.input_offset.size(), " entries, input_scale ",
                     scaling.input_scale.size(), "; both or none must be given"));
  }
  if (!scaling.input_offset.empty() &&
      static_cast<int64_t>(scaling.input_offset.size()) != num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("input_offset has ", scaling.input_offset.size(),
                                                   " entries for ", num_inputs, " inputs"));
  }
  for (size_t q = 0; q < scaling.input_offset.size(); ++q) {
    if (!std::isfinite(scaling.input_offset[q])) {
      return absl::InvalidArgumentError(absl::StrCat("input_offset: entry ", q, " is not finite"));
    }
    if (!std::isfinite(scaling.input_scale[q]) || scaling.input_scale[q] <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("input_scale: entry ", q, " must be finite and greater than 0"));
    }
  }
  if (!std::isfinite(scaling.target_offset)) {
    return absl::InvalidArgumentError("target_offset is not finite");
  }
  if (!std::isfinite(scaling.target_scale) || scaling.target_scale <= 0) {
    return absl::InvalidArgumentError("target_scale must be finite and greater than 0");
  }
  return absl::OkStatus();
}

absl::Status ValidateTexts(const Model& model) {
  const int64_t num_outputs = NumOutputs(model.network);
  const int64_t num_classes = num_outputs == 1 ? 2 : num_outputs;
  if (!model.class_names.empty() &&
      (num_outputs == 2 || static_cast<int64_t>(model.class_names.size()) != num_classes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "class_names has ", model.class_names.size(), " entries for ", num_outputs,
        " outputs; a scalar output has two classes, three and more have one each; or none for "
        "regression"));
  }
  for (const std::string& name : model.class_names) {
    if (absl::Status status = ValidateClassName("class_names: a name", name); !status.ok()) {
      return status;
    }
  }
  if (static_cast<int64_t>(model.metadata.size()) > kMaxMetadataEntries) {
    return absl::InvalidArgumentError(absl::StrCat("metadata has ", model.metadata.size(),
                                                   " entries, more than ", kMaxMetadataEntries));
  }
  for (const auto& [key, value] : model.metadata) {
    if (absl::Status status = ValidateText("metadata: a key", key, kMaxMetadataKeyBytes);
        !status.ok()) {
      return status;
    }
    if (absl::Status status = ValidateText(absl::StrCat("metadata: the value of '", key, "'"),
                                           value, kMaxMetadataValueBytes);
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Scales rows [begin, end) of the inputs into `tile`.
absl::Status ScaleRows(const Scaling& scaling, InputView inputs, int64_t begin, int64_t end,
                       std::vector<float>& tile) {
  tile.clear();
  for (int64_t i = begin; i < end; ++i) {
    const std::span<const float> x = inputs.row(i);
    for (size_t q = 0; q < x.size(); ++q) {
      if (!std::isfinite(x[q])) {
        return absl::InvalidArgumentError(
            absl::StrCat("inputs: row ", i, ", column ", q, " is not finite"));
      }
      float scaled = x[q];
      if (!scaling.input_scale.empty()) {
        scaled = static_cast<float>((static_cast<double>(x[q]) - scaling.input_offset[q]) /
                                    scaling.input_scale[q]);
        if (!std::isfinite(scaled)) {
          return absl::InvalidArgumentError(
              absl::StrCat("inputs: row ", i, ", column ", q, " is too large for the scaling"));
        }
      }
      tile.push_back(scaled);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateClassName(std::string_view field, std::string_view name) {
  return ValidateText(field, name, kMaxClassNameBytes);
}

absl::Status ValidateModel(const Model& model) {
  absl::Status status =
      std::visit([](const auto& network) { return ValidateNetwork(network); }, model.network);
  if (!status.ok()) return status;
  status = ValidateScaling(model.scaling, NumInputs(model.network));
  if (!status.ok()) return status;
  return ValidateTexts(model);
}

absl::StatusOr<std::vector<double>> Predict(const Model& model, InputView inputs) {
  if (absl::Status status = ValidateModel(model); !status.ok()) return status;
  const int64_t num_inputs = NumInputs(model.network);
  if (inputs.num_inputs != num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat("inputs have ", inputs.num_inputs,
                                                   " columns, but the model takes ", num_inputs));
  }
  if (inputs.num_samples < 0 || (inputs.num_samples > 0 && inputs.data == nullptr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("inputs: no data for num_samples = ", inputs.num_samples));
  }
  const int64_t num_outputs = NumOutputs(model.network);
  if (inputs.num_samples > std::numeric_limits<int64_t>::max() / num_outputs) {
    return absl::InvalidArgumentError("inputs: num_samples x num_outputs overflows");
  }
  std::vector<double> predictions(static_cast<size_t>(inputs.num_samples * num_outputs));
  // Laid out once for all tiles.
  std::optional<EvaluationPlan> plan;
  if (const auto* sparse = std::get_if<SparseNetwork>(&model.network)) {
    absl::StatusOr<EvaluationPlan> made = MakeEvaluationPlan(*sparse);
    if (!made.ok()) return made.status();
    plan = *std::move(made);
  }
  const auto evaluate = [&](InputView rows, std::span<double> outputs) {
    return plan ? Evaluate(*plan, rows, outputs) : Evaluate(model.network, rows, outputs);
  };
  const int64_t tile_rows = std::max<int64_t>(1, kTileEntries / num_inputs);
  std::vector<float> tile;
  for (int64_t begin = 0; begin < inputs.num_samples; begin += tile_rows) {
    const int64_t end = std::min(begin + tile_rows, inputs.num_samples);
    absl::Status status = ScaleRows(model.scaling, inputs, begin, end, tile);
    if (!status.ok()) return status;
    const std::span<double> outputs =
        std::span<double>(predictions)
            .subspan(static_cast<size_t>(begin * num_outputs),
                     static_cast<size_t>((end - begin) * num_outputs));
    status = evaluate({tile.data(), end - begin, num_inputs}, outputs);
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < predictions.size(); ++i) {
    predictions[i] = predictions[i] * model.scaling.target_scale + model.scaling.target_offset;
    if (!std::isfinite(predictions[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "inputs: the prediction for row ", i / static_cast<size_t>(num_outputs), " overflows"));
    }
  }
  return predictions;
}

}  // namespace thresher
