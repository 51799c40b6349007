#include "client/sweep_text.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

v1::SweepCell Cell(const std::string& method, int64_t nonzeros, uint64_t seed, double psnr_db) {
  v1::SweepCell cell;
  cell.set_method(method);
  cell.set_hidden_width(20);
  cell.set_nonzeros(nonzeros);
  cell.set_num_samples(5000);
  cell.set_seed(seed);
  cell.set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
  cell.set_training_psnr_db(psnr_db + 1);
  cell.set_held_out_psnr_db(psnr_db);
  cell.mutable_elapsed()->set_seconds(2);
  cell.set_predicted_peak_memory_bytes(3 << 20);
  return cell;
}

v1::SweepReport Report() {
  v1::SweepReport report;
  *report.add_rows() = Cell("auto", 50, 0, 130);
  *report.add_rows() = Cell("imp", 50, 0, 20);
  *report.add_rows() = Cell("auto", 50, 1, 40);
  *report.add_rows() = Cell("imp", 50, 1, 24);
  v1::SweepCell failed = Cell("auto", 50, 2, 0);
  failed.set_state(v1::SWEEP_CELL_STATE_FAILED);
  failed.mutable_error()->set_message("no, \"never\"");
  *report.add_rows() = failed;
  return report;
}

std::string Written(const std::string& text) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/sweep_text_test.json");
  std::ofstream(path) << text;
  return path;
}

TEST(SweepTextTest, ReadsASweepFromAFile) {
  const auto spec = ReadSweepFile(
      Written(R"({"planted": {"num_samples": 10}, "hidden_widths": [1, 2], "nonzeros": [3],
                  "methods": [{"name": "a", "recovery": {"algorithm": "ALGORITHM_AIHT"}}]})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->planted().num_samples(), 10);
  EXPECT_EQ(spec->hidden_widths_size(), 2);
  EXPECT_EQ(spec->methods(0).recovery().algorithm(), v1::ALGORITHM_AIHT);
}

TEST(SweepTextTest, AFileThatIsNoSweepIsRefusedByItsName) {
  for (const char* text : {"", "[]", "{\"hidden_width\": 3}", "{\"nonzeros\": [\"x\"]}", "{"}) {
    const std::string path = Written(text);
    const auto spec = ReadSweepFile(path);
    if (std::string(text).empty()) continue;  // JSON of nothing is up to protobuf
    ASSERT_TRUE(absl::IsInvalidArgument(spec.status())) << text;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr(path));
  }
  EXPECT_TRUE(absl::IsNotFound(ReadSweepFile("/no/such/file.json").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadSweepFile(Written(std::string(2 << 20, ' '))).status()));
}

TEST(SweepTextTest, ValuesAreHeldOutOnesWhereThereAreSome) {
  v1::SweepCell cell = Cell("auto", 50, 0, 30);
  EXPECT_EQ(ValueOf(cell, "psnr_db"), 30);
  cell.clear_held_out_psnr_db();
  EXPECT_EQ(ValueOf(cell, "psnr_db"), 31);
  EXPECT_EQ(ValueOf(cell, "accuracy"), std::nullopt);
  EXPECT_EQ(ValueOf(cell, "seconds"), 2);
  EXPECT_EQ(ValueOf(cell, "hidden_width"), 20);
  EXPECT_EQ(ValueOf(cell, "success"), 0);
  cell.set_exact(true);
  EXPECT_EQ(ValueOf(cell, "success"), 1);
  cell.set_state(v1::SWEEP_CELL_STATE_FAILED);
  EXPECT_EQ(ValueOf(cell, "success"), 0);
  EXPECT_EQ(ValueOf(cell, "psnr_db"), std::nullopt);
  cell.set_state(v1::SWEEP_CELL_STATE_CANCELLED);
  EXPECT_EQ(ValueOf(cell, "success"), std::nullopt);
  EXPECT_EQ(ValueOf(cell, "nothing"), std::nullopt);
}

TEST(SweepTextTest, TheTableHasMediansOverTheSeeds) {
  const std::string table = SweepTable(Report());
  const std::vector<std::string> lines = absl::StrSplit(table, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(3)) << table;
  EXPECT_THAT(lines[1], HasSubstr("auto"));
  EXPECT_THAT(lines[1], HasSubstr("85.0 dB"));
  EXPECT_THAT(lines[1], HasSubstr("1 of 3"));
  EXPECT_THAT(lines[2], HasSubstr("22.0 dB"));
  EXPECT_THAT(lines[2], HasSubstr("0 of 2"));
  EXPECT_THAT(lines[0], HasSubstr("EXACT"));
  EXPECT_THAT(lines[0], Not(HasSubstr("ACCURACY")));
  v1::SweepReport classes = Report();
  for (v1::SweepCell& row : *classes.mutable_rows()) row.set_held_out_accuracy(0.5);
  EXPECT_THAT(SweepTable(classes), HasSubstr("ACCURACY"));
  EXPECT_THAT(SweepTable(classes), Not(HasSubstr("EXACT")));
  EXPECT_EQ(SweepTable(v1::SweepReport()), "");
}

// Regression: they counted as failed.
TEST(SweepTextTest, CancelledCellsAreCountedApart) {
  EXPECT_THAT(SweepTable(Report()), Not(HasSubstr("CANCELLED")));
  v1::SweepReport report = Report();
  report.mutable_rows(1)->set_state(v1::SWEEP_CELL_STATE_CANCELLED);
  const std::vector<std::string> lines =
      absl::StrSplit(SweepTable(report), '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_THAT(lines[0], HasSubstr("FAILED  CANCELLED"));
  using ::testing::ContainsRegex;
  EXPECT_THAT(lines[1], ContainsRegex("1 of 3 .* 1 +0$"));
  EXPECT_THAT(lines[2], ContainsRegex("0 of 1 .* 0 +1$"));
}

// A model pruned by two methods at two budgets, and a recovery with a width.
v1::SweepReport OfModel() {
  v1::SweepReport report;
  for (const int64_t nonzeros : {50, 10}) {
    for (const std::string& method :
         {std::string("auto"), std::string("obs"), std::string("distill")}) {
      for (const uint64_t seed : {0, 1}) {
        v1::SweepCell& cell = *report.add_rows();
        cell = Cell(method, nonzeros, seed, 30);
        cell.clear_training_psnr_db();
        cell.clear_held_out_psnr_db();
        cell.set_network_nonzeros(nonzeros - 1);
        cell.set_training_accuracy(0.75);
        cell.set_held_out_accuracy(0.5);
        if (method == "auto") continue;
        cell.set_hidden_width(0);
        cell.set_held_out_loss(0.375);
        cell.set_given_nonzeros(700);
        cell.mutable_given_training()->set_accuracy(1);
        cell.mutable_given_held_out()->set_accuracy(seed == 0 ? 0.9 : 0.96);
        cell.mutable_given_held_out()->set_loss(0.0625);
      }
    }
  }
  return report;
}

TEST(SweepTextTest, TheGivenModelIsALineOfTheTable) {
  const std::string table = SweepTable(OfModel());
  std::vector<std::string> lines = absl::StrSplit(table, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(8)) << table;
  // The methods of a budget are together, whether they have a width or not.
  using ::testing::ContainsRegex;
  EXPECT_THAT(lines[1], ContainsRegex("20 +10 +auto +9 +50.00 %"));
  EXPECT_THAT(lines[2], ContainsRegex("- +10 +obs +9 "));
  EXPECT_THAT(lines[3], ContainsRegex("- +10 +distill +9 "));
  EXPECT_THAT(lines[4], ContainsRegex("20 +50 +auto"));
  EXPECT_THAT(lines[7], ContainsRegex("- +700 +.given. +700 +93.00 % +- +- +0")) << "the median";
  // Without a width none is shown.
  v1::SweepReport report = OfModel();
  for (v1::SweepCell& row : *report.mutable_rows()) row.set_hidden_width(0);
  EXPECT_THAT(SweepTable(report), Not(HasSubstr("WIDTH")));
  EXPECT_THAT(table, HasSubstr("WIDTH"));
  EXPECT_EQ(WithGivenModel(Report()).rows_size(), Report().rows_size());
  EXPECT_EQ(ValueOf(OfModel().rows(0), "error"), 0.5);
}

TEST(SweepTextTest, TheCsvHasTheGivenModelInTheRowsOfItsMethods) {
  const std::vector<std::string> lines =
      absl::StrSplit(SweepCsv(OfModel()), "\r\n", absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(13));
  const std::vector<std::string> names = absl::StrSplit(lines[0], ',');
  const auto field = [&](size_t line, const std::string& name) {
    const std::vector<std::string> fields = absl::StrSplit(lines[line], ',');
    EXPECT_EQ(fields.size(), names.size());
    return fields.at(
        static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin()));
  };
  EXPECT_EQ(field(1, "given_nonzeros"), "");
  EXPECT_EQ(field(1, "given_held_out_loss"), "");
  EXPECT_EQ(field(1, "held_out_loss"), "");
  EXPECT_EQ(field(3, "given_nonzeros"), "700");
  EXPECT_EQ(field(3, "given_held_out_loss"), "0.0625");
  EXPECT_EQ(field(3, "given_held_out_accuracy"), "0.9");
  EXPECT_EQ(field(3, "given_training_accuracy"), "1");
  EXPECT_EQ(field(3, "given_training_psnr_db"), "");
  EXPECT_EQ(field(3, "held_out_loss"), "0.375");
  EXPECT_EQ(field(3, "held_out_accuracy"), "0.5");
}

TEST(SweepTextTest, ErrorsAreCountedTheMostFrequentFirst) {
  v1::SweepReport report = Report();
  EXPECT_EQ(SweepErrors(report), "1 cell failed: no, \"never\"\n");
  EXPECT_FALSE(AllFailed(report));
  report.clear_rows();
  EXPECT_EQ(SweepErrors(report), "");
  EXPECT_FALSE(AllFailed(report));
  for (int i = 0; i < 30; ++i) {
    v1::SweepCell& row = *report.add_rows();
    row.set_state(v1::SWEEP_CELL_STATE_FAILED);
    row.mutable_error()->set_message(i < 2 ? absl::StrCat("rare ", i) : "frequent\x1b");
  }
  EXPECT_TRUE(AllFailed(report));
  const std::vector<std::string> lines =
      absl::StrSplit(SweepErrors(report), '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_TRUE(absl::StartsWith(lines[0], "28 cells failed: frequent"));
  EXPECT_THAT(lines[0], Not(HasSubstr("\x1b")));
  for (int i = 0; i < 30; ++i) {
    report.mutable_rows(i)->mutable_error()->set_message(absl::StrCat("error ", i));
  }
  EXPECT_THAT(
      std::vector<std::string>(absl::StrSplit(SweepErrors(report), '\n', absl::SkipEmpty())),
      SizeIs(11));
}

TEST(SweepTextTest, TheCsvHasEveryRowAndQuotesWhatNeedsIt) {
  const std::string csv = SweepCsv(Report());
  const std::vector<std::string> lines = absl::StrSplit(csv, "\r\n", absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(6));
  EXPECT_TRUE(absl::StartsWith(lines[0], "cell,method,hidden_width,nonzeros,"));
  EXPECT_TRUE(absl::EndsWith(lines[5], ",\"no, \"\"never\"\"\""));
  const size_t columns = std::vector<std::string>(absl::StrSplit(lines[0], ',')).size();
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_THAT(std::vector<std::string>(absl::StrSplit(lines[i], ',')), SizeIs(columns));
  }
}

TEST(SweepTextTest, ATableIsWrittenAsItsNameSays) {
  v1::Job job;
  *job.mutable_sweep_report() = Report();
  for (const auto& [ending, content] :
       {std::pair(".csv", "cell,method"), std::pair(".json", "\"held_out_psnr_db\"")}) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/table", ending);
    ASSERT_TRUE(WriteTable(job, path).ok());
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_THAT(text.substr(0, 4000), ::testing::AnyOf(HasSubstr(content), HasSubstr("heldOut")));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(WriteTable(job, "table.txt")));
  EXPECT_TRUE(absl::IsInvalidArgument(WriteTable(job, "/no/such/folder/table.csv")));
}

TEST(SweepTextTest, ProgressSaysWhatIsLeft) {
  v1::SweepProgress progress;
  progress.set_cells_total(40);
  EXPECT_EQ(SweepProgressText(progress), "0 of 40 cells");
  progress.set_cells_done(12);
  progress.set_cells_failed(1);
  progress.mutable_left()->set_seconds(180);
  EXPECT_EQ(SweepProgressText(progress), "12 of 40 cells, 1 failed, about 3 min left");
}

}  // namespace
}  // namespace thresher::client
