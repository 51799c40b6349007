#include "client/client.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/errors.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

constexpr size_t kUploadChunkBytes = 512 << 10;
constexpr int kLargestPage = 1000;
// Values in one Predict call: 1 MiB of inputs, well under any message limit.
constexpr int64_t kPredictValues = 1 << 18;
constexpr int64_t kFirstPredictRows = 256;

// Cancels a call when the client is stopped.
class CancelOnStop {
 public:
  CancelOnStop(std::stop_token stop, grpc::ClientContext* context)
      : callback_(std::move(stop), Cancel{context}) {}

 private:
  struct Cancel {
    grpc::ClientContext* context;
    void operator()() const { context->TryCancel(); }
  };
  std::stop_callback<Cancel> callback_;
};

std::string MakeRequestId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

absl::Status FileError(const std::string& what, const std::string& path, int error) {
  absl::Status status = absl::ErrnoToStatus(error, absl::StrCat(what, " ", path));
  if (absl::IsNotFound(status)) return status;
  return absl::InvalidArgumentError(status.message());
}

// An open file that closes itself.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

// A temporary file that is removed unless it was kept.
class TemporaryPath {
 public:
  explicit TemporaryPath(std::string path) : path_(std::move(path)) {}
  ~TemporaryPath() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;
  void Keep() { path_.clear(); }
  const std::string& get() const { return path_; }

 private:
  std::string path_;
};

absl::Status WriteAll(int descriptor, const std::string& bytes, const std::string& path) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = write(descriptor, bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("cannot write", path, errno);
    written += count;
  }
  return absl::OkStatus();
}

// Fills `chunk` with kUploadChunkBytes; fewer only at the end of the file.
absl::Status ReadChunk(int descriptor, const std::string& path, std::string* chunk) {
  chunk->resize(kUploadChunkBytes);
  size_t filled = 0;
  while (filled < chunk->size()) {
    const ssize_t count = read(descriptor, chunk->data() + filled, chunk->size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("cannot read", path, errno);
    if (count == 0) break;
    filled += count;
  }
  chunk->resize(filled);
  return absl::OkStatus();
}

// Calls send(chunk) for the file's bytes in order until it returns false.
absl::Status ReadInChunks(const std::string& path,
                          const std::function<bool(std::string chunk)>& send) {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would hang.
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.descriptor() < 0) return FileError("cannot open", path, errno);
  struct stat info;
  if (fstat(file.descriptor(), &info) != 0) return FileError("cannot read", path, errno);
  // A retry reads the file again, which a pipe does not allow.
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  for (;;) {
    std::string chunk;
    absl::Status status = ReadChunk(file.descriptor(), path, &chunk);
    if (!status.ok()) return status;
    if (chunk.empty() || !send(std::move(chunk))) return absl::OkStatus();
  }
}

std::chrono::system_clock::time_point DeadlineAfter(milliseconds timeout) {
  return std::chrono::system_clock::now() + timeout;
}

}  // namespace

bool IsEnded(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(-1);  // the server states its own limit
  // A watch may be silent for long: pings notice a server that vanished without a word.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The channel's own pause between connection attempts must not outlast ours.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // One retry policy, ours: it knows which calls it may repeat.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetUserAgentPrefix("thresher-client");
  return grpc::CreateCustomChannel(options.server, grpc::InsecureChannelCredentials(), arguments);
}

Client::Client(const ClientOptions& options) : Client(options, MakeChannel(options)) {}

Client::Client(ClientOptions options, std::shared_ptr<grpc::Channel> channel)
    : options_(std::move(options)),
      channel_(std::move(channel)),
      server_(v1::ServerService::NewStub(channel_)),
      health_(grpc::health::v1::Health::NewStub(channel_)),
      datasets_(v1::DatasetService::NewStub(channel_)),
      jobs_(v1::JobService::NewStub(channel_)),
      models_(v1::ModelService::NewStub(channel_)) {}

template <typename Response, typename Call>
absl::StatusOr<Response> Client::Unary(const Call& call, bool is_delete) {
  const auto deadline = DeadlineAfter(options_.call_timeout);
  RetryPolicy policy = options_.retry;
  policy.max_elapsed = std::min(policy.max_elapsed, options_.call_timeout);
  Response response;
  absl::Status status = CallWithRetries(policy, options_.stop, [&](int attempt) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const CancelOnStop cancel(options_.stop, &context);
    absl::Status result = FromGrpcStatus(call(&context, &response));
    // The call before this one did it, and only its answer was lost.
    if (is_delete && attempt > 1 && absl::IsNotFound(result)) return absl::OkStatus();
    return result;
  });
  if (!status.ok()) return status;
  return response;
}

template <typename Resource, typename Page>
absl::StatusOr<std::vector<Resource>> Client::List(int64_t limit, const Page& page) {
  std::vector<Resource> resources;
  std::string token;
  do {
    const int64_t missing = limit - static_cast<int64_t>(resources.size());
    const int page_size =
        limit > 0 ? static_cast<int>(std::min<int64_t>(missing, kLargestPage)) : kLargestPage;
    absl::Status status = page(page_size, &token, &resources);
    if (!status.ok()) return status;
    if (limit > 0 && static_cast<int64_t>(resources.size()) >= limit) {
      resources.resize(limit);
      break;
    }
  } while (!token.empty());
  return resources;
}

absl::StatusOr<v1::GetServerInfoResponse> Client::GetServerInfo() {
  return Unary<v1::GetServerInfoResponse>([&](grpc::ClientContext* context, auto* response) {
    return server_->GetServerInfo(context, v1::GetServerInfoRequest(), response);
  });
}

absl::StatusOr<grpc::health::v1::HealthCheckResponse> Client::CheckHealth() {
  return Unary<grpc::health::v1::HealthCheckResponse>(
      [&](grpc::ClientContext* context, auto* response) {
        return health_->Check(context, grpc::health::v1::HealthCheckRequest(), response);
      });
}

absl::StatusOr<v1::Dataset> Client::CreateDataset(v1::CreateDatasetRequest request) {
  if (request.request_id().empty()) request.set_request_id(MakeRequestId());
  return Unary<v1::Dataset>([&](grpc::ClientContext* context, auto* response) {
    return datasets_->CreateDataset(context, request, response);
  });
}

absl::StatusOr<v1::Dataset> Client::UploadOnce(const v1::UploadDatasetHeader& header,
                                               const UploadFiles& files) {
  grpc::ClientContext context;
  if (options_.transfer_timeout) context.set_deadline(DeadlineAfter(*options_.transfer_timeout));
  const CancelOnStop cancel(options_.stop, &context);
  v1::Dataset dataset;
  const auto writer = datasets_->UploadDataset(&context, &dataset);

  v1::UploadDatasetRequest request;
  *request.mutable_header() = header;
  // A write fails when the server has answered already; Finish says what.
  bool writing = writer->Write(request);
  absl::Status read = absl::OkStatus();
  if (writing) {
    read = ReadInChunks(files.inputs_path, [&](std::string chunk) {
      request.set_inputs_chunk(std::move(chunk));
      return writing = writer->Write(request);
    });
  }
  if (writing && read.ok() && !files.targets_path.empty()) {
    // That there are targets, though their file may be empty.
    request.set_targets_chunk("");
    writing = writer->Write(request);
    read = ReadInChunks(files.targets_path, [&](std::string chunk) {
      request.set_targets_chunk(std::move(chunk));
      return writing = writer->Write(request);
    });
  }
  if (!read.ok()) {
    // Never let the server take half a file for the whole.
    context.TryCancel();
    writer->Finish();
    return read;
  }
  writer->WritesDone();
  absl::Status status = FromGrpcStatus(writer->Finish());
  if (!status.ok()) return status;
  return dataset;
}

absl::StatusOr<v1::Dataset> Client::UploadDataset(v1::UploadDatasetHeader header,
                                                  const UploadFiles& files) {
  if (header.request_id().empty()) header.set_request_id(MakeRequestId());
  absl::StatusOr<v1::Dataset> dataset = absl::UnknownError("not called");
  const absl::Status status = CallWithRetries(options_.retry, options_.stop, [&](int) {
    dataset = UploadOnce(header, files);
    return dataset.status();
  });
  if (!status.ok()) return status;
  return dataset;
}

absl::StatusOr<v1::Dataset> Client::GetDataset(const std::string& name) {
  v1::GetDatasetRequest request;
  request.set_name(name);
  return Unary<v1::Dataset>([&](grpc::ClientContext* context, auto* response) {
    return datasets_->GetDataset(context, request, response);
  });
}

absl::StatusOr<std::vector<v1::Dataset>> Client::ListDatasets(const std::string& filter,
                                                              int64_t limit) {
  return List<v1::Dataset>(limit, [&](int page_size, std::string* token, auto* resources) {
    v1::ListDatasetsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(*token);
    request.set_filter(filter);
    auto page = Unary<v1::ListDatasetsResponse>([&](grpc::ClientContext* context, auto* response) {
      return datasets_->ListDatasets(context, request, response);
    });
    if (!page.ok()) return page.status();
    *token = page->next_page_token();
    for (v1::Dataset& dataset : *page->mutable_datasets()) {
      resources->push_back(std::move(dataset));
    }
    return absl::OkStatus();
  });
}

absl::Status Client::DeleteDataset(const std::string& name) {
  v1::DeleteDatasetRequest request;
  request.set_name(name);
  return Unary<google::protobuf::Empty>(
             [&](grpc::ClientContext* context, auto* response) {
               return datasets_->DeleteDataset(context, request, response);
             },
             /*is_delete=*/true)
      .status();
}

absl::StatusOr<v1::Job> Client::CreateJob(v1::CreateJobRequest request) {
  if (request.request_id().empty()) request.set_request_id(MakeRequestId());
  return Unary<v1::Job>([&](grpc::ClientContext* context, auto* response) {
    return jobs_->CreateJob(context, request, response);
  });
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& name) {
  v1::GetJobRequest request;
  request.set_name(name);
  return Unary<v1::Job>([&](grpc::ClientContext* context, auto* response) {
    return jobs_->GetJob(context, request, response);
  });
}

absl::StatusOr<std::vector<v1::Job>> Client::ListJobs(const std::string& filter, int64_t limit) {
  return List<v1::Job>(limit, [&](int page_size, std::string* token, auto* resources) {
    v1::ListJobsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(*token);
    request.set_filter(filter);
    auto page = Unary<v1::ListJobsResponse>([&](grpc::ClientContext* context, auto* response) {
      return jobs_->ListJobs(context, request, response);
    });
    if (!page.ok()) return page.status();
    *token = page->next_page_token();
    for (v1::Job& job : *page->mutable_jobs()) resources->push_back(std::move(job));
    return absl::OkStatus();
  });
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& name) {
  v1::CancelJobRequest request;
  request.set_name(name);
  return Unary<v1::Job>([&](grpc::ClientContext* context, auto* response) {
    return jobs_->CancelJob(context, request, response);
  });
}

absl::Status Client::DeleteJob(const std::string& name) {
  v1::DeleteJobRequest request;
  request.set_name(name);
  return Unary<google::protobuf::Empty>(
             [&](grpc::ClientContext* context, auto* response) {
               return jobs_->DeleteJob(context, request, response);
             },
             /*is_delete=*/true)
      .status();
}

absl::StatusOr<v1::Job> Client::WatchJob(const std::string& name, int64_t after_event_number,
                                         const WatchCallbacks& callbacks) {
  int64_t last_number = after_event_number;
  auto last_contact = std::chrono::steady_clock::now();
  int failures = 0;
  for (;;) {
    grpc::ClientContext context;
    const CancelOnStop cancel(options_.stop, &context);
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_after_event_number(last_number);
    const auto reader = jobs_->WatchJob(&context, request);
    std::optional<v1::Job> ended;
    v1::WatchJobResponse response;
    while (reader->Read(&response)) {
      last_contact = std::chrono::steady_clock::now();
      failures = 0;
      const v1::JobEvent& event = response.event();
      if (event.number() <= last_number) continue;
      last_number = event.number();
      if (callbacks.on_event) callbacks.on_event(event);
      if (IsEnded(event.state_change().state()) && event.has_job()) ended = event.job();
    }
    absl::Status status = FromGrpcStatus(reader->Finish());
    if (ended) return *std::move(ended);
    if (options_.stop.stop_requested()) return absl::CancelledError("interrupted");
    if (status.ok()) {
      // The stream ended in good order without the job's end: it lies before last_number, or
      // the server let go of the stream.
      absl::StatusOr<v1::Job> job = GetJob(name);
      if (job.ok() && IsEnded(job->state())) return job;
      status = job.ok() ? FromGrpcStatus({grpc::StatusCode::UNAVAILABLE,
                                          "the server ended the stream before the job ended"})
                        : job.status();
    }
    // Nobody here cancelled the call: a server that stops does that to calls that it just took.
    if (!absl::IsUnavailable(status) && !absl::IsCancelled(status)) return status;
    const milliseconds pause = RandomBackoffDelay(options_.retry, ++failures);
    if (std::chrono::steady_clock::now() + pause - last_contact > options_.watch_patience) {
      return status;
    }
    if (callbacks.on_lost) callbacks.on_lost(status, pause);
    if (!SleepUnlessStopped(pause, options_.stop)) return absl::CancelledError("interrupted");
  }
}

absl::StatusOr<v1::Model> Client::UploadModelOnce(const v1::UploadModelHeader& header,
                                                  const std::string& path) {
  grpc::ClientContext context;
  if (options_.transfer_timeout) context.set_deadline(DeadlineAfter(*options_.transfer_timeout));
  const CancelOnStop cancel(options_.stop, &context);
  v1::Model model;
  const auto writer = models_->UploadModel(&context, &model);
  v1::UploadModelRequest request;
  *request.mutable_header() = header;
  // A write fails when the server has answered already; Finish says what.
  if (writer->Write(request)) {
    const absl::Status read = ReadInChunks(path, [&](std::string chunk) {
      request.set_chunk(std::move(chunk));
      return writer->Write(request);
    });
    if (!read.ok()) {
      // Never let the server take half a file for the whole.
      context.TryCancel();
      writer->Finish();
      return read;
    }
  }
  writer->WritesDone();
  absl::Status status = FromGrpcStatus(writer->Finish());
  if (!status.ok()) return status;
  return model;
}

absl::StatusOr<v1::Model> Client::UploadModel(v1::UploadModelHeader header,
                                              const std::string& path) {
  if (header.request_id().empty()) header.set_request_id(MakeRequestId());
  absl::StatusOr<v1::Model> model = absl::UnknownError("not called");
  const absl::Status status = CallWithRetries(options_.retry, options_.stop, [&](int) {
    model = UploadModelOnce(header, path);
    return model.status();
  });
  if (!status.ok()) return status;
  return model;
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  return Unary<v1::Model>([&](grpc::ClientContext* context, auto* response) {
    return models_->GetModel(context, request, response);
  });
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels(const std::string& filter,
                                                          int64_t limit) {
  return List<v1::Model>(limit, [&](int page_size, std::string* token, auto* resources) {
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(*token);
    request.set_filter(filter);
    auto page = Unary<v1::ListModelsResponse>([&](grpc::ClientContext* context, auto* response) {
      return models_->ListModels(context, request, response);
    });
    if (!page.ok()) return page.status();
    *token = page->next_page_token();
    for (v1::Model& model : *page->mutable_models()) resources->push_back(std::move(model));
    return absl::OkStatus();
  });
}

absl::Status Client::DeleteModel(const std::string& name) {
  v1::DeleteModelRequest request;
  request.set_name(name);
  return Unary<google::protobuf::Empty>(
             [&](grpc::ClientContext* context, auto* response) {
               return models_->DeleteModel(context, request, response);
             },
             /*is_delete=*/true)
      .status();
}

absl::StatusOr<DownloadedFile> Client::DownloadOnce(const v1::DownloadModelRequest& request,
                                                    const std::string& path) {
  const std::string partial_path = absl::StrCat(path, ".partial-", MakeRequestId().substr(0, 8));
  const File file(open(partial_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.descriptor() < 0) return FileError("cannot create", partial_path, errno);
  TemporaryPath temporary(partial_path);

  grpc::ClientContext context;
  if (options_.transfer_timeout) context.set_deadline(DeadlineAfter(*options_.transfer_timeout));
  const CancelOnStop cancel(options_.stop, &context);
  const auto reader = models_->DownloadModel(&context, request);
  v1::DownloadModelResponse response;
  DownloadedFile result = {.path = path};
  int64_t announced = 0;
  absl::Status written = absl::OkStatus();
  while (written.ok() && reader->Read(&response)) {
    if (response.total_bytes() > 0) announced = response.total_bytes();
    if (response.has_psnr_db()) result.psnr_db = response.psnr_db();
    result.size_bytes += response.chunk().size();
    written = WriteAll(file.descriptor(), response.chunk(), temporary.get());
  }
  if (!written.ok()) context.TryCancel();
  absl::Status status = FromGrpcStatus(reader->Finish());
  if (!written.ok()) return written;
  if (!status.ok()) return status;
  if (announced != result.size_bytes) {
    return FromGrpcStatus(
        {grpc::StatusCode::DATA_LOSS,
         absl::StrCat("the server announced ", announced, " bytes and sent ", result.size_bytes)});
  }
  if (fsync(file.descriptor()) != 0) return FileError("cannot write", path, errno);
  if (rename(temporary.get().c_str(), path.c_str()) != 0) {
    return FileError("cannot write", path, errno);
  }
  temporary.Keep();
  return result;
}

absl::StatusOr<DownloadedFile> Client::DownloadModel(const std::string& name,
                                                     v1::ModelFormat format,
                                                     const std::string& path) {
  if (std::error_code error; std::filesystem::is_directory(path, error)) {
    return FileError("cannot write", path, EISDIR);
  }
  v1::DownloadModelRequest request;
  request.set_name(name);
  request.set_format(format);
  absl::StatusOr<DownloadedFile> file = absl::UnknownError("not called");
  const absl::Status status = CallWithRetries(options_.retry, options_.stop, [&](int) {
    file = DownloadOnce(request, path);
    return file.status();
  });
  if (!status.ok()) return status;
  return file;
}

absl::StatusOr<v1::PredictResponse> Client::Predict(const std::string& name,
                                                    const v1::Matrix& inputs) {
  if (inputs.num_rows() < 1 || inputs.num_columns() < 1 ||
      inputs.num_columns() > inputs.values_size() ||
      inputs.num_rows() != inputs.values_size() / inputs.num_columns() ||
      inputs.values_size() % inputs.num_columns() != 0) {
    return absl::InvalidArgumentError(
        "inputs: must have at least one row and num_rows * num_columns values");
  }
  const int64_t columns = inputs.num_columns();
  v1::PredictResponse all;
  // The first answer says how many outputs a row has; servers of before it have models of one.
  int64_t batch = std::clamp<int64_t>(kPredictValues / columns, 1, kFirstPredictRows);
  int64_t rows = 0;
  for (int64_t first = 0; first < inputs.num_rows(); first += rows) {
    rows = std::min(batch, inputs.num_rows() - first);
    v1::PredictRequest request;
    request.set_name(name);
    request.mutable_inputs()->set_num_rows(rows);
    request.mutable_inputs()->set_num_columns(columns);
    const float* begin = inputs.values().data() + first * columns;
    request.mutable_inputs()->mutable_values()->Add(begin, begin + rows * columns);
    auto part = Unary<v1::PredictResponse>([&](grpc::ClientContext* context, auto* response) {
      return models_->Predict(context, request, response);
    });
    if (!part.ok()) return part.status();
    all.MergeFrom(*part);
    const int64_t widest = std::max({columns, part->num_outputs(), int64_t{1}});
    batch = std::max<int64_t>(1, kPredictValues / widest);
  }
  return all;
}

}  // namespace thresher::client
