#include "client/path_text.h"

#include "client/job_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::RecoveryReport Report() {
  v1::RecoveryReport report;
  for (const int64_t nonzeros : {10, 20, 40}) {
    v1::PathPoint* point = report.add_path();
    point->set_nonzeros(nonzeros);
    point->set_relative_residual(1.0 / static_cast<double>(nonzeros));
    point->set_criterion_value(-1000.0 * static_cast<double>(nonzeros));
    point->set_active_neurons(nonzeros / 10);
    point->set_iterations(7);
    point->mutable_elapsed()->set_seconds(2);
    point->set_chosen(nonzeros == 20);
  }
  return report;
}

TEST(PathPage, IsATableWithTheChosenRowMarked) {
  EXPECT_EQ(PathPage(Report()),
            "\nBudgets on the path:\n"
            "WEIGHTS  RESIDUAL  CRITERION  NEURONS  ITERATIONS   TIME\n"
            "     10       0.1   -10000.0        1           7  2.0 s\n"
            "     20      0.05   -20000.0        2           7  2.0 s  <- chosen\n"
            "     40     0.025   -40000.0        4           7  2.0 s\n");
}

TEST(PathPage, ShowsTheHeldOutResidualWhereItIsTheCriterion) {
  v1::RecoveryReport report = Report();
  for (v1::PathPoint& point : *report.mutable_path()) {
    point.set_held_out_relative_residual(0.125);
  }
  EXPECT_THAT(PathPage(report), HasSubstr("HELD OUT"));
  EXPECT_THAT(PathPage(report), HasSubstr("0.125"));
  EXPECT_THAT(PathPage(report), Not(HasSubstr("CRITERION")));
  // Another budget may have a smaller error.
  EXPECT_THAT(PathPage(report), HasSubstr("within one standard error of the least"));
}

TEST(PathPage, IsEmptyWithoutAPath) { EXPECT_EQ(PathPage(v1::RecoveryReport()), ""); }

TEST(BudgetText, SaysOneBudgetOrTheRange) {
  v1::RecoverySpec spec;
  spec.mutable_options()->set_nonzeros(1);
  EXPECT_EQ(BudgetText(spec), "1 weight");
  EXPECT_EQ(BudgetColumn(spec), "1");
  spec.mutable_path()->set_min_nonzeros(5);
  spec.mutable_path()->set_max_nonzeros(80);
  EXPECT_EQ(BudgetText(spec), "5 to 80 weights, chosen by information");
  EXPECT_EQ(BudgetColumn(spec), "5-80");
  spec.mutable_path()->set_criterion(v1::SELECTION_CRITERION_K_FOLD);
  EXPECT_THAT(BudgetText(spec), HasSubstr("k_fold"));
  // Of a newer server.
  spec.mutable_path()->set_criterion(static_cast<v1::SelectionCriterion>(99));
  EXPECT_THAT(BudgetText(spec), HasSubstr("99"));
}

TEST(PhaseText, SaysWhichBudgetOfAPathIsAtWork) {
  v1::IterationReport report;
  report.set_phase(v1::SOLVE_PHASE_PRUNE);
  report.set_start(1);
  EXPECT_EQ(PhaseText(report), " (start 2, prune)");
  report.set_path_nonzeros(40);
  EXPECT_EQ(PhaseText(report), " (budget 40 of the path, start 2, prune)");
  report.set_start(-1);
  EXPECT_EQ(PhaseText(report), " (budget 40 of the path, prune)");
  report.set_phase(v1::SOLVE_PHASE_ITERATE);
  EXPECT_EQ(PhaseText(report), " (budget 40 of the path)");
}

}  // namespace
}  // namespace thresher::client
