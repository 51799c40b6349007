#include "server/rpc/model_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/formats/png.h"
#include "core/network/model.h"
#include "core/samples/image_samples.h"
#include "server/rpc/download_stream.h"
#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

// A server with one model, of the gate's network f(x) = 2 (x_2)_+.
class ModelServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Plant("a");
    server_.gate().Open();
    v1::CreateJobRequest request = RunningServer::JobRequest("a", "made-it");
    (*request.mutable_job()->mutable_labels())["team"] = "x";
    server_.Submit(request);
    name_ = server_.WaitForState("jobs/made-it", v1::JOB_STATE_SUCCEEDED).model();
    ASSERT_FALSE(name_.empty());
  }

  grpc::Status Get(const std::string& name, v1::Model* model) {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name(name);
    return server_.model_stub().GetModel(&context, request, model);
  }

  grpc::Status Predict(int64_t rows, int64_t columns, const std::vector<float>& values,
                       v1::PredictResponse* response) {
    grpc::ClientContext context;
    v1::PredictRequest request;
    request.set_name(name_);
    request.mutable_inputs()->set_num_rows(rows);
    request.mutable_inputs()->set_num_columns(columns);
    request.mutable_inputs()->mutable_values()->Add(values.begin(), values.end());
    return server_.model_stub().Predict(&context, request, response);
  }

  // psnr_db is left as it is where the server sends none.
  grpc::Status Download(const std::string& name, v1::ModelFormat format, std::string* file,
                        double* psnr_db = nullptr) {
    grpc::ClientContext context;
    v1::DownloadModelRequest request;
    request.set_name(name);
    request.set_format(format);
    const auto reader = server_.model_stub().DownloadModel(&context, request);
    v1::DownloadModelResponse response;
    int64_t total_bytes = 0;
    while (reader->Read(&response)) {
      EXPECT_LE(response.chunk().size(), kDownloadChunkBytes);
      if (file->empty()) total_bytes = response.total_bytes();
      EXPECT_TRUE(file->empty() || !response.has_psnr_db());
      if (psnr_db != nullptr && response.has_psnr_db()) *psnr_db = response.psnr_db();
      *file += response.chunk();
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(!status.ok() || static_cast<int64_t>(file->size()) == total_bytes);
    return status;
  }

  RunningServer server_;
  std::string name_;
};

// A server with one model, of the given network.
class GivenModelTest : public ModelServiceTest {
 protected:
  void SetUp() override {}

  // As the data set `image`; returns its SHA-256.
  std::string UploadImage(const Image& image, const ImageOptions& options) {
    const auto png = WritePng(image);
    EXPECT_TRUE(png.ok()) << png.status();
    v1::UploadDatasetRequest header, inputs;
    header.mutable_header()->set_dataset_id("image");
    v1::UploadSource& upload = *header.mutable_header()->mutable_dataset()->mutable_upload();
    upload.set_format(v1::FILE_FORMAT_PNG);
    upload.mutable_image()->set_num_features(options.num_features);
    inputs.set_inputs_chunk(*png);
    grpc::ClientContext context;
    v1::Dataset dataset;
    const auto writer = server_.dataset_stub().UploadDataset(&context, &dataset);
    writer->Write(header);
    writer->Write(inputs);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return dataset.sha256();
  }

  void Make(const Model& model) {
    server_.Plant("a");
    server_.gate().SetModel(model);
    server_.gate().Open();
    server_.Submit(RunningServer::JobRequest("a", "made-it"));
    name_ = server_.WaitForState("jobs/made-it", v1::JOB_STATE_SUCCEEDED).model();
    ASSERT_FALSE(name_.empty());
  }
};

TEST_F(GivenModelTest, AnImageIsReconstructed) {
  const Image image = {.height = 2, .width = 3, .values = {0, .2F, .4F, .6F, .8F, 1}};
  const ImageOptions options = {.num_features = 4};
  const std::string sha256 = UploadImage(image, options);
  // f(x) = (x_0)_+, within [0, 1].
  server_.gate().SetModel(
      {.network = SparseNetwork{.num_inputs = 4,
                                .weights = {.row_begin = {0, 1}, .column = {0}, .value = {1}},
                                .output_signs = {1}},
       .metadata = {{"dataset_sha256", sha256}}});
  server_.gate().Open();
  server_.Submit(RunningServer::JobRequest("image", "made-it"));
  name_ = server_.WaitForState("jobs/made-it", v1::JOB_STATE_SUCCEEDED).model();
  std::string file;
  double psnr_db = 0;
  const grpc::Status downloaded = Download(name_, v1::MODEL_FORMAT_PNG, &file, &psnr_db);
  ASSERT_TRUE(downloaded.ok()) << downloaded.error_message();
  const auto reconstruction = ParsePng(file, int64_t{1} << 20);
  ASSERT_TRUE(reconstruction.ok()) << reconstruction.status();
  EXPECT_EQ(reconstruction->height, 2);
  EXPECT_EQ(reconstruction->width, 3);
  const auto samples = ImageSamples(image, options, int64_t{1} << 20);
  ASSERT_TRUE(samples.ok());
  double squared_error = 0;
  for (int i = 0; i < 6; ++i) {
    const float value = std::max(samples->inputs[4 * i], 0.0F);
    EXPECT_NEAR(reconstruction->values[i], value, 0.51 / 255);
    squared_error += std::pow(value - samples->targets[i], 2);
  }
  EXPECT_NEAR(psnr_db, -10 * std::log10(squared_error / 6), 1e-5);

  // Without the data set nobody knows where the pixels are.
  grpc::ClientContext context;
  v1::DeleteDatasetRequest request;
  request.set_name("datasets/image");
  google::protobuf::Empty nothing;
  ASSERT_TRUE(server_.dataset_stub().DeleteDataset(&context, request, &nothing).ok());
  EXPECT_EQ(Download(name_, v1::MODEL_FORMAT_PNG, &file).error_code(), grpc::StatusCode::NOT_FOUND);
  // Another image of that name is not what the model was fitted to.
  UploadImage({.height = 1, .width = 2, .values = {0, 1}}, options);
  EXPECT_EQ(FieldIn(Download(name_, v1::MODEL_FORMAT_PNG, &file)), "format");
}

TEST_F(ModelServiceTest, OnlyModelsOfImagesAreImages) {
  std::string file;
  EXPECT_EQ(FieldIn(Download(name_, v1::MODEL_FORMAT_PNG, &file)), "format");
}

// Outputs (z, -2 z, 3 z) of z = ((x_0)_+ + (x_1)_+)_+.
SparseNetwork ThreeOutputs() {
  return {.num_inputs = 4,
          .weights = {.row_begin = {0, 1, 2}, .column = {0, 1}, .value = {1, 1}},
          .output_signs = {},
          .upper_layers = {{.row_begin = {0, 2}, .column = {0, 1}, .value = {1, 1}},
                           {.row_begin = {0, 1, 2, 3}, .column = {0, 0, 0}, .value = {1, -2, 3}}}};
}

TEST_F(GivenModelTest, SeveralLayersAndOutputsArePredictedRowByRow) {
  Make({.network = ThreeOutputs()});
  v1::Model model;
  ASSERT_TRUE(Get(name_, &model).ok());
  EXPECT_EQ(model.num_outputs(), 3);
  EXPECT_THAT(model.hidden_widths(), ElementsAre(2, 1));
  EXPECT_EQ(model.nonzeros(), 7);
  EXPECT_EQ(model.active_neurons(), 3);
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(2, 4, {1, 2, 0, 0, 5, -1, 0, 0}, &response).ok());
  EXPECT_EQ(response.num_outputs(), 3);
  EXPECT_THAT(response.outputs(), ElementsAre(3, -6, 9, 5, -10, 15));
  EXPECT_EQ(response.classes_size(), 0);
  std::string npz;
  ASSERT_TRUE(Download(name_, v1::MODEL_FORMAT_NPZ, &npz).ok());
  const auto read = ReadModelNpz(npz, 1 << 20);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<SparseNetwork>(read->network), ThreeOutputs());
}

TEST_F(GivenModelTest, TheLargestOutputIsTheClass) {
  Make({.network = ThreeOutputs(), .class_names = {"a", "b", "c"}});
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(2, 4, {1, 2, 0, 0, -1, -1, 0, 0}, &response).ok());
  EXPECT_THAT(response.classes(), ElementsAre("c", "a"));  // the first of equal ones
}

TEST_F(GivenModelTest, OutputsOfAPredictionAreBounded) {
  Make({.network = ThreeOutputs()});
  constexpr int64_t kMostRows = (1 << 18) / 3;
  v1::PredictResponse response;
  const std::vector<float> values(static_cast<size_t>(4 * (kMostRows + 1)), 1.0F);
  EXPECT_TRUE(IsInvalidField(Predict(kMostRows + 1, 4, values, &response), "inputs.num_rows"));
  ASSERT_TRUE(Predict(kMostRows, 4, {values.begin(), values.end() - 4}, &response).ok());
  EXPECT_EQ(response.outputs_size(), 3 * kMostRows);
}

TEST_F(GivenModelTest, AModelOfSeveralLayersStartsNoJob) {
  Make({.network = ThreeOutputs()});
  v1::CreateJobRequest request = RunningServer::JobRequest("a", "from-it");
  request.mutable_job()->mutable_recovery()->set_initial_model(name_);
  v1::Job job;
  EXPECT_TRUE(IsInvalidField(server_.CreateJob(request, &job), "job.recovery.initial_model"));
}

TEST_F(GivenModelTest, AModelWithOutputWeightsStartsNoJob) {
  Make({.network =
            SparseNetwork{.num_inputs = 4,
                          .weights = {.row_begin = {0, 1}, .column = {2}, .value = {2.0}},
                          .output_signs = {},
                          .upper_layers = {{.row_begin = {0, 1}, .column = {0}, .value = {3.0}}}}});
  v1::CreateJobRequest request = RunningServer::JobRequest("a", "from-it");
  request.mutable_job()->mutable_recovery()->set_initial_model(name_);
  v1::Job job;
  const grpc::Status status = server_.CreateJob(request, &job);
  EXPECT_TRUE(IsInvalidField(status, "job.recovery.initial_model"));
  EXPECT_NE(status.error_message().find("output weights"), std::string::npos)
      << status.error_message();
}

TEST_F(ModelServiceTest, SaysWhereItCameFrom) {
  v1::Model model;
  ASSERT_TRUE(Get(name_, &model).ok());
  EXPECT_EQ(model.name(), name_);
  EXPECT_EQ(model.job(), "jobs/made-it");
  EXPECT_EQ(model.dataset(), "datasets/a");
  EXPECT_EQ(model.network_kind(), v1::NETWORK_KIND_RELU);
  EXPECT_EQ(model.nonzeros(), 1);
  EXPECT_EQ(model.num_inputs(), 4);
  EXPECT_EQ(model.num_outputs(), 1);
  EXPECT_THAT(model.hidden_widths(), ElementsAre(1));
  EXPECT_EQ(model.program_version(), "1.2.3");
  EXPECT_EQ(model.labels().at("team"), "x");
  EXPECT_EQ(model.spec().options().nonzeros(), 3);
  EXPECT_GT(model.size_bytes(), 0);
  EXPECT_EQ(Get("models/none", &model).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(IsInvalidField(Get("jobs/made-it", &model), "name"));
}

TEST_F(ModelServiceTest, PredictsInRowOrder) {
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(3, 4, {0, 0, 1, 0, 9, 9, -1, 9, 0, 0, 2.5, 0}, &response).ok());
  EXPECT_THAT(response.outputs(), ElementsAre(DoubleEq(2), DoubleEq(0), DoubleEq(5)));
  EXPECT_EQ(response.num_outputs(), 1);
  EXPECT_EQ(response.classes_size(), 0);
}

TEST_F(ModelServiceTest, PredictsManyRows) {
  constexpr int64_t kRows = 1000;  // several of the blocks that are evaluated at once
  std::vector<float> values(kRows * 4, 0.0F);
  for (int64_t i = 0; i < kRows; ++i) values[i * 4 + 2] = static_cast<float>(i);
  v1::PredictResponse response;
  ASSERT_TRUE(Predict(kRows, 4, values, &response).ok());
  ASSERT_EQ(response.outputs_size(), kRows);
  for (int64_t i = 0; i < kRows; ++i) {
    EXPECT_EQ(response.outputs(static_cast<int>(i)), 2.0 * static_cast<double>(i));
  }
}

TEST_F(ModelServiceTest, PredictRefusesInputsThatDoNotFit) {
  v1::PredictResponse response;
  const float nan = std::nanf("");
  EXPECT_TRUE(IsInvalidField(Predict(0, 4, {}, &response), "inputs.num_rows"));
  EXPECT_TRUE(IsInvalidField(Predict(1, 0, {}, &response), "inputs.num_columns"));
  EXPECT_TRUE(IsInvalidField(Predict(1, 3, {1, 2, 3}, &response), "inputs.num_columns"));
  EXPECT_TRUE(IsInvalidField(Predict(2, 4, {1, 2, 3, 4}, &response), "inputs.values"));
  // The product overflows to 4.
  EXPECT_TRUE(
      IsInvalidField(Predict(int64_t{1} << 62 | 1, 4, {1, 2, 3, 4}, &response), "inputs.values"));
  const grpc::Status status = Predict(2, 4, {1, 2, 3, 4, 5, 6, nan, 8}, &response);
  EXPECT_TRUE(IsInvalidField(status, "inputs.values"));
  EXPECT_NE(status.error_message().find("row 1, column 2"), std::string::npos)
      << status.error_message();
}

TEST_F(ModelServiceTest, DownloadsBothFormats) {
  std::string npz, json, unspecified;
  ASSERT_TRUE(Download(name_, v1::MODEL_FORMAT_NPZ, &npz).ok());
  ASSERT_TRUE(Download(name_, v1::MODEL_FORMAT_JSON, &json).ok());
  ASSERT_TRUE(Download(name_, v1::MODEL_FORMAT_UNSPECIFIED, &unspecified).ok());
  EXPECT_EQ(npz, unspecified);
  const auto from_npz = ReadModelNpz(npz, 1 << 20);
  const auto from_json = ReadModelJson(json);
  ASSERT_TRUE(from_npz.ok()) << from_npz.status();
  ASSERT_TRUE(from_json.ok()) << from_json.status();
  EXPECT_EQ(from_npz->network, from_json->network);
  EXPECT_EQ(std::get<SparseNetwork>(from_npz->network).weights.value, std::vector<double>{2.0});
}

TEST_F(ModelServiceTest, DownloadErrors) {
  std::string file;
  EXPECT_EQ(Download("models/none", v1::MODEL_FORMAT_NPZ, &file).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(IsInvalidField(Download(name_, static_cast<v1::ModelFormat>(7), &file), "format"));
  EXPECT_TRUE(IsInvalidField(Download("x", v1::MODEL_FORMAT_NPZ, &file), "name"));
  EXPECT_TRUE(file.empty());
}

TEST_F(ModelServiceTest, ListsAndDeletes) {
  auto list = [this](const std::string& filter) {
    grpc::ClientContext context;
    v1::ListModelsRequest request;
    request.set_filter(filter);
    v1::ListModelsResponse response;
    const grpc::Status status = server_.model_stub().ListModels(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<std::string> names;
    for (const v1::Model& model : response.models()) names.push_back(model.name());
    return names;
  };
  EXPECT_THAT(list(""), ElementsAre(name_));
  EXPECT_THAT(list("labels.team = x"), ElementsAre(name_));
  EXPECT_THAT(list("labels.team = y"), ElementsAre());
  grpc::ClientContext context;
  v1::DeleteModelRequest request;
  request.set_name(name_);
  google::protobuf::Empty empty;
  EXPECT_TRUE(server_.model_stub().DeleteModel(&context, request, &empty).ok());
  EXPECT_THAT(list(""), ElementsAre());
  grpc::ClientContext again;
  EXPECT_EQ(server_.model_stub().DeleteModel(&again, request, &empty).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace thresher::rpc
