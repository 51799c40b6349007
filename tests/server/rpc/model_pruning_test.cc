// A network of another tool, from its ONNX file to the pruned one, through the real stubs.
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
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

// Each method that prunes a model, and imp beside them.
v1::CreateJobRequest SweepRequest() {
  v1::CreateJobRequest request;
  request.set_job_id("sweep");
  v1::SweepSpec& spec = *request.mutable_job()->mutable_sweep();
  spec.set_dataset("datasets/a");
  spec.set_model("models/net");
  spec.add_hidden_widths(9);
  spec.add_nonzeros(30);
  spec.add_nonzeros(15);
  for (int value = v1::PRUNING_METHOD_IMP; value <= v1::PRUNING_METHOD_DISTILL; ++value) {
    const auto method = static_cast<v1::PruningMethod>(value);
    v1::SweepMethod& added = *spec.add_methods();
    added.set_name(v1::PruningMethod_Name(method));
    if (method == v1::PRUNING_METHOD_IMP) {
      added.mutable_pruning()->set_epochs(2);
      added.mutable_pruning()->set_prune_fraction(0.5);
      continue;
    }
    added.mutable_model_pruning()->set_method(method);
    if (method == v1::PRUNING_METHOD_DISTILL) added.mutable_model_pruning()->set_epochs(3);
  }
  return request;
}

TEST(ModelPruningServiceTest, ASweepComparesTheMethodsOfAModel) {
  RunningServer server({.solve = true});
  server.Plant("a");
  Upload(server, "net", *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20));
  server.Submit(SweepRequest());
  server.WaitForState("jobs/sweep", v1::JOB_STATE_SUCCEEDED);
  v1::Job job;
  ASSERT_TRUE(server.GetJob("jobs/sweep", &job).ok());
  ASSERT_EQ(job.sweep_report().rows_size(), 12);
  std::map<std::string, double> psnr;  // of 15 weights
  for (const v1::SweepCell& row : job.sweep_report().rows()) {
    EXPECT_EQ(row.state(), v1::SWEEP_CELL_STATE_SUCCEEDED) << row.DebugString();
    EXPECT_LE(row.network_nonzeros(), row.nonzeros());
    EXPECT_TRUE(row.has_training_psnr_db() && row.has_held_out_psnr_db());
    EXPECT_TRUE(row.has_training_loss() && row.has_held_out_loss());
    const bool of_model = row.method() != "PRUNING_METHOD_IMP";
    EXPECT_EQ(row.hidden_width(), of_model ? 0 : 9);
    EXPECT_EQ(row.given_nonzeros(), of_model ? 8 * 5 + 6 * 9 + 7 : 0);
    EXPECT_EQ(row.has_given_training() && row.has_given_held_out(), of_model);
    if (row.nonzeros() == 15) psnr[row.method()] = row.training_psnr_db();
  }
  EXPECT_EQ(psnr.size(), 6u);
  // One of the cells, as a job of its own: the same network.
  v1::CreateJobRequest alone = Request("alone");
  alone.mutable_job()->mutable_pruning()->mutable_model_options()->set_nonzeros(15);
  server.Submit(alone);
  const v1::Job ended = server.WaitForState("jobs/alone", v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(ended.pruning_report().training().psnr_db(), psnr["PRUNING_METHOD_DISTILL"]);
}

TEST(ModelPruningServiceTest, ASweepsSpecComesBackAsItWasUnderstood) {
  RunningServer server;
  server.Plant("a");
  Upload(server, "net", *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20));
  v1::CreateJobRequest request = SweepRequest();
  request.set_validate_only(true);
  // Only of the model: without a width.
  request.mutable_job()->mutable_sweep()->mutable_methods()->DeleteSubrange(0, 1);
  request.mutable_job()->mutable_sweep()->clear_hidden_widths();
  const v1::Job job = server.Submit(request);
  EXPECT_EQ(job.sweep().model(), "models/net");
  EXPECT_EQ(job.sweep().hidden_widths_size(), 0);
  ASSERT_EQ(job.sweep().methods_size(), 5);
  EXPECT_EQ(job.sweep().methods(4).model_pruning().epochs(), 3);
  EXPECT_EQ(job.sweep().methods(4).model_pruning().budget_case(),
            v1::ModelPruningOptions::BUDGET_NOT_SET);
  // What came back is a spec of the same sweep.
  *request.mutable_job()->mutable_sweep() = job.sweep();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(server.Submit(request).sweep(),
                                                                 job.sweep()));
}

TEST(ModelPruningServiceTest, ErrorsOfASweepNameTheFieldInTheRequest) {
  RunningServer server;
  server.Plant("a");
  Upload(server, "net", *WriteModelFile(GivenModel(), ModelFileFormat::kOnnx, "net", 1 << 20));
  const auto refused = [&](const std::function<void(v1::SweepSpec&)>& change) {
    v1::CreateJobRequest request = SweepRequest();
    request.set_validate_only(true);
    change(*request.mutable_job()->mutable_sweep());
    v1::Job job;
    return server.CreateJob(request, &job);
  };
  const auto of_model = [](v1::SweepSpec& s) {
    return s.mutable_methods(4)->mutable_model_pruning();
  };
  const std::string field = "job.sweep.methods[4].model_pruning";
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.set_model("net"); }), "job.sweep.model"));
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) { s.clear_model(); }), "job.sweep.model"));
  EXPECT_TRUE(
      IsInvalidField(refused([](auto& s) { s.add_hidden_widths(6); }), "job.sweep.hidden_widths"));
  EXPECT_TRUE(IsInvalidField(refused([&](auto& s) { of_model(s)->set_nonzeros(3); }), field));
  EXPECT_TRUE(IsInvalidField(refused([&](auto& s) { of_model(s)->set_fraction(0.5); }), field));
  EXPECT_TRUE(IsInvalidField(refused([&](auto& s) { of_model(s)->mutable_path(); }), field));
  EXPECT_TRUE(IsInvalidField(refused([&](auto& s) { of_model(s)->set_seed(3); }), field));
  EXPECT_TRUE(
      IsInvalidField(refused([&](auto& s) { of_model(s)->set_epochs(3); }), field + ".epochs"));
  EXPECT_TRUE(
      IsInvalidField(refused([&](auto& s) { of_model(s)->set_method(v1::PRUNING_METHOD_IMP); }),
                     field + ".method"));
  // Budgets that the model has not. One of them would be a row.
  EXPECT_TRUE(IsInvalidField(refused([](auto& s) {
                               s.mutable_methods()->DeleteSubrange(0, 1);
                               s.clear_hidden_widths();
                               s.clear_nonzeros();
                               s.add_nonzeros(1000);
                             }),
                             "job.sweep.nonzeros"));
  EXPECT_EQ(refused([](auto& s) { s.set_model("models/none"); }).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace thresher::rpc
