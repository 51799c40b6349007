#include "core/recovery/two_sparse.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/kernels/support_products.h"
#include "core/recovery/gated_problem.h"

namespace thresher {

std::vector<HalfPlane> BestDisjointHalfPlanes(Engine& engine, const Design& design,
                                              const AngleOrders& orders,
                                              std::span<const double> target, SweepFit fit,
                                              int64_t count) {
  // A chosen pair rules out at most 2 d - 3 others: these many hold the choice.
  const int64_t candidates =
      std::min(count, design.num_columns / 2) * std::max<int64_t>(1, 2 * design.num_columns - 3);
  std::vector<HalfPlane> planes =
      BestHalfPlanes(engine, design, orders, target, fit,
                     std::min(candidates, NumColumnPairs(design.num_columns)));
  std::vector<bool> taken(design.num_columns, false);
  std::vector<HalfPlane> kept;
  for (const HalfPlane& plane : planes) {
    if (static_cast<int64_t>(kept.size()) == count) break;
    if (taken[plane.column[0]] || taken[plane.column[1]]) continue;
    taken[plane.column[0]] = true;
    taken[plane.column[1]] = true;
    kept.push_back(plane);
  }
  return kept;
}

GateMasks AlwaysOpen(const Design& design) {
  GateMasks open{design.num_words, 1, std::vector<uint64_t>(design.num_words, ~uint64_t{0})};
  const int64_t last_bits = design.num_samples % kSamplesPerWord;
  if (last_bits != 0) open.words.back() = (uint64_t{1} << last_bits) - 1;
  return open;
}

std::vector<double> AffineResidual(Engine& engine, const Design& design,
                                   std::span<const double> target) {
  constexpr double kTolerance = 1e-6;
  constexpr int kMaxProducts = 200;
  const GateMasks open = AlwaysOpen(design);
  SparseRows row;
  row.column.resize(design.num_columns);
  std::iota(row.column.begin(), row.column.end(), 0);
  row.value.resize(design.num_columns);
  row.row_begin.push_back(design.num_columns);

  // The direction of conjugate gradients: row.value and, for the constant, `constant`.
  const int64_t n = design.num_samples;
  std::vector<double> residual(target.begin(), target.end());
  std::fill(residual.begin() + n, residual.end(), 0.0);
  std::vector<double> image(residual.size());
  std::vector<double> normal(design.num_columns);
  double normal_constant = 0;
  const auto normal_of_residual = [&] {
    SupportAdjoint(engine, design, open, row, residual, normal);
    normal_constant = std::accumulate(residual.begin(), residual.end(), 0.0);
    return SquaredNorm(normal) + normal_constant * normal_constant;
  };
  double normal2 = normal_of_residual();
  const double end = kTolerance * kTolerance * normal2;
  row.value = normal;
  double constant = normal_constant;
  for (int k = 0; k < kMaxProducts && normal2 > end; ++k) {
    if (engine.stop_requested()) break;
    SupportForward(engine, design, open, row, image);
    for (int64_t i = 0; i < n; ++i) image[i] += constant;
    const double curvature = SquaredNorm(image);
    if (!(curvature > 0)) break;
    const double step = normal2 / curvature;
    for (int64_t i = 0; i < n; ++i) residual[i] -= step * image[i];
    const double next = normal_of_residual();
    for (size_t e = 0; e < normal.size(); ++e) {
      row.value[e] = normal[e] + next / normal2 * row.value[e];
    }
    constant = normal_constant + next / normal2 * constant;
    normal2 = next;
  }
  return residual;
}

SparseNetwork BestTwoSparseNeurons(const ReluProblem& problem, const AngleOrders& orders,
                                   std::span<const double> residual, OutputSigns signs,
                                   int64_t count, NeuronMeasure measure) {
  const Design& design = problem.design;
  SparseNetwork network;
  network.num_inputs = problem.num_inputs;
  network.has_bias = problem.has_bias;
  std::vector<double> target(residual.begin(), residual.end());
  for (double& value : target) value = -value;
  const bool only_adding = signs == OutputSigns::kPositive;
  const std::vector<HalfPlane> planes =
      measure == NeuronMeasure::kBesideAffine
          ? BestDisjointHalfPlanes(problem.engine, design, orders,
                                   AffineResidual(problem.engine, design, target),
                                   only_adding ? SweepFit::kKinkAdded : SweepFit::kKink, count)
          : BestDisjointHalfPlanes(problem.engine, design, orders, target,
                                   only_adding ? SweepFit::kReluAdded : SweepFit::kRelu, count);
  for (const HalfPlane& plane : planes) {
    // The neuron is change (x . h)_+.
    const auto [ha, hb] = plane.gate;
    const double change = plane.weights[0] * ha + plane.weights[1] * hb;
    // || t - c (x . h)_+ ||^2 on either side of the line, without what they share.
    const float* xa = design.columns.get() + plane.column[0] * design.padded_samples();
    const float* xb = design.columns.get() + plane.column[1] * design.padded_samples();
    double open_loss = 0;
    double closed_loss = 0;
    for (int64_t i = 0; i < design.num_samples; ++i) {
      const double output = change * (ha * xa[i] + hb * xb[i]);
      const bool open = output * change > 0;
      const double added = open ? output : -output;
      (open ? open_loss : closed_loss) += added * (added - 2 * target[i]);
    }
    const bool mirrored = measure == NeuronMeasure::kBesideAffine && closed_loss < open_loss;
    const double side = mirrored ? -1 : 1;
    for (const int end : {0, 1}) {
      const double weight = side * std::abs(change) * plane.gate[end];
      if (weight == 0) continue;
      network.weights.column.push_back(plane.column[end]);
      network.weights.value.push_back(weight);
    }
    network.weights.row_begin.push_back(network.weights.nonzeros());
    network.output_signs.push_back(static_cast<int8_t>(change < 0 ? -1 : 1));
  }
  return network;
}

}  // namespace thresher
