#include "server/rpc/model_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/model_files/model_file.h"
#include "tests/core/model_files/models.h"
#include "tests/core/model_files/onnx_builder.h"
#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::UploadModelRequest Header(const std::string& id, v1::ModelFormat format) {
  v1::UploadModelRequest request;
  request.mutable_header()->set_model_id(id);
  request.mutable_header()->set_format(format);
  (*request.mutable_header()->mutable_model()->mutable_labels())["team"] = "x";
  return request;
}
v1::UploadModelRequest Chunk(const std::string& bytes) {
  v1::UploadModelRequest request;
  request.set_chunk(bytes);
  return request;
}

grpc::Status Upload(RunningServer& server, const std::vector<v1::UploadModelRequest>& parts,
                    v1::Model* model) {
  grpc::ClientContext context;
  const auto writer = server.model_stub().UploadModel(&context, model);
  for (const auto& part : parts) {
    if (!writer->Write(part)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

grpc::Status Download(RunningServer& server, const std::string& name, v1::ModelFormat format,
                      std::string* file) {
  grpc::ClientContext context;
  v1::DownloadModelRequest request;
  request.set_name(name);
  request.set_format(format);
  const auto reader = server.model_stub().DownloadModel(&context, request);
  v1::DownloadModelResponse response;
  while (reader->Read(&response)) *file += response.chunk();
  return reader->Finish();
}

TEST(UploadModelTest, AnOnnxFileBecomesAModelThatPredicts) {
  RunningServer server;
  const std::string file = SmallGemms().File();
  for (const size_t chunk : {size_t{7}, file.size()}) {
    const std::string id = "net" + std::to_string(chunk);
    std::vector<v1::UploadModelRequest> parts = {Header(id, v1::MODEL_FORMAT_ONNX)};
    for (size_t at = 0; at < file.size(); at += chunk)
      parts.push_back(Chunk(file.substr(at, chunk)));
    v1::Model model;
    const grpc::Status status = Upload(server, parts, &model);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(model.name(), "models/" + id);
    EXPECT_EQ(model.num_inputs(), 2);
    EXPECT_EQ(model.num_outputs(), 1);
    EXPECT_THAT(model.hidden_widths(), ElementsAre(2));
    EXPECT_EQ(model.program_version(), "1.2.3");
    EXPECT_EQ(model.labels().at("team"), "x");
    // No job made it.
    EXPECT_EQ(model.job(), "");
    EXPECT_EQ(model.dataset(), "");
    EXPECT_FALSE(model.has_spec() || model.has_pruning_spec() || model.has_report() ||
                 model.has_pruning_report());

    grpc::ClientContext context;
    v1::PredictRequest request;
    request.set_name(model.name());
    request.mutable_inputs()->set_num_rows(2);
    request.mutable_inputs()->set_num_columns(2);
    for (const float x : {1, 1, -2, 0}) request.mutable_inputs()->add_values(x);
    v1::PredictResponse response;
    ASSERT_TRUE(server.model_stub().Predict(&context, request, &response).ok());
    EXPECT_THAT(response.outputs(), ElementsAre(13, 17));
    EXPECT_EQ(response.classes_size(), 0);
  }
}

TEST(UploadModelTest, UploadedModelsComeBackFromTheStoreAndAreDeleted) {
  RunningServer server;
  v1::Model model;
  ASSERT_TRUE(
      Upload(server, {Header("net", v1::MODEL_FORMAT_ONNX), Chunk(SmallGemms().File())}, &model)
          .ok());
  v1::GetModelRequest get;
  get.set_name("models/net");
  grpc::ClientContext get_context;
  v1::Model got;
  ASSERT_TRUE(server.model_stub().GetModel(&get_context, get, &got).ok());
  EXPECT_EQ(got.SerializeAsString(), model.SerializeAsString());
  grpc::ClientContext list_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(server.model_stub().ListModels(&list_context, {}, &list).ok());
  EXPECT_EQ(list.models_size(), 1);
  v1::DeleteModelRequest erase;
  erase.set_name("models/net");
  grpc::ClientContext delete_context;
  google::protobuf::Empty empty;
  EXPECT_TRUE(server.model_stub().DeleteModel(&delete_context, erase, &empty).ok());
}

TEST(UploadModelTest, EveryFormatDownloadsAndAllButCComeBackTheSame) {
  RunningServer server;
  const Model given = RandomModel({.is_scaled = true}, 21);
  const auto npz = WriteModelNpz(given);
  v1::Model model;
  ASSERT_TRUE(
      Upload(server, {Header("net", v1::MODEL_FORMAT_UNSPECIFIED), Chunk(*npz)}, &model).ok());
  EXPECT_THAT(model.class_names(), ::testing::SizeIs(3));
  for (int format = v1::MODEL_FORMAT_NPZ; format <= v1::MODEL_FORMAT_C_HEADER; ++format) {
    std::string file;
    ASSERT_TRUE(Download(server, "models/net", static_cast<v1::ModelFormat>(format), &file).ok());
    if (format == v1::MODEL_FORMAT_C_HEADER) {
      EXPECT_THAT(file, HasSubstr("void net_predict(const float* input, float* output)"));
      continue;
    }
    v1::Model again;
    const grpc::Status status = Upload(
        server,
        {Header("net" + std::to_string(format), static_cast<v1::ModelFormat>(format)), Chunk(file)},
        &again);
    ASSERT_TRUE(status.ok()) << status.error_message();
    std::string back;
    ASSERT_TRUE(Download(server, again.name(), v1::MODEL_FORMAT_NPZ, &back).ok());
    const Model read = ReadModelNpz(back, 1 << 20).value();
    EXPECT_EQ(read.network, given.network);
    EXPECT_EQ(read.scaling, given.scaling);
    EXPECT_EQ(read.class_names, given.class_names);
  }
}

TEST(UploadModelTest, ErrorsNameThePartAndTheNode) {
  RunningServer server;
  OnnxBuilder conv = SmallGemms();
  conv.Node("Conv", "the_node", {"y"}, {"q"});
  const auto header = Header("", v1::MODEL_FORMAT_ONNX);
  v1::Model model;
  grpc::Status status = Upload(server, {header, Chunk(conv.File())}, &model);
  EXPECT_TRUE(IsInvalidField(status, "chunk"));
  EXPECT_THAT(status.error_message(), HasSubstr("'the_node'"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {header, Chunk("garbage")}, &model), "chunk"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {header}, &model), "chunk"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {}, &model), "header"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {Chunk("x")}, &model), "header"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {header, header}, &model), "header"));
  EXPECT_TRUE(IsInvalidField(Upload(server, {header, {}}, &model), "part"));
  EXPECT_TRUE(
      IsInvalidField(Upload(server, {Header("", v1::MODEL_FORMAT_C_HEADER), Chunk("x")}, &model),
                     "header.format"));
  EXPECT_TRUE(IsInvalidField(
      Upload(server, {Header("", static_cast<v1::ModelFormat>(99)), Chunk("x")}, &model),
      "header.format"));
  EXPECT_TRUE(IsInvalidField(
      Upload(server, {Header("Not An Id", v1::MODEL_FORMAT_ONNX), Chunk("x")}, &model),
      "header.model_id"));
  grpc::ClientContext context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(server.model_stub().ListModels(&context, {}, &list).ok());
  EXPECT_EQ(list.models_size(), 0);
}

TEST(UploadModelTest, FilesBeyondTheLimitAreRefused) {
  RunningServer server({.rpc = {.max_upload_bytes = 100}});
  v1::Model model;
  const grpc::Status status =
      Upload(server, {Header("", v1::MODEL_FORMAT_ONNX), Chunk(std::string(101, 'x'))}, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("max_upload_bytes"));
}

TEST(UploadModelTest, WhatReadingOrWritingWouldTakeIsBounded) {
  RunningServer server({.rpc = {.ingest_memory_bytes = 1 << 16}});
  SparseNetwork network = {.num_inputs = 600, .weights = {.row_begin = {0, 600}}};
  network.output_signs = {1};
  for (int q = 0; q < 600; ++q) {
    network.weights.column.push_back(q);
    network.weights.value.push_back(std::sin(q + 1));
  }
  const Model given = {.network = network};
  const std::string json = WriteModelJson(given);
  ASSERT_GT(json.size(), (1 << 16) / 16);
  v1::Model model;
  grpc::Status status = Upload(
      server,
      {Header("", v1::MODEL_FORMAT_JSON), Chunk(json.substr(0, 4000)), Chunk(json.substr(4000))},
      &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "TOO_LARGE");
  EXPECT_THAT(status.error_message(), HasSubstr("npz"));
  const std::string npz = *WriteModelNpz(given);
  status = Upload(server, {Header("net", v1::MODEL_FORMAT_NPZ), Chunk(npz)}, &model);
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::string file;
  status = Download(server, "models/net", v1::MODEL_FORMAT_JSON, &file);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "TOO_LARGE");
  EXPECT_EQ(file, "");
  status = Download(server, "models/net", v1::MODEL_FORMAT_NPZ, &file);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(ReadModelNpz(file, 1 << 20)->network, given.network);
}

TEST(UploadModelTest, RetriesGiveTheSameModelAndTakenIdsAreRefused) {
  RunningServer server;
  auto header = Header("net", v1::MODEL_FORMAT_ONNX);
  header.mutable_header()->set_request_id("once");
  const std::string file = SmallGemms().File();
  v1::Model first;
  ASSERT_TRUE(Upload(server, {header, Chunk(file)}, &first).ok());
  v1::Model second;
  ASSERT_TRUE(Upload(server, {header, Chunk(file)}, &second).ok());
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  // Another file under the same request, and another request for the same id.
  OnnxBuilder other = SmallGemms();
  other.opset = 14;
  EXPECT_EQ(Upload(server, {header, Chunk(other.File())}, &second).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(
      Upload(server, {Header("net", v1::MODEL_FORMAT_ONNX), Chunk(file)}, &second).error_code(),
      grpc::StatusCode::ALREADY_EXISTS);
}

}  // namespace
}  // namespace thresher::rpc
