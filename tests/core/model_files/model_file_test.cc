#include "core/model_files/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/gates/random_gates.h"
#include "tests/core/model_files/models.h"

namespace thresher {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMaxBytes = int64_t{1} << 24;
constexpr ModelFileFormat kLayered[] = {ModelFileFormat::kSafetensors, ModelFileFormat::kOnnx,
                                        ModelFileFormat::kOnnxSparse};

Model ThroughFile(const Model& model, ModelFileFormat format) {
  const auto bytes = WriteModelFile(model, format, "net", kMaxBytes);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  auto again = ReadModelFile(format, *bytes, kMaxBytes);
  EXPECT_TRUE(again.ok()) << ModelFileFormatName(format) << again.status();
  return *std::move(again);
}

bool HasOutputLayer(const Model& model) { return !IsFused(std::get<SparseNetwork>(model.network)); }

TEST(ModelFileTest, UploadedNetworksRoundTripToTheBit) {
  for (const ModelFileFormat format : kLayered) {
    for (const Model& model : ManyModels()) {
      if (!HasOutputLayer(model)) continue;
      const Model again = ThroughFile(model, format);
      EXPECT_EQ(std::get<SparseNetwork>(again.network), std::get<SparseNetwork>(model.network))
          << ModelFileFormatName(format);
      EXPECT_EQ(again.class_names, model.class_names);
      EXPECT_EQ(again.scaling, model.scaling) << ModelFileFormatName(format);
      EXPECT_EQ(again.metadata.at("weight_type"),
                model.metadata.contains("weight_type") ? "float64" : "float32");
    }
  }
}

TEST(ModelFileTest, EveryFormatGivesTheSameOutputs) {
  for (const ModelFileFormat format : kLayered) {
    for (const Model& model : ManyModels()) {
      const std::vector<float> inputs = RandomInputs(20, NumInputs(model.network), 7);
      const std::vector<double> wanted = OutputsOf(model, inputs);
      const std::vector<double> found = OutputsOf(ThroughFile(model, format), inputs);
      ASSERT_EQ(found.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(found[i], wanted[i], 1e-5 * (1 + std::abs(wanted[i])));
      }
    }
  }
}

TEST(ModelFileTest, EqualModelsGiveEqualBytes) {
  for (const ModelFileFormat format : kModelFileFormats) {
    std::vector<Model> models = ManyModels();
    for (Model& model : GatedModels()) models.push_back(std::move(model));
    for (const Model& model : models) {
      EXPECT_EQ(WriteModelFile(model, format, "net", kMaxBytes).value(),
                WriteModelFile(Model(model), format, "net", kMaxBytes).value());
    }
  }
}

TEST(ModelFileTest, SafetensorsHoldDoublesOfAnyModelExactly) {
  Model model = RandomModel({.doubles = true}, 3);
  model.metadata.erase("weight_type");
  EXPECT_EQ(ThroughFile(model, ModelFileFormat::kSafetensors).network, model.network);
}

TEST(ModelFileTest, ANetworkOfNoNeuronsIsWritten) {
  Model model;
  model.network = SparseNetwork{.num_inputs = 2, .weights = {.row_begin = {0}}};
  const std::vector<float> inputs = {1, 2, 3, 4};
  for (const ModelFileFormat format : kLayered) {
    EXPECT_EQ(OutputsOf(ThroughFile(model, format), inputs), std::vector<double>(2, 0.0));
  }
}

TEST(ModelFileTest, NumbersBeyondFloat32AreWrittenAsDoubles) {
  Model model = RandomModel({.doubles = true}, 4);
  model.metadata.erase("weight_type");
  std::get<SparseNetwork>(model.network).weights.value[0] = 1e200;
  for (const ModelFileFormat format : kLayered) {
    EXPECT_EQ(ThroughFile(model, format).network, model.network) << ModelFileFormatName(format);
  }
}

TEST(ModelFileTest, DenseFilesBeyondTheBoundAreRefusedBeforeTheyAreMade) {
  Model model;
  SparseNetwork network{.num_inputs = int64_t{1} << 30, .weights = {.row_begin = {0, 0, 0}}};
  network.output_signs = {1, 1};
  model.network = network;
  for (const ModelFileFormat format : {ModelFileFormat::kSafetensors, ModelFileFormat::kOnnx}) {
    const auto bytes = WriteModelFile(model, format, "net", kMaxBytes);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr("format"));
  }
}

// Was written densely, unbounded, as sparse tensors need an entry.
TEST(ModelFileTest, AWideLayerWithoutWeightsIsSparseInASparseFile) {
  Model model;
  model.network = SparseNetwork{
      .num_inputs = int64_t{1} << 20, .weights = {.row_begin = {0, 0, 0}}, .output_signs = {1, 1}};
  const auto bytes = WriteModelFile(model, ModelFileFormat::kOnnxSparse, "net", kMaxBytes);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LT(bytes->size(), 1000u);
  const auto again = ReadModelFile(ModelFileFormat::kOnnxSparse, *bytes, kMaxBytes);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(NumInputs(again->network), int64_t{1} << 20);
  EXPECT_EQ(std::get<SparseNetwork>(again->network).weights.nonzeros(), 0);
}

TEST(ModelFileTest, JsonBeyondTheBoundIsRefused) {
  const Model model = RandomModel({}, 6);
  const auto text = WriteModelFile(model, ModelFileFormat::kJson, "net", kMaxBytes);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto size = static_cast<int64_t>(text->size());
  EXPECT_TRUE(WriteModelFile(model, ModelFileFormat::kJson, "net", size).ok());
  EXPECT_EQ(WriteModelFile(model, ModelFileFormat::kJson, "net", size - 1).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ModelFileTest, GatedNetworksGiveTheSameOutputsInEveryFormat) {
  for (const ModelFileFormat format : kLayered) {
    for (const Model& model : GatedModels()) {
      const int64_t d = NumInputs(model.network);
      const Model again = ThroughFile(model, format);
      for (const auto& inputs : {RandomInputs(50, d, 7), EdgeInputs(50, d, 8)}) {
        const std::vector<double> wanted = OutputsOf(model, inputs);
        const std::vector<double> found = OutputsOf(again, inputs);
        ASSERT_EQ(found.size(), wanted.size());
        for (size_t i = 0; i < wanted.size(); ++i) {
          EXPECT_NEAR(found[i], wanted[i], 1e-5 * (1 + std::abs(wanted[i])))
              << ModelFileFormatName(format);
        }
      }
      // Nothing is lost by a second round.
      EXPECT_EQ(ThroughFile(again, format), again) << ModelFileFormatName(format);
      const auto declared = model.metadata.find("weight_type");
      EXPECT_EQ(again.metadata.at("weight_type"),
                declared == model.metadata.end() ? "float32" : declared->second);
    }
  }
}

// Of a gated model all but the zeros of its weights: the numbers of RandomGate, in order.
TEST(ModelFileTest, RandomGatesInUseAreSpelledOut) {
  for (const ModelFileFormat format : kLayered) {
    const Model model = RandomGatedModel({.num_inputs = 30, .num_gates = 40, .density = 0.02}, 5);
    const auto& network = std::get<GatedNetwork>(model.network);
    const Model again = ThroughFile(model, format);
    const auto& read = std::get<GatedNetwork>(again.network);
    const auto& gates = std::get<GateVectorSet>(read.gates);
    ASSERT_EQ(gates.num_gates, ActiveNeurons(model.network));
    ASSERT_LT(gates.num_gates, 40);
    EXPECT_EQ(ActiveNeurons(again.network), gates.num_gates);
    std::vector<double> wanted;
    for (int64_t row = 0; row < network.weights.num_rows(); ++row) {
      const auto at = static_cast<size_t>(row);
      if (network.weights.row_begin[at] == network.weights.row_begin[at + 1]) continue;
      std::vector<float> gate(31);
      RandomGate(std::get<RandomGateSet>(network.gates).seed, network.gate_index[at], gate);
      wanted.insert(wanted.end(), gate.begin(), gate.end());
    }
    EXPECT_EQ(gates.vectors, wanted) << ModelFileFormatName(format);
    EXPECT_EQ(read.weights.value, network.weights.value);
  }
}

TEST(ModelFileTest, GatesBeyondTheBoundAreRefusedBeforeTheyAreMade) {
  Model model;
  GatedNetwork network{.num_inputs = int64_t{1} << 30,
                       .gates = RandomGateSet{.seed = 1, .num_gates = 3}};
  network.gate_index = {0, 1, 2};
  network.weights = {.row_begin = {0, 1, 2, 3}, .column = {0, 1, 2}, .value = {1, 2, 3}};
  model.network = network;
  for (const ModelFileFormat format : {ModelFileFormat::kSafetensors, ModelFileFormat::kOnnx,
                                       ModelFileFormat::kOnnxSparse, ModelFileFormat::kCHeader}) {
    const auto bytes = WriteModelFile(model, format, "net", kMaxBytes);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr("format"));
  }
  EXPECT_TRUE(WriteModelFile(model, ModelFileFormat::kNpz, "net", kMaxBytes).ok());
}

// Second-order pruning moves weights between float32's numbers, and its networks, uploaded in
// float32, came out as safetensors of twice the size.
TEST(ModelFileTest, ADeclaredWeightTypeIsWritten) {
  Model model = RandomModel({.doubles = true}, 3);
  model.metadata["weight_type"] = "float32";
  for (const ModelFileFormat format : kLayered) {
    const Model again = ThroughFile(model, format);
    EXPECT_EQ(again.metadata.at("weight_type"), "float32") << ModelFileFormatName(format);
    const auto& wanted = std::get<SparseNetwork>(model.network).weights.value;
    const auto& found = std::get<SparseNetwork>(again.network).weights.value;
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t e = 0; e < wanted.size(); ++e) {
      EXPECT_EQ(found[e], static_cast<double>(static_cast<float>(wanted[e])));
    }
  }
}

TEST(ModelFileTest, FormatsHaveNamesAndEndings) {
  for (const ModelFileFormat format : kModelFileFormats) {
    EXPECT_EQ(ModelFileFormatOfName(ModelFileFormatName(format)), format);
  }
  EXPECT_EQ(ModelFileFormatOfName("pickle"), std::nullopt);
  EXPECT_EQ(ModelFileFormatOfPath("a/b.ONNX"), ModelFileFormat::kOnnx);
  EXPECT_EQ(ModelFileFormatOfPath("m.safetensors"), ModelFileFormat::kSafetensors);
  EXPECT_EQ(ModelFileFormatOfPath("net.h"), ModelFileFormat::kCHeader);
  EXPECT_EQ(ModelFileFormatOfPath("net.pt"), std::nullopt);
}

TEST(ModelFileTest, CHeadersCannotBeRead) {
  EXPECT_THAT(
      std::string(ReadModelFile(ModelFileFormat::kCHeader, "", kMaxBytes).status().message()),
      HasSubstr("format"));
}

TEST(ModelFileTest, MetadataOfForeignFilesStay) {
  Model model = RandomModel({}, 5);
  model.metadata["trained_by"] = "a \"tool\" \xC3\xA9";
  for (const ModelFileFormat format : kLayered) {
    EXPECT_EQ(ThroughFile(model, format).metadata.at("trained_by"), model.metadata["trained_by"]);
  }
}

}  // namespace
}  // namespace thresher
