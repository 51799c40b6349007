#include "client/commands.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/errors.h"
#include "client/formatting.h"
#include "client/job_text.h"
#include "client/matrix_file.h"
#include "client/model_file.h"
#include "client/path_text.h"
#include "client/picture.h"
#include "client/pruning_text.h"
#include "client/sweep_text.h"
#include "client/watch_view.h"
#include "nlohmann/json.hpp"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

// A health check that takes longer than this is a failed one.
constexpr milliseconds kHealthTimeout{2000};
constexpr int kExitCodeOfState[] = {kExitUnexpected, kExitOk,     kExitOk,
                                    kExitOk,         kExitFailed, kExitCancelled};

ClientOptions OptionsFor(const CommandLine& line, std::stop_token stop) {
  ClientOptions options;
  options.server = line.server;
  options.stop = std::move(stop);
  if (std::holds_alternative<HealthCommand>(line.command)) {
    options.call_timeout = kHealthTimeout;
    options.retry.max_attempts = 1;
  }
  if (line.timeout) {
    options.call_timeout = *line.timeout;
    options.transfer_timeout = line.timeout;
  }
  if (line.wait_when_full) {
    // --timeout alone ends the waiting.
    options.retry.retry_when_exhausted = true;
    options.retry.max_attempts = 1 << 20;
  }
  options.retry.max_elapsed = options.call_timeout;
  return options;
}

class Runner {
 public:
  Runner(const CommandLine& line, const Surroundings& surroundings)
      : line_(line),
        surroundings_(surroundings),
        options_(OptionsFor(line, surroundings.stop)),
        client_(options_) {}

  int operator()(const ServerInfoCommand&) {
    const auto info = client_.GetServerInfo();
    if (!info.ok()) return Fail(info.status());
    if (line_.json) return Json(*info);
    return Text(FormatFields(
        {{"version",
          absl::StrCat(info->version(), info->commit().empty() ? "" : " of ", info->commit())},
         {"instruction set", info->instruction_set()},
         {"up for", FormatDuration(info->uptime())},
         {"workers", absl::StrCat(info->workers_busy(), " of ", info->workers(), " busy, ",
                                  FormatCount(info->threads_per_job(), "thread"), " a job")},
         {"queue", absl::StrCat(info->queued_jobs(), " of ", info->max_queued_jobs(), " places")},
         {"memory", absl::StrCat(FormatBytes(info->memory_reserved_bytes()), " of ",
                                 FormatBytes(info->memory_budget_bytes()), " reserved")},
         {"largest message", FormatBytes(info->max_message_bytes())},
         {"largest upload", FormatBytes(info->max_upload_bytes())}}));
  }

  int operator()(const HealthCommand&) {
    const auto health = client_.CheckHealth();
    if (!health.ok()) return Fail(health.status());
    using grpc::health::v1::HealthCheckResponse;
    if (line_.json) {
      Json(*health);
    } else {
      Text(HealthCheckResponse::ServingStatus_Name(health->status()) + "\n");
    }
    return health->status() == HealthCheckResponse::SERVING ? kExitOk : kExitServer;
  }

  int operator()(const PlantDatasetCommand& command) {
    return ShowNew("Planted", client_.CreateDataset(command.request));
  }

  int operator()(const UploadDatasetCommand& command) {
    return ShowNew("Uploaded", client_.UploadDataset(command.header, command.files));
  }

  int operator()(const CreateJobCommand& command) {
    if (command.model.name.empty()) return CreateAndWatch(command.request, command.watch);
    v1::CreateJobRequest request = command.request;
    const auto model = NameOfModel(command.model, request);
    if (!model.ok()) return Fail(model.status());
    request.mutable_job()->mutable_pruning()->set_model(*model);
    return CreateAndWatch(request, command.watch);
  }

  int operator()(const CreateSweepCommand& command) {
    v1::CreateJobRequest request = command.request;
    if (!command.file.empty()) {
      auto spec = ReadSweepFile(command.file);
      if (!spec.ok()) return Fail(spec.status());
      *request.mutable_job()->mutable_sweep() = *std::move(spec);
    }
    if (!command.model.name.empty()) {
      const absl::Status status = AddModel(command, &request);
      if (!status.ok()) return Fail(status);
    }
    std::string name;
    const int code = CreateAndWatch(request, command.watch, &name);
    // A sweep that failed or was cancelled has rows too.
    const bool ended = code == kExitOk || code == kExitFailed || code == kExitCancelled;
    if (!command.watch || !ended) return code;
    bool all_failed = false;
    const int written = ShowSweep(name, /*print_table=*/!line_.json, command.outputs, &all_failed);
    if (written != kExitOk) return written;
    return code == kExitOk && all_failed ? kExitFailed : code;
  }

  int operator()(const ShowSweepCommand& command) {
    return ShowSweep(command.name, command.print_table, command.outputs);
  }

  int operator()(const WatchJobCommand& command) {
    const auto job = client_.GetJob(command.name);
    if (!job.ok()) return Fail(job.status());
    return Watch(*job, command.after_event_number);
  }

  int operator()(const PlotJobCommand& command) {
    std::vector<v1::JobEvent> events;
    WatchCallbacks callbacks;
    callbacks.on_event = [&events](const v1::JobEvent& event) { events.push_back(event); };
    const auto job = client_.WatchJob(command.name, 0, callbacks);
    if (!job.ok()) return Fail(job.status());
    const auto format = PictureFormatOf(command.picture);
    if (!format.ok()) return Fail(format.status());
    return Draw(ConvergenceScript(events, *format), command.picture);
  }

  int operator()(const CancelJobCommand& command) {
    const auto job = client_.CancelJob(command.name);
    if (!job.ok()) return Fail(job.status());
    if (line_.json) return Json(*job);
    const std::string name = Printable(job->name());
    if (job->state() == v1::JOB_STATE_CANCELLED) return Text(name + " is cancelled.\n");
    if (IsEnded(job->state())) {
      return Text(absl::StrCat(name, " had ended before: ", StateWord(job->state()), ".\n"));
    }
    return Text(name + " is being cancelled.\n");
  }

  int operator()(const DownloadModelCommand& command) {
    const auto file = client_.DownloadModel(command.name, command.format, command.path);
    if (!file.ok()) return Fail(file.status());
    return ShowWritten(command.name, command.format, *file);
  }

  int operator()(const UploadModelCommand& command) {
    const auto model = client_.UploadModel(command.header, command.path);
    if (!model.ok()) return Fail(model.status());
    return line_.json ? Json(*model) : ShowUploaded(*model);
  }

  int operator()(const ConvertModelCommand& command) {
    if (!IsFile(command.input)) {
      if (LooksLikeFile(command.input)) return Fail(NoSuchFile(command.input));
      const std::string name = ModelName(command.input);
      const auto file = client_.DownloadModel(name, command.format, command.path);
      if (!file.ok()) return Fail(file.status());
      return ShowWritten(name, command.format, *file);
    }
    const auto model = ReadModelAt(command.input, command.input_format);
    if (!model.ok()) return Fail(model.status());
    const auto size = WriteModelAt(*model, command.path, command.format);
    if (!size.ok()) return Fail(size.status());
    return ShowWritten(command.input, command.format, {.path = command.path, .size_bytes = *size});
  }

  int operator()(const ReportModelCommand& command) {
    constexpr int64_t kMaxBytes = int64_t{1} << 28;  // of dense forms
    if (!IsFile(command.input) && LooksLikeFile(command.input)) {
      return Fail(NoSuchFile(command.input));
    }
    const auto model = IsFile(command.input) ? ReadModelAt(command.input, command.input_format)
                                             : FetchModel(ModelName(command.input));
    if (!model.ok()) return Fail(model.status());
    std::optional<Model> given;
    const auto pruned_from = model->metadata.find("model");
    if (!command.given.empty()) {
      auto read = IsFile(command.given) ? ReadModelAt(command.given, ModelFormatOf(command.given))
                                        : FetchModel(ModelName(command.given));
      if (!read.ok()) return Fail(read.status());
      given = *std::move(read);
    } else if (!IsFile(command.input) && pruned_from != model->metadata.end()) {
      auto fetched = FetchModel(ModelName(pruned_from->second));
      if (fetched.ok()) given = *std::move(fetched);  // unless it was deleted
    }
    const auto report = ReportModel(*model, given ? &*given : nullptr, kMaxBytes);
    if (!report.ok()) return Fail(report.status());
    return Text(line_.json ? ReportJson(*report) + "\n" : ReportPage(*report, model->metadata));
  }

  int operator()(const PredictCommand& command) {
    const auto inputs =
        command.path.empty() ? ParseRows(command.rows) : ReadMatrixFile(command.path);
    if (!inputs.ok()) return Fail(inputs.status());
    const auto prediction = client_.Predict(command.name, *inputs);
    if (!prediction.ok()) return Fail(prediction.status());
    if (line_.json) return Json(*prediction);
    const int k = static_cast<int>(
        std::clamp<int64_t>(prediction->num_outputs(), 1, std::max(1, prediction->outputs_size())));
    const int num_rows = prediction->outputs_size() / k;
    const bool has_classes = prediction->classes_size() == num_rows;
    std::vector<std::vector<std::string>> rows = {{"ROW"}};
    for (int c = 0; c < k; ++c) {
      rows[0].push_back(k == 1 ? "OUTPUT" : absl::StrCat("OUTPUT ", c + 1));
    }
    if (has_classes) rows[0].push_back("CLASS");
    for (int i = 0; i < num_rows; ++i) {
      rows.push_back({absl::StrCat(i + 1)});
      for (int c = 0; c < k; ++c) {
        rows.back().push_back(absl::StrFormat("%.9g", prediction->outputs(i * k + c)));
      }
      if (has_classes) rows.back().push_back(prediction->classes(i));
    }
    return Text(FormatTable(rows));
  }

  int operator()(const ListCommand& command) {
    switch (command.collection) {
      case Collection::kDatasets:
        return ShowList(client_.ListDatasets(command.filter, command.limit), DatasetTable);
      case Collection::kJobs:
        return ShowList(client_.ListJobs(command.filter, command.limit), JobTable);
      case Collection::kModels:
        return ShowList(client_.ListModels(command.filter, command.limit), ModelTable);
    }
    return kExitUnexpected;
  }

  int operator()(const GetCommand& command) {
    switch (command.collection) {
      case Collection::kDatasets:
        return Show(client_.GetDataset(command.name), [](const v1::Dataset& dataset) {
          return FormatFields(DescribeDataset(dataset));
        });
      case Collection::kJobs:
        return Show(client_.GetJob(command.name), [this](const v1::Job& job) {
          return FormatFields(DescribeJob(job)) + PathPage(job.recovery_report()) +
                 PruningPage(job.pruning_report()) +
                 EvidencePage(job.recovery_report(), PageWidth());
        });
      case Collection::kModels:
        return Show(client_.GetModel(command.name), [this](const v1::Model& model) {
          return FormatFields(DescribeModel(model)) + PathPage(model.report()) +
                 PruningPage(model.pruning_report()) + EvidencePage(model.report(), PageWidth());
        });
    }
    return kExitUnexpected;
  }

  int operator()(const DeleteCommand& command) {
    const absl::Status status =
        command.collection == Collection::kDatasets ? client_.DeleteDataset(command.name)
        : command.collection == Collection::kJobs   ? client_.DeleteJob(command.name)
                                                    : client_.DeleteModel(command.name);
    if (!status.ok()) return Fail(status);
    if (line_.json) return Json(google::protobuf::Empty());
    return Text(absl::StrCat("Deleted ", Printable(command.name), ".\n"));
  }

 private:
  int Text(const std::string& text) {
    *surroundings_.out << text << std::flush;
    return kExitOk;
  }

  // Columns of a page of sentences.
  int PageWidth() const {
    constexpr int kWithoutTerminal = 100;
    const Terminal terminal = FindTerminal(surroundings_.out_descriptor);
    return terminal.interactive ? terminal.width : kWithoutTerminal;
  }

  int Json(const google::protobuf::Message& message) { return Text(ToJson(message) + "\n"); }

  static bool IsFile(const std::string& path) {
    std::error_code error;
    return std::filesystem::is_regular_file(path, error);
  }
  // No id of a model is like this.
  static bool LooksLikeFile(const std::string& input) {
    return absl::StrContains(absl::StripPrefix(input, "models/"), "/") ||
           ModelFileFormatOfPath(input).has_value();
  }
  static absl::Status NoSuchFile(const std::string& path) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no such file"));
  }
  static std::string ModelName(const std::string& id) {
    return absl::StartsWith(id, "models/") ? id : "models/" + id;
  }

  // The model that a sweep prunes, and budgets that are shares of it.
  absl::Status AddModel(const CreateSweepCommand& command, v1::CreateJobRequest* request) {
    const auto name = NameOfModel(command.model, *request);
    if (!name.ok()) return name.status();
    v1::SweepSpec* spec = request->mutable_job()->mutable_sweep();
    spec->set_model(*name);
    if (command.fractions.empty()) return absl::OkStatus();
    const auto model = client_.GetModel(*name);
    if (!model.ok()) return model.status();
    for (const double fraction : command.fractions) {
      // As the server rounds a fraction.
      const double count = fraction * static_cast<double>(model->nonzeros());
      const int64_t budget = std::max<int64_t>(std::llround(count), 1);
      // Of a small model several shares may be the same.
      const auto& budgets = spec->nonzeros();
      if (std::find(budgets.begin(), budgets.end(), budget) == budgets.end()) {
        spec->add_nonzeros(budget);
      }
    }
    return absl::OkStatus();
  }

  // Of the model that the request's job prunes. A local file is uploaded first.
  absl::StatusOr<std::string> NameOfModel(const ModelToPrune& to_prune,
                                          const v1::CreateJobRequest& request) {
    const std::string& given = to_prune.name;
    if (!IsFile(given)) {
      if (ModelFormatOf(given) == v1::MODEL_FORMAT_UNSPECIFIED) return ModelName(given);
      return absl::NotFoundError(absl::StrCat("--model: there is no file ", given,
                                              "; give a model file or the id of a model"));
    }
    if (request.validate_only()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--validate_only: checks models of the server; upload it first: ",
                       Hint("models upload " + given)));
    }
    v1::UploadModelHeader header;
    header.set_format(to_prune.format == v1::MODEL_FORMAT_UNSPECIFIED ? ModelFormatOf(given)
                                                                      : to_prune.format);
    if (header.format() == v1::MODEL_FORMAT_UNSPECIFIED) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--model: the name of ", given, " does not say its format; give --model_format"));
    }
    *header.mutable_model()->mutable_labels() = request.job().labels();
    const auto model = client_.UploadModel(header, given);
    if (!model.ok()) return model.status();
    if (line_.json) {
      Json(*model);
    } else {
      ShowUploaded(*model);
    }
    return model->name();
  }

  int ShowUploaded(const v1::Model& model) {
    return Text(absl::StrCat(
        "Uploaded ", Printable(model.name()), ": ", FormatCount(model.num_inputs(), "input"), ", ",
        FormatCount(model.hidden_widths_size(), "hidden layer"), ", ",
        FormatCount(model.num_outputs(), "output"), ", ", FormatCount(model.nonzeros(), "weight"),
        ", ", FormatBytes(model.size_bytes()), ".\n"));
  }

  // By way of a file, as downloads are.
  absl::StatusOr<Model> FetchModel(const std::string& name) {
    std::string folder = (std::filesystem::temp_directory_path() / "thresher-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) {
      return absl::InternalError("cannot make a temporary folder for the model");
    }
    const std::string path = folder + "/model.npz";
    const auto file = client_.DownloadModel(name, v1::MODEL_FORMAT_NPZ, path);
    absl::StatusOr<Model> model =
        file.ok() ? ReadModelAt(path, v1::MODEL_FORMAT_NPZ) : file.status();
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    return model;
  }

  int ShowWritten(const std::string& name, v1::ModelFormat format, const DownloadedFile& file) {
    if (line_.json) {
      // No message of the contract says this; the names and the text of a 64-bit number follow
      // protobuf's mapping.
      nlohmann::ordered_json object = {{"name", name},
                                       {"format", v1::ModelFormat_Name(format)},
                                       {"path", file.path},
                                       {"sizeBytes", absl::StrCat(file.size_bytes)}};
      if (file.psnr_db) object["psnrDb"] = *file.psnr_db;
      return Text(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
    std::string text =
        absl::StrCat("Wrote ", Printable(file.path), " (", FormatBytes(file.size_bytes), ").\n");
    if (file.psnr_db) {
      absl::StrAppend(&text, "PSNR against the image: ", FormatDecibel(*file.psnr_db), ".\n");
    }
    return Text(text);
  }

  // A command to copy, for the same server.
  std::string Hint(const std::string& words) const {
    const std::string server = line_.server == kDefaultServer ? "" : " --server " + line_.server;
    return absl::StrCat("thresher", server, " ", words);
  }

  template <typename Resource, typename Describe>
  int Show(const absl::StatusOr<Resource>& resource, const Describe& describe) {
    if (!resource.ok()) return Fail(resource.status());
    return line_.json ? Json(*resource) : Text(describe(*resource));
  }

  template <typename Resource, typename Table>
  int ShowList(const absl::StatusOr<std::vector<Resource>>& resources, const Table& table) {
    if (!resources.ok()) return Fail(resources.status());
    if (!line_.json) return Text(table(*resources));
    for (const Resource& resource : *resources) Json(resource);
    return kExitOk;
  }

  int ShowNew(const std::string& verb, const absl::StatusOr<v1::Dataset>& dataset) {
    if (!dataset.ok()) return Fail(dataset.status());
    if (line_.json) return Json(*dataset);
    std::string text = absl::StrCat(verb, " ", Printable(dataset->name()), ": ",
                                    FormatCount(dataset->num_samples(), "sample"), " of ",
                                    FormatCount(dataset->num_inputs(), "input"));
    if (!dataset->class_names().empty()) {
      absl::StrAppend(&text, ", ", dataset->class_names_size(), " classes");
    }
    if (dataset->has_image_shape()) {
      absl::StrAppend(&text, ", an image of ", ImageShapeText(dataset->image_shape()));
    }
    return Text(absl::StrCat(text, ", ", FormatBytes(dataset->size_bytes()), ".\n"));
  }

  int CreateAndWatch(const v1::CreateJobRequest& request, bool watch, std::string* name = nullptr) {
    const auto job = client_.CreateJob(request);
    if (!job.ok()) return Fail(job.status());
    if (name != nullptr) *name = job->name();
    if (line_.json) Json(*job);
    if (request.validate_only()) {
      if (line_.json) return kExitOk;
      v1::Job described = *job;
      described.clear_state();  // it has none
      described.clear_create_time();
      return Text(FormatFields(DescribeJob(described)) + "Valid; nothing was queued.\n");
    }
    if (!line_.json) Text(absl::StrCat("Queued ", Printable(job->name()), ".\n"));
    if (watch) return Watch(*job, 0);
    if (line_.json) return kExitOk;
    return Text(
        absl::StrCat("Watch it: ", Hint(absl::StrCat("jobs watch ", IdOf(job->name()))), "\n"));
  }

  int ShowSweep(const std::string& name, bool print_table, const SweepOutputs& outputs,
                bool* all_failed = nullptr) {
    const auto job = client_.GetJob(name);
    if (!job.ok()) return Fail(job.status());
    if (!job->has_sweep()) {
      return Fail(absl::InvalidArgumentError(absl::StrCat(name, " is no sweep")));
    }
    const v1::SweepReport& report = job->sweep_report();
    if (all_failed != nullptr) *all_failed = AllFailed(report);
    if (print_table) {
      if (line_.json) {
        Json(*job);
      } else {
        Text(report.rows().empty() ? "No cell has ended yet.\n"
                                   : SweepTable(report) + SweepErrors(report));
      }
    }
    for (const std::string& path : outputs.tables) {
      if (absl::Status status = WriteTable(*job, path); !status.ok()) return Fail(status);
      Wrote(path);
    }
    if (outputs.picture.empty()) return kExitOk;
    const auto format = PictureFormatOf(outputs.picture);
    if (!format.ok()) return Fail(format.status());
    return Draw(PictureScript(report, outputs.picture_options, *format), outputs.picture);
  }

  int Draw(const absl::StatusOr<std::string>& script, const std::string& path) {
    if (!script.ok()) return Fail(script.status());
    if (absl::Status status = DrawPicture(*script, path); !status.ok()) return Fail(status);
    Wrote(path);
    return kExitOk;
  }

  void Wrote(const std::string& path) {
    if (!line_.json) Text(absl::StrCat("Wrote ", Printable(path), ".\n"));
  }

  int Watch(const v1::Job& job, int64_t after_event_number) {
    const Terminal terminal = FindTerminal(surroundings_.out_descriptor);
    std::unique_ptr<LivePanel> panel;
    WatchCallbacks callbacks;
    if (line_.json) {
      callbacks.on_event = [this](const v1::JobEvent& event) { Json(event); };
    } else if (terminal.interactive) {
      panel = std::make_unique<LivePanel>(job, surroundings_.out, surroundings_.out_descriptor);
      callbacks.on_event = [&panel](const v1::JobEvent& event) { panel->OnEvent(event); };
    } else {
      callbacks.on_event = [this](const v1::JobEvent& event) { Text(EventLine(event) + "\n"); };
    }
    callbacks.on_lost = [&](const absl::Status& reason, milliseconds pause) {
      if (panel != nullptr) return panel->OnLost(std::string(reason.message()));
      *surroundings_.err << (line_.json ? ToJson(ToRpcStatus(reason))
                                        : absl::StrCat("Lost the server (",
                                                       Printable(absl::StrCat(reason.message())),
                                                       "), asking again in ",
                                                       FormatSeconds(1e-3 * pause.count()), "."))
                         << std::endl;
    };
    const auto ended = client_.WatchJob(job.name(), after_event_number, callbacks);
    panel.reset();
    if (!ended.ok()) {
      if (surroundings_.stop.stop_requested()) return StoppedWatching(job.name());
      return Fail(ended.status());
    }
    if (!line_.json) ShowEnd(*ended);
    return kExitCodeOfState[ended->state()];
  }

  void ShowEnd(const v1::Job& job) {
    std::optional<v1::PlantedSource> planted;
    if (job.recovery_report().has_planted()) {
      const auto dataset = client_.GetDataset(job.recovery().dataset());
      if (dataset.ok() && dataset->has_planted()) planted = dataset->planted();
    }
    // The last event of a sweep has no rows, which say how many cells were cancelled.
    const bool stopped_sweep = job.has_sweep_report() && job.sweep_report().termination_reason() !=
                                                             v1::TERMINATION_REASON_ITERATION_LIMIT;
    const auto whole = stopped_sweep ? client_.GetJob(job.name()) : job;
    const std::string summary = SummariseJob(whole.ok() ? *whole : job, planted);
    const Terminal terminal = FindTerminal(surroundings_.out_descriptor);
    Text(terminal.interactive ? WrapWords(summary, terminal.width) : summary);
    Text(PathPage(job.recovery_report()) + PruningPage(job.pruning_report()) +
         EvidencePage(job.recovery_report(), PageWidth()));
    if (job.has_sweep()) {
      Text(absl::StrCat("Its table: ", Hint("sweep table " + Printable(IdOf(job.name()))), "\n"));
    }
    if (job.model().empty()) return;
    const bool has_page = job.recovery_report().has_evidence() ||
                          job.recovery_report().path_size() > 0 ||
                          job.pruning_report().has_model_report();
    const std::string id = Printable(IdOf(job.model()));
    Text(absl::StrCat(has_page ? "\n" : "", "Download it: ", Hint("models download " + id), "\n"));
    if (job.pruning_report().has_model_report()) {
      Text(absl::StrCat("Sizes and speed beside the dense network: ", Hint("models report " + id),
                        "\n"));
    }
  }

  int StoppedWatching(const std::string& name) {
    const std::string id = Printable(IdOf(name));
    const std::string text = absl::StrCat(
        "Stopped watching; the job goes on.\nWatch it again: ", Hint("jobs watch " + id),
        "\nCancel it: ", Hint("jobs cancel " + id));
    *surroundings_.err << (line_.json ? ToJson(ToRpcStatus(absl::CancelledError(text))) : text)
                       << std::endl;
    return kExitInterrupted;
  }

  // What the user can do about an error.
  std::string Remedy(const absl::Status& status) const {
    if (!IsFromCall(status)) return "";
    switch (status.code()) {
      case absl::StatusCode::kUnavailable:
        return absl::StrCat("No thresherd answers at ", line_.server,
                            ". Start one with: thresherd --data_dir DIR\nor say where it is with "
                            "--server HOST:PORT or THRESHER_SERVER.");
      case absl::StatusCode::kDeadlineExceeded:
        return absl::StrCat("No answer within ",
                            FormatSeconds(1e-3 * options_.call_timeout.count()),
                            "; --timeout gives it longer.");
      case absl::StatusCode::kUnimplemented:
        return absl::StrCat("What listens at ", line_.server,
                            " is not a thresherd, or an older one than this program.");
      case absl::StatusCode::kNotFound:
        return "List what there is with: " + Hint("datasets list, jobs list or models list");
      case absl::StatusCode::kResourceExhausted:
        return RetryDelay(status) ? "--wait_when_full tries again by itself." : "";
      default:
        return "";
    }
  }

  int Fail(const absl::Status& status) {
    if (surroundings_.stop.stop_requested()) {
      const absl::Status interrupted = absl::CancelledError("interrupted");
      *surroundings_.err << (line_.json ? ToJson(ToRpcStatus(interrupted)) : "Interrupted.")
                         << std::endl;
      return kExitInterrupted;
    }
    if (line_.json) {
      *surroundings_.err << ToJson(ToRpcStatus(status)) << std::endl;
      return ExitCodeOf(status);
    }
    // The text may come from the server: only its line breaks may act on the terminal.
    std::vector<std::string> lines = absl::StrSplit(DescribeError(status), '\n');
    for (std::string& each : lines) each = Printable(each);
    const std::string remedy = Remedy(status);
    if (!remedy.empty()) lines.push_back(remedy);
    *surroundings_.err << "thresher: " << absl::StrJoin(lines, "\n") << std::endl;
    return ExitCodeOf(status);
  }

  const CommandLine& line_;
  const Surroundings& surroundings_;
  const ClientOptions options_;
  Client client_;
};

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  if (IsFromCall(status)) return kExitServer;
  if (absl::IsInvalidArgument(status) || absl::IsNotFound(status)) return kExitUsage;
  return kExitUnexpected;
}

int RunCommand(const CommandLine& line, const Surroundings& surroundings) {
  return std::visit(Runner(line, surroundings), line.command);
}

}  // namespace thresher::client
