#include "server/rpc/server.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpc/health/v1/health.grpc.pb.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1alpha::ServerReflection;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

HealthCheckResponse::ServingStatus Check(RunningServer& server, const std::string& service) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status =
      Health::NewStub(server.channel())->Check(&context, request, &response);
  return status.ok() ? response.status() : HealthCheckResponse::SERVICE_UNKNOWN;
}

TEST(ServerTest, SaysWhatItIs) {
  RunningServer server({.jobs = {.num_workers = 2, .max_queued_jobs = 7}});
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "runs"));
  server.WaitForState("jobs/runs", v1::JOB_STATE_RUNNING);
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(server.server_stub().GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.commit(), "abc");
  EXPECT_EQ(info.workers(), 2);
  EXPECT_EQ(info.workers_busy(), 1);
  EXPECT_EQ(info.max_queued_jobs(), 7);
  EXPECT_GT(info.memory_reserved_bytes(), 0);
  EXPECT_GE(info.memory_budget_bytes(), info.memory_reserved_bytes());
  EXPECT_GT(info.max_message_bytes(), 0);
  EXPECT_GT(info.max_upload_bytes(), 0);
  EXPECT_FALSE(info.instruction_set().empty());
}

TEST(ServerTest, IsHealthyUntilItDrains) {
  RunningServer server;
  for (const std::string service : {"", "thresher.v1.JobService", "thresher.v1.DatasetService",
                                    "thresher.v1.ModelService", "thresher.v1.ServerService"}) {
    EXPECT_EQ(Check(server, service), HealthCheckResponse::SERVING) << service;
  }
  EXPECT_EQ(Check(server, "no.such.Service"), HealthCheckResponse::SERVICE_UNKNOWN);
  server.Drain();
  EXPECT_EQ(Check(server, ""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check(server, "thresher.v1.JobService"), HealthCheckResponse::NOT_SERVING);
}

TEST(ServerTest, DrainRefusesNewWorkAndEndsStreams) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "w"));
  server.WaitForState("jobs/w", v1::JOB_STATE_RUNNING);

  grpc::ClientContext watch_context;
  v1::WatchJobRequest watch;
  watch.set_name("jobs/w");
  v1::WatchJobResponse event;
  const auto watcher = server.job_stub().WatchJob(&watch_context, watch);
  ASSERT_TRUE(watcher->Read(&event));
  grpc::ClientContext upload_context;
  v1::Dataset dataset;
  const auto upload = server.dataset_stub().UploadDataset(&upload_context, &dataset);
  v1::UploadDatasetRequest header;
  header.mutable_header()->mutable_dataset()->mutable_upload()->set_format(v1::FILE_FORMAT_NPY);
  ASSERT_TRUE(upload->Write(header));

  server.Drain();
  const grpc::Status upload_end = upload->Finish();
  EXPECT_EQ(upload_end.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(upload_end), "SERVER_STOPPING");
  while (watcher->Read(&event)) {
  }
  const grpc::Status watch_end = watcher->Finish();
  EXPECT_EQ(watch_end.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(watch_end), "SERVER_STOPPING");
  EXPECT_THAT(watch_end.error_message(), HasSubstr("stopping"));
  v1::Job job;
  const grpc::Status create = server.CreateJob(RunningServer::JobRequest("a"), &job);
  EXPECT_EQ(create.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(create), "SERVER_STOPPING");
  // What only reads is still answered: the job waits for the next start.
  ASSERT_TRUE(server.GetJob("jobs/w", &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_QUEUED);
}

TEST(ServerTest, StopDoesNotWaitForHealthWatchersAndReflection) {
  RunningServer server;
  grpc::ClientContext health_context;
  const auto health = Health::NewStub(server.channel())->Watch(&health_context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  grpc::ClientContext reflection_context;
  const auto reflection =
      ServerReflection::NewStub(server.channel())->ServerReflectionInfo(&reflection_context);
  ServerReflectionRequest request;
  request.set_list_services("");
  ServerReflectionResponse reply;
  ASSERT_TRUE(reflection->Write(request));
  ASSERT_TRUE(reflection->Read(&reply));

  server.Drain();
  // Would block for ever if either stream were waited for.
  server.server().Stop(std::chrono::steady_clock::time_point::max());
  while (health->Read(&response)) {
  }
  EXPECT_FALSE(health->Finish().ok());
  EXPECT_FALSE(reflection->Read(&reply));
  EXPECT_FALSE(reflection->Finish().ok());
}

TEST(ServerTest, ReflectionDescribesEveryService) {
  RunningServer server;
  grpc::ClientContext context;
  const auto stream = ServerReflection::NewStub(server.channel())->ServerReflectionInfo(&context);
  ServerReflectionRequest request;
  request.set_list_services("");
  ServerReflectionResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  std::set<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.insert(service.name());
  }
  EXPECT_THAT(names, IsSupersetOf({"thresher.v1.JobService", "thresher.v1.DatasetService",
                                   "thresher.v1.ModelService", "thresher.v1.ServerService",
                                   "grpc.health.v1.Health"}));
  for (const std::string& name : names) {
    request.set_file_containing_symbol(name);
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_GT(response.file_descriptor_response().file_descriptor_proto_size(), 0)
        << name << ": " << response.error_response().error_message();
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(ServerTest, MessagesAreBounded) {
  RunningServer server({.rpc = {.max_message_bytes = 100'000}});
  server.Plant("a");
  v1::CreateJobRequest request = RunningServer::JobRequest("a");
  request.set_request_id(std::string(200'000, 'x'));
  v1::Job job;
  EXPECT_EQ(server.CreateJob(request, &job).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  request.set_request_id(std::string(50'000, 'x'));
  EXPECT_TRUE(IsInvalidField(server.CreateJob(request, &job), "request_id"));
}

TEST(ServerTest, AFullPoolRefusesWithRetryInfo) {
  // One thread and no room to wait: while it plants, others are refused.
  RunningServer server({.rpc = {.lookup_threads = 1, .max_waiting_lookups = 0}});
  v1::Job job;
  const grpc::Status status = server.GetJob("jobs/none", &job);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "TOO_MANY_REQUESTS");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(status));
}

TEST(ServerTest, APortThatIsTakenIsAnError) {
  RunningServer first;
  thresher::testing::TemporaryDirectory directory;
  auto store = store::Store::Open({.data_dir = directory.path()});
  ASSERT_TRUE(store.ok()) << store.status();
  jobs::JobManager jobs({}, store->get(), nullptr, nullptr);
  telemetry::Metrics metrics({});
  ServerOptions options;
  options.listen_address = first.server().address();
  const auto second = Server::Start(options, jobs, **store, metrics);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options.listen_address));
}

TEST(ServerTest, ListensOnUnixSockets) {
  thresher::testing::TemporaryDirectory directory;
  const std::string address = "unix:" + directory.path() + "/socket";
  RunningServer server({.rpc = {.listen_address = address}});
  EXPECT_EQ(server.server().address(), address);
  v1::Job job;
  EXPECT_EQ(server.GetJob("jobs/none", &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(ServerTest, DamagedRequestsAreInvalidAndUnknownMethodsUnimplemented) {
  RunningServer server;
  const grpc::Slice slice(std::string("\xff\xff\xff"));
  const grpc::ByteBuffer damage(&slice, 1);
  const auto call = [&](const char* method) {
    grpc::ClientContext context;
    v1::Job job;
    return grpc::internal::BlockingUnaryCall(
        server.channel().get(),
        grpc::internal::RpcMethod(method, grpc::internal::RpcMethod::NORMAL_RPC, server.channel()),
        &context, damage, &job);
  };
  EXPECT_TRUE(IsInvalidField(call("/thresher.v1.JobService/GetJob"), "request"));
  EXPECT_TRUE(IsInvalidField(call("/thresher.v1.JobService/WatchJob"), "request"));
  EXPECT_EQ(call("/thresher.v1.JobService/NoSuchMethod").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST(ServerTest, CallsAreCountedByMethodAndCode) {
  RunningServer server;
  v1::Job job;
  server.GetJob("jobs/none", &job);
  Check(server, "");
  server.Stop();
  std::map<std::string, double> counts;
  for (const auto& family : server.metrics().Collect()) {
    if (family.name != "thresher_rpcs_total") continue;
    for (const auto& metric : family.metric) {
      std::string key;
      for (const auto& label : metric.label) key += label.value + " ";
      counts[key] = metric.counter.value;
    }
  }
  EXPECT_EQ(counts["NOT_FOUND thresher.v1.JobService/GetJob "], 1);
  EXPECT_EQ(counts["OK grpc.health.v1.Health/Check "], 1);
}

TEST(ServerTest, EveryMethodHasALabelOfItsOwn) {
  telemetry::Metrics metrics({});
  std::set<std::string> methods;
  for (const auto* file :
       {v1::CreateJobRequest::descriptor()->file(), v1::UploadDatasetRequest::descriptor()->file(),
        v1::UploadModelRequest::descriptor()->file(),
        v1::GetServerInfoRequest::descriptor()->file()}) {
    ASSERT_EQ(file->service_count(), 1) << file->name();
    const google::protobuf::ServiceDescriptor& service = *file->service(0);
    for (int i = 0; i < service.method_count(); ++i) {
      methods.insert(service.full_name() + "/" + service.method(i)->name());
    }
  }
  for (const std::string& method : methods) metrics.RpcFinished(method, "OK", 0.1);
  std::set<std::string> labels;
  for (const auto& family : metrics.Collect()) {
    if (family.name != "thresher_rpcs_total") continue;
    for (const auto& metric : family.metric) {
      for (const auto& label : metric.label) {
        if (label.name == "method") labels.insert(label.value);
      }
    }
  }
  EXPECT_THAT(labels, IsSupersetOf(methods));
}

TEST(ServerTest, HandlersDoNotWaitForEachOther) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "w"));
  // Many open watches take no thread: short calls still come through.
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>>> readers;
  v1::WatchJobRequest request;
  request.set_name("jobs/w");
  for (int i = 0; i < 60; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(server.job_stub().WatchJob(contexts.back().get(), request));
    v1::WatchJobResponse response;
    ASSERT_TRUE(readers.back()->Read(&response));
  }
  v1::Job job;
  EXPECT_TRUE(server.GetJob("jobs/w", &job).ok());
  for (auto& context : contexts) context->TryCancel();
  for (auto& reader : readers) reader->Finish();
}

}  // namespace
}  // namespace thresher::rpc
