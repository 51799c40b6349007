// thresher.v1.JobService: convert, call the job manager, convert back.
#ifndef THRESHER_SERVER_RPC_JOB_SERVICE_H_
#define THRESHER_SERVER_RPC_JOB_SERVICE_H_

#include "server/rpc/call.h"
#include "thresher/v1/job_service.grpc.pb.h"

namespace thresher::rpc {

class JobService final : public v1::JobService::CallbackService {
 public:
  // The context outlives the service.
  explicit JobService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* call,
                                      const v1::CreateJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* call,
                                   const v1::GetJobRequest* request, v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* call,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(
      grpc::CallbackServerContext* call, const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* call,
                                      const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* call,
                                      const v1::DeleteJobRequest* request,
                                      google::protobuf::Empty* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_JOB_SERVICE_H_
