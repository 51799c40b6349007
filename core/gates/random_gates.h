// Gates from a counter-based generator: gate j is a function of (seed, j) and
// costs no memory. The entries are independent standard normals.
//
// Everything here is computed in integers, with one rounding where a result becomes
// floating point. So equal arguments give equal bits on every machine, compiler and
// set of compiler flags; the mathematical library, whose results differ in the last
// bit between releases and instruction sets, is not used.
#ifndef THRESHER_CORE_GATES_RANDOM_GATES_H_
#define THRESHER_CORE_GATES_RANDOM_GATES_H_

#include <cstdint>
#include <span>

namespace thresher {

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011): a keyed bijection of 128-bit counters whose
// outputs pass as independent random bits. The whole state is (key, counter).
// word[0] belongs to the lowest 32 bits of the counter.
struct PhiloxBlock {
  uint32_t word[4];
};
PhiloxBlock Philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

// The standard normal whose distribution function takes the value that `bits`
// stands for: the highest bit is the sign, the others are the tail probability in
// units of 2^-64, so that uniform bits give N(0, 1) on [-9.2, 9.2]. Piecewise cubic
// interpolation of the inverse distribution function, within 3e-8 of it for tail
// probabilities above 2^-40; exactly odd: flipping the highest bit flips the sign.
double NormalFromBits(uint64_t bits);

// A stream of random numbers addressed by (seed, stream): equal arguments give
// equal numbers on every machine. Streams share no block with each other or with
// the gates of the same seed. Not thread-safe: give each thread its own stream.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint64_t NextBits();                 // 64 uniform bits
  double NextUniform();                // uniform on [0, 1), 53 bits
  double NextNormal();                 // NormalFromBits(NextBits())
  uint64_t NextBelow(uint64_t bound);  // uniform on [0, bound), unbiased; bound >= 1

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  uint64_t pending_bits_ = 0;
  bool has_pending_bits_ = false;
};

// Writes gate `index` of `seed` into `gate` (length num_inputs, any). Entry q is a
// function of (seed, index, q) alone, so a shorter gate is a prefix of a longer one.
// Entries lie in [-6.5, 6.5] and are never 0.
// Cost: O(num_inputs); 5 to 7 ns an entry on one quiet core of a Zen 5 server.
void RandomGate(uint64_t seed, int64_t index, std::span<float> gate);

}  // namespace thresher

#endif  // THRESHER_CORE_GATES_RANDOM_GATES_H_
