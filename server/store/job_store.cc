#include "server/store/job_store.h"

#include <utility>

namespace thresher::store {
namespace {

absl::Status AddEvent(Connection& connection, int64_t key, const JobEvent& event) {
  return connection.Execute("INSERT INTO events (record_key, number, body) VALUES (?, ?, ?)", key,
                            event.number, JobEventToJson(event));
}

// Completes a row by the columns that jobs have beside the JSON.
absl::StatusOr<StoredJob> ReadJob(Connection& connection, const RecordRow& row) {
  absl::StatusOr<JobRecord> record = JobRecordFromJson(row.body);
  if (!record.ok()) return record.status();
  absl::StatusOr<Statement> query = connection.Query(
      "SELECT reserved_event_number, cancel_requested FROM records WHERE key = ?", row.key);
  if (!query.ok()) return query.status();
  absl::StatusOr<bool> found = query->Step();
  if (!found.ok()) return found.status();
  StoredJob job{.key = row.key, .record = std::move(*record)};
  if (*found) {
    job.reserved_event_number = query->Integer(0);
    job.record.cancel_requested = query->Integer(1) != 0;
  }
  return job;
}

}  // namespace

absl::StatusOr<int64_t> InsertJob(Connection& connection, const CreateIdentity& identity,
                                  const JobRecord& record, const JobEvent& event) {
  const std::vector<std::string> dataset_ids = DatasetIdsOf(record.spec);
  absl::Status status;
  for (const std::string& id : dataset_ids) {
    if (status.ok()) status = FindRecord(connection, Collection::kDatasets, id).status();
  }
  const std::string model_id = ModelIdOf(record.spec);
  if (status.ok() && !model_id.empty()) {
    status = FindRecord(connection, Collection::kModels, model_id).status();
  }
  if (!status.ok()) return status;
  NewRecord row;
  row.collection = Collection::kJobs;
  row.identity = identity;
  row.identity.id = record.id;
  row.state = static_cast<int>(record.state);
  row.body = JobRecordToJson(record);
  row.labels = record.labels;
  absl::StatusOr<int64_t> key = InsertRecord(connection, row);
  if (!key.ok()) return key.status();
  for (const std::string& id : dataset_ids) {
    if (status.ok()) status = AddUse(connection, *key, Collection::kDatasets, id);
  }
  if (status.ok() && !model_id.empty()) {
    status = AddUse(connection, *key, Collection::kModels, model_id);
  }
  if (status.ok()) status = AddEvent(connection, *key, event);
  if (!status.ok()) return status;
  return key;
}

absl::StatusOr<std::optional<StoredJob>> FindEarlierJob(Connection& connection,
                                                        const CreateIdentity& identity) {
  absl::StatusOr<std::optional<RecordRow>> row =
      FindEarlier(connection, Collection::kJobs, identity);
  if (!row.ok()) return row.status();
  if (!row->has_value()) return std::optional<StoredJob>();
  absl::StatusOr<StoredJob> job = ReadJob(connection, **row);
  if (!job.ok()) return job.status();
  return std::optional<StoredJob>(std::move(*job));
}

absl::StatusOr<StoredJob> FindJob(Connection& connection, std::string_view id) {
  absl::StatusOr<RecordRow> row = FindRecord(connection, Collection::kJobs, id);
  if (!row.ok()) return row.status();
  return ReadJob(connection, *row);
}

absl::StatusOr<Page<StoredJob>> ListJobs(Connection& connection, const ListRequest& request) {
  absl::StatusOr<Page<RecordRow>> rows = ListRecords(connection, Collection::kJobs, request);
  if (!rows.ok()) return rows.status();
  Page<StoredJob> page;
  page.next_page_token = std::move(rows->next_page_token);
  for (const RecordRow& row : rows->records) {
    absl::StatusOr<StoredJob> job = ReadJob(connection, row);
    if (!job.ok()) return job.status();
    page.records.push_back(std::move(*job));
  }
  return page;
}

absl::StatusOr<std::vector<StoredJob>> LoadActiveJobs(Connection& connection) {
  std::vector<StoredJob> jobs;
  absl::StatusOr<Statement> query = connection.Query(
      "SELECT key, id, state, body FROM records WHERE collection = ? AND state < 3 ORDER BY key",
      Collection::kJobs);
  if (!query.ok()) return query.status();
  for (;;) {
    absl::StatusOr<bool> found = query->Step();
    if (!found.ok()) return found.status();
    if (!*found) return jobs;
    absl::StatusOr<StoredJob> job =
        ReadJob(connection, {.key = query->Integer(0),
                             .id = query->Text(1),
                             .state = static_cast<int>(query->Integer(2)),
                             .body = query->Text(3)});
    if (!job.ok()) return job.status();
    jobs.push_back(std::move(*job));
  }
}

absl::StatusOr<std::vector<JobEvent>> LoadEvents(Connection& connection, int64_t key) {
  std::vector<JobEvent> events;
  absl::StatusOr<Statement> query =
      connection.Query("SELECT number, body FROM events WHERE record_key = ? ORDER BY number", key);
  if (!query.ok()) return query.status();
  for (;;) {
    absl::StatusOr<bool> found = query->Step();
    if (!found.ok()) return found.status();
    if (!*found) return events;
    absl::StatusOr<JobEvent> event = JobEventFromJson(query->Integer(0), query->Text(1));
    if (!event.ok()) return event.status();
    events.push_back(std::move(*event));
  }
}

absl::StatusOr<std::vector<SweepCell>> LoadCells(Connection& connection, int64_t key) {
  std::vector<SweepCell> rows;
  absl::StatusOr<Statement> query =
      connection.Query("SELECT body FROM cells WHERE record_key = ? ORDER BY cell", key);
  if (!query.ok()) return query.status();
  for (;;) {
    absl::StatusOr<bool> found = query->Step();
    if (!found.ok()) return found.status();
    if (!*found) return rows;
    absl::StatusOr<SweepCell> row = SweepCellFromJson(query->Text(0));
    if (!row.ok()) return row.status();
    rows.push_back(*std::move(row));
  }
}

absl::Status AddCell(Connection& connection, int64_t key, const SweepCell& row) {
  return connection.Execute("INSERT OR IGNORE INTO cells (record_key, cell, body) VALUES (?, ?, ?)",
                            key, row.cell, SweepCellToJson(row));
}

absl::StatusOr<int64_t> CountEndedJobs(Connection& connection) {
  absl::StatusOr<Statement> query =
      connection.Query("SELECT count(*) FROM records WHERE end_time IS NOT NULL");
  if (!query.ok()) return query.status();
  absl::StatusOr<bool> found = query->Step();
  if (!found.ok()) return found.status();
  return query->Integer(0);
}

absl::Status WriteJob(Connection& connection, const JobWrite& write) {
  const JobRecord& record = *write.record;
  absl::Status status =
      UpdateRecord(connection, write.key, static_cast<int>(record.state), JobRecordToJson(record));
  if (status.ok()) {
    status = connection.Execute("UPDATE records SET reserved_event_number = ? WHERE key = ?",
                                write.reserved_event_number, write.key);
  }
  if (status.ok() && IsEnded(record.state)) {
    const Timestamp end_time = record.end_time.value_or(Timestamp());
    status = connection.Execute("UPDATE records SET end_time = ? WHERE key = ?",
                                int64_t{end_time.time_since_epoch().count()}, write.key);
    if (status.ok()) {
      status = connection.Execute("DELETE FROM uses WHERE record_key = ?", write.key);
    }
  }
  if (status.ok()) {
    std::vector<std::string> blobs;
    if (!record.checkpoint_sha256.empty()) blobs.push_back(record.checkpoint_sha256);
    status = SetBlobs(connection, write.key, blobs);
  }
  if (status.ok() && write.replace_events) {
    status = connection.Execute("DELETE FROM events WHERE record_key = ?", write.key);
  }
  for (size_t i = 0; status.ok() && i < write.events->size(); ++i) {
    status = AddEvent(connection, write.key, (*write.events)[i]);
  }
  return status;
}

absl::Status ReserveEventNumbers(Connection& connection, int64_t key, int64_t up_to_number) {
  return connection.Execute(
      "UPDATE records SET reserved_event_number = max(reserved_event_number, ?) WHERE key = ?",
      up_to_number, key);
}

absl::Status RequestCancel(Connection& connection, int64_t key) {
  return connection.Execute("UPDATE records SET cancel_requested = 1 WHERE key = ?", key);
}

absl::StatusOr<int64_t> DeleteOldestEndedJobs(Connection& connection, int64_t count,
                                              int64_t except_key) {
  absl::Status status = connection.Execute(
      "DELETE FROM records WHERE key IN (SELECT key FROM records WHERE end_time IS NOT NULL AND "
      "key != ? ORDER BY end_time, key LIMIT ?)",
      except_key, count);
  if (!status.ok()) return status;
  return connection.changes();
}

}  // namespace thresher::store
