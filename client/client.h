#ifndef THRESHER_CLIENT_CLIENT_H_
#define THRESHER_CLIENT_CLIENT_H_

#include <grpcpp/channel.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/retry.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "thresher/v1/dataset_service.grpc.pb.h"
#include "thresher/v1/job_service.grpc.pb.h"
#include "thresher/v1/model_service.grpc.pb.h"
#include "thresher/v1/server_service.grpc.pb.h"

namespace thresher::client {

inline constexpr char kDefaultServer[] = "127.0.0.1:7700";

struct ClientOptions {
  // HOST:PORT, or unix:PATH.
  std::string server = kDefaultServer;

  // Longest time for one call, its retries included. Watching has no such limit.
  std::chrono::milliseconds call_timeout{30000};
  // The same for one upload or download; unset: no limit, a dead server is noticed by keepalive.
  std::optional<std::chrono::milliseconds> transfer_timeout;

  RetryPolicy retry;

  // A watch that lost its stream gives up when the server was out of reach for so long.
  std::chrono::milliseconds watch_patience{300000};

  // Largest message taken from the server.
  int max_message_bytes = 64 << 20;

  // Once requested, calls in flight and later ones return CANCELLED.
  std::stop_token stop;
};

// A channel to options.server with its message limits and keepalive. Does not connect yet.
// No transport security: for loopback and trusted networks.
std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options);

// Files of an upload. targets_path is empty for formats that hold both in one file.
struct UploadFiles {
  std::string inputs_path;
  std::string targets_path;
};

struct WatchCallbacks {
  // Called for each event, in the order of their numbers, none twice.
  std::function<void(const v1::JobEvent&)> on_event;
  // Called when the stream is lost, before the pause after which the client asks again.
  std::function<void(const absl::Status& reason, std::chrono::milliseconds pause)> on_lost;
};

struct DownloadedFile {
  std::string path;
  int64_t size_bytes = 0;
  std::optional<double> psnr_db = std::nullopt;  // MODEL_FORMAT_PNG: against the image
};

// True for SUCCEEDED, FAILED and CANCELLED.
bool IsEnded(v1::JobState state);

// A client of one server. Calls block; they may be made from several threads.
//
// Errors are those of the wire contract (proto/README.md), with the details of errors.h, and:
// DEADLINE_EXCEEDED after call_timeout, UNAVAILABLE when the retries were in vain, CANCELLED
// after options.stop. UNAVAILABLE is retried for every call; that is safe, because each create
// carries a request_id, made here when the caller gives none.
class Client {
 public:
  explicit Client(const ClientOptions& options);
  // With a channel made elsewhere (in-process, or with credentials).
  Client(ClientOptions options, std::shared_ptr<grpc::Channel> channel);

  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo();
  // grpc.health.v1 of the whole server.
  absl::StatusOr<grpc::health::v1::HealthCheckResponse> CheckHealth();

  absl::StatusOr<v1::Dataset> CreateDataset(v1::CreateDatasetRequest request);
  // Streams the files from disk in chunks: memory does not grow with the files. A retry sends
  // all of it again under the same request_id. INVALID_ARGUMENT or NOT_FOUND (not IsFromCall)
  // when a file cannot be read.
  absl::StatusOr<v1::Dataset> UploadDataset(v1::UploadDatasetHeader header,
                                            const UploadFiles& files);
  absl::StatusOr<v1::Dataset> GetDataset(const std::string& name);
  // Newest first, as many pages as it takes for `limit` of them; 0: all.
  absl::StatusOr<std::vector<v1::Dataset>> ListDatasets(const std::string& filter, int64_t limit);
  // OK too when a retry finds that the first call had done it already; so for all deletes.
  absl::Status DeleteDataset(const std::string& name);

  absl::StatusOr<v1::Job> CreateJob(v1::CreateJobRequest request);
  absl::StatusOr<v1::Job> GetJob(const std::string& name);
  absl::StatusOr<std::vector<v1::Job>> ListJobs(const std::string& filter, int64_t limit);
  absl::StatusOr<v1::Job> CancelJob(const std::string& name);
  absl::Status DeleteJob(const std::string& name);
  // Follows a job to its end, from the event after `after_event_number`, and returns the ended
  // job. A lost stream (UNAVAILABLE, or an end before the job's) is taken up again after the
  // last event seen, for as long as options.watch_patience.
  absl::StatusOr<v1::Job> WatchJob(const std::string& name, int64_t after_event_number,
                                   const WatchCallbacks& callbacks);

  // Streams the file as UploadDataset does.
  absl::StatusOr<v1::Model> UploadModel(v1::UploadModelHeader header, const std::string& path);
  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  absl::StatusOr<std::vector<v1::Model>> ListModels(const std::string& filter, int64_t limit);
  absl::Status DeleteModel(const std::string& name);
  // Writes to a temporary file beside `path` and renames it when all of it is there and on disk.
  absl::StatusOr<DownloadedFile> DownloadModel(const std::string& name, v1::ModelFormat format,
                                               const std::string& path);
  // In as many calls as the message limits need.
  absl::StatusOr<v1::PredictResponse> Predict(const std::string& name, const v1::Matrix& inputs);

 private:
  template <typename Response, typename Call>
  absl::StatusOr<Response> Unary(const Call& call, bool is_delete = false);
  template <typename Resource, typename Page>
  absl::StatusOr<std::vector<Resource>> List(int64_t limit, const Page& page);
  absl::StatusOr<v1::Dataset> UploadOnce(const v1::UploadDatasetHeader& header,
                                         const UploadFiles& files);
  absl::StatusOr<v1::Model> UploadModelOnce(const v1::UploadModelHeader& header,
                                            const std::string& path);
  absl::StatusOr<DownloadedFile> DownloadOnce(const v1::DownloadModelRequest& request,
                                              const std::string& path);

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ServerService::Stub> server_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  const std::unique_ptr<v1::DatasetService::Stub> datasets_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
};

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_CLIENT_H_
