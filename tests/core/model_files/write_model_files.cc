// Writes models in every format, with inputs and what core/ says of them, into the folder that is
// its argument: N.onnx, N_sparse.onnx, N.safetensors, N.npz, N.json with `inputs`, `outputs`.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "core/model_files/model_file.h"
#include "tests/core/model_files/models.h"

namespace {

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

template <typename Numbers>
std::string List(const Numbers& numbers) {
  std::string text = "[";
  for (size_t i = 0; i < numbers.size(); ++i) {
    char number[40];
    std::snprintf(number, sizeof(number), "%s%.17g", i == 0 ? "" : ",",
                  static_cast<double>(numbers[i]));
    text += number;
  }
  return text + "]";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER\n";
    return 2;
  }
  using thresher::ModelFileFormat;
  constexpr int64_t kMaxBytes = int64_t{1} << 30;
  int number = 0;
  std::vector<thresher::Model> models = thresher::ManyModels();
  for (thresher::Model& model : thresher::GatedModels()) models.push_back(std::move(model));
  for (thresher::Model& model : models) {
    if (number == 0) {
      model.metadata[thresher::kOnnxInputNameKey] = "pixels";
      model.metadata[thresher::kOnnxOutputNameKey] = "logits";
    }
    if (thresher::NumInputs(model.network) == 300) {
      model.metadata[thresher::kOnnxInputShapeKey] = "3,10,10";
    }
    const std::string path = std::string(argv[1]) + "/" + std::to_string(number++);
    for (const auto& [ending, format] : {std::pair(".onnx", ModelFileFormat::kOnnx),
                                         std::pair("_sparse.onnx", ModelFileFormat::kOnnxSparse),
                                         std::pair(".safetensors", ModelFileFormat::kSafetensors),
                                         std::pair(".npz", ModelFileFormat::kNpz)}) {
      const auto bytes = WriteModelFile(model, format, "net", kMaxBytes);
      if (!bytes.ok()) {
        std::cerr << bytes.status() << "\n";
        return 1;
      }
      Write(path + ending, *bytes);
    }
    const int64_t d = NumInputs(model.network);
    std::vector<float> inputs = thresher::RandomInputs(5, d, 3);
    // In whole numbers also on the edges of gates; one scaled in float32 may fall beside them.
    if (model.scaling.input_scale.empty()) {
      const std::vector<float> edges = thresher::EdgeInputs(3, d, 4);
      std::copy(edges.begin(), edges.end(), inputs.begin());
    }
    Write(path + ".json", "{\"inputs\": " + List(inputs) +
                              ", \"outputs\": " + List(thresher::OutputsOf(model, inputs)) + "}");
  }
  return 0;
}
