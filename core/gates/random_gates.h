// Gates from a counter-based generator: gate j is a function of (seed, j) and
// costs no memory. The entries are independent standard normals.
#ifndef THRESHER_CORE_GATES_RANDOM_GATES_H_
#define THRESHER_CORE_GATES_RANDOM_GATES_H_

#include <cstdint>
#include <span>

namespace thresher {

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011): a keyed bijection of 128-bit counters whose
// outputs pass as independent random bits. The whole state is (key, counter).
struct PhiloxBlock {
  uint32_t word[4];
};
PhiloxBlock Philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

// A stream of random numbers addressed by (seed, stream): equal arguments give
// equal numbers on every machine.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint64_t NextBits();           // 64 uniform bits
  double NextUniform();          // uniform on [0, 1), 53 bits
  double NextNormal();           // N(0, 1), Box and Muller, one pair a block
  uint64_t NextBelow(uint64_t bound);  // uniform on [0, bound), unbiased; bound >= 1

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  uint64_t pending_bits_ = 0;
  bool has_pending_bits_ = false;
  double pending_normal_ = 0;
  bool has_pending_normal_ = false;
};

// Writes gate `index` of `seed` into `gate` (length num_inputs, any).
// Cost: O(num_inputs), about 5 ns an entry.
void RandomGate(uint64_t seed, int64_t index, std::span<float> gate);

}  // namespace thresher

#endif  // THRESHER_CORE_GATES_RANDOM_GATES_H_
