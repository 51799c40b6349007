// Sees every call of the server, those of health and reflection too: counts and logs
// how each ended, and knows which are still under way when the server stops.
#ifndef THRESHER_SERVER_RPC_CALL_OBSERVER_H_
#define THRESHER_SERVER_RPC_CALL_OBSERVER_H_

#include <grpcpp/support/server_interceptor.h>

#include <chrono>
#include <cstdint>
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
  // and those that are opened from now on; then waits for the other calls that are
  // under way now, or for the deadline.
  void FinishCalls(std::chrono::steady_clock::time_point deadline) THRESHER_EXCLUDES(mutex_);

 private:
  class Interceptor;

  // Whether the call is one that FinishCalls waits for.
  bool AddCall(grpc::ServerContextBase* foreign_stream) THRESHER_EXCLUDES(mutex_);
  void RemoveCall(grpc::ServerContextBase* foreign_stream, bool counted) THRESHER_EXCLUDES(mutex_);

  telemetry::Metrics& metrics_;
  store::Mutex mutex_;
  store::CondVar call_ended_;
  std::set<grpc::ServerContextBase*> foreign_streams_ THRESHER_GUARDED_BY(mutex_);
  int64_t counted_calls_ THRESHER_GUARDED_BY(mutex_) = 0;
  bool finishing_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_CALL_OBSERVER_H_
