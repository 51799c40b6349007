// The observer of a solve whose networks are measured as they come: see early_stopping.h. Internal
// to core.
#ifndef THRESHER_CORE_ITERATION_WATCHED_OBSERVER_H_
#define THRESHER_CORE_ITERATION_WATCHED_OBSERVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/iteration/early_stopping.h"

namespace thresher {

// Every network that the solve tells of is given to `early` and its fit, as the report's
// `validation`, to `whole`; that of the best is left in `best_fit`. measure: the network's fit or
// an error; loss_of: the loss of a fit. Observer: RecoveryObserver or PruneObserver, of solves
// whose networks are `Solved`. What is referred to outlives the result.
template <typename Solved, typename Observer, typename Fit, typename Measure, typename LossOf>
Observer WatchedObserver(const Observer& whole, uint64_t fingerprint, Measure measure,
                         LossOf loss_of, EarlyStopping& early, std::optional<Fit>& best_fit) {
  Observer watched;
  auto network = std::make_shared<std::optional<Solved>>();  // since the last report
  watched.on_network = [network](const Solved& present) { *network = present; };
  watched.on_iteration = [&, network, measure, loss_of](auto report) {
    if (network->has_value()) {
      const auto fit = measure(**network);
      if (fit.ok()) {
        report.validation = *fit;
        if (early.Consider(std::move(**network), loss_of(*fit), report.iteration)) best_fit = *fit;
      } else {
        early.Fail(fit.status());
      }
      network->reset();
    }
    if (whole.on_iteration) whole.on_iteration(report);
  };
  if (whole.checkpoint_due && whole.on_checkpoint) {
    watched.checkpoint_due = whole.checkpoint_due;
    watched.on_checkpoint = [&, fingerprint](const std::string& bytes) {
      whole.on_checkpoint(early.Serialize(fingerprint, bytes));
    };
  }
  return watched;
}

}  // namespace thresher

#endif  // THRESHER_CORE_ITERATION_WATCHED_OBSERVER_H_
