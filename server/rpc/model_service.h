// thresher.v1.ModelService: convert, call the model store, convert back.
#ifndef THRESHER_SERVER_RPC_MODEL_SERVICE_H_
#define THRESHER_SERVER_RPC_MODEL_SERVICE_H_

#include "server/rpc/call.h"
#include "thresher/v1/model_service.grpc.pb.h"

namespace thresher::rpc {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  // The context outlives the service.
  explicit ModelService(const ServiceContext& context) : context_(context) {}

  grpc::ServerReadReactor<v1::UploadModelRequest>* UploadModel(grpc::CallbackServerContext* call,
                                                               v1::Model* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* call,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* call,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadModelResponse>* DownloadModel(
      grpc::CallbackServerContext* call, const v1::DownloadModelRequest* request) override;
  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* call,
                                    const v1::PredictRequest* request,
                                    v1::PredictResponse* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* call,
                                        const v1::DeleteModelRequest* request,
                                        google::protobuf::Empty* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_MODEL_SERVICE_H_
