#include "client/watch_view.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "client/formatting.h"
#include "client/job_text.h"
#include "client/pruning_text.h"
#include "client/sweep_text.h"

namespace thresher::client {
namespace {

constexpr size_t kLargestHistory = 4096;
constexpr auto kDrawPeriod = std::chrono::milliseconds(100);
// Below this width every figure has a line of its own.
constexpr int kNarrow = 60;

std::string Coloured(const std::string& text, const char* code, const Terminal& terminal) {
  return terminal.colour ? absl::StrCat("\x1b[", code, "m", text, "\x1b[0m") : text;
}

const char* StateColour(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return "1;32";
    case v1::JOB_STATE_FAILED:
      return "1;31";
    case v1::JOB_STATE_CANCELLED:
      return "1;33";
    default:
      return "1;36";
  }
}

// Columns of a line, colours aside.
int VisibleWidth(const std::string& line) {
  int width = 0;
  for (size_t i = 0; i < line.size();) {
    const size_t end = line[i] == '\x1b' ? line.find('m', i) : std::string::npos;
    if (end != std::string::npos) {
      i = end + 1;
    } else {
      width += DisplayWidth(std::string_view(line).substr(i++, 1));
    }
  }
  return width;
}

// The first line: name and state.
std::string Title(const WatchState& state, const Terminal& terminal) {
  const std::string word = StateWord(state.job.state());
  const std::string name = Printable(state.job.name());
  const int room = terminal.width - DisplayWidth(word) - 2;
  if (room < 4) return Truncate(word, terminal.width);
  return Coloured(Truncate(name, room), "1", terminal) + "  " +
         Coloured(word, StateColour(state.job.state()), terminal);
}

std::string IterationText(const WatchState& state) {
  const v1::IterationReport& report = *state.progress;
  const v1::RecoveryOptions& options = state.job.recovery().options();
  std::string text = absl::StrCat("iteration ", report.iteration(), PhaseText(report));
  if (options.has_max_iterations()) absl::StrAppend(&text, " of ", options.max_iterations());
  return text;
}

// Lays figures out in as many columns of equal width as fit.
void AppendFigures(const std::vector<std::string>& figures, const Terminal& terminal,
                   std::vector<std::string>* lines) {
  if (terminal.width < kNarrow) {
    lines->insert(lines->end(), figures.begin(), figures.end());
    return;
  }
  int widest = 0;
  for (const std::string& figure : figures) widest = std::max(widest, DisplayWidth(figure));
  // Wide enough that figures keep their column while their digits change.
  const int column = std::max(widest + 3, 26);
  const int per_line = std::max(1, (terminal.width + 3) / column);
  for (size_t i = 0; i < figures.size(); ++i) {
    if (i % per_line == 0) {
      lines->push_back(figures[i]);
    } else {
      std::string& line = lines->back();
      const int target = column * static_cast<int>(i % per_line);
      line += std::string(std::max(0, target - DisplayWidth(line)), ' ') + figures[i];
    }
  }
}

}  // namespace

Terminal FindTerminal(int descriptor) {
  Terminal terminal;
  // Nothing in this program changes the environment or the locale once it runs.
  const char* type = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe)
  const std::string_view name = type == nullptr ? "" : type;
  terminal.interactive = isatty(descriptor) == 1 && !name.empty() && name != "dumb";
  const char* no_colour = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe)
  terminal.colour = terminal.interactive && (no_colour == nullptr || *no_colour == '\0');
  const char* codeset = nl_langinfo(CODESET);  // NOLINT(concurrency-mt-unsafe)
  terminal.unicode = std::string_view(codeset) == "UTF-8";
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    terminal.width = size.ws_col;
    terminal.height = size.ws_row;
  }
  return terminal;
}

void History::Add(double value) {
  if (seen_++ % stride_ != 0) return;
  if (values_.size() == kLargestHistory) {
    for (size_t i = 0; 2 * i < values_.size(); ++i) values_[i] = values_[2 * i];
    values_.resize(kLargestHistory / 2);
    stride_ *= 2;
  }
  values_.push_back(value);
}

void Update(const v1::JobEvent& event, WatchState* state) {
  if (event.has_state_change()) {
    if (event.has_job()) state->job = event.job();
    state->job.set_state(event.state_change().state());
    state->notice = event.state_change().message();
    return;
  }
  state->notice.clear();
  if (event.has_sweep_progress()) {
    state->sweep_progress = event.sweep_progress();
    return;
  }
  double residual = 0;
  if (event.has_pruning_progress()) {
    state->pruning_progress = event.pruning_progress();
    residual = event.pruning_progress().loss();
  } else {
    state->progress = event.progress();
    residual = event.progress().relative_residual();
  }
  // A residual of 0 is as good as the smallest that single precision tells apart from it.
  state->log_residuals.Add(std::log10(std::max(residual, 1e-20)));
}

namespace {

double ElapsedSeconds(const WatchState& state, const google::protobuf::Duration& elapsed) {
  return static_cast<double>(elapsed.seconds()) + 1e-9 * elapsed.nanos() +
         state.seconds_since_progress;
}

void AppendRecovery(const WatchState& state, const Terminal& terminal,
                    std::vector<std::string>* lines) {
  const v1::IterationReport& report = *state.progress;
  const std::string changes =
      report.support_changes() > 0 ? absl::StrCat(" (", report.support_changes(), " new)") : "";
  // On a line of its own: its length changes all the time, and would move the columns.
  lines->push_back(IterationText(state));
  std::vector<std::string> figures = {
      absl::StrCat("elapsed ", FormatSeconds(ElapsedSeconds(state, report.elapsed()))),
      absl::StrCat("residual ", FormatNumber(report.relative_residual()))};
  if (report.has_loss()) figures.push_back(absl::StrCat("loss ", FormatNumber(report.loss())));
  if (report.has_accuracy()) {
    figures.push_back(absl::StrCat(FormatAccuracy(report.accuracy()), " right"));
  }
  if (report.has_r_squared()) {
    figures.push_back(absl::StrCat("R^2 ", FormatNumber(report.r_squared())));
  }
  // Training does not count its neurons, and with classes has no PSNR.
  const bool trains = report.phase() == v1::SOLVE_PHASE_TRAIN;
  if (!trains || report.psnr_db() != 0) {
    figures.push_back(absl::StrCat("PSNR ", FormatDecibel(report.psnr_db())));
  }
  figures.push_back(absl::StrCat("support ", report.support_size(), changes));
  if (!trains) figures.push_back(absl::StrCat("neurons ", report.active_neurons()));
  // Not every algorithm has one.
  if (report.step_size() > 0) {
    figures.push_back(absl::StrCat("step ", FormatNumber(report.step_size())));
  }
  AppendFigures(figures, terminal, lines);
}

void AppendPruning(const WatchState& state, const Terminal& terminal,
                   std::vector<std::string>* lines) {
  const v1::EpochReport& report = *state.pruning_progress;
  const v1::PruningSpec& spec = state.job.pruning();
  const bool of_model = !spec.model().empty();
  std::string epoch = EpochText(report);
  if (report.epoch() > 0) {
    if (spec.options().has_epochs()) absl::StrAppend(&epoch, " of ", spec.options().epochs());
    if (spec.model_options().has_epochs()) {
      absl::StrAppend(&epoch, " of ", spec.model_options().epochs());
    }
  }
  lines->push_back(epoch);
  const int64_t budget = report.path_nonzeros() > 0 ? report.path_nonzeros()
                         : of_model                 ? spec.model_options().nonzeros()
                                                    : spec.options().nonzeros();
  std::vector<std::string> figures = {
      absl::StrCat("elapsed ", FormatSeconds(ElapsedSeconds(state, report.elapsed()))),
      absl::StrCat("loss ", FormatNumber(report.loss())),
      // A fraction is of weights that the job does not tell.
      absl::StrCat("weights ", report.nonzeros(), budget > 0 ? absl::StrCat(" to ", budget) : "")};
  if (report.epoch() > 0) {
    figures.push_back(absl::StrCat("learning rate ", FormatNumber(report.learning_rate())));
  }
  if (report.has_accuracy()) {
    figures.push_back(absl::StrCat(FormatAccuracy(report.accuracy()), " right"));
  }
  if (report.has_psnr_db()) {
    figures.push_back(absl::StrCat("PSNR ", FormatDecibel(report.psnr_db())));
  }
  if (report.has_r_squared()) {
    figures.push_back(absl::StrCat("R^2 ", FormatNumber(report.r_squared())));
  }
  AppendFigures(figures, terminal, lines);
}

}  // namespace

std::vector<std::string> RenderPanel(const WatchState& state, const Terminal& terminal) {
  std::vector<std::string> lines = {Title(state, terminal)};
  std::vector<std::string> rest;
  if (state.sweep_progress) {
    rest.push_back(SweepProgressText(*state.sweep_progress));
    rest.push_back(absl::StrCat(
        "elapsed ", FormatSeconds(ElapsedSeconds(state, state.sweep_progress->elapsed()))));
  } else if (state.progress || state.pruning_progress) {
    if (state.pruning_progress) {
      AppendPruning(state, terminal, &rest);
    } else {
      AppendRecovery(state, terminal, &rest);
    }
    const std::vector<double>& history = state.log_residuals.values();
    const std::string label = terminal.width < kNarrow ? ""
                              : state.pruning_progress ? "log loss "
                                                       : "log residual ";
    const std::string line =
        Sparkline(history, terminal.width - DisplayWidth(label), terminal.unicode);
    if (history.size() > 1) rest.push_back(label + Coloured(line, "36", terminal));
  } else if (!IsEnded(state.job.state())) {
    rest.push_back("no progress yet");
  }
  // The end is told below the panel.
  if (!state.notice.empty() && !IsEnded(state.job.state())) {
    rest.push_back(Printable(state.notice));
  }
  for (std::string& line : rest) {
    // Lines with colour are made to fit where they are made.
    lines.push_back(line.find('\x1b') == std::string::npos ? Truncate(line, terminal.width)
                                                           : std::move(line));
  }
  const auto room = static_cast<size_t>(std::max(1, terminal.height - 1));
  if (lines.size() > room) lines.resize(room);
  return lines;
}

LivePanel::LivePanel(const v1::Job& job, std::ostream* out, int descriptor)
    : out_(out), descriptor_(descriptor), fresh_(std::chrono::steady_clock::now()) {
  state_.job = job;
  ticker_ = std::jthread([this](const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      Draw();
      woken_.wait_for(lock, stop, kDrawPeriod, [] { return false; });
    }
  });
}

LivePanel::~LivePanel() {
  ticker_.request_stop();
  ticker_.join();
  const std::lock_guard lock(mutex_);
  Draw();
}

void LivePanel::OnEvent(const v1::JobEvent& event) {
  const std::lock_guard lock(mutex_);
  Update(event, &state_);
  fresh_ = std::chrono::steady_clock::now();
}

void LivePanel::OnLost(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  state_.notice = absl::StrCat("server out of reach, asking again: ", reason);
}

void LivePanel::Draw() {
  const Terminal terminal = FindTerminal(descriptor_);
  state_.seconds_since_progress = 0;
  if (state_.job.state() == v1::JOB_STATE_RUNNING &&
      (state_.progress || state_.pruning_progress || state_.sweep_progress)) {
    state_.seconds_since_progress =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - fresh_).count();
  }
  std::vector<std::string> lines = RenderPanel(state_, terminal);
  if (lines == drawn_ && terminal.width == drawn_width_) return;
  std::string screen;
  // A terminal that became narrower has wrapped the lines that are on it.
  int rows_up = 0;
  for (const std::string& line : drawn_) {
    rows_up += std::max(1, (VisibleWidth(line) + terminal.width - 1) / terminal.width);
  }
  if (rows_up > 0) absl::StrAppend(&screen, "\r\x1b[", rows_up, "A");
  for (const std::string& line : lines) absl::StrAppend(&screen, line, "\x1b[K\n");
  absl::StrAppend(&screen, "\x1b[J");
  drawn_ = std::move(lines);
  drawn_width_ = terminal.width;
  *out_ << screen << std::flush;
}

}  // namespace thresher::client
