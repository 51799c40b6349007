#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/pruning/selection.h"
#include "core/pruning/surgeon.h"

namespace thresher {
namespace {

constexpr int kThresholdings = 3;    // a stage
constexpr int kProductsAStage = 10;  // of conjugate gradients
constexpr int kHalvings = 6;
constexpr double kForcing = 1e-4;

using Layers = std::vector<LayerMatrix>;

double Dot(const Layers& a, const Layers& b) {
  double sum = 0;
  for (size_t l = 0; l < a.size(); ++l) sum += a[l].cwiseProduct(b[l]).sum();
  return sum;
}
void AddScaled(double scale, const Layers& a, Layers& b) {
  for (size_t l = 0; l < a.size(); ++l) b[l] += scale * a[l];
}
void MaskWith(const Layers& mask, Layers& a) {
  for (size_t l = 0; l < a.size(); ++l) a[l] = a[l].cwiseProduct(mask[l]);
}
Layers Quotient(const Layers& a, const Layers& b) {
  Layers quotient;
  for (size_t l = 0; l < a.size(); ++l) quotient.push_back(a[l].cwiseQuotient(b[l]));
  return quotient;
}

// gradient . d + d^T curvature d / 2 at a network, the curvature A^T A / n + ridge for the samples'
// gradients A, which are never listed: a sample's is deltas_i units_i^T in every layer.
class QuadraticModel {
 public:
  QuadraticModel(Engine& engine, const LayerMatrices& network, const UnitMatrix& inputs,
                 const UnitMatrix& target_outputs, const OneShotOptions& options, uint64_t seed)
      : engine_(engine), units_(AllUnits(engine, network, inputs)) {
    const auto n = static_cast<double>(inputs.rows());
    const UnitMatrix& outputs = units_.back();
    gradient_ = LayerProducts(
        AllDeltas(engine, network, units_, LossDerivatives(options.loss, outputs, target_outputs)));
    deltas_ = AllDeltas(engine, network, units_, SampledCotangents(options.loss, outputs, seed));
    double sum = 0;
    double size = 0;
    for (size_t l = 0; l < deltas_.size(); ++l) {
      diagonal_.push_back(SampleProducts(engine, deltas_[l].cwiseAbs2(), units_[l].cwiseAbs2()) /
                          n);
      sum += diagonal_.back().sum();
      size += static_cast<double>(diagonal_.back().size());
    }
    ridge_ = sum > 0 ? options.damping * sum / size : 1;
    for (LayerMatrix& layer : diagonal_) layer.array() += ridge_;
  }

  const Layers& gradient() const { return gradient_; }
  const Layers& diagonal() const { return diagonal_; }

  Layers Product(const Layers& direction) const {
    // a_i . direction, a sum over layers of deltas_i^T D units_i.
    UnitMatrix images = UnitMatrix::Zero(units_.front().rows(), 1);
    for (size_t l = 0; l < direction.size(); ++l) {
      images +=
          LayerImages(engine_, units_[l], direction[l]).cwiseProduct(deltas_[l]).rowwise().sum();
    }
    std::vector<UnitMatrix> weighted;
    for (const UnitMatrix& deltas : deltas_)
      weighted.push_back(images.col(0).asDiagonal() * deltas);
    Layers product = LayerProducts(weighted);
    AddScaled(ridge_, direction, product);
    return product;
  }

 private:
  // The derivatives by the outputs of the loss of keeping what the given network answered.
  static UnitMatrix LossDerivatives(Loss loss, const UnitMatrix& outputs,
                                    const UnitMatrix& target_outputs) {
    if (loss == Loss::kSquared) return outputs - target_outputs;
    return OutputMeans(loss, outputs) - OutputMeans(loss, target_outputs);
  }
  Layers LayerProducts(const std::vector<UnitMatrix>& deltas) const {
    Layers products;
    for (size_t l = 0; l < deltas.size(); ++l) {
      products.push_back(SampleProducts(engine_, deltas[l], units_[l]) /
                         static_cast<double>(units_.front().rows()));
    }
    return products;
  }

  Engine& engine_;
  std::vector<UnitMatrix> units_;
  std::vector<UnitMatrix> deltas_;
  Layers gradient_;
  Layers diagonal_;
  double ridge_ = 0;
};

// The mean loss of keeping what the given network answered.
double LossAt(Engine& engine, const LayerMatrices& network, const UnitMatrix& inputs,
              const UnitMatrix& target_outputs, Loss loss) {
  const UnitMatrix outputs = AllUnits(engine, network, inputs).back();
  const UnitMatrix targets = OutputMeans(loss, target_outputs);
  std::vector<double> values(outputs.cols());
  std::vector<double> gradient(outputs.cols());
  double sum = 0;
  for (int64_t i = 0; i < outputs.rows(); ++i) {
    for (int64_t c = 0; c < outputs.cols(); ++c) values[c] = outputs(i, c);
    sum += SampleLoss(loss, values, {targets.row(i).data(), values.size()}, gradient);
  }
  return sum / static_cast<double>(outputs.rows());
}

// Moves the kept weights to the model's least value by conjugate gradients, scaled by the diagonal.
void SolveOnKept(Engine& engine, const QuadraticModel& model, const Layers& kept, Layers residual,
                 Layers& weights) {
  MaskWith(kept, residual);
  Layers direction = Quotient(residual, model.diagonal());
  double product = Dot(residual, direction);
  const double target = kForcing * product;
  for (int k = 0; k < kProductsAStage && product > target; ++k) {
    if (engine.stop_requested()) return;
    Layers image = model.Product(direction);
    MaskWith(kept, image);
    const double curvature = Dot(direction, image);
    if (!(curvature > 0)) return;
    const double alpha = product / curvature;
    AddScaled(alpha, direction, weights);
    AddScaled(-alpha, image, residual);
    Layers scaled = Quotient(residual, model.diagonal());
    const double next = Dot(residual, scaled);
    AddScaled(next / product, direction, scaled);
    direction = std::move(scaled);
    product = next;
  }
}

}  // namespace

LayerMatrices PruneByCurvature(Engine& engine, const LayerMatrices& network,
                               const UnitMatrix& inputs, const OneShotOptions& options) {
  const UnitMatrix target_outputs = AllUnits(engine, network, inputs).back();
  Layers allowed;
  for (const LayerMatrix& layer : network.layers) {
    allowed.push_back((layer.array() != 0).cast<double>());
  }
  const auto most = static_cast<double>(network.nonzeros());
  const double share = static_cast<double>(options.nonzeros) / most;
  LayerMatrices pruned = network;
  for (int64_t stage = 1; stage <= options.stages; ++stage) {
    OneShotOptions of_stage = options;
    // The same share of what is left goes in every stage.
    const double done = static_cast<double>(stage) / static_cast<double>(options.stages);
    of_stage.nonzeros = stage == options.stages
                            ? options.nonzeros
                            : static_cast<int64_t>(std::ceil(most * std::pow(share, done)));
    const QuadraticModel model(engine, pruned, inputs, target_outputs, options,
                               options.seed + static_cast<uint64_t>(stage));
    if (engine.stop_requested()) return network;
    const Layers begin = pruned.layers;
    Layers weights = begin;
    Layers slope = model.gradient();  // of the model at the weights
    Layers kept;
    double step = 0;
    for (int k = 0; k < kThresholdings; ++k) {
      if (k > 0) {
        // A step down, its length that of the kept weights alone (normalised thresholding).
        Layers direction = slope;
        MaskWith(allowed, direction);
        direction = Quotient(direction, model.diagonal());
        Layers on_kept = direction;
        MaskWith(kept, on_kept);
        const double curvature = Dot(on_kept, model.Product(on_kept));
        const double fall = Dot(on_kept, slope);
        step = curvature > 0 ? std::min(fall / curvature, 1.0) : 0.0;
        if (step <= 0) break;
        AddScaled(-step, direction, weights);
      }
      Layers scores;
      for (size_t l = 0; l < weights.size(); ++l) {
        scores.push_back(
            weights[l].cwiseAbs2().cwiseProduct(model.diagonal()[l]).cwiseProduct(allowed[l]));
      }
      Layers before = std::move(kept);
      kept = Select(scores, of_stage, network.has_bias);
      MaskWith(kept, weights);
      Layers moved = weights;
      AddScaled(-1, begin, moved);
      slope = model.Product(moved);
      AddScaled(1, model.gradient(), slope);
      if (engine.stop_requested()) return network;
      if (before == kept) break;
    }
    Layers residual = slope;
    for (LayerMatrix& layer : residual) layer = -layer;
    SolveOnKept(engine, model, kept, std::move(residual), weights);
    // The model ends somewhere: no further than the loss itself falls.
    Layers masked = begin;
    MaskWith(kept, masked);
    pruned.layers = masked;
    double least = LossAt(engine, pruned, inputs, target_outputs, options.loss);
    double scale = 1;
    for (int halving = 0; halving < kHalvings; ++halving, scale /= 2) {
      LayerMatrices moved = network;
      moved.layers = masked;
      for (size_t l = 0; l < weights.size(); ++l) {
        moved.layers[l] += scale * (weights[l] - masked[l]);
      }
      const double loss = LossAt(engine, moved, inputs, target_outputs, options.loss);
      if (!(loss < least)) continue;
      least = loss;
      pruned = std::move(moved);
      break;
    }
  }
  return pruned;
}

}  // namespace thresher
