#include "server/rpc/server_service.h"

#include <google/protobuf/util/time_util.h>

namespace thresher::rpc {

grpc::ServerUnaryReactor* ServerService::GetServerInfo(grpc::CallbackServerContext* call,
                                                       const v1::GetServerInfoRequest* request,
                                                       v1::GetServerInfoResponse* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, response] {
    *response = constant_;
    const auto uptime = std::chrono::steady_clock::now() - start_time_;
    *response->mutable_uptime() = google::protobuf::util::TimeUtil::MillisecondsToDuration(
        std::chrono::duration_cast<std::chrono::milliseconds>(uptime).count());
    const jobs::JobStats stats = context_.jobs.Stats();
    response->set_workers(stats.num_workers);
    response->set_workers_busy(stats.workers_busy);
    response->set_queued_jobs(stats.queued_jobs);
    response->set_max_queued_jobs(stats.max_queued_jobs);
    response->set_memory_budget_bytes(stats.memory_budget_bytes);
    response->set_memory_reserved_bytes(stats.memory_reserved_bytes);
    return absl::OkStatus();
  });
}

}  // namespace thresher::rpc
