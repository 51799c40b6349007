#include "server/store/stored_records.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/error_details.h"

namespace thresher::store {

absl::StatusOr<RecordRow> ReadRow(Database& database, Collection collection, std::string_view id) {
  RecordRow row;
  absl::Status status = database.Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<RecordRow> found = FindRecord(connection, collection, id);
    if (!found.ok()) return found.status();
    row = *std::move(found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return row;
}

absl::StatusOr<Page<RecordRow>> ReadRows(Database& database, Collection collection,
                                         const ListRequest& request) {
  Page<RecordRow> rows;
  absl::Status status = database.Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<Page<RecordRow>> found = ListRecords(connection, collection, request);
    if (!found.ok()) return found.status();
    rows = *std::move(found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return rows;
}

absl::Status DeleteUnused(Database& database, BlobFolder& blobs, Collection collection,
                          std::string_view id, std::string_view in_use) {
  std::vector<std::string> dropped;
  absl::Status status = database.Write([&](Connection& connection) -> absl::Status {
    absl::StatusOr<RecordRow> row = FindRecord(connection, collection, id);
    if (!row.ok()) return row.status();
    absl::StatusOr<bool> used = IsUsed(connection, collection, id);
    if (!used.ok()) return used.status();
    if (*used) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat(NameOf(collection), "/", row->id, " ",
                                         absl::string_view(in_use.data(), in_use.size()))),
                        kReasonInUse);
    }
    absl::StatusOr<std::vector<std::string>> found = BlobsOf(connection, row->key);
    if (!found.ok()) return found.status();
    dropped = *std::move(found);
    return DeleteRecord(connection, row->key);
  });
  if (!status.ok()) return status;
  for (const std::string& blob : dropped) {
    // What stays by a failure here is removed at the next start.
    CollectBlob(database, blobs, blob).IgnoreError();
  }
  return absl::OkStatus();
}

}  // namespace thresher::store
