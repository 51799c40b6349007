// What every handler shares: where the server's parts are, how a unary call leaves
// gRPC's threads, and how its outcome becomes a status.
#ifndef THRESHER_SERVER_RPC_CALL_H_
#define THRESHER_SERVER_RPC_CALL_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/jobs/job_manager.h"
#include "server/rpc/memory_limiter.h"
#include "server/rpc/message_fields.h"
#include "server/rpc/status.h"
#include "server/rpc/stream_registry.h"
#include "server/rpc/worker_pool.h"
#include "server/store/store.h"
#include "server/telemetry/metrics.h"

namespace thresher::rpc {

// What handlers use. They hold no state of their own; all of this outlives them.
struct ServiceContext {
  jobs::JobManager& jobs;
  store::Store& store;
  telemetry::Metrics& metrics;
  WorkerPool& lookups;  // short work on the store
  WorkerPool& compute;  // seconds of work: parsing, planting, predicting
  MemoryLimiter& ingest_memory;
  StreamRegistry& uploads;
  StreamRegistry& downloads;
  int64_t max_upload_bytes;
  std::string program_version;
};

// The status that ends a call: fields named by their path in the request, refusals
// counted.
grpc::Status FinalStatus(const ServiceContext& context, absl::Status status,
                         const google::protobuf::Message& request);

// RESOURCE_EXHAUSTED with a reason and RetryInfo.
absl::Status Busy(std::string_view message, std::string_view reason);

// Why a call need not go on, if so: its client went away or its deadline passed.
absl::Status StillWanted(const grpc::CallbackServerContext& call);

// Ends a unary call with the status of `handle()`, which runs on `pool`: it checks,
// converts, calls, converts back. A full pool refuses the call.
template <typename Request, typename Handle>
grpc::ServerUnaryReactor* RunUnary(const ServiceContext& context, WorkerPool& pool,
                                   grpc::CallbackServerContext* call, const Request* request,
                                   Handle handle) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  const bool taken =
      pool.TryRun([&context, call, request, reactor, handle = std::move(handle)]() mutable {
        absl::Status status = StillWanted(*call);
        if (status.ok()) status = RefuseUnknownFields(*request);
        if (status.ok()) status = handle();
        reactor->Finish(FinalStatus(context, std::move(status), *request));
      });
  if (!taken) {
    reactor->Finish(FinalStatus(
        context, Busy("the server has too many calls waiting; retry", kReasonTooManyRequests),
        *request));
  }
  return reactor;
}

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_CALL_H_
