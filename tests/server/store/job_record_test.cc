#include "server/store/job_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace thresher::store {
namespace {

JobRecord FullRecord() {
  JobRecord record;
  record.id = "job";
  std::get<RecoverySpec>(record.spec).dataset_id = "data";
  std::get<RecoverySpec>(record.spec).options.hidden_width = 1'000'000;
  std::get<RecoverySpec>(record.spec).options.nonzeros = 1000;
  std::get<RecoverySpec>(record.spec).options.working_nonzeros = 1500;
  std::get<RecoverySpec>(record.spec).options.algorithm = Algorithm::kHtp;
  std::get<RecoverySpec>(record.spec).options.gate_mode = GateMode::kRandom;
  std::get<RecoverySpec>(record.spec).options.output_signs = OutputSigns::kMixed;
  std::get<RecoverySpec>(record.spec).options.bias = true;
  std::get<RecoverySpec>(record.spec).options.linear_term = LinearTerm::kSparse;
  std::get<RecoverySpec>(record.spec).options.choose_loss = true;
  std::get<RecoverySpec>(record.spec).options.choose_output_signs = true;
  std::get<RecoverySpec>(record.spec).options.seed = std::numeric_limits<uint64_t>::max();
  std::get<RecoverySpec>(record.spec).options.step_size = 0.1;
  std::get<RecoverySpec>(record.spec).options.termination.max_iterations = 7;
  std::get<RecoverySpec>(record.spec).split.held_out_fraction = 1.0 / 3;
  std::get<RecoverySpec>(record.spec).split.split_seed = 9;
  std::get<RecoverySpec>(record.spec).initial_model_id = "start";
  std::get<RecoverySpec>(record.spec).path = PathOptions{.min_nonzeros = 3,
                                                         .max_nonzeros = 2000,
                                                         .criterion = SelectionCriterion::kKFold,
                                                         .search = PathSearch::kGoldenSection,
                                                         .validation_fraction = 0.1,
                                                         .num_folds = 7,
                                                         .max_points = 8};
  record.priority = -5;
  record.labels = {{"team", "caf\xc3\xa9"}};
  record.time_limit_seconds = 12.5;
  record.state = JobState::kFailed;
  record.create_time = Timestamp(std::chrono::microseconds(1'700'000'000'123'456));
  record.start_time = record.create_time + std::chrono::seconds(1);
  record.end_time = record.create_time + std::chrono::seconds(2);
  record.attempt_count = 3;
  record.predicted_cost = {.peak_memory_bytes = int64_t{1} << 40, .flops_per_iteration = 1e15};
  record.error = JobError{absl::StatusCode::kDataLoss, "bad \xff bytes"};
  record.progress = IterationReport{.iteration = 4,
                                    .relative_residual = 0.25,
                                    .psnr_db = std::numeric_limits<double>::infinity(),
                                    .step_size = 1e-17,
                                    .support_size = 6,
                                    .path_nonzeros = 40,
                                    .path_points = 5,
                                    .loss = 0.7,
                                    .accuracy = 0.8,
                                    .r_squared = 0.9};
  record.model_id = "model";
  RecoveryReport report;
  report.termination_reason = TerminationReason::kTimeLimit;
  report.training = {.num_samples = 3,
                     .relative_residual = 0.5,
                     .psnr_db = 1,
                     .accuracy = 0.75,
                     .loss = 0.6,
                     .r_squared = 0.5};
  report.held_out = FitQuality();
  report.planted = PlantedComparison{.support_recall = 0.5,
                                     .exact = true,
                                     .planted_neurons = 2,
                                     .planted_nonzeros = 6,
                                     .recovered_nonzeros = 5,
                                     .matched_nonzeros = 3};
  report.partial = true;
  report.evidence = RecoveryEvidence{.verdict = Verdict::kUndetermined,
                                     .findings = {"caf\xc3\xa9", "two"},
                                     .weakest_kept = 0.1,
                                     .strongest_left_out = 0.2,
                                     .smallest_saliency = 0.3,
                                     .conditioning = Conditioning{.smallest_eigenvalue = 0,
                                                                  .largest_eigenvalue = 2,
                                                                  .is_bound = true,
                                                                  .smallest_saliency = {}},
                                     .hard_thresholding_nonzeros = 0.4,
                                     .reciprocal_thresholding_nonzeros = 0.5,
                                     .smallest_active_fraction = 0.6,
                                     .smallest_pattern_difference = 0.7,
                                     .compared_patterns = 8,
                                     .starts_tried = 9,
                                     .starts_agreeing = 10,
                                     .distinct_samples = 11};
  report.path = {{.nonzeros = 3, .relative_residual = 0.5, .criterion_value = -7.25},
                 {.nonzeros = 4,
                  .relative_residual = 0.25,
                  .held_out_relative_residual = 0.3,
                  .criterion_value = 0.3,
                  .active_neurons = 2,
                  .iterations = 9,
                  .elapsed_seconds = 1.5,
                  .chosen = true}};
  record.report = report;
  record.latest_event_number = 44;
  record.checkpoint_sha256 = "ab";
  record.checkpoint_iteration = 3;
  record.crash_count = 2;
  return record;
}

TEST(JobRecordTest, SamplesApartRoundTrip) {
  JobRecord record = FullRecord();
  auto& spec = std::get<RecoverySpec>(record.spec);
  spec.split = {.held_out_fraction = 0,
                .held_out_dataset_id = "test",
                .split_seed = 9,
                .validation = ValidationSpec{.fraction = 1.0 / 3, .patience = 4}};
  std::get<IterationReport>(*record.progress).validation =
      FitQuality{.num_samples = 3, .relative_residual = 0.5, .loss = 0.75};
  auto& report = std::get<RecoveryReport>(*record.report);
  report.termination_reason = TerminationReason::kEarlyStopped;
  report.validation = FitQuality{.num_samples = 5, .relative_residual = 1.0 / 7};
  report.best_iteration = 12;
  auto read = JobRecordFromJson(JobRecordToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), JobRecordToJson(record));
  const SampleSplit& split = std::get<RecoverySpec>(read->spec).split;
  EXPECT_EQ(split.held_out_dataset_id, "test");
  EXPECT_EQ(split.validation->fraction, 1.0 / 3);
  EXPECT_EQ(split.validation->patience, 4);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).validation->loss, 0.75);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).validation->relative_residual, 1.0 / 7);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).best_iteration, 12);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).termination_reason,
            TerminationReason::kEarlyStopped);
  EXPECT_THAT(DatasetIdsOf(read->spec), testing::ElementsAre("data", "test"));

  PruningSpec pruning;
  pruning.dataset_id = "data";
  pruning.split = {.validation = ValidationSpec{.dataset_id = "more"}};
  record.spec = pruning;
  record.progress = PruneReport{.iteration = 1, .validation = Fit{.loss = 1.0 / 3}};
  record.report =
      PruningReport{.validation = PruningFit{7, {.loss = 1.0 / 9}}, .best_iteration = 3};
  read = JobRecordFromJson(JobRecordToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), JobRecordToJson(record));
  EXPECT_EQ(std::get<PruningSpec>(read->spec).split.validation->dataset_id, "more");
  EXPECT_EQ(std::get<PruneReport>(*read->progress).validation->loss, 1.0 / 3);
  EXPECT_EQ(std::get<PruningReport>(*read->report).validation->fit.loss, 1.0 / 9);
  EXPECT_EQ(std::get<PruningReport>(*read->report).best_iteration, 3);
  EXPECT_THAT(DatasetIdsOf(read->spec), testing::ElementsAre("data", "more"));

  record.spec = SweepSpec{.dataset_id = "data", .nonzeros = {3}, .held_out_dataset_id = "test"};
  record.progress.reset();
  record.report.reset();
  read = JobRecordFromJson(JobRecordToJson(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<SweepSpec>(read->spec).held_out_dataset_id, "test");
  EXPECT_THAT(DatasetIdsOf(read->spec), testing::ElementsAre("data", "test"));
  EXPECT_THAT(DatasetIdsOf(SweepSpec{}), testing::IsEmpty());
}

// Records of before there was the option read as records without it.
TEST(JobRecordTest, WithoutALinearTermNothingIsWritten) {
  JobRecord record = FullRecord();
  std::get<RecoverySpec>(record.spec).options.linear_term = LinearTerm::kNone;
  const std::string text = JobRecordToJson(record);
  EXPECT_EQ(text.find("linear_term"), std::string::npos);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).options.linear_term, LinearTerm::kNone);
}

TEST(JobRecordTest, AComparisonOfBeforeItsCountsReadsWithoutThem) {
  const std::string text = JobRecordToJson(FullRecord());
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).planted->matched_nonzeros, 3);
  auto json = nlohmann::json::parse(text);
  for (const char* count : {"planted_nonzeros", "recovered_nonzeros", "matched_nonzeros"}) {
    ASSERT_EQ(json.at("report").at("planted").erase(count), 1u) << count;
  }
  read = JobRecordFromJson(json.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  const PlantedComparison& planted = *std::get<RecoveryReport>(*read->report).planted;
  EXPECT_EQ(planted.planted_nonzeros, 0);
  EXPECT_EQ(planted.matched_nonzeros, 0);
  EXPECT_EQ(planted.planted_neurons, 2);
}

TEST(JobRecordTest, APruningRoundTripsEveryField) {
  JobRecord record = FullRecord();
  PruningSpec spec;
  spec.dataset_id = "digits";
  spec.options = {.hidden_widths = {300, 100},
                  .nonzeros = 2000,
                  .bias = true,
                  .loss = Loss::kCrossEntropy,
                  .choose_loss = true,
                  .epochs = 7,
                  .batch_size = 0,
                  .learning_rate = 0.1,
                  .learning_rate_decay = 0.2,
                  .schedule = PruneSchedule::kGradual,
                  .saliency = Saliency::kFisher,
                  .seed = std::numeric_limits<uint64_t>::max(),
                  .prune_fraction = 0.3,
                  .rewind_epoch = 4,
                  .retrain_after_last_prune = true,
                  .schedule_power = 5,
                  .prune_end = 0.6,
                  .num_threads = 8,
                  .time_limit_seconds = 9.5};
  spec.split = {.held_out_fraction = 1.0 / 3, .split_seed = 6};
  record.spec = spec;
  record.progress = PruneReport{.iteration = 1,
                                .round = 2,
                                .epoch = 3,
                                .fit = {.loss = 1e-17, .accuracy = 0.25, .r_squared = -1.5},
                                .nonzeros = 4,
                                .learning_rate = 0.5,
                                .divergences = 6,
                                .elapsed_seconds = 7.5};
  record.report = PruningReport{.termination_reason = TerminationReason::kTimeLimit,
                                .iterations = 8,
                                .rounds = 9,
                                .elapsed_seconds = 10.5,
                                .options_used = spec.options,
                                .training = {.num_samples = 11, .fit = {.loss = 0.5}},
                                .held_out = PruningFit{12, {.loss = 0.75, .psnr_db = 400.0}},
                                .nonzeros = 13,
                                .active_neurons = 14,
                                .divergences = 15,
                                .partial = true};
  const std::string text = JobRecordToJson(record);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), text);
  const auto& options = std::get<PruningSpec>(read->spec).options;
  EXPECT_EQ(options.hidden_widths, spec.options.hidden_widths);
  EXPECT_EQ(options.seed, spec.options.seed);
  EXPECT_EQ(options.loss, Loss::kCrossEntropy);
  EXPECT_TRUE(options.choose_loss);
  EXPECT_EQ(options.schedule, PruneSchedule::kGradual);
  EXPECT_EQ(options.saliency, Saliency::kFisher);
  EXPECT_EQ(options.schedule_power, 5);
  const auto& progress = std::get<PruneReport>(*read->progress);
  EXPECT_EQ(progress.fit.loss, 1e-17);
  EXPECT_FALSE(progress.fit.psnr_db.has_value());
  EXPECT_EQ(progress.fit.accuracy, 0.25);
  EXPECT_EQ(progress.fit.r_squared, -1.5);
  EXPECT_EQ(progress.divergences, 6);
  EXPECT_EQ(progress.elapsed_seconds, 7.5);
  const auto& report = std::get<PruningReport>(*read->report);
  EXPECT_EQ(report.termination_reason, TerminationReason::kTimeLimit);
  EXPECT_EQ(report.held_out->fit.psnr_db, 400);
  EXPECT_EQ(report.active_neurons, 14);
  EXPECT_TRUE(report.partial);
  JobEvent event;
  event.number = 5;
  event.event = *record.progress;
  auto event_read = JobEventFromJson(5, JobEventToJson(event));
  ASSERT_TRUE(event_read.ok()) << event_read.status();
  EXPECT_EQ(std::get<PruneReport>(std::get<JobProgress>(event_read->event)).round, 2);
}

TEST(JobRecordTest, APruningOfAModelRoundTripsEveryField) {
  PruningSpec spec = {.dataset_id = "digits", .model_id = "net"};
  spec.model_options = {.train = false,
                        .distill = {.one_shot = {.method = OneShotMethod::kCurvature,
                                                 .nonzeros = 2000,
                                                 .scope = PruneScope::kPerLayer,
                                                 .pattern_kept = 2,
                                                 .pattern_size = 4,
                                                 .whole_neurons = true,
                                                 .damping = 0.3,
                                                 .max_samples = 5,
                                                 .stages = 6,
                                                 .seed = std::numeric_limits<uint64_t>::max()},
                                    .start_factor = 2.5,
                                    .targets = PruneTargets::kLabels,
                                    .epochs = 7,
                                    .batch_size = 0,
                                    .learning_rate = 0.1,
                                    .learning_rate_decay = 0.2,
                                    .schedule_power = 5,
                                    .prune_end = 0.7},
                        .loss = Loss::kLogistic,
                        .fraction = 0.125,
                        .path = PruningPath{.min_nonzeros = 1, .max_nonzeros = 9, .num_points = 3}};
  const PruningFit fit = {.num_samples = 11, .fit = {.loss = 0.5, .accuracy = 0.25}};
  JobRecord record = FullRecord();
  record.spec = spec;
  record.progress = PruneReport{.iteration = 1, .path_nonzeros = 44};
  record.report =
      PruningReport{.nonzeros = 13,
                    .model = ModelPruningReport{.options_used = spec.model_options,
                                                .given_training = fit,
                                                .given_held_out = PruningFit{12, {.loss = 0.75}},
                                                .given_nonzeros = 266610,
                                                .given_active_neurons = 410,
                                                .path = {{.budget = 20,
                                                          .nonzeros = 19,
                                                          .active_neurons = 5,
                                                          .training = fit,
                                                          .held_out = fit,
                                                          .iterations = 30,
                                                          .elapsed_seconds = 1.5,
                                                          .knee = true,
                                                          .model_id = "job-20"},
                                                         {.budget = 10, .training = fit}}}};
  const std::string text = JobRecordToJson(record);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), text);
  EXPECT_EQ(ModelIdOf(read->spec), "net");
  const ModelPruningOptions& options = std::get<PruningSpec>(read->spec).model_options;
  EXPECT_FALSE(options.train);
  EXPECT_EQ(options.loss, Loss::kLogistic);
  EXPECT_EQ(options.fraction, 0.125);
  EXPECT_EQ(options.path->num_points, 3);
  const OneShotOptions& one_shot = options.distill.one_shot;
  EXPECT_EQ(one_shot.method, OneShotMethod::kCurvature);
  EXPECT_EQ(one_shot.scope, PruneScope::kPerLayer);
  EXPECT_EQ(one_shot.pattern_size, 4);
  EXPECT_TRUE(one_shot.whole_neurons);
  EXPECT_EQ(one_shot.seed, spec.model_options.distill.one_shot.seed);
  EXPECT_EQ(options.distill.targets, PruneTargets::kLabels);
  EXPECT_EQ(options.distill.prune_end, 0.7);
  EXPECT_EQ(std::get<PruneReport>(*read->progress).path_nonzeros, 44);
  const ModelPruningReport& report = *std::get<PruningReport>(*read->report).model;
  EXPECT_EQ(report.given_held_out->fit.loss, 0.75);
  EXPECT_EQ(report.given_active_neurons, 410);
  ASSERT_EQ(report.path.size(), 2);
  EXPECT_TRUE(report.path[0].knee);
  EXPECT_EQ(report.path[0].model_id, "job-20");
  EXPECT_EQ(report.path[0].held_out->fit.accuracy, 0.25);
  EXPECT_FALSE(report.path[1].held_out.has_value());
}

// Events of before there were paths.
TEST(JobRecordTest, AnEpochWithoutAPathIsRead) {
  auto event = JobEventFromJson(
      5, R"({"time": 1, "pruning_progress": [1, 2, 3, 0.5, null, null, 4, 0.25, 0, 1.5]})");
  ASSERT_TRUE(event.ok()) << event.status();
  const auto& report = std::get<PruneReport>(std::get<JobProgress>(event->event));
  EXPECT_EQ(report.path_nonzeros, 0);
  EXPECT_EQ(report.elapsed_seconds, 1.5);
}

// Events of before there were metrics of the task.
TEST(JobRecordTest, AnIterationWithoutMetricsIsRead) {
  auto event = JobEventFromJson(
      5, R"({"time": 1, "progress": [4, 0.25, 12, 0.5, 6, 1, 2, 0.2, 1.5, "expand", 3, 40, 5]})");
  ASSERT_TRUE(event.ok()) << event.status();
  const auto& report = std::get<IterationReport>(std::get<JobProgress>(event->event));
  EXPECT_EQ(report.path_points, 5);
  EXPECT_FALSE(report.loss.has_value());
  EXPECT_FALSE(report.r_squared.has_value());
}

TEST(JobRecordTest, ASweepRoundTripsEveryField) {
  JobRecord record = FullRecord();
  SweepSpec spec;
  spec.planted = PlantedOptions{.num_inputs = 7, .num_outputs = 3, .hidden_layers = 2};
  spec.hidden_widths = {1, 20};
  spec.nonzeros = {30};
  spec.num_samples = {400, 500};
  spec.seeds = {std::numeric_limits<uint64_t>::max()};
  spec.methods = {{.name = "a", .options = RecoveryOptions{.algorithm = Algorithm::kAiht}},
                  {.name = "b", .options = PruneOptions{.epochs = 3}}};
  spec.hidden_layers = 2;
  spec.held_out_fraction = 1.0 / 3;
  spec.cell_time_limit_seconds = 4.5;
  spec.keep_models = true;
  record.spec = spec;
  record.progress = SweepProgress{.cells_total = 5,
                                  .cells_done = 4,
                                  .cells_failed = 3,
                                  .elapsed_seconds = 2.5,
                                  .left_seconds = 1.5};
  record.report = SweepReport{.termination_reason = TerminationReason::kTimeLimit,
                              .cells_total = 5,
                              .cells_done = 4,
                              .cells_failed = 3,
                              .elapsed_seconds = 2.5};
  const std::string text = JobRecordToJson(record);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), text);
  const auto& back = std::get<SweepSpec>(read->spec);
  EXPECT_EQ(back.planted->num_outputs, 3);
  EXPECT_EQ(back.seeds, spec.seeds);
  EXPECT_EQ(back.num_samples, spec.num_samples);
  EXPECT_EQ(std::get<RecoveryOptions>(back.methods[0].options).algorithm, Algorithm::kAiht);
  EXPECT_EQ(std::get<PruneOptions>(back.methods[1].options).epochs, 3);
  EXPECT_EQ(back.cell_time_limit_seconds, 4.5);
  EXPECT_TRUE(back.keep_models);
  EXPECT_EQ(std::get<SweepProgress>(*read->progress).left_seconds, 1.5);
  EXPECT_EQ(std::get<SweepReport>(*read->report).cells_failed, 3);
}

TEST(JobRecordTest, ASweepOfAModelRoundTripsAndOneWithoutIsRead) {
  JobRecord record = FullRecord();
  SweepSpec spec;
  spec.dataset_id = "data";
  spec.nonzeros = {30};
  ModelPruningOptions options;
  options.train = false;
  options.distill.one_shot.stages = 7;
  options.loss = Loss::kCrossEntropy;
  spec.methods = {{.name = "a", .options = options}};
  record.spec = spec;
  record.report.reset();
  record.progress.reset();
  const std::string without = JobRecordToJson(record);
  const size_t sweep = without.find("\"sweep\"");
  ASSERT_NE(sweep, std::string::npos) << without;
  EXPECT_EQ(without.find("\"model\"", sweep), std::string::npos) << without;
  auto read = JobRecordFromJson(without);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<SweepSpec>(read->spec).model_id, "");
  spec.model_id = "net";
  record.spec = spec;
  const std::string text = JobRecordToJson(record);
  read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), text);
  EXPECT_EQ(ModelIdOf(read->spec), "net");
  const auto& back = std::get<SweepSpec>(read->spec);
  const auto& of_model = std::get<ModelPruningOptions>(back.methods[0].options);
  EXPECT_FALSE(of_model.train);
  EXPECT_EQ(of_model.distill.one_shot.stages, 7);
  EXPECT_EQ(of_model.loss, Loss::kCrossEntropy);
}

// Rows of before there were losses and models in them lack these members.
TEST(JobRecordTest, ARowWithAndWithoutAGivenModelIsRead) {
  SweepCell row = {.cell = 1, .nonzeros = 2, .method = "a", .state = JobState::kSucceeded};
  const std::string old = SweepCellToJson(row);
  EXPECT_EQ(old.find("given"), std::string::npos);
  EXPECT_EQ(old.find("loss"), std::string::npos);
  auto read = SweepCellFromJson(old);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->given_nonzeros, 0);
  EXPECT_FALSE(read->given_training || read->given_held_out || read->training_loss);
  row.training_loss = 0.125;
  row.held_out_loss = 0.25;
  row.given_nonzeros = 99;
  row.given_training = PruningFit{.num_samples = 3, .fit = {.loss = 1, .psnr_db = 30}};
  row.given_held_out = PruningFit{.num_samples = 2, .fit = {.loss = 2, .accuracy = 0.5}};
  read = SweepCellFromJson(SweepCellToJson(row));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(SweepCellToJson(*read), SweepCellToJson(row));
  EXPECT_EQ(read->held_out_loss, 0.25);
  EXPECT_EQ(read->given_nonzeros, 99);
  EXPECT_EQ(read->given_training->fit.psnr_db, 30);
  EXPECT_EQ(read->given_held_out->fit.accuracy, 0.5);
}

TEST(JobRecordTest, ACellRoundTripsAndBecomesItsRow) {
  JobRecord record = FullRecord();
  record.parent_id = "sweep";
  record.discard_model = true;
  record.cell = SweepCell{.cell = 6,
                          .hidden_width = 5,
                          .nonzeros = 4,
                          .num_samples = 3,
                          .seed = std::numeric_limits<uint64_t>::max(),
                          .method = "auto"};
  const std::string text = JobRecordToJson(record);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(JobRecordToJson(*read), text);
  EXPECT_EQ(read->parent_id, "sweep");
  EXPECT_TRUE(read->discard_model);
  const SweepCell row = RowOf(*read);
  EXPECT_EQ(row.cell, 6);
  EXPECT_EQ(row.seed, record.cell->seed);
  EXPECT_EQ(row.state, record.state);
  EXPECT_EQ(row.training_psnr_db, std::get<RecoveryReport>(*record.report).training.psnr_db);
  ASSERT_TRUE(row.error);
  auto row_read = SweepCellFromJson(SweepCellToJson(row));
  ASSERT_TRUE(row_read.ok()) << row_read.status();
  EXPECT_EQ(SweepCellToJson(*row_read), SweepCellToJson(row));
  EXPECT_EQ(row_read->method, "auto");
}

// Records of before there were prunings have these members.
TEST(JobRecordTest, ARecoveryIsWrittenAsEver) {
  const std::string text = JobRecordToJson(FullRecord());
  for (const char* member : {"\"recovery\":{", "\"report\":{", "\"progress\":["}) {
    EXPECT_NE(text.find(member), std::string::npos) << member;
  }
  EXPECT_EQ(text.find("pruning"), std::string::npos);
}

TEST(JobRecordTest, JsonRoundTripsEveryField) {
  const JobRecord record = FullRecord();
  const std::string text = JobRecordToJson(record);
  auto read = JobRecordFromJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  // Equal text means equal fields, where each field is written; spot checks that it is.
  EXPECT_EQ(JobRecordToJson(*read), text);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).options.seed,
            std::get<RecoverySpec>(record.spec).options.seed);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).options.step_size, 0.1);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).options.linear_term, LinearTerm::kSparse);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).split.held_out_fraction, 1.0 / 3);
  EXPECT_EQ(read->create_time, record.create_time);
  EXPECT_EQ(read->time_limit_seconds, 12.5);
  EXPECT_TRUE(std::isinf(std::get<IterationReport>(*read->progress).psnr_db));
  EXPECT_EQ(std::get<IterationReport>(*read->progress).step_size, 1e-17);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).loss, 0.7);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).accuracy, 0.8);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).r_squared, 0.9);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).training.loss, 0.6);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).training.r_squared, 0.5);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).training.accuracy, 0.75);
  EXPECT_TRUE(std::get<RecoveryReport>(*read->report).planted->exact);
  const RecoveryEvidence& evidence = *std::get<RecoveryReport>(*read->report).evidence;
  EXPECT_EQ(evidence.verdict, Verdict::kUndetermined);
  EXPECT_EQ(evidence.findings.size(), 2u);
  EXPECT_EQ(evidence.strongest_left_out, 0.2);
  EXPECT_EQ(evidence.smallest_saliency, 0.3);
  EXPECT_TRUE(std::isinf(evidence.conditioning->kappa()));
  EXPECT_TRUE(evidence.conditioning->is_bound);
  EXPECT_EQ(evidence.hard_thresholding_nonzeros, 0.4);
  EXPECT_EQ(evidence.reciprocal_thresholding_nonzeros, 0.5);
  EXPECT_EQ(evidence.smallest_pattern_difference, 0.7);
  EXPECT_EQ(evidence.distinct_samples, 11);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).path->criterion, SelectionCriterion::kKFold);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).path->search, PathSearch::kGoldenSection);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).path->validation_fraction, 0.1);
  EXPECT_EQ(std::get<RecoverySpec>(read->spec).path->max_points, 8);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).path_nonzeros, 40);
  EXPECT_EQ(std::get<IterationReport>(*read->progress).path_points, 5);
  ASSERT_EQ(std::get<RecoveryReport>(*read->report).path.size(), 2u);
  EXPECT_FALSE(
      std::get<RecoveryReport>(*read->report).path[0].held_out_relative_residual.has_value());
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).path[0].criterion_value, -7.25);
  EXPECT_EQ(std::get<RecoveryReport>(*read->report).path[1].held_out_relative_residual, 0.3);
  EXPECT_TRUE(std::get<RecoveryReport>(*read->report).path[1].chosen);
  EXPECT_EQ(read->error->code, absl::StatusCode::kDataLoss);
  EXPECT_EQ(read->labels, record.labels);
}

TEST(JobRecordTest, EveryAlgorithmPhaseAndReasonIsKept) {
  JobRecord record = FullRecord();
  for (int i = 0; i <= static_cast<int>(Algorithm::kSequential); ++i) {
    std::get<RecoverySpec>(record.spec).options.algorithm = static_cast<Algorithm>(i);
    auto read = JobRecordFromJson(JobRecordToJson(record));
    ASSERT_TRUE(read.ok()) << i << ": " << read.status();
    EXPECT_EQ(std::get<RecoverySpec>(read->spec).options.algorithm,
              std::get<RecoverySpec>(record.spec).options.algorithm);
  }
  for (int i = 0; i <= static_cast<int>(SolvePhase::kSwap); ++i) {
    std::get<IterationReport>(*record.progress).phase = static_cast<SolvePhase>(i);
    std::get<IterationReport>(*record.progress).start = i;
    auto read = JobRecordFromJson(JobRecordToJson(record));
    ASSERT_TRUE(read.ok()) << i << ": " << read.status();
    EXPECT_EQ(std::get<IterationReport>(*read->progress).phase,
              std::get<IterationReport>(*record.progress).phase);
    EXPECT_EQ(std::get<IterationReport>(*read->progress).start, i);
  }
  for (int i = 0; i <= static_cast<int>(TerminationReason::kCancelled); ++i) {
    std::get<RecoveryReport>(*record.report).termination_reason = static_cast<TerminationReason>(i);
    auto read = JobRecordFromJson(JobRecordToJson(record));
    ASSERT_TRUE(read.ok()) << i << ": " << read.status();
    EXPECT_EQ(std::get<RecoveryReport>(*read->report).termination_reason,
              std::get<RecoveryReport>(*record.report).termination_reason);
  }
}

TEST(JobRecordTest, EventsRoundTrip) {
  JobEvent change;
  change.event = StateChange{.state = JobState::kRunning, .message = "started"};
  change.job = std::make_shared<const JobRecord>(FullRecord());
  auto read = JobEventFromJson(5, JobEventToJson(change));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->number, 5);
  EXPECT_EQ(std::get<StateChange>(read->event).message, "started");
  ASSERT_NE(read->job, nullptr);
  EXPECT_EQ(read->job->attempt_count, 3);
  JobEvent progress;
  progress.event = IterationReport{.iteration = 8, .elapsed_seconds = std::nan("")};
  read = JobEventFromJson(6, JobEventToJson(progress));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::get<IterationReport>(std::get<JobProgress>(read->event)).iteration, 8);
  EXPECT_TRUE(
      std::isnan(std::get<IterationReport>(std::get<JobProgress>(read->event)).elapsed_seconds));
  EXPECT_EQ(read->job, nullptr);
}

TEST(JobRecordTest, DamagedTextIsDataLoss) {
  const std::string text = JobRecordToJson(FullRecord());
  for (const std::string& damaged :
       {std::string(), text.substr(0, text.size() / 2), std::string("[]"), std::string("{}"),
        std::string(R"({"id": 5})")}) {
    EXPECT_EQ(JobRecordFromJson(damaged).status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(JobEventFromJson(1, damaged).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(JobRecordTest, TransitionsAreThoseOfTheStateMachine) {
  using enum JobState;
  const JobState all[] = {kQueued, kRunning, kSucceeded, kFailed, kCancelled};
  const std::vector<std::pair<JobState, JobState>> legal = {
      {kQueued, kRunning},    {kQueued, kCancelled}, {kQueued, kFailed},    {kRunning, kQueued},
      {kRunning, kSucceeded}, {kRunning, kFailed},   {kRunning, kCancelled}};
  for (const JobState from : all) {
    for (const JobState to : all) {
      const bool expected =
          std::find(legal.begin(), legal.end(), std::pair(from, to)) != legal.end();
      EXPECT_EQ(IsLegalTransition(from, to), expected)
          << JobStateName(from) << " to " << JobStateName(to);
    }
  }
}

}  // namespace
}  // namespace thresher::store
