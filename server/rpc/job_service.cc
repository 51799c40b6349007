#include "server/rpc/job_service.h"

#include "server/rpc/convert.h"
#include "server/rpc/list_pages.h"
#include "server/rpc/watch_stream.h"

namespace thresher::rpc {
namespace {

// Runs `call(id)` for the job of that name and shows the record it gives.
template <typename Call>
absl::Status ForJob(std::string_view name, Call call, v1::Job& response) {
  const auto id = IdFromName(name, kJobs, "name");
  if (!id.ok()) return id.status();
  auto record = call(*id);
  if (!record.ok()) return record.status();
  response = ToProto(*record);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* JobService::CreateJob(grpc::CallbackServerContext* call,
                                                const v1::CreateJobRequest* request,
                                                v1::Job* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    auto job = FromProto(*request);
    if (!job.ok()) return job.status();
    auto record = context_.jobs.Create(*job);
    if (!record.ok()) return record.status();
    *response = ToProto(*record);
    // Nothing was made, so nothing has a name.
    if (request->validate_only()) response->clear_name();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* call,
                                             const v1::GetJobRequest* request, v1::Job* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    return ForJob(
        request->name(), [this](const std::string& id) { return context_.jobs.Get(id); },
        *response);
  });
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* call,
                                               const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    return FillPage([this](const store::ListRequest& list) { return context_.jobs.List(list); },
                    *request, /*has_state=*/true, *response, *response->mutable_jobs());
  });
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobService::WatchJob(
    grpc::CallbackServerContext* call, const v1::WatchJobRequest* request) {
  return WatchStream::Start(context_, call, request);
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* call,
                                                const v1::CancelJobRequest* request,
                                                v1::Job* response) {
  return RunUnary(context_, context_.lookups, call, request, [this, request, response] {
    return ForJob(
        request->name(), [this](const std::string& id) { return context_.jobs.Cancel(id); },
        *response);
  });
}

grpc::ServerUnaryReactor* JobService::DeleteJob(grpc::CallbackServerContext* call,
                                                const v1::DeleteJobRequest* request,
                                                google::protobuf::Empty* /*response*/) {
  return RunUnary(context_, context_.lookups, call, request, [this, request] {
    const auto id = IdFromName(request->name(), kJobs, "name");
    if (!id.ok()) return id.status();
    return context_.jobs.Delete(*id);
  });
}

}  // namespace thresher::rpc
