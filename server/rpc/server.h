// The gRPC server: its services, limits and end.
#ifndef THRESHER_SERVER_RPC_SERVER_H_
#define THRESHER_SERVER_RPC_SERVER_H_

#include <grpcpp/channel.h>
#include <grpcpp/server.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/dataset_service.h"
#include "server/rpc/job_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/server_service.h"
#include "server/telemetry/metrics.h"

namespace thresher::rpc {

struct ServerOptions {
  // HOST:PORT, port 0 picks one; [V6]:PORT; unix:PATH.
  std::string listen_address = "127.0.0.1:0";
  int threads_per_job = 1;  // for GetServerInfo only
  telemetry::BuildInfo build_info;

  int64_t max_message_bytes = int64_t{16} << 20;
  int64_t max_upload_bytes = int64_t{1} << 30;     // of one file
  int64_t ingest_memory_bytes = int64_t{1} << 30;  // for parsing and planting, together
  size_t max_uploads = 8;
  size_t max_downloads = 32;
  std::chrono::milliseconds stream_idle_limit{30'000};  // of uploads and downloads

  int lookup_threads = 16;  // they wait for the disk, not for a processor
  size_t max_waiting_lookups = 1024;
  int compute_threads = 2;
  size_t max_waiting_computations = 64;
};

class Server {
 public:
  // Serves until it is stopped. Jobs, store and metrics outlive the server.
  // Errors: UNAVAILABLE when it cannot listen on the address.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       jobs::JobManager& jobs, store::Store& store,
                                                       telemetry::Metrics& metrics);
  // Stops at once when Stop was not called.
  ~Server();

  // The address with the port that was picked.
  const std::string& address() const { return address_; }
  // A channel without a socket, for tests.
  std::shared_ptr<grpc::Channel> InProcessChannel(const grpc::ChannelArguments& arguments);

  // Says NOT_SERVING to health checks and takes no more uploads. Call it before the job
  // manager drains: that ends the WatchJob streams.
  void BeginDrain();
  // Waits for the calls under way, then closes all connections; what is left at the
  // deadline is cancelled.
  void Stop(std::chrono::steady_clock::time_point deadline);

 private:
  Server(const ServerOptions& options, jobs::JobManager& jobs, store::Store& store,
         telemetry::Metrics& metrics);

  // In the order of use: each may be used by those behind it until it is gone.
  MemoryLimiter ingest_memory_;
  StreamRegistry uploads_;
  StreamRegistry downloads_;
  WorkerPool compute_;
  WorkerPool lookups_;
  ServiceContext context_;
  JobService job_service_;
  DatasetService dataset_service_;
  ModelService model_service_;
  ServerService server_service_;
  CallObserver* observer_ = nullptr;  // owned by server_
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_SERVER_H_
