#include "server/rpc/upload_stream.h"

#include <algorithm>
#include <utility>

#include "core/formats/gzip.h"
#include "server/rpc/convert.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;
using Clock = std::chrono::steady_clock;

// Stands in the message that is read into until something comes.
constexpr char kNothingCame[] = "nothing came";

// Upper estimate of what parsing needs: file bytes are mapped, so they do not count;
// the array as read (up to 8 bytes a value) and the samples (4 bytes a value) do. The
// smallest value on disk takes one byte, or less when compressed.
int64_t ParsingMemory(const ReadOptions& options, std::string_view inputs, std::string_view targets,
                      int64_t budget) {
  if (options.format == FileFormat::kNpz || IsGzip(inputs) || IsGzip(targets)) return budget;
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

UploadStream* UploadStream::Start(const ServiceContext& context, grpc::CallbackServerContext* call,
                                  v1::Dataset* response) {
  auto stream = std::make_shared<UploadStream>(context, call, response);
  stream->Adopt();
  if (absl::Status status = context.uploads.Add(stream, kReasonTooManyUploads); status.ok()) {
    // Tells the client that the upload has begun.
    stream->StartSendInitialMetadata();
    stream->Read();
  } else {
    stream->End(status);
  }
  return stream.get();
}

void UploadStream::Read() {
  if (context_.uploads.stopping()) return End(ServerStopping());
  store::MutexLock lock(mutex_);
  if (finished_) return;
  waiting_since_ = Clock::now();
  message_.mutable_header()->set_request_id(kNothingCame);
  StartRead(&message_);
}

void UploadStream::OnReadDone(bool ok) {
  {
    store::MutexLock lock(mutex_);
    waiting_since_.reset();
    if (finished_) return;
  }
  context_.lookups.RunStep([stream = shared_from_this(), ok] {
    if (ok) {
      stream->TakeMessage();
    } else {
      stream->TakeEnd();
    }
  });
}

void UploadStream::TakeMessage() {
  if (absl::Status status = TakePart(); !status.ok()) return End(status);
  Read();
}

absl::Status UploadStream::TakePart() {
  if (absl::Status status = RefuseUnknownFields(message_); !status.ok()) return status;
  if (!header_ && message_.part_case() != v1::UploadDatasetRequest::kHeader) {
    return InvalidField("header", "must come in the first message");
  }
  switch (message_.part_case()) {
    case v1::UploadDatasetRequest::kHeader:
      return TakeHeader(message_.header());
    case v1::UploadDatasetRequest::kInputsChunk:
      if (targets_) return InvalidField("inputs_chunk", "must not come after targets_chunk");
      return TakeChunk(message_.inputs_chunk(), "inputs_chunk", inputs_);
    case v1::UploadDatasetRequest::kTargetsChunk:
      if (!HasTargetsFile(options_.format)) {
        return InvalidField("targets_chunk",
                            "has no place in this format, whose one file holds the targets too");
      }
      if (!inputs_) return InvalidField("targets_chunk", "must come after inputs_chunk");
      return TakeChunk(message_.targets_chunk(), "targets_chunk", targets_);
    case v1::UploadDatasetRequest::PART_NOT_SET:
      break;
  }
  return InvalidField("part", "must be set: header, inputs_chunk or targets_chunk");
}

absl::Status UploadStream::TakeHeader(const v1::UploadDatasetHeader& header) {
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

absl::Status UploadStream::TakeChunk(const std::string& chunk, std::string_view field,
                                     std::optional<store::TemporaryFile>& file) {
  if (!file) {
    auto created = context_.store.datasets().NewTemporaryFile();
    if (!created.ok()) return created.status();
    file.emplace(*std::move(created));
  }
  if (static_cast<int64_t>(chunk.size()) > context_.max_upload_bytes - file->size()) {
    const std::string message = std::string(field) + ": the file is larger than the " +
                                std::to_string(context_.max_upload_bytes) +
                                " bytes that this server takes (--max_upload_bytes)";
    return store::WithQuota(
        store::WithReason(absl::ResourceExhaustedError(message), store::kReasonTooLarge),
        "max_upload_bytes");
  }
  return file->Append(chunk);
}

void UploadStream::TakeEnd() {
  // A client that goes away ends the reads as one that is done does.
  absl::Status status = StillWanted(*call_);
  // So does a message that gRPC cannot parse, but parsing clears the message first.
  if (status.ok() && message_.header().request_id() != kNothingCame) {
    status = InvalidField("part", "a message of the upload is damaged; send it again");
  }
  if (status.ok()) status = CheckComplete();
  if (!status.ok()) return End(status);
  // At most as many as there are uploads.
  context_.compute.RunStep([stream = shared_from_this()] { stream->Keep(); });
}

absl::Status UploadStream::CheckComplete() {
  if (!header_) return InvalidField("header", "must come in the first message");
  if (!inputs_ || inputs_->size() == 0) {
    return InvalidField("inputs_chunk", "is required: the file of inputs is empty");
  }
  if (HasTargetsFile(options_.format) && (!targets_ || targets_->size() == 0)) {
    return InvalidField("targets_chunk", "is required: the file of targets is empty");
  }
  return absl::OkStatus();
}

void UploadStream::Keep() {
  auto dataset = ParseAndKeep();
  if (!dataset.ok()) return End(dataset.status());
  *response_ = *std::move(dataset);
  End(absl::OkStatus());
}

absl::StatusOr<v1::Dataset> UploadStream::ParseAndKeep() {
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

void UploadStream::EndIfWaitingSince(Clock::time_point since, const absl::Status& status) {
  {
    store::MutexLock lock(mutex_);
    if (!waiting_since_ || *waiting_since_ > since) return;
  }
  End(status);
}

void UploadStream::End(const absl::Status& status) {
  {
    store::MutexLock lock(mutex_);
    if (finished_) return;
    finished_ = true;
  }
  // Errors below the header's data set are said by their path in the first message.
  v1::UploadDatasetRequest first;
  if (header_) *first.mutable_header() = *header_;
  Finish(FinalStatus(context_, status, first));
}

void UploadStream::OnFinished() { context_.uploads.Remove(shared_from_this()); }

}  // namespace thresher::rpc
