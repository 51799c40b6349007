#include "server/rpc/dataset_upload.h"

#include <memory>
#include <string>
#include <utility>

#include "core/formats/gzip.h"
#include "server/rpc/convert.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;

// Upper estimate of what parsing needs: file bytes are mapped, so they do not count;
// the array as read (up to 8 bytes a value) and the samples (4 bytes a value) do. The
// smallest value on disk takes one byte, or less when compressed; the features of an image are not
// on disk.
int64_t ParsingMemory(const ReadOptions& options, std::string_view inputs, std::string_view targets,
                      int64_t budget) {
  const bool unknown = options.format == FileFormat::kNpz || options.image.has_value();
  if (unknown || IsGzip(inputs) || IsGzip(targets)) return budget;
  constexpr int64_t kPerByte = 12;
  const int64_t bytes = static_cast<int64_t>(inputs.size() + targets.size());
  return bytes > budget / kPerByte ? budget : bytes * kPerByte;
}

// What is wrong with a file is said of the messages that carried it.
absl::Status NameFile(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  const std::optional<std::string> field = store::FieldOf(status);
  std::string message(status.message());
  if (!field) return InvalidField("inputs_chunk", message);
  for (const auto& [part, chunk] :
       {std::pair("upload.inputs", "inputs_chunk"), std::pair("upload.csv", "inputs_chunk"),
        std::pair("upload.targets", "targets_chunk")}) {
    if (*field != part) continue;
    if (message.starts_with(*field + ": ")) message.erase(0, field->size() + 2);
    return InvalidField(chunk, message);
  }
  return status;
}

}  // namespace

DatasetUpload* DatasetUpload::Start(const ServiceContext& context,
                                    grpc::CallbackServerContext* call, v1::Dataset* response) {
  auto stream = std::make_shared<DatasetUpload>(context, call, response);
  stream->Adopt();
  stream->Begin();
  return stream.get();
}

absl::Status DatasetUpload::TakePart(const v1::UploadDatasetRequest& message) {
  if (!header_ && message.part_case() != v1::UploadDatasetRequest::kHeader) {
    return InvalidField("header", "must come in the first message");
  }
  switch (message.part_case()) {
    case v1::UploadDatasetRequest::kHeader:
      return TakeHeader(message.header());
    case v1::UploadDatasetRequest::kInputsChunk:
      if (targets_) return InvalidField("inputs_chunk", "must not come after targets_chunk");
      return AppendChunk(message.inputs_chunk(), "inputs_chunk", inputs_);
    case v1::UploadDatasetRequest::kTargetsChunk:
      if (!HasTargetsFile(options_)) {
        return InvalidField("targets_chunk",
                            "has no place in this format, whose one file holds the targets too");
      }
      if (!inputs_) return InvalidField("targets_chunk", "must come after inputs_chunk");
      return AppendChunk(message.targets_chunk(), "targets_chunk", targets_);
    case v1::UploadDatasetRequest::PART_NOT_SET:
      break;
  }
  return InvalidField("part", "must be set: header, inputs_chunk or targets_chunk");
}

absl::Status DatasetUpload::TakeHeader(const v1::UploadDatasetHeader& header) {
  if (header_) return InvalidField("header", "must come once, in the first message");
  header_ = header;
  if (!header.dataset().has_upload()) {
    return InvalidField("header.dataset.upload",
                        "is required; planted data sets are made by CreateDataset");
  }
  auto options = FromProto(header.dataset().upload());
  if (!options.ok()) return options.status();
  // What can be refused now need not be uploaded first.
  if (!header.dataset_id().empty()) {
    if (absl::Status status = store::ValidateId(header.dataset_id(), "dataset_id"); !status.ok()) {
      return status;
    }
  }
  for (const absl::Status& status :
       {store::ValidateRequestId(header.request_id()),
        store::ValidateLabels(LabelsFromProto(header.dataset().labels()))}) {
    if (!status.ok()) return status;
  }
  // With a request id this may be a retry, which only the files can tell.
  if (!header.dataset_id().empty() && header.request_id().empty()) {
    const auto earlier = context_.store.datasets().FindEarlier(
        {.id = header.dataset_id(), .request_id = "", .fingerprint = ""});
    if (!earlier.ok()) return earlier.status();
  }
  options_ = *std::move(options);
  return absl::OkStatus();
}

absl::Status DatasetUpload::CheckComplete() {
  if (!header_) return InvalidField("header", "must come in the first message");
  if (!inputs_ || inputs_->size() == 0) {
    return InvalidField("inputs_chunk", "is required: the file of inputs is empty");
  }
  if (targets_ && targets_->size() == 0) {
    return InvalidField("targets_chunk",
                        "the file of targets is empty; send none where there are no targets");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Dataset> DatasetUpload::ParseAndKeep() {
  auto inputs = inputs_->Map();
  if (!inputs.ok()) return inputs.status();
  absl::StatusOr<std::string_view> targets = std::string_view();
  if (targets_) targets = targets_->Map();
  if (!targets.ok()) return targets.status();

  const MemoryLimiter::Reservation reservation(
      context_.ingest_memory,
      ParsingMemory(options_, *inputs, *targets, context_.ingest_memory.budget_bytes()));
  if (absl::Status status = StillWanted(*call_); !status.ok()) return status;
  const std::string targets_sha256 = targets_ ? targets_->Sha256() : std::string(64, '0');
  const store::CreateIdentity identity = {
      .id = header_->dataset_id(),
      .request_id = header_->request_id(),
      .fingerprint = Fingerprint(*header_, inputs_->Sha256(), targets_sha256)};
  auto record = context_.store.datasets().CreateUploaded(
      identity, options_, LabelsFromProto(header_->dataset().labels()), *inputs, *targets);
  if (!record.ok()) return NameFile(record.status());
  return ToProto(*record);
}

v1::UploadDatasetRequest DatasetUpload::FirstMessage() const {
  v1::UploadDatasetRequest first;
  if (header_) *first.mutable_header() = *header_;
  return first;
}

}  // namespace thresher::rpc
