#include "client/model_file.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/core/model_files/models.h"
#include "tests/core/model_files/onnx_builder.h"

namespace thresher::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("thresher_model_file_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(ModelFileTest, ConvertsBetweenAllFormatsOfFiles) {
  const Model model = RandomModel({}, 5);
  for (const char* name : {"a.npz", "a.json", "a.safetensors", "a.onnx"}) {
    const v1::ModelFormat format = ModelFormatOf(name);
    const auto size = WriteModelAt(model, Path(name), format);
    ASSERT_TRUE(size.ok()) << size.status();
    EXPECT_EQ(static_cast<uintmax_t>(*size), std::filesystem::file_size(Path(name)));
    const auto again = ReadModelAt(Path(name), format);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->network, model.network);
    EXPECT_EQ(EndingOf(format), std::filesystem::path(name).extension());
  }
  // And nothing else is left behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 4);
  ASSERT_TRUE(WriteModelAt(model, Path("my net.h"), v1::MODEL_FORMAT_C_HEADER).ok());
  std::ifstream file(Path("my net.h"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_THAT(text, HasSubstr("my_net_predict("));
}

TEST_F(ModelFileTest, ErrorsNameTheFile) {
  EXPECT_EQ(ReadModelAt(Path("none.onnx"), v1::MODEL_FORMAT_ONNX).status().code(),
            absl::StatusCode::kNotFound);
  OnnxBuilder conv = SmallGemms();
  conv.Node("Conv", "the_node", {"y"}, {"q"});
  std::ofstream(Path("bad.onnx"), std::ios::binary) << conv.File();
  const absl::Status bad = ReadModelAt(Path("bad.onnx"), v1::MODEL_FORMAT_ONNX).status();
  EXPECT_THAT(std::string(bad.message()), AllOf(HasSubstr("bad.onnx"), HasSubstr("'the_node'")));
  EXPECT_THAT(std::string(ReadModelAt(Path("x"), v1::MODEL_FORMAT_UNSPECIFIED).status().message()),
              HasSubstr("format"));
  EXPECT_FALSE(WriteModelAt(RandomModel({}, 1), Path("no/folder.npz"), v1::MODEL_FORMAT_NPZ).ok());
}

TEST_F(ModelFileTest, ReportsCountWhatTheFilesHold) {
  const Model model = RandomModel({.widths = {30, 20, 10}, .density = 0.1}, 6);
  const ModelReport report = ReportModel(model, nullptr, 1 << 20).value();
  EXPECT_FALSE(report.has_given);
  EXPECT_EQ(report.nonzeros, Nonzeros(model.network));
  EXPECT_EQ(report.dense_weights, 30 * 20 + 20 + 20 * 10 + 10);
  EXPECT_EQ(report.dense_multiply_adds, 30 * 20 + 20 * 10);
  EXPECT_LT(report.multiply_adds, report.nonzeros + 1);
  EXPECT_EQ(report.dense_bytes, 4 * report.dense_weights);
  for (const FileSize& file : report.files) {
    EXPECT_EQ(file.bytes,
              static_cast<int64_t>(WriteModelFile(model, file.format, "network", 1 << 20)->size()));
  }
  ASSERT_EQ(report.latencies.size(), 2u);
  for (const LatencyReport& each : report.latencies) {
    EXPECT_GT(each.sparse_seconds, 0);
    EXPECT_GT(each.dense_seconds, 0);
  }
  const std::string page = ReportPage(report, model.metadata);
  EXPECT_THAT(page, AllOf(HasSubstr("onnx_sparse"), HasSubstr("multiply-adds")));
  const auto json = nlohmann::json::parse(ReportJson(report));
  EXPECT_EQ(json.at("nonzeros"), report.nonzeros);
  EXPECT_EQ(json.at("fileBytes").size(), 6u);
}

TEST_F(ModelFileTest, ReportsCountTheGatesOfAGatedNetwork) {
  Model model;
  model.network = GatedNetwork{.num_inputs = 5,
                               .has_bias = true,
                               .gates = RandomGateSet{3, 10},
                               .gate_index = {2, 7},
                               .weights = {{0, 1, 3}, {0, 1, 5}, {1.0, 2.0, -1.0}}};
  const ModelReport report = ReportModel(model, nullptr, 1 << 20).value();
  EXPECT_EQ(report.nonzeros, 3);
  EXPECT_EQ(report.dense_weights, 2 * 2 * 6);
  EXPECT_EQ(report.multiply_adds, 3 + 2 * 6);
  EXPECT_EQ(report.dense_bytes, 8 * report.dense_weights);
  for (const FileSize& file : report.files) EXPECT_TRUE(file.bytes.has_value());
  EXPECT_THAT(ReportPage(report, model.metadata), HasSubstr("3 of 24"));
}

TEST_F(ModelFileTest, ReportsCompareWithTheNetworkThatWasGiven) {
  const Model given = RandomModel({.widths = {30, 40, 10}, .density = 0.9}, 5);
  Model model = RandomModel({.widths = {30, 20, 10}, .density = 0.1}, 6);
  const ModelReport report = ReportModel(model, &given, 1 << 20).value();
  EXPECT_TRUE(report.has_given);
  EXPECT_EQ(report.nonzeros, Nonzeros(model.network));
  EXPECT_EQ(report.dense_weights, 30 * 40 + 40 + 40 * 10 + 10);
  EXPECT_EQ(report.dense_multiply_adds, 30 * 40 + 40 * 10);
  EXPECT_EQ(report.dense_bytes, 4 * report.dense_weights);
  EXPECT_EQ(report.latencies.size(), 2u);
  model.metadata = {{"held_out_accuracy", "0.975"},
                    {"given_held_out_accuracy", "0.98"},
                    {"held_out_mean_loss", "0.25"},
                    {"accuracy", "a file of another tool may hold anything"}};
  const std::string page = ReportPage(report, model.metadata);
  EXPECT_THAT(page, HasSubstr("97.50 % right (98.00 % as given), loss 0.25"));
  EXPECT_THAT(page, HasSubstr("Dense is the network that was given."));
  EXPECT_THAT(page, ::testing::Not(HasSubstr("another tool")));

  const Model narrow = RandomModel({.widths = {29, 40, 10}, .density = 0.9}, 5);
  EXPECT_THAT(std::string(ReportModel(model, &narrow, 1 << 20).status().message()),
              HasSubstr("given: must be"));
}

TEST_F(ModelFileTest, ReportsSayWhereNothingIsWon) {
  ModelReport report;
  report.dense_bytes = 100;
  report.files = {{ModelFileFormat::kNpz, 99}, {ModelFileFormat::kOnnxSparse, 100}};
  report.latencies = {{.batch = 1, .sparse_seconds = 1, .dense_seconds = 2},
                      {.batch = 256, .sparse_seconds = 2, .dense_seconds = 1}};
  const std::string page = ReportPage(report, {});
  EXPECT_THAT(
      page, AllOf(HasSubstr("As onnx_sparse it is not smaller"),
                  HasSubstr("At a batch of 256 it is not faster"),
                  ::testing::Not(HasSubstr("As npz")), ::testing::Not(HasSubstr("batch of 1 it"))));
}

}  // namespace
}  // namespace thresher::client
