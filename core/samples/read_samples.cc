#include "core/samples/read_samples.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/formats/gzip.h"
#include "core/formats/npy.h"
#include "core/formats/npz.h"
#include "core/formats/png.h"
#include "core/network/model.h"
#include "core/samples/class_targets.h"
#include "core/samples/csv.h"
#include "core/samples/idx.h"
#include "core/samples/image_samples.h"
#include "core/samples/number_text.h"
#include "core/samples/unlabelled.h"

namespace thresher {
namespace {

// Class labels in an array beyond this number are taken for a mistake.
constexpr size_t kMostLabels = 100000;
// As float32, so 2^26 values: a crop of a larger image is to be made before.
constexpr int64_t kMaxImageBytes = int64_t{1} << 28;

// Puts the field before the message: "inputs: ...".
absl::Status InField(absl::string_view field, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(field, ": ", status.message()));
}

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// The bytes, gunzipped when they are gzip; `storage` then holds them.
absl::StatusOr<std::string_view> Unpacked(absl::string_view field, std::string_view bytes,
                                          int64_t max_bytes, std::string& storage) {
  if (!IsGzip(bytes)) return bytes;
  absl::StatusOr<std::string> unpacked = Gunzip(bytes, max_bytes);
  if (!unpacked.ok()) return InField(field, unpacked.status());
  storage = *std::move(unpacked);
  return std::string_view(storage);
}

absl::StatusOr<NpyArray> ParseArray(absl::string_view field, FileFormat format,
                                    std::string_view bytes, int64_t max_bytes) {
  if (bytes.empty()) return Invalid(field, "no bytes were given");
  std::string storage;
  const absl::StatusOr<std::string_view> unpacked = Unpacked(field, bytes, max_bytes, storage);
  if (!unpacked.ok()) return unpacked.status();
  absl::StatusOr<NpyArray> array =
      format == FileFormat::kIdx ? ParseIdx(*unpacked, max_bytes) : ParseNpy(*unpacked, max_bytes);
  if (!array.ok()) return InField(field, array.status());
  return array;
}

absl::StatusOr<std::vector<float>> TakeFloats(absl::string_view field, NpyArray array,
                                              int64_t max_bytes) {
  if (array.size() > max_bytes / static_cast<int64_t>(sizeof(float))) {
    return absl::ResourceExhaustedError(absl::StrCat(
        field, ": as float32 they would hold more than the limit of ", max_bytes, " bytes"));
  }
  if (auto* floats = std::get_if<std::vector<float>>(&array.values)) return std::move(*floats);
  if (const auto* doubles = std::get_if<std::vector<double>>(&array.values)) {
    for (size_t i = 0; i < doubles->size(); ++i) {
      if (std::isfinite((*doubles)[i]) &&
          std::fabs((*doubles)[i]) > std::numeric_limits<float>::max()) {
        return Invalid(field, absl::StrCat("entry ", i, " (from 0), ", (*doubles)[i],
                                           ", is beyond the range of float32"));
      }
    }
  }
  absl::StatusOr<std::vector<float>> floats = ToFloats(array);
  if (!floats.ok()) return InField(field, floats.status());
  return floats;
}

// Labels of an array with one entry for each sample, numbers or text.
absl::StatusOr<Labels> LabelsOf(const NpyArray& array) {
  return std::visit(
      [](const auto& values) -> absl::StatusOr<Labels> {
        using Value = typename std::decay_t<decltype(values)>::value_type;
        Labels labels;
        std::unordered_map<Value, int32_t> label_of_value;
        labels.of_sample.reserve(values.size());
        for (size_t i = 0; i < values.size(); ++i) {
          if constexpr (std::is_floating_point_v<Value>) {
            if (!std::isfinite(values[i])) {
              return Invalid("targets",
                             absl::StrCat("the class label in row ", i, " (from 0) is not finite"));
            }
          }
          const auto [found, is_new] =
              label_of_value.emplace(values[i], static_cast<int32_t>(labels.names.size()));
          if (is_new) {
            if (labels.names.size() == kMostLabels) {
              return Invalid("targets", absl::StrCat("more than ", kMostLabels,
                                                     " distinct class labels; are they numbers?"));
            }
            if constexpr (std::is_same_v<Value, std::string>) {
              const absl::Status status = ValidateClassName(
                  absl::StrCat("targets: the class label in row ", i, " (from 0)"), values[i]);
              if (!status.ok()) return status;
              labels.names.push_back(values[i]);
            } else if constexpr (std::is_integral_v<Value>) {
              labels.names.push_back(absl::StrCat(static_cast<int64_t>(values[i])));
            } else {
              labels.names.push_back(NumberText(values[i]));
            }
          }
          labels.of_sample.push_back(found->second);
        }
        return labels;
      },
      array.values);
}

std::string ShapeText(const NpyArray& array) {
  std::string text = "(";
  for (size_t k = 0; k < array.shape.size(); ++k) {
    absl::StrAppend(&text, k > 0 ? ", " : "", array.shape[k]);
  }
  return text + (array.shape.size() == 1 ? ",)" : ")");
}

absl::StatusOr<Samples> FromInputs(const ReadOptions& options, NpyArray inputs) {
  if (inputs.shape.empty()) {
    return Invalid("inputs", "a single number; expected one row for each sample");
  }
  if (inputs.size() == 0) {
    return Invalid("inputs", absl::StrCat("the array of shape ", ShapeText(inputs), " is empty"));
  }
  Samples samples = {.num_samples = inputs.shape[0],
                     .num_inputs = inputs.size() / inputs.shape[0],
                     .num_outputs = 0};
  absl::StatusOr<std::vector<float>> values =
      TakeFloats("inputs", std::move(inputs), options.max_bytes);
  if (!values.ok()) return values.status();
  samples.inputs = *std::move(values);
  return samples;
}

// Classes are told from targets.
absl::Status CheckNoClasses(const ReadOptions& options) {
  if (!options.targets_are_classes) return absl::OkStatus();
  return Invalid("targets_are_classes", "there are no targets; upload them too or leave it unset");
}

absl::StatusOr<Samples> FromArrays(const ReadOptions& options, NpyArray inputs, NpyArray targets) {
  if (inputs.shape.empty() || targets.shape.empty()) {
    return Invalid(inputs.shape.empty() ? "inputs" : "targets",
                   "a single number; expected one row for each sample");
  }
  if (inputs.size() == 0) {
    return Invalid("inputs", absl::StrCat("the array of shape ", ShapeText(inputs), " is empty"));
  }
  if (targets.shape[0] != inputs.shape[0]) {
    return Invalid("targets", absl::StrCat("shape ", ShapeText(targets), " has ", targets.shape[0],
                                           " rows, inputs of shape ", ShapeText(inputs), " have ",
                                           inputs.shape[0]));
  }
  const int64_t num_outputs = targets.size() / targets.shape[0];
  if (targets.shape.size() > 2 || num_outputs < 1) {
    return Invalid("targets", absl::StrCat("shape ", ShapeText(targets),
                                           " must be (n,) or (n, k) with k of at least 1"));
  }
  Samples samples;
  samples.num_samples = inputs.shape[0];
  samples.num_inputs = inputs.size() / inputs.shape[0];
  absl::StatusOr<std::vector<float>> input_values =
      TakeFloats("inputs", std::move(inputs), options.max_bytes);
  if (!input_values.ok()) return input_values.status();
  samples.inputs = *std::move(input_values);

  if (options.targets_are_classes) {
    if (num_outputs != 1) {
      return Invalid("targets",
                     absl::StrCat("shape ", ShapeText(targets), " must be (n,) for class labels"));
    }
    const absl::StatusOr<Labels> labels = LabelsOf(targets);
    if (!labels.ok()) return labels.status();
    absl::Status status = SetClassTargets(*labels, options.classes, options.max_bytes, samples);
    if (!status.ok()) return status;
    return samples;
  }
  samples.num_outputs = num_outputs;
  absl::StatusOr<std::vector<float>> target_values =
      TakeFloats("targets", std::move(targets), options.max_bytes);
  if (!target_values.ok()) return target_values.status();
  samples.targets = *std::move(target_values);
  return samples;
}

absl::StatusOr<Samples> FromNpz(const ReadOptions& options, std::string_view bytes) {
  std::string storage;
  const absl::StatusOr<std::string_view> unpacked =
      Unpacked("inputs", bytes, options.max_bytes, storage);
  if (!unpacked.ok()) return unpacked.status();
  absl::StatusOr<NpzArchive> archive = ParseNpz(*unpacked, options.max_bytes);
  if (!archive.ok()) return InField("inputs", archive.status());
  const auto take = [&](absl::string_view field,
                        const std::string& name) -> absl::StatusOr<NpyArray> {
    const auto found = archive->find(name);
    if (found != archive->end()) return std::move(found->second);
    std::string names;
    for (const auto& [other, array] : *archive) {
      if (names.size() > 500) {
        names += ", ...";
        break;
      }
      absl::StrAppend(&names, names.empty() ? "" : ", ", "'", absl::CHexEscape(other), "'");
    }
    return Invalid(field, absl::StrCat("the archive has no member '", absl::CHexEscape(name),
                                       "'; its members are ", names.empty() ? "none" : names));
  };
  if (options.inputs_member == options.targets_member) {
    return Invalid("targets_member", "must differ from inputs_member");
  }
  absl::StatusOr<NpyArray> inputs = take("inputs_member", options.inputs_member);
  if (!inputs.ok()) return inputs.status();
  if (archive->size() == 1 && options.targets_member == ReadOptions().targets_member) {
    if (absl::Status status = CheckNoClasses(options); !status.ok()) return status;
    return FromInputs(options, *std::move(inputs));
  }
  absl::StatusOr<NpyArray> targets = take("targets_member", options.targets_member);
  if (!targets.ok()) return targets.status();
  archive->clear();
  return FromArrays(options, *std::move(inputs), *std::move(targets));
}

absl::StatusOr<Samples> FromCsv(const ReadOptions& options, std::string_view bytes) {
  std::string storage;
  const absl::StatusOr<std::string_view> unpacked =
      Unpacked("inputs", bytes, options.max_bytes, storage);
  if (!unpacked.ok()) return unpacked.status();
  absl::StatusOr<CsvTable> table =
      ParseCsv(*unpacked, {.target_columns = options.target_columns,
                           .ignored_columns = options.ignored_columns,
                           .targets_are_labels = options.targets_are_classes,
                           .max_bytes = options.max_bytes});
  if (!table.ok()) return table.status();
  Samples samples;
  samples.num_samples = table->num_rows;
  samples.num_inputs = table->num_inputs;
  samples.inputs = std::move(table->inputs);
  if (options.targets_are_classes) {
    const Labels labels = {.names = std::move(table->labels),
                           .of_sample = std::move(table->label_of_row)};
    absl::Status status = SetClassTargets(labels, options.classes, options.max_bytes, samples);
    if (!status.ok()) return status;
  } else {
    samples.num_outputs = static_cast<int64_t>(options.target_columns.size());
    samples.targets = std::move(table->targets);
  }
  return samples;
}

// Image `index` of unsigned bytes, images x rows x columns or rows x columns.
absl::StatusOr<Image> ImageOfArray(const NpyArray& array, int64_t index) {
  const auto* bytes = std::get_if<std::vector<uint8_t>>(&array.values);
  const size_t rank = array.shape.size();
  if (bytes == nullptr || rank < 2 || rank > 3) {
    return Invalid("inputs", "must hold unsigned bytes, images x rows x columns or rows x columns");
  }
  const int64_t num_images = rank == 3 ? array.shape[0] : 1;
  if (index < 0 || index >= num_images) {
    return Invalid("image.index",
                   absl::StrCat("must be from 0 to ", num_images - 1, ", is ", index));
  }
  Image image = {.height = array.shape[rank - 2], .width = array.shape[rank - 1]};
  const int64_t size = image.height * image.width;
  const auto first = bytes->begin() + index * size;
  image.values.reserve(size);
  std::transform(first, first + size, std::back_inserter(image.values),
                 [](uint8_t value) { return static_cast<float>(value / 255.0); });
  return image;
}

absl::StatusOr<Image> ReadImage(const ReadOptions& options, int64_t index, std::string_view bytes) {
  const int64_t max_bytes = std::min(options.max_bytes, kMaxImageBytes);
  if (options.format == FileFormat::kIdx) {
    const absl::StatusOr<NpyArray> array =
        ParseArray("inputs", options.format, bytes, options.max_bytes);
    if (!array.ok()) return array.status();
    return ImageOfArray(*array, index);
  }
  if (index != 0) return Invalid("image.index", "has a meaning only with idx");
  std::string storage;
  const absl::StatusOr<std::string_view> unpacked = Unpacked("inputs", bytes, max_bytes, storage);
  if (!unpacked.ok()) return unpacked.status();
  absl::StatusOr<Image> image = ParsePng(*unpacked, max_bytes);
  if (!image.ok()) return InField("inputs", image.status());
  return image;
}

absl::StatusOr<Samples> FromImage(const ReadOptions& options, std::string_view bytes) {
  if (options.targets_are_classes) {
    return Invalid("targets_are_classes", "the targets of an image are its values");
  }
  if (options.scaling != ScalingMode::kNone) {
    return Invalid("scaling", "must be none: an image's values and features have their scale");
  }
  const ImageOptions image_options = options.image.value_or(ImageOptions{});
  const absl::StatusOr<Image> image = ReadImage(options, image_options.index, bytes);
  if (!image.ok()) return image.status();
  absl::StatusOr<Samples> samples = ImageSamples(*image, image_options, options.max_bytes);
  if (absl::IsInvalidArgument(samples.status())) {
    return absl::InvalidArgumentError(absl::StrCat("image.", samples.status().message()));
  }
  return samples;
}

absl::StatusOr<Samples> FromBytes(const ReadOptions& options, std::string_view inputs,
                                  std::string_view targets) {
  if (!options.classes.empty() && !options.targets_are_classes) {
    return Invalid("classes", "only class targets can be chosen by class; set targets_are_classes");
  }
  const bool is_image = options.format == FileFormat::kPng || options.image;
  if (is_image && options.format != FileFormat::kPng && options.format != FileFormat::kIdx) {
    return Invalid("image", "has a meaning only with png and idx");
  }
  if (!HasTargetsFile(options)) {
    if (inputs.empty()) return Invalid("inputs", "no bytes were given");
    if (!targets.empty()) {
      return Invalid("targets", "must be empty: this format carries both in one file");
    }
    if (is_image) return FromImage(options, inputs);
    return options.format == FileFormat::kNpz ? FromNpz(options, inputs) : FromCsv(options, inputs);
  }
  absl::StatusOr<NpyArray> input_array =
      ParseArray("inputs", options.format, inputs, options.max_bytes);
  if (!input_array.ok()) return input_array.status();
  if (targets.empty()) {
    if (absl::Status status = CheckNoClasses(options); !status.ok()) return status;
    return FromInputs(options, *std::move(input_array));
  }
  absl::StatusOr<NpyArray> target_array =
      ParseArray("targets", options.format, targets, options.max_bytes);
  if (!target_array.ok()) return target_array.status();
  return FromArrays(options, *std::move(input_array), *std::move(target_array));
}

}  // namespace

bool HasTargetsFile(const ReadOptions& options) {
  return options.format == FileFormat::kNpy ||
         (options.format == FileFormat::kIdx && !options.image);
}

absl::StatusOr<Samples> ReadSamples(const ReadOptions& options, std::string_view inputs,
                                    std::string_view targets) {
  absl::StatusOr<Samples> samples = FromBytes(options, inputs, targets);
  if (!samples.ok()) return samples;
  // Each part alone is within the limit; together they may not be.
  if (static_cast<int64_t>(samples->inputs.size() + samples->targets.size()) >
      options.max_bytes / static_cast<int64_t>(sizeof(float))) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the samples would hold more than the limit of ", options.max_bytes, " bytes"));
  }
  if (absl::Status status = ValidateLabelledOrNot(*samples); !status.ok()) return status;
  if (absl::Status status = ScaleSamples(options.scaling, *samples); !status.ok()) return status;
  return samples;
}

}  // namespace thresher
