// A whole server in the test's process, with a runner that the test controls.
#ifndef THRESHER_TESTS_SERVER_RPC_RUNNING_SERVER_H_
#define THRESHER_TESTS_SERVER_RPC_RUNNING_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "server/jobs/job_manager.h"
#include "server/jobs/runner.h"
#include "server/rpc/server.h"
#include "server/store/store.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"
#include "tests/server/temporary_directory.h"
#include "thresher/v1/dataset_service.grpc.pb.h"
#include "thresher/v1/job_service.grpc.pb.h"
#include "thresher/v1/model_service.grpc.pb.h"
#include "thresher/v1/server_service.grpc.pb.h"

namespace thresher::rpc {

// Holds jobs of this runner in RUNNING until Open or a stop request; each reports
// `iterations` steps first. Their model is the network of one weight.
class Gate {
 public:
  explicit Gate(int iterations = 3) : iterations_(iterations) {}

  void Open() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

  // Instead of that network; before a job runs.
  void SetModel(Model model) { model_ = std::move(model); }

  absl::StatusOr<jobs::JobOutcome> Run(const jobs::JobRun& run) {
    jobs::JobOutcome outcome;
    for (int i = 1; i <= iterations_; ++i) {
      run.on_iteration(
          IterationReport{.iteration = i, .relative_residual = 1.0 / i, .support_size = 1});
    }
    std::unique_lock<std::mutex> lock(mutex_);
    const bool opened = changed_.wait(lock, run.stop, [this] { return open_; });
    outcome.model = model_;
    outcome.report =
        store::RecoveryReport{.termination_reason = opened ? TerminationReason::kConverged
                                                           : TerminationReason::kCancelled,
                              .iterations = iterations_,
                              .partial = !opened};
    return outcome;
  }

 private:
  const int iterations_;
  Model model_ = {.network =
                      SparseNetwork{.num_inputs = 4,
                                    .weights = {.row_begin = {0, 1}, .column = {2}, .value = {2.0}},
                                    .output_signs = {1}}};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool open_ = false;
};

struct RunningServerOptions {
  ServerOptions rpc;
  jobs::JobManagerOptions jobs;
  bool solve = false;  // run the solver instead of the gate
  int gate_iterations = 3;
};

class RunningServer {
 public:
  explicit RunningServer(RunningServerOptions options = {})
      : gate_(options.gate_iterations),
        metrics_({.version = "1.2.3", .commit = "", .compiler = "test"}) {
    auto store =
        store::Store::Open({.data_dir = directory_.path(), .max_dataset_bytes = int64_t{16} << 20});
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    runner_ = std::make_unique<jobs::Runner>(store_.get(), 1, "1.2.3");
    options.jobs.program_version = "1.2.3";
    jobs_ = std::make_unique<jobs::JobManager>(
        options.jobs, store_.get(),
        [this](const jobs::JobSpec& spec) { return runner_->Plan(spec); },
        [this, solve = options.solve](const jobs::JobRun& run) {
          // A sweep only feeds its cells, which the gate holds.
          const bool sweep = std::holds_alternative<jobs::SweepSpec>(run.job.spec);
          return solve || sweep ? runner_->Run(run) : gate_.Run(run);
        });
    telemetry::SetUpLogging(telemetry::LogLevel::kOff, telemetry::LogFormat::kText);
    EXPECT_TRUE(jobs_->Start().ok());
    options.rpc.build_info = {.version = "1.2.3", .commit = "abc", .compiler = "test"};
    auto server = Server::Start(options.rpc, *jobs_, *store_, metrics_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel_ = grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(),
                                         arguments);
    job_stub_ = v1::JobService::NewStub(channel_);
    dataset_stub_ = v1::DatasetService::NewStub(channel_);
    model_stub_ = v1::ModelService::NewStub(channel_);
    server_stub_ = v1::ServerService::NewStub(channel_);
  }

  // As the main program does on SIGTERM.
  void Drain() {
    server_->BeginDrain();
    EXPECT_TRUE(jobs_->Drain(std::chrono::steady_clock::now() + std::chrono::seconds(30)).ok());
  }

  void Stop() { server_->Stop(std::chrono::steady_clock::now() + std::chrono::seconds(30)); }

  Gate& gate() { return gate_; }
  Server& server() { return *server_; }
  telemetry::Metrics& metrics() { return metrics_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  v1::JobService::Stub& job_stub() { return *job_stub_; }
  v1::DatasetService::Stub& dataset_stub() { return *dataset_stub_; }
  v1::ModelService::Stub& model_stub() { return *model_stub_; }
  v1::ServerService::Stub& server_stub() { return *server_stub_; }

  // ----- The most frequent calls. -----

  grpc::Status CreateJob(const v1::CreateJobRequest& request, v1::Job* job) {
    grpc::ClientContext context;
    return job_stub_->CreateJob(&context, request, job);
  }
  grpc::Status GetJob(const std::string& name, v1::Job* job) {
    grpc::ClientContext context;
    v1::GetJobRequest request;
    request.set_name(name);
    return job_stub_->GetJob(&context, request, job);
  }
  grpc::Status CancelJob(const std::string& name, v1::Job* job) {
    grpc::ClientContext context;
    v1::CancelJobRequest request;
    request.set_name(name);
    return job_stub_->CancelJob(&context, request, job);
  }
  grpc::Status CreateDataset(const v1::CreateDatasetRequest& request, v1::Dataset* dataset) {
    grpc::ClientContext context;
    return dataset_stub_->CreateDataset(&context, request, dataset);
  }

  // A planted data set of 4 inputs.
  void Plant(const std::string& id) {
    v1::Dataset dataset;
    const grpc::Status status = CreateDataset(PlantedRequest(id), &dataset);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  static v1::CreateDatasetRequest PlantedRequest(const std::string& id) {
    v1::CreateDatasetRequest request;
    request.set_dataset_id(id);
    v1::PlantedSource& planted = *request.mutable_dataset()->mutable_planted();
    planted.set_num_samples(60);
    planted.set_num_inputs(4);
    planted.set_hidden_width(2);
    planted.set_nonzeros(3);
    planted.set_seed(5);
    return request;
  }
  static v1::CreateJobRequest JobRequest(const std::string& dataset, const std::string& id = "") {
    v1::CreateJobRequest request;
    request.set_job_id(id);
    v1::RecoverySpec& spec = *request.mutable_job()->mutable_recovery();
    spec.set_dataset("datasets/" + dataset);
    spec.mutable_options()->set_hidden_width(3);
    spec.mutable_options()->set_nonzeros(3);
    return request;
  }
  // A queued job, or a test failure.
  v1::Job Submit(const v1::CreateJobRequest& request) {
    v1::Job job;
    const grpc::Status status = CreateJob(request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }

  // Follows the job until `wanted` says yes; returns that event, or none when the stream
  // ended before.
  template <typename Wanted>
  std::optional<v1::JobEvent> WatchUntil(const std::string& name, Wanted wanted) {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_name(name);
    const auto reader = job_stub_->WatchJob(&context, request);
    v1::WatchJobResponse response;
    std::optional<v1::JobEvent> found;
    while (!found && reader->Read(&response)) {
      if (wanted(response.event())) found = response.event();
    }
    context.TryCancel();
    reader->Finish();
    return found;
  }
  v1::Job WaitForState(const std::string& name, v1::JobState state) {
    const auto event = WatchUntil(name, [state](const v1::JobEvent& each) {
      return each.has_state_change() && each.state_change().state() == state;
    });
    EXPECT_TRUE(event) << name << " ended without " << v1::JobState_Name(state);
    return event ? event->job() : v1::Job();
  }

 private:
  thresher::testing::TemporaryDirectory directory_;
  Gate gate_;
  telemetry::Metrics metrics_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<jobs::Runner> runner_;
  std::unique_ptr<jobs::JobManager> jobs_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> job_stub_;
  std::unique_ptr<v1::DatasetService::Stub> dataset_stub_;
  std::unique_ptr<v1::ModelService::Stub> model_stub_;
  std::unique_ptr<v1::ServerService::Stub> server_stub_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_TESTS_SERVER_RPC_RUNNING_SERVER_H_
