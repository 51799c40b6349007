// One UploadDataset call.
#ifndef THRESHER_SERVER_RPC_DATASET_UPLOAD_H_
#define THRESHER_SERVER_RPC_DATASET_UPLOAD_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/samples/read_samples.h"
#include "server/rpc/upload_stream.h"
#include "thresher/v1/dataset_service.grpc.pb.h"

namespace thresher::rpc {

class DatasetUpload final : public UploadStream<v1::UploadDatasetRequest, v1::Dataset> {
 public:
  static DatasetUpload* Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                              v1::Dataset* response);
  using UploadStream::UploadStream;

 private:
  absl::Status TakePart(const v1::UploadDatasetRequest& message) override;
  absl::Status CheckComplete() override;
  absl::StatusOr<v1::Dataset> ParseAndKeep() override;
  v1::UploadDatasetRequest FirstMessage() const override;
  absl::Status TakeHeader(const v1::UploadDatasetHeader& header);

  std::optional<v1::UploadDatasetHeader> header_;
  ReadOptions options_;
  std::optional<store::TemporaryFile> inputs_;
  std::optional<store::TemporaryFile> targets_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_DATASET_UPLOAD_H_
