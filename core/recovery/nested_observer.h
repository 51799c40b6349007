// Reports and checkpoints of a solve within another, as those of the whole. Internal to recovery/.
#ifndef THRESHER_CORE_RECOVERY_NESTED_OBSERVER_H_
#define THRESHER_CORE_RECOVERY_NESTED_OBSERVER_H_

#include <string>
#include <utility>

#include "core/recovery/recovery.h"

namespace thresher {

// `on_whole` turns a report of the solve within into one of the whole, `state_with` its checkpoint
// into one of the whole. Observer: RecoveryObserver, or that of another kind of solve. The whole's
// observer and what the functions refer to outlive the result.
template <typename Observer, typename OnWhole, typename StateWith>
Observer NestedObserver(const RecoveryObserver& whole, OnWhole on_whole, StateWith state_with) {
  Observer inner;
  if (whole.on_iteration) {
    inner.on_iteration = [&whole, on_whole](const auto& report) {
      whole.on_iteration(on_whole(report));
    };
  }
  if (whole.checkpoint_due && whole.on_checkpoint) {
    inner.checkpoint_due = [&whole, on_whole](const auto& report) {
      return whole.checkpoint_due(on_whole(report));
    };
    inner.on_checkpoint = [&whole, state_with](std::string bytes) {
      whole.on_checkpoint(state_with(std::move(bytes)));
    };
  }
  return inner;
}

// The same for a stage that counts its own iterations and time: those before it are the state's.
// serialize: the bytes of a State, whose `checkpoint` is that of the stage.
template <typename State, typename Serialize>
RecoveryObserver StageObserver(const RecoveryObserver& whole, const State& state,
                               Serialize serialize) {
  return NestedObserver<RecoveryObserver>(
      whole,
      [&state](IterationReport report) {
        report.iteration += state.iterations;
        report.elapsed_seconds += state.elapsed_seconds;
        return report;
      },
      [&state, serialize](const std::string& bytes) {
        State now = state;
        now.checkpoint = bytes;
        return serialize(now);
      });
}

}  // namespace thresher

#endif  // THRESHER_CORE_RECOVERY_NESTED_OBSERVER_H_
