// The calls that data sets and models have in common, over their rows of `records`.
#ifndef THRESHER_SERVER_STORE_STORED_RECORDS_H_
#define THRESHER_SERVER_STORE_STORED_RECORDS_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/blob_folder.h"
#include "server/store/database.h"
#include "server/store/records.h"

namespace thresher::store {

// Errors: as FindRecord and ListRecords.
absl::StatusOr<RecordRow> ReadRow(Database& database, Collection collection, std::string_view id);
absl::StatusOr<Page<RecordRow>> ReadRows(Database& database, Collection collection,
                                         const ListRequest& request);

// The page as records; `parse` makes a StatusOr<Record> of a row's body.
template <typename Record, typename Parse>
absl::StatusOr<Page<Record>> ParsePage(absl::StatusOr<Page<RecordRow>> rows, Parse parse) {
  if (!rows.ok()) return rows.status();
  Page<Record> page;
  page.next_page_token = std::move(rows->next_page_token);
  for (const RecordRow& row : rows->records) {
    absl::StatusOr<Record> record = parse(row.body);
    if (!record.ok()) return record.status();
    page.records.push_back(*std::move(record));
  }
  return page;
}

// Deletes the record, then the blobs that no other one needs.
// Errors: NOT_FOUND; FAILED_PRECONDITION with IN_USE while a job that has not ended uses it:
// "<name> <in_use>".
absl::Status DeleteUnused(Database& database, BlobFolder& blobs, Collection collection,
                          std::string_view id, std::string_view in_use);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_STORED_RECORDS_H_
