// A network of another tool, from its ONNX file to the pruned one, through the real stubs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/gates/random_gates.h"
#include "core/model_files/model_file.h"
#include "tests/core/network/random_networks.h"
#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

constexpr int64_t kInputs = 4;  // as RunningServer::Plant's

Model GivenModel() {
  CounterRandom random(2, 0);
  return {.network = RandomLayeredNetwork(random, kInputs, {8, 6}, 1, true, 1),
          .metadata = {{kOnnxInputNameKey, "pixels"}, {kOnnxOutputNameKey, "score"}}};
}

void Upload(RunningServer& server, const std::string& id, const std::string& file) {
  grpc::ClientContext context;
  v1::Model model;
  const auto writer = server.model_stub().UploadModel(&context, &model);
  v1::UploadModelRequest request;
  request.mutable_header()->set_model_id(id);
  request.mutable_header()->set_format(v1::MODEL_FORMAT_ONNX);
  writer->Write(request);
  request.set_chunk(file);
  writer->Write(request);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
}

std::string Download(RunningServer& server, const std::string& name) {
  grpc::ClientContext context;
  v1::DownloadModelRequest request;
  request.set_name(name);
  request.set_format(v1::MODEL_FORMAT_ONNX);
  const auto reader = server.model_stub().DownloadModel(&context, request);
  v1::DownloadModelResponse response;
  std::string file;
  while (reader->Read(&response)) file += response.chunk();
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
  return file;
}

v1::CreateJobRequest Request(const std::string& id) {
  v1::CreateJobRequest request;
  request.set_job_id(id);
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  spec.set_model("models/net");
  spec.mutable_model_options()->set_epochs(3);
  spec.mutable_model_options()->set_nonzeros(30);
  return request;
}

TEST(ModelPruningServiceTest, AnOnnxFileIsPrunedDownloadedAndPredicts) {
  RunningServer server({.solve = true});
  server.Plant("a");
  const std::string file = *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20);
  Upload(server, "net", file);
  EXPECT_GT(server.Submit(Request("pruned")).predicted_cost().peak_memory_bytes(), 0);
  const v1::Job ended = server.WaitForState("jobs/pruned", v1::JOB_STATE_SUCCEEDED);
  const v1::PruningReport& report = ended.pruning_report();
  EXPECT_LE(report.nonzeros(), 30);
  EXPECT_EQ(report.model_report().given_nonzeros(), 8 * 5 + 6 * 9 + 7);
  EXPECT_EQ(report.model_report().given_held_out().num_samples(), report.held_out().num_samples());
  EXPECT_EQ(report.model_report().options_used().loss(), v1::LOSS_SQUARED);
  EXPECT_EQ(ended.pruning_progress().iteration(), 3);

  const auto downloaded =
      ReadModelFile(ModelFileFormat::kOnnx, Download(server, ended.model()), 1 << 20);
  ASSERT_TRUE(downloaded.ok()) << downloaded.status();
  EXPECT_EQ(downloaded->metadata.at(kOnnxInputNameKey), "pixels");
  EXPECT_EQ(downloaded->metadata.at(kOnnxOutputNameKey), "score");
  EXPECT_EQ(Nonzeros(downloaded->network), report.nonzeros());

  v1::PredictRequest predict;
  predict.set_name(ended.model());
  predict.mutable_inputs()->set_num_rows(1);
  predict.mutable_inputs()->set_num_columns(kInputs);
  const std::vector<float> row = {0.5f, -1, 2, 0.25f};
  predict.mutable_inputs()->mutable_values()->Add(row.begin(), row.end());
  v1::PredictResponse response;
  grpc::ClientContext context;
  const grpc::Status status = server.model_stub().Predict(&context, predict, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const double expected = (*Predict(*downloaded, {row.data(), 1, kInputs}))[0];
  EXPECT_NEAR(response.outputs(0), expected, 1e-5 * std::max(1.0, std::abs(expected)));
}

TEST(ModelPruningServiceTest, APathsPointsAreDownloadedOneByOne) {
  RunningServer server({.solve = true});
  server.Plant("a");
  Upload(server, "net", *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20));
  v1::CreateJobRequest request = Request("path");
  v1::ModelPruningOptions& options =
      *request.mutable_job()->mutable_pruning()->mutable_model_options();
  options.mutable_path()->set_min_nonzeros(5);
  options.mutable_path()->set_num_points(3);
  server.Submit(request);
  const v1::Job ended = server.WaitForState("jobs/path", v1::JOB_STATE_SUCCEEDED);
  const v1::ModelPruningReport& report = ended.pruning_report().model_report();
  EXPECT_EQ(report.options_used().path().max_nonzeros(), report.given_nonzeros() / 2);
  ASSERT_EQ(report.path_size(), 3);
  for (const v1::PruningPathPoint& point : report.path()) {
    EXPECT_EQ(point.model(), absl::StrCat("models/path-", point.budget()));
    const auto model =
        ReadModelFile(ModelFileFormat::kOnnx, Download(server, point.model()), 1 << 20);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(Nonzeros(model->network), point.nonzeros());
  }
  const auto progress = server.WatchUntil(
      "jobs/path", [](const v1::JobEvent& each) { return each.has_pruning_progress(); });
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->pruning_progress().path_nonzeros(), report.path(0).budget());
}

TEST(ModelPruningServiceTest, WhatCannotBePrunedIsRefusedWhenTheJobIsMade) {
  RunningServer server;
  server.Plant("a");
  Upload(server, "net", *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20));
  const auto create = [&](const v1::CreateJobRequest& request) {
    v1::Job job;
    return server.CreateJob(request, &job);
  };
  v1::CreateJobRequest request = Request("x");
  request.mutable_job()->mutable_pruning()->set_model("models/missing");
  EXPECT_EQ(create(request).error_code(), grpc::StatusCode::NOT_FOUND);
  request = Request("x");
  request.mutable_job()->mutable_pruning()->mutable_model_options()->set_nonzeros(1000);
  EXPECT_TRUE(IsInvalidField(create(request), "job.pruning.model_options.nonzeros"));
  // In use until the job has ended.
  ASSERT_TRUE(create(Request("held")).ok());
  grpc::ClientContext context;
  v1::DeleteModelRequest remove;
  remove.set_name("models/net");
  google::protobuf::Empty nothing;
  EXPECT_EQ(server.model_stub().DeleteModel(&context, remove, &nothing).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  server.gate().Open();
  server.WaitForState("jobs/held", v1::JOB_STATE_SUCCEEDED);
}

}  // namespace
}  // namespace thresher::rpc
