// JSON of the values inside records. For the stores only.
#ifndef THRESHER_SERVER_STORE_RECORD_JSON_H_
#define THRESHER_SERVER_STORE_RECORD_JSON_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/network/model.h"
#include "core/samples/planted.h"
#include "server/store/dataset_store.h"
#include "server/store/job_record.h"
#include "server/store/records.h"

namespace thresher::store {

using Json = nlohmann::json;

// Readers of JSON throw nlohmann's exceptions; ParseRecord turns them into DATA_LOSS.
template <typename Record>
absl::StatusOr<Record> ParseRecord(std::string_view text,
                                   const std::function<Record(const Json&)>& read) {
  try {
    return read(Json::parse(text));
  } catch (const Json::exception& e) {
    return absl::DataLossError(absl::StrCat("a stored record is damaged: ", e.what()));
  }
}

// One line; text that is not UTF-8 is replaced, never an exception.
std::string Dump(const Json& json);

// Doubles, infinities and NaN included.
Json ToJson(double value);
double ReadDouble(const Json& json);
Json ToJson(Timestamp time);
Timestamp ReadTimestamp(const Json& json);

Json ToJson(const Scaling& scaling);
Scaling ReadScaling(const Json& json);
Json ToJson(const DatasetSource& source);
DatasetSource ReadDatasetSource(const Json& json);
// The spec as the member named by its kind, and the report as "report" or "pruning_report".
void AddSpec(const JobSpec& spec, Json& json);
JobSpec ReadSpec(const Json& json);
void AddReport(const std::optional<JobReport>& report, Json& json);
std::optional<JobReport> ReadReport(const Json& json);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_RECORD_JSON_H_
