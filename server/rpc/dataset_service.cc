#include "server/rpc/dataset_service.h"

#include "server/rpc/convert.h"
#include "server/rpc/dataset_upload.h"
#include "server/rpc/list_pages.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

// Of a planted problem while it is made and written; all of `budget` when the sizes are
// absurd, which the generator refuses.
int64_t PlantingMemory(const PlantedOptions& options, int64_t budget) {
  const double values =
      static_cast<double>(options.num_samples) *
      (static_cast<double>(options.num_inputs) + static_cast<double>(options.num_outputs));
  const double bytes = 2.0 * 4.0 * values;
  return bytes >= 0 && bytes < static_cast<double>(budget) ? static_cast<int64_t>(bytes) : budget;
}

}  // namespace

grpc::ServerReadReactor<v1::UploadDatasetRequest>* DatasetService::UploadDataset(
    grpc::CallbackServerContext* call, v1::Dataset* response) {
  return DatasetUpload::Start(context_, call, response);
}

grpc::ServerUnaryReactor* DatasetService::CreateDataset(grpc::CallbackServerContext* call,
                                                        const v1::CreateDatasetRequest* request,
                                                        v1::Dataset* response) {
  return RunUnary(context_, context_.compute, call, request,
                  [this, call, request, response]() -> absl::Status {
                    if (!request->dataset().has_planted()) {
                      return store::InvalidField("dataset.planted",
                                                 "is required; files are taken by UploadDataset");
                    }
                    const auto options = FromProto(request->dataset().planted());
                    if (!options.ok()) return options.status();
                    const MemoryLimiter::Reservation reservation(
                        context_.ingest_memory,
                        PlantingMemory(*options, context_.ingest_memory.budget_bytes()));
                    if (absl::Status status = StillWanted(*call); !status.ok()) return status;
                    auto record = context_.store.datasets().CreatePlanted(
                        {.id = request->dataset_id(),
                         .request_id = request->request_id(),
                         .fingerprint = Fingerprint(*request)},
                        *options, LabelsFromProto(request->dataset().labels()));
                    if (!record.ok()) return record.status();
                    *response = ToProto(*record);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* call,
                                                     const v1::GetDatasetRequest* request,
                                                     v1::Dataset* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    const auto id = IdFromName(request->name(), kDatasets, "name");
    if (!id.ok()) return id.status();
    const auto record = context_.store.datasets().Get(*id);
    if (!record.ok()) return record.status();
    *response = ToProto(*record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* call,
                                                       const v1::ListDatasetsRequest* request,
                                                       v1::ListDatasetsResponse* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    return FillPage(
        [this](const store::ListRequest& list) { return context_.store.datasets().List(list); },
        *request, /*has_state=*/false, *response, *response->mutable_datasets());
  });
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* call,
                                                        const v1::DeleteDatasetRequest* request,
                                                        google::protobuf::Empty* /*response*/) {
  return RunUnary(context_, context_.lookups, call, request, [this, request] {
    const auto id = IdFromName(request->name(), kDatasets, "name");
    if (!id.ok()) return id.status();
    return context_.store.datasets().Delete(*id);
  });
}

}  // namespace thresher::rpc
