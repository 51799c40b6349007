// Which of the networks that a solve passes through is best for samples that it does not learn
// from, and the end of the solve when none better comes.
#ifndef THRESHER_CORE_ITERATION_EARLY_STOPPING_H_
#define THRESHER_CORE_ITERATION_EARLY_STOPPING_H_

#include <cstdint>
#include <limits>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/network/network.h"

namespace thresher {

class EarlyStopping {
 public:
  // The solve ends after `patience` networks in a row that are no better; 0: never. `stop`: a
  // request to stop the whole, which is passed on.
  EarlyStopping(int64_t patience, std::stop_token stop);

  // A network that could be the result, after `iteration`; its loss, NaN being the largest. True
  // where it is the best so far, of equals the first.
  bool Consider(Network network, double loss, int64_t iteration);
  // A network could not be measured: the solve ends. The first of several counts.
  void Fail(const absl::Status& failure);

  // For the solve: requested when patience is over, at a failure, or when the whole is to stop.
  std::stop_token token() const { return source_.get_token(); }
  bool patience_is_over() const { return patience_ > 0 && since_best_ >= patience_; }
  const absl::Status& failure() const { return failure_; }
  bool has_best() const { return best_iteration_ > 0; }
  // Only where there is one.
  const Network& best() const { return best_; }
  double best_loss() const { return best_loss_; }
  int64_t best_iteration() const { return best_iteration_; }  // 0: there is none

  // The state with the checkpoint of the solve.
  std::string Serialize(uint64_t fingerprint, std::string_view checkpoint) const;
  // Takes up such a state; returns the checkpoint of the solve.
  // Errors: INVALID_ARGUMENT `checkpoint` as StateReader.
  absl::StatusOr<std::string> Restore(std::string_view bytes, uint64_t fingerprint);

 private:
  struct PassOn {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };

  const int64_t patience_;
  Network best_;
  double best_loss_ = std::numeric_limits<double>::infinity();
  int64_t best_iteration_ = 0;
  int64_t since_best_ = 0;  // networks considered
  absl::Status failure_;
  std::stop_source source_;
  std::stop_callback<PassOn> pass_on_;
};

// Memory of it in a solve of networks of at most so many weights, its bytes included.
int64_t EarlyStoppingBytes(int64_t nonzeros);

}  // namespace thresher

#endif  // THRESHER_CORE_ITERATION_EARLY_STOPPING_H_
