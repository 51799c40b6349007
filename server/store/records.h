// What jobs, data sets and models have in common as stored records: ids, request ids,
// labels and listing.
#ifndef THRESHER_SERVER_STORE_RECORDS_H_
#define THRESHER_SERVER_STORE_RECORDS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/blob_folder.h"
#include "server/store/database.h"

namespace thresher::store {

using Timestamp = std::chrono::sys_time<std::chrono::microseconds>;
Timestamp Now();

using Labels = std::map<std::string, std::string>;

// Numbers are stored: never change them.
enum class Collection { kJobs = 1, kDatasets = 2, kModels = 3 };
// "jobs", "datasets" or "models", the first part of resource names.
absl::string_view NameOf(Collection collection);

// How a create call says who it is.
struct CreateIdentity {
  // [a-z][a-z0-9-]{0,62}; empty: the store makes one.
  std::string id;
  // At most 128 bytes; empty: none. The same request_id and fingerprint give the record
  // made first; another fingerprint is ALREADY_EXISTS.
  std::string request_id;
  // Hash of the request's body without id and request_id, any bytes.
  std::string fingerprint;
  // Id of the sweep that the record belongs to; empty: none. Such jobs and data sets are in no list
  // but that of their parent, and do not outlive it.
  std::string parent;
};

struct ListRequest {
  int64_t page_size = 0;   // 0 means 50; more than 1000 means 1000
  std::string page_token;  // of the page before, with the same filter
  // Conditions that all hold. `state` is a JobState's number; jobs only.
  std::optional<int> state;
  Labels labels;
  std::string parent;  // as CreateIdentity::parent
};

template <typename Record>
struct Page {
  std::vector<Record> records;  // newest first
  std::string next_page_token;  // empty on the last page
};

// Errors: INVALID_ARGUMENT naming the field.
absl::Status ValidateId(std::string_view id, std::string_view field);
absl::Status ValidateRequestId(std::string_view request_id);
// At most 64 pairs, keys [a-z][a-z0-9_-]{0,62}, values at most 256 bytes.
absl::Status ValidateLabels(const Labels& labels);

// A random id: `letter`, then 16 characters of [a-z0-9].
std::string MakeId(char letter);

// ----- For the stores themselves: rows of the table `records`. -----

struct RecordRow {
  int64_t key = 0;  // grows with creation
  std::string id;
  int state = 0;
  std::string body;  // JSON
};

struct NewRecord {
  Collection collection = Collection::kJobs;
  CreateIdentity identity;  // id not empty
  int state = 0;
  std::string body;
  Labels labels;
  std::vector<std::string> blobs;  // SHA-256 of blobs that the record keeps alive
};

// Inserts inside a write. Errors: ALREADY_EXISTS when the id is taken (the request id is
// the caller's to look up first, in the same write, by FindEarlier).
absl::StatusOr<int64_t> InsertRecord(Connection& connection, const NewRecord& record);

// The record that an earlier call of this identity made; nothing if there was none.
// Errors: ALREADY_EXISTS when the request id was used with another fingerprint, or the
// id is taken by a record of another request.
absl::StatusOr<std::optional<RecordRow>> FindEarlier(Connection& connection, Collection collection,
                                                     const CreateIdentity& identity);

// Errors: NOT_FOUND, saying the collection's word and the id.
absl::StatusOr<RecordRow> FindRecord(Connection& connection, Collection collection,
                                     std::string_view id);
absl::Status UpdateRecord(Connection& connection, int64_t key, int state, std::string_view body);
// Replaces the blobs that the record keeps alive.
absl::Status SetBlobs(Connection& connection, int64_t key, const std::vector<std::string>& blobs);
absl::StatusOr<std::vector<std::string>> BlobsOf(Connection& connection, int64_t key);
absl::StatusOr<bool> IsBlobReferenced(Connection& connection, std::string_view sha256);
absl::Status DeleteRecord(Connection& connection, int64_t key);
// Deletes the records whose parent is not a job that is queued or running.
absl::Status DeleteOrphans(Connection& connection);

// A job needs a data set or a model as long as it has not ended.
absl::Status AddUse(Connection& connection, int64_t key, Collection used, std::string_view id);
absl::StatusOr<bool> IsUsed(Connection& connection, Collection used, std::string_view id);

// Removes the blob when no record refers to it any more.
absl::Status CollectBlob(Database& database, BlobFolder& blobs, std::string_view sha256);

// Errors: INVALID_ARGUMENT `page_size` (negative) or `page_token` (not of such a list).
absl::StatusOr<Page<RecordRow>> ListRecords(Connection& connection, Collection collection,
                                            const ListRequest& request);

// The schema of the whole database, for Database::Open.
std::vector<std::string> SchemaMigrations();

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_RECORDS_H_
