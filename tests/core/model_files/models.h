// Models of every shape that files hold, for the tests of this room.
#ifndef THRESHER_TESTS_CORE_MODEL_FILES_MODELS_H_
#define THRESHER_TESTS_CORE_MODEL_FILES_MODELS_H_

#include <cstdint>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "core/network/model.h"

namespace thresher {

// A row's weights at `density` of the columns; float32 values, or doubles between them.
inline SparseRows RandomRows(std::mt19937& random, int64_t num_rows, int64_t num_columns,
                             double density, bool doubles) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  SparseRows rows;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t column = 0; column < num_columns; ++column) {
      if (uniform(random) >= density) continue;
      const double value = normal(random);
      rows.column.push_back(static_cast<int32_t>(column));
      rows.value.push_back(doubles ? value : static_cast<double>(static_cast<float>(value)));
    }
    rows.row_begin.push_back(rows.nonzeros());
  }
  return rows;
}

struct ModelShape {
  std::vector<int64_t> widths = {7, 5, 4, 3};  // the inputs, the hidden layers, the outputs
  double density = 0.5;
  bool has_bias = true;
  bool doubles = false;
  bool is_scaled = false;
};

inline Model RandomModel(const ModelShape& shape, unsigned seed) {
  std::mt19937 random(seed);
  SparseNetwork network{.num_inputs = shape.widths[0], .has_bias = shape.has_bias};
  for (size_t l = 1; l < shape.widths.size(); ++l) {
    SparseRows rows =
        RandomRows(random, shape.widths[l], shape.widths[l - 1] + (shape.has_bias ? 1 : 0),
                   shape.density, shape.doubles);
    if (l == 1) {
      network.weights = std::move(rows);
    } else {
      network.upper_layers.push_back(std::move(rows));
    }
  }
  Model model;
  model.network = std::move(network);
  if (shape.is_scaled) {
    std::uniform_real_distribution<double> uniform(0.5, 2);
    for (int64_t q = 0; q < shape.widths[0]; ++q) {
      model.scaling.input_offset.push_back(static_cast<float>(uniform(random)));
      model.scaling.input_scale.push_back(static_cast<float>(uniform(random)));
    }
    model.scaling.target_offset = -1.25;
    model.scaling.target_scale = 2.5;
  }
  if (shape.widths.back() > 2) {
    for (int64_t c = 0; c < shape.widths.back(); ++c) {
      model.class_names.push_back("class \"" + std::to_string(c) + "\"");
    }
  }
  if (shape.doubles) model.metadata["weight_type"] = "float64";
  return model;
}

// The fused form with a linear term, as recovery gives it.
inline Model FusedModel(unsigned seed) {
  std::mt19937 random(seed);
  SparseNetwork network{.num_inputs = 6, .has_bias = true};
  network.weights = RandomRows(random, 4, 7, 0.5, true);
  network.output_signs = {1, -1, 1, 1};
  for (int q = 0; q < 7; ++q) network.linear.push_back(0.25 * q - 0.5);
  Model model;
  model.network = std::move(network);
  model.class_names = {"no", "yes"};
  return model;
}

struct GatedShape {
  int64_t num_inputs = 7;
  int64_t num_gates = 12;
  double density = 0.4;
  bool has_bias = true;
  bool has_vectors = false;  // of -1, 0 and 1, on whose edges samples lie, or doubles; else random
  bool doubles = false;
  bool is_scaled = false;
};

inline Model RandomGatedModel(const GatedShape& shape, unsigned seed) {
  // For the weights' doubles and the scaling.
  Model model = RandomModel({.widths = {shape.num_inputs, shape.num_gates, 1},
                             .density = shape.density,
                             .has_bias = shape.has_bias,
                             .doubles = shape.doubles,
                             .is_scaled = shape.is_scaled},
                            seed);
  GatedNetwork network{.num_inputs = shape.num_inputs, .has_bias = shape.has_bias};
  network.weights = std::get<SparseNetwork>(model.network).weights;
  if (shape.num_gates == 0) network.weights = {};
  for (int64_t j = 0; j < shape.num_gates; ++j) network.gate_index.push_back(2 * j);
  if (shape.has_vectors) {
    GateVectorSet gates{.num_gates = 2 * shape.num_gates};
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> third(-1, 1);
    std::normal_distribution<double> normal;
    const int64_t size = gates.num_gates * network.num_columns();
    for (int64_t e = 0; e < size; ++e) {
      const int sign = third(random);
      // Sums of products with doubles are rounded, so that edges depend on their order.
      gates.vectors.push_back(shape.doubles ? sign * normal(random) : sign);
    }
    network.gates = std::move(gates);
  } else {
    network.gates = RandomGateSet{.seed = seed, .num_gates = 2 * shape.num_gates};
  }
  model.network = std::move(network);
  model.class_names.clear();
  return model;
}

inline std::vector<Model> GatedModels() {
  std::vector<Model> models;
  unsigned seed = 100;
  for (const bool has_bias : {false, true}) {
    for (const bool has_vectors : {false, true}) {
      for (const bool doubles : {false, true}) {
        models.push_back(RandomGatedModel({.has_bias = has_bias,
                                           .has_vectors = has_vectors,
                                           .doubles = doubles,
                                           .is_scaled = has_vectors == doubles},
                                          seed++));
      }
    }
  }
  // Gates that need float64 beside weights that are written in float32.
  models.push_back(RandomGatedModel({.has_vectors = true, .doubles = true}, seed++));
  models.back().metadata["weight_type"] = "float32";
  // Most of its gates have no weight, or none has.
  models.push_back(RandomGatedModel({.num_inputs = 30, .num_gates = 40, .density = 0.01}, seed++));
  models.push_back(RandomGatedModel({.density = 0}, seed++));
  models.push_back(RandomGatedModel({.num_gates = 0, .has_bias = false}, seed));
  return models;
}

// 0 and small whole numbers, half of which lie on the edge of some gate.
inline std::vector<float> EdgeInputs(int64_t num_samples, int64_t num_inputs, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> third(-1, 1);
  std::vector<float> inputs(static_cast<size_t>(num_samples * num_inputs));
  for (size_t i = static_cast<size_t>(num_inputs); i < inputs.size(); ++i) {
    inputs[i] = static_cast<float>(third(random));
  }
  return inputs;
}

inline std::vector<float> RandomInputs(int64_t num_samples, int64_t num_inputs, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> inputs(static_cast<size_t>(num_samples * num_inputs));
  for (float& x : inputs) x = normal(random);
  return inputs;
}

inline std::vector<double> OutputsOf(const Model& model, const std::vector<float>& inputs) {
  const int64_t d = NumInputs(model.network);
  return Predict(model, {inputs.data(), static_cast<int64_t>(inputs.size()) / d, d}).value();
}

// Each shape that a layered file may have.
inline std::vector<Model> ManyModels() {
  std::vector<Model> models;
  unsigned seed = 1;
  for (const bool has_bias : {false, true}) {
    for (const bool doubles : {false, true}) {
      for (const bool is_scaled : {false, true}) {
        for (const auto& widths : {std::vector<int64_t>{7, 5, 4, 3}, std::vector<int64_t>{3, 1, 1},
                                   std::vector<int64_t>{300, 20, 10}}) {
          models.push_back(RandomModel({.widths = widths,
                                        .density = widths[0] == 300 ? 0.05 : 0.5,
                                        .has_bias = has_bias,
                                        .doubles = doubles,
                                        .is_scaled = is_scaled},
                                       seed++));
        }
      }
    }
  }
  models.push_back(RandomModel({.density = 0}, seed++));
  models.push_back(FusedModel(seed));
  return models;
}

}  // namespace thresher

#endif  // THRESHER_TESTS_CORE_MODEL_FILES_MODELS_H_
