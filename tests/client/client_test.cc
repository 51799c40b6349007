#include "client/client.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/errors.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const grpc::Status kDown(grpc::StatusCode::UNAVAILABLE, "down");

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    std::string pattern = testing::TempDir() + "/client_test-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    options_.server = server_.address();
    options_.retry.initial_backoff = options_.retry.max_backoff = milliseconds(1);
    options_.stop = stop_.get_token();
  }
  ~ClientTest() override { std::filesystem::remove_all(directory_); }

  Client MakeClient() { return Client(options_); }

  std::string WriteFile(const std::string& name, const std::string& bytes) {
    std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  FakeServer server_;
  std::stop_source stop_;
  ClientOptions options_;
  std::filesystem::path directory_;
};

std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  return bytes;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST_F(ClientTest, RetriedCreatesCarryOneRequestId) {
  server_.Edit([](FakeWorld& world) {
    world.failures = {kDown, kDown};
    world.jobs = {QueuedJob()};
  });
  const auto job = MakeClient().CreateJob({});
  ASSERT_TRUE(job.ok()) << job.status();
  const auto requests = server_.Look().create_job_requests;
  ASSERT_THAT(requests, SizeIs(3));
  std::set<std::string> ids;
  for (const auto& request : requests) ids.insert(request.request_id());
  EXPECT_THAT(ids, SizeIs(1));
  EXPECT_GE(ids.begin()->size(), 32u);
}

TEST_F(ClientTest, DifferentCreatesCarryDifferentRequestIdsAndAGivenOneStays) {
  Client client = MakeClient();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client.CreateDataset({}).ok());
  v1::CreateDatasetRequest request;
  request.set_request_id("mine");
  ASSERT_TRUE(client.CreateDataset(request).ok());
  std::set<std::string> ids;
  for (const auto& each : server_.Look().create_dataset_requests) ids.insert(each.request_id());
  EXPECT_THAT(ids, SizeIs(21));
  EXPECT_TRUE(ids.count("mine"));
}

TEST_F(ClientTest, GivesUpAfterItsAttempts) {
  server_.Edit([](FakeWorld& world) { world.failures.assign(100, kDown); });
  options_.retry.max_attempts = 3;
  EXPECT_TRUE(absl::IsUnavailable(MakeClient().GetServerInfo().status()));
  EXPECT_EQ(server_.Look().calls["GetServerInfo"], 3);
}

TEST_F(ClientTest, ErrorsArriveWithTheirDetails) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("job.recovery.options.nonzeros");
  violation->set_description("must be at least 1");
  server_.Edit([&](FakeWorld& world) {
    world.failures = {
        StatusWithDetails(grpc::StatusCode::INVALID_ARGUMENT, "the job is not valid", {&bad})};
  });
  const absl::Status status = MakeClient().CreateJob({}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_TRUE(IsFromCall(status));
  EXPECT_THAT(DescribeError(status), HasSubstr("options.nonzeros: must be at least 1"));
  EXPECT_EQ(server_.Look().calls["CreateJob"], 1);
}

TEST_F(ClientTest, WaitsForRoomWhenAskedTo) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(1000000);
  const grpc::Status full =
      StatusWithDetails(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", {&retry});
  server_.Edit([&](FakeWorld& world) { world.failures = {full}; });
  EXPECT_TRUE(absl::IsResourceExhausted(MakeClient().CreateJob({}).status()));
  server_.Edit([&](FakeWorld& world) { world.failures = {full, full}; });
  options_.retry.retry_when_exhausted = true;
  EXPECT_TRUE(MakeClient().CreateJob({}).ok());
}

TEST_F(ClientTest, CallsEndAtTheirDeadline) {
  // While its world is being edited, the fake server answers nothing.
  options_.call_timeout = milliseconds(50);
  server_.Edit([](FakeWorld& world) { world.jobs = {QueuedJob()}; });
  Client client = MakeClient();
  absl::Status status;
  server_.Edit([&](FakeWorld&) { status = client.GetServerInfo().status(); });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_F(ClientTest, StoppedClientsCallNoMore) {
  Client client = MakeClient();
  stop_.request_stop();
  EXPECT_TRUE(absl::IsCancelled(client.GetServerInfo().status()));
  EXPECT_TRUE(absl::IsCancelled(client.UploadDataset({}, {"x", ""}).status()));
  EXPECT_TRUE(absl::IsCancelled(client.WatchJob("jobs/first", 0, {}).status()));
  EXPECT_THAT(server_.Look().calls, IsEmpty());
}

TEST_F(ClientTest, ListsFollowPagesUpToTheLimit) {
  server_.Edit([](FakeWorld& world) {
    for (int i = 0; i < 2500; ++i) {
      world.jobs.emplace_back().set_name(absl::StrCat("jobs/", i));
    }
  });
  Client client = MakeClient();
  for (const int64_t limit : {int64_t{1}, int64_t{999}, int64_t{1000}, int64_t{1001}, int64_t{2500},
                              int64_t{9999}, int64_t{0}}) {
    const auto jobs = client.ListJobs("", limit);
    ASSERT_TRUE(jobs.ok()) << jobs.status();
    const size_t expected = limit == 0 ? 2500 : std::min<size_t>(limit, 2500);
    ASSERT_EQ(jobs->size(), expected);
    for (size_t i = 0; i < expected; ++i) EXPECT_EQ((*jobs)[i].name(), absl::StrCat("jobs/", i));
  }
  ASSERT_TRUE(client.ListJobs("state = RUNNING", 5).ok());
  EXPECT_EQ(server_.Look().list_jobs_requests.back().filter(), "state = RUNNING");
}

TEST_F(ClientTest, RetriedDeleteThatFindsNothingIsDone) {
  const grpc::Status gone(grpc::StatusCode::NOT_FOUND, "gone");
  server_.Edit([&](FakeWorld& world) { world.failures = {kDown, gone}; });
  EXPECT_TRUE(MakeClient().DeleteJob("jobs/a").ok());
  server_.Edit([&](FakeWorld& world) { world.failures = {gone}; });
  EXPECT_TRUE(absl::IsNotFound(MakeClient().DeleteJob("jobs/a")));
}

TEST_F(ClientTest, UploadsArriveWhole) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{512} << 10, (size_t{512} << 10) + 1, size_t{5} << 20}) {
    const std::string inputs = Bytes(size), targets = Bytes(size / 3 + 1);
    v1::UploadDatasetHeader header;
    header.set_dataset_id("up");
    ASSERT_TRUE(
        MakeClient().UploadDataset(header, {WriteFile("x", inputs), WriteFile("y", targets)}).ok());
    const ReceivedUpload upload = server_.Look().uploads.back();
    EXPECT_EQ(upload.header.dataset_id(), "up");
    EXPECT_EQ(upload.inputs, inputs);
    EXPECT_EQ(upload.targets, targets);
    EXPECT_LE(upload.largest_message, size_t{1} << 20);
  }
}

TEST_F(ClientTest, BrokenUploadIsSentAgainWholeUnderTheSameRequestId) {
  server_.Edit([](FakeWorld& world) { world.failures = {kDown, kDown}; });
  const std::string inputs = Bytes(3 << 20);
  ASSERT_TRUE(MakeClient().UploadDataset({}, {WriteFile("x", inputs), ""}).ok());
  const FakeWorld world = server_.Look();
  ASSERT_THAT(world.uploads, SizeIs(1));
  EXPECT_EQ(world.uploads[0].inputs, inputs);
  EXPECT_EQ(world.calls.at("UploadDataset"), 3);
  EXPECT_FALSE(world.uploads[0].header.request_id().empty());
}

TEST_F(ClientTest, RefusedUploadTellsTheServersReason) {
  server_.Edit([](FakeWorld& world) {
    world.failures = {{grpc::StatusCode::RESOURCE_EXHAUSTED, "larger than the server takes"}};
  });
  const absl::Status status =
      MakeClient().UploadDataset({}, {WriteFile("x", Bytes(20 << 20)), ""}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(status.message(), "larger than the server takes");
}

TEST_F(ClientTest, UnreadableFilesAreNoCallErrorsAndNeverHalfAnUpload) {
  Client client = MakeClient();
  const std::string good = WriteFile("x", "12");
  const absl::Status missing = client.UploadDataset({}, {good, directory_ / "none"}).status();
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_FALSE(IsFromCall(missing));
  const absl::Status folder = client.UploadDataset({}, {directory_, ""}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(folder)) << folder;
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(client.UploadDataset({}, {pipe, ""}).status()));
}

TEST_F(ClientTest, ModelsAreUploadedWholeAndRetriedUnderOneRequestId) {
  const std::string file = Bytes(3 << 20);
  server_.Edit([](FakeWorld& world) {
    world.failures = {kDown};
    world.models.emplace_back().set_name("models/m");
  });
  v1::UploadModelHeader header;
  header.set_format(v1::MODEL_FORMAT_ONNX);
  const auto model = MakeClient().UploadModel(header, WriteFile("net.onnx", file));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name(), "models/m");
  const FakeWorld world = server_.Look();
  ASSERT_EQ(world.calls.at("UploadModel"), 2);
  const auto& [last, bytes] = world.model_uploads.back();
  EXPECT_EQ(bytes, file);
  EXPECT_EQ(last.format(), v1::MODEL_FORMAT_ONNX);
  EXPECT_FALSE(last.request_id().empty());

  const absl::Status missing = MakeClient().UploadModel({}, directory_ / "none").status();
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_FALSE(IsFromCall(missing));
}

TEST_F(ClientTest, DownloadsWriteTheFileAndNothingElse) {
  const std::string file = Bytes(123456);
  server_.Edit([&](FakeWorld& world) { world.model_file = file; });
  const std::filesystem::path path = directory_ / "m.npz";
  for (int i = 0; i < 2; ++i) {  // the second replaces the first
    const auto result = MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, path);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->size_bytes, 123456);
    EXPECT_EQ(ReadFile(path), file);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
  }
}

TEST_F(ClientTest, DownloadsOfImagesSayTheirPsnr) {
  server_.Edit([](FakeWorld& world) { world.model_file = Bytes(5000); });
  const auto image =
      MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_PNG, directory_ / "m.png");
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->psnr_db, 41.5);
  const auto archive =
      MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, directory_ / "m.npz");
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_EQ(archive->psnr_db, std::nullopt);
}

TEST_F(ClientTest, BrokenDownloadIsRepeatedAndLeavesNoPart) {
  const std::string file = Bytes(50000);
  server_.Edit([&](FakeWorld& world) {
    world.model_file = file;
    world.failures = {kDown};
  });
  const std::filesystem::path path = directory_ / "m.npz";
  ASSERT_TRUE(MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, path).ok());
  EXPECT_EQ(ReadFile(path), file);

  server_.Edit([](FakeWorld& world) {
    world.failures = {{grpc::StatusCode::NOT_FOUND, "no such model"}};
  });
  EXPECT_FALSE(MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, path).ok());
  EXPECT_EQ(ReadFile(path), file) << "a failed download must not touch what is there";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(ClientTest, ShortDownloadIsAnError) {
  server_.Edit([](FakeWorld& world) {
    world.model_file = Bytes(5000);
    world.model_file_announced = 6000;
  });
  const std::filesystem::path path = directory_ / "m.npz";
  EXPECT_TRUE(absl::IsDataLoss(
      MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, path).status()));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(ClientTest, DownloadsToImpossiblePlacesFailBeforeTheCall) {
  const auto download = [&](const std::filesystem::path& path) {
    return MakeClient().DownloadModel("models/m", v1::MODEL_FORMAT_NPZ, path).status();
  };
  EXPECT_FALSE(IsFromCall(download(directory_)));
  EXPECT_TRUE(absl::IsNotFound(download(directory_ / "none" / "m.npz")));
  EXPECT_EQ(server_.Look().calls.count("DownloadModel"), 0u);
}

TEST_F(ClientTest, PredictSplitsLargeInputsAndJoinsTheOutputs) {
  for (const auto& [rows, columns] :
       std::vector<std::pair<int, int>>{{1, 1}, {5, 3}, {3000, 200}, {2, 300000}, {500000, 1}}) {
    v1::Matrix inputs;
    inputs.set_num_rows(rows);
    inputs.set_num_columns(columns);
    for (int row = 0; row < rows; ++row) {
      for (int k = 0; k < columns; ++k) inputs.add_values(k == 0 ? static_cast<float>(row) : 0);
    }
    const auto prediction = MakeClient().Predict("models/m", inputs);
    ASSERT_TRUE(prediction.ok()) << prediction.status();
    ASSERT_EQ(prediction->outputs_size(), rows);
    for (int row = 0; row < rows; ++row) ASSERT_EQ(prediction->outputs(row), row);
  }
  for (const auto& request : server_.Look().predict_requests) {
    EXPECT_LE(request.ByteSizeLong(), size_t{3} << 20);
  }
}

// The answer, not only the request, must fit into a message.
TEST_F(ClientTest, PredictSplitsByTheOutputsToo) {
  constexpr int kOutputs = 100;
  constexpr int kRows = 10000;
  server_.Edit([](FakeWorld& world) { world.num_outputs = kOutputs; });
  v1::Matrix inputs;
  inputs.set_num_rows(kRows);
  inputs.set_num_columns(1);
  for (int row = 0; row < kRows; ++row) inputs.add_values(static_cast<float>(row));
  const auto prediction = MakeClient().Predict("models/m", inputs);
  ASSERT_TRUE(prediction.ok()) << prediction.status();
  EXPECT_EQ(prediction->num_outputs(), kOutputs);
  ASSERT_EQ(prediction->outputs_size(), kRows * kOutputs);
  for (int row = 0; row < kRows; ++row) {
    ASSERT_EQ(prediction->outputs(row * kOutputs), row);
    ASSERT_EQ(prediction->outputs(row * kOutputs + kOutputs - 1), kOutputs * row);
  }
  for (const auto& request : server_.Look().predict_requests) {
    EXPECT_LE(request.inputs().num_rows() * kOutputs, 1 << 18);
  }
}

TEST_F(ClientTest, PredictRefusesSizesThatDisagree) {
  v1::Matrix inputs;
  EXPECT_TRUE(absl::IsInvalidArgument(MakeClient().Predict("models/m", inputs).status()));
  inputs.set_num_rows(int64_t{1} << 62);
  inputs.set_num_columns(int64_t{1} << 62);
  inputs.add_values(1);
  EXPECT_TRUE(absl::IsInvalidArgument(MakeClient().Predict("models/m", inputs).status()));
}

class WatchTest : public ClientTest {
 protected:
  static constexpr int kIterations = 10;

  WatchTest() {
    server_.Edit([&](FakeWorld& world) {
      world.jobs = {QueuedJob()};
      world.events = EventsOfJob(world.jobs[0], kIterations, v1::JOB_STATE_SUCCEEDED);
      world.jobs[0].set_state(v1::JOB_STATE_RUNNING);
    });
  }

  // Watches and checks that every event came once, in order.
  absl::StatusOr<v1::Job> Watch(int64_t after = 0) {
    WatchCallbacks callbacks;
    numbers_.clear();
    callbacks.on_event = [&](const v1::JobEvent& event) { numbers_.push_back(event.number()); };
    callbacks.on_lost = [&](const absl::Status&, milliseconds) { ++losses_; };
    return MakeClient().WatchJob("jobs/first", after, callbacks);
  }
  void ExpectAllEventsAfter(int64_t after) {
    const auto count = static_cast<int64_t>(server_.Look().events.size());
    std::vector<int64_t> expected(count - after);
    std::iota(expected.begin(), expected.end(), after + 1);
    EXPECT_EQ(numbers_, expected);
  }

  std::vector<int64_t> numbers_;
  int losses_ = 0;
};

TEST_F(WatchTest, DeliversEveryEventAndTheEndedJob) {
  const auto job = Watch();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job->model(), "models/first");
  ExpectAllEventsAfter(0);
  EXPECT_EQ(losses_, 0);
}

TEST_F(WatchTest, StartsAfterANumber) {
  ASSERT_TRUE(Watch(7).ok());
  ExpectAllEventsAfter(7);
}

TEST_F(WatchTest, AsksAgainFromTheLastNumberItSaw) {
  server_.Edit([](FakeWorld& world) {
    world.watch_breaks = {{3, kDown}, {0, kDown}, {4, grpc::Status::OK}, {1, kDown}};
  });
  const auto job = Watch();
  ASSERT_TRUE(job.ok()) << job.status();
  ExpectAllEventsAfter(0);
  EXPECT_EQ(losses_, 4);
  std::vector<int64_t> asked;
  for (const auto& request : server_.Look().watch_requests) {
    asked.push_back(request.after_event_number());
  }
  EXPECT_THAT(asked, testing::ElementsAre(0, 3, 3, 7, 8));
}

TEST_F(WatchTest, DropsEventsThatAServerRepeats) {
  server_.Edit([](FakeWorld& world) {
    world.events.insert(world.events.begin() + 5, world.events.begin() + 2,
                        world.events.begin() + 5);
  });
  ASSERT_TRUE(Watch().ok());
  EXPECT_THAT(numbers_, SizeIs(kIterations + 3));
  EXPECT_TRUE(std::is_sorted(numbers_.begin(), numbers_.end()));
}

TEST_F(WatchTest, SurvivesARestartOfTheServer) {
  std::vector<v1::JobEvent> all = server_.Look().events;
  server_.Edit([](FakeWorld& world) { world.events.resize(5); });
  std::thread restart([&] {
    server_.WaitUntil([](const FakeWorld& world) { return !world.watch_requests.empty(); });
    server_.Edit([&](FakeWorld& world) { world.events = all; });
    server_.Restart();
  });
  options_.retry.max_backoff = milliseconds(20);
  const auto job = Watch();
  restart.join();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_SUCCEEDED);
  ExpectAllEventsAfter(0);
}

TEST_F(WatchTest, FindsTheEndThatLiesBehindIt) {
  server_.Edit([](FakeWorld& world) { world.jobs[0].set_state(v1::JOB_STATE_FAILED); });
  const auto job = Watch(1000);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(numbers_, IsEmpty());
}

TEST_F(WatchTest, GivesUpWhenItsPatienceEnds) {
  server_.Edit([](FakeWorld& world) { world.failures.assign(100000, kDown); });
  options_.watch_patience = milliseconds(20);
  EXPECT_TRUE(absl::IsUnavailable(Watch().status()));
  EXPECT_THAT(numbers_, IsEmpty());
}

TEST_F(WatchTest, TellsOtherErrorsAtOnce) {
  server_.Edit([](FakeWorld& world) {
    world.failures = {{grpc::StatusCode::NOT_FOUND, "no such job"}};
  });
  EXPECT_TRUE(absl::IsNotFound(Watch().status()));
  EXPECT_EQ(losses_, 0);
}

TEST_F(WatchTest, EndsWhenStopped) {
  server_.Edit([](FakeWorld& world) { world.events.resize(5); });
  std::thread stopper([&] {
    server_.WaitUntil([](const FakeWorld& world) { return !world.watch_requests.empty(); });
    stop_.request_stop();
  });
  EXPECT_TRUE(absl::IsCancelled(Watch().status()));
  stopper.join();
}

}  // namespace
}  // namespace thresher::client
