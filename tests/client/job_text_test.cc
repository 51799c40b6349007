#include "client/job_text.h"

#include <limits>
#include <map>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace thresher::client {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

v1::PlantedSource Planted(int64_t nonzeros) {
  v1::PlantedSource planted;
  planted.set_nonzeros(nonzeros);
  return planted;
}

// A finished job whose result is the planted network.
v1::Job ExactJob() {
  v1::Job job;
  job.set_name("jobs/a");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_model("models/m");
  v1::RecoveryReport* report = job.mutable_recovery_report();
  report->set_termination_reason(v1::TERMINATION_REASON_CONVERGED);
  report->set_iterations(120);
  report->mutable_elapsed()->set_seconds(3);
  report->mutable_options_used()->set_relative_residual_tolerance(1e-6);
  report->set_nonzeros(20);
  report->set_active_neurons(12);
  report->mutable_training()->set_psnr_db(153);
  report->mutable_held_out()->set_psnr_db(152.3);
  v1::PlantedComparison* planted = report->mutable_planted();
  planted->set_support_recall(1);
  planted->set_support_precision(1);
  planted->set_relative_weight_error(3e-8);
  planted->set_relative_function_error(2e-8);
  planted->set_exact(true);
  planted->set_planted_neurons(12);
  planted->set_recovered_neurons(12);
  planted->set_planted_nonzeros(20);
  planted->set_recovered_nonzeros(20);
  planted->set_matched_nonzeros(20);
  return job;
}

TEST(ToJson, IsOneLineWithZeroFieldsAndCamelCase) {
  const std::string text = ToJson(ExactJob());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const json object = json::parse(text);
  EXPECT_EQ(object["state"], "JOB_STATE_SUCCEEDED");
  EXPECT_EQ(object["priority"], 0);
  EXPECT_EQ(object["recoveryReport"]["planted"]["supportRecall"], 1);
}

TEST(ToJson, PrintsKnownDetailsAndDoesWithoutUnknownOnes) {
  google::rpc::Status status;
  status.set_message("no");
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  status.add_details()->PackFrom(info);
  EXPECT_EQ(json::parse(ToJson(status))["details"][0]["reason"], "QUEUE_FULL");
  status.add_details()->set_type_url("type.googleapis.com/of.another.World");
  EXPECT_EQ(json::parse(ToJson(status))["message"], "no");
  v1::Job job = ExactJob();
  *job.mutable_error() = status;
  EXPECT_EQ(json::parse(ToJson(job))["name"], "jobs/a");
}

TEST(DescribeJob, NamesTheLinearTermWhereverItStands) {
  v1::Job job = ExactJob();
  job.mutable_recovery_report()->mutable_evidence()->mutable_conditioning()->set_kappa(2);
  v1::Dataset dataset;
  *dataset.mutable_planted() = Planted(20);
  v1::Model model;
  const auto texts = [&] {
    return std::vector<std::string>{
        FormatFields(DescribeJob(job)), FormatFields(DescribeDataset(dataset)),
        FormatFields(DescribeModel(model)), SummariseJob(job, Planted(20)),
        EvidencePage(job.recovery_report(), 100)};
  };
  const std::vector<std::string> without = texts();
  for (const std::string& text : without) EXPECT_THAT(text, Not(HasSubstr("linear term")));
  job.mutable_recovery()->mutable_options()->set_linear_term(v1::LINEAR_TERM_DENSE);
  job.mutable_recovery_report()->mutable_options_used()->set_linear_term(v1::LINEAR_TERM_DENSE);
  dataset.mutable_planted()->set_linear_term(true);
  model.set_linear_term(true);
  const std::vector<std::string> with = texts();
  for (size_t k = 0; k + 1 < with.size(); ++k) EXPECT_THAT(with[k], HasSubstr("linear term"));
  EXPECT_THAT(with.back(), HasSubstr("side of a neuron's hyperplane"));
}

TEST(SummariseJob, SaysWhenItIsThePlantedNetwork) {
  const std::string text = SummariseJob(ExactJob(), Planted(20));
  EXPECT_THAT(text, HasSubstr("Converged after 120 iterations (3.0 s)"));
  EXPECT_THAT(text, HasSubstr("tolerance of 1e-06"));
  EXPECT_THAT(text, HasSubstr("Recovered network: 20 of 20 planted weights found, weights within "
                              "3e-08, held-out PSNR 152.3 dB: this is the planted network."));
}

TEST(SummariseJob, SaysWhatIsMissing) {
  v1::Job job = ExactJob();
  v1::PlantedComparison* planted = job.mutable_recovery_report()->mutable_planted();
  planted->set_exact(false);
  planted->set_support_recall(0.85);
  planted->set_support_precision(17.0 / 19);
  planted->set_recovered_nonzeros(19);
  planted->set_matched_nonzeros(17);
  planted->set_relative_weight_error(0.3);
  planted->set_relative_function_error(0.12);
  planted->set_recovered_neurons(11);
  const std::string text = SummariseJob(job, Planted(20));
  EXPECT_THAT(text, HasSubstr("17 of 20 planted weights found, 2 found that are not planted"));
  EXPECT_THAT(text, HasSubstr("this is not the planted network; 3 weights are missing"));
  EXPECT_THAT(text, HasSubstr("11 neurons where 12 were planted"));
  EXPECT_THAT(text, HasSubstr("off by 0.12"));
  EXPECT_THAT(SummariseJob(job, std::nullopt), HasSubstr("17 of 20 planted weights found, 2"));
}

// Regression: the shares were multiplied by the number planted, while the comparison counts what is
// left when parallel neurons are merged: "77 of 100" for 47 of 61.
TEST(SummariseJob, CountsThePlantedWeightsThatTheComparisonCounted) {
  v1::Job job = ExactJob();
  job.mutable_recovery_report()->set_nonzeros(130);
  v1::PlantedComparison* planted = job.mutable_recovery_report()->mutable_planted();
  planted->set_exact(false);
  planted->set_support_recall(47.0 / 61);
  planted->set_support_precision(47.0 / 90);
  planted->set_planted_nonzeros(61);
  planted->set_recovered_nonzeros(90);
  planted->set_matched_nonzeros(47);
  planted->set_relative_function_error(0.5);
  const std::string text = SummariseJob(job, Planted(100));
  EXPECT_THAT(text, HasSubstr("47 of 61 planted weights found (100 before parallel neurons are "
                              "merged and dead ones dropped), 43 found that are not planted"));
  EXPECT_THAT(text, HasSubstr("14 weights are missing"));
  EXPECT_THAT(SummariseJob(job, Planted(61)), Not(HasSubstr("parallel")));
}

TEST(SummariseJob, GivesSharesWhereAnOlderRecordHasNoCounts) {
  v1::Job job = ExactJob();
  v1::PlantedComparison* planted = job.mutable_recovery_report()->mutable_planted();
  planted->clear_planted_nonzeros();
  planted->clear_recovered_nonzeros();
  planted->clear_matched_nonzeros();
  EXPECT_THAT(SummariseJob(job, Planted(20)),
              HasSubstr("100.0 % of the planted weights found, weights within"));
  planted->set_exact(false);
  planted->set_support_recall(0.85);
  planted->set_support_precision(0.9);
  planted->set_relative_function_error(0.5);
  const std::string text = SummariseJob(job, Planted(20));
  EXPECT_THAT(text, HasSubstr("85.0 % of the planted weights found, 10.0 % of the weights are not "
                              "planted"));
  EXPECT_THAT(text, Not(HasSubstr("missing")));
}

TEST(SummariseJob, TellsEqualFunctionsAndEqualSupportsApart) {
  v1::Job job = ExactJob();
  v1::PlantedComparison* planted = job.mutable_recovery_report()->mutable_planted();
  planted->set_exact(false);
  planted->set_relative_weight_error(0.01);
  planted->set_relative_function_error(0.02);
  EXPECT_THAT(SummariseJob(job, Planted(20)),
              HasSubstr("the planted support, but not the planted weights"));
  planted->set_support_recall(0.5);
  planted->set_relative_function_error(1e-7);
  EXPECT_THAT(SummariseJob(job, Planted(20)), HasSubstr("computes the planted function"));
}

TEST(SummariseJob, GivesAReasonForEveryEnd) {
  std::map<std::string, int> texts;
  for (int reason = 1; reason <= 5; ++reason) {
    v1::Job job = ExactJob();
    job.mutable_recovery_report()->set_termination_reason(
        static_cast<v1::TerminationReason>(reason));
    const std::string text = SummariseJob(job, std::nullopt);
    EXPECT_THAT(text, HasSubstr("120 iterations"));
    ++texts[text];
  }
  EXPECT_EQ(texts.size(), 5u);
}

TEST(SummariseJob, GivesTheAccuracyOfClasses) {
  v1::Job job = ExactJob();
  job.mutable_recovery_report()->clear_planted();
  job.mutable_recovery_report()->mutable_held_out()->set_accuracy(0.991);
  job.mutable_recovery_report()->mutable_held_out()->set_num_samples(2400);
  const std::string text = SummariseJob(job, std::nullopt);
  EXPECT_THAT(text, HasSubstr("Held out: 99.10 % right"));
  EXPECT_THAT(text, HasSubstr("2400 samples"));
  EXPECT_THAT(text, HasSubstr("20 weights in 12 neurons"));
  EXPECT_THAT(text, Not(HasSubstr("planted")));
}

// Regression: "PSNR -400.0 dB, relative residual inf" where all samples are of the class zero.
TEST(SummariseJob, LeavesOutWhatIsRelativeToTargetsOfZero) {
  v1::Job job = ExactJob();
  v1::FitQuality* held_out = job.mutable_recovery_report()->mutable_held_out();
  held_out->set_accuracy(1);
  held_out->set_loss(0.125);
  held_out->set_num_samples(7);
  held_out->set_psnr_db(-400);
  held_out->set_relative_residual(std::numeric_limits<double>::infinity());
  EXPECT_THAT(SummariseJob(job, std::nullopt),
              HasSubstr("Held out: 100.00 % right, loss 0.125 (7 samples)."));
  held_out->clear_accuracy();
  EXPECT_THAT(SummariseJob(job, std::nullopt), HasSubstr("PSNR -400.0 dB, relative residual inf"));
}

v1::Job CancelledSweep() {
  v1::Job job;
  job.set_state(v1::JOB_STATE_CANCELLED);
  job.mutable_sweep();
  v1::SweepReport* report = job.mutable_sweep_report();
  report->set_termination_reason(v1::TERMINATION_REASON_CANCELLED);
  report->set_cells_total(12);
  report->set_cells_done(2);
  for (int i = 0; i < 2; ++i) report->add_rows()->set_state(v1::SWEEP_CELL_STATE_CANCELLED);
  return job;
}

// Regression: "Cancelled after 2 of 12 cells" where none had finished.
TEST(SummariseJob, CellsThatWereCancelledAreNotDone) {
  v1::Job job = CancelledSweep();
  EXPECT_THAT(SummariseJob(job, std::nullopt),
              HasSubstr("Cancelled after 0 of 12 cells, 2 cancelled while running ("));
  job.mutable_sweep_report()->mutable_rows(0)->set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
  EXPECT_THAT(SummariseJob(job, std::nullopt),
              HasSubstr("Cancelled after 1 of 12 cells, 1 cancelled while running ("));
  job.mutable_sweep_report()->mutable_rows(1)->set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
  EXPECT_THAT(SummariseJob(job, std::nullopt), HasSubstr("Cancelled after 2 of 12 cells ("));
}

TEST(DescribeJob, LeavesOutACostThatIsNotKnown) {
  v1::Job job = CancelledSweep();
  job.mutable_predicted_cost();
  EXPECT_THAT(FormatFields(DescribeJob(job)), Not(HasSubstr("cost")));
  job.mutable_predicted_cost()->set_peak_memory_bytes(3 << 20);
  EXPECT_THAT(FormatFields(DescribeJob(job)), HasSubstr("3 MiB of memory\n"));
  job.mutable_predicted_cost()->set_flops_per_iteration(2000);
  EXPECT_THAT(FormatFields(DescribeJob(job)), HasSubstr("of memory, 2e+03 operations"));
}

// Regression: "auto" was all that a job that had ended said.
TEST(DescribeJob, NamesTheAlgorithmThatWasChosen) {
  v1::Job job = ExactJob();
  job.mutable_recovery()->mutable_options()->set_hidden_width(3);
  v1::Job queued = job;
  queued.clear_recovery_report();
  EXPECT_THAT(FormatFields(DescribeJob(queued)), HasSubstr("auto, seed 0"));
  job.mutable_recovery_report()->mutable_options_used()->set_algorithm(v1::ALGORITHM_WINNOW);
  EXPECT_THAT(FormatFields(DescribeJob(job)), HasSubstr("winnow, chosen by the server, seed 0"));
  job.mutable_recovery()->mutable_options()->set_algorithm(v1::ALGORITHM_WINNOW);
  EXPECT_THAT(FormatFields(DescribeJob(job)), HasSubstr("winnow, seed 0"));
}

TEST(SummariseJob, TellsWhyAJobFailedWithoutItsEscapeSequences) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_FAILED);
  job.mutable_error()->set_message("not enough memory\x1b[2J");
  EXPECT_EQ(SummariseJob(job, std::nullopt), "The job failed: not enough memory?[2J\n");
  job.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(SummariseJob(job, std::nullopt), "The job was cancelled before it had a network.\n");
}

// Evidence with every number set.
v1::RecoveryReport ReportWithEvidence() {
  v1::RecoveryReport report = ExactJob().recovery_report();
  report.mutable_training()->set_num_samples(800);
  report.mutable_options_used()->set_gate_mode(v1::GATE_MODE_SEQUENTIAL);
  v1::RecoveryEvidence* evidence = report.mutable_evidence();
  evidence->set_verdict(v1::VERDICT_EXPLAINS);
  evidence->add_findings("The network explains 800 training samples and 200 held-out samples.");
  evidence->add_findings("Hostile\x1b[2J.");
  evidence->set_weakest_kept(0.05);
  evidence->set_strongest_left_out(1e-9);
  evidence->set_smallest_saliency(0.0012);
  evidence->mutable_conditioning()->set_smallest_eigenvalue(0.25);
  evidence->mutable_conditioning()->set_largest_eigenvalue(2.5);
  evidence->mutable_conditioning()->set_kappa(10);
  evidence->set_hard_thresholding_nonzeros(1999.5);
  evidence->set_reciprocal_thresholding_nonzeros(380);
  evidence->set_smallest_active_fraction(0.21);
  evidence->set_smallest_pattern_difference(0.4);
  evidence->set_compared_patterns(12);
  evidence->set_starts_tried(3);
  evidence->set_starts_agreeing(2);
  evidence->set_distinct_samples(799);
  return report;
}

TEST(EvidencePage, GivesEveryNumberItsMeaning) {
  const std::string page = EvidencePage(ReportWithEvidence(), 60);
  EXPECT_THAT(page, HasSubstr("\nEvidence: explains the data\n"
                              "  The network explains 800 training samples and 200 held-out\n"
                              "  samples.\n"
                              "  Hostile?[2J.\n"));
  for (const char* text :
       {"  gates                sequential\n",
        "  weakest weight kept  0.05 of the norm of the targets\n",
        "  strongest left out   1e-09 of the norm of the targets, a gap of 5e+07 times\n",
        "0.0012 of the squared norm", "10 (eigenvalues 0.25 to 2.5, columns of norm 1)",
        "2000 weights while iterating (reciprocal thresholding: 380 weights)", "on for 21.0 %",
        "the two most similar of 12 neurons differ on 40.0 %\n", "2 of 3 ended", "799 of 800"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(EvidencePage, SaysWhatIsMissingOrBounded) {
  v1::RecoveryReport report = ReportWithEvidence();
  v1::RecoveryEvidence* evidence = report.mutable_evidence();
  evidence->clear_smallest_saliency();
  evidence->mutable_conditioning()->set_is_bound(true);
  std::string page = EvidencePage(report, 100);
  EXPECT_THAT(page, HasSubstr("not computed"));
  EXPECT_THAT(page, HasSubstr("at least 10 "));
  evidence->mutable_conditioning()->set_kappa(std::numeric_limits<double>::infinity());
  evidence->clear_hard_thresholding_nonzeros();
  page = EvidencePage(report, 100);
  EXPECT_THAT(page, HasSubstr("infinite: the columns are linearly dependent"));
  EXPECT_THAT(page, Not(HasSubstr("theory asks")));
  evidence->clear_conditioning();
  EXPECT_THAT(EvidencePage(report, 100), Not(HasSubstr("kappa")));
  report.clear_evidence();
  EXPECT_EQ(EvidencePage(report, 100), "");
}

TEST(EvidencePage, HasWordsForEveryVerdict) {
  std::map<std::string, int> pages;
  v1::RecoveryReport report = ReportWithEvidence();
  for (int verdict = v1::Verdict_MIN; verdict <= v1::Verdict_MAX + 1; ++verdict) {
    report.mutable_evidence()->set_verdict(static_cast<v1::Verdict>(verdict));
    ++pages[EvidencePage(report, 100)];
  }
  EXPECT_EQ(pages.size(), static_cast<size_t>(v1::Verdict_ARRAYSIZE) + 1);
}

TEST(EventLine, NumbersEventsAndStaysOnOneLine) {
  v1::JobEvent event;
  event.set_number(7);
  event.mutable_state_change()->set_state(v1::JOB_STATE_RUNNING);
  event.mutable_state_change()->set_message("attempt 1\nof many");
  EXPECT_THAT(EventLine(event), HasSubstr("#7  RUNNING  attempt 1?of many"));
  event.mutable_progress()->set_iteration(3);
  event.mutable_progress()->set_relative_residual(0.125);
  EXPECT_THAT(EventLine(event), HasSubstr("iteration 3  residual 0.125"));
  EXPECT_THAT(EventLine(event), Not(HasSubstr("step")));
  EXPECT_THAT(EventLine(event), Not(HasSubstr("new")));
  event.mutable_progress()->set_step_size(0.5);
  event.mutable_progress()->set_support_changes(4);
  event.mutable_progress()->set_support_size(9);
  EXPECT_THAT(EventLine(event), HasSubstr("support 9 (4 new)  neurons 0  step 0.5"));
  // What training for classes does not count is left out.
  event.mutable_progress()->set_phase(v1::SOLVE_PHASE_TRAIN);
  EXPECT_THAT(EventLine(event), HasSubstr("(start 1, train)  residual 0.125  support 9 (4 new)  "
                                          "step 0.5"));
}

TEST(Describe, NamesLayersAndOutputsWhereThereAreSeveral) {
  v1::Dataset dataset;
  *dataset.mutable_planted() = Planted(20);
  dataset.mutable_planted()->set_hidden_width(7);
  v1::Model model;
  model.set_num_outputs(1);
  model.add_hidden_widths(7);
  EXPECT_THAT(FormatFields(DescribeDataset(dataset)), HasSubstr("hidden width 7, 20 weights"));
  EXPECT_THAT(FormatFields(DescribeModel(model)), Not(HasSubstr("output")));
  EXPECT_THAT(FormatFields(DescribeModel(model)), Not(HasSubstr("hidden widths")));
  dataset.mutable_planted()->set_hidden_layers(2);
  dataset.mutable_planted()->set_num_outputs(10);
  model.set_num_outputs(10);
  model.add_hidden_widths(5);
  EXPECT_THAT(FormatFields(DescribeDataset(dataset)),
              HasSubstr("2 hidden layers of 7, 10 outputs, 20 weights"));
  EXPECT_THAT(FormatFields(DescribeModel(model)), HasSubstr("10 outputs, "));
  EXPECT_THAT(FormatFields(DescribeModel(model)), HasSubstr("7, 5"));
}

TEST(Tables, HaveALineForEachResource) {
  EXPECT_THAT(JobTable({ExactJob(), ExactJob()}), HasSubstr("\na   SUCCEEDED"));
  v1::Dataset dataset;
  dataset.set_name("datasets/d");
  dataset.set_size_bytes(2048);
  EXPECT_THAT(DatasetTable({dataset}), HasSubstr("2 KiB"));
  v1::Model model;
  model.set_name("models/m");
  model.mutable_report()->mutable_held_out()->set_accuracy(0.5);
  EXPECT_THAT(ModelTable({model}), HasSubstr("50.00 %"));
  EXPECT_EQ(JobTable({}).find('\n'), JobTable({}).size() - 1);
}

TEST(Describe, NamesTheResourceAndItsLabels) {
  v1::Job job = ExactJob();
  (*job.mutable_labels())["team"] = "vision";
  const std::string text = FormatFields(DescribeJob(job));
  EXPECT_THAT(text, HasSubstr("jobs/a"));
  EXPECT_THAT(text, HasSubstr("team=vision"));
  EXPECT_THAT(text, HasSubstr("SUCCEEDED"));
}

TEST(Describe, SamplesApartAreNamed) {
  v1::Job job = ExactJob();
  v1::RecoverySpec& spec = *job.mutable_recovery();
  spec.set_held_out_dataset("datasets/test");
  spec.mutable_validation()->set_patience(5);
  v1::RecoveryReport& report = *job.mutable_recovery_report();
  report.set_termination_reason(v1::TERMINATION_REASON_EARLY_STOPPED);
  report.mutable_validation()->set_relative_residual(0.125);
  report.mutable_validation()->set_num_samples(40);
  report.set_best_iteration(17);
  const std::string page = FormatFields(DescribeJob(job));
  EXPECT_THAT(page, HasSubstr("datasets/test"));
  EXPECT_THAT(page, HasSubstr("20.0 % of the samples not held out, patience 5 networks"));
  EXPECT_THAT(page, HasSubstr("relative residual 0.125 (40 samples), after iteration 17"));
  const std::string summary = SummariseJob(job, std::nullopt);
  EXPECT_THAT(summary, HasSubstr("Stopped early, after "));
  EXPECT_THAT(summary, HasSubstr("Validation: "));
  spec.mutable_validation()->set_dataset("datasets/more");
  EXPECT_THAT(FormatFields(DescribeJob(job)), HasSubstr("datasets/more, patience 5 networks"));

  v1::JobEvent event;
  event.mutable_progress()->mutable_validation()->set_relative_residual(0.25);
  EXPECT_THAT(EventLine(event), HasSubstr("validation residual 0.25"));
  event.mutable_progress()->mutable_validation()->set_loss(0.5);
  event.mutable_progress()->mutable_validation()->set_accuracy(0.75);
  EXPECT_THAT(EventLine(event), HasSubstr("validation loss 0.5, 75.00 % right"));
  event.mutable_pruning_progress()->set_loss(2);
  EXPECT_THAT(EventLine(event), testing::Not(HasSubstr("validation")));
  event.mutable_pruning_progress()->mutable_validation()->set_loss(0.5);
  EXPECT_THAT(EventLine(event), HasSubstr("validation loss 0.5"));
}

// A finished pruning of a data set with classes.
v1::Job PrunedJob() {
  v1::Job job;
  job.set_name("jobs/p");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_model("models/p");
  v1::PruningSpec* spec = job.mutable_pruning();
  spec->set_dataset("datasets/digits");
  spec->mutable_options()->add_hidden_widths(300);
  spec->mutable_options()->add_hidden_widths(100);
  spec->mutable_options()->set_nonzeros(2000);
  v1::PruningReport* report = job.mutable_pruning_report();
  report->set_termination_reason(v1::TERMINATION_REASON_ITERATION_LIMIT);
  report->set_iterations(1450);
  report->set_rounds(29);
  report->mutable_elapsed()->set_seconds(125);
  report->mutable_training()->set_loss(0.125);
  report->mutable_training()->set_accuracy(0.975);
  report->mutable_training()->set_num_samples(60000);
  report->mutable_held_out()->set_loss(0.25);
  report->mutable_held_out()->set_psnr_db(12.5);
  report->mutable_held_out()->set_num_samples(1);
  report->set_nonzeros(1990);
  report->set_active_neurons(150);
  return job;
}

TEST(Pruning, EndsInPlainSentences) {
  v1::Job job = PrunedJob();
  EXPECT_EQ(SummariseJob(job, std::nullopt),
            "Pruned to the budget after 1450 epochs in 29 rounds (2 min 5 s).\n"
            "Training: loss 0.125, 97.50 % right (60000 samples).\n"
            "Held out: loss 0.25, PSNR 12.5 dB (1 sample).\n"
            "Pruned network: 1990 weights in 150 hidden neurons.\n");
  job.mutable_pruning_report()->set_termination_reason(v1::TERMINATION_REASON_TIME_LIMIT);
  job.mutable_pruning_report()->set_partial(true);
  EXPECT_THAT(SummariseJob(job, std::nullopt), HasSubstr("Stopped at the time limit"));
  job.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(SummariseJob(job, std::nullopt), Not(HasSubstr("before it had a network")));
}

TEST(Pruning, IsDescribedAndListed) {
  v1::Job job = PrunedJob();
  // The server chose it.
  job.mutable_pruning_report()->mutable_options_used()->set_loss(v1::LOSS_CROSS_ENTROPY);
  const std::string page = FormatFields(DescribeJob(job));
  for (const char* text : {"datasets/digits", "hidden widths 300, 100, at most 2000 weights",
                           "imp, rounds, magnitude, seed 0", "cross_entropy", "97.50 % right"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  const std::string table = JobTable({job});
  for (const char* text : {"digits", "300-100", "2000"}) EXPECT_THAT(table, HasSubstr(text));
  v1::Model model;
  *model.mutable_pruning_spec() = job.pruning();
  *model.mutable_pruning_report() = job.pruning_report();
  EXPECT_THAT(FormatFields(DescribeModel(model)), HasSubstr("Pruned to the budget"));
  EXPECT_THAT(ModelTable({model}), HasSubstr("12.5 dB"));
}

TEST(Pruning, AnEpochIsOneLine) {
  v1::JobEvent event;
  event.set_number(7);
  v1::EpochReport* report = event.mutable_pruning_progress();
  report->set_round(3);
  report->set_epoch(12);
  report->set_loss(0.5);
  report->set_accuracy(0.9);
  report->set_nonzeros(810);
  report->set_learning_rate(0.001);
  EXPECT_THAT(EventLine(event), HasSubstr("#7  round 3, epoch 12  loss 0.5, 90.00 % right  weights "
                                          "810  learning rate 0.001  elapsed 0 s"));
  v1::Job job = PrunedJob();
  job.clear_pruning_report();
  job.set_state(v1::JOB_STATE_RUNNING);
  *job.mutable_pruning_progress() = *report;
  EXPECT_THAT(FormatFields(DescribeJob(job)),
              HasSubstr("round 3, epoch 12, loss 0.5, 90.00 % right, 810 weights"));
}

}  // namespace
}  // namespace thresher::client
