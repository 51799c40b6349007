// One UploadDataset call.
//
// Chunks go to temporary files as they arrive, so an upload holds one message in memory
// and at most max_upload_bytes on disk. When the client is done the files are parsed,
// one at a time as far as memory asks for it, and kept. Whatever ends the call before
// that leaves nothing behind.
#ifndef THRESHER_SERVER_RPC_UPLOAD_STREAM_H_
#define THRESHER_SERVER_RPC_UPLOAD_STREAM_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/samples/read_samples.h"
#include "server/rpc/call.h"
#include "server/rpc/self_owned_stream.h"
#include "server/rpc/stream_registry.h"
#include "server/store/blob_folder.h"
#include "server/store/mutex.h"
#include "thresher/v1/dataset_service.grpc.pb.h"

namespace thresher::rpc {

class UploadStream final
    : public SelfOwnedStream<grpc::ServerReadReactor<v1::UploadDatasetRequest>, UploadStream>,
      public RegisteredStream {
 public:
  static UploadStream* Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                             v1::Dataset* response);
  UploadStream(const ServiceContext& context, grpc::CallbackServerContext* call,
               v1::Dataset* response)
      : context_(context), call_(call), response_(response) {}

  void OnReadDone(bool ok) override;
  void OnFinished();
  void EndIfWaitingSince(std::chrono::steady_clock::time_point since,
                         const absl::Status& status) override THRESHER_EXCLUDES(mutex_);

 private:
  // Asks for the next message, unless the call has ended.
  void Read() THRESHER_EXCLUDES(mutex_);
  void End(const absl::Status& status) THRESHER_EXCLUDES(mutex_);

  // On the pool, one at a time.
  void TakeMessage();
  absl::Status TakePart();
  absl::Status TakeHeader(const v1::UploadDatasetHeader& header);
  absl::Status TakeChunk(const std::string& chunk, std::string_view field,
                         std::optional<store::TemporaryFile>& file);
  void TakeEnd();
  absl::Status CheckComplete();
  void Keep();
  absl::StatusOr<v1::Dataset> ParseAndKeep();

  const ServiceContext& context_;
  grpc::CallbackServerContext* const call_;
  v1::Dataset* const response_;

  // Of the reading side: gRPC's while a read is under way, then the pool's.
  v1::UploadDatasetRequest message_;
  std::optional<v1::UploadDatasetHeader> header_;
  ReadOptions options_;
  std::optional<store::TemporaryFile> inputs_;
  std::optional<store::TemporaryFile> targets_;

  store::Mutex mutex_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_ THRESHER_GUARDED_BY(mutex_);
  bool finished_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_UPLOAD_STREAM_H_
