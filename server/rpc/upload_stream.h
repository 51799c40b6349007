// One upload call, of whatever resource.
//
// Chunks go to temporary files as they arrive, so an upload holds one message in memory
// and at most max_upload_bytes on disk. When the client is done the files are parsed,
// one at a time as far as memory asks for it, and kept. Whatever ends the call before
// that leaves nothing behind.
#ifndef THRESHER_SERVER_RPC_UPLOAD_STREAM_H_
#define THRESHER_SERVER_RPC_UPLOAD_STREAM_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/rpc/self_owned_stream.h"
#include "server/rpc/stream_registry.h"
#include "server/store/blob_folder.h"
#include "server/store/error_details.h"
#include "server/store/mutex.h"

namespace thresher::rpc {

// `Request` has a oneof `part` whose `header` comes first and has a request_id.
template <typename Request, typename Response>
class UploadStream
    : public SelfOwnedStream<grpc::ServerReadReactor<Request>, UploadStream<Request, Response>>,
      public RegisteredStream {
 public:
  UploadStream(const ServiceContext& context, grpc::CallbackServerContext* call, Response* response)
      : context_(context), call_(call), response_(response) {}

  void OnReadDone(bool ok) override THRESHER_EXCLUDES(mutex_) {
    {
      store::MutexLock lock(mutex_);
      waiting_since_.reset();
      if (finished_) return;
    }
    context_.lookups.RunStep([stream = this->shared_from_this(), ok] {
      if (ok) {
        stream->TakeMessage();
      } else {
        stream->TakeEnd();
      }
    });
  }
  void OnFinished() { context_.uploads.Remove(this->shared_from_this()); }
  void EndIfWaitingSince(std::chrono::steady_clock::time_point since,
                         const absl::Status& status) override THRESHER_EXCLUDES(mutex_) {
    {
      store::MutexLock lock(mutex_);
      if (!waiting_since_ || *waiting_since_ > since) return;
    }
    End(status);
  }

 protected:
  // Of the call's life, once the stream owns itself.
  void Begin() {
    if (absl::Status status = context_.uploads.Add(this->shared_from_this(), kReasonTooManyUploads);
        status.ok()) {
      // Tells the client that the upload has begun.
      this->StartSendInitialMetadata();
      Read();
    } else {
      End(status);
    }
  }

  // What the resource says of it; on the pool, one at a time.
  virtual absl::Status TakePart(const Request& message) = 0;
  virtual absl::Status CheckComplete() = 0;
  virtual absl::StatusOr<Response> ParseAndKeep() = 0;
  // The first message, by whose fields errors are said.
  virtual Request FirstMessage() const = 0;

  absl::Status AppendChunk(const std::string& chunk, std::string_view field,
                           std::optional<store::TemporaryFile>& file) {
    if (!file) {
      auto created = context_.store.datasets().NewTemporaryFile();
      if (!created.ok()) return created.status();
      file.emplace(*std::move(created));
    }
    if (static_cast<int64_t>(chunk.size()) > context_.max_upload_bytes - file->size()) {
      const std::string message = std::string(field) + ": the file is larger than the " +
                                  std::to_string(context_.max_upload_bytes) +
                                  " bytes that this server takes (--max_upload_bytes)";
      return store::WithQuota(
          store::WithReason(absl::ResourceExhaustedError(message), store::kReasonTooLarge),
          "max_upload_bytes");
    }
    return file->Append(chunk);
  }

  const ServiceContext& context_;
  grpc::CallbackServerContext* const call_;

 private:
  using Clock = std::chrono::steady_clock;
  // Stands in the message that is read into until something comes.
  static constexpr char kNothingCame[] = "nothing came";

  // Asks for the next message, unless the call has ended.
  void Read() THRESHER_EXCLUDES(mutex_) {
    if (context_.uploads.stopping()) return End(ServerStopping());
    store::MutexLock lock(mutex_);
    if (finished_) return;
    waiting_since_ = Clock::now();
    message_.mutable_header()->set_request_id(kNothingCame);
    this->StartRead(&message_);
  }

  void TakeMessage() {
    absl::Status status = RefuseUnknownFields(message_);
    if (status.ok()) status = TakePart(message_);
    if (!status.ok()) return End(status);
    Read();
  }

  void TakeEnd() {
    // A client that goes away ends the reads as one that is done does.
    absl::Status status = StillWanted(*call_);
    // So does a message that gRPC cannot parse, but parsing clears the message first.
    if (status.ok() && message_.header().request_id() != kNothingCame) {
      status = store::InvalidField("part", "a message of the upload is damaged; send it again");
    }
    if (status.ok()) status = CheckComplete();
    if (!status.ok()) return End(status);
    // At most as many as there are uploads.
    context_.compute.RunStep([stream = this->shared_from_this()] { stream->Keep(); });
  }

  void Keep() {
    auto resource = ParseAndKeep();
    if (!resource.ok()) return End(resource.status());
    *response_ = *std::move(resource);
    End(absl::OkStatus());
  }

  void End(const absl::Status& status) THRESHER_EXCLUDES(mutex_) {
    {
      store::MutexLock lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    this->Finish(FinalStatus(context_, status, FirstMessage()));
  }

  Response* const response_;
  Request message_;  // gRPC's while a read is under way, then the pool's

  store::Mutex mutex_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_ THRESHER_GUARDED_BY(mutex_);
  bool finished_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_UPLOAD_STREAM_H_
