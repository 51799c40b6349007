#include "core/pruning/selection.h"

#include <algorithm>
#include <numeric>

namespace thresher {
namespace {

struct Scored {
  double score;
  int64_t index;  // over all layers
};

bool Above(const Scored& a, const Scored& b) {
  return a.score != b.score ? a.score > b.score : a.index < b.index;
}

// Clears all but the `count` largest of the scores that are above 0.
void KeepLargest(const std::vector<LayerMatrix*>& layers, int64_t count) {
  std::vector<Scored> scored;
  int64_t index = 0;
  for (const LayerMatrix* layer : layers) {
    for (int64_t e = 0; e < layer->size(); ++e, ++index) {
      if (layer->data()[e] > 0) scored.push_back({layer->data()[e], index});
    }
  }
  if (static_cast<int64_t>(scored.size()) <= count) return;
  std::nth_element(scored.begin(), scored.begin() + count, scored.end(), Above);
  // What goes, in order.
  std::vector<int64_t> dropped;
  for (auto at = scored.begin() + count; at != scored.end(); ++at) dropped.push_back(at->index);
  std::sort(dropped.begin(), dropped.end());
  auto next = dropped.begin();
  index = 0;
  for (LayerMatrix* layer : layers) {
    for (; next != dropped.end() && *next < index + layer->size(); ++next) {
      layer->data()[*next - index] = 0;
    }
    index += layer->size();
  }
}

void ApplyPattern(LayerMatrix& scores, const OneShotOptions& options, bool bias) {
  if (options.pattern_size == 0) return;
  const int64_t width = scores.cols() - (bias ? 1 : 0);
  std::vector<Scored> group;
  for (int64_t r = 0; r < scores.rows(); ++r) {
    for (int64_t first = 0; first < width; first += options.pattern_size) {
      group.clear();
      for (int64_t q = first; q < std::min(first + options.pattern_size, width); ++q) {
        group.push_back({scores(r, q), q});
      }
      if (static_cast<int64_t>(group.size()) <= options.pattern_kept) continue;
      std::sort(group.begin(), group.end(), Above);
      for (size_t k = options.pattern_kept; k < group.size(); ++k) scores(r, group[k].index) = 0;
    }
  }
}

int64_t CountPositive(const std::vector<LayerMatrix>& layers) {
  int64_t count = 0;
  for (const LayerMatrix& layer : layers) count += (layer.array() > 0).count();
  return count;
}

// Hidden units go, the least first by the mean score of the weights into them, until no more than
// `count` weights are left.
void DropUnits(std::vector<LayerMatrix>& scores, int64_t count) {
  struct Unit {
    double score;
    size_t layer;
    int64_t row;
  };
  std::vector<Unit> units;
  std::vector<int64_t> left(scores.size());
  for (size_t l = 0; l + 1 < scores.size(); ++l) {
    for (int64_t r = 0; r < scores[l].rows(); ++r) {
      const auto weights = static_cast<double>((scores[l].row(r).array() > 0).count());
      units.push_back({scores[l].row(r).sum() / std::max(weights, 1.0), l, r});
    }
    left[l] = scores[l].rows();
  }
  std::stable_sort(units.begin(), units.end(),
                   [](const Unit& a, const Unit& b) { return a.score < b.score; });
  int64_t remaining = CountPositive(scores);
  for (const Unit& unit : units) {
    if (remaining <= count) return;
    // Without a unit a layer passes nothing on.
    if (left[unit.layer] == 1) continue;
    --left[unit.layer];
    auto in = scores[unit.layer].row(unit.row);
    auto out = scores[unit.layer + 1].col(unit.row);
    remaining -= (in.array() > 0).count() + (out.array() > 0).count();
    in.setZero();
    out.setZero();
  }
}

}  // namespace

std::vector<int64_t> ProportionalShares(const std::vector<int64_t>& sizes, int64_t total) {
  const auto sum = static_cast<double>(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
  std::vector<int64_t> shares(sizes.size());
  std::vector<Scored> remainders;
  int64_t given = 0;
  for (size_t l = 0; l < sizes.size(); ++l) {
    const double share = static_cast<double>(total) * static_cast<double>(sizes[l]) / sum;
    shares[l] = std::min(static_cast<int64_t>(share), sizes[l]);
    given += shares[l];
    remainders.push_back({share - static_cast<double>(shares[l]), static_cast<int64_t>(l)});
  }
  std::sort(remainders.begin(), remainders.end(), Above);
  for (const Scored& layer : remainders) {
    if (given < total && shares[layer.index] < sizes[layer.index]) {
      ++shares[layer.index];
      ++given;
    }
  }
  return shares;
}

LayerMatrix IntoUnitsRead(LayerMatrix layer, const LayerMatrix& above) {
  for (int64_t r = 0; r < layer.rows(); ++r) {
    if ((above.col(r).array() == 0).all()) layer.row(r).setZero();
  }
  return layer;
}

std::vector<LayerMatrix> Select(const std::vector<LayerMatrix>& scores,
                                const OneShotOptions& options, bool bias) {
  std::vector<LayerMatrix> kept = scores;
  if (options.whole_neurons) {
    DropUnits(kept, options.nonzeros);
  } else {
    for (LayerMatrix& layer : kept) ApplyPattern(layer, options, bias);
    std::vector<LayerMatrix*> all;
    all.reserve(kept.size());
    for (LayerMatrix& layer : kept) all.push_back(&layer);
    if (options.scope == PruneScope::kGlobal) {
      KeepLargest(all, options.nonzeros);
    } else {
      std::vector<int64_t> sizes;
      sizes.reserve(scores.size());
      for (const LayerMatrix& layer : scores) sizes.push_back((layer.array() > 0).count());
      const std::vector<int64_t> shares = ProportionalShares(sizes, options.nonzeros);
      // From the outputs down: a small share of the layer above reads few units, and what leads
      // into others would be lost.
      for (size_t l = kept.size(); l-- > 0;) {
        if (l + 1 < kept.size()) kept[l] = IntoUnitsRead(kept[l], kept[l + 1]);
        KeepLargest({all[l]}, shares[l]);
      }
    }
  }
  for (LayerMatrix& layer : kept) layer = (layer.array() > 0).cast<double>();
  return kept;
}

LayerMatrix SelectInLayer(const LayerMatrix& scores, int64_t count, const OneShotOptions& options,
                          bool bias) {
  LayerMatrix kept = scores;
  ApplyPattern(kept, options, bias);
  KeepLargest({&kept}, count);
  return (kept.array() > 0).cast<double>();
}

}  // namespace thresher
