#include "server/rpc/call_observer.h"

#include <grpcpp/server_context.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include "server/rpc/status.h"
#include "server/store/error_details.h"
#include "server/telemetry/logging.h"

namespace thresher::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;
using telemetry::LogLevel;

// Calls that succeed are of interest when looking closely only; those that the client
// got wrong are not the server's trouble.
LogLevel LevelFor(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return LogLevel::kDebug;
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DATA_LOSS:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

}  // namespace

class CallObserver::Interceptor final : public grpc::experimental::Interceptor {
 public:
  Interceptor(CallObserver& observer, ServerRpcInfo& info)
      : observer_(observer), info_(info), start_(std::chrono::steady_clock::now()) {
    method_ = info.method() == nullptr ? "" : info.method();
    if (method_.starts_with('/')) method_.remove_prefix(1);
    if (info.type() != ServerRpcInfo::Type::UNARY && !method_.starts_with("thresher.")) {
      foreign_stream_ = info.server_context();
    }
    counted_ = observer_.AddCall(foreign_stream_);
  }

  // gRPC destroys it when the call's status has left.
  ~Interceptor() override { observer_.RemoveCall(foreign_stream_, counted_); }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      grpc::Status status = methods->GetSendStatus();
      if (IsDamagedRequest(status)) {
        status = ToGrpcStatus(store::InvalidField(
            "request",
            "is no message of this method: its bytes are damaged, or a text in it is "
            "not UTF-8"));
        methods->ModifySendStatus(status);
      }
      Ended(status);
    }
    methods->Proceed();
  }

 private:
  // gRPC says UNIMPLEMENTED of a request that it cannot parse, as of a method that does not
  // exist; only the latter has the shape of a stream both ways.
  bool IsDamagedRequest(const grpc::Status& status) const {
    return status.error_code() == grpc::StatusCode::UNIMPLEMENTED &&
           info_.type() != ServerRpcInfo::Type::BIDI_STREAMING && method_.starts_with("thresher.");
  }

  void Ended(const grpc::Status& status) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const std::string_view code = CodeName(status.error_code());
    observer_.metrics_.RpcFinished(method_, code, seconds);
    const LogLevel level = LevelFor(status.error_code());
    if (!telemetry::LogEnabled(level)) return;
    char milliseconds[32];
    std::snprintf(milliseconds, sizeof(milliseconds), "%.3f", seconds * 1e3);
    telemetry::Log(level, "call ended",
                   {{"method", std::string(method_)},
                    {"code", std::string(code)},
                    {"milliseconds", milliseconds},
                    {"peer", info_.server_context()->peer()},
                    {"error", status.error_message()}});
  }

  CallObserver& observer_;
  ServerRpcInfo& info_;
  const std::chrono::steady_clock::time_point start_;
  std::string_view method_;  // gRPC keeps it while the call lives
  grpc::ServerContextBase* foreign_stream_ = nullptr;
  bool counted_ = false;
};

grpc::experimental::Interceptor* CallObserver::CreateServerInterceptor(ServerRpcInfo* info) {
  return new Interceptor(*this, *info);
}

void CallObserver::FinishCalls(std::chrono::steady_clock::time_point deadline) {
  store::MutexLock lock(mutex_);
  finishing_ = true;
  for (grpc::ServerContextBase* stream : foreign_streams_) stream->TryCancel();
  while (counted_calls_ > 0) {
    if (!call_ended_.WaitUntil(mutex_, deadline)) return;
  }
}

bool CallObserver::AddCall(grpc::ServerContextBase* foreign_stream) {
  store::MutexLock lock(mutex_);
  if (foreign_stream != nullptr) {
    foreign_streams_.insert(foreign_stream);
    if (finishing_) foreign_stream->TryCancel();
    return false;
  }
  // Calls that still come in could be waited for without end.
  if (finishing_) return false;
  ++counted_calls_;
  return true;
}

void CallObserver::RemoveCall(grpc::ServerContextBase* foreign_stream, bool counted) {
  store::MutexLock lock(mutex_);
  if (foreign_stream != nullptr) foreign_streams_.erase(foreign_stream);
  if (counted && --counted_calls_ == 0) call_ended_.NotifyAll();
}

}  // namespace thresher::rpc
