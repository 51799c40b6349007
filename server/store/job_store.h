// Jobs and their events in the database: what the job manager reads and writes inside
// its transactions.
#ifndef THRESHER_SERVER_STORE_JOB_STORE_H_
#define THRESHER_SERVER_STORE_JOB_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/database.h"
#include "server/store/job_record.h"
#include "server/store/records.h"

namespace thresher::store {

struct StoredJob {
  int64_t key = 0;
  JobRecord record;
  int64_t reserved_event_number = 0;  // numbers up to this one may have been used
};

// Inserts a job with its first event. Errors: NOT_FOUND when its data set or its initial
// model is gone; ALREADY_EXISTS.
absl::StatusOr<int64_t> InsertJob(Connection& connection, const CreateIdentity& identity,
                                  const JobRecord& record, const JobEvent& event);

// The job that an earlier call of this identity made, as FindEarlier.
absl::StatusOr<std::optional<StoredJob>> FindEarlierJob(Connection& connection,
                                                        const CreateIdentity& identity);

absl::StatusOr<StoredJob> FindJob(Connection& connection, std::string_view id);
absl::StatusOr<Page<StoredJob>> ListJobs(Connection& connection, const ListRequest& request);
// Those that have not ended, in order of creation.
absl::StatusOr<std::vector<StoredJob>> LoadActiveJobs(Connection& connection);
absl::StatusOr<std::vector<JobEvent>> LoadEvents(Connection& connection, int64_t key);
// The rows of a sweep, by cell.
absl::StatusOr<std::vector<SweepCell>> LoadCells(Connection& connection, int64_t key);
// Adds a row to the sweep of this key, unless the cell has one already.
absl::Status AddCell(Connection& connection, int64_t key, const SweepCell& row);
absl::StatusOr<int64_t> CountEndedJobs(Connection& connection);

struct JobWrite {
  int64_t key = 0;
  const JobRecord* record = nullptr;
  const std::vector<JobEvent>* events = nullptr;  // to add
  bool replace_events = false;                    // the stored ones go first
  int64_t reserved_event_number = 0;
};
// Writes the record, its blob (the checkpoint) and events. An ended job releases what
// it used.
absl::Status WriteJob(Connection& connection, const JobWrite& write);

absl::Status ReserveEventNumbers(Connection& connection, int64_t key, int64_t up_to_number);
absl::Status RequestCancel(Connection& connection, int64_t key);
// Deletes the `count` jobs that ended first, but not `except_key`. Returns how many.
absl::StatusOr<int64_t> DeleteOldestEndedJobs(Connection& connection, int64_t count,
                                              int64_t except_key);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_JOB_STORE_H_
