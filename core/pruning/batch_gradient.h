// Loss and gradient of a perceptron on a batch of samples, on several threads.
#ifndef THRESHER_CORE_PRUNING_BATCH_GRADIENT_H_
#define THRESHER_CORE_PRUNING_BATCH_GRADIENT_H_

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "core/kernels/design.h"
#include "core/kernels/engine.h"
#include "core/pruning/loss.h"
#include "core/pruning/perceptron.h"
#include "core/samples/samples.h"

namespace thresher {

// How a batch is cut: by its size alone, so that sums have the same bits for any number of threads.
struct BatchChunks {
  int64_t chunk_samples = 0;  // a multiple of 64
  int64_t panel_samples = 0;  // at a time within a chunk, likewise
  int64_t num_chunks = 0;
};
BatchChunks MakeBatchChunks(int64_t batch_size);

// Chunks of a batch of at most this size: a smaller one may be cut into more than a larger one.
int64_t MostChunks(int64_t batch_size);

// What a pass over a batch gave.
enum class BatchOutcome {
  kDone,
  kStopped,    // a stop was requested: nothing was computed
  kNotFinite,  // the loss or a derivative is no finite number, or beyond 1e18
};

// The workspace of one training. Each chunk's gradient is summed in float, the chunks' in double
// and in order.
class BatchGradient {
 public:
  // `samples` and `engine` must outlive this; the engine must not have a stop token of its own.
  // Batches have at most `batch_size` samples.
  BatchGradient(Engine& engine, const Samples& samples, Loss loss, const Perceptron& perceptron,
                int64_t batch_size, std::stop_token stop);

  // The mean loss's derivatives by the remaining weights over the samples `rows`, left in
  // gradient(), and the sums of the fit, left in sums(). Looks at the stop token between panels of
  // samples. Cost: 2 |rows| multiply-adds a weight, 3 in layers behind the first.
  BatchOutcome Compute(const Perceptron& perceptron, std::span<const int64_t> rows);

  // One entry a weight of layers[layer], in its order.
  std::span<const float> gradient(size_t layer) const { return gradients_[layer]; }
  const FitSums& sums() const { return sums_; }

 private:
  // A thread's units on one panel of samples, a unit's values next to each other.
  struct Panels {
    std::vector<AlignedFloats> units;  // inputs, hidden layers and the constants; then the outputs
    AlignedFloats deltas[2];
    std::vector<double> outputs;  // of one sample
    std::vector<double> output_gradient;
  };

  void ComputePanel(const Perceptron& perceptron, std::span<const int64_t> rows, int64_t batch_size,
                    Panels& panels, std::vector<std::vector<float>>& gradients, FitSums& sums);
  void GatherInputs(const PerceptronLayer& layer, std::span<const int64_t> rows, float* panel);
  void SumChunks(const Perceptron& perceptron, int64_t num_chunks);

  Engine& engine_;
  const Samples& samples_;
  const Loss loss_;
  const std::stop_token stop_;
  const int64_t panel_samples_;
  std::vector<Panels> panels_;                                    // one a thread
  std::vector<std::vector<std::vector<float>>> chunk_gradients_;  // chunk, layer, weight
  std::vector<FitSums> chunk_sums_;
  std::vector<std::vector<float>> dense_weights_;  // of dense products
  std::vector<std::vector<float>> gradients_;
  std::vector<float> zeros_;
  FitSums sums_;
  bool finite_ = true;
};

// Bytes that a BatchGradient allocates for a perceptron of these sizes.
int64_t BatchGradientBytes(int64_t num_inputs, std::span<const int64_t> hidden_widths,
                           int64_t num_outputs, bool bias, int64_t batch_size, int num_threads);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_BATCH_GRADIENT_H_
