// Between the wire (proto/thresher/v1) and the values of core and server/jobs.
//
// Requests are checked here as far as it takes to make a value: unknown enum values,
// numbers that an integer type or a unit cannot hold, fields that are required, fields
// that have no meaning beside others. Whatever needs the data set or the store is
// checked there. Errors are INVALID_ARGUMENT with the field's path in the request.
// Output-only fields of a request are ignored, as AIP-203 asks.
#ifndef THRESHER_SERVER_RPC_CONVERT_H_
#define THRESHER_SERVER_RPC_CONVERT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/jobs/job.h"
#include "server/jobs/job_manager.h"
#include "server/store/dataset_store.h"
#include "server/store/model_store.h"
#include "server/store/records.h"
#include "thresher/v1/dataset_service.pb.h"
#include "thresher/v1/job_service.pb.h"
#include "thresher/v1/model_service.pb.h"

namespace thresher::rpc {

// ----- Names: "jobs/{id}", "datasets/{id}", "models/{id}". -----

inline constexpr std::string_view kJobs = "jobs/";
inline constexpr std::string_view kDatasets = "datasets/";
inline constexpr std::string_view kModels = "models/";

// The id in a resource name of this collection. Errors: INVALID_ARGUMENT `field`.
absl::StatusOr<std::string> IdFromName(std::string_view name, std::string_view collection,
                                       std::string_view field);

// ----- Requests. -----

// A hash of what the request asks for, its id and request id left out: equal requests
// have equal fingerprints.
std::string Fingerprint(const v1::CreateJobRequest& request);
std::string Fingerprint(const v1::CreateDatasetRequest& request);
std::string Fingerprint(const v1::UploadDatasetHeader& header, std::string_view inputs_sha256,
                        std::string_view targets_sha256);
std::string Fingerprint(const v1::UploadModelHeader& header, std::string_view file_sha256);

absl::StatusOr<jobs::CreateJobRequest> FromProto(const v1::CreateJobRequest& request);
absl::StatusOr<PlantedOptions> FromProto(const v1::PlantedSource& source);
absl::StatusOr<ReadOptions> FromProto(const v1::UploadSource& source);
// Errors: INVALID_ARGUMENT `format`.
absl::StatusOr<ModelFileFormat> FromProto(v1::ModelFormat format);
store::Labels LabelsFromProto(const google::protobuf::Map<std::string, std::string>& labels);

// `state` is a field of the filter for jobs only.
absl::StatusOr<store::ListRequest> ListRequestFrom(int32_t page_size, std::string_view page_token,
                                                   std::string_view filter, bool has_state);

// ----- Responses. -----

v1::Job ToProto(const store::JobRecord& record);
v1::JobEvent ToProto(const store::JobEvent& event);
v1::Dataset ToProto(const store::DatasetRecord& record);
v1::Model ToProto(const store::ModelRecord& record);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_CONVERT_H_
