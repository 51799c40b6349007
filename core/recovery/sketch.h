// A count sketch: a long vector that only grows by additions, in little memory. Internal to
// recovery/.
#ifndef THRESHER_CORE_RECOVERY_SKETCH_H_
#define THRESHER_CORE_RECOVERY_SKETCH_H_

#include <cstdint>
#include <vector>

namespace thresher {

// Every index has one cell and one sign in each row. Source: Charikar, Chen and Farach-Colton,
// "Finding frequent items in data streams", Theor. Comput. Sci. 312 (2004).
class CountSketch {
 public:
  static constexpr int kRows = 4;

  // width: cells of a row, at least 1. Cells and signs follow from the seed, by the finaliser of
  // MurmurHash3 on 64 bits.
  CountSketch(int64_t width, uint64_t seed) : width_(width), seed_(seed), cells_(kRows * width) {}

  void Add(int64_t index, double value);
  // The median over the rows, the mean of the middle two, of sign * cell: the sum of what was
  // added at the index, exactly where at most one row has it in a cell with others.
  double Estimate(int64_t index) const;

  int64_t width() const { return width_; }
  // Row after row.
  const std::vector<double>& cells() const { return cells_; }
  std::vector<double>& cells() { return cells_; }

 private:
  struct Place {
    int64_t cell = 0;
    double sign = 1;
  };
  Place PlaceOf(int64_t index, int row) const;

  int64_t width_;
  uint64_t seed_;
  std::vector<double> cells_;
};

// The published width for a budget s of N candidate weights: floor(s max(1, ln(N / s))).
int64_t SketchWidth(int64_t nonzeros, int64_t num_candidates);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_SKETCH_H_
