#ifndef THRESHER_CLIENT_WATCH_VIEW_H_
#define THRESHER_CLIENT_WATCH_VIEW_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "thresher/v1/job.pb.h"

namespace thresher::client {

// What stdout can do.
struct Terminal {
  bool interactive = false;  // a terminal that understands cursor movement
  bool colour = false;
  bool unicode = false;
  int width = 80;
  int height = 24;
};

// Of file descriptor `descriptor`, the locale, and the environment variables TERM and NO_COLOR.
Terminal FindTerminal(int descriptor);

// A convergence history in bounded memory: when it is full, every second value is dropped and
// from then on only each 2nd, 4th, ... is kept.
class History {
 public:
  void Add(double value);
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;
  int64_t stride_ = 1;
  int64_t seen_ = 0;
};

// What is known about a watched job.
struct WatchState {
  v1::Job job;
  std::optional<v1::IterationReport> progress;      // of a recovery
  std::optional<v1::EpochReport> pruning_progress;  // of a pruning
  std::optional<v1::SweepProgress> sweep_progress;  // of a sweep
  // log10 of the relative residual, or of the loss.
  History log_residuals;
  std::string notice;  // last state message, or that the server is out of reach
  // Since the last progress arrived, while the job runs; 0 otherwise.
  double seconds_since_progress = 0;
};

// Takes an event in.
void Update(const v1::JobEvent& event, WatchState* state);

// The panel as lines of at most terminal.width columns and at most terminal.height - 1 of them.
// Escape sequences (colour only) do not count.
std::vector<std::string> RenderPanel(const WatchState& state, const Terminal& terminal);

// Shows a watched job as it goes on: a panel that is redrawn in place.
class LivePanel {
 public:
  // Draws on `out`, which is the terminal `descriptor`, now and every 100 ms.
  LivePanel(const v1::Job& job, std::ostream* out, int descriptor);
  // Draws the last state and leaves the cursor below it.
  ~LivePanel();
  LivePanel(const LivePanel&) = delete;
  LivePanel& operator=(const LivePanel&) = delete;

  void OnEvent(const v1::JobEvent& event);
  void OnLost(const std::string& reason);

 private:
  void Draw();  // requires mutex_

  std::ostream* const out_;
  const int descriptor_;

  std::mutex mutex_;
  std::condition_variable_any woken_;
  WatchState state_;                             // guarded by mutex_
  std::chrono::steady_clock::time_point fresh_;  // guarded by mutex_; the last progress
  std::vector<std::string> drawn_;               // guarded by mutex_; what is on the terminal
  int drawn_width_ = 0;                          // guarded by mutex_; its width then
  std::jthread ticker_;
};

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_WATCH_VIEW_H_
