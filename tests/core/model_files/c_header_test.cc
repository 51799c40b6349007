#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "core/model_files/model_file.h"
#include "tests/core/model_files/models.h"

namespace thresher {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMaxBytes = int64_t{1} << 24;

// Compiles the header with a program around it that reads inputs and writes outputs.
class CHeaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("thresher_c_header_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  int Run(const std::string& command) {
    return std::system(("cd '" + folder_.string() + "' && " + command + " >log 2>&1").c_str());
  }
  std::string Log() {
    std::ostringstream text;
    text << std::ifstream(folder_ / "log").rdbuf();
    return text.str();
  }

  std::vector<double> OutputsOfProgram(const std::string& compiler, const std::string& source,
                                       const Model& model, const std::vector<float>& inputs) {
    Write("net.h", WriteCHeader(model, "net", kMaxBytes).value());
    Write(source,
          "#include \"net.h\"\n#include \"net.h\"\n#include <stdio.h>\n"
          "int main(void) {\n"
          "  static float x[NET_IN]; static float y[NET_OUT]; int i;\n"
          "  FILE* in = fopen(\"inputs\", \"rb\");\n"
          "  if (!in) return 1;\n"
          "  while (fread(x, sizeof(float), NET_IN, in) == NET_IN) {\n"
          "    net_predict(x, y);\n"
          "    for (i = 0; i < NET_OUT; ++i) printf(\"%.9g\\n\", (double)y[i]);\n"
          "  }\n  fclose(in);\n  return 0;\n}\n");
    std::string bytes(reinterpret_cast<const char*>(inputs.data()), inputs.size() * sizeof(float));
    Write("inputs", bytes);
    const std::string flags =
        " -Wall -Wextra -Wshadow -Werror -pedantic -O1 -DNET_IN=net_NUM_INPUTS"
        " -DNET_OUT=net_NUM_OUTPUTS ";
    EXPECT_EQ(Run(compiler + flags + source + " -o program"), 0) << Log();
    EXPECT_EQ(Run("./program"), 0) << Log();
    std::vector<double> outputs;
    std::istringstream text(Log());
    for (double value = 0; text >> value;) outputs.push_back(value);
    return outputs;
  }

  void CheckOutputs(const std::string& compiler, const std::string& source) {
    std::vector<Model> models = ManyModels();
    for (Model& model : GatedModels()) models.push_back(std::move(model));
    for (const Model& model : models) {
      const int64_t d = NumInputs(model.network);
      std::vector<float> inputs = RandomInputs(10, d, 11);
      const std::vector<float> edges = EdgeInputs(20, d, 12);
      inputs.insert(inputs.end(), edges.begin(), edges.end());
      const std::vector<double> wanted = OutputsOf(model, inputs);
      const std::vector<double> found = OutputsOfProgram(compiler, source, model, inputs);
      ASSERT_EQ(found.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_NEAR(found[i], wanted[i], 1e-5 * (1 + std::abs(wanted[i])));
      }
    }
  }

  std::filesystem::path folder_;
};

TEST_F(CHeaderTest, CompilesAsC99AndGivesTheSameOutputs) {
  if (std::string(TEST_CC).empty()) GTEST_SKIP() << "no C compiler";
  CheckOutputs(TEST_CC " -std=c99", "main.c");
}

TEST_F(CHeaderTest, CompilesAsCxx11AndGivesTheSameOutputs) {
  if (std::string(TEST_CXX).empty()) GTEST_SKIP() << "no C++ compiler";
  CheckOutputs(TEST_CXX " -std=c++11", "main.cc");
}

TEST_F(CHeaderTest, LargeNetworksGetWiderIndices) {
  if (std::string(TEST_CC).empty()) GTEST_SKIP() << "no C compiler";
  const Model model = RandomModel({.widths = {70000, 2, 1}, .density = 0.6}, 12);
  const std::vector<float> inputs = RandomInputs(2, 70000, 13);
  const std::vector<double> wanted = OutputsOf(model, inputs);
  const std::vector<double> found = OutputsOfProgram(TEST_CC " -std=c99", "main.c", model, inputs);
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 0.02);
}

TEST_F(CHeaderTest, NamesThatAreNoCNamesAreRefused) {
  for (const char* name : {"", "1net", "a-b", "int main() {}", "a\nb"}) {
    EXPECT_THAT(std::string(WriteCHeader(FusedModel(1), name, kMaxBytes).status().message()),
                HasSubstr("name"));
    EXPECT_TRUE(WriteCHeader(FusedModel(1), CName(name), kMaxBytes).ok()) << CName(name);
  }
  EXPECT_TRUE(WriteCHeader(FusedModel(1), CName(std::string(200, '7')), kMaxBytes).ok());
}

TEST_F(CHeaderTest, HeadersBeyondTheBoundAreRefused) {
  EXPECT_EQ(WriteCHeader(FusedModel(1), "net", 10).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace thresher
