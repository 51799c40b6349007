#include "server/store/dataset_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "core/formats/npy.h"
#include "core/formats/png.h"
#include "core/network/merge.h"
#include "server/store/error_details.h"
#include "server/store/job_store.h"
#include "server/store/store.h"
#include "tests/server/temporary_directory.h"

namespace thresher::store {
namespace {

Samples SmallSamples() {
  Samples samples;
  samples.num_samples = 3;
  samples.num_inputs = 2;
  samples.inputs = {1, 2, 3, 4, 5, 6};
  samples.targets = {0.5F, -1, 2};
  return samples;
}

class DatasetStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto store = Store::Open({.data_dir = directory_.path(), .max_dataset_bytes = 1 << 20});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
  }
  DatasetStore& datasets() { return store_->datasets(); }
  std::string BlobPath(const std::string& sha256) const {
    return directory_.path() + "/blobs/" + sha256;
  }
  absl::Status AddJob(const std::string& id, JobState state) {
    JobRecord job;
    job.id = id;
    std::get<RecoverySpec>(job.spec).dataset_id = "data";
    job.state = state;
    JobEvent event;
    event.number = 1;
    return store_->database().Write([&](Connection& connection) {
      return InsertJob(connection, {.id = id, .request_id = "", .fingerprint = ""}, job, event)
          .status();
    });
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
};

TEST_F(DatasetStoreTest, ImagesKeepTheirShapeAndOptions) {
  const auto png =
      WritePng({.height = 2, .width = 3, .channels = 3, .values = std::vector<float>(18)});
  ASSERT_TRUE(png.ok());
  const ImageOptions options = {.features = ImageFeatures::kRawInteger,
                                .num_features = 8,
                                .sigma = 0.1,
                                .channel_sigma = 1e-3,
                                .seed = uint64_t{1} << 63,
                                .crop = {.width = 2, .height = 1, .left = 1, .top = 1}};
  auto created =
      datasets().CreateUploaded({.id = "image", .request_id = "", .fingerprint = ""},
                                {.format = FileFormat::kPng, .image = options}, {}, *png, "");
  ASSERT_TRUE(created.ok()) << created.status();
  Reopen();
  auto record = datasets().Get("image");
  ASSERT_TRUE(record.ok()) << record.status();
  const ImageShape shape = {.height = 1, .width = 2, .channels = 3};
  EXPECT_EQ(record->image_shape, shape);
  const auto& upload = std::get<thresher::ReadOptions>(record->source);
  EXPECT_EQ(upload.format, FileFormat::kPng);
  EXPECT_EQ(upload.image, options);
  auto loaded = datasets().Load(*record);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->image_shape, shape);
}

TEST_F(DatasetStoreTest, SamplesAreReadBackBitForBit) {
  Samples samples = SmallSamples();
  samples.class_names = {};
  samples.scaling.input_offset = {0.1, 1.0 / 3};
  samples.scaling.input_scale = {1e-300, 3};
  auto created =
      datasets().Create({.id = "data", .request_id = "", .fingerprint = ""},
                        thresher::ReadOptions{.format = FileFormat::kCsv, .target_columns = {"y"}},
                        {{"team", "x"}}, samples, nullptr);
  ASSERT_TRUE(created.ok()) << created.status();
  Reopen();
  auto record = datasets().Get("data");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->sha256, created->sha256);
  EXPECT_EQ(record->create_time, created->create_time);
  EXPECT_EQ(record->labels, (Labels{{"team", "x"}}));
  EXPECT_EQ(std::get<thresher::ReadOptions>(record->source).target_columns,
            std::vector<std::string>{"y"});
  auto loaded = datasets().Load(*record);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->inputs, samples.inputs);
  EXPECT_EQ((*loaded)->targets, samples.targets);
  EXPECT_TRUE((*loaded)->inputs.is_shared()) << "mapped, not copied";
  EXPECT_TRUE((*loaded)->targets.is_shared());
  EXPECT_EQ((*loaded)->scaling, samples.scaling);
}

TEST_F(DatasetStoreTest, TheBlobIsTwoNumpyArrays) {
  auto record = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  ASSERT_TRUE(record.ok()) << record.status();
  auto bytes = store_->blobs().Get(record->sha256);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(record->size_bytes, static_cast<int64_t>(bytes->size()));
  const size_t inputs_bytes = 128 + 6 * sizeof(float);
  auto inputs = ParseNpy(std::string_view(*bytes).substr(0, inputs_bytes), 1 << 20);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->shape, (std::vector<int64_t>{3, 2}));
  auto targets = ParseNpy(std::string_view(*bytes).substr(inputs_bytes), 1 << 20);
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_EQ(std::get<std::vector<float>>(targets->values), SmallSamples().targets);
}

TEST_F(DatasetStoreTest, HoldersShareOneCopy) {
  auto record = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  ASSERT_TRUE(record.ok());
  auto first = datasets().Load(*record);
  auto second = datasets().Load(*record);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->get(), second->get());
}

TEST_F(DatasetStoreTest, PlantedNetworksAreKept) {
  const PlantedOptions options = {
      .num_samples = 20, .num_inputs = 4, .hidden_width = 3, .nonzeros = 5, .seed = 11};
  auto record =
      datasets().CreatePlanted({.id = "p", .request_id = "r", .fingerprint = "f"}, options, {});
  ASSERT_TRUE(record.ok()) << record.status();
  auto network = datasets().LoadPlantedNetwork(*record);
  ASSERT_TRUE(network.ok() && network->has_value()) << network.status();
  auto problem = GeneratePlanted(options);
  ASSERT_TRUE(problem.ok());
  EXPECT_EQ(**network, DropDeadNeurons(problem->network));
  auto again =
      datasets().CreatePlanted({.id = "p", .request_id = "r", .fingerprint = "f"}, options, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->create_time, record->create_time) << "the first one is returned";
  EXPECT_EQ(datasets()
                .CreatePlanted({.id = "p", .request_id = "r", .fingerprint = "g"}, options, {})
                .status()
                .code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(DatasetStoreTest, PlantedNeuronsWithoutWeightsAreNotKept) {
  const PlantedOptions options = {
      .num_samples = 20, .num_inputs = 4, .hidden_width = 20'000, .nonzeros = 5, .seed = 11};
  auto record =
      datasets().CreatePlanted({.id = "w", .request_id = "r", .fingerprint = "f"}, options, {});
  ASSERT_TRUE(record.ok()) << record.status();
  const auto network = datasets().LoadPlantedNetwork(*record);
  ASSERT_TRUE(network.ok() && network->has_value()) << network.status();
  EXPECT_LE((*network)->hidden_width(), 5);
  EXPECT_EQ((*network)->weights.nonzeros(), 5);
}

TEST_F(DatasetStoreTest, PlantedNetworksOfSeveralLayersAndOutputsAreKept) {
  const PlantedOptions options = {.num_samples = 20,
                                  .num_inputs = 4,
                                  .hidden_width = 3,
                                  .nonzeros = 15,
                                  .seed = 11,
                                  .num_outputs = 2,
                                  .hidden_layers = 2};
  auto record =
      datasets().CreatePlanted({.id = "deep", .request_id = "", .fingerprint = ""}, options, {});
  ASSERT_TRUE(record.ok()) << record.status();
  // As it is read again.
  record = datasets().Get("deep");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->num_outputs, 2);
  const auto& source = std::get<PlantedOptions>(record->source);
  EXPECT_EQ(source.num_outputs, 2);
  EXPECT_EQ(source.hidden_layers, 2);
  const auto problem = GeneratePlanted(options);
  const auto network = datasets().LoadPlantedNetwork(*record);
  ASSERT_TRUE(network.ok() && network->has_value()) << network.status();
  EXPECT_EQ(**network, DropDeadNeurons(problem->network));
  const auto samples = datasets().Load(*record);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ((*samples)->targets, problem->samples.targets);
}

TEST_F(DatasetStoreTest, PlantedProblemsAreBounded) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  for (const PlantedOptions& options :
       {PlantedOptions{.num_samples = huge, .num_inputs = huge, .hidden_width = 1, .nonzeros = 1},
        PlantedOptions{.num_samples = 1, .num_inputs = 1, .hidden_width = huge, .nonzeros = 1},
        PlantedOptions{.num_samples = 5, .num_inputs = 5, .hidden_width = 5, .nonzeros = huge},
        PlantedOptions{
            .num_samples = 1 << 20, .num_inputs = 1, .hidden_width = 1, .nonzeros = 1}}) {
    const absl::Status status = datasets().CreatePlanted({}, options, {}).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status) || absl::IsInvalidArgument(status)) << status;
  }
  const absl::Status too_large =
      datasets()
          .CreatePlanted(
              {}, {.num_samples = 1 << 20, .num_inputs = 1, .hidden_width = 1, .nonzeros = 1}, {})
          .status();
  EXPECT_EQ(ReasonOf(too_large), kReasonTooLarge);
  const absl::Status status =
      datasets()
          .CreatePlanted({}, {.num_samples = 0, .num_inputs = 1, .hidden_width = 1, .nonzeros = 1},
                         {})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "planted.num_samples");
}

TEST_F(DatasetStoreTest, UploadedFilesBecomeSamples) {
  const std::string csv = "a,b,y\n1,2,3\n4,5,6\n";
  auto record = datasets().CreateUploaded({}, {.format = FileFormat::kCsv, .target_columns = {"y"}},
                                          {}, csv, "");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->num_samples, 2);
  EXPECT_EQ(record->num_inputs, 2);
  EXPECT_FALSE(record->constant_targets);
  const absl::Status status =
      datasets()
          .CreateUploaded({}, {.format = FileFormat::kCsv, .target_columns = {"y"}}, {},
                          "a,y\n1,oops\n", "")
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST_F(DatasetStoreTest, DeletingRemovesTheBlobUnlessShared) {
  auto first = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  auto second = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_EQ(first->sha256, second->sha256);
  ASSERT_TRUE(datasets().Delete(first->id).ok());
  EXPECT_EQ(datasets().Get(first->id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(datasets().Load(*second).ok());
  ASSERT_TRUE(datasets().Delete(second->id).ok());
  EXPECT_FALSE(std::filesystem::exists(BlobPath(second->sha256)));
  EXPECT_EQ(datasets().Delete(second->id).code(), absl::StatusCode::kNotFound);
}

TEST_F(DatasetStoreTest, AJobThatHasNotEndedKeepsItsDataSet) {
  ASSERT_TRUE(datasets()
                  .Create({.id = "data", .request_id = "", .fingerprint = ""}, PlantedOptions{}, {},
                          SmallSamples(), nullptr)
                  .ok());
  ASSERT_TRUE(AddJob("job", JobState::kQueued).ok());
  const absl::Status status = datasets().Delete("data");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), kReasonInUse);
}

TEST_F(DatasetStoreTest, BlobsWithoutARecordGoAtTheNextStart) {
  auto record = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  ASSERT_TRUE(record.ok());
  const std::string orphan = store_->blobs().Put("orphan")->sha256();
  ASSERT_TRUE(std::filesystem::exists(BlobPath(orphan)));
  Reopen();
  EXPECT_FALSE(std::filesystem::exists(BlobPath(orphan)));
  EXPECT_TRUE(datasets().Load(*record).ok());
}

TEST_F(DatasetStoreTest, ADamagedBlobIsDataLoss) {
  auto record = datasets().Create({}, PlantedOptions{}, {}, SmallSamples(), nullptr);
  ASSERT_TRUE(record.ok());
  std::filesystem::resize_file(BlobPath(record->sha256), 100);
  EXPECT_EQ(datasets().Load(*record).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::resize_file(BlobPath(record->sha256), 1000);
  EXPECT_EQ(datasets().Load(*record).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DatasetStoreTest, OneProcessHoldsADirectory) {
  const auto second = Store::Open({.data_dir = directory_.path()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace thresher::store
