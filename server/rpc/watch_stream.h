// One WatchJob call.
//
// Takes no thread while it waits: the subscription's on_ready queues one step, which
// writes the next event; the write's end queues the next step. At most one event is in
// flight, so a slow reader holds one message here and gets thinned events.
#ifndef THRESHER_SERVER_RPC_WATCH_STREAM_H_
#define THRESHER_SERVER_RPC_WATCH_STREAM_H_

#include <memory>

#include "server/jobs/event_log.h"
#include "server/rpc/call.h"
#include "server/rpc/self_owned_stream.h"
#include "server/store/mutex.h"
#include "thresher/v1/job_service.grpc.pb.h"

namespace thresher::rpc {

class WatchStream final
    : public SelfOwnedStream<grpc::ServerWriteReactor<v1::WatchJobResponse>, WatchStream> {
 public:
  // The request lives as long as the call.
  static WatchStream* Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                            const v1::WatchJobRequest* request);
  WatchStream(const ServiceContext& context, grpc::CallbackServerContext* call,
              const v1::WatchJobRequest* request)
      : context_(context), call_(call), request_(request) {}

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnFinished();

 private:
  void Subscribe();
  void QueueStep();
  void Step();
  void End(const absl::Status& status) THRESHER_EXCLUDES(mutex_);

  const ServiceContext& context_;
  grpc::CallbackServerContext* const call_;
  const v1::WatchJobRequest* const request_;

  store::Mutex mutex_;
  std::shared_ptr<jobs::EventSubscription> subscription_ THRESHER_GUARDED_BY(mutex_);
  bool writing_ THRESHER_GUARDED_BY(mutex_) = false;
  bool finished_ THRESHER_GUARDED_BY(mutex_) = false;
  v1::WatchJobResponse response_;  // belongs to gRPC while writing_
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_WATCH_STREAM_H_
