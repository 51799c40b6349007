#include "core/iteration/early_stopping.h"

#include <cmath>
#include <utility>

#include "core/iteration/network_state.h"
#include "core/iteration/state_bytes.h"

namespace thresher {
namespace {

constexpr std::string_view kMagic = "THRSHE01";

}  // namespace

EarlyStopping::EarlyStopping(int64_t patience, std::stop_token stop)
    : patience_(patience), pass_on_(std::move(stop), PassOn{&source_}) {}

bool EarlyStopping::Consider(Network network, double loss, int64_t iteration) {
  if (std::isnan(loss)) loss = std::numeric_limits<double>::infinity();
  const bool is_best = !has_best() || loss < best_loss_;
  if (is_best) {
    best_ = std::move(network);
    best_loss_ = loss;
    best_iteration_ = iteration;
    since_best_ = 0;
  } else {
    ++since_best_;
  }
  if (patience_is_over()) source_.request_stop();
  return is_best;
}

void EarlyStopping::Fail(const absl::Status& failure) {
  failure_.Update(failure);
  source_.request_stop();
}

std::string EarlyStopping::Serialize(uint64_t fingerprint, std::string_view checkpoint) const {
  StateWriter writer(kMagic, fingerprint);
  writer.Add(best_iteration_);
  if (has_best()) AddAnyNetwork(best_, writer);
  writer.Add(best_loss_);
  writer.Add(since_best_);
  writer.AddText(checkpoint);
  return std::move(writer).Finish();
}

absl::StatusOr<std::string> EarlyStopping::Restore(std::string_view bytes, uint64_t fingerprint) {
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kMagic, fingerprint);
  if (!reader.ok()) return reader.status();
  Network best;
  double best_loss = 0;
  int64_t best_iteration = 0;
  int64_t since_best = 0;
  std::string checkpoint;
  if (!reader->Take(best_iteration) || best_iteration < 0 ||
      (best_iteration > 0 && !TakeAnyNetwork(*reader, best)) || !reader->Take(best_loss) ||
      std::isnan(best_loss) || !reader->Take(since_best) || since_best < 0 ||
      !reader->TakeText(checkpoint) || !reader->AtEnd()) {
    return StateReader::Damaged();
  }
  best_ = std::move(best);
  best_loss_ = best_loss;
  best_iteration_ = best_iteration;
  since_best_ = since_best;
  if (patience_is_over()) source_.request_stop();
  return checkpoint;
}

int64_t EarlyStoppingBytes(int64_t nonzeros) {
  // The network as the solve tells it, the one at hand, the best, and the best as bytes; of a
  // weight its value, its column and at most a row.
  constexpr int64_t kCopies = 4;
  constexpr int64_t kBytesPerWeight = sizeof(double) + sizeof(int32_t) + sizeof(int64_t) + 1;
  return kCopies * kBytesPerWeight * nonzeros;
}

}  // namespace thresher
