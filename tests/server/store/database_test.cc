#include "server/store/database.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/temporary_directory.h"

namespace thresher::store {
namespace {

const std::vector<std::string> kSchema = {"CREATE TABLE numbers (value INTEGER PRIMARY KEY)"};

class DatabaseTest : public ::testing::Test {
 protected:
  std::string path() const { return directory_.path() + "/test.db"; }

  static absl::Status Add(Database& database, int64_t value) {
    return database.Write([value](Connection& connection) {
      return connection.Execute("INSERT INTO numbers VALUES (?)", value);
    });
  }
  static int64_t Count(Database& database) {
    int64_t count = -1;
    const absl::Status status = database.Read([&count](Connection& connection) -> absl::Status {
      absl::StatusOr<Statement> query = connection.Query("SELECT count(*) FROM numbers");
      if (!query.ok()) return query.status();
      absl::StatusOr<bool> row = query->Step();
      if (!row.ok()) return row.status();
      count = query->Integer(0);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return count;
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(DatabaseTest, KeepsWhatWasWrittenWhenOpenedAgain) {
  {
    auto database = Database::Open(path(), kSchema);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(Add(**database, 7).ok());
  }
  auto database = Database::Open(path(), kSchema);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(Count(**database), 1);
}

TEST_F(DatabaseTest, AFailedWriteLeavesNothingAndHarmsNoOther) {
  auto database = Database::Open(path(), kSchema);
  ASSERT_TRUE(database.ok()) << database.status();
  const absl::Status failed = (*database)->Write([](Connection& connection) -> absl::Status {
    absl::Status status = connection.Execute("INSERT INTO numbers VALUES (1)");
    if (!status.ok()) return status;
    return absl::AbortedError("thought better of it");
  });
  EXPECT_EQ(failed.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Count(**database), 0);
  EXPECT_TRUE(Add(**database, 1).ok());
  EXPECT_FALSE(Add(**database, 1).ok()) << "the key exists";
  EXPECT_EQ(Count(**database), 1);
}

TEST_F(DatabaseTest, AnExceptionInAWriteIsAnErrorAndRollsBack) {
  auto database = Database::Open(path(), kSchema);
  ASSERT_TRUE(database.ok()) << database.status();
  const absl::Status status = (*database)->Write([](Connection& connection) -> absl::Status {
    connection.Execute("INSERT INTO numbers VALUES (1)").IgnoreError();
    throw std::bad_alloc();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Count(**database), 0);
}

TEST_F(DatabaseTest, CommitsDoNotLengthenTheLog) {
  auto database = Database::Open(path(), {"CREATE TABLE pieces (bytes BLOB)"});
  ASSERT_TRUE(database.ok()) << database.status();
  const auto add = [&database] {
    return (*database)->Write([](Connection& connection) {
      return connection.Execute("INSERT INTO pieces VALUES (zeroblob(200000))");
    });
  };
  ASSERT_TRUE(add().ok());
  const std::string log = path() + "-wal";
  const auto size = std::filesystem::file_size(log);
  // More pages than the log holds: it is begun anew on the way.
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(add().ok());
  EXPECT_EQ(std::filesystem::file_size(log), size);
}

TEST_F(DatabaseTest, WritesThatWaitTogetherShareACommit) {
  auto opened = Database::Open(path(), kSchema);
  ASSERT_TRUE(opened.ok()) << opened.status();
  Database& database = **opened;
  int64_t commits = 0;
  int64_t writes = 0;
  database.OnCommit([&](double, int64_t in_commit) {
    ++commits;
    writes += in_commit;
  });
  // The first write holds the writing thread until the others stand in line.
  constexpr int kWrites = 40;
  Mutex mutex;
  CondVar changed;
  bool open = false;
  int done = 0;
  const auto count_done = [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    MutexLock lock(mutex);
    ++done;
    changed.NotifyAll();
  };
  database.WriteLater(
      [&](Connection&) {
        MutexLock lock(mutex);
        while (!open) changed.Wait(mutex);
        return absl::OkStatus();
      },
      count_done);
  for (int i = 0; i < kWrites; ++i) {
    database.WriteLater(
        [i](Connection& connection) {
          return connection.Execute("INSERT INTO numbers VALUES (?)", i);
        },
        count_done);
  }
  {
    MutexLock lock(mutex);
    open = true;
    changed.NotifyAll();
    while (done < kWrites + 1) changed.Wait(mutex);
  }
  EXPECT_EQ(Count(database), kWrites);
  opened->reset();  // joins the writing thread, whose counters are read now
  EXPECT_EQ(writes, kWrites + 1);
  EXPECT_LE(commits, 2);
}

TEST_F(DatabaseTest, ManyThreadsWriteAndReadAtOnce) {
  auto database = Database::Open(path(), kSchema);
  ASSERT_TRUE(database.ok()) << database.status();
  constexpr int kThreads = 12;
  constexpr int kWritesEach = 20;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kWritesEach; ++i) {
        const int64_t before = Count(**database);
        EXPECT_TRUE(Add(**database, t * kWritesEach + i).ok());
        EXPECT_GT(Count(**database), before) << "a read sees the writes before it";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Count(**database), kThreads * kWritesEach);
}

TEST_F(DatabaseTest, AFileOfAnotherKindIsDataLoss) {
  std::ofstream(path()) << std::string(8192, 'x');
  const auto database = Database::Open(path(), kSchema);
  EXPECT_EQ(database.status().code(), absl::StatusCode::kDataLoss) << database.status();
  EXPECT_NE(database.status().message().find(path()), absl::string_view::npos);
}

TEST_F(DatabaseTest, ADamagedDatabaseIsDataLoss) {
  {
    auto database = Database::Open(path(), kSchema);
    ASSERT_TRUE(database.ok());
    for (int i = 0; i < 2000; i += 1) {
      (*database)->WriteLater(
          [i](Connection& connection) {
            return connection.Execute("INSERT INTO numbers VALUES (?)", i);
          },
          [](const absl::Status& status) { EXPECT_TRUE(status.ok()); });
    }
  }
  const auto size = std::filesystem::file_size(path());
  ASSERT_GT(size, 8192u);
  std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(size - 4096, '\xee');
  file.close();
  const auto database = Database::Open(path(), kSchema);
  EXPECT_EQ(database.status().code(), absl::StatusCode::kDataLoss) << database.status();
}

TEST_F(DatabaseTest, RefusesANewerVersionAndAnotherProgram) {
  std::vector<std::string> newer = kSchema;
  newer.push_back("CREATE TABLE more (value INTEGER)");
  ASSERT_TRUE(Database::Open(path(), newer).ok());
  EXPECT_EQ(Database::Open(path(), kSchema).status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string other = directory_.path() + "/other.db";
  {
    auto connection = Connection::Open(other);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE((*connection)->ExecuteScript("CREATE TABLE theirs (value INTEGER)").ok());
  }
  EXPECT_EQ(Database::Open(other, kSchema).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DatabaseTest, MigratesAnOlderVersion) {
  {
    auto database = Database::Open(path(), kSchema);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(Add(**database, 3).ok());
  }
  std::vector<std::string> newer = kSchema;
  newer.push_back("ALTER TABLE numbers ADD COLUMN word TEXT");
  auto database = Database::Open(path(), newer);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(Count(**database), 1);
  EXPECT_TRUE((*database)
                  ->Write([](Connection& connection) {
                    return connection.Execute("UPDATE numbers SET word = ?", std::string("x"));
                  })
                  .ok());
}

}  // namespace
}  // namespace thresher::store
