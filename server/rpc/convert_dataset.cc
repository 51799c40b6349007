#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/samples/image_samples.h"
#include "core/samples/planted.h"
#include "core/samples/read_samples.h"
#include "core/samples/samples.h"
#include "server/rpc/convert.h"
#include "server/rpc/convert_parts.h"
#include "server/store/dataset_store.h"
#include "server/store/error_details.h"
#include "thresher/v1/dataset.pb.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;

absl::StatusOr<WeightDistribution> FromProto(v1::WeightDistribution value) {
  switch (value) {
    case v1::WEIGHT_DISTRIBUTION_UNSPECIFIED:
    case v1::WEIGHT_DISTRIBUTION_NORMAL:
      return WeightDistribution::kNormal;
    case v1::WEIGHT_DISTRIBUTION_UNIFORM:
      return WeightDistribution::kUniform;
    case v1::WEIGHT_DISTRIBUTION_SIGN:
      return WeightDistribution::kSign;
    case v1::WEIGHT_DISTRIBUTION_HEAVY_TAILED:
      return WeightDistribution::kHeavyTailed;
    default:
      return UnknownEnumValue("dataset.planted.weight_distribution", value);
  }
}

v1::WeightDistribution ToProto(WeightDistribution value) {
  switch (value) {
    case WeightDistribution::kNormal:
      return v1::WEIGHT_DISTRIBUTION_NORMAL;
    case WeightDistribution::kUniform:
      return v1::WEIGHT_DISTRIBUTION_UNIFORM;
    case WeightDistribution::kSign:
      return v1::WEIGHT_DISTRIBUTION_SIGN;
    case WeightDistribution::kHeavyTailed:
      return v1::WEIGHT_DISTRIBUTION_HEAVY_TAILED;
  }
  return v1::WEIGHT_DISTRIBUTION_UNSPECIFIED;
}

absl::StatusOr<InputDistribution> FromProto(v1::InputDistribution value) {
  switch (value) {
    case v1::INPUT_DISTRIBUTION_UNSPECIFIED:
    case v1::INPUT_DISTRIBUTION_NORMAL:
      return InputDistribution::kNormal;
    case v1::INPUT_DISTRIBUTION_UNIFORM:
      return InputDistribution::kUniform;
    case v1::INPUT_DISTRIBUTION_BINARY:
      return InputDistribution::kBinary;
    default:
      return UnknownEnumValue("dataset.planted.input_distribution", value);
  }
}

v1::InputDistribution ToProto(InputDistribution value) {
  switch (value) {
    case InputDistribution::kNormal:
      return v1::INPUT_DISTRIBUTION_NORMAL;
    case InputDistribution::kUniform:
      return v1::INPUT_DISTRIBUTION_UNIFORM;
    case InputDistribution::kBinary:
      return v1::INPUT_DISTRIBUTION_BINARY;
  }
  return v1::INPUT_DISTRIBUTION_UNSPECIFIED;
}

constexpr std::string_view kUploadPath = "header.dataset.upload.";

absl::StatusOr<FileFormat> FromProto(v1::FileFormat value) {
  switch (value) {
    case v1::FILE_FORMAT_UNSPECIFIED:
      return InvalidField(Concatenated(kUploadPath, "format"),
                          "is required: the server does not guess from the bytes");
    case v1::FILE_FORMAT_NPY:
      return FileFormat::kNpy;
    case v1::FILE_FORMAT_NPZ:
      return FileFormat::kNpz;
    case v1::FILE_FORMAT_CSV:
      return FileFormat::kCsv;
    case v1::FILE_FORMAT_IDX:
      return FileFormat::kIdx;
    case v1::FILE_FORMAT_PNG:
      return FileFormat::kPng;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "format"), value);
  }
}

v1::FileFormat ToProto(FileFormat value) {
  switch (value) {
    case FileFormat::kNpy:
      return v1::FILE_FORMAT_NPY;
    case FileFormat::kNpz:
      return v1::FILE_FORMAT_NPZ;
    case FileFormat::kCsv:
      return v1::FILE_FORMAT_CSV;
    case FileFormat::kIdx:
      return v1::FILE_FORMAT_IDX;
    case FileFormat::kPng:
      return v1::FILE_FORMAT_PNG;
  }
  return v1::FILE_FORMAT_UNSPECIFIED;
}

absl::StatusOr<ImageFeatures> FromProto(v1::ImageFeatures value) {
  switch (value) {
    case v1::IMAGE_FEATURES_UNSPECIFIED:
    case v1::IMAGE_FEATURES_SCALED:
      return ImageFeatures::kScaled;
    case v1::IMAGE_FEATURES_RAW_INTEGER:
      return ImageFeatures::kRawInteger;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "image.features"), value);
  }
}

v1::ImageFeatures ToProto(ImageFeatures value) {
  switch (value) {
    case ImageFeatures::kScaled:
      return v1::IMAGE_FEATURES_SCALED;
    case ImageFeatures::kRawInteger:
      return v1::IMAGE_FEATURES_RAW_INTEGER;
  }
  return v1::IMAGE_FEATURES_UNSPECIFIED;
}

absl::StatusOr<ScalingMode> FromProto(v1::ScalingMode value) {
  switch (value) {
    case v1::SCALING_MODE_UNSPECIFIED:
    case v1::SCALING_MODE_NONE:
      return ScalingMode::kNone;
    case v1::SCALING_MODE_STANDARDISE:
      return ScalingMode::kStandardise;
    case v1::SCALING_MODE_UNIT_RANGE:
      return ScalingMode::kUnitRange;
    default:
      return UnknownEnumValue(Concatenated(kUploadPath, "scaling"), value);
  }
}

v1::ScalingMode ToProto(ScalingMode value) {
  switch (value) {
    case ScalingMode::kNone:
      return v1::SCALING_MODE_NONE;
    case ScalingMode::kStandardise:
      return v1::SCALING_MODE_STANDARDISE;
    case ScalingMode::kUnitRange:
      return v1::SCALING_MODE_UNIT_RANGE;
  }
  return v1::SCALING_MODE_UNSPECIFIED;
}

v1::ImageOptions ToProto(const ImageOptions& options) {
  v1::ImageOptions result;
  result.set_features(ToProto(options.features));
  result.set_num_features(options.num_features);
  if (options.sigma) result.set_sigma(*options.sigma);
  if (options.channel_sigma) result.set_channel_sigma(*options.channel_sigma);
  result.set_seed(options.seed);
  if (options.crop != Crop{}) {
    result.mutable_crop()->set_width(options.crop.width);
    result.mutable_crop()->set_height(options.crop.height);
    result.mutable_crop()->set_left(options.crop.left);
    result.mutable_crop()->set_top(options.crop.top);
  }
  result.set_index(options.index);
  return result;
}

v1::UploadSource ToProto(const ReadOptions& options) {
  v1::UploadSource result;
  result.set_format(ToProto(options.format));
  if (options.format == FileFormat::kNpz) {
    result.set_inputs_member(options.inputs_member);
    result.set_targets_member(options.targets_member);
  }
  result.mutable_target_columns()->Assign(options.target_columns.begin(),
                                          options.target_columns.end());
  result.mutable_ignored_columns()->Assign(options.ignored_columns.begin(),
                                           options.ignored_columns.end());
  result.set_targets_are_classes(options.targets_are_classes);
  result.mutable_classes()->Assign(options.classes.begin(), options.classes.end());
  result.set_scaling(ToProto(options.scaling));
  if (options.image) *result.mutable_image() = ToProto(*options.image);
  return result;
}

absl::StatusOr<ImageOptions> FromProto(const v1::ImageOptions& options) {
  ImageOptions result;
  const auto features = FromProto(options.features());
  if (!features.ok()) return features.status();
  result.features = *features;
  if (options.num_features() != 0) result.num_features = options.num_features();
  if (options.has_sigma()) result.sigma = options.sigma();
  if (options.has_channel_sigma()) result.channel_sigma = options.channel_sigma();
  result.seed = options.seed();
  result.crop = {.width = options.crop().width(),
                 .height = options.crop().height(),
                 .left = options.crop().left(),
                 .top = options.crop().top()};
  result.index = options.index();
  return result;
}

}  // namespace

v1::PlantedSource ToProto(const PlantedOptions& options) {
  v1::PlantedSource result;
  result.set_num_samples(options.num_samples);
  result.set_num_inputs(options.num_inputs);
  result.set_hidden_width(options.hidden_width);
  result.set_nonzeros(options.nonzeros);
  result.set_seed(options.seed);
  if (options.noise_db) result.set_noise_db(*options.noise_db);
  result.set_output_signs(ToProto(options.output_signs));
  result.set_weight_distribution(ToProto(options.weight_distribution));
  result.set_input_distribution(ToProto(options.input_distribution));
  result.set_input_correlation(options.input_correlation);
  result.set_linear_term(options.linear_term);
  result.set_num_outputs(options.num_outputs);
  result.set_hidden_layers(options.hidden_layers);
  return result;
}

absl::StatusOr<PlantedOptions> FromProto(const v1::PlantedSource& source) {
  PlantedOptions result;
  result.num_samples = source.num_samples();
  result.num_inputs = source.num_inputs();
  result.hidden_width = source.hidden_width();
  result.nonzeros = source.nonzeros();
  result.seed = source.seed();
  if (source.has_noise_db()) result.noise_db = source.noise_db();
  const auto signs = FromProto(source.output_signs(), "dataset.planted.output_signs");
  if (!signs.ok()) return signs.status();
  result.output_signs = *signs;
  const auto weights = FromProto(source.weight_distribution());
  if (!weights.ok()) return weights.status();
  result.weight_distribution = *weights;
  const auto inputs = FromProto(source.input_distribution());
  if (!inputs.ok()) return inputs.status();
  result.input_distribution = *inputs;
  result.input_correlation = source.input_correlation();
  result.linear_term = source.linear_term();
  if (source.num_outputs() != 0) result.num_outputs = source.num_outputs();
  if (source.hidden_layers() != 0) result.hidden_layers = source.hidden_layers();
  return result;
}

absl::StatusOr<ReadOptions> FromProto(const v1::UploadSource& source) {
  ReadOptions result;
  const auto format = FromProto(source.format());
  if (!format.ok()) return format.status();
  result.format = *format;
  auto only_for = [&](bool given, FileFormat wanted, std::string_view field,
                      std::string_view name) {
    if (!given || *format == wanted) return absl::OkStatus();
    return InvalidField(Concatenated(kUploadPath, field),
                        Concatenated("has a meaning only with ", name));
  };
  for (const absl::Status& status : {only_for(!source.inputs_member().empty(), FileFormat::kNpz,
                                              "inputs_member", "FILE_FORMAT_NPZ"),
                                     only_for(!source.targets_member().empty(), FileFormat::kNpz,
                                              "targets_member", "FILE_FORMAT_NPZ"),
                                     only_for(source.target_columns_size() > 0, FileFormat::kCsv,
                                              "target_columns", "FILE_FORMAT_CSV"),
                                     only_for(source.ignored_columns_size() > 0, FileFormat::kCsv,
                                              "ignored_columns", "FILE_FORMAT_CSV")}) {
    if (!status.ok()) return status;
  }
  if (!source.inputs_member().empty()) result.inputs_member = source.inputs_member();
  if (!source.targets_member().empty()) result.targets_member = source.targets_member();
  result.target_columns.assign(source.target_columns().begin(), source.target_columns().end());
  result.ignored_columns.assign(source.ignored_columns().begin(), source.ignored_columns().end());
  result.classes.assign(source.classes().begin(), source.classes().end());
  result.targets_are_classes = source.targets_are_classes() || !result.classes.empty();
  const auto scaling = FromProto(source.scaling());
  if (!scaling.ok()) return scaling.status();
  result.scaling = *scaling;
  if (source.has_image() || *format == FileFormat::kPng) {
    auto image = FromProto(source.image());
    if (!image.ok()) return image.status();
    result.image = *std::move(image);
  }
  return result;
}

v1::Dataset ToProto(const store::DatasetRecord& record) {
  v1::Dataset dataset;
  dataset.set_name(Concatenated(kDatasets, record.id));
  if (const auto* planted = std::get_if<PlantedOptions>(&record.source)) {
    *dataset.mutable_planted() = ToProto(*planted);
  } else {
    *dataset.mutable_upload() = ToProto(std::get<ReadOptions>(record.source));
  }
  dataset.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  *dataset.mutable_create_time() = ToProto(record.create_time);
  dataset.set_num_samples(record.num_samples);
  dataset.set_num_inputs(record.num_inputs);
  dataset.set_num_outputs(record.num_outputs);
  dataset.mutable_class_names()->Assign(record.class_names.begin(), record.class_names.end());
  dataset.set_size_bytes(record.size_bytes);
  dataset.set_sha256(record.sha256);
  if (record.image_shape != ImageShape{}) {
    dataset.mutable_image_shape()->set_height(record.image_shape.height);
    dataset.mutable_image_shape()->set_width(record.image_shape.width);
    dataset.mutable_image_shape()->set_channels(record.image_shape.channels);
  }
  return dataset;
}

}  // namespace thresher::rpc
