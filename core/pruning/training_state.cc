#include "core/pruning/training_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "core/iteration/state_bytes.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHP01";

void Write(StateWriter& writer, const TrainingPoint& point) {
  writer.Add(point.round);
  writer.Add(point.epoch);
  writer.Add(point.step);
  writer.Add(point.iteration);
  writer.Add(point.adam_steps);
  writer.Add(point.prune_fraction);
  writer.Add(static_cast<uint8_t>(point.retraining));
  writer.Add(static_cast<uint8_t>(point.finished));
  writer.Add(point.epoch_sums);
  for (const PerceptronLayer& layer : point.perceptron.layers) {
    writer.AddVector(layer.column_begin);
    writer.AddVector(layer.row);
    writer.AddVector(layer.weight);
    writer.AddVector(layer.rewind_weight);
    writer.AddVector(layer.first_moment);
    writer.AddVector(layer.second_moment);
  }
}

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

bool IsLayer(const PerceptronLayer& layer) {
  const size_t size = layer.row.size();
  if (static_cast<int64_t>(layer.column_begin.size()) != layer.num_columns + 1 ||
      layer.column_begin.front() != 0 || layer.column_begin.back() != layer.nonzeros() ||
      !std::is_sorted(layer.column_begin.begin(), layer.column_begin.end()) ||
      layer.weight.size() != size || layer.rewind_weight.size() != size ||
      layer.first_moment.size() != size || layer.second_moment.size() != size) {
    return false;
  }
  for (int64_t q = 0; q < layer.num_columns; ++q) {
    int64_t previous = -1;
    for (int64_t e = layer.column_begin[q]; e < layer.column_begin[q + 1]; ++e) {
      if (layer.row[e] <= previous || layer.row[e] >= layer.num_rows) return false;
      previous = layer.row[e];
    }
  }
  return AllFinite(layer.weight) && AllFinite(layer.rewind_weight) &&
         AllFinite(layer.first_moment) && AllFinite(layer.second_moment);
}

bool Read(StateReader& reader, const Perceptron& initial, TrainingPoint& point) {
  uint8_t retraining = 0;
  uint8_t finished = 0;
  if (!reader.Take(point.round) || !reader.Take(point.epoch) || !reader.Take(point.step) ||
      !reader.Take(point.iteration) || !reader.Take(point.adam_steps) ||
      !reader.Take(point.prune_fraction) || !reader.Take(retraining) || !reader.Take(finished) ||
      !reader.Take(point.epoch_sums)) {
    return false;
  }
  point.retraining = retraining != 0;
  point.finished = finished != 0;
  point.perceptron.num_inputs = initial.num_inputs;
  point.perceptron.has_bias = initial.has_bias;
  for (const PerceptronLayer& shape : initial.layers) {
    PerceptronLayer layer;
    layer.num_rows = shape.num_rows;
    layer.num_columns = shape.num_columns;
    if (!reader.TakeVector(layer.column_begin) || !reader.TakeVector(layer.row) ||
        !reader.TakeVector(layer.weight) || !reader.TakeVector(layer.rewind_weight) ||
        !reader.TakeVector(layer.first_moment) || !reader.TakeVector(layer.second_moment) ||
        !IsLayer(layer)) {
      return false;
    }
    point.perceptron.layers.push_back(std::move(layer));
  }
  return true;
}

}  // namespace

uint64_t ProblemFingerprint(const Samples& samples, const PruneOptions& options) {
  Fingerprint fingerprint;
  fingerprint.Add(samples.num_samples);
  fingerprint.Add(samples.num_inputs);
  fingerprint.Add(samples.num_outputs);
  fingerprint.AddVector(samples.inputs);
  fingerprint.AddVector(samples.targets);
  fingerprint.AddVector(options.hidden_widths);
  fingerprint.Add(options.nonzeros);
  fingerprint.Add(options.bias ? 1 : 0);
  fingerprint.Add(static_cast<uint64_t>(options.loss));
  fingerprint.Add(options.epochs);
  fingerprint.Add(options.batch_size);
  fingerprint.Add(std::bit_cast<uint64_t>(options.learning_rate));
  fingerprint.Add(std::bit_cast<uint64_t>(options.learning_rate_decay));
  fingerprint.Add(std::bit_cast<uint64_t>(options.weight_decay));
  // Left out where there is none: states of before there was one go on.
  if (options.l2 != 0) fingerprint.Add(std::bit_cast<uint64_t>(options.l2));
  fingerprint.Add(static_cast<uint64_t>(options.schedule));
  fingerprint.Add(static_cast<uint64_t>(options.saliency));
  fingerprint.Add(options.seed);
  fingerprint.Add(std::bit_cast<uint64_t>(options.prune_fraction));
  fingerprint.Add(options.rewind_epoch);
  fingerprint.Add(options.retrain_after_last_prune ? 1 : 0);
  fingerprint.Add(std::bit_cast<uint64_t>(options.schedule_power));
  fingerprint.Add(std::bit_cast<uint64_t>(options.prune_end));
  return fingerprint.value();
}

std::string SerializeState(const TrainingState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  Write(writer, state.now);
  if (state.now.step > 0) Write(writer, state.epoch_start);
  writer.Add(state.learning_rate_scale);
  writer.Add(state.divergences);
  writer.Add(state.reference_loss);
  writer.Add(state.elapsed_seconds);
  return std::move(writer).Finish();
}

absl::StatusOr<TrainingState> ParseState(std::string_view bytes, uint64_t fingerprint,
                                         const Perceptron& initial) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  TrainingState state;
  if (!Read(*reader, initial, state.now) ||
      (state.now.step > 0 && !Read(*reader, initial, state.epoch_start)) ||
      !reader->Take(state.learning_rate_scale) || !reader->Take(state.divergences) ||
      !reader->Take(state.reference_loss) || !reader->Take(state.elapsed_seconds) ||
      !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  return state;
}

}  // namespace thresher
