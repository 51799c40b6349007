#ifndef THRESHER_TESTS_CLIENT_FAKE_SERVER_H_
#define THRESHER_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "thresher/v1/dataset_service.grpc.pb.h"
#include "thresher/v1/job_service.grpc.pb.h"
#include "thresher/v1/model_service.grpc.pb.h"
#include "thresher/v1/server_service.grpc.pb.h"

namespace thresher::client {

// One upload as it arrived.
struct ReceivedUpload {
  v1::UploadDatasetHeader header;
  std::string inputs;
  std::string targets;
  size_t largest_message = 0;
};

// How a watch stream ends before its time: after `events` events, with `status`.
struct WatchBreak {
  int events;
  grpc::Status status;
};

// What the fake server answers, and what it was asked. Guarded by the server's mutex: use
// FakeServer::Edit and FakeServer::Look.
struct FakeWorld {
  // The next calls fail with these, one each, after their request was recorded.
  std::deque<grpc::Status> failures;
  // The next watch streams break; later ones send every event after the number asked for, end
  // after a terminal one, and are held open otherwise.
  std::deque<WatchBreak> watch_breaks;

  std::vector<v1::Job> jobs;  // the first is what Create, Get and Cancel return
  std::vector<v1::JobEvent> events;
  std::vector<v1::Dataset> datasets;  // the first is what Create, Upload and Get return
  std::vector<v1::Model> models;
  std::string model_file;
  int64_t model_file_announced = -1;  // -1: its true size
  grpc::health::v1::HealthCheckResponse::ServingStatus health =
      grpc::health::v1::HealthCheckResponse::SERVING;

  std::map<std::string, int> calls;  // by method
  std::vector<v1::CreateJobRequest> create_job_requests;
  std::vector<v1::CreateDatasetRequest> create_dataset_requests;
  std::vector<v1::ListJobsRequest> list_jobs_requests;
  std::vector<v1::WatchJobRequest> watch_requests;
  std::vector<v1::PredictRequest> predict_requests;
  int num_outputs = 1;             // of a prediction: c times the sum of the row, c = 1, 2, ...
  std::vector<std::string> named;  // resources of Get, Delete, Cancel and Download
  std::vector<ReceivedUpload> uploads;
  // Header and file of each uploaded model.
  std::vector<std::pair<v1::UploadModelHeader, std::string>> model_uploads;
};

// A gRPC server on a free port of the loopback address that plays thresherd.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string address() const;

  void Edit(const std::function<void(FakeWorld&)>& edit);
  FakeWorld Look();
  // Waits until the condition holds; it is asked again after every call that arrives.
  void WaitUntil(const std::function<bool(const FakeWorld&)>& condition);

  // Ends every stream and stops listening, then listens on the same port again.
  void Restart();

 private:
  class Services;
  void Start(int port);
  void Stop();

  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// A status with error details, as the server sends it.
grpc::Status StatusWithDetails(grpc::StatusCode code, const std::string& message,
                               const std::vector<const google::protobuf::Message*>& details);

// Events of a job that runs `iterations` iterations and ends in `state`, numbered from 1; the
// last carries the job.
std::vector<v1::JobEvent> EventsOfJob(const v1::Job& job, int iterations, v1::JobState state);

// A job that was QUEUED on a planted data set.
v1::Job QueuedJob();

}  // namespace thresher::client

#endif  // THRESHER_TESTS_CLIENT_FAKE_SERVER_H_
