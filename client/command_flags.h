// The flags that commands share, and where they write to. Internal to client/command_line*.cc.
#ifndef THRESHER_CLIENT_COMMAND_FLAGS_H_
#define THRESHER_CLIENT_COMMAND_FLAGS_H_

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command_line.h"
#include "thresher/v1/job_service.pb.h"

namespace thresher::client {

// Everything that flags write to. Lives as long as the CLI::App whose callbacks point here.
struct Parameters {
  CommandLine line;

  PlantDatasetCommand plant;
  UploadDatasetCommand upload;
  std::string csv_path, npz_path, image_path;
  bool no_targets = false;
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

// ----- Flags and commands of every kind: command_line.cc. -----

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
bool ParseFlag(const std::string& text, std::string* value);
bool ParseFlag(const std::string& text, double* value);
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

int64_t AsSigned(uint64_t value);
CLI::Option* AddDuration(CLI::App* app, const std::string& flag,
                         std::function<void(std::chrono::milliseconds)> set,
                         const std::string& help);
CLI::Option* AddName(CLI::App* app, const std::string& flag, const std::string& collection,
                     std::function<void(std::string)> set, const std::string& help);

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

CLI::App* AddCommand(CLI::App* parent, const std::string& name, const std::string& help);
// list, get and delete are the same for every collection.
void AddStandardCommands(CLI::App* parent, Parameters* p, Collection collection,
                         const std::string& plural, const std::string& singular);

// ----- Data sets: command_line_datasets.cc. -----

void AddPlant(CLI::App* datasets, Parameters* p);
void AddUpload(CLI::App* datasets, Parameters* p);

// ----- Jobs: command_line_jobs.cc. -----

// What jobs of every kind have.
void AddJobFlags(CLI::App* app, v1::CreateJobRequest* request);
void AddRecover(CLI::App* root, Parameters* p);
void AddPrune(CLI::App* root, Parameters* p);
void AddJobCommands(CLI::App* root, Parameters* p);

// ----- Sweeps: command_line_sweeps.cc. -----

CLI::Option* AddPicture(CLI::App* app, const std::string& flag, std::string* picture);
void AddSweep(CLI::App* root, Parameters* p);
void AddCompare(CLI::App* root, Parameters* p);

// ----- Models: command_line_models.cc. -----

void AddModelCommands(CLI::App* root, Parameters* p);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_COMMAND_FLAGS_H_
