#include "core/recovery/count_sketch.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/iteration/state_bytes.h"
#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/kernels/gate_field.h"
#include "core/network/compare.h"
#include "core/network/merge.h"
#include "core/recovery/report.h"
#include "core/recovery/sketch.h"
#include "core/recovery/support.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHC01";
// Streams of the counter-based generator: the batches, and the draws of neuron j's block of either
// layer, + j.
constexpr uint64_t kBatchStream = 0xba7c5000000000ull;
constexpr uint64_t kHiddenStream = 0x1a7e100000000000ull;
constexpr uint64_t kOutputStream = 0x1a7e200000000000ull;
// An epoch whose loss is so many times the reference has diverged.
constexpr double kDivergedLoss = 10;
// After so many halvings the step size is not at fault.
constexpr int64_t kMaxDivergences = 60;
// Neither weights nor the sketch's sums overflow.
constexpr double kLargestUpdate = 1e100;
constexpr int64_t kTile = 64;    // samples, a word of gates
constexpr int64_t kGroup = 64;   // neurons whose slopes are held at a time
constexpr int64_t kAtATime = 4;  // neurons of one pass over a batch

struct Batch {
  Design design;
  std::vector<float> targets;  // row-major, num_samples x k
};

// A neuron's weights, the keys its inputs and the outputs.
struct Unit {
  int64_t neuron = 0;
  SparseVector hidden;
  SparseVector output;
};

// A neuron in a step: its weights before, drawn anew where they were all zero, and the slopes of
// the loss by them.
struct UnitStep {
  std::vector<double> hidden;
  std::vector<double> output;
  bool hidden_drawn = false;
  bool output_drawn = false;
  SparseVector through;  // the hidden weights as the samples see them: none behind a closed gate
  std::vector<double> hidden_slopes;
  std::vector<double> output_slopes;
};

enum class EpochOutcome { kDone, kStopped, kDiverged };

struct CountSketchState {
  int64_t iteration = 0;
  // The first layer's, key = neuron * columns + column, and behind them the second layer's,
  // neuron * outputs + output.
  SparseVector weights;
  std::vector<double> sketch;
  double step_scale = 1;
  int64_t divergences = 0;
  double reference_loss = 0;  // 0: not known yet
  double elapsed_seconds = 0;
  SparseVector best_weights;
  double best_loss = 0;  // mean over samples, with the network's own gates; at first of zero
  double progress_loss = 0;
  int64_t iterations_without_progress = 0;
};

std::string Serialize(const CountSketchState& state, uint64_t fingerprint) {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(state.iteration);
  writer.AddVector(state.weights);
  writer.AddVector(state.sketch);
  writer.Add(state.step_scale);
  writer.Add(state.divergences);
  writer.Add(state.reference_loss);
  writer.Add(state.elapsed_seconds);
  writer.AddVector(state.best_weights);
  writer.Add(state.best_loss);
  writer.Add(state.progress_loss);
  writer.Add(state.iterations_without_progress);
  return std::move(writer).Finish();
}

bool IsWithin(const SparseVector& weights, int64_t num_candidates, int64_t nonzeros) {
  int64_t last_key = -1;
  for (const KeyedValue& entry : weights) {
    if (entry.key <= last_key || entry.key >= num_candidates || !std::isfinite(entry.value)) {
      return false;
    }
    last_key = entry.key;
  }
  return static_cast<int64_t>(weights.size()) <= nonzeros;
}

absl::StatusOr<CountSketchState> Parse(std::string_view bytes, uint64_t fingerprint,
                                       int64_t num_candidates, int64_t nonzeros,
                                       size_t sketch_cells) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  CountSketchState state;
  if (!reader->Take(state.iteration) || !reader->TakeVector(state.weights) ||
      !reader->TakeVector(state.sketch) || !reader->Take(state.step_scale) ||
      !reader->Take(state.divergences) || !reader->Take(state.reference_loss) ||
      !reader->Take(state.elapsed_seconds) || !reader->TakeVector(state.best_weights) ||
      !reader->Take(state.best_loss) || !reader->Take(state.progress_loss) ||
      !reader->Take(state.iterations_without_progress) || !reader->AtEnd() ||
      !IsWithin(state.weights, num_candidates, nonzeros) ||
      !IsWithin(state.best_weights, num_candidates, nonzeros) ||
      state.sketch.size() != sketch_cells) {
    return StateReader::Damaged();
  }
  return state;
}

class CountSketchSolver {
 public:
  CountSketchSolver(const Samples& samples, const RecoveryOptions& options,
                    const RecoveryObserver& observer, std::stop_token stop, uint64_t fingerprint)
      : samples_(samples),
        options_(options),
        observer_(observer),
        fingerprint_(fingerprint),
        num_columns_(samples.num_inputs + (options.bias ? 1 : 0)),
        num_outputs_(samples.num_outputs),
        hidden_keys_(num_columns_ * options.hidden_width),
        num_candidates_(hidden_keys_ + num_outputs_ * options.hidden_width),
        nonzeros_(std::min(options.nonzeros, num_candidates_)),
        step_size_(options.step_size.value_or(CountSketchStepSize(options))),
        engine_(options.num_threads, std::move(stop)),
        sketch_(SketchWidth(nonzeros_, num_candidates_), options.seed) {
    MakeBatches();
    for (const float target : samples.targets) {
      max_target_ = std::max(max_target_, std::abs(static_cast<double>(target)));
    }
  }

  absl::StatusOr<RecoveryResult> Run(std::string_view checkpoint);

 private:
  void MakeBatches();
  std::vector<Unit> UnitsOf(const SparseVector& weights) const;
  bool UsesStartGates(int64_t iteration, size_t batch) const {
    return iteration == 0 || (iteration == 1 && batch == 0);
  }
  GateField StartGates(const Batch& batch) const {
    return GateField(RandomGateSet{options_.seed, options_.hidden_width}, batch.design);
  }

  // The sum of the samples' losses with start gates or the units' own; `errors`, unless null, is
  // set to the residuals of the step, sample by sample, zeros behind them.
  double Forward(Engine& engine, const Batch& batch, const std::vector<Unit>& units,
                 bool start_gates, std::vector<double>* errors) const;
  // What the weights' own gates give, in the mean.
  double NetworkLoss(Engine& engine, const SparseVector& weights) const;
  double DrawnLoss() const;

  void Slopes(const Batch& batch, const std::vector<double>& errors, const GateMasks* masks,
              int64_t position, int64_t word, UnitStep& step) const;
  // Adds -step_size * slopes to the sketch and to the block's weights, whose first key is given;
  // false where a number is too large.
  bool Update(int64_t first_key, std::span<const double> before, std::span<const double> slopes,
              bool drawn, double step_size, SparseVector& weights);
  void Truncate(SparseVector& weights) const;
  EpochOutcome Step(const Batch& batch, bool start_gates, bool first_batch, double step_size,
                    double limit, SparseVector& weights);
  EpochOutcome Epoch(CountSketchState& state, double& network_loss);

  double RelativeResidual(double loss) const { return std::sqrt(loss / zero_loss_); }
  void Report(const CountSketchState& state, double network_loss, int64_t entered);
  SparseNetwork MakeNetwork(const SparseVector& weights) const;

  const Samples& samples_;
  const RecoveryOptions& options_;
  const RecoveryObserver& observer_;
  const uint64_t fingerprint_;
  const int64_t num_columns_;
  const int64_t num_outputs_;
  const int64_t hidden_keys_;
  const int64_t num_candidates_;
  const int64_t nonzeros_;
  const double step_size_;
  Engine engine_;
  std::vector<Batch> batches_;
  double max_target_ = 0;
  double zero_loss_ = 0;
  CountSketch sketch_;
};

void CountSketchSolver::MakeBatches() {
  const int64_t n = samples_.num_samples;
  std::vector<int64_t> order;
  if (options_.batch_size < n) {
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    CounterRandom random(options_.seed, kBatchStream);
    for (int64_t i = n - 1; i > 0; --i) {
      std::swap(order[i], order[static_cast<int64_t>(random.NextBelow(i + 1))]);
    }
  }
  for (int64_t first = 0; first < n; first += options_.batch_size) {
    const int64_t size = std::min(options_.batch_size, n - first);
    std::span<const int64_t> rows;
    if (!order.empty()) rows = std::span(order).subspan(first, size);
    Batch batch{MakeDesign(samples_.input_view(), options_.bias, rows), {}};
    for (int64_t i = 0; i < size; ++i) {
      const auto target = samples_.targets.begin() + (rows.empty() ? i : rows[i]) * num_outputs_;
      batch.targets.insert(batch.targets.end(), target, target + num_outputs_);
    }
    batches_.push_back(std::move(batch));
  }
  const std::vector<double> zeros(num_outputs_, 0.0);
  std::vector<double> gradient(num_outputs_);
  for (int64_t i = 0; i < n; ++i) {
    const std::span<const float> targets(samples_.targets.data() + i * num_outputs_, zeros.size());
    zero_loss_ += SampleLoss(options_.loss, zeros, targets, gradient);
  }
  zero_loss_ /= static_cast<double>(n);
}

std::vector<Unit> CountSketchSolver::UnitsOf(const SparseVector& weights) const {
  std::vector<Unit> units;
  size_t e = 0;
  for (; e < weights.size() && weights[e].key < hidden_keys_; ++e) {
    const int64_t neuron = weights[e].key / num_columns_;
    if (units.empty() || units.back().neuron != neuron) units.push_back({neuron, {}, {}});
    units.back().hidden.push_back({weights[e].key % num_columns_, weights[e].value});
  }
  const size_t with_hidden = units.size();
  size_t at = 0;
  for (; e < weights.size(); ++e) {
    const int64_t key = weights[e].key - hidden_keys_;
    const int64_t neuron = key / num_outputs_;
    while (at < with_hidden && units[at].neuron < neuron) ++at;
    Unit* unit = at < with_hidden && units[at].neuron == neuron ? &units[at] : nullptr;
    if (unit == nullptr) {
      if (units.size() == with_hidden || units.back().neuron != neuron) {
        units.push_back({neuron, {}, {}});
      }
      unit = &units.back();
    }
    unit->output.push_back({key % num_outputs_, weights[e].value});
  }
  std::sort(units.begin(), units.end(),
            [](const Unit& a, const Unit& b) { return a.neuron < b.neuron; });
  return units;
}

// z = the columns' sum of one tile.
void Preactivations(const Design& design, int64_t first, const SparseVector& weights, double* z) {
  std::fill(z, z + kTile, 0.0);
  for (const KeyedValue& entry : weights) {
    const float* column = design.columns.get() + entry.key * design.padded_samples() + first;
    for (int64_t i = 0; i < kTile; ++i) z[i] += entry.value * column[i];
  }
}

uint64_t OpenOf(const double* z) {
  uint64_t open = 0;
  for (int64_t i = 0; i < kTile; ++i) open |= static_cast<uint64_t>(z[i] > 0) << i;
  return open;
}

double CountSketchSolver::Forward(Engine& engine, const Batch& batch,
                                  const std::vector<Unit>& units, bool start_gates,
                                  std::vector<double>* errors) const {
  const Design& design = batch.design;
  const int64_t k = num_outputs_;
  std::vector<const Unit*> whole;  // the others add nothing
  std::vector<int64_t> neurons;
  for (const Unit& unit : units) {
    if (unit.hidden.empty() || unit.output.empty()) continue;
    whole.push_back(&unit);
    neurons.push_back(unit.neuron);
  }
  GateMasks masks;
  if (start_gates) masks = StartGates(batch).MasksOf(engine, design, neurons);
  if (errors != nullptr) errors->assign(design.padded_samples() * k, 0.0);
  // The published residuals are f - y and softmax(f) - y, over the batch's samples.
  const double scale = (options_.loss == Loss::kSquared ? static_cast<double>(k) / 2 : 1.0) /
                       static_cast<double>(design.num_samples);
  std::vector<double> losses(design.chunks.size());
  engine.pool.ParallelFor(static_cast<int64_t>(losses.size()), [&](int64_t c, int) {
    const RowChunk& chunk = design.chunks[c];
    std::vector<double> outputs(kTile * k);
    std::vector<double> gradient(k);
    double z[kTile];
    for (int64_t w = chunk.first_word; w < chunk.first_word + chunk.num_words; ++w) {
      std::fill(outputs.begin(), outputs.end(), 0.0);
      for (size_t u = 0; u < whole.size(); ++u) {
        Preactivations(design, w * kTile, whole[u]->hidden, z);
        const uint64_t open = start_gates ? masks.word(w, static_cast<int64_t>(u)) : OpenOf(z);
        for (int64_t i = 0; i < kTile; ++i) {
          if ((open >> i & 1) == 0) continue;
          for (const KeyedValue& entry : whole[u]->output) {
            outputs[i * k + entry.key] += z[i] * entry.value;
          }
        }
      }
      const int64_t last = std::min(kTile, design.num_samples - w * kTile);
      for (int64_t i = 0; i < last; ++i) {
        const int64_t sample = w * kTile + i;
        losses[c] +=
            SampleLoss(options_.loss, {outputs.data() + i * k, static_cast<size_t>(k)},
                       {batch.targets.data() + sample * k, static_cast<size_t>(k)}, gradient);
        if (errors == nullptr) continue;
        for (int64_t o = 0; o < k; ++o) (*errors)[sample * k + o] = scale * gradient[o];
      }
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

double CountSketchSolver::NetworkLoss(Engine& engine, const SparseVector& weights) const {
  const std::vector<Unit> units = UnitsOf(weights);
  double loss = 0;
  for (const Batch& batch : batches_) loss += Forward(engine, batch, units, false, nullptr);
  return loss / static_cast<double>(samples_.num_samples);
}

// About what the first draws of the weights leave: outputs of mean square |x|^2 / (18 d m k), under
// the squared loss; the others' grow with the magnitude alone.
double CountSketchSolver::DrawnLoss() const {
  double square = 0;
  for (const float input : samples_.inputs) square += static_cast<double>(input) * input;
  square /= 18 * static_cast<double>(samples_.inputs.size()) *
            static_cast<double>(options_.hidden_width * num_outputs_);
  return options_.loss == Loss::kSquared ? square : std::sqrt(square);
}

void CountSketchSolver::Slopes(const Batch& batch, const std::vector<double>& errors,
                               const GateMasks* masks, int64_t position, int64_t w,
                               UnitStep& step) const {
  const Design& design = batch.design;
  const int64_t k = num_outputs_;
  if (step.through.empty() && masks == nullptr) return;  // a gate of zeros is closed
  double z[kTile];
  Preactivations(design, w * kTile, step.through, z);
  const uint64_t open = masks != nullptr ? masks->word(w, position) : OpenOf(z);
  for (int64_t i = 0; i < kTile; ++i) {
    if ((open >> i & 1) == 0) continue;
    const int64_t sample = w * kTile + i;
    const double* error = errors.data() + sample * k;
    double slope = 0;
    for (int64_t o = 0; o < k; ++o) {
      slope += error[o] * step.output[o];
      step.output_slopes[o] += error[o] * z[i];
    }
    if (slope == 0) continue;
    const float* row = design.rows.get() + sample * design.row_stride;
    for (int64_t q = 0; q < num_columns_; ++q) step.hidden_slopes[q] += slope * row[q];
  }
}

void CountSketchSolver::Truncate(SparseVector& weights) const {
  if (static_cast<int64_t>(weights.size()) <= nonzeros_) return;
  // Of equal estimates the larger index stays, as published.
  std::vector<std::pair<double, int64_t>> ranks;
  ranks.reserve(weights.size());
  for (const KeyedValue& entry : weights) {
    ranks.emplace_back(std::abs(sketch_.Estimate(entry.key)), entry.key);
  }
  std::vector<std::pair<double, int64_t>> ordered = ranks;
  const auto least = ordered.end() - nonzeros_;
  std::nth_element(ordered.begin(), least, ordered.end());
  size_t kept = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    if (ranks[e] >= *least) weights[kept++] = weights[e];
  }
  weights.resize(kept);
}

bool CountSketchSolver::Update(int64_t first_key, std::span<const double> before,
                               std::span<const double> slopes, bool drawn, double step_size,
                               SparseVector& weights) {
  if (!drawn && std::all_of(slopes.begin(), slopes.end(), [](double s) { return s == 0; })) {
    return true;
  }
  SparseVector block;
  for (size_t e = 0; e < before.size(); ++e) {
    const int64_t key = first_key + static_cast<int64_t>(e);
    const double change = -step_size * slopes[e];
    const double value = before[e] + change;
    if (!(std::abs(change) <= kLargestUpdate) || !(std::abs(value) <= kLargestUpdate)) return false;
    if (change != 0) sketch_.Add(key, change);
    if (value != 0) block.push_back({key, value});
  }
  const auto by_key = [](const KeyedValue& entry, int64_t key) { return entry.key < key; };
  const auto begin = std::lower_bound(weights.begin(), weights.end(), first_key, by_key);
  const auto end = std::lower_bound(begin, weights.end(),
                                    first_key + static_cast<int64_t>(before.size()), by_key);
  weights.insert(weights.erase(begin, end), block.begin(), block.end());
  Truncate(weights);
  return true;
}

EpochOutcome CountSketchSolver::Step(const Batch& batch, bool start_gates, bool first_batch,
                                     double step_size, double limit, SparseVector& weights) {
  const int64_t m = options_.hidden_width;
  const int64_t k = num_outputs_;
  const std::vector<Unit> units = UnitsOf(weights);
  std::vector<double> errors;
  const double loss = Forward(engine_, batch, units, start_gates, &errors);
  if (engine_.stop_requested()) return EpochOutcome::kStopped;
  if (!(loss / static_cast<double>(batch.design.num_samples) <= limit)) {
    return EpochOutcome::kDiverged;
  }
  // Blocks of zeros are drawn at the first batch; all neurons have a gate while these are random.
  std::vector<int64_t> neurons;
  const bool all = start_gates || first_batch;
  if (!all) {
    for (const Unit& unit : units) {
      if (!unit.hidden.empty()) neurons.push_back(unit.neuron);
    }
  }
  const int64_t count = all ? m : static_cast<int64_t>(neurons.size());
  std::optional<GateField> gates;
  if (start_gates) gates = StartGates(batch);
  const auto draw = [&](uint64_t stream, double bound, std::vector<double>& block) {
    CounterRandom random(options_.seed, stream);
    for (double& value : block) value = bound * (2 * random.NextUniform() - 1);
  };
  const double hidden_bound = 1 / std::sqrt(static_cast<double>(num_columns_ * m));
  const double output_bound = 1 / std::sqrt(static_cast<double>(m * k));
  auto unit = units.begin();
  for (int64_t first = 0; first < count; first += kGroup) {
    const int64_t size = std::min(kGroup, count - first);
    std::vector<int64_t> group(size);
    std::vector<UnitStep> steps(size);
    for (int64_t g = 0; g < size; ++g) {
      const int64_t neuron = all ? first + g : neurons[first + g];
      group[g] = neuron;
      UnitStep& step = steps[g];
      step.hidden.resize(num_columns_);
      step.output.resize(k);
      step.hidden_slopes.resize(num_columns_);
      step.output_slopes.resize(k);
      while (unit != units.end() && unit->neuron < neuron) ++unit;
      const bool known = unit != units.end() && unit->neuron == neuron;
      if (known) {
        for (const KeyedValue& entry : unit->hidden) step.hidden[entry.key] = entry.value;
        for (const KeyedValue& entry : unit->output) step.output[entry.key] = entry.value;
      }
      step.hidden_drawn = first_batch && (!known || unit->hidden.empty());
      step.output_drawn = first_batch && (!known || unit->output.empty());
      const auto index = static_cast<uint64_t>(neuron);
      if (step.hidden_drawn) draw(kHiddenStream + index, hidden_bound, step.hidden);
      if (step.output_drawn) draw(kOutputStream + index, output_bound, step.output);
      if (step.hidden_drawn && !start_gates) continue;
      for (int64_t q = 0; q < num_columns_; ++q) {
        if (step.hidden[q] != 0) step.through.push_back({q, step.hidden[q]});
      }
    }
    GateMasks masks;
    if (start_gates) masks = gates->MasksOf(engine_, batch.design, group);
    engine_.pool.ParallelFor((size + kAtATime - 1) / kAtATime, [&](int64_t block, int) {
      const int64_t last = std::min(size, (block + 1) * kAtATime);
      for (int64_t w = 0; w < batch.design.num_words; ++w) {
        if (engine_.stop_requested()) return;
        for (int64_t g = block * kAtATime; g < last; ++g) {
          Slopes(batch, errors, start_gates ? &masks : nullptr, g, w, steps[g]);
        }
      }
    });
    if (engine_.stop_requested()) return EpochOutcome::kStopped;
    // One block after the other, each cut to the budget: greedy and in order, as published.
    for (int64_t g = 0; g < size; ++g) {
      const UnitStep& step = steps[g];
      if (!Update(group[g] * num_columns_, step.hidden, step.hidden_slopes, step.hidden_drawn,
                  step_size, weights) ||
          !Update(hidden_keys_ + group[g] * k, step.output, step.output_slopes, step.output_drawn,
                  step_size, weights)) {
        return EpochOutcome::kDiverged;
      }
    }
  }
  return EpochOutcome::kDone;
}

EpochOutcome CountSketchSolver::Epoch(CountSketchState& state, double& network_loss) {
  const double step_size = step_size_ * state.step_scale;
  const double limit = kDivergedLoss * state.reference_loss;
  sketch_.cells() = state.sketch;
  for (size_t b = 0; b < batches_.size(); ++b) {
    const EpochOutcome outcome = Step(batches_[b], UsesStartGates(state.iteration, b), b == 0,
                                      step_size, limit, state.weights);
    if (outcome != EpochOutcome::kDone) return outcome;
  }
  network_loss = NetworkLoss(engine_, state.weights);
  const bool finite = std::isfinite(network_loss);
  double step_loss = network_loss;
  // Where the step was taken with start gates it is judged by them. What the change to the
  // weights' own gates does to the loss is no step's fault.
  const bool start_gates = UsesStartGates(state.iteration, batches_.size() - 1);
  if (start_gates) {
    const Batch& last = batches_.back();
    step_loss = Forward(engine_, last, UnitsOf(state.weights), true, nullptr) /
                static_cast<double>(last.design.num_samples);
    if (finite) state.reference_loss = std::max(state.reference_loss, network_loss);
  }
  if (engine_.stop_requested()) return EpochOutcome::kStopped;
  if (!finite || !(step_loss <= limit)) return EpochOutcome::kDiverged;
  state.sketch = sketch_.cells();
  return EpochOutcome::kDone;
}

SparseNetwork CountSketchSolver::MakeNetwork(const SparseVector& weights) const {
  SparseNetwork network = {.num_inputs = samples_.num_inputs, .has_bias = options_.bias};
  std::vector<std::vector<KeyedValue>> output_rows(num_outputs_);
  for (const Unit& unit : UnitsOf(weights)) {
    const int64_t row = network.weights.num_rows();
    for (const KeyedValue& entry : unit.hidden) {
      network.weights.column.push_back(static_cast<int32_t>(entry.key));
      network.weights.value.push_back(entry.value);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
    for (const KeyedValue& entry : unit.output)
      output_rows[entry.key].push_back({row, entry.value});
  }
  SparseRows& output = network.upper_layers.emplace_back();
  for (const std::vector<KeyedValue>& row : output_rows) {
    for (const KeyedValue& entry : row) {
      output.column.push_back(static_cast<int32_t>(entry.key));
      output.value.push_back(entry.value);
    }
    output.row_begin.push_back(output.nonzeros());
  }
  return DropDeadNeurons(network);
}

void CountSketchSolver::Report(const CountSketchState& state, double network_loss,
                               int64_t entered) {
  IterationReport report;
  report.iteration = state.iteration;
  report.relative_residual = RelativeResidual(network_loss);
  if (options_.loss == Loss::kSquared) {
    const int64_t count = samples_.num_samples * num_outputs_;
    report.psnr_db = PsnrDb(network_loss * static_cast<double>(count), count, max_target_);
  }
  report.step_size = step_size_ * state.step_scale;
  report.support_size = static_cast<int64_t>(state.weights.size());
  report.support_changes = entered;
  for (const Unit& unit : UnitsOf(state.weights)) report.active_neurons += !unit.hidden.empty();
  report.best_relative_residual = RelativeResidual(state.best_loss);
  report.elapsed_seconds = state.elapsed_seconds;
  if (observer_.on_network) observer_.on_network(MakeNetwork(state.weights));
  if (observer_.on_iteration) observer_.on_iteration(report);
  if (observer_.checkpoint_due && observer_.on_checkpoint && observer_.checkpoint_due(report)) {
    observer_.on_checkpoint(Serialize(state, fingerprint_));
  }
}

absl::StatusOr<RecoveryResult> CountSketchSolver::Run(std::string_view checkpoint) {
  CountSketchState state;
  state.sketch = sketch_.cells();
  state.reference_loss = std::max(zero_loss_, DrawnLoss());
  state.best_loss = state.progress_loss = zero_loss_;
  if (!checkpoint.empty()) {
    absl::StatusOr<CountSketchState> parsed =
        Parse(checkpoint, fingerprint_, num_candidates_, nonzeros_, state.sketch.size());
    if (!parsed.ok()) return parsed.status();
    state = *std::move(parsed);
  }
  const auto begin = std::chrono::steady_clock::now();
  const double earlier_seconds = state.elapsed_seconds;
  const auto elapsed = [&] {
    const auto now = std::chrono::steady_clock::now();
    return earlier_seconds + std::chrono::duration<double>(now - begin).count();
  };
  std::optional<TerminationReason> reason;
  while (true) {
    state.elapsed_seconds = elapsed();
    reason = CheckTermination(options_.termination,
                              {.iterations = state.iteration,
                               .best_relative_residual = RelativeResidual(state.best_loss),
                               .iterations_without_progress = state.iterations_without_progress,
                               .elapsed_seconds = state.elapsed_seconds,
                               .cancelled = engine_.stop_requested()});
    if (!reason && state.divergences >= kMaxDivergences) reason = TerminationReason::kStagnated;
    if (reason) break;
    CountSketchState next = state;
    double loss = 0;
    const EpochOutcome outcome = Epoch(next, loss);
    if (outcome == EpochOutcome::kStopped) continue;  // the epoch is incomplete: the state stays
    if (outcome == EpochOutcome::kDiverged) {
      // Back to the last good iterate and sketch. At half the step size a diverging iteration
      // comes to an end; without this it ends in values that are no number.
      state.step_scale /= 2;
      ++state.divergences;
      continue;
    }
    const int64_t entered = CountEntered(next.weights, state.weights);
    state = std::move(next);
    ++state.iteration;
    const bool first = state.best_weights.empty() && loss <= kDivergedLoss * zero_loss_;
    if (first || loss < state.best_loss) {
      state.best_loss = loss;
      if (first) state.progress_loss = loss;
      state.best_weights = state.weights;
    }
    ++state.iterations_without_progress;
    const double decrease = 1 - options_.termination.stagnation_decrease;
    if (state.best_loss <= decrease * decrease * state.progress_loss) {
      state.progress_loss = state.best_loss;
      state.iterations_without_progress = 0;
    }
    state.elapsed_seconds = elapsed();
    Report(state, loss, entered);
  }

  RecoveryResult result;
  result.termination_reason = *reason;
  result.checkpoint = Serialize(state, fingerprint_);
  SparseNetwork network = MakeNetwork(state.best_weights);
  const absl::StatusOr<FitQuality> fit =
      MeasureFitQuality(network, samples_, options_.loss, options_.num_threads);
  if (!fit.ok()) return fit.status();
  result.relative_residual = fit->relative_residual;
  result.psnr_db = fit->psnr_db;
  result.nonzeros = Nonzeros(network);
  result.active_neurons = ActiveNeurons(network);
  result.network = std::move(network);
  result.iterations = state.iteration;
  result.options_used = options_;
  result.options_used.step_size = step_size_;
  result.elapsed_seconds = elapsed();
  return result;
}

}  // namespace

double CountSketchStepSize(const RecoveryOptions& options) {
  if (options.loss == Loss::kCrossEntropy) return 1e-3;
  const double bound = 6 * std::pow(static_cast<double>(options.hidden_width), 0.536);
  return static_cast<double>(options.nonzeros) < bound ? 2 : 5e-3;
}

double CountSketchBytes(const RecoveryOptions& options, int64_t num_samples, int64_t num_inputs,
                        int64_t num_outputs) {
  const auto columns = static_cast<double>(num_inputs + (options.bias ? 1 : 0));
  const auto k = static_cast<double>(num_outputs);
  const int64_t candidates =
      (num_inputs + (options.bias ? 1 : 0) + num_outputs) * options.hidden_width;
  const int64_t nonzeros = std::min(options.nonzeros, candidates);
  const auto s = static_cast<double>(nonzeros);
  const auto cells = static_cast<double>(CountSketch::kRows * SketchWidth(nonzeros, candidates));
  // The sketch in the state, the next one, the solver and a checkpoint; residuals and targets of
  // a batch; a group's blocks and slopes; weights with their ranks and as units.
  return 5 * cells * sizeof(double) +
         static_cast<double>(num_samples) * k * (sizeof(double) + sizeof(float)) +
         static_cast<double>(kGroup) *
             (2 * (columns + k) * sizeof(double) + static_cast<double>(num_samples) / 8) +
         16 * s * sizeof(KeyedValue) + static_cast<double>(num_samples) / 8 * s;
}

absl::StatusOr<RecoveryResult> RecoverCountSketch(const Samples& samples,
                                                  const RecoveryOptions& options,
                                                  const RecoveryObserver& observer,
                                                  std::stop_token stop, std::string_view checkpoint,
                                                  uint64_t fingerprint) {
  CountSketchSolver solver(samples, options, observer, std::move(stop), fingerprint);
  return solver.Run(checkpoint);
}

}  // namespace thresher
