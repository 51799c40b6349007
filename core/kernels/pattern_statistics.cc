#include "core/kernels/pattern_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace thresher {
namespace {

// A pair that already differs more than the closest one so far is given up after so many words.
constexpr int64_t kWordsBetweenChecks = 16;

int64_t DifferingSamples(const uint64_t* a, const uint64_t* b, int64_t num_words, int64_t limit) {
  int64_t differing = 0;
  for (int64_t first = 0; first < num_words && differing < limit; first += kWordsBetweenChecks) {
    const int64_t last = std::min(first + kWordsBetweenChecks, num_words);
    for (int64_t w = first; w < last; ++w) differing += std::popcount(a[w] ^ b[w]);
  }
  return differing;
}

}  // namespace

PatternStatistics MeasurePatterns(Engine& engine, const GateMasks& masks, int64_t num_samples,
                                  int64_t max_words) {
  PatternStatistics statistics;
  const auto n = static_cast<double>(num_samples);
  std::vector<int64_t> open(masks.num_gates, 0);
  for (int64_t w = 0; w < masks.num_words && !engine.stop_requested(); ++w) {
    const uint64_t* words = masks.row(w);
    for (int64_t j = 0; j < masks.num_gates; ++j) open[j] += std::popcount(words[j]);
  }
  statistics.smallest_active_fraction =
      static_cast<double>(*std::min_element(open.begin(), open.end())) / n;

  const double pairs = static_cast<double>(max_words) / static_cast<double>(masks.num_words);
  const int64_t count =
      std::min(masks.num_gates, std::max<int64_t>(2, std::llround(std::sqrt(2 * pairs))));
  statistics.compared_gates = count;
  if (count < 2) return statistics;
  // Gate-major, so that a pair is two runs of words.
  std::vector<uint64_t> patterns(count * masks.num_words);
  for (int64_t w = 0; w < masks.num_words; ++w) {
    for (int64_t j = 0; j < count; ++j) patterns[j * masks.num_words + w] = masks.word(w, j);
  }
  std::vector<int64_t> closest(count, num_samples);
  engine.pool.ParallelFor(count - 1, [&](int64_t a, int) {
    for (int64_t b = a + 1; b < count && !engine.stop_requested(); ++b) {
      closest[a] = std::min(closest[a], DifferingSamples(patterns.data() + a * masks.num_words,
                                                         patterns.data() + b * masks.num_words,
                                                         masks.num_words, closest[a]));
    }
  });
  statistics.smallest_difference =
      static_cast<double>(*std::min_element(closest.begin(), closest.end())) / n;
  return statistics;
}

}  // namespace thresher
