#include "core/model_files/model_report.h"

#include <Eigen/Dense>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>
#include <variant>

#include "core/model_files/layers.h"
#include "core/network/evaluation.h"

namespace thresher {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Clock = std::chrono::steady_clock;

struct DenseLayer {
  Matrix weights;  // units x inputs
  Eigen::RowVectorXf bias;
};

std::vector<DenseLayer> DenseLayers(const LayeredNetwork& network) {
  std::vector<DenseLayer> layers;
  int64_t width = network.num_inputs;
  for (const Layer& layer : network.layers) {
    const int64_t num_units = layer.weights.num_rows();
    DenseLayer dense = {.weights = Matrix::Zero(num_units, width),
                        .bias = Eigen::RowVectorXf::Zero(num_units)};
    for (int64_t row = 0; row < num_units; ++row) {
      for (int64_t e = layer.weights.row_begin[static_cast<size_t>(row)];
           e < layer.weights.row_begin[static_cast<size_t>(row) + 1]; ++e) {
        dense.weights(row, layer.weights.column[static_cast<size_t>(e)]) =
            static_cast<float>(layer.weights.value[static_cast<size_t>(e)]);
      }
      if (!layer.bias.empty()) {
        dense.bias(row) = static_cast<float>(layer.bias[static_cast<size_t>(row)]);
      }
    }
    layers.push_back(std::move(dense));
    width = num_units;
  }
  return layers;
}

// The network's output at last, so that no product is left out.
float EvaluateDense(const std::vector<DenseLayer>& layers, const std::vector<float>& inputs,
                    int64_t batch) {
  Matrix z =
      Eigen::Map<const Matrix>(inputs.data(), batch, static_cast<int64_t>(inputs.size()) / batch);
  for (size_t l = 0; l < layers.size(); ++l) {
    Matrix next = z * layers[l].weights.transpose();
    next.rowwise() += layers[l].bias;
    if (l + 1 < layers.size()) next = next.cwiseMax(0.0f);
    z = std::move(next);
  }
  return z.sum();
}

// Median seconds of a call. Repeats for at most a tenth of a second, seven times at least.
template <typename Call>
double MedianSeconds(const Call& call) {
  constexpr size_t kFewest = 7;
  constexpr size_t kMost = 1001;
  constexpr double kSeconds = 0.1;
  std::vector<double> seconds;
  const Clock::time_point start = Clock::now();
  call();  // caches
  while (seconds.size() < kMost &&
         (seconds.size() < kFewest ||
          std::chrono::duration<double>(Clock::now() - start).count() < kSeconds)) {
    const Clock::time_point begin = Clock::now();
    call();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

// The plan is made once, as for a model that stays in use.
std::vector<LatencyReport> MeasureLatencies(const EvaluationPlan& plan,
                                            const LayeredNetwork& network) {
  const std::vector<DenseLayer> layers = DenseLayers(network);  // of as many inputs
  std::vector<LatencyReport> latencies;
  for (const int64_t batch : {int64_t{1}, int64_t{256}}) {
    const std::vector<float> inputs(static_cast<size_t>(batch * network.num_inputs), 0.5f);
    std::vector<double> outputs(static_cast<size_t>(batch * plan.num_outputs));
    volatile double sink = 0;
    const double sparse = MedianSeconds([&] {
      const absl::Status status =
          Evaluate(plan, {inputs.data(), batch, network.num_inputs}, outputs);
      sink = status.ok() ? outputs.front() : 0;
    });
    const double dense =
        MedianSeconds([&] { sink = static_cast<double>(EvaluateDense(layers, inputs, batch)); });
    latencies.push_back({.batch = batch, .sparse_seconds = sparse, .dense_seconds = dense});
  }
  return latencies;
}

}  // namespace

absl::StatusOr<ModelReport> ReportModel(const Model& model, const Model* given, int64_t max_bytes) {
  if (absl::Status status = ValidateModel(model); !status.ok()) return status;
  ModelReport report;
  report.has_given = given != nullptr;
  for (const ModelFileFormat format : kModelFileFormats) {
    const absl::StatusOr<std::string> file = WriteModelFile(model, format, "network", max_bytes);
    FileSize& size = report.files.emplace_back(FileSize{.format = format, .bytes = std::nullopt});
    if (file.ok()) size.bytes = static_cast<int64_t>(file->size());
  }
  const absl::StatusOr<LayeredNetwork> network = ToLayers(model.network);
  if (!network.ok()) {
    // A gated network: a gate and a row of weights for each gate in use.
    report.nonzeros = Nonzeros(model.network);
    const int64_t gates = ActiveNeurons(model.network);
    const int64_t columns = std::get<GatedNetwork>(model.network).num_columns();
    report.dense_weights = 2 * gates * columns;
    report.multiply_adds = report.nonzeros + gates * columns;
    report.dense_multiply_adds = report.dense_weights;
    report.dense_bytes = report.dense_weights * static_cast<int64_t>(sizeof(double));
    return report;
  }
  std::optional<LayeredNetwork> of_given;
  if (given != nullptr) {
    if (absl::Status status = ValidateModel(*given); !status.ok()) return status;
    absl::StatusOr<LayeredNetwork> layers = ToLayers(given->network);
    if (!layers.ok() || layers->num_inputs != network->num_inputs) {
      return absl::InvalidArgumentError(
          "given: must be a ReLU network of the model's inputs, which it was pruned from");
    }
    of_given = *std::move(layers);
  }
  const LayeredNetwork& dense = of_given ? *of_given : *network;
  int64_t width = network->num_inputs;
  for (const Layer& layer : network->layers) {
    const int64_t num_units = layer.weights.num_rows();
    const auto biases = static_cast<int64_t>(layer.bias.size());
    const int64_t used_biases = biases - std::count(layer.bias.begin(), layer.bias.end(), 0.0);
    report.layers.push_back({.num_inputs = width,
                             .num_units = num_units,
                             .nonzeros = layer.weights.nonzeros() + used_biases});
    report.nonzeros += report.layers.back().nonzeros;
    report.multiply_adds += layer.weights.nonzeros();
    width = num_units;
  }
  width = dense.num_inputs;
  for (const Layer& layer : dense.layers) {
    const int64_t num_units = layer.weights.num_rows();
    report.dense_weights += width * num_units + static_cast<int64_t>(layer.bias.size());
    report.dense_multiply_adds += width * num_units;
    width = num_units;
  }
  report.dense_bytes = DenseBytes(dense, WeightTypeOf(model, network->layers));
  const auto* sparse = std::get_if<SparseNetwork>(&model.network);
  if (sparse == nullptr || report.dense_bytes > max_bytes) return report;
  const absl::StatusOr<EvaluationPlan> plan = MakeEvaluationPlan(*sparse);
  if (!plan.ok()) return plan.status();
  report.latencies = MeasureLatencies(*plan, dense);
  return report;
}

}  // namespace thresher
