#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "client/command_flags.h"
#include "client/command_line.h"
#include "thresher/v1/dataset_service.pb.h"

namespace thresher::client {
namespace {

// Decides the format and which file is which; the flags alone cannot say it.
void FinishUpload(Parameters* p, bool format_given, const std::vector<CLI::Option*>& image_flags) {
  v1::UploadSource* source = p->upload.header.mutable_dataset()->mutable_upload();
  UploadFiles* files = &p->upload.files;
  const bool two_files = !files->inputs_path.empty() || !files->targets_path.empty();
  if (two_files + !p->csv_path.empty() + !p->npz_path.empty() + !p->image_path.empty() != 1) {
    throw CLI::ValidationError(
        "datasets upload",
        "give the data as one of: --inputs F [--targets F] | --csv F --target COLUMN | --npz F | "
        "--image F");
  }
  if (p->no_targets && p->csv_path.empty()) {
    throw CLI::ValidationError("--no_targets",
                               "is for --csv; leave --targets out, or y out of the archive");
  }
  if (p->image_path.empty()) {
    for (const CLI::Option* option : image_flags) {
      if (option->count() > 0) {
        throw CLI::ValidationError(option->get_name(), "is for an image: give --image F as well");
      }
    }
  } else {
    source->mutable_image();
    files->inputs_path = p->image_path;
    if (!format_given) source->set_format(FileFormatOf(p->image_path));
    if (source->format() != v1::FILE_FORMAT_PNG && source->format() != v1::FILE_FORMAT_IDX) {
      throw CLI::ValidationError("--image", "must be a PNG, or IDX by its name or by --format idx");
    }
    return;
  }
  const auto require = [&](v1::FileFormat format, const std::string& flag) {
    if (format_given && source->format() != format) {
      throw CLI::ValidationError("--format", absl::StrCat("disagrees with ", flag));
    }
    source->set_format(format);
  };
  if (!p->csv_path.empty()) {
    require(v1::FILE_FORMAT_CSV, "--csv");
    files->inputs_path = p->csv_path;
    if (source->target_columns().empty() != p->no_targets) {
      throw CLI::ValidationError("--target", p->no_targets
                                                 ? "disagrees with --no_targets"
                                                 : "name the column that holds the targets, or say "
                                                   "--no_targets where there are none");
    }
    return;
  }
  if (!p->npz_path.empty()) {
    require(v1::FILE_FORMAT_NPZ, "--npz");
    files->inputs_path = p->npz_path;
    return;
  }
  if (files->inputs_path.empty()) {
    throw CLI::ValidationError("--inputs", "--targets needs --inputs");
  }
  if (!format_given) {
    const v1::FileFormat inputs = FileFormatOf(files->inputs_path);
    const v1::FileFormat targets = FileFormatOf(files->targets_path);
    if (!files->targets_path.empty() && inputs != targets) {
      throw CLI::ValidationError("--targets", "must be of the same format as --inputs");
    }
    source->set_format(inputs);
  }
  if (source->format() == v1::FILE_FORMAT_UNSPECIFIED) {
    throw CLI::ValidationError("--inputs",
                               "the file's name does not tell its format; say --format npy or idx");
  }
  if (source->format() == v1::FILE_FORMAT_PNG) {
    throw CLI::ValidationError("--inputs", "an image is uploaded by --image");
  }
  if (source->format() == v1::FILE_FORMAT_CSV || source->format() == v1::FILE_FORMAT_NPZ) {
    throw CLI::ValidationError("--inputs",
                               "a CSV or NPZ file holds inputs and targets: use "
                               "--csv FILE --target COLUMN, or --npz FILE");
  }
}

// What the pixels of an image become.
std::vector<CLI::Option*> AddImageFlags(CLI::App* app, v1::UploadSource* source) {
  std::vector<CLI::Option*> flags;
  flags.push_back(AddEnum<v1::ImageFeatures>(
      app, "--features", [=](auto v) { source->mutable_image()->set_features(v); },
      "Image: Fourier features of coordinates within [0, 1], or of raw integers as in the paper "
      "(default scaled)"));
  flags.push_back(AddValue<int64_t>(
      app, "--num_features", [=](auto d) { source->mutable_image()->set_num_features(d); },
      "Image: features, an even number (default 1500)", "D"));
  flags.push_back(AddValue<double>(
      app, "--sigma", [=](auto x) { source->mutable_image()->set_sigma(x); },
      "Image: standard deviation of the frequencies, in cycles a unit of the coordinates (default "
      "10; raw integers 2 for grey, 5 for colour)",
      "X"));
  flags.push_back(AddValue<double>(
      app, "--channel_sigma", [=](auto x) { source->mutable_image()->set_channel_sigma(x); },
      "Image: that of the colour channel's (default 0.5; raw integers 0.05)", "X"));
  flags.push_back(AddValue<uint64_t>(
      app, "--seed", [=](auto seed) { source->mutable_image()->set_seed(seed); },
      "Image: seed of the frequencies (default 0)", "K"));
  flags.push_back(AddValue<std::string>(
      app, "--crop",
      [=](const std::string& text) {
        auto crop = ParseCrop(text);
        if (!crop.ok()) {
          throw CLI::ValidationError("--crop", std::string(crop.status().message()));
        }
        *source->mutable_image()->mutable_crop() = *std::move(crop);
      },
      "Image: only this part, such as 256x256+100+50", "WxH+X+Y"));
  flags.push_back(AddValue<int64_t>(
      app, "--index", [=](auto i) { source->mutable_image()->set_index(i); },
      "Image in an IDX file: which one, from 0 (default 0)", "I"));
  return flags;
}

}  // namespace

void AddPlant(CLI::App* datasets, Parameters* p) {
  CLI::App* app = AddCommand(datasets, "plant", "Make samples of a random sparse network");
  v1::CreateDatasetRequest* request = &p->plant.request;
  v1::Dataset* dataset = request->mutable_dataset();
  v1::PlantedSource* planted = dataset->mutable_planted();
  AddValue<std::string>(
      app, "--id", [=](auto id) { request->set_dataset_id(id); },
      "Name of the new data set; made by the server when left out", "ID");
  AddValue<int64_t>(
      app, "--num_samples", [=](auto n) { planted->set_num_samples(n); }, "Samples n", "N")
      ->required();
  AddValue<int64_t>(
      app, "--num_inputs", [=](auto d) { planted->set_num_inputs(d); }, "Inputs d", "D")
      ->required();
  AddValue<int64_t>(
      app, "--hidden_width", [=](auto m) { planted->set_hidden_width(m); },
      "Hidden neurons m of a layer of the planted network", "M")
      ->required();
  AddValue<int64_t>(
      app, "--nonzeros", [=](auto s) { planted->set_nonzeros(s); },
      "Its non-zero weights, at most D * M with one hidden layer and one output; else shared by "
      "the weight matrices",
      "S")
      ->required();
  AddValue<int64_t>(
      app, "--num_outputs", [=](auto k) { planted->set_num_outputs(k); }, "Outputs k (default 1)",
      "K");
  AddValue<int64_t>(
      app, "--hidden_layers", [=](auto l) { planted->set_hidden_layers(l); },
      "Hidden layers of M neurons each (default 1)", "L");
  AddValue<uint64_t>(
      app, "--seed", [=](auto seed) { planted->set_seed(seed); },
      "Equal seeds give equal data (default 0)", "K");
  AddValue<double>(
      app, "--noise_db", [=](auto x) { planted->set_noise_db(x); },
      "Signal to noise ratio of the targets in dB (default: no noise)", "X");
  AddEnum<v1::OutputSigns>(
      app, "--output_signs", [=](auto v) { planted->set_output_signs(v); },
      "Whether all neurons add, or some subtract (default positive)");
  AddEnum<v1::WeightDistribution>(
      app, "--weight_distribution", [=](auto v) { planted->set_weight_distribution(v); },
      "Distribution of the planted weights (default normal)");
  AddEnum<v1::InputDistribution>(
      app, "--input_distribution", [=](auto v) { planted->set_input_distribution(v); },
      "Distribution of the inputs (default normal)");
  AddValue<double>(
      app, "--input_correlation", [=](auto x) { planted->set_input_correlation(x); },
      "Correlation of neighbouring inputs, between -1 and 1 (default 0)", "X");
  app->add_flag_function(
      "--linear_term", [=](int64_t) { planted->set_linear_term(true); },
      "Add a dense linear term, not counted in --nonzeros");
  AddLabels(app, dataset->mutable_labels());
  AddValue<std::string>(
      app, "--request_id", [=](auto id) { request->set_request_id(id); },
      "Repeating a call with the same id is safe", "R");
  app->callback([p] { p->line.command = p->plant; });
}

void AddUpload(CLI::App* datasets, Parameters* p) {
  CLI::App* app = AddCommand(
      datasets, "upload",
      "Upload samples from files: two .npy or IDX files, one .csv, one .npz or one image, each "
      "also .gz");
  v1::UploadDatasetHeader* header = &p->upload.header;
  v1::Dataset* dataset = header->mutable_dataset();
  v1::UploadSource* source = dataset->mutable_upload();
  AddValue<std::string>(
      app, "--id", [=](auto id) { header->set_dataset_id(id); },
      "Name of the new data set; made by the server when left out", "ID");
  const auto add_file = [app](const std::string& flag, std::string* path, const char* help) {
    app->add_option(flag, *path, help)->type_name("F");
  };
  add_file("--inputs", &p->upload.files.inputs_path, "Inputs X: .npy, .idx, ...-ubyte");
  add_file("--targets", &p->upload.files.targets_path,
           "Targets y, in the same format; left out for samples to prune a model with, whose own "
           "outputs "
           "then stand for targets");
  add_file("--csv", &p->csv_path, "Table with a header line");
  const auto add_list = [app](const std::string& flag, auto* list, const char* help,
                              const char* type_name) {
    return app
        ->add_option_function<std::vector<std::string>>(
            flag,
            [list](const std::vector<std::string>& values) {
              for (const std::string& value : values) list->Add(std::string(value));
            },
            help)
        ->type_name(type_name)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false);
  };
  add_list("--target", source->mutable_target_columns(),
           "CSV: column of the targets; may be repeated", "COLUMN");
  app->add_flag("--no_targets", p->no_targets,
                "CSV: there is no column of targets; for samples to prune a model with");
  add_list("--ignore", source->mutable_ignored_columns(),
           "CSV: column to leave out; may be repeated", "COLUMN");
  add_file("--npz", &p->npz_path, "NumPy archive with both arrays, or with the inputs alone");
  AddValue<std::string>(
      app, "--inputs_member", [=](auto v) { source->set_inputs_member(v); },
      "NPZ: name of the inputs (default X)", "NAME");
  AddValue<std::string>(
      app, "--targets_member", [=](auto v) { source->set_targets_member(v); },
      "NPZ: name of the targets (default y)", "NAME");
  add_file("--image", &p->image_path, "PNG, or IDX with --index, whose pixels become the samples");
  const std::vector<CLI::Option*> image_flags = AddImageFlags(app, source);
  add_list("--classes", source->mutable_classes(),
           "Keep only samples of these classes; the first becomes target 0", "A,B")
      ->delimiter(',');
  app->add_flag_function(
      "--targets_are_classes", [=](int64_t) { source->set_targets_are_classes(true); },
      "Targets are class labels, not numbers");
  AddEnum<v1::ScalingMode>(
      app, "--scaling", [=](auto v) { source->set_scaling(v); },
      "Scaling of the data, undone in predictions (default none)");
  CLI::Option* format = AddEnum<v1::FileFormat>(
      app, "--format", [=](auto v) { source->set_format(v); },
      "File format, when the file's name does not tell it");
  AddLabels(app, dataset->mutable_labels());
  AddValue<std::string>(
      app, "--request_id", [=](auto id) { header->set_request_id(id); },
      "Repeating a call with the same id is safe", "R");
  app->callback([p, format, image_flags] {
    FinishUpload(p, format->count() > 0, image_flags);
    p->line.command = p->upload;
  });
}

absl::StatusOr<v1::Crop> ParseCrop(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::ByAnyChar("x+"));
  std::string form = text;
  std::erase_if(form, [](unsigned char c) { return absl::ascii_isdigit(c); });
  std::vector<int64_t> numbers(4);
  bool valid = form == "x" || form == "x++";
  for (size_t i = 0; valid && i < parts.size(); ++i) {
    valid = absl::SimpleAtoi(parts[i], &numbers[i]);
  }
  if (!valid || numbers[0] < 1 || numbers[1] < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is no part of an image such as 256x256+100+50: width, height, left, top"));
  }
  v1::Crop crop;
  crop.set_width(numbers[0]);
  crop.set_height(numbers[1]);
  crop.set_left(numbers[2]);
  crop.set_top(numbers[3]);
  return crop;
}

v1::FileFormat FileFormatOf(const std::string& path) {
  std::string name = absl::AsciiStrToLower(path.substr(path.find_last_of('/') + 1));
  if (absl::EndsWith(name, ".gz")) name.resize(name.size() - 3);
  if (absl::EndsWith(name, ".npy")) return v1::FILE_FORMAT_NPY;
  if (absl::EndsWith(name, ".npz")) return v1::FILE_FORMAT_NPZ;
  if (absl::EndsWith(name, ".csv")) return v1::FILE_FORMAT_CSV;
  if (absl::EndsWith(name, ".png")) return v1::FILE_FORMAT_PNG;
  if (absl::EndsWith(name, "ubyte") || absl::EndsWith(name, ".idx")) return v1::FILE_FORMAT_IDX;
  // train-images.idx3, labels.idx1
  if (name.size() > 5 && name.substr(name.size() - 5, 4) == ".idx" &&
      absl::ascii_isdigit(name.back())) {
    return v1::FILE_FORMAT_IDX;
  }
  return v1::FILE_FORMAT_UNSPECIFIED;
}

}  // namespace thresher::client
