#include "server/store/records.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/store/error_details.h"

namespace thresher::store {
namespace {

constexpr int64_t kDefaultPageSize = 50;
constexpr int64_t kMaxPageSize = 1000;
constexpr size_t kMaxIdBytes = 63;
constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelValueBytes = 256;
constexpr size_t kMaxPageTokenBytes = 128;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// [a-z][a-z0-9<extra>]{0,62}
bool IsWord(std::string_view text, std::string_view extra) {
  if (text.empty() || text.size() > kMaxIdBytes || text[0] < 'a' || text[0] > 'z') return false;
  return std::all_of(text.begin(), text.end(), [extra](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           extra.find(c) != std::string_view::npos;
  });
}

absl::string_view WordOf(Collection collection) {
  switch (collection) {
    case Collection::kJobs:
      return "job";
    case Collection::kDatasets:
      return "data set";
    case Collection::kModels:
      return "model";
  }
  return "record";
}

// What a page token is bound to: another filter must not go on from it.
std::string FilterHash(Collection collection, const ListRequest& request) {
  std::string text =
      absl::StrCat(NameOf(collection), "\n", request.state.value_or(0), "\n", request.parent, "\n");
  for (const auto& [name, value] : request.labels) {
    absl::StrAppend(&text, name.size(), ":", name, value.size(), ":", value, "\n");
  }
  return Sha256Hex(text).substr(0, 16);
}

std::string MakePageToken(int64_t key, const std::string& filter_hash) {
  const std::string plain = absl::StrCat(filter_hash, ".", key);
  return absl::WebSafeBase64Escape(absl::StrCat(plain, ".", Sha256Hex(plain).substr(0, 8)));
}

absl::StatusOr<int64_t> ReadPageToken(const std::string& token, const std::string& filter_hash) {
  const absl::Status error = InvalidField(
      "page_token", "not a token of this list with this filter; use next_page_token unchanged");
  std::string text;
  if (token.size() > kMaxPageTokenBytes || !absl::WebSafeBase64Unescape(token, &text)) {
    return error;
  }
  const size_t last_dot = text.rfind('.');
  if (text.size() < 18 || last_dot == std::string::npos || last_dot < 17 ||
      text.compare(0, 16, filter_hash) != 0 || text[16] != '.' ||
      text.substr(last_dot + 1) != Sha256Hex(text.substr(0, last_dot)).substr(0, 8)) {
    return error;
  }
  int64_t key = 0;
  if (!absl::SimpleAtoi(text.substr(17, last_dot - 17), &key)) return error;
  return key;
}

RecordRow ReadRow(const Statement& query) {
  return {.key = query.Integer(0),
          .id = query.Text(1),
          .state = static_cast<int>(query.Integer(2)),
          .body = query.Text(3)};
}

}  // namespace

absl::string_view NameOf(Collection collection) {
  switch (collection) {
    case Collection::kJobs:
      return "jobs";
    case Collection::kDatasets:
      return "datasets";
    case Collection::kModels:
      return "models";
  }
  return "records";
}

Timestamp Now() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

absl::Status ValidateId(std::string_view id, std::string_view field) {
  if (IsWord(id, "-")) return absl::OkStatus();
  return InvalidField(field,
                      "must be 1 to 63 characters of a-z, 0-9 and '-', the first one a letter");
}

absl::Status ValidateRequestId(std::string_view request_id) {
  if (request_id.size() <= kMaxRequestIdBytes) return absl::OkStatus();
  return InvalidField("request_id", absl::StrCat("has ", request_id.size(),
                                                 " bytes, must have at most ", kMaxRequestIdBytes));
}

absl::Status ValidateLabels(const Labels& labels) {
  if (labels.size() > kMaxLabels) {
    return InvalidField(
        "labels", absl::StrCat("has ", labels.size(), " pairs, must have at most ", kMaxLabels));
  }
  for (const auto& [name, value] : labels) {
    if (!IsWord(name, "_-")) {
      return InvalidField("labels",
                          absl::StrCat("key \"", absl::CHexEscape(name.substr(0, 80)),
                                       "\" must be 1 to 63 characters of a-z, 0-9, '_' and '-', "
                                       "the first one a letter"));
    }
    if (value.size() > kMaxLabelValueBytes) {
      return InvalidField("labels",
                          absl::StrCat("value of \"", name, "\" has ", value.size(),
                                       " bytes, must have at most ", kMaxLabelValueBytes));
    }
  }
  return absl::OkStatus();
}

std::string MakeId(char letter) {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::random_device device;
  std::uniform_int_distribution<int> character(0, 35);
  std::string id(1, letter);
  for (int i = 0; i < 16; ++i) id.push_back(kAlphabet[character(device)]);
  return id;
}

absl::StatusOr<int64_t> InsertRecord(Connection& connection, const NewRecord& record) {
  absl::StatusOr<RecordRow> taken = FindRecord(connection, record.collection, record.identity.id);
  if (taken.ok()) {
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat(NameOf(record.collection), "/", record.identity.id,
                                              " exists already; choose another id")),
        kReasonIdTaken);
  }
  if (!absl::IsNotFound(taken.status())) return taken.status();
  absl::StatusOr<Statement> insert = connection.Query(
      "INSERT INTO records (collection, id, request_id, fingerprint, state, body, parent) "
      "VALUES (?, ?, ?, ?, ?, ?, ?)",
      record.collection, record.identity.id, record.identity.request_id,
      record.identity.fingerprint, record.state, record.body, record.identity.parent);
  if (!insert.ok()) return insert.status();
  if (record.identity.request_id.empty()) insert->BindNull(3);
  if (record.identity.parent.empty()) insert->BindNull(7);
  absl::StatusOr<bool> row = insert->Step();
  if (!row.ok()) return row.status();
  const int64_t key = connection.last_insert_key();
  for (const auto& [name, value] : record.labels) {
    absl::Status status = connection.Execute(
        "INSERT INTO labels (name, value, record_key) VALUES (?, ?, ?)", name, value, key);
    if (!status.ok()) return status;
  }
  absl::Status status = SetBlobs(connection, key, record.blobs);
  if (!status.ok()) return status;
  return key;
}

absl::StatusOr<std::optional<RecordRow>> FindEarlier(Connection& connection, Collection collection,
                                                     const CreateIdentity& identity) {
  if (!identity.request_id.empty()) {
    absl::StatusOr<Statement> query = connection.Query(
        "SELECT key, id, state, body, fingerprint FROM records "
        "WHERE collection = ? AND request_id = ?",
        collection, identity.request_id);
    if (!query.ok()) return query.status();
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (*row) {
      RecordRow found = ReadRow(*query);
      if (query->Text(4) == identity.fingerprint &&
          (identity.id.empty() || identity.id == found.id)) {
        return std::optional<RecordRow>(std::move(found));
      }
      return WithReason(absl::AlreadyExistsError(absl::StrCat(
                            "request_id: was used for ", NameOf(collection), "/", found.id,
                            " with another request; use a new request_id for a new request")),
                        kReasonRequestIdReused);
    }
  }
  if (!identity.id.empty()) {
    absl::StatusOr<RecordRow> taken = FindRecord(connection, collection, identity.id);
    if (taken.ok()) {
      return WithReason(
          absl::AlreadyExistsError(absl::StrCat(NameOf(collection), "/", identity.id,
                                                " exists already; choose another id")),
          kReasonIdTaken);
    }
    if (!absl::IsNotFound(taken.status())) return taken.status();
  }
  return std::optional<RecordRow>();
}

absl::StatusOr<RecordRow> FindRecord(Connection& connection, Collection collection,
                                     std::string_view id) {
  absl::StatusOr<Statement> query = connection.Query(
      "SELECT key, id, state, body FROM records WHERE collection = ? AND id = ?", collection, id);
  if (!query.ok()) return query.status();
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  if (*row) return ReadRow(*query);
  return WithReason(
      absl::NotFoundError(absl::StrCat("no ", WordOf(collection), " ", NameOf(collection), "/",
                                       absl::CHexEscape(View(id.substr(0, 80))))),
      kReasonNotFound);
}

absl::Status UpdateRecord(Connection& connection, int64_t key, int state, std::string_view body) {
  absl::Status status =
      connection.Execute("UPDATE records SET state = ?, body = ? WHERE key = ?", state, body, key);
  if (status.ok() && connection.changes() != 1) {
    return absl::InternalError("the record to be changed is gone");
  }
  return status;
}

absl::Status SetBlobs(Connection& connection, int64_t key, const std::vector<std::string>& blobs) {
  absl::Status status = connection.Execute("DELETE FROM blobs WHERE record_key = ?", key);
  for (size_t i = 0; status.ok() && i < blobs.size(); ++i) {
    status = connection.Execute("INSERT OR IGNORE INTO blobs (sha256, record_key) VALUES (?, ?)",
                                blobs[i], key);
  }
  return status;
}

absl::StatusOr<std::vector<std::string>> BlobsOf(Connection& connection, int64_t key) {
  absl::StatusOr<Statement> query =
      connection.Query("SELECT sha256 FROM blobs WHERE record_key = ?", key);
  if (!query.ok()) return query.status();
  std::vector<std::string> blobs;
  for (;;) {
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (!*row) return blobs;
    blobs.push_back(query->Text(0));
  }
}

absl::StatusOr<bool> IsBlobReferenced(Connection& connection, std::string_view sha256) {
  absl::StatusOr<Statement> query =
      connection.Query("SELECT 1 FROM blobs WHERE sha256 = ? LIMIT 1", sha256);
  if (!query.ok()) return query.status();
  return query->Step();
}

absl::Status CollectBlob(Database& database, BlobFolder& blobs, std::string_view sha256) {
  return blobs.Collect(sha256, [&]() -> absl::StatusOr<bool> {
    bool referenced = true;
    absl::Status status = database.Read([&](Connection& connection) -> absl::Status {
      absl::StatusOr<bool> answer = IsBlobReferenced(connection, sha256);
      if (answer.ok()) referenced = *answer;
      return answer.status();
    });
    if (!status.ok()) return status;
    return referenced;
  });
}

absl::Status DeleteRecord(Connection& connection, int64_t key) {
  return connection.Execute("DELETE FROM records WHERE key = ?", key);
}

absl::Status DeleteOrphans(Connection& connection) {
  return connection.Execute(
      "DELETE FROM records WHERE parent IS NOT NULL AND parent NOT IN "
      "(SELECT id FROM records WHERE collection = ? AND state < 3)",
      Collection::kJobs);
}

absl::Status AddUse(Connection& connection, int64_t key, Collection used, std::string_view id) {
  return connection.Execute(
      "INSERT OR IGNORE INTO uses (used_collection, used_id, record_key) VALUES (?, ?, ?)", used,
      id, key);
}

absl::StatusOr<bool> IsUsed(Connection& connection, Collection used, std::string_view id) {
  absl::StatusOr<Statement> query = connection.Query(
      "SELECT 1 FROM uses JOIN records ON records.key = uses.record_key "
      "WHERE used_collection = ? AND used_id = ? AND records.state < 3 LIMIT 1",
      used, id);
  if (!query.ok()) return query.status();
  return query->Step();
}

absl::StatusOr<Page<RecordRow>> ListRecords(Connection& connection, Collection collection,
                                            const ListRequest& request) {
  if (request.page_size < 0) return InvalidField("page_size", "must not be negative");
  const int64_t page_size =
      request.page_size == 0 ? kDefaultPageSize : std::min(request.page_size, kMaxPageSize);
  const std::string filter_hash = FilterHash(collection, request);
  int64_t before_key = INT64_MAX;
  if (!request.page_token.empty()) {
    absl::StatusOr<int64_t> key = ReadPageToken(request.page_token, filter_hash);
    if (!key.ok()) return key.status();
    before_key = *key;
  }
  std::string sql = "SELECT key, id, state, body FROM records WHERE collection = ? AND key < ?";
  sql += request.parent.empty() ? " AND parent IS NULL" : " AND parent = ?";
  if (request.state.has_value()) sql += " AND state = ?";
  for (size_t i = 0; i < request.labels.size(); ++i) {
    sql +=
        " AND EXISTS (SELECT 1 FROM labels WHERE name = ? AND value = ? AND "
        "record_key = records.key)";
  }
  sql += " ORDER BY key DESC LIMIT ?";
  absl::StatusOr<Statement> query = connection.Query(sql, collection, before_key);
  if (!query.ok()) return query.status();
  int index = 2;
  if (!request.parent.empty()) query->Bind(++index, std::string_view(request.parent));
  if (request.state.has_value()) query->Bind(++index, int64_t{*request.state});
  for (const auto& [name, value] : request.labels) {
    query->Bind(++index, std::string_view(name));
    query->Bind(++index, std::string_view(value));
  }
  query->Bind(++index, page_size + 1);

  Page<RecordRow> page;
  for (;;) {
    absl::StatusOr<bool> row = query->Step();
    if (!row.ok()) return row.status();
    if (!*row) return page;
    if (static_cast<int64_t>(page.records.size()) == page_size) {
      page.next_page_token = MakePageToken(page.records.back().key, filter_hash);
      return page;
    }
    page.records.push_back(ReadRow(*query));
  }
}

std::vector<std::string> SchemaMigrations() {
  return {R"sql(
    CREATE TABLE records (
      key INTEGER PRIMARY KEY AUTOINCREMENT,
      collection INTEGER NOT NULL,
      id TEXT NOT NULL,
      request_id TEXT,
      fingerprint BLOB,
      state INTEGER NOT NULL,
      body TEXT NOT NULL,
      -- Of jobs only:
      reserved_event_number INTEGER NOT NULL DEFAULT 0,
      cancel_requested INTEGER NOT NULL DEFAULT 0,
      end_time INTEGER,
      UNIQUE (collection, id));
    CREATE UNIQUE INDEX records_by_request ON records (collection, request_id)
      WHERE request_id IS NOT NULL;
    CREATE INDEX records_by_state ON records (collection, state, key);
    CREATE INDEX records_by_end ON records (end_time) WHERE end_time IS NOT NULL;
    CREATE INDEX records_by_key ON records (collection, key);
    CREATE TABLE labels (
      name TEXT NOT NULL,
      value TEXT NOT NULL,
      record_key INTEGER NOT NULL REFERENCES records (key) ON DELETE CASCADE,
      PRIMARY KEY (name, value, record_key)) WITHOUT ROWID;
    CREATE INDEX labels_by_record ON labels (record_key);
    CREATE TABLE blobs (
      sha256 TEXT NOT NULL,
      record_key INTEGER NOT NULL REFERENCES records (key) ON DELETE CASCADE,
      PRIMARY KEY (sha256, record_key)) WITHOUT ROWID;
    CREATE INDEX blobs_by_record ON blobs (record_key);
    CREATE TABLE uses (
      used_collection INTEGER NOT NULL,
      used_id TEXT NOT NULL,
      record_key INTEGER NOT NULL REFERENCES records (key) ON DELETE CASCADE,
      PRIMARY KEY (used_collection, used_id, record_key)) WITHOUT ROWID;
    CREATE INDEX uses_by_record ON uses (record_key);
    CREATE TABLE events (
      record_key INTEGER NOT NULL REFERENCES records (key) ON DELETE CASCADE,
      number INTEGER NOT NULL,
      body TEXT NOT NULL,
      PRIMARY KEY (record_key, number)) WITHOUT ROWID;
  )sql",
          R"sql(
    -- The sweep, a job's id, that a job or a data set belongs to.
    ALTER TABLE records ADD COLUMN parent TEXT;
    CREATE INDEX records_by_parent ON records (parent) WHERE parent IS NOT NULL;
    -- Rows of the tables of sweeps.
    CREATE TABLE cells (
      record_key INTEGER NOT NULL REFERENCES records (key) ON DELETE CASCADE,
      cell INTEGER NOT NULL,
      body TEXT NOT NULL,
      PRIMARY KEY (record_key, cell)) WITHOUT ROWID;
  )sql"};
}

}  // namespace thresher::store
