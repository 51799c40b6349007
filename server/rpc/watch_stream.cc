#include "server/rpc/watch_stream.h"

#include <string>
#include <utility>

#include "server/rpc/convert.h"

namespace thresher::rpc {

WatchStream* WatchStream::Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                                const v1::WatchJobRequest* request) {
  auto stream = std::make_shared<WatchStream>(context, call, request);
  stream->Adopt();
  context.metrics.WatchStreamOpened();
  if (!context.lookups.TryRun([stream] { stream->Subscribe(); })) {
    stream->End(Busy("the server has too many calls waiting; retry", kReasonTooManyRequests));
  }
  return stream.get();
}

void WatchStream::Subscribe() {
  absl::Status status = StillWanted(*call_);
  if (status.ok()) status = RefuseUnknownFields(*request_);
  if (!status.ok()) return End(status);
  const auto id = IdFromName(request_->name(), kJobs, "name");
  if (!id.ok()) return End(id.status());
  auto subscription = context_.jobs.Watch(*id, request_->after_event_number(),
                                          [weak = std::weak_ptr<WatchStream>(shared_from_this())] {
                                            if (const auto stream = weak.lock())
                                              stream->QueueStep();
                                          });
  if (!subscription.ok()) return End(subscription.status());
  {
    store::MutexLock lock(mutex_);
    if (finished_) return;
    subscription_ = *std::move(subscription);
    // Headers at once: the client learns that it is watching before the first event.
    StartSendInitialMetadata();
  }
  Step();
}

void WatchStream::QueueStep() {
  context_.lookups.RunStep([stream = shared_from_this()] { stream->Step(); });
}

void WatchStream::Step() {
  jobs::EventSubscription::NextEvent next;
  {
    store::MutexLock lock(mutex_);
    if (writing_ || finished_ || subscription_ == nullptr) return;
    next = subscription_->Next();
    if (next.outcome == jobs::EventSubscription::Outcome::kEvent) {
      writing_ = true;
      *response_.mutable_event() = ToProto(next.event);
      StartWrite(&response_);
      return;
    }
  }
  switch (next.outcome) {
    case jobs::EventSubscription::Outcome::kEvent:
    case jobs::EventSubscription::Outcome::kNothingYet:
      return;
    case jobs::EventSubscription::Outcome::kEnded:
      return End(absl::OkStatus());
    case jobs::EventSubscription::Outcome::kServerStopping:
      return End(ServerStopping());
  }
}

void WatchStream::OnWriteDone(bool ok) {
  {
    store::MutexLock lock(mutex_);
    writing_ = false;
  }
  if (!ok || call_->IsCancelled()) return End(absl::CancelledError("the client went away"));
  QueueStep();
}

void WatchStream::OnCancel() { End(absl::CancelledError("the client cancelled the call")); }

void WatchStream::End(const absl::Status& status) {
  std::shared_ptr<jobs::EventSubscription> subscription;
  {
    store::MutexLock lock(mutex_);
    // A write under way ends with OnWriteDone(false) when the call is cancelled.
    if (finished_ || writing_) return;
    finished_ = true;
    subscription = std::move(subscription_);
  }
  if (subscription != nullptr) subscription->Close();
  Finish(FinalStatus(context_, status, *request_));
}

void WatchStream::OnFinished() { context_.metrics.WatchStreamClosed(); }

}  // namespace thresher::rpc
