// Activation patterns as packed bits.
#ifndef THRESHER_CORE_GATES_GATE_MASKS_H_
#define THRESHER_CORE_GATES_GATE_MASKS_H_

#include <cstdint>
#include <vector>

namespace thresher {

// Bit i of word(w, j) says whether gate j is open for sample 64 w + i. Word-major, so that
// one pass over 64 samples reads the words of all gates in order. Bits behind the last
// sample are 0.
struct GateMasks {
  int64_t num_words = 0;  // ceil(n / 64)
  int64_t num_gates = 0;
  std::vector<uint64_t> words;  // num_words x num_gates

  uint64_t word(int64_t w, int64_t gate) const { return words[w * num_gates + gate]; }
  uint64_t* row(int64_t w) { return words.data() + w * num_gates; }
  const uint64_t* row(int64_t w) const { return words.data() + w * num_gates; }
};

}  // namespace thresher

#endif  // THRESHER_CORE_GATES_GATE_MASKS_H_
