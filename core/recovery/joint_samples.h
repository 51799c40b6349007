// Samples of any number of outputs as joint refinement wants them: columns of mean square about 1.
// Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_JOINT_SAMPLES_H_
#define THRESHER_CORE_RECOVERY_JOINT_SAMPLES_H_

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/network/network.h"
#include "core/recovery/scaled_samples.h"
#include "core/refinement/joint_problem.h"
#include "core/samples/samples.h"

namespace thresher {

struct JointSamples {
  ScaledSamples scaled;  // without targets
  std::vector<double> targets;
  int64_t num_outputs = 0;
  double target_norm2 = 0;  // over all outputs
  double max_target = 0;

  JointProblem problem(Engine& engine, std::chrono::steady_clock::time_point deadline =
                                           std::chrono::steady_clock::time_point::max()) const {
    return {engine, scaled.design, targets, num_outputs, deadline};
  }
  double RelativeResidual(double loss) const;
  double PsnrDb(double loss) const;
};

// Expects valid samples. Cost: O(n (d + k)).
JointSamples MakeJointSamples(const Samples& samples, bool bias);

// A network of the samples' units in those of the scaled columns, and back.
SparseNetwork ToScaled(const JointSamples& samples, SparseNetwork network);
SparseNetwork FromScaled(const JointSamples& samples, SparseNetwork network);

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_JOINT_SAMPLES_H_
