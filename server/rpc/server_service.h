// thresher.v1.ServerService: what the server is and how it is doing.
#ifndef THRESHER_SERVER_RPC_SERVER_SERVICE_H_
#define THRESHER_SERVER_RPC_SERVER_SERVICE_H_

#include <chrono>
#include <utility>

#include "server/rpc/call.h"
#include "thresher/v1/server_service.grpc.pb.h"

namespace thresher::rpc {

class ServerService final : public v1::ServerService::CallbackService {
 public:
  // `constant` holds what does not change while the server runs. The context outlives
  // the service.
  ServerService(const ServiceContext& context, v1::GetServerInfoResponse constant)
      : context_(context),
        constant_(std::move(constant)),
        start_time_(std::chrono::steady_clock::now()) {}

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* call,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;

 private:
  const ServiceContext& context_;
  const v1::GetServerInfoResponse constant_;
  const std::chrono::steady_clock::time_point start_time_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_SERVER_SERVICE_H_
