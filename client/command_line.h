#ifndef THRESHER_CLIENT_COMMAND_LINE_H_
#define THRESHER_CLIENT_COMMAND_LINE_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/picture.h"

namespace thresher::client {

// Exit codes of `thresher`: a contract with scripts.
enum ExitCode : int {
  kExitOk = 0,
  kExitUnexpected = 1,
  kExitUsage = 2,      // the command line, or a file it names, is wrong
  kExitServer = 3,     // the server refused, failed or was out of reach
  kExitFailed = 4,     // a watched job FAILED, or every cell of a watched sweep
  kExitCancelled = 5,  // a watched job was CANCELLED
  kExitInterrupted = 130,
};

// The commands, each as the message that it sends.
struct ServerInfoCommand {};
struct HealthCommand {};
struct PlantDatasetCommand {
  v1::CreateDatasetRequest request;
};
struct UploadDatasetCommand {
  v1::UploadDatasetHeader header;
  UploadFiles files;
};
// A file, which is uploaded first, where there is one of that name, else a model's id or name.
struct ModelToPrune {
  std::string name;                                       // empty: none
  v1::ModelFormat format = v1::MODEL_FORMAT_UNSPECIFIED;  // of a file; by its name where unset
};
// `recover` and `prune`.
struct CreateJobCommand {
  v1::CreateJobRequest request;
  bool watch = false;
  ModelToPrune model = {};
};
// What is done with the table of a sweep.
struct SweepOutputs {
  std::vector<std::string> tables;  // .csv or .json files
  std::string picture;              // .png or .svg file; empty: none
  PictureOptions picture_options;
};
// `sweep` and `compare`. The sweep is in `file` for the former, model and fractions are of the
// latter.
struct CreateSweepCommand {
  v1::CreateJobRequest request;
  std::string file;
  bool watch = false;  // the outputs need it
  SweepOutputs outputs;
  ModelToPrune model = {};
  std::vector<double> fractions = {};  // budgets as shares of the model's weights; empty: none
};
// `sweep table` and `sweep plot`.
struct ShowSweepCommand {
  std::string name;
  bool print_table = false;
  SweepOutputs outputs;
};
struct WatchJobCommand {
  std::string name;
  int64_t after_event_number = 0;
};
struct PlotJobCommand {
  std::string name;
  std::string picture;  // .png or .svg file
};
struct CancelJobCommand {
  std::string name;
};
struct DownloadModelCommand {
  std::string name;
  v1::ModelFormat format = v1::MODEL_FORMAT_NPZ;
  std::string path;
};
struct UploadModelCommand {
  v1::UploadModelHeader header;
  std::string path;
};
// `input` is a file where there is one of that name, else a model's id or name. The output's format
// is never UNSPECIFIED; the input's is where its name does not say.
struct ConvertModelCommand {
  std::string input;
  v1::ModelFormat input_format = v1::MODEL_FORMAT_UNSPECIFIED;
  std::string path;
  v1::ModelFormat format = v1::MODEL_FORMAT_UNSPECIFIED;
};
struct ReportModelCommand {
  std::string input;
  v1::ModelFormat input_format = v1::MODEL_FORMAT_UNSPECIFIED;
  std::string given;  // a file or an id; empty: as the model says
};
// Inputs are in `path`, or in `rows` when it is empty.
struct PredictCommand {
  std::string name;
  std::string path;
  std::vector<std::string> rows;
};
enum class Collection { kDatasets, kJobs, kModels };
struct ListCommand {
  Collection collection;
  std::string filter;
  int64_t limit = 50;
};
struct GetCommand {
  Collection collection;
  std::string name;
};
struct DeleteCommand {
  Collection collection;
  std::string name;
};

using Command =
    std::variant<ServerInfoCommand, HealthCommand, PlantDatasetCommand, UploadDatasetCommand,
                 CreateJobCommand, CreateSweepCommand, ShowSweepCommand, WatchJobCommand,
                 PlotJobCommand, CancelJobCommand, DownloadModelCommand, UploadModelCommand,
                 ConvertModelCommand, ReportModelCommand, PredictCommand, ListCommand, GetCommand,
                 DeleteCommand>;

struct CommandLine {
  std::string server = kDefaultServer;
  bool json = false;
  std::optional<std::chrono::milliseconds> timeout;
  bool wait_when_full = false;
  Command command;
};

// What parsing gave: a command, or a text to print (help, version, what is wrong) and the
// exit code that goes with it.
struct ParsedCommandLine {
  std::optional<CommandLine> command_line;
  std::string text;
  int exit_code = kExitOk;
};

// `arguments` without the program's name. Reads the environment variable THRESHER_SERVER.
ParsedCommandLine ParseCommandLine(const std::vector<std::string>& arguments);

// A part of an image as "256x256+100+50": width, height, left, top; "256x256" begins at 0, 0.
absl::StatusOr<v1::Crop> ParseCrop(const std::string& text);

// "90s", "10m", "1h30m", "250ms", "1.5h"; a number alone means seconds. At least 1 ms, at most
// 10 years.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(const std::string& text);

// The wire's name for an upload's file format, from the ending of the file's name, .gz aside;
// UNSPECIFIED when the name does not say.
v1::FileFormat FileFormatOf(const std::string& path);

// The nearest of `known` to a mistyped word; empty when none is near.
std::string NearestWord(const std::string& word, const std::vector<std::string>& known);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_COMMAND_LINE_H_
