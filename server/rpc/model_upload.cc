#include "server/rpc/model_upload.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/convert.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;

// Of a network while it is read, for each byte of the file, which is mapped.
constexpr int64_t kMemoryPerByte = 16;

// NPZ unpacks to more and has a bound of its own; other files must fit.
absl::Status CheckReadingMemory(ModelFileFormat format, int64_t file_bytes, int64_t budget) {
  if (format == ModelFileFormat::kNpz || file_bytes <= budget / kMemoryPerByte) {
    return absl::OkStatus();
  }
  return store::WithQuota(
      store::WithReason(
          absl::ResourceExhaustedError(absl::StrCat(
              "chunk: reading the file may take ", kMemoryPerByte, " times its size, so this ",
              "server takes at most ", budget / kMemoryPerByte,
              " bytes in this format; upload it as npz (thresher models convert), or use a server "
              "with a larger --memory_budget")),
          store::kReasonTooLarge),
      "memory_budget_bytes");
}

}  // namespace

ModelUpload* ModelUpload::Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                                v1::Model* response) {
  auto stream = std::make_shared<ModelUpload>(context, call, response);
  stream->Adopt();
  stream->Begin();
  return stream.get();
}

absl::Status ModelUpload::TakePart(const v1::UploadModelRequest& message) {
  if (!header_ && message.part_case() != v1::UploadModelRequest::kHeader) {
    return InvalidField("header", "must come in the first message");
  }
  switch (message.part_case()) {
    case v1::UploadModelRequest::kHeader:
      return TakeHeader(message.header());
    case v1::UploadModelRequest::kChunk: {
      absl::Status status = AppendChunk(message.chunk(), "chunk", file_);
      if (!status.ok()) return status;
      return CheckReadingMemory(format_, file_->size(), context_.ingest_memory.budget_bytes());
    }
    case v1::UploadModelRequest::PART_NOT_SET:
      break;
  }
  return InvalidField("part", "must be set: header or chunk");
}

absl::Status ModelUpload::TakeHeader(const v1::UploadModelHeader& header) {
  if (header_) return InvalidField("header", "must come once, in the first message");
  header_ = header;
  const auto format = FromProto(header.format());
  if (!format.ok()) return format.status();
  if (*format == ModelFileFormat::kCHeader) {
    return InvalidField("format",
                        "a C header cannot be read; upload npz, json, safetensors or onnx");
  }
  // What can be refused now need not be uploaded first.
  if (!header.model_id().empty()) {
    if (absl::Status status = store::ValidateId(header.model_id(), "model_id"); !status.ok()) {
      return status;
    }
  }
  for (const absl::Status& status :
       {store::ValidateRequestId(header.request_id()),
        store::ValidateLabels(LabelsFromProto(header.model().labels()))}) {
    if (!status.ok()) return status;
  }
  // With a request id this may be a retry, which only the file can tell.
  if (!header.model_id().empty() && header.request_id().empty()) {
    const auto earlier = context_.store.models().FindEarlier(
        {.id = header.model_id(), .request_id = "", .fingerprint = ""});
    if (!earlier.ok()) return earlier.status();
  }
  format_ = *format;
  return absl::OkStatus();
}

absl::Status ModelUpload::CheckComplete() {
  if (!header_) return InvalidField("header", "must come in the first message");
  if (!file_ || file_->size() == 0) return InvalidField("chunk", "is required: the file is empty");
  return absl::OkStatus();
}

absl::StatusOr<v1::Model> ModelUpload::ParseAndKeep() {
  auto bytes = file_->Map();
  if (!bytes.ok()) return bytes.status();
  const int64_t budget = context_.ingest_memory.budget_bytes();
  const MemoryLimiter::Reservation reservation(
      context_.ingest_memory,
      format_ == ModelFileFormat::kNpz ? budget : kMemoryPerByte * file_->size());
  if (absl::Status status = StillWanted(*call_); !status.ok()) return status;
  const auto model = ReadModelFile(format_, *bytes, budget / 4);
  if (absl::IsResourceExhausted(model.status())) {
    return store::WithReason(model.status(), store::kReasonTooLarge);
  }
  if (!model.ok()) return InvalidField("chunk", std::string(model.status().message()));
  const store::CreateIdentity identity = {.id = header_->model_id(),
                                          .request_id = header_->request_id(),
                                          .fingerprint = Fingerprint(*header_, file_->Sha256())};
  auto record = context_.store.models().CreateUploaded(
      identity, *model, LabelsFromProto(header_->model().labels()), context_.program_version);
  if (!record.ok()) return record.status();
  return ToProto(*record);
}

v1::UploadModelRequest ModelUpload::FirstMessage() const {
  v1::UploadModelRequest first;
  if (header_) *first.mutable_header() = *header_;
  return first;
}

}  // namespace thresher::rpc
