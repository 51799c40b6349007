// One UploadModel call.
#ifndef THRESHER_SERVER_RPC_MODEL_UPLOAD_H_
#define THRESHER_SERVER_RPC_MODEL_UPLOAD_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/model_files/model_file.h"
#include "server/rpc/upload_stream.h"
#include "thresher/v1/model_service.grpc.pb.h"

namespace thresher::rpc {

class ModelUpload final : public UploadStream<v1::UploadModelRequest, v1::Model> {
 public:
  static ModelUpload* Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                            v1::Model* response);
  using UploadStream::UploadStream;

 private:
  absl::Status TakePart(const v1::UploadModelRequest& message) override;
  absl::Status CheckComplete() override;
  absl::StatusOr<v1::Model> ParseAndKeep() override;
  v1::UploadModelRequest FirstMessage() const override;
  absl::Status TakeHeader(const v1::UploadModelHeader& header);

  std::optional<v1::UploadModelHeader> header_;
  ModelFileFormat format_ = ModelFileFormat::kNpz;
  std::optional<store::TemporaryFile> file_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_MODEL_UPLOAD_H_
