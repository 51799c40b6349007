#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/command_flags.h"
#include "client/command_line.h"
#include "client/model_file.h"
#include "thresher/v1/model_service.pb.h"

namespace thresher::client {
namespace {

// Networks of other tools.
void AddModelFileCommands(CLI::App* models, Parameters* p) {
  CLI::App* upload = AddCommand(models, "upload",
                                "Upload a network: ONNX (Gemm, or MatMul and Add, with Relu), "
                                "safetensors, NPZ or JSON");
  upload->add_option("FILE", p->upload_model.path, "The network")->required();
  v1::UploadModelHeader* header = &p->upload_model.header;
  AddEnum<v1::ModelFormat>(
      upload, "--format", [=](auto v) { header->set_format(v); },
      "Format of the file (default by its name)");
  AddValue<std::string>(
      upload, "--id", [=](auto id) { header->set_model_id(id); },
      "Name of the new model; made by the server when left out", "ID");
  AddLabels(upload, header->mutable_model()->mutable_labels());
  AddValue<std::string>(
      upload, "--request_id", [=](auto id) { header->set_request_id(id); },
      "Repeating a call with the same id is safe", "R");
  upload->callback([p, header] {
    if (header->format() == v1::MODEL_FORMAT_UNSPECIFIED) {
      header->set_format(ModelFormatOf(p->upload_model.path));
    }
    if (header->format() == v1::MODEL_FORMAT_UNSPECIFIED) {
      throw CLI::ValidationError("FILE", "the name does not say the format; give --format");
    }
    p->line.command = p->upload_model;
  });

  CLI::App* convert =
      AddCommand(models, "convert", "Write a model or a model file in another format");
  convert
      ->add_option("INPUT", p->convert.input,
                   "A file, which is converted without a server, or the id of a model")
      ->required();
  convert->add_option("--output", p->convert.path, "Where to")->type_name("FILE")->required();
  AddEnum<v1::ModelFormat>(
      convert, "--format", [=](auto v) { p->convert.format = v; },
      "Format of the output (default by its name)");
  AddEnum<v1::ModelFormat>(
      convert, "--input_format", [=](auto v) { p->convert.input_format = v; },
      "Format of an input file (default by its name)");
  convert->callback([p] {
    ConvertModelCommand& command = p->convert;
    if (command.input_format == v1::MODEL_FORMAT_UNSPECIFIED) {
      command.input_format = ModelFormatOf(command.input);
    }
    if (command.format == v1::MODEL_FORMAT_UNSPECIFIED) {
      command.format = ModelFormatOf(command.path);
    }
    if (command.format == v1::MODEL_FORMAT_UNSPECIFIED) {
      throw CLI::ValidationError("--output", "the name does not say the format; give --format");
    }
    p->line.command = command;
  });

  CLI::App* report = AddCommand(models, "report",
                                "Weights, multiply-adds, bytes of each format and latency, beside "
                                "the dense network's");
  report->add_option("INPUT", p->report.input, "A file, or the id of a model")->required();
  AddEnum<v1::ModelFormat>(
      report, "--input_format", [=](auto v) { p->report.input_format = v; },
      "Format of an input file (default by its name)");
  report->add_option("--given", p->report.given,
                     "Compare with this network, a file or the id of a model, that it was pruned "
                     "from (default the one that the server pruned)");
  report->callback([p] {
    if (p->report.input_format == v1::MODEL_FORMAT_UNSPECIFIED) {
      p->report.input_format = ModelFormatOf(p->report.input);
    }
    p->line.command = p->report;
  });
}

}  // namespace

void AddModelCommands(CLI::App* root, Parameters* p) {
  CLI::App* models = AddCommand(root, "models", "Fetch and use the networks that were found");
  models->require_subcommand(1);
  AddStandardCommands(models, p, Collection::kModels, "models", "model");

  CLI::App* download = AddCommand(models, "download", "Write a model to a file");
  AddName(
      download, "ID", "models", [=](auto name) { p->download.name = name; }, "Which one")
      ->required();
  AddEnum<v1::ModelFormat>(
      download, "--format", [=](auto v) { p->download.format = v; },
      "npz: NumPy archive (scipy.sparse.load_npz reads its weights); onnx: opset 13, dense or "
      "sparse initializers; c_header: a function ID_predict without heap; png: the image of a "
      "model that "
      "was fitted to one (default by the name in --output, npz without one)");
  download->add_option("--output", p->download.path, "Where to (default ID.npz, ID.onnx, ...)")
      ->type_name("FILE")
      ->check([](const std::string& path) {
        return path == "-" ? std::string("standard output is not offered; name a file")
                           : std::string();
      });
  download->callback([p] {
    if (p->download.format == v1::MODEL_FORMAT_UNSPECIFIED) {
      p->download.format = ModelFormatOf(p->download.path);
    }
    if (p->download.format == v1::MODEL_FORMAT_UNSPECIFIED) {
      if (!p->download.path.empty()) {
        throw CLI::ValidationError("--output", "the name does not say the format; give --format");
      }
      p->download.format = v1::MODEL_FORMAT_NPZ;
    }
    if (p->download.path.empty()) {
      p->download.path = absl::StrCat(absl::StripPrefix(p->download.name, "models/"),
                                      EndingOf(p->download.format));
    }
    p->line.command = p->download;
  });
  AddModelFileCommands(models, p);

  CLI::App* predict = AddCommand(models, "predict", "Outputs of a model on given inputs");
  AddName(
      predict, "ID", "models", [=](auto name) { p->predict.name = name; }, "Which one")
      ->required();
  predict
      ->add_option("--inputs", p->predict.path,
                   "One sample a row, at most 1 GiB: .csv (numbers and commas, no quotes, header "
                   "line allowed) or .npy (f4 or f8, little-endian, C order)")
      ->type_name("FILE");
  predict
      ->add_option("--row", p->predict.rows,
                   "One sample as 1,2,3 in place of a file; may be repeated")
      ->type_name("NUMBERS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  predict->callback([p] {
    if (p->predict.path.empty() == p->predict.rows.empty()) {
      throw CLI::ValidationError("models predict", "give either --inputs FILE or --row 1,2,3");
    }
    p->line.command = p->predict;
  });
}

}  // namespace thresher::client
