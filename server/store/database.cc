#include "server/store/database.h"

#include <sqlite3.h>

#include <chrono>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/error_details.h"

namespace thresher::store {
namespace {

constexpr int64_t kApplicationId = 0x54485253;  // "THRS"
constexpr int kMaxReaders = 8;
// Bounds how long the first write of a batch waits for the last.
constexpr size_t kMaxBatch = 256;

absl::Status ToStatus(int code, sqlite3* database, const std::string& doing) {
  const std::string message = absl::StrCat(
      "database: ", doing, ": ", database != nullptr ? sqlite3_errmsg(database) : "out of memory");
  switch (code & 0xff) {
    case SQLITE_FULL:
      return WithReason(absl::ResourceExhaustedError(absl::StrCat(message, "; free disk space")),
                        kReasonDiskFull);
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status RunWork(const Database::Work& work, Connection& connection) {
  try {
    return work(connection);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory in a database operation");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("database operation: ", e.what()));
  }
}

absl::StatusOr<int64_t> ReadInteger(Connection& connection, const std::string& sql) {
  absl::StatusOr<Statement> query = connection.Query(sql);
  if (!query.ok()) return query.status();
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::InternalError(absl::StrCat("no answer to ", sql));
  return query->Integer(0);
}

absl::Status CheckIntegrity(Connection& connection) {
  absl::StatusOr<Statement> query = connection.Query("PRAGMA quick_check(1)");
  if (!query.ok()) return query.status();
  absl::StatusOr<bool> row = query->Step();
  if (!row.ok()) return row.status();
  const std::string answer = *row ? query->Text(0) : "no answer";
  if (answer == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the database is damaged: ", answer));
}

absl::Status Migrate(Connection& connection, const std::vector<std::string>& migrations) {
  absl::StatusOr<int64_t> application = ReadInteger(connection, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  absl::StatusOr<int64_t> version = ReadInteger(connection, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  absl::StatusOr<int64_t> tables = ReadInteger(connection, "SELECT count(*) FROM sqlite_master");
  if (!tables.ok()) return tables.status();
  const bool is_new = *application == 0 && *version == 0 && *tables == 0;
  if (!is_new && *application != kApplicationId) {
    return absl::FailedPreconditionError("the database belongs to another program");
  }
  if (*version > static_cast<int64_t>(migrations.size())) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database has version ", *version, ", this program knows up to ",
                     migrations.size(), ": run the newer program"));
  }
  for (size_t v = static_cast<size_t>(*version); v < migrations.size(); ++v) {
    absl::Status status = connection.ExecuteScript(
        absl::StrCat("BEGIN IMMEDIATE; PRAGMA application_id = ", kApplicationId, "; ",
                     migrations[v], "; PRAGMA user_version = ", v + 1, "; COMMIT;"));
    if (!status.ok()) {
      connection.ExecuteScript("ROLLBACK").IgnoreError();
      return status;
    }
  }
  return absl::OkStatus();
}

// Writes the log once to the size that it has between checkpoints (SQLite's 1000 pages of 4
// KiB, and a large batch). From then on commits overwrite it in place, and the sync of each
// is several times quicker than one that lengthens the file. The pages stay in the
// database as free ones. Only speed is lost where it fails, on a full disk for example.
void LengthenLog(Connection& connection) {
  const absl::Status status = connection.ExecuteScript(
      "DROP TABLE IF EXISTS log_room; "
      "BEGIN IMMEDIATE; CREATE TABLE log_room (bytes BLOB); "
      "INSERT INTO log_room VALUES (zeroblob(6 << 20)); COMMIT; "
      "DROP TABLE log_room; PRAGMA wal_checkpoint(PASSIVE);");
  if (!status.ok()) connection.ExecuteScript("ROLLBACK").IgnoreError();
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bind_result_(other.bind_result_) {}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

absl::StatusOr<bool> Statement::Step() {
  if (bind_result_ != SQLITE_OK) return ToStatus(bind_result_, database_, "binding a value");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return ToStatus(code, database_, "running a statement");
}

int64_t Statement::Integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

void Statement::Keep(int code) {
  if (bind_result_ == SQLITE_OK) bind_result_ = code;
}

void Statement::Bind(int index, int64_t value) {
  Keep(sqlite3_bind_int64(statement_, index, value));
}

void Statement::Bind(int index, std::string_view value) {
  Keep(sqlite3_bind_text64(statement_, index, value.data() == nullptr ? "" : value.data(),
                           value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Statement::BindNull(int index) { Keep(sqlite3_bind_null(statement_, index)); }

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& path) {
  sqlite3* database = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    absl::Status status = ToStatus(code, database, absl::StrCat("opening ", path));
    sqlite3_close(database);
    return status;
  }
  std::unique_ptr<Connection> connection(new Connection(database));
  sqlite3_busy_timeout(database, 5000);
  absl::Status status = connection->ExecuteScript(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
  if (!status.ok()) return status;
  return connection;
}

Connection::~Connection() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

absl::StatusOr<Statement> Connection::Prepare(const std::string& sql) {
  auto [position, is_new] = statements_.try_emplace(sql, nullptr);
  if (is_new) {
    const int code = sqlite3_prepare_v3(database_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT,
                                        &position->second, nullptr);
    if (code != SQLITE_OK) {
      statements_.erase(position);
      return ToStatus(code, database_, "preparing a statement");
    }
  } else if (sqlite3_stmt_busy(position->second) != 0) {
    return absl::InternalError("database: a statement is used twice at the same time");
  }
  return Statement(database_, position->second);
}

absl::Status Connection::ExecuteScript(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ToStatus(code, database_, "running a script");
}

int64_t Connection::last_insert_key() const { return sqlite3_last_insert_rowid(database_); }
int64_t Connection::changes() const { return sqlite3_changes64(database_); }

absl::StatusOr<std::unique_ptr<Database>> Database::Open(
    const std::string& path, const std::vector<std::string>& migrations) {
  const auto named = [&path](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  };
  absl::StatusOr<std::unique_ptr<Connection>> writer = Connection::Open(path);
  if (!writer.ok()) return named(writer.status());
  absl::Status status = CheckIntegrity(**writer);
  if (status.ok()) status = Migrate(**writer, migrations);
  if (!status.ok()) return named(status);
  LengthenLog(**writer);
  return std::unique_ptr<Database>(new Database(path, std::move(*writer)));
}

Database::Database(std::string path, std::unique_ptr<Connection> writer)
    : path_(std::move(path)), writer_(std::move(writer)), thread_([this] { WriteLoop(); }) {}

Database::~Database() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    work_ready_.NotifyAll();
  }
  thread_.join();
}

void Database::OnCommit(std::function<void(double, int64_t)> observer) {
  on_commit_ = std::move(observer);
}

void Database::Enqueue(Request request) {
  MutexLock lock(mutex_);
  requests_.push_back(std::move(request));
  if (requests_.size() == 1) work_ready_.NotifyOne();
}

absl::Status Database::Write(const Work& work) {
  struct Waiter {
    Mutex mutex;
    CondVar committed;
    bool done THRESHER_GUARDED_BY(mutex) = false;
    absl::Status status THRESHER_GUARDED_BY(mutex);
  } waiter;
  Enqueue({.work = &work, .owned_work = {}, .done = [&waiter](absl::Status status) {
             // Notified under the lock: the waiter is gone as soon as it sees `done`.
             MutexLock lock(waiter.mutex);
             waiter.status = std::move(status);
             waiter.done = true;
             waiter.committed.NotifyOne();
           }});
  MutexLock lock(waiter.mutex);
  while (!waiter.done) waiter.committed.Wait(waiter.mutex);
  return waiter.status;
}

void Database::WriteLater(Work work, std::function<void(absl::Status)> done) {
  Enqueue({.work = nullptr, .owned_work = std::move(work), .done = std::move(done)});
}

void Database::WriteLoop() {
  for (;;) {
    std::deque<Request> batch;
    {
      MutexLock lock(mutex_);
      while (requests_.empty() && !stopping_) work_ready_.Wait(mutex_);
      if (requests_.empty()) return;
      while (!requests_.empty() && batch.size() < kMaxBatch) {
        batch.push_back(std::move(requests_.front()));
        requests_.pop_front();
      }
    }
    CommitBatch(batch);
  }
}

void Database::CommitBatch(std::deque<Request>& batch) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<absl::Status> results(batch.size());
  absl::Status status = writer_->Execute("BEGIN IMMEDIATE");
  for (size_t i = 0; status.ok() && i < batch.size(); ++i) {
    status = writer_->Execute("SAVEPOINT request");
    if (!status.ok()) break;
    const Work& work = batch[i].work != nullptr ? *batch[i].work : batch[i].owned_work;
    results[i] = RunWork(work, *writer_);
    if (!results[i].ok()) status = writer_->Execute("ROLLBACK TO request");
    if (status.ok()) status = writer_->Execute("RELEASE request");
  }
  if (status.ok()) status = writer_->Execute("COMMIT");
  if (!status.ok()) writer_->Execute("ROLLBACK").IgnoreError();
  if (on_commit_) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    on_commit_(elapsed.count(), static_cast<int64_t>(batch.size()));
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].done(results[i].ok() ? status : std::move(results[i]));
  }
}

absl::Status Database::Read(const Work& work) {
  std::unique_ptr<Connection> connection;
  {
    MutexLock lock(readers_mutex_);
    while (idle_readers_.empty() && open_readers_ >= kMaxReaders) {
      reader_returned_.Wait(readers_mutex_);
    }
    if (!idle_readers_.empty()) {
      connection = std::move(idle_readers_.back());
      idle_readers_.pop_back();
    } else {
      ++open_readers_;
    }
  }
  if (connection == nullptr) {
    absl::StatusOr<std::unique_ptr<Connection>> opened = Connection::Open(path_);
    if (!opened.ok()) {
      MutexLock lock(readers_mutex_);
      --open_readers_;
      reader_returned_.NotifyOne();
      return opened.status();
    }
    connection = std::move(*opened);
  }
  absl::Status status = RunWork(work, *connection);
  MutexLock lock(readers_mutex_);
  idle_readers_.push_back(std::move(connection));
  reader_returned_.NotifyOne();
  return status;
}

}  // namespace thresher::store
