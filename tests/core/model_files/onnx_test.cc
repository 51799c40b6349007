#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "core/model_files/model_file.h"
#include "tests/core/model_files/models.h"
#include "tests/core/model_files/onnx_builder.h"

namespace thresher {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void ExpectSmallNetwork(const OnnxBuilder& builder) {
  const auto model = ReadOnnxModel(builder.File());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(OutputsOf(*model, {1, 1, -2, 0, 0, 0.25}), ::testing::ElementsAre(13, 17, 7));
}

std::string MessageOf(const OnnxBuilder& builder) {
  const auto model = ReadOnnxModel(builder.File());
  EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << model.status();
  return std::string(model.status().message());
}

// The hidden layer as given, the rest of the small network behind its value "z".
OnnxBuilder WithOutputLayer(OnnxBuilder builder) {
  builder.Initializer("w1", {2, 1}, {3, 5})
      .Initializer("b1", {1, 1}, {7})
      .Node("MatMul", "last", {"z", "w1"}, {"s"})
      .Node("Add", "last_bias", {"b1", "s"}, {"y"});
  return builder;
}

TEST(OnnxTest, ReadsGemms) { ExpectSmallNetwork(SmallGemms()); }

TEST(OnnxTest, ReadsMatMulsAndAdds) {
  OnnxBuilder builder;
  builder.Ends()
      .Initializer("w0", {2, 2}, {1, -1, 2, 0})
      .Initializer("b0", {2}, {-1, 0})
      .Node("MatMul", "first", {"x", "w0"}, {"p"})
      .Node("Add", "bias", {"p", "b0"}, {"h"})
      .Node("Relu", "relu", {"h"}, {"z"});
  ExpectSmallNetwork(WithOutputLayer(builder));
}

TEST(OnnxTest, ReadsConstantsIdentitiesAndFactors) {
  OnnxBuilder builder;
  builder.Ends()
      .Node("Constant", "c", {}, {"w"},
            {OnnxBuilder::TensorAttribute(
                "value", OnnxBuilder::Tensor("", {2, 2}, OnnxBuilder::Raw({2, 4, -2, 0})))})
      .Initializer("b", {1, 2}, {-4, 0})
      .Node("Identity", "i", {"w"}, {"w0"})
      .Node("Identity", "j", {"x"}, {"x1"})
      .Node("Gemm", "first", {"x1", "w0", "b"}, {"h"},
            {OnnxBuilder::Integer("transB", 1), OnnxBuilder::Float("alpha", 0.5f),
             OnnxBuilder::Float("beta", 0.25f)})
      .Node("Relu", "relu", {"h"}, {"z"});
  ExpectSmallNetwork(WithOutputLayer(builder));
}

TEST(OnnxTest, ReadsFlattenAndReshapeInFront) {
  for (const bool flatten : {true, false}) {
    OnnxBuilder builder;
    builder.Ends({-1, 1, 2, 1});
    if (flatten) {
      builder.Node("Flatten", "front", {"x"}, {"flat"}, {OnnxBuilder::Integer("axis", 1)});
    } else {
      builder.Message(5, OnnxBuilder::Tensor("shape", {2}, OnnxBuilder::Integers({-1, 2}), 7))
          .Node("Reshape", "front", {"x", "shape"}, {"flat"});
    }
    builder.Initializer("w0", {2, 2}, {1, -1, 2, 0})
        .Initializer("b0", {2}, {-1, 0})
        .Node("Gemm", "first", {"flat", "w0", "b0"}, {"h"})
        .Node("Relu", "relu", {"h"}, {"z"});
    builder = WithOutputLayer(builder);
    ExpectSmallNetwork(builder);
    // Its shape comes back.
    const Model model = ReadOnnxModel(builder.File()).value();
    EXPECT_EQ(model.metadata.at(kOnnxInputShapeKey), "1,2,1");
    const Model again = ReadOnnxModel(WriteOnnxModel(model, false, 1 << 20).value()).value();
    EXPECT_EQ(again.metadata, model.metadata);
  }
}

// PyTorch's x.view(x.size(0), -1), with axes as opset 13 has them and as those before.
OnnxBuilder ViewInFront(int64_t index, bool axes_are_input, bool packed) {
  OnnxBuilder builder;
  builder.Ends({-1, 1, 2, 1})
      .Message(5, OnnxBuilder::Tensor("index", {}, OnnxBuilder::Integers({index}), 7))
      .Node("Constant", "", {}, {"axes"}, {OnnxBuilder::IntegerList("value_ints", {0}, packed)})
      .Node("Constant", "", {}, {"rest"}, {OnnxBuilder::IntegerList("value_ints", {-1}, packed)})
      .Node("Shape", "shape", {"x"}, {"dims"})
      .Node("Gather", "gather", {"dims", "index"}, {"batch"}, {OnnxBuilder::Integer("axis", 0)});
  if (axes_are_input) {
    builder.Node("Unsqueeze", "unsqueeze", {"batch", "axes"}, {"list"});
  } else {
    builder.Node("Unsqueeze", "unsqueeze", {"batch"}, {"list"},
                 {OnnxBuilder::IntegerList("axes", {0}, packed)});
  }
  builder.Node("Concat", "concat", {"list", "rest"}, {"target"}, {OnnxBuilder::Integer("axis", 0)})
      .Node("Reshape", "view", {"x", "target"}, {"flat"})
      .Initializer("w0", {2, 2}, {1, -1, 2, 0})
      .Initializer("b0", {2}, {-1, 0})
      .Node("Gemm", "first", {"flat", "w0", "b0"}, {"h"})
      .Node("Relu", "relu", {"h"}, {"z"});
  return WithOutputLayer(builder);
}

TEST(OnnxTest, ReadsAViewByTheBatchInFront) {
  for (const bool axes_are_input : {false, true}) {
    for (const bool packed : {false, true}) {
      ExpectSmallNetwork(ViewInFront(0, axes_are_input, packed));
    }
  }
  EXPECT_THAT(MessageOf(ViewInFront(1, true, false)),
              AllOf(HasSubstr("'gather'"), HasSubstr("Gather")));
}

TEST(OnnxTest, OtherUsesOfShapesAreNamed) {
  for (const char* op_type : {"Shape", "Gather", "Unsqueeze", "Concat", "Transpose"}) {
    OnnxBuilder builder = SmallGemms();
    builder.Node(op_type, "the_node", {"y", "b1"}, {"q"});
    EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("'the_node'"), HasSubstr(op_type)));
  }
  OnnxBuilder longer = SmallGemms();
  longer.Node("Constant", "list", {}, {"q"},
              {OnnxBuilder::IntegerList("value_ints", std::vector<int64_t>(1000, 1))});
  EXPECT_THAT(MessageOf(longer), AllOf(HasSubstr("'list'"), HasSubstr("value_ints")));
  // A list that long in a node that is not supported hides neither its name nor its operator.
  OnnxBuilder pad = SmallGemms();
  pad.Node("Pad", "the_pad", {"y"}, {"q"},
           {OnnxBuilder::IntegerList("pads", std::vector<int64_t>(10, 1))});
  EXPECT_THAT(MessageOf(pad), AllOf(HasSubstr("'the_pad'"), HasSubstr("Pad")));
}

TEST(OnnxTest, ReadsTransposedWeightsCastsAndDropout) {
  OnnxBuilder builder;
  builder.Ends()
      .Initializer("w", {2, 2}, {1, 2, -1, 0})
      .Initializer("b0", {2}, {-1, 0})
      .Node("Transpose", "", {"w"}, {"t"}, {OnnxBuilder::IntegerList("perm", {1, 0})})
      .Node("Transpose", "", {"t"}, {"twice"})
      .Node("Identity", "", {"twice"}, {"again"})
      .Node("Transpose", "", {"again"}, {"w0"})
      .Node("Cast", "", {"x"}, {"x1"}, {OnnxBuilder::Integer("to", 1)})
      .Node("MatMul", "first", {"x1", "w0"}, {"p"})
      .Node("Add", "bias", {"p", "b0"}, {"h"})
      .Node("Relu", "relu", {"h"}, {"r"})
      .Node("Dropout", "drop", {"r"}, {"z"}, {OnnxBuilder::Float("ratio", 0.5f)});
  ExpectSmallNetwork(WithOutputLayer(builder));

  OnnxBuilder training = SmallGemms();
  training.Initializer("ratio", {}, {0.5f})
      .Initializer("training", {}, {1})
      .Node("Dropout", "drop", {"y", "ratio", "training"}, {"q"});
  EXPECT_THAT(MessageOf(training), AllOf(HasSubstr("'drop'"), HasSubstr("training_mode")));
  OnnxBuilder cast = SmallGemms();
  cast.Node("Cast", "to_integers", {"y"}, {"q"}, {OnnxBuilder::Integer("to", 7)});
  EXPECT_THAT(MessageOf(cast), AllOf(HasSubstr("'to_integers'"), HasSubstr("Cast")));
}

TEST(OnnxTest, NamesOfTheEndsAreKept) {
  const Model model = ReadOnnxModel(SmallGemms().File()).value();
  EXPECT_EQ(model.metadata.at(kOnnxInputNameKey), "x");
  EXPECT_EQ(model.metadata.at(kOnnxOutputNameKey), "y");
  const Model again = ReadOnnxModel(WriteOnnxModel(model, true, 1 << 20).value()).value();
  EXPECT_EQ(again, model);
}

TEST(OnnxTest, EndsNamedAsOurOwnValuesStillWork) {
  Model model = RandomModel({}, 1);
  model.metadata[kOnnxInputNameKey] = "layers.0.weight";
  model.metadata[kOnnxOutputNameKey] = "layers.0.gemm_output";
  EXPECT_EQ(ReadOnnxModel(WriteOnnxModel(model, false, 1 << 20).value()).value().network,
            model.network);
}

TEST(OnnxTest, FloatDataAndDoubleDataAreRead) {
  for (const bool doubles : {false, true}) {
    for (const bool packed : {false, true}) {
      std::string tensor;
      AppendNumberField(1, 2, tensor);
      AppendNumberField(1, 2, tensor);
      AppendNumberField(2, doubles ? 11 : 1, tensor);
      AppendBytesField(8, "w0", tensor);
      std::string data;
      for (const double value : {1.0, -1.0, 2.0, 0.0}) {
        const auto single = static_cast<float>(value);
        const std::string bytes =
            doubles ? std::string(reinterpret_cast<const char*>(&value), sizeof(value))
                    : std::string(reinterpret_cast<const char*>(&single), sizeof(single));
        if (!packed) AppendVarint(doubles ? 10 << 3 | 1 : 4 << 3 | 5, data);
        data += bytes;
      }
      if (packed) {
        AppendBytesField(doubles ? 10 : 4, data, tensor);
      } else {
        tensor += data;
      }
      OnnxBuilder builder;
      builder.Ends()
          .Message(5, tensor)
          .Initializer("b0", {2}, {-1, 0})
          .Node("Gemm", "first", {"x", "w0", "b0"}, {"h"})
          .Node("Relu", "relu", {"h"}, {"z"});
      ExpectSmallNetwork(WithOutputLayer(builder));
    }
  }
}

TEST(OnnxTest, UnsupportedOperatorsAreNamedWithTheirNode) {
  for (const char* op_type : {"Conv", "Sigmoid", "Softmax", "If", "Gelu", "Cast"}) {
    OnnxBuilder builder = SmallGemms();
    builder.Node(op_type, "the_node", {"y"}, {"q"});
    EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("'the_node'"), HasSubstr(op_type)));
  }
  OnnxBuilder builder = SmallGemms();
  builder.Node("Conv", "", {"y"}, {"q"});
  EXPECT_THAT(MessageOf(builder), HasSubstr("node 3 (Conv)"));
}

TEST(OnnxTest, UnsupportedShapesAreNamed) {
  const auto with_weights = [](const std::vector<int64_t>& dims, std::vector<float> values) {
    OnnxBuilder builder;
    builder.Ends()
        .Initializer("w0", dims, values)
        .Node("MatMul", "first", {"x", "w0"}, {"h"})
        .Node("Relu", "relu", {"h"}, {"z"});
    return WithOutputLayer(builder);
  };
  EXPECT_THAT(MessageOf(with_weights({4}, {1, 2, 3, 4})),
              AllOf(HasSubstr("'first'"), HasSubstr("'w0'")));
  EXPECT_THAT(MessageOf(with_weights({1, 2, 2}, {1, 2, 3, 4})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({0, 2}, {})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({int64_t{1} << 40, int64_t{1} << 40}, {1})),
              HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({-2, -2}, {1, 2, 3, 4})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({1 << 30, 2}, {1})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({2, 2}, {1, 2, 3})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({2, 2}, {1, 2, 3, 4, 5})), HasSubstr("'w0'"));
  EXPECT_THAT(MessageOf(with_weights({2, 3}, {1, 2, 3, 4, 5, 6})),
              AllOf(HasSubstr("'last'"), HasSubstr("'w1'")));
  EXPECT_THAT(MessageOf(with_weights({3, 2}, {1, 2, 3, 4, 5, 6})), HasSubstr("input 'x'"));
}

TEST(OnnxTest, WeightsThatAreNotFiniteAreRefused) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* name : {"w0", "b0"}) {
      OnnxBuilder builder;
      const bool weight = name == std::string("w0");
      builder.Ends()
          .Initializer("w0", {2, 2}, {1, weight ? value : 0, 2, 0})
          .Initializer("b0", {2}, {-1, weight ? 0 : value})
          .Node("Gemm", "first", {"x", "w0", "b0"}, {"h"})
          .Node("Relu", "relu", {"h"}, {"z"});
      EXPECT_THAT(MessageOf(WithOutputLayer(builder)),
                  AllOf(HasSubstr("'first'"), HasSubstr(name), HasSubstr("not a finite number")));
    }
  }
}

TEST(OnnxTest, TypesAreNamed) {
  OnnxBuilder builder;
  builder.Ends()
      .Message(5, OnnxBuilder::Tensor("w0", {2, 2}, std::string(8, '\0'), 10))
      .Node("MatMul", "first", {"x", "w0"}, {"z"});
  EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("'first'"), HasSubstr("float16")));

  builder = SmallGemms();
  builder.graph.clear();
  builder.Ends({-1, 2}, 10);
  EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("input 'x'"), HasSubstr("float16")));

  std::string external = OnnxBuilder::Tensor("w0", {2, 2}, "");
  AppendNumberField(14, 1, external);
  builder = {};
  builder.Ends().Message(5, external).Node("MatMul", "first", {"x", "w0"}, {"z"});
  EXPECT_THAT(MessageOf(builder), HasSubstr("another file"));
}

TEST(OnnxTest, CyclesRepeatedOutputsAndBranchesAreRefused) {
  OnnxBuilder cycle;
  cycle.Ends()
      .Initializer("w0", {2, 2}, {1, 2, 3, 4})
      .Node("Relu", "relu", {"h"}, {"z"})
      .Node("MatMul", "first", {"z", "w0"}, {"h"});
  EXPECT_THAT(MessageOf(cycle), AllOf(HasSubstr("'relu'"), HasSubstr("cycle")));

  OnnxBuilder itself;
  itself.Ends().Node("Identity", "self", {"h"}, {"h"});
  EXPECT_THAT(MessageOf(itself), AllOf(HasSubstr("'self'"), HasSubstr("cycle")));

  OnnxBuilder repeated = SmallGemms();
  repeated.Node("Identity", "again", {"y"}, {"h"});
  EXPECT_THAT(MessageOf(repeated), AllOf(HasSubstr("'again'"), HasSubstr("'h' is given twice")));

  OnnxBuilder branch = SmallGemms();
  branch.Node("Relu", "aside", {"h"}, {"q"});
  EXPECT_THAT(MessageOf(branch), AllOf(HasSubstr("'aside'"), HasSubstr("chain")));

  OnnxBuilder twice = SmallGemms();
  twice.Initializer("w0", {1}, {1});
  EXPECT_THAT(MessageOf(twice), HasSubstr("initializer 'w0' is given twice"));
}

TEST(OnnxTest, AMillionNodesAreRefusedAtTheFirstTooMany) {
  OnnxBuilder builder = SmallGemms();
  std::string node;
  AppendBytesField(1, "y", node);
  AppendBytesField(4, "Relu", node);
  std::string nodes;
  for (int i = 0; i < 1'000'000; ++i) AppendBytesField(1, node, nodes);
  builder.graph += nodes;
  EXPECT_THAT(MessageOf(builder), HasSubstr("more than 1024 nodes"));
  // As inputs of one node, attributes of one, and as tensors.
  for (const uint32_t field : {1u, 2u, 5u}) {
    std::string many;
    for (int i = 0; i < 1'000'000; ++i) AppendBytesField(field, "", many);
    OnnxBuilder one = SmallGemms();
    one.Message(1, many);
    EXPECT_THAT(MessageOf(one), HasSubstr("more than 64"));
  }
  for (const uint32_t field : {5u, 11u, 12u, 15u}) {
    OnnxBuilder many = SmallGemms();
    for (int i = 0; i < 100'000; ++i) many.Message(field, "");
    EXPECT_THAT(MessageOf(many), HasSubstr("more than 1024"));
  }
}

// `num_layers` nodes layer_0, layer_1, ... on one square initializer of `width` inputs.
OnnxBuilder SharedLayers(int64_t width, int num_layers) {
  OnnxBuilder builder;
  builder.Ends({-1, width})
      .Initializer("w", {width, width},
                   std::vector<float>(static_cast<size_t>(width * width), 1.0f));
  std::string below = "x";
  for (int l = 0; l < num_layers; ++l) {
    const std::string number = std::to_string(l);
    const bool is_last = l + 1 == num_layers;
    builder.Node("MatMul", "layer_" + number, {below, "w"}, {is_last ? "y" : "h" + number});
    if (!is_last) builder.Node("Relu", "", {"h" + number}, {"z" + number});
    below = "z" + number;
  }
  return builder;
}

// Each use of an initializer was copied before the layers were counted: 500 uses of one of 16 MB
// took 1.3 GB.
TEST(OnnxTest, OneInitializerInManyLayersIsRefusedBeforeItIsCopied) {
  // At the first layer too many, and where the weights are large at the third use.
  EXPECT_THAT(MessageOf(SharedLayers(2, 500)),
              AllOf(HasSubstr("'layer_17'"), HasSubstr("more than 16 hidden layers")));
  EXPECT_THAT(MessageOf(SharedLayers(1500, 500)),
              AllOf(HasSubstr("'layer_2'"), HasSubstr("'w'"), HasSubstr("initializer of its own")));
  EXPECT_TRUE(ReadOnnxModel(SharedLayers(1500, 2).File()).ok());
  EXPECT_TRUE(ReadOnnxModel(SharedLayers(2, 17).File()).ok());
}

TEST(OnnxTest, OneBiasAddedManyTimesIsRefused) {
  constexpr int64_t kUnits = int64_t{1} << 18;
  const auto count = static_cast<size_t>(kUnits);
  OnnxBuilder builder;
  builder.Ends({-1, 1})
      .Initializer("w", {1, kUnits}, std::vector<float>(count, 1.0f))
      .Initializer("b", {kUnits}, std::vector<float>(count, 1.0f))
      .Node("MatMul", "first", {"x", "w"}, {"h0"});
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    builder.Node("Add", "add_" + number, {"h" + number, "b"}, {"h" + std::to_string(i + 1)});
  }
  EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("'add_7'"), HasSubstr("'b'")));
}

// f(x) = 1[x_0 > 0] (2 x_0 + 3) + 1[x_1 - x_0 > 0] x_1 up to its `length` first nodes.
OnnxBuilder SmallGates(int length = 5, float threshold = 0,
                       const std::vector<int64_t>& dims = {2, 2}) {
  OnnxBuilder builder;
  const auto transposed = OnnxBuilder::Integer("transB", 1);
  builder.Ends()
      .Initializer("g", {2, 2}, {1, 0, -1, 1})
      .Initializer("zero", {}, {0})
      .Initializer("threshold", {}, {threshold})
      .Initializer("w", dims, {2, 0, 0, 1})
      .Initializer("b", {2}, {3, 0})
      .Message(5, OnnxBuilder::Tensor("axes", {1}, OnnxBuilder::Integers({1}), 7));
  const auto name = [length](int number, const char* own) {
    return number == length ? std::string("y") : std::string(own);
  };
  builder.Node("Gemm", "gates", {"x", "g"}, {name(1, "p")}, {transposed});
  if (length > 1) builder.Node("Greater", "test", {"p", "threshold"}, {name(2, "open")});
  if (length > 2) builder.Node("Gemm", "weights", {"x", "w", "b"}, {name(3, "v")}, {transposed});
  if (length > 3) builder.Node("Where", "choice", {"open", "v", "zero"}, {name(4, "c")});
  if (length > 4) builder.Node("ReduceSum", "sum", {"c", "axes"}, {name(5, "s")});
  return builder;
}

TEST(OnnxTest, GatedNetworksAreRead) {
  const auto model = ReadOnnxModel(SmallGates().File());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(OutputsOf(*model, {1, 1, 1, 2, -1, 4, 0, 0}), ::testing::ElementsAre(5, 7, 4, 0));
}

TEST(OnnxTest, GatedNetworksInPiecesAreRefused) {
  EXPECT_THAT(MessageOf(SmallGates(2)), HasSubstr("'test'"));
  EXPECT_THAT(MessageOf(SmallGates(3)), HasSubstr("'weights'"));
  EXPECT_THAT(MessageOf(SmallGates(4)), HasSubstr("'choice'"));
  EXPECT_THAT(MessageOf(SmallGates(5, 1)), AllOf(HasSubstr("'test'"), HasSubstr("'threshold'")));
  EXPECT_THAT(MessageOf(SmallGates(5, 0, {1, 4})), AllOf(HasSubstr("'weights'"), HasSubstr("'w'")));
  for (const char* op_type : {"Relu", "Greater", "Gemm", "ReduceSum"}) {
    OnnxBuilder builder = SmallGates(3);
    builder.Node(op_type, "extra", {"y", "zero"}, {"q"});
    EXPECT_THAT(MessageOf(builder), HasSubstr("'extra'")) << op_type;
  }
}

TEST(OnnxTest, StagesOutOfPlaceAreNamed) {
  const auto after = [](const char* op_type, const std::vector<std::string>& inputs) {
    OnnxBuilder builder = SmallGemms();
    builder.Initializer("c", {1}, {2}).Node(op_type, "extra", inputs, {"q"});
    return MessageOf(builder);
  };
  EXPECT_THAT(after("Sub", {"y", "c"}), HasSubstr("'extra'"));
  EXPECT_THAT(after("MatMul", {"y", "c"}), HasSubstr("'extra'"));
  EXPECT_THAT(after("Reshape", {"y", "c"}), HasSubstr("'extra'"));
  EXPECT_THAT(after("Add", {"y", "z"}), HasSubstr("'extra'"));
  // Read, but not what the graph gives out.
  EXPECT_THAT(after("Mul", {"y", "c"}), HasSubstr("'q'"));
  EXPECT_THAT(after("Relu", {"y"}), HasSubstr("'q'"));

  OnnxBuilder one_layer;
  one_layer.Ends().Initializer("w0", {2, 1}, {1, 2}).Node("MatMul", "first", {"x", "w0"}, {"y"});
  EXPECT_THAT(MessageOf(one_layer), HasSubstr("hidden layer"));
}

TEST(OnnxTest, OtherGraphsAreRefused) {
  OnnxBuilder old = SmallGemms();
  old.opset = 6;
  EXPECT_THAT(MessageOf(old), HasSubstr("opset"));
  OnnxBuilder two_inputs = SmallGemms();
  two_inputs.Message(11, OnnxBuilder::Value("x2", {-1, 2}));
  EXPECT_THAT(MessageOf(two_inputs), HasSubstr("'x2'"));
  OnnxBuilder functions = SmallGemms();
  AppendBytesField(25, "", functions.rest);
  EXPECT_THAT(MessageOf(functions), HasSubstr("functions"));
  OnnxBuilder two_graphs = SmallGemms();
  AppendBytesField(7, "", two_graphs.rest);
  EXPECT_THAT(MessageOf(two_graphs), HasSubstr("two graphs"));
  EXPECT_FALSE(ReadOnnxModel("").ok());
  EXPECT_FALSE(ReadOnnxModel("no ONNX at all").ok());
}

TEST(OnnxTest, CutFilesAreRefused) {
  const std::string file = SmallGemms().File();
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ReadOnnxModel(std::string_view(file).substr(0, size)).ok()) << size;
  }
}

// A sparse weight matrix in place of w0, its indices and dimensions as given.
OnnxBuilder WithSparse(const std::vector<int64_t>& dims, const std::vector<int64_t>& index_dims,
                       const std::vector<int64_t>& indices, const std::vector<float>& values) {
  std::string sparse;
  AppendBytesField(
      1, OnnxBuilder::Tensor("w0", {static_cast<int64_t>(values.size())}, OnnxBuilder::Raw(values)),
      sparse);
  AppendBytesField(2, OnnxBuilder::Tensor("", index_dims, OnnxBuilder::Integers(indices), 7),
                   sparse);
  for (const int64_t extent : dims) AppendNumberField(3, static_cast<uint64_t>(extent), sparse);
  OnnxBuilder builder;
  builder.Ends()
      .Message(15, sparse)
      .Initializer("b0", {2}, {-1, 0})
      .Node("Gemm", "first", {"x", "w0", "b0"}, {"h"})
      .Node("Relu", "relu", {"h"}, {"z"});
  return WithOutputLayer(builder);
}

TEST(OnnxTest, SparseInitializersAreRead) {
  ExpectSmallNetwork(WithSparse({2, 2}, {3}, {0, 1, 2}, {1, -1, 2}));
  ExpectSmallNetwork(WithSparse({2, 2}, {3, 2}, {0, 0, 0, 1, 1, 0}, {1, -1, 2}));
}

TEST(OnnxTest, SparseInitializersThatLieAreRefused) {
  for (const auto& indices : {std::vector<int64_t>{0, 1, 4}, std::vector<int64_t>{0, 2, 1},
                              std::vector<int64_t>{0, 0, 1}, std::vector<int64_t>{-1, 0, 1}}) {
    EXPECT_THAT(MessageOf(WithSparse({2, 2}, {3}, indices, {1, -1, 2})), HasSubstr("'first'"));
  }
  EXPECT_THAT(MessageOf(WithSparse({2, 2}, {1, 2}, {0, int64_t{1} << 62}, {1})),
              HasSubstr("'first'"));
  EXPECT_THAT(MessageOf(WithSparse({2, 2}, {2}, {0, 1}, {1, -1, 2})), HasSubstr("'first'"));
  EXPECT_THAT(MessageOf(WithSparse({int64_t{1} << 31, int64_t{1} << 31}, {1}, {0}, {1})),
              HasSubstr("'first'"));
  EXPECT_THAT(MessageOf(WithSparse({2, (1 << 20) + 1}, {1}, {0}, {1})), HasSubstr("'first'"));
}

// Rows are not in the file, so that each use of a few bytes may make a million of them.
TEST(OnnxTest, RowsOfRepeatedSparseInitializersAreCounted) {
  constexpr int64_t kRows = int64_t{1} << 20;
  OnnxBuilder builder;
  std::string sparse;
  AppendBytesField(1, OnnxBuilder::Tensor("w", {1}, OnnxBuilder::Raw({1})), sparse);
  AppendBytesField(2, OnnxBuilder::Tensor("", {1}, OnnxBuilder::Integers({0}), 7), sparse);
  for (int k = 0; k < 2; ++k) AppendNumberField(3, static_cast<uint64_t>(kRows), sparse);
  builder.Ends({-1, kRows})
      .Message(15, sparse)
      .Node("MatMul", "first", {"x", "w"}, {"h"})
      .Node("Relu", "relu", {"h"}, {"z"})
      .Node("MatMul", "second", {"z", "w"}, {"y"});
  EXPECT_THAT(MessageOf(builder), AllOf(HasSubstr("'second'"), HasSubstr("'w'")));
}

}  // namespace
}  // namespace thresher
