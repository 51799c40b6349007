#include "server/store/records.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/store/error_details.h"
#include "tests/server/temporary_directory.h"

namespace thresher::store {
namespace {

class RecordsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto database = Database::Open(directory_.path() + "/test.db", SchemaMigrations());
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = std::move(*database);
  }
  absl::Status Insert(const std::string& id, int state = 0, Labels labels = {},
                      const std::string& request_id = "", const std::string& fingerprint = "") {
    NewRecord record;
    record.identity = {.id = id, .request_id = request_id, .fingerprint = fingerprint};
    record.state = state;
    record.body = "{}";
    record.labels = std::move(labels);
    return database_->Write(
        [&](Connection& connection) { return InsertRecord(connection, record).status(); });
  }
  absl::StatusOr<Page<RecordRow>> List(const ListRequest& request) {
    Page<RecordRow> page;
    absl::Status status = database_->Read([&](Connection& connection) -> absl::Status {
      auto found = ListRecords(connection, Collection::kJobs, request);
      if (found.ok()) page = *found;
      return found.status();
    });
    if (!status.ok()) return status;
    return page;
  }
  std::vector<std::string> ListIds(ListRequest request) {
    std::vector<std::string> ids;
    for (;;) {
      auto page = List(request);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return ids;
      for (const RecordRow& row : page->records) ids.push_back(row.id);
      if (page->next_page_token.empty()) return ids;
      request.page_token = page->next_page_token;
    }
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Database> database_;
};

TEST(RecordWordsTest, IdsAreWords) {
  for (const char* id : {"a", "job-1", "z0", "a--"}) EXPECT_TRUE(ValidateId(id, "id").ok()) << id;
  EXPECT_TRUE(ValidateId(std::string(63, 'a'), "id").ok());
  for (const std::string& id : {std::string(""), std::string("1a"), std::string("A"),
                                std::string("a_b"), std::string("a/b"), std::string(64, 'a'),
                                std::string("a\0b", 3), std::string("\xc3\xa4")}) {
    const absl::Status status = ValidateId(id, "job_id");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(FieldOf(status), "job_id");
  }
  std::set<std::string> made;
  for (int i = 0; i < 100; ++i) {
    const std::string id = MakeId('j');
    EXPECT_TRUE(ValidateId(id, "id").ok());
    EXPECT_TRUE(made.insert(id).second);
  }
}

TEST(RecordWordsTest, LabelsAreBounded) {
  Labels labels;
  for (int i = 0; i < 64; ++i) labels["k" + std::to_string(i)] = std::string(256, 'v');
  EXPECT_TRUE(ValidateLabels(labels).ok());
  labels["k64"] = "";
  EXPECT_FALSE(ValidateLabels(labels).ok()) << "65 pairs";
  EXPECT_FALSE(ValidateLabels({{"k", std::string(257, 'v')}}).ok());
  EXPECT_FALSE(ValidateLabels({{"K", "v"}}).ok());
  EXPECT_FALSE(ValidateLabels({{"", "v"}}).ok());
  EXPECT_TRUE(ValidateRequestId(std::string(128, 'r')).ok());
  EXPECT_FALSE(ValidateRequestId(std::string(129, 'r')).ok());
}

TEST(ErrorDetailsTest, PayloadsRoundTrip) {
  const absl::Status status = WithRetryAfter(
      WithQuota(WithReason(absl::ResourceExhaustedError("full"), kReasonQueueFull), "bytes"),
      std::chrono::milliseconds(1500));
  EXPECT_EQ(ReasonOf(status), kReasonQueueFull);
  EXPECT_EQ(QuotaOf(status), "bytes");
  EXPECT_EQ(RetryAfterOf(status), std::chrono::milliseconds(1500));
  EXPECT_FALSE(FieldOf(status).has_value());
  EXPECT_TRUE(WithReason(absl::OkStatus(), "X").ok());
}

TEST(ErrorDetailsTest, NamesTheFieldOfCoresErrors) {
  const absl::Status named =
      NameField(absl::InvalidArgumentError("nonzeros: must be at least 1"), "recovery.options.");
  EXPECT_EQ(FieldOf(named), "recovery.options.nonzeros");
  EXPECT_EQ(named.message(), "recovery.options.nonzeros: must be at least 1");
  const absl::Status sentence = absl::InvalidArgumentError("the file is damaged: sorry");
  EXPECT_FALSE(FieldOf(NameField(sentence, "x.")).has_value());
  EXPECT_EQ(NameField(absl::NotFoundError("a: b"), "x.").message(), "a: b");
}

TEST_F(RecordsTest, AnIdIsTakenOnce) {
  EXPECT_TRUE(Insert("one").ok());
  const absl::Status status = Insert("one");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(status), kReasonIdTaken);
}

TEST_F(RecordsTest, ARequestIdStandsForOneRequest) {
  ASSERT_TRUE(Insert("one", 0, {}, "request", std::string("finger\0print", 12)).ok());
  const auto find = [this](const CreateIdentity& identity) {
    absl::StatusOr<std::optional<RecordRow>> answer = absl::UnknownError("not asked");
    database_
        ->Read([&](Connection& connection) {
          answer = FindEarlier(connection, Collection::kJobs, identity);
          return absl::OkStatus();
        })
        .IgnoreError();
    return answer;
  };
  const std::string fingerprint("finger\0print", 12);
  auto same = find({.id = "", .request_id = "request", .fingerprint = fingerprint});
  ASSERT_TRUE(same.ok() && same->has_value());
  EXPECT_EQ((*same)->id, "one");
  EXPECT_TRUE(find({.id = "one", .request_id = "request", .fingerprint = fingerprint}).ok());
  for (const CreateIdentity& other :
       {CreateIdentity{"", "request", "finger"}, CreateIdentity{"two", "request", fingerprint}}) {
    auto reused = find(other);
    EXPECT_EQ(reused.status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(ReasonOf(reused.status()), kReasonRequestIdReused);
  }
  EXPECT_EQ(ReasonOf(find({"one", "", ""}).status()), kReasonIdTaken);
  auto none = find({"two", "new", ""});
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
}

TEST_F(RecordsTest, PagesHoldEachRecordOnceNewestFirst) {
  std::vector<std::string> newest_first;
  for (int i = 0; i < 23; ++i) {
    const std::string id = "r" + std::to_string(i);
    ASSERT_TRUE(Insert(id).ok());
    newest_first.insert(newest_first.begin(), id);
  }
  for (const int64_t page_size : {1, 5, 22, 23, 24, 100000}) {
    EXPECT_EQ(ListIds({.page_size = page_size, .page_token = "", .state = {}, .labels = {}}),
              newest_first)
        << page_size;
  }
  EXPECT_EQ(ListIds({}), newest_first);
}

TEST_F(RecordsTest, PagesGoOnWhenRecordsComeAndGo) {
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Insert("r" + std::to_string(i)).ok());
  auto page = List({.page_size = 2, .page_token = "", .state = {}, .labels = {}});
  ASSERT_TRUE(page.ok());
  ASSERT_TRUE(Insert("newer").ok());
  ASSERT_TRUE(database_
                  ->Write([&](Connection& connection) {
                    return DeleteRecord(connection, page->records.back().key);
                  })
                  .ok());
  EXPECT_EQ(
      ListIds({.page_size = 2, .page_token = page->next_page_token, .state = {}, .labels = {}}),
      (std::vector<std::string>{"r3", "r2", "r1", "r0"}));
}

TEST_F(RecordsTest, FiltersOnStateAndLabels) {
  ASSERT_TRUE(Insert("a", 1, {{"team", "vision"}}).ok());
  ASSERT_TRUE(Insert("b", 2, {{"team", "vision"}, {"kind", "x"}}).ok());
  ASSERT_TRUE(Insert("c", 2, {{"team", "sound"}}).ok());
  const auto ids = [this](std::optional<int> state, Labels labels) {
    return ListIds({.page_size = 1, .page_token = "", .state = state, .labels = labels});
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(ids(2, {}), (Ids{"c", "b"}));
  EXPECT_EQ(ids({}, {{"team", "vision"}}), (Ids{"b", "a"}));
  EXPECT_EQ(ids(2, {{"team", "vision"}}), (Ids{"b"}));
  EXPECT_EQ(ids({}, {{"team", "vision"}, {"kind", "x"}}), (Ids{"b"}));
  EXPECT_EQ(ids({}, {{"team", "' OR 1=1 --"}}), (Ids{}));
}

TEST_F(RecordsTest, PageTokensOfAnotherListAreRefused) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Insert("r" + std::to_string(i), 1).ok());
  auto page = List({.page_size = 1, .page_token = "", .state = 1, .labels = {}});
  ASSERT_TRUE(page.ok());
  const std::string token = page->next_page_token;
  ASSERT_FALSE(token.empty());
  std::string changed = token;
  changed[changed.size() / 2] = changed[changed.size() / 2] == 'A' ? 'B' : 'A';
  for (const std::string& bad :
       {changed, std::string("x"), std::string(5000, 'A'), token + "AAAA", std::string("\xff")}) {
    auto refused = List({.page_size = 1, .page_token = bad, .state = 1, .labels = {}});
    EXPECT_EQ(FieldOf(refused.status()), "page_token") << bad;
  }
  EXPECT_FALSE(List({.page_size = 1, .page_token = token, .state = 2, .labels = {}}).ok());
  EXPECT_EQ(FieldOf(List({.page_size = -1, .page_token = "", .state = {}, .labels = {}}).status()),
            "page_size");
}

}  // namespace
}  // namespace thresher::store
