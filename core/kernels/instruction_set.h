// Which instruction set the kernels run on, chosen at run time.
#ifndef THRESHER_CORE_KERNELS_INSTRUCTION_SET_H_
#define THRESHER_CORE_KERNELS_INSTRUCTION_SET_H_

#include <string_view>
#include <vector>

namespace thresher {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// "baseline", "avx2" or "avx512".
std::string_view InstructionSetName(InstructionSet instruction_set);

// The best set that this processor has. AVX2 implies FMA; AVX-512 means F, BW, DQ and VL.
InstructionSet DetectInstructionSet();

// All sets that this processor has, the baseline first.
std::vector<InstructionSet> AvailableInstructionSets();

}  // namespace thresher

#endif  // THRESHER_CORE_KERNELS_INSTRUCTION_SET_H_
