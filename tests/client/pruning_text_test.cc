#include "client/pruning_text.h"

#include "client/job_text.h"
#include "client/watch_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::PruningFit Fit(double loss, double accuracy, int64_t num_samples) {
  v1::PruningFit fit;
  fit.set_loss(loss);
  fit.set_accuracy(accuracy);
  fit.set_num_samples(num_samples);
  return fit;
}

v1::Job PrunedModel() {
  v1::Job job;
  job.set_name("jobs/p");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  v1::PruningSpec* spec = job.mutable_pruning();
  spec->set_dataset("datasets/digits");
  spec->set_model("models/net");
  spec->mutable_model_options()->set_fraction(0.02);
  v1::PruningReport* report = job.mutable_pruning_report();
  report->set_termination_reason(v1::TERMINATION_REASON_ITERATION_LIMIT);
  report->set_iterations(30);
  report->set_rounds(1);
  report->mutable_elapsed()->set_seconds(125);
  *report->mutable_training() = Fit(0.04, 0.99, 48000);
  *report->mutable_held_out() = Fit(0.1, 0.9705, 12000);
  report->set_nonzeros(5332);
  report->set_active_neurons(180);
  v1::ModelPruningReport* of_model = report->mutable_model_report();
  of_model->mutable_options_used()->set_method(v1::PRUNING_METHOD_DISTILL);
  of_model->mutable_options_used()->set_fraction(0.02);
  *of_model->mutable_given_training() = Fit(0.01, 0.999, 48000);
  *of_model->mutable_given_held_out() = Fit(0.08, 0.98, 12000);
  of_model->set_given_nonzeros(266610);
  of_model->set_given_active_neurons(400);
  return job;
}

v1::Job PathOfModel() {
  v1::Job job = PrunedModel();
  job.mutable_pruning()->mutable_model_options()->mutable_path();
  v1::ModelPruningReport* report = job.mutable_pruning_report()->mutable_model_report();
  report->mutable_options_used()->mutable_path()->set_num_points(3);
  for (const int64_t budget : {100, 50, 20}) {
    v1::PruningPathPoint* point = report->add_path();
    point->set_budget(budget);
    point->set_nonzeros(budget - 1);
    point->set_active_neurons(budget / 10);
    *point->mutable_training() = Fit(1.0 / static_cast<double>(budget), 0.9, 10);
    *point->mutable_held_out() = Fit(2.0 / static_cast<double>(budget), 0.8, 10);
    point->mutable_elapsed()->set_seconds(2);
    point->set_knee(budget == 50);
    point->set_model("models/p-" + std::to_string(budget));
  }
  return job;
}

TEST(PruningText, AModelsPruningEndsInPlainSentences) {
  v1::Job job = PrunedModel();
  EXPECT_EQ(SummariseJob(job, std::nullopt),
            "Pruned by distill after 30 epochs (2 min 5 s).\n"
            "Held out: 97.05 % right, 0.95 points less than as given (98.00 %), 12000 samples.\n"
            "Pruned network: 5332 weights in 180 hidden neurons, of 266610 in 400 (2.0 % of the "
            "weights).\n");
  v1::PruningReport* report = job.mutable_pruning_report();
  report->mutable_model_report()->mutable_options_used()->set_method(v1::PRUNING_METHOD_OBS);
  report->set_iterations(1);
  EXPECT_THAT(SummariseJob(job, std::nullopt), HasSubstr("Pruned by obs after one shot"));
  report->set_termination_reason(v1::TERMINATION_REASON_TIME_LIMIT);
  EXPECT_THAT(PruningEndSentence(*report), HasSubstr("Stopped at the time limit"));
  EXPECT_THAT(PruningEndSentence(PathOfModel().pruning_report()),
              AllOf(HasSubstr("for 3 budgets"), HasSubstr("knee")));
}

TEST(PruningText, AnErrorIsComparedWhereThereAreNoClasses) {
  v1::PruningFit fit;
  fit.set_loss(0.5);
  fit.set_psnr_db(20);
  v1::PruningFit given = fit;
  given.set_psnr_db(25);
  EXPECT_EQ(ChangeText(fit, given), "PSNR 20.0 dB, as given 25.0 dB");
  fit.clear_psnr_db();
  given.set_loss(0);
  EXPECT_EQ(ChangeText(fit, given), "loss 0.5, as given 0");
}

TEST(PruningText, ThePageShowsBeforeAndAfter) {
  EXPECT_EQ(PruningPage(PrunedModel().pruning_report()),
            "\nBefore and after:\n"
            "                  GIVEN   PRUNED  CHANGE\n"
            "weights          266610     5332  to 2.0 %\n"
            "hidden neurons      400      180  to 45.0 %\n"
            "training loss      0.01     0.04  4 times\n"
            "training right  99.90 %  99.00 %  -0.90 points\n"
            "held-out loss      0.08      0.1  1.25 times\n"
            "held-out right  98.00 %  97.05 %  -0.95 points\n");
  EXPECT_EQ(PruningPage(v1::PruningReport()), "");
}

TEST(PruningText, SamplesWithoutTargetsAreComparedWithTheGivenModel) {
  v1::Job job = PrunedModel();
  v1::PruningReport& report = *job.mutable_pruning_report();
  EXPECT_FALSE(IsAgainstGiven(report));
  EXPECT_THAT(PruningPage(report), Not(HasSubstr("no targets")));
  report.mutable_model_report()->clear_given_training();
  report.mutable_model_report()->clear_given_held_out();
  EXPECT_TRUE(IsAgainstGiven(report));
  EXPECT_THAT(PruningPage(report), AllOf(HasSubstr("against the outputs of the given model"),
                                         HasSubstr("held-out agreement"), HasSubstr("97.0 %"),
                                         Not(HasSubstr("points"))));
  report.clear_training();  // cancelled before there was a network
  EXPECT_FALSE(IsAgainstGiven(report));
}

TEST(PruningText, ThePathIsATableWithTheKneeMarked) {
  const std::string page = PruningPage(PathOfModel().pruning_report());
  EXPECT_THAT(page, HasSubstr("Budgets on the path"));
  EXPECT_THAT(page, HasSubstr("models/p-50   <- knee\n"));
  EXPECT_THAT(page, HasSubstr("models/p-20\n"));
  EXPECT_THAT(page, HasSubstr("HELD-OUT LOSS"));
}

TEST(PruningText, BudgetsAreSaidInWords) {
  v1::ModelPruningOptions options;
  options.set_nonzeros(1);
  EXPECT_EQ(BudgetText(options), "at most 1 weight");
  EXPECT_EQ(BudgetColumn(options), "1");
  options.set_fraction(0.02);
  EXPECT_EQ(BudgetText(options), "at most 2.0 % of the weights");
  EXPECT_EQ(BudgetColumn(options), "2.0 %");
  options.mutable_path()->set_max_nonzeros(40);
  EXPECT_EQ(BudgetText(options), "8 budgets from 40 weights to a hundredth");
  EXPECT_EQ(BudgetColumn(options), "path");
  options.set_pattern_kept(2);
  options.set_pattern_size(4);
  EXPECT_EQ(MethodText(options), "distill, targets network, 2:4, loss by the model, seed 0");
}

TEST(PruningText, JobsOfModelsAreDescribedAndListed) {
  const v1::Job job = PathOfModel();
  const std::string page = FormatFields(DescribeJob(job));
  for (const char* text : {"models/net", "8 budgets", "distill", "5332 weights"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(JobTable({job}), AllOf(HasSubstr("net"), HasSubstr("path")));
}

// It has no fit that could be 0 dB.
TEST(PruningText, AnUploadedModelIsListedWithoutAFit) {
  v1::Model model;
  model.set_name("models/net");
  EXPECT_THAT(ModelTable({model}), Not(HasSubstr("dB")));
}

TEST(PruningText, ProgressSaysWhichBudget) {
  v1::JobEvent event;
  event.set_number(7);
  v1::EpochReport* report = event.mutable_pruning_progress();
  report->set_round(2);
  report->set_epoch(3);
  report->set_path_nonzeros(500);
  report->set_nonzeros(700);
  report->set_learning_rate(0.001);
  EXPECT_THAT(EventLine(event), HasSubstr("#7  budget 500 of the path, epoch 3  loss 0"));
  v1::Job job = PathOfModel();
  job.set_state(v1::JOB_STATE_RUNNING);
  WatchState state;
  state.job = job;
  Update(event, &state);
  Terminal terminal;
  terminal.width = 100;
  terminal.height = 20;
  std::string panel;
  for (const std::string& line : RenderPanel(state, terminal)) panel += line + "\n";
  EXPECT_THAT(panel, HasSubstr("weights 700 to 500"));
  report->set_epoch(0);
  EXPECT_THAT(EventLine(event),
              AllOf(HasSubstr("budget 500, pruned at once"), Not(HasSubstr("learning rate"))));
  report->set_path_nonzeros(0);
  EXPECT_EQ(EpochText(*report), "pruned at once");
}

}  // namespace
}  // namespace thresher::client
