// thresher.v1.DatasetService: convert, call the data set store, convert back.
#ifndef THRESHER_SERVER_RPC_DATASET_SERVICE_H_
#define THRESHER_SERVER_RPC_DATASET_SERVICE_H_

#include "server/rpc/call.h"
#include "thresher/v1/dataset_service.grpc.pb.h"

namespace thresher::rpc {

class DatasetService final : public v1::DatasetService::CallbackService {
 public:
  // The context outlives the service.
  explicit DatasetService(const ServiceContext& context) : context_(context) {}

  grpc::ServerReadReactor<v1::UploadDatasetRequest>* UploadDataset(
      grpc::CallbackServerContext* call, v1::Dataset* response) override;
  grpc::ServerUnaryReactor* CreateDataset(grpc::CallbackServerContext* call,
                                          const v1::CreateDatasetRequest* request,
                                          v1::Dataset* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* call,
                                       const v1::GetDatasetRequest* request,
                                       v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* call,
                                         const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* call,
                                          const v1::DeleteDatasetRequest* request,
                                          google::protobuf::Empty* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_DATASET_SERVICE_H_
