#include "core/network/model.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/formats/npz.h"
#include "core/network/model_archive.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/network/random_networks.h"

namespace thresher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kMaxBytes = int64_t{1} << 24;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void ExpectInvalid(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

Model SmallModel() {
  Model model;
  model.network =
      SparseNetwork{.num_inputs = 2,
                    .has_bias = true,
                    .weights = {.row_begin = {0, 2, 3}, .column = {0, 2, 1}, .value = {2, -1, 3}},
                    .output_signs = {1, -1}};
  model.scaling = {
      .input_offset = {1, -2}, .input_scale = {0.5, 4}, .target_offset = 10, .target_scale = 3};
  model.metadata = {{"algorithm", "niht"}, {"note", ""}};
  return model;
}

Model SmallLinearModel() {
  Model model = SmallModel();
  std::get<SparseNetwork>(model.network).linear = {1, 0, -2.5};
  return model;
}

// Layers of 2 and 1 units under 3 outputs.
Model SmallLayeredModel() {
  Model model = SmallModel();
  auto& network = std::get<SparseNetwork>(model.network);
  network.output_signs.clear();
  network.upper_layers = {{.row_begin = {0, 3}, .column = {0, 1, 2}, .value = {1, -2, 5}},
                          {.row_begin = {0, 1, 3, 3}, .column = {0, 0, 1}, .value = {3, -1, 2}}};
  return model;
}

Model SmallGatedModel(bool vectors) {
  Model model;
  GatedNetwork network{.num_inputs = 2,
                       .has_bias = false,
                       .gates = RandomGateSet{.seed = ~uint64_t{0}, .num_gates = 3},
                       .gate_index = {0, 2},
                       .weights = {.row_begin = {0, 1, 2}, .column = {0, 1}, .value = {1, 2}}};
  if (vectors) network.gates = GateVectorSet{.num_gates = 3, .vectors = {1, 0, 0, 1, 1, -0.0}};
  model.network = network;
  model.class_names = {"T-shirt/top", "Hose \xC3\xA4\xE2\x82\xAC\xF0\x9F\x91\x96"};
  return model;
}

std::vector<Model> ExampleModels() {
  std::vector<Model> models = {SmallModel(), SmallGatedModel(false), SmallGatedModel(true)};
  // Without neurons, without gates, and the extremes of double.
  Model empty;
  empty.network =
      SparseNetwork{.num_inputs = 1, .has_bias = false, .weights = {}, .output_signs = {}};
  models.push_back(empty);
  for (const bool vectors : {false, true}) {
    GatedNetwork network;
    network.num_inputs = 4;
    if (vectors) network.gates = GateVectorSet{};
    empty.network = network;
    models.push_back(empty);
  }
  Model extreme = SmallModel();
  std::get<SparseNetwork>(extreme.network).weights.value = {
      std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(), -0.0};
  extreme.scaling.target_offset = -0.1;
  extreme.scaling.target_scale = 1e-300;
  models.push_back(extreme);
  std::get<SparseNetwork>(extreme.network).linear = {
      -0.0, std::numeric_limits<double>::denorm_min(), -std::numeric_limits<double>::max()};
  models.push_back(extreme);
  models.push_back(SmallLinearModel());
  models.push_back(SmallLayeredModel());
  models.back().class_names = {"a", "b", "c"};
  CounterRandom random(1, 0);
  for (int trial = 0; trial < 20; ++trial) {
    Model model;
    const int64_t num_inputs = 1 + static_cast<int64_t>(random.NextBelow(9));
    const bool has_bias = random.NextBelow(2) == 0;
    const double density = random.NextUniform();
    if (trial % 5 == 0) {
      std::vector<int64_t> widths;
      for (uint64_t l = 0; l <= random.NextBelow(4); ++l) {
        widths.push_back(1 + static_cast<int64_t>(random.NextBelow(6)));
      }
      model.network = RandomLayeredNetwork(
          random, num_inputs, widths, static_cast<int64_t>(random.NextBelow(4)), has_bias, density);
    } else if (trial % 2 == 0) {
      model.network = RandomSparseNetwork(random, static_cast<int64_t>(random.NextBelow(20)),
                                          num_inputs, has_bias, density);
    } else {
      model.network = RandomGatedNetwork(random, static_cast<int64_t>(random.NextBelow(20)),
                                         num_inputs, has_bias, trial % 4 == 1, density);
    }
    if (random.NextBelow(2) == 0) {
      for (int64_t q = 0; q < num_inputs; ++q) {
        model.scaling.input_offset.push_back(random.NextNormal());
        model.scaling.input_scale.push_back(std::exp(30 * random.NextNormal()));
      }
    }
    model.scaling.target_offset = random.NextNormal();
    for (uint64_t k = random.NextBelow(5); k > 0; --k) {
      model.metadata["key" + std::to_string(k)] = std::string(random.NextBelow(300), '"') + "\n\t";
    }
    models.push_back(model);
  }
  return models;
}

// -0.0 == 0.0, so equality of models alone would let a sign get lost.
bool SameBits(const Model& a, const Model& b) {
  const auto signs = [](const Model& model) {
    std::vector<bool> bits;
    const NpzArchive archive = ModelToArchive(model);
    for (const auto& [name, array] : archive) {
      if (const auto* values = std::get_if<std::vector<double>>(&array.values)) {
        for (const double value : *values) bits.push_back(std::signbit(value));
      }
    }
    return bits;
  };
  return a == b && signs(a) == signs(b);
}

TEST(PredictTest, ScalesEveryOutputOfEveryRow) {
  const Model model = SmallLayeredModel();
  const std::vector<float> data = {1.5F, 2, 1, -2};
  const absl::StatusOr<std::vector<double>> predictions = Predict(model, {data.data(), 2, 2});
  ASSERT_TRUE(predictions.ok()) << predictions.status();
  // Scaled inputs (1, 1) and (0, 0): z_1 = (1, 3), (0, 0), z_2 = 0, 5; outputs (0, 2, 0) and
  // (15, -3, 0), times 3 and 10 more.
  EXPECT_THAT(*predictions, ElementsAre(10, 16, 10, 55, 1, 10));
}

TEST(ValidateModelTest, ClassesFollowTheOutputs) {
  Model model = SmallLayeredModel();
  model.class_names = {"a", "b", "c"};
  EXPECT_TRUE(ValidateModel(model).ok());
  model.class_names = {"a", "b"};
  ExpectInvalid(ValidateModel(model), "class_names has 2 entries for 3 outputs");
  // Two classes are one output.
  auto& network = std::get<SparseNetwork>(model.network);
  network.upper_layers[1] = {.row_begin = {0, 1, 1}, .column = {0}, .value = {1}};
  ExpectInvalid(ValidateModel(model), "class_names has 2 entries for 2 outputs");
  network.upper_layers[1] = {.row_begin = {0, 1}, .column = {0}, .value = {1}};
  EXPECT_TRUE(ValidateModel(model).ok());
}

TEST(ModelFormatsTest, NpzRoundTripsExactly) {
  for (const Model& model : ExampleModels()) {
    const absl::StatusOr<std::string> bytes = WriteModelNpz(model);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const absl::StatusOr<Model> read = ReadModelNpz(*bytes, kMaxBytes);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(SameBits(*read, model));
    EXPECT_EQ(*WriteModelNpz(*read), *bytes);
  }
}

TEST(ModelFormatsTest, JsonRoundTripsExactly) {
  for (const Model& model : ExampleModels()) {
    const std::string text = WriteModelJson(model);
    const absl::StatusOr<Model> read = ReadModelJson(text);
    ASSERT_TRUE(read.ok()) << read.status() << text;
    EXPECT_TRUE(SameBits(*read, model)) << text;
    EXPECT_EQ(WriteModelJson(*read), text);
  }
}

TEST(ModelFormatsTest, JsonSaysPlainlyWhatAModelIs) {
  const auto relu = nlohmann::json::parse(WriteModelJson(SmallModel()));
  EXPECT_EQ(relu["kind"], "relu_network");
  EXPECT_EQ(relu["shape"], nlohmann::json({2, 3}));
  EXPECT_EQ(relu["has_bias"], true);
  EXPECT_EQ(relu["metadata"]["algorithm"], "niht");
  const auto random = nlohmann::json::parse(WriteModelJson(SmallGatedModel(false)));
  EXPECT_EQ(random["kind"], "gated_network");
  EXPECT_EQ(random["gates_kind"], "random");
  EXPECT_EQ(random["gates_seed"], "18446744073709551615");
  const auto vectors = nlohmann::json::parse(WriteModelJson(SmallGatedModel(true)));
  EXPECT_EQ(vectors["gates_kind"], "vectors");
  EXPECT_EQ(vectors["gate_vectors"][2][0], 1.0);
}

TEST(ModelFormatsTest, NpzHoldsScipysCsrMembers) {
  const absl::StatusOr<NpzArchive> archive = ParseNpz(*WriteModelNpz(SmallModel()), kMaxBytes);
  ASSERT_TRUE(archive.ok());
  EXPECT_THAT(std::get<std::vector<std::string>>(archive->at("format").values), ElementsAre("csr"));
  EXPECT_TRUE(archive->at("format").shape.empty());
  EXPECT_THAT(*ToIntegers(archive->at("shape")), ElementsAre(2, 3));
  EXPECT_THAT(*ToIntegers(archive->at("indptr")), ElementsAre(0, 2, 3));
  EXPECT_THAT(*ToIntegers(archive->at("indices")), ElementsAre(0, 2, 1));
  EXPECT_THAT(*ToDoubles(archive->at("data")), ElementsAre(2, -1, 3));
}

TEST(ModelFormatsTest, ThePlainFormHasNoMembersOfLayers) {
  for (const auto& [name, array] : ModelToArchive(SmallLinearModel())) {
    EXPECT_THAT(name, Not(HasSubstr("layer_")));
    EXPECT_NE(name, "hidden_widths");
    EXPECT_NE(name, "num_outputs");
  }
  const NpzArchive layered = ModelToArchive(SmallLayeredModel());
  EXPECT_THAT(*ToIntegers(layered.at("hidden_widths")), ElementsAre(2, 1));
  EXPECT_THAT(*ToIntegers(layered.at("num_outputs")), ElementsAre(3));
  EXPECT_THAT(*ToIntegers(layered.at("layer_2_shape")), ElementsAre(1, 3));
  EXPECT_THAT(*ToIntegers(layered.at("layer_3_shape")), ElementsAre(3, 2));
  EXPECT_THAT(*ToDoubles(layered.at("layer_3_data")), ElementsAre(3, -1, 2));
}

TEST(ModelFormatsTest, TheMostLayersAreReadAndOneMoreIsRefused) {
  Model model = SmallLayeredModel();
  auto& network = std::get<SparseNetwork>(model.network);
  const SparseRows unit = {.row_begin = {0, 1}, .column = {0}, .value = {1}};
  network.weights = unit;
  network.upper_layers.assign(kMaxHiddenLayers, unit);
  const absl::StatusOr<Model> npz = ReadModelNpz(*WriteModelNpz(model), kMaxBytes);
  ASSERT_TRUE(npz.ok()) << npz.status();
  EXPECT_EQ(*npz, model);
  const absl::StatusOr<Model> text = ReadModelJson(WriteModelJson(model));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, model);
  network.upper_layers.push_back(unit);
  ExpectInvalid(WriteModelNpz(model).status(), "upper_layers");
  ExpectInvalid(ReadModelJson(WriteModelJson(model)).status(), "'hidden_widths': has 17 entries");
}

TEST(ModelFormatsTest, AThousandClassNamesAreReadBack) {
  constexpr int kClasses = 1000;
  SparseNetwork network = {.num_inputs = 1,
                           .weights = {.row_begin = {0, 1}, .column = {0}, .value = {1}},
                           .output_signs = {},
                           .upper_layers = {{.row_begin = {0}, .column = {}, .value = {}}}};
  Model model;
  for (int c = 0; c < kClasses; ++c) {
    network.upper_layers[0].row_begin.push_back(c + 1);
    network.upper_layers[0].column.push_back(0);
    network.upper_layers[0].value.push_back(c + 0.5);
    model.class_names.push_back("class " + std::to_string(c));
  }
  model.network = network;
  const absl::StatusOr<Model> text = ReadModelJson(WriteModelJson(model));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, model);
}

TEST(ModelFormatsTest, IntegersMayBeWrittenAsDoublesAndDoublesAsIntegers) {
  auto json = nlohmann::json::parse(WriteModelJson(SmallModel()));
  json["data"] = {2, -1, 3};
  json["num_inputs"] = 2.0;
  json["has_bias"] = 1;
  const absl::StatusOr<Model> read = ReadModelJson(json.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, SmallModel());
}

TEST(WriteModelNpzTest, RefusesAnInvalidModel) {
  Model model = SmallModel();
  model.scaling.target_scale = 0;
  ExpectInvalid(WriteModelNpz(model).status(), "target_scale");
}

// ---- Errors of reading. Each case changes one member of a good file; both formats must
// refuse it, naming the member.

struct Fault {
  std::string name;     // of the test case
  std::string message;  // that the error must contain
  std::function<void(NpzArchive&)> change;
  bool gated = false;
  bool vectors = false;
  bool layered = false;
};

NpyArray Texts(std::vector<std::string> values) {
  return {.shape = {static_cast<int64_t>(values.size())}, .values = std::move(values)};
}
NpyArray Text(std::string value) {
  return {.shape = {}, .values = std::vector<std::string>{std::move(value)}};
}
NpyArray Doubles(std::vector<double> values) {
  return {.shape = {static_cast<int64_t>(values.size())}, .values = std::move(values)};
}
NpyArray Double(double value) { return {.shape = {}, .values = std::vector<double>{value}}; }
NpyArray Integers(std::vector<int64_t> values) {
  return {.shape = {static_cast<int64_t>(values.size())}, .values = std::move(values)};
}
NpyArray Integer(int64_t value) { return {.shape = {}, .values = std::vector<int64_t>{value}}; }

// A fault that sets `member`, which the error must name.
Fault Set(std::string name, std::string member, NpyArray array, std::string message,
          bool gated = false, bool vectors = false) {
  return {std::move(name), std::move(message),
          [member = std::move(member), array = std::move(array)](NpzArchive& archive) {
            archive[member] = array;
          },
          gated, vectors};
}

// Of the network with upper layers.
Fault SetLayered(std::string name, std::string member, NpyArray array, std::string message) {
  Fault fault = Set(std::move(name), std::move(member), std::move(array), std::move(message));
  fault.layered = true;
  return fault;
}

std::vector<Fault> Faults() {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  std::vector<Fault> faults = {
      Set("FutureVersion", "model_version", Integer(2), "'model_version': 2 is unknown"),
      Set("UnknownKind", "network_kind", Text("transformer"), "'network_kind': must be"),
      Set("KindIsANumber", "network_kind", Integer(1), "'network_kind': expected text"),
      Set("NoInputs", "num_inputs", Integer(0), "'num_inputs': 0 lies outside"),
      Set("ManyInputs", "num_inputs", Integer(kHuge), "'num_inputs'"),
      Set("InputsAsList", "num_inputs", Integers({2}), "'num_inputs': expected shape ()"),
      Set("FractionOfInputs", "num_inputs", Double(2.5), "'num_inputs': expected whole numbers"),
      Set("BiasIsTwo", "has_bias", Integer(2), "'has_bias': 2 lies outside [0, 1]"),
      Set("Csc", "format", Text("csc"), "'format': must be 'csr'"),
      Set("ShapeDisagrees", "shape", Integers({2, 2}), "'shape': has 2 columns"),
      Set("ShapeOfOne", "shape", Integers({2}), "'shape': expected shape (2)"),
      Set("ManyRows", "shape", Integers({kHuge, 3}), "'indptr'"),
      Set("NegativeRows", "shape", Integers({-1, 3}), "'shape': -1 lies outside"),
      Set("DataTooShort", "data", Doubles({1, 2}), "'indices': expected shape (2)"),
      Set("DataIsText", "data", Texts({"1", "2", "3"}), "'data'"),
      Set("IndexTooLarge", "indices", Integers({0, 3, 1}), "'indices': 3 lies outside [0, 2]"),
      Set("IndexBeyond32Bits", "indices", Integers({0, (int64_t{1} << 32) + 1, 1}), "'indices'"),
      Set("IndicesDescend", "indices", Integers({2, 0, 1}), "columns of row 0 must ascend"),
      Set("StartsTooShort", "indptr", Integers({0, 3}), "'indptr': has 2 entries; 2 rows"),
      Set("StartsBeyondTheEnd", "indptr", Integers({0, 4, 3}), "'indptr': 4 lies outside"),
      Set("StartsDescend", "indptr", Integers({0, 3, 1}), "row_begin"),
      Set("StartsAtOne", "indptr", Integers({1, 2, 3}), "row_begin"),
      Set("SignIsZero", "output_signs", Integers({1, 0}), "output_signs: entry 1 is 0"),
      Set("SignIsTwo", "output_signs", Integers({1, 2}), "'output_signs': 2 lies outside"),
      Set("SignIs257", "output_signs", Integers({1, 257}), "'output_signs': 257 lies outside"),
      Set("OneSign", "output_signs", Integers({1}), "'output_signs': expected shape (2)"),
      Set("OffsetTooShort", "input_offset", Doubles({1}), "input_offset has 1 entries"),
      Set("ScaleMissing", "input_scale", Doubles({}), "input_scale 0; both or none"),
      Set("ScaleIsZero", "input_scale", Doubles({1, 0}), "input_scale: entry 1"),
      Set("ScaleIsNegative", "input_scale", Doubles({-1, 1}), "input_scale: entry 0"),
      Set("TargetScaleIsZero", "target_scale", Double(0), "target_scale"),
      Set("TargetOffsetIsText", "target_offset", Text("1"), "'target_offset'"),
      Set("ThreeClasses", "class_names", Texts({"a", "b", "c"}), "class_names has 3"),
      Set("ClassesAreNumbers", "class_names", Doubles({0.5, 1}), "'class_names': expected text"),
      Set("UnknownMember", "pickle", Doubles({1}), "'pickle': is unknown"),
      Set("LinearTooShort", "linear", Doubles({1, 2}), "'linear': expected shape (3)"),
      Set("LinearOfNoEntries", "linear", Doubles({}), "'linear': expected shape (3)"),
      Set("LinearIsANumber", "linear", Double(1), "'linear': expected shape (3)"),
      Set("LinearIsText", "linear", Texts({"1", "2", "3"}), "'linear'"),
      Set("LinearOfAGatedNetwork", "linear", Doubles({1, 2}), "'linear': is unknown", true),
      Set("GatesOfAReluNetwork", "gate_index", Integers({0, 1}), "'gate_index': is unknown"),
      Set("UnknownGates", "gates_kind", Text("learned"), "'gates_kind': must be", true),
      Set("SeedIsTooLarge", "gates_seed", Text("18446744073709551616"), "'gates_seed'", true),
      Set("SeedIsNegative", "gates_seed", Text("-1"), "'gates_seed'", true),
      Set("SeedIsEmpty", "gates_seed", Text(""), "'gates_seed'", true),
      Set("SeedIsANumber", "gates_seed", Integer(7), "'gates_seed': expected text", true),
      Set("TooFewGates", "gates_count", Integer(2), "'gate_index': 2 lies outside [0, 1]", true),
      Set("NoGates", "gates_count", Integer(0), "'gate_index'", true),
      Set("NegativeGates", "gates_count", Integer(-1), "'gates_count'", true),
      Set("GatesDescend", "gate_index", Integers({2, 0}), "gate_index must ascend", true),
      Set("GatesTooShort", "gate_index", Integers({2}), "'gate_index': expected shape (2)", true),
      Set("SignsOfAGatedNetwork", "output_signs", Integers({1, 1}), "'output_signs': is", true),
      Set("VectorsOfRandomGates", "gate_vectors", Doubles({1}), "'gate_vectors': is", true),
      Set("VectorsTooShort", "gate_vectors", Doubles({1, 2}),
          "'gate_vectors': expected shape (3, 2)", true, true),
      Set("ManyVectors", "gates_count", Integer(kHuge), "'gate_vectors': expected shape", true,
          true),
      Set("SeedOfVectors", "gates_seed", Text("1"), "'gates_seed': is unknown", true, true),
      SetLayered("NoWidths", "hidden_widths", Integers({}), "'hidden_widths': has 0 entries"),
      SetLayered("WidthIsANumber", "hidden_widths", Integer(2), "'hidden_widths': expected a list"),
      SetLayered("OtherFirstWidth", "hidden_widths", Integers({3, 1}),
                 "'hidden_widths': begins with 3"),
      SetLayered("NegativeWidth", "hidden_widths", Integers({2, -1}),
                 "'hidden_widths': -1 lies outside"),
      SetLayered("HugeWidth", "hidden_widths", Integers({2, kHuge}),
                 "'hidden_widths': 9223372036854775807 lies outside"),
      SetLayered("NoOutputs", "num_outputs", Integer(0), "'num_outputs': 0 lies outside"),
      SetLayered("HugeOutputs", "num_outputs", Integer(kHuge),
                 "'num_outputs': 9223372036854775807 lies outside"),
      SetLayered("OutputsAsList", "num_outputs", Integers({3}), "'num_outputs': expected shape ()"),
      SetLayered("SignsBesideOutputs", "output_signs", Integers({1}), "'num_outputs': must be 1"),
      SetLayered("LayerShapeDisagrees", "layer_2_shape", Integers({1, 2}),
                 "'layer_2_shape': has 2 columns"),
      SetLayered("LayerOfMoreRows", "layer_2_shape", Integers({kHuge, 3}),
                 "'layer_2_indptr': has 2 entries"),
      SetLayered("LayerDataTooShort", "layer_2_data", Doubles({1, 2}),
                 "'layer_2_indices': expected shape (2)"),
      SetLayered("LayerDataIsText", "layer_3_data", Texts({"1", "2", "3"}), "'layer_3_data'"),
      SetLayered("LayerIndexTooLarge", "layer_3_indices", Integers({0, 0, 2}),
                 "'layer_3_indices': 2 lies outside [0, 1]"),
      SetLayered("LayerStartsTooShort", "layer_3_indptr", Integers({0, 3}),
                 "'layer_3_indptr': has 2 entries; 3 rows"),
      SetLayered("LayerStartsBeyond", "layer_3_indptr", Integers({0, 4, 3, 3}),
                 "'layer_3_indptr': 4 lies outside"),
      SetLayered("ALayerTooMany", "layer_4_data", Doubles({1}), "'layer_4_data': is unknown"),
      SetLayered("LinearBesideLayers", "linear", Doubles({1, 2, 3}), "'linear': is unknown"),
      SetLayered("LayerIndicesDescend", "layer_2_indices", Integers({1, 0, 2}),
                 "layer_2: columns of row 0 must ascend"),
  };
  // Rows that agree with each other but not with the widths.
  Fault rows = SetLayered("LayerOfTwoRows", "layer_2_shape", Integers({2, 3}),
                          "'layer_2_shape': has 2 rows; hidden_widths and num_outputs need 1");
  rows.change = [](NpzArchive& archive) {
    archive["layer_2_shape"] = Integers({2, 3});
    archive["layer_2_indptr"] = Integers({0, 3, 3});
  };
  faults.push_back(rows);
  // Every member is needed.
  for (const auto& [member, array] : ModelToArchive(SmallLayeredModel())) {
    // Without its widths a network is a plain one, of which the others are unknown.
    const bool widths = member == "hidden_widths";
    faults.push_back(
        {"Without" + member + "OfLayers",
         widths ? "'output_signs': expected shape (2)" : "'" + member + "': is missing",
         [member = member](NpzArchive& archive) { archive.erase(member); }, false, false, true});
  }
  for (const bool vectors : {false, true}) {
    for (const auto& [member, array] : ModelToArchive(SmallGatedModel(vectors))) {
      faults.push_back(
          {"Without" + member + (vectors ? "OfVectors" : ""), "'" + member + "': is missing",
           [member = member](NpzArchive& archive) { archive.erase(member); }, true, vectors});
    }
  }
  faults.push_back({"WithoutSigns", "'output_signs': is missing",
                    [](NpzArchive& archive) { archive.erase("output_signs"); }});
  return faults;
}

// The archive as JSON, by another way than WriteModelJson, as the members may be wrong.
std::string ToJsonText(const NpzArchive& archive) {
  nlohmann::json json;
  for (const auto& member : archive) {
    const std::string& name = member.first;
    const NpyArray& array = member.second;
    if (name == "metadata_keys" || name == "metadata_values") continue;
    const std::string key = name == "network_kind" ? "kind" : name;
    std::visit(
        [&](const auto& values) {
          if (array.shape.empty()) {
            json[key] = values[0];
          } else if (array.shape.size() == 1) {
            json[key] = values;
          } else {
            json[key] = nlohmann::json::array();
            for (int64_t r = 0; r < array.shape[0]; ++r) {
              const auto begin = values.begin() + r * array.shape[1];
              json[key].push_back(std::vector(begin, begin + array.shape[1]));
            }
          }
        },
        array.values);
  }
  if (archive.contains("metadata_keys")) json["metadata"] = nlohmann::json::object();
  return json.dump();
}

class ModelFaultTest : public ::testing::TestWithParam<Fault> {};
INSTANTIATE_TEST_SUITE_P(Faults, ModelFaultTest, ::testing::ValuesIn(Faults()),
                         [](const auto& fault) {
                           std::string name = fault.param.name;
                           std::erase(name, '_');
                           return name;
                         });

TEST_P(ModelFaultTest, IsRefusedInBothFormats) {
  const Fault& fault = GetParam();
  Model model = fault.gated     ? SmallGatedModel(fault.vectors)
                : fault.layered ? SmallLayeredModel()
                                : SmallModel();
  model.class_names.clear();
  model.metadata.clear();
  NpzArchive archive = ModelToArchive(model);
  ASSERT_TRUE(ModelFromArchive(archive).ok());
  ASSERT_TRUE(ReadModelJson(ToJsonText(archive)).ok());
  fault.change(archive);
  ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), fault.message);
  if (fault.name.find("metadata_") != std::string::npos) return;  // one member in JSON
  std::string message = fault.message;
  if (const size_t at = message.find("expected text"); at != std::string::npos) message.resize(at);
  ExpectInvalid(ReadModelJson(ToJsonText(archive)).status(), message);
}

TEST(ReadModelNpzTest, RefusesNonFiniteNumbersByName) {
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    for (const auto& [member, message] :
         std::vector<std::pair<std::string, std::string>>{{"data", "weights"},
                                                          {"input_offset", "input_offset"},
                                                          {"input_scale", "input_scale"}}) {
      NpzArchive archive = ModelToArchive(SmallModel());
      std::get<std::vector<double>>(archive[member].values)[1] = bad;
      ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), message);
    }
    NpzArchive archive = ModelToArchive(SmallLinearModel());
    std::get<std::vector<double>>(archive["linear"].values)[1] = bad;
    ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "linear");
    archive = ModelToArchive(SmallModel());
    archive["target_offset"] = Double(bad);
    ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "target_offset");
    archive = ModelToArchive(SmallGatedModel(true));
    std::get<std::vector<double>>(archive["gate_vectors"].values)[3] = bad;
    ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "gates: entry 1");
  }
}

TEST(ReadModelNpzTest, RefusesRepeatedAndBadMetadata) {
  NpzArchive archive = ModelToArchive(SmallModel());
  archive["metadata_keys"] = Texts({"a", "a"});
  ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "'a' occurs twice");
  archive["metadata_keys"] = Texts({"a", "\xFF"});
  ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "UTF-8");
  archive["metadata_keys"] = Texts({"a", "b", "c"});
  ExpectInvalid(ReadModelNpz(*SerializeNpz(archive), kMaxBytes).status(), "'metadata_values'");
}

TEST(ReadModelNpzTest, RefusesDamageAndTooMuch) {
  const std::string bytes = *WriteModelNpz(SmallModel());
  EXPECT_EQ(ReadModelNpz(bytes, 100).status().code(), absl::StatusCode::kResourceExhausted);
  ExpectInvalid(ReadModelNpz("", kMaxBytes).status(), "npz");
  for (size_t size = 0; size < bytes.size(); size += 7) {
    EXPECT_FALSE(ReadModelNpz(std::string_view(bytes).substr(0, size), kMaxBytes).ok());
  }
}

TEST(ReadModelJsonTest, RefusesEachMistakeOfForm) {
  const auto with = [](const std::string& member) {
    std::string text = WriteModelJson(SmallModel());
    return text.replace(text.find('{'), 1, "{" + member + ",");
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not a JSON model"},
      {"[]", "must be one object"},
      {"7", "must be one object"},
      {"null", "not a JSON model"},
      {"{}", "'model_version': is missing"},
      {WriteModelJson(SmallModel()) + "x", "not a JSON model"},
      {WriteModelJson(SmallModel()) + "{}", "not a JSON model"},
      {"{\"data\": [1, 2", "not a JSON model"},
      {"{\"data\": [NaN]}", "not a JSON model"},
      {"{\"data\": [1e999]}", "not a JSON model"},
      {"{\"data\": [null]}", "'data': null"},
      {"{\"data\": [true]}", "'data': true and false"},
      {"{\"data\": [1, \"a\"]}", "'data': text and numbers"},
      {"{\"data\": [\"a\", 1]}", "'data': text and numbers"},
      {"{\"data\": [\"a\", [1]]}", "'data': lists and single values"},
      {"{\"data\": [[1], \"a\"]}", "'data': text and numbers"},
      {"{\"data\": [[\"a\"]]}", "'data': unexpected text"},
      {"{\"data\": [1, [2]]}", "'data': lists and single values"},
      {"{\"data\": [[1], 2]}", "'data': lists and single values"},
      {"{\"data\": [[1], [2, 3]]}", "'data': row 1 has 2 entries"},
      {"{\"data\": [[]]}", "'data': a row is empty"},
      {"{\"data\": [[[1]]]}", "'data': unexpected list"},
      {"{\"data\": {}}", "'data': unexpected object"},
      {"{\"data\": [{}]}", "'data': unexpected object"},
      {"{\"metadata\": 1}", "'metadata': must be an object"},
      {"{\"metadata\": [\"a\"]}", "'metadata': must be an object"},
      {"{\"metadata\": {\"a\": 1}}", "'metadata': values must be text"},
      {"{\"metadata\": {\"a\": true}}", "'metadata': true and false"},
      {"{\"metadata\": {\"a\": []}}", "'metadata': unexpected list"},
      {"{\"metadata\": {\"a\": {}}}", "'metadata': unexpected object"},
      {"{\"metadata\": {}, \"metadata\": {}}", "'metadata': occurs twice"},
      {"{\"data\": [], \"data\": []}", "'data': occurs twice"},
      {"{\"kind\": \"a\", \"kind\": \"b\"}", "'kind': occurs twice"},
      {with("\"metadata_keys\": []"), "'metadata_keys': is unknown in JSON"},
      {with("\"network_kind\": \"relu_network\""), "'network_kind': is unknown in JSON"},
      {with("\"comment\": \"mine\""), "'comment': is unknown"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text.substr(0, 80));
    ExpectInvalid(ReadModelJson(text).status(), message);
  }
}

TEST(ReadModelJsonTest, BoundsWhatHostileTextCosts) {
  ExpectInvalid(ReadModelJson(std::string(1 << 20, '[')).status(), "must be one object");
  ExpectInvalid(ReadModelJson("{\"data\":" + std::string(1 << 20, '[')).status(), "list");
  std::string members = "{";
  for (int k = 0; k < 1000; ++k) members += "\"m" + std::to_string(k) + "\":0,";
  ExpectInvalid(ReadModelJson(members).status(), "too many members");
  std::string texts = "{\"class_names\":[";
  for (int k = 0; k < 100'000; ++k) texts += "\"\",";
  ExpectInvalid(ReadModelJson(texts).status(), "too many texts");
  std::string metadata = "{\"metadata\":{";
  for (int k = 0; k < 1000; ++k) metadata += "\"m" + std::to_string(k) + "\":\"\",";
  ExpectInvalid(ReadModelJson(metadata).status(), "more than 256 entries");
}

TEST(ReadModelJsonTest, ErrorsAreTextWhateverTheInput) {
  const std::string message(ReadModelJson("{\"\xFF\x01\": \xFE}").status().message());
  for (const char c : message) EXPECT_TRUE(c >= ' ' && c <= '~') << message;
}

// A file of before there were linear terms is one of a network without.
TEST(ModelFormatsTest, WithoutALinearTermThereIsNoSuchMember) {
  EXPECT_FALSE(ModelToArchive(SmallModel()).contains("linear"));
  EXPECT_THAT(WriteModelJson(SmallModel()), Not(HasSubstr("linear")));
  NpzArchive archive = ModelToArchive(SmallLinearModel());
  EXPECT_EQ(archive.erase("linear"), 1u);
  EXPECT_EQ(*ModelFromArchive(archive), SmallModel());
}

TEST(PredictTest, AddsTheLinearTerm) {
  // Scaled inputs of (2, 6) and (1, -2): (2, 2, 1) and (0, 0, 1). The neurons give 3 - 6 and 0,
  // the linear term 2 - 2.5 and -2.5.
  const std::vector<float> inputs = {2, 6, 1, -2};
  EXPECT_THAT(*Predict(SmallLinearModel(), {inputs.data(), 2, 2}),
              ElementsAre(10 + 3 * (3 - 6 + 2 - 2.5), 10 + 3 * -2.5));
}

TEST(ValidateModelTest, ChecksTexts) {
  Model model = SmallModel();
  for (const std::string& text :
       {std::string("\x80"), std::string("\xC0\x80"), std::string("\xC3"), std::string("a\0b", 3),
        std::string("\xED\xA0\x80"), std::string("\xE0\x80\x80"), std::string("\xF0\x80\x80\x80"),
        std::string("\xF4\x90\x80\x80"), std::string("\xF5\x80\x80\x80"),
        std::string("\xE2\x82")}) {
    model.metadata = {{"key", text}};
    ExpectInvalid(ValidateModel(model), "the value of 'key' must be UTF-8");
    model.metadata = {{text, "value"}};
    ExpectInvalid(ValidateModel(model), "a key must be UTF-8");
    model.metadata.clear();
    model.class_names = {text, "b"};
    ExpectInvalid(ValidateModel(model), "class_names: a name must be UTF-8");
    model.class_names.clear();
  }
  for (const char* text :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    model.metadata = {{"key", text}};
    EXPECT_TRUE(ValidateModel(model).ok());
  }
}

TEST(ValidateModelTest, BoundsTexts) {
  Model model = SmallModel();
  model.metadata = {{"key", std::string(kMaxMetadataValueBytes, 'a')}};
  EXPECT_TRUE(ValidateModel(model).ok());
  model.metadata["key"] += 'a';
  ExpectInvalid(ValidateModel(model), "longer than");
  model.metadata = {{std::string(kMaxMetadataKeyBytes + 1, 'a'), ""}};
  ExpectInvalid(ValidateModel(model), "longer than");
  model.metadata.clear();
  for (int k = 0; k < kMaxMetadataEntries; ++k) model.metadata[std::to_string(k)] = "";
  EXPECT_TRUE(ValidateModel(model).ok());
  model.metadata["one more"] = "";
  ExpectInvalid(ValidateModel(model), "metadata has 257 entries");
  model = SmallModel();
  model.class_names = {"a", std::string(kMaxClassNameBytes + 1, 'b')};
  ExpectInvalid(ValidateModel(model), "longer than");
  model.class_names = {"a"};
  ExpectInvalid(ValidateModel(model), "class_names has 1 entries");
}

// ---- Predict

TEST(PredictTest, ScalesInputsAndTargets) {
  // Scaled inputs (2, 1) and (0, 0): f = (2*2 - 1) - 3*1 = 0 and f = 0.
  const std::vector<float> data = {2, 2, 1, -2, 4, -6};
  const absl::StatusOr<std::vector<double>> predictions =
      Predict(SmallModel(), {data.data(), 3, 2});
  ASSERT_TRUE(predictions.ok());
  // Third: scaled (6, -1): f = 11.
  EXPECT_THAT(*predictions, ElementsAre(10, 10, 10 + 3 * 11));
}

TEST(PredictTest, WithoutScalingIsTheNetwork) {
  CounterRandom random(4, 0);
  for (Model model : {SmallModel(), SmallGatedModel(false), SmallGatedModel(true)}) {
    model.scaling = Scaling();
    const std::vector<float> data = RandomInputs(random, 100, 2);
    std::vector<double> outputs(100);
    ASSERT_TRUE(Evaluate(model.network, {data.data(), 100, 2}, outputs).ok());
    EXPECT_EQ(*Predict(model, {data.data(), 100, 2}), outputs);
  }
}

// More samples than one tile holds.
TEST(PredictTest, TilesDoNotShow) {
  Model model = SmallGatedModel(false);
  constexpr int64_t kSamples = (int64_t{4} << 20) / 2 + 5;
  std::vector<float> data(2 * kSamples);
  for (size_t e = 0; e < data.size(); ++e) data[e] = static_cast<float>(e % 97) - 48;
  std::vector<double> outputs(kSamples);
  ASSERT_TRUE(Evaluate(model.network, {data.data(), kSamples, 2}, outputs).ok());
  const absl::StatusOr<std::vector<double>> predictions =
      Predict(model, {data.data(), kSamples, 2});
  ASSERT_TRUE(predictions.ok());
  EXPECT_TRUE(*predictions == outputs);
}

TEST(PredictTest, RefusesBadInputs) {
  const auto predict = [](Model model, std::vector<float> data, int64_t num_inputs) {
    return Predict(model, {data.data(), static_cast<int64_t>(data.size()) / num_inputs, num_inputs})
        .status();
  };
  ExpectInvalid(predict(SmallModel(), {1, 2, 3}, 3),
                "inputs have 3 columns, but the model takes 2");
  ExpectInvalid(predict(SmallModel(), {1, 2, 3, static_cast<float>(kNan)}, 2),
                "row 1, column 1 is not finite");
  ExpectInvalid(predict(SmallModel(), {static_cast<float>(kInfinity), 2}, 2),
                "row 0, column 0 is not finite");
  Model model = SmallModel();
  model.scaling.input_scale[1] = 1e-300;
  ExpectInvalid(predict(model, {1, 2}, 2), "row 0, column 1 is too large for the scaling");
  model = SmallModel();
  std::get<SparseNetwork>(model.network).weights.value[0] = 1e308;
  ExpectInvalid(predict(model, {100, 2}, 2), "the prediction for row 0 overflows");
  model = SmallModel();
  model.scaling.input_offset.pop_back();
  ExpectInvalid(predict(model, {1, 2}, 2), "input_offset has 1 entries");
  ExpectInvalid(Predict(SmallModel(), {nullptr, 1, 2}).status(), "no data");
  EXPECT_TRUE(Predict(SmallModel(), {nullptr, 0, 2})->empty());
}

}  // namespace
}  // namespace thresher
