#include "server/rpc/download_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/convert.h"
#include "server/rpc/reconstruction.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using Clock = std::chrono::steady_clock;

// Of files that may be far larger than the stored model.
constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

// While a file of at most `max_bytes` is made, an upper estimate: of the model as it is read and
// as text, and twice the file where that is dense. NPZ is copied in pieces.
int64_t WritingMemory(const store::ModelRecord& record, ModelFileFormat format, int64_t max_bytes) {
  if (format == ModelFileFormat::kNpz) return 0;
  double dense = 0;
  double inputs = static_cast<double>(record.num_inputs);
  for (const int64_t width : record.hidden_widths) {
    dense += 8 * inputs * static_cast<double>(width);
    inputs = static_cast<double>(width);
  }
  dense += 8 * inputs * static_cast<double>(record.num_outputs);
  if (record.network_kind == store::NetworkKind::kGated) dense *= 2;  // gates and weights
  if (record.hidden_widths.empty()) dense = static_cast<double>(max_bytes);
  const double bytes = 100.0 * static_cast<double>(record.nonzeros) +
                       8.0 * static_cast<double>(record.size_bytes) +
                       2.0 * std::min(dense, static_cast<double>(max_bytes));
  return static_cast<int64_t>(std::min(bytes, 0x1p62));
}

}  // namespace

DownloadStream* DownloadStream::Start(const ServiceContext& context,
                                      grpc::CallbackServerContext* call,
                                      const v1::DownloadModelRequest* request) {
  auto stream = std::make_shared<DownloadStream>(context, call, request);
  stream->Adopt();
  if (absl::Status status = context.downloads.Add(stream, kReasonTooManyDownloads); !status.ok()) {
    stream->End(status);
  } else if (!context.compute.TryRun([stream] { stream->Load(); })) {
    stream->End(Busy("the server has too many calls waiting; retry", kReasonTooManyRequests));
  }
  return stream.get();
}

void DownloadStream::Load() {
  auto file = WriteFile();
  if (!file.ok()) return End(file.status());
  file_.emplace(*std::move(file));
  const auto bytes = file_->Map();
  if (!bytes.ok()) return End(bytes.status());
  bytes_ = *bytes;
  response_.set_total_bytes(file_->size());
  WriteNext();
}

absl::StatusOr<store::TemporaryFile> DownloadStream::WriteFile() {
  absl::Status status = StillWanted(*call_);
  if (status.ok()) status = RefuseUnknownFields(*request_);
  if (!status.ok()) return status;
  const auto id = IdFromName(request_->name(), kModels, "name");
  if (!id.ok()) return id.status();
  store::ModelStore& models = context_.store.models();
  const auto record = models.Get(*id);
  if (!record.ok()) return record.status();
  if (request_->format() == v1::MODEL_FORMAT_PNG) {
    auto reconstruction = Reconstruct(context_, *call_, *record);
    if (!reconstruction.ok()) return reconstruction.status();
    response_.set_psnr_db(reconstruction->psnr_db);
    auto file = models.NewTemporaryFile();
    if (!file.ok()) return file.status();
    if (absl::Status full = file->Append(reconstruction->png); !full.ok()) return full;
    return file;
  }
  const auto format = FromProto(request_->format());
  if (!format.ok()) return format.status();
  const int64_t budget = context_.ingest_memory.budget_bytes();
  const int64_t max_bytes = std::min(kMaxFileBytes, budget / 4);
  const int64_t memory = WritingMemory(*record, *format, max_bytes);
  if (memory > budget) {
    return store::WithReason(
        absl::ResourceExhaustedError(
            absl::StrCat("format: writing models/", *id, " in it takes about ", memory,
                         " bytes of memory, this server has ", budget,
                         " for it; take npz, which thresher models convert turns into any format")),
        store::kReasonTooLarge);
  }
  const MemoryLimiter::Reservation reservation(context_.ingest_memory, memory);
  status = StillWanted(*call_);
  if (!status.ok()) return status;
  return models.WriteFile(*record, *format, max_bytes);
}

void DownloadStream::WriteNext() {
  const std::string_view chunk = bytes_.substr(position_, kDownloadChunkBytes);
  response_.set_chunk(chunk.data(), chunk.size());
  position_ += response_.chunk().size();
  store::MutexLock lock(mutex_);
  if (finished_) return;
  waiting_since_ = Clock::now();
  StartWrite(&response_);
}

void DownloadStream::OnWriteDone(bool ok) {
  {
    store::MutexLock lock(mutex_);
    waiting_since_.reset();
  }
  if (!ok) return End(absl::CancelledError("the client went away"));
  if (position_ >= bytes_.size()) return End(absl::OkStatus());
  response_.clear_total_bytes();
  response_.clear_psnr_db();
  WriteNext();
}

void DownloadStream::EndIfWaitingSince(Clock::time_point since, const absl::Status& /*status*/) {
  store::MutexLock lock(mutex_);
  // A chunk that the client does not take also blocks the status behind it, so the call
  // is cut; OnWriteDone(false) then ends it.
  if (!finished_ && waiting_since_ && *waiting_since_ <= since) call_->TryCancel();
}

void DownloadStream::End(const absl::Status& status) {
  {
    store::MutexLock lock(mutex_);
    if (finished_) return;
    finished_ = true;
  }
  Finish(FinalStatus(context_, status, *request_));
}

void DownloadStream::OnFinished() { context_.downloads.Remove(shared_from_this()); }

}  // namespace thresher::rpc
