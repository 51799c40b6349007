// What a kernel call runs with: the threads and the instruction set.
#ifndef THRESHER_CORE_KERNELS_ENGINE_H_
#define THRESHER_CORE_KERNELS_ENGINE_H_

#include "core/kernels/instruction_set.h"
#include "core/kernels/kernel_table.h"
#include "core/kernels/parallel.h"

namespace thresher {

// One a solve. Results do not depend on the number of threads. When the stop token fires,
// outputs are incomplete: check stop_requested() before using them.
struct Engine {
  explicit Engine(int num_threads, std::stop_token stop = {},
                  InstructionSet instruction_set = DetectInstructionSet())
      : pool(num_threads, std::move(stop)), kernels(Kernels(instruction_set)) {}

  bool stop_requested() const { return pool.stop_requested(); }

  ThreadPool pool;
  const KernelTable& kernels;
};

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_ENGINE_H_
