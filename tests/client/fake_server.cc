#include "tests/client/fake_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "google/rpc/status.pb.h"

namespace thresher::client {
namespace {

// The page of `all` that a list request asks for; tokens are indices.
template <typename Resource, typename Field>
void FillPage(const std::vector<Resource>& all, int page_size, const std::string& token,
              Field* field, std::string* next_page_token) {
  const size_t first = token.empty() ? 0 : std::stoul(token);
  const size_t last = std::min(all.size(), first + (page_size == 0 ? 50 : page_size));
  for (size_t i = first; i < last; ++i) *field->Add() = all[i];
  if (last < all.size()) *next_page_token = std::to_string(last);
}

grpc::Status NotFound() { return {grpc::StatusCode::NOT_FOUND, "there is no such resource"}; }

}  // namespace

class FakeServer::Services {
 public:
  // Records a call and says how it begins.
  grpc::Status Begin(const std::string& method, const std::function<void(FakeWorld&)>& record) {
    const std::lock_guard lock(mutex);
    ++current.calls[method];
    record(current);
    changed.notify_all();
    if (current.failures.empty()) return grpc::Status::OK;
    grpc::Status failure = current.failures.front();
    current.failures.pop_front();
    return failure;
  }

  class Server final : public v1::ServerService::Service {
   public:
    explicit Server(Services* services) : services_(services) {}
    grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                               v1::GetServerInfoResponse* response) override {
      response->set_version("1.2.3");
      response->set_workers(4);
      response->set_memory_budget_bytes(int64_t{8} << 30);
      return services_->Begin("GetServerInfo", [](FakeWorld&) {});
    }

   private:
    Services* services_;
  };

  class Health final : public grpc::health::v1::Health::Service {
   public:
    explicit Health(Services* services) : services_(services) {}
    grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest*,
                       grpc::health::v1::HealthCheckResponse* response) override {
      return services_->Begin("Check",
                              [&](FakeWorld& world) { response->set_status(world.health); });
    }

   private:
    Services* services_;
  };

  class Datasets final : public v1::DatasetService::Service {
   public:
    explicit Datasets(Services* services) : services_(services) {}
    grpc::Status UploadDataset(grpc::ServerContext*,
                               grpc::ServerReader<v1::UploadDatasetRequest>* reader,
                               v1::Dataset* response) override {
      // The first failure of an upload comes after its first message, the rest unread.
      ReceivedUpload upload;
      v1::UploadDatasetRequest request;
      bool first = true;
      while (reader->Read(&request)) {
        upload.largest_message = std::max(upload.largest_message, request.ByteSizeLong());
        if (request.has_header()) upload.header = request.header();
        upload.inputs += request.inputs_chunk();
        upload.targets += request.targets_chunk();
        if (std::exchange(first, false)) {
          grpc::Status status = services_->Begin("UploadDataset", [](FakeWorld&) {});
          if (!status.ok()) return status;
        }
      }
      const std::lock_guard lock(services_->mutex);
      services_->current.uploads.push_back(std::move(upload));
      if (!services_->current.datasets.empty()) *response = services_->current.datasets[0];
      return grpc::Status::OK;
    }
    grpc::Status CreateDataset(grpc::ServerContext*, const v1::CreateDatasetRequest* request,
                               v1::Dataset* response) override {
      return services_->Begin("CreateDataset", [&](FakeWorld& world) {
        world.create_dataset_requests.push_back(*request);
        if (!world.datasets.empty()) *response = world.datasets[0];
      });
    }
    grpc::Status GetDataset(grpc::ServerContext*, const v1::GetDatasetRequest* request,
                            v1::Dataset* response) override {
      bool found = false;
      grpc::Status status = services_->Begin("GetDataset", [&](FakeWorld& world) {
        world.named.push_back(request->name());
        found = !world.datasets.empty();
        if (found) *response = world.datasets[0];
      });
      return status.ok() && !found ? NotFound() : status;
    }
    grpc::Status ListDatasets(grpc::ServerContext*, const v1::ListDatasetsRequest* request,
                              v1::ListDatasetsResponse* response) override {
      return services_->Begin("ListDatasets", [&](FakeWorld& world) {
        FillPage(world.datasets, request->page_size(), request->page_token(),
                 response->mutable_datasets(), response->mutable_next_page_token());
      });
    }
    grpc::Status DeleteDataset(grpc::ServerContext*, const v1::DeleteDatasetRequest* request,
                               google::protobuf::Empty*) override {
      return services_->Begin("DeleteDataset",
                              [&](FakeWorld& world) { world.named.push_back(request->name()); });
    }

   private:
    Services* services_;
  };

  class Jobs final : public v1::JobService::Service {
   public:
    explicit Jobs(Services* services) : services_(services) {}
    grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                           v1::Job* response) override {
      return services_->Begin("CreateJob", [&](FakeWorld& world) {
        world.create_job_requests.push_back(*request);
        if (!world.jobs.empty()) *response = world.jobs[0];
      });
    }
    grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                        v1::Job* response) override {
      bool found = false;
      grpc::Status status = services_->Begin("GetJob", [&](FakeWorld& world) {
        world.named.push_back(request->name());
        found = !world.jobs.empty();
        if (found) *response = world.jobs[0];
      });
      return status.ok() && !found ? NotFound() : status;
    }
    grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                          v1::ListJobsResponse* response) override {
      return services_->Begin("ListJobs", [&](FakeWorld& world) {
        world.list_jobs_requests.push_back(*request);
        FillPage(world.jobs, request->page_size(), request->page_token(), response->mutable_jobs(),
                 response->mutable_next_page_token());
      });
    }
    grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                          grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
      grpc::Status status = services_->Begin(
          "WatchJob", [&](FakeWorld& world) { world.watch_requests.push_back(*request); });
      if (!status.ok()) return status;
      std::unique_lock lock(services_->mutex);
      FakeWorld& world = services_->current;
      int left = -1;
      grpc::Status end = grpc::Status::OK;
      if (!world.watch_breaks.empty()) {
        left = world.watch_breaks.front().events;
        end = world.watch_breaks.front().status;
        world.watch_breaks.pop_front();
      }
      bool ended = false;
      for (const v1::JobEvent& event : world.events) {
        if (event.number() <= request->after_event_number()) continue;
        if (left-- == 0) return end;
        v1::WatchJobResponse response;
        *response.mutable_event() = event;
        writer->Write(response);
        ended = IsEnded(event.state_change().state());
      }
      if (ended || left >= 0) return end;
      if (!world.jobs.empty() && IsEnded(world.jobs[0].state())) return grpc::Status::OK;
      services_->changed.wait(lock, [this] { return services_->released; });
      return {grpc::StatusCode::UNAVAILABLE, "the server stops"};
    }
    grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                           v1::Job* response) override {
      return services_->Begin("CancelJob", [&](FakeWorld& world) {
        world.named.push_back(request->name());
        if (!world.jobs.empty()) *response = world.jobs[0];
      });
    }
    grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                           google::protobuf::Empty*) override {
      return services_->Begin("DeleteJob",
                              [&](FakeWorld& world) { world.named.push_back(request->name()); });
    }

   private:
    Services* services_;
  };

  class Models final : public v1::ModelService::Service {
   public:
    explicit Models(Services* services) : services_(services) {}
    grpc::Status UploadModel(grpc::ServerContext*,
                             grpc::ServerReader<v1::UploadModelRequest>* reader,
                             v1::Model* response) override {
      v1::UploadModelRequest request;
      std::pair<v1::UploadModelHeader, std::string> upload;
      while (reader->Read(&request)) {
        if (request.has_header()) upload.first = request.header();
        upload.second += request.chunk();
      }
      return services_->Begin("UploadModel", [&](FakeWorld& world) {
        world.model_uploads.push_back(upload);
        if (!world.models.empty()) *response = world.models[0];
      });
    }
    grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                          v1::Model* response) override {
      bool found = false;
      grpc::Status status = services_->Begin("GetModel", [&](FakeWorld& world) {
        world.named.push_back(request->name());
        found = !world.models.empty();
        if (found) *response = world.models[0];
      });
      return status.ok() && !found ? NotFound() : status;
    }
    grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                            v1::ListModelsResponse* response) override {
      return services_->Begin("ListModels", [&](FakeWorld& world) {
        FillPage(world.models, request->page_size(), request->page_token(),
                 response->mutable_models(), response->mutable_next_page_token());
      });
    }
    grpc::Status DownloadModel(grpc::ServerContext*, const v1::DownloadModelRequest* request,
                               grpc::ServerWriter<v1::DownloadModelResponse>* writer) override {
      std::string file;
      int64_t announced = 0;
      grpc::Status status = services_->Begin("DownloadModel", [&](FakeWorld& world) {
        world.named.push_back(request->name());
        file = world.model_file;
        announced = world.model_file_announced < 0 ? static_cast<int64_t>(file.size())
                                                   : world.model_file_announced;
      });
      // A failure comes in the middle of the file.
      const size_t end = status.ok() ? file.size() : file.size() / 2;
      constexpr size_t kChunk = 1000;
      for (size_t offset = 0; offset < end; offset += kChunk) {
        v1::DownloadModelResponse response;
        response.set_chunk(file.substr(offset, std::min(kChunk, end - offset)));
        if (offset == 0) {
          response.set_total_bytes(announced);
          if (request->format() == v1::MODEL_FORMAT_PNG) response.set_psnr_db(41.5);
        }
        writer->Write(response);
      }
      return status;
    }
    grpc::Status Predict(grpc::ServerContext*, const v1::PredictRequest* request,
                         v1::PredictResponse* response) override {
      const v1::Matrix& inputs = request->inputs();
      return services_->Begin("Predict", [&](FakeWorld& world) {
        world.predict_requests.push_back(*request);
        response->set_num_outputs(world.num_outputs);
        for (int64_t row = 0; row < inputs.num_rows(); ++row) {
          double sum = 0;
          for (int64_t k = 0; k < inputs.num_columns(); ++k) {
            sum += inputs.values(static_cast<int>(row * inputs.num_columns() + k));
          }
          for (int c = 1; c <= world.num_outputs; ++c) response->add_outputs(c * sum);
        }
      });
    }
    grpc::Status DeleteModel(grpc::ServerContext*, const v1::DeleteModelRequest* request,
                             google::protobuf::Empty*) override {
      return services_->Begin("DeleteModel",
                              [&](FakeWorld& world) { world.named.push_back(request->name()); });
    }

   private:
    Services* services_;
  };

  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;  // streams that are held open end
  FakeWorld current;

  Server server{this};
  Health health{this};
  Datasets datasets{this};
  Jobs jobs{this};
  Models models{this};
};

FakeServer::FakeServer() : services_(std::make_unique<Services>()) { Start(0); }

FakeServer::~FakeServer() { Stop(); }

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeServer::Edit(const std::function<void(FakeWorld&)>& edit) {
  const std::lock_guard lock(services_->mutex);
  edit(services_->current);
}

FakeWorld FakeServer::Look() {
  const std::lock_guard lock(services_->mutex);
  return services_->current;
}

void FakeServer::WaitUntil(const std::function<bool(const FakeWorld&)>& condition) {
  std::unique_lock lock(services_->mutex);
  services_->changed.wait(lock, [&] { return condition(services_->current); });
}

void FakeServer::Start(int port) {
  services_->released = false;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.SetMaxReceiveMessageSize(4 << 20);
  builder.RegisterService(&services_->server);
  builder.RegisterService(&services_->health);
  builder.RegisterService(&services_->datasets);
  builder.RegisterService(&services_->jobs);
  builder.RegisterService(&services_->models);
  server_ = builder.BuildAndStart();
}

void FakeServer::Stop() {
  {
    const std::lock_guard lock(services_->mutex);
    services_->released = true;
    services_->changed.notify_all();
  }
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
  server_->Wait();
}

void FakeServer::Restart() {
  const int port = port_;
  Stop();
  Start(port);
}

grpc::Status StatusWithDetails(grpc::StatusCode code, const std::string& message,
                               const std::vector<const google::protobuf::Message*>& details) {
  google::rpc::Status proto;
  proto.set_code(code);
  proto.set_message(message);
  for (const google::protobuf::Message* detail : details) proto.add_details()->PackFrom(*detail);
  return {code, message, proto.SerializeAsString()};
}

v1::Job QueuedJob() {
  v1::Job job;
  job.set_name("jobs/first");
  job.set_state(v1::JOB_STATE_QUEUED);
  job.mutable_recovery()->set_dataset("datasets/planted");
  job.mutable_recovery()->mutable_options()->set_hidden_width(20);
  job.mutable_recovery()->mutable_options()->set_nonzeros(20);
  return job;
}

std::vector<v1::JobEvent> EventsOfJob(const v1::Job& job, int iterations, v1::JobState state) {
  std::vector<v1::JobEvent> events;
  const auto add = [&]() -> v1::JobEvent& {
    v1::JobEvent& event = events.emplace_back();
    event.set_number(static_cast<int64_t>(events.size()));
    event.mutable_time()->set_seconds(1700000000 + event.number());
    return event;
  };
  const auto change = [&](v1::JobState to, const std::string& message) -> v1::JobEvent& {
    v1::JobEvent& event = add();
    event.mutable_state_change()->set_state(to);
    event.mutable_state_change()->set_message(message);
    *event.mutable_job() = job;
    event.mutable_job()->set_state(to);
    return event;
  };
  change(v1::JOB_STATE_QUEUED, "");
  change(v1::JOB_STATE_RUNNING, "attempt 1");
  for (int i = 1; i <= iterations; ++i) {
    v1::IterationReport* report = add().mutable_progress();
    report->set_iteration(i);
    report->set_relative_residual(std::pow(0.5, i));
    report->set_psnr_db(6.0 * i);
    report->set_step_size(0.5);
    report->set_support_size(20);
    report->set_active_neurons(10);
    report->mutable_elapsed()->set_seconds(i);
  }
  if (!IsEnded(state)) return events;
  v1::Job* ended = change(state, "").mutable_job();
  if (state == v1::JOB_STATE_FAILED) {
    ended->mutable_error()->set_code(13);
    ended->mutable_error()->set_message("the solver diverged");
    return events;
  }
  ended->set_model("models/first");
  v1::RecoveryReport* report = ended->mutable_recovery_report();
  report->set_termination_reason(state == v1::JOB_STATE_CANCELLED
                                     ? v1::TERMINATION_REASON_CANCELLED
                                     : v1::TERMINATION_REASON_CONVERGED);
  report->set_iterations(iterations);
  report->set_nonzeros(20);
  report->set_active_neurons(10);
  report->mutable_held_out()->set_psnr_db(152.3);
  report->mutable_held_out()->set_num_samples(1000);
  v1::PlantedComparison* planted = report->mutable_planted();
  planted->set_support_recall(1);
  planted->set_support_precision(1);
  planted->set_relative_weight_error(3e-8);
  planted->set_exact(true);
  planted->set_planted_neurons(10);
  planted->set_recovered_neurons(10);
  planted->set_planted_nonzeros(20);
  planted->set_recovered_nonzeros(20);
  planted->set_matched_nonzeros(20);
  return events;
}

}  // namespace thresher::client
