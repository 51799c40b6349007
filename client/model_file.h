// Model files on this machine, read, written and measured without a server.
#ifndef THRESHER_CLIENT_MODEL_FILE_H_
#define THRESHER_CLIENT_MODEL_FILE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/model_files/model_file.h"
#include "core/model_files/model_report.h"
#include "thresher/v1/model_service.pb.h"

namespace thresher::client {

// By the ending of the file's name; UNSPECIFIED when it does not say.
v1::ModelFormat ModelFormatOf(const std::string& path);
// ".npz", ".h" and so on.
std::string EndingOf(v1::ModelFormat format);
// Errors: INVALID_ARGUMENT for UNSPECIFIED, naming the path and --format.
absl::StatusOr<ModelFileFormat> ToFileFormat(v1::ModelFormat format, const std::string& path);

// Errors: NOT_FOUND or INVALID_ARGUMENT naming the path; files of more than 1 GiB are refused.
absl::StatusOr<Model> ReadModelAt(const std::string& path, v1::ModelFormat format);
// Through a temporary file beside it. A C header's names begin with the file's. Returns the size.
absl::StatusOr<int64_t> WriteModelAt(const Model& model, const std::string& path,
                                     v1::ModelFormat format);

// A page for people, with the sentence where the sparse network is not smaller or not faster.
// metadata: the model's, which says how good it and the one that it was pruned from are.
std::string ReportPage(const ModelReport& report,
                       const std::map<std::string, std::string>& metadata);
// One JSON object, numbers of 64 bits as numbers.
std::string ReportJson(const ModelReport& report);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_MODEL_FILE_H_
