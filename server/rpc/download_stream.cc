#include "server/rpc/download_stream.h"

#include <algorithm>
#include <utility>

#include "server/rpc/convert.h"
#include "server/rpc/reconstruction.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

using Clock = std::chrono::steady_clock;

// Of files that may be far larger than the stored model.
constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

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
  auto file = ReadFile();
  if (!file.ok()) return End(file.status());
  file_ = *std::move(file);
  response_.set_total_bytes(static_cast<int64_t>(file_.size()));
  WriteNext();
}

absl::StatusOr<std::string> DownloadStream::ReadFile() {
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
    return std::move(reconstruction->png);
  }
  const auto format = FromProto(request_->format());
  if (!format.ok()) return format.status();
  return models.ReadFile(*record, *format, kMaxFileBytes);
}

void DownloadStream::WriteNext() {
  response_.set_chunk(file_.substr(position_, kDownloadChunkBytes));
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
  if (position_ >= file_.size()) return End(absl::OkStatus());
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
