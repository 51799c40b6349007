#include "server/rpc/server.h"

#include <grpc/health/v1/health.pb.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/kernels/instruction_set.h"

namespace thresher::rpc {
namespace {

v1::GetServerInfoResponse ConstantInfo(const ServerOptions& options) {
  v1::GetServerInfoResponse info;
  info.set_version(options.build_info.version);
  info.set_commit(options.build_info.commit);
  info.set_instruction_set(std::string(InstructionSetName(DetectInstructionSet())));
  info.set_threads_per_job(options.threads_per_job);
  info.set_max_message_bytes(options.max_message_bytes);
  info.set_max_upload_bytes(options.max_upload_bytes);
  return info;
}

void SetLimits(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);  // bounded where each message is made

  // A connection whose peer is gone is found within 80 s. Clients may ping every 10 s,
  // idle or not; those that ping more often are told to go.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 3);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1'000);
  // A second server on the port is an error, not a sharer.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);

  // Messages that are being received, over all connections; and the threads that the
  // reflection service holds, one a stream.
  grpc::ResourceQuota quota("thresher");
  quota.Resize(
      static_cast<size_t>(std::max<int64_t>(16 * options.max_message_bytes, int64_t{64} << 20)));
  quota.SetMaxThreads(64);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
}

constexpr const char* kServices[] = {"thresher.v1.JobService", "thresher.v1.DatasetService",
                                     "thresher.v1.ModelService", "thresher.v1.ServerService"};

}  // namespace

Server::Server(const ServerOptions& options, jobs::JobManager& jobs, store::Store& store,
               telemetry::Metrics& metrics)
    : ingest_memory_(options.ingest_memory_bytes),
      uploads_(options.max_uploads, options.stream_idle_limit),
      downloads_(options.max_downloads, options.stream_idle_limit),
      compute_(options.compute_threads, options.max_waiting_computations),
      lookups_(options.lookup_threads, options.max_waiting_lookups),
      context_{.jobs = jobs,
               .store = store,
               .metrics = metrics,
               .lookups = lookups_,
               .compute = compute_,
               .ingest_memory = ingest_memory_,
               .uploads = uploads_,
               .downloads = downloads_,
               .max_upload_bytes = options.max_upload_bytes,
               .program_version = options.build_info.version},
      job_service_(context_),
      dataset_service_(context_),
      model_service_(context_),
      server_service_(context_, ConstantInfo(options)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      jobs::JobManager& jobs, store::Store& store,
                                                      telemetry::Metrics& metrics) {
  static const bool once = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // gRPC serves health without its descriptor; naming it here links it, so that
    // reflection can describe it.
    grpc::health::v1::HealthCheckRequest::descriptor();
    return true;
  }();
  (void)once;

  std::unique_ptr<Server> server(new Server(options, jobs, store, metrics));
  grpc::ServerBuilder builder;
  SetLimits(options, builder);
  int port = 0;
  builder.AddListeningPort(options.listen_address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&server->job_service_);
  builder.RegisterService(&server->dataset_service_);
  builder.RegisterService(&server->model_service_);
  builder.RegisterService(&server->server_service_);
  auto observer = std::make_unique<CallObserver>(metrics);
  server->observer_ = observer.get();
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> observers;
  observers.push_back(std::move(observer));
  builder.experimental().SetInterceptorCreators(std::move(observers));
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    server->server_.reset();
    return absl::UnavailableError("cannot listen on " + options.listen_address +
                                  ": another program uses the port, or the address is not one of "
                                  "this machine");
  }
  server->address_ = options.listen_address;
  if (!options.listen_address.starts_with("unix:")) {
    const size_t colon = options.listen_address.rfind(':');
    server->address_ = options.listen_address.substr(0, colon + 1) + std::to_string(port);
  }
  auto* health = server->server_->GetHealthCheckService();
  for (const char* service : kServices) health->SetServingStatus(service, true);
  return server;
}

Server::~Server() { Stop(std::chrono::steady_clock::now()); }

std::shared_ptr<grpc::Channel> Server::InProcessChannel(const grpc::ChannelArguments& arguments) {
  return server_->InProcessChannel(arguments);
}

void Server::BeginDrain() {
  server_->GetHealthCheckService()->SetServingStatus(false);
  uploads_.Stop();
}

void Server::Stop(std::chrono::steady_clock::time_point deadline) {
  if (server_ == nullptr) return;
  observer_->FinishCalls(deadline);
  // gRPC alone would wait for every idle client to read its good-bye, some of which do
  // not; this is for calls that came in just now.
  constexpr std::chrono::milliseconds kLastCalls{100};
  const auto now = std::chrono::steady_clock::now();
  server_->Shutdown(
      std::chrono::system_clock::now() +
      std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now),
                 std::chrono::milliseconds(0), kLastCalls));
  server_->Wait();
  server_.reset();
}

}  // namespace thresher::rpc
