#include "client/picture.h"

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::SweepReport Report(const std::string& second_method = "imp") {
  v1::SweepReport report;
  for (const int64_t width : {5, 10}) {
    for (const int64_t nonzeros : {20, 100, 1000}) {
      for (const std::string& method : {std::string("auto"), second_method}) {
        for (const uint64_t seed : {0, 1}) {
          v1::SweepCell& cell = *report.add_rows();
          cell.set_hidden_width(width);
          cell.set_nonzeros(nonzeros);
          cell.set_num_samples(100);
          cell.set_seed(seed);
          cell.set_method(method);
          cell.set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
          cell.set_training_psnr_db(seed == 0 ? 150 : 50);
          cell.mutable_elapsed()->set_seconds(nonzeros);
          cell.set_predicted_peak_memory_bytes(nonzeros << 20);
        }
      }
    }
  }
  return report;
}

std::string ScriptOf(const v1::SweepReport& report, const PictureOptions& options) {
  const auto script = PictureScript(report, options, PictureFormat::kPng);
  EXPECT_TRUE(script.ok()) << script.status();
  return script.value_or("");
}

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

TEST(PictureTest, AHeatmapAveragesOverTheSeeds) {
  const std::string psnr = ScriptOf(Report(), {});
  EXPECT_THAT(psnr, HasSubstr("100 100 100\n100 100 100\n"));
  EXPECT_THAT(psnr, HasSubstr("'PSNR (dB)'"));
  // A phase transition: the rate of success.
  const std::string rate = ScriptOf(Report(), {.value = "success"});
  EXPECT_THAT(rate, HasSubstr("0.5 0.5 0.5\n"));
  EXPECT_THAT(rate, HasSubstr("set cbrange [0:1]"));
}

TEST(PictureTest, ALineForEachMethodAndOtherParameter) {
  const std::string script = ScriptOf(Report(), {.kind = PictureKind::kLine});
  for (const char* title : {"'auto, hidden width 5'", "'auto, hidden width 10'",
                            "'imp, hidden width 5'", "'imp, hidden width 10'"}) {
    EXPECT_THAT(script, HasSubstr(title));
  }
  EXPECT_THAT(script, HasSubstr("20 100\n100 100\n1000 100\n"));
  EXPECT_THAT(script, HasSubstr("set logscale x"));
}

// The size of the picture that a script draws, in pixels.
std::pair<int, int> SizeOf(const std::string& script) {
  const size_t at = script.find(" size ");
  std::pair<int, int> size;
  EXPECT_EQ(std::sscanf(script.c_str() + at, " size %d,%d", &size.first, &size.second), 2);
  return size;
}

std::vector<std::string> LinesWith(const std::string& script, const std::string& part) {
  std::vector<std::string> lines;
  for (const auto& line : absl::StrSplit(script, '\n')) {
    if (absl::StrContains(line, part)) lines.emplace_back(line);
  }
  return lines;
}

// Regression: the legend lay below the lines and took their room, and colours came again.
TEST(PictureTest, ManyLinesLookDifferentAndLeaveThePlotItsRoom) {
  v1::SweepReport report;
  for (int64_t width = 1; width <= 9; ++width) {
    for (int method = 0; method < 6; ++method) {
      for (const int64_t nonzeros : {20, 100}) {
        v1::SweepCell& cell = *report.add_rows();
        cell.set_hidden_width(width);
        cell.set_nonzeros(nonzeros);
        cell.set_method(absl::StrCat("method ", method));
        cell.set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
        cell.set_training_psnr_db(20);
      }
    }
  }
  const auto check = [](const v1::SweepReport& drawn, size_t num_lines) {
    const std::string script = ScriptOf(drawn, {.kind = PictureKind::kLine});
    std::set<std::string> styles;
    const std::string plot = LinesWith(script, "plot $").at(0);
    for (const auto& each : absl::StrSplit(plot, ", keyentry ")) {
      if (!absl::StartsWith(each, "plot")) {
        styles.emplace(each.substr(0, each.find(" title ")));
      }
    }
    EXPECT_EQ(styles.size(), num_lines);
    // Twenty pixels a line of the legend, and as much for the plot.
    EXPECT_GE(SizeOf(script).second, 20 * static_cast<int>(num_lines));
    EXPECT_GE(SizeOf(script).second, 480);
  };
  check(report, 54);
  for (v1::SweepCell& row : *report.mutable_rows()) {
    row.set_method(absl::StrCat(row.method(), " ", row.hidden_width()));
    row.set_hidden_width(5);
  }
  check(report, 54);
  EXPECT_EQ(SizeOf(ScriptOf(Report(), {.kind = PictureKind::kLine})).second, 480);
}

TEST(PictureTest, AComparisonHasOneLegendBesideItsPanels) {
  const std::string script = ScriptOf(Report(), {.kind = PictureKind::kCompare});
  EXPECT_THAT(LinesWith(script, "plot $"), ::testing::SizeIs(3));
  EXPECT_THAT(LinesWith(script, "keyentry"), ::testing::SizeIs(1));
  EXPECT_THAT(LinesWith(script, "unset key"), ::testing::SizeIs(2));
}

TEST(PictureTest, CellsOfSmallHeatMapsHaveTheirNumbers) {
  EXPECT_THAT(ScriptOf(Report(), {}), HasSubstr("\n0 0 100\n1 0 100\n2 0 100\n0 1 100\n"));
  v1::SweepReport report = Report();
  for (int i = 0; i < 100; ++i) {
    v1::SweepCell cell = report.rows(0);
    cell.set_nonzeros(2000 + i);
    *report.add_rows() = cell;
  }
  EXPECT_THAT(ScriptOf(report, {}), Not(HasSubstr("with labels")));
  // What is drawn at the end of the colours is not said to be there.
  report = Report();
  for (v1::SweepCell& row : *report.mutable_rows()) row.set_training_psnr_db(315);
  EXPECT_THAT(ScriptOf(report, {}), HasSubstr("\n0 0 \u2265200\n"));
}

// A comparison is over what networks have, not what they were allowed.
TEST(PictureTest, AComparisonIsErrorOverTheWeightsOfTheNetwork) {
  v1::SweepReport report = Report("obs");
  for (v1::SweepCell& row : *report.mutable_rows()) {
    row.set_network_nonzeros(row.nonzeros() - static_cast<int64_t>(row.seed()));
    row.clear_training_psnr_db();
    row.set_training_accuracy(1 - 1.0 / static_cast<double>(row.nonzeros()));
    if (row.method() != "obs") continue;
    row.set_hidden_width(0);
    row.set_given_nonzeros(5000);
    row.mutable_given_training()->set_accuracy(0.875);
  }
  const std::string script = ScriptOf(report, {.kind = PictureKind::kCompare});
  EXPECT_THAT(script, HasSubstr("19.5 0.05\n99.5 0.01\n999.5 0.001\n")) << "means over the seeds";
  EXPECT_THAT(script, HasSubstr("END_OF_LINE\n5000 0.125\nEND_OF_LINE"));
  EXPECT_THAT(script, HasSubstr("title '(given), hidden width 0'"));
  EXPECT_THAT(script, HasSubstr("'non-zeros of the network'"));
  EXPECT_THAT(script, HasSubstr("set ylabel 'error, share named wrong'"));
  // All panels have the same axis, though the given model has no time.
  std::vector<std::string> ranges;
  for (const auto& line : absl::StrSplit(script, '\n')) {
    if (absl::StartsWith(line, "set xrange [")) ranges.emplace_back(line);
  }
  EXPECT_THAT(ranges, ::testing::ElementsAre(ranges.at(0), ranges.at(0), ranges.at(0)));
  EXPECT_THAT(ranges.at(0), Not(HasSubstr("*")));
  // A width that does not vary within a method is no part of its name.
  for (v1::SweepCell& row : *report.mutable_rows()) {
    if (row.method() != "obs") row.set_hidden_width(5);
  }
  const std::string plain = ScriptOf(report, {.kind = PictureKind::kCompare});
  EXPECT_THAT(plain, HasSubstr("title 'auto'"));
  EXPECT_THAT(plain, HasSubstr("title '(given)'"));
  // Over another parameter it is that parameter.
  EXPECT_THAT(ScriptOf(report, {.kind = PictureKind::kCompare, .x = "num_samples"}),
              HasSubstr("set xlabel 'samples'"));
}

TEST(PictureTest, WhatCannotBeDrawnIsAnError) {
  const auto refused = [](const PictureOptions& options, const v1::SweepReport& report = Report()) {
    return std::string(PictureScript(report, options, PictureFormat::kPng).status().message());
  };
  EXPECT_THAT(refused({.x = "width"}), HasSubstr("--x"));
  EXPECT_THAT(refused({.y = "nonzeros"}), HasSubstr("--y"));
  EXPECT_THAT(refused({.value = "loss"}), HasSubstr("--value"));
  EXPECT_THAT(refused({.value = "accuracy"}), HasSubstr("no cell"));
  EXPECT_THAT(refused({}, v1::SweepReport()), HasSubstr("no cell"));
  EXPECT_FALSE(PictureFormatOf("a.gif").ok());
}

// A server may be anybody's: nothing it says is a command.
TEST(PictureTest, NoTextOfTheReportIsACommand) {
  EXPECT_EQ(GnuplotString("it's"), "'it\u2019s'");
  EXPECT_EQ(GnuplotString("a`touch x`\nb"),
            "'a?touch x?"
            "?b'");
  const std::string path = absl::StrCat(::testing::TempDir(), "/injected");
  std::filesystem::remove(path);
  for (const std::string& name :
       {absl::StrCat("a'\nsystem(\"touch ", path, "\")\n"), absl::StrCat("'`touch ", path, "`'"),
        absl::StrCat("END_OF_PANEL\n!touch ", path, "\n"), absl::StrCat("\"@`touch ", path, "`")}) {
    for (const PictureKind kind :
         {PictureKind::kHeatmap, PictureKind::kLine, PictureKind::kCompare}) {
      const std::string script = ScriptOf(Report(name), {.kind = kind});
      const std::string picture = absl::StrCat(::testing::TempDir(), "/injection.png");
      const absl::Status status = DrawPicture(script, picture);
      EXPECT_TRUE(status.ok()) << status << script;
      EXPECT_FALSE(std::filesystem::exists(path)) << script;
    }
  }
}

TEST(PictureTest, DrawsPngAndSvg) {
  v1::SweepReport report = Report();
  report.mutable_rows(0)->set_training_psnr_db(std::numeric_limits<double>::infinity());
  report.mutable_rows(1)->set_training_psnr_db(std::numeric_limits<double>::quiet_NaN());
  for (const PictureKind kind :
       {PictureKind::kHeatmap, PictureKind::kLine, PictureKind::kCompare}) {
    for (const std::string& ending : {std::string(".png"), std::string(".svg")}) {
      const std::string path = absl::StrCat(::testing::TempDir(), "/picture", ending);
      std::filesystem::remove(path);
      const auto script = PictureScript(report, {.kind = kind}, *PictureFormatOf(path));
      ASSERT_TRUE(script.ok()) << script.status();
      const absl::Status status = DrawPicture(*script, path);
      ASSERT_TRUE(status.ok()) << status << *script;
      const std::string picture = Content(path);
      if (ending == ".png") {
        EXPECT_TRUE(absl::StartsWith(picture, "\x89PNG"));
      } else {
        EXPECT_THAT(picture, HasSubstr("</svg>"));
      }
    }
  }
}

TEST(PictureTest, TheConvergenceOfAJobIsALine) {
  std::vector<v1::JobEvent> events(3);
  events[0].mutable_state_change()->set_state(v1::JOB_STATE_RUNNING);
  events[1].mutable_progress()->set_iteration(1);
  events[1].mutable_progress()->set_relative_residual(0.5);
  events[2].mutable_progress()->set_iteration(7);
  events[2].mutable_progress()->set_relative_residual(1e-7);
  const auto script = ConvergenceScript(events, PictureFormat::kPng);
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_THAT(*script, HasSubstr("\n1 0.5\n7 1e-07\n"));
  const std::string path = absl::StrCat(::testing::TempDir(), "/convergence.png");
  const absl::Status status = DrawPicture(*script, path);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(absl::StartsWith(Content(path), "\x89PNG"));
  events.resize(1);
  EXPECT_TRUE(absl::IsInvalidArgument(ConvergenceScript(events, PictureFormat::kPng).status()));
}

TEST(PictureTest, AFailureLeavesNothingBehind) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/pictures");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  const absl::Status status = DrawPicture("no such command\n", folder + "/a.png");
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("invalid command"));
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_TRUE(absl::IsInvalidArgument(DrawPicture("", folder + "/none/a.png")));
}

TEST(PictureTest, WithoutGnuplotTheRemedyIsNamed) {
  const std::string path = getenv("PATH");
  ASSERT_EQ(setenv("PATH", "/no/such/folder", 1), 0);
  const absl::Status status = DrawPicture("", absl::StrCat(::testing::TempDir(), "/without.png"));
  ASSERT_EQ(setenv("PATH", path.c_str(), 1), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("gnuplot-nox"));
}

}  // namespace
}  // namespace thresher::client
