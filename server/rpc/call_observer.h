// Sees every call of the server, those of health and reflection too: counts and logs
// how each ended, and ends the endless ones when the server stops.
#ifndef THRESHER_SERVER_RPC_CALL_OBSERVER_H_
#define THRESHER_SERVER_RPC_CALL_OBSERVER_H_

#include <grpcpp/support/server_interceptor.h>

#include <set>

#include "server/store/mutex.h"
#include "server/telemetry/metrics.h"

namespace thresher::rpc {

class CallObserver final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // The metrics outlive the observer; the gRPC server owns it.
  explicit CallObserver(telemetry::Metrics& metrics) : metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override;

  // Cancels the streams of health and reflection, which end when their client says so,
  // and those that are opened from now on.
  void CancelForeignStreams() THRESHER_EXCLUDES(mutex_);

 private:
  class Interceptor;

  void Add(grpc::ServerContextBase* stream) THRESHER_EXCLUDES(mutex_);
  void Remove(grpc::ServerContextBase* stream) THRESHER_EXCLUDES(mutex_);

  telemetry::Metrics& metrics_;
  store::Mutex mutex_;
  std::set<grpc::ServerContextBase*> foreign_streams_ THRESHER_GUARDED_BY(mutex_);
  bool cancelling_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_CALL_OBSERVER_H_
