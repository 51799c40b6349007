// SQLite, durable and shared by many threads.
//
// One thread writes. Writes that wait at the same time share one transaction, and so
// one fsync (group commit); each is a savepoint, so one that fails leaves the others
// alone. Reads have connections of their own and never wait for a write (WAL).
#ifndef THRESHER_SERVER_STORE_DATABASE_H_
#define THRESHER_SERVER_STORE_DATABASE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/mutex.h"

struct sqlite3;
struct sqlite3_stmt;

namespace thresher::store {

class Connection;

// A prepared statement in use. Returns to its connection when it goes.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // True: a row is there.
  absl::StatusOr<bool> Step();

  int64_t Integer(int column) const;
  std::string Text(int column) const;  // also blobs
  bool IsNull(int column) const;

  // Parameters count from 1.
  void Bind(int index, int64_t value);
  void Bind(int index, std::string_view value);
  void BindNull(int index);

 private:
  friend class Connection;
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  void Keep(int code);

  sqlite3* database_;
  sqlite3_stmt* statement_;
  int bind_result_ = 0;  // the first that failed; Step reports it
};

// One connection, used by one thread at a time. Keeps its prepared statements.
class Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // A statement with its parameters bound: integers and strings. At most one use of the
  // same text at a time.
  template <typename... Values>
  absl::StatusOr<Statement> Query(const std::string& sql, const Values&... values) {
    absl::StatusOr<Statement> statement = Prepare(sql);
    if (statement.ok()) {
      int index = 0;
      (BindValue(*statement, ++index, values), ...);
    }
    return statement;
  }

  // Runs to the end, dropping rows.
  template <typename... Values>
  absl::Status Execute(const std::string& sql, const Values&... values) {
    absl::StatusOr<Statement> statement = Query(sql, values...);
    if (!statement.ok()) return statement.status();
    for (;;) {
      absl::StatusOr<bool> row = statement->Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
    }
  }

  // Several statements in one text, for schemas and pragmas.
  absl::Status ExecuteScript(const std::string& sql);

  int64_t last_insert_key() const;
  int64_t changes() const;

 private:
  explicit Connection(sqlite3* database) : database_(database) {}
  absl::StatusOr<Statement> Prepare(const std::string& sql);

  template <typename Value>
  static void BindValue(Statement& statement, int index, const Value& value) {
    if constexpr (std::is_integral_v<Value> || std::is_enum_v<Value>) {
      statement.Bind(index, static_cast<int64_t>(value));
    } else {
      statement.Bind(index, std::string_view(value));
    }
  }

  sqlite3* database_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

class Database {
 public:
  using Work = std::function<absl::Status(Connection&)>;

  // Opens or creates. `migrations[v]` brings version v to v + 1.
  // Errors: DATA_LOSS when the file is no database or is damaged; FAILED_PRECONDITION
  // when it is another program's or a newer version's; PERMISSION_DENIED,
  // RESOURCE_EXHAUSTED (disk full).
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        const std::vector<std::string>& migrations);
  // Finishes the writes that wait.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs `work` in a transaction on the writing thread and returns when it is on disk.
  // Nothing of it is kept when it returns an error or the commit fails. Work must be
  // quick and must not call Write.
  absl::Status Write(const Work& work);
  // As Write without waiting; `done` is called on the writing thread and must be quick.
  void WriteLater(Work work, std::function<void(absl::Status)> done);

  // Runs `work` on a connection for reading; it sees every committed write.
  absl::Status Read(const Work& work);

  // Seconds of each commit, fsync included, with the number of writes in it. Called on
  // the writing thread; set before the first write.
  void OnCommit(std::function<void(double seconds, int64_t writes)> observer);

 private:
  struct Request {
    const Work* work = nullptr;
    Work owned_work;
    std::function<void(absl::Status)> done;
  };

  Database(std::string path, std::unique_ptr<Connection> writer);
  void WriteLoop();
  void CommitBatch(std::deque<Request>& batch);
  void Enqueue(Request request) THRESHER_EXCLUDES(mutex_);

  const std::string path_;
  const std::unique_ptr<Connection> writer_;  // used by the writing thread only
  std::function<void(double, int64_t)> on_commit_;

  Mutex mutex_;
  CondVar work_ready_;
  std::deque<Request> requests_ THRESHER_GUARDED_BY(mutex_);
  bool stopping_ THRESHER_GUARDED_BY(mutex_) = false;

  Mutex readers_mutex_;
  CondVar reader_returned_;
  std::vector<std::unique_ptr<Connection>> idle_readers_ THRESHER_GUARDED_BY(readers_mutex_);
  int open_readers_ THRESHER_GUARDED_BY(readers_mutex_) = 0;

  std::thread thread_;
};

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_DATABASE_H_
