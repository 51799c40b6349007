#include "client/watch_view.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <regex>

#include "client/formatting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using testing::HasSubstr;

std::string WithoutColours(const std::string& line) {
  return std::regex_replace(line, std::regex("\x1b\\[[0-9;]*m"), "");
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += WithoutColours(line) + "\n";
  return text;
}

v1::JobEvent Progress(int64_t iteration, double residual) {
  v1::JobEvent event;
  v1::IterationReport* report = event.mutable_progress();
  report->set_iteration(iteration);
  report->set_relative_residual(residual);
  report->set_psnr_db(-20 * std::log10(residual));
  report->set_step_size(0.25);
  report->set_support_size(1234);
  report->set_support_changes(56);
  report->set_active_neurons(78);
  report->mutable_elapsed()->set_seconds(125);
  return event;
}

WatchState Running(int iterations) {
  WatchState state;
  state.job.set_name("jobs/a-job");
  state.job.set_state(v1::JOB_STATE_RUNNING);
  state.job.mutable_recovery()->mutable_options()->set_max_iterations(1000);
  for (int i = 1; i <= iterations; ++i) Update(Progress(i, std::pow(0.9, i)), &state);
  return state;
}

WatchState Pruning(int epochs) {
  WatchState state;
  state.job.set_name("jobs/a-pruning");
  state.job.set_state(v1::JOB_STATE_RUNNING);
  state.job.mutable_pruning()->mutable_options()->set_epochs(50);
  state.job.mutable_pruning()->mutable_options()->set_nonzeros(2000);
  for (int i = 1; i <= epochs; ++i) {
    v1::JobEvent event;
    v1::EpochReport* report = event.mutable_pruning_progress();
    report->set_iteration(i);
    report->set_round(2);
    report->set_epoch(i);
    report->set_loss(std::pow(0.9, i));
    report->set_accuracy(0.75);
    report->set_nonzeros(35730);
    report->set_learning_rate(0.001);
    report->mutable_elapsed()->set_seconds(125);
    Update(event, &state);
  }
  return state;
}

TEST(RenderPanel, ShowsAPruning) {
  for (const int width : {40, 80, 200}) {
    const std::string text = Joined(RenderPanel(Pruning(10), {true, true, true, width, 24}));
    for (const char* figure :
         {"jobs/a-pruning", "RUNNING", "round 2, epoch 10 of 50", "elapsed 2 min 5 s", "loss 0.349",
          "weights 35730 to 2000", "learning rate 0.001", "75.00 % right", "█", "▁"}) {
      EXPECT_THAT(text, HasSubstr(figure)) << width;
    }
  }
}

TEST(RenderPanel, FitsEveryTerminal) {
  WatchState long_words = Running(300);
  long_words.job.set_name("jobs/" + std::string(63, 'x'));
  long_words.notice = std::string(500, 'n');
  for (const WatchState& state : {Running(0), Running(1), Running(300), Pruning(40), long_words}) {
    for (int width = 1; width <= 220; ++width) {
      for (const int height : {1, 2, 5, 24}) {
        for (const bool colour : {false, true}) {
          const Terminal terminal{true, colour, width % 2 == 0, width, height};
          const auto lines = RenderPanel(state, terminal);
          EXPECT_GE(lines.size(), 1u);
          EXPECT_LE(lines.size(), static_cast<size_t>(std::max(1, height - 1)));
          for (const std::string& line : lines) {
            EXPECT_LE(DisplayWidth(WithoutColours(line)), width) << line;
            EXPECT_EQ(line.find('\n'), std::string::npos);
            if (!colour) {
              EXPECT_EQ(line.find('\x1b'), std::string::npos);
            }
          }
        }
      }
    }
  }
}

TEST(RenderPanel, ShowsEveryFigureAtUsualWidths) {
  for (const int width : {40, 80, 200}) {
    const std::string text = Joined(RenderPanel(Running(300), {true, true, true, width, 24}));
    for (const char* figure :
         {"jobs/a-job", "RUNNING", "iteration 300 of 1000", "elapsed 2 min 5 s", "residual 1.8",
          "PSNR 274.5 dB", "support 1234 (56 new)", "neurons 78", "step 0.25", "█", "▁"}) {
      EXPECT_THAT(text, HasSubstr(figure)) << width;
    }
  }
}

TEST(RenderPanel, UsesAWideTerminal) {
  const auto lines = [](int width) {
    return RenderPanel(Running(300), {true, false, true, width, 24}).size();
  };
  EXPECT_GT(lines(40), lines(80));
  EXPECT_GT(lines(80), lines(200));
}

TEST(RenderPanel, FiguresKeepTheirPlacesFromPhaseToPhase) {
  WatchState state = Running(300);
  const Terminal terminal = {true, false, true, 110, 24};
  const std::vector<std::string> before = RenderPanel(state, terminal);
  state.progress->set_phase(v1::SOLVE_PHASE_EXPAND);
  const std::vector<std::string> after = RenderPanel(state, terminal);
  ASSERT_EQ(before.size(), after.size());
  int changed = 0;
  for (size_t i = 0; i < before.size(); ++i) changed += before[i] == after[i] ? 0 : 1;
  EXPECT_EQ(changed, 1);
}

TEST(RenderPanel, KeepsToAsciiWhereItMust) {
  for (const std::string& line : RenderPanel(Running(300), {true, true, false, 80, 24})) {
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c > 0; })) << line;
  }
}

TEST(RenderPanel, TrustsNoTextOfTheServer) {
  WatchState state = Running(3);
  state.job.set_name("jobs/\x1b[2J");
  v1::JobEvent event;
  event.mutable_state_change()->set_state(v1::JOB_STATE_RUNNING);
  event.mutable_state_change()->set_message("a\nb\x1b]0;title\x07");
  Update(event, &state);
  for (const std::string& line : RenderPanel(state, {true, false, true, 80, 24})) {
    EXPECT_EQ(Printable(line), line);
  }
}

TEST(RenderPanel, SurvivesFiguresThatAreNotFinite) {
  WatchState state = Running(1);
  Update(Progress(2, std::numeric_limits<double>::quiet_NaN()), &state);
  Update(Progress(3, std::numeric_limits<double>::infinity()), &state);
  Update(Progress(4, 0), &state);
  EXPECT_FALSE(RenderPanel(state, {true, true, true, 80, 24}).empty());
}

TEST(RenderPanel, SaysThatTheServerIsOutOfReachUntilTheJobEnds) {
  WatchState state = Running(2);
  state.notice = "server out of reach";
  EXPECT_THAT(Joined(RenderPanel(state, {true, true, true, 80, 24})), HasSubstr(state.notice));
  state.job.set_state(v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Joined(RenderPanel(state, {true, true, true, 80, 24})),
              testing::Not(HasSubstr(state.notice)));
}

TEST(Update, FollowsTheStateAndForgetsOldNotices) {
  WatchState state = Running(2);
  v1::JobEvent event;
  event.mutable_state_change()->set_state(v1::JOB_STATE_QUEUED);
  event.mutable_state_change()->set_message("the server stopped");
  Update(event, &state);
  EXPECT_EQ(state.job.state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(state.notice, "the server stopped");
  Update(Progress(3, 0.5), &state);
  EXPECT_EQ(state.notice, "");
  EXPECT_EQ(state.progress->iteration(), 3);
}

TEST(History, IsBoundedAndKeepsTheShape) {
  History history;
  for (int i = 0; i < 1000000; ++i) {
    history.Add(i);
    ASSERT_LE(history.values().size(), 4096u);
  }
  const auto& values = history.values();
  EXPECT_GE(values.size(), 1000u);
  EXPECT_EQ(values.front(), 0);
  EXPECT_GE(values.back(), 990000);
  // Evenly spread.
  const double step = values[1] - values[0];
  for (size_t i = 1; i < values.size(); ++i) ASSERT_EQ(values[i] - values[i - 1], step);
}

TEST(FindTerminal, KnowsThatAFileIsNone) {
  FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  const Terminal terminal = FindTerminal(fileno(file));
  EXPECT_FALSE(terminal.interactive);
  EXPECT_FALSE(terminal.colour);
  std::fclose(file);
}

}  // namespace
}  // namespace thresher::client
