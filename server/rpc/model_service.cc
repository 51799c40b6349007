#include "server/rpc/model_service.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "server/rpc/convert.h"
#include "server/rpc/download_stream.h"
#include "server/rpc/list_pages.h"
#include "server/rpc/model_upload.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

// Rows evaluated between two looks at whether the client still waits.
constexpr int64_t kRowsAtOnce = 256;
// Of a model with several: 2 MiB, which every gRPC client takes.
constexpr int64_t kMaxOutputs = 1 << 18;

// Sizes that fit each other and the message. Whether they fit the model is Predict's
// question.
absl::Status CheckMatrix(const v1::Matrix& matrix) {
  if (matrix.num_rows() < 1) return store::InvalidField("inputs.num_rows", "must be at least 1");
  if (matrix.num_columns() < 1) {
    return store::InvalidField("inputs.num_columns", "must be at least 1");
  }
  // Division: the product may not fit 64 bits.
  const int64_t num_values = matrix.values_size();
  if (num_values % matrix.num_columns() != 0 ||
      num_values / matrix.num_columns() != matrix.num_rows()) {
    return store::InvalidField("inputs.values", "must have num_rows * num_columns entries, has " +
                                                    std::to_string(num_values));
  }
  for (int64_t i = 0; i < num_values; ++i) {
    if (!std::isfinite(matrix.values(static_cast<int>(i)))) {
      return store::InvalidField("inputs.values",
                                 "row " + std::to_string(i / matrix.num_columns()) + ", column " +
                                     std::to_string(i % matrix.num_columns()) +
                                     " is not a finite number (counted from 0)");
    }
  }
  return absl::OkStatus();
}

// The class that each row's outputs name: one output by 0.5, several by the largest.
void AddClasses(const std::vector<std::string>& class_names, v1::PredictResponse* response) {
  if (class_names.empty()) return;
  const auto num_outputs = static_cast<std::ptrdiff_t>(response->num_outputs());
  for (auto row = response->outputs().begin(); row != response->outputs().end();
       row += num_outputs) {
    const std::ptrdiff_t index =
        num_outputs == 1 ? (*row >= 0.5 ? 1 : 0) : std::max_element(row, row + num_outputs) - row;
    response->add_classes(class_names[static_cast<size_t>(index)]);
  }
}

}  // namespace

grpc::ServerReadReactor<v1::UploadModelRequest>* ModelService::UploadModel(
    grpc::CallbackServerContext* call, v1::Model* response) {
  return ModelUpload::Start(context_, call, response);
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* call,
                                                 const v1::GetModelRequest* request,
                                                 v1::Model* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    const auto id = IdFromName(request->name(), kModels, "name");
    if (!id.ok()) return id.status();
    const auto record = context_.store.models().Get(*id);
    if (!record.ok()) return record.status();
    *response = ToProto(*record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* call,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    return FillPage(
        [this](const store::ListRequest& list) { return context_.store.models().List(list); },
        *request, /*has_state=*/false, *response, *response->mutable_models());
  });
}

grpc::ServerWriteReactor<v1::DownloadModelResponse>* ModelService::DownloadModel(
    grpc::CallbackServerContext* call, const v1::DownloadModelRequest* request) {
  return DownloadStream::Start(context_, call, request);
}

grpc::ServerUnaryReactor* ModelService::Predict(grpc::CallbackServerContext* call,
                                                const v1::PredictRequest* request,
                                                v1::PredictResponse* response) {
  return RunUnary(
      context_, context_.compute, call, request, [this, call, request, response]() -> absl::Status {
        const auto id = IdFromName(request->name(), kModels, "name");
        if (!id.ok()) return id.status();
        const v1::Matrix& inputs = request->inputs();
        if (absl::Status status = CheckMatrix(inputs); !status.ok()) return status;
        const auto record = context_.store.models().Get(*id);
        if (!record.ok()) return record.status();
        if (inputs.num_columns() != record->num_inputs) {
          return store::InvalidField("inputs.num_columns",
                                     "must be " + std::to_string(record->num_inputs) +
                                         ", the number of inputs of the model");
        }
        const int64_t num_outputs = record->num_outputs;
        if (num_outputs > 1 && inputs.num_rows() > kMaxOutputs / num_outputs) {
          return store::InvalidField(
              "inputs.num_rows", "must be at most " + std::to_string(kMaxOutputs / num_outputs) +
                                     " for a model of " + std::to_string(num_outputs) +
                                     " outputs; send the others in another call");
        }
        const auto model = context_.store.models().Load(*record);
        if (!model.ok()) return model.status();
        for (int64_t row = 0; row < inputs.num_rows(); row += kRowsAtOnce) {
          if (absl::Status status = StillWanted(*call); !status.ok()) return status;
          const InputView rows = {inputs.values().data() + row * inputs.num_columns(),
                                  std::min(kRowsAtOnce, inputs.num_rows() - row),
                                  inputs.num_columns()};
          const auto outputs = thresher::Predict(**model, rows);
          if (!outputs.ok()) return outputs.status();
          response->mutable_outputs()->Add(outputs->begin(), outputs->end());
        }
        response->set_num_outputs(num_outputs);
        AddClasses((*model)->class_names, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(grpc::CallbackServerContext* call,
                                                    const v1::DeleteModelRequest* request,
                                                    google::protobuf::Empty* /*response*/) {
  return RunUnary(context_, context_.lookups, call, request, [this, request] {
    const auto id = IdFromName(request->name(), kModels, "name");
    if (!id.ok()) return id.status();
    return context_.store.models().Delete(*id);
  });
}

}  // namespace thresher::rpc
