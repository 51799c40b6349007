#include "core/kernels/kernel_table.h"

namespace thresher {

extern const KernelTable kBaselineKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;

const KernelTable& Kernels(InstructionSet instruction_set) {
  switch (instruction_set) {
    case InstructionSet::kAvx512:
      return kAvx512Kernels;
    case InstructionSet::kAvx2:
      return kAvx2Kernels;
    case InstructionSet::kBaseline:
      break;
  }
  return kBaselineKernels;
}

}  // namespace thresher
