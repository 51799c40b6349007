// One DownloadModel call: the file's bytes in chunks, each written when the one before
// has left.
#ifndef THRESHER_SERVER_RPC_DOWNLOAD_STREAM_H_
#define THRESHER_SERVER_RPC_DOWNLOAD_STREAM_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/rpc/self_owned_stream.h"
#include "server/rpc/stream_registry.h"
#include "server/store/blob_folder.h"
#include "server/store/mutex.h"
#include "thresher/v1/model_service.grpc.pb.h"

namespace thresher::rpc {

inline constexpr size_t kDownloadChunkBytes = size_t{256} << 10;

class DownloadStream final
    : public SelfOwnedStream<grpc::ServerWriteReactor<v1::DownloadModelResponse>, DownloadStream>,
      public RegisteredStream {
 public:
  // The request lives as long as the call.
  static DownloadStream* Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                               const v1::DownloadModelRequest* request);
  DownloadStream(const ServiceContext& context, grpc::CallbackServerContext* call,
                 const v1::DownloadModelRequest* request)
      : context_(context), call_(call), request_(request) {}

  void OnWriteDone(bool ok) override;
  void OnFinished();
  // A download waits for its client while a chunk is on its way.
  void EndIfWaitingSince(std::chrono::steady_clock::time_point since,
                         const absl::Status& status) override THRESHER_EXCLUDES(mutex_);

 private:
  void Load();
  // Sets response_.psnr_db of a PNG.
  absl::StatusOr<store::TemporaryFile> WriteFile();
  void WriteNext() THRESHER_EXCLUDES(mutex_);
  void End(const absl::Status& status) THRESHER_EXCLUDES(mutex_);

  const ServiceContext& context_;
  grpc::CallbackServerContext* const call_;
  const v1::DownloadModelRequest* const request_;

  // Written once, before the first chunk. On disk, as a client may take its time.
  std::optional<store::TemporaryFile> file_;
  std::string_view bytes_;  // the file's, mapped
  size_t position_ = 0;     // of the next chunk
  v1::DownloadModelResponse response_;

  store::Mutex mutex_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_ THRESHER_GUARDED_BY(mutex_);
  bool finished_ THRESHER_GUARDED_BY(mutex_) = false;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_DOWNLOAD_STREAM_H_
