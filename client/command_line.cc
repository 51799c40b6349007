#include "client/command_line.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/formatting.h"
#include "client/model_file.h"
#include "client/sweep_text.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

constexpr char kFooter[] = R"(
Exit codes: 0 done; 1 unexpected error; 2 wrong command line, or a file it names cannot be
used; 3 the server refused, failed or was out of reach; 4 the watched job failed; 5 the
watched job was cancelled; 130 interrupted (Ctrl-C stops watching, never the job).

Resources are named by their id (abc) or in full (jobs/abc).
`thresher COMMAND --help` explains the flags of a command.)";

// The flag's word for each value of a proto enum: its name without the type's prefix, in small
// letters. The zero value has the word `unspecified_word`, or none when that is empty.
template <typename Enum>
std::vector<std::pair<std::string, Enum>> EnumWords(const std::string& unspecified_word) {
  const google::protobuf::EnumDescriptor* type = google::protobuf::GetEnumDescriptor<Enum>();
  const std::string zero = type->FindValueByNumber(0)->name();
  const size_t prefix = zero.size() - std::string("UNSPECIFIED").size();
  std::vector<std::pair<std::string, Enum>> words;
  for (int i = 0; i < type->value_count(); ++i) {
    const auto* value = type->value(i);
    const std::string word = value->number() == 0
                                 ? unspecified_word
                                 : absl::AsciiStrToLower(value->name().substr(prefix));
    if (!word.empty()) words.emplace_back(word, static_cast<Enum>(value->number()));
  }
  return words;
}

// A flag that takes one of an enum's words.
template <typename Enum>
CLI::Option* AddEnum(CLI::App* app, const std::string& flag, std::function<void(Enum)> set,
                     const std::string& help, const std::string& unspecified_word = "") {
  const auto words = EnumWords<Enum>(unspecified_word);
  std::vector<std::string> names(words.size());
  std::transform(words.begin(), words.end(), names.begin(),
                 [](const auto& word) { return word.first; });
  const auto parse = [words, names, flag, set = std::move(set)](const std::string& text) {
    for (const auto& [name, value] : words) {
      if (name == text) return set(value);
    }
    throw CLI::ValidationError(
        flag, absl::StrCat("\"", text, "\" is none of ", absl::StrJoin(names, ", ")));
  };
  return app->add_option_function<std::string>(flag, parse, help)
      ->type_name(absl::StrJoin(names, "|"));
}

// absl's parsers rather than CLI11's, which takes -1 for an unsigned number.
bool ParseFlag(const std::string& text, std::string* value) {
  *value = text;
  return true;
}
bool ParseFlag(const std::string& text, double* value) { return absl::SimpleAtod(text, value); }
template <typename Integer>
bool ParseFlag(const std::string& text, Integer* value) {
  return absl::SimpleAtoi(text, value);
}

template <typename Value>
CLI::Option* AddValue(CLI::App* app, const std::string& flag, std::function<void(Value)> set,
                      const std::string& help, const std::string& type_name) {
  const auto parse = [flag, set = std::move(set)](const std::string& text) {
    Value value;
    if (!ParseFlag(text, &value)) {
      throw CLI::ValidationError(
          flag, absl::StrCat("\"", text, "\" is not ",
                             std::is_same_v<Value, double> ? "a number"
                             : std::is_unsigned_v<Value>   ? "a whole number of 0 or more"
                                                           : "a whole number that fits"));
    }
    set(std::move(value));
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name(type_name);
}

int64_t AsSigned(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

CLI::Option* AddDuration(CLI::App* app, const std::string& flag,
                         std::function<void(milliseconds)> set, const std::string& help) {
  const auto parse = [flag, set = std::move(set)](const std::string& text) {
    const auto duration = ParseDuration(text);
    if (!duration.ok()) {
      throw CLI::ValidationError(flag, std::string(duration.status().message()));
    }
    set(*duration);
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name("TIME");
}

// A resource named by its id or in full becomes its full name.
std::string FullName(const std::string& flag, const std::string& collection,
                     const std::string& text) {
  const std::string prefix = collection + "/";
  std::string id = text;
  if (absl::StartsWith(id, prefix)) id.erase(0, prefix.size());
  if (id.empty() || id.find('/') != std::string::npos) {
    throw CLI::ValidationError(flag, absl::StrCat("\"", text, "\" is no name of one of the ",
                                                  collection, "; give ID or ", prefix, "ID"));
  }
  return prefix + id;
}

CLI::Option* AddName(CLI::App* app, const std::string& flag, const std::string& collection,
                     std::function<void(std::string)> set, const std::string& help) {
  return app
      ->add_option_function<std::string>(
          flag,
          [flag, collection, set = std::move(set)](const std::string& text) {
            set(FullName(flag, collection, text));
          },
          help)
      ->type_name("ID");
}

template <typename Labels>
void AddLabels(CLI::App* app, Labels* labels) {
  const auto add = [labels](const std::vector<std::string>& pairs) {
    for (const std::string& pair : pairs) {
      const size_t equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) {
        throw CLI::ValidationError("--label", absl::StrCat("\"", pair, "\" is not KEY=VALUE"));
      }
      const std::string key = pair.substr(0, equals);
      if (!labels->insert({key, pair.substr(equals + 1)}).second) {
        throw CLI::ValidationError("--label", absl::StrCat("key \"", key, "\" given twice"));
      }
    }
  };
  app->add_option_function<std::vector<std::string>>(
         "--label", add, "Label to find it by (--filter 'labels.KEY = \"VALUE\"'); may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

// Everything that flags write to. Lives as long as the CLI::App whose callbacks point here.
struct Parameters {
  CommandLine line;
  std::string timeout;

  PlantDatasetCommand plant;
  UploadDatasetCommand upload;
  std::string csv_path, npz_path, image_path;
  CreateJobCommand recover;
  CreateJobCommand prune;
  CreateSweepCommand sweep;
  ShowSweepCommand sweep_table;
  ShowSweepCommand sweep_plot;
  CreateSweepCommand compare;
  WatchJobCommand watch;
  PlotJobCommand plot;
  CancelJobCommand cancel;
  DownloadModelCommand download = {.format = v1::MODEL_FORMAT_UNSPECIFIED};
  UploadModelCommand upload_model;
  ConvertModelCommand convert;
  ReportModelCommand report;
  PredictCommand predict;
  ListCommand lists[3] = {
      {Collection::kDatasets, "", 50}, {Collection::kJobs, "", 50}, {Collection::kModels, "", 50}};
  GetCommand gets[3] = {
      {Collection::kDatasets, ""}, {Collection::kJobs, ""}, {Collection::kModels, ""}};
  DeleteCommand deletes[3] = {
      {Collection::kDatasets, ""}, {Collection::kJobs, ""}, {Collection::kModels, ""}};
};

CLI::App* AddCommand(CLI::App* parent, const std::string& name, const std::string& help) {
  // Global flags are understood after the command too.
  return parent->add_subcommand(name, help)->fallthrough();
}

void AddServerCommands(CLI::App* root, Parameters* p) {
  CLI::App* server = AddCommand(root, "server", "Ask about the server");
  server->require_subcommand(1);
  AddCommand(server, "info", "Version, workers, queue and memory")->callback([p] {
    p->line.command = ServerInfoCommand();
  });
  // Also without "server" in front, for health checks of containers.
  for (CLI::App* parent : {server, root}) {
    AddCommand(parent, "health", "Exit code 0 only when the server is SERVING")->callback([p] {
      p->line.command = HealthCommand();
    });
  }
}

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

// Decides the format and which file is which; the flags alone cannot say it.
void FinishUpload(Parameters* p, bool format_given, const std::vector<CLI::Option*>& image_flags) {
  v1::UploadSource* source = p->upload.header.mutable_dataset()->mutable_upload();
  UploadFiles* files = &p->upload.files;
  const bool two_files = !files->inputs_path.empty() || !files->targets_path.empty();
  if (two_files + !p->csv_path.empty() + !p->npz_path.empty() + !p->image_path.empty() != 1) {
    throw CLI::ValidationError(
        "datasets upload",
        "give the data as one of: --inputs F --targets F | --csv F --target COLUMN | --npz F | "
        "--image F");
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
    if (source->target_columns().empty()) {
      throw CLI::ValidationError("--target", "name the column that holds the targets");
    }
    return;
  }
  if (!p->npz_path.empty()) {
    require(v1::FILE_FORMAT_NPZ, "--npz");
    files->inputs_path = p->npz_path;
    return;
  }
  if (files->inputs_path.empty() || files->targets_path.empty()) {
    throw CLI::ValidationError(files->inputs_path.empty() ? "--inputs" : "--targets",
                               "--inputs and --targets go together");
  }
  if (!format_given) {
    const v1::FileFormat inputs = FileFormatOf(files->inputs_path);
    const v1::FileFormat targets = FileFormatOf(files->targets_path);
    if (inputs != targets) {
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
  add_file("--targets", &p->upload.files.targets_path, "Targets y, in the same format");
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
  add_list("--ignore", source->mutable_ignored_columns(),
           "CSV: column to leave out; may be repeated", "COLUMN");
  add_file("--npz", &p->npz_path, "NumPy archive with both arrays");
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

// The flags of samples that choose among a job's networks.
struct ValidationFlags {
  std::shared_ptr<std::optional<double>> fraction = std::make_shared<std::optional<double>>();
  CLI::Option* dataset = nullptr;
  CLI::Option* patience = nullptr;
  std::vector<CLI::Option*> all;
};

ValidationFlags AddValidationFlags(CLI::App* app, v1::Validation* validation,
                                   const std::string& fraction_help) {
  ValidationFlags flags;
  CLI::Option* fraction = AddValue<double>(
      app, "--validation_fraction", [kept = flags.fraction](auto x) { *kept = x; }, fraction_help,
      "X");
  flags.dataset = AddName(
      app, "--validation_dataset", "datasets",
      [=](auto name) { validation->set_dataset(std::move(name)); },
      "Choose by the samples of this data set instead");
  flags.dataset->excludes(fraction);
  flags.patience = AddValue<int64_t>(
      app, "--patience", [=](auto n) { validation->set_patience(n); },
      "End after so many networks in a row that were no better for the validation samples; 0: "
      "never (default)",
      "N");
  flags.all = {fraction, flags.dataset, flags.patience};
  return flags;
}

// What was given reaches the specification; nothing where nothing was.
template <typename Spec>
void FinishValidation(const ValidationFlags& flags, const v1::Validation& validation, Spec* spec) {
  if (std::all_of(flags.all.begin(), flags.all.end(),
                  [](const CLI::Option* option) { return option->count() == 0; })) {
    return;
  }
  *spec->mutable_validation() = validation;
  if (*flags.fraction) spec->mutable_validation()->set_fraction(**flags.fraction);
}

template <typename Spec>
void AddHeldOutFlags(CLI::App* app, Spec* spec, const std::string& use) {
  CLI::Option* fraction = AddValue<double>(
      app, "--held_out_fraction", [=](auto x) { spec->set_held_out_fraction(x); },
      "Share of the samples kept for the " + use + ", in [0, 1) (default 0.2)", "X");
  AddName(
      app, "--held_out_dataset", "datasets",
      [=](auto name) { spec->set_held_out_dataset(std::move(name)); },
      "Use the samples of this data set for the " + use + " instead")
      ->excludes(fraction);
}

// The flags that choose the budget from a range, instead of --nonzeros.
struct PathFlags {
  CLI::Option* min_nonzeros;
  CLI::Option* max_nonzeros;
  std::vector<CLI::Option*> others;
};

PathFlags AddPathFlags(CLI::App* app, v1::RecoverySpec* spec) {
  PathFlags flags;
  flags.min_nonzeros = AddValue<int64_t>(
      app, "--min_nonzeros", [=](auto s) { spec->mutable_path()->set_min_nonzeros(s); },
      "Choose the budget from A to B by a path of networks, instead of --nonzeros", "A");
  flags.max_nonzeros = AddValue<int64_t>(
      app, "--max_nonzeros", [=](auto s) { spec->mutable_path()->set_max_nonzeros(s); },
      "Largest budget of the path", "B");
  flags.others.push_back(AddEnum<v1::SelectionCriterion>(
      app, "--criterion", [=](auto v) { spec->mutable_path()->set_criterion(v); },
      "How the path's budgets are judged (default information)"));
  flags.others.push_back(AddEnum<v1::PathSearch>(
      app, "--search", [=](auto v) { spec->mutable_path()->set_search(v); },
      "Which budgets the path visits first (default grid)"));
  flags.others.push_back(AddValue<int64_t>(
      app, "--num_folds", [=](auto n) { spec->mutable_path()->set_num_folds(n); },
      "Folds of --criterion k_fold, 2 to 20 (default 5)", "K"));
  flags.others.push_back(AddValue<int64_t>(
      app, "--max_points", [=](auto n) { spec->mutable_path()->set_max_points(n); },
      "Budgets that the path visits at most (default 60)", "N"));
  return flags;
}

// One budget, or a range of them.
void CheckBudget(const CLI::Option& nonzeros, const PathFlags& path) {
  const bool has_min = path.min_nonzeros->count() > 0;
  const bool has_max = path.max_nonzeros->count() > 0;
  if (nonzeros.count() > 0 && (has_min || has_max)) {
    throw CLI::ValidationError("--nonzeros",
                               "gives the budget that --min_nonzeros and --max_nonzeros let the "
                               "path choose; give one or the other");
  }
  if (has_min != has_max) {
    throw CLI::ValidationError(has_min ? "--max_nonzeros" : "--min_nonzeros",
                               "--min_nonzeros and --max_nonzeros go together");
  }
  if (nonzeros.count() == 0 && !has_min) {
    throw CLI::ValidationError("--nonzeros",
                               "say how many weights, or --min_nonzeros A --max_nonzeros B to "
                               "let a path choose");
  }
  if (has_min) return;
  for (const CLI::Option* option : path.others) {
    if (option->count() > 0) {
      throw CLI::ValidationError(option->get_name(),
                                 "is for a path: give --min_nonzeros A --max_nonzeros B as well");
    }
  }
}

// What jobs of every kind have.
void AddJobFlags(CLI::App* app, v1::CreateJobRequest* request) {
  v1::Job* job = request->mutable_job();
  AddDuration(
      app, "--time_limit",
      [=](milliseconds limit) {
        job->mutable_time_limit()->set_seconds(limit.count() / 1000);
        job->mutable_time_limit()->set_nanos(limit.count() % 1000 * 1000000);
      },
      "End with the best network found after this time, as 90s, 10m, 1h30m");
  AddValue<int32_t>(
      app, "--priority", [=](auto n) { job->set_priority(n); },
      "-100 to 100; higher runs first (default 0)", "P");
  AddLabels(app, job->mutable_labels());
  AddValue<std::string>(
      app, "--id", [=](auto id) { request->set_job_id(id); },
      "Name of the new job; made by the server when left out", "ID");
  AddValue<std::string>(
      app, "--request_id", [=](auto id) { request->set_request_id(id); },
      "Repeating a call with the same id is safe", "R");
  app->add_flag_function(
      "--validate_only", [=](int64_t) { request->set_validate_only(true); },
      "Check it and predict memory and cost; queue nothing");
}

void AddJobFlags(CLI::App* app, CreateJobCommand* command) {
  AddJobFlags(app, &command->request);
  app->add_flag("--watch", command->watch, "Watch the job to its end");
}

void CheckWatch(const CreateJobCommand& command) {
  if (command.watch && command.request.validate_only()) {
    throw CLI::ValidationError("--watch", "--validate_only makes no job to watch");
  }
}

// "50" or "300,100": a width a hidden layer.
CLI::Option* AddHiddenWidths(CLI::App* app, v1::PruningOptions* options) {
  const auto parse = [options](const std::string& text) {
    for (const auto& word : absl::StrSplit(text, ',')) {
      int64_t width = 0;
      if (!absl::SimpleAtoi(word, &width)) {
        throw CLI::ValidationError(
            "--hidden_widths", absl::StrCat("\"", text, "\" is no list of widths such as 300,100"));
      }
      options->add_hidden_widths(width);
    }
  };
  return app
      ->add_option_function<std::string>("--hidden_widths", parse,
                                         "Width of each hidden layer of the dense network to train")
      ->type_name("M,M2,...");
}

void AddRecover(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "recover", "Find a sparse network that explains a data set");
  v1::RecoverySpec* spec = p->recover.request.mutable_job()->mutable_recovery();
  v1::RecoveryOptions* options = spec->mutable_options();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to explain")
      ->required();
  AddValue<int64_t>(
      app, "--hidden_width", [=](auto m) { options->set_hidden_width(m); },
      "Hidden neurons m, or gates", "M")
      ->required();
  CLI::Option* nonzeros = AddValue<int64_t>(
      app, "--nonzeros", [=](auto s) { options->set_nonzeros(s); }, "Budget of non-zero weights",
      "S");
  const PathFlags path = AddPathFlags(app, spec);
  AddEnum<v1::Algorithm>(
      app, "--algorithm", [=](auto v) { options->set_algorithm(v); },
      "Which algorithm iterates (default auto: the server chooses)", "auto");
  AddEnum<v1::GateMode>(
      app, "--gates", [=](auto v) { options->set_gate_mode(v); },
      "Gates that follow the weights, giving a ReLU network, fixed random gates, giving a gated "
      "one, or all gates of neurons with one or two weights (default sequential)");
  AddValue<int64_t>(
      app, "--max_iterations", [=](auto n) { options->set_max_iterations(n); }, "Most steps", "N");
  AddValue<uint64_t>(
      app, "--seed", [=](auto seed) { options->set_seed(seed); },
      "Seed of start gates and mini-batches; equal seeds give equal bits", "K");
  AddValue<int64_t>(
      app, "--working_nonzeros", [=](auto n) { options->set_working_nonzeros(n); },
      "Non-zeros while iterating, at least S (default S; reciprocal and enumerated gates 2 S, "
      "winnow 5 S)",
      "N");
  AddEnum<v1::OutputSigns>(
      app, "--output_signs", [=](auto v) { options->set_output_signs(v); },
      "Whether all neurons add, or some subtract (default positive)");
  app->add_flag_function(
      "--bias", [=](int64_t) { options->set_bias(true); }, "Give every neuron a constant input");
  app->add_flag_function(
      "--linear_term", [=](int64_t) { options->set_linear_term(true); },
      "Fit a dense linear term beside the neurons, not counted in --nonzeros (with --bias and an "
      "intercept); --algorithm winnow only");
  AddValue<int64_t>(
      app, "--hidden_layers", [=](auto n) { options->set_hidden_layers(n); },
      "Hidden layers, M neurons each; S then counts the weights of all layers (default 1)", "L");
  AddEnum<v1::Loss>(
      app, "--loss", [=](auto v) { options->set_loss(v); },
      "What is minimised: squared, cross_entropy for three and more classes, logistic for two "
      "(default: for data sets of classes theirs where the algorithm has it, else squared)");
  AddValue<double>(
      app, "--step_size", [=](auto x) { options->set_step_size(x); },
      "Fixed step size of --algorithm iht and reciprocal (default: estimated), and count_sketch "
      "(default: as published)",
      "X");
  AddValue<int64_t>(
      app, "--batch_size", [=](auto n) { options->set_batch_size(n); },
      "Samples that a step looks at (default all; svrg a sixteenth)", "N");
  AddValue<double>(
      app, "--relative_residual_tolerance",
      [=](auto x) { options->set_relative_residual_tolerance(x); },
      "End when ||f(X) - y|| <= X ||y||; 0: never", "X");
  AddValue<int64_t>(
      app, "--stagnation_iterations", [=](auto n) { options->set_stagnation_iterations(n); },
      "End after so many steps without progress; 0: never", "N");
  AddHeldOutFlags(app, spec, "report");
  AddValue<uint64_t>(
      app, "--split_seed", [=](auto seed) { spec->set_split_seed(seed); },
      "Seed of the choice of held-out and validation samples", "K");
  auto validation = std::make_shared<v1::Validation>();
  const ValidationFlags validation_flags = AddValidationFlags(
      app, validation.get(),
      "Keep the network that is best for this share of the other samples, which are not learned "
      "from (default 0.2 where --patience is given); of a path: what --criterion held_out judges "
      "by");
  AddName(
      app, "--initial_model", "models", [=](auto name) { spec->set_initial_model(name); },
      "Start from this model");
  AddJobFlags(app, &p->recover);
  app->callback([=] {
    CheckBudget(*nonzeros, path);
    const bool has_path = path.min_nonzeros->count() > 0;
    if (!has_path) FinishValidation(validation_flags, *validation, spec);
    if (has_path && *validation_flags.fraction) {
      spec->mutable_path()->set_validation_fraction(**validation_flags.fraction);
    }
    for (const CLI::Option* flag : {validation_flags.dataset, validation_flags.patience}) {
      if (!has_path || flag->count() == 0) continue;
      throw CLI::ValidationError(flag->get_name(),
                                 "is for one budget: a path judges its budgets by --criterion");
    }
    CheckWatch(p->recover);
    p->line.command = p->recover;
  });
}

// The flags of a pruning that only one of its two kinds has.
struct PruneFlags {
  CLI::Option* model = nullptr;
  CLI::Option* hidden_widths = nullptr;
  CLI::Option* nonzeros = nullptr;
  CLI::Option* fraction = nullptr;
  std::vector<CLI::Option*> path;
  std::vector<CLI::Option*> of_training;  // of a dense network
  std::vector<CLI::Option*> of_model;
};

// Flags that a dense network and a model share reach both messages; FinishPrune drops one.
void AddSharedPruneFlags(CLI::App* app, v1::PruningSpec* spec, PruneFlags* flags) {
  v1::PruningOptions* options = spec->mutable_options();
  v1::ModelPruningOptions* of_model = spec->mutable_model_options();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to learn, with any number of outputs; with --model samples of its inputs and "
      "outputs")
      ->required();
  flags->nonzeros = AddValue<int64_t>(
      app, "--nonzeros",
      [=](auto s) {
        options->set_nonzeros(s);
        of_model->set_nonzeros(s);
      },
      "Budget of non-zero weights over all layers, biases and output weights included", "S");
  AddEnum<v1::PruningMethod>(
      app, "--method",
      [=](auto v) {
        options->set_method(v);
        of_model->set_method(v);
      },
      "imp, iterative magnitude pruning, for a network that is trained (default); for --model one "
      "shot by magnitude, activation, obs (layer by layer) or curvature (all layers), or distill, "
      "which trains on the model's own outputs (default)");
  AddEnum<v1::Loss>(
      app, "--loss",
      [=](auto v) {
        options->set_loss(v);
        of_model->set_loss(v);
      },
      "What is minimised: squared, cross_entropy for three and more classes, logistic for two "
      "(default: cross_entropy for three and more classes, else squared; with --model that of the "
      "model, or cross_entropy for classes)");
  AddValue<int64_t>(
      app, "--epochs",
      [=](auto n) {
        options->set_epochs(n);
        of_model->set_epochs(n);
      },
      "Passes over the samples, of each round or of the whole gradual training (default 50); with "
      "--model of each budget (default 30)",
      "N");
  AddValue<int64_t>(
      app, "--batch_size",
      [=](auto n) {
        options->set_batch_size(n);
        of_model->set_batch_size(n);
      },
      "Samples that a step looks at; 0: all (default 5000; with --model 128)", "N");
  AddValue<double>(
      app, "--learning_rate",
      [=](auto x) {
        options->set_learning_rate(x);
        of_model->set_learning_rate(x);
      },
      "Of Adam (default 0.001; with --model 0.002)", "X");
  AddValue<double>(
      app, "--learning_rate_decay",
      [=](auto x) {
        options->set_learning_rate_decay(x);
        of_model->set_learning_rate_decay(x);
      },
      "Last share of the epochs over which the learning rate falls to 0, in [0, 1] (default 0; "
      "with --model 0.5)",
      "X");
  AddValue<double>(
      app, "--schedule_power",
      [=](auto x) {
        options->set_schedule_power(x);
        of_model->set_schedule_power(x);
      },
      "gradual and --model: power of the fall, 1 to 10 (default 3)", "X");
  AddValue<double>(
      app, "--prune_end",
      [=](auto x) {
        options->set_prune_end(x);
        of_model->set_prune_end(x);
      },
      "gradual and --model: share of the epochs after which pruning ends (default 0.75; with "
      "--model 0.6)",
      "X");
  AddValue<uint64_t>(
      app, "--seed",
      [=](auto seed) {
        options->set_seed(seed);
        of_model->set_seed(seed);
      },
      "Seed of the initial weights and the orders; equal seeds give equal bits", "K");
  AddHeldOutFlags(app, spec, "report");
  AddValue<uint64_t>(
      app, "--split_seed", [=](auto seed) { spec->set_split_seed(seed); },
      "Seed of the choice of held-out samples", "K");
}

// Of a dense network that is trained.
void AddTrainingFlags(CLI::App* app, v1::PruningOptions* options, PruneFlags* flags) {
  std::vector<CLI::Option*>& added = flags->of_training;
  flags->hidden_widths = AddHiddenWidths(app, options);
  added.push_back(flags->hidden_widths);
  added.push_back(app->add_flag_function(
      "--bias", [=](int64_t) { options->set_bias(true); }, "Give every layer a constant input"));
  added.push_back(AddEnum<v1::PruneSchedule>(
      app, "--schedule", [=](auto v) { options->set_schedule(v); },
      "Rounds of training, pruning and rewinding, or gradually in one training (default rounds)"));
  added.push_back(AddEnum<v1::Saliency>(
      app, "--saliency", [=](auto v) { options->set_saliency(v); },
      "By what a weight w is kept: |w|, or w^2 E[g^2] (default magnitude)"));
  added.push_back(AddValue<double>(
      app, "--prune_fraction", [=](auto x) { options->set_prune_fraction(x); },
      "rounds: share of the remaining weights that a round prunes (default 0.1)", "X"));
  added.push_back(AddValue<int64_t>(
      app, "--rewind_epoch", [=](auto n) { options->set_rewind_epoch(n); },
      "rounds: return to the weights after so many epochs of the first (default 0)", "N"));
  added.push_back(app->add_flag_function(
      "--retrain_after_last_prune", [=](int64_t) { options->set_retrain_after_last_prune(true); },
      "rounds: train once more at the end"));
}

// "2:4": at most 2 of 4.
void SetPattern(const std::string& text, v1::ModelPruningOptions* options) {
  const std::vector<std::string> sizes = absl::StrSplit(text, ':');
  int64_t kept = 0;
  int64_t size = 0;
  if (sizes.size() != 2 || !absl::SimpleAtoi(sizes[0], &kept) ||
      !absl::SimpleAtoi(sizes[1], &size)) {
    throw CLI::ValidationError("--pattern",
                               absl::StrCat("\"", text, "\" is no pattern such as 2:4"));
  }
  options->set_pattern_kept(kept);
  options->set_pattern_size(size);
}

// Of a model that there is.
void AddModelPruneFlags(CLI::App* app, Parameters* p, v1::ModelPruningOptions* options,
                        PruneFlags* flags) {
  std::vector<CLI::Option*>& added = flags->of_model;
  flags->model =
      app->add_option("--model", p->prune.model.name,
                      "Prune this network instead of training one: a file (ONNX, "
                      "safetensors, NPZ, JSON), which is uploaded first, or a model's id")
          ->type_name("FILE|ID");
  added.push_back(AddEnum<v1::ModelFormat>(
      app, "--model_format", [p](auto v) { p->prune.model.format = v; },
      "Format of the file (default by its name)"));
  flags->fraction = AddValue<double>(
      app, "--fraction", [=](auto x) { options->set_fraction(x); },
      "Budget as a share of the model's weights, in (0, 1]", "X");
  flags->path = {
      app->add_flag_function(
          "--path", [=](int64_t) { options->mutable_path(); },
          "Many budgets from dense to sparse, each a model, the knee marked"),
      AddValue<int64_t>(
          app, "--min_nonzeros", [=](auto s) { options->mutable_path()->set_min_nonzeros(s); },
          "Smallest budget of the path (default a hundredth of the weights)", "A"),
      AddValue<int64_t>(
          app, "--max_nonzeros", [=](auto s) { options->mutable_path()->set_max_nonzeros(s); },
          "Largest budget of the path (default half of the weights)", "B"),
      AddValue<int64_t>(
          app, "--num_points", [=](auto n) { options->mutable_path()->set_num_points(n); },
          "Budgets of the path, 2 to 100 (default 8)", "N")};
  added.push_back(flags->fraction);
  added.insert(added.end(), flags->path.begin(), flags->path.end());
  added.push_back(AddEnum<v1::PruneTargets>(
      app, "--targets", [=](auto v) { options->set_targets(v); },
      "distill: what is trained on, the model's own outputs or the data set's labels (default "
      "network)"));
  added.push_back(AddEnum<v1::PruneScope>(
      app, "--scope", [=](auto v) { options->set_scope(v); },
      "Whether weights of all layers compete, or each layer keeps the same share (default "
      "global)"));
  added.push_back(app->add_option_function<std::string>(
                         "--pattern", [=](const std::string& text) { SetPattern(text, options); },
                         "n:m sparsity: of each M inputs in a row at most N have a weight")
                      ->type_name("N:M"));
  added.push_back(app->add_flag_function(
      "--whole_neurons", [=](int64_t) { options->set_whole_neurons(true); },
      "Drop hidden neurons as a whole"));
  added.push_back(AddValue<double>(
      app, "--damping", [=](auto x) { options->set_damping(x); },
      "obs, curvature, distill: ridge relative to the mean of the diagonal, in (0, 1] (default "
      "0.001; curvature 0.1)",
      "X"));
  added.push_back(AddValue<int64_t>(
      app, "--max_samples", [=](auto n) { options->set_max_samples(n); },
      "Samples that one shot looks at (default 4096; curvature at most 2048)", "N"));
  added.push_back(AddValue<int64_t>(
      app, "--stages", [=](auto n) { options->set_stages(n); },
      "curvature: stages in which weights go (default 12)", "N"));
  added.push_back(AddValue<double>(
      app, "--start_factor", [=](auto x) { options->set_start_factor(x); },
      "distill: train from so many times the budget's weights (default 8)", "X"));
}

// Keeps the message of the kind that was asked for.
void FinishPrune(Parameters* p, const PruneFlags& flags) {
  v1::PruningSpec* spec = p->prune.request.mutable_job()->mutable_pruning();
  const bool has_path = std::any_of(flags.path.begin(), flags.path.end(),
                                    [](const CLI::Option* flag) { return flag->count() > 0; });
  if (flags.model->count() == 0) {
    for (const CLI::Option* flag : flags.of_model) {
      if (flag->count() == 0) continue;
      throw CLI::ValidationError(flag->get_name(), "is for a model: give --model as well");
    }
    for (const CLI::Option* flag : {flags.hidden_widths, flags.nonzeros}) {
      if (flag->count() > 0) continue;
      throw CLI::ValidationError(
          flag->get_name(),
          "is required: say --hidden_widths M,M2,... --nonzeros S for a network "
          "to train, or --model for one to prune");
    }
    spec->clear_model_options();
    return;
  }
  if (p->prune.model.name.empty()) throw CLI::ValidationError("--model", "names no model");
  for (const CLI::Option* flag : flags.of_training) {
    if (flag->count() == 0) continue;
    throw CLI::ValidationError(flag->get_name(),
                               "is for a network that is trained; leave it out with --model");
  }
  if ((flags.nonzeros->count() > 0) + (flags.fraction->count() > 0) + has_path != 1) {
    throw CLI::ValidationError("--nonzeros",
                               "say how many weights may stay, one of --nonzeros S, --fraction X "
                               "and --path");
  }
  spec->clear_options();
}

void AddPrune(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "prune",
                             "Prune a network to a budget of weights: a model or a file of another "
                             "tool (--model), or a dense one that is trained (--hidden_widths)");
  v1::PruningSpec* spec = p->prune.request.mutable_job()->mutable_pruning();
  const auto flags = std::make_shared<PruneFlags>();
  AddSharedPruneFlags(app, spec, flags.get());
  AddModelPruneFlags(app, p, spec->mutable_model_options(), flags.get());
  AddTrainingFlags(app, spec->mutable_options(), flags.get());
  const auto validation = std::make_shared<v1::Validation>();
  const ValidationFlags validation_flags =
      AddValidationFlags(app, validation.get(),
                         "Keep the network within the budget that is best for this share of the "
                         "other samples, which are not learned from: with --schedule gradual or "
                         "--retrain_after_last_prune (default 0.2 where --patience is given)");
  flags->of_training.insert(flags->of_training.end(), validation_flags.all.begin(),
                            validation_flags.all.end());
  AddJobFlags(app, &p->prune);
  app->callback([=] {
    FinishPrune(p, *flags);
    FinishValidation(validation_flags, *validation, spec);
    CheckWatch(p->prune);
    p->line.command = p->prune;
  });
}

void CheckPath(const std::string& flag, const absl::Status& status) {
  if (!status.ok()) throw CLI::ValidationError(flag, std::string(status.message()));
}

// "20,50,100".
template <typename List>
CLI::Option* AddNumbers(CLI::App* app, const std::string& flag, List* list, const std::string& help,
                        const std::string& type_name) {
  const auto parse = [flag, list](const std::string& text) {
    list->Clear();
    for (const auto& word : absl::StrSplit(text, ',')) {
      typename List::value_type number = 0;
      if (!absl::SimpleAtoi(word, &number)) {
        throw CLI::ValidationError(
            flag, absl::StrCat("\"", text, "\" is no list of numbers such as 20,50,100"));
      }
      list->Add(number);
    }
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name(type_name);
}

// "0.5,0.1".
CLI::Option* AddFractions(CLI::App* app, const std::string& flag, std::vector<double>* list,
                          const std::string& help) {
  const auto parse = [flag, list](const std::string& text) {
    list->clear();
    for (const auto& word : absl::StrSplit(text, ',')) {
      double number = 0;
      if (!absl::SimpleAtod(word, &number) || !(number > 0 && number <= 1)) {
        throw CLI::ValidationError(
            flag,
            absl::StrCat("\"", text,
                         "\" is no list of fractions above 0 and at most 1, such as 0.5,0.1"));
      }
      list->push_back(number);
    }
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name("X,X2,...");
}

void AddPictureFlags(CLI::App* app, PictureOptions* options) {
  const auto parse = [options](const std::string& text) {
    if (text != "heatmap" && text != "line" && text != "compare") {
      throw CLI::ValidationError("--kind",
                                 absl::StrCat("\"", text, "\" is none of heatmap, line, compare"));
    }
    options->kind = text == "line"      ? PictureKind::kLine
                    : text == "compare" ? PictureKind::kCompare
                                        : PictureKind::kHeatmap;
  };
  app->add_option_function<std::string>(
         "--kind", parse,
         "Heat map with a panel a method, lines, or lines of error, time and memory side by side")
      ->type_name("heatmap|line|compare");
  const auto add_name = [app](const std::string& flag, std::string* name,
                              const std::vector<std::string>& known, const std::string& help) {
    app->add_option_function<std::string>(
           flag,
           [=](const std::string& text) {
             if (std::find(known.begin(), known.end(), text) == known.end()) {
               throw CLI::ValidationError(
                   flag, absl::StrCat("\"", text, "\" is none of ", absl::StrJoin(known, ", ")));
             }
             *name = text;
           },
           help)
        ->type_name(absl::StrJoin(known, "|"));
  };
  add_name("--x", &options->x, SweepParameters(), "Columns (default nonzeros)");
  add_name("--y", &options->y, SweepParameters(), "Rows of a heat map (default hidden_width)");
  add_name("--value", &options->value, SweepMeasures(),
           "What is drawn (default accuracy for classes, else psnr_db)");
}

void AddTables(CLI::App* app, const std::string& flag, SweepOutputs* outputs) {
  app->add_option_function<std::vector<std::string>>(
         flag,
         [=](const std::vector<std::string>& paths) {
           for (const std::string& path : paths) CheckPath(flag, CheckTablePath(path));
           outputs->tables = paths;
         },
         "Write all rows to a .csv, or the whole job to a .json; may be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

CLI::Option* AddPicture(CLI::App* app, const std::string& flag, std::string* picture) {
  return app
      ->add_option_function<std::string>(
          flag,
          [=](const std::string& path) {
            CheckPath(flag, PictureFormatOf(path).status());
            *picture = path;
          },
          "Draw a .png or .svg (needs gnuplot)")
      ->type_name("FILE");
}

void AddSweep(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(
      root, "sweep", "Run a grid of recoveries and prunings, and look at its table and pictures");
  app->require_subcommand(0, 1);
  CLI::Option* file = app->add_option("--file", p->sweep.file,
                                      "The sweep: SweepSpec as JSON, such as figures/figure1.json")
                          ->type_name("FILE");
  AddJobFlags(app, &p->sweep.request);
  app->add_flag("--watch", p->sweep.watch, "Watch it to its end and print its table");
  AddTables(app, "--table", &p->sweep.outputs);
  AddPicture(app, "--picture", &p->sweep.outputs.picture);
  AddPictureFlags(app, &p->sweep.outputs.picture_options);

  CLI::App* table = AddCommand(app, "table", "Print a sweep's table, also while it runs");
  AddName(
      table, "ID", "jobs", [=](auto name) { p->sweep_table.name = name; }, "Which sweep")
      ->required();
  AddTables(table, "--output", &p->sweep_table.outputs);
  CLI::App* plot = AddCommand(app, "plot", "Draw a sweep's table, also while it runs");
  AddName(
      plot, "ID", "jobs", [=](auto name) { p->sweep_plot.name = name; }, "Which sweep")
      ->required();
  AddPicture(plot, "--output", &p->sweep_plot.outputs.picture)->required();
  AddPictureFlags(plot, &p->sweep_plot.outputs.picture_options);

  // CLI11 calls back the inner command first.
  app->callback([=] {
    if (table->parsed()) {
      p->sweep_table.print_table = true;
      p->line.command = p->sweep_table;
    } else if (plot->parsed()) {
      p->line.command = p->sweep_plot;
    } else {
      if (file->count() == 0) {
        throw CLI::ValidationError("--file", "name the file of the sweep, or use table or plot");
      }
      const SweepOutputs& outputs = p->sweep.outputs;
      const bool wants_end = !outputs.tables.empty() || !outputs.picture.empty();
      if (p->sweep.request.validate_only() && (p->sweep.watch || wants_end)) {
        throw CLI::ValidationError("--validate_only", "makes no job to watch or to draw");
      }
      p->sweep.watch = p->sweep.watch || wants_end;
      p->line.command = p->sweep;
    }
  });
}

// The methods that prune a model, by their words.
std::vector<std::pair<std::string, v1::PruningMethod>> WaysToPruneAModel() {
  auto words = EnumWords<v1::PruningMethod>("");
  std::erase_if(words, [](const auto& word) { return word.second == v1::PRUNING_METHOD_IMP; });
  return words;
}

std::string ModelMethodWords(const char* separator) {
  return absl::StrJoin(WaysToPruneAModel(), separator,
                       [](std::string* text, const auto& word) { text->append(word.first); });
}

// A word of --methods: an algorithm of recovery, a way of training and pruning, or of pruning the
// model.
v1::SweepMethod MethodOf(const std::string& word) {
  v1::SweepMethod method;
  method.set_name(word);
  v1::PruningOptions pruning;
  if (word == "imp" || word == "imp-retrained") {
    pruning.set_retrain_after_last_prune(word == "imp-retrained");
    *method.mutable_pruning() = pruning;
    return method;
  }
  if (word == "gradual") {
    pruning.set_schedule(v1::PRUNE_SCHEDULE_GRADUAL);
    pruning.set_saliency(v1::SALIENCY_FISHER);
    *method.mutable_pruning() = pruning;
    return method;
  }
  std::vector<std::string> names = {"imp", "imp-retrained", "gradual"};
  for (const auto& [name, algorithm] : EnumWords<v1::Algorithm>("auto")) {
    if (name == word) {
      method.mutable_recovery()->set_algorithm(algorithm);
      return method;
    }
    names.push_back(name);
  }
  for (const auto& [name, of_model] : WaysToPruneAModel()) {
    if (name == word) {
      method.mutable_model_pruning()->set_method(of_model);
      return method;
    }
    names.push_back(name);
  }
  throw CLI::ValidationError(
      "--methods", absl::StrCat("\"", word, "\" is none of ", absl::StrJoin(names, ", ")));
}

// What compare sets in all its methods that have it.
struct SharedOptions {
  v1::RecoveryOptions recovery;
  v1::PruningOptions pruning;
  v1::ModelPruningOptions model_pruning;  // of every method of a model
  v1::ModelPruningOptions distill;        // beside those
};

// The flags of compare that not all methods use.
struct CompareFlags {
  CLI::Option* model = nullptr;
  CLI::Option* model_format = nullptr;
  CLI::Option* hidden_width = nullptr;
  CLI::Option* nonzeros = nullptr;
  CLI::Option* fractions = nullptr;
  std::vector<CLI::Option*> of_recovery;
  std::vector<CLI::Option*> of_new_networks;  // recovered, or trained and pruned
  std::vector<CLI::Option*> of_training;
};

// Adds the methods and refuses what none of them uses.
void FinishCompare(Parameters* p, const std::string& words, const SharedOptions& shared,
                   const CompareFlags& flags) {
  v1::SweepSpec* spec = p->compare.request.mutable_job()->mutable_sweep();
  bool recovers = false;
  bool trains = false;
  std::string new_network, of_model;  // the first method of each kind
  for (const auto& word : absl::StrSplit(words, ',')) {
    v1::SweepMethod method = MethodOf(std::string(word));
    if (method.has_model_pruning()) {
      if (of_model.empty()) of_model = method.name();
      v1::ModelPruningOptions* options = method.mutable_model_pruning();
      options->MergeFrom(shared.model_pruning);
      if (options->method() == v1::PRUNING_METHOD_DISTILL) {
        trains = true;
        options->MergeFrom(shared.distill);
      }
    } else {
      if (new_network.empty()) new_network = method.name();
      recovers = recovers || method.has_recovery();
      trains = trains || method.has_pruning();
      if (method.has_recovery()) method.mutable_recovery()->MergeFrom(shared.recovery);
      if (method.has_pruning()) method.mutable_pruning()->MergeFrom(shared.pruning);
    }
    *spec->add_methods() = std::move(method);
  }
  const auto wrong = [](const CLI::Option* flag, const std::string& why) {
    throw CLI::ValidationError(flag->get_name(), why);
  };
  const auto refuse = [&](const std::vector<CLI::Option*>& unused, const std::string& why) {
    for (const CLI::Option* flag : unused) {
      if (flag->count() > 0) wrong(flag, why);
    }
  };
  if (flags.model->count() > 0 && p->compare.model.name.empty())
    wrong(flags.model, "names no model");
  if (of_model.empty()) {
    refuse({flags.model, flags.model_format, flags.fractions},
           absl::StrCat("is for a model to prune, which none of --methods does; name one of ",
                        ModelMethodWords(", ")));
  } else if (flags.model->count() == 0) {
    wrong(flags.model, absl::StrCat("is required: which model is ", of_model, " to prune?"));
  }
  if ((flags.nonzeros->count() > 0) == (flags.fractions->count() > 0)) {
    wrong(flags.nonzeros,
          "say the budgets by one of --nonzeros S,S2,... and, for a model, --fractions X,X2,...");
  }
  if (new_network.empty()) {
    refuse({flags.hidden_width},
           "is for networks that are recovered or trained, which none of --methods does; the model "
           "has its own widths");
    refuse(flags.of_new_networks,
           "is for networks that are recovered or trained, which none of --methods does");
  } else if (flags.hidden_width->count() == 0) {
    wrong(flags.hidden_width, "is required for " + new_network);
  }
  if (!of_model.empty() && spec->hidden_widths_size() > 1) {
    wrong(flags.hidden_width,
          absl::StrCat("must be one width beside ", of_model, ", which does not depend on it"));
  }
  if (!recovers) refuse(flags.of_recovery, "is for recoveries, which none of --methods is");
  if (!trains) refuse(flags.of_training, "is for methods that train, which none of --methods does");
}

void AddCompare(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "compare",
                             "Run recoveries and prunings, also of a model (--model), on the same "
                             "samples, split, seeds and "
                             "budgets; print a table");
  v1::SweepSpec* spec = p->compare.request.mutable_job()->mutable_sweep();
  const auto flags = std::make_shared<CompareFlags>();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to explain; with --model samples of its inputs and outputs")
      ->required();
  flags->model =
      app->add_option("--model", p->compare.model.name,
                      "Prune this network by the methods that prune a model: a file (ONNX, "
                      "safetensors, NPZ, JSON), which is uploaded first, or a model's id")
          ->type_name("FILE|ID");
  flags->model_format = AddEnum<v1::ModelFormat>(
      app, "--model_format", [=](auto v) { p->compare.model.format = v; },
      "Format of the file (default by its name)");
  flags->hidden_width =
      AddNumbers(app, "--hidden_width", spec->mutable_hidden_widths(),
                 "Hidden widths of networks that are recovered or trained; one beside methods that "
                 "prune a model",
                 "M,M2,...");
  flags->nonzeros = AddNumbers(app, "--nonzeros", spec->mutable_nonzeros(),
                               "Budgets of non-zero weights", "S,S2,...");
  flags->fractions = AddFractions(app, "--fractions", &p->compare.fractions,
                                  "Budgets as shares of the model's weights, in (0, 1]");
  AddNumbers(app, "--num_samples", spec->mutable_num_samples(),
             "Sizes of random subsets (default: all samples)", "N,N2,...");
  AddNumbers(app, "--seeds", spec->mutable_seeds(), "Seeds of split and method (default 0)",
             "K,K2,...");
  const auto methods = std::make_shared<std::string>();
  CLI::Option* named =
      app->add_option(
             "--methods", *methods,
             "Algorithms of recovery, and imp (as published), imp-retrained (trained after "
             "the last prune), gradual (by w^2 E[g^2]) (default auto,imp,imp-retrained); of "
             "--model " +
                 ModelMethodWords(", ") + " (with --model the default)")
          ->type_name("A,B,...");
  const auto shared = std::make_shared<SharedOptions>();
  flags->of_recovery.push_back(AddEnum<v1::OutputSigns>(
      app, "--output_signs", [=](auto v) { shared->recovery.set_output_signs(v); },
      "Recoveries: whether all neurons add, or some subtract (default positive)"));
  flags->of_new_networks.push_back(app->add_flag_function(
      "--bias",
      [=](int64_t) {
        shared->recovery.set_bias(true);
        shared->pruning.set_bias(true);
      },
      "Give every neuron of a network that is recovered or trained a constant input"));
  AddEnum<v1::Loss>(
      app, "--loss",
      [=](auto v) {
        shared->recovery.set_loss(v);
        shared->pruning.set_loss(v);
        shared->model_pruning.set_loss(v);
      },
      "What is minimised; of the algorithms of recovery auto, winnow, count_sketch and sequential "
      "take another than squared (default: each method's own for the data set)");
  flags->of_new_networks.push_back(AddValue<int64_t>(
      app, "--hidden_layers", [=](auto n) { spec->set_hidden_layers(n); },
      "Hidden layers, M neurons each (default 1)", "L"));
  flags->of_training.push_back(AddValue<int64_t>(
      app, "--epochs",
      [=](auto n) {
        shared->pruning.set_epochs(n);
        shared->distill.set_epochs(n);
      },
      "Prunings that train: passes over the samples of a round, or of the gradual training "
      "(default "
      "50; distill 30)",
      "N"));
  flags->of_training.push_back(AddValue<int64_t>(
      app, "--batch_size",
      [=](auto n) {
        shared->pruning.set_batch_size(n);
        shared->distill.set_batch_size(n);
      },
      "Prunings that train: samples that a step looks at (default 5000; distill 128)", "N"));
  AddHeldOutFlags(app, spec, "table");
  AddDuration(
      app, "--cell_time_limit",
      [=](milliseconds limit) {
        spec->mutable_cell_time_limit()->set_seconds(limit.count() / 1000);
        spec->mutable_cell_time_limit()->set_nanos(limit.count() % 1000 * 1000000);
      },
      "Longest solving time of one method at one budget");
  AddJobFlags(app, &p->compare.request);
  AddTables(app, "--table", &p->compare.outputs);
  AddPicture(app, "--picture", &p->compare.outputs.picture);
  app->callback([=] {
    const std::string defaults =
        flags->model->count() > 0 ? ModelMethodWords(",") : "auto,imp,imp-retrained";
    FinishCompare(p, named->count() > 0 ? *methods : defaults, *shared, *flags);
    p->compare.watch = !p->compare.request.validate_only();
    p->compare.outputs.picture_options.kind = PictureKind::kCompare;
    p->line.command = p->compare;
  });
}

// list, get and delete are the same for every collection.
void AddStandardCommands(CLI::App* parent, Parameters* p, Collection collection,
                         const std::string& plural, const std::string& singular) {
  const auto index = static_cast<size_t>(collection);
  ListCommand* list_command = &p->lists[index];
  GetCommand* get_command = &p->gets[index];
  DeleteCommand* delete_command = &p->deletes[index];

  CLI::App* list = AddCommand(parent, "list", absl::StrCat("List ", plural, ", newest first"));
  list->add_option("--filter", list_command->filter,
                   collection == Collection::kJobs
                       ? "Conditions joined by AND: state = RUNNING, labels.team = \"vision\", "
                         "parent = \"jobs/SWEEP\" for the cells of a sweep"
                       : "Conditions joined by AND: labels.team = \"vision\"")
      ->type_name("F");
  AddValue<uint64_t>(
      list, "--limit", [=](auto count) { list_command->limit = AsSigned(count); },
      "Most entries; 0: all (default 50)", "N");
  list->callback([=] { p->line.command = *list_command; });

  CLI::App* get = AddCommand(parent, "get", absl::StrCat("Show one ", singular));
  AddName(
      get, "ID", plural, [=](auto name) { get_command->name = name; }, "Which one")
      ->required();
  get->callback([=] { p->line.command = *get_command; });

  CLI::App* erase = AddCommand(
      parent, "delete",
      absl::StrCat("Delete one ", singular,
                   collection == Collection::kJobs ? " that has ended; its model stays"
                                                   : " that no queued or running job needs"));
  AddName(
      erase, "ID", plural, [=](auto name) { delete_command->name = name; }, "Which one")
      ->required();
  erase->callback([=] { p->line.command = *delete_command; });
}

void AddJobCommands(CLI::App* root, Parameters* p) {
  CLI::App* jobs = AddCommand(root, "jobs", "Look at jobs, watch and cancel them");
  jobs->require_subcommand(1);
  AddStandardCommands(jobs, p, Collection::kJobs, "jobs", "job");
  CLI::App* watch = AddCommand(jobs, "watch",
                               "Watch a job to its end; exit code 4 or 5 when it "
                               "failed or was cancelled");
  AddName(
      watch, "ID", "jobs", [=](auto name) { p->watch.name = name; }, "Which one")
      ->required();
  AddValue<uint64_t>(
      watch, "--after", [=](auto number) { p->watch.after_event_number = AsSigned(number); },
      "Only events after this number (default 0: all that are kept)", "N");
  watch->callback([p] { p->line.command = p->watch; });
  CLI::App* plot = AddCommand(jobs, "plot", "Draw the convergence of a job, once it has ended");
  AddName(
      plot, "ID", "jobs", [=](auto name) { p->plot.name = name; }, "Which one")
      ->required();
  AddPicture(plot, "--output", &p->plot.picture)->required();
  plot->callback([p] { p->line.command = p->plot; });
  CLI::App* cancel =
      AddCommand(jobs, "cancel", "Cancel a queued or running job; its best network so far is kept");
  AddName(
      cancel, "ID", "jobs", [=](auto name) { p->cancel.name = name; }, "Which one")
      ->required();
  cancel->callback([p] { p->line.command = p->cancel; });
}

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
      "sparse "
      "initializers; c_header: a function ID_predict without heap; png: the image of a model that "
      "was fitted to one (default by --output, else npz)");
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

// A word of the command line that is neither command nor flag, and the known one nearest to it.
struct UnknownWord {
  std::string word;
  std::string nearest;  // empty when none is near
};

// The first unknown word, by walking the arguments as CLI11 does.
std::optional<UnknownWord> FindUnknownWord(const CLI::App& root,
                                           const std::vector<std::string>& arguments) {
  const CLI::App* app = &root;
  bool skip_value = false;
  for (const std::string& argument : arguments) {
    if (std::exchange(skip_value, false)) continue;
    if (absl::StartsWith(argument, "--")) {
      const std::string flag = argument.substr(0, argument.find('='));
      std::vector<std::string> known;
      const CLI::Option* found = nullptr;
      for (const CLI::App* level = app; level != nullptr; level = level->get_parent()) {
        for (const CLI::Option* option : level->get_options()) {
          for (const std::string& name : option->get_lnames()) {
            known.push_back("--" + name);
            if (known.back() == flag && found == nullptr) found = option;
          }
        }
      }
      if (found == nullptr) return UnknownWord{flag, NearestWord(flag, known)};
      skip_value = found->get_expected_max() > 0 && flag == argument;
      continue;
    }
    std::vector<std::string> known;
    const CLI::App* next = nullptr;
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      known.push_back(command->get_name());
      if (known.back() == argument) next = command;
    }
    if (next != nullptr) {
      app = next;
    } else if (!known.empty()) {
      return UnknownWord{argument, NearestWord(argument, known)};
    }
  }
  return std::nullopt;
}

// The help of the command that was asked for, with its full words in front.
// The command that was given, as far as it could be parsed, and the words that say it.
struct GivenCommand {
  CLI::App* app;
  std::string words;
};
GivenCommand FindGivenCommand(CLI::App* root) {
  GivenCommand given = {root, "thresher"};
  while (!given.app->get_subcommands().empty()) {
    given.app = given.app->get_subcommands().front();
    given.words += " " + given.app->get_name();
  }
  return given;
}

std::string HelpText(CLI::App* root) {
  const GivenCommand given = FindGivenCommand(root);
  given.app->name("");
  return given.app->help(given.words);
}

// "thresher jobs needs a command: list, get", or nothing when it has one.
std::string MissingCommand(CLI::App* root) {
  const GivenCommand given = FindGivenCommand(root);
  std::vector<std::string> names;
  for (const CLI::App* each : given.app->get_subcommands([](CLI::App*) { return true; })) {
    names.push_back(each->get_name());
  }
  if (names.empty()) return "";
  return absl::StrCat(given.words, " needs a command: ", absl::StrJoin(names, ", "));
}

}  // namespace

absl::StatusOr<milliseconds> ParseDuration(const std::string& text) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a time such as 90s, 10m, 1h30m or 250ms"));
  };
  constexpr double kLargest = 10.0 * 365 * 86400 * 1000;
  double total = 0;
  std::string_view rest = text;
  if (rest.empty()) return invalid();
  while (!rest.empty()) {
    const size_t number_end = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const size_t unit_end = std::min(rest.find_first_of("0123456789.", number_end), rest.size());
    double number;
    if (!absl::SimpleAtod(std::string(rest.substr(0, number_end)), &number)) return invalid();
    const std::string_view unit = rest.substr(number_end, unit_end - number_end);
    const bool bare = unit.empty() && rest.size() == text.size();
    const double scale = unit == "ms"          ? 1
                         : unit == "s" || bare ? 1000
                         : unit == "m"         ? 60000
                         : unit == "h"         ? 3600000
                         : unit == "d"         ? 86400000
                                               : 0;
    if (scale == 0) return invalid();
    total += number * scale;
    rest.remove_prefix(unit_end);
  }
  if (total < 1 || total > kLargest) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not between 1 ms and 10 years"));
  }
  return milliseconds(std::llround(total));
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

std::string NearestWord(const std::string& word, const std::vector<std::string>& known) {
  // Edit distance with exchanges of neighbours counted once.
  const auto distance = [](const std::string& a, const std::string& b) {
    std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i) {
      for (size_t j = 0; j <= b.size(); ++j) {
        if (i == 0 || j == 0) {
          d[i][j] = i + j;
          continue;
        }
        d[i][j] =
            std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    return d[a.size()][b.size()];
  };
  std::string best;
  // Nobody mistypes more than a third of a word.
  size_t best_distance = word.size() / 3 + 1;
  if (word.size() > 100) return best;
  for (const std::string& candidate : known) {
    const size_t d = distance(word, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

ParsedCommandLine ParseCommandLine(const std::vector<std::string>& arguments) {
  Parameters parameters;
  Parameters* p = &parameters;
  CLI::App app("Recover sparse neural networks with a thresherd server.", "thresher");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("thresher " THRESHER_VERSION));
  app.add_option("--server", p->line.server,
                 "HOST:PORT or unix:PATH of thresherd (default 127.0.0.1:7700)")
      ->type_name("ADDR")
      ->envname("THRESHER_SERVER");
  app.add_flag("--json", p->line.json,
               "Print one JSON object a line, also for progress; errors as JSON on stderr");
  AddDuration(
      &app, "--timeout", [p](milliseconds timeout) { p->line.timeout = timeout; },
      "Longest time for one call (default 30s; uploads and downloads: none)");
  app.add_flag("--wait_when_full", p->line.wait_when_full,
               "When the server has no room now, try again as it says, until --timeout");
  app.require_subcommand(1);

  AddServerCommands(&app, p);
  CLI::App* datasets = AddCommand(&app, "datasets", "Plant, upload and look after data sets");
  datasets->require_subcommand(1);
  AddPlant(datasets, p);
  AddUpload(datasets, p);
  AddStandardCommands(datasets, p, Collection::kDatasets, "datasets", "dataset");
  AddRecover(&app, p);
  AddPrune(&app, p);
  AddSweep(&app, p);
  AddCompare(&app, p);
  AddJobCommands(&app, p);
  AddModelCommands(&app, p);

  ParsedCommandLine result;
  try {
    // CLI11 takes the arguments last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    result.command_line = std::move(parameters.line);
  } catch (const CLI::CallForHelp&) {
    result.text = HelpText(&app);
  } catch (const CLI::CallForVersion& version) {
    result.text = absl::StrCat(version.what(), "\n");
  } catch (const CLI::ParseError& error) {
    result.exit_code = kExitUsage;
    if (const auto unknown = FindUnknownWord(app, arguments)) {
      const bool flag = absl::StartsWith(unknown->word, "--");
      result.text = absl::StrCat("thresher: there is no ", flag ? "flag " : "command ",
                                 Printable(unknown->word), "\n");
      if (!unknown->nearest.empty()) {
        absl::StrAppend(&result.text, "Did you mean ", unknown->nearest, "?\n");
      }
    } else if (const std::string missing = MissingCommand(&app);
               !missing.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
      result.text = absl::StrCat(missing, "\n");
    } else {
      result.text = absl::StrCat("thresher: ", Printable(error.what()), "\n");
    }
    absl::StrAppend(&result.text, "Try ", FindGivenCommand(&app).words, " --help.\n");
  }
  return result;
}

}  // namespace thresher::client
